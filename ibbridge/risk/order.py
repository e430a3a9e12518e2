"""An order as the rules of the gate see it: who places it, what it trades, and what it may cost.

Pure. The module must not know limits, or how an order is sent.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from ibbridge.protocol.instrument_key import instrument_key

if TYPE_CHECKING:
    from collections.abc import Mapping

OrderName: TypeAlias = tuple[str, str]
"""Owner and key of an order."""

Place: TypeAlias = int | str
"""Name of an instrument in the book: its conId, or its key as long as the conId is not known."""

FOREIGN = "ext"
"""Owner of the orders that no client of this daemon has placed."""

COMBINATION, FOREX = "BAG", "CASH"
EXERCISE = "EXERCISE"
"""Order type of the exercise of an option, which is no order type of IB's."""

LARGEST = 1e30
"""Quantities and prices from here on are none: products of smaller ones are finite."""

_TYPES = {
    "MARKET": "MKT", "LIMIT": "LMT", "STOP": "STP", "STOP LIMIT": "STP LMT", "STOPLIMIT": "STP LMT",
    "STOPLMT": "STP LMT", "STPLMT": "STP LMT", "RELATIVE": "REL", "TRAILING STOP": "TRAIL", "BOXTOP": "BOX TOP",
    "LMT+MKT": "LMT + MKT", "LMT CLS": "LOC", "LMTCLS": "LOC", "MKTPRT": "MKT PRT", "MKT CLS": "MOC", "MKTCLS": "MOC",
    "MKT TO LMT": "MTL", "MKTTOLMT": "MTL", "REL+LMT": "REL + LMT", "REL+MKT": "REL + MKT", "STPPRT": "STP PRT",
    "STOP PROTECT": "STP PRT", "TRAILLMT": "TRAIL LIMIT", "TRAILLIMIT": "TRAIL LIMIT", "TRAIL LMT": "TRAIL LIMIT",
    "TRAILLIT": "TRAIL LIT", "TRAIL LMT+MKT": "TRAIL LMT + MKT", "TRAILMIT": "TRAIL MIT",
    "TRAIL REL+MKT": "TRAIL REL + MKT", "PASSVREL": "PASSV REL", "BOX_TOP": "BOX TOP",
}  # fmt: skip
"""Spellings that TWS takes for an order type, with the one that IB documents."""

LIMITED = frozenset(("LMT", "LOC", "STP LMT", "LIT", "TRAIL LIMIT", "TRAIL LIT", "QUOTE", "FUNARI"))
"""Order types that never execute at a price worse than their limit."""

TRIGGERED = frozenset(("STP", "STP LMT", "STP PRT", "MIT", "LIT"))
"""Order types whose auxPrice is the price that triggers them."""

AT_MARKET = frozenset((
    "MKT", "MTL", "MKT PRT", "BOX TOP", "LMT + MKT", "REL + MKT", "VWAP", "TRAIL MKT + LMT", "SNAP MKT", "AUC",
))  # fmt: skip
"""Order types that execute at once, at whatever price the market has."""

OFFSET = ("TRAIL", "REL", "PASSV", "PEG", "SNAP", "PPV", "PDV", "PMV", "PSV")
"""First words of order types whose auxPrice is a distance from the market's price."""

AT_MARKET_LATER = frozenset(
    ("STP", "STP PRT", "MIT", "MOC", "TRAIL", "TRAIL MIT", "TRAIL LMT + MKT", "TRAIL REL + MKT")
)
"""Order types that become market orders when they are triggered, or at the close."""

RELATIVE = ("REL", "PASSV REL")
"""Order types whose offset makes the price better for the other side, up to their limit."""

PRICED = LIMITED | {"MIDPRICE", "VOL", "VOLAT", "VOLATILITY", "FIX PEGGED", "FIXPEGGED", "REL + LMT", EXERCISE}
"""Order types that never execute at any price, even if they name no limit."""

BLOCKED = (1, 2)
"""ocaTypes with overfill protection: no other order of the group can fill while one does."""


class OrderLeg(NamedTuple):
    """Leg of a combination. `side` is 1 for a leg that is bought when the combination is.

    The conId names the contract of a leg. The other attributes are empty as long as the contract is not known;
    `multiplier` is None then.
    """

    con_id: int
    ratio: float
    side: int
    exchange: str = ""
    instrument: str = ""
    symbol: str = ""
    sec_type: str = ""
    currency: str = ""
    multiplier: float | None = None


class NamedContract(NamedTuple):
    """Contract of an order as TWS has named it. `multiplier` is None if it is not known."""

    con_id: int
    symbol: str
    sec_type: str
    exchange: str
    currency: str
    multiplier: float | None


class ProposedOrder(NamedTuple):
    """An order that a client wants to place, or the order that one becomes by a change.

    - `side`: 1 for a purchase, -1 for a sale, 0 if the action is neither.
    - `quantity`: the whole quantity, with what is filled; None if it is not known (allocations, not a number).
    - `cash_quantity`: the amount in the instrument's currency, instead of a quantity or beside it.
    - `limit_price`, `aux_price`, `trail_stop_price`, `limit_offset`: None where not given.
    - `percent_offset`, `trailing_percent`: 0.01 and 1 are one percent, as with IB.
    - `multiplier`: None if it is not known.
    - `parent`: the key of the parent order of the same client. `changes`: the order that it replaces.
    - `fault`: a value that is no number, or no action, in words.
    """

    client: str
    key: str
    account: str = ""
    instrument: str = ""
    con_id: int = 0
    symbol: str = ""
    sec_type: str = ""
    exchange: str = ""
    currency: str = ""
    multiplier: float | None = 1.0
    legs: tuple[OrderLeg, ...] = ()
    side: int = 1
    quantity: float | None = 0.0
    cash_quantity: float | None = None
    order_type: str = "LMT"
    limit_price: float | None = None
    aux_price: float | None = None
    trail_stop_price: float | None = None
    limit_offset: float | None = None
    percent_offset: float | None = None
    trailing_percent: float | None = None
    tif: str = "DAY"
    outside_rth: bool = False
    oca_group: str = ""
    oca_type: int = 0
    parent: str = ""
    changes: OrderName | None = None
    fault: str = ""

    @property
    def name(self) -> OrderName:
        """Owner and key of the order: those of the order that it changes, if that is another owner's."""
        return self.changes or (self.client, self.key)


_SIDES = {"BUY": 1, "SLONG": 1, "SELL": -1, "SSHORT": -1}


def proposed(
    client: str,
    key: str,
    args: Mapping[str, Any],
    *,
    account: str = "",
    parent: str = "",
    changes: OrderName | None = None,
    legs: tuple[OrderLeg, ...] | None = None,
    instrument: str | None = None,
    named: NamedContract | None = None,
) -> ProposedOrder:
    """Return the order in the arguments of a `placeOrder`, under IB's names.

    `account` holds if the order names none. `parent` is the key of the parent. `legs` are those of a combination, if
    the caller knows their contracts; else they are taken from the contract. `instrument` is the key of the contract, if
    the caller has it. `named` is what TWS has said of the contract: it fills in what the arguments leave out.
    """
    contract, order = args.get("contract") or {}, args.get("order") or {}
    read = _OrderReader(order)
    sec_type = str(contract.get("secType") or "").upper()
    side = _SIDES.get(str(order.get("action") or "").upper(), 0)
    if not side:
        read.faults.append(f"action is {str(order.get('action'))[:20]!r}")
    quantity = read.number("totalQuantity") if not _allocated(order) else None
    if quantity is not None and quantity < 0:
        read.faults.append("totalQuantity is negative")
    cash = read.number("cashQty") or None
    if cash is not None and cash < 0:
        read.faults.append("cashQty is negative")
    if quantity == 0 and cash is None:
        read.faults.append("totalQuantity is 0")
    if sec_type == COMBINATION and legs is None:
        legs = tuple(_leg(each) for each in contract.get("comboLegs") or ())
    if sec_type == COMBINATION and not legs:
        read.faults.append("a combination without legs")
    if legs and len({leg.con_id for leg in legs}) < len(legs):
        read.faults.append("a combination with two legs of one contract, or without their conIds")
    order_type = str(order.get("orderType") or "").upper().replace("_", " ")
    kind = _TYPES.get(order_type, order_type)
    values = (
        client,
        key,
        str(order.get("account") or account),
        instrument_key(contract) if instrument is None else instrument,
        *_contract(contract, sec_type, named),
        legs or (),
        side,
        quantity,
        cash,
        kind,
        _limit_price(read, side, kind),
        read.number("auxPrice"),
        read.number("trailStopPrice") or None,
        read.number("lmtPriceOffset"),
        read.number("percentOffset"),
        read.number("trailingPercent"),
        str(order.get("tif") or "DAY").upper(),
        bool(order.get("outsideRth")),
        str(order.get("ocaGroup") or ""),
        _whole(order.get("ocaType")),
        parent,
        changes,
        "; ".join(read.faults),
    )
    return ProposedOrder._make(values)


def exercise(
    client: str, key: str, args: Mapping[str, Any], *, account: str = "", named: NamedContract | None = None
) -> ProposedOrder:
    """Return the order in the arguments of an `exerciseOptions`: a sale of the options, at the strike."""
    contract = args.get("contract") or {}
    sec_type = str(contract.get("secType") or "").upper()
    read = _OrderReader({**args, "strike": contract.get("strike")})
    quantity = read.number("exerciseQuantity")
    if quantity is None or quantity <= 0:
        read.faults.append("exerciseQuantity is no quantity")
    return ProposedOrder(
        client,
        key,
        str(args.get("account") or account),
        instrument_key(contract),
        *_contract(contract, sec_type, named),
        side=-1,
        quantity=quantity,
        order_type=EXERCISE,
        limit_price=read.number("strike"),
        fault="; ".join(read.faults),
    )


def _contract(
    contract: Mapping[str, Any], sec_type: str, named: NamedContract | None
) -> tuple[int, str, str, str, str, float | None]:
    """Return the values of a `NamedContract`: what is given of a contract, with what TWS has said of it filled in.

    TWS goes by a conId, so what else a client says beside one counts for nothing.
    """
    symbol = str(contract.get("symbol") or "")
    exchange, currency = str(contract.get("exchange") or ""), str(contract.get("currency") or "")
    if named is None:
        return _whole(contract.get("conId")), symbol, sec_type, exchange, currency, _multiplier(contract)
    con_id, its_symbol, its_type, its_exchange, its_currency, multiplier = named
    if contract.get("conId") and sec_type != COMBINATION:
        return con_id, its_symbol, its_type, exchange or its_exchange, its_currency, multiplier
    return (
        con_id,
        symbol or its_symbol,
        sec_type or its_type,
        exchange or its_exchange,
        currency or its_currency,
        multiplier,
    )


class _OrderReader:
    """Numbers of an order under IB's names, with the faults of those that are none."""

    def __init__(self, order: Mapping[str, Any]) -> None:
        self._order = order
        self.faults: list[str] = []

    def number(self, name: str) -> float | None:
        """Return a number; None if it is not given, is IB's unset value, or is no number."""
        value = self._order.get(name)
        if value is None or value in ("", _UNSET):
            return None
        if value.__class__ is float and -LARGEST < value < LARGEST:
            return value
        try:
            found = float(value)
        except (TypeError, ValueError, OverflowError):
            found = math.nan
        if abs(found) < LARGEST:
            return found
        self.faults.append(f"{name} is {str(value)[:20]}")
        return None


def _limit_price(read: _OrderReader, side: int, kind: str) -> float | None:
    """Return the worst price at which TWS may execute a limit order: a discretionary amount goes beyond the limit.

    Market orders have no limit, even if their lmtPrice is 0. Only a limit order can have the limit 0.
    """
    limit, beyond = read.number("lmtPrice"), read.number("discretionaryAmt") or 0.0
    if limit is None or kind in AT_MARKET or kind in AT_MARKET_LATER or (limit == 0 and kind not in LIMITED):
        return None
    return limit + side * abs(beyond)


_UNSET = 1.7976931348623157e308
"""IB's value of a number that is not given."""


def _allocated(order: Mapping[str, Any]) -> bool:
    """Return True if TWS computes the quantity, or trades more than that.

    It computes it from an adviser's accounts, or from the order that this one hedges. It trades more where it hedges
    the order, and where a scale order begins anew.
    """
    if str(order.get("deltaNeutralOrderType") or "NONE").upper() != "NONE":
        return True
    return any(order.get(name) for name in ("faPercentage", "faMethod", "hedgeType", "scaleAutoReset"))


def _multiplier(contract: Mapping[str, Any]) -> float | None:
    """Return the multiplier of a contract. Contracts that have one, and do not say it, have an unknown one.

    One that has none, and says one, may be any: TWS need not look at it.
    """
    value = contract.get("multiplier")
    if value not in (None, ""):
        try:
            found = float(value)
        except (TypeError, ValueError, OverflowError):
            return None
        plain = str(contract.get("secType") or "").upper() not in MULTIPLIED
        return found if 0 < found < LARGEST and not (plain and found < 1) else None
    return None if str(contract.get("secType") or "").upper() in MULTIPLIED else 1.0


MULTIPLIED = frozenset(("FUT", "OPT", "FOP", "CONTFUT", "WAR", "IOPT", "BOND", "BILL", "", "EC"))
"""Security types whose contracts are worth more, or less, than their price."""


def _whole(value: Any) -> int:
    try:
        return int(value or 0)
    except (TypeError, ValueError, OverflowError):
        return 0


def _leg(leg: Any) -> OrderLeg:
    given: Mapping[str, Any] = leg if hasattr(leg, "get") else {}
    con_id = _whole(given.get("conId"))
    exchange = str(given.get("exchange") or "")
    side = 1 if str(given.get("action") or "").upper() == "BUY" else -1
    return OrderLeg(con_id, float(_whole(given.get("ratio"))), side, exchange, f"{con_id}@{exchange}")


def signature(order: ProposedOrder) -> tuple[Any, ...]:
    """Return everything that makes two orders the same: instrument, side, quantity, order type and prices."""
    return (
        order.account,
        order.instrument,
        order.side,
        order.quantity,
        order.cash_quantity,
        order.order_type,
        order.limit_price,
        order.aux_price,
        order.trail_stop_price,
    )
