"""Checks of the daemon under load: they find wrong messages, for a checker that finds nothing lets everything pass."""

from __future__ import annotations

import importlib
import itertools
import pathlib
from typing import TYPE_CHECKING, Any

import pytest

from ibbridge.codec import Dialect
from ibbridge.codec.messages import REQUESTS
from ibbridge.config.model import Config
from ibbridge.inbound.publication_plan import PASSED_ON
from ibbridge.protocol.instrument_key import instrument_key
from ibbridge.requests.request import ActiveRequest
from ibbridge.streams import snapshot
from ibbridge.wiring import assemble
from tests.support.outside import ListBus, ManualClock, outside

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = pathlib.Path(__file__).parents[3]
VERSION, IDS, DURABLE, SEED = 226, (7, 3), 0.1, 5
BLOCK = 1_500
MIB = 2**20


@pytest.fixture(autouse=True)
def path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    monkeypatch.syspath_prepend(ROOT / "soak")
    monkeypatch.setattr(importlib.import_module("expected_messages"), "BLOCK", BLOCK)


@pytest.fixture
def script() -> Any:
    return importlib.import_module("expected_messages").streams(VERSION, IDS, DURABLE, SEED)


@pytest.fixture
def checker(script: Any) -> Any:
    return importlib.import_module("message_checker").Checker(script)


class Published:
    """Frames that the daemon's own parts publish for a number of messages."""

    def __init__(self, count: int) -> None:
        self.frames: list[tuple[bytes, bytes]] = []
        parts = assemble(Config(), outside(ManualClock(us=1), ListBus(lambda *frames: self.frames.append(frames))))
        self.streams, router = parts.streams.publisher, parts.inbound.router
        mix, contract = importlib.import_module("expected_messages").mix, importlib.import_module("ticks").contract
        for line, number in enumerate(IDS):
            key = instrument_key(contract(line))
            route = ActiveRequest(REQUESTS["reqMktData"], "me", line, {}, self._place(key), None, number)
            parts.requests.tracker.open(route)
        server, client = Dialect.server(VERSION), Dialect.client(VERSION, PASSED_ON)
        for each in itertools.islice(itertools.cycle(mix(IDS, BLOCK, DURABLE, SEED)), count):
            message: Any = client.read_packed(server.put(*each)[4:])
            if type(message) is tuple:
                router.pass_on(message, 1)
            else:
                router.publish(message.name, message.data, 1)

    @staticmethod
    def _place(key: str) -> Callable[[str], tuple[str, ...]]:
        return lambda _: ("md", key)


def wrong() -> Any:
    return pytest.raises(importlib.import_module("message_checker").WrongError)


def test_everything_that_the_daemon_publishes_of_it_is_right(checker: Any, script: Any) -> None:
    frames = Published(2 * BLOCK + 700).frames
    last = dict.fromkeys(script, 0)
    for offset, (topic, body) in enumerate(frames, 1):
        stream, seq, found = checker.numbers(topic, body)
        last[stream] += 1
        assert (seq, found) == (last[stream], offset)
    assert all(last.values())


def test_a_message_with_another_content_is_wrong(checker: Any) -> None:
    for topic, body in Published(200).frames[::20]:
        with wrong():
            checker.numbers(topic, body[:-1] + bytes([body[-1] ^ 1]))


def test_a_message_that_belongs_elsewhere_is_wrong(checker: Any) -> None:
    one, *others = Published(100).frames
    stream = one[0].split(b".")[1]
    topic = next(topic for topic, _ in others if topic != one[0] and topic.split(b".")[1] == stream)
    with wrong():
        checker.numbers(topic, one[1])


def test_what_has_no_number_is_passed_over(checker: Any) -> None:
    streams = Published(0).streams
    assert checker.numbers(b"md.", streams.welcome(b"md.")) is None


@pytest.mark.parametrize("count", [1, 40, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 123])
def test_the_state_is_that_of_the_daemons_snapshot(checker: Any, script: Any, count: int) -> None:
    published = Published(count)
    streams, following = snapshot.page(published.streams, b"", messages=10**6, size=10**9)
    assert following is None
    assert streams
    for each in streams:
        given = {(topic, checker.numbers(topic, body)[1]) for topic, body in each["messages"]}
        assert given == script[each["stream"].encode()].state(each["seq"])


def test_gaps_and_steps_back_are_seen() -> None:
    sequence = importlib.import_module("message_checker").Sequence({b"md.A.": 0})
    assert sequence.gap(b"md.A.", 1) is None
    assert sequence.gap(b"md.A.", 4) == (2, 3)
    assert sequence.gap(b"md.A.", 5) is None
    assert sequence.gap(b"sys.tws.", 9) is None  # one that was not met before begins anywhere
    for seq in (5, 1):
        with wrong():
            sequence.gap(b"md.A.", seq)


def test_the_feeder_goes_round_and_says_what_it_sends() -> None:
    feeder, codec = importlib.import_module("feeder"), importlib.import_module("ibbridge.codec")
    acceptor = codec.Acceptor(newest=VERSION)
    client = codec.Connection(1)
    while acceptor.dialect is None:
        for _ in acceptor.receive_data(client.data_to_send()):
            pass
        for _ in client.receive_data(acceptor.data_to_send()):
            pass
    block = importlib.import_module("expected_messages").mix(IDS, 10, 0.5, SEED)
    load = feeder.Load(acceptor, block)
    assert load.take(4) + load.take(23) == (load.frames * 3)[:27]
    assert sum(load.about(13)["types"].values()) == 13
    assert load.about(10)["types"] == {name: [each.name for each in block].count(name) for name, _ in block}


class Process:
    """A daemon, as far as samples look at it."""

    def __init__(self) -> None:
        self.pid = 0

    def rss(self) -> int:
        return 0


def findings(rss: list[float], files: list[int] | None = None, threads: list[int] | None = None) -> Iterator[str]:
    samples = importlib.import_module("soak").Samples(Process(), settled=10)
    samples.rss = [int(each * MIB) for each in rss]
    samples.files, samples.threads = files or [20] * len(rss), threads or [4] * len(rss)
    found: Iterator[str] = samples.findings()
    return found


def test_what_stays_as_it_is_is_right() -> None:
    assert not list(findings([50.0] * 10 + [100.0] * 50))
    assert not list(findings([50.0] * 10 + [100.0, 110.0] * 25))
    assert not list(findings([50.0] * 60, files=[20, 22] * 30))


def test_what_grows_is_found() -> None:
    (found,) = findings([50.0] * 10 + [100 + number for number in range(50)])
    assert found.startswith("memory grows")
    (found,) = findings([50.0] * 10 + [500.0] * 50)
    assert found.startswith("memory: 500 MiB")
    (found,) = findings([50.0] * 60, files=list(range(60)))
    assert found.startswith("files")
    (found,) = findings([50.0] * 60, threads=[4] * 59 + [5])
    assert found.startswith("threads")
    (found,) = findings([50.0] * 12)
    assert "settle" in found
