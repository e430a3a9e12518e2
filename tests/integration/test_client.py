"""The client library with the real daemon and the simulator, each a process of its own, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from ibbridge.cli import main
from ibbridge.client import Client, CommandError, Message, Request, aio, bracket, connect, limit, market, stock

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Iterator

PATIENCE = 30.0  # seconds after which a test gives up on what must come

CONTRACT = "{symbol: AAPL, secType: STK, exchange: SMART, currency: USD}"


class Bridge:
    """A simulator, and a daemon that can be ended and started again."""

    def __init__(self, directory: pathlib.Path, port: int) -> None:
        self.pub, self.rep = f"ipc://{directory}/pub", f"ipc://{directory}/rep"
        self._settings = {
            "tws.port": port,
            "bus.pub": self.pub,
            "bus.rep": self.rep,
            "bus.prefix": "live",
            "store.path": directory / "store",
            "instruments": f"{{APPLE: {CONTRACT}}}",
        }
        self._daemon: subprocess.Popen[str] | None = None

    def start(self) -> None:
        settings = [part for key, value in self._settings.items() for part in ("--set", f"{key}={value}")]
        self._daemon = subprocess.Popen([sys.executable, "-m", "ibbridge", "run", *settings], text=True)

    def stop(self) -> None:
        if self._daemon is not None:
            self._daemon.terminate()
            assert self._daemon.wait(PATIENCE) == 0
            self._daemon = None

    def kill(self) -> None:
        assert self._daemon is not None
        self._daemon.kill()
        self._daemon.wait(PATIENCE)
        self._daemon = None

    def connect(self, name: str) -> Client:
        return connect(name, self.pub, self.rep, prefix="live", timeout=PATIENCE)


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bridge]:
    command = [sys.executable, "-m", "ibbridge", "sim", "--port", "0", "--seed", "3"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sim:
        assert sim.stdout is not None
        port = sim.stdout.readline().split(":")[1].split()[0]
        made = Bridge(tmp_path_factory.mktemp("bus"), int(port))
        try:
            made.start()
            yield made
        finally:
            with contextlib.suppress(AssertionError):
                made.stop()
            sim.terminate()


@pytest.fixture
def ib(bridge: Bridge) -> Iterator[Client]:
    with bridge.connect("me") as client:
        yield client


def until(ib: Client, wanted: Callable[[Message], bool]) -> Message:
    for message in ib.messages(PATIENCE):
        if wanted(message):
            return message
    raise AssertionError("it never came")


def status(order: Request, *words: str) -> Callable[[Message], bool]:
    return lambda m: m.type == "orderStatus" and m.concerns(order) and m.status in words


def test_ticks_come_under_the_configurations_own_name(ib: Client) -> None:
    ticks = ib.reqMktData(stock("AAPL"), "", False)
    assert ticks.topic == "live.md.APPLE."
    assert until(ib, lambda m: m.type == "tickPrice" and m.tickType == 1).price > 0
    ib.cancelMktData(ticks)


def test_who_joins_late_has_the_market_at_once(bridge: Bridge, ib: Client) -> None:
    first = ib.reqMktData(stock("AAPL"))
    until(ib, lambda m: m.type == "tickPrice" and m.tickType == 9)
    with bridge.connect("late") as late:
        second = late.reqMktData(stock("AAPL"))
        closed = until(late, lambda m: m.type == "tickPrice" and m.tickType == 9)
        assert closed.flags == ("replayed",)
        late.cancelMktData(second)
    ib.cancelMktData(first)


def test_depth_is_complete_from_its_first_message(ib: Client) -> None:
    depth = ib.reqMktDepth(stock("AAPL"), 5)
    assert until(ib, lambda m: m.concerns(depth)).seq == 1
    ib.cancelMktDepth(depth)


def test_questions_have_answers_that_end(ib: Client) -> None:
    answers = list(ib.answers(ib.reqContractDetails(stock("AAPL"))))
    assert answers[0].contractDetails.contract.conId == 265598
    assert answers[-1].type == "contractDetailsEnd"
    bars = list(ib.answers(ib.reqHistoricalData(stock("AAPL"), "", "2 D", "1 hour", "TRADES", 1, 1, False)))
    assert len(bars[0].bars) > 1
    margin = next(ib.answers(ib.whatIfOrder(stock("AAPL"), market("BUY", 100))))
    assert float(margin.orderState.initMarginChange) > 0
    until_end = list(ib.answers(ib.reqMktData(stock("AAPL"), snapshot=True)))
    assert until_end[-1].type == "tickSnapshotEnd"


def test_an_order_is_filled_and_its_position_seen(ib: Client) -> None:
    ib.reqPositions()
    order = ib.placeOrder(stock("AAPL"), market("BUY", 100))
    fill = until(ib, lambda m: m.type == "execDetails" and m.concerns(order))
    assert (fill.execution.side, fill.contract.symbol) == ("BOT", "AAPL")
    until(ib, status(order, "Filled"))
    ib.reqPositions()
    assert until(ib, lambda m: m.type == "position").position >= 100


def test_an_order_is_listed_and_cancelled_and_its_key_is_taken_for_ever(ib: Client) -> None:
    order = ib.placeOrder(stock("AAPL"), limit("BUY", 1, 1.0), key="low")
    until(ib, status(order, "PreSubmitted", "Submitted"))
    again = ib.placeOrder(stock("AAPL"), limit("BUY", 1, 1.0), key="low")
    assert again.result["orderId"] == order.result["orderId"]
    with pytest.raises(CommandError) as refused:
        ib.placeOrder(stock("AAPL"), limit("BUY", 1, 1.1), key="low")
    assert refused.value.code == "E_KEY_REUSED"
    assert any(each.type == "openOrder" and each.concerns(order) for each in ib.answers(ib.reqAllOpenOrders()))
    ib.cancelOrder(order)
    until(ib, status(order, "Cancelled"))


def test_a_handle_follows_its_order_to_the_fill(ib: Client) -> None:
    order = ib.placeOrder(stock("AAPL"), market("BUY", 10))
    state = order.wait("done", PATIENCE)
    assert (state.reason, state.filled, state.remaining, state.orderId) == ("filled", 10, 0, order.result["orderId"])
    assert state.avgFillPrice > 0
    assert until(ib, lambda m: m.type == "execDetails" and m.concerns(order)).execution.shares == 10


def test_an_order_is_changed_and_cancelled_by_its_handle(ib: Client) -> None:
    order = ib.placeOrder(stock("AAPL"), limit("BUY", 1, 1.0), key="to-change")
    assert order.wait("working").state == "working"
    for price in (1.1, 1.2):
        order.modify(lmtPrice=price)
        assert order.wait("working").state == "working"
    assert order.state.rev == 2
    until(ib, lambda m: m.type == "openOrder" and m.concerns(order) and m.order.lmtPrice == 1.2)
    (listed,) = (each for each in ib.orders("working") if each.key == "to-change")
    assert listed.result["order"]["lmtPrice"] == 1.2
    order.cancel()
    assert order.wait("done").reason == "cancelled"
    with pytest.raises(CommandError, match="E_STATE"):
        order.modify(lmtPrice=1.3)
    assert [each.key for each in ib.orders("done") if each.key == "to-change"] == ["to-change"]


def test_an_order_that_tws_refuses_says_why(ib: Client) -> None:
    order = ib.placeOrder(stock("AAPL"), limit("BUY", 1, 1.001))  # the price is no multiple of the tick
    state = order.wait("done")
    assert (state.reason, state.failed) == ("rejected", True)
    assert state.lastError is not None
    assert state.lastError.code == 110


def test_a_bracket_is_placed_and_all_of_it_is_cancelled(ib: Client) -> None:
    members = bracket("bracket", stock("AAPL"), limit("BUY", 1, 1.0), profit=900.0, loss=0.5)
    entry, profit, loss = ib.placeOrders(members)
    for order in (entry, profit, loss):
        order.wait("working")
    assert [order.key for order in ib.placeOrders(members)] == ["bracket", "bracket-profit", "bracket-loss"]
    known = {order.key: order for order in ib.orders()}
    assert known["bracket-loss"].state.orderId == loss.state.orderId
    opened = until(ib, lambda m: m.type == "openOrder" and m.concerns(loss))
    assert opened.order.parentId == entry.state.orderId
    ib.reconcile()
    assert all(each["ok"] for each in ib.cancelOrders())
    for order in (entry, profit, loss):
        assert order.wait("done").reason == "cancelled"


def test_a_child_is_placed_after_its_parent(ib: Client) -> None:
    parent = ib.placeOrder(stock("AAPL"), limit("BUY", 1, 1.0, transmit=False), key="parent")
    assert parent.wait().state == "held"
    child = ib.placeOrder(stock("AAPL"), limit("SELL", 1, 900.0), key="child", parent=parent)
    assert (child.wait("working").state, parent.wait("working").state) == ("working", "working")
    parent.cancel()
    assert (parent.wait("done").reason, child.wait("done").reason) == ("cancelled", "cancelled")


def test_a_handle_is_good_over_a_restart_and_a_crash_of_the_daemon(bridge: Bridge) -> None:
    with bridge.connect("handles") as ib:
        order = ib.placeOrder(stock("AAPL"), limit("BUY", 1, 1.0))
        order.wait("working")
        for end in (bridge.stop, bridge.kill):
            end()
            bridge.start()
            until(ib, lambda m: m.type == "restart")
            ib.wait_for_tws(PATIENCE)
            order.modify(lmtPrice=1.0 + (order.state.rev + 1) / 10)
            assert order.wait("working").state == "working"
        assert order.state.rev == 2
    with bridge.connect("handles") as ib:
        again = ib.placeOrder(stock("AAPL"), limit("BUY", 1, 1.0), key=order.key)
        assert (again.state.state, again.state.rev) == ("working", 2)
        again.cancel()
        assert again.wait("done").reason == "cancelled"


def test_a_wait_goes_on_over_a_restart_of_the_daemon(bridge: Bridge) -> None:
    with bridge.connect("waits") as ib, ThreadPoolExecutor(1) as pool:
        order = ib.placeOrder(stock("AAPL"), limit("BUY", 1, 1.0))
        order.wait("working")
        ended = pool.submit(order.wait, "done", 2 * PATIENCE)
        bridge.stop()
        bridge.start()
        ib.wait_for_tws(PATIENCE)
        order.cancel()
        assert ended.result(PATIENCE).reason == "cancelled"
        until(ib, lambda m: m.type == "restart")


def test_the_command_line_says_why_tws_refuses_an_order(bridge: Bridge, capsys: pytest.CaptureFixture[str]) -> None:
    contract = ["contract.symbol=AAPL", "contract.secType=STK", "contract.exchange=SMART", "contract.currency=USD"]
    order = ["order.action=BUY", "order.orderType=LMT", "order.totalQuantity=1", "order.lmtPrice=1.001"]
    daemon = ["--pub", bridge.pub, "--rep", bridge.rep, "--set", "bus.prefix=live", "--wait", str(PATIENCE)]
    assert main(["call", "placeOrder", *contract, *order, *daemon]) == 1
    _, told = capsys.readouterr().out.split("orderState.")
    assert "rejected" in told
    assert "110" in told


def test_a_restart_of_the_daemon_is_told_and_the_client_goes_on(bridge: Bridge, ib: Client) -> None:
    bridge.stop()
    until(ib, lambda m: m.type == "bye")
    bridge.start()
    until(ib, lambda m: m.type == "restart")
    ib.wait_for_tws(PATIENCE)
    ticks = ib.reqMktData(stock("AAPL"))
    assert until(ib, lambda m: m.concerns(ticks)).epoch != 0
    ib.cancelMktData(ticks)


def test_after_a_crash_durable_streams_go_on_where_they_were(bridge: Bridge) -> None:
    with bridge.connect("crash") as ib:
        seen: list[Message] = []
        ib.register("*", seen.append)
        order = ib.placeOrder(stock("AAPL"), limit("BUY", 1, 1.0))
        until(ib, status(order, "PreSubmitted", "Submitted"))
        bridge.kill()
        bridge.start()
        restart = until(ib, lambda m: m.type == "restart")
        ib.wait_for_tws(PATIENCE)
        again = ib.placeOrder(stock("AAPL"), market("BUY", 1))
        until(ib, lambda m: m.type == "execDetails" and m.concerns(again))
        # A stream waits for what it has missed, and for no other stream.
        while not any(each.epoch == restart.epoch for each in seen if each.topic.startswith("live.ord.crash.")):
            assert ib.receive(PATIENCE) is not None
        assert {each.type for each in seen} >= {"restart", "openOrder"}
        for stream in ("live.ord.crash.", "live.exec.crash."):
            numbers = [each.seq for each in seen if each.topic.startswith(stream)]
            assert numbers == list(range(1, len(numbers) + 1)), stream


def test_the_asyncio_client_follows_the_real_daemon(bridge: Bridge) -> None:
    async def until(ib: aio.Client, kind: str, request: Request) -> None:
        async for message in ib.messages(PATIENCE):
            if message.type == kind and message.concerns(request):
                return
        raise AssertionError("it never came")

    async def trade() -> None:
        async with aio.connect("loop", bridge.pub, bridge.rep, prefix="live", timeout=PATIENCE) as ib:
            await until(ib, "tickPrice", await ib.reqMktData(stock("AAPL")))
            await until(ib, "execDetails", await ib.placeOrder(stock("AAPL"), market("BUY", 1)))
            order = await ib.placeOrder(stock("AAPL"), limit("BUY", 1, 1.0))
            await order.wait("working")
            await order.modify(lmtPrice=1.1)
            assert (await order.wait("working")).rev == 1
            await order.cancel()
            assert (await order.wait("done")).reason == "cancelled"
            details = [each.type async for each in ib.answers(await ib.reqContractDetails(stock("AAPL")))]
            assert details[-1] == "contractDetailsEnd"

    asyncio.run(trade())
