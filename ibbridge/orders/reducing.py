"""Orders while a scope may only reduce positions: which of them cannot increase one, with all working orders counted.

Pure. An order passes if the position is on the other side, and is at least as large as the order together with all
working orders of its side: whichever of them fill, and however much, none opens or turns a position. What cannot be
judged does not pass. This module must not know who has ordered that, or how an order is sent.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ibbridge.orders.fills import COMBINATION
from ibbridge.orders.owner_positions import decimal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ibbridge.orders.order import Order
    from ibbridge.orders.order_accounts import OrderAccounts

IDENTIFYING = (
    "symbol", "secType", "currency", "lastTradeDateOrContractMonth", "strike", "right", "multiplier", "localSymbol",
    "tradingClass",
)  # fmt: skip
"""Attributes that two contracts of one instrument have in common, where both name them."""

_UNSET = (None, "", 0, 0.0, "0")
_LAPSE = 2
_SPREAD = ("cashQty", "faGroup", "faMethod", "faPercentage", "hedgeType", "scaleInitLevelSize")
"""Attributes of orders whose quantity in an account is not in `totalQuantity`."""


class PositionSource(Protocol):
    """Positions in accounts, as far as this module needs them."""

    def held(self, account: str, owner: str) -> Iterable[tuple[Mapping[str, Any], Decimal]]:
        """Return the contracts and quantities that an owner has in an account; all of the account for the owner ""."""


class Movement(NamedTuple):
    """Change of a position that an order may make: its contract, and the quantity, which is negative for a sale."""

    contract: Mapping[str, Any]
    quantity: Decimal


class ReducingOrders:
    """Judge of orders. `working` returns all orders that are not over."""

    def __init__(
        self,
        holdings: PositionSource,
        working: Callable[[], Sequence[Order]],
        accounts: OrderAccounts,
    ) -> None:
        self._holdings = holdings
        self._working = working
        self._accounts = accounts

    def objection(self, order: Order, args: Mapping[str, Any], owner: str, beside: Sequence[Order] = ()) -> str:
        """Return why an order with these arguments may increase a position; empty if it cannot.

        `owner`: whose positions and orders count; empty for those of the whole account. `beside` are orders that come
        with the order. The order itself is not counted among the working ones: the arguments replace it.
        """
        accounts = self._accounts.of(args)
        movements = _movements(args)
        if accounts is None or len(accounts) != 1:
            return "it does not say for which account it is"
        if movements is None:
            return "how much it would buy or sell cannot be told"
        account = next(iter(accounts))
        others = [each for each in dict.fromkeys((*self._working(), *beside)) if each is not order]
        counted = [each for each in others if not owner or each.owner == owner]
        for movement in movements:
            if why := self._increase(movement, account, owner, counted):
                return why
        return ""

    def _increase(self, movement: Movement, account: str, owner: str, others: Sequence[Order]) -> str:
        """Return how a movement may increase the position; empty if it cannot."""
        held = self._held(movement.contract, account, owner)
        symbol = movement.contract.get("symbol") or movement.contract.get("localSymbol") or ""
        what = str(symbol or movement.contract.get("conId") or "this contract")
        if held is None:
            return f"no position in {what} is known, or more than one may be meant"
        sells = movement.quantity < 0
        working = Decimal(0)
        for order in others:
            more = self._working_quantity(order, movement.contract, account, sells=sells)
            if more is None:
                return f"how much the working order {order.owner}/{order.key} would trade cannot be told"
            working += more
        room = held if sells else -held
        if abs(movement.quantity) + working <= room:
            return ""
        side = "sale" if sells else "purchase"
        beside = f", beside working ones of {_plain(working)}," if working else ""
        moved = _plain(abs(movement.quantity))
        return f"with a position of {_plain(held)} {what} a {side} of {moved}{beside} may increase it"

    def _held(self, contract: Mapping[str, Any], account: str, owner: str) -> Decimal | None:
        """Return the position in a contract; None if there is none, or if it is not certain which is meant."""
        found = [held for known, held in self._holdings.held(account, owner) if _may_be_same(contract, known)]
        return found[0] if len(found) == 1 else None

    def _working_quantity(
        self, order: Order, contract: Mapping[str, Any], account: str, *, sells: bool
    ) -> Decimal | None:
        """Return how much of a contract a working order may still trade on a side; None if that cannot be told.

        Of a change that TWS may take or refuse, the larger quantity counts.
        """
        queued = order.queued[1] if order.queued else None
        found = [
            self._rest(args, contract, account, _executed(order), sells=sells)
            for args in (order.args, order.pending, queued)
            if args is not None
        ]
        return None if None in found else max(each for each in found if each is not None)

    def _rest(
        self, args: Mapping[str, Any], contract: Mapping[str, Any], account: str, executed: Decimal, *, sells: bool
    ) -> Decimal | None:
        accounts = self._accounts.of(args)
        if accounts is not None and account not in accounts:
            return Decimal(0)
        movements = _movements(args)
        if movements is None:
            given = args.get("contract")
            return None if not isinstance(given, dict) or _may_touch(given, contract) else Decimal(0)
        meant = [each for each in movements if (each.quantity < 0) == sells and _may_be_same(each.contract, contract)]
        traded = executed if len(movements) == 1 else Decimal(0)  # of a combination the whole counts
        return sum((max(Decimal(0), abs(each.quantity) - traded) for each in meant), Decimal(0))


def _executed(order: Order) -> Decimal:
    """Return how much of an order the executions make up, which the positions count too.

    A status may tell of a fill before the execution does, and the position does not have it then.
    """
    known = order.fills.by_stem.values()
    shares = sum((decimal(fill.shares) or Decimal(0) for fill in known), Decimal(0))
    return shares if known else decimal(order.filled) or Decimal(0)


def is_smaller(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Return True if a change of an order only makes its quantity smaller, and leaves all else as it was."""
    one, other = before.get("order"), after.get("order")
    if not isinstance(one, dict) or not isinstance(other, dict):
        return False
    named = [name for name in {*one, *other} if one.get(name) != other.get(name) and name != "transmit"]
    quantity, smaller = decimal(one.get("totalQuantity")), decimal(other.get("totalQuantity"))
    if not set(named) <= {"totalQuantity"} or quantity is None or smaller is None:
        return False
    return smaller <= quantity


def _movements(args: Mapping[str, Any]) -> list[Movement] | None:
    """Return what an order may change; None if that cannot be told. The lapse of an option only reduces."""
    contract, order = args.get("contract"), args.get("order")
    if not isinstance(contract, dict):
        return None
    if not isinstance(order, dict):
        return [] if args.get("exerciseAction") == _LAPSE else None
    quantity = decimal(order.get("totalQuantity"))
    if not quantity or quantity < 0 or any(order.get(name) not in _UNSET for name in _SPREAD):
        return None
    action = str(order.get("action") or "").upper()
    if action not in ("BUY", "SELL", "SSHORT", "SLONG"):
        return None
    signed = quantity if action == "BUY" else -quantity
    if contract.get("secType") != COMBINATION:
        return [Movement(contract, signed)]
    return _of_legs(contract.get("comboLegs") or (), signed)


def _of_legs(legs: Sequence[Any], quantity: Decimal) -> list[Movement] | None:
    found = []
    for leg in legs:
        ratio = decimal(leg.get("ratio")) if isinstance(leg, dict) else None
        if not ratio or not leg.get("conId"):
            return None
        sign = 1 if str(leg.get("action") or "").upper() == "BUY" else -1
        found.append(Movement({"conId": leg["conId"]}, quantity * ratio * sign))
    return found or None


def _plain(quantity: Decimal) -> str:
    return f"{quantity.normalize():f}"


def _may_be_same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return True if two contracts may be one instrument, as far as their attributes say it."""
    first, second = one.get("conId"), other.get("conId")
    if first not in _UNSET and second not in _UNSET:
        return bool(first == second)
    return all(_agree(one.get(name), other.get(name)) for name in IDENTIFYING)


def _agree(one: Any, other: Any) -> bool:
    if one in _UNSET or other in _UNSET:
        return True
    numbers = decimal(one), decimal(other)
    if None not in numbers:
        return numbers[0] == numbers[1]
    return str(one).upper() == str(other).upper()


def _may_touch(contract: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return True if an order for a contract may trade another: a combination may, through its legs."""
    if contract.get("secType") != COMBINATION:
        return _may_be_same(contract, other)
    return True
