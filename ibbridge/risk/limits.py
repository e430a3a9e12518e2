"""Limits of the gate: the most that a client, an account or all together may do. None is no limit.

Pure. One field is one limit, with the form of its value, its reason, and the stricter of two values. The module must
not know how a limit is checked.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, TypeAlias

from ibbridge.config import maintenance_windows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ibbridge.config.maintenance_windows import Window

Lists: TypeAlias = tuple[tuple[str, ...], ...]
"""Lists of names and patterns (`*`, `?`): a name must be in each of the lists."""

CONTRACT_HOURS = "contract"
"""Window of a contract's own regular trading hours."""

Windows: TypeAlias = "tuple[tuple[Window | str, ...], ...]"
"""Lists of windows: a time must be in a window of each of the lists."""

RTH, ALWAYS, NEVER = "rth", "always", "never"
REFUSE, USE = "refuse", "use"

LONGEST_DUPLICATE = 300.0
"""Longest `duplicate_window` in seconds: the book keeps the orders of this time."""

LONGEST_WINDOW = 3600.0
"""Longest window in seconds for repeated fills and for rejects."""

PAPER = ("DU", "DF", "DI")
"""First letters of the accounts of IB's paper trading."""


def _least(one: Any, other: Any) -> Any:
    return min(one, other)


def _most(one: Any, other: Any) -> Any:
    return max(one, other)


def _both(one: Any, other: Any) -> Any:
    return one if one == other else one + other


def _number(low: float, high: float, *, whole: bool = False) -> Callable[[Any], Any]:
    noun = "a whole number" if whole else "a number"

    def check(value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(f"must be {noun}, not {str(value)[:40]!r}")
        if whole and value != int(value):
            raise ValueError(f"must be {noun}, not {value}")
        if not low <= value <= high:
            raise ValueError(f"must be from {low:g} to {high:g}, not {value}")
        return int(value) if whole else float(value)

    return check


def _word(*words: str) -> Callable[[Any], Any]:
    def check(value: Any) -> str:
        if value not in words:
            raise ValueError(f"must be one of {', '.join(words)}, not {str(value)[:40]!r}")
        return str(value)

    return check


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"must be true or false, not {str(value)[:40]!r}")  # noqa: TRY004 -- a fault of a setting
    return value


def _names(value: Any) -> Lists:
    given = [value] if isinstance(value, str) else value
    if not isinstance(given, list | tuple) or not all(isinstance(each, str) and each for each in given):
        raise ValueError("must be a list of names or patterns")
    return (tuple(given),)


def _windows(value: Any) -> Windows:
    given = [value] if isinstance(value, str) else value
    if not isinstance(given, list | tuple) or not given or not all(isinstance(each, str) for each in given):
        raise ValueError(f"must be a list of windows such as Mon-Fri 09:30-16:00 America/New_York, or {CONTRACT_HOURS}")
    return (tuple(each if each == CONTRACT_HOURS else maintenance_windows.window(each) for each in given),)


def _limit(check: Callable[[Any], Any], strictest: Callable[[Any, Any], Any], why: str) -> Any:
    """Return the field of a limit: its check, which of two holds, and the line about it in the docs."""
    return field(default=None, metadata={"check": check, "strictest": strictest, "why": why})


_AMOUNT, _COUNT = _number(0, 1e15), _number(0, 1e6, whole=True)
_STRICTER_WORDS = {NEVER: 0, RTH: 1, ALWAYS: 2, REFUSE: 0, USE: 1}


def _stricter(one: str, other: str) -> str:
    return min(one, other, key=_STRICTER_WORDS.__getitem__)


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a client, of an account, or of all together."""

    max_order_quantity: float | None = _limit(_AMOUNT, _least, "The largest quantity of an order.")
    max_order_notional: float | None = _limit(_AMOUNT, _least, "The largest worth of an order, in the base currency.")
    price_collar_percent: float | None = _limit(
        _number(0, 1000), _least, "Percent by which a limit price may be worse than the last quote."
    )
    price_collar_ticks: float | None = _limit(
        _number(0, 1e6), _least, "Price steps by which a limit price may be worse than the last quote."
    )
    max_quote_age: float | None = _limit(
        _number(0, 86_400), _least, "Seconds after which a quote is too old to judge an order by."
    )
    delayed_quotes: str | None = _limit(
        _word(REFUSE, USE), _stricter, "`use`: delayed quotes count as others. `refuse` (default): they are none."
    )
    market_orders: str | None = _limit(
        _word(RTH, ALWAYS, NEVER), _stricter, "When orders without a limit price may execute."
    )
    duplicate_window: float | None = _limit(
        _number(0, LONGEST_DUPLICATE), _most, "Seconds in which the same order is taken once."
    )
    max_orders_per_second: int | None = _limit(_COUNT, _least, "Orders and changes in a second.")
    max_orders_per_minute: int | None = _limit(_COUNT, _least, "Orders and changes in a minute.")
    max_symbol_orders_per_second: int | None = _limit(_COUNT, _least, "Orders and changes in one symbol in a second.")
    max_symbol_orders_per_minute: int | None = _limit(_COUNT, _least, "Orders and changes in one symbol in a minute.")
    max_repeated_fills: int | None = _limit(
        _COUNT, _least, "Orders of one side in one instrument that may fill within repeated_fills_window."
    )
    repeated_fills_window: float | None = _limit(
        _number(1, LONGEST_WINDOW), _most, "Seconds that max_repeated_fills is about; 60 if not given."
    )
    max_open_orders: int | None = _limit(_COUNT, _least, "Working orders of one side in one instrument.")
    max_position: float | None = _limit(
        _AMOUNT, _least, "The largest position in one instrument, should all working orders fill."
    )
    max_gross_exposure: float | None = _limit(
        _AMOUNT, _least, "The sum of the worth of all positions, should all working orders fill."
    )
    max_net_exposure: float | None = _limit(
        _AMOUNT, _least, "Long less short, or short less long, should all working orders of a side fill."
    )
    max_daily_notional: float | None = _limit(
        _AMOUNT, _least, "The worth of all that is traded in a day, with what still works."
    )
    max_daily_loss: float | None = _limit(_AMOUNT, _least, "The loss since the day began, realised or not.")
    reject_breaker: int | None = _limit(
        _number(1, 1e6, whole=True), _least, "Rejects within reject_window that close the gate."
    )
    reject_window: float | None = _limit(
        _number(1, LONGEST_WINDOW), _most, "Seconds that reject_breaker is about; 60 if not given."
    )
    reject_pause: float | None = _limit(
        _number(1, 604_800), _most, "Seconds after which the gate opens again; until `resume` if not given."
    )
    symbols: tuple[tuple[str, ...], ...] | None = _limit(_names, _both, "Symbols that may be traded.")
    deny_symbols: tuple[tuple[str, ...], ...] | None = _limit(_names, _both, "Symbols that may not be traded.")
    security_types: tuple[tuple[str, ...], ...] | None = _limit(_names, _both, "Security types that may be traded.")
    deny_security_types: tuple[tuple[str, ...], ...] | None = _limit(
        _names, _both, "Security types that may not be traded."
    )
    exchanges: tuple[tuple[str, ...], ...] | None = _limit(_names, _both, "Exchanges to which orders may go.")
    deny_exchanges: tuple[tuple[str, ...], ...] | None = _limit(_names, _both, "Exchanges to which orders may not go.")
    currencies: tuple[tuple[str, ...], ...] | None = _limit(
        _names, _both, "Currencies of instruments that may be traded."
    )
    deny_currencies: tuple[tuple[str, ...], ...] | None = _limit(
        _names, _both, "Currencies of instruments that may not be traded."
    )
    trading_window: tuple[tuple[Window | str, ...], ...] | None = _limit(
        _windows, _both, "Windows in which orders are taken; `contract`: the contract's own regular hours."
    )
    allow_live: bool | None = _limit(_flag, _least, "false: only orders for paper accounts are taken.")

    def merged(self, other: Limits) -> Limits:
        """Return the stricter of each limit."""
        found = {}
        for each in dataclasses.fields(self):
            one, two = getattr(self, each.name), getattr(other, each.name)
            found[each.name] = each.metadata["strictest"](one, two) if None not in (one, two) else _given(one, two)
        return Limits(**found)


def _given(one: Any, other: Any) -> Any:
    return other if one is None else one


NO_LIMITS = Limits()
_FIELDS = {each.name: each for each in dataclasses.fields(Limits)}


class LimitFaults(ValueError):  # noqa: N818 -- the faults of settings, as ConfigError has them
    """Limits that cannot be read: `faults` has a line for each."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)


def parse(given: Mapping[str, Any], where: str) -> Limits:
    """Return the limits in the section `where` of the settings. Raise `LimitFaults` with all its faults."""
    found, faults = {}, []
    for name, value in given.items():
        known = _FIELDS.get(name)
        if known is None:
            near = difflib.get_close_matches(str(name).lower(), _FIELDS, 1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(_FIELDS)}"
            faults.append(f"{where}.{name}: is no limit; {hint}")
        elif value is not None:
            try:
                found[name] = known.metadata["check"](value)
            except ValueError as error:
                faults.append(f"{where}.{name}: {error}")
    if faults:
        raise LimitFaults(faults)
    return Limits(**found)


IB_OPEN_ORDERS = 20
"""Working orders of one side in one instrument that IB takes for an account."""


@dataclass(frozen=True, slots=True)
class RiskPolicy:
    """Limits of all scopes: of all together, by account and by client.

    A name may be a pattern: its limits hold for each account or client that it fits, counted alone. The limits of all
    patterns that fit hold. `enforce`: False only observes. `warn_at`: the part of a limit from which on a warning is
    due.
    """

    all: Limits = NO_LIMITS
    accounts: Mapping[str, Limits] = field(default_factory=lambda: {"*": Limits(max_open_orders=IB_OPEN_ORDERS)})
    clients: Mapping[str, Limits] = field(default_factory=dict)
    enforce: bool = True
    warn_at: float = 0.7

    def for_account(self, account: str) -> Limits:
        """Return the limits of an account. If it is not known which one it is, the strictest of all accounts hold."""
        if account:
            return _fitting(self.accounts, account)
        found = NO_LIMITS
        for each in self.accounts.values():
            found = found.merged(each)
        return found

    def for_client(self, client: str) -> Limits:
        """Return the limits of a client."""
        return _fitting(self.clients, client)


def _fitting(limits: Mapping[str, Limits], name: str) -> Limits:
    found = NO_LIMITS
    for pattern, each in limits.items():
        if fnmatchcase(name, pattern):
            found = found.merged(each)
    return found
