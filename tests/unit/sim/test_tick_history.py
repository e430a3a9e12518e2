from __future__ import annotations

import itertools

import pytest

from ibbridge.sim import SimulatedTws
from ibbridge.sim.engine import EPOCH
from ibbridge.sim.market.ib_times import stamp
from tests.support.simulator_client import AAPL, EURUSD, Client, codes, names, only

MESSAGES = {"TRADES": "historicalTicksLast", "BID_ASK": "historicalTicksBidAsk", "MIDPOINT": "historicalTicks"}


@pytest.fixture
def client():
    return Client(SimulatedTws(seed=1))


def ticks(client, shows="TRADES", number=10, contract=AAPL, **more):
    asked = {"startDateTime": "", "endDateTime": "", "useRth": 0, "ignoreSize": False, "miscOptions": []} | more
    told = client.ask("reqHistoricalTicks", reqId=1, contract=contract, numberOfTicks=number, whatToShow=shows, **asked)
    told += client.wait(0.25)
    (found,) = only(told, MESSAGES[shows])
    assert found["done"] is True
    return found["ticks"]


@pytest.mark.parametrize("shows", MESSAGES)
@pytest.mark.parametrize("number", [1, 10, 1000])
def test_ticks_before_a_moment_are_the_last_ones_in_order(client, shows, number):
    found = ticks(client, shows, number, endDateTime=stamp(EPOCH - 100))
    times = [tick["time"] for tick in found]
    assert times == sorted(times)
    assert times[-1] < EPOCH - 100
    assert number <= len(found) < number + 4, "a second that has begun is finished"


def test_ticks_after_a_moment_begin_with_it_and_agree_with_those_before_the_last(client):
    after = ticks(client, number=50, startDateTime=stamp(EPOCH - 3600))
    assert after[0]["time"] >= EPOCH - 3600
    end = after[-1]["time"] + 1
    assert ticks(client, number=len(after), endDateTime=stamp(end)) == after


def test_past_trades_are_the_ones_that_were_told_live(client):
    client.ask("reqTickByTickData", reqId=9, contract=AAPL, tickType="AllLast", numberOfTicks=0, ignoreSize=False)
    live = only(client.wait(20), "tickByTickAllLast")
    client.ask("cancelTickByTickData", reqId=9)
    past = ticks(client, number=200, startDateTime=stamp(EPOCH + 1))
    kept = [(tick["time"], tick["price"], tick["size"]) for tick in past if tick["time"] < EPOCH + 20]
    assert kept == [(tick["time"], tick["price"], tick["size"]) for tick in live if EPOCH < tick["time"] < EPOCH + 20]


def test_regular_hours_leave_the_night_out(client):
    found = ticks(client, number=1000, endDateTime=stamp(EPOCH + 1), useRth=1)
    friday = EPOCH - 3 * 86_400
    assert all(tick["time"] == EPOCH or friday <= tick["time"] < friday + 6.5 * 3600 for tick in found)


def test_sizes_may_be_ignored(client):
    found = ticks(client, "BID_ASK", 200, endDateTime=stamp(EPOCH), ignoreSize=True)
    prices = [(tick["priceBid"], tick["priceAsk"]) for tick in found]
    assert all(old != new for old, new in itertools.pairwise(prices))
    every = ticks(client, "BID_ASK", 200, endDateTime=stamp(EPOCH))
    assert every[0]["time"] > found[0]["time"]


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({}, 321),
        ({"startDateTime": stamp(EPOCH), "endDateTime": stamp(EPOCH)}, 321),
        ({"endDateTime": stamp(EPOCH), "numberOfTicks": 1001}, 321),
        ({"endDateTime": stamp(EPOCH), "numberOfTicks": None}, 321),
        ({"endDateTime": stamp(EPOCH), "whatToShow": "GOSSIP"}, 321),
        ({"endDateTime": "soon"}, 10314),
        ({"endDateTime": stamp(EPOCH), "contract": EURUSD}, 162),
        ({"endDateTime": "19720101-00:00:00"}, 162),
        ({"startDateTime": "20300101-00:00:00"}, 162),
    ],
)
def test_wrong_questions_are_refused(client, wrong, code):
    asked = {"contract": AAPL, "numberOfTicks": 10, "whatToShow": "TRADES"}
    told = client.ask("reqHistoricalTicks", reqId=1, **asked | wrong) + client.wait(0.25)
    assert codes(told) == [code]
    assert told[0][1]["reqId"] == 1


def test_a_time_without_a_zone_is_warned_of(client):
    told = client.ask(
        "reqHistoricalTicks", reqId=1, contract=AAPL, numberOfTicks=1, whatToShow="TRADES",
        endDateTime="20260105 09:00:00",
    )  # fmt: skip
    assert codes(told) == [2174]
    assert names(client.wait(0.25)) == ["historicalTicksLast"]


# -- histograms


def test_a_histogram_says_what_was_traded_at_which_price(client):
    client.ask("reqHistogramData", tickerId=3, contract=AAPL, useRTH=False, timePeriod="3 days")
    (found,) = only(client.wait(0.25), "histogramData")
    prices = [row["price"] for row in found["items"]]
    assert prices == sorted(set(prices))
    assert 10 < len(prices) <= 110
    history = {"durationStr": "3 D", "barSizeSetting": "1 day", "whatToShow": "TRADES", "useRTH": 0, "formatDate": 1}
    bars = only(client.ask("reqHistoricalData", reqId=4, contract=AAPL, **history), "historicalData")[0]["bars"]
    assert min(bar["low"] for bar in bars) * 0.9 < prices[0] < prices[-1] < max(bar["high"] for bar in bars) * 1.1
    assert sum(row["size"] for row in found["items"]) > 1e6


@pytest.mark.parametrize("period", ["", "3", "days", "0 days", "3 lightyears", "9999 days", "999 years"])
def test_a_period_that_is_none_is_refused(client, period):
    assert codes(client.ask("reqHistogramData", tickerId=3, contract=AAPL, timePeriod=period)) == [321]


@pytest.mark.parametrize(
    ("ask", "cancel", "key", "args"),
    [
        ("reqHistogramData", "cancelHistogramData", "tickerId", {"timePeriod": "1 week"}),
        (
            "reqHistoricalTicks", "cancelHistoricalTicks", "reqId",
            {"endDateTime": stamp(EPOCH), "numberOfTicks": 1, "whatToShow": "TRADES"},
        ),
    ],
)  # fmt: skip
def test_a_query_that_is_cancelled_in_time_ends_with_162_and_later_with_nothing(client, ask, cancel, key, args):
    asked = {key: 3, "contract": AAPL, **args}
    assert client.ask(ask, **asked) == []
    assert codes(client.ask(ask, **asked)) == [322]
    (error,) = only(client.ask(cancel, **{key: 3}), "error")
    assert (error["reqId"], error["errorCode"]) == (3, 162)
    assert error["errorString"].endswith("query cancelled: 3")
    assert client.wait(1) == []
    client.ask(ask, **asked)
    assert len(client.wait(1)) == 1
    assert client.ask(cancel, **{key: 3}) == []


# -- schedules


def test_a_schedule_names_the_sessions_of_working_days(client):
    asked = {"contract": AAPL, "durationStr": "7 D", "barSizeSetting": "1 day", "whatToShow": "SCHEDULE"}
    told = client.ask("reqHistoricalData", reqId=1, endDateTime="", useRTH=1, **asked)
    assert names(told) == ["historicalSchedule"]
    rows = told[0][1]["sessions"]
    assert [row["refDate"] for row in rows] == ["20251230", "20251231", "20260101", "20260102", "20260105"]
    assert (rows[0]["startDateTime"], rows[0]["endDateTime"]) == ("20251230-09:30:00", "20251230-16:00:00")
    assert codes(client.ask("reqHistoricalData", reqId=2, **asked | {"barSizeSetting": "1 hour"})) == [10295]
    (longest,) = only(client.ask("reqHistoricalData", reqId=3, **asked | {"durationStr": "68 Y"}), "historicalSchedule")
    assert longest["sessions"][0]["refDate"] == "20060110", "as far back as there is data"
