"""Witness of published messages and of TWS's messages: the truth that subscribers are compared with.

A `Witness` receives everything and never falls behind. A `Load` is the numbered messages of the test's own TWS, so that
the expected output is known without the daemon. `check` compares a follower's journal with both.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import Counter, defaultdict
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

import msgpack
import zmq

from tests.integration.follower import DURABLE
from tests.integration.rig import PATIENCE

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Iterable, Mapping
    from typing import Self

    from tests.integration.follower import Entry
    from tests.integration.rig import Bridge, Guest

Numbered = dict[int, tuple[str, bytes]]
"""Topics and bodies of a stream by their number."""

ROUND = 1_000_000
"""What a connection's label is multiplied with, in front of its numbers."""

AUDIT = "sys.audit."
"""Stream that is the daemon's own: no arithmetic knows what the witness missed of it."""


def key(stream: str, epoch: int) -> tuple[str, int]:
    """Return the scope of sequence numbers: the stream in an epoch, or a durable stream in all epochs (0)."""
    return (stream, 0) if stream.startswith(DURABLE) else (stream, epoch)


class Witness:
    """A subscriber to everything, in a thread of its own, without a bound; while the block lasts."""

    def __init__(self, bridge: Bridge) -> None:
        self.heard: dict[tuple[str, int], Numbered] = defaultdict(dict)
        self.beats = 0
        self.epoch = 0
        self.stage = ""
        self.fault: str | None = None
        self.faults: list[str] = []
        self._changed = threading.Condition()
        self._over = False
        self._socket = bridge.context.socket(zmq.SUB)
        self._socket.linger, self._socket.rcvhwm = 0, 0
        self._socket.reconnect_ivl = 10
        self._socket.subscribe("")
        self._socket.connect(bridge.pub)
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        self._thread.join(PATIENCE)
        assert self.faults == []

    def _listen(self) -> None:
        with self._socket:
            while not self._over:
                if self._socket.poll(20):
                    with self._changed:
                        while self._socket.poll(0):
                            self._take(*self._socket.recv_multipart())
                        self._changed.notify_all()

    def _take(self, packed_topic: bytes, packed: bytes) -> None:
        topic, body = packed_topic.decode(), msgpack.unpackb(packed)
        self.epoch = body["epoch"]
        if body["type"] == "heartbeat":
            self.beats += 1
            self.stage, self.fault = body["data"]["tws"]["stage"], body["data"]["store"]["fault"]
        if "seq" not in body:
            return
        stream = ".".join(topic.split(".")[:2]) + "."
        numbered, seq = self.heard[key(stream, self.epoch)], body["seq"]
        # Within an epoch it must have heard all; what the end of one and its own connecting have cost it, it may lack.
        before = next(reversed(numbered), 0)
        known = bool(numbered) and msgpack.unpackb(numbered[before][1])["epoch"] == self.epoch
        if seq <= before or (known and seq != before + 1):
            self.faults.append(f"{topic} {seq} after {before}")
        numbered[seq] = topic, packed

    def until(self, reached: Callable[[], bool], what: str) -> None:
        """Wait until that is so of what was heard."""
        with self._changed:
            assert self._changed.wait_for(reached, PATIENCE), f"{what} did not come: {self.last()}"

    def hears(self, load: Load) -> None:
        """Wait until all has been heard that was said."""
        self.until(lambda: all(self.count(stream) >= said for stream, said in load.numbers().items()), "what TWS said")

    def count(self, stream: str) -> int:
        """The number, of those that TWS gave, that was heard last on a stream of this epoch."""
        numbered = self.heard.get(key(stream, self.epoch))
        return number(numbered[next(reversed(numbered))][1]) if numbered else 0

    def counts(self, stream: str, to: int) -> None:
        """Wait until a stream of this epoch has got to the number `to` of TWS's."""
        self.until(lambda: self.count(stream) >= to, f"number {to} on {stream}")

    def passes(self, beats: int) -> None:
        """Wait for so many heartbeats more."""
        goal = self.beats + beats
        self.until(lambda: self.beats >= goal, "a heartbeat")

    def ready(self) -> None:
        self.until(lambda: self.stage == "ready", "the connection to TWS")

    def last(self, *prefixes: str) -> dict[str, int]:
        """The last number of each stream that there is now, under these prefixes."""
        return {
            stream: next(reversed(numbered))
            for (stream, epoch), numbered in self.heard.items()
            if numbered and epoch in (0, self.epoch) and stream.startswith(prefixes or "")
        }


class Load:
    """Messages of one TWS connection: market data on four streams, and every tenth message a durable one."""

    def __init__(self, guest: Guest, label: int = 0) -> None:
        self._guest = guest
        self._label = label
        self._said: Counter[str] = Counter()
        self._count = 0

    def numbers(self) -> dict[str, int]:
        """The number that was said last, by stream."""
        return {stream: self._label * ROUND + count for stream, count in self._said.items()}

    def say(self, count: int) -> None:
        """Send `count` messages in one write."""
        assert self._guest.acceptor.dialect is not None
        put = self._guest.acceptor.dialect.put
        self._guest.raw(b"".join(put(*self._next()) for _ in range(count)))

    def _next(self) -> tuple[str, dict[str, Any]]:
        self._count += 1
        durable, which = self._count % 10 == 0, self._count // 10 % 3
        stream = ("acct.DU1.", "ord.ext.", "exec.ext.")[which] if durable else f"md.~{71 + self._count % 4}."
        self._said[stream] += 1
        this = self.numbers()[stream]
        if not durable:
            return "tickPrice", {"reqId": 71 + self._count % 4, "tickType": 1, "price": float(this), "size": 1.0}
        return _DURABLE[which](this)


def _account_value(this: int) -> tuple[str, dict[str, Any]]:
    return "updateAccountValue", {"key": "Cash", "val": str(this), "currency": "USD", "accountName": "DU1"}


def _order_status(this: int) -> tuple[str, dict[str, Any]]:
    about = {"orderId": 5, "clientId": 9, "permId": 77, "status": "Submitted"}
    return "orderStatus", {**about, "filled": float(this), "remaining": 1.0}


def _execution(this: int) -> tuple[str, dict[str, Any]]:
    fill = {"execId": str(this), "orderId": 5, "clientId": 9, "permId": 77, "acctNumber": "DU1", "shares": 1.0}
    return "execDetails", {"reqId": -1, "contract": {"symbol": "AAPL", "secType": "STK"}, "execution": fill}


_DURABLE = (_account_value, _order_status, _execution)


def number(packed: bytes) -> int:
    """The number that TWS gave to a message; 0 for one that it did not say."""
    body = msgpack.unpackb(packed)
    data = body["data"]
    match body["type"]:
        case "tickPrice":
            return int(data["price"])
        case "updateAccountValue":
            return int(data["val"])
        case "orderStatus":
            return int(data["filled"])
        case "execDetails":
            return int(data["execution"]["execId"])
    return 0


# -- what is there after all


def durable(bridge: Bridge, witness: Witness, loads: Iterable[Load]) -> dict[str, Numbered]:
    """Replay and check all durable messages that were ever published, and return them.

    Sequence numbers have no hole and no repetition. The messages that the witness received are there byte by byte. Of
    each connection's messages the beginning is there, in order, each once; of the last connection's all are there.
    """
    streams = [stream for stream in bridge_streams(bridge) if stream.startswith(DURABLE)]
    assert {stream for stream, _ in witness.heard if stream.startswith(DURABLE)} <= set(streams)
    found: dict[str, Numbered] = {}
    for stream in streams:
        replayed = bridge.replay(stream, 1)
        assert [msgpack.unpackb(body)["seq"] for _, body in replayed] == list(range(1, len(replayed) + 1)), stream
        found[stream] = dict(enumerate(replayed, 1))
        assert witness.heard[stream, 0].items() <= found[stream].items(), stream
    *ended, last = (load.numbers() for load in loads)
    for stream in last:
        if stream.startswith(DURABLE):
            _check_said(stream, [this for _, body in found[stream].values() if (this := number(body))], ended, last)
    return found


def _check_said(stream: str, told: list[int], ended: list[dict[str, int]], last: dict[str, int]) -> None:
    """Check that a stream has the beginning of each connection's messages, in order, and all of the last one's."""
    assert told == sorted(set(told)), stream
    reached = {this // ROUND: this for this in told}
    counts = Counter(this // ROUND for this in told)
    assert all(this % ROUND == counts[label] for label, this in reached.items()), stream
    assert reached[last[stream] // ROUND] == last[stream], stream
    assert all(reached.get(said[stream] // ROUND, 0) <= said[stream] for said in ended if stream in said), stream


def goal(witness: Witness, kept: Mapping[str, Numbered], *prefixes: str) -> dict[str, int]:
    """The last number of each stream that there is now, under these prefixes."""
    ends = {stream: max(numbered) for stream, numbered in kept.items() if stream.startswith(prefixes)}
    return {**witness.last(*prefixes), **ends}


def bridge_streams(bridge: Bridge) -> list[str]:
    """The names of all streams, in order."""
    names: list[str] = []
    after: str | None = ""
    while after is not None:
        page = bridge.do("snapshot", prefix="", **({"after": after} if after else {}))
        names += [stream["stream"] for stream in page["streams"]]
        after = page["next"]
    return list(dict.fromkeys(names))


def on_disk(store: pathlib.Path) -> dict[str, Numbered]:
    """Return the messages in the store's file, read without the daemon's code."""
    found: dict[str, Numbered] = defaultdict(dict)
    query = "SELECT name, seq, topic, body FROM event JOIN stream ON stream = number ORDER BY id"
    with closing(sqlite3.connect(f"file:{store}/events.db?mode=ro", uri=True)) as db:
        for name, seq, topic, body in db.execute(query):
            assert seq not in found[name.decode()]
            found[name.decode()][seq] = topic.decode(), body
    return dict(found)


# -- what a follower was told


class Account(NamedTuple):
    """Account of one stream by a follower: state up to `begun`, then `messages` and `lost`, up to `end`."""

    begun: int
    messages: Numbered
    lost: set[int]
    end: int


def accounts(entries: Iterable[Entry]) -> dict[tuple[str, int], Account]:
    """Return the accounts of all streams that a follower followed. Each number must occur once, as message or lost."""
    found: dict[tuple[str, int], Account] = {}
    for entry in entries:
        if entry.kind in ("epoch", "store", "state", "welcomed"):
            continue
        this = key(entry.stream, entry.epoch)
        account = found.get(this, Account(0, {}, set(), 0))
        if entry.kind == "begun":
            # Once more, and lower, where something came between the welcome and the snapshot.
            assert this not in found or (not account.messages and entry.seq < account.begun), entry
            found[this] = Account(entry.seq, {}, set(), entry.seq)
            continue
        assert entry.kind in ("message", "replayed", "lost"), entry
        assert entry.seq == account.end + 1, (entry.kind, this, entry.seq, account.end)
        if entry.kind != "lost":
            account.messages[entry.seq] = entry.topic, entry.body
        else:
            account.lost.update(range(entry.seq, entry.to + 1))
        found[this] = account._replace(end=max(entry.seq, entry.to))
    return found


def check(
    entries: Iterable[Entry], witness: Witness, kept: Mapping[str, Numbered], ends: Mapping[str, int]
) -> dict[tuple[str, int], Account]:
    """Check that a follower has all messages of its streams, byte by byte, or knows the lost ones; no durable one."""
    found = accounts(entries)
    for (stream, epoch), account in found.items():
        published = kept[stream] if epoch == 0 else witness.heard[stream, epoch]
        for seq, message in account.messages.items():
            # TWS counts as the daemon does, so arithmetic knows the messages that the witness missed around a restart.
            if seq in published:
                assert _alike(message, published[seq]), (stream, seq)
            elif stream != AUDIT:
                assert number(message[1]) % ROUND == seq, (stream, seq)
        assert not (epoch == 0 and account.lost), stream
    for stream, seq in ends.items():
        assert stream == AUDIT or found[key(stream, witness.epoch)].end == seq, stream
    _check_state(entries, found, witness, kept)
    for entry in entries:
        if entry.kind == "welcomed":
            _check_welcome(entry, found, witness, kept)
    return found


def _alike(one: tuple[str, bytes], other: tuple[str, bytes]) -> bool:
    """Byte by byte, or, from a client that gives no bytes, value by value."""
    return one == other or (one[0], msgpack.unpackb(one[1])) == (other[0], msgpack.unpackb(other[1]))


def _check_welcome(
    welcome: Entry, found: Mapping[tuple[str, int], Account], witness: Witness, kept: Mapping[str, Numbered]
) -> None:
    """Check that no message fell between a welcome and the snapshot: each was received, or reported as lost."""
    for (stream, epoch), account in found.items():
        if not stream.startswith(welcome.stream) or epoch not in (0, welcome.epoch):
            continue
        published = kept[stream] if epoch == 0 else witness.heard[stream, epoch]
        for seq, (_, packed) in published.items():
            body = msgpack.unpackb(packed)
            if body["epoch"] == welcome.epoch and body["offset"] > welcome.seq:
                assert account.begun < seq, (stream, account.begun, seq, "since the welcome")
                break


def _check_state(
    entries: Iterable[Entry], found: Mapping[tuple[str, int], Account], witness: Witness, kept: Mapping[str, Numbered]
) -> None:
    """State is what was published last, and nothing newer than the number that goes with it."""
    for entry in entries:
        if entry.kind == "state":
            body = msgpack.unpackb(entry.body)
            body.pop("flags", None)
            published = (kept.get(entry.stream) or witness.heard[key(entry.stream, entry.epoch)]).get(entry.seq)
            if published:
                assert (entry.topic, body) == (published[0], msgpack.unpackb(published[1]))


def patience(reached: Callable[[], bool], what: str) -> None:
    """Wait until that is so."""
    until = time.monotonic() + PATIENCE
    pause = threading.Event()
    while not reached():
        assert time.monotonic() < until, f"{what} did not come"
        pause.wait(0.005)
