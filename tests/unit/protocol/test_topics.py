"""Topics and instrument keys: escaping, prefixes, and the key of a contract."""

from __future__ import annotations

import hashlib
import math
import re
import sys
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from ibbridge.protocol.instrument_key import instrument_key
from ibbridge.protocol.topics import Escaped, escape, split, topic, unescape

# Lone surrogates included: whatever a str can hold.
TEXT = st.text(st.characters(exclude_categories=()), max_size=30)
COMPONENTS = st.lists(TEXT, max_size=4)

FIELDS = (
    "symbol",
    "secType",
    "exchange",
    "currency",
    "lastTradeDateOrContractMonth",
    "strike",
    "right",
    "tradingClass",
    "multiplier",
    "primaryExchange",
    "localSymbol",
)
SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | TEXT
LEGS = st.lists(st.dictionaries(st.sampled_from(["conId", "ratio", "action", "exchange"]), SCALARS), max_size=4)
CONTRACTS = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys((*FIELDS, "conId", "secIdType", "secId"), SCALARS),
        "secType": st.sampled_from(["STK", "OPT", "BAG"]) | SCALARS,
        "comboLegs": LEGS | SCALARS,
    },
)
FUTURE = {"symbol": "ES", "secType": "FUT", "exchange": "CME", "currency": "USD"}
OPTION = {"symbol": "SPX", "secType": "OPT", "exchange": "CBOE", "currency": "USD"}


@given(TEXT)
def test_what_is_escaped_is_unescaped_to_the_same_text(text: str) -> None:
    assert unescape(escape(text)) == text


@given(TEXT)
def test_an_escaped_component_has_only_the_allowed_characters(text: str) -> None:
    assert re.fullmatch(r"(?:[A-Za-z0-9_\-+@~/]|%[0-9A-F]{2})*", escape(text))


@pytest.mark.parametrize(
    ("text", "escaped"),
    [("BRK B", "BRK%20B"), ("a.b", "a%2Eb"), ("50%", "50%25"), ("café", "caf%C3%A9"), ("-_+@~/", "-_+@~/"), ("", "")],
)
def test_everything_else_is_its_utf8_bytes_in_upper_case_hex(text: str, escaped: str) -> None:
    assert escape(text) == escaped


@given(TEXT)
def test_escaping_twice_is_escaping_once(text: str) -> None:
    assert escape(escape(text)) == escape(text)


@given(TEXT, TEXT)
def test_plain_text_added_to_escaped_text_is_escaped_on_the_way(one: str, other: str) -> None:
    assert escape(one) + other == one + escape(other) == escape(one) + escape(other)
    assert isinstance(escape(one) + other, Escaped)
    assert isinstance(one + escape(other), Escaped)
    assert unescape(escape(one) + other).encode("utf-16-le", "surrogatepass") == (one + other).encode(
        "utf-16-le", "surrogatepass"
    )


@pytest.mark.parametrize("text", ["%", "%4", "a%zzb", "%%41", "%FF", "%C3", "%c3x"])
def test_text_that_no_escaping_gives_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"%|utf-8"):
        unescape(text)


@given(COMPONENTS)
def test_a_topic_is_split_into_the_components_it_was_made_of(components: list[str]) -> None:
    assert split(topic(*components)) == tuple(components)


def test_a_topic_ends_with_a_dot_and_no_component_at_all_is_the_empty_prefix() -> None:
    assert topic("md", "AAPL-STK-SMART-USD", "tickPrice") == b"md.AAPL-STK-SMART-USD.tickPrice."
    assert topic() == b""


@given(COMPONENTS, COMPONENTS)
@example(["md", "ES"], ["md", "ESTX"])
@example(["req", "1"], ["req", "17", "error"])
def test_a_prefix_never_matches_a_longer_neighbour(prefix: list[str], components: list[str]) -> None:
    assert topic(*components).startswith(topic(*prefix)) == (components[: len(prefix)] == prefix)


@given(st.binary(max_size=30))
def test_whatever_bytes_are_split_they_are_a_topic_or_a_value_error(data: bytes) -> None:
    try:
        components = split(data)
    except ValueError:
        return
    assert split(topic(*components)) == components


@pytest.mark.parametrize("prefix", [b"md", b"md.ES", b"md.%4.", b"md.\xff."])
def test_what_is_no_topic_is_a_value_error(prefix: bytes) -> None:
    with pytest.raises(ValueError, match=r"dot|%|ascii"):
        split(prefix)


@pytest.mark.parametrize(
    ("key", "contract"),
    [
        ("AAPL-STK-SMART-USD", {"symbol": "AAPL", "secType": "STK", "exchange": "SMART", "currency": "USD"}),
        ("ES-FUT-CME-USD-202612", {**FUTURE, "lastTradeDateOrContractMonth": "202612"}),
        (
            "SPX-OPT-CBOE-USD-20261218-6000-C-SPXW",
            {
                **OPTION,
                "lastTradeDateOrContractMonth": "20261218",
                "strike": 6000.0,
                "right": "C",
                "tradingClass": "SPXW",
            },
        ),
        (
            "DAX-FUT-EUREX-EUR-202612---FDXM-1",
            {
                "symbol": "DAX",
                "secType": "FUT",
                "exchange": "EUREX",
                "currency": "EUR",
                "lastTradeDateOrContractMonth": "202612",
                "tradingClass": "FDXM",
                "multiplier": "1",
            },
        ),
        ("EUR-CASH-IDEALPRO-USD", {"symbol": "EUR", "secType": "CASH", "exchange": "IDEALPRO", "currency": "USD"}),
        ("265598@SMART", {"conId": 265598, "exchange": "SMART"}),
        ("265598@", {"conId": 265598}),
        ("495512552@CME", {"conId": 495512552, "secType": "FUT", "exchange": "CME", "currency": "USD"}),
        (
            "ISIN/US0378331005-STK-SMART-USD",
            {"secIdType": "ISIN", "secId": "US0378331005", "secType": "STK", "exchange": "SMART", "currency": "USD"},
        ),
        ("-FUT-CME--------ESZ6", {"secType": "FUT", "exchange": "CME", "localSymbol": "ESZ6"}),
        ("BRK%20B-STK", {"symbol": "BRK B", "secType": "STK"}),
        ("0700-STK-SEHK-HKD", {"symbol": "0700", "secType": "STK", "exchange": "SEHK", "currency": "HKD"}),
        ("A%2DB%2B%40%7E%2E/_-STK", {"symbol": "A-B+@~./_", "secType": "STK"}),
        ("", {}),
    ],
)
def test_the_key_of_an_instrument_is_its_fields_by_position(key: str, contract: dict[str, Any]) -> None:
    assert instrument_key(contract) == key


@pytest.mark.parametrize("conId", [265598, 0, None, ""])
def test_a_con_id_beside_a_symbol_is_not_in_the_key(conId: Any) -> None:  # noqa: N803 -- IB's name
    assert instrument_key({"conId": conId, "symbol": "AAPL", "secType": "STK"}) == "AAPL-STK"


@pytest.mark.parametrize(
    ("strike", "text"),
    [
        (6000.0, "6000"),
        (6000, "6000"),
        ("6000.00", "6000"),
        ("06000", "6000"),
        (0.5, "0%2E5"),
        (".5", "0%2E5"),
        (0.1 + 0.2, "0%2E30000000000000004"),
        (1e-7, "0%2E0000001"),
        (1e22, "10000000000000000000000"),
        (-5.0, "%2D5"),
        ("1e999999999", "1e999999999"),
        (math.nan, "NaN"),
        (math.inf, "Infinity"),
        (0.0, ""),
        (-0.0, ""),
        (0, ""),
        ("0.0", ""),
        ("", ""),
        (None, ""),
        (sys.float_info.max, ""),
    ],
)
def test_a_strike_is_a_number_in_its_shortest_form_and_zero_is_none(strike: object, text: str) -> None:
    key = instrument_key({**OPTION, "strike": strike, "right": "C"})
    assert key == f"SPX-OPT-CBOE-USD--{text}-C"


@given(st.floats(allow_nan=False, allow_infinity=False).filter(lambda x: x not in (0.0, sys.float_info.max)))
def test_a_number_in_a_key_reads_back_as_the_same_number(strike: float) -> None:
    text = unescape(instrument_key({"symbol": "X", "strike": strike}).removeprefix("X-----"))
    assert float(text) == strike
    assert re.fullmatch(r"-?(0|[1-9][0-9]*)(\.[0-9]*[1-9])?", text)


@pytest.mark.parametrize(
    ("right", "letter"),
    [("C", "C"), ("CALL", "C"), ("call", "C"), ("P", "P"), ("PUT", "P"), ("0", ""), ("?", ""), ("X", "X")],
)
def test_a_right_is_c_or_p(right: str, letter: str) -> None:
    assert instrument_key({**OPTION, "right": right, "tradingClass": "SPXW"}) == f"SPX-OPT-CBOE-USD---{letter}-SPXW"


@given(CONTRACTS)
def test_whatever_a_contract_holds_it_has_a_key_that_is_one_component(contract: dict[str, Any]) -> None:
    key = instrument_key(contract)
    assert isinstance(key, Escaped)
    assert topic("md", key, "tickPrice") == f"md.{key}.tickPrice.".encode("ascii")
    assert instrument_key(dict(reversed(contract.items()))) == key


# Text that stands for itself: "0" is no strike, "6000.0" is 6000, BAG is a combo, and so on.
PLAIN = st.text(st.sampled_from("AZaz.-+@~/% é"), max_size=4)


@given(st.lists(PLAIN, min_size=11, max_size=11), st.lists(PLAIN, min_size=11, max_size=11))
@example(["A-", *[""] * 10], ["A", "-", *[""] * 9])
def test_distinct_fields_give_distinct_keys(one: list[str], other: list[str]) -> None:
    assume([field.upper() for field in one] != [field.upper() for field in other])
    assert instrument_key(dict(zip(FIELDS, one, strict=True))) != instrument_key(dict(zip(FIELDS, other, strict=True)))


@given(st.dictionaries(st.sampled_from(FIELDS), PLAIN))
def test_an_absent_an_empty_and_an_unset_field_are_one(contract: dict[str, str]) -> None:
    absent = {name: value for name, value in contract.items() if value}
    unset = {name: value or None for name, value in contract.items()}
    assert instrument_key(contract) == instrument_key(absent) == instrument_key(unset)


def combo(*legs: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A combo of these legs."""
    return {"symbol": "ES", "secType": "BAG", "exchange": "CME", "currency": "USD", "comboLegs": list(legs), **fields}


LONG = {"conId": 495512552, "ratio": 1, "action": "BUY", "exchange": "CME"}
SHORT = {"conId": 551601561, "ratio": 1, "action": "SELL", "exchange": "CME"}


def test_the_key_of_a_combo_is_a_hash_that_any_language_can_compute() -> None:
    text = b"ES;CME;USD;495512552:1:BUY:CME,551601561:1:SELL:CME"
    assert instrument_key(combo(LONG, SHORT)) == "BAG-" + hashlib.sha256(text).hexdigest()[:16]
    assert instrument_key(combo(LONG, SHORT)) == "BAG-1db99d1670db1ad4"


def test_the_order_of_a_combos_legs_does_not_matter_and_everything_else_does() -> None:
    key = instrument_key(combo(LONG, SHORT))
    assert instrument_key(combo(SHORT, LONG)) == key
    assert instrument_key(combo({**LONG, "ratio": 1.0, "openClose": 1}, SHORT)) == key
    others = [
        combo(LONG),
        combo(LONG, SHORT, SHORT),
        combo(LONG, SHORT, exchange="SMART"),
        combo(LONG, SHORT, currency="EUR"),
        combo(LONG, SHORT, symbol="NQ"),
        combo({**LONG, "ratio": 2}, SHORT),
        combo({**LONG, "action": "SELL"}, SHORT),
        combo({**LONG, "exchange": "SMART"}, SHORT),
        combo({**LONG, "conId": 1}, SHORT),
        combo({**LONG, "exchange": "CME,551601561:1:SELL:CME"}),
    ]
    assert len({key, *map(instrument_key, others)}) == 1 + len(others)


@pytest.mark.parametrize("legs", [None, [], "x", 7, [None, 3, "x"], [{}], [[1, 2]]])
def test_legs_that_are_none_give_a_key_all_the_same(legs: object) -> None:
    assert re.fullmatch("BAG-[0-9a-f]{16}", instrument_key({"secType": "BAG", "comboLegs": legs}))


def test_a_suffix_for_the_kind_of_stream_is_added_to_a_key_without_escaping_it_twice() -> None:
    key = instrument_key({"symbol": "BRK B", "secType": "STK"})
    assert topic("md", key + "+tbt-Last", "tickByTickAllLast") == b"md.BRK%20B-STK+tbt-Last.tickByTickAllLast."
