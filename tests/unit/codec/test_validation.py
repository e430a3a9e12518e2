"""A request that would not reach TWS as it was given is refused, every fault by name, whatever it was given."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ibbridge.codec import Dialect, Message, NotCarried, framing, validation
from ibbridge.codec.layout import edges
from ibbridge.codec.messages import OUTBOUND, REQUESTS
from ibbridge.codec.schema import MOST_ROWS, Record, Request
from ibbridge.codec.validation import MOST_FAULTS, MOST_GUESSED
from tests.support.declared import sides
from tests.support.strategies import canonical

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

TEXT, PROTOBUF = 200, 226

STOCK = {"symbol": "AAPL", "secType": "STK", "exchange": "SMART", "currency": "USD"}
ORDER = {"action": "BUY", "totalQuantity": 100, "orderType": "LMT", "lmtPrice": 1.5, "tif": "DAY"}


def faults(name: str, args: Any, version: int) -> list[str]:
    """Why the request is refused; nothing if it is sent."""
    try:
        Dialect.client(version).write(name, args)
    except NotCarried as refusal:
        return list(refusal.faults)
    return []


def place(version: int, *, contract: Mapping[str, Any] | None = None, **order: Any) -> list[str]:
    """Faults of an order that differs from a plain one in this."""
    given = {"orderId": 1, "contract": {**STOCK, **(contract or {})}, "order": {**ORDER, **order}}
    return faults("placeOrder", given, version)


# -- total on whatever a client can send ------------------------------------------------------------------------------

JANUARY = datetime(2026, 1, 1, tzinfo=UTC)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=5)
    | st.decimals()
    | st.sampled_from([10**400, "Infinity", "nan", "1_0", "é", "\0", "a=b;", "\ud800", JANUARY, object()])
)
NAMES = st.sampled_from(sorted({each.name for request in OUTBOUND for each in request.shape.fields} | {"tag", "value"}))
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(NAMES | st.text(max_size=4) | st.integers() | st.binary(max_size=2), inner, max_size=4)
        | st.tuples(inner, inner)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize("name", REQUESTS)
@settings(max_examples=10)
@given(args=VALUES, version=st.sampled_from([176, TEXT, 215, PROTOBUF]))
def test_arbitrary_arguments_are_sent_or_refused(name: str, args: Any, version: int) -> None:
    faults(name, args, version)


def leaves(record: Record, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for each in record.shape:
        yield (*path, each.name)
        if isinstance(each.type, Record):
            yield from leaves(each.type, (*path, each.name))


@pytest.mark.parametrize("name", [each.name for each in OUTBOUND if each.fields])
@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_one_wrong_value_in_right_arguments_is_sent_or_refused(name: str, data: Any) -> None:
    request_ = REQUESTS[name]
    version = data.draw(st.sampled_from(edges(request_)))
    args = data.draw(canonical(request_, version))
    way = data.draw(st.sampled_from(list(leaves(request_.shape))))
    at: Any = args
    for step in way[:-1]:
        at = at.setdefault(step, {}) if isinstance(at, dict) else at
        at = (at[:1] or [{}])[0] if isinstance(at, list) else at
    if isinstance(at, dict):
        at[way[-1]] = data.draw(VALUES)
    writer, reader = sides(request_, version)
    try:
        payload = writer.write(name, args)[4:]
    except NotCarried:
        return
    assert isinstance(reader.read(payload), Message)


@pytest.mark.parametrize("name", ["", "reqMktdata", "tickPrice", "é"])
def test_what_is_no_request_is_refused(name: str) -> None:
    assert faults(name, {}, TEXT) == [f"no request that is known here is named {name}"]


@pytest.mark.parametrize("args", [None, [], "x", 1, b"", [("reqId", 1)]])
def test_arguments_that_are_no_map_are_refused(args: Any) -> None:
    assert faults("cancelMktData", args, TEXT)[0].startswith("cancelMktData must be a map, not")


# -- named by path, all at once ---------------------------------------------------------------------------------------


def test_every_fault_is_named_by_its_path() -> None:
    args = {
        "orderId": "1",
        "contract": {**STOCK, "secType": "BAG", "comboLegs": [{"conId": 1.5}, 7, {"ratoi": 1}]},
        "order": {**ORDER, "lmtPrice": "dear", "transmit": 1, "totalQuantity": "many", "algoParams": [{"tag": "x"}]},
    }
    assert faults("placeOrder", args, TEXT) == [
        "orderId must be an integer of 32 bits, not '1'",
        "contract.comboLegs.conId must be an integer of 32 bits, not 1.5",
        "contract.comboLegs must be a map, not 7",
        "contract.comboLegs.ratoi is unknown, did you mean ratio?",
        "order.totalQuantity must be a number or decimal text, not 'many'",
        "order.lmtPrice must be a number, not 'dear'",
        "order.transmit must be true or false, not 1",
        "order.algoParams must be rows of {tag, value}, not a map",
    ]


def test_what_is_missing_is_named() -> None:
    assert faults("reqMktData", {"reqId": None}, TEXT) == ["reqId is missing", "contract is missing"]


@pytest.mark.parametrize(
    ("args", "fault"),
    [
        ({"reqIdd": 1}, "reqIdd is unknown, did you mean reqId?"),
        ({"zzzzzz": 1}, "zzzzzz is unknown"),
        ({"é": 1}, r"\xe9 is unknown"),
        ({"z" * 500: 1}, "z" * 60 + " is unknown"),
        ({7: 1}, "cancelMktData has a key that is not text: 7"),
        ({b"reqId": 1}, "cancelMktData has a key that is not text: b'reqId'"),
    ],
)
def test_an_unknown_name_is_refused_with_what_may_have_been_meant(args: dict[Any, Any], fault: str) -> None:
    assert fault in faults("cancelMktData", args, TEXT)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("x" * 10_000_000, "'" + "x" * 60 + "'"),
        (b"\xff", r"b'\xff'"),
        (10**4000, "a larger one"),
        ({"a": 1}, "a map"),
        ([1], "a list"),
        ((1, 2), "a list"),
        (JANUARY, "a datetime"),
        (True, "True"),
        (1.5, "1.5"),
        ("é", r"'\xe9'"),
    ],
)
def test_a_wrong_value_is_shown_in_a_line(value: Any, shown: str) -> None:
    assert faults("cancelMktData", {"reqId": value}, TEXT) == [f"reqId must be an integer of 32 bits, not {shown}"]


def test_data_nested_beyond_measure_is_refused_like_any_other() -> None:
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    assert faults("cancelMktData", {"reqId": deep}, TEXT) == ["reqId must be an integer of 32 bits, not a list"]


# -- what the version, the encoding or another argument would leave off ----------------------------------------------


@pytest.mark.scenario("B9")
def test_a_request_that_needs_a_later_version_names_it() -> None:
    assert faults("reqCurrentTimeInMillis", {}, 196) == [
        "reqCurrentTimeInMillis needs server version 197; this connection has 196"
    ]
    assert faults("cancelContractData", {"reqId": 1}, 176) == [
        "cancelContractData needs server version 215; this connection has 176"
    ]


def test_a_request_that_no_version_has_is_refused() -> None:
    gone = Request(1, "gone", (), None, None)
    with pytest.raises(NotCarried, match="gone does not exist at server version 226"):
        validation.checked(gone, 226, {})


@pytest.mark.scenario("B9")
def test_an_argument_that_needs_a_later_version_names_it() -> None:
    assert place(182, customerAccount="C1") == [
        "order.customerAccount needs server version 183; this connection has 182"
    ]
    assert place(183, customerAccount="C1") == []
    assert place(215, deactivate=True) == ["order.deactivate needs server version 216; this connection has 215"]
    assert place(215, deactivate=False) == []  # the default needs no room


def test_an_argument_that_only_earlier_versions_carry_says_so() -> None:
    assert place(PROTOBUF, auctionStrategy=1) == [
        "order.auctionStrategy is not carried after server version 202; this connection has 226"
    ]


def test_an_argument_that_no_version_carries_is_refused() -> None:
    assert place(TEXT, filledQuantity=5) == ["order.filledQuantity is not carried by placeOrder"]


def test_what_a_contract_has_beyond_need_is_left_aside_but_must_be_right() -> None:
    assert place(TEXT, contract={"description": "Apple Inc", "lastTradeDate": "x", "strike": None}) == []
    assert place(TEXT, contract={"description": 5}) == ["contract.description must be text, not 5"]


@pytest.mark.parametrize(
    ("order", "fault"),
    [
        ({"hedgeParam": "0.5"}, "order.hedgeParam is only sent when order.hedgeType is not empty"),
        (
            {"algoParams": [{"tag": "a", "value": "b"}]},
            "order.algoParams is only sent when order.algoStrategy is not empty",
        ),
        (
            {"scaleProfitOffset": 1.0},
            "order.scaleProfitOffset is only sent when order.scalePriceIncrement is set and > 0",
        ),
        ({"minTradeQty": 5}, "order.minTradeQty is only sent when contract.exchange is IBKRATS"),
        (
            {"competeAgainstBestOffset": 0.1},
            "order.competeAgainstBestOffset is only sent when order.orderType is PEG BEST or PEGBEST",
        ),
        (
            {"conditionsCancelOrder": True},
            "order.conditionsCancelOrder is only sent when order.conditions is not empty",
        ),
    ],
)
def test_what_another_argument_makes_pointless_is_refused_in_text_and_sent_in_protobuf(
    order: dict[str, Any], fault: str
) -> None:
    assert place(TEXT, **order) == [fault]
    assert place(PROTOBUF, **order) == []


def test_a_plain_order_is_sent() -> None:
    assert place(176) == place(TEXT) == place(PROTOBUF) == []


def test_a_leg_price_without_its_leg_is_refused_where_it_has_no_place() -> None:
    combo = {"secType": "BAG", "comboLegs": [{"conId": 1, "ratio": 1, "action": "BUY", "exchange": "SMART"}]}
    assert place(PROTOBUF, contract=combo, orderComboLegs=[{"price": 1.0}]) == []
    assert place(PROTOBUF, contract=combo, orderComboLegs=[{"price": 1.0}, {}]) == [
        "order.orderComboLegs has 2 rows for 1 in contract.comboLegs"
    ]
    assert place(PROTOBUF, orderComboLegs=[{"price": 1.0}]) == [
        "order.orderComboLegs has 1 rows for 0 in contract.comboLegs"
    ]
    assert place(TEXT, orderComboLegs=[{"price": 1.0}]) == [
        "order.orderComboLegs is only sent when contract.secType is BAG"
    ]


# -- characters -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [176, TEXT, PROTOBUF])
def test_a_nul_is_refused_everywhere(version: int) -> None:
    assert place(version, orderRef="a\0b") == ["order.orderRef has a NUL in it"]
    assert place(version, contract={"symbol": "\0"}) == ["contract.symbol has a NUL in it"]
    assert place(version, smartComboRoutingParams=[{"tag": "\0", "value": ""}]) == [
        "order.smartComboRoutingParams.tag has a NUL in it"
    ]


@pytest.mark.parametrize("text", ["é", "日本", "\x1f", "\x7f"])
def test_other_than_printable_ascii_is_refused_in_text_and_sent_in_protobuf(text: str) -> None:
    assert place(TEXT, orderRef=text) == [
        "order.orderRef has characters that TWS does not take at this server version (579): only printable ASCII"
    ]
    assert place(PROTOBUF, orderRef=text) == []


def test_tab_and_line_ends_are_sent() -> None:
    assert place(TEXT, orderRef="a\tb\r\nc") == place(PROTOBUF, orderRef="a\tb\r\nc") == []


def test_half_a_surrogate_pair_is_refused() -> None:
    assert place(PROTOBUF, orderRef="a\ud800") == ["order.orderRef has half of a surrogate pair in it"]


# -- tags -------------------------------------------------------------------------------------------------------------


def options(version: int, *pairs: tuple[Any, Any]) -> list[str]:
    return place(version, orderMiscOptions=[{"tag": tag, "value": value} for tag, value in pairs])


@pytest.mark.parametrize("pair", [("a=b", "c"), ("a;", "c"), ("a", "c;d")])
def test_a_separator_in_a_one_field_tag_list_is_refused_in_text(pair: tuple[str, str]) -> None:
    assert options(TEXT, pair) == [
        "order.orderMiscOptions has a tag or value with = or ; in it, which separate them on the wire"
    ]
    assert options(PROTOBUF, pair) == []


def test_tags_that_have_fields_of_their_own_may_hold_separators() -> None:
    params = [{"tag": "a=;", "value": "b;c=d"}]
    assert place(TEXT, algoStrategy="Adaptive", algoParams=params) == []


def test_a_tag_that_comes_twice_is_refused_in_protobuf_which_has_room_for_one() -> None:
    twice = [("a", "1"), ("b", "2"), ("a", "1")]
    assert options(PROTOBUF, *twice) == [
        "order.orderMiscOptions has the tag a twice; at this server version only one can be sent"
    ]
    assert options(TEXT, *twice) == []


def test_a_tag_list_of_other_things_is_refused() -> None:
    assert options(TEXT, (1, None)) == [
        "order.orderMiscOptions.tag must be text, not 1",
        "order.orderMiscOptions.value must be text, not None",
    ]
    assert place(TEXT, orderMiscOptions={"a": "b"}) == ["order.orderMiscOptions must be a list, not a map"]
    assert place(TEXT, orderMiscOptions=["a=b"]) == ["order.orderMiscOptions must be rows of {tag, value}, not 'a=b'"]


# -- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("displaySize", 2147483647),
        ("displaySize", 2**31),
        ("displaySize", True),
        ("lmtPrice", math.nan),
        ("lmtPrice", 1.7976931348623157e308),
        ("lmtPrice", 10**400),
        ("lmtPrice", True),
        ("totalQuantity", math.inf),
        ("totalQuantity", Decimal("NaN")),
        ("totalQuantity", "1e99"),
        ("totalQuantity", 2147483647),
        ("totalQuantity", "9223372036854775807"),
        ("totalQuantity", "1" * 65),
        ("totalQuantity", True),
        ("action", b"BUY"),
        ("allOrNone", 0),
        ("conditions", [{"condType": 2}]),
        ("conditions", [{"condType": True}]),
        ("conditions", [5]),
        ("conditions", "x"),
        ("softDollarTier", []),
    ],
)
@pytest.mark.parametrize("version", [TEXT, PROTOBUF])
def test_a_value_that_is_none_for_its_field_is_refused(name: str, value: Any, version: int) -> None:
    (fault,) = place(version, **{name: value})
    assert fault.startswith(f"order.{name}")


@pytest.mark.parametrize("multiplier", ["", "100", "0.5", 100, 1.5, "+1e3", "-.5"])
def test_a_multiplier_is_a_number_or_its_text(multiplier: Any) -> None:
    assert place(TEXT, contract={"multiplier": multiplier}) == []
    assert place(PROTOBUF, contract={"multiplier": multiplier}) == []


@pytest.mark.parametrize("multiplier", ["abc", "1_000", " 1", "nan", "٣", True, [], 10**400])
def test_a_multiplier_that_is_no_number_is_refused(multiplier: Any) -> None:
    for version in (TEXT, PROTOBUF):
        (fault,) = place(version, contract={"multiplier": multiplier})
        assert fault.startswith("contract.multiplier must be a number or its text")


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        *((100, b"100"), (100.0, b"100"), (0.1, b"0.1"), ("0.10", b"0.10")),
        *((Decimal("1E+3"), b"1000"), (1e-8, b"0.00000001")),
    ],
)
def test_a_quantity_goes_out_exactly_in_plain_notation(value: Any, sent: bytes) -> None:
    given = {"orderId": 1, "contract": STOCK, "order": {**ORDER, "totalQuantity": value}}
    assert b"\0BUY\0" + sent + b"\0LMT\0" in Dialect.client(TEXT).write("placeOrder", given)


@pytest.mark.parametrize("version", [TEXT, PROTOBUF])
def test_unset_is_what_was_never_given(version: int) -> None:
    plain = {"orderId": 1, "contract": STOCK, "order": ORDER}
    unset = {
        "orderId": 1,
        "contract": {**STOCK, "multiplier": None, "strike": None, "comboLegs": None, "deltaNeutralContract": None},
        "order": {**ORDER, "auxPrice": None, "tif": "DAY", "account": None, "hidden": None, "softDollarTier": None},
    }
    assert Dialect.client(version).write("placeOrder", unset) == Dialect.client(version).write("placeOrder", plain)


def test_an_infinite_offset_means_up_to_mid() -> None:
    for offset, sent in (("Infinity", True), (math.inf, True), (0.1, False)):
        found = place(TEXT, orderType="PEG BEST", competeAgainstBestOffset=offset, midOffsetAtWhole=0.1)
        assert found == [] if sent else found[0].startswith("order.midOffsetAtWhole is only sent when")


def test_conditions_are_refused_and_sent_like_records() -> None:
    time = {"condType": 3, "isMore": True, "time": "20261218 10:00:00 US/Eastern"}
    assert place(TEXT, conditions=[time]) == place(PROTOBUF, conditions=[time]) == []
    assert place(TEXT, conditions=[{**time, "conId": 5}]) == ["order.conditions.conId is unknown"]
    assert place(TEXT, conditions=[{"condType": 1}])[:2] == [
        "order.conditions.isMore is missing",
        "order.conditions.price is missing",
    ]
    assert place(TEXT, conditions=[{"condType": 4, "isMore": True, "percent": 0.5}]) == [
        "order.conditions.percent must be a whole number, not 0.5"
    ]
    assert place(TEXT, conditions=[{"condType": 9}]) == [
        (
            "order.conditions.condType must be one of 1 (PriceCondition), 3 (TimeCondition), 4 (MarginCondition), "
            "5 (ExecutionCondition), 6 (VolumeCondition), 7 (PercentChangeCondition)"
        )
    ]


# -- cost -------------------------------------------------------------------------------------------------------------


def watched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names for which something near was looked for, which is what costs."""
    asked: list[str] = []

    monkeypatch.setattr(validation, "nearest", lambda name, _: asked.append(name))
    return asked


def test_a_million_unknown_names_cost_as_much_as_fifty(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = watched(monkeypatch)
    found = faults("cancelMktData", dict.fromkeys(map(str, range(1_000_000)), 1), TEXT)
    assert len(asked) == MOST_GUESSED
    assert len(found) == MOST_FAULTS


def test_the_fiftieth_fault_is_the_last_that_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = watched(monkeypatch)
    wrong = dict.fromkeys(map(str, range(100)), 1)
    for rows in (
        place(TEXT, conditions=[{"condType": 3, **wrong}] * 100),
        place(TEXT, orderComboLegs=[wrong] * 100),
        place(TEXT, orderMiscOptions=[wrong] * MOST_ROWS),
        faults("reqExecutions", {"reqId": 1, "execFilter": {"specificDates": ["x"] * MOST_ROWS}}, TEXT),
    ):
        assert len(rows) == MOST_FAULTS
    assert len(asked) <= 2 * MOST_GUESSED


def test_more_rows_than_anyone_needs_are_refused() -> None:
    assert place(TEXT, orderMiscOptions=[{}] * (MOST_ROWS + 1)) == [
        f"order.orderMiscOptions has {MOST_ROWS + 1} rows; {MOST_ROWS} at most"
    ]


@pytest.mark.parametrize("version", [TEXT, PROTOBUF])
def test_a_request_larger_than_a_frame_is_refused(version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    tags = [{"tag": f"t{number}", "value": "x" * 1_024} for number in range(MOST_ROWS)]
    monkeypatch.setattr(framing, "MAX_LENGTH", 1_000_000)
    refusal = NotCarried(place(version, orderMiscOptions=tags))
    (fault,) = refusal.faults
    assert str(refusal) == fault
    assert fault.startswith("placeOrder is a message of 10")


def test_what_is_left_aside_may_have_any_characters() -> None:
    """A contract comes as TWS gave it; an attribute that is not sent harms nothing."""
    contract = {"symbol": "AAPL", "description": "Société Générale"}
    assert Dialect.client(200).check("reqMktData", {"reqId": 1, "contract": contract})["contract"] == {"symbol": "AAPL"}
    with pytest.raises(NotCarried, match=r"contract\.symbol has characters"):
        Dialect.client(200).check("reqMktData", {"reqId": 1, "contract": {"symbol": "Société"}})


def test_the_last_trade_date_of_an_answer_is_not_sent_back() -> None:
    """IB's client leaves it out; any contract from contractDetails has it."""
    with_date = {"symbol": "ES", "lastTradeDate": "20261218"}
    one, other = (
        Dialect.client(226).write("reqMktData", {"reqId": 1, "contract": contract})
        for contract in (with_date, {"symbol": "ES"})
    )
    assert one == other
