"""A subscriber that stops to read, until what is kept for it is too much: it goes, and nobody else."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.attacks import zmtp
from tests.attacks.bystanders import Bystanders, memory
from tests.integration.rig import AAPL, PATIENCE, Bridge, Host, free_port

pytestmark = [pytest.mark.attack, pytest.mark.long]

LIMIT = 513 * 2**20
"""What memory.limit_mb and ring.bytes come to."""


@pytest.mark.parametrize("transport", ["ipc", "tcp"])
def test_who_does_not_read_is_disconnected_before_the_daemon_is_too_large(transport):
    # Its own bound would end it before.
    unbounded: dict[str, Any] = {"bus.sndhwm": 1_000_000, "bus.sndbytes": 2**40}
    places = {"pub": f"tcp://127.0.0.1:{free_port()}"} if transport == "tcp" else {}
    with (
        Host() as host,
        Bridge(host.port, **places, memory__limit_mb=128, ring__bytes=2**20, **unbounded) as bridge,
        host.accept() as guest,
    ):
        guest.start()
        bridge.ready()
        bridge.do("reqMktData", contract=AAPL)
        number = guest.request("reqMktData")["reqId"]
        assert guest.acceptor.dialect is not None
        tick = guest.acceptor.dialect.put("tickString", {"reqId": number, "tickType": 45, "value": "x" * 30_000})
        with Bystanders(bridge):
            stopped = zmtp.handshake(bridge.pub, b"SUB")
            stopped.sendall(zmtp.frame(b"\x01md."))
            largest, until = 0, time.monotonic() + PATIENCE
            while "is disconnected: memory is short" not in bridge.said():
                assert time.monotonic() < until
                for _ in range(20):
                    guest.raw(tick * 10)
                    time.sleep(0.005)
                largest = max(largest, memory(bridge.process.pid))
            stopped.close()
        assert LIMIT < largest < 2 * LIMIT
        told = bridge.said().count("is disconnected: memory is short")
        assert told == 2, "by the bus, and by the watch over the process"
