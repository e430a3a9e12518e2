"""Events of the book of risk as plain data: orders and executions, packed for the journal and read back.

Pure. The module must not know what an event does to the book.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from ibbridge.risk.book import TradeFill
from ibbridge.risk.order import OrderLeg, ProposedOrder

if TYPE_CHECKING:
    from collections.abc import Sequence

_FIELDS = [each.name for each in dataclasses.fields(ProposedOrder)]


def packed(order: ProposedOrder) -> tuple[Any, ...]:
    """Return an order as plain data."""
    return tuple(getattr(order, name) for name in _FIELDS)


def proposed(values: Sequence[Any]) -> ProposedOrder:
    """Return the order in plain data, of this or an earlier process."""
    found = dict(zip(_FIELDS, values, strict=False))
    found["legs"] = tuple(OrderLeg(*leg) for leg in found["legs"])
    found["changes"] = tuple(found["changes"]) if found["changes"] else None
    return ProposedOrder(**found)


def fill(values: Sequence[Any]) -> TradeFill:
    """Return the execution in plain data."""
    name, *rest = values
    return TradeFill((name[0], name[1]), *rest)
