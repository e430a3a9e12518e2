"""Unpacking of commands: a value of a forbidden type or size is found before anything is built of it."""

from __future__ import annotations

import contextlib
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibbridge.commands.unpacking import DEEPEST, MOST_VALUES, TooMuchError, UnpackingError, unpacked

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.text(min_size=30, max_size=70)
    | st.binary(max_size=300),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(), inner, max_size=20),
    max_leaves=50,
)


@given(PLAIN)
def test_what_is_plain_is_unpacked(value: Any) -> None:
    assert unpacked(msgpack.packb(value)) == value


@pytest.mark.parametrize("size", [0, 15, 16, 31, 32, 255, 256, 65_535, 65_536])
def test_every_form_of_a_length_is_measured_as_it_is_read(size: int) -> None:
    for value in ("x" * size, b"x" * size, [*range(min(size, 9_000))], {f"{n}": n for n in range(min(size, 4_000))}):
        assert unpacked(msgpack.packb([value, "behind"])) == [value, "behind"]


@given(st.binary(max_size=60))
def test_any_bytes_are_unpacked_or_refused(data: bytes) -> None:
    with contextlib.suppress(UnpackingError):
        unpacked(data)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (msgpack.packb(msgpack.Timestamp(1)), "extension type"),
        (msgpack.packb({"args": [{"at": msgpack.Timestamp(1, 5)}]}), "extension type"),
        (msgpack.packb({msgpack.Timestamp(1): 1}), "extension type"),
        (msgpack.packb(msgpack.ExtType(5, b"x" * 40)), "extension type"),
        (b"\xc7\x03\xff\x00\x00\x00", "extension type"),
        (b"\xc9\x00\x00\x00\x01\x05x", "extension type"),
        (msgpack.packb({1: 2}), "not allowed"),
        (msgpack.packb({"x": {None: 2}}), "not allowed"),
        (msgpack.packb({b"x": 2}), "bytes"),
        (b"\x82\xa1a\x01\xa1a\x02", "'a' is given twice"),
        (b"\x81\xa1x\x82\xa1a\x01\xa1a\x02", "'a' is given twice"),
        (b"", "incomplete"),
        (b"\x81\xa1a", "incomplete"),
        (b"\x92\x01", "incomplete"),
        (b"\xc1", "FormatError"),
        (b"\x80\x80", "extra data"),
        (b"\xa3\xed\xa0\x80", "Unicode"),
    ],
)
def test_what_is_not_plain_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(UnpackingError, match=said):
        unpacked(data)


@pytest.mark.parametrize(
    ("value", "fits"),
    [
        ([1] * (MOST_VALUES - 1), True),
        ([1] * MOST_VALUES, False),
        ([[1] * 99] * 99, True),
        ([[1] * 99] * 101, False),
        ({f"{n}": n for n in range(MOST_VALUES // 2 - 1)}, True),
        ({f"{n}": n for n in range(MOST_VALUES // 2)}, False),
    ],
    ids=lambda value: str(value)[:10],
)
def test_values_are_counted_wherever_they_stand(value: Any, fits: bool) -> None:
    data = msgpack.packb(value)
    if fits:
        assert unpacked(data) == value
    else:
        with pytest.raises(TooMuchError, match="10000 values"):
            unpacked(data)


@pytest.mark.parametrize("nest", [b"\x91", b"\x92\x01", b"\x81\xa1x", b"\x82\xa1x\xa1y\xa1z"])
def test_what_is_nested_too_deep_is_refused_and_exhausts_no_stack(nest: bytes) -> None:
    with contextlib.suppress(UnpackingError):  # rows are incomplete
        unpacked(nest * DEEPEST + b"\xc0")
    for depth in (DEEPEST + 1, 100_000):
        with pytest.raises(TooMuchError, match="nested"):
            unpacked(nest * depth + b"\xc0")


class Watched(bytes):
    """Bytes that count how often they are looked at."""

    looks = 0

    def __getitem__(self, key: Any) -> Any:
        type(self).looks += 1
        return bytes.__getitem__(self, key)


@pytest.mark.parametrize("of", [b"\x90", b"\x80", b"\x01", b"\xa1x", b"\x91\x90", b"\x81\xa1a\x90"])
def test_a_million_values_cost_as_much_as_the_most_there_may_be(of: bytes) -> None:
    Watched.looks = 0
    with pytest.raises(TooMuchError):
        unpacked(Watched(b"\xdc\x27\x00" + (b"\xdc\x27\x00" + of * 9_984) * 100))
    assert Watched.looks <= 2 * MOST_VALUES
