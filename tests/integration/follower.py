"""A subscriber that follows streams as docs/protocol.md says, written from that page alone: pyzmq and msgpack.

One socket of each kind and one thread: what arrives while it waits for an answer stays in the SUB socket's own queue,
in order. It keeps a journal of what it was told, in the words of `Entry`; from a journal it can go on where it was.
As a program it is a subscriber in a process of its own, to be stopped and killed:

    python -m tests.integration.follower JOURNAL PUB REP PREFIX...

which reads a goal (a JSON map of stream to number) from standard input, and ends when it has got there.
"""

from __future__ import annotations

import itertools
import json
import pathlib
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import msgpack
import zmq

if TYPE_CHECKING:
    from collections.abc import Iterable

DURABLE = ("ord.", "exec.", "acct.", "sys.")
HEARTBEAT = "sys.bridge.heartbeat."
FENCE = b"fence."
"""A prefix under which nothing is published."""


class Entry(NamedTuple):
    """Entry in the journal of a follower.

    begun: the state that the follower was given covers the stream up to `seq`. state: a part of that state. message:
    message `seq`, as published. replayed: message `seq`, fetched. lost: messages `seq` to `to`. anew: the stream's
    sequence numbers begin again. epoch: a new epoch has begun. store: from here on all durable streams belong to the
    store that `stream` names. welcomed: the subscription to the prefix `stream` is confirmed, from the offset behind
    `seq` on.
    """

    kind: str
    epoch: int
    stream: str
    seq: int = 0
    to: int = 0
    topic: str = ""
    body: bytes = b""


class Abandoned(Exception):  # noqa: N818 - an answer of another epoch than the one that is followed
    """End of an epoch: the SUB socket will announce the new one."""


class Progress:
    """Journal and progress of a subscriber."""

    def __init__(self, *prefixes: str) -> None:
        self.prefixes = prefixes
        self.entries: list[Entry] = []
        self.last: dict[str, int] = {}
        self.goal: dict[str, int] | None = None
        self.over = False
        self.epoch = 0
        self.store = ""

    @property
    def drained(self) -> bool:
        """True if no message is on its way that was published before the first call."""
        return True

    @property
    def there(self) -> bool:
        """True if the subscriber has reached its goal."""
        return self.goal is not None and all(self.last.get(stream, 0) >= seq for stream, seq in self.goal.items())

    def note(self, entry: Entry) -> None:
        """Take it into account."""
        self.entries.append(entry)
        if entry.kind == "epoch":
            self.epoch = entry.epoch
            self.last = {stream: seq for stream, seq in self.last.items() if stream.startswith(DURABLE)}
        elif entry.kind == "store":
            if self.store:
                self.last.clear()
            self.store = entry.stream
        elif entry.kind in ("begun", "message", "replayed"):
            self.last[entry.stream] = entry.seq
        elif entry.kind == "lost":
            self.last[entry.stream] = entry.to
        elif entry.kind == "anew":
            del self.last[entry.stream]


class Follower(Progress):
    """Follows all streams under the prefixes, from the next `step` on."""

    def __init__(
        self, context: zmq.Context[Any], pub: str, rep: str, *prefixes: str, rcvhwm: int = 100_000,
        past: Iterable[Entry] = (), journal: pathlib.Path | None = None
    ) -> None:  # fmt: skip
        super().__init__(*prefixes)
        self.duplicates = 0
        self._welcomed: set[str] = set()
        self._complete: set[str] = set()  # prefixes of which there was a whole snapshot, of this store
        self._found: dict[str, tuple[dict[str, Any], int]] = {}  # perhaps overtook messages; and its offset
        self._offset = self._since = 0  # the last that has arrived, and the first welcome's
        self._beat = 0
        self._fenced: bool | None = None
        self._ids = itertools.count(1)
        self._journal = journal.open("ab", buffering=0) if journal else None
        for entry in past:
            super().note(entry)
        self._sub = context.socket(zmq.SUB)
        self._sub.linger, self._sub.rcvhwm, self._sub.reconnect_ivl_max = 0, rcvhwm, 1000
        for prefix in {*prefixes, HEARTBEAT}:
            self._sub.subscribe(prefix)
        self._sub.connect(pub)
        self._req = context.socket(zmq.REQ)
        self._req.linger, self._req.immediate, self._req.sndtimeo = 0, 1, 200
        self._req.req_relaxed = self._req.req_correlate = 1
        self._req.connect(rep)

    def close(self) -> None:
        self._sub.close()
        self._req.close()
        if self._journal:
            self._journal.close()

    @property
    def drained(self) -> bool:
        """The welcome to another subscription comes behind all that was published before."""
        if self._fenced is None:
            self._fenced = False
            self._sub.subscribe(FENCE)
        return self._fenced

    @property
    def following(self) -> bool:
        """True if the subscriber follows all streams of its snapshots."""
        return self.asked and not self._found

    @property
    def asked(self) -> bool:
        """True if all subscriptions are confirmed, and so all snapshots requested."""
        return self._welcomed >= set(self.prefixes)

    def step(self, timeout: float) -> bool:
        """Take one message, if one comes within so many milliseconds."""
        if not self._sub.poll(timeout):
            return False
        topic, packed = self._sub.recv_multipart()
        body = msgpack.unpackb(packed)
        if body["epoch"] != self.epoch:
            self._new_epoch(body["epoch"])
        try:
            if body["type"] == "welcome":
                self._fenced = self._fenced if topic != FENCE else True
                self._welcome(topic.decode(), body)
            elif topic == HEARTBEAT.encode():
                self._heartbeat(body)
            else:
                self._apply(topic.decode(), packed, body["seq"])
            self._arrived((body if "offset" in body else body["data"])["offset"])
        except Abandoned:
            self._part()
        return True

    # -- what the page says

    def _new_epoch(self, epoch: int) -> None:
        self._part()
        self.note(Entry("epoch", epoch, ""))
        self._beat = self._offset = self._since = 0

    def _part(self) -> None:
        """The daemon has ended: what still waits begins, if what was on its way can be had again."""
        self._welcomed.clear()
        for name, (found, offset) in [*self._found.items()]:
            if name.startswith(DURABLE):
                self._start(name, max(1, found["seq"] + 1 - (offset - self._since)))
        self._found.clear()

    def _welcome(self, prefix: str, body: dict[str, Any]) -> None:
        self._beat = self._beat or body["beat"]
        self._since = self._since or body["offset"]
        if body["store"] != self.store:
            if self.store:
                self._complete.clear()
            self.note(Entry("store", self.epoch, body["store"]))
        if prefix in self.prefixes and prefix not in self._welcomed:
            self._begin(prefix)
            self._welcomed.add(prefix)
            self.note(Entry("welcomed", self.epoch, prefix, body["offset"]))

    def _begin(self, prefix: str) -> None:
        """Take a snapshot: of what is new the state, of what is known the number to get to."""
        streams, offset = self._snapshot(prefix)
        for stream in streams:
            name, seq = stream["stream"], stream["seq"]
            complete = self._complete if name.startswith(DURABLE) else self._welcomed
            if (name in self.last or prefix in complete) and self.last.get(name, 0) <= seq:
                self._fill(name, seq)
            else:
                if name in self.last:
                    self.note(Entry("anew", self.epoch, name))
                self._found[name] = stream, offset
        if self._found:
            self._sub.subscribe(prefix)
        self._complete.add(prefix)

    def _arrived(self, offset: int) -> None:
        """Note that all messages up to this offset have come."""
        self._offset = max(self._offset, offset)
        for name, (found, at) in [*self._found.items()]:
            if at <= self._offset:
                self._start(name, found["seq"] + 1)

    def _start(self, name: str, first: int) -> None:
        """Begin with the state before the first message that has come, or will."""
        found, _ = self._found.pop(name)
        last = min(found["seq"], first - 1)
        self._state(name, found["messages"], last + 1)
        self.note(Entry("begun", self.epoch, name, last))

    def _heartbeat(self, body: dict[str, Any]) -> None:
        late = self._beat and body["data"]["beat"] > self._beat + 3
        self._beat = body["data"]["beat"]
        if late:
            for prefix in self._welcomed:
                self._begin(prefix)
        for stream, seq in body["data"]["seqs"].items():
            if self._follows(stream) and stream not in self._found and seq > self.last.get(stream, 0):
                self._fill(stream, seq)

    def _apply(self, topic: str, packed: bytes, seq: int) -> None:
        stream = ".".join(topic.split(".")[:2]) + "."
        if not self._follows(stream):
            return
        if stream in self._found:
            self._start(stream, seq)
        if seq > self.last.get(stream, 0) + 1:
            self._fill(stream, seq - 1)
        if seq == self.last.get(stream, 0) + 1:
            self.note(Entry("message", self.epoch, stream, seq, 0, topic, packed))
        else:
            self.duplicates += 1

    def _follows(self, stream: str) -> bool:
        return any(stream.startswith(prefix) for prefix in self._welcomed)

    def _fill(self, stream: str, to: int) -> None:
        """Get what was missed up to number `to`, or learn that it is gone."""
        while (first := self.last.get(stream, 0) + 1) <= to:
            reply = self._ask("replay", stream=stream, **{"from": first, "to": to})
            if reply["ok"]:
                for topic, packed in reply["result"]["messages"]:
                    seq = msgpack.unpackb(packed)["seq"]
                    self.note(Entry("replayed", self.epoch, stream, seq, 0, topic.decode(), packed))
                continue
            assert reply["error"]["code"] == "E_GAP_TOO_OLD", reply
            oldest = min(reply["error"]["first"], to + 1)
            assert oldest > first, reply
            self.note(Entry("lost", self.epoch, stream, first, oldest - 1))
            for each in self._snapshot(stream)[0]:
                self._state(stream, each["messages"], oldest)

    def _snapshot(self, prefix: str) -> tuple[list[dict[str, Any]], int]:
        """Every stream under a prefix: one that goes on in the next page, with all its messages. And the offset."""
        streams: dict[str, dict[str, Any]] = {}
        after: dict[str, str] = {}
        while True:
            reply = self._ask("snapshot", prefix=prefix, **after)
            for stream in reply["result"]["streams"]:
                before = streams.get(stream["stream"])
                if before and before["seq"] == stream["seq"]:
                    before["messages"] += stream["messages"]
                else:
                    streams[stream["stream"]] = stream
            if reply["result"]["next"] is None:
                return list(streams.values()), reply["result"]["offset"]
            after = {"after": reply["result"]["next"]}

    def _state(self, stream: str, messages: list[list[bytes]], before: int | None = None) -> None:
        for topic, packed in messages:
            seq = msgpack.unpackb(packed)["seq"]
            if before is None or seq < before:
                self.note(Entry("state", self.epoch, stream, seq, 0, topic.decode(), packed))

    def _ask(self, cmd: str, **args: Any) -> dict[str, Any]:
        """The reply to a command that may be repeated, from the daemon of this epoch."""
        request = msgpack.packb({"id": next(self._ids), "cmd": cmd, "args": args})
        while not self.over:
            try:
                self._req.send(request)
                if self._req.poll(500):
                    break
            except zmq.Again:
                pass
        else:
            raise Abandoned
        reply: dict[str, Any] = msgpack.unpackb(self._req.recv())
        if reply["epoch"] != self.epoch:
            raise Abandoned
        assert reply["ok"] or cmd == "replay", reply
        return reply

    def note(self, entry: Entry) -> None:
        super().note(entry)
        if self._journal:
            self._journal.write(msgpack.packb(entry))


def read(journal: pathlib.Path) -> list[Entry]:
    """Return the complete entries of a follower's journal."""
    unpacker = msgpack.Unpacker()
    unpacker.feed(journal.read_bytes() if journal.exists() else b"")
    return [Entry(*row) for row in unpacker]


def main(journal: pathlib.Path, pub: str, rep: str, *prefixes: str) -> None:
    """Follow until the goal that standard input gives is reached."""
    follower = Follower(zmq.Context(), pub, rep, *prefixes, past=read(journal), journal=journal)
    poller = zmq.Poller()
    poller.register(sys.stdin, zmq.POLLIN)
    while not follower.there:
        if not follower.step(20) and follower.goal is None and poller.poll(0):
            follower.goal = json.loads(sys.stdin.readline())
    follower.close()


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), *sys.argv[2:])
