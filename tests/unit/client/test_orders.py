"""Order handles of both clients, against a daemon of two plain sockets: states, changes, groups, cancels, lists."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from typing import TYPE_CHECKING, Any

import pytest

from ibbridge.client import (
    Client,
    CommandError,
    Message,
    NoAnswer,
    OrderState,
    PlacedOrder,
    Request,
    aio,
    bracket,
    connect,
    limit,
    stock,
)
from ibbridge.client.order_state import STATES, KnownOrder, order_state
from ibbridge.orders import state_machine
from ibbridge.orders.order import Order
from ibbridge.orders.order_states import shown
from tests.support.fake_daemon import FakeDaemon, Refusal, body

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Iterator

PATIENCE = 20.0  # seconds after which a test gives up on what must come
AT_ONCE = 0.05  # seconds after which what must not come has not come
AAPL = stock("AAPL")
BUY = limit("BUY", 100, 180.0)


@pytest.fixture
def daemon(tmp_path: pathlib.Path) -> Iterator[FakeDaemon]:
    fake = FakeDaemon(tmp_path)
    fake.answers["placeOrder"] = placing("queued", "sent")
    fake.answers["modifyOrder"] = lambda _, request: named(request["key"], rev=request["args"]["rev"])
    fake.answers["cancelOrder"] = lambda _, request: {"key": request["args"]["key"], "orderId": 7}
    yield fake
    fake.stop()


@pytest.fixture(autouse=True)
def _nothing_is_sent_again_because_the_machine_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ibbridge.client.commands.RETRY", PATIENCE)


@pytest.fixture
def ib(daemon: FakeDaemon) -> Iterator[Client]:
    with connect("me", daemon.pub, daemon.rep, timeout=PATIENCE) as client:
        yield client


def named(key: str, **more: Any) -> dict[str, Any]:
    topics = [f"ord.me.{key}.", "exec.me."]
    return {"key": key, "orderId": 7, "topic": topics[0], "topics": topics, **more}


def about(state: str, **more: Any) -> dict[str, Any]:
    return {"state": state, "rev": 0, "changes": 1, "lastError": None, "filled": 0, **more}


def placing(*states: str) -> Callable[[FakeDaemon, dict[str, Any]], Any]:
    """Return the answer of a daemon that publishes these states of an order before its reply."""

    def answer(fake: FakeDaemon, request: dict[str, Any]) -> dict[str, Any]:
        for number, state in enumerate(states):
            fake.say(f"ord.me.{request['key']}.orderState.", data=about(state, changes=number + 1))
        return named(request["key"])

    return answer


def tell(daemon: FakeDaemon, key: str, state: str, **more: Any) -> None:
    daemon.publish(f"ord.me.{key}.orderState.", data=about(state, changes=9, **more))


def asked(daemon: FakeDaemon, cmd: str) -> list[dict[str, Any]]:
    return [each for each in daemon.requests if each["cmd"] == cmd]


def refusing(code: str, **more: Any) -> Callable[[FakeDaemon, dict[str, Any]], Any]:
    def refuse(*_: Any) -> None:
        raise Refusal(code, "no", **more)

    return refuse


# The handle and its state


def test_a_handle_is_a_request_that_knows_the_orders_state(ib: Client, daemon: FakeDaemon) -> None:
    order = ib.placeOrder(AAPL, BUY, key="k")
    assert isinstance(order, Request)
    assert (order.cmd, order.key, order.topic, order.result["orderId"]) == ("placeOrder", "k", "ord.me.k.", 7)
    assert order.topics == ("ord.me.k.", "exec.me.")
    assert hash(order) == hash(dataclasses.replace(order))
    tell(daemon, "k", "working", status="Submitted", filled=40, lastError={"code": 399, "text": "late", "own": False})
    state = order.wait()
    assert state is order.state
    assert (state.state, state.status, state.filled, state.done) == ("working", "Submitted", 40, False)
    assert state.lastError is not None
    assert (state.lastError.code, state.lastError.text) == (399, "late")


def test_an_accepted_order_is_queued_until_its_state_comes(ib: Client, daemon: FakeDaemon) -> None:
    daemon.answers["placeOrder"] = placing()
    assert ib.placeOrder(AAPL, BUY).state == OrderState("queued")


def test_waiting_keeps_all_messages_for_those_who_receive(ib: Client, daemon: FakeDaemon) -> None:
    called: list[str] = []
    ib.register("orderState", lambda message: called.append(message.state))
    order = ib.placeOrder(AAPL, BUY, key="k")
    daemon.publish("ord.me.k.openOrder.", data={})
    tell(daemon, "k", "working")
    daemon.publish("ord.me.k.orderStatus.", data={})
    assert order.wait().state == "working"
    assert called == []
    kinds = [message.type for message in (ib.receive(PATIENCE) for _ in range(5)) if message is not None]
    assert kinds == ["orderState", "orderState", "openOrder", "orderState", "orderStatus"]
    assert called == ["queued", "sent", "working"]
    assert order.state.state == "working"


def test_heartbeats_do_not_pile_up_while_an_order_is_waited_for(ib: Client, daemon: FakeDaemon) -> None:
    beats: list[Message] = []
    ib.register("heartbeat", beats.append)
    order = ib.placeOrder(AAPL, BUY, key="k")
    daemon.publish("sys.bridge.heartbeat.")
    tell(daemon, "k", "working")
    order.wait()
    assert [message.state for message in (ib.receive(PATIENCE) for _ in range(3)) if message is not None] == [
        "queued", "sent", "working",
    ]  # fmt: skip
    assert beats == []


def test_who_iterates_fills_the_handle(ib: Client, daemon: FakeDaemon) -> None:
    order = ib.placeOrder(AAPL, BUY, key="k")
    tell(daemon, "k", "done", reason="filled")
    states = []
    for message in ib.messages(PATIENCE):
        assert message.concerns(order)
        states.append(order.state.state)
        if order.state.done:
            break
    assert states == ["queued", "sent", "done"]


def test_a_thread_may_wait_while_another_receives(ib: Client, daemon: FakeDaemon) -> None:
    seen: list[Message] = []
    receiving = threading.Thread(target=lambda: seen.extend(ib.messages()))
    receiving.start()
    try:
        order = ib.placeOrder(AAPL, BUY, key="k")
        tell(daemon, "k", "working")
        assert order.wait(timeout=PATIENCE).state == "working"
    finally:
        ib.close()
        receiving.join()


def test_the_end_of_an_order_ends_every_wait(ib: Client, daemon: FakeDaemon) -> None:
    daemon.answers["placeOrder"] = placing("queued", "sent")
    order = ib.placeOrder(AAPL, BUY, key="k")
    tell(daemon, "k", "done", reason="rejected")
    state = order.wait("working")
    assert (state.state, state.failed) == ("done", True)


@pytest.mark.parametrize("state", ["held", "acked", "working", "unknown", "done"])
def test_waiting_ends_by_default_when_more_is_known_than_that_the_order_left(
    ib: Client, daemon: FakeDaemon, state: str
) -> None:
    daemon.answers["placeOrder"] = placing("queued", "sent", state, "cancelling")
    assert ib.placeOrder(AAPL, BUY).wait().state == state


def test_a_state_that_does_not_come_is_an_error_that_says_what_is_known(ib: Client) -> None:
    order = ib.placeOrder(AAPL, BUY, key="k")
    with pytest.raises(NoAnswer, match=r"the order 'k' is sent: for 0.05 s it was not cancelling or working") as error:
        order.wait(["working", "cancelling"], timeout=AT_ONCE)
    assert (error.value.key, error.value.outcome) == ("k", "unknown")


def test_a_state_that_there_is_not_cannot_be_waited_for(ib: Client) -> None:
    with pytest.raises(ValueError, match="did you mean 'working'"):
        ib.placeOrder(AAPL, BUY).wait("workin")


def test_the_states_are_the_daemons() -> None:
    assert set(STATES) == {each.value for each in state_machine.OrderState}
    names = {each.name for each in dataclasses.fields(OrderState)}
    assert names == {*shown(Order("me", "k", 0, {}, "placeOrder", b"", None)), "changes"}
    assert order_state({**about("sent"), "of a later version": 1}) == order_state(about("sent"))


def test_an_older_state_changes_nothing_unless_the_daemon_was_restarted() -> None:
    def message(state: str, changes: int, epoch: int) -> Message:
        data = about(state, changes=changes)
        return Message("ord.me.k.orderState.", {"type": "orderState", "data": data, "epoch": epoch})

    known = KnownOrder("k")
    known.note(message("working", 4, 7))
    known.note(message("sent", 3, 7))
    assert known.state.state == "working"
    known.note(message("unknown", 3, 8))
    assert known.state.state == "unknown"


# An order that the client has placed before


def remembering(daemon: FakeDaemon, *rows: tuple[str, str]) -> None:
    """Have the daemon know an order already: it repeats its reply, and a snapshot of the order has these rows."""
    daemon.answers["placeOrder"] = lambda fake, request: repeated(fake, request, named(request["key"]))

    def snapshot(fake: FakeDaemon, request: dict[str, Any]) -> dict[str, Any]:
        if request["args"]["prefix"] != "ord.me.k.":
            return fake.snapshot(request)
        found = [[topic.encode(), body(topic, 3, data=about(state))] for topic, state in rows]
        return {"streams": [{"stream": "ord.me.", "seq": 3, "messages": found}], "next": None}

    daemon.answers["snapshot"] = snapshot


def repeated(fake: FakeDaemon, request: dict[str, Any], result: dict[str, Any]) -> bytes:
    import msgpack

    reply = {"id": request["id"], "ok": True, "result": result, "epoch": fake.epoch, "gen": 1, "dup": True}
    packed: bytes = msgpack.packb(reply)
    return packed


def test_the_state_of_a_former_order_is_looked_up(ib: Client, daemon: FakeDaemon) -> None:
    remembering(daemon, ("ord.me.k.openOrder.", "none"), ("ord.me.k.orderState.", "working"))
    order = ib.placeOrder(AAPL, BUY, key="k")
    assert order.dup
    assert order.state.state == "working"
    assert order.wait(timeout=0).state == "working"


def test_nothing_is_known_of_a_former_order_without_a_state(ib: Client, daemon: FakeDaemon) -> None:
    remembering(daemon)
    assert ib.placeOrder(AAPL, BUY, key="k").wait(timeout=0).state == "unknown"


def test_handles_of_one_order_share_its_state(ib: Client, daemon: FakeDaemon) -> None:
    first, second = ib.placeOrder(AAPL, BUY, key="k"), ib.placeOrder(AAPL, BUY, key="k")
    tell(daemon, "k", "working")
    first.wait()
    assert not first.dup
    assert second.state is first.state


# Changes


def test_a_change_has_the_next_revision_and_is_waited_for(ib: Client, daemon: FakeDaemon) -> None:
    order = ib.placeOrder(AAPL, BUY, key="k")
    tell(daemon, "k", "working", rev=3)
    order.wait()
    changed = order.modify(lmtPrice=181.0)
    assert (changed.key, changed.result["rev"]) == ("k", 4)
    with pytest.raises(NoAnswer, match="is working"):
        order.wait(timeout=AT_ONCE)
    tell(daemon, "k", "modifying", rev=4)
    tell(daemon, "k", "working", rev=4, status="changed")
    assert order.wait().status == "changed"
    order.modify({**BUY, "lmtPrice": 182.0}, tif="GTC")
    told = [(each["key"], each["args"]) for each in asked(daemon, "modifyOrder")]
    assert told == [
        ("k", {"rev": 4, "order": {"lmtPrice": 181.0}}),
        ("k", {"rev": 5, "order": {**BUY, "lmtPrice": 182.0, "tif": "GTC"}}),
    ]


def test_the_same_change_again_has_the_same_revision_if_no_reply_came(ib: Client, daemon: FakeDaemon) -> None:
    order = ib.placeOrder(AAPL, BUY, key="k")
    answer = daemon.answers["modifyOrder"]
    daemon.answers["modifyOrder"] = lambda _, __: None
    ib.timeout = AT_ONCE
    for _ in range(2):
        with pytest.raises(NoAnswer):
            order.modify(lmtPrice=181.0)
    ib.timeout = PATIENCE
    daemon.answers["modifyOrder"] = answer
    order.modify(lmtPrice=181.0)
    order.modify(lmtPrice=181.0)
    assert [each["args"]["rev"] for each in asked(daemon, "modifyOrder")][-3:] == [1, 1, 2]


def test_a_change_that_another_has_overtaken_is_sent_above_it(ib: Client, daemon: FakeDaemon) -> None:
    order = ib.placeOrder(AAPL, BUY, key="k")

    def answer(_: FakeDaemon, request: dict[str, Any]) -> dict[str, Any]:
        if request["args"]["rev"] <= 5:
            raise Refusal("E_ARG", "rev must be above 5", rev=5)
        return named("k", rev=request["args"]["rev"])

    daemon.answers["modifyOrder"] = answer
    assert order.modify(lmtPrice=181.0).result["rev"] == 6


def test_a_change_of_unknown_outcome_that_another_has_overtaken_is_not_sent_anew(
    ib: Client, daemon: FakeDaemon
) -> None:
    order = ib.placeOrder(AAPL, BUY, key="k")
    daemon.answers["modifyOrder"] = refusing("E_INTERNAL", outcome="unknown")
    with pytest.raises(CommandError):
        order.modify(lmtPrice=181.0)
    daemon.answers["modifyOrder"] = refusing("E_ARG", rev=5)
    with pytest.raises(CommandError):
        order.modify(lmtPrice=181.0)
    assert [each["args"]["rev"] for each in asked(daemon, "modifyOrder")] == [1, 1]


def test_a_refused_change_is_not_waited_for(ib: Client, daemon: FakeDaemon) -> None:
    daemon.answers["placeOrder"] = placing("working")
    order = ib.placeOrder(AAPL, BUY, key="k")
    daemon.answers["modifyOrder"] = refusing("E_STATE", outcome="not_sent", state="sent")
    with pytest.raises(CommandError, match="E_STATE"):
        order.modify(lmtPrice=181.0)
    assert order.wait().state == "working"


def test_a_change_names_what_changes(ib: Client) -> None:
    with pytest.raises(TypeError, match="modify what"):
        ib.placeOrder(AAPL, BUY).modify()


def test_a_change_that_never_left_is_over_with_its_error(ib: Client, daemon: FakeDaemon) -> None:
    daemon.answers["placeOrder"] = placing("working")
    order = ib.placeOrder(AAPL, BUY, key="k")
    order.wait()
    order.modify(lmtPrice=181.0)
    tell(daemon, "k", "working", lastError={"code": 504, "text": "change it again", "own": True})
    assert order.wait().lastError is not None


def test_an_old_error_says_nothing_of_a_change(ib: Client, daemon: FakeDaemon) -> None:
    error = {"code": 399, "text": "of yesterday", "own": False}
    changed = ib.modifyOrder("k", {"lmtPrice": 181.0}, 3)
    tell(daemon, "k", "working", lastError=error)
    tell(daemon, "k", "working", lastError=error, rev=3)
    assert changed.wait().rev == 3


def test_an_order_is_changed_by_its_key_too(ib: Client, daemon: FakeDaemon) -> None:
    changed = ib.modifyOrder("k", {"lmtPrice": 181.0}, 3)
    assert isinstance(changed, PlacedOrder)
    tell(daemon, "k", "working", rev=3)
    assert changed.wait().rev == 3


# Cancels


def test_after_a_cancel_an_older_state_does_not_count(ib: Client, daemon: FakeDaemon) -> None:
    daemon.answers["placeOrder"] = placing("working")
    order = ib.placeOrder(AAPL, BUY, key="k")
    order.wait()
    order.cancel()
    assert asked(daemon, "cancelOrder")[0]["args"] == {"key": "k"}
    with pytest.raises(NoAnswer, match="is working"):
        order.wait(timeout=AT_ONCE)
    tell(daemon, "k", "cancelling")
    tell(daemon, "k", "done", reason="cancelled", filled=40)
    state = order.wait()
    assert (state.reason, state.filled, state.failed) == ("cancelled", 40, False)
    order.cancel()
    assert order.wait(timeout=0) == state


def test_a_refused_cancel_is_not_waited_for(ib: Client, daemon: FakeDaemon) -> None:
    daemon.answers["placeOrder"] = placing("working")
    order = ib.placeOrder(AAPL, BUY, key="k")
    daemon.answers["cancelOrder"] = refusing("E_ARG")
    with pytest.raises(CommandError):
        order.cancel()
    assert order.wait().state == "working"


def test_several_orders_are_cancelled_by_key_or_handle_or_all(ib: Client, daemon: FakeDaemon) -> None:
    daemon.answers["placeOrder"] = placing("working")
    one, two, other = (ib.placeOrder(AAPL, BUY, key=key) for key in ("one", "two", "other"))
    for order in (one, two, other):
        order.wait()
    result = [{"key": "one", "ok": True}, {"key": "two", "ok": False, "error": {"code": "E_ARG"}}]
    daemon.answers["cancelOrders"] = lambda _, __: {"orders": result}
    assert ib.cancelOrders([one, "two"]) == result
    assert ib.cancelOrders() == result
    ib.cancelOrders(one)
    told = [each["args"] for each in asked(daemon, "cancelOrders")]
    assert told == [{"keys": ["one", "two"]}, {"all": True}, {"keys": ["one"]}]
    assert [order.wait().state for order in (two, other)] == ["working", "working"]  # "all" did not take in the other
    with pytest.raises(NoAnswer):
        one.wait(timeout=0)
    tell(daemon, "one", "done", reason="cancelled")
    assert one.wait().done
    daemon.answers["cancelOrders"] = refusing("E_STORE")
    with pytest.raises(CommandError):
        ib.cancelOrders([other])
    assert other.wait(timeout=0).state == "working"


def test_what_is_no_order_cannot_be_cancelled(ib: Client) -> None:
    with pytest.raises(TypeError, match="is no order"):
        ib.cancelOrders([ib])  # type: ignore[list-item]


# Groups


def group(fake: FakeDaemon, request: dict[str, Any]) -> dict[str, Any]:
    keys = [each["key"] for each in request["args"]["orders"]]
    for key in keys:
        fake.say(f"ord.me.{key}.orderState.", data=about("working"))
    return {"orders": [named(key, orderId=None) for key in keys], "topics": ["ord.me.", "exec.me."]}


def test_a_bracket_is_placed_at_once_and_has_three_handles(ib: Client, daemon: FakeDaemon) -> None:
    daemon.answers["placeOrders"] = group
    entry = {**BUY, "account": "DU1", "tif": "GTC"}
    orders = ib.placeOrders(bracket("b", AAPL, entry, profit=190.0, loss=175.0), on_partial="keep")
    assert [order.key for order in orders] == ["b", "b-profit", "b-loss"]
    assert [order.wait().state for order in orders] == ["working"] * 3
    request = asked(daemon, "placeOrders")[0]
    both = {"action": "SELL", "totalQuantity": 100, "account": "DU1", "tif": "GTC"}
    profit, loss = {**both, "orderType": "LMT", "lmtPrice": 190.0}, {**both, "orderType": "STP", "auxPrice": 175.0}
    assert (request["epoch"], request["args"]) == (daemon.epoch, {
        "orders": [
            {"key": "b", "contract": AAPL, "order": entry},
            {"key": "b-profit", "contract": AAPL, "parent": "b", "order": profit},
            {"key": "b-loss", "contract": AAPL, "parent": "b", "order": loss},
        ],
        "on_partial": "keep",
    })  # fmt: skip


def test_a_bracket_has_an_exit_at_least() -> None:
    assert [each["key"] for each in bracket("b", AAPL, limit("SELL", 1, 2.0), loss=3.0)] == ["b", "b-loss"]
    with pytest.raises(ValueError, match="a bracket has an exit"):
        bracket("b", AAPL, BUY)


def test_members_without_a_key_get_one_and_a_parent_may_be_a_handle(ib: Client, daemon: FakeDaemon) -> None:
    daemon.answers["placeOrders"] = group
    parent = ib.placeOrder(AAPL, BUY, key="k")
    (child,) = ib.placeOrders([{"contract": AAPL, "order": BUY, "parent": parent, "key": None}])
    (told,) = asked(daemon, "placeOrders")[0]["args"]["orders"]
    assert (told["parent"], told["key"]) == ("k", child.key)
    ib.placeOrder(AAPL, BUY, key="c", parent=parent)
    ib.placeOrder(AAPL, BUY, key="d", parent="k")
    assert [each["args"].get("parent") for each in asked(daemon, "placeOrder")] == [None, "k", "k"]
    with pytest.raises(TypeError, match="no order of a group"):
        ib.placeOrders([BUY, "x"])  # type: ignore[list-item]


# Lists


def test_orders_are_listed_from_all_pages_as_handles(ib: Client, daemon: FakeDaemon) -> None:
    def page(_: FakeDaemon, request: dict[str, Any]) -> dict[str, Any]:
        key, following = ("b", None) if "after" in request["args"] else ("a", "a")
        row = {"key": key, "command": "placeOrder", "contract": AAPL, "order": BUY, "ts": 5}
        return {"orders": [{**row, **about("working", rev=2)}], "next": following}

    daemon.answers["orders"] = page
    first, second = ib.orders("working", since=4)
    assert [first.key, second.key] == ["a", "b"]
    assert (first.state.rev, first.result["contract"], first.topics) == (2, AAPL, ("ord.me.a.", "exec.me."))
    told = [each["args"] for each in asked(daemon, "orders")]
    assert told == [{"state": "working", "since": 4}, {"state": "working", "since": 4, "after": "a"}]
    assert first.modify(lmtPrice=2.0).result["rev"] == 3
    tell(daemon, "b", "done", reason="filled")
    assert second.wait("done").reason == "filled"


def test_reconciliation_is_asked_for(ib: Client, daemon: FakeDaemon) -> None:
    daemon.answers["reconcile"] = lambda _, __: {}
    ib.reconcile()
    assert asked(daemon, "reconcile")[0]["args"] == {}


# asyncio


def test_the_client_for_asyncio_has_the_same_handles(daemon: FakeDaemon) -> None:
    daemon.answers["placeOrders"] = group
    daemon.answers["reconcile"] = lambda _, __: {}
    daemon.answers["cancelOrders"] = lambda _, __: {"orders": [{"key": "a", "ok": False}]}
    row = {"key": "k", "command": "placeOrder", **about("working")}
    daemon.answers["orders"] = lambda _, request: {"orders": [row], "next": None if "after" in request["args"] else "k"}

    async def trade() -> None:
        async with aio.connect("me", daemon.pub, daemon.rep, timeout=PATIENCE) as ib:
            order = await ib.placeOrder(AAPL, BUY, key="k", parent="p")
            tell(daemon, "k", "working")
            assert (await order.wait()).state == "working"
            message = await ib.receive(PATIENCE)
            assert message is not None
            assert message.state == "queued"
            assert (await order.modify(lmtPrice=181.0)).result["rev"] == 1
            with pytest.raises(NoAnswer, match="is working"):
                await order.wait(timeout=AT_ONCE)
            tell(daemon, "k", "working", rev=1)
            await order.wait()
            await order.cancel()
            tell(daemon, "k", "done", reason="cancelled")
            assert (await order.wait("acked")).reason == "cancelled"
            assert [each.key for each in await ib.placeOrders(bracket("b", AAPL, BUY, loss=1.0))] == ["b", "b-loss"]
            assert [each.key async for each in ib.orders()] == ["k", "k"]
            (one,) = await ib.placeOrders([{"contract": AAPL, "order": BUY, "key": "a"}])
            assert await ib.cancelOrders([one]) == [{"key": "a", "ok": False}]
            assert (await one.wait()).state == "working"
            await ib.reconcile()

    asyncio.run(trade())


def test_with_asyncio_refused_commands_are_not_waited_for(daemon: FakeDaemon) -> None:
    async def trade() -> None:
        async with aio.connect("me", daemon.pub, daemon.rep, timeout=PATIENCE) as ib:
            daemon.answers["placeOrder"] = placing("working")
            order = await ib.placeOrder(AAPL, BUY, key="k")
            await order.wait()
            for cmd in ("modifyOrder", "cancelOrder", "cancelOrders"):
                daemon.answers[cmd] = refusing("E_ARG")
            for refused in (order.modify(lmtPrice=1.0), order.cancel(), ib.cancelOrders()):
                with pytest.raises(CommandError):
                    await refused
                assert (await order.wait(timeout=0)).state == "working"
            daemon.answers["modifyOrder"] = behind
            assert (await order.modify(lmtPrice=1.0)).result["rev"] == 10

    def behind(_: FakeDaemon, request: dict[str, Any]) -> dict[str, Any]:
        if request["args"]["rev"] < 10:
            raise Refusal("E_ARG", "rev must be above 9", rev=9)
        return named("k", rev=request["args"]["rev"])

    asyncio.run(trade())


def test_with_asyncio_a_former_order_has_its_state(daemon: FakeDaemon) -> None:
    remembering(daemon, ("ord.me.k.orderState.", "working"))

    async def trade() -> None:
        async with aio.connect("me", daemon.pub, daemon.rep, timeout=PATIENCE) as ib:
            assert (await ib.placeOrder(AAPL, BUY, key="k")).state.state == "working"

    asyncio.run(trade())
