"""Thirty days with whatever can go wrong between the daemon and TWS, in virtual time, shell and all.

One seeded world: faults come at random and overlap, clients ask for things all the while. In the end everything is as
it should be: ready, every subscription alive, every question answered or told to be over, nothing left over, and what
TWS knows of each order is known; TWS was never sent more than it takes, and no number was ever missing.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.simulated_world import BEGIN, Here, Tws, serving
from tests.support.virtual_loop import Loop, run

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.long

DAY = 86_400.0
PORT = 4002
SYMBOLS = ("AAPL", "MSFT", "GOOG", "AMZN", "NVDA", "TSLA", "META", "IBM")
DAILY = {
    "endDateTime": "",
    "durationStr": "1 D",
    "barSizeSetting": "1 hour",
    "whatToShow": "TRADES",
    "useRTH": 1,
    "formatDate": 2,
    "keepUpToDate": False,
    "chartOptions": [],
}
LIMIT = {"action": "BUY", "totalQuantity": 1, "orderType": "LMT", "lmtPrice": 1.0}
OPEN = ("acked", "working", "cancelling")
"""States of an order that TWS has, and that is not over."""

REFUSALS = frozenset(("E_NOT_CONNECTED", "E_BUSY", "E_PACING"))
"""What a client may be told, whatever goes wrong."""


def stock(symbol: str) -> dict[str, Any]:
    return {"symbol": symbol, "secType": "STK", "exchange": "SMART", "currency": "USD"}


def _faults(luck: random.Random) -> list[dict[str, Any]]:
    """Return a fault of each kind, with random lengths and numbers."""
    seconds, farm = round(luck.expovariate(1 / 120), 1) + 0.1, luck.choice(("usfarm", "usfuture", "cashfarm"))
    return [
        {"do": "refuse", "for": seconds},
        {"do": "accept-close", "times": luck.randrange(1, 20)},
        {"do": "stall", "stage": luck.choice(("accepted", "version", "start", "ready")), "for": seconds},
        {"do": "half-open", "for": seconds},
        {"do": "drop", "bytes": luck.randrange(2000)},
        {"do": "close", "abort": luck.random() < 0.5},
        {"do": "split", "bytes": luck.randrange(1, 9), "for": seconds},
        {"do": "merge", "seconds": 0.2, "for": seconds},
        {"do": "slow", "rate": luck.randrange(10, 5000), "for": seconds},
        {"do": "greet", "announce": luck.choice((-1, 9999)), "times": 1},
        {"do": "id-in-use", "how": luck.choice(("error", "close")), "times": luck.randrange(1, 4)},
        {"do": "1100", "repeat": luck.randrange(1, 30), "every": 1, "for": seconds},
        {"do": "2110", "for": seconds},
        {"do": "1101"},
        {"do": "farm", "code": 2103, "farm": farm, "for": seconds},
        {"do": "farm", "code": 2105, "farm": "ushmds", "for": seconds},
        {"do": "farm", "code": 2157, "farm": "secdefnj", "for": seconds},
        {"do": "competing", "for": seconds},
        {"do": "1300", "port": 4003},
        {"do": "restart", "for": seconds, "ids": luck.randrange(-50, 50)},
        {"do": "order-events", "how": luck.choice(("duplicate", "reorder", "lose")), "times": luck.randrange(1, 5)},
        {"do": "reject", "code": 201, "times": 1},
        {"do": "read-only", "times": 2},
        {"do": "garbage", "kind": luck.choice(("unknown", "undecodable", "surplus", "empty", "length"))},
        {"do": "ignore", "requests": ["reqContractDetails", "reqCurrentTime"], "for": seconds},
    ]


class Clients:
    """Ask for this and that, and know what they were promised."""

    def __init__(self, here: Here, luck: random.Random) -> None:
        self.streams: dict[str, int] = {}
        self.counts: Counter[str] = Counter()
        self.orders: set[str] = set()  # that were accepted, by their orderRef
        self._here = here
        self._luck = luck
        self._acts: list[Callable[[str], Any]] = [self._stream, self._question, self._history, self._order]

    def one(self) -> None:
        """Any of it."""
        self._luck.choice(self._acts)(self._luck.choice(SYMBOLS))

    def _ask(self, cmd: str, key: str | None = None, **args: Any) -> dict[str, Any]:
        reply = self._here.call(cmd, key=key, **args)
        self.counts["accepted" if reply["ok"] else reply["error"]["code"]] += 1
        assert reply["ok"] or reply["error"]["code"] in REFUSALS, reply
        return reply

    def _stream(self, symbol: str) -> None:
        if symbol in self.streams:
            if self._ask("cancelMktData", id=self.streams[symbol])["ok"]:
                del self.streams[symbol]
        elif (reply := self._ask("reqMktData", contract=stock(symbol)))["ok"]:
            self.streams[symbol] = reply["id"]

    def _question(self, symbol: str) -> None:
        if self._luck.random() < 0.5:
            self._ask("reqContractDetails", contract=stock(symbol))
        else:
            self._ask("reqHeadTimeStamp", contract=stock(symbol), whatToShow="TRADES", useRTH=1, formatDate=2)

    def _history(self, symbol: str) -> None:
        args: dict[str, Any] = {"contract": stock(symbol), **DAILY}
        self._ask("reqHistoricalData", **args)

    def _order(self, symbol: str) -> None:
        key = f"k{self.counts.total()}"
        order = {**LIMIT, "lmtPrice": self._luck.choice((1.0, 1.0, 99_999.0))}
        if self._ask("placeOrder", key, contract=stock(symbol), order=order)["ok"]:
            self.orders.add(f"me/{key}")
            if self._luck.random() < 0.9:
                self._ask("cancelOrder", key)


async def _days(loop: Loop, seed: int, days: float, *, pace: int = 50, without: str = "") -> dict[str, Any]:
    luck = random.Random(seed)
    tws = Tws(port=PORT, seed=seed, tick=30.0, start=BEGIN, speed=0.002, newest=178, pace=pace, history=True)
    async with tws as simulator:
        here = Here(PORT, bus__heartbeat=60, tws__probe_after=60, tws__silence_timeout=180, pacing__rate=pace - 1)
        clients = Clients(here, luck)
        with serving(here) as task:
            end = loop.now + days * DAY
            while loop.now < end:
                await asyncio.sleep(luck.expovariate(1 / 3600))
                assert not task.done()
                for _ in range(luck.randrange(8)):
                    clients.one()
                fault = luck.choice(_faults(luck))
                if fault["do"] != without:
                    simulator.fault(fault)
            simulator.fault({"do": "off"})
            await _all_is_well(here, clients, simulator)
    _no_storm(loop)
    heard = here.heard.types
    assert min(clients.counts["accepted"], heard["gap"], heard["contractDetailsEnd"]) > 3 * days
    return simulator.figures()


async def _all_is_well(here: Here, clients: Clients, simulator: Tws) -> None:
    """In the end: ready, every subscription alive, every question answered."""
    await here.until_ready()
    await asyncio.sleep(1200)
    before, tasks = dict(here.heard.seqs), len(asyncio.all_tasks())
    await asyncio.sleep(4 * 3600)
    alive = {stream for stream, seq in here.heard.seqs.items() if seq > before.get(stream, 0)}
    assert {f"md.{symbol}-STK-SMART-USD" for symbol in clients.streams} <= alive
    status = here.call("status")["result"]
    assert status["tws"]["stage"] == "ready"
    assert (status["alarms"], status["pacing"]["queued"]) == ([], 0)
    assert status["requests"] == len(clients.streams)
    figures = simulator.figures()
    assert figures["subscriptions"][1] == len(clients.streams)
    assert len(asyncio.all_tasks()) <= tasks
    _orders_are_known(here, clients, simulator)


def _orders_are_known(here: Here, clients: Clients, simulator: Tws) -> None:
    """The daemon knows of each order what TWS knows, and TWS was never given an id that does not rise."""
    working = {ticket.order["orderRef"] for ticket in simulator.core.orders.book.working()}
    assert {*here.heard.orders} == clients.orders >= working
    for ref, state in here.heard.orders.items():
        assert state["state"] in OPEN if ref in working else state["state"] == "done", (ref, state)
    ended = Counter(state["reason"] for state in here.heard.orders.values())
    assert {*ended} >= {"filled", "cancelled", "not_sent", "rejected"}, ended
    assert simulator.placed == sorted({*simulator.placed})


def _no_storm(loop: Loop) -> None:
    """TWS is never tried more than twice in any second, nor thirty times in any minute."""
    times = [when for when, _ in loop.tried]
    for count, seconds in ((3, 1.0), (31, 60.0)):
        assert all(later - earlier > seconds for earlier, later in zip(times, times[count - 1 :], strict=False))


def test_thirty_days_of_whatever_can_go_wrong() -> None:
    run(lambda loop: _days(loop, 1, 30))


def test_ten_days_in_which_tws_takes_little_and_is_never_sent_more() -> None:
    """Without the fault after which TWS reads at once what came over minutes: then it counts what nobody sent so."""
    figures = run(lambda loop: _days(loop, 2, 10, pace=11, without="half-open"))
    assert figures["rates"][1] == 10, "as fast as it may"
    assert (figures["violations"], figures["historyViolations"]) == ({}, {})
