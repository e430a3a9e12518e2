"""A daemon made of two plain sockets: it welcomes, answers as it is told, and publishes what it is told."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import msgpack
import zmq

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Mapping

    Frames = tuple[bytes, bytes]
    Answer = Callable[["FakeDaemon", dict[str, Any]], Any]

EPOCH = 7
HEARTBEAT = 1024.0
"""Seconds between heartbeats, as the welcome has them. None is sent, and for a test's time none is missed."""

PATIENCE = 20.0
"""Seconds after which a test gives up; nothing depends on how soon something is."""


LIFE = ("hello", "alive", "logout")
"""Commands by which a client says that it is there. They come when they like, and have a list of their own."""


class FakeDaemon:
    """Serves in a thread of its own until `stop`. `answers` maps a command to what makes its result.

    An answer may raise `Refusal`, publish with `say`, or return None for no reply at all.
    """

    def __init__(self, directory: pathlib.Path, *, epoch: int = EPOCH, proto: int = 1, name: str = "",
                 said: Mapping[str, Mapping[int, Frames]] | None = None) -> None:  # fmt: skip
        self.pub = f"ipc://{directory}/pub{name}"
        self.rep = f"ipc://{directory}/rep{name}"
        self.epoch = epoch
        self.requests: list[dict[str, Any]] = []
        self.words: list[dict[str, Any]] = []
        self._subscribed: set[str] = set()
        self._changed = threading.Condition()  # of what is subscribed
        self._publishing = threading.Lock()
        self.answers: dict[str, Answer] = {
            "ping": lambda _, __: {"pong": True},
            "status": lambda _, __: {"tws": {"stage": "ready", "lastError": ""}},
            **dict.fromkeys(LIFE, lambda _, __: {}),
            "snapshot": FakeDaemon.snapshot,
            "replay": FakeDaemon.replay,
        }
        self.said: dict[str, dict[int, Frames]] = {name: {**each} for name, each in (said or {}).items()}
        self._proto = proto
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
        """Publish, from any thread of the test."""
        with self._publishing:
            self._order.send(msgpack.packb([topic, more]))

    def miss(self, topic: str, **more: Any) -> None:
        """Have it published where no subscriber hears it."""
        self.publish(topic, missed=True, **more)

    def has_subscriber_of(self, prefix: str) -> None:
        """Wait until somebody is subscribed to exactly this prefix; fail if nobody ever is."""
        self._wait_for(lambda: prefix in self._subscribed, f"nobody is subscribed to {prefix!r}")

    def has_no_subscriber_of(self, prefix: str) -> None:
        """Wait until nobody is subscribed to exactly this prefix; fail if somebody stays subscribed.

        A subscription travels over another socket than a command. So the reply to a command does not say that the
        unsubscription before the command has come.
        """
        self._wait_for(lambda: prefix not in self._subscribed, f"somebody is still subscribed to {prefix!r}")

    def _wait_for(self, wanted: Callable[[], bool], otherwise: str) -> None:
        with self._changed:
            assert self._changed.wait_for(wanted, PATIENCE), f"{otherwise}; there are {sorted(self._subscribed)}"

    @property
    def subscribed(self) -> frozenset[str]:
        """Prefixes of the subscriptions that have come; later ones may be on their way."""
        with self._changed:
            return frozenset(self._subscribed)

    def stop(self) -> None:
        if self._thread.is_alive():
            self._order.send(msgpack.packb(None))
            self._thread.join()
            self._context.destroy(linger=0)

    def say(self, topic: str, seq: int | None = None, **more: Any) -> None:
        """Publish, in the daemon's thread: the next number of the stream unless another is given."""
        frames = self.frames(topic, seq, **more)
        self._xpub.send(frames[0], zmq.SNDMORE)
        self._xpub.send(frames[1])

    def frames(self, topic: str, seq: int | None = None, **more: Any) -> Frames:
        """Make a message like `say`, but do not publish it: a subscriber has missed this message and may replay it."""
        stream = ".".join(topic.split(".")[:2]) + "."
        if topic.endswith(".heartbeat."):
            return topic.encode(), body(topic, None, epoch=self.epoch, **more)
        said = self.said.setdefault(stream, {})
        number = max(said, default=0) + 1 if seq is None else seq
        said[number] = topic.encode(), body(topic, number, epoch=self.epoch, **more)
        return said[number]

    def snapshot(self, request: dict[str, Any]) -> dict[str, Any]:
        """Streams with their numbers, and no state."""
        under = sorted(each for each in self.said if each.startswith(request["args"]["prefix"]))
        streams = [{"stream": each, "seq": max(self.said[each]), "messages": []} for each in under]
        return {"streams": streams, "next": None}

    def replay(self, request: dict[str, Any]) -> dict[str, Any]:
        args = request["args"]
        said = self.said.get(args["stream"], {})
        if (first := min(said, default=1)) > args["from"]:
            raise Refusal("E_GAP_TOO_OLD", "too old", first=first)
        found = [[*said[each]] for each in sorted(said) if args["from"] <= each <= args["to"]]
        return {"stream": args["stream"], "messages": found, "next": None}

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
                said = self.frames if order[1].pop("missed", False) else self.say
                said(order[0], **order[1])

    def _subscription(self, frame: bytes) -> None:
        prefix = frame[1:].decode()
        with self._changed:
            if frame[:1] == b"\x01":
                self._subscribed.add(prefix)
            else:  # by all: an XPUB socket tells of the last only
                self._subscribed.discard(prefix)
            self._changed.notify_all()
        if frame[:1] == b"\x01":
            self._xpub.send(frame[1:], zmq.SNDMORE)
            about = {"type": "welcome", "proto": self._proto, "epoch": self.epoch, "gen": 1, "offset": 0, "store": "s"}
            self._xpub.send(msgpack.packb({**about, "heartbeat": HEARTBEAT}))

    def _request(self, frames: list[bytes]) -> None:
        request = msgpack.unpackb(frames[-1])
        (self.words if request["cmd"] in LIFE else self.requests).append(request)
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


def body(topic: str, seq: int | None, *, epoch: int = EPOCH, **more: Any) -> bytes:
    """A message's body; what it is not given is as usual. Without a number it is outside of all sequences."""
    usual = {"type": topic.split(".")[-2], "epoch": epoch, "gen": 1, "ts": 1_000_000}
    numbers = {} if seq is None else {"seq": seq, "offset": seq}
    packed: bytes = msgpack.packb({**usual, **numbers, "data": {}, **more})
    return packed
