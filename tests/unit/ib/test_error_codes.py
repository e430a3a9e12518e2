"""Error codes of orders: every code that TWS can send is in the table, and says what is over and what lives on."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from ibbridge.ib import ERROR_CODES, about, error_codes


def numbers(text: str) -> list[int]:
    """Return the codes of a text such as `103 347-353`."""
    ends = ([int(end) for end in each.split("-")] for each in text.split())
    return [code for end in ends for code in range(end[0], end[-1] + 1)]


# IB's list of message codes, those about orders, and those that clients have met besides.
LISTED = numbers(
    "103-107 109-111 113-126 129 131-137 140-142 144-148 151-161 163 164 167 168 200-203 303 311-315 320-323 325 328 "
    "329 333-343 345-356 358-364 367-380 382 383 387-405 408-413 415-419 421-429 432-437 439-449 481 "
    "2102 2109 2111 2130 2137 2168 2169 10000-10003 10005-10027 10147 10148 10233-10237 10239-10254 10268-10270 "
    "10285-10298 10302-10308 10310-10312 10316-10319 10321 10324-10329 10331-10336 10340-10345 10347"
)
MET = numbers(
    "127 128 451 460 462 463 2136 2161 2165 2170 2176 2181 10043 10051 10052 10054 10058 10063 10082 10138 10149 "
    "10151-10153 10164 10203 10204 10206 10207 10223 10255-10257 10348 10349 10355 10371 10372"
)

# What reference pages and clients say of an order with the error: over, alive, or not known from the code.
OVER = numbers(
    "106 107 109-111 113 116 132 144 146 147 152 154 160 163 382 383 200-203 303 311-315 325 328 334 336-338 343 "
    "347-353 355 388 361-364 387 391 392 395-397 400 412 413 435 436 439-443 446-449 460 "
    "10006 10015 10020 10242-10252 10285 10286 10318 10268-10270 10288-10293 10303-10307 10316 10324-10327 10340 10341 "
    "320-322"
)
ALIVE = numbers(
    "104 105 134-136 161 164 329 399 404 444 462 481 2102 2109 2111 2130 2168 2169 2176 10147 10148 10233 10311"
)
DEPENDS = numbers("103 133 434 2137 10328 10329")

# Codes by which a trading engine takes an order to be over.
ENGINE = numbers(
    "105-107 109-111 113-126 129 131-137 140 141 146-148 151-161 163 167 168 201 313-315 325 328 329 334-343 345 "
    "347-350 352 353 355 356 358-364 367-380 382 383 387-398 400-403 405-413 417-419 421 423 424 427-429 433-437 "
    "439-449 10002 10006-10012 10014 10020 2102"
)

CHANGE = numbers("104 105 134 329 422 440 444 462 2102 10138 10241 10242 10308 10326 10327 10341")
CANCELLATION = numbers("135-137 161 10147 10148")
ANY_ORDER = [201, 202]
CHECKED_BEFORE = [110, 320, 321]
OPEN = numbers(
    "100 103 133 354 434 508 2136 2137 2150 2151 165 10082 10089 10091 10151-10153 10164 10197 10223 10239 10287 10328 "
    "10329 10331-10334 10347"
)

FIELDS = {
    "new": {"acknowledged": False, "followed": False},
    "followed": {"acknowledged": False, "followed": True},
    "working": {"acknowledged": True, "followed": False},
    "working, followed": {"acknowledged": True, "followed": True},
}


def ends(code: int | None) -> list[bool | None]:
    return [about(code).ends_order(**state) for state in FIELDS.values()]


def test_every_code_of_an_order_that_is_known_anywhere_is_in_the_table():
    known = {*LISTED, *MET, *OVER, *ALIVE, *DEPENDS, *ENGINE}
    assert len(known) > 310
    assert sorted(known - ERROR_CODES.keys()) == []
    assert [code for code in known if ERROR_CODES[code].error_class == "connectivity"] == [10328]


def test_no_code_has_two_rows():
    codes = [each.code for each in error_codes._codes()]
    assert len(codes) == len(set(codes)) == len(ERROR_CODES)


def test_a_row_of_orders_has_one_code():
    rows = itertools.chain(error_codes._ROWS["order"], error_codes._ROWS["warning"])
    assert [row for row in rows if not isinstance(row[0], int)] == []


@pytest.mark.parametrize(
    ("codes", "expected"),
    [(OVER, True), (ALIVE, False), (DEPENDS, None)],
    ids=["over", "alive", "depends"],
)
def test_an_order_is_over_or_not_as_is_known(codes: list[int], expected: bool | None) -> None:
    changes = {440, 10242, 10326, 10327, 10341}  # they have no meaning but for an order that is there
    found = [code for code in codes if ERROR_CODES[code].ends is not expected]
    assert found == (sorted(changes) if codes is OVER else [])
    assert changes <= set(CHANGE)


def test_what_an_engine_takes_for_the_end_of_an_order_is_its_end_or_the_table_knows_better():
    assert len(ENGINE) > 150
    ignored, unsure = {131}, {133, 434}
    refused = {*CHANGE, *CANCELLATION} & set(ENGINE)
    found = {code for code in ENGINE if ERROR_CODES[code].ends_new is not True}
    assert found == {*ignored, *unsure, *refused}


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        *((code, [None, False, False, False]) for code in CHANGE + CANCELLATION),
        *((code, [True, True, True, True]) for code in ANY_ORDER),
        *((code, [True, None, False, False]) for code in CHECKED_BEFORE),
        *((code, [None, None, None, None]) for code in [*OPEN, 9999, None]),
        *((code, [False, False, False, False]) for code in (131, 399, 404, 481, 2109, 2161, 2199, 10233, 10311, 10349)),
        *((code, [True, None, None, None]) for code in (107, 117, 120, 148, 153, 200, 390, 10058, 10289, 10340)),
    ],
)
def test_an_error_ends_a_new_order_any_order_or_none(code: int | None, expected: list[bool | None]) -> None:
    assert ends(code) == expected


def test_every_code_has_one_of_the_effects():
    effects: dict[Any, set[int]] = {}
    for code, each in ERROR_CODES.items():
        effects.setdefault((each.ends_new, each.ends_working, each.refuses), set()).add(code)
    assert effects.pop((None, False, "change")) == set(CHANGE)
    assert effects.pop((None, False, "cancellation")) == set(CANCELLATION)
    assert effects.pop((True, True, None)) == set(ANY_ORDER)
    assert effects.pop((True, False, None)) == set(CHECKED_BEFORE)
    assert effects.pop((None, None, None)) == set(OPEN)
    assert effects.keys() == {(True, None, None), (False, False, None)}
    differing = {code for code, each in ERROR_CODES.items() if each.ends is not each.ends_new}
    assert differing == {354, *CHANGE, *CANCELLATION}


@pytest.mark.parametrize(
    ("code", "error_class"),
    [
        *((code, "warning") for code in (131, 164, 399, 404, 481, 2102, 2109, 2137, 2161, 10233, 10311, 10329, 10349)),
        *((code, "order") for code in (*CHANGE, *CANCELLATION, *ANY_ORDER, 103, 110, 203, 390, 10058) if code != 2102),
        *((code, "data") for code in (200, 354, 10372)),
        *((code, "system") for code in (320, 321, 322, 395, 396, 397, 401, 10015)),
        (10328, "connectivity"),
    ],
)
def test_a_code_of_orders_has_the_class_of_what_to_do_about_it(code: int, error_class: str) -> None:
    assert ERROR_CODES[code].error_class == error_class
    assert about(code, "Warning: a text changes nothing").error_class == error_class


def test_what_may_be_about_an_order_that_lives_sends_nobody_to_place_it_again():
    unsure = [each for each in ERROR_CODES.values() if each.error_class == "order" and each.ends_new is not True]
    assert len(unsure) > 30
    assert [each.code for each in unsure if "place it again" in each.action] == []
