"""Order makers: plain maps under IB's attribute names. Add any attribute of IB's order by keyword.

Quantities and prices are numbers, or decimal text where the exact digits matter.
"""

from __future__ import annotations

from typing import Any

Order = dict[str, Any]
Quantity = int | float | str


def market(action: str, quantity: Quantity, **more: Any) -> Order:
    """Return a market order: `market("BUY", 100)`."""
    return _order("MKT", action, quantity, more)


def limit(action: str, quantity: Quantity, price: float, **more: Any) -> Order:
    """Return a limit order: `limit("SELL", 100, 191.50, tif="GTC")`."""
    return _order("LMT", action, quantity, {"lmtPrice": price, **more})


def stop(action: str, quantity: Quantity, price: float, **more: Any) -> Order:
    """Return a stop order, which becomes a market order when the market trades through `price`.

    Example: `stop("SELL", 100, 180)`.
    """
    return _order("STP", action, quantity, {"auxPrice": price, **more})


def _order(kind: str, action: str, quantity: Quantity, more: dict[str, Any]) -> Order:
    return {"action": action, "orderType": kind, "totalQuantity": quantity, **more}
