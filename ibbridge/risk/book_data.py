"""The book of the gate as plain data that msgpack can pack, and back: it survives a restart of the daemon.

Pure. Data of another form raises `BookDataError`: a gate without its counts must not let orders pass as if nothing had
been traded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ibbridge.risk.holding import Holding, Part, Prices, claim_of
from ibbridge.risk.order import OrderLeg, ProposedOrder, signature
from ibbridge.risk.scope_book import ScopeBook
from ibbridge.risk.working_order import WorkingOrder

if TYPE_CHECKING:
    from ibbridge.risk.book import TradingBook
    from ibbridge.risk.holding import Claim

FORM = 1
"""Number of the form of the data."""

_ORDER = ProposedOrder._fields
_HELD = (
    "position", "above", "below", "reported", "moved_at", "mark", "cash", "start_position", "start_mark",
)  # fmt: skip


class BookDataError(Exception):
    """Data that is no book."""


def dumped(book: TradingBook) -> dict[str, Any]:
    """Return a book as plain data."""
    return {
        "form": FORM,
        "day": [book.day_start, book.day_end],
        "now": book.now,
        "places": dict(book.places),
        "prices": [[place, *prices] for place, prices in book.prices.items()],
        "scopes": [[*scope, _scope_data(each)] for scope, each in book.scopes.items()],
        "working": [_working_data(order) for order in book.working.values()],
    }


def load(book: TradingBook, data: Any) -> None:
    """Restore a book that is empty. Raise `BookDataError` if the data is no book."""
    try:
        if data["form"] != FORM:
            raise BookDataError(f"the form {data['form']} of the gate's book is not known")
        book.day_start, book.day_end = map(int, data["day"])
        book.now = int(data["now"])
        book.places.update(data["places"])
        book.prices.update({place: Prices(*prices) for place, *prices in data["prices"]})
        for kind, name, each in data["scopes"]:
            book.scopes[kind, name] = _scope_of(each)
        for each in data["working"]:
            book.restore(_working_of(each))
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise BookDataError(f"the gate's book cannot be read: {error!r}") from error


def _scope_data(book: ScopeBook) -> dict[str, Any]:
    return {
        "holdings": [
            [list(held.part(held.place)), *(getattr(held, name) for name in _HELD)] for held in book.holdings.values()
        ],
        "traded": dict(book.traded),
        "charges": dict(book.charges),
        "orders": book.orders.dump(),
        "by_symbol": [[symbol, times.dump()] for symbol, times in book.by_symbol.items()],
        "rejects": book.rejects.dump(),
        "fills": [[*place, times.dump()] for place, times in book.fills.items()],
        "duplicates": [
            [list(key), [[list(name), at] for name, at in same.items()]] for key, same in book.duplicates.items()
        ],
        "tripped": book.tripped,
    }


def _scope_of(data: dict[str, Any]) -> ScopeBook:
    book = ScopeBook()
    for part, *values in data["holdings"]:
        held = Holding(Part(*part), Prices(None, None))
        for name, value in zip(_HELD, values, strict=True):
            setattr(held, name, value)
        book.keep(held)
    book.traded, book.charges, book.tripped = dict(data["traded"]), dict(data["charges"]), data["tripped"]
    book.orders.load(data["orders"])
    book.rejects.load(data["rejects"])
    for symbol, times in data["by_symbol"]:
        book.symbol_times(symbol).load(times)
    for place, side, times in data["fills"]:
        book.fill_times(place, side).load(times)
    book.duplicates = {
        tuple(key): {(owner, order): at for (owner, order), at in same} for key, same in data["duplicates"]
    }
    return book


def _working_data(order: WorkingOrder) -> dict[str, Any]:
    former = order.former
    return {
        "order": _order_data(order.order),
        "quantity": order.quantity,
        "scopes": [list(scope) for scope in order.scopes],
        "over_at": order.over_at,
        "claims": [_claim_data(claim) for claim in order.claims],
        "former": former and [_order_data(former[0]), former[1], [list(part) for part in former[2]]],
    }


def _claim_data(claim: Claim) -> list[Any]:
    return [list(claim.part), claim.total, claim.executed, claim.unit, claim.is_over]


def _working_of(data: dict[str, Any]) -> WorkingOrder:
    order = _order_of(data["order"])
    made = WorkingOrder(order, data["quantity"], tuple((kind, name) for kind, name in data["scopes"]))
    claims = []
    for part, total, executed, unit, is_over in data["claims"]:
        claim = claim_of(order, Part(*part), made.quantity)
        claim.total, claim.executed, claim.unit, claim.is_over = total, executed, unit, is_over
        claims.append(claim)
    made.claims, made.over_at, made.signature = tuple(claims), data["over_at"], signature(order)
    if former := data["former"]:
        made.former = _order_of(former[0]), former[1], tuple(Part(*part) for part in former[2])
    return made


def _order_data(order: ProposedOrder) -> list[Any]:
    values: list[Any] = list(order)
    values[_ORDER.index("legs")] = [list(leg) for leg in order.legs]
    values[_ORDER.index("changes")] = list(order.changes) if order.changes else None
    return values


def _order_of(values: list[Any]) -> ProposedOrder:
    found = dict(zip(_ORDER, values, strict=True))
    found["legs"] = tuple(OrderLeg(*leg) for leg in found["legs"])
    found["changes"] = tuple(found["changes"]) if found["changes"] else None
    return ProposedOrder(**found)
