"""A daemon that is killed at any write between a command and a fill: its orders afterwards, beside the simulator's.

A round places a few orders, and the daemon is killed before one of its writes to a file or a socket, chosen by number.
The next daemon begins on the same store. Nobody asks it for anything before the orders are looked at.
"""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import msgpack
import pytest
import zmq

from tests.attacks.preload import Shaken
from tests.integration.rig import AAPL, PATIENCE, Market
from tests.integration.witness import patience

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ibbridge.sim.orders.registry import OrderBook

Shown = tuple[str, str | None]
"""State and reason of an order, as the daemon shows them."""

OWNER = "me"
NEVER = {"action": "BUY", "totalQuantity": 1, "orderType": "LMT", "lmtPrice": 1.0}
SYMBOLS = ("AAPL", "MSFT", "NVDA", "SPY")
"""Symbols of the rounds, in turn: TWS works at most 20 orders of one contract."""
ORDERS: dict[str, dict[str, Any]] = {
    "rest": {"order": NEVER},
    "fill": {"order": {"action": "BUY", "totalQuantity": 1, "orderType": "MKT"}},
    "much": {"order": {"action": "BUY", "totalQuantity": 1_000_000, "orderType": "MKT"}},
    "gone": {"order": NEVER},
    "top": {"order": {**NEVER, "transmit": False}},
    "leg": {"order": {**NEVER, "action": "SELL", "lmtPrice": 9999.0}, "parent": "top"},
}
"""Orders of a round by the ends of their keys. TWS rejects `much`, and `gone` is cancelled."""

STATES: dict[str, set[Shown]] = {
    "": {("held", None)},
    "PreSubmitted": {("working", None)},
    "Submitted": {("working", None), ("cancelling", None)},
    "Filled": {("done", "filled")},
    "Cancelled": {("done", "cancelled")},
    "ApiCancelled": {("done", "cancelled")},
    "Inactive": {("done", "rejected")},
}
"""States that the daemon may show by the simulator's status."""

ABSENT: set[Shown] = {
    ("done", "not_sent"),
    ("done", "not_at_tws"),
    ("done", "rejected"),
    ("held", None),
}
"""States of orders that the simulator does not have. TWS lists no order that it only keeps, so nobody can tell whether
an order that was written with `transmit` false has arrived."""

UNKNOWN = ("unknown", None)


class AtTws(NamedTuple):
    """An order as the simulator has it."""

    order_id: int
    status: str
    filled: float


def at_tws(book: OrderBook) -> dict[str, AtTws]:
    """Return the orders of the client by their keys. None may be there twice."""
    found: dict[str, AtTws] = {}
    for each in book.tickets:
        owner, key = each.order["orderRef"].split("/")
        assert owner == OWNER
        assert key not in found, f"{key} was placed twice"
        found[key] = AtTws(each.order_id, each.status, each.filled)
    return found


def executed(book: OrderBook) -> set[str]:
    """Return the ids of all executions."""
    return {execution["execId"] for _, execution, _ in book.executions}


def arguments(number: int, end: str) -> dict[str, Any]:
    """Return the arguments of the order of a round."""
    args = {"contract": {**AAPL, "symbol": SYMBOLS[number % len(SYMBOLS)]}, **ORDERS[end]}
    return {**args, "parent": f"{number}-{args['parent']}"} if "parent" in args else args


class Trial:
    """A daemon that is killed again and again, and what its client has been told."""

    def __init__(self, market: Market, bridge: Shaken) -> None:
        self.accepted: dict[str, dict[str, Any]] = {}
        """Replies that accept an order, by its key."""
        self.used: set[str] = set()
        """Keys of all orders that were sent to the daemon."""
        self._market = market
        self._bridge = bridge
        self._rounds = itertools.count(1)
        self._ids = itertools.count(10_000)
        self._epochs: set[int] = set()

    # -- a round

    def begin(self) -> None:
        """Wait until the daemon takes orders, and has compared its orders with those of TWS."""
        patience(lambda: self._bridge.do("status")["tws"]["stage"] == "ready", "the connection to TWS")
        patience(self._reconciled, "a reconciliation")

    def _reconciled(self) -> bool:
        bodies = self._told("sys.bridge.")
        done = {each["epoch"] for each in bodies if each["type"] == "reconciled" and each["data"]["complete"]}
        new = done - self._epochs
        self._epochs |= new
        return bool(new)

    def _told(self, stream: str) -> list[dict[str, Any]]:
        """Return all bodies that were published on a stream."""
        if not self._bridge.do("snapshot", prefix=stream)["streams"]:
            return []
        return [msgpack.unpackb(body) for _, body in self._bridge.replay(stream, 1)]

    def play(self, write: int) -> int:
        """Have the daemon killed at a write while a client trades. Return the number of the round."""
        number = next(self._rounds)
        commands = [("placeOrder", f"{number}-{end}", arguments(number, end)) for end in ORDERS]
        commands.insert(4, ("cancelOrder", f"{number}-gone", {}))
        asked: dict[int, tuple[str, str]] = {}
        with self._bridge.context.socket(zmq.DEALER) as peer:
            peer.linger = 0
            peer.connect(self._bridge.rep)
            peer.send_multipart([b"", msgpack.packb({"id": 1, "cmd": "ping", "args": {}})])
            peer.recv_multipart()
            self._bridge.kill_at(write)
            for name, key, args in commands:
                command_id = next(self._ids)
                asked[command_id] = name, key
                self.used.add(key)
                command = {"id": command_id, "cmd": name, "args": args, "client": OWNER, "key": key}
                peer.send_multipart([b"", msgpack.packb(command)])
            until = time.monotonic() + PATIENCE
            while (alive := self._bridge.process.poll() is None) or peer.poll(50):
                assert time.monotonic() < until, "the daemon lives on"
                if alive and write == FAR and len(asked) == 0 and self._over(number):
                    break
                if peer.poll(5):
                    self._hear(asked, msgpack.unpackb(peer.recv_multipart()[1]))
        return number

    def _hear(self, asked: dict[int, tuple[str, str]], reply: dict[str, Any]) -> None:
        name, key = asked.pop(reply["id"])
        assert reply["ok"], reply
        if name == "placeOrder":
            self.accepted[key] = reply["result"]

    def _over(self, number: int) -> bool:
        ends = {f"{number}-fill": "Filled", f"{number}-gone": "Cancelled"}
        return ends.items() <= {key: each.status for key, each in self._market.book(at_tws).items()}.items()

    def writes(self) -> int:
        """Return the number of writes of a round at whose end an order is filled and another cancelled."""
        self.play(FAR)
        self._check()
        return FAR - self._bridge.writes_left

    def run(self, write: int) -> None:
        """Play a round in which the daemon is killed, begin again, and check the orders."""
        number = self.play(write)
        self._bridge.process.wait(PATIENCE)
        self._bridge.kill_at(0)
        self._bridge.start()
        self.begin()
        self._check()
        self._repeat(number)

    # -- checks

    def states(self) -> dict[str, Shown]:
        """Return the states in the snapshot, by the keys of the orders."""
        (stream,) = self._bridge.do("snapshot", prefix=f"ord.{OWNER}.")["streams"] or [{"messages": []}]
        bodies = [msgpack.unpackb(body) for _, body in stream["messages"]]
        shown = [each for each in bodies if each["type"] == "orderState"]
        return {each["ref"]["key"]: (each["data"]["state"], each["data"]["reason"]) for each in shown}

    def wrong(self, *, last: bool = False) -> dict[str, tuple[Any, Any]]:
        """Return the orders of which daemon and simulator say different things. In the `last` check none is unknown."""
        there, states = self._market.book(at_tws), self.states()
        found = {}
        for key in self.used | there.keys() | states.keys():
            order, state = there.get(key), states.get(key)
            if order is not None:
                right = state in STATES[order.status]
            else:
                right = (
                    state in ABSENT or (state == UNKNOWN and not last) or (state is None and key not in self.accepted)
                )
            if not right:
                found[key] = state, order
        return found

    def _check(self) -> None:
        try:
            patience(lambda: not self.wrong(), "agreement")
        except AssertionError:
            raise AssertionError(self.wrong()) from None

    def _repeat(self, number: int) -> None:
        """Send the orders of a round again: each that the daemon knows is the first order."""
        known = self.states()
        there = self._market.book(at_tws)
        for end in ORDERS:
            key = f"{number}-{end}"
            reply = self._bridge.call("placeOrder", OWNER, key, **arguments(number, end))
            assert reply["ok"], (reply, known.get(key), there.get(key))
            assert reply.get("dup", False) == (key in known), (key, known.get(key), reply)
            if key in there:
                assert reply["result"]["orderId"] == there[key].order_id
            self.accepted[key] = reply["result"]
        other = {"contract": AAPL, "order": {**NEVER, "totalQuantity": 2}}
        reply = self._bridge.call("placeOrder", OWNER, f"{number}-rest", **other)
        assert reply["error"]["code"] == "E_KEY_REUSED"

    def conclude(self) -> None:
        """Wait until nothing is unknown, and check everything that was ever told."""
        try:
            patience(lambda: not self.wrong(last=True), "the end of all doubts")
        except AssertionError:
            raise AssertionError(self.wrong(last=True)) from None
        self._check_told()
        told = self._told(f"exec.{OWNER}.")
        reported = [each["data"]["execution"]["execId"] for each in told if each["type"] == "execDetails"]
        assert sorted(reported) == sorted(self._market.book(executed))

    def _check_told(self) -> None:
        """Check that no order was called over, or never placed, that is not."""
        there = self._market.book(at_tws)
        told = self._told(f"ord.{OWNER}.")
        assert [each["seq"] for each in told] == list(range(1, len(told) + 1))
        ends: dict[str, str] = {}
        changes: dict[str, int] = {}
        for each in told:
            key, data = each["ref"]["key"], each["data"]
            if each["type"] == "error" and data["errorCode"] == 504 and data["ends"]:
                assert key not in there, each
            if each["type"] == "orderState":
                assert data["changes"] > changes.get(key, 0), each
                assert ends.get(key, data["reason"]) == data["reason"], each
                changes[key] = data["changes"]
                ends |= {key: data["reason"]} if data["state"] == "done" else {}


FAR = 2**40
"""A write that is never reached."""


def killed_at(version: int, points: Sequence[float]) -> None:
    """Kill the daemon at these parts of its writes between a command and the end of the round."""
    with Market(newest=version, speed=50) as market, Shaken(market.port, bus__heartbeat=0.2) as bridge:
        trial = Trial(market, bridge)
        trial.begin()
        writes = trial.writes()
        for point in points:
            trial.run(1 + int(point * writes))
        trial.conclude()


def test_a_daemon_that_is_killed_at_any_write_knows_its_orders_afterwards():
    killed_at(200, [point / 20 for point in range(20)])


PARTS = [[(point * 10 + part) / 200 for point in range(20)] for part in range(10)]


@pytest.mark.long
@pytest.mark.parametrize("version", [178, 226])
@pytest.mark.parametrize("points", PARTS, ids=range(10))
def test_a_daemon_that_is_killed_at_one_of_200_writes_knows_its_orders_afterwards(version, points):
    killed_at(version, points)


def test_an_order_that_waits_when_the_daemon_is_killed_is_over_afterwards_and_its_owner_is_told():
    with Market(newest=200) as market, Shaken(market.port, pacing__rate=10) as bridge:
        trial = Trial(market, bridge)
        trial.begin()
        keys = [f"w{number}" for number in range(18)]
        bridge.place_all(keys, contract=AAPL, order=NEVER)
        bridge.process.kill()
        bridge.process.wait(PATIENCE)
        left = set(market.book(at_tws))
        assert len(left) < len(keys)
        bridge.start()
        trial.begin()
        patience(lambda: trial.states() == {key: ("working" if key in left else "done",
                 None if key in left else "not_sent") for key in keys}, "all states")  # fmt: skip
        told = [each for each in trial._told(f"ord.{OWNER}.") if each["type"] == "error"]
        assert {each["ref"]["key"] for each in told if each["data"]["ends"]} == set(keys) - left
        for key in keys:
            assert bridge.call("placeOrder", OWNER, key, contract=AAPL, order=NEVER)["dup"] is True
        assert set(market.book(at_tws)) == left
