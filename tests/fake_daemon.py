"""A daemon made of two plain sockets: it welcomes, answers as it is told, and publishes what it is told."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgpack
import zmq

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable

    Answer = Callable[["FakeDaemon", dict[str, Any]], Any]

EPOCH = 7


class FakeDaemon:
    """Serves in a thread of its own until `stop`. `answers` maps a command to what makes its result.

    An answer may raise `Refusal`, publish with `say`, or return None for no reply at all.
    """

    def __init__(self, directory: pathlib.Path, *, epoch: int = EPOCH, proto: int = 1, name: str = "") -> None:
        self.pub = f"ipc://{directory}/pub{name}"
        self.rep = f"ipc://{directory}/rep{name}"
        self.epoch = epoch
        self.requests: list[dict[str, Any]] = []
        self.subscribed: list[str] = []
        self.answers: dict[str, Answer] = {
            "ping": lambda _, __: {"pong": True},
            "status": lambda _, __: {"tws": {"stage": "ready", "lastError": ""}},
            "snapshot": lambda _, __: {"streams": [], "next": None},
        }
        self._proto = proto
        self._seq: dict[str, int] = {}
        self._context = zmq.Context()
        self._xpub = self._bound(zmq.XPUB, self.pub)
        self._xpub.set(zmq.XPUB_VERBOSE, 1)
        self._router = self._bound(zmq.ROUTER, self.rep)
        self._orders = self._bound(zmq.PULL, "inproc://orders")
        self._order = self._context.socket(zmq.PUSH)
        self._order.connect("inproc://orders")
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _bound(self, kind: int, endpoint: str) -> zmq.Socket[bytes]:
        socket: zmq.Socket[bytes] = self._context.socket(kind)
        socket.linger = 0
        socket.bind(endpoint)
        return socket

    def publish(self, topic: str, **more: Any) -> None:
        """Publish from the test's thread."""
        self._order.send(msgpack.packb([topic, more]))

    def stop(self) -> None:
        if self._thread.is_alive():
            self._order.send(msgpack.packb(None))
            self._thread.join()
            self._context.destroy(linger=0)

    def say(self, topic: str, seq: int | None = None, **more: Any) -> None:
        """Publish, in the daemon's thread: the next number of the stream unless another is given."""
        stream = ".".join(topic.split(".")[:2])
        self._seq[stream] = number = self._seq.get(stream, 0) + 1 if seq is None else seq
        self._xpub.send(topic.encode(), zmq.SNDMORE)
        self._xpub.send(body(topic, number, epoch=self.epoch, **more))

    def _serve(self) -> None:
        poller = zmq.Poller()
        for socket in (self._xpub, self._router, self._orders):
            poller.register(socket, zmq.POLLIN)
        while True:
            ready = dict(poller.poll())
            if self._xpub in ready:
                self._subscription(self._xpub.recv())
            if self._router in ready:
                self._request(self._router.recv_multipart())
            if self._orders in ready:
                order = msgpack.unpackb(self._orders.recv())
                if order is None:
                    return
                self.say(order[0], **order[1])

    def _subscription(self, frame: bytes) -> None:
        prefix = frame[1:].decode()
        if frame[:1] == b"\x01":
            self.subscribed.append(prefix)
            self._xpub.send(frame[1:], zmq.SNDMORE)
            about = {"type": "welcome", "proto": self._proto, "epoch": self.epoch, "gen": 1, "offset": 0}
            self._xpub.send(msgpack.packb(about))
        else:
            with suppress(ValueError):
                self.subscribed.remove(prefix)

    def _request(self, frames: list[bytes]) -> None:
        request = msgpack.unpackb(frames[-1])
        self.requests.append(request)
        reply: Any = {"id": request["id"], "epoch": self.epoch, "gen": 1}
        try:
            result = self.answers[request["cmd"]](self, request)
        except Refusal as refusal:
            reply |= {"ok": False, "error": refusal.error}
        else:
            if result is None:
                return
            reply = result if isinstance(result, bytes) else {**reply, "ok": True, "result": result}
        frames[-1] = reply if isinstance(reply, bytes) else msgpack.packb(reply)
        self._router.send_multipart(frames)


class Refusal(Exception):  # noqa: N818
    """An answer that says no."""

    def __init__(self, code: str, message: str, **more: Any) -> None:
        super().__init__(message)
        self.error = {"code": code, "message": message, "outcome": "refused", **more}


def body(topic: str, seq: int, *, epoch: int = EPOCH, **more: Any) -> bytes:
    """A message's body; what it is not given is as usual."""
    usual = {"type": topic.split(".")[-2], "seq": seq, "offset": seq, "epoch": epoch, "gen": 1, "ts": 1_000_000}
    packed: bytes = msgpack.packb({**usual, "data": {}, **more})
    return packed
