from __future__ import annotations

import itertools

import pytest

from ibbridge.sim import SimulatedTws
from tests.support.simulator_client import AAPL, CALL, EURUSD, Client, codes, names, only


@pytest.fixture
def client():
    return Client(SimulatedTws(seed=1))


def ticks(messages):
    return [(name, data["tickType"]) for name, data in messages if "tickType" in data]


def test_a_subscription_begins_as_at_a_tws(client):
    answer = client.ask("reqMktData", reqId=5, contract=AAPL, genericTickList="")
    assert names(answer)[:2] == ["marketDataType", "tickReqParams"]
    assert answer[0][1] == {"reqId": 5, "marketDataType": 1}
    assert ticks(answer)[:7] == [
        ("tickString", 45),
        ("tickPrice", 4),
        ("tickSize", 8),
        ("tickPrice", 9),
        ("tickPrice", 14),
        ("tickPrice", 1),
        ("tickPrice", 2),
    ]
    prices = {data["tickType"]: data["price"] for data in only(answer, "tickPrice")}
    assert prices[1] < prices[2]
    assert prices[7] <= prices[4] <= prices[6]


def test_ticks_follow_until_cancelled(client):
    client.ask("reqMktData", reqId=5, contract=AAPL, genericTickList="")
    followed = client.wait(30)
    expected = {("tickPrice", 1), ("tickPrice", 2), ("tickPrice", 4), ("tickSize", 0), ("tickSize", 8)}
    assert expected <= set(ticks(followed))
    assert client.ask("cancelMktData", reqId=5) == []
    assert client.wait(30) == []


def test_a_price_is_sent_only_when_it_changes(client):
    client.ask("reqMktData", reqId=5, contract=AAPL, genericTickList="")
    bids = [data["price"] for data in only(client.wait(60), "tickPrice") if data["tickType"] == 1]
    assert len(bids) > 5
    assert all(old != new for old, new in itertools.pairwise(bids))


def test_the_ticks_do_not_depend_on_how_time_is_advanced():
    one, other = Client(SimulatedTws(seed=3)), Client(SimulatedTws(seed=3))
    for client in (one, other):
        client.ask("reqMktData", reqId=5, contract=AAPL, genericTickList="233")
    slowly = [message for _ in range(160) for message in one.wait(1 / 16)]
    assert slowly == other.wait(10.0)


def test_a_snapshot_ends(client):
    client.ask("reqMktData", reqId=5, contract=AAPL, genericTickList="", snapshot=True)
    assert names(client.wait(2))[-1] == "tickSnapshotEnd"
    assert client.wait(10) == []
    assert codes(client.ask("cancelMktData", reqId=5)) == [300]


def test_delayed_data_has_a_warning_and_delayed_ticks(client):
    client.ask("reqMarketDataType", marketDataType=3)
    answer = client.ask("reqMktData", reqId=5, contract=AAPL, genericTickList="")
    assert names(answer)[:2] == ["marketDataType", "error"]
    assert answer[0][1]["marketDataType"] == 3
    assert codes(answer) == [10167]
    kinds = {tick_type for _, tick_type in ticks(answer)}
    assert {66, 67, 68, 74, 75, 76, 88} <= kinds
    assert not {1, 2, 4, 8, 9, 14, 45} & kinds


def test_what_is_not_subscribed_is_only_to_be_had_delayed():
    client = Client(SimulatedTws(seed=1, unsubscribed=frozenset({"AAPL"})))
    assert codes(client.ask("reqMktData", reqId=5, contract=AAPL)) == [354]
    client.ask("reqMarketDataType", marketDataType=3)
    assert codes(client.ask("reqMktData", reqId=5, contract=AAPL)) == [10167]


def test_a_market_data_type_of_its_own_invention_is_refused(client):
    answer = client.ask("reqMarketDataType", marketDataType=99)
    assert [(data["reqId"], data["errorCode"]) for data in only(answer, "error")] == [(-1, 321)]


def test_options_come_with_computations(client):
    answer = client.ask("reqMktData", reqId=5, contract=CALL, genericTickList="")
    model = {data["tickType"]: data for data in only(answer, "tickOptionComputation")}
    assert set(model) == {10, 11, 12, 13}
    assert 0 < model[13]["delta"] < 1


def test_currencies_have_quotes_and_no_trades(client):
    kinds = {tick_type for _, tick_type in ticks(client.ask("reqMktData", reqId=5, contract=EURUSD))}
    assert {1, 2, 9} <= kinds
    assert not {4, 8, 45} & kinds


def test_an_index_has_a_value_and_no_quotes(client):
    index = {"symbol": "SPX", "secType": "IND", "exchange": "CBOE", "currency": "USD"}
    kinds = {tick_type for _, tick_type in ticks(client.ask("reqMktData", reqId=5, contract=index))}
    assert 4 in kinds
    assert not {1, 2, 8} & kinds
    assert ("tickPrice", 4) in ticks(client.wait(60))


def test_a_cfd_is_rerouted_to_its_stock(client):
    answer = client.ask("reqMktData", reqId=5, contract=AAPL | {"secType": "CFD"})
    assert answer == [("rerouteMktDataReq", {"reqId": 5, "conId": 265598, "exchange": "SMART"})]


def test_generic_ticks_come_when_asked_for(client):
    answer = client.ask("reqMktData", reqId=5, contract=AAPL, genericTickList="233,236,165,456")
    assert {("tickString", 48), ("tickGeneric", 46), ("tickPrice", 20), ("tickString", 59)} <= set(ticks(answer))
    report = only(client.wait(5), "tickString")
    assert any(data["tickType"] == 48 and data["value"].count(";") == 5 for data in report)


def test_without_the_default_ticks_only_the_generic_ones_come(client):
    assert ticks(client.ask("reqMktData", reqId=5, contract=AAPL, genericTickList="mdoff,456")) == [("tickString", 59)]


@pytest.mark.parametrize("wrong", ["9999", "abc", "100,588", "²"])
def test_a_wrong_generic_tick_names_the_legal_ones(client, wrong):
    answer = client.ask("reqMktData", reqId=5, contract=AAPL, genericTickList=wrong)
    assert codes(answer) == [321]
    assert "233(RTVolume)" in answer[0][1]["errorString"]
    assert client.wait(5) == []


def test_a_snapshot_takes_no_generic_ticks(client):
    assert codes(client.ask("reqMktData", reqId=5, contract=AAPL, genericTickList="233", snapshot=True)) == [414]


def test_an_id_in_use_is_refused_and_the_stream_lives(client):
    client.ask("reqMktData", reqId=5, contract=AAPL)
    assert codes(client.ask("reqMktData", reqId=5, contract=EURUSD)) == [102]
    assert ticks(client.wait(5))


def test_a_hundred_lines_are_all_there_are(client):
    for request in range(100):
        client.ask("reqMktData", reqId=request, contract=AAPL, genericTickList="mdoff")
    assert codes(client.ask("reqMktData", reqId=100, contract=AAPL)) == [101]
    client.ask("cancelMktData", reqId=0)
    assert codes(client.ask("reqMktData", reqId=100, contract=AAPL)) == []


def test_another_client_has_ids_of_its_own(client):
    other = Client(client.host, 2)
    client.ask("reqMktData", reqId=5, contract=AAPL)
    assert codes(other.ask("reqMktData", reqId=5, contract=AAPL)) == []
    client.host.disconnect(client.session)
    assert ticks(other.wait(5))
    assert client.session.take() == []


# -- depth


def follow(book, messages):
    for name, data in messages:
        if not name.startswith("updateMktDepth"):
            continue
        side, row = book[data["side"]], (data["price"], data["size"])
        if data["operation"] == 0:
            side.insert(data["position"], row)
        elif data["operation"] == 1:
            side[data["position"]] = row
        else:
            del side[data["position"]]


@pytest.mark.parametrize(
    ("exchange", "smart", "message"), [("SMART", True, "updateMktDepthL2"), ("CHX", False, "updateMktDepth")]
)
def test_a_client_that_does_as_told_has_a_sorted_book_of_as_many_rows(client, exchange, smart, message):
    book: tuple[list, list] = ([], [])
    first = client.ask("reqMktDepth", reqId=5, contract=AAPL | {"exchange": exchange}, numRows=5, isSmartDepth=smart)
    assert set(names(first)) == {message}
    follow(book, first)
    for _ in range(240):
        follow(book, client.wait(0.25))
        asks, bids = ([price for price, _ in side] for side in book)
        assert len(asks) == len(bids) == 5
        assert asks == sorted(set(asks))
        assert bids == sorted(set(bids), reverse=True)
        assert bids[0] < asks[0]


def test_a_fourth_contract_is_one_depth_too_many(client):
    for request, symbol in enumerate(("AAPL", "MSFT", "SPY", "AAPL")):
        contract = AAPL | {"symbol": symbol}
        assert codes(client.ask("reqMktDepth", reqId=request, contract=contract, numRows=2, isSmartDepth=True)) == []
    contract = AAPL | {"symbol": "KO"}
    assert codes(client.ask("reqMktDepth", reqId=9, contract=contract, numRows=2, isSmartDepth=True)) == [309]


@pytest.mark.parametrize(
    ("contract", "rows", "code"),
    [
        (AAPL | {"exchange": ""}, 5, 321),
        (AAPL, 0, 321),
        ({"symbol": "SPX", "secType": "IND", "exchange": "CBOE"}, 5, 10092),
        (AAPL | {"symbol": "NOSUCH"}, 5, 200),
    ],
)
def test_depth_that_cannot_be_had_is_refused(client, contract, rows, code):
    assert codes(client.ask("reqMktDepth", reqId=5, contract=contract, numRows=rows, isSmartDepth=True)) == [code]


def test_cancelling_unknown_depth_is_310(client):
    assert codes(client.ask("cancelMktDepth", reqId=5, isSmartDepth=True)) == [310]


# -- tick by tick, and bars


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("Last", "tickByTickAllLast"),
        ("AllLast", "tickByTickAllLast"),
        ("BidAsk", "tickByTickBidAsk"),
        ("MidPoint", "tickByTickMidPoint"),
    ],
)
def test_every_kind_of_tick_by_tick_streams(client, kind, message):
    client.ask("reqTickByTickData", reqId=5, contract=AAPL, tickType=kind, numberOfTicks=0, ignoreSize=False)
    assert set(names(client.wait(30))) == {message}
    assert client.ask("cancelTickByTickData", reqId=5) == []
    assert client.wait(5) == []


def test_tick_by_tick_is_limited_and_exact_about_its_kinds(client):
    for request in range(5):
        client.ask("reqTickByTickData", reqId=request, contract=AAPL, tickType="Last")
    assert codes(client.ask("reqTickByTickData", reqId=9, contract=AAPL, tickType="Last")) == [10190]
    assert codes(client.ask("reqTickByTickData", reqId=9, contract=AAPL, tickType="last")) == [321]
    assert codes(client.ask("reqTickByTickData", reqId=9, contract=CALL, tickType="Last")) == [10189]


def test_five_second_bars_lie_on_the_grid_and_agree_with_history(client):
    client.ask("reqRealTimeBars", reqId=5, contract=AAPL, barSize=5, whatToShow="TRADES", useRTH=False)
    bars = only(client.wait(20), "realtimeBar")
    assert [bar["time"] % 5 for bar in bars] == [0, 0, 0, 0]
    history = client.ask(
        "reqHistoricalData", reqId=6, contract=AAPL, endDateTime="", durationStr="20 S", barSizeSetting="5 secs",
        whatToShow="TRADES", useRTH=0, formatDate=2, keepUpToDate=False,
    )[0][1]["bars"]  # fmt: skip
    keys = ("open", "high", "low", "close", "volume", "wap")
    assert [tuple(row[key] for key in keys) for row in history] == [tuple(bar[key] for key in keys) for bar in bars]
    assert codes(client.ask("reqRealTimeBars", reqId=7, contract=AAPL, whatToShow="FEES")) == [420]
