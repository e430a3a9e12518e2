"""The client library, against a daemon of two plain sockets that says exactly what a test wants it to say."""

from __future__ import annotations

import inspect
import os
import threading
import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import ib_async
import msgpack
import pytest
import zmq

from ibbridge.client import (
    BridgeError,
    Client,
    CommandError,
    Down,
    Feed,
    Gap,
    Message,
    NoAnswer,
    Record,
    Restart,
    Up,
    connect,
    endpoints,
    forex,
    future,
    limit,
    market,
    option,
    stock,
    stop,
)
from ibbridge.client import request as requests
from ibbridge.client.commands import Command
from ibbridge.client.message import known_types
from ibbridge.codec import Dialect
from ibbridge.codec.messages import MESSAGES, REQUESTS
from ibbridge.config.model import BusConfig
from tests.support.daemon_core import Middle
from tests.support.fake_daemon import HEARTBEAT, FakeDaemon, Refusal, body

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Iterator

PATIENCE = 20.0  # seconds after which a test gives up on what must come
AT_ONCE = 0.05  # seconds after which what must not come has not come


@pytest.fixture
def daemon(tmp_path: pathlib.Path) -> Iterator[FakeDaemon]:
    fake = FakeDaemon(tmp_path)
    yield fake
    fake.stop()


@pytest.fixture(autouse=True)
def _nothing_is_sent_again_because_the_machine_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that counts what was sent counts on it; what is about sending again says so."""
    monkeypatch.setattr("ibbridge.client.commands.RETRY", PATIENCE)


@pytest.fixture
def ib(daemon: FakeDaemon) -> Iterator[Client]:
    with connect("me", daemon.pub, daemon.rep, timeout=PATIENCE) as client:
        yield client


def ticks(daemon: FakeDaemon, topic: str = "md.AAPL-STK-SMART-USD.") -> None:
    daemon.answers["reqMktData"] = lambda _, __: {"topic": topic}


def received(ib: Client) -> Message:
    message = ib.receive(PATIENCE)
    assert message is not None, "no message came"
    return message


# Connecting


def test_the_defaults_are_those_of_the_configuration() -> None:
    configured = BusConfig()
    assert (configured.pub, configured.rep) == (endpoints.defaults("pub"), endpoints.defaults("rep"))


def test_connecting_subscribes_to_what_concerns_the_client_and_asks_whether_anybody_is_there(
    ib: Client, daemon: FakeDaemon
) -> None:
    assert daemon.subscribed == {"req.me.", "ord.me.", "exec.me.", "sys.", "sys.bridge.heartbeat."}
    assert [each["cmd"] for each in daemon.requests if each["cmd"] != "snapshot"] == ["ping", "status", "status"]


def test_without_a_daemon_connecting_says_what_to_look_at(tmp_path: pathlib.Path) -> None:
    with pytest.raises(NoAnswer, match=r"Is ibbridge running") as refused:
        connect("me", f"ipc://{tmp_path}/pub", f"ipc://{tmp_path}/rep", timeout=AT_ONCE)
    assert refused.value.outcome == "not_sent"


def test_without_a_connection_to_tws_connecting_says_what_the_daemon_is_stuck_at(
    daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait_for_tws = Client.wait_for_tws
    monkeypatch.setattr(Client, "wait_for_tws", lambda ib, timeout: wait_for_tws(ib, min(timeout, AT_ONCE)))
    daemon.answers["status"] = lambda _, __: {"tws": {"stage": "connecting", "lastError": "connection refused"}}
    with pytest.raises(NoAnswer, match=r"connecting: connection refused"):
        connect("me", daemon.pub, daemon.rep, timeout=PATIENCE)
    connect("me", daemon.pub, daemon.rep, timeout=PATIENCE, tws=False).close()


def test_connecting_waits_until_the_daemon_is_connected_to_tws(daemon: FakeDaemon) -> None:
    stages = iter(["down", "connecting"])

    def status(fake: FakeDaemon, _: dict[str, Any]) -> dict[str, Any]:
        fake.say("sys.tws.connection.", data={"stage": "?"})
        return {"tws": {"stage": next(stages, "ready")}}

    daemon.answers["status"] = status
    with connect("me", daemon.pub, daemon.rep, timeout=PATIENCE) as ib:
        assert received(ib).type == "connection"  # seen while waiting, and not lost


def test_waiting_for_tws_ends_although_another_thread_takes_the_news(daemon: FakeDaemon) -> None:
    with connect("me", daemon.pub, daemon.rep, timeout=PATIENCE) as ib:
        stages = iter(["down", "connecting"])  # and no message says so to this thread
        daemon.answers["status"] = lambda _, __: {"tws": {"stage": next(stages, "ready")}}
        ib.wait_for_tws(3600.0)


def test_endpoints_of_two_daemons_are_refused(daemon: FakeDaemon, tmp_path: pathlib.Path) -> None:
    other = FakeDaemon(tmp_path, epoch=8, name="2")
    try:
        with pytest.raises(BridgeError, match="two different daemons"):
            connect("me", daemon.pub, other.rep, timeout=PATIENCE)
    finally:
        other.stop()


def test_another_protocol_is_refused(tmp_path: pathlib.Path) -> None:
    daemon = FakeDaemon(tmp_path, proto=2)
    try:
        with pytest.raises(BridgeError, match="speaks protocol 2, this library 1"):
            connect("me", daemon.pub, daemon.rep, timeout=PATIENCE)
    finally:
        daemon.stop()


@pytest.mark.parametrize("name", ["", "x" * 33, "é", "a\nb", "a/b"])
def test_a_client_name_that_the_daemon_would_refuse_is_refused_here(name: str) -> None:
    with pytest.raises(ValueError, match="a name has"):
        connect(name)


def test_an_endpoint_that_is_none_is_named() -> None:
    with pytest.raises(BridgeError, match=r"pub='nowhere'"):
        connect("me", "nowhere")


# Requests


def test_every_request_of_ibs_is_a_method_and_shows_its_signature(ib: Client) -> None:
    assert set(REQUESTS) - {"startApi"} <= set(dir(ib))
    assert str(inspect.signature(ib.reqHistoricalData)).startswith(
        "(contract, endDateTime, durationStr, barSizeSetting, whatToShow, useRTH=None, "
    )


def test_positional_arguments_are_in_ibs_order_without_the_id(ib: Client, daemon: FakeDaemon) -> None:
    ticks(daemon)
    ib.reqMktData(stock("AAPL"), "233", False)
    sent = next(each for each in daemon.requests if each["cmd"] == "reqMktData")
    assert sent["args"] == {"contract": stock("AAPL"), "genericTickList": "233", "snapshot": False}
    assert sent["client"] == "me"


def test_keyword_arguments_have_ibs_names(ib: Client, daemon: FakeDaemon) -> None:
    daemon.answers["reqContractDetails"] = lambda _, request: {"topic": f"req.me.{request['id']}."}
    made = ib.reqContractDetails(contract=stock("AAPL"))
    assert made.topic == f"req.me.{made.id}."


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda ib: ib.reqMktData(1, stock("AAPL"), "", False), "begin with the contract"),
        (lambda ib: ib.placeOrder(1, stock("AAPL"), market("BUY", 1)), "takes"),
        (lambda ib: ib.reqPositions(1), "takes 0 positional arguments, and 1 were given"),
        (lambda ib: ib.reqMktData(stock("AAPL"), contract=stock("AAPL")), "was given contract twice"),
        (lambda ib: ib.reqMktData({"symbol": object}), "cannot be sent"),
    ],
)
def test_arguments_that_do_not_fit_are_a_type_error_that_says_so(ib: Client, call: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        call(ib)


def test_a_misspelt_request_is_an_attribute_error_that_says_what_was_meant(ib: Client) -> None:
    with pytest.raises(AttributeError, match="did you mean reqMktData"):
        ib.reqMktDta(stock("AAPL"))


def test_what_comes_before_the_reply_is_not_missed(ib: Client, daemon: FakeDaemon) -> None:
    def stream(fake: FakeDaemon, _: dict[str, Any]) -> dict[str, str]:
        fake.say("md.AAPL-STK-SMART-USD.tickPrice.", data={"tickType": 1, "price": 10.0})
        return {"topic": "md.AAPL-STK-SMART-USD."}

    daemon.answers["reqMktData"] = stream
    ib.reqMktData(stock("AAPL"))
    assert received(ib).price == 10.0


def test_all_topics_of_a_reply_are_subscribed_to(ib: Client, daemon: FakeDaemon) -> None:
    """Bars that are kept up to date: the past is the asker's own, what follows is everybody's."""
    topic = "md.AAPL-STK-SMART-USD+hist-1min-TRADES-all."

    def bars(fake: FakeDaemon, request: dict[str, Any]) -> dict[str, Any]:
        fake.say(topic + "historicalDataUpdate.")
        return {"topic": f"req.me.{request['id']}.", "topics": [f"req.me.{request['id']}.", topic]}

    daemon.answers["reqHistoricalData"] = bars
    made = ib.reqHistoricalData(stock("AAPL"), "", "1 D", "1 min", "TRADES", keepUpToDate=True)
    assert made.topics == (made.topic, topic)
    daemon.publish(topic + "historicalDataUpdate.")
    for _ in range(2):
        assert received(ib).concerns(made)
    daemon.has_no_subscriber_of("md.AAPL-STK-SMART-USD+")


def test_a_stream_of_another_kind_is_subscribed_widely_first_and_exactly_then(ib: Client, daemon: FakeDaemon) -> None:
    topic = "md.AAPL-STK-SMART-USD+depth."

    def stream(fake: FakeDaemon, _: dict[str, Any]) -> dict[str, str]:
        assert "md.AAPL-STK-SMART-USD+" in fake.subscribed
        fake.say(topic + "updateMktDepth.")
        return {"topic": topic}

    daemon.answers["reqMktDepth"] = stream
    ib.reqMktDepth(stock("AAPL"), 5)
    assert received(ib).topic == topic + "updateMktDepth."
    daemon.has_subscriber_of(topic)
    daemon.has_no_subscriber_of("md.AAPL-STK-SMART-USD+")


def test_state_that_others_have_had_for_long_comes_first(ib: Client, daemon: FakeDaemon) -> None:
    topic = "md.AAPL-STK-SMART-USD.tickPrice."

    def snapshot(fake: FakeDaemon, request: dict[str, Any]) -> dict[str, Any]:
        if request["args"] != {"prefix": "md.AAPL-STK-SMART-USD."}:
            return fake.snapshot(request)
        fake.say(topic, seq=42, data={"tickType": 2, "price": 3.0})
        held = [(7, {"tickType": 1, "price": 1.0}), (42, {"tickType": 2, "price": 3.0})]
        rows = [[topic.encode(), body(topic, seq, data=data)] for seq, data in held]
        return {"streams": [{"stream": "md.AAPL-STK-SMART-USD.", "seq": 42, "messages": rows}], "next": None}

    ticks(daemon)
    daemon.answers["snapshot"] = snapshot
    ib.reqMktData(stock("AAPL"))
    first = received(ib)
    assert (first.seq, first.flags) == (7, ("replayed",))
    assert received(ib).seq == 42
    daemon.publish(topic)
    assert received(ib).seq == 43


def test_a_name_of_the_configurations_own_is_subscribed_to_when_the_reply_gives_it(
    ib: Client, daemon: FakeDaemon
) -> None:
    ticks(daemon, "md.APPLE.")
    ib.reqMktData(stock("AAPL"))
    daemon.publish("md.APPLE.tickSize.", data={"size": 1.0})
    assert received(ib).topic == "md.APPLE.tickSize."


def test_a_cancelled_stream_is_no_longer_received(ib: Client, daemon: FakeDaemon) -> None:
    ticks(daemon)
    daemon.answers["cancelMktData"] = lambda _, __: {}
    made = ib.reqMktData(stock("AAPL"))
    again = ib.reqMktData(stock("AAPL"))
    ib.cancelMktData(made)
    ib.subscribe("later.")  # its welcome comes behind all that was unsubscribed before
    assert made.topic in daemon.subscribed
    ib.cancelMktData(again.id)
    daemon.has_no_subscriber_of(made.topic)
    assert [each["args"] for each in daemon.requests if each["cmd"] == "cancelMktData"] == [
        {"id": made.id},
        {"id": again.id},
    ]


def test_a_refusal_says_code_faults_and_outcome_and_leaves_no_subscription(ib: Client, daemon: FakeDaemon) -> None:
    def refuse(*_: Any) -> None:
        raise Refusal("E_ARG", "a is wrong; b is wrong", faults=["a is wrong", "b is wrong"], retry_after=2.0)

    daemon.answers["reqMktData"] = refuse
    with pytest.raises(CommandError, match="reqMktData: E_ARG: a is wrong; b is wrong") as refused:
        ib.reqMktData(stock("AAPL"))
    error = refused.value
    assert (error.code, error.faults, error.outcome) == ("E_ARG", ("a is wrong", "b is wrong"), "refused")
    assert error.retry_after == 2.0
    daemon.has_no_subscriber_of("md.AAPL-STK-SMART-USD.")


def test_an_empty_reply_is_an_outcome_that_nobody_knows(ib: Client, daemon: FakeDaemon) -> None:
    daemon.answers["reqPositions"] = lambda _, __: b""
    with pytest.raises(CommandError) as refused:
        ib.reqPositions()
    assert refused.value.outcome == "unknown"


def no_answer(ib: Client) -> NoAnswer:
    with pytest.raises(NoAnswer) as silent:
        ib.reqPositions()
    return silent.value


def test_no_answer_in_time_is_said_and_the_next_command_works(ib: Client, daemon: FakeDaemon) -> None:
    daemon.answers["reqPositions"] = lambda _, __: None
    ib.subscribe("acct.")
    ib.timeout = AT_ONCE
    while (silent := no_answer(ib)).outcome == "not_sent" and ib.timeout < PATIENCE:
        ib.timeout *= 2  # a busy machine has not sent it by then
    assert (silent.outcome, "did not answer" in str(silent)) == ("unknown", True)
    ib.timeout = PATIENCE
    assert ib.call("ping") == {"pong": True}


def test_a_command_that_had_no_reply_is_sent_again_with_the_same_id(
    ib: Client, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ibbridge.client.commands.RETRY", AT_ONCE)
    replies = iter([None, None])
    daemon.answers["reqMarketDataType"] = lambda _, __: next(replies, {})
    ib.reqMarketDataType(1)
    sent = [each for each in daemon.requests if each["cmd"] == "reqMarketDataType"]
    assert len(sent) >= 3
    assert all(each == sent[0] for each in sent)


def outcome_of_a_ping(ib: Client) -> str:
    with pytest.raises(NoAnswer) as silent:
        ib.call("ping")
    return silent.value.outcome


def test_a_command_for_a_daemon_that_is_gone_is_not_delivered_to_the_next(
    ib: Client, daemon: FakeDaemon, tmp_path: pathlib.Path
) -> None:
    daemon.stop()
    ib.timeout = AT_ONCE * 4
    # ZeroMQ tells the client's socket a moment later that its peer is gone: until then a command may still be sent.
    assert "not_sent" in (outcome_of_a_ping(ib) for _ in range(int(PATIENCE / ib.timeout)))
    with pytest.raises(NoAnswer) as silent:
        ib.placeOrder(stock("AAPL"), market("BUY", 1))
    assert silent.value.outcome == "not_sent"
    following = FakeDaemon(tmp_path, epoch=8)
    try:
        ib.timeout = PATIENCE
        assert ib.call("ping") == {"pong": True}
        assert [each["cmd"] for each in following.requests] == ["ping"]
    finally:
        following.stop()


# Orders


def test_an_order_without_a_key_gets_one_that_is_never_used_again(ib: Client, daemon: FakeDaemon) -> None:
    daemon.answers["placeOrder"] = lambda _, request: {"topic": f"ord.me.{request['key']}.", "orderId": 5}
    orders = [ib.placeOrder(stock("AAPL"), limit("BUY", 100, 9.5)) for _ in range(3)]
    keys = [order.key for order in orders]
    assert len(set(keys)) == 3
    assert all(key is not None and len(f"me/{key}") <= 40 for key in keys)
    assert [each["key"] for each in daemon.requests if each["cmd"] == "placeOrder"] == keys
    assert orders[0].result["orderId"] == 5


def test_an_order_is_cancelled_by_itself_or_by_its_key(ib: Client, daemon: FakeDaemon) -> None:
    daemon.answers |= {"placeOrder": lambda _, __: {"topic": "ord.me.k."}, "cancelOrder": lambda _, __: {}}
    ib.cancelOrder(ib.placeOrder(stock("AAPL"), market("BUY", 1), key="k"))
    ib.cancelOrder("k")
    assert [each["args"] for each in daemon.requests if each["cmd"] == "cancelOrder"] == [{"key": "k"}, {"key": "k"}]


def test_a_message_knows_what_it_concerns(ib: Client, daemon: FakeDaemon) -> None:
    daemon.answers["placeOrder"] = lambda _, __: {"topic": "ord.me.k."}
    order = ib.placeOrder(stock("AAPL"), market("BUY", 1), key="k")
    daemon.publish("ord.me.k.orderStatus.", data={"status": "Filled"})
    daemon.publish("exec.me.execDetails.", ref={"owner": "me", "key": "k"})
    daemon.publish("exec.me.execDetails.", ref={"owner": "me", "key": "other"})
    assert [received(ib).concerns(order) for _ in range(3)] == [True, True, False]


# Answers that come to an end


def details(fake: FakeDaemon, request: dict[str, Any]) -> dict[str, str]:
    topic = f"req.{request['client']}.{request['id']}."
    ref = {"client": request["client"], "id": request["id"]}
    fake.say(f"{topic}contractDetails.", data={"contractDetails": {"longName": "APPLE"}}, ref=ref)
    fake.say("ord.me.k.orderStatus.")
    fake.say(f"{topic}contractDetailsEnd.", ref=ref)
    return {"topic": topic}


def test_answers_end_with_the_last_and_other_messages_keep(ib: Client, daemon: FakeDaemon) -> None:
    daemon.answers["reqContractDetails"] = details
    answers = list(ib.answers(ib.reqContractDetails(stock("AAPL"))))
    assert [each.type for each in answers] == ["contractDetails", "contractDetailsEnd"]
    assert answers[0].contractDetails.longName == "APPLE"
    assert received(ib).type == "orderStatus"


def test_answers_end_with_the_error_that_says_so_and_with_no_other(ib: Client, daemon: FakeDaemon) -> None:
    def errors(fake: FakeDaemon, request: dict[str, Any]) -> dict[str, str]:
        for code, ends in ((2176, False), (10089, None), (200, True), (2176, False)):
            fake.say(f"req.me.{request['id']}.error.", data={"errorCode": code, "ends": ends})
        return {"topic": f"req.me.{request['id']}."}

    daemon.answers["reqContractDetails"] = errors
    answers = ib.answers(ib.reqContractDetails(stock("NOSUCH")))
    assert [each.errorCode for each in answers] == [2176, 10089, 200]


def test_answers_that_do_not_come_are_said_to_be_missing(ib: Client, daemon: FakeDaemon) -> None:
    daemon.answers["reqContractDetails"] = lambda _, request: {"topic": f"req.me.{request['id']}."}
    with pytest.raises(NoAnswer, match="TWS has not answered"):
        list(ib.answers(ib.reqContractDetails(stock("AAPL")), timeout=AT_ONCE))


def test_while_a_limit_holds_the_request_back_no_answer_is_due(ib: Client, daemon: FakeDaemon) -> None:
    """The answer comes late, the request was to be held for a minute; and then it is not."""

    def bars(_: FakeDaemon, request: dict[str, Any]) -> dict[str, Any]:
        topic = f"req.me.{request['id']}."

        def late() -> None:
            daemon.publish(f"{topic}historicalData.")
            daemon.publish(f"{topic}held.", data=held(0))

        threading.Timer(20 * AT_ONCE, late).start()
        return {"topic": topic, "topics": [topic], **held(60)}

    def held(seconds: float) -> dict[str, Any]:
        return {"held_until": int((time.time() + seconds) * 1e6), "held_by": "it"}

    daemon.answers["reqHistoricalData"] = bars
    answers = ib.answers(ib.reqHistoricalData(stock("AAPL"), "", "1 D", "30 secs", "TRADES"), timeout=AT_ONCE)
    assert next(answers).type == "historicalData"
    with pytest.raises(NoAnswer, match="held back by it"):
        next(answers)


@pytest.mark.parametrize(
    ("decode_errors", "answers"),
    [
        ([{"name": "historicalData", "reason": "x"}, {"name": "historicalDataEnd", "reason": "x"}], 2),
        ([{"name": "historicalData", "reason": "x", "ends": True}], 1),
        ([{"name": None, "reason": "x", "ends": True}], 1),
    ],
)
def test_an_answer_that_cannot_be_read_is_an_answer_at_once(
    ib: Client, daemon: FakeDaemon, decode_errors: list[dict[str, Any]], answers: int
) -> None:
    def unreadable(fake: FakeDaemon, request: dict[str, Any]) -> dict[str, Any]:
        for about in decode_errors:
            fake.say("sys.tws.decodeError.", ref={"client": "me", "id": request["id"]}, data=about)
        return {"topic": f"req.me.{request['id']}."}

    daemon.answers["reqHistoricalData"] = unreadable
    heard = list(ib.answers(ib.reqHistoricalData(stock("AAPL"), "", "1 D", "1 min", "TRADES")))
    assert [each.type for each in heard] == ["decodeError"] * answers


def test_a_stream_has_no_last_answer(ib: Client, daemon: FakeDaemon) -> None:
    ticks(daemon)
    with pytest.raises(ValueError, match="have no end"):
        next(ib.answers(ib.reqMktData(stock("AAPL"))))


def test_open_orders_are_answers_where_they_are_published_and_only_until_the_end(
    ib: Client, daemon: FakeDaemon
) -> None:
    def orders(fake: FakeDaemon, request: dict[str, Any]) -> dict[str, str]:
        fake.say("ord.ext.~9.openOrder.")
        fake.say(f"req.me.{request['id']}.openOrderEnd.", ref={"client": "me", "id": request["id"]})
        return {"topic": f"req.me.{request['id']}."}

    daemon.answers["reqAllOpenOrders"] = orders
    answers = list(ib.answers(ib.reqAllOpenOrders()))
    assert [each.topic for each in answers[:-1]] == ["ord.ext.~9.openOrder."]
    assert answers[-1].type == "openOrderEnd"
    daemon.has_no_subscriber_of("ord.")


@pytest.mark.parametrize("name", sorted(each for each in REQUESTS if requests.one_shot(each, {})))
def test_every_one_shot_has_a_last_answer(name: str) -> None:
    declared = REQUESTS[name]
    data = {"end": "20260101", "done": True}
    assert any(requests.is_last(name, each, data) for each in declared.answers)


# Messages


def test_callbacks_are_called_by_type_and_in_order(ib: Client, daemon: FakeDaemon) -> None:
    seen: list[tuple[str, str]] = []
    ib.register("orderStatus", lambda m: seen.append(("first", m.type)))
    ib.register("orderStatus", lambda m: seen.append(("second", m.type)))
    ib.register("*", lambda m: seen.append(("all", m.type)))
    daemon.publish("ord.me.k.openOrder.")
    daemon.publish("ord.me.k.orderStatus.")
    received(ib), received(ib)
    assert seen == [("all", "openOrder"), ("first", "orderStatus"), ("second", "orderStatus"), ("all", "orderStatus")]


def test_an_unregistered_callback_is_not_called(ib: Client, daemon: FakeDaemon) -> None:
    seen: list[Message] = []
    ib.register("orderStatus", seen.append)
    ib.unregister("orderStatus", seen.append)
    daemon.publish("ord.me.k.orderStatus.")
    received(ib)
    assert not seen
    with pytest.raises(ValueError, match="is not registered"):
        ib.unregister("orderStatus", seen.append)


def test_a_type_that_there_is_not_cannot_be_registered(ib: Client) -> None:
    with pytest.raises(ValueError, match="did you mean 'tickPrice'"):
        ib.register("tickPrise", print)


def test_run_calls_callbacks_until_one_stops_it(ib: Client, daemon: FakeDaemon) -> None:
    ib.register("orderStatus", lambda _: ib.stop())
    daemon.publish("ord.me.k.openOrder.")
    daemon.publish("ord.me.k.orderStatus.")
    ib.run(PATIENCE)
    daemon.publish("ord.me.k.completedOrder.")
    assert next(iter(ib)).type == "completedOrder"


def test_iterating_ends_when_the_time_is_up(ib: Client) -> None:
    assert list(ib.messages(AT_ONCE)) == []


def test_heartbeats_are_for_callbacks_only(ib: Client, daemon: FakeDaemon) -> None:
    beats: list[Message] = []
    ib.register("heartbeat", beats.append)
    daemon.publish("sys.bridge.heartbeat.")
    daemon.publish("sys.bridge.bye.")
    assert received(ib).type == "bye"
    assert len(beats) == 1


def test_the_fields_of_data_are_attributes() -> None:
    message = Message("md.X.tickPrice.", {"type": "tickPrice", "data": {"tickType": 4, "price": 1.5}})
    assert message.price == message.data["price"] == 1.5
    assert str(message) == "tickPrice tickType=4 price=1.5"
    with pytest.raises(AttributeError, match="tickPrice has no prize; did you mean price"):
        _ = message.prize


def test_an_error_shows_its_class() -> None:
    data = {"errorCode": 10197, "errorString": "no", "class": "connectivity", "ends": None}
    error = Message("md.X.error.", {"type": "error", "data": data})
    assert error.error_class == error.data["class"] == "connectivity"
    assert error.ends is None
    assert "class='connectivity' ends=None" in str(error)
    with pytest.raises(AttributeError, match="tickPrice has no error_class"):
        _ = Message("md.X.tickPrice.", {"type": "tickPrice", "data": {"price": 1.0}}).error_class


def test_an_attribute_that_was_left_out_has_ibs_default() -> None:
    data = {"contract": {"symbol": "AAPL"}, "order": {}}
    message = Message("ord.me.k.openOrder.", {"type": "openOrder", "data": data})
    contract = message.contract
    assert (contract.symbol, contract.right, contract.comboLegs) == ("AAPL", "", [])
    assert message.order.transmit is True
    assert message.orderState.status == ""
    assert dict(contract) == {"symbol": "AAPL"}
    with pytest.raises(AttributeError, match="did you mean symbol"):
        _ = contract.symbl


def test_rows_are_records_too() -> None:
    message = Message("req.me.1.historicalData.", {"type": "historicalData", "data": {"bars": [{"close": 3.0}]}})
    assert [bar.close for bar in message.bars] == [3.0]
    assert isinstance(message.bars[0], Record)


def test_no_field_of_ibs_is_hidden_behind_the_envelope() -> None:
    own = {name for name in dir(Message) if not name.startswith("_")}
    hidden = {(kind.name, field.name) for kind in MESSAGES.values() for field in kind.shape.fields if field.name in own}
    assert hidden == {("fundamentalData", "data")}  # which is message.data["data"]


def test_every_type_can_be_registered() -> None:
    assert set(MESSAGES) < set(known_types())


# Messages that did not come


def test_a_hole_in_a_stream_is_filled_before_what_follows_it(ib: Client, daemon: FakeDaemon) -> None:
    daemon.publish("ord.me.k.orderStatus.", data={"status": "Submitted"})
    assert received(ib).flags == ()
    daemon.miss("ord.me.k.orderStatus.", data={"status": "Filled"})
    daemon.publish("ord.me.k.orderStatus.", data={"status": "after"})
    got = [received(ib) for _ in range(2)]
    assert [(each.seq, each.status, each.flags) for each in got] == [(2, "Filled", ("replayed",)), (3, "after", ())]


def test_a_hole_that_cannot_be_filled_is_told_before_what_follows_it(ib: Client, daemon: FakeDaemon) -> None:
    daemon.publish("ord.me.k.orderStatus.")
    received(ib)
    daemon.answers["replay"] = refusing("E_GAP_TOO_OLD", first=8)
    daemon.publish("ord.me.k.orderStatus.", seq=8)
    gap = received(ib)
    assert isinstance(gap, Gap)
    assert (gap.type, gap.flags, gap.topic, gap.epoch) == ("lost", ("synthetic",), "ord.me.", 7)
    assert (gap.stream, gap.first, gap.last, gap.missed, gap.reason) == ("ord.me.", 2, 7, 6, "E_GAP_TOO_OLD")
    assert received(ib).seq == 8


def refusing(code: str, **more: Any) -> Callable[[FakeDaemon, dict[str, Any]], Any]:
    def refuse(*_: Any) -> None:
        raise Refusal(code, "no", **more)

    return refuse


def test_the_last_message_is_missed_by_the_heartbeat(ib: Client, daemon: FakeDaemon) -> None:
    daemon.publish("ord.me.k.orderStatus.")
    received(ib)
    daemon.miss("ord.me.k.orderStatus.")
    daemon.publish("sys.bridge.heartbeat.", data={"seqs": {"ord.me.": 2}})
    assert (received(ib).seq, ib.receive(AT_ONCE)) == (2, None)


def test_an_interrupt_between_the_frames_of_a_message_costs_no_message(ib: Client, daemon: FakeDaemon) -> None:
    daemon.publish("ord.me.k.orderStatus.")
    received(ib)
    connection = ib._feed._connection
    receive = connection._recv

    def interrupted(flags: int) -> bytes:
        receive(flags)
        connection._recv = receive
        raise KeyboardInterrupt

    connection._recv = interrupted
    daemon.publish("ord.me.k.orderStatus.")
    with pytest.raises(KeyboardInterrupt):
        received(ib)
    daemon.publish("ord.me.k.orderStatus.")
    assert [received(ib).seq for _ in range(2)] == [2, 3]


def test_a_part_of_a_stream_has_no_holes(ib: Client, daemon: FakeDaemon) -> None:
    ib.subscribe("md.X.tickSize.")
    daemon.publish("md.X.tickSize.", seq=1)
    daemon.publish("md.X.tickSize.", seq=5)
    assert [received(ib).type for _ in range(2)] == ["tickSize", "tickSize"]


def test_another_daemon_in_the_place_of_the_first_is_told_and_durable_streams_go_on(
    ib: Client, daemon: FakeDaemon, tmp_path: pathlib.Path
) -> None:
    daemon.publish("ord.me.k.openOrder.")
    received(ib)
    daemon.stop()
    following = FakeDaemon(tmp_path, epoch=8, said=daemon.said)
    try:
        following.miss("ord.me.k.orderStatus.")
        told = received(ib)
        assert isinstance(told, Restart)
        assert (told.type, told.epoch, told.before) == ("restart", 8, 7)
        filled = received(ib)
        assert (filled.type, filled.seq, filled.flags) == ("orderStatus", 2, ("replayed",))
    finally:
        following.stop()


def test_a_daemon_without_heartbeats_is_told_once_and_that_it_is_back(
    daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connect("me", daemon.pub, daemon.rep, timeout=PATIENCE) as ib:
        monkeypatch.setattr("ibbridge.client.stream_follower.MISSED", AT_ONCE / HEARTBEAT)
        down = received(ib)
        assert isinstance(down, Down)
        assert down.seconds >= AT_ONCE
        assert ib.receive(AT_ONCE * 4) is None
        daemon.publish("ord.me.k.orderStatus.")
        up = received(ib)
        assert isinstance(up, Up)
        assert up.seconds >= down.seconds
        assert received(ib).type == "orderStatus"


def test_what_is_no_message_of_ibbridges_is_said_to_be_none(tmp_path: pathlib.Path) -> None:
    with zmq.Context() as context, context.socket(zmq.XPUB) as publisher:
        publisher.bind(f"ipc://{tmp_path}/pub")
        feed = Feed(context, f"ipc://{tmp_path}/pub", f"ipc://{tmp_path}/rep")
        try:
            feed.subscribe([""])
            publisher.recv(), publisher.recv()
            publisher.send_multipart([b"weather.", b"sunny"])
            with pytest.raises(BridgeError, match=r"is pub= the bus\.pub"):
                feed.receive(PATIENCE)
        finally:
            feed.close()


# Threads, processes, the end


def test_a_forked_child_is_refused_and_ends_without_harm(ib: Client) -> None:
    child = os.fork()
    if not child:
        code = 1
        try:
            ib.receive(0)
        except BridgeError as error:
            code = 0 if "connect after the fork" in str(error) else 2
        ib.close()
        os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert ib.call("ping") == {"pong": True}


def test_a_closed_connection_says_so_and_closing_twice_is_harmless(ib: Client) -> None:
    ib.close()
    ib.disconnect()
    with pytest.raises(BridgeError, match="is closed"):
        ib.call("ping")


# Contracts and orders


def test_contracts_have_ibs_attributes() -> None:
    assert stock("AAPL", primaryExchange="NASDAQ")["primaryExchange"] == "NASDAQ"
    assert future("ES", "202612", "CME")["lastTradeDateOrContractMonth"] == "202612"
    assert option("AAPL", "20261218", 200, "C")["strike"] == 200.0
    assert (
        forex("EUR.USD")
        == forex("EURUSD")
        == {
            "symbol": "EUR",
            "secType": "CASH",
            "exchange": "IDEALPRO",
            "currency": "USD",
        }
    )
    with pytest.raises(ValueError, match="no currency pair"):
        forex("EUR")


@pytest.mark.parametrize("version", [176, 200, 226])
@pytest.mark.parametrize("order", [market("BUY", 1), limit("SELL", "0.5", 3.25, tif="GTC"), stop("BUY", 1.5, 2)])
def test_orders_are_taken_by_every_server_version(version: int, order: dict[str, Any]) -> None:
    Dialect.client(version).check("placeOrder", {"orderId": 1, "contract": stock("AAPL"), "order": order})


@pytest.mark.parametrize("version", [176, 200, 226])
def test_objects_of_ib_async_are_taken_as_they_are(version: int) -> None:
    contract, order = ib_async.Stock("AAPL", "SMART", "USD"), ib_async.LimitOrder("BUY", 100, 9.5)
    args = requests.bind("placeOrder", (contract, order), {})
    assert args["contract"] == stock("AAPL")
    checked = Dialect.client(version).check("placeOrder", {"orderId": 1, **args})
    assert checked["order"]["lmtPrice"] == 9.5


def test_a_flag_that_was_switched_off_in_an_object_is_sent() -> None:
    order = ib_async.MarketOrder("BUY", 1, transmit=False)
    assert requests.bind("placeOrder", (ib_async.Stock(), order), {})["order"] == {
        "action": "BUY",
        "orderType": "MKT",
        "totalQuantity": 1,
        "transmit": False,
    }


def test_conditions_of_ib_async_keep_their_kind() -> None:
    conditions = [ib_async.PriceCondition(conId=265598, exch="SMART", price=200.0), ib_async.TimeCondition(time="x")]
    order = ib_async.MarketOrder("BUY", 1, conditions=conditions)
    sent = requests.bind("placeOrder", (ib_async.Stock("AAPL", "SMART", "USD"), order), {})["order"]["conditions"]
    assert [each["condType"] for each in sent] == [1, 3]


def test_an_object_of_a_plain_class_is_taken_by_what_is_set_in_it() -> None:
    class Order:
        def __init__(self) -> None:
            self.action = ""
            self.totalQuantity = Decimal(2**127 - 1)
            self.transmit = True

    order = Order()
    order.action, order.transmit = "BUY", False
    assert requests.plain(order) == {"action": "BUY", "transmit": False}


def test_decimals_keep_their_digits() -> None:
    assert requests.plain({"totalQuantity": Decimal("0.00000100")}) == {"totalQuantity": "0.00000100"}


# The feed by itself


def test_a_feed_without_a_daemon_waits_for_it(tmp_path: pathlib.Path) -> None:
    with zmq.Context() as context:
        feed = Feed(context, f"ipc://{tmp_path}/pub", f"ipc://{tmp_path}/rep")
        try:
            assert not feed.begun(feed.subscribe(["md."]), AT_ONCE)
            daemon = FakeDaemon(tmp_path)
            assert feed.begun(["md."], PATIENCE)
            daemon.stop()
        finally:
            feed.close()


@pytest.mark.parametrize(
    "contract",
    [
        {"secType": "NEWS", "exchange": "BRFG", "symbol": "BRFG:BRFG_ALL"},
        {"secType": "NEWS", "exchange": "bulletin"},
        {"secType": "NEWS", "symbol": "DJNL:DJNL_ALL"},
        {"secType": "NEWS"},
        {"symbol": "AAPL", "secType": "STK", "exchange": "SMART", "currency": "USD"},
    ],
)
def test_the_client_subscribes_where_the_daemon_will_publish(contract: dict[str, Any]) -> None:
    """Before it asks, so that the first headlines are not missed."""
    args = {"contract": contract}
    topic = Middle().ask("reqMktData", contract=contract)["topic"]
    assert [topic] == [*requests.places("reqMktData", args, "").lasting]
    assert not requests.places("reqMktData", {**args, "snapshot": True}, "").lasting
    bulletins = Middle().ask("reqNewsBulletins")["topic"]
    assert [bulletins] == [*requests.places("reqNewsBulletins", {}, "").lasting]


@pytest.mark.parametrize(("sent", "outcome"), [(1, "not_sent"), (2, "unknown")])
def test_an_order_that_another_daemon_refuses_was_not_sent_unless_it_went_out_before(sent, outcome):
    command = Command("me", "1", "placeOrder", {}, key="k", epoch=7)
    assert msgpack.unpackb(command.packed)["epoch"] == 7
    command.sent = sent
    refused = {"code": "E_NOT_SYNCED", "message": "no more", "outcome": "unknown"}
    with pytest.raises(CommandError) as raised:
        command.reply(msgpack.packb({"ok": False, "error": refused}), "ipc:///x")
    assert raised.value.outcome == outcome


def test_orders_name_the_daemon_that_they_are_for_and_questions_do_not(daemon, ib):
    daemon.answers["placeOrder"] = lambda _, request: {"key": request["key"], "orderId": 1, "topic": "ord.me.k."}
    ib.placeOrder(stock("AAPL"), limit("BUY", 1, 1.0), key="k")
    ib.status()
    assert [request.get("epoch") for request in daemon.requests[-2:]] == [daemon.epoch, None]
