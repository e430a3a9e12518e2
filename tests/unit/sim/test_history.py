from __future__ import annotations

import pytest

from ibbridge.sim import SimulatedTws
from ibbridge.sim.engine import EPOCH
from tests.support.simulator_client import AAPL, EURUSD, Client, codes, names, only

CONTINUOUS = {"symbol": "ES", "secType": "CONTFUT", "exchange": "CME"}


@pytest.fixture
def client():
    return Client(SimulatedTws(seed=1))


def bars(client, contract=AAPL, **more):
    args = {
        "reqId": 1,
        "contract": contract,
        "endDateTime": "",
        "durationStr": "1 D",
        "barSizeSetting": "5 mins",
        "whatToShow": "TRADES",
        "useRTH": 0,
        "formatDate": 1,
        "keepUpToDate": False,
    }
    return client.ask("reqHistoricalData", **(args | more))


def test_all_bars_come_in_one_message_and_then_the_end(client):
    answer = bars(client)
    assert names(answer) == ["historicalData", "historicalDataEnd"]
    rows = answer[0][1]["bars"]
    assert len(rows) == 288
    assert rows[-1]["date"] == "20260105 09:25:00 US/Eastern"
    assert answer[1][1] == {
        "reqId": 1,
        "start": "20260104 09:30:00 US/Eastern",
        "end": "20260105 09:30:00 US/Eastern",
    }


def test_an_older_server_has_the_end_in_the_same_message():
    host = SimulatedTws(seed=1)
    client = Client(host)
    client.session.history_end = False
    answer = bars(client)
    assert names(answer) == ["historicalData"]
    assert answer[0][1]["end"] == "20260105 09:30:00 US/Eastern"


def test_small_bars_make_up_the_large_ones(client):
    small = bars(client, durationStr="3600 S", barSizeSetting="1 min")[0][1]["bars"]
    large = bars(client, durationStr="3600 S", barSizeSetting="30 mins")[0][1]["bars"]
    assert len(small) == 60
    for n, whole in enumerate(large):
        parts = small[n * 30 : n * 30 + 30]
        assert (whole["open"], whole["close"]) == (parts[0]["open"], parts[-1]["close"])
        assert whole["high"] == max(part["high"] for part in parts)
        assert whole["low"] == min(part["low"] for part in parts)


def test_daily_bars_of_a_week_are_trading_days_and_chain_to_the_ticks(client):
    rows = bars(client, durationStr="1 W", barSizeSetting="1 day")[0][1]["bars"]
    assert [row["date"] for row in rows] == ["20251230", "20251231", "20260101", "20260102", "20260105"]
    ticks = only(client.ask("reqMktData", reqId=2, contract=AAPL), "tickPrice")
    today = {tick["tickType"]: tick["price"] for tick in ticks}
    assert (rows[-1]["open"], rows[-1]["high"], rows[-1]["low"]) == (today[14], today[6], today[7])


def test_regular_hours_are_the_last_day_that_had_some(client):
    sunday = "20260104 12:00:00 US/Eastern"
    rows = bars(client, endDateTime=sunday, useRTH=1, barSizeSetting="30 mins")[0][1]["bars"]
    assert rows[0]["date"] == "20260102 09:30:00 US/Eastern"
    assert rows[-1]["date"] == "20260102 15:30:00 US/Eastern"
    assert len(rows) == 13


@pytest.mark.parametrize(
    ("form", "size", "date"),
    [
        (1, "1 hour", "20260105 09:00:00 US/Eastern"),
        (2, "1 hour", "1767621600"),
        (3, "1 hour", "0105 09:00:00 US/Eastern"),
        (2, "1 day", "20260105"),
    ],
)
def test_dates_are_written_as_asked(client, form, size, date):
    assert bars(client, formatDate=form, barSizeSetting=size)[0][1]["bars"][-1]["date"] == date


def test_quotes_have_no_volume(client):
    row = bars(client, EURUSD, whatToShow="MIDPOINT")[0][1]["bars"][0]
    assert (row["volume"], row["wap"], row["barCount"]) == (-1.0, -1.0, -1)


def test_the_ask_is_above_the_bid(client):
    bid, ask = (bars(client, whatToShow=kind)[0][1]["bars"] for kind in ("BID", "ASK"))
    assert all(low["close"] < high["close"] for low, high in zip(bid, ask, strict=True))


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"barSizeSetting": "7 mins"}, 321),
        ({"durationStr": "a while"}, 321),
        ({"durationStr": "0 D"}, 321),
        ({"durationStr": "900 W"}, 321),
        ({"durationStr": "1 Y", "barSizeSetting": "1 secs"}, 321),
        ({"whatToShow": "RUMOURS"}, 10299),
        ({"endDateTime": "yesterday"}, 10314),
        ({"endDateTime": "20260105 09:30:00 Mars/Olympus"}, 10314),
        ({"endDateTime": "19950105 09:30:00 UTC"}, 162),
        ({"contract": EURUSD}, 162),
        ({"contract": AAPL | {"symbol": "NOSUCH"}}, 200),
        ({"contract": CONTINUOUS, "endDateTime": "20260105-14:00:00"}, 10339),
        ({"keepUpToDate": True, "endDateTime": "20260105-14:00:00"}, 321),
    ],
)
def test_a_wrong_request_gets_ibs_code(client, wrong, code):
    assert codes(bars(client, **wrong)) == [code]


def test_an_end_without_a_zone_is_a_warning_and_data(client):
    answer = bars(client, endDateTime="20260105 09:00:00")
    assert codes(answer) == [2174]
    assert names(answer) == ["error", "historicalData", "historicalDataEnd"]


def test_an_end_in_utc_is_understood(client):
    rows = bars(client, endDateTime="20260105-14:00:00")[0][1]["bars"]
    assert rows[-1]["date"] == "20260105 08:55:00 US/Eastern"


def test_what_is_kept_up_to_date_repeats_the_bar_in_progress(client):
    last = bars(client, keepUpToDate=True, barSizeSetting="1 min")[0][1]["bars"][-1]
    updates = only(client.wait(60), "historicalDataUpdate")
    assert len(updates) == 12
    assert {update["bar"]["date"] for update in updates} == {"20260105 09:30:00 US/Eastern"}
    assert updates[0]["bar"]["open"] == last["close"]
    assert updates[-1]["bar"]["volume"] > updates[0]["bar"]["volume"]
    assert client.ask("cancelHistoricalData", reqId=1) == []
    assert client.wait(60) == []


def test_cancelling_an_unknown_query_is_366(client):
    assert codes(client.ask("cancelHistoricalData", reqId=77)) == [366]


def test_the_same_id_twice_is_386(client):
    bars(client, keepUpToDate=True)
    assert codes(bars(client)) == [386]


def test_the_first_moment_of_data_is_given_in_either_form(client):
    text = client.ask("reqHeadTimeStamp", reqId=1, contract=AAPL, formatDate=1)[0][1]["headTimestamp"]
    seconds = client.ask("reqHeadTimeStamp", reqId=1, contract=AAPL, formatDate=2)[0][1]["headTimestamp"]
    assert text == "20060110-14:30:00"
    assert EPOCH - 21 * 365 * 86400 < int(seconds) < EPOCH
