"""Frames that somebody has bent: no error but the codec's own, and memory and time in proportion to the bytes.

What must hold of any payload is in `fuzz/decode.py`, which the fuzzer runs too: here it runs over tables, so that every
kind of damage is done to every message in every run. Faults that were found have tests named after them at the end.
"""

from __future__ import annotations

import subprocess
import sys
import time
import tracemalloc
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz import decode
from ibbridge.codec import (
    Acceptor,
    Connection,
    Dialect,
    FrameBuffer,
    FramingError,
    HandshakeError,
    Message,
    Undecodable,
    frame,
    passthrough,
    proto,
    row_limits,
)
from ibbridge.codec import types as t
from ibbridge.codec.framing import MAX_LENGTH, PROTOBUF_IDS
from ibbridge.codec.layout import Branch, Flagged, Loop, resolve
from ibbridge.codec.schema import Float, Int, Part, Record, Rows, Str, inbound
from tests.conformance.golden import FOLDER, load
from tests.support.declared import BY_NAME, DECLARED, EDGES, sides
from tests.support.hostile_bytes import (
    PROTO_PLACES,
    TEXT_PLACES,
    Place,
    block,
    place_field,
    proto_rows,
    text_rows,
    varint,
)
from tests.support.strategies import canonical

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ibbridge.codec.layout import Step

SLOW = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])

BYTES_A_BYTE = 128
"""Memory that reading may take for each byte of a payload. The worst is a row of one or two empty fields, which becomes
a map: a pair of tag and value takes 104. An ordinary bar takes ten."""

OVERHEAD = 128 * 1024
"""And whatever the length: what is made when first needed."""


def check(payload: bytes, version: int) -> None:
    """Check a payload for both sides, as messages and as requests."""
    decode.messages(version, 0, payload)
    decode.requests(version, 0, payload)


@cache
def goldens(encoding: str, version: int) -> list[bytes]:
    """Return a frame of each message in an encoding, from the reference: the longest up to `version`."""
    longest: dict[tuple[str, str], bytes] = {}
    for side in ("in", "out"):
        for vector in load(FOLDER / f"{side}_{encoding}.jsonl.gz"):
            payload = bytes.fromhex(vector["frame"] or "")
            key = (side, vector["msg"])
            own = vector["server_version"] <= version and (vector["server_version"] >= 201) == (version >= 201)
            if own and len(payload) > len(longest.get(key, b"")):
                longest[key] = payload
    return list(longest.values())


# -- text ------------------------------------------------------------------------------------------------------------

HOSTILE = (
    *(b"", b"-1", b"2147483647", b"2147483648", b"1000000000000", b"9" * 4300, b"9" * 4301, b"0" * 5000),
    *(b"1e999", b"-1e-999", b"1e99999999999", b"nan", b"-Infinity", b"1.5", b"1_0", b"0x10", b" 7 ", b"7\n"),
    *("٣".encode(), "³".encode(), b"\xff\xfe", b"\xc3", b"\xed\xa0\x80", b"\\ud83c", b"\\udca1\\ud83c", b"\\u"),
    *(b"=;=;", b";;;", b"-", b" - ", b"BAG", b"true", b"\x1b[2J"),
)


def split_text(payload: bytes, version: int) -> tuple[bytes, list[bytes]]:
    """The id, and the fields."""
    if version >= 201:
        return payload[:4], payload[4:].split(b"\0")[:-1]
    head, *fields = payload.split(b"\0")[:-1]
    return head + b"\0", fields


def joined(head: bytes, fields: Sequence[bytes]) -> bytes:
    return head + b"".join(field + b"\0" for field in fields)


@pytest.mark.parametrize("version", [176, 200, 201, 226])
@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda value: ascii(value[:12]))
def test_any_field_of_any_message_may_be_anything(version: int, hostile: bytes) -> None:
    for payload in goldens("text", version):
        head, fields = split_text(payload, version)
        for place in range(len(fields)):
            check(joined(head, [*fields[:place], hostile, *fields[place + 1 :]]), version)


@pytest.mark.parametrize("version", [176, 200, 201, 226])
def test_any_field_of_any_message_may_be_missing_or_there_twice(version: int) -> None:
    for payload in goldens("text", version):
        head, fields = split_text(payload, version)
        for place in range(len(fields)):
            check(joined(head, [*fields[:place], *fields[place + 1 :]]), version)
            check(joined(head, [*fields[: place + 1], *fields[place:]]), version)


@pytest.mark.parametrize("version", [176, 200, 201, 226])
@pytest.mark.parametrize("field", [b"", b"1", b"7", b"2147483647", b"x"])
@pytest.mark.parametrize("many", [0, 1, 3, 40, 1000])
def test_any_number_of_equal_fields_is_read_or_kept(version: int, field: bytes, many: int) -> None:
    for number in {each.id for each in DECLARED}:
        head = number.to_bytes(4, "big") if version >= 201 else b"%d\0" % number
        check(joined(head, [field] * many), version)


def rows_at_least(steps: Sequence[Step]) -> Iterator[tuple[Loop, int]]:
    """The fields that each row takes, whatever is in it."""
    for step in steps:
        if isinstance(step, Loop):
            own = sum(not isinstance(each, Branch) for each in step.steps)
            yield step, own if isinstance(step.field.type, Record) and not step.kinds else 1
        if isinstance(step, Loop | Branch | Flagged):
            yield from rows_at_least(step.steps)


@pytest.mark.parametrize(("name", "version"), [each for each in EDGES if BY_NAME[each[0]].layout is not None])
def test_every_row_takes_a_field_so_that_counts_cannot_multiply(name: str, version: int) -> None:
    """A count is bounded by the fields that are left; rows of nothing would have as many again for each such row."""
    for loop, least in rows_at_least(resolve(BY_NAME[name], version)):
        assert least, f"{name} {loop.path} at {version}"


# -- protobuf --------------------------------------------------------------------------------------------------------


def fields_of(body: bytes) -> list[tuple[int, bytes]] | None:
    """Tags and contents as they stand; None for what is no message."""
    found, at = [], 0
    while at < len(body):
        tag, start = _varint(body, at)
        kind = tag & 7
        if kind == 0:
            _, stop = _varint(body, start)
        elif kind == 2:
            length, begin = _varint(body, start)
            stop = begin + length
        else:
            stop = start + {1: 8, 5: 4}.get(kind, len(body))
        if stop > len(body) or not tag >> 3:
            return None
        found.append((tag, body[start:stop]))
        at = stop
    return found


def _varint(body: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while at < len(body):
        number |= (body[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if body[at - 1] < 128:
            break
    return number, at


ODD_FIELDS = (
    *(varint(400 << 3) + b"\x01", varint(401 << 3 | 1) + b"12345678", varint(402 << 3 | 5) + b"1234"),  # unknown
    *(block(403, b"unknown"), varint(404 << 3 | 3) + varint(404 << 3 | 4)),  # and a group
    *(b"\x0b\x10\x01\x0c", b"\x0b" * 90 + b"\x0c" * 90, b"\x0b" * 2000 + b"\x0c" * 2000, b"\x0b", b"\x0c"),  # groups
    *(b"\x0e\x01", b"\x0f\x01", b"\x00\x01", b"\x08", b"\x0a\x7f", b"\x0a\xff\xff\xff\xff\x0f", b"\x09\x01"),
    *(b"\x08" + b"\xff" * 9 + b"\x01", b"\x08" + b"\x80" * 9 + b"\x00", b"\x08" + b"\x80" * 10 + b"\x00", b"\xff" * 11),
    *(block(1, b"\xff"), block(1, b"\xed\xa0\x80"), block(2, b"\x00"), block(3, b"\x08\x80"), b"\xf8\xff\xff\xff\x0f"),
)


def bent(body: bytes, depth: int = 0) -> Iterator[bytes]:
    """The body with each of its fields, at any depth, missing, twice, as another wire type, or with odd ones beside."""
    fields = fields_of(body) or []
    whole = [varint(tag) + content for tag, content in fields]
    for odd in ODD_FIELDS:
        yield odd + body
        yield body + odd
    for place, (tag, content) in enumerate(fields):
        before, after = b"".join(whole[:place]), b"".join(whole[place + 1 :])
        yield before + after
        yield before + whole[place] * 2 + after
        for kind in range(8):
            yield before + varint(tag & ~7 | kind) + content + after
        yield before + block(tag >> 3, b"\x08\x01" * 3) + after
        yield before + varint(tag & ~7) + b"\xff" * 9 + b"\x01" + after
        if tag & 7 == 2 and depth < 3:
            inner = content[_varint(content, 0)[1] :]
            for other in bent(inner, depth + 1):
                yield before + block(tag >> 3, other) + after


@pytest.mark.parametrize("payload", goldens("proto", 226), ids=lambda payload: int.from_bytes(payload[:4], "big"))
def test_any_field_of_a_protobuf_message_may_be_bent(payload: bytes) -> None:
    for number, body in enumerate(bent(payload[4:])):
        if number % 3 == len(payload) % 3:  # an order is bent in twenty thousand ways
            check(payload[:4] + body, 226)


@pytest.mark.parametrize("declaration", [each for each in DECLARED if each.proto_since is not None], ids=repr)
def test_messages_within_messages_end_somewhere(declaration: Any) -> None:
    head = (declaration.id + PROTOBUF_IDS).to_bytes(4, "big")
    for tag in (1, 2, 3, 20, 400):
        body = b""
        for depth in range(1, 1001):
            body = block(tag, body)
            if depth in (5, 99, 100, 101, 1000):
                check(head + body, 226)
                check(head + varint(tag << 3 | 3) * depth + varint(tag << 3 | 4) * depth, 226)
                check(head + varint(tag << 3 | 3) * depth, 226)


# -- both ------------------------------------------------------------------------------------------------------------


@settings(SLOW, max_examples=300)
@given(st.sampled_from(EDGES), st.data())
def test_a_message_of_any_version_may_have_any_bits_flipped(edge: tuple[str, int], data: Any) -> None:
    name, version = edge
    payload = bytearray(sides(BY_NAME[name], version)[0].put(name, data.draw(canonical(BY_NAME[name], version)))[4:])
    for place, bit in data.draw(st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 7)), min_size=1, max_size=4)):
        payload[place % len(payload)] ^= 1 << bit
    check(bytes(payload), version)


@settings(SLOW, max_examples=100)
@given(st.sampled_from(EDGES), st.data())
def test_a_message_of_any_version_may_end_anywhere(edge: tuple[str, int], data: Any) -> None:
    name, version = edge
    payload = sides(BY_NAME[name], version)[0].put(name, data.draw(canonical(BY_NAME[name], version)))[4:]
    check(payload[: data.draw(st.integers(0, len(payload)))], version)


# -- streams ---------------------------------------------------------------------------------------------------------


def conversation(version: int) -> bytes:
    """A host's greeting, what makes a client ready, and a few messages."""
    server = Dialect.server(version)
    said = server.put("nextValidId", {"orderId": 5}) + server.put("managedAccounts", {"accountsList": "DU1"})
    return frame(b"%d\0now\0" % version) + said + server.put("tickSize", {"size": 1.0})


LENGTHS = [b"\0\0\0\0", b"\0\0\0\1", b"\0\xff\xff\xff", b"\1\0\0\0", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\xff" * 4]


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("version", [176, 226])
def test_a_length_that_is_wrong_anywhere_ends_a_stream_or_is_waited_for(length: bytes, version: int) -> None:
    stream = conversation(version)
    sent = b"API\0" + frame(b"v100..%d" % version) + Dialect.client(version).put("startApi", {"clientId": 1})
    for place in range(len(stream)):
        decode.host(0, place % 3, stream[:place] + length + stream[place + 4 :])
        decode.frames(0, place % 3, stream[:place] + length + stream[place:])
    for place in range(len(sent)):
        decode.guest(0, place % 3, sent[:place] + length + sent[place + 4 :])


@pytest.mark.parametrize("version", [176, 200, 201, 226])
def test_a_conversation_may_be_split_anywhere(version: int) -> None:
    stream = conversation(version)
    whole = list(Connection(1).receive_data(stream))
    for place in range(len(stream) + 1):
        connection = Connection(1)
        assert [*connection.receive_data(stream[:place]), *connection.receive_data(stream[place:])] == whole


@settings(SLOW, max_examples=200)
@given(st.data(), st.sampled_from([176, 200, 201, 226]), st.integers(0, 255))
def test_a_damaged_conversation_gives_messages_or_one_of_two_errors(data: Any, version: int, choice: int) -> None:
    stream = bytearray(conversation(version))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(stream) - 1))
        stream[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    decode.host(0, choice, bytes(stream))
    decode.frames(0, choice, bytes(stream))


@pytest.mark.parametrize("version", [176, 226])
def test_after_an_undecodable_message_the_next_is_read(version: int) -> None:
    server = Dialect.server(version)
    bad, good = frame(b"\0" * 10), server.put("tickSize", {"reqId": 7, "tickType": 0, "size": 1.0})
    connection = Connection(1, packed=["tickSize"])
    got = list(connection.receive_data(conversation(version) + bad + good))
    assert [type(each) for each in got[-2:]] == [Undecodable, Message]
    assert [type(each) for each in connection.receive_data(bad + good)] == [Undecodable, tuple]


# -- memory ----------------------------------------------------------------------------------------------------------


def peak(read: Callable[[bytes], Any], payload: bytes) -> int:
    """Python's memory while reading, result included. What protobuf's own parser takes is not in it."""
    read(payload[:16])  # makes the reader
    tracemalloc.start()
    try:
        read(payload)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def in_proportion(read: Callable[[bytes], Any], payload: bytes) -> None:
    taken = peak(read, payload)
    assert taken < BYTES_A_BYTE * len(payload) + OVERHEAD, f"{taken / len(payload):.0f} bytes a byte"


MEGABYTE = 1_000_000
QUARTER = MEGABYTE // 4  # for what is slow to measure
FLOATS = [b"0." + b"1" * MEGABYTE, b"1" * MEGABYTE + b"e-%d" % MEGABYTE, b"0." + b"0" * MEGABYTE + b"1"]
NUMBERS = [*FLOATS, b"1e" + b"9" * MEGABYTE, b" " * MEGABYTE + b"1", b"1_" * 500_000 + b"1", b"x" * MEGABYTE]


def in_text(number: int, *fields: bytes) -> bytes:
    return b"%d\0" % number + b"".join(field + b"\0" for field in fields)


def with_tags(content: bytes) -> bytes:
    """A request with a field `k=v;k=v;`, in text."""
    args = {"durationStr": "1 D", "barSizeSetting": "1 min", "whatToShow": "BID"}
    args |= {"reqId": 7, "contract": {}, "chartOptions": [{"tag": "k", "value": "v"}]}  # type: ignore[dict-item]
    return Dialect.client(200).put("reqHistoricalData", args)[4:].replace(b"k=v;", content)


SHAPES = {
    "a million empty fields": in_text(2, b"6", b"7", b"0", b"1", *[b""] * MEGABYTE),
    "a million fields": in_text(2, b"6", b"7", b"0", b"1", *[b"ab"] * MEGABYTE),
    "many fields that are no text": in_text(2, b"6", b"7", b"0", b"1", *[b"\xff"] * QUARTER),
    "invalid UTF-8": in_text(46, b"6", b"7", b"0", b"\xff" * QUARTER),
    "invalid UTF-8 after a character that makes every one four bytes wide": in_text(
        46, b"6", b"7", b"0", "🂡".encode() + b"\xff" * QUARTER
    ),
    "escapes": in_text(4, b"2", b"-1", b"2110", b"\\u20ac" * (QUARTER // 6), b""),
    "escapes of halves": in_text(4, b"2", b"-1", b"2110", b"\\ud800" * (QUARTER // 6), b""),
    "escapes of pairs": in_text(4, b"2", b"-1", b"2110", b"\\ud83c\\udca1" * (QUARTER // 12), b""),
    "escapes that are none": in_text(4, b"2", b"-1", b"2110", b"\\u" * (QUARTER // 2), b""),
    "an id of a megabyte": in_text(0, b"") + b"1" * MEGABYTE,
    "an id in other digits": "٣".encode() * (MEGABYTE // 2) + b"\0",
    "a mask of too many digits": in_text(1, b"6", b"7", b"0", b"1", b"1", b"9" * MEGABYTE),
    "a mask of just so many digits": in_text(1, b"6", b"7", b"0", b"1", b"1", b"9" * 4300),
    **{f"the number {text[:4].decode()!r}... of a megabyte": in_text(2, b"6", b"7", b"0", text) for text in NUMBERS},
}
SENT_SHAPES = {f"tags {unit.decode()}": with_tags(unit * (MEGABYTE // len(unit))) for unit in (b"=;", b"k=v;", b";")}


@pytest.mark.parametrize("shape", SHAPES)
def test_odd_text_takes_memory_in_proportion(shape: str) -> None:
    client = Dialect.client(176, decode.FLAT)
    in_proportion(client.read, SHAPES[shape])
    in_proportion(client.read_packed, SHAPES[shape])


@pytest.mark.parametrize("shape", SENT_SHAPES)
def test_a_megabyte_of_tags_takes_memory_in_proportion(shape: str) -> None:
    in_proportion(Dialect.server(200).read, SENT_SHAPES[shape])


@pytest.mark.parametrize("text", [b"", b"\xff"])
@pytest.mark.parametrize("place", TEXT_PLACES, ids=str)
def test_rows_of_text_take_memory_in_proportion(place: Place, text: bytes) -> None:
    payload = text_rows(place, 20_000, number=b"", text=text)
    assert 15_000 < len(payload) < 25_000
    in_proportion(sides(BY_NAME[place.name], 200)[1].read, payload)


PROTO_ROWS = (b"", b"\x08\x01", block(15, b""), b"\x78\x00" * 2)


@pytest.mark.parametrize("row", PROTO_ROWS)
@pytest.mark.parametrize("place", PROTO_PLACES, ids=str)
def test_rows_of_protobuf_take_memory_in_proportion(place: Place, row: bytes) -> None:
    payload = proto_rows(place, 20_000, row)
    assert 14_000 < len(payload) < 25_000
    in_proportion(sides(BY_NAME[place.name], 226)[1].read, payload)


_RESIDENT = """
import re, pathlib
from tests.support.declared import BY_NAME, sides
from tests.support.hostile_bytes import PROTO_PLACES, proto_rows
def resident():
    return int(re.search(r"VmHWM:\\s*(\\d+) kB", pathlib.Path("/proc/self/status").read_text())[1]) * 1024
readers = {place: sides(BY_NAME[place.name], 226)[1].read for place in PROTO_PLACES}
for place, read in readers.items():
    read(proto_rows(place, 5000, b""))
before = resident()
for place, read in readers.items():
    read(proto_rows(place, 100_000, b""))
    read(proto_rows(place, 100_000, b"\\x08\\x01"))
print((resident() - before) / 100_000)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
def test_what_protobuf_itself_takes_for_rows_is_in_proportion_too() -> None:
    """Its parser's memory is not Python's to count, so a process of its own is asked for the most it ever had."""
    done = subprocess.run([sys.executable, "-c", _RESIDENT], capture_output=True, text=True, check=True)
    assert 0 < float(done.stdout) < BYTES_A_BYTE


# -- time ------------------------------------------------------------------------------------------------------------


def grown(shape: Callable[[int], bytes], read: Callable[[bytes], Any]) -> float:
    """Return the factor in time for eight times the bytes: 8, or 64 if time grows with the square."""
    small, large = shape(MEGABYTE // 8), shape(MEGABYTE)
    read(small)

    def taken(payload: bytes) -> float:
        start = time.process_time()
        for _ in range(2):
            read(payload)
        return time.process_time() - start

    # The best of three: other programs and the collector only ever add.
    return min(taken(large) for _ in range(3)) / max(min(taken(small) for _ in range(3)), 1e-4)


GROWING: dict[str, Callable[[int], bytes]] = {
    "empty fields": lambda size: in_text(2, b"6", b"7", b"0", b"1", *[b""] * size),
    "digits": lambda size: in_text(2, b"6", b"7", b"0", b"0." + b"1" * size),
    "no number": lambda size: in_text(2, b"6", b"7", b"0", b"x" * size),
    "invalid UTF-8": lambda size: in_text(46, b"6", b"7", b"0", "🂡".encode() + b"\xff" * size),
    "halves of pairs": lambda size: in_text(4, b"2", b"-1", b"2110", b"\\ud800" * (size // 6), b""),
    "pairs": lambda size: in_text(4, b"2", b"-1", b"2110", b"\\ud83c\\udca1" * (size // 12), b""),
    "bars": lambda size: text_rows(Place("historicalData", ("bars",)), size, number=b"1", text=b""),
}


@pytest.mark.parametrize("shape", GROWING)
def test_time_grows_with_the_length_of_text_and_not_with_its_square(shape: str) -> None:
    assert grown(GROWING[shape], Dialect.client(176).read) < 30


@pytest.mark.parametrize("row", [b"", b"\x08\x01", b"\x78\x00" * 8])
def test_time_grows_with_the_length_of_protobuf_and_not_with_its_square(row: bytes) -> None:
    place = Place("historicalData", (2,))
    assert grown(lambda size: proto_rows(place, size, row), Dialect.client(226).read) < 30


def test_time_grows_with_the_length_of_tags_and_not_with_its_square() -> None:
    assert grown(lambda size: with_tags(b"k=v;" * (size // 4)), Dialect.server(200).read) < 30


# -- what was wrong, and is no more ----------------------------------------------------------------------------------


def test_the_largest_frame_of_empty_rows_took_gigabytes() -> None:
    """Two bytes a row, 400 bytes for each: refused before anything is made of them."""
    client = Dialect.client(226)
    body = block(2, b"") * ((MAX_LENGTH - 4) // 2)
    got = client.read((17 + PROTOBUF_IDS).to_bytes(4, "big") + body)
    assert isinstance(got, Undecodable)
    least = f"they take at least {len(body) * 2} bytes, and the body has {len(body)}"
    assert got.reason == f"ValueError: too many rows: {least}"


def test_rows_that_a_server_has_a_reason_to_send_are_read_however_many() -> None:
    for name, row in (("historicalData", {}), ("histogramData", {"price": 1.0}), ("historicalTicks", {"time": 1})):
        field = next(each for each in BY_NAME[name].shape.shape if each.many)
        server, client = sides(BY_NAME[name], 226)
        got = client.read(server.put(name, {"reqId": 1, field.name: [row] * 100_000})[4:])
        assert isinstance(got, Message)
        assert len(got.data[field.name]) == 100_000


def bounded_reader(*fields: Any) -> Callable[[bytes], Any]:
    message = inbound(7, "sample", Int("reqId", 1), *fields, text=None, proto=201)
    return row_limits.bounded(message, proto.reader(message))


def test_rows_within_rows_are_counted_together() -> None:
    inner = Record("Inner", (Str("text", 1),))
    outer = Record("Outer", (Int("number", 1), Rows("inner", inner, 2)))
    read = bounded_reader(Rows("outer", outer, 2))
    full = block(2, block(2, b"\x0a\x01x") * 100)
    assert len(read(full * 100)["outer"]) == 100
    assert len(read(block(2, block(2, b"") * 4))["outer"][0]["inner"]) == 4  # little is not counted
    with pytest.raises(ValueError, match="too many rows: they take at least 40400 bytes"):
        read(block(2, block(2, b"") * 100) * 100)


def test_rows_in_a_record_in_a_record_are_counted_by_their_width() -> None:
    wide = Record("Wide", tuple(Float(f"number{tag}", tag) for tag in range(1, 41)))
    inner = Record("Inner", (Rows("rows", wide, 9),))
    read = bounded_reader(Part("outer", Record("Outer", (Part("inner", inner, 3),)), 4))
    two_numbers = b"\x09" + bytes(8) + b"\x11" + bytes(8)
    honest = block(4, block(3, block(9, two_numbers) * 1000))
    assert len(read(honest)["outer"]["inner"]["rows"]) == 1000
    with pytest.raises(ValueError, match="too many rows: they take at least 20000 bytes, and the body has 11006"):
        read(block(4, block(3, block(9, two_numbers[:9]) * 1000)))


def test_a_message_without_rows_is_read_without_counting() -> None:
    declaration = BY_NAME["tickPrice"]
    read = proto.reader(declaration)
    assert row_limits.bounded(declaration, read) is read


@pytest.mark.parametrize("field", [b"x" * MEGABYTE, b"\xff" * MEGABYTE, "🂡".encode() * (MEGABYTE // 4)])
def test_the_reason_quoted_the_whole_of_a_field_that_is_no_number(field: bytes) -> None:
    """A reason is logged and shown, and Python's message for a float has all of the text."""
    for payload, version in ((in_text(2, b"6", b"7", b"0", field), 176), (in_text(2, b"6", field, b"0", b"1"), 176)):
        got = Dialect.client(version).read(payload)
        assert isinstance(got, Undecodable)
        assert len(got.reason) <= 200
        assert got.reason.startswith("ValueError: ")


def test_a_short_number_in_a_long_text_was_remembered_by_its_text() -> None:
    """16 384 sizes of a megabyte each are a lot to remember, though each is a double."""
    known = t._Cached(float, t.LONGEST_CACHED)
    for number in range(100):
        assert known[f"{number}{' ' * 1000}"] == number
    assert not known
    assert known["7" * t.LONGEST_CACHED] == float("7" * t.LONGEST_CACHED)
    assert len(known) == 1


@pytest.mark.parametrize("version", [176, 200, 226])
def test_nothing_that_is_remembered_of_values_is_long(version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ibbridge.codec.speedups.IN_USE", False)  # compiled code remembers nothing
    client = Dialect.client(version, decode.FLAT)
    for number in (b"1", b" " * 1000 + b"1", b"0" * 1000, b"0." + b"1" * 1000):
        for declaration in (each for each in DECLARED if each.name in decode.FLAT and each.exists(version)):
            if declaration.in_protobuf(version):
                client.read_packed((declaration.id + PROTOBUF_IDS).to_bytes(4, "big") + block(3, number))
                client.read_packed((declaration.id + PROTOBUF_IDS).to_bytes(4, "big") + block(4, number))
            if declaration.layout is not None:
                head = declaration.id.to_bytes(4, "big") if version >= 201 else b"%d\0" % declaration.id
                client.read_packed(head + (number + b"\0") * len(resolve(declaration, version)))
    assert all("1" in cached for cached in (t.INTS, t.DECIMALS))
    assert all(len(key) <= t.LONGEST_CACHED for cached in (t.INTS, t.DECIMALS) for key in cached)


@pytest.mark.parametrize("version", [176, 206])
def test_a_size_that_is_no_number_was_not_seen_where_a_packed_price_has_none(version: int) -> None:
    """Packed or not, a payload is damaged or it is not."""
    if version < 201:
        payload = in_text(1, b"6", b"7", b"0", b"1.5", b"\x01\x126", b"0")
    else:
        payload = (1 + PROTOBUF_IDS).to_bytes(4, "big") + b"\x08\x07\x10\x00" + block(4, b"\x01\x126")
    client = Dialect.client(version, ["tickPrice"])
    for got in (client.read(payload), client.read_packed(payload)):
        assert isinstance(got, Undecodable)
        assert "could not convert string to float" in got.reason


def test_an_unset_mask_was_every_flag_when_packed() -> None:
    payload = in_text(1, b"6", b"7", b"0", b"1.5", b"1", b"2147483647")
    client = Dialect.client(176, ["tickPrice"])
    plain = client.read(payload)
    assert isinstance(plain, Message)
    assert plain.data["attrib"] == {}
    assert client.read_packed(payload) == ("tickPrice", 7, 0, passthrough.pack(plain.data))


def test_a_nul_that_came_as_an_escape_could_not_be_written_again() -> None:
    payload = in_text(4, b"2", b"7", b"2110", b"a\\u0000b", b"")
    got = Dialect.client(176).read(payload)
    assert isinstance(got, Message)
    assert got.data["errorString"] == "a\0b"
    assert Dialect.server(176).put("error", got.data)[4:] == payload


@pytest.mark.parametrize("value", [1e16, 5.5e116, -1e22, 100.0, 0.0])
def test_a_large_whole_number_was_written_with_an_exponent_that_nobody_reads(value: float) -> None:
    payload = Dialect.server(200).put("bondContractDetails", {"contractDetails": {"evMultiplier": value}})[4:]
    got = Dialect.client(200).read(payload)
    assert isinstance(got, Message)
    assert got.data["contractDetails"].get("evMultiplier", 0.0) == value


@pytest.mark.parametrize("version", [200, 226])
def test_an_unset_value_in_a_list_of_values_was_written_as_none(version: int) -> None:
    """An unset value is no value, and is left out."""
    sent = {"reqId": 7, "execFilter": {"specificDates": [20261209, None]}}
    got = Dialect.server(version).read(Dialect.client(version).put("reqExecutions", sent)[4:])
    assert isinstance(got, Message)
    assert got.data["execFilter"] == {"specificDates": [20261209]}


def test_the_time_in_a_greeting_was_kept_however_long() -> None:
    connection = Connection(1)
    (got,) = connection.receive_data(frame(b"200\0" + b"x" * 5000 + b"\0"))
    assert isinstance(got, Undecodable)
    assert got.reason == "before the server version"
    assert connection.version is None


def test_the_host_that_a_redirect_names_was_shown_however_long() -> None:
    with pytest.raises(HandshakeError) as error:
        list(Connection(1).receive_data(frame(b"-1\0" + b"\xff" * 4000 + b"\0")))
    assert len(str(error.value)) < 600


def test_a_greeting_of_the_largest_size_takes_memory_in_proportion() -> None:
    for payload in (b"\0" * MEGABYTE, b"9" * MEGABYTE + b"\0now\0", b"200\0" + b"\xff" * MEGABYTE + b"\0"):
        assert peak(lambda data: list(Connection(1).receive_data(data)), frame(payload)) < 16 * MEGABYTE
    hello = b"API\0" + frame(b"v" + b"9" * MEGABYTE)
    tracemalloc.start()
    try:
        with pytest.raises((FramingError, HandshakeError)):
            list(Acceptor().receive_data(hello))
        assert tracemalloc.get_traced_memory()[1] < 4 * MEGABYTE
    finally:
        tracemalloc.stop()


def test_framing_keeps_no_more_than_one_message() -> None:
    buffer = FrameBuffer()
    for _ in range(50):
        assert len(list(buffer.feed(frame(bytes(1000)) + frame(bytes(1000))[:500]))) <= 2
        list(buffer.feed(frame(bytes(1000))[500:]))
        assert not len(buffer)


def test_the_tables_of_places_are_not_empty() -> None:
    kinds = {type(each.type).__name__ for each in map(place_field, PROTO_PLACES)}
    assert {"Record", "Scalar", "Tags", "Union"} <= kinds
    assert {place.name for place in TEXT_PLACES} >= {"historicalData", "contractDetails", "openOrder"}
