from __future__ import annotations

import json

import pytest

from ibbridge.sim import SimulatedTws
from tests.support.simulator_client import AAPL, Client, codes, names, only

APPLE = {"conId": 265598}


@pytest.fixture
def client():
    made = Client(SimulatedTws(seed=1))
    made.ask("reqWshMetaData", reqId=1)
    made.wait()
    return made


def events(client, **wanted):
    told = client.ask("reqWshEventData", reqId=2, wshEventData=wanted) + client.wait()
    (found,) = only(told, "wshEventData")
    return json.loads(found["dataJson"])


def test_metadata_names_kinds_and_filters():
    client = Client(SimulatedTws(seed=1))
    assert client.ask("reqWshMetaData", reqId=1) == []
    (found,) = only(client.wait(), "wshMetaData")
    assert found["reqId"] == 1
    meta = json.loads(found["dataJson"])["meta_data"]
    assert {"tag": "wshe_ed", "name": "Earnings Date"}.items() <= meta["event_types"][0].items()
    assert "watchlist" in [each["tag"] for each in meta["filters"]]


def test_metadata_come_before_events():
    assert codes(Client(SimulatedTws(seed=1)).ask("reqWshEventData", reqId=2, wshEventData=APPLE)) == [10282]


def test_there_is_one_request_of_a_kind_at_a_time(client):
    client.ask("reqWshMetaData", reqId=3)
    assert codes(client.ask("reqWshMetaData", reqId=4)) == [10278]
    client.ask("reqWshEventData", reqId=5, wshEventData=APPLE)
    assert codes(client.ask("reqWshEventData", reqId=6, wshEventData=APPLE)) == [10281]
    assert [(name, data["reqId"]) for name, data in client.wait()] == [("wshMetaData", 3), ("wshEventData", 5)]
    assert client.ask("reqWshMetaData", reqId=4) == []


def test_what_is_cancelled_in_time_is_not_answered_and_what_is_unknown_is_refused(client):
    client.ask("reqWshEventData", reqId=5, wshEventData=APPLE)
    assert client.ask("cancelWshEventData", reqId=5) == []
    assert client.wait() == []
    assert client.ask("cancelWshMetaData", reqId=1) == [], "it has been answered: nothing is left to cancel"
    assert codes(client.ask("cancelWshMetaData", reqId=7)) == [10280]
    assert codes(client.ask("cancelWshEventData", reqId=7)) == [10284]


def test_events_are_of_the_instrument_in_order_and_between_the_dates(client):
    found = events(client, **APPLE, startDate="20250101", endDate="20261231")
    dates = [event["index_date"] for event in found]
    assert dates == sorted(dates)
    assert "20250101" <= dates[0] < dates[-1] <= "20261231"
    assert {conid for event in found for conid in event["conids"]} == {"265598"}
    assert len({event["event_type"] for event in found}) > 3
    assert events(client, **APPLE, startDate="20250101", endDate="20261231", totalLimit=3) == found[:3]


def test_a_filter_names_instruments_and_kinds(client):
    text = json.dumps({"watchlist": ["265598", 8314], "wshe_ed": "true", "limit": 50})
    found = events(client, filter=text, startDate="20250101", endDate="20261231")
    assert {event["event_type"] for event in found} == {"wshe_ed"}
    assert {conid for event in found for conid in event["conids"]} == {"265598", "8314"}


def test_the_host_can_fill_a_filter_with_what_is_held(client):
    client.market(9, 10)
    client.wait(1)
    found = events(client, filter='{"wshe_ed": true}', fillPortfolio=True, startDate="20250101", endDate="20261231")
    assert {conid for event in found for conid in event["conids"]} == {str(APPLE["conId"])}
    everybody = events(client, filter="{}", fillCompetitors=True)
    assert len({conid for event in everybody for conid in event["conids"]}) > 5


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        ({}, 10309),
        ({"conId": 265598, "filter": "{}"}, 10309),
        ({"filter": "{"}, 10309),
        ({"filter": "[]"}, 10309),
        ({"filter": "[" * 100_000}, 10309),
        ({"filter": '{"colour": 1}'}, 10309),
        ({"filter": '{"watchlist": 5}'}, 10309),
        ({"filter": '{"watchlist": ["1"]}'}, 10309),
        ({"filter": '{"watchlist": [[]]}'}, 10309),
        ({"filter": '{"limit": 1e9}'}, 10309),
        ({"conId": 265598, "startDate": "tomorrow"}, 10309),
        ({"conId": 265598, "endDate": "99991231"}, 10309),
        ({"conId": 265598, "totalLimit": 101}, 10309),
        ({"conId": 1}, 200),
    ],
)
def test_invalid_requests_are_refused(client, wanted, code):
    assert codes(client.ask("reqWshEventData", reqId=2, wshEventData=wanted)) == [code]


def test_a_client_that_goes_takes_its_requests_with_it(client):
    client.ask("reqWshEventData", reqId=5, wshEventData=APPLE)
    client.host.disconnect(client.session)
    again = Client(client.host)
    assert again.wait() == []
    assert codes(again.ask("reqWshEventData", reqId=2, wshEventData=APPLE)) == [10282]
    assert names(again.ask("reqContractDetails", reqId=1, contract=AAPL))[-1] == "contractDetailsEnd"
