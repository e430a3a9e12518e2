"""Following without sockets: a model of a daemon, a channel that loses what it likes, and what must come of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgpack
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from ibbridge.client import stream_follower
from ibbridge.client.errors import BridgeError
from ibbridge.client.events import Down, Gap, Restart, Up
from ibbridge.client.events import Event as Event_
from ibbridge.client.gap_recovery import MOST
from ibbridge.client.stream_follower import StreamFollower
from ibbridge.client.stream_state import DURABLE, PREFIX, STREAM, Mode, PrefixStage, StreamEvent, StreamStage
from tests.support.fake_daemon import body

if TYPE_CHECKING:
    from ibbridge.client import Message

Frames = tuple[bytes, bytes]

HEARTBEAT = "sys.bridge.heartbeat."
RING = 4  # messages of a volatile stream that the model keeps
PAGE = 2  # messages in a page of its answers


def durable(stream: str) -> bool:
    return stream.split(".", 1)[0] in DURABLE


class Model:
    """A daemon as the contract has it: streams, a ring, a store, pages, heartbeats; and no socket."""

    def __init__(self) -> None:
        self.epoch = 1_000_000
        self.store = "a"
        self.stores = {self.epoch: self.store}
        self.streams: dict[str, list[Frames]] = {}
        self.changed: dict[str, int] = {}
        self.beats = 0
        self.offset = 0

    def publish(self, stream: str, identity: str) -> Frames:
        kept = self.streams.setdefault(stream, [])
        self.offset += 1
        topic = f"{stream}{identity}."
        about = {"offset": self.offset, "data": {"identity": identity}}
        kept.append((topic.encode(), body(topic, len(kept) + 1, epoch=self.epoch, **about)))
        self.changed[stream] = 3
        return kept[-1]

    def restart(self, *, store: str, lost: int = 0) -> None:
        """Begin an epoch: of the same store it is higher, of another one the clock may say anything."""
        self.epoch = self.epoch + 1 if store == self.store else min(self.stores) - 1000
        self.streams = {name: kept[: len(kept) - lost] for name, kept in self.streams.items() if durable(name)}
        if store != self.store:
            self.streams = {}
        self.store = self.stores[self.epoch] = store
        self.changed = {}
        self.beats = self.offset = 0

    def place(self, epoch: int) -> int:
        """Return which epoch this is, by the order in which they came."""
        return list(self.stores).index(epoch)

    def welcome(self, prefix: str) -> Frames:
        about = {"type": "welcome", "proto": 1, "epoch": self.epoch, "gen": 1, "heartbeat": 1.0}
        about.update(offset=self.offset, beat=self.beats)
        return prefix.encode(), msgpack.packb({**about, "store": self.store})

    def heartbeat(self, now: float) -> Frames:
        self.beats += 1
        seqs = {name: len(kept) for name, kept in self.streams.items() if durable(name) or self.changed.get(name)}
        self.changed = {name: left - 1 for name, left in self.changed.items() if left > 1}
        about = {"type": "heartbeat", "epoch": self.epoch, "gen": 1, "ts": int(now * 1e6)}
        data = {"seqs": seqs, "store": {"name": self.store}, "beat": self.beats, "offset": self.offset}
        return HEARTBEAT.encode(), msgpack.packb({**about, "data": data})

    def first(self, stream: str) -> int:
        return 1 if durable(stream) else max(1, len(self.streams[stream]) - RING + 1)

    def answer(self, cmd: str, args: dict[str, Any]) -> dict[str, Any]:
        result = self.snapshot(**args) if cmd == "snapshot" else self.replay(args["from"], **args)
        good = "code" not in result
        return {"ok": good, "epoch": self.epoch, **({"result": result} if good else {"error": result})}

    def state(self, stream: str, prefix: str = "") -> dict[str, Frames]:
        """The last message of each identity, but for `e`: those are events, which have no state."""
        return {topic.decode(): (topic, packed) for topic, packed in self.streams.get(stream, ())
                if topic.decode().startswith(prefix) and not topic.endswith(b".e.")}  # fmt: skip

    def snapshot(self, prefix: str, after: str = "") -> dict[str, Any]:
        """A page; it may end within a stream, and `next` then says how far it came, at which number."""
        name, _, at = after.partition(" ")
        skip, seq = map(int, at.split()) if at else (0, 0)
        streams: list[dict[str, Any]] = []
        for stream in sorted(self.streams):
            if stream < name or (stream == name and not at) or not (stream + prefix).startswith((prefix, stream)):
                continue
            if not (stream.startswith(prefix) or prefix.startswith(stream)):
                continue
            last = len(self.streams[stream])
            rows = [[topic, marked(packed)] for topic, packed in self.state(stream, prefix).values()]
            begun = skip if (stream, seq) == (name, last) else 0
            streams.append({"stream": stream, "seq": last, "messages": rows[begun : begun + PAGE]})
            if len(rows) > begun + PAGE:
                return {"streams": streams, "next": f"{stream} {begun + PAGE} {last}", "offset": self.offset}
            return {"streams": streams, "next": stream, "offset": self.offset}
        return {"streams": streams, "next": None, "offset": self.offset}

    def replay(self, begin: int, stream: str, to: int, **_: Any) -> dict[str, Any]:
        kept = self.streams.get(stream, [])
        if begin < self.first(stream) if kept else False:
            return {"code": "E_GAP_TOO_OLD", "first": self.first(stream), "message": ""}
        end = min(to, begin + PAGE - 1)
        rows = [[topic, packed] for topic, packed in kept[begin - 1 : end]]
        return {"stream": stream, "messages": rows, "next": end + 1 if end < min(to, len(kept)) else None}


def marked(packed: bytes) -> bytes:
    """A row of a snapshot, so that the test can tell it from the same message replayed."""
    message = msgpack.unpackb(packed)
    message["ref"] = {"row": True}
    marked: bytes = msgpack.packb(message)
    return marked


class Reader:
    """Strategy that reads messages, and checks that none is missing, twice, or out of order."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.last: dict[str, int] = {}
        self.state: dict[str, dict[str, tuple[int, int]]] = {}
        self.store = ""
        self.gaps: list[Gap] = []

    def read(self, message: Message) -> None:
        if isinstance(message, Restart):
            assert message.before != message.epoch
            self._restarted()
        elif isinstance(message, Gap):
            self._store_of(message)
            assert self.last.get(message.stream, message.first - 1) + 1 == message.first <= message.last, message
            self.last[message.stream] = message.last
            self.gaps.append(message)
        elif not isinstance(message, (Down, Up)) and message.type != "heartbeat":
            self._message(message)

    def _restarted(self) -> None:
        self.last = {name: seq for name, seq in self.last.items() if durable(name)}
        self.state = {name: state for name, state in self.state.items() if durable(name)}

    def _store_of(self, message: Message) -> None:
        self.goes_on(self.model.stores[message.epoch])

    def goes_on(self, store: str) -> None:
        """With this store. Of another one nothing holds."""
        if self.store != store:
            self.store, self.last, self.state = store, {}, {}

    def _message(self, message: Message) -> None:
        self._store_of(message)
        stream = ".".join(message.topic.split(".")[:2]) + "."
        state, at = self.state.setdefault(stream, {}), (self.model.place(message.epoch), message.seq)
        if "row" in message.ref:
            assert "replayed" in message.flags
        else:
            assert message.seq == self.last.get(stream, message.seq - 1) + 1, (message, self.last)
            self.last[stream] = message.seq
        if not message.topic.endswith(".e."):
            assert state.get(message.topic, (-1, 0)) < at, "state goes back, or comes twice"
            state[message.topic] = at

    def forget(self, streams: list[str]) -> None:
        for stream in streams:
            self.last.pop(stream, None)
            self.state.pop(stream, None)


STREAMS = ["md.A.", "md.B.", "ord.me.", "exec.me.", "acct.DU1."]
PREFIXES = ["md.", "md.A.", "ord.", "exec.me.", "acct.", "ord.me.", ""]
streams, prefixes, identities = (st.sampled_from(each) for each in (STREAMS, PREFIXES, ["x", "y", "e"]))


class Following(RuleBasedStateMachine):
    """Whatever the channel does, every stream ends complete, or with gaps that name what is missing."""

    @initialize(begin=st.lists(st.tuples(streams, identities), max_size=12))
    def begin(self, begin: list[tuple[str, str]]) -> None:
        self.model = Model()
        for stream, identity in begin:
            self.model.publish(stream, identity)
        self.follower = StreamFollower()
        self.reader = Reader(self.model)
        self.now = 0.0
        self.link: list[Frames] | None = []
        self.subscribed: set[str] = set()
        self.filter: set[str] = set()
        self.pending: tuple[Any, dict[str, Any]] | None = None
        self.subscribe(HEARTBEAT)
        self.subscribe("ord.")
        self.subscribe("md.A.")

    # -- the channel

    def send(self, frames: Frames) -> None:
        if self.link is not None and any(frames[0].decode().startswith(each) for each in self.filter):
            self.link.append(frames)

    def connect(self) -> None:
        self.link = []
        for each in sorted(self.subscribed):
            self.filter.add(each)
            self.send(self.model.welcome(each))

    def deliver(self, count: int) -> None:
        for frames in (self.link or [])[:count]:
            self.follower.take(*frames)
        if self.link:
            del self.link[:count]
            self.follower.hear(self.now)
        self.read()

    def read(self) -> None:
        while self.follower.ready:
            self.reader.read(self.follower.ready.popleft())

    # -- what happens

    def subscribe(self, prefix: str) -> None:
        self.follower.subscribe(prefix, Mode.LIVE if prefix == HEARTBEAT else Mode.STATE)
        self.subscribed.add(prefix)
        if self.link is not None:
            self.filter.add(prefix)
            self.send(self.model.welcome(prefix))

    @rule(prefix=prefixes)
    def add(self, prefix: str) -> None:
        if prefix not in self.subscribed:
            self.subscribe(prefix)

    @rule(prefix=prefixes)
    def leave(self, prefix: str) -> None:
        if prefix in self.subscribed:
            self.subscribed.discard(prefix)
            self.filter.discard(prefix)
            self.read()
            self.follower.unsubscribe(prefix)
            self.read()
            self.reader.forget([each for each in STREAMS if not self.covered(each)])

    def covered(self, stream: str) -> bool:
        return any(stream.startswith(each) for each in self.subscribed)

    @rule(stream=streams, identity=identities, count=st.integers(1, 7))
    def publish(self, stream: str, identity: str, count: int) -> None:
        for _ in range(count):
            self.send(self.model.publish(stream, identity))

    @rule()
    def beat(self) -> None:
        self.now += 1
        self.send(self.model.heartbeat(self.now))

    @rule(count=st.integers(1, 30))
    def arrive(self, count: int) -> None:
        self.deliver(count)

    @precondition(lambda self: self.link)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        assert self.link
        first = data.draw(st.integers(0, len(self.link) - 1))
        del self.link[first : data.draw(st.integers(first + 1, len(self.link)))]

    @rule()
    def cut(self) -> None:
        self.link = None
        self.filter = set()

    @precondition(lambda self: self.link is None)
    @rule()
    def reconnect(self) -> None:
        self.connect()

    @rule(same=st.booleans())
    def restart(self, *, same: bool) -> None:
        self.model.restart(store=self.model.store if same else f"of {self.model.epoch}")
        self.cut()

    @rule()
    def pause(self) -> None:
        self.now += 5
        self.follower.tick(self.now)

    @precondition(lambda self: self.pending is None)
    @rule()
    def ask(self) -> None:
        ask = self.follower.ask(self.now)
        if ask is not None:
            self.pending = ask, self.model.answer(ask.cmd, ask.args)

    @precondition(lambda self: self.pending is not None)
    @rule()
    def answer(self) -> None:
        assert self.pending is not None
        self.follower.answer(*self.pending, self.now)
        self.pending = None
        for prefix in self.follower.to_greet():
            self.send(self.model.welcome(prefix))
        self.read()

    @precondition(lambda self: self.pending is not None)
    @rule()
    def fail(self) -> None:
        assert self.pending is not None
        ask, self.pending = self.pending[0], None
        self.follower.unanswered(ask, self.now)
        if ask.epoch == self.follower.epoch:
            assert self.follower.ask(self.now) is None, "asked again at once"

    # -- the end

    def teardown(self) -> None:
        if not hasattr(self, "model"):
            return
        if self.link is None:
            self.connect()
        if self.pending is not None:
            self.answer()
        self.settle()
        self.reader.goes_on(self.model.store)
        for stream in STREAMS:
            if self.covered(stream):
                self.check(stream)
        for gap in self.reader.gaps:
            assert gap.missed == gap.last - gap.first + 1
            assert not durable(gap.stream) or self.model.stores[gap.epoch] != self.model.store, "it can be had"

    def settle(self) -> None:
        for _ in range(5):
            self.beat()
            self.deliver(10**6)
            for _ in range(1000):
                ask = self.follower.ask(self.now)
                if ask is None:
                    break
                self.follower.answer(ask, self.model.answer(ask.cmd, ask.args), self.now)
                self.read()
            else:
                raise AssertionError("it asks for ever")

    def check(self, stream: str) -> None:
        published = len(self.model.streams.get(stream, []))
        if published == 0:
            return
        state = {topic: (self.model.place(message["epoch"]), message["seq"])
                 for topic, (_, packed) in self.model.state(stream).items()
                 for message in [msgpack.unpackb(packed)]}  # fmt: skip
        assert self.reader.state.get(stream, {}) == state, stream
        track = self.follower._tracks[stream]
        assert (track.state, track.last) == (StreamStage.LIVE, published), stream
        assert self.reader.last.get(stream, published) == published


# -- one thing at a time


class Bench:
    """A follower of a model that loses nothing, unless it is told to."""

    def __init__(self, *prefixes: str, mode: Mode = Mode.STATE, most: int = MOST) -> None:
        self.model = Model()
        self.now = 0.0
        self.follower = StreamFollower(most=most)
        for prefix in prefixes:
            self.subscribe(prefix, mode)

    def subscribe(self, prefix: str, mode: Mode = Mode.STATE) -> None:
        self.follower.subscribe(prefix, mode)
        self.follower.take(*self.model.welcome(prefix))

    def publish(self, stream: str, identity: str = "x", count: int = 1, *, lost: bool = False) -> None:
        for _ in range(count):
            frames = self.model.publish(stream, identity)
            if not lost:
                self.follower.take(*frames)

    def beat(self) -> None:
        self.now += 1
        self.follower.take(*self.model.heartbeat(self.now))

    def serve(self) -> list[tuple[str, dict[str, Any]]]:
        """Answer all that is asked; what that was, but for further pages of a snapshot."""
        asked = []
        while (ask := self.follower.ask(self.now)) is not None:
            if "after" not in ask.args:
                asked.append((ask.cmd, ask.args))
            self.follower.answer(ask, self.model.answer(ask.cmd, ask.args), self.now)
        self.greet = self.follower.to_greet()
        return asked

    def read(self) -> list[tuple[Any, ...]]:
        """Return the messages that are ready, in brief, without heartbeats."""
        ready = [brief(each) for each in self.follower.ready if each.type != "heartbeat"]
        self.follower.ready.clear()
        return ready


def brief(message: Message) -> tuple[Any, ...]:
    if isinstance(message, Gap):
        return "gap", message.first, message.last, message.reason
    if isinstance(message, Event_):
        return (message.type,)
    return message.type, message.seq, "replayed" if "replayed" in message.flags else "live"


def test_what_came_before_the_snapshot_is_not_lost_in_it() -> None:
    """An earlier message may be an execution, which no snapshot contains."""
    bench = Bench("exec.me.")
    bench.model.publish("exec.me.", "old")
    bench.publish("exec.me.", "x", 2)
    assert bench.serve() == [("snapshot", {"prefix": "exec.me."})]
    assert bench.read() == [("old", 1, "replayed"), ("x", 2, "live"), ("x", 3, "live")]


def test_what_the_snapshot_has_overtaken_comes_behind_the_state_before_it() -> None:
    bench = Bench("ord.")
    frames = [bench.model.publish("ord.me.", each) for each in ("x", "y", "e", "x", "e")]
    assert bench.serve() == [("snapshot", {"prefix": "ord."})]
    assert (bench.read(), bench.greet) == ([], ["ord."])
    assert not bench.follower.begun("ord.")
    bench.follower.take(*frames[2])  # the first two were published before the subscription
    assert bench.read() == [("y", 2, "replayed"), ("e", 3, "live")]
    assert bench.follower.begun("ord.")
    for each in frames[3:]:
        bench.follower.take(*each)
    assert bench.read() == [("x", 4, "live"), ("e", 5, "live")]


def test_if_nothing_was_on_its_way_the_state_is_given_when_that_is_known() -> None:
    bench = Bench("ord.")
    for _ in range(3):
        bench.model.publish("ord.me.", "x")
    bench.serve()
    assert bench.read() == []
    bench.follower.take(*bench.model.welcome("ord."))
    assert bench.read() == [("x", 3, "replayed")]
    bench.publish("ord.me.")
    assert bench.read() == [("x", 4, "live")]


@pytest.mark.parametrize("what", ["heartbeat", "message"])
def test_whatever_else_comes_says_so_as_well(what: str) -> None:
    bench = Bench("ord.", "md.")
    bench.serve()
    bench.subscribe("exec.")
    bench.model.publish("exec.me.", "x")
    bench.serve()
    assert bench.read() == []
    if what == "heartbeat":
        bench.beat()
        assert bench.read() == [("x", 1, "replayed")]
    else:
        bench.publish("md.B.")
        assert bench.read() == [("x", 1, "live"), ("x", 1, "replayed")]


def test_a_gap_is_replayed_before_what_follows_it() -> None:
    bench = Bench("ord.")
    bench.serve()
    bench.publish("ord.me.")
    bench.publish("ord.me.", count=3, lost=True)
    bench.publish("ord.me.")
    bench.publish("acct.DU1.")
    assert bench.serve() == [
        ("replay", {"stream": "ord.me.", "from": 2, "to": 4}),
        ("replay", {"stream": "ord.me.", "from": 4, "to": 4}),
    ]
    assert bench.read() == [("x", 1, "live"), *(("x", seq, "replayed") for seq in (2, 3, 4)), ("x", 5, "live")]


def test_what_cannot_be_replayed_is_told_by_its_numbers_and_its_state_is_given() -> None:
    bench = Bench("md.A.")
    bench.serve()
    bench.publish("md.A.")
    bench.publish("md.A.", "y", count=2, lost=True)
    bench.publish("md.A.", "x", count=4, lost=True)
    bench.publish("md.A.")
    asked = [cmd for cmd, _ in bench.serve()]
    assert asked[:2] == ["replay", "snapshot"]
    assert bench.read() == [
        ("x", 1, "live"),
        ("gap", 2, 4, "E_GAP_TOO_OLD"),
        ("y", 3, "replayed"),
        *(("x", seq, "replayed") for seq in (5, 6, 7)),
        ("x", 8, "live"),
    ]


@pytest.mark.parametrize("code", ["E_STORE", "E_INTERNAL", "E_PROTO"])
def test_a_replay_that_is_refused_holds_up_nothing(code: str) -> None:
    """A store that cannot be read must not keep a fill from whoever waits for it."""
    bench = Bench("ord.me.")
    bench.serve()
    bench.publish("ord.me.", lost=True)
    bench.publish("ord.me.")
    ask = bench.follower.ask(0)
    assert ask is not None
    bench.follower.answer(ask, {"ok": False, "epoch": 1_000_000, "error": {"code": code}}, 0)
    assert [cmd for cmd, _ in bench.serve()] == ["snapshot"]
    assert bench.read() == [("gap", 1, 1, code), ("x", 2, "live")]


def test_a_snapshot_that_is_refused_is_made_up_for_by_all_there_is() -> None:
    bench = Bench()
    bench.publish("ord.me.", count=2, lost=True)
    bench.subscribe("ord.")
    ask = bench.follower.ask(0)
    assert ask is not None
    bench.follower.answer(ask, {"ok": False, "epoch": 1_000_000, "error": {"code": "E_INTERNAL"}}, 0)
    bench.publish("ord.me.")
    assert [cmd for cmd, _ in bench.serve()] == ["replay"]
    assert bench.read() == [("x", 1, "replayed"), ("x", 2, "replayed"), ("x", 3, "live")]


def test_the_last_messages_are_missed_by_the_heartbeat() -> None:
    bench = Bench("md.")
    bench.serve()
    bench.publish("md.A.", count=2, lost=True)
    bench.beat()
    bench.serve()
    assert bench.read() == [("x", 1, "replayed"), ("x", 2, "replayed")]


def test_when_many_heartbeats_were_lost_a_snapshot_says_what_else_was() -> None:
    bench = Bench("md.")
    bench.serve()
    bench.beat()
    bench.publish("md.A.", lost=True)
    for _ in range(3):
        bench.model.heartbeat(bench.now)
    bench.now += 3
    bench.beat()
    assert [cmd for cmd, _ in bench.serve()] == ["snapshot", "replay"]
    assert bench.read() == [("x", 1, "replayed")]


def test_a_command_without_an_answer_is_wanted_again_later_and_is_not_the_last() -> None:
    bench = Bench("ord.")
    ask = bench.follower.ask(0)
    assert ask is not None
    assert bench.follower.ask(0) is None, "one at a time"
    bench.follower.unanswered(ask, 10)
    assert bench.follower.ask(10) is None
    assert bench.follower.wake() == min(10 + stream_follower.RETRY, stream_follower.MISSED)
    again = bench.follower.ask(10 + stream_follower.RETRY)
    assert again is not None
    assert (again.cmd, again.args) == (ask.cmd, ask.args)
    bench.follower.answer(ask, bench.model.answer(ask.cmd, ask.args), 0)
    assert again.state is again.about.state is PrefixStage.BEGINNING, "an answer that comes too late is none"


def test_the_reply_of_a_daemon_that_is_not_heard_yet_is_none() -> None:
    bench = Bench("ord.")
    ask = bench.follower.ask(0)
    bench.model.restart(store="a")
    assert ask is not None
    bench.follower.answer(ask, bench.model.answer(ask.cmd, ask.args), 0)
    assert bench.follower.ask(0) is None
    bench.follower.take(*bench.model.welcome("ord."))
    assert bench.serve() == [("snapshot", {"prefix": "ord."})]


def test_a_durable_stream_goes_on_across_a_restart_and_others_begin_anew() -> None:
    bench = Bench("ord.", "md.")
    bench.serve()
    bench.publish("ord.me.")
    bench.publish("md.A.")
    bench.publish("ord.me.", lost=True)
    bench.model.restart(store="a")
    bench.model.publish("ord.me.", "x")
    bench.model.publish("md.A.", "x")
    bench.follower.take(*bench.model.welcome("ord."))
    bench.follower.take(*bench.model.welcome("md."))
    bench.serve()
    assert bench.read() == [
        ("x", 1, "live"), ("x", 1, "live"), ("restart",),
        ("x", 1, "replayed"), ("x", 2, "replayed"), ("x", 3, "replayed"),
    ]  # fmt: skip


def test_what_was_missing_when_the_daemon_ended_is_told() -> None:
    bench = Bench("md.A.")
    bench.serve()
    bench.publish("md.A.")
    bench.publish("md.A.", lost=True)
    bench.publish("md.A.")
    bench.model.restart(store="a")
    bench.follower.take(*bench.model.welcome("md.A."))
    assert bench.read() == [("x", 1, "live"), ("gap", 2, 2, "E_GAP_TOO_OLD"), ("x", 3, "live"), ("restart",)]


@pytest.mark.parametrize("later", range(6))
def test_numbers_that_a_broken_store_gives_again_are_not_taken_for_those_that_were_seen(later: int) -> None:
    """The stream is then below the last number that was seen, at it, or above."""
    bench = Bench("ord.")
    bench.serve()
    bench.publish("ord.me.", "x", 5)
    bench.read()
    bench.model.restart(store="a", lost=3)
    for _ in range(later):
        bench.model.publish("ord.me.", "new")
    bench.follower.take(*bench.model.welcome("ord."))
    bench.serve()
    bench.publish("ord.me.", "live")
    bench.serve()
    got = [each for each in bench.read() if each[0] not in ("restart", "gap")]
    assert got == [*(("new", 3 + each, "replayed") for each in range(later)), ("live", 3 + later, "live")]


def test_a_prefix_narrower_than_a_stream_has_no_gaps_and_no_duplicates() -> None:
    bench = Bench()
    bench.publish("md.A.", "x", lost=True)
    bench.subscribe("md.A.x.")
    bench.publish("md.A.", "x")
    bench.publish("md.A.", "y", 3, lost=True)
    assert bench.serve() == [("snapshot", {"prefix": "md.A.x."})]
    bench.publish("md.A.", "x")
    bench.beat()
    assert bench.serve() == []
    assert bench.read() == [("x", 2, "live"), ("x", 6, "live")]


def test_the_whole_of_a_stream_takes_over_from_a_part_without_a_loss() -> None:
    bench = Bench("md.A.x.")
    bench.serve()
    bench.publish("md.A.", "x", 2)
    bench.subscribe("md.A.")
    bench.publish("md.A.", "x")
    bench.publish("md.A.", "y")
    bench.serve()
    assert bench.read() == [("x", 1, "live"), ("x", 2, "live"), ("x", 3, "live"), ("y", 4, "live")]


def test_what_is_held_for_a_stream_that_is_not_known_yet_is_given_when_it_is() -> None:
    bench = Bench("md.A+", mode=Mode.HOLD)
    bench.publish("md.A+depth.")
    bench.publish("md.A+bars.")
    assert bench.serve() == []
    bench.subscribe("md.A+depth.")
    bench.follower.unsubscribe("md.A+")
    assert bench.serve() == [("snapshot", {"prefix": "md.A+depth."})]
    assert bench.read() == [("x", 1, "live")]


def test_a_stream_followed_from_now_on_has_no_state_until_somebody_wants_it() -> None:
    bench = Bench()
    bench.publish("ord.ext.", "old", lost=True)
    bench.publish("ord.ext.", "x", 3, lost=True)
    bench.subscribe("ord.", Mode.LIVE)
    bench.publish("ord.ext.")
    assert (bench.serve(), bench.read()) == ([], [("x", 5, "live")])
    bench.subscribe("ord.ext.")
    bench.publish("ord.ext.")
    bench.serve()
    assert bench.read() == [("old", 1, "replayed"), ("x", 6, "live")]
    bench.follower.unsubscribe("ord.")
    bench.publish("ord.ext.")
    assert bench.read() == [("x", 7, "live")]


def test_a_subscription_within_another_gives_nothing_twice() -> None:
    bench = Bench("md.")
    bench.serve()
    bench.publish("md.A.")
    bench.subscribe("md.A.")
    assert (bench.serve(), bench.read()) == ([], [("x", 1, "live")])
    bench.follower.unsubscribe("md.")
    bench.publish("md.A.")
    assert bench.read() == [("x", 2, "live")]


def test_what_waits_is_bounded_and_the_rest_is_had_again() -> None:
    bench = Bench("ord.", most=3)
    bench.publish("ord.me.", count=5)
    bench.publish("ord.other.", count=2)
    bench.serve()
    assert sorted(bench.read()) == sorted(
        [("x", 1, "live"), ("x", 2, "live"), ("x", 3, "live")] + [("x", seq, "replayed") for seq in (4, 5, 1, 2)]
    )


def test_a_book_is_given_when_its_number_is_reached() -> None:
    bench = Bench("md.A+depth.")
    bench.publish("md.A+depth.", "updateMktDepth", 2)
    ask = bench.follower.ask(0)
    assert ask is not None
    row = body("md.A+depth.updateMktDepth.", 3, epoch=1_000_000, flags=["synthetic"])
    book = {"stream": "md.A+depth.", "seq": 3, "messages": [[b"md.A+depth.updateMktDepth.", row]]}
    bench.publish("md.A+depth.", "updateMktDepth", 2)
    bench.follower.answer(ask, {"ok": True, "epoch": 1_000_000, "result": {"streams": [book], "next": None}}, 0)
    kind = "updateMktDepth"
    assert bench.read() == [*((kind, seq, "live") for seq in (1, 2, 3)), (kind, 3, "replayed"), (kind, 4, "live")]


def test_a_stream_that_begins_anew_on_the_next_page_is_taken_from_there() -> None:
    bench = Bench("md.")
    row = [b"md.A.x.", body("md.A.x.", 1, epoch=1_000_000)]
    pages: list[dict[str, Any]] = [
        {"streams": [{"stream": "md.A.", "seq": 1, "messages": [row]}], "next": "p"},
        {"streams": [{"stream": "md.A.", "seq": 2, "messages": [[b"md.A.y.", body("md.A.y.", 2, epoch=1_000_000)]]}],
         "next": "q"},
        {"streams": [{"stream": "md.A.", "seq": 2, "messages": [row]}], "next": None},
    ]  # fmt: skip
    for page, after in zip(pages, (None, "p", "q"), strict=True):
        ask = bench.follower.ask(0)
        assert ask is not None
        assert ask.args.get("after") == after
        bench.follower.answer(ask, {"ok": True, "epoch": 1_000_000, "result": page}, 0)
    assert bench.read() == [("y", 2, "replayed"), ("x", 1, "replayed")]


def test_silence_is_told_once_and_so_is_its_end() -> None:
    bench = Bench("ord.")
    bench.follower.hear(1.0)
    bench.follower.tick(1.0 + stream_follower.MISSED - 0.1)
    assert bench.read() == []
    for _ in range(2):
        bench.follower.tick(1.0 + stream_follower.MISSED)
    assert bench.follower.down
    assert isinstance(bench.follower.ready[0], Down)
    assert bench.follower.ready[0].seconds == stream_follower.MISSED
    bench.follower.hear(9.0)
    assert bench.read() == [("down",), ("up",)]
    assert bench.follower.wake() is not None


def test_unsubscribing_while_something_is_on_its_way_leaves_nothing_behind() -> None:
    bench = Bench("ord.", "md.")
    ask = bench.follower.ask(0)
    assert ask is not None
    bench.publish("ord.me.")
    bench.follower.unsubscribe("ord.")
    bench.follower.answer(ask, bench.model.answer(ask.cmd, ask.args), 0)
    bench.publish("ord.me.")
    assert bench.serve() == [("snapshot", {"prefix": "md."})]
    assert bench.read() == []
    assert bench.follower._kept == 0


@pytest.mark.parametrize("new", [99, 101])
def test_any_other_epoch_is_a_new_one_and_what_comes_late_of_one_that_is_over_is_ignored(new: int) -> None:
    follower = StreamFollower()
    follower.subscribe("md.")

    def hear(epoch: int) -> list[str]:
        about = {"type": "welcome", "proto": 1, "epoch": epoch, "gen": 1, "heartbeat": 1.0, "offset": 0, "beat": 0}
        follower.take(b"md.", msgpack.packb({**about, "store": f"s-{epoch}"}))
        found = [type(each).__name__ for each in follower.ready]
        follower.ready.clear()
        return found

    assert hear(100) == []
    assert hear(new) == ["Restart"]
    assert hear(100) == []
    assert follower.epoch == new
    assert hear(200) == ["Restart"]
    assert hear(new) == hear(100) == []


def test_another_protocol_is_refused() -> None:
    follower = StreamFollower()
    with pytest.raises(BridgeError, match="speaks protocol 2, this library 1"):
        follower.take(b"md.", msgpack.packb({"type": "welcome", "proto": 2, "epoch": 1}))


def test_every_state_can_be_left_and_reached() -> None:
    assert {state for state, _ in PREFIX} == set(PrefixStage) == {*PREFIX.values()}
    assert {state for state, _ in STREAM} == set(StreamStage) == {*STREAM.values()}
    assert {event for _, event in [*PREFIX, *STREAM]} == set(StreamEvent)


Following.TestCase.settings = settings(
    max_examples=150, stateful_step_count=50, deadline=None, report_multiple_bugs=False
)
TestFollowing = Following.TestCase
