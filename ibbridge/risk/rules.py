"""The rules of the gate: one table, in which each rule is a function of an order, a book and the limits of its scope.

Pure. A rule that measures returns a value that its limit bounds from above; None if the value is not known, which
refuses the order. Any other rule returns the fault in words; empty if there is none. The table is also the list of
codes in docs/risk.md. The module must not know scopes, or what becomes of a refused order.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from ibbridge.risk.holding import SMALLEST, claim_of, exposure
from ibbridge.risk.limits import ALWAYS, CONTRACT_HOURS, NEVER, PAPER
from ibbridge.risk.order import AT_MARKET, AT_MARKET_LATER, EXERCISE, OFFSET, PRICED, RELATIVE, TRIGGERED, signature
from ibbridge.risk.scope_book import MINUTE, SECOND, worth_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from ibbridge.config.maintenance_windows import Window
    from ibbridge.risk.holding import Claim, Exposure, Holding, Part
    from ibbridge.risk.limits import Limits, Lists
    from ibbridge.risk.scope_book import ScopeBook
    from ibbridge.risk.valuation import OrderCase

Measure: TypeAlias = "Callable[[OrderCase, ScopeBook, Limits], float | None]"
Condition: TypeAlias = "Callable[[OrderCase, ScopeBook, Limits], str]"


CONTRACT, ORDER, BOOK = "contract", "order", "book"
"""Facts that a rule wants: the contract and the account alone, the order as well, or the book of the scope, too."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule. Its `name` is that of the limit, and the code in a refusal.

    `measure` or `condition` is its function. `spares`: an order that the rule lets pass although it is over the limit.
    `sentence` says what the rule does, for the docs, and `unknown` why it refuses a value that is not known. `of` says
    which facts it wants, so that the gate asks no more than once for what cannot change.
    """

    name: str
    sentence: str
    measure: Measure | None = None
    condition: Condition | None = None
    spares: Callable[[OrderCase, ScopeBook, Limits], bool] | None = None
    unknown: str = ""
    of: str = BOOK


TOLERANCE = 1 + 1e-9
"""Factor by which a value may exceed its limit: floats lose the last digits of a sum."""

MONEY = 6
"""Digits after the decimal point of a sum of money: beyond, sums leave remainders."""

DEFAULT_WINDOW = 60.0
"""Seconds of the windows for repeated fills and for rejects, if the limits do not give them."""

TOUCHED = "LIT"
"""Order type that is triggered where the market is better than its trigger, so also where it is far better."""

NO_QUOTE = "no quote that counts is known"
UNVALUED = "no price, multiplier or rate is known for this order, or for something that is held or works"


# -- the order alone


def _order_values(case: OrderCase, _: ScopeBook, __: Limits) -> str:
    return case.order.fault


def _max_order_quantity(case: OrderCase, _: ScopeBook, __: Limits) -> float | None:
    if not case.quantity < math.inf:
        return None
    return case.quantity * max(part.ratio for part in case.parts) if case.order.legs else case.quantity


def _max_order_notional(case: OrderCase, _: ScopeBook, __: Limits) -> float | None:
    return case.notional


# -- counts


def _max_orders_per_second(case: OrderCase, book: ScopeBook, _: Limits) -> float:
    times = book.orders.times
    return len(times) - bisect_right(times, case.now - SECOND) + 1


def _max_orders_per_minute(case: OrderCase, book: ScopeBook, _: Limits) -> float:
    times = book.orders.times
    return len(times) - bisect_right(times, case.now - MINUTE) + 1


def _max_symbol_orders_per_second(case: OrderCase, book: ScopeBook, _: Limits) -> float:
    of_symbol = book.by_symbol.get(case.order.symbol)
    if of_symbol is None:
        return 1
    times = of_symbol.times
    return len(times) - bisect_right(times, case.now - SECOND) + 1


def _max_symbol_orders_per_minute(case: OrderCase, book: ScopeBook, _: Limits) -> float:
    of_symbol = book.by_symbol.get(case.order.symbol)
    if of_symbol is None:
        return 1
    times = of_symbol.times
    return len(times) - bisect_right(times, case.now - MINUTE) + 1


# -- positions


class WorstCases:
    """Worst case of an order in the book of one scope. `parts`: of each part of the order.

    - `largest`: the largest position, long or short; -inf without parts.
    - `gross`, `long`, `short`: the worth of the scope with the order; None if that is not known.
    """

    __slots__ = ("gross", "largest", "long", "parts", "short")

    def __init__(self, case: OrderCase, book: ScopeBook) -> None:
        self.parts = [_beside(_worst_case(case, book.holdings.get(part.place), part), book) for part in case.parts]
        self.largest = -math.inf
        self.gross: float | None = None
        self.long: float | None = None
        self.short: float | None = None
        gross, long, short = book.gross, book.long, book.short
        is_known = not book.unvalued or book.unvalued <= {part.place for part in case.parts}
        for held, _, _, (rise, fall), worth, _, _, (more_rise, more_fall) in self.parts:
            self.largest = max(self.largest, rise + more_rise, fall + more_fall)
            if worth is None:
                is_known = False
            elif held is None or held.exposure is None:
                gross, long, short = gross + worth[0], long + worth[1], short + worth[2]
            else:
                old = held.exposure
                gross += worth[0] - old[0]
                long += worth[1] - old[1]
                short += worth[2] - old[2]
        if is_known:
            self.gross, self.long, self.short = gross, long, short


class Worst(NamedTuple):
    """Worst case of one part of an order.

    - `before`, `after`: the largest long and short position, before the order and with it.
    - `low`, `high`: the position as it is. `exposure`: the worth of `after`; None if it is not known.
    - `beside`: how far other names of what may be the same instrument may rise and fall.
    """

    held: Holding | None
    part: Part
    before: tuple[float, float]
    after: tuple[float, float]
    exposure: Exposure | None
    low: float = 0.0
    high: float = 0.0
    beside: tuple[float, float] = (0.0, 0.0)


_made = tuple.__new__  # what the constructor of a NamedTuple does in the end: it is called for each order and scope


def worst_cases(case: OrderCase, book: ScopeBook) -> WorstCases:
    """Return the worst case of an order; the order stands in place of the one that it changes."""
    if case.worst_in is not book:
        case.worst = WorstCases(case, book)
        case.worst_in = book
    found: WorstCases = case.worst
    return found


def _beside(worst: Worst, book: ScopeBook) -> Worst:
    """Return a worst case with what other names of the instrument add: TWS may say that all of them are one."""
    others = book.alike(worst.part)
    if not others:
        return worst
    rise = sum(max(0.0, each.position + each.above + each.reach[0]) for each in others)
    fall = sum(max(0.0, each.reach[1] - each.position - each.below) for each in others)
    return worst._replace(beside=(rise, fall))


def _worst_case(case: OrderCase, held: Holding | None, part: Part) -> Worst:
    order = case.order
    quantity = case.quantity * part.ratio
    if held is None:
        bought, sold = (quantity, 0.0) if part.side > 0 else (0.0, quantity)
        unit = case.book.unit_worth(part)
        return Worst(
            None, part, (0.0, 0.0), (bought, sold), exposure(bought, sold, part.unit if unit is None else unit)
        )
    low, high = held.position + held.below, held.position + held.above
    before = rise, fall = held.reach[0] + high, held.reach[1] - low
    if not held.linked and not order.parent and not order.oca_group and not (case.works and case.name in held.claims):
        after = (rise + quantity, fall) if part.side > 0 else (rise, fall + quantity)
        unit = held.unit
        if unit is None and part.unit is not None and not held.claims:
            unit = part.unit
        elif unit is None and part.unit is not None and held.order_unit is not None:
            unit = max(held.order_unit, part.unit)
    else:
        claim = claim_after(case, held, part)
        bought, sold = held.reach_with(claim)
        after = bought + high, sold - low
        unit = held.unit_with(claim) if held.unit is None else held.unit
    return _made(Worst, (held, part, before, after, exposure(after[0], after[1], unit), low, high, (0.0, 0.0)))


def claim_after(case: OrderCase, held: Holding, part: Part) -> Claim:
    """Return what an order claims should it leave, in place of the one that it changes."""
    claim = claim_of(case.order, part, case.quantity)
    if old := held.claims.get(claim.name):
        claim.executed = old.executed
    return claim


def _max_position(case: OrderCase, book: ScopeBook, _: Limits) -> float | None:
    value = worst_cases(case, book).largest
    return value if value < math.inf else None


def _makes_no_position_worse(case: OrderCase, book: ScopeBook, limits: Limits) -> bool:
    most = (limits.max_position or 0.0) * TOLERANCE
    return all(
        after + more <= most or after <= before + SMALLEST
        for each in worst_cases(case, book).parts
        for before, after, more in zip(each.before, each.after, each.beside, strict=True)
    )


def reduces(case: OrderCase, book: ScopeBook) -> bool:
    """Return True if an order can only bring positions nearer to zero, whatever else fills on its side."""
    for each in worst_cases(case, book).parts:
        held, after = (-each.high, each.after[0]) if each.part.side > 0 else (each.low, each.after[1])
        if held <= 0 or after > SMALLEST:
            return False
    return True


def _max_gross_exposure(case: OrderCase, book: ScopeBook, _: Limits) -> float | None:
    value = worst_cases(case, book).gross
    return None if value is None else round(value, MONEY)


def _makes_no_exposure_larger(case: OrderCase, book: ScopeBook, _: Limits) -> bool:
    return all(max(each.after) <= max(each.before) + SMALLEST for each in worst_cases(case, book).parts)


def _max_net_exposure(case: OrderCase, book: ScopeBook, _: Limits) -> float | None:
    worst = worst_cases(case, book)
    return None if worst.long is None or worst.short is None else round(max(worst.long, worst.short), MONEY)


def _makes_no_side_larger(case: OrderCase, book: ScopeBook, limits: Limits) -> bool:
    most = (limits.max_net_exposure or 0.0) * TOLERANCE
    worst = worst_cases(case, book)
    return all(
        (total is not None and round(total, MONEY) <= most)
        or all(each.after[side] <= each.before[side] + SMALLEST for each in worst.parts)
        for side, total in enumerate((worst.long, worst.short))
    )


# -- the day


def _max_daily_notional(case: OrderCase, book: ScopeBook, _: Limits) -> float | None:
    if case.notional is None:
        return None
    if book.unknown_working and not book.unknown_working <= {(case.name, part.place) for part in case.parts}:
        return None
    total = book.working + case.notional
    for part in case.parts if case.works else ():
        held = book.holdings.get(part.place)
        claim = held.claims.get(case.name) if held else None
        if claim is not None:
            total -= (worth_of(claim) or 0.0) + min(claim.executed, case.quantity * part.ratio) * (part.unit or 0.0)
    for currency, amount in book.traded.items():
        rate = case.facts.rate(currency)
        if rate is None:
            return None
        total += amount * rate
    return round(total, MONEY)


def _max_daily_loss(case: OrderCase, book: ScopeBook, _: Limits) -> float | None:
    if book.unpriced:
        return None
    profit = book.profit
    if profit >= 0 and not book.charges:
        return 0.0
    for currency, amount in book.charges.items():
        rate = case.facts.rate(currency)
        if rate is None:
            return None
        profit -= amount * rate
    return max(0.0, round(-profit, MONEY))


def _reduces(case: OrderCase, book: ScopeBook, _: Limits) -> bool:
    return reduces(case, book)


# -- repetitions


def _max_repeated_fills(case: OrderCase, book: ScopeBook, limits: Limits) -> float:
    most = 0
    for part in case.parts:
        times = book.fills.get((part.place, part.side))
        if times is not None:
            most = max(most, times.count(case.now, int((limits.repeated_fills_window or DEFAULT_WINDOW) * SECOND)))
    return most if case.order.changes else most + 1


def _max_open_orders(case: OrderCase, book: ScopeBook, _: Limits) -> float:
    most = 0
    for part in case.parts:
        count = book.open_orders.get((part.place, part.side), 0) + 1
        if case.works:
            held = book.holdings.get(part.place)
            old = held.claims.get(case.name) if held is not None else None
            if old is not None and old.side == part.side and not old.is_over:
                count -= 1
        if others := book.alike(part):
            count += sum(book.open_orders.get((each.place, part.side), 0) for each in others)
        most = max(most, count)
    return most


def _duplicate_window(case: OrderCase, book: ScopeBook, limits: Limits) -> str:
    if case.order.changes or not limits.duplicate_window or not book.duplicates:
        return ""
    if case.signature is None:
        case.signature = signature(case.order)
    at = book.last_same(case.signature)
    if at is None or case.now - at >= limits.duplicate_window * SECOND:
        return ""
    return (
        f"the same order was accepted {(case.now - at) / SECOND:.3f} s ago; the window is {limits.duplicate_window:g} s"
    )


def _reject_breaker(case: OrderCase, book: ScopeBook, limits: Limits) -> str:
    if book.tripped is None:
        return ""
    if limits.reject_pause is None:
        return "too many orders were rejected; `resume` opens the gate again"
    left = (book.tripped + limits.reject_pause * SECOND - case.now) / SECOND
    return f"too many orders were rejected; the gate opens again in {left:.0f} s, or by `resume`" if left > 0 else ""


# -- prices


def _price_collar(case: OrderCase, _: ScopeBook, limits: Limits) -> str:
    order = case.order
    if order.order_type == EXERCISE:
        return ""
    found = case.distance
    if found is None:
        found = case.distance = _distance(case)
    if isinstance(found, str):
        return found
    beyond, reference, text = found
    widths = []
    if limits.price_collar_percent is not None:
        widths.append(abs(reference) * limits.price_collar_percent / 100)
    if limits.price_collar_ticks is not None and case.quote is not None and case.quote.tick:
        widths.append(limits.price_collar_ticks * case.quote.tick)
    if beyond <= 0:
        return ""
    if not widths:
        return "the price step of the instrument is not known, and price_collar_percent is not given"
    if beyond <= max(widths) * TOLERANCE + abs(reference) * SMALLEST:
        return ""
    return f"{text} by {beyond:.6g}{_part(beyond, reference)}; at most {max(widths):.6g}{_part(max(widths), reference)}"


def _part(beyond: float, reference: float) -> str:
    """Return the part of a price in percent, in parentheses."""
    return f" ({100 * beyond / abs(reference):.3g} %)" if reference else ""


def _distance(case: OrderCase) -> tuple[float, float, str] | str:
    """Return by how much the order may execute at a worse price than the market's, that price, and words for it.

    Return a text if the market's price is needed and not known, and an empty one if the order has no price to judge.
    """
    order, kind = case.order, case.order.order_type
    trigger = order.aux_price if kind in TRIGGERED else order.trail_stop_price
    reference = _reference(case)
    if order.limit_price is not None and trigger is not None and kind != TOUCHED:
        words = f"{order.limit_price:.10g} is worse than the trigger"
        return order.side * (order.limit_price - trigger), trigger, words
    if order.limit_price is not None and trigger is not None and reference is not None:
        reference = order.side * min(order.side * reference, order.side * trigger)  # it may be touched already
    if order.limit_price is not None and kind not in AT_MARKET and kind not in AT_MARKET_LATER:
        if reference is None:
            return NO_QUOTE
        words = f"{order.limit_price:.10g} is worse than {'the market at ' if trigger is None else ''}{reference:.10g}"
        return order.side * (order.limit_price - reference), reference, words
    offset = abs(order.limit_offset or 0.0) if kind.startswith("TRAIL") else 0.0
    percent = 0.0
    if kind in RELATIVE:
        offset, percent = abs(order.aux_price or 0.0), abs(order.percent_offset or 0.0)
    if not offset and not percent:
        return ""
    if reference is None:
        return NO_QUOTE
    return max(offset, abs(reference) * percent), reference, f"the offset goes beyond {reference:g}"


def _reference(case: OrderCase) -> float | None:
    """Return the price that an order meets: for a purchase the ask, for a sale the bid, else the last price."""
    quote = case.quote
    if quote is None:
        return None
    near, far = (quote.ask, quote.bid) if case.order.side > 0 else (quote.bid, quote.ask)
    return next((price for price in (near, quote.last, far) if price is not None), None)


def _market_orders(case: OrderCase, _: ScopeBook, limits: Limits) -> str:
    if limits.market_orders == ALWAYS:
        return ""
    order = case.order
    later = order.order_type in AT_MARKET_LATER or (order.order_type in AT_MARKET and order.tif == "OPG")
    if not later and not _at_market(case):
        return ""
    if limits.market_orders == NEVER:
        return f"{order.order_type} may execute at any price"
    if later:
        return f"{order.order_type} with outsideRth may execute at any price at night" if order.outside_rth else ""
    is_open = _is_open(case)
    if is_open is None:
        return "the trading hours of the instrument are not known"
    return "" if is_open else f"{order.order_type} outside the regular trading hours"


def _at_market(case: OrderCase) -> bool:
    """Return True if an order executes at once at any price. An unknown order type without a limit may do so."""
    kind = case.order.order_type
    if kind in AT_MARKET:
        return True
    return case.order.limit_price is None and kind not in PRICED and not kind.startswith(OFFSET)


def _is_open(case: OrderCase) -> bool | None:
    order = case.order
    found = case.facts.is_open(order.instrument, order.con_id, case.now)
    if found is None and order.legs:
        legs = [case.facts.is_open(leg.instrument, leg.con_id, case.now) for leg in order.legs]
        return None if None in legs else all(legs)
    return found


# -- permissions


def _trading_window(case: OrderCase, _: ScopeBook, limits: Limits) -> str:
    for windows in limits.trading_window or ():
        if not any(_holds(window, case) for window in windows):
            if CONTRACT_HOURS in windows and _is_open(case) is None:
                return "the trading hours of the instrument are not known"
            return "outside the trading window"
    return ""


def _holds(window: Window | str, case: OrderCase) -> bool:
    if isinstance(window, str):
        return _is_open(case) is True
    return _is_within(window, case.now // SECOND)


@lru_cache(maxsize=256)
def _is_within(window: Window, second: int) -> bool:
    """Return True in a window. Windows begin and end at full minutes, so one answer is right for a second."""
    return window.left(second) > 0


def _allow_live(case: OrderCase, _: ScopeBook, limits: Limits) -> str:
    if limits.allow_live or case.order.account.startswith(PAPER):
        return ""
    account = case.order.account
    return f"{account} is no account of paper trading" if account else "the account is not known"


def _allowed(name: str, values: Callable[[OrderCase], list[str]], noun: str) -> Condition:
    """Return the rule of a list of what may be traded."""

    def check(case: OrderCase, _: ScopeBook, limits: Limits) -> str:
        lists: Lists = getattr(limits, name)
        for value in values(case):
            if not value:
                return f"the {noun} is not known"
            for patterns in lists:
                if not any(fnmatchcase(value.upper(), pattern.upper()) for pattern in patterns):
                    return f"{value} is not among {', '.join(patterns)[:200]}"
        return ""

    return check


def _denied(name: str, values: Callable[[OrderCase], list[str]], noun: str) -> Condition:
    """Return the rule of a list of what may not be traded."""

    def check(case: OrderCase, _: ScopeBook, limits: Limits) -> str:
        lists: Lists = getattr(limits, name)
        for value in values(case):
            if not value:
                return f"the {noun} is not known"
            for patterns in lists:
                if any(fnmatchcase(value.upper(), pattern.upper()) for pattern in patterns):
                    return f"{value} is denied"
        return ""

    return check


def _symbols(case: OrderCase) -> list[str]:
    return [leg.symbol for leg in case.order.legs] or [case.order.symbol]


def _security_types(case: OrderCase) -> list[str]:
    return [case.order.sec_type, *(leg.sec_type for leg in case.order.legs)]


def _exchanges(case: OrderCase) -> list[str]:
    return [case.order.exchange, *(leg.exchange for leg in case.order.legs)]


def _currencies(case: OrderCase) -> list[str]:
    return [case.order.currency, *(leg.currency for leg in case.order.legs)]


def _list_rules() -> tuple[Rule, ...]:
    """Return the rules of the lists of what may be traded, and of what may not."""
    found = []
    for name, values, noun in (
        ("symbols", _symbols, "symbol"),
        ("security_types", _security_types, "security type"),
        ("exchanges", _exchanges, "exchange"),
        ("currencies", _currencies, "currency"),
    ):
        parts = "of each leg of a combination" if name == "symbols" else "of a combination and of each of its legs"
        found.append(
            Rule(
                name,
                f"The {noun} of the order, {parts}, must be in the list. An unknown {noun} is refused.",
                condition=_allowed(name, values, noun),
                of=CONTRACT,
            )
        )
        found.append(
            Rule(
                f"deny_{name}",
                f"The {noun} of the order, {parts}, must not be in the list. An unknown {noun} is refused.",
                condition=_denied(f"deny_{name}", values, noun),
                of=CONTRACT,
            )
        )
    return tuple(found)


RULES: tuple[Rule, ...] = (
    Rule(
        "order_values",
        "A quantity or a price that is no number, a quantity of 0 without a cash amount, an action that is none and a "
        "combination without legs are refused. This rule holds without a limit.",
        condition=_order_values,
        of=ORDER,
    ),
    *_list_rules(),
    Rule(
        "allow_live",
        "If it is false, the account must be one of paper trading (it begins with DU, DF or DI).",
        condition=_allow_live,
        of=CONTRACT,
    ),
    Rule(
        "trading_window",
        "The time must be in one of the windows. `contract` stands for the regular trading hours of the contract; "
        "while they are not known, the order is refused.",
        condition=_trading_window,
        of=ORDER,
    ),
    Rule(
        "market_orders",
        "`never`: an order that may execute at any price is refused, also a stop order. `rth`: one that executes at "
        "once is refused outside the regular trading hours, or if they are not known; one that waits for a trigger or "
        "for an auction is refused only with outsideRth. `always`: all are taken.",
        condition=_market_orders,
        of=ORDER,
    ),
    Rule(
        "reject_breaker",
        "After this many rejects of TWS or IB within reject_window every order is refused, for reject_pause or until "
        "`resume`.",
        condition=_reject_breaker,
    ),
    Rule(
        "duplicate_window",
        "An order with the account, instrument, side, quantity, order type and prices of one that was accepted less "
        "than this many seconds ago is refused. A change is no duplicate.",
        condition=_duplicate_window,
    ),
    Rule(
        "price_collar_percent",
        "The limit of an order may be worse than the market's price by this percent at most. For a purchase that price "
        "is the ask, else the last price, else the bid; for a sale the bid, else the last price, else the ask. For an "
        "order with a trigger it is the trigger. If price_collar_ticks is given too, the wider of the two counts. "
        "Without a quote that counts, the order is refused.",
        condition=_price_collar,
        of=ORDER,
    ),
    Rule(
        "price_collar_ticks",
        "As price_collar_percent, in steps of the price. If the step is not known, the percent alone counts.",
        condition=_price_collar,
        of=ORDER,
    ),
    Rule(
        "max_order_quantity",
        "The quantity of the order, of a combination that of its largest leg, may be the limit at most. A cash amount "
        "counts as the quantity that it buys at the lowest known price.",
        measure=_max_order_quantity,
        of=ORDER,
        unknown="the quantity is not known",
    ),
    Rule(
        "max_order_notional",
        "The worth of the order in the base currency may be the limit at most: quantity, multiplier and worst price, "
        "of a combination the sum over its legs.",
        measure=_max_order_notional,
        of=ORDER,
        unknown="no price, multiplier or rate is known to value the order by",
    ),
    Rule(
        "max_orders_per_second",
        "The orders and changes of the last second, with this one, may be as many as the limit.",
        measure=_max_orders_per_second,
    ),
    Rule(
        "max_orders_per_minute",
        "The orders and changes of the last 60 seconds, with this one, may be as many as the limit.",
        measure=_max_orders_per_minute,
    ),
    Rule(
        "max_symbol_orders_per_second",
        "The orders and changes in this symbol in the last second, with this one, may be as many as the limit.",
        measure=_max_symbol_orders_per_second,
    ),
    Rule(
        "max_symbol_orders_per_minute",
        "The orders and changes in this symbol in the last 60 seconds, with this one, may be as many as the limit.",
        measure=_max_symbol_orders_per_minute,
    ),
    Rule(
        "max_repeated_fills",
        "The orders of this side in this instrument that have begun to fill within repeated_fills_window, with this "
        "one, may be as many as the limit.",
        measure=_max_repeated_fills,
    ),
    Rule(
        "max_open_orders",
        "The working orders of this side in this instrument, with this one, may be as many as the limit. IB itself "
        "takes 20 for an account.",
        measure=_max_open_orders,
    ),
    Rule(
        "max_position",
        "The largest position that can come about, long or short, may be the limit at most. An order passes in any "
        "case if it makes no side larger that is over the limit.",
        measure=_max_position,
        spares=_makes_no_position_worse,
        unknown="the quantity of the order, or of a working one, is not known",
    ),
    Rule(
        "max_gross_exposure",
        "The worth of the largest positions that can come about, summed up over all instruments, may be the limit at "
        "most. An order passes in any case if it makes no position larger.",
        measure=_max_gross_exposure,
        spares=_makes_no_exposure_larger,
        unknown=UNVALUED,
    ),
    Rule(
        "max_net_exposure",
        "The worth of all that can become long less what is short, and the other way round, may be the limit at most. "
        "An order passes in any case if it makes no side larger that is over the limit.",
        measure=_max_net_exposure,
        spares=_makes_no_side_larger,
        unknown=UNVALUED,
    ),
    Rule(
        "max_daily_notional",
        "The worth of what was traded today, of what works and of this order may be the limit at most. An order passes "
        "in any case if it can only reduce a position.",
        measure=_max_daily_notional,
        spares=_reduces,
        unknown=UNVALUED,
    ),
    Rule(
        "max_daily_loss",
        "The loss since the day began, realised or not, with commissions, may be the limit at most. An order passes in "
        "any case if it can only reduce a position.",
        measure=_max_daily_loss,
        spares=_reduces,
        unknown=UNVALUED,
    ),
)
"""All rules, in the order in which they are checked."""
