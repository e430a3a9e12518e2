"""Order validation: IB's error codes and texts for an invalid order, before the order is placed.

Checks are small functions in a list, in the order in which a TWS checks. Each check raises `RequestRejected` or does
nothing.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

from ibbridge.sim.market import ib_times
from ibbridge.sim.market.prices import to_tick
from ibbridge.sim.rejections import RequestRejected

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ibbridge.sim.context import Data
    from ibbridge.sim.market.instruments import Instrument


class Trigger(Enum):
    """Event that an order waits for before the order works."""

    NONE = "none"
    STOP = "stop"
    TOUCH = "touch"
    TRAIL = "trail"


class OrderType(NamedTuple):
    """Behaviour of an order type: with or without a limit, and the event that triggers the order."""

    limit: bool
    trigger: Trigger = Trigger.NONE


ORDER_TYPES: dict[str, OrderType] = {
    "MKT": OrderType(limit=False),
    "LMT": OrderType(limit=True),
    "STP": OrderType(limit=False, trigger=Trigger.STOP),
    "STP LMT": OrderType(limit=True, trigger=Trigger.STOP),
    "MIT": OrderType(limit=False, trigger=Trigger.TOUCH),
    "LIT": OrderType(limit=True, trigger=Trigger.TOUCH),
    "TRAIL": OrderType(limit=False, trigger=Trigger.TRAIL),
    "TRAIL LIMIT": OrderType(limit=True, trigger=Trigger.TRAIL),
    # There are no auctions and no pegs here, so these types work as the plain types that they reduce to.
    "MTL": OrderType(limit=False),
    "MKT PRT": OrderType(limit=False),
    "STP PRT": OrderType(limit=False, trigger=Trigger.STOP),
    "MOC": OrderType(limit=False),
    "LOC": OrderType(limit=True),
    "MIDPRICE": OrderType(limit=False),
    "REL": OrderType(limit=False),
    "PEG MKT": OrderType(limit=False),
    "PEG MID": OrderType(limit=False),
    "SNAP MKT": OrderType(limit=False),
    "SNAP MID": OrderType(limit=False),
    "SNAP PRIM": OrderType(limit=False),
    "VOL": OrderType(limit=False),
    "BOX TOP": OrderType(limit=False),
    "PEG STK": OrderType(limit=False),
    "PEG PRIM": OrderType(limit=False),
    "PASSV REL": OrderType(limit=False),
    "REL + MKT": OrderType(limit=False),
    "PEG BEST": OrderType(limit=True),
    "REL + LMT": OrderType(limit=True),
    "LMT + MKT": OrderType(limit=True),
    "PEG BENCH": OrderType(limit=False),
    **{word: OrderType(limit=False) for word in ("PEGMKT", "PEGMID", "PEGSTK", "PEGBENCH", "PASSVREL", "BOXTOP")},
    "PEGBEST": OrderType(limit=True),
}
TIMES_IN_FORCE = ("DAY", "GTC", "IOC", "FOK", "GTD", "OPG", "AUC", "DTC", "GTX", "Minutes")
ACTIONS = ("BUY", "SELL", "SSHORT", "SLONG")
_PRICES = ("lmtPrice", "auxPrice", "trailStopPrice")
_NUMBERS = (*_PRICES, "totalQuantity", "cashQty", "trailingPercent", "lmtPriceOffset")


def refuse_order(cause: str) -> RequestRejected:
    """Return TWS's error for an invalid order, with the cause."""
    return RequestRejected(321, f"Error validating request.-'bF' : cause - {cause}")


def order_type(order: Mapping[str, Any]) -> OrderType:
    """Return the behaviour of the type of a checked order."""
    return ORDER_TYPES[order["orderType"]]


def _tradable(instrument: Instrument, _: Mapping[str, Any]) -> None:
    if not instrument.profile.orders:
        raise RequestRejected(412, "The contract is not available for trading.")


def _action(_: Instrument, order: Mapping[str, Any]) -> None:
    if order.get("action") not in ACTIONS:
        raise RequestRejected(303, "Invalid action: " + str(order.get("action", "")))


def _type(_: Instrument, order: Mapping[str, Any]) -> None:
    if order.get("orderType") not in ORDER_TYPES:
        raise refuse_order("Invalid order type was entered")


def _numbers(_: Instrument, order: Mapping[str, Any]) -> None:
    for name in _NUMBERS:
        value = order.get(name)
        if value is not None and not abs(value) <= 1e9:  # negated, so that a NaN fails too
            raise refuse_order(f"Invalid value of {name}")


def _quantity(instrument: Instrument, order: Mapping[str, Any]) -> None:
    quantity = order.get("totalQuantity")
    if quantity is None and order.get("cashQty"):
        raise RequestRejected(10244, "Cash Quantity cannot be used for this order.")
    if not quantity and order.get("hedgeType") and order.get("parentId"):
        return  # the parent's fill determines the size
    if not quantity:
        raise RequestRejected(434, "The order size cannot be zero.")
    if quantity < 0:
        raise refuse_order("Invalid order size")
    if instrument.profile.increment == 1 and quantity % 1:
        raise RequestRejected(10243, "Fractional-sized order cannot be placed via API. Please use desktop version.")


def leg_prices(instrument: Instrument, order: Mapping[str, Any]) -> float | None:
    """Return the limit of a combination by the prices of its legs; None unless every leg has one."""
    prices = [leg.get("price") for leg in order.get("orderComboLegs") or ()]
    if not prices or len(prices) != len(instrument.legs):
        return None
    total = 0.0
    for price, (_, ratio) in zip(prices, instrument.legs, strict=True):
        if price is None:
            return None
        total += ratio * price
    return round(total, 8)


def _needs_prices(instrument: Instrument, order: Mapping[str, Any]) -> None:
    kind = order_type(order)
    lacks_limit = kind.limit and order.get("lmtPrice") is None and kind.trigger is not Trigger.TRAIL
    lacks_volatility = order["orderType"] == "VOL" and not order.get("volatility")
    lacks_limit = lacks_limit and leg_prices(instrument, order) is None
    lacks_stop = kind.trigger in (Trigger.STOP, Trigger.TOUCH) and not order.get("auxPrice")
    lacks_trail = kind.trigger is Trigger.TRAIL and not order.get("auxPrice") and not order.get("trailingPercent")
    if lacks_limit or lacks_stop or lacks_trail or lacks_volatility:
        raise RequestRejected(107, "Cannot transmit incomplete order.")


def _on_tick(instrument: Instrument, order: Mapping[str, Any]) -> None:
    for name in _PRICES:
        price = order.get(name)
        if price is not None and abs(to_tick(price, instrument.tick) - price) > 1e-8:
            raise RequestRejected(110, "The price does not conform to the minimum price variation for this contract.")


def _positive(instrument: Instrument, order: Mapping[str, Any]) -> None:
    if order_type(order).limit and not instrument.legs and (order.get("lmtPrice") or 0) < 0:
        raise refuse_order("Invalid price")


def _time_in_force(_: Instrument, order: Mapping[str, Any]) -> None:
    tif, kind = order.get("tif") or "DAY", order["orderType"]
    if tif not in TIMES_IN_FORCE:
        raise refuse_order("Invalid time in force")
    if kind in ("MOC", "LOC") and tif != "DAY":
        raise RequestRejected(113, "The Time-in-Force must be DAY for MOC or LOC orders.")
    if tif in ("IOC", "FOK") and ORDER_TYPES[kind].trigger is not Trigger.NONE:
        raise RequestRejected(111, "The TIF (Time-in-Force) and the order type are incompatible.")
    if tif == "GTD" and not _is_time(order.get("goodTillDate", "")):
        raise RequestRejected(334, "Invalid good-till-date specification")
    if order.get("goodAfterTime", "") and not _is_time(order["goodAfterTime"]):
        raise RequestRejected(336, "The date, time, or time-zone entered is invalid.")


def _is_time(text: str) -> bool:
    try:
        ib_times.read(text)
    except ValueError:
        return False
    return True


CHECKS: Sequence[Callable[[Instrument, Mapping[str, Any]], None]] = (
    _tradable,
    _action,
    _type,
    _numbers,
    _quantity,
    _needs_prices,
    _on_tick,
    _positive,
    _time_in_force,
)


def check(instrument: Instrument, order: Mapping[str, Any]) -> None:
    """Raise `RequestRejected` with the first fault of an order."""
    for test in CHECKS:
        test(instrument, order)


def choose_account(order: Data, accounts: Sequence[str]) -> str:
    """Return the account of an order. Raise `RequestRejected` if the account is required and missing, or unknown."""
    named = order.get("account", "")
    if not named and len(accounts) > 1:
        raise RequestRejected(435, "You must specify an account.")
    if named and named not in accounts:
        raise refuse_order(f"Invalid account code '{named}'")
    return str(named or accounts[0])
