"""Compiled reading of ticks: the same bytes as from the pure path, for all ordinary payloads."""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
import sysconfig
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ibbridge.codec import Dialect, Undecodable, speedups
from ibbridge.codec import types as t
from ibbridge.codec.layout import Slot, edges, resolve
from ibbridge.codec.messages import INBOUND
from ibbridge.codec.passthrough import is_flat
from ibbridge.codec.schema import Const, Field, Inline, Int, Mask, inbound
from ibbridge.codec.versions import raw_ids
from ibbridge.inbound.publication_plan import PASSED_ON
from tests.conformance.golden import FOLDER, load
from tests.properties.test_reading import wire_field
from tests.support.declared import BY_NAME, EDGES
from tests.support.hostile_bytes import varint
from tests.support.strategies import canonical

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ibbridge.codec.schema import Declaration

    Read = Callable[[bytes], Any]

FLAT = frozenset(each.name for each in INBOUND if is_flat(each))
FLAT_EDGES = [each for each in EDGES if each[0] in FLAT]
VERSIONS = [176, 178, 200, 201, 226]
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]

built = pytest.mark.skipif(not speedups.BUILT, reason="ibbridge.codec._speedups is not built: there is no C compiler")


def compiler() -> bool:
    """Return True if C extensions can be built here."""
    command = (sysconfig.get_config_var("CC") or "cc").split()[0]
    return bool(shutil.which(command)) and Path(sysconfig.get_path("include"), "Python.h").exists()


def test_where_there_is_a_compiler_it_is_built() -> None:
    assert speedups.BUILT or not compiler(), "run pip install -e . again, with -v to see what the compiler says"


@cache
def both(version: int) -> tuple[Read, Read]:
    """The compiled reader alone, None where it leaves a payload to the pure path; and the pure path."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(speedups, "IN_USE", False)
        pure = Dialect.client(version, FLAT)
    return speedups.reader(version, pure._by_id, FLAT, lambda _: None), pure.read_packed


def agreed(version: int, payload: bytes) -> bool:
    """Return True if compiled code took the payload. Its result must be that of the pure path."""
    fast, pure = both(version)
    got = fast(payload)
    if got is None:
        return False
    want = pure(payload)
    assert got == want
    assert list(map(type, got)) == list(map(type, want))
    return True


def written(name: str, version: int, data: dict[str, Any]) -> bytes:
    return Dialect.server(version).write(name, data)[4:]


# -- what is right ----------------------------------------------------------------------------------------------------


@built
@pytest.mark.parametrize(("name", "version"), FLAT_EDGES)
@settings(max_examples=15, suppress_health_check=SLOW)
@given(data=st.data())
def test_a_message_is_packed_as_the_pure_path_does_or_left_to_it(name: str, version: int, data: Any) -> None:
    agreed(version, written(name, version, data.draw(canonical(BY_NAME[name], version))))


_COUNTS = st.integers(-(10**6), 2**31 - 2)
_PRICES = st.integers(-(10**9), 10**9).map(lambda cents: cents / 100) | st.floats(1e-9, 1e9)
_WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0\\"), max_size=300)
_ORDINARY: dict[t.Scalar, st.SearchStrategy[Any]] = {
    t.INT: _COUNTS,
    t.LONG: st.integers(-(10**17), 10**17),
    t.FLOAT: _PRICES | st.none(),
    t.VOLATILITY: _PRICES,
    t.GREEK: _PRICES,
    t.MODEL_PRICE: _PRICES,
    t.TICK: _PRICES,
    t.DECIMAL: _PRICES | st.none(),
    t.STR: _WORDS,
    t.ESCAPED: st.text(st.characters(max_codepoint=127, exclude_characters="\0\\"), max_size=300),
    t.BOOL: st.booleans(),
}


@st.composite
def ordinary(draw: Any, declaration: Declaration) -> dict[str, Any]:
    """Values as a gateway spells them."""
    data: dict[str, Any] = {}
    for each in declaration.shape.fields:
        kind = each.type
        if isinstance(kind, Mask):
            data[each.name] = dict.fromkeys(draw(st.sets(st.sampled_from(kind.bits))), True)
        elif declaration.kind and each.name == declaration.kind[0]:
            data[each.name] = draw(st.sampled_from(sorted(declaration.kind[1])))
        else:
            data[each.name] = draw(_ORDINARY[cast("t.Scalar", kind)])
    return data


@built
@pytest.mark.parametrize(("name", "version"), FLAT_EDGES)
@settings(max_examples=15, suppress_health_check=SLOW)
@given(data=st.data())
def test_what_is_ordinary_is_not_left_to_the_pure_path(name: str, version: int, data: Any) -> None:
    assert agreed(version, written(name, version, data.draw(ordinary(BY_NAME[name]))))


@cache
def golden() -> list[tuple[int, str, bytes]]:
    """Every inbound golden frame that comes packed without compiled code: version, name and payload."""
    found = []
    for name in ("in_text", "in_proto"):
        for vector in load(FOLDER / f"{name}.jsonl.gz"):
            if vector["frame"]:
                version, payload = vector["server_version"], bytes.fromhex(vector["frame"])
                got = both(version)[1](payload)
                if type(got) is tuple:
                    found.append((version, got[0], payload))
    return found


@built
def test_golden_frames_are_packed_alike_and_only_what_is_odd_is_left() -> None:
    left = [(name, payload) for version, name, payload in golden() if not agreed(version, payload)]
    assert len(golden()) > 1000
    odd = [(name, payload) for name, payload in left if b"\\u" not in payload]
    assert [name for name, _ in odd] == ["tickByTickAllLast"]  # it has in it what belongs to a mid point


@built
@pytest.mark.parametrize("version", VERSIONS)
def test_the_daemons_ticks_are_read_by_compiled_code(version: int) -> None:
    assert (type(Dialect.client(version, PASSED_ON).read_packed).__name__ != "function") is speedups.IN_USE
    assert type(Dialect.client(version).read_packed).__name__ == "function"


@built
def test_only_what_is_wanted_is_taken() -> None:
    fast = speedups.reader(226, Dialect.client(226)._by_id, {"tickPrice"}, lambda payload: payload)
    for name, wanted in (("tickPrice", True), ("tickSize", False)):
        payload = written(name, 226, {"reqId": 1, "tickType": 1, "price": 1.5, "size": 2.0})
        assert (fast(payload) != payload) is wanted


@built
def test_a_message_for_which_there_is_no_room_is_left_to_the_pure_path() -> None:
    fields = [Int(f"f{tag}" if tag > 1 else "reqId", tag) for tag in range(1, 18)]
    many = inbound(1, "many", *fields, text=None, proto=201)
    few = inbound(2, "few", Int("reqId", 1), text=None, proto=201)
    fast = speedups.reader(226, {1: [many], 2: [few]}, {"many", "few"}, lambda _: None)
    assert fast(b"\0\0\0\xc9\x08\7") is None
    assert fast(b"\0\0\0\xca\x08\7") == ("few", 7, None, msgpack.packb({"reqId": 7}))


@built
def test_what_is_no_bytes_is_left_alone() -> None:
    assert speedups.reader(178, Dialect.client(178)._by_id, FLAT, type)(bytearray(b"2\0")) is bytearray  # type: ignore[arg-type]


def test_it_can_be_switched_off() -> None:
    code = (
        "from ibbridge.codec import Dialect, speedups; assert not speedups.IN_USE;"
        "print(Dialect.client(178, ['tickSize']).read_packed(b'2\\x006\\x001\\x000\\x005\\x00'))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], env={"IBBRIDGE_PURE": "1"}, capture_output=True, text=True, check=True
    )
    assert run.stdout.startswith("('tickSize', 1, 0, b'")


# -- what is odd ------------------------------------------------------------------------------------------------------

ODD = [
    *(b"", b" ", b"0", b"00", b"-0", b"-", b"+1", b"--1", b" 1", b"1 ", b"1_0", b"007", b"1-", b"x", b"a", b"true"),
    *(b"1e5", b"1E+5", b"1e-400", b"1e400", b"1e", b"1e+", b"e5", b"1e5.", b".", b".5", b"5.", b"-.5", b"1.2.3"),
    *(b"nan", b"NaN", b"inf", b"-Infinity", b"0x10", b"0.1", b"-0.0", b"-1", b"-2", b"-1.0", b"-2.0", b"-0.5", b"1.0"),
    *(b"2147483646", b"2147483647", b"-2147483648", b"2147483648", b"4294967296", b"2147483647.0"),
    *(b"999999999999999999", b"-999999999999999999", b"1000000000000000000", b"9223372036854775807"),
    *(b"-9223372036854775808", b"18446744073709551616", b"9" * 400, b"0" * 400, b"0." + b"0" * 61, b"1" * 63),
    *(b"1.7976931348623157E308", b"1.7976931348623157e+308", b"1.7976931348623157e308", b"-1.7976931348623157e308"),
    *(b"1" * 64, b"5e-324", b"2.2250738585072011e-308", b"0.30000000000000004", b"9007199254740993"),
    *(b"12345678901234567890.5", b"123456789012345.6", b"\\u00e9", b"a\\", b"\x7f\x80", b"1\x001", b"\n1"),
    *(b"0.0000000000000000000001", b"0.00000000000000000000001", b"1234567890.12345"),
    *("٣".encode(), "café".encode(), "½".encode(), "🂡".encode(), b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\x80"),
    *(b"x" * 31, b"x" * 32, b"x" * 255, b"x" * 256, b"x" * 4090, b"x" * 70_000),
]
"""Spellings that the two might take for different things."""


def plain_text(declaration: Declaration, step: Any) -> st.SearchStrategy[bytes]:
    """A field that is nothing but plain."""
    if isinstance(step, Const):
        return st.just(step.text.encode())
    if declaration.kind and step.path == (declaration.kind[0],):
        return st.sampled_from(sorted(declaration.kind[1])).map(lambda number: b"%d" % number)
    if step.field.type in (t.FLOAT, t.DECIMAL, t.GREEK, t.VOLATILITY, t.MODEL_PRICE):
        return st.floats(-9, 1e6).map(lambda real: b"%r" % real) | st.sampled_from([b"", b"-1", b"-2"])
    return st.sampled_from([b"", b"0", b"1"])


@st.composite
def odd_text(draw: Any, version: int) -> bytes:
    """A text frame of a flat message whose fields are odd, perhaps one too few or too many."""
    declaration = BY_NAME[draw(st.sampled_from(sorted(each for each in FLAT if BY_NAME[each].layout is not None)))]
    fields = [draw(plain_text(declaration, step)) for step in resolve(declaration, version)]
    for _ in range(draw(st.integers(0, 2))):
        fields[draw(st.integers(0, len(fields) - 1))] = draw(st.sampled_from(ODD) | st.binary(max_size=4))
    body = b"".join(each + b"\0" for each in fields)
    cut, more = draw(st.sampled_from([(0, b"")] * 6 + [(1, b""), (2, b""), (0, b"\0"), (0, b"1\0"), (0, b"x")]))
    number = declaration.id
    head = draw(st.sampled_from([b"%d\0"] * 8 + [b"0%d\0", b"+%d\0", b" %d\0", b"%d", b"%d\0\0"])) % number
    start = number.to_bytes(4, "big") if raw_ids(version) else head
    return b"".join((start, body[: len(body) - cut], more))


@built
@pytest.mark.parametrize("version", VERSIONS)
@settings(max_examples=500, suppress_health_check=SLOW)
@given(data=st.data())
def test_odd_text_is_the_same_or_left_to_the_pure_path(version: int, data: Any) -> None:
    agreed(version, data.draw(odd_text(version)))


@built
@pytest.mark.parametrize("version", [178, 201])
@pytest.mark.parametrize("name", sorted(FLAT))
def test_every_odd_spelling_in_every_text_field(name: str, version: int) -> None:
    declaration = BY_NAME[name]
    steps = resolve(declaration, version)
    head = declaration.id.to_bytes(4, "big") if raw_ids(version) else b"%d\0" % declaration.id
    for place, step in enumerate(steps):
        for spelling in ODD if isinstance(step, Slot) else ODD[:2]:
            fields = [b"%d" % min(declaration.kind[1]) if declaration.kind else b"1" for _ in steps]
            fields[place] = spelling
            agreed(version, head + b"".join(each + b"\0" for each in fields))


# -- protobuf as it may be --------------------------------------------------------------------------------------------


def numbers(declaration: Declaration) -> Iterator[tuple[int, int, Any]]:
    """The messages and fields of a declaration: the number of the message, or 0; its own; and its type."""
    for member in declaration.fields:
        if isinstance(member, Inline):
            yield from ((member.tag, each.tag, each.type) for each in member.fields if isinstance(each, Field))
        elif isinstance(member, Field) and member.tag:
            yield 0, member.tag, member.type


_VARINTS = st.sampled_from(
    [0, 1, 2, 3, 4, 127, 128, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1, 2**64 - 2, 2**64, 2**70]
)
_NUMBERS = st.sampled_from([0, 9, 15, 16, 2047, 2048, 4095, 4096, 2**29 - 1, 2**29])
_BYTES = st.sampled_from(ODD) | st.binary(max_size=6) | st.builds(wire_field, st.integers(1, 5), st.integers(0, 2))
_ANY = _VARINTS.map(lambda number: (0, varint(number))) | st.sampled_from(
    [
        *((0, b"\x80\x00"), (0, b"\x81\x80\x80\x80\x00"), (0, b"\xff" * 10), (0, b"\xff" * 9 + b"\x01"), (0, b"\x80")),
        *((1, b"\0" * 8), (1, b"\0" * 7), (5, b"\0" * 4), (5, b"\0\0"), (3, b""), (4, b""), (6, b""), (7, b"")),
        *((2, b"\x05abcd"), (2, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), (2, b"\xff\xff\xff\xff\x07x"), (2, b"")),
    ]
)


def _plain(kind: Any) -> st.SearchStrategy[tuple[int, bytes]]:
    """A wire type and content that a field may have."""
    name = kind.proto if isinstance(kind, t.Scalar) else "string" if kind.message else "int32"
    if name == "string":
        return _BYTES.map(lambda content: (2, varint(len(content)) + content))
    if name == "double":
        real = st.floats() | st.sampled_from([0.0, -0.0, -1.0, -2.0, t.UNSET_FLOAT, -t.UNSET_FLOAT])
        return real.map(lambda value: (1, struct.pack("<d", value)))
    return _VARINTS.map(lambda number: (0, varint(number)))


def _key(number: int, wire: int) -> bytes:
    return varint(number << 3 | wire)


@st.composite
def odd_proto(draw: Any) -> bytes:
    """A protobuf frame of a flat message: its fields in any order and number, some of them as they must not be."""
    declaration = BY_NAME[draw(st.sampled_from(sorted(each for each in FLAT if BY_NAME[each].proto_since)))]
    known = list(numbers(declaration))
    messages: dict[int, bytes] = {0: b""}
    for message, number, kind in draw(st.permutations(known) | st.lists(st.sampled_from(known), max_size=12)):
        field = number if draw(st.integers(0, 15)) else draw(_NUMBERS)
        wire, content = draw(_plain(kind) if draw(st.integers(0, 15)) else _ANY)
        if declaration.kind and (message, number) == (0, 2) and draw(st.integers(0, 7)):
            wire, content = 0, varint(draw(st.sampled_from(sorted(declaration.kind[1]))))
        messages[message] = messages.get(message, b"") + _key(field, wire) + content
    body = messages.pop(0)
    for number, content in messages.items():
        for _ in range(draw(st.sampled_from([1] * 12 + [0, 2]))):
            body += _key(number, 2) + varint(len(content)) + content
    if not draw(st.integers(0, 9)):
        body = body[: draw(st.integers(0, len(body)))]
    return (declaration.id + 200).to_bytes(4, "big") + body


@built
@settings(max_examples=1500, suppress_health_check=SLOW)
@given(odd_proto())
def test_odd_protobuf_is_the_same_or_left_to_the_pure_path(payload: bytes) -> None:
    agreed(226, payload)


@built
@pytest.mark.parametrize("content", [b"", *(wire_field(1, number) for number in (0, 1, 2**64 - 1))])
def test_a_message_in_a_message_that_comes_twice_is_left_to_the_pure_path(content: bytes) -> None:
    body = wire_field(1, 7) + wire_field(2, content)
    for name in ("updateMktDepth", "updateMktDepthL2"):
        head = (BY_NAME[name].id + 200).to_bytes(4, "big")
        assert agreed(226, head + body)
        assert not agreed(226, head + body + wire_field(2, content))


@built
@pytest.mark.parametrize(
    ("version", "body", "taken"),
    [
        (178, b"2\x006\x001\x000\x005\x00", True),
        (178, b"2\x006\x001\x000\x005\x00\x00", False),  # one too many: counted where it is published
        (178, b"2\x006\x001\x000\x005", False),
        (178, b"2\x006\x001\x000\x001_0\x00", False),
        (178, b"02\x006\x001\x000\x005\x00", False),
        (178, b"\x00", False),
        (178, b"", False),
        (178, b"99999\x00", False),
        (226, b"\0\0\0\xca\x08\x07\x10\x03\x1a\x011", True),
        (226, b"\0\0\0\xca\x1a\x011\x10\x03\x08\x07\x7d\0\0\0\0", True),  # in another order, and one that is unknown
        (226, b"\0\0\0\xca\x08\x05\x08\x07", True),  # the last one wins
        (226, b"\0\0\0\xca", True),  # nothing is there
        (226, b"\0\0\0\xca\x0d\0\0\0\0", False),  # known, and of another wire type
        (226, b"\0\0\0\xca\x08\x87\x00", False),  # longer than it needs to be
        (226, b"\0\0\0\xca\x1a\x02\xc3\x28", False),
        (226, b"\0\0\0\xca\x1a\x05\x31", False),
        (226, b"\0\0\0\xca\x0b\x0c", False),
        (226, b"\1\0\0\xca", False),
        (226, b"\0\0\xff\xff", False),
        (226, b"\0\0", False),
        (226, b"\0\0\1\x2b\x08\7\x10\4\x2a\2\x08\1", True),  # a mid point
        (226, b"\0\0\1\x2b\x08\7\x10\4\x2a\2\x08\1\x1a\x010", False),  # and a trade, which is broken
        (226, b"\0\0\1\x2b\x08\7\x10\4\x2a\2\x08\1\x32\x010", False),  # and something that is unknown
        (226, b"\0\0\1\x2b\x08\7\x2a\2\x08\1", False),  # of no kind
    ],
)
def test_what_is_taken(version: int, body: bytes, taken: bool) -> None:
    assert agreed(version, body) is taken


# -- frames that were right once --------------------------------------------------------------------------------------


@st.composite
def damaged(draw: Any) -> tuple[int, bytes]:
    """A golden frame with bits flipped, an end cut off, or pieces taken away, doubled or replaced."""
    version, _, payload = draw(st.sampled_from(golden()))
    frame = bytearray(payload)
    for _ in range(draw(st.integers(1, 2))):
        place, size = draw(st.integers(0, max(len(frame) - 1, 0))), draw(st.integers(1, 4))
        match draw(st.sampled_from(["bits", "cut", "double", "remove", "field", "swap"])):
            case "bits" if frame:
                frame[place] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del frame[place:]
            case "double":
                frame[place:place] = frame[place : place + size]
            case "remove":
                del frame[place : place + size]
            case "field":
                fields = bytes(frame).split(b"\0")
                fields[place % len(fields)] = draw(st.sampled_from(ODD))
                frame = bytearray(b"\0".join(fields))
            case "swap":
                frame[place : place + size] = frame[place : place + size][::-1]
    return version, bytes(frame)


@built
@settings(max_examples=1500, suppress_health_check=SLOW)
@given(damaged())
def test_a_damaged_frame_is_the_same_or_left_to_the_pure_path(case: tuple[int, bytes]) -> None:
    agreed(*case)


@built
def test_a_frame_cut_off_anywhere_is_the_same_or_left_to_the_pure_path() -> None:
    first = {(version >= 201, name, payload[:4]): (version, payload) for version, name, payload in golden()}
    for version, payload in first.values():
        for length in range(len(payload)):
            agreed(version, payload[:length])


# -- numbers in msgpack -----------------------------------------------------------------------------------------------


def sizes() -> Iterator[int]:
    for power in (5, 7, 8, 15, 16, 31, 32, 59):
        for number in (2**power, -(2**power)):
            yield from range(number - 2, number + 3)


@built
@pytest.mark.parametrize("number", list(sizes()))
def test_integers_of_all_sizes_are_as_short_as_they_can_be(number: int) -> None:
    for version in (178, 226):
        assert agreed(version, written("tickNews", version, {"tickerId": 1, "timeStamp": number}))


@built
@settings(max_examples=2000)
@given(st.floats(allow_nan=False, allow_infinity=False) | st.decimals(-(10**9), 10**9, places=4).map(float))
def test_a_double_is_the_one_that_python_reads(value: float) -> None:
    for text in (repr(value), f"{value:.3f}", f"{value:.12g}"):
        payload = b"45\x006\x001\x0049\x00%s\x00" % text.encode()
        taken = agreed(178, payload)
        assert taken or len(text) > 63
        if taken:
            body = both(178)[0](payload)[3]
            assert struct.pack(">d", float(text)) in body or msgpack.unpackb(body)["value"] is None


@built
def test_a_message_that_is_longer_than_the_buffer_is_left_to_the_pure_path() -> None:
    for length in range(4000, 4100):
        payload = written("fundamentalData", 178, {"reqId": 1, "data": "x" * length})
        packed = both(178)[1](payload)
        assert not isinstance(packed, Undecodable)
        assert agreed(178, payload) is (len(packed[3]) <= 4096)


@built
def test_what_is_made_lasts_longer_than_what_it_was_made_from() -> None:
    fast = speedups.reader(226, Dialect.client(226)._by_id, FLAT, lambda _: None)
    payload = written("tickSize", 226, {"reqId": 1, "tickType": 0, "size": 2.0})
    assert [fast(payload) for _ in range(3)] == [both(226)[1](payload)] * 3


@built
@pytest.mark.parametrize("version", VERSIONS)
def test_every_flat_message_that_is_passed_on_has_a_plan(version: int) -> None:
    for name in PASSED_ON & FLAT:
        declaration = BY_NAME[name]
        others = [each for each in INBOUND if each.id == declaration.id]
        if declaration.layout is not None and edges(declaration)[0] <= version:
            assert name in {draft.name for draft in speedups.drafts(others, version)}
        if declaration.proto_since is not None:
            assert name in {draft.name for draft in speedups.drafts(others, None)}
