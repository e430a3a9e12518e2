"""The JSON Schemas: what is published is valid, what may be given is valid, what is refused for its type is not.

`jsonschema` is the judge of the schemas, the codec of the values: neither knows of the other.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from ibbridge.codec import Dialect, Message, NotCarried
from ibbridge.codec.layout import edges
from ibbridge.codec.messages import INBOUND, OUTBOUND
from ibbridge.codec.messages.orders import ORDER
from ibbridge.codec.proto import reader
from ibbridge.codec.schema import Record, Request
from ibbridge.codec.types import UNSET_INT, UNSET_LONG
from ibbridge.codec.versions import NEWEST, PROTOBUF
from ibbridge.docgen import commands
from ibbridge.orders.order_arguments import NOT_OF_AN_ORDER, OF_EVERY_ORDER
from ibbridge.protocol import arguments
from tests.conformance.golden import IN, OUT
from tests.conformance.test_golden import client
from tests.support.declared import DECLARED
from tests.support.json_schemas import WRITTEN, example, faults, named, word
from tests.support.strategies import canonical

if TYPE_CHECKING:
    from ibbridge.docgen import Entry

COMMANDS = {each.name: each for each in commands() if each.usable}
ASKED = {name: each for name, each in COMMANDS.items() if each.fields}
"""Commands that take something of IB's. A cancel takes the id of a command."""


@pytest.mark.parametrize("path", [path for path in WRITTEN if "/messages/" in path or "/commands/" in path])
def test_a_schema_is_one(path: str) -> None:
    Draft202012Validator.check_schema(WRITTEN[path])
    assert WRITTEN[path]["$schema"] == Draft202012Validator.META_SCHEMA["$id"]


# -- messages ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", IN)
def test_a_message_from_outside_is_valid(name: str) -> None:
    for vector in IN[name]:
        got = client(vector["server_version"]).read(bytes.fromhex(vector["frame"]))
        if isinstance(got, Message):
            assert not faults(f"messages/{got.name}", got.data), vector["id"]


@pytest.mark.parametrize("name", [each.name for each in INBOUND if each.proto_since is not None])
def test_a_message_of_which_tws_says_nothing_is_valid(name: str) -> None:
    declaration = next(each for each in INBOUND if each.name == name)
    assert not faults(f"messages/{name}", reader(declaration)(b""))


_NUMBERED = "0 1 2 -1 2147483647 9223372036854775807 1.7976931348623157E308 Infinity NaN 1e400 99999999999 1.5"
ODD = ("", *_NUMBERED.split(), "true", "a", "\\u00e9", "é", "N", "20261218 08:30:00 US/Central", "k=v;")


def _with_fields() -> dict[str, list[dict[str, Any]]]:
    """The golden text frames that have fields beside their id."""
    texts = ((name, vector) for name in IN for vector in IN[name] if vector["enc"] == "text")
    found: dict[str, list[dict[str, Any]]] = {}
    for name, vector in texts:
        if len(_split(vector)[1]) > 1:
            found.setdefault(name, []).append(vector)
    return found


def _split(vector: dict[str, Any]) -> tuple[bytes, list[bytes]]:
    """The id, and the fields with the empty one behind the last."""
    frame = bytes.fromhex(vector["frame"])
    at = 4 if vector["server_version"] >= PROTOBUF else frame.index(b"\0") + 1
    return frame[:at], frame[at:].split(b"\0")


TEXTS = _with_fields()


@pytest.mark.parametrize("name", TEXTS)
@settings(max_examples=25)
@given(data=st.data())
def test_whatever_can_be_read_is_valid(name: str, data: Any) -> None:
    """Also what no TWS should say: a golden text frame with some fields replaced."""
    vector = data.draw(st.sampled_from(TEXTS[name]))
    head, fields = _split(vector)
    for place in data.draw(st.lists(st.integers(0, len(fields) - 2), min_size=1, max_size=4)):
        fields[place] = data.draw(st.sampled_from(ODD)).encode()
    got = client(vector["server_version"]).read(head + b"\0".join(fields))
    if isinstance(got, Message):
        assert not faults(f"messages/{got.name}", got.data)


def _some_edges() -> list[tuple[str, int]]:
    """The oldest form of each message, the last as text, the first as protobuf, and the newest."""
    found = []
    for each in DECLARED:
        all_edges = edges(each)
        proto = next((i for i, version in enumerate(all_edges) if each.in_protobuf(version)), len(all_edges))
        chosen = {0, max(proto - 1, 0), min(proto, len(all_edges) - 1), len(all_edges) - 1}
        found += [(each.name, all_edges[i]) for i in sorted(chosen)]
    return found


@pytest.mark.parametrize(("name", "version"), _some_edges())
@settings(max_examples=5, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_what_the_codec_reads_and_writes_is_valid(name: str, version: int, data: Any) -> None:
    declaration = next(each for each in DECLARED if each.name == name)
    drawn = data.draw(canonical(declaration, version))
    if not isinstance(declaration, Request):
        assert not faults(f"messages/{name}", drawn)
    elif name in ASKED:
        assert not faults(f"commands/{name}", _as_command(ASKED[name], drawn))


# -- commands ---------------------------------------------------------------------------------------------------------


def _as_command(entry: Entry, params: dict[str, Any]) -> dict[str, Any]:
    """A request's arguments without what the daemon gives, and with what it wants of an order."""
    request = entry.declaration
    assert request is not None
    taken = {each.name for each in entry.fields}
    args = {name: value for name, value in params.items() if name in taken} | named(entry)
    for each in entry.fields:  # a number may be deeper
        if isinstance(each.type, Record) and "." in (request.key or "") and isinstance(args.get(each.name), dict):
            known = {inner.name for inner in each.type.shape}
            args[each.name] = {name: value for name, value in args[each.name].items() if name in known}
    if isinstance(args.get("order"), dict):
        order = {name: value for name, value in args["order"].items() if name not in NOT_OF_AN_ORDER}
        args["order"] = order | {name: order.get(name) or word(ORDER.field(name)) for name in OF_EVERY_ORDER}
    return args


@pytest.mark.parametrize("name", [name for name in OUT if name in ASKED])
def test_a_request_that_the_reference_client_sends_is_valid(name: str) -> None:
    sent = 0
    for vector in OUT[name]:
        try:
            client(vector["server_version"]).check(name, vector["params"])
        except NotCarried:
            continue
        sent += 1
        assert not faults(f"commands/{name}", _as_command(ASKED[name], vector["params"])), vector["id"]
    assert sent


@pytest.mark.parametrize("entry", COMMANDS.values(), ids=repr)
def test_what_a_command_takes_is_valid_and_nothing_else(entry: Entry) -> None:
    path = f"commands/{entry.name}"
    words = {"integer": 1, "number": 1.5, "flag": True, "list": [], "map": {}}
    given = {**example(entry), **{own.name: words.get(own.word, "x") for own in entry.own}}
    assert not faults(path, given)
    for unknown in ("reqId", "orderId", "tickerId", "nonsense"):
        assert faults(path, {**given, unknown: 1})
    for name in example(entry):
        assert faults(path, {each: value for each, value in given.items() if each != name})
        assert faults(path, {**given, name: None})
    for name in (*(each.name for each in entry.fields), *(own.name for own in entry.own)):
        assert faults(path, {**given, name: [{}, "x", 2.5]})


def test_an_order_says_what_it_must_and_not_what_its_key_says() -> None:
    for command in (each.name for each in COMMANDS.values() if each.needed):
        order = {"action": "BUY", "orderType": "LMT", "totalQuantity": "0.1", "lmtPrice": 1.5}
        path, contract = f"commands/{command}", {"symbol": "AAPL"}
        assert not faults(path, {"contract": contract, "order": order})
        for wrong in ({"action": ""}, {"orderType": None}, {"orderRef": "x"}, {"whatIf": True}, {"filledQuantity": 1}):
            assert faults(path, {"contract": contract, "order": order | wrong}), wrong


def _paths(record: Record, under: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for each in record.shape:
        path = (*under, each.name)
        found.append(path)
        if isinstance(each.type, Record) and not each.many:
            found += _paths(each.type, path)
    return found


PLACES = {name: _paths(Record(name, each.fields)) for name, each in ASKED.items() if each.declaration in OUTBOUND}

VALUES: tuple[Any, ...] = (
    *(None, True, 0, 2, -1, 2**31, 2**63, 1.5, -1e-3),
    *("", "x", "1.5", "1x", "-2.5e3", "Infinity", "-Infinity", "NaN", "9" * 65, "x" * 1_025),
    *("BUY", "lmt", "stk", "alllast", "1 secs", "1 W"),
    *([], [1], ["x"], [None], [{}], {}, {"x": 1}),
    *([{"tag": "a", "value": "b"}], [{"tag": "a"}], [{"tag": "a", "value": 1}], [{"tag": "a", "value": "b", "c": ""}]),
    *([{"condType": 1, "price": 2, "isMore": None}], [{"condType": 2}], [{"condType": 3, "price": 2}]),
    *([{"conId": 1}], [{"conId": "x"}], [{"price": None}]),
)


@pytest.mark.parametrize("name", PLACES)
def test_every_argument_takes_the_values_that_the_codec_takes_and_no_other(name: str) -> None:
    entry = ASKED[name]
    stricter = {path[:length] for path in entry.needed for length in range(1, len(path) + 1)}
    for path in PLACES[name]:
        if path in stricter or (path not in entry.lives and path[0] != "contract"):
            continue  # the daemon wants more of an order than the codec; what is never sent is in no schema
        for value in VALUES:
            args = _given(entry, path, value)
            refused, found = _refused(entry, args), faults(f"commands/{name}", args)
            assert bool(refused) == bool(found), (path, value, refused or found)


def _given(entry: Entry, path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """An example with a value of its own somewhere."""
    *way, last = path
    place = args = example(entry) | named(entry)
    for step in way:
        place = place.setdefault(step, {})
    place[last] = value
    return args


# Not drawn, because JSON or its schemas cannot tell them apart or only their value is wrong, not their type: 1.0 for 1,
# the numbers that mean unset, quantities beyond 30 digits, and a line end behind a number.
_NUMBERS = st.integers(-(2**70), 2**70).filter(lambda n: abs(n) not in (UNSET_INT, UNSET_LONG, UNSET_LONG + 1))
_FRACTIONS = st.floats(0.001, 1e9).filter(lambda x: not x.is_integer())
_TEXTS = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=4) | st.sampled_from(["1.5", "Infinity"])
_LEAVES = st.none() | st.booleans() | _NUMBERS | _FRACTIONS | _TEXTS
_NAMES = st.sampled_from(["tag", "value", "condType", "conId", "price", "isMore"])
_ANY = st.recursive(_LEAVES, lambda x: st.lists(x, max_size=2) | st.dictionaries(_NAMES, x, max_size=3), max_leaves=4)


@pytest.mark.parametrize("name", PLACES)
@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_what_the_codec_refuses_for_its_type_the_schema_refuses(name: str, data: Any) -> None:
    entry = ASKED[name]
    args = _given(entry, data.draw(st.sampled_from(PLACES[name])), data.draw(_ANY))
    refused = _refused(entry, args)
    assert not refused or faults(f"commands/{name}", args), refused


def _refused(entry: Entry, args: dict[str, Any]) -> list[str]:
    """Return the codec's complaints about the types and names of `args`."""
    request = entry.declaration
    assert request is not None
    given = {name: value for name, value in args.items() if name not in named(entry)}
    path = arguments.number(request) if isinstance(request, Request) else None
    try:
        _NEWEST.check(entry.name, arguments.numbered(given, path, 1) if path else given, command=True, listed=True)
    except NotCarried as error:
        return [each for each in error.faults if re.search(" must |is unknown|is missing$", each)]
    return []


_NEWEST = Dialect.client(NEWEST)
