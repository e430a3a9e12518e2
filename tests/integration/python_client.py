"""The Python client in the place of a follower: the same journal, of what it gives to whoever uses it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgpack

from ibbridge.client import Feed, Gap, Restart
from tests.integration.follower import Entry, Progress

if TYPE_CHECKING:
    import zmq

    from ibbridge.client import Message


class PythonClient(Progress):
    """Subscribed before anything is said, so that the streams begin with their first number.

    It does not tell state from what it has fetched: in a new epoch, the first of a stream of market data is its state,
    or what came before the snapshot, if all of the state was said after that.
    """

    def __init__(self, context: zmq.Context[Any], pub: str, rep: str, *prefixes: str) -> None:
        super().__init__(*prefixes)
        self._feed = Feed(context, pub, rep)
        self._feed.subscribe(prefixes)
        self.following = self.asked = False
        self._first_epoch = 0
        self._unheard: set[str] = set()  # streams of which there was the state, and nothing else yet

    def close(self) -> None:
        self._feed.close()

    def step(self, timeout: float) -> bool:
        message = self._feed.receive(timeout / 1000)
        self.following = self._feed._connection.begun(self.prefixes)
        self.asked = self.following or bool(self._feed._connection.follower._found)
        if message is None:
            return False
        if isinstance(message, Gap):
            self.note(Entry("lost", self.epoch, message.stream, message.first, message.last))
        elif isinstance(message, Restart):
            self.note(Entry("epoch", message.epoch, ""))
            self._unheard.clear()
        elif message.seq:
            self._take(message)
        return True

    def _take(self, message: Message) -> None:
        if not self.epoch:
            self._first_epoch = message.epoch
            self.note(Entry("epoch", message.epoch, ""))
        stream, seq = ".".join(message.topic.split(".")[:2]) + ".", message.seq
        fetched, last = "replayed" in message.flags, self.last.get(stream, 0)
        begins = not last and stream.startswith("md.")
        kind = "message" if not fetched else "state" if seq <= last or begins else "replayed"
        before_the_snapshot = begins and self.epoch != self._first_epoch
        if kind == "message" and (before_the_snapshot or (stream in self._unheard and seq <= last)):
            self.note(Entry("begun", self.epoch, stream, seq - 1))
        if kind != "state":
            self._unheard.discard(stream)
        self.note(Entry(kind, self.epoch, stream, seq, 0, message.topic, _packed(message)))
        if kind == "state" and begins:
            self.note(Entry("begun", self.epoch, stream, seq))
            self._unheard.add(stream)


def _packed(message: Message) -> bytes:
    body = {name: getattr(message, name) for name in ("type", "epoch", "gen", "seq", "offset", "ts", "data")}
    flags = [flag for flag in message.flags if flag != "replayed"]  # which the client adds
    packed: bytes = msgpack.packb(
        body | ({"ref": message.ref} if message.ref else {}) | ({"flags": flags} if flags else {})
    )
    return packed
