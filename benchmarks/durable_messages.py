"""Durable messages for the benchmarks: orders, fills and account values, written by the codec's server side.

No client has placed these orders (TWS also reports orders from its own windows), so the daemon need place none. `place`
gives the topic of each message after docs/protocol.md, not after the daemon's code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ticks import contract

from ibbridge.codec import Message

if TYPE_CHECKING:
    import random

ACCOUNT = "DU1234567"
ORDERS = 20
POSITIONS = 50
VALUES = ("NetLiquidation", "AvailableFunds", "BuyingPower", "TotalCashBalance", "UnrealizedPnL", "RealizedPnL")
CURRENCIES = ("USD", "EUR", "BASE")

MIX = {"orderStatus": 35, "updateAccountValue": 30, "updatePortfolio": 20, "openOrder": 10, "execDetails": 5}
"""Share of each type, in percent."""

CLASSES = ("ord", "exec", "acct")
"""First topic components of the messages."""


def durable(chance: random.Random) -> Message:
    """Return a random durable message."""
    (name,) = chance.choices(list(MIX), list(MIX.values()))
    return Message(name, _MADE[name](chance))


def place(message: Message) -> tuple[str, ...]:
    """Return the topic components of a message."""
    name, data = message
    if name.startswith("update"):
        return "acct", data["accountName"], name
    if name == "execDetails":
        return "exec", "ext", name
    return "ord", "ext", f"~{data.get('order', data)['permId']}", name


def _order(chance: random.Random) -> dict[str, Any]:
    return {"orderId": 0, "clientId": 0, "permId": 700 + chance.randrange(ORDERS)}


def _price(chance: random.Random) -> float:
    return chance.randrange(1000, 50000) / 100


def _status(chance: random.Random) -> dict[str, Any]:
    filled = float(chance.randrange(100))
    done = {"status": "Submitted", "filled": filled, "remaining": 100 - filled, "avgFillPrice": _price(chance)}
    return {**_order(chance), **done, "parentId": 0, "lastFillPrice": _price(chance), "whyHeld": "", "mktCapPrice": 0.0}


def _open_order(chance: random.Random) -> dict[str, Any]:
    order = {**_order(chance), "action": "BUY", "totalQuantity": 100.0, "orderType": "LMT", "account": ACCOUNT}
    return {
        "orderId": 0,
        "contract": _held(chance),
        "order": {**order, "lmtPrice": _price(chance), "tif": "DAY"},
        "orderState": {"status": "Submitted"},
    }


def _fill(chance: random.Random) -> dict[str, Any]:
    # Without an execId, because the same messages are fed again and again, and the daemon tells of an execution once.
    execution = {**_order(chance), "acctNumber": ACCOUNT}
    what = {"time": "20261122 10:00:00 US/Eastern", "exchange": "ISLAND", "side": "BOT", "shares": 100.0}
    prices = {"price": _price(chance), "cumQty": 100.0, "avgPrice": _price(chance)}
    return {"reqId": -1, "contract": _held(chance), "execution": {**execution, **what, **prices}}


def _value(chance: random.Random) -> dict[str, Any]:
    about = {"key": chance.choice(VALUES), "currency": chance.choice(CURRENCIES), "accountName": ACCOUNT}
    return {**about, "val": f"{_price(chance)}"}


def _portfolio(chance: random.Random) -> dict[str, Any]:
    names = ("marketPrice", "marketValue", "averageCost", "unrealizedPNL", "realizedPNL")
    prices = {name: _price(chance) for name in names}
    return {"contract": _held(chance), "position": 100.0, **prices, "accountName": ACCOUNT}


def _held(chance: random.Random) -> dict[str, Any]:
    line = chance.randrange(POSITIONS)
    return {**contract(line), "conId": 1000 + line}


_MADE = {
    "orderStatus": _status,
    "openOrder": _open_order,
    "execDetails": _fill,
    "updateAccountValue": _value,
    "updatePortfolio": _portfolio,
}
