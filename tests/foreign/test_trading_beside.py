"""Clients that nobody here wrote trade beside the daemon, and under its client id while it is away, in every fault.

Afterwards the daemon's orders and executions are compared with the simulator's: ours are never theirs, theirs are never
ours, and none is placed twice.
"""

from __future__ import annotations

import socket
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import msgpack
import pytest

from tests.foreign.remote import REMOTE, Program
from tests.integration.rig import AAPL, Bridge, Market, Wire
from tests.integration.test_order_recovery import STATES
from tests.integration.witness import patience

if TYPE_CHECKING:
    from collections.abc import Callable

    from ibbridge.sim.orders.registry import OrderBook

pytestmark = pytest.mark.foreign

OURS, THEIRS = 1, 7
NEVER = {"action": "BUY", "totalQuantity": 1, "orderType": "LMT", "lmtPrice": 1.0}
NOW = {"action": "BUY", "totalQuantity": 1, "orderType": "MKT"}
SYMBOLS = ("AAPL", "MSFT", "NVDA", "SPY", "TSLA", "AMZN")

SOON: dict[str, Any] = {
    "tws__client_id_retry": 0.1, "tws__silence_timeout": 3, "tws__probe_after": 1, "tws__start_timeout": 2,
}  # fmt: skip


class AtTws(NamedTuple):
    """An order as the simulator has it."""

    client: int
    order_id: int
    perm_id: int
    ref: str
    status: str


def orders(book: OrderBook) -> list[AtTws]:
    return [AtTws(each.client, each.order_id, each.perm_id, each.order.get("orderRef", ""), each.status)
            for each in book.tickets]  # fmt: skip


def executions(book: OrderBook) -> list[tuple[AtTws, str]]:
    return [(AtTws(each.client, each.order_id, each.perm_id, each.order.get("orderRef", ""), each.status),
             execution["execId"]) for each, execution, _ in book.executions]  # fmt: skip


class Comparison:
    """Comparison of the orders that the daemon shows, its own and others', with those that the simulator has."""

    def __init__(self, market: Market, bridge: Bridge, *, client_id: int = OURS, sees_all: bool = False) -> None:
        self.used: set[str] = set()
        """Keys of the orders that the daemon has accepted."""
        self.ghosts: set[str] = set()
        """Those of them that never reached TWS."""
        self._market = market
        self._bridge = bridge
        self._client_id = client_id
        self._sees_all = sees_all

    def told(self, stream: str) -> list[dict[str, Any]]:
        """Return all bodies that were published on a stream."""
        try:
            return [msgpack.unpackb(body) for _, body in self._bridge.replay(stream, 1)]
        except AssertionError:  # nothing was
            return []

    def is_ours(self, order: AtTws) -> bool:
        return order.client == self._client_id and order.ref.startswith("me/")

    def states(self) -> dict[str, tuple[str, str | None]]:
        told = (each for each in self.told("ord.me.") if each["type"] == "orderState")
        return {each["ref"]["key"]: (each["data"]["state"], each["data"]["reason"]) for each in told}

    def foreign(self) -> dict[int, str]:
        """Return the last status of each order of `ext`, by permId."""
        found: dict[int, str] = {}
        for each in self.told("ord.ext."):
            data = each["data"]
            status = data.get("status") or (data.get("orderState") or {}).get("status")
            if status and each["ref"]["permId"]:
                found[each["ref"]["permId"]] = status
        return found

    def wrong(self) -> dict[str, Any]:
        """Return everything of which daemon and simulator say different things."""
        there = self._market.book(orders)
        own = {each.ref.removeprefix("me/"): each for each in there if self.is_ours(each)}
        others = {each.perm_id: each.status for each in there if not self.is_ours(each)}
        states, foreign = self.states(), self.foreign()
        found: dict[str, Any] = {}
        twice = [ref for ref, number in Counter(each.ref for each in there if self.is_ours(each)).items() if number > 1]
        if twice:
            found["placed twice"] = twice
        for key in self.used | own.keys():
            at_tws = own.get(key)
            wanted = STATES[at_tws.status] if at_tws else {("done", "not_at_tws")}
            if states.get(key) not in wanted:
                found[key] = states.get(key), at_tws
        if foreign != others:
            found["ext"] = sorted(set(foreign.items()) ^ set(others.items()))
        return {**found, **self._wrong_owners({each.perm_id for each in own.values()}, set(others))}

    def _wrong_owners(self, own: set[int], others: set[int]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for owner, theirs in (("me", others), ("ext", own)):
            mixed = [each for each in self.told(f"ord.{owner}.") if _perm_id(each) in theirs]
            if mixed:
                found[f"ord.{owner}"] = mixed
        booked = self._market.book(executions)
        for owner in ("me", "ext"):
            wanted = sorted(number for order, number in booked if self.is_ours(order) == (owner == "me")
                            and (self._sees_all or order.client == self._client_id))  # fmt: skip
            told = self.told(f"exec.{owner}.")
            got = sorted(each["data"]["execution"]["execId"] for each in told if each["type"] == "execDetails")
            if got != wanted:
                found[f"exec.{owner}"] = got, wanted
        return found

    def agree(self) -> None:
        """Wait until nothing is wrong; the daemon is asked to compare again and again."""

        def holds() -> bool:
            self._bridge.call("reconcile")
            return not self.wrong()

        try:
            patience(holds, "agreement")
        except AssertionError:
            raise AssertionError(self.wrong()) from None


def _perm_id(body: dict[str, Any]) -> Any:
    data = body["data"]
    return data.get("permId") or (data.get("order") or {}).get("permId")


@pytest.fixture(params=REMOTE, ids=lambda client: client.name)
def program(request: pytest.FixtureRequest) -> str:
    client = request.param
    if not client.installed.exists():
        pytest.skip(f"{client.name} is not installed: make foreign installs it where its packages can be had")
    return str(client.name)


class Turns:
    """A daemon and another program that use one client id in turns, at one TWS."""

    def __init__(self, market: Market, wire: Wire, bridge: Bridge, program: Program) -> None:
        self.comparison = Comparison(market, bridge)
        self._market, self._wire, self._bridge, self._program = market, wire, bridge, program
        self._round = 0

    def place(self, end: str, order: dict[str, Any]) -> str:
        """Place an order as soon as the daemon takes it. Return its key."""
        key = f"{self._round}-{end}"
        contract = {**AAPL, "symbol": SYMBOLS[self._round]}

        def taken() -> bool:
            return bool(self._bridge.call("placeOrder", "me", key, contract=contract, order=order)["ok"])

        patience(taken, "a daemon that takes orders")
        self.comparison.used.add(key)
        return key

    def order_id(self, key: str) -> int:
        return next(each.order_id for each in self._market.book(orders) if each.ref == f"me/{key}")

    def until(self, key: str, *wanted: str) -> None:
        patience(lambda: self.comparison.states().get(key, ("",))[0] in wanted, f"{key} {wanted}")

    def begin(self) -> dict[str, str]:
        """Place orders that fill, rest and are cancelled, the cancelled ones last. Return their keys."""
        keys = {"fill": self.place("fill", NOW)}
        self.until(keys["fill"], "done")
        keys |= {end: self.place(end, NEVER) for end in ("rest", "theirs", "gone", "gone2")}
        for end in ("rest", "theirs", "gone", "gone2"):
            self.until(keys[end], "working")
        for end in ("gone", "gone2"):
            self._bridge.do("cancelOrder", "me", keys[end])
            self.until(keys[end], "done")
        return keys

    def part(self, *, kill: bool) -> None:
        """Part daemon and TWS while an order is on the way, which never arrives."""
        with self._wire.held():
            key = self.place("ghost", NEVER)
            self.comparison.ghosts.add(key)
            if kill:
                self._bridge.process.kill()
                self._bridge.process.wait()
            self._wire.cut()

    def others(self, cancels: int) -> dict[str, int]:
        """Have the other program take the client id, trade, cancel an order of ours, and go. Return its permIds."""
        symbol = SYMBOLS[self._round]
        self._program.do("connect", client_id=OURS)
        rests = self._program.place(symbol)
        filled = self._program.place(symbol, price=None, until="Filled", ref="theirs")
        gone = self._program.place(symbol, ref="theirs")
        self._program.do("cancel", orderId=gone["orderId"])
        self._program.do("cancel", orderId=cancels)
        self._program.do("disconnect")
        return {"rests": rests["permId"], "filled": filled["permId"]}

    def play(
        self,
        *,
        kill: bool = False,
        before: Callable[[], object] = lambda: None,
        after: Callable[[], object] = lambda: None,
        back: Callable[[], object] = lambda: None,
    ) -> None:
        """Play a round: we trade, part, others trade with faults before and after, we come back and trade on.

        `back`: a fault when we are back, and know of their orders.
        """
        keys = self.begin()
        cancels = self.order_id(keys["theirs"])
        self.part(kill=kill)
        before()
        theirs = self.others(cancels)
        after()
        self._wire.mend()
        if kill:
            self._bridge.start()
        self.until(self.place("after", NEVER), "working")
        patience(lambda: theirs["rests"] in self.comparison.foreign(), "the order of the other program")
        back()
        assert self._bridge.do("cancelOrder", permId=theirs["rests"])["topic"] == f"ord.ext.~{theirs['rests']}."
        patience(lambda: self.comparison.foreign()[theirs["rests"]] == "Cancelled", "the cancel of their order")
        patience(lambda: theirs["filled"] in self.comparison.foreign(), "their filled order")
        error = self._bridge.call("cancelOrder", permId=theirs["filled"])["error"]
        assert (error["code"], error["message"]) == ("E_STATE", "the order is over (Filled)")
        self._round += 1


def test_others_trade_under_the_client_id_of_the_daemon_while_it_is_away(program):
    with (
        Market() as market,
        Wire(market.port) as wire,
        Bridge(wire.port, **SOON) as bridge,
        Program(program, market.port) as other,
    ):
        turns = Turns(market, wire, bridge, other)

        def restart(ids: int = 0) -> None:
            market.fault(do="restart", lasts=0.2, ids=ids)
            patience(lambda: _is_open(market.port), "TWS")

        def outage() -> None:
            market.fault(do="1100")
            market.fault(do="1101")
            market.fault(do="1100", lasts=0.5)  # ends with 1102

        turns.play()
        turns.play(kill=True)
        turns.play(before=lambda: restart(-2), after=restart)  # our cancelled orders have the ids of theirs
        turns.play(kill=True, before=lambda: restart(-2), after=lambda: restart(-3))
        turns.play(back=outage)
        turns.comparison.agree()


def _is_open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("master", [None, OURS], ids=["", "master"])
def test_others_trade_under_another_client_id_beside_the_daemon(program, master):
    with Market(master=master) as market, Bridge(market.port, **SOON) as bridge, Program(program, market.port) as other:
        comparison = Comparison(market, bridge, sees_all=master is not None)
        bridge.ready()

        def place(key: str, order: dict[str, Any] = NEVER) -> None:
            def taken() -> bool:
                return bool(bridge.call("placeOrder", "me", key, contract=AAPL, order=order)["ok"])

            patience(taken, "a daemon that takes orders")
            comparison.used.add(key)

        def trade(number: int) -> int:
            """Trade on both sides at once. Return the permId of an order of the other program that rests."""
            place(f"rest-{number}")
            resting = other.place("MSFT")["permId"]
            place(f"fill-{number}", NOW)
            other.place("MSFT", price=None, until="Filled")
            cancelled = other.place("MSFT", ref="me/rest-0")
            other.do("cancel", orderId=cancelled["orderId"])
            return int(resting)

        other.do("connect", client_id=THEIRS)
        trade(0)
        market.fault(do="close", client=OURS)
        trade(1)
        for number, code in enumerate(("1101", "1102"), 2):
            market.fault(do="1100")
            market.fault(do=code)
            trade(number)
        bridge.process.kill()
        bridge.process.wait()
        other.place("MSFT", price=None, until="Filled")
        bridge.start()
        trade(4)
        market.fault(do="restart", lasts=0.2, ids=3)
        other.do("disconnect")
        other.do("connect", client_id=THEIRS)
        resting = trade(5)
        comparison.agree()
        error = bridge.call("cancelOrder", permId=resting)["error"]
        assert error["code"] == "E_ARG"
        assert f"client id {THEIRS} has placed the order" in error["message"]
        other.do("cancel_all")
        comparison.agree()
        assert set(comparison.states().values()) == {("done", "filled"), ("done", "cancelled")}
