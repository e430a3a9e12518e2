"""Bytes of the next read from TWS: a read must not hold the loop for long, and full reads of ticks stay large."""

from __future__ import annotations

import pytest

from ibbridge.tws.transport import LEAST, LONG, SHORT, next_read

MOST = 32_768


@pytest.mark.parametrize(
    ("size", "seconds", "filled", "expected"),
    [
        (8_192, 0.001, True, 16_384),
        (MOST, 0.001, True, MOST),
        (8_192, 0.001, False, 8_192),
        (8_192, 0.004, True, 8_192),
        (MOST, 0.016, True, 10_240),
        (MOST, 0.016, False, 10_240),
        (2_000, 0.1, True, LEAST),
    ],
)
def test_the_next_read_follows_from_the_time_of_the_last(
    size: int, seconds: float, filled: bool, expected: int
) -> None:
    assert next_read(size, MOST, seconds, filled=filled) == expected


@pytest.mark.parametrize("microseconds_a_byte", [0.02, 0.1, 0.5, 2.0])
def test_a_stream_of_one_kind_comes_to_reads_that_are_short(microseconds_a_byte: float) -> None:
    size = 8_192
    for _ in range(20):
        size = next_read(size, MOST, size * microseconds_a_byte * 1e-6, filled=True)
    seconds = size * microseconds_a_byte * 1e-6
    assert seconds <= LONG
    assert size == MOST or seconds >= SHORT / 2
