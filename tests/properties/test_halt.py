"""Halts as a state machine: scopes, states, orders, fills and restarts in any order, in virtual time.

A model of a few lines says which orders may leave. The daemon must send those, and no others, and every cancel.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.support.daemon_core import AAPL, CLIENT_ID, LIMIT, MSFT, Middle
from tests.support.outside import MemoryOrderStore
from tests.unit.orders.test_mass_cancel import KeepingStore, command, report

CLIENTS, ACCOUNTS, CONTRACTS = ("a", "b"), ("DU1", "DU2"), {"AAPL": AAPL, "MSFT": MSFT}
CON_IDS = {"AAPL": 265598, "MSFT": 272093}
SCOPES = [("all", ""), *(("account", each) for each in ACCOUNTS), *(("client", each) for each in CLIENTS)]
STATES = ("halted", "reducing", "reducing")
HELD = (("a", "DU1", "BUY", 100), ("b", "DU1", "BUY", 50), ("b", "DU2", "SELL", 100))
"""Trades in AAPL with which each run begins."""

scopes, quantities = st.sampled_from(SCOPES), st.sampled_from((1, 50, 100, 150))


class Open(NamedTuple):
    """Order that is not over."""

    client: str
    key: str
    account: str
    symbol: str
    action: str
    quantity: int
    number: int


class HaltMachine(RuleBasedStateMachine):
    """Daemon with two clients, two accounts and two instruments, whose orders work until they are filled."""

    @initialize()
    def begin(self) -> None:
        self.store, self.journal = KeepingStore(), MemoryOrderStore()
        self.middle = Middle(store=self.store, order_store=self.journal)
        self.middle.session.named(",".join(ACCOUNTS))
        self.keys = itertools.count(1)
        self.halts: dict[tuple[str, str], str] = {}
        self.open: list[Open] = []
        self.positions: dict[tuple[str, str, str], int] = {}
        for client, account, action, quantity in HELD:
            self.place(client, account, "AAPL", action, quantity)
            self.fill_one(self.open[0])
        self.place("b", "DU1", "AAPL", "SELL", 1)  # works, unless it is cancelled

    # -- the model

    def covering(self, client: str, account: str) -> list[tuple[str, str]]:
        wanted = (("all", ""), ("account", account), ("client", client))
        return [scope for scope in wanted if scope in self.halts]

    def may_leave(self, client: str, account: str, symbol: str, action: str, quantity: int) -> bool:
        for scope in self.covering(client, account):
            owners = (client,) if scope[0] == "client" else CLIENTS
            held = sum(self.positions.get((owner, account, symbol), 0) for owner in owners)
            same = (account, symbol, action)
            working = sum(
                each.quantity
                for each in self.open
                if each.client in owners and (each.account, each.symbol, each.action) == same
            )
            room = held if action == "SELL" else -held
            if self.halts[scope] == "halted" or quantity + working > room:
                return False
        return True

    # -- halts

    @rule(scope=scopes, state=st.sampled_from(STATES))
    def halt(self, scope: tuple[str, str], state: str) -> None:
        command(self.middle, "halt", scope=scope[0], state=state, **({"name": scope[1]} if scope[1] else {}))
        self.halts[scope] = state

    @rule(scope=scopes)
    def resume(self, scope: tuple[str, str]) -> None:
        command(self.middle, "resume", scope=scope[0], **({"name": scope[1]} if scope[1] else {}))
        self.halts.pop(scope, None)

    @rule()
    def restart(self) -> None:
        self.middle.parts.streams.journal.tick()
        again = Middle(store=self.store, order_store=self.journal, clock=self.middle.clock, ready=False)
        for order in again.orders.journal.open_orders():
            again.orders.add(order)
        again.parts.orders.positions.restore()
        again.parts.orders.risk.keeper.restore(again.orders.journal.open_orders())
        again.halts.load()
        again.session.named(",".join(ACCOUNTS))
        again.connect(1_000_000 + next(self.keys))
        self.middle = again
        for each in self.open:
            report(again, each.number, "Submitted")

    # -- orders

    def send(self, client: str, cmd: str, key: str, **args: Any) -> tuple[dict[str, Any], list[str]]:
        """Return the reply to a command, and the names of the requests that TWS gets of it."""
        self.middle.link.take()
        given = {"id": f"{cmd} {next(self.keys)}", "cmd": cmd, "client": client, "key": key, "args": args}
        reply = self.middle.call(given)
        self.middle.pass_time(0.01)
        names = [each.name for each in self.middle.link.take()]
        return reply, [name for name in names if name in ("placeOrder", "cancelOrder")]

    @rule(
        client=st.sampled_from(CLIENTS),
        account=st.sampled_from(ACCOUNTS),
        symbol=st.sampled_from(("AAPL", "AAPL", "MSFT")),
        action=st.sampled_from(("BUY", "SELL")),
        quantity=quantities,
    )
    def place(self, client: str, account: str, symbol: str, action: str, quantity: int) -> None:
        key = f"k{next(self.keys)}"
        wanted = {**LIMIT, "account": account, "action": action, "totalQuantity": quantity}
        allowed = self.may_leave(client, account, symbol, action, quantity)
        reply, sent = self.send(client, "placeOrder", key, contract=CONTRACTS[symbol], order=wanted)
        about = f"{client} {action} {quantity} {symbol} in {account}; halts {self.halts}; positions {self.positions}"
        if allowed:
            assert reply["ok"], f"{about}: {reply['error']['message']}"
            assert sent == ["placeOrder"], about
            number = reply["result"]["orderId"]
            report(self.middle, number, "Submitted")
            self.open.append(Open(client, key, account, symbol, action, quantity, number))
        else:
            assert not reply["ok"], f"{about}; working {self.open}"
            assert reply["error"]["code"] == "E_HALTED", reply
            assert sent == [], about

    @rule()
    def place_each(self) -> None:
        """Place an order of each kind, and cancel it if it has left."""
        for client, account, action in itertools.product(CLIENTS, ACCOUNTS, ("BUY", "SELL")):
            for quantity in (50, 100, 150):
                before = len(self.open)
                self.place(client, account, "AAPL", action, quantity)
                if len(self.open) > before:
                    self.cancel_one(self.open[-1])

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        """A cancel passes, whatever is halted."""
        self.cancel_one(data.draw(st.sampled_from(self.open)))

    def cancel_one(self, order: Open) -> None:
        reply, sent = self.send(order.client, "cancelOrder", order.key)
        assert reply["ok"], reply
        assert sent == ["cancelOrder"]
        report(self.middle, order.number, "Cancelled")
        self.open.remove(order)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def fill(self, data: st.DataObject) -> None:
        self.fill_one(data.draw(st.sampled_from(self.open)))

    def fill_one(self, order: Open) -> None:
        contract = {**CONTRACTS[order.symbol], "conId": CON_IDS[order.symbol]}
        execution = {
            "execId": f"0001.{order.number}.01", "orderRef": f"{order.client}/{order.key}", "clientId": CLIENT_ID,
            "orderId": order.number, "permId": 9000 + order.number, "acctNumber": order.account, "price": 10.0,
            "side": "BOT" if order.action == "BUY" else "SLD", "shares": float(order.quantity),
            "cumQty": float(order.quantity), "avgPrice": 10.0,
        }  # fmt: skip
        self.middle.hear("execDetails", reqId=-1, contract=contract, execution=execution)
        report(self.middle, order.number, "Filled", float(order.quantity))
        self.open.remove(order)
        place = order.client, order.account, order.symbol
        signed = order.quantity if order.action == "BUY" else -order.quantity
        self.positions[place] = self.positions.get(place, 0) + signed


HaltMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
TestHalt = HaltMachine.TestCase
