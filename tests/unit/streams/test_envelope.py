"""The bytes of an envelope: clients of the bus and stores on disk have them, so none may change."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibbridge.streams import envelope

REF = envelope.pack({"reqId": 7})
NUMBERS = (
    b"\x01\x02\x03\x04\x05\x06\x07\x08\xa6offset\xcf\0\0\0\0\0\0\0\x09\xa2ts\xcf\0\x06\x0a\x24\x18\x1e\x40\0\xa4data"
)


@pytest.mark.parametrize(
    ("ref", "flags", "expected"),
    [
        (b"", (), b"\x87\xa4type\xa8tickSize\xa5epoch\xcd\x03\xe8\xa3gen\x02\xa3seq\xcf"),
        (REF, (), b"\x88\xa4type\xa8tickSize\xa5epoch\xcd\x03\xe8\xa3gen\x02\xa3ref\x81\xa5reqId\x07\xa3seq\xcf"),
        (
            b"",
            ("synthetic",),
            b"\x88\xa4type\xa8tickSize\xa5epoch\xcd\x03\xe8\xa3gen\x02\xa5flags\x91\xa9synthetic\xa3seq\xcf",
        ),
        (
            REF,
            ("stale", "synthetic"),
            b"\x89\xa4type\xa8tickSize\xa5epoch\xcd\x03\xe8\xa3gen\x02%b\xa3seq\xcf"
            % b"\xa3ref\x81\xa5reqId\x07\xa5flags\x92\xa5stale\xa9synthetic",
        ),
    ],
)
def test_a_head_is_these_bytes(ref: bytes, flags: tuple[str, ...], expected: bytes) -> None:
    assert envelope.head("tickSize", 1000, 2, ref, flags) == expected


def test_a_body_is_these_bytes_and_flags_go_to_its_end() -> None:
    body = envelope.seal(b"\x87head", 0x0102030405060708, 9, 1_700_000_000_000_000, b"\x80")
    assert body == b"\x87head" + NUMBERS + b"\x80"
    assert envelope.with_flags(body, "stale") == b"\x88head" + NUMBERS + b"\x80\xa5flags\x91\xa5stale"


def test_a_heartbeat_is_these_bytes() -> None:
    body = envelope.unsequenced("heartbeat", 1000, 2, 5, {"beat": 1})
    assert body == b"\x85\xa4type\xa9heartbeat\xa5epoch\xcd\x03\xe8\xa3gen\x02\xa2ts\x05\xa4data\x81\xa4beat\x01"


def test_a_welcome_is_these_bytes() -> None:
    body = envelope.welcome(1000, 2, 9, beat=1)
    assert body == b"\x86\xa4type\xa7welcome\xa5proto\x01\xa5epoch\xcd\x03\xe8\xa3gen\x02\xa6offset\x09\xa4beat\x01"


NUMBER = st.integers(0, 2**64 - 1)
HEADS = st.tuples(
    st.text(max_size=40), NUMBER, st.integers(0, 2**32), st.sampled_from([b"", REF]), st.lists(st.text(max_size=9))
)


@given(HEADS, NUMBER, NUMBER, NUMBER, st.dictionaries(st.text(max_size=9), st.integers(0, 9)))
def test_what_is_sealed_is_unpacked_again(about: Any, seq: int, offset: int, ts: int, data: dict[str, int]) -> None:
    kind, epoch, gen, ref, flags = about
    head = envelope.head(*about)
    body = envelope.seal(head, seq, offset, ts, envelope.pack(data))
    more: dict[str, Any] = {"ref": msgpack.unpackb(ref)} if ref else {}
    more |= {"flags": flags} if flags else {}
    numbers = {"seq": seq, "offset": offset, "ts": ts, "data": data}
    assert list(envelope.unpack(body).items()) == list(
        ({"type": kind, "epoch": epoch, "gen": gen} | more | numbers).items()
    )
    assert envelope.sequence_of(body, head) == seq
    if not flags:
        assert envelope.unpack(envelope.with_flags(body, "stale")) == envelope.unpack(body) | {"flags": ["stale"]}


@given(st.dictionaries(st.text(max_size=8), st.integers(0, 2**40), max_size=3), st.booleans())
def test_a_marked_body_has_its_flag_behind_the_data(data: dict[str, int], with_ref: bool) -> None:
    head = envelope.head("tickPrice", 7, 1, envelope.pack({"a": 1}) if with_ref else b"")
    plain = envelope.seal(head, 1, 2, 3, envelope.pack(data))
    marked_head, marked_data = envelope.marked(head, envelope.pack(data))
    marked = envelope.seal(marked_head, 1, 2, 3, marked_data)
    assert envelope.unpack(marked) == {**envelope.unpack(plain), "flags": ["synthetic"]}
    assert envelope.data_of(marked, head) == envelope.data_of(plain, head) == envelope.pack(data)
    assert (envelope.sequence_of(marked, head), envelope.offset_of(marked, head)) == (1, 2)
    stale = envelope.with_flags(marked, envelope.STALE)
    assert envelope.unpack(stale) == {**envelope.unpack(plain), "flags": ["synthetic", "stale"]}
