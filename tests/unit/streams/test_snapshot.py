"""Snapshots, a page at a time, while everything goes on."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibbridge.streams import snapshot
from ibbridge.streams.market_depth import DepthBook
from ibbridge.streams.publisher import Publisher
from tests.support.daemon_core import AAPL, Middle, each_pair

KEYS, KINDS = "abc", "xy"
SAY = st.tuples(st.just("say"), st.sampled_from(KEYS), st.sampled_from(KINDS), st.integers(0, 5))
STEP = st.one_of(
    SAY, SAY, SAY,
    st.tuples(st.just("forget"), st.sampled_from(KEYS), st.sampled_from(KINDS)),
    st.tuples(st.just("reconnect")),
    st.tuples(st.just("page")),
)  # fmt: skip


class Client:
    """Follows docs/protocol.md: keeps what it hears, asks for pages, and ends with a view of its own."""

    def __init__(self) -> None:
        self.heard: list[tuple[bytes, bytes]] = []
        self.seqs: dict[str, int] = {}
        self.state: dict[str, dict[tuple[str, int], int]] = {}
        self.next: str | None = ""

    def page(self, streams: Publisher, most: int) -> None:
        assert self.next is not None
        page, self.next = snapshot.page(streams, b"md.", self.next, most)
        for each in page:
            if self.seqs.get(each["stream"]) != each["seq"]:  # begins, or begins anew
                self.seqs[each["stream"]], self.state[each["stream"]] = each["seq"], {}
            for _, packed in each["messages"]:
                assert self.apply(each["stream"], packed) <= each["seq"], "nothing in it is newer than the stream was"

    def apply(self, stream: str, packed: bytes) -> int:
        body = msgpack.unpackb(packed)
        self.state.setdefault(stream, {})[body["type"], body["data"]["n"]] = body["seq"]
        seq: int = body["seq"]
        return seq

    def view(self) -> dict[str, dict[tuple[str, int], int]]:
        for topic, packed in self.heard:
            stream = ".".join(topic.decode().split(".")[:2]) + "."
            if msgpack.unpackb(packed)["seq"] > self.seqs.get(stream, 0):
                self.apply(stream, packed)
        return self.state


@given(st.lists(STEP, max_size=40), st.lists(STEP, max_size=40), st.integers(1, 4))
def test_who_follows_the_protocol_ends_with_the_newest_of_everything_whatever_happens_between_two_pages(  # noqa: C901
    before, during, most
):
    client = Client()
    streams = Publisher(1, each_pair(lambda *frames: client.heard.append(frames)))
    newest: dict[str, dict[tuple[str, int], int]] = {}
    dropped: set[tuple[str, str]] = set()

    def take(step):
        if step[0] == "say":
            _, key, kind, n = step
            channel = streams.channel("md", key, kind)
            streams.publish_map(channel, {"n": n}, 1, n)
            newest.setdefault(f"md.{key}.", {})[kind, n] = channel.stream.seq
        elif step[0] == "forget":
            _, key, kind = step
            streams.forget(streams.channel("md", key, kind))
            dropped.add((f"md.{key}.", kind))
            for pair in [pair for pair in newest.get(f"md.{key}.", {}) if pair[0] == kind]:
                del newest[f"md.{key}."][pair]
        elif step[0] == "reconnect":
            streams.next_generation()
        elif client.next is not None:
            client.page(streams, most)

    for step in before:
        if step[0] != "page":
            take(step)
    client.heard.clear()  # it subscribes here
    for step in during:
        take(step)
    while client.next is not None:
        client.page(streams, most)
    view = client.view()
    for stream, state in newest.items():
        for (kind, n), seq in state.items():
            assert view[stream][kind, n] == seq
        # A state that was dropped between two pages may be known: it was true when its page was made.
        assert {pair for pair in view[stream] if (stream, pair[0]) not in dropped} <= state.keys()


def filled(streams: int, states: int) -> Publisher:
    made = Publisher(1, lambda _: None)
    for key in range(streams):
        channel = made.channel("md", f"S{key:05}", "tickPrice")
        for n in range(states):
            made.publish_map(channel, {"n": n}, 1, n)
    return made


@pytest.mark.parametrize(("streams", "states"), [(3_000, 0), (2_500, 1), (1, 2_500), (40, 100)])
def test_no_page_has_more_than_is_allowed(streams, states):
    made, seen = filled(streams, max(states, 1)), 0
    after: str | None = ""
    if not states:
        made.forget_types(("md",), frozenset(("tickPrice",)))
    while after is not None:
        page, after = snapshot.page(made, b"", after)
        count = sum(len(each["messages"]) for each in page)
        assert count <= snapshot.MESSAGES
        assert len(page) <= snapshot.STREAMS
        assert sum(len(body) for each in page for _, body in each["messages"]) < snapshot.BYTES + 200
        seen += count
    assert seen == streams * states


def test_a_message_larger_than_a_page_has_one_of_its_own():
    made = Publisher(1, lambda _: None)
    for n in range(3):
        made.publish_map(made.channel("md", "A", "x"), {"n": n, "text": "x" * 1000}, 1, n)
    pages = 0
    after: str | None = ""
    while after is not None:
        page, after = snapshot.page(made, b"", after, size=100)
        assert sum(len(each["messages"]) for each in page) <= 1
        pages += 1
    assert pages in (3, 4)


@pytest.mark.parametrize(
    "after",
    ["md.a. 1", "md.a. 1 2 3 x", " ", "a 1 1 1 1 1", "md.a. -1 0 0 0", "md.a. ² 1 1 1", f"md.a. 1 1 1 {10**18}"],
)
def test_text_that_no_page_gave_is_refused(after):
    with pytest.raises(snapshot.CursorError):
        snapshot.page(filled(1, 1), b"", after)


@given(st.text(max_size=20), st.lists(st.integers(0, 10**18 - 1), min_size=4, max_size=4))
def test_any_cursor_of_the_right_form_is_answered(name, numbers):
    text = " ".join([name.replace(" ", ""), *map(str, numbers)])
    page, _ = snapshot.page(filled(2, 2), b"", text)
    assert all(each.keys() == {"stream", "seq", "messages"} for each in page)


def test_a_book_is_given_as_inserts_and_is_stale_after_a_reconnection():
    middle = Middle()
    middle.ask("reqMktDepth", id="d", contract=AAPL, numRows=5)
    number = middle.last_id()
    for position, price in ((0, 10.0), (0, 11.0), (1, 10.5)):
        middle.hear("updateMktDepth", reqId=number, position=position, operation=0, side=1, price=price, size=1.0)
    middle.hear("updateMktDepth", reqId=number, position=2, operation=2, side=1)
    (rows,) = middle.state("md.").values()
    assert [(each.data["position"], each.data["operation"], each.data["price"]) for each in rows] == [
        (0, 0, 11.0), (1, 0, 10.5)
    ]  # fmt: skip
    for each in rows:
        assert each.topic == "md.AAPL-STK-SMART-USD+depth.updateMktDepth."
        assert (each.body["flags"], each.body["seq"], each.body["type"]) == (["synthetic"], 4, "updateMktDepth")
    middle.reconnect()
    (rows,) = middle.state("md.").values()
    assert [each.body["flags"] for each in rows] == [["stale", "synthetic"]] * 2
    middle.hear("updateMktDepth", reqId=middle.last_id(), position=0, operation=0, side=1, price=9.0, size=1.0)
    (rows,) = middle.state("md.").values()
    assert [(each.data["price"], each.body["flags"]) for each in rows] == [(9.0, ["synthetic"])]
    middle.error(middle.last_id(), 317, "Market depth data has been RESET")
    assert list(middle.state("md.").values()) == [[]]


def depth(streams, key, rows):
    """A stream with a book of that many rows, and one value beside it."""
    channel = streams.channel("md", key, "updateMktDepth")
    channel.book = DepthBook()
    for position in range(rows):
        row = {"position": position, "operation": 0, "side": 1, "price": 1.0}
        streams.publish_map(channel, row, 1)
        channel.book.apply(row, 1)
    streams.publish_map(streams.channel("md", key, "x"), {"n": 0}, 1, 0)


def test_rows_of_books_are_counted_so_that_a_page_of_many_books_is_no_longer_than_others():
    streams = Publisher(1, lambda _: None)
    for key in "abcdef":
        depth(streams, key, 20)
    lengths: list[int] = []
    after: str | None = ""
    while after is not None:
        page, after = snapshot.page(streams, b"", after, messages=50)
        lengths.append(sum(len(each["messages"]) for each in page))
    assert (sum(lengths), max(lengths)) == (6 * 21, 3 * 21), "a book is not divided"


def test_a_book_is_on_the_first_page_of_its_stream_only_since_its_rows_have_the_number_of_then():
    streams = Publisher(1, lambda _: None)
    depth(streams, "a", 3)
    streams.publish_map(streams.channel("md", "a", "y"), {"n": 0}, 1, 0)
    first, following = snapshot.page(streams, b"", "", messages=1)
    assert [msgpack.unpackb(body)["data"].get("position") for _, body in first[0]["messages"]] == [0, 1, 2, None]
    depth(streams, "a", 1)
    assert following is not None
    second, _ = snapshot.page(streams, b"", following, messages=1)
    assert (second[0]["seq"], first[0]["seq"]) == (5, 5)
    assert [msgpack.unpackb(body)["type"] for _, body in second[0]["messages"]] == ["y"]


@pytest.mark.parametrize("prefix", ["", "live"])
def test_the_stream_that_a_longer_prefix_is_in_is_found_whatever_the_prefix(prefix):
    streams = Publisher(1, lambda _: None, prefix)
    for components in (("ord", "a", "k", "x"), ("ord", "a", "k2", "x"), ("ord", "b", "k", "x")):
        streams.publish_map(streams.channel(*components), {}, 1, ())
    asked = streams.named("ord", "a", "k").encode()
    ((stream,), after) = snapshot.page(streams, asked)
    assert [topic.decode() for topic, _ in stream["messages"]] == [streams.named("ord", "a", "k", "x")]
    assert after is None
    assert snapshot.page(streams, asked, stream["stream"]) == ([], None)
    assert snapshot.page(streams, b"." * 2**20) == ([], None)


def test_a_cancelled_depth_leaves_no_book():
    middle = Middle()
    middle.ask("reqMktDepth", id="d", contract=AAPL, numRows=5)
    middle.hear("updateMktDepth", reqId=middle.last_id(), position=0, operation=0, side=1, price=9.0, size=1.0)
    middle.cancel("cancelMktDepth", "d")
    assert list(middle.state("md.").values()) == [[]]


def test_a_row_of_a_book_that_is_no_row_is_published_and_changes_nothing():
    assert [*DepthBook().rows()] == []
    middle = Middle()
    middle.ask("reqMktDepth", id="d", contract=AAPL, numRows=5)
    heard = middle.hear(
        "updateMktDepth", reqId=middle.last_id(), position=None, operation=None, side=None, price=None, size=None
    )
    assert heard is not None
    assert heard.data["position"] is None
    assert list(middle.state("md.").values()) == [[]]
