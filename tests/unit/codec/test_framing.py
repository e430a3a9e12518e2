"""Framing: any pieces give the same messages, or its own error, at a cost in proportion to the bytes."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibbridge.codec import FrameBuffer, FramingError, frame, framing
from ibbridge.codec.framing import MAX_LENGTH, TooLargeError

if TYPE_CHECKING:
    from collections.abc import Iterator

PAYLOADS = st.lists(st.binary(max_size=40), max_size=8)


def pieces(stream: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    return [stream[start:stop] for start, stop in pairwise(places)]


def fed(buffer: FrameBuffer, parts: list[bytes]) -> tuple[list[bytes], bool]:
    """The payloads, and whether framing broke."""
    found: list[bytes] = []
    try:
        for part in parts:
            found += buffer.feed(part)
    except FramingError:
        return found, True
    return found, False


@pytest.fixture(params=["compiled", "pure"], autouse=True, scope="module")
def way(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test here holds for both ways to split."""
    if request.param == "compiled" and not framing.COMPILED:
        pytest.skip("the compiled part is not built")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(framing, "COMPILED", request.param == "compiled")
        yield


@given(st.binary(max_size=60) | PAYLOADS.map(lambda payloads: b"".join(map(frame, payloads))), st.integers(0, 50))
def test_the_compiled_part_splits_as_the_pure_one_does(data: bytes, most: int) -> None:
    compiled = pytest.importorskip("ibbridge.codec._speedups", reason="the compiled part is not built")
    for cut in range(len(data) + 1):
        assert compiled.split(data[:cut], most) == framing.split(data[:cut], most)


@given(PAYLOADS, st.lists(st.integers(0, 500)))
def test_any_split_gives_the_same_payloads(payloads: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(map(frame, payloads))
    assert fed(FrameBuffer(), pieces(stream, cuts)) == (payloads, False)


@pytest.mark.parametrize("step", [1, 2, 3, 5, 7, 1000])
def test_any_step_gives_the_same_payloads(step: int) -> None:
    payloads = [bytes([n % 256]) * n for n in (0, 1, 2, 3, 4, 5, 250, 999, 1000, 1001, 3000, 0)]
    stream = b"".join(map(frame, payloads))
    parts = [stream[start : start + step] for start in range(0, len(stream), step)]
    assert fed(FrameBuffer(), parts) == (payloads, False)


@given(st.lists(st.binary(max_size=30)))
def test_whatever_arrives_gives_payloads_or_a_framing_error(parts: list[bytes]) -> None:
    buffer = FrameBuffer()
    found, broken = fed(buffer, parts)
    arrived = b"".join(parts)
    assert arrived.startswith(b"".join(map(frame, found)))
    if not broken:
        assert len(buffer) == len(arrived) - sum(4 + len(payload) for payload in found)


@given(st.binary(max_size=200), st.lists(st.integers(0, 500)))
def test_broken_or_not_does_not_depend_on_the_pieces(stream: bytes, cuts: list[int]) -> None:
    assert fed(FrameBuffer(), pieces(stream, cuts)) == fed(FrameBuffer(), [stream])


@pytest.mark.scenario("B37")
def test_the_largest_payload_is_taken_and_one_byte_more_is_not() -> None:
    largest = bytes(MAX_LENGTH)
    assert fed(FrameBuffer(), [frame(largest)]) == ([largest], False)
    with pytest.raises(FramingError, match="16777216 bytes announced"):
        list(FrameBuffer().feed(b"\x01\x00\x00\x00"))


def test_a_payload_that_nobody_would_take_is_not_framed() -> None:
    with pytest.raises(TooLargeError, match="16777216 bytes"):
        frame(bytes(MAX_LENGTH + 1))


def test_payloads_before_the_break_are_given_first() -> None:
    buffer = FrameBuffer()
    got = buffer.feed(frame(b"good") + b"\xff\xff\xff\xff")
    assert next(got) == b"good"
    with pytest.raises(FramingError):
        next(got)


def test_a_broken_stream_stays_broken() -> None:
    buffer = FrameBuffer()
    for data in (b"\xff\xff\xff\xff", frame(b"good")):
        with pytest.raises(FramingError):
            list(buffer.feed(data))


def test_a_reader_that_stops_early_loses_nothing() -> None:
    buffer = FrameBuffer()
    stream = b"".join(map(frame, (b"one", b"two", b"three")))
    first = buffer.feed(stream)
    assert next(first) == b"one"
    first.close()  # type: ignore[attr-defined]
    assert list(buffer.feed(b"")) == [b"two", b"three"]


@pytest.mark.scenario("B37")
def test_an_announced_length_allocates_nothing() -> None:
    buffer = FrameBuffer()
    tracemalloc.start()
    try:
        assert not list(buffer.feed(b"\x00\xff\xff\xff"))
        assert tracemalloc.get_traced_memory()[1] < 10_000
    finally:
        tracemalloc.stop()


def test_a_long_frame_in_small_pieces_is_neither_looked_at_nor_copied_again_and_again() -> None:
    stream = frame(bytes(MAX_LENGTH))
    step = 4096
    buffer = FrameBuffer()
    looked_at: list[int] = []
    split = buffer._split

    def watched(data: bytes, most: int) -> tuple[list[bytes], int, int]:
        looked_at.append(len(data))
        return split(data, most)

    buffer._split = watched
    tracemalloc.start()
    try:
        found = [got for at in range(0, len(stream), step) for got in buffer.feed(stream[at : at + step])]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [len(payload) for payload in found] == [MAX_LENGTH]
    assert looked_at == [step, len(stream)], "its first piece, and when it was whole"
    assert peak < 4 * MAX_LENGTH


def test_a_frame_byte_by_byte_costs_no_more_memory_than_itself() -> None:
    stream = frame(bytes(200_000))
    buffer = FrameBuffer()
    tracemalloc.start()
    try:
        found = [got for at in range(len(stream)) for got in buffer.feed(stream[at : at + 1])]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found == [stream[4:]]
    assert peak < 4 * len(stream)
