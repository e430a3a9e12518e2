"""Market data types for one request: the setting is written around it, and its data has a topic of its own."""

from __future__ import annotations

import pytest

from tests.support.daemon_core import AAPL, Middle, Sent, refusal


def types(sent: list[Sent]) -> list[int | str]:
    return [each.data["marketDataType"] if each.name == "reqMarketDataType" else each.name for each in sent]


@pytest.mark.parametrize("version", [178, 226])
def test_the_type_is_set_before_the_request_and_set_back_behind_it(version):
    middle = Middle(version)
    reply = middle.ask("reqMktData", "a", 1, contract=AAPL, marketDataType=3)
    assert types(middle.link.take()) == [3, "reqMktData", 1]
    assert reply["topic"] == "md.AAPL-STK-SMART-USD+delayed."


def test_it_is_set_back_to_the_type_that_the_connection_has_when_the_request_leaves():
    middle = Middle(allowed=["reqMarketDataType"], rate=10)
    for number in range(20):  # the rate is used up
        middle.ask("reqMktData", "b", number, contract={**AAPL, "symbol": f"S{number}"})
    middle.ask("reqMarketDataType", "b", marketDataType=4)
    middle.ask("reqMktData", "a", 1, contract=AAPL, marketDataType=3)
    middle.link.go_on(10)
    sent = types(middle.link.take())
    assert sent[sent.index(3) :][:3] == [3, "reqMktData", 4 if sent.index(4) < sent.index(3) else 1]


def test_clients_share_a_line_of_their_type_and_others_have_their_own():
    middle = Middle()
    for client, kind in (("a", 0), ("b", 3), ("c", 3), ("d", 0)):
        middle.ask("reqMktData", client, 1, contract=AAPL, marketDataType=kind)
    assert types(middle.link.take()) == ["reqMktData", 3, "reqMktData", 1]
    assert middle.subscriptions.lines.summary()["level1"]["used"] == 2


def test_each_type_has_its_own_data_and_its_own_state():
    middle = Middle()
    live = middle.subscribe("a")
    middle.ask("reqMktData", "b", 1, contract=AAPL, marketDataType=2)
    frozen = middle.link.sent[-2].data["reqId"]
    assert middle.tick(live, 1.0).topic == "md.AAPL-STK-SMART-USD.tickPrice."
    assert middle.tick(frozen, 2.0).topic == "md.AAPL-STK-SMART-USD+frozen.tickPrice."
    middle.hear("marketDataType", reqId=frozen, marketDataType=2)
    (stream,) = middle.state("md.AAPL-STK-SMART-USD+frozen.").values()
    assert {"tickPrice", "marketDataType"} == {each.body["type"] for each in stream}


def test_it_is_asked_for_again_with_its_type_on_the_next_connection():
    middle = Middle()
    middle.ask("reqMktData", "a", 1, contract=AAPL, marketDataType=3)
    middle.link.take()
    middle.reconnect()
    assert types(middle.link.take())[-3:] == [3, "reqMktData", 1]


def test_a_snapshot_has_its_type_too():
    middle = Middle()
    middle.ask("reqMktData", "a", 1, contract=AAPL, snapshot=True, marketDataType=3)
    assert types(middle.link.take()) == [3, "reqMktData", 1]


@pytest.mark.parametrize("kind", [-1, 5, True, "3", None, 1.5, [3]])
def test_another_value_is_refused(kind):
    assert "marketDataType must be 1" in str(
        refusal("E_ARG", Middle().ask, "reqMktData", contract=AAPL, marketDataType=kind)
    )


def test_another_request_takes_none():
    refusal("E_ARG", Middle().ask, "reqMktDepth", contract=AAPL, numRows=5, marketDataType=3)


def test_the_setting_of_the_connection_is_still_one_of_the_connection():
    middle = Middle(allowed=["reqMarketDataType"])
    middle.ask("reqMarketDataType", marketDataType=3)
    assert middle.session.market_data_type == 3
