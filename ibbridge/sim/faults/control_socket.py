"""Control socket for faults: a ZeroMQ REP socket that takes one step as a msgpack map and replies."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import msgpack
import zmq
import zmq.asyncio

from ibbridge.sim.faults.script import FaultError

if TYPE_CHECKING:
    from collections.abc import Callable

_UNREADABLE = (ValueError, msgpack.exceptions.UnpackException)


async def listen(endpoint: str, fault: Callable[[Any], dict[str, Any]]) -> None:
    """Serve commands until cancelled. Raise `zmq.ZMQError` if the endpoint cannot be bound."""
    with zmq.asyncio.Context() as context, context.socket(zmq.REP) as peer:
        peer.linger = 0
        peer.bind(endpoint)
        while True:
            asked = await peer.recv()
            await peer.send(msgpack.packb(reply(asked, fault)))


def reply(asked: bytes, fault: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    """Return the reply to one command: `ok`, and the error if the step is invalid."""
    try:
        step = msgpack.unpackb(asked)
    except _UNREADABLE:
        return {"ok": False, "error": "a step is one msgpack map"}
    try:
        return {"ok": True, "error": None, **fault(step)}
    except FaultError as error:
        return {"ok": False, "error": str(error)}


def send(endpoint: str, step: dict[str, Any], timeout: float) -> dict[str, Any]:
    """Send one step and return the reply. Raise `TimeoutError` if no reply comes within `timeout` seconds."""
    with zmq.Context() as context, context.socket(zmq.REQ) as peer:
        peer.linger = 0
        peer.rcvtimeo = peer.sndtimeo = int(timeout * 1000)
        with contextlib.suppress(zmq.Again):
            peer.connect(endpoint)
            peer.send(msgpack.packb(step))
            answer: dict[str, Any] = msgpack.unpackb(peer.recv(), strict_map_key=False)
            return answer
    raise TimeoutError(f"no reply from {endpoint} within {timeout:g} s; is `ibbridge sim --control` running there?")
