"""The REQ socket: one command at a time, and for each a reply, a refusal or, in time, the news that there was none.

Knows envelopes, timeouts and retries. Must not know what a command means. A command is only handed to a daemon that is
there (ZMQ_IMMEDIATE): one that could not be delivered is never delivered later, when its time has passed. A retry has
the same id, which the daemon answers with its first reply.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import msgpack
import zmq

from ibbridge.client.errors import BridgeError, CommandError, NoAnswer
from ibbridge.client.feed import connect

RETRY = 3.0
"""Seconds without a reply after which the command is sent once more."""

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


class Reply(NamedTuple):
    """What the daemon said to a command: its id, and the result."""

    id: str
    result: dict[str, Any]
    epoch: int


class Names:
    """Names that no other run of this client gives again: the time in microseconds, in letters and digits."""

    def __init__(self) -> None:
        self._last = 0

    def new(self) -> str:
        """The next name: 10 characters."""
        number = self._last = max(self._last + 1, time.time_ns() // 1000)
        name = ""
        while number:
            number, digit = divmod(number, 36)
            name = _DIGITS[digit] + name
        return name


class Caller:
    """The command socket of one client, from the making to `close`."""

    def __init__(self, context: zmq.Context[Any], rep: str, client: str) -> None:
        self.rep = rep
        self.client = client
        self.names = Names()
        self._context = context
        self._socket = self._open()

    def close(self) -> None:
        """Disconnect. What was not delivered never will be."""
        self._socket.close()

    def call(self, cmd: str, args: dict[str, Any], timeout: float, **envelope: Any) -> Reply:
        """Send a command and wait for its reply. `envelope` are further keys beside args: id, key, not_after.

        Raises CommandError if the daemon refuses, NoAnswer if it does not answer in `timeout` seconds, TypeError if
        the arguments are not plain values.
        """
        request = {"id": envelope.pop("id", None) or self.names.new(), "cmd": cmd, "args": args, "client": self.client}
        request |= {name: value for name, value in envelope.items() if value is not None}
        reply = self._exchange(request, timeout)
        if reply.get("ok"):
            return Reply(str(request["id"]), reply.get("result") or {}, reply.get("epoch", 0))
        raise CommandError(cmd, reply.get("error") or {"message": "the daemon failed on this; its log says why"})

    def _exchange(self, request: dict[str, Any], timeout: float) -> dict[str, Any]:
        packed = _packed(request["cmd"], request)
        deadline = time.monotonic() + timeout
        sent = False
        while (left := deadline - time.monotonic()) > 0:
            if not self._socket.poll(_milliseconds(left), zmq.POLLOUT):
                break
            self._socket.send(packed, zmq.NOBLOCK)
            sent = True
            if self._socket.poll(_milliseconds(min(deadline - time.monotonic(), RETRY))):
                return self._unpacked(self._socket.recv())
        self._socket.close()
        self._socket = self._open()
        key = request.get("key") or request["args"].get("key")
        text = self._why(request, key, timeout, sent=sent)
        raise NoAnswer(text, "unknown" if sent else "not_sent", str(request["id"]), key)

    def _why(self, request: dict[str, Any], key: str | None, timeout: float, *, sent: bool) -> str:
        if sent:
            named = f"key={key!r}, is safe" if key else f"id={request['id']!r}, is safe while its answer is to come"
            return (
                f"{request['cmd']}: the daemon at {self.rep} did not answer within {timeout:g} s. It may have carried "
                f"it out: the same command again, with {named}."
            )
        return (
            f"{request['cmd']}: there is no daemon at {self.rep}; nothing was sent. Is ibbridge running? Is this the "
            "bus.rep of its configuration?"
        )

    def _unpacked(self, packed: bytes) -> dict[str, Any]:
        try:
            reply = msgpack.unpackb(packed, strict_map_key=False) if packed else {}
        except ValueError:
            reply = None
        if not isinstance(reply, dict):
            raise BridgeError(f"what answers at {self.rep} is no ibbridge: is rep= the bus.rep of its configuration?")
        return reply

    def _open(self) -> zmq.Socket[bytes]:
        socket: zmq.Socket[bytes] = self._context.socket(zmq.REQ)
        socket.set(zmq.REQ_RELAXED, 1)
        socket.set(zmq.REQ_CORRELATE, 1)
        socket.set(zmq.IMMEDIATE, 1)
        socket.set(zmq.LINGER, 0)
        socket.set(zmq.RECONNECT_IVL_MAX, 1000)
        if "[" in self.rep:
            socket.set(zmq.IPV6, 1)
        connect(socket, self.rep, "rep")
        return socket


def _milliseconds(seconds: float) -> int:
    """Whole ones, upwards: a wait that ends too early is only taken up again."""
    return max(0, int(seconds * 1000) + 1)


def _packed(cmd: str, request: dict[str, Any]) -> bytes:
    try:
        packed: bytes = msgpack.packb(request)
    except (TypeError, ValueError, OverflowError) as error:
        raise TypeError(f"{cmd}: an argument cannot be sent: {error}") from error
    return packed
