"""Order makers: plain maps under IB's attribute names. Add any attribute of IB's order by keyword.

Quantities and prices are numbers, or decimal text where the exact digits matter.
"""

from __future__ import annotations

from typing import Any

Contract = dict[str, Any]
Order = dict[str, Any]
Quantity = int | float | str

_SHARED = ("account", "faGroup", "faMethod", "faPercentage", "outsideRth")
"""Attributes that the exits of a bracket take from its entry."""


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


def bracket(
    key: str, contract: Contract, entry: Order, *, profit: float | None = None, loss: float | None = None
) -> list[dict[str, Any]]:
    """Return an order and its exits, for `placeOrders`: a limit order at `profit`, and a stop order at `loss`.

    Example: `ib.placeOrders(bracket("b1", stock("AAPL"), limit("BUY", 100, 180), profit=190, loss=175))`. The orders
    have the keys `b1`, `b1-profit` and `b1-loss`. The exits begin to work when the entry fills, and when one of them
    fills TWS cancels the other. They are for the entry's quantity and account, and GTC if the entry is.
    """
    if profit is None and loss is None:
        raise ValueError("a bracket has an exit: give profit, loss, or both")
    action, quantity = "SELL" if entry["action"] == "BUY" else "BUY", entry["totalQuantity"]
    more = {name: entry[name] for name in _SHARED if name in entry}
    if entry.get("tif") == "GTC":
        more["tif"] = "GTC"
    members = [{"key": key, "contract": contract, "order": entry}]
    for name, make, price in (("profit", limit, profit), ("loss", stop, loss)):
        if price is not None:
            exit_order = make(action, quantity, price, **more)
            members.append({"key": f"{key}-{name}", "contract": contract, "order": exit_order, "parent": key})
    return members


def _order(kind: str, action: str, quantity: Quantity, more: dict[str, Any]) -> Order:
    return {"action": action, "orderType": kind, "totalQuantity": quantity, **more}
