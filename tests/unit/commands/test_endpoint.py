"""The command border: whatever comes, exactly one reply, and never a bug."""

from __future__ import annotations

import copy
import itertools
import math
import string
from typing import Any

import msgpack
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ibbridge.codec.messages import REQUESTS
from ibbridge.codec.schema import REQUEST_IDS, Field, Kind
from ibbridge.codec.types import Scalar
from ibbridge.commands.endpoint import MOST_REFUSALS
from ibbridge.config.model import RESTRICTED
from ibbridge.protocol import arguments
from ibbridge.protocol.errors import CODES, CommandRefused
from tests.support.daemon_core import AAPL, EPOCH, LIMIT, Middle, halt_all, resume_all
from tests.support.json_schemas import word
from tests.support.strategies import canonical

LONGEST_REFUSAL = 65_536
OUTCOMES = ("refused", "not_sent", "unknown")
FAR = 4_102_444_800_000_000  # the year 2100
_IDS = itertools.count(1)


def answered(middle: Middle, request: bytes) -> dict[str, Any]:
    """The reply, which is as the protocol says."""
    packed = middle.commands.answer(request)
    assert isinstance(packed, bytes)
    reply: dict[str, Any] = msgpack.unpackb(packed)
    assert reply["epoch"] == EPOCH
    assert reply["gen"] == middle.streams.gen
    assert isinstance(reply["id"], str | int | None)
    if reply["ok"] is True:
        assert reply.keys() - {"dup"} == {"id", "ok", "result", "epoch", "gen"}
        assert isinstance(reply["result"], dict)
        return reply
    assert reply["ok"] is False
    assert reply.keys() - {"dup"} == {"id", "ok", "error", "epoch", "gen"}
    error = reply["error"]
    assert error["code"] in CODES - {"E_INTERNAL"}, error
    of_code = {"E_LINES": {"kind", "most", "holders"}, "E_RISK": {"rule", "scope", "limit", "value", "decision"}}
    about = of_code.get(error["code"], set())
    assert error.keys() - {"retry_after", "first"} - about == {"code", "message", "faults", "outcome"}
    assert error["outcome"] in OUTCOMES
    assert error["faults"]
    assert error["message"] == "; ".join(error["faults"])
    assert all(" " in fault and fault.isascii() and fault.isprintable() for fault in error["faults"]), error
    assert len(packed) < LONGEST_REFUSAL
    return reply


def call(middle: Middle, cmd: Any = "ping", **more: Any) -> dict[str, Any]:
    command = {"id": f"c{next(_IDS)}", "cmd": cmd, "args": {}, "client": "a", **more}
    return answered(middle, msgpack.packb(command))


def code(reply: dict[str, Any]) -> str:
    return "" if reply["ok"] else str(reply["error"]["code"])


@pytest.fixture
def middle() -> Middle:
    return Middle()


# The form of a command


def test_ping_status_and_snapshot_need_neither_client_nor_arguments(middle):
    nothing: dict[str, Any] = {"streams": [], "next": None, "offset": 0}
    results: dict[str, dict[str, Any]] = {
        "ping": {"pong": True, "role": "admin"},
        "status": {"published": 0},
        "snapshot": nothing,
    }
    for cmd, result in results.items():
        reply = answered(middle, msgpack.packb({"id": "x", "cmd": cmd}))
        assert reply["id"] == "x"
        assert reply["result"].items() >= result.items()


@pytest.mark.parametrize("value", [None, True, 1, -1, 1.5, "ping", b"ping", [], [{}], msgpack.ExtType(5, b"x")])
def test_what_is_no_map_is_refused(middle, value):
    assert code(answered(middle, msgpack.packb(value))) == "E_PROTO"


@pytest.mark.parametrize(
    "id_", [None, True, 1.0, "", "x" * 65, "a\0", "a\nb", b"x", [1], {}, msgpack.Timestamp(1)], ids=repr
)
def test_an_id_that_is_none_is_refused_and_not_echoed(middle, id_):
    reply = call(middle, id=id_)
    assert (code(reply), reply["id"]) == ("E_PROTO", None)


@pytest.mark.parametrize("id_", [0, -1, 2**64 - 1, -(2**63), "x", "é" * 64, "~ %/."])
def test_the_reply_has_the_id_of_the_command(middle, id_):
    assert call(middle, id=id_)["id"] == id_
    assert call(middle, "nothing", id=id_)["id"] == id_


@pytest.mark.parametrize(
    "client", [None, "", "x" * 33, "a/b", "é", "a\n", "a\0", 7, b"a", ["a"], {"a": 1}, True], ids=repr
)
def test_who_is_asking_must_be_said(middle, client):
    assert code(call(middle, "reqCurrentTime", client=client)) == "E_PROTO"
    assert middle.link.sent == []


@pytest.mark.parametrize("args", [[], "x", 1, True, b"", [1, 2]], ids=repr)
def test_arguments_are_a_map(middle, args):
    assert code(call(middle, "reqMktData", args=args)) == "E_ARG"


@pytest.mark.parametrize(
    ("cmd", "hint"),
    [
        ("reqMktDta", "did you mean reqMktData"),
        ("PING", ""),
        ("snapshoot", "did you mean snapshot"),
        ("whatIfOrdr", "did you mean whatIfOrder"),
        ("", ""),
        ("\0" * 100, ""),
        ("é" * 1000, ""),
        ("__class__", ""),
    ],
)
def test_an_unknown_command_is_refused_with_a_guess(middle, cmd, hint):
    reply = call(middle, cmd)
    assert code(reply) == "E_PROTO"
    assert hint in reply["error"]["message"]


@pytest.mark.parametrize("cmd", [None, 1, b"ping", ["ping"], {"ping": 1}, True], ids=repr)
def test_a_command_is_text(middle, cmd):
    assert code(call(middle, cmd)) == "E_PROTO"


def test_unknown_keys_of_a_command_are_all_named(middle):
    reply = call(middle, notafter=1, clint="x", **{"é\0": 1})
    assert code(reply) == "E_PROTO"
    assert len(reply["error"]["faults"]) == 3


@pytest.mark.parametrize("cmd", ["ping", "status"])
def test_arguments_that_nobody_wants_are_refused(middle, cmd):
    assert code(call(middle, cmd, args={"x": 1})) == "E_ARG"


@pytest.mark.parametrize(
    "args",
    [{"prefix": 1}, {"after": None}, {"prefx": ""}, {"x": 3, "y": 4}, {"prefix": b"md."}, {"prefix": "m" * 1_921}],
    ids=lambda args: repr(args)[:20],
)
def test_a_snapshot_takes_texts(middle, args):
    assert code(call(middle, "snapshot", args=args)) == "E_ARG"


def test_a_snapshot_is_what_was_published(middle):
    number = middle.subscribe("a", 1)
    heard = middle.tick(number)
    (stream,) = call(middle, "snapshot", args={"prefix": "md."})["result"]["streams"]
    ((topic, body),) = stream["messages"]
    assert (stream["stream"], stream["seq"]) == ("md.AAPL-STK-SMART-USD.", 1)
    assert (topic.decode(), msgpack.unpackb(body)) == heard


# Deadlines


@pytest.mark.parametrize("late", [0, 1, -1, -(2**63), EPOCH - 1])
def test_a_command_past_its_time_is_not_carried_out(middle, late):
    reply = call(middle, "placeOrder", key="k", not_after=late, args={"contract": AAPL, "order": LIMIT})
    assert (code(reply), reply["error"]["outcome"]) == ("E_DEADLINE", "not_sent")
    assert middle.link.sent == []
    assert len(middle.orders) == 0


@pytest.mark.parametrize("not_after", [None, FAR, 2**64 - 1])
def test_a_command_in_time_is(middle, not_after):
    assert call(middle, "reqCurrentTime", not_after=not_after)["ok"]


@pytest.mark.parametrize("not_after", [True, 1.5, "now", b"", [], {}, math.inf], ids=repr)
def test_a_time_that_is_none_is_refused(middle, not_after):
    assert code(call(middle, "reqCurrentTime", not_after=not_after)) == "E_ARG"


def test_an_order_that_was_sent_in_time_is_not_called_unsent_when_it_is_asked_for_again_too_late(middle):
    order = {"key": "k", "args": {"contract": AAPL, "order": LIMIT}}
    first = call(middle, "placeOrder", id=1, not_after=FAR, **order)
    again = call(middle, "placeOrder", id=2, not_after=1, **order)
    assert (again["result"], again["dup"]) == (first["result"], True)
    other = {"key": "k", "args": {"contract": AAPL, "order": {**LIMIT, "lmtPrice": 1.0}}}
    assert code(call(middle, "placeOrder", not_after=1, **other)) == "E_KEY_REUSED"
    assert len(middle.link.sent) == 1


def test_dup_stands_beside_the_result(middle):
    order = {"key": "k", "args": {"contract": AAPL, "order": LIMIT}}
    assert "dup" not in call(middle, "placeOrder", **order)
    assert call(middle, "placeOrder", **order)["dup"] is True


@pytest.mark.parametrize("key", [1, b"k", [], {}, True, "", "a/b", "k\0"], ids=repr)
def test_a_key_of_the_wrong_kind_is_refused_wherever_it_stands(middle, key):
    order = {"contract": AAPL, "order": LIMIT}
    assert code(call(middle, "placeOrder", key=key, args=order)) == "E_ARG"
    assert code(call(middle, "placeOrder", args={**order, "key": key})) == "E_ARG"
    assert code(call(middle, "placeOrder", not_after=1, args={**order, "key": key})) in ("E_ARG", "E_DEADLINE")
    assert middle.link.sent == []


# The memory of commands


@pytest.mark.parametrize("cmd", ["reqMktData", "placeOrder", "cancelOrder"])
def test_what_was_not_sent_is_not_remembered_as_done(cmd):
    middle = Middle(ready=False)
    args = {"contract": AAPL, **({"order": LIMIT} if cmd == "placeOrder" else {})}
    command = {"id": 7, "cmd": cmd, "client": "a", "args": args}
    if cmd != "reqMktData":
        command["key"] = "k"
    if cmd == "cancelOrder":
        middle.connect()
        middle.place("k")
        middle.lost()
        command["args"] = {}
    refused = middle.call(command)
    assert (code(refused), refused["error"]["outcome"]) == ("E_NOT_CONNECTED", "not_sent")
    middle.connect()
    middle.link.take()
    done = middle.call(command)
    assert (done["ok"], "dup" in done) == (True, False)
    assert [each.name for each in middle.link.take()] == [cmd]
    again = middle.call(command)
    assert (again["result"], again["dup"]) == (done["result"], True)
    assert middle.link.take() == []


def test_an_order_that_was_refused_for_now_is_placed_by_the_same_command_later(middle):
    command = {"id": 7, "cmd": "placeOrder", "client": "a", "key": "k", "args": {"contract": AAPL, "order": LIMIT}}
    halt_all(middle, "b")
    assert code(middle.call(command)) == "E_HALTED"
    resume_all(middle.halts)
    assert middle.call(command)["ok"]


def test_junk_pushes_out_no_reply_to_what_was_done(middle):
    command = {"id": 7, "cmd": "placeOrder", "client": "a", "key": "k", "args": {"contract": AAPL, "order": LIMIT}}
    done = middle.call(command)
    for number in range(12_000):
        junk = {"id": number, "cmd": "cancelOrder", "client": "a" if number % 2 else f"c{number}"}
        middle.commands.answer(msgpack.packb(junk))
    assert len(middle.commands._endpoint._refusals) == MOST_REFUSALS
    assert middle.call(command) == {**done, "dup": True}


# The purpose of the border


def test_a_bug_is_answered_and_counted_and_says_that_nobody_knows_what_became_of_it(middle, monkeypatch, caplog):
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(middle.requests, "execute", broken)
    reply = middle.call({"id": 3, "cmd": "reqCurrentTime", "client": "a"})
    assert (reply["id"], reply["error"]["code"], reply["error"]["outcome"]) == (3, "E_INTERNAL", "unknown")
    assert middle.commands.counts["internalErrors"] == 1
    assert "ZeroDivisionError" in caplog.text


def test_what_is_refused_by_the_socket_is_answered_too(middle):
    reply = msgpack.unpackb(middle.commands.refuse("a request is one frame, and this one has 2"))
    assert (reply["id"], reply["error"]["code"]) == (None, "E_ARG")


def test_every_code_that_can_be_met_is_a_known_one():
    assert CommandRefused("E_ARG", "a b").as_map() == {
        "code": "E_ARG",
        "message": "a b",
        "faults": ["a b"],
        "outcome": "refused",
    }


HEAD = b"\x84\xa2id\x01\xa6client\xa1a\xa3cmd"


@pytest.mark.parametrize("cmd", ["ping", "snapshot", "reqMktData", "cancelMktData", "placeOrder", "cancelPositions"])
@pytest.mark.parametrize("depth", [100, 500, 950, 1000, 1015, 1020, 1100, 10_000])
@pytest.mark.parametrize("nest", [b"\x91", b"\x81\xa1x", b"\x92\xc0", b"\x81\x01"], ids=["list", "map", "row", "int"])
def test_values_within_values(middle, cmd, depth, nest):
    deep = nest * depth + b"\xc0"
    head = HEAD + msgpack.packb(cmd) + b"\xa4args"
    answered(middle, head + deep)
    for name in (b"\xa2id", b"\xa8contract", b"\xa5order", b"\xa3key", b"\xa6prefix"):
        answered(middle, head + b"\x81" + name + deep)
    answered(middle, head + b"\x82\xa3key\xa1k\xa5order\x81\xa8lmtPrice" + deep)
    answered(middle, b"\x81" + deep + b"\x01")
    assert middle.link.sent == []


@pytest.mark.parametrize("value", ["x", b"x", "\0"])
def test_ten_megabytes_of_anything(middle, value):
    value = value * (10_000_000 // len(msgpack.packb(value)[1:]))
    assert code(answered(middle, msgpack.packb(value))) == "E_PROTO"
    for where in ("id", "cmd", "client", "key", "args", "not_after"):
        assert not call(middle, **{"cmd": "reqMktData", where: value})["ok"]
    assert not call(middle, "cancelMktData", args={"id": value})["ok"]
    for where in ("contract", "tickType", "x"):
        assert not call(middle, "reqTickByTickData", args={"contract": AAPL, where: value})["ok"]
    assert not call(middle, "reqMktData", args={"contract": {**AAPL, "symbol": value}})["ok"]
    assert middle.link.sent == []


def test_a_list_of_ten_million(middle):
    packed = b"\xdd" + (10_000_000).to_bytes(4, "big") + bytes(10_000_000)
    for name in (b"\xa2id", b"\xa5order", b"\xa8contract"):
        answered(middle, b"\x84\xa2id\x01\xa6client\xa1a\xa3cmd\xaaplaceOrder\xa4args\x81" + name + packed)
    assert middle.link.sent == []


def many_keys(count: int) -> bytes:
    """A map with that many keys, half of them texts."""
    pairs = (msgpack.packb(str(number)) + b"\xc0" + msgpack.packb(number) + b"\xc0" for number in range(count // 2))
    return b"\xdf" + count.to_bytes(4, "big") + b"".join(pairs)


def test_a_million_keys(middle):
    keys = many_keys(1_000_000)
    assert code(answered(middle, keys)) == "E_ARG"
    assert not answered(middle, HEAD + b"\xaareqMktData\xa4args\x81\xa8contract" + keys)["ok"]


@pytest.mark.parametrize("cmd", ["ping", "snapshot", "reqMktData", "cancelMktData", "placeOrder", "cancelOrder"])
def test_as_many_keys_as_a_request_may_have(middle, cmd):
    keys = many_keys(100_000)
    for args in (keys, b"\x82\xa3key\xa1k\xa5order" + keys, b"\x81\xa2id" + keys):
        assert not answered(middle, HEAD + msgpack.packb(cmd) + b"\xa4args" + args)["ok"]


@pytest.mark.parametrize("version", [178, 226])
def test_a_nul_in_a_text_never_reaches_tws(version):
    middle = Middle(version)
    for path in ("contract.symbol", "order.account", "order.tif", "order.algoParams"):
        args: dict[str, dict[str, Any]] = {"contract": dict(AAPL), "order": dict(LIMIT)}
        record, name = path.split(".")
        value: Any = "a\0b" if name != "algoParams" else [{"tag": "x", "value": "a\0b"}]
        args[record][name] = value
        assert "NUL" in call(middle, "placeOrder", key="k", args=args)["error"]["message"]
    assert "NUL" in call(middle, "reqMktData", args={"contract": AAPL, "genericTickList": "1\0002"})["error"]["message"]
    assert middle.link.sent == []


# Every request with every argument wrong

NASTY: list[Any] = [
    None,
    True,
    -1,
    2**31 - 1,
    2**31,
    2**63,
    2**64 - 1,
    -(2**63),
    0.5,
    math.nan,
    math.inf,
    -math.inf,
    1.7976931348623157e308,
    "",
    "x",
    "a\0b",
    "\N{SNOWMAN}",
    "1e400",
    "1" * 5000,
    b"\xff",
    [],
    [None],
    [[]],
    [{}],
    [{"tag": "a", "value": "b"}],
    [{"tag": b"a", "value": 1}],
    [{"condType": 1}, {"condType": True}, {"condType": 2**63}],
    {},
    {"x": 1},
    {1: 2},
    msgpack.Timestamp(0),
    msgpack.ExtType(1, b""),
]

LEAST = {"int": 1, "str": "x", "bool": True, "float": 1.5}
ORDERS = {"placeOrder", "whatIfOrder"}
NAMES = sorted({*REQUESTS, "whatIfOrder"} - {"startApi"})


def least(field: Field) -> Any:
    """A value that is right for a field."""
    if field.words:
        return word(field)
    return LEAST[field.type.name] if isinstance(field.type, Scalar) else {}


def base(name: str) -> dict[str, Any]:
    """Arguments that are right."""
    request = REQUESTS["placeOrder" if name == "whatIfOrder" else name]
    needed = [each for each in arguments.fields(request) if each.required]
    args = {each.name: least(each) for each in needed}
    args |= {"contract": AAPL} if any(each.name == "contract" for each in request.shape.shape) else {}
    return copy.deepcopy(args | ({"order": LIMIT} if name in ORDERS else {}))


@pytest.mark.parametrize("version", [178, 200, 226])
@pytest.mark.parametrize("name", NAMES)
def test_every_request_is_accepted_as_it_should_be(name, version):
    middle = Middle(version, allowed=RESTRICTED)
    request = REQUESTS.get(name)
    if not (request and request.target):
        key = {"key": "k"} if request and request.does is Kind.ORDER else {}
        reply = call(middle, name, args=base(name), **key)
        missing = request is not None and not request.exists(version)
        assert reply["ok"] is not missing, reply
        assert len(middle.link.sent) == (not missing)


@pytest.mark.parametrize("version", [178, 226])
@pytest.mark.parametrize("name", NAMES)
def test_every_argument_of_every_request_with_every_nasty_value(name, version):
    middle = Middle(version, allowed=RESTRICTED)
    request = REQUESTS["placeOrder" if name == "whatIfOrder" else name]
    paths: list[tuple[str, ...]] = [(each.name,) for each in request.shape.shape]
    paths += [("id",), ("key",), ("reqId",), ("x",)]
    for record in ("contract", "order", "orderCancel", "execFilter"):
        kind = next((each.type for each in request.shape.shape if each.name == record), None)
        paths += [(record, each.name) for each in getattr(kind, "shape", ())]
    number = 0
    for path in paths:
        for value in NASTY:
            args = base(name)
            place = args.setdefault(path[0], {}) if len(path) > 1 else args
            place[path[-1]] = value
            number += 1
            call(middle, name, args=args, id=number, **({"key": f"k{number}"} if name == "placeOrder" else {}))
            middle.link.take()
    assert middle.commands.counts["internalErrors"] == 0


# Hypothesis

KEYS = st.text(max_size=3) | st.integers(-(2**63), 2**64 - 1) | st.binary(max_size=2) | st.booleans() | st.none()
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=8)
    | st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=4))
    | st.builds(msgpack.Timestamp, st.integers(-(2**34), 2**34), st.integers(0, 10**9 - 1))
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=8
)


@given(st.binary(max_size=200))
@example(b"")
@example(b"\xc1")
@example(b"\x81\x80\x01")  # a map as the key of a map
@example(b"\x81\x90\x01")
@example(b"\x82\xa2id\x01\xa3cmd\xa3\xed\xa0\x80")  # half a surrogate pair
@example(b"\x81\xa2id\xa1\xff")
@example(b"\xdf\xff\xff\xff\xff")  # a map of four thousand million
@example(b"\xdd\xff\xff\xff\xff")
@example(b"\xc6\xff\xff\xff\xff")
@example(b"\xdb\xff\xff\xff\xff")
@example(b"\xc7\x03\xff\x00\x00\x00")  # a timestamp of three bytes
@example(b"\xd7\xff\xff\xff\xff\xff\xff\xff\xff\xff")
@example(b"\x80\x80")  # two values
@example(b"\x81\xa2id\x01" * 2)
def test_whatever_bytes_come_there_is_one_reply(request_):
    answered(Middle(), request_)


@given(VALUES)
def test_whatever_value_comes_there_is_one_reply(value):
    answered(Middle(), msgpack.packb(value))


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "id": st.integers(0, 3) | VALUES,
            "cmd": st.sampled_from([*NAMES, "ping", "status", "snapshot"]) | VALUES,
            "client": st.sampled_from(["a", "b"]) | VALUES,
            "args": VALUES | st.dictionaries(st.sampled_from(["contract", "order", "key", "id", "after"]), VALUES),
            "key": VALUES,
            "not_after": VALUES,
            "x": VALUES,
        },
    )
)
def test_whatever_command_comes_there_is_one_reply(command):
    answered(Middle(allowed=RESTRICTED), msgpack.packb(command))


@st.composite
def mutated(draw: Any, version: int) -> dict[str, Any]:
    """A command that is right, or was until something in it was changed."""
    name = draw(st.sampled_from([name for name in NAMES if name == "whatIfOrder" or REQUESTS[name].exists(version)]))
    request = REQUESTS["placeOrder" if name == "whatIfOrder" else name]
    args = {k: v for k, v in draw(canonical(request, version)).items() if k not in {*REQUEST_IDS, "orderId"}}
    if request.cancels and request.key:
        args = {**args, "id": 1}
    if "order" in args:
        args["order"] = {k: v for k, v in args["order"].items() if k not in ("orderRef", "orderId", "whatIf")}
    for _ in range(draw(st.integers(0, 2))):
        _mutate(draw, args)
    key = draw(st.sampled_from(["k", None]))
    return {"id": draw(st.integers(1, 2)), "cmd": name, "client": "a", "args": args, "key": key}


def _mutate(draw: Any, value: Any) -> None:
    """Change one thing somewhere inside."""
    inner = [value]
    for each in inner:
        below = each.values() if isinstance(each, dict) else each
        inner += [one for one in below if isinstance(one, dict | list) and one]
    place = draw(st.sampled_from(inner))
    if isinstance(place, list):
        place[draw(st.integers(0, len(place) - 1))] = draw(VALUES)
    elif place and draw(st.booleans()):
        place[draw(st.sampled_from(sorted(place, key=repr)))] = draw(VALUES)
    else:
        place[draw(KEYS | st.text(string.ascii_letters, min_size=1, max_size=8))] = draw(VALUES)


@pytest.mark.parametrize("version", [178, 226])
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_whatever_goes_out_can_be_read_and_whatever_does_not_is_refused(version, data):
    middle = Middle(version, allowed=RESTRICTED)
    before = 0
    for command in data.draw(st.lists(mutated(version), min_size=1, max_size=3)):
        try:
            packed = msgpack.packb(command)
        except (OverflowError, ValueError):
            return
        reply = answered(middle, packed)
        sent = len(middle.link.sent) - before  # the link reads all that is sent as a host of this version does
        before += sent
        assert sent <= (1 if reply["ok"] else 0)
