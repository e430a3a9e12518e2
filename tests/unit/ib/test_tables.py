"""The tables of IB's facts: whole, free of contradictions, and agreed upon by all who use them."""

from __future__ import annotations

import ast
import json
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ibbridge.ib
import ibbridge.sim
from ibbridge.codec.messages import MESSAGES
from ibbridge.ib import CLASSES, ERROR_CODES, GENERIC_TICKS, TICK_TYPES, about, error_codes, notices, tables, tick_types
from ibbridge.ib.notices import BAD_MESSAGE, NOT_CONNECTED
from ibbridge.sim.market_data.generic_ticks import GENERIC_TICKS as SIMULATED

TICK_MESSAGES = {"tickPrice", "tickSize", "tickGeneric", "tickString", "tickOptionComputation", "tickEFP"}
MAKERS = {"price": "tickPrice", "size": "tickSize", "generic": "tickGeneric", "string": "tickString"}


# Ticks


def test_every_tick_type_is_there_once_and_of_one_message():
    assert list(TICK_TYPES) == list(range(111))
    assert [number for number, each in TICK_TYPES.items() if each.number != number] == []
    rows = [row[:2] for rows in tick_types._BY_MESSAGE.values() for row in rows]
    assert len(rows) == len({number for number, _ in rows}) == len({name for _, name in rows}) == 111
    assert {each.message for each in TICK_TYPES.values()} == TICK_MESSAGES <= MESSAGES.keys()


def test_prices_whose_size_comes_with_them_are_those_of_the_codec():
    size = next(each for each in MESSAGES["tickPrice"].shape.fields if each.name == "size")
    joined = {number for number, each in TICK_TYPES.items() if each.size_tick is not None}
    assert size.only is not None
    assert [set(values) for values in size.only.about.values()] == [joined]
    for number in joined:
        price, size_tick = TICK_TYPES[number], TICK_TYPES[TICK_TYPES[number].size_tick or 0]
        assert (price.message, size_tick.message) == ("tickPrice", "tickSize")
        assert size_tick.name == f"{price.name}_SIZE"


def test_what_takes_a_ticks_place_when_delayed_is_of_its_kind_and_of_nothing_else():
    pairs = [(each, TICK_TYPES[each.delayed]) for each in TICK_TYPES.values() if each.delayed is not None]
    assert {later.number for _, later in pairs} == {n for n, each in TICK_TYPES.items() if "DELAYED" in each.name}
    assert len({later.number for _, later in pairs}) == len(pairs)
    for tick, later in pairs:
        assert tick.message == later.message
        words = tick.name.removesuffix("_COMPUTATION").split("_")
        assert sorted(later.name.split("_")) in (sorted(["DELAYED", *words]), sorted(["DELAYED", *words, "OPTION"]))


def test_generics_bring_ticks_that_there_are_and_those_say_so():
    for number, generic in GENERIC_TICKS.items():
        assert generic.number == number
        assert generic.ticks
        for tick in generic.ticks:
            assert number in TICK_TYPES[tick].generics
    asked = {(tick, number) for tick, each in TICK_TYPES.items() for number in each.generics}
    assert asked == {(tick, number) for number, each in GENERIC_TICKS.items() for tick in each.ticks}


def test_the_simulator_sends_the_ticks_that_the_table_says_in_the_messages_it_says():
    for number, simulated in SIMULATED.items():
        sent = {tick: MAKERS[kind] for kind, tick, _ in simulated.ticks}
        known = {tick: TICK_TYPES[tick].message for tick in GENERIC_TICKS[number].ticks}
        assert sent.items() <= known.items(), number
        assert not simulated.sec_types or set(GENERIC_TICKS[number].products) <= set(simulated.sec_types), number


# Errors


def test_every_code_is_there_once_and_of_one_class():
    codes = Counter(each.code for each in error_codes._codes())
    assert [code for code, times in codes.items() if times > 1] == []
    assert list(ERROR_CODES) == sorted(ERROR_CODES)
    assert {each.error_class for each in ERROR_CODES.values()} == set(CLASSES)
    assert [code for code, each in ERROR_CODES.items() if not (each.meaning and each.action)] == []


def test_no_warning_ends_anything():
    assert [each for each in ERROR_CODES.values() if each.error_class == "warning" and each.ends] == []


def test_of_what_ibs_libraries_say_themselves_there_is_only_what_ibbridge_says_too():
    assert [code for code in ERROR_CODES if 500 < code < 600] == [NOT_CONNECTED, BAD_MESSAGE]


def test_what_the_session_reads_as_the_state_of_a_link_is_of_a_link():
    noticed = {**notices.UPSTREAM, **notices.FARMS}
    assert {ERROR_CODES[code].error_class for code in noticed} == {"connectivity"}


def codes_of_the_simulator():
    for path in Path(ibbridge.sim.__file__).parent.rglob("*.py"):
        for call in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
            name = getattr(call.func, "id", getattr(call.func, "attr", ""))
            if name in ("RequestRejected", "error"):
                code = call.args[0 if name == "RequestRejected" else 1]
                if isinstance(code, ast.Constant):
                    yield code.value


def test_every_code_of_the_simulator_is_known():
    codes = set(codes_of_the_simulator())
    assert len(codes) > 40, "the search finds them"
    assert codes - ERROR_CODES.keys() == set()


@pytest.mark.parametrize(
    ("code", "text", "error_class", "ends"),
    [
        (2199, "", "warning", False),
        (2099, "", "system", None),
        (2200, "", "system", None),
        (1099, "", "system", None),
        (1103, "", "connectivity", None),
        (1399, "", "connectivity", None),
        (1400, "", "system", None),
        (9999, "Warning: odd", "system", None),
        (10999, "Warning: odd", "warning", False),
        (10999, "Order warning", "warning", False),
        (10999, "odd", "system", None),
        (10999, None, "system", None),
        (505, "", "system", None),
        (None, "Warning", "system", None),
        (201, "Warning: rejected all the same", "order", True),
    ],
)
def test_a_code_that_nobody_knows_is_what_its_range_says(code, text, error_class, ends):
    found = about(code, text)
    assert (found.code, found.error_class, found.ends) == (code, error_class, ends)


@given(code=st.none() | st.integers(), text=st.none() | st.text())
def test_something_is_known_of_every_code(code, text):
    found = about(code, text)
    assert found.code == code
    assert found.error_class in CLASSES
    assert found.ends in (True, False, None)
    assert found.ends_one_shot in (True, False)


# As data


def test_the_tables_are_plain_data():
    found = tables()
    assert json.loads(json.dumps(found)) == found
    assert {name: len(rows) for name, rows in found.items()} == {
        "tick_types": len(TICK_TYPES),
        "generic_ticks": len(GENERIC_TICKS),
        "error_codes": len(ERROR_CODES),
    }
    (error,) = [row for row in found["error_codes"] if row["code"] == 10197]
    assert error.items() >= {"class": "connectivity", "ends": None}.items()
    (ask,) = [row for row in found["tick_types"] if row["number"] == 2]
    assert ask.items() >= {"name": "ASK", "message": "tickPrice", "size_tick": 3, "delayed": 67, "generics": []}.items()
    (short,) = [row for row in found["generic_ticks"] if row["number"] == 236]
    assert short.items() >= {"ticks": [46, 89], "products": ["STK"]}.items()


def test_the_tables_need_nothing_but_the_standard_library():
    for path in Path(ibbridge.ib.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                assert name.partition(".")[0] in sys.stdlib_module_names or name.startswith("ibbridge.ib"), path
