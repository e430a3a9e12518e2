"""IB's trading hours, in all the forms in which they come."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibbridge.ib.trading_hours import UNKNOWN_FOR, TradingCalendar, parse, zone_of

NEW_YORK = ZoneInfo("America/New_York")
WEEK = "20260105:0930-20260105:1600;20260106:CLOSED;20260107:0930-20260107:1300"


def at(text, zone=NEW_YORK):
    return dt.datetime.strptime(text, "%Y%m%d %H:%M").replace(tzinfo=zone).timestamp()


def read(text, zone):
    hours = parse(text, zone)
    assert hours is not None
    return hours


@pytest.mark.parametrize(
    ("when", "is_open"),
    [
        ("20260105 09:29", False),
        ("20260105 09:30", True),
        ("20260105 15:59", True),
        ("20260105 16:00", False),
        ("20260106 12:00", False),
        ("20260107 12:59", True),
        ("20260107 13:00", False),
        ("20260104 12:00", None),
        ("20260108 12:00", None),
    ],
)
def test_a_market_is_open_in_its_spans_and_of_other_days_nothing_is_known(when, is_open):
    assert read(WEEK, "US/Eastern").open(at(when)) is is_open


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("20260105:0900-1130,1230-1500", ["20260105 11:00", "20260105 14:00"], ["20260105 12:00"]),
        ("20260105:0900-20260105:1130,20260105:1230-20260105:1500", ["20260105 14:00"], ["20260105 12:00"]),
        ("20260104:1700-20260105:1600", ["20260104 23:00", "20260105 15:00"], ["20260104 16:00"]),
        ("20260104:1700-1600", ["20260105 15:00"], ["20260104 16:00"]),
        ("20260105:0000-2400", ["20260105 23:59"], []),
        (" 20260105:0930-20260105:1600 ;", ["20260105 10:00"], ["20260105 17:00"]),
        ("20261031:1700-1600", ["20261101 15:30"], []),  # a night of 25 hours
        ("20261101:0000-2400", ["20261101 23:30"], []),
    ],
)
def test_older_forms_pauses_and_nights_are_read(text, inside, outside):
    hours = read(text, "America/New_York")
    assert [hours.open(at(each)) for each in inside] == [True] * len(inside)
    assert [hours.open(at(each)) for each in outside] == [False] * len(outside)


@pytest.mark.parametrize(
    "text",
    ["", ";", "CLOSED", "20260105", "20261305:0930-1600", "20260105:0930", "20260105:930-1600", "20260105:0930-2561",
     "99991231:0930-2400"],
)  # fmt: skip
def test_what_cannot_be_read_is_unknown(text):
    assert parse(text, "US/Eastern") is None


@pytest.mark.parametrize("zone", ["", "Nowhere/Land", "../etc", "/etc", "America", "x\0y", "Eastern Standard Time"])
def test_hours_in_a_zone_that_nobody_knows_are_unknown(zone):
    assert parse(WEEK, zone) is None


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("EST", "America/New_York"),
        ("EST (Eastern Standard Time)", "America/New_York"),
        ("EST5EDT", "America/New_York"),
        ("US/Central", "America/Chicago"),
        ("JST", "Asia/Tokyo"),
        ("MET", "Europe/Berlin"),
        ("Europe/Zurich", "Europe/Zurich"),
    ],
)
def test_zones_have_many_names(name, meant):
    summer = dt.datetime(2026, 7, 1, 12, tzinfo=ZoneInfo(meant)).utcoffset()
    assert dt.datetime(2026, 7, 1, 12, tzinfo=zone_of(name)).utcoffset() == summer, "in summer, too"


@given(st.text(max_size=60), st.text(max_size=20))
def test_no_text_is_an_error(text, zone):
    parse(text, zone)


def test_a_calendar_asks_once_until_its_days_are_over_and_after_no_answer_in_an_hour():
    calendar = TradingCalendar()
    monday = at("20260105 10:00")
    assert calendar.wants("AAPL", monday)
    calendar.asking("AAPL", monday)
    assert not calendar.wants("AAPL", monday + UNKNOWN_FOR - 1)
    assert calendar.wants("AAPL", monday + UNKNOWN_FOR)
    calendar.learn("AAPL", WEEK, "US/Eastern")
    assert calendar.open("AAPL", monday) is True
    assert not calendar.wants("AAPL", at("20260107 23:00"))
    assert calendar.wants("AAPL", at("20260108 00:00"))
    calendar.learn("AAPL", "nonsense", "US/Eastern")
    assert calendar.open("AAPL", monday) is True, "what cannot be read leaves what was known"
