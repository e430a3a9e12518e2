"""Routing: the topic of every message, and the state that is kept of it."""

from __future__ import annotations

import pytest

from ibbridge.codec.messages import MESSAGES
from ibbridge.ib import ERROR_CODES, about
from ibbridge.orders import executions
from ibbridge.requests import tracker
from tests.support.daemon_core import AAPL, DAY, LIMIT, MSFT, Middle

STATUS = {"status": "Submitted", "clientId": 1}


@pytest.fixture
def middle():
    return Middle()


# Market data


def test_ticks_go_to_their_instrument(middle):
    number = middle.subscribe()
    assert middle.tick(number).topic == "md.AAPL-STK-SMART-USD.tickPrice."
    assert middle.topic_of("tickReqParams", tickerId=number) == "md.AAPL-STK-SMART-USD.tickReqParams."
    assert middle.topic_of("marketDataType", reqId=number) == "md.AAPL-STK-SMART-USD.marketDataType."


@pytest.mark.parametrize(
    ("command", "args", "kind", "message"),
    [
        ("reqMktDepth", {}, "+depth", "updateMktDepth"),
        ("reqMktDepth", {"isSmartDepth": True}, "+depth-smart", "updateMktDepthL2"),
        ("reqTickByTickData", {"tickType": "BidAsk"}, "+tbt-BidAsk", "tickByTickBidAsk"),
        ("reqRealTimeBars", {"whatToShow": "TRADES", "useRTH": True}, "+bars-TRADES-rth", "realtimeBar"),
        ("reqRealTimeBars", {"whatToShow": "MIDPOINT"}, "+bars-MIDPOINT-all", "realtimeBar"),
        ("reqHistoricalData", {**DAY, "keepUpToDate": True}, "+hist-1min-TRADES-all", "historicalDataUpdate"),
    ],
)
def test_every_kind_of_market_data_is_a_stream_of_its_own(middle, command, args, kind, message):
    middle.ask(command, contract=AAPL, **args)
    assert middle.topic_of(message, reqId=middle.last_id()) == f"md.AAPL-STK-SMART-USD{kind}.{message}."


def test_an_instrument_that_the_configuration_names_has_that_name():
    middle = Middle(names={"Apple": AAPL})
    assert middle.ask("reqMktDepth", contract=AAPL)["topic"] == "md.Apple+depth."
    assert middle.topic_of("updateMktDepth", reqId=middle.last_id()) == "md.Apple+depth.updateMktDepth."


def test_a_snapshot_is_an_answer_to_who_asked_and_over_with_its_end(middle):
    number = middle.subscribe("a", "once", snapshot=True)
    assert middle.tick(number).topic == "req.a.once.tickPrice."
    assert len(middle.tracker) == 1
    assert middle.topic_of("tickSnapshotEnd", reqId=number) == "req.a.once.tickSnapshotEnd."
    assert len(middle.tracker) == 0


# Requests nobody here made


@pytest.mark.parametrize(
    ("name", "field", "topic"),
    [
        ("tickPrice", "reqId", "md.~77.tickPrice."),
        ("tickReqParams", "tickerId", "md.~77.tickReqParams."),
        ("updateMktDepth", "reqId", "md.~77.updateMktDepth."),
        ("realtimeBar", "reqId", "md.~77.realtimeBar."),
        ("contractDetails", "reqId", "req.~77.contractDetails."),
        ("historicalData", "reqId", "req.~77.historicalData."),
        ("execDetailsEnd", "reqId", "req.~77.execDetailsEnd."),
        ("pnl", "reqId", "acct.~77.pnl."),
        ("accountSummaryEnd", "reqId", "acct.~77.accountSummaryEnd."),
    ],
)
def test_data_of_an_unknown_request_is_published_under_its_number(middle, name, field, topic):
    assert middle.topic_of(name, **{field: 77}) == topic


def test_a_negative_or_unset_number_is_published_too(middle):
    assert middle.tick(-1).topic == "md.~-1.tickPrice."
    assert middle.topic_of("tickPrice", reqId=None, tickType=1) == "md.~None.tickPrice."


def test_data_that_was_unknown_is_known_once_the_number_is_given(middle):
    assert middle.tick(500).topic == "md.~500.tickPrice."
    assert middle.subscribe() == 500
    assert middle.tick(500).topic == "md.AAPL-STK-SMART-USD.tickPrice."


# One-shots


def test_answers_go_to_who_asked_even_after_the_end(middle):
    middle.ask("reqContractDetails", "a", 7, contract=AAPL)
    number = middle.last_id()
    details = {"contractDetails": {"contract": AAPL}}
    heard = middle.hear("contractDetails", reqId=number, **details)
    assert heard is not None
    assert heard.topic == "req.a.7.contractDetails."
    assert heard.body["ref"] == {"client": "a", "id": 7}
    assert middle.topic_of("contractDetailsEnd", reqId=number) == "req.a.7.contractDetailsEnd."
    assert len(middle.tracker) == 0
    assert middle.topic_of("contractDetails", reqId=number, **details) == "req.a.7.contractDetails."
    assert middle.error(number).topic == "req.a.7.error."


@pytest.mark.parametrize(
    ("command", "args", "message", "data"),
    [
        ("reqHistoricalData", DAY, "historicalData", {"bars": [], "start": "1", "end": "2"}),  # below 196
        ("reqHistoricalData", DAY, "historicalDataEnd", {}),
        ("reqHistoricalData", {**DAY, "whatToShow": "SCHEDULE"}, "historicalSchedule", {}),
        ("reqHistoricalTicks", {"numberOfTicks": 1, "whatToShow": "TRADES"}, "historicalTicksLast", {"done": True}),
        ("reqHistoricalTicks", {"numberOfTicks": 1, "whatToShow": "BID_ASK"}, "historicalTicksBidAsk", {"done": True}),
        ("reqHistoricalTicks", {"numberOfTicks": 1, "whatToShow": "MIDPOINT"}, "historicalTicks", {"done": True}),
        ("reqHeadTimeStamp", {"whatToShow": "TRADES"}, "headTimestamp", {}),
        ("reqHistogramData", {"timePeriod": "3 days"}, "histogramData", {}),
    ],
)
def test_a_one_shot_ends_with_its_last_answer_and_is_not_called_lost_afterwards(middle, command, args, message, data):
    middle.ask(command, contract=AAPL, **args)
    middle.hear(message, reqId=middle.last_id(), **data)
    assert len(middle.tracker) == 0
    assert middle.lost() == []


@pytest.mark.parametrize(
    ("command", "args", "message", "data"),
    [
        ("reqHistoricalData", DAY, "historicalData", {"bars": [], "start": "", "end": ""}),  # from 196: an end follows
        ("reqHistoricalData", {**DAY, "keepUpToDate": True}, "historicalDataEnd", {}),
        ("reqHistoricalTicks", {"numberOfTicks": 1, "whatToShow": "TRADES"}, "historicalTicksLast", {"done": False}),
        ("reqTickByTickData", {"tickType": "Last"}, "historicalTicksLast", {"done": True}),
    ],
)
def test_other_answers_are_not_the_last(middle, command, args, message, data):
    middle.ask(command, contract=AAPL, **args)
    middle.hear(message, reqId=middle.last_id(), **data)
    assert len(middle.tracker) == 1


def test_the_end_of_another_kind_of_request_ends_nothing(middle):
    middle.ask("reqContractDetails", contract=AAPL)
    middle.hear("historicalDataEnd", reqId=middle.last_id())
    assert len(middle.tracker) == 1


def test_answers_without_a_number_go_to_all_who_wait_and_otherwise_to_sys(middle):
    for client in "ab":
        middle.ask("reqCurrentTime", client, 1)
    middle.hear("currentTime", time=5)
    middle.hear("currentTime", time=6)
    assert [heard.topic for heard in middle.published] == [
        "req.a.1.currentTime.",
        "req.b.1.currentTime.",
        "sys.tws.currentTime.",
    ]
    assert [heard.data["time"] for heard in middle.published] == [5, 5, 6]


def test_open_orders_and_all_open_orders_are_answered_in_the_order_they_were_asked(middle):
    middle.ask("reqAllOpenOrders", "a", 1)
    middle.ask("reqOpenOrders", "b", 2)
    assert middle.topic_of("openOrderEnd") == "req.a.1.openOrderEnd."
    assert middle.topic_of("openOrderEnd") == "req.b.2.openOrderEnd."
    assert middle.topic_of("openOrderEnd") == "sys.tws.openOrderEnd."


def test_a_request_that_tws_never_answers_does_not_stop_the_next(middle):
    middle.ask("reqCurrentTime", "a", 1)  # which a host ignores within a second of the last
    middle.ask("reqCurrentTime", "b", 1)
    assert [sent.name for sent in middle.link.sent] == ["reqCurrentTime", "reqCurrentTime"]


# Errors


def test_an_error_of_a_request_ends_it_and_goes_where_its_answers_go(middle):
    number = middle.subscribe()
    heard = middle.error(number, 354)
    assert heard.topic == "md.AAPL-STK-SMART-USD.error."
    assert len(middle.tracker) == 0
    assert middle.tick(number).topic == "md.AAPL-STK-SMART-USD.tickPrice.", "what still comes is not lost"


@pytest.mark.parametrize(
    ("code", "error_class", "ends"),
    [
        (101, "system", True),
        (321, "system", True),
        (100, "system", False),  # it is asked again
        (999, "system", None),  # which nobody knows
        (-7, "system", None),
        (None, "system", None),
        (200, "data", True),
        (354, "data", True),
        (10186, "data", True),
        (10089, "data", None),
        (203, "order", True),
        (135, "order", False),
        (2150, "data", None),
        (2174, "warning", False),
        (2199, "warning", False),  # nobody knows it either; its number says what it is
        (300, "warning", False),
        (10090, "warning", False),
        (10167, "warning", False),
        (165, "warning", None),
        (2103, "connectivity", False),
        (1100, "connectivity", False),
        (10182, "connectivity", False),  # it is asked for again
        (10225, "data", False),  # so is this
        (316, "data", False),
        (10197, "connectivity", None),
    ],
)
def test_an_error_has_a_class_and_ends_a_stream_only_if_it_surely_is_over(middle, code, error_class, ends):
    number = middle.subscribe()
    heard = middle.error(number, code)
    assert heard.topic == "md.AAPL-STK-SMART-USD.error."
    assert (heard.data["class"], heard.data["ends"]) == (error_class, ends)
    assert len(middle.tracker) == (0 if ends else 1)


@pytest.mark.parametrize("code", [None, 999, *ERROR_CODES])
def test_one_answer_is_ended_by_every_error_but_warnings_and_what_is_known_not_to(middle, code):
    middle.ask("reqContractDetails", "a", 1, contract=AAPL)
    heard = middle.error(middle.last_id(), code)
    known = about(code)
    ends = known.error_class != "warning" and known.ends is not False and code != 100  # which is asked again
    assert (heard.topic, heard.data["class"], heard.data["ends"]) == ("req.a.1.error.", known.error_class, ends)
    assert len(middle.tracker) == (0 if ends else 1)


def test_a_stream_that_another_login_has_silenced_goes_on_afterwards_and_its_cancel_reaches_tws(middle):
    number = middle.subscribe("a", 1)
    middle.tick(number, 1.0)
    middle.error(number, 10197)
    middle.tick(number, 2.0)
    (state,) = middle.state("md.").values()
    assert [heard.data["price"] for heard in state] == [2.0]
    middle.link.take()
    middle.cancel("cancelMktData", 1)
    assert [(sent.name, sent.data["reqId"]) for sent in middle.link.take()] == [("cancelMktData", number)]


def test_an_error_says_the_same_of_a_request_that_is_over(middle):
    number = middle.subscribe()
    assert [middle.error(number, code).data["ends"] for code in (354, 354, 300, 10197)] == [True, True, False, None]


def test_an_error_of_the_daemons_own_says_whether_the_request_has_ended(middle):
    route = middle.tracker.under_way(middle.subscribe())
    middle.notifications.notify_error(route, 504, "later")
    middle.tracker.end(route)
    middle.notifications.notify_error(route, 504, "never")
    assert {heard.topic for heard in middle.published} == {"md.AAPL-STK-SMART-USD.error."}
    assert {heard.data["class"] for heard in middle.published} == {"connectivity"}
    assert [heard.data["ends"] for heard in middle.published] == [False, True]


def test_the_decoders_data_is_left_as_it_was(middle):
    data = {"reqId": -1, "errorTime": 0, "errorCode": 2104, "errorString": "", "advancedOrderRejectJson": ""}
    before = dict(data)
    middle.router.publish("error", data, 1)
    assert data == before
    assert middle.published[-1].data == {**before, "class": "connectivity", "ends": False, "source": "tws"}


def test_an_error_of_an_order_goes_to_the_order(middle):
    number = middle.place("k")
    heard = middle.error(number, 201, "rejected")
    assert heard.topic == "ord.a.k.error."
    assert heard.body["ref"] == {"owner": "a", "key": "k", "orderId": number}
    assert (heard.data["class"], heard.data["ends"]) == ("order", True)


@pytest.mark.parametrize(
    ("code", "new", "acknowledged"),
    [
        (110, True, False),  # of a price that was changed, too: then the order lives on at its old one
        (321, True, False),
        (111, True, None),
        (200, True, None),
        (201, True, True),
        (202, True, True),
        (103, None, None),
        (999, None, None),
        (105, None, False),  # nobody has changed the new order, so it is about something else
        (10147, None, False),
        (10349, False, False),
        (399, False, False),
    ],
)
@pytest.mark.scenario("B43")
def test_what_refuses_an_order_may_refuse_only_a_change_to_it_once_tws_has_it(middle, code, new, acknowledged):
    number = middle.place("k")
    assert middle.error(number, code).data["ends"] is new
    middle.hear("orderStatus", **order_message("orderStatus", number, permId=888))
    assert middle.error(number, code).data["ends"] is acknowledged
    assert len(middle.orders) == 1


@pytest.mark.parametrize("number", [-1, 0, None, 499, 12345, 2147483646, -5])
def test_an_error_of_nothing_goes_to_sys(middle, number):
    middle.subscribe()
    middle.place("k")
    heard = middle.error(number, 321)
    assert heard.topic == "sys.tws.error."
    assert (heard.data["class"], heard.data["ends"]) == ("system", True)


# Orders


def order_message(name, number, **about):
    if name == "orderStatus":
        return {"orderId": number, **STATUS, **about}
    order = {"orderId": number, "clientId": 1, **about}
    return {"orderId": number, "contract": AAPL, "order": order, "orderState": {"status": "Submitted"}}


@pytest.mark.parametrize("name", ["openOrder", "orderStatus"])
def test_messages_of_an_order_go_to_its_owner_and_key(middle, name):
    number = middle.place("k", client="strategy")
    heard = middle.hear(name, **order_message(name, number))
    assert heard is not None
    assert heard.topic == f"ord.strategy.k.{name}."
    assert heard.body["ref"] == {"owner": "strategy", "key": "k", "orderId": number}


def test_an_order_is_known_by_its_perm_id_once_it_has_one_and_an_error_before_that_does_not_matter(middle):
    number = middle.place("k")
    middle.hear("orderStatus", **order_message("orderStatus", number, permId=0))
    middle.hear("orderStatus", **order_message("orderStatus", number, permId=888))
    about = {"permId": 888, "clientId": 0, "orderId": 0}
    assert middle.topic_of("orderStatus", **about) == "ord.a.k.orderStatus."
    done = {"contract": AAPL, "order": {"permId": 888}, "orderState": {"status": "Filled"}}
    assert middle.topic_of("completedOrder", **done) == "ord.a.k.completedOrder."


@pytest.mark.parametrize("name", ["openOrder", "orderStatus"])
@pytest.mark.scenario("B42")
def test_orders_of_others_belong_to_ext_and_are_keyed_by_their_perm_id(middle, name):
    number = middle.place("k")
    heard = middle.hear(name, **order_message(name, number, clientId=9, permId=777))
    assert heard is not None
    assert heard.topic == f"ord.ext.~777.{name}."
    assert heard.body["ref"] == {"owner": "ext", "key": "~777", "orderId": number, "permId": 777, "clientId": 9}


def test_an_order_of_another_without_a_perm_id_is_keyed_by_client_and_number(middle):
    assert middle.topic_of("orderStatus", orderId=-3, clientId=0, permId=0) == "ord.ext.~0/-3.orderStatus."


def test_an_order_from_before_a_restart_is_known_by_its_ref(middle):
    data = order_message("openOrder", 17, orderRef="old/key 1", permId=5)
    assert middle.topic_of("openOrder", **data) == "ord.old.key%201.openOrder."


@pytest.mark.parametrize("ref", ["", "/", "x", "x/", "/x"])
def test_a_ref_that_is_not_ours_names_no_owner(middle, ref):
    data = order_message("openOrder", 17, orderRef=ref, permId=5)
    assert middle.topic_of("openOrder", **data) == "ord.ext.~5.openOrder."


def test_another_clients_order_does_not_get_an_owner_by_its_ref(middle):
    data = order_message("openOrder", 17, orderRef="a/k", permId=5, clientId=2)
    assert middle.topic_of("openOrder", **data) == "ord.ext.~5.openOrder."


def test_a_bound_order_is_published_under_ext(middle):
    assert middle.topic_of("orderBound", permId=5, clientId=0, orderId=-1) == "ord.ext.~5.orderBound."


# What-if


MARGINS = {"orderState": {"status": "PreSubmitted", "initMarginAfter": "1000.5"}}


def test_the_answer_to_a_what_if_goes_to_who_asked_and_is_no_order(middle):
    middle.ask("whatIfOrder", "a", 1, contract=AAPL, order=LIMIT)
    number = middle.last_id()
    answer = order_message("openOrder", number) | MARGINS
    assert middle.topic_of("openOrder", **answer) == "req.a.1.openOrder."
    assert len(middle.tracker) == 0
    assert middle.topic_of("openOrder", **answer) == f"req.~{number}.openOrder.", "nor is a second one"
    assert middle.state("ord.") == {}
    assert len(middle.orders) == 0


def test_another_clients_order_with_the_number_of_a_what_if_is_not_its_answer(middle):
    middle.ask("whatIfOrder", "a", 1, contract=AAPL, order=LIMIT)
    number = middle.last_id()
    foreign = order_message("openOrder", number, clientId=9, permId=77)
    assert middle.topic_of("openOrder", **foreign) == "ord.ext.~77.openOrder."
    assert middle.topic_of("openOrder", **(order_message("openOrder", number) | MARGINS)) == "req.a.1.openOrder."


def what_if_answers(middle):
    return [heard.data for heard in middle.published if heard.topic == "req.a.1.openOrder."]


def test_the_answer_to_a_what_if_is_the_one_with_margins_whatever_tws_says_before(middle):
    middle.ask("whatIfOrder", "a", 1, contract=AAPL, order=LIMIT)
    number = middle.last_id()
    bare = order_message("openOrder", number) | {"orderState": {"status": "PreSubmitted", "initMarginAfter": ""}}
    for _ in range(2):
        assert middle.topic_of("openOrder", **bare) == f"req.~{number}.openOrder.", "published, as no answer"
    whole = order_message("openOrder", number) | MARGINS
    middle.hear("openOrder", **whole)
    middle.hear("openOrder", **bare)
    assert [each["orderState"] for each in what_if_answers(middle)] == [MARGINS["orderState"]]
    for _ in range(60):
        middle.pass_time(1)
    assert len(what_if_answers(middle)) == 1


@pytest.mark.parametrize("end", ["time", "connection"])
def test_a_what_if_of_which_tws_says_no_margins_is_answered_by_what_it_says(middle, end):
    middle.ask("whatIfOrder", "a", 1, contract=AAPL, order=LIMIT)
    middle.hear("openOrder", **order_message("openOrder", middle.last_id()))
    assert what_if_answers(middle) == []
    if end == "connection":
        middle.reconnect()
    for _ in range(7):
        middle.pass_time(1)
    assert len(what_if_answers(middle)) == 1
    assert [each for each in middle.published if each.body["type"] == "error"] == []
    assert len(middle.tracker) == 0


@pytest.mark.parametrize("code", [110, 201, 321, 413, 434, 999])
def test_a_refused_what_if_is_told_to_who_asked(middle, code):
    middle.ask("whatIfOrder", "a", 1, contract=AAPL, order=LIMIT)
    heard = middle.error(middle.last_id(), code)
    assert (heard.topic, heard.data["ends"]) == ("req.a.1.error.", True)
    assert len(middle.tracker) == 0


# Executions; test_order_router.py has more


def fill(number, exec_id="0001.01", **about):
    execution = {"execId": exec_id, "orderId": number, "clientId": 1, "shares": 1.0, **about}
    return {"contract": AAPL, "execution": execution}


def commission(middle, exec_id="0001.01"):
    report = {"execId": exec_id, "commissionAndFees": 1.0}
    return middle.topic_of("commissionAndFeesReport", commissionAndFeesReport=report)


def test_a_live_fill_goes_to_the_orders_owner_and_so_does_its_commission(middle):
    number = middle.place("k")
    heard = middle.hear("execDetails", reqId=-1, **fill(number))
    assert heard is not None
    assert heard.topic == "exec.a.execDetails."
    assert heard.body["ref"] == {"owner": "a", "key": "k", "orderId": number}
    assert commission(middle) == "exec.a.commissionAndFeesReport."
    assert middle.published[-1].body["ref"] == heard.body["ref"]


def test_a_fill_of_an_order_of_another_goes_to_ext(middle):
    assert middle.topic_of("execDetails", reqId=-1, **fill(17, clientId=9)) == "exec.ext.execDetails."
    assert commission(middle) == "exec.ext.commissionAndFeesReport."


def test_executions_are_forgotten_in_time(middle, monkeypatch):
    monkeypatch.setattr(executions, "MOST_EXECUTIONS", 10)
    number = middle.place("k")
    for each in range(20):
        middle.hear("execDetails", reqId=-1, **fill(number, f"{each}.01"))
    assert commission(middle, "19.01") == commission(middle, "10.01") == "exec.a.commissionAndFeesReport."
    assert commission(middle, "9.01") == "exec.a.commissionAndFeesReport.", "the journal has what memory has not"
    report = {"execId": "30.01", "commissionAndFees": 1.0}
    assert middle.hear("commissionAndFeesReport", commissionAndFeesReport=report) is None, "its execution may come"


def test_a_commission_without_an_exec_id_goes_to_ext(middle):
    assert commission(middle, "") == "exec.ext.commissionAndFeesReport."


def test_executions_that_were_asked_for_go_to_who_asked(middle):
    number = middle.place("k")
    middle.hear("execDetails", reqId=-1, **fill(number))
    assert commission(middle) == "exec.a.commissionAndFeesReport."
    middle.ask("reqExecutions", "b", 5)
    asked = middle.last_id()
    assert middle.topic_of("execDetails", reqId=asked, **fill(number)) == "req.b.5.execDetails."
    assert commission(middle) == "req.b.5.commissionAndFeesReport."
    assert middle.topic_of("execDetailsEnd", reqId=asked) == "req.b.5.execDetailsEnd."


# Accounts


@pytest.mark.parametrize(
    ("name", "data", "topic"),
    [
        ("updateAccountValue", {"accountName": "DU1", "key": "Cash"}, "acct.DU1.updateAccountValue."),
        ("updatePortfolio", {"accountName": "DU1", "contract": AAPL}, "acct.DU1.updatePortfolio."),
        ("updateAccountTime", {"timeStamp": "12:00"}, "acct.all.updateAccountTime."),
        ("accountDownloadEnd", {"accountName": "DU1"}, "acct.DU1.accountDownloadEnd."),
        ("position", {"account": "DU1", "contract": AAPL}, "acct.DU1.position."),
        ("positionEnd", {}, "acct.all.positionEnd."),
    ],
)
def test_account_messages_go_to_their_account(middle, name, data, topic):
    assert middle.topic_of(name, **data) == topic


def test_profit_and_loss_goes_to_the_account_that_was_asked_for_and_says_for_what(middle):
    result = middle.ask("reqPnLSingle", account="DU1", conid=265598, modelCode="")
    heard = middle.hear("pnlSingle", reqId=middle.last_id())
    assert heard is not None
    assert heard.topic == "acct.DU1.pnlSingle."
    assert heard.topic.startswith(result["topic"])
    assert heard.body["ref"] == {"account": "DU1", "conid": 265598, "modelCode": ""}


def test_the_end_of_a_summary_goes_to_all_and_says_whose_request_it_was(middle):
    result = middle.ask("reqAccountSummary", "a", 3, groupName="All", tags="NetLiquidation")
    number = middle.last_id()
    row = middle.topic_of("accountSummary", reqId=number, account="DU1", tag="NetLiquidation", currency="USD")
    end = middle.hear("accountSummaryEnd", reqId=number)
    assert end is not None
    assert (row, end.topic) == ("acct.DU1.accountSummary.", "acct.all.accountSummaryEnd.")
    assert end.body["ref"] == {"client": "a", "id": 3}
    assert row.startswith(result["topic"])


# State


def test_the_state_of_a_stream_is_its_last_tick_of_each_type(middle):
    number = middle.subscribe()
    for price, tick_type in [(1.0, 1), (2.0, 2), (3.0, 1)]:
        middle.tick(number, price, tick_type)
    (state,) = middle.state("md.").values()
    assert sorted((heard.data["tickType"], heard.data["price"]) for heard in state) == [(1, 3.0), (2, 2.0)]


def test_a_position_is_replaced_by_its_contract_and_not_by_its_spelling(middle):
    for size, extra in [(1.0, {}), (2.0, {"localSymbol": "AAPL"}), (0.0, {"exchange": ""})]:
        middle.hear("position", account="DU1", contract={**AAPL, "conId": 265598, **extra}, position=size)
    middle.hear("position", account="DU1", contract={**MSFT, "conId": 272093}, position=5.0)
    (state,) = middle.state("acct.DU1.").values()
    assert sorted(heard.data["position"] for heard in state) == [0.0, 5.0]


def test_events_have_no_state(middle):
    number = middle.place("k")
    middle.hear("execDetails", reqId=-1, **fill(number))
    commission(middle)
    middle.error(number)
    middle.error(-1)
    assert [heard.topic for each in middle.state().values() for heard in each] == ["ord.a.k.orderState."]


def test_the_state_of_a_cancelled_stream_is_gone_and_late_ticks_do_not_bring_it_back(middle):
    number = middle.subscribe("a", 1)
    middle.tick(number)
    middle.cancel("cancelMktData", 1)
    assert middle.tick(number, 2.0).topic == "md.AAPL-STK-SMART-USD.tickPrice."
    middle.hear("tickSize", reqId=number, tickType=0, size=1.0)  # of a type that had not come before
    assert middle.state("md.") == {"md.AAPL-STK-SMART-USD.": []}
    again = middle.subscribe("a", 3)
    middle.tick(again, 3.0)
    assert middle.tick(number, 4.0).topic == f"md.~{number}.tickPrice.", "a late tick reaches nobody as a new one"
    state = middle.state("md.AAPL-STK-SMART-USD.")["md.AAPL-STK-SMART-USD."]
    assert [heard.data["price"] for heard in state] == [3.0]
    assert middle.state(f"md.~{number}.") == {f"md.~{number}.": []}, "and leaves nothing behind"


def test_one_of_two_requests_for_an_instrument_leaves_the_other_its_state(middle):
    first = middle.subscribe("a", 1)
    second = middle.subscribe("b", 1, genericTickList="233")
    middle.tick(first, 1.0, 1)
    middle.tick(second, 2.0, 2)
    middle.cancel("cancelMktData", 1)
    (state,) = middle.state("md.").values()
    assert {heard.data["tickType"] for heard in state} == {1, 2}
    middle.tick(second, 5.0, 1)
    (state,) = middle.state("md.").values()
    assert {(heard.data["tickType"], heard.data["price"]) for heard in state} == {(1, 5.0), (2, 2.0)}


def test_a_stream_that_ended_in_an_error_has_no_state(middle):
    number = middle.subscribe()
    middle.tick(number)
    middle.error(number, 354)
    assert middle.state("md.") == {"md.AAPL-STK-SMART-USD.": []}


def test_one_shots_leave_nothing_behind(middle, monkeypatch):
    monkeypatch.setattr(tracker, "MOST_ENDED", 10)
    for number in range(100):
        middle.ask("reqContractDetails", "a", number, contract=AAPL)
        middle.hear("contractDetails", reqId=middle.last_id(), contractDetails={"contract": AAPL})
        middle.hear("contractDetailsEnd", reqId=middle.last_id())
        middle.error(middle.last_id(), 200)
        middle.subscribe("a", f"s{number}", snapshot=True)
        middle.tick(middle.last_id())
        middle.hear("tickSnapshotEnd", reqId=middle.last_id())
    (stream,) = middle.streams._streams.values()
    assert len(stream.channels) == 0
    assert sum(len(channels) for channels in middle.tracker.channels.values()) <= 10 * 3


def test_late_profit_and_loss_of_a_cancelled_stream_is_no_state(middle):
    middle.ask("reqPnL", "a", 1, account="DU1", modelCode="")
    number = middle.last_id()
    middle.hear("pnl", reqId=number, dailyPnL=5.0)
    middle.cancel("cancelPnL", 1)
    assert middle.topic_of("pnl", reqId=number, dailyPnL=6.0) == "acct.DU1.pnl."
    assert middle.state("acct.") == {"acct.DU1.": []}


@pytest.mark.parametrize(
    ("request_", "answer", "more"), [("reqPnL", "pnl", {}), ("reqPnLSingle", "pnlSingle", {"conid": 7})]
)
def test_profit_and_loss_of_before_a_reconnection_is_replaced_by_that_of_after(middle, request_, answer, more):
    middle.ask(request_, "a", 1, account="DU1", modelCode="", **more)
    middle.ask(request_, "a", 2, account="DU1", modelCode="M", **more)
    for gen in (1, 2):
        for number in (middle.last_id() - 1, middle.last_id()):
            middle.hear(answer, reqId=number, dailyPnL=float(gen))
        (state,) = middle.state("acct.").values()
        told = [(heard.body["ref"]["modelCode"], heard.data["dailyPnL"], heard.body.get("flags")) for heard in state]
        assert sorted(told) == [("", gen, None), ("M", gen, None)]
        middle.reconnect()


def test_late_positions_after_the_last_cancel_are_no_state_and_are_when_asked_for_again(middle):
    position = {"account": "DU1", "contract": {**AAPL, "conId": 1}, "position": 5.0}
    middle.ask("reqPositions", "a", 1)
    middle.hear("position", **position)
    middle.ask("cancelPositions", "a", 2)
    assert middle.topic_of("position", **position) == "acct.DU1.position."
    assert middle.state("acct.") == {"acct.DU1.": []}
    middle.ask("reqPositions", "a", 3)
    middle.hear("position", **position)
    (state,) = middle.state("acct.").values()
    assert [heard.data["position"] for heard in state] == [5.0]


@pytest.mark.parametrize("first", ["DU1", ""])
def test_whoever_goes_over_to_another_account_leaves_no_state_of_that_of_before(middle, first):
    def value(account):
        middle.hear("updateAccountValue", accountName=account, key="NetLiquidation", val="1", currency="USD")

    middle.ask("reqAccountUpdates", "a", 1, subscribe=True, acctCode=first)
    value("DU1")
    middle.ask("reqAccountUpdates", "a", 2, subscribe=True, acctCode="DU2")
    value("DU2")
    assert {name: len(state) for name, state in middle.state("acct.").items()} == {"acct.DU1.": 0, "acct.DU2.": 1}
    middle.link.take()
    middle.reconnect()
    assert [sent.data["acctCode"] for sent in middle.link.take()] == ["DU2"]


def test_events_leave_nothing_behind_but_the_state_of_their_order_however_many_orders_they_are_of(middle):
    for number in range(50):
        order = middle.place(f"k{number}")
        middle.error(order, 201)
        middle.hear("execDetails", reqId=-1, **fill(order, f"x{number}"))
        commission(middle, f"x{number}")
        middle.ask("reqExecutions", "a", f"e{number}", execFilter={})
        middle.hear("execDetails", reqId=middle.last_id(), **fill(order, f"x{number}"))
        commission(middle, f"x{number}")
        middle.hear("execDetailsEnd", reqId=middle.last_id())
    assert {name: len(stream.channels) for name, stream in middle.streams._streams.items()} == {
        b"ord.a.": 50, b"exec.a.": 0, b"req.a.": 0,
    }  # fmt: skip


def test_numbers_of_an_old_connection_mean_nothing_on_a_new_one(middle):
    number = middle.subscribe()
    middle.reconnect()
    assert middle.tick(number).topic == f"md.~{number}.tickPrice."
    assert middle.tick(middle.last_id()).topic == "md.AAPL-STK-SMART-USD.tickPrice."


# Every declaration


def test_every_message_has_a_place_without_any_request():
    for name, declaration in MESSAGES.items():
        middle = Middle()
        heard = middle.hear(name)
        assert heard is not None, name
        assert heard.topic.endswith(f".{name}.")
        assert heard.topic.split(".")[0] in ("md", "ord", "exec", "acct", "req", "news", "sys")
        identified = [each for stream in middle.state().values() for each in stream]
        assert (heard in identified) is (declaration.identity is not None), name
