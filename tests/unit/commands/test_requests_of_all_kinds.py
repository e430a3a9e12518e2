"""Requests that are no plain one-shots or streams: what each needs of the daemon beyond an id and a topic."""

from __future__ import annotations

import pytest

from ibbridge.codec.messages import REQUESTS
from ibbridge.requests.request import CommandId
from tests.support.daemon_core import AAPL, FIRST_ID, LIMIT, Middle, refusal

OPTION = {**AAPL, "secType": "OPT", "lastTradeDateOrContractMonth": "20261218", "strike": 200.0, "right": "C"}
EXERCISE = {"contract": OPTION, "exerciseAction": 1, "exerciseQuantity": 2}


@pytest.fixture
def middle():
    return Middle()


# An exercise of options is an order


def test_an_exercise_has_a_key_and_is_known_by_it(middle):
    result = middle.ask("exerciseOptions", key="k", **EXERCISE)
    assert result == {
        "key": "k",
        "orderId": FIRST_ID,
        "topic": "ord.a.k.",
        "executions": "exec.a.",
        "topics": ["ord.a.k.", "exec.a."],
    }
    assert middle.link.take()[0].data["reqId"] == FIRST_ID
    assert middle.ask("exerciseOptions", key="k", **EXERCISE)["dup"]
    assert not middle.link.take()
    assert middle.topic_of("orderStatus", orderId=FIRST_ID, clientId=1, permId=7) == "ord.a.k.orderStatus."
    assert middle.topic_of("error", reqId=FIRST_ID, errorCode=322) == "ord.a.k.error."


def test_the_same_key_is_never_an_order_and_an_exercise(middle):
    middle.place("k")
    refusal("E_KEY_REUSED", middle.ask, "exerciseOptions", key="k", **EXERCISE)
    middle.ask("exerciseOptions", key="k2", **EXERCISE)
    refusal("E_KEY_REUSED", middle.place, "k2")


def test_an_exercise_needs_a_key_and_gives_no_number(middle):
    assert "key is missing" in str(refusal("E_ARG", middle.ask, "exerciseOptions", **EXERCISE))
    assert "the daemon's to give" in str(refusal("E_ARG", middle.ask, "exerciseOptions", key="k", reqId=4, **EXERCISE))
    assert not len(middle.orders)


def test_a_key_is_of_one_command(middle):
    same = {"contract": OPTION, "order": LIMIT}
    middle.ask("placeOrder", key="k", **same)
    refusal("E_KEY_REUSED", middle.ask, "exerciseOptions", key="k", **same)
    middle.ask("exerciseOptions", key="x", **EXERCISE)
    refusal("E_KEY_REUSED", middle.ask, "placeOrder", key="x", **EXERCISE)


def test_two_keys_in_one_command_are_one_too_many(middle):
    for name, args in (("placeOrder", {"contract": AAPL, "order": LIMIT}), ("exerciseOptions", EXERCISE)):
        command = {"id": name, "cmd": name, "client": "a", "key": "one", "args": {**args, "key": "two"}}
        assert "key is given twice" in middle.call(command)["error"]["message"]
    assert not middle.link.take()


@pytest.mark.parametrize("name", ["placeOrder", "exerciseOptions"])
def test_a_key_that_no_order_ref_holds_is_refused(middle, name):
    args = EXERCISE if name == "exerciseOptions" else {"contract": AAPL, "order": LIMIT}
    assert "may have 40 characters" in str(refusal("E_ARG", middle.ask, name, key="k" * 39, **args))
    middle.ask(name, key="k" * 38, **args)


def test_an_exercise_that_is_refused_leaves_its_key_free(middle):
    refusal("E_ARG", middle.ask, "exerciseOptions", key="k", **{**EXERCISE, "exerciseQuantity": "two"})
    assert middle.ask("exerciseOptions", key="k", **EXERCISE)["orderId"] == FIRST_ID


def test_an_exercise_names_the_account_where_there_are_several(middle):
    middle.session.accounts = ("DU1", "DU2")
    error = refusal("E_ARG", middle.ask, "exerciseOptions", key="k", **EXERCISE)
    assert "account is missing: one of DU1, DU2" in str(error)
    middle.ask("exerciseOptions", key="k", account="DU2", **EXERCISE)


def test_an_exercise_waits_for_ibs_servers_as_any_order_does(middle):
    middle.session.upstream = "lost"
    refusal("E_NOT_CONNECTED", middle.ask, "exerciseOptions", key="k", **EXERCISE)


def test_an_exercise_is_cancelled_by_its_key(middle):
    middle.ask("exerciseOptions", key="k", **EXERCISE)
    middle.ask("cancelOrder", key="k")
    assert middle.link.take()[-1].data["orderId"] == FIRST_ID


# Display groups


def test_a_display_group_is_changed_through_the_subscription_to_it(middle):
    middle.ask("subscribeToGroupEvents", id=1, groupId=4)
    number = middle.last_id()
    change = {"id": 1, "contractInfo": "265598@SMART"}
    middle.requests.execute("updateDisplayGroup", change, CommandId("a", 2), None)
    assert middle.link.take()[-1].data == {"reqId": number, "contractInfo": "265598@SMART"}


@pytest.mark.parametrize(
    ("args", "fault"),
    [
        ({"contractInfo": "x"}, "id is missing"),
        ({"id": 9, "contractInfo": "x"}, "no subscribeToGroupEvents with the command id 9"),
        ({"id": 1}, "contractInfo is missing"),
        ({"id": 1, "contractInfo": "x", "reqId": 4}, "'reqId' is not needed"),
    ],
)
def test_what_is_wrong_with_a_change_of_a_display_group_is_said(middle, args, fault):
    middle.ask("subscribeToGroupEvents", id=1, groupId=4)
    carry_out = middle.requests.execute
    assert fault in str(refusal("E_ARG", carry_out, "updateDisplayGroup", args, CommandId("a", 2), None))


def test_an_error_about_a_change_does_not_end_the_subscription(middle):
    middle.ask("subscribeToGroupEvents", id=1, groupId=4)
    number = middle.last_id()
    middle.requests.execute("updateDisplayGroup", {"id": 1, "contractInfo": "?"}, CommandId("a", 2), None)
    assert middle.error(number, 321).data["ends"] is None
    middle.link.take()
    middle.cancel("unsubscribeFromGroupEvents", 1)
    assert [each.name for each in middle.link.take()] == ["unsubscribeFromGroupEvents"]


def test_a_change_that_was_not_sent_excuses_no_error(middle):
    middle.ask("subscribeToGroupEvents", id=1, groupId=4)
    number = middle.last_id()
    refusal("E_ARG", middle.requests.execute, "updateDisplayGroup", {"id": 1}, CommandId("a", 2), None)
    assert middle.error(number, 321).data["ends"] is True


def test_a_subscription_that_has_ended_cannot_be_changed(middle):
    middle.ask("subscribeToGroupEvents", id=1, groupId=99)
    assert middle.error(middle.last_id(), 321).data["ends"] is True
    change = {"id": 1, "contractInfo": "none"}
    error = refusal("E_ARG", middle.requests.execute, "updateDisplayGroup", change, CommandId("a", 2), None)
    assert "has ended" in str(error)


# News


def test_bulletins_are_everyones_and_end_with_the_last_who_wants_them(middle):
    assert middle.ask("reqNewsBulletins", "a", allMsgs=True)["topic"] == "news.bulletin."
    assert middle.ask("reqNewsBulletins", "b")["topic"] == "news.bulletin."
    assert middle.topic_of("updateNewsBulletin", msgId=1) == "news.bulletin.updateNewsBulletin."
    middle.link.take()
    middle.ask("cancelNewsBulletins", "a")
    assert not middle.link.take()
    middle.ask("cancelNewsBulletins", "b")
    assert [each.name for each in middle.link.take()] == ["cancelNewsBulletins"]


def test_bulletins_are_asked_for_again_on_a_new_connection(middle):
    middle.ask("reqNewsBulletins", "a", allMsgs=True)
    middle.link.take()
    middle.reconnect()
    assert [each.name for each in middle.link.take()] == ["reqNewsBulletins"]


def test_bulletins_are_given_up_without_a_connection_too(middle):
    middle.ask("reqNewsBulletins", "a")
    middle.lost()
    assert middle.ask("cancelNewsBulletins", "a") == {}
    middle.link.take()
    middle.connect()
    assert not middle.link.take()
    carry_out = middle.requests.execute
    error = refusal("E_ARG", carry_out, "cancelNewsBulletins", {"id": 1}, CommandId("a", 2), None)
    assert "takes no arguments" in str(error)


@pytest.mark.parametrize(
    ("tape", "topic"),
    [
        ({"exchange": "bulletin"}, "news.~bulletin."),
        ({"symbol": "DJNL:DJNL_ALL"}, "news.DJNL."),
        ({"symbol": "BZ:BZ_ALL", "exchange": "BZ"}, "news.BZ."),
        ({"symbol": "BZ:BZ_ALL", "exchange": "NEWS"}, "news.BZ."),
        ({"symbol": "BZ:BZ_ALL", "exchange": "NEWS", "secType": "News"}, "news.BZ."),
        ({"symbol": "BZ:BZ_ALL", "exchange": "News", "secType": "news", "localSymbol": "BZ:BZ_ALL"}, "news.BZ."),
        ({"localSymbol": "BZ:BZ_ALL", "exchange": "SMART"}, "news.BZ."),
        ({"symbol": "BZ", "exchange": ""}, "news.BZ."),
        ({"conId": 7, "exchange": "NEWS"}, "md.7@NEWS."),
        ({}, "md.-NEWS."),
    ],
)
def test_a_tape_has_a_topic_of_its_own_whatever_it_is_called(middle, tape, topic):
    assert middle.ask("reqMktData", id=7, contract={"secType": "NEWS", **tape})["topic"] == topic


def test_a_snapshot_of_a_tape_is_for_who_asked(middle):
    tape = {"symbol": "BRFG:BRFG_ALL", "secType": "NEWS", "exchange": "BRFG"}
    assert middle.ask("reqMktData", id=7, contract=tape, snapshot=True)["topic"] == "req.a.7."


def test_a_providers_tape_is_published_under_the_provider(middle):
    tape = {"symbol": "BRFG:BRFG_ALL", "secType": "NEWS", "exchange": "BRFG"}
    assert middle.ask("reqMktData", contract=tape, genericTickList="mdoff,292")["topic"] == "news.BRFG."
    assert middle.topic_of("tickNews", tickerId=middle.last_id()) == "news.BRFG.tickNews."


def test_headlines_of_an_instrument_are_published_with_its_ticks(middle):
    middle.subscribe(genericTickList="292")
    assert middle.topic_of("tickNews", tickerId=middle.last_id()) == "md.AAPL-STK-SMART-USD.tickNews."


# Answers that repeat what was asked


def test_an_answer_without_an_id_goes_to_who_asked_for_just_that(middle):
    middle.ask("reqMarketRule", id=1, marketRuleId=26)
    middle.ask("reqMarketRule", id=2, marketRuleId=240)
    assert middle.topic_of("marketRule", marketRuleId=240) == "req.a.2.marketRule."
    assert middle.topic_of("marketRule", marketRuleId=26) == "req.a.1.marketRule."
    assert middle.topic_of("marketRule", marketRuleId=26) == "sys.tws.marketRule.", "nobody waits any more"


def test_a_rule_that_never_comes_holds_up_no_other(middle):
    middle.ask("reqMarketRule", id=1, marketRuleId=999_999)  # TWS answers with an error that has no id
    middle.ask("reqMarketRule", id=2, marketRuleId=26)
    assert middle.topic_of("marketRule", marketRuleId=26) == "req.a.2.marketRule."


@pytest.mark.parametrize(
    ("name", "end", "args"),
    [
        ("reqAllOpenOrders", "openOrderEnd", {}),
        ("reqCompletedOrders", "completedOrdersEnd", {"apiOnly": False}),
        ("requestFA", "receiveFA", {"faData": 1}),
    ],
)
def test_an_answer_that_began_before_the_question_is_none(middle, name, end, args):
    middle.ask(name, "a", 1, **args)
    middle.ask(name, "b", 1, **args)
    assert [middle.topic_of(end, **args) for _ in range(2)] == [f"req.a.1.{end}.", f"req.b.1.{end}."]


def test_an_answer_that_does_not_change_is_for_all_who_wait(middle):
    middle.ask("reqFamilyCodes", "a", 1)
    middle.ask("reqFamilyCodes", "b", 1)
    middle.hear("familyCodes", familyCodes=[])
    assert [each.topic for each in middle.published] == ["req.a.1.familyCodes.", "req.b.1.familyCodes."]


# Errors on a stream that clients share


def test_an_error_on_a_shared_stream_says_whose_request_it_is_about(middle):
    middle.subscribe("a", 1)
    number = middle.subscribe("b", 2, genericTickList="99999")
    heard = middle.error(number, 321)
    assert heard.topic == "md.AAPL-STK-SMART-USD.error."
    assert heard.body["ref"] == {"client": "b", "id": 2, "holders": [{"client": "b", "id": "2"}]}


# Requests that TWS keeps after its answer


@pytest.mark.parametrize(
    ("name", "args", "answer"),
    [
        ("reqHeadTimeStamp", {"whatToShow": "TRADES"}, "headTimestamp"),
        ("calculateImpliedVolatility", {"optionPrice": 5.0, "underPrice": 200.0}, "tickOptionComputation"),
        ("calculateOptionPrice", {"volatility": 0.3, "underPrice": 200.0}, "tickOptionComputation"),
    ],
)
@pytest.mark.parametrize("version", [178, 226])
def test_what_tws_would_keep_is_cancelled_when_it_is_answered(name, args, answer, version):
    middle = Middle(version)
    middle.ask(name, id=1, contract=OPTION, **args)
    number = middle.last_id()
    middle.link.take()
    assert middle.topic_of(answer, reqId=number) == f"req.a.1.{answer}."
    cancel = next(each.name for each in REQUESTS.values() if each.cancels == name)
    assert [(each.name, each.data["reqId"]) for each in middle.link.take()] == [(cancel, number)]
    assert middle.topic_of(answer, reqId=number) == f"req.a.1.{answer}.", "one that was under way"
    assert not middle.link.take()


def test_an_option_that_is_computed_is_told_from_one_that_streams(middle):
    middle.ask("reqMktData", id=1, contract=OPTION)
    number = middle.last_id()
    middle.link.take()
    for _ in range(2):
        topic = middle.topic_of("tickOptionComputation", reqId=number, tickType=13)
        assert topic == "md.AAPL-OPT-SMART-USD-20261218-200-C.tickOptionComputation."
    assert not middle.link.take()


# An id deep in the arguments


def test_the_hosts_configuration_is_asked_for_under_an_id_of_the_daemons(middle):
    assert middle.ask("reqConfig", id="c")["topic"] == "req.a.c."
    assert middle.link.take()[0].data == {"configRequestProto": {"reqId": FIRST_ID}}
    answer = {"reqId": FIRST_ID, "messages": [{"id": 3}]}
    assert middle.topic_of("configResponse", configResponseProto=answer) == "req.a.c.configResponse."
    assert not len(middle.tracker)
    assert middle.topic_of("configResponse", configResponseProto={}) == "req.~None.configResponse."


@pytest.mark.parametrize(
    ("args", "fault"),
    [
        ({"configRequestProto": {"reqId": 5}}, "the daemon's to give"),
        ({"configRequestProto": 5}, "configRequestProto must be a map, not 5"),
        ({"configRequestProto": {"x": 5}}, "configRequestProto.x is unknown"),
    ],
)
def test_what_is_wrong_with_such_arguments_is_said(middle, args, fault):
    assert fault in str(refusal("E_ARG", middle.ask, "reqConfig", **args))
