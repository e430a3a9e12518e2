"""Events of the book of risk as plain data: orders and executions, read back from the journal, which has tuples.

Pure. The module must not know what an event does to the book.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ibbridge.risk.book import TradeFill
from ibbridge.risk.order import OrderLeg, ProposedOrder

if TYPE_CHECKING:
    from collections.abc import Sequence


def proposed(values: Sequence[Any]) -> ProposedOrder:
    """Return the order in plain data, of this or an earlier process."""
    found = dict(zip(ProposedOrder._fields, values, strict=False))
    found["legs"] = tuple(OrderLeg(*leg) for leg in found["legs"])
    found["changes"] = tuple(found["changes"]) if found["changes"] else None
    return ProposedOrder(**found)


def fill(values: Sequence[Any]) -> TradeFill:
    """Return the execution in plain data."""
    name, *rest = values
    return TradeFill((name[0], name[1]), *rest)
