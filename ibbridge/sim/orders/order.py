"""Order of a client as the simulated host sees it, and the messages that report its state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ibbridge.sim.market import ib_times

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ibbridge.sim.context import Data
    from ibbridge.sim.market.instruments import Instrument

HELD = ""
"""Status of an order that was not transmitted: the order exists in the host, and no client is told of it."""
PRE_SUBMITTED, SUBMITTED, PENDING_CANCEL = "PreSubmitted", "Submitted", "PendingCancel"
FILLED, CANCELLED, API_CANCELLED, INACTIVE = "Filled", "Cancelled", "ApiCancelled", "Inactive"

USUAL: Data = {
    "auxPrice": 0.0, "clearingIntent": "IB", "ocaType": 3, "volatilityType": 0, "referencePriceType": 0,
    "deltaNeutralOrderType": "None", "adjustedOrderType": "None", "dontUseAutoPriceForHedge": True,
    "shareholder": "Not an insider or substantial shareholder", "routeMarketableToBbo": False,
    "usePriceMgmtAlgo": False, "seekPriceImprovement": False,
}  # fmt: skip
"""Values that a host reports for every order whose client did not set them."""
SUBMITTER = "papertrader"
"""Name of the user who is logged in at the host."""

WORKING = frozenset((PRE_SUBMITTED, SUBMITTED, PENDING_CANCEL))
DONE = frozenset((FILLED, CANCELLED, API_CANCELLED, INACTIVE))


class SimulatedOrder:
    """Order with its state so far. `order` is the record from the client, with the host's own additions.

    `manual` orders were entered in the host itself: they have client id 0, and order id 0 until they are bound.
    `expires` and `starts` are seconds since 1970, None for never and at once.
    """

    def __init__(self, client: int, order_id: int, instrument: Instrument, contract: Data, order: Data) -> None:
        self.client = client
        self.order_id = order_id
        self.perm_id = 0
        self.instrument = instrument
        self.contract = contract
        self.order = order
        self.manual = False
        self.parent: SimulatedOrder | None = None
        self.status = HELD
        self.why_held = ""
        self.filled = 0.0
        self.spent = 0.0
        self.charged = 0.0
        self.last_price = 0.0
        self.triggered = False
        self.stop: float | None = None
        self.expires: float | None = None
        self.starts: float | None = None
        self.completed = ""
        self.expired = False

    @property
    def quantity(self) -> float:
        """Quantity that was ordered."""
        return float(self.order.get("totalQuantity") or 0.0)

    @property
    def remaining(self) -> float:
        """Quantity that is still to be filled."""
        return round(max(self.quantity - self.filled, 0.0), 8)

    @property
    def buys(self) -> bool:
        """Return True if the order is a purchase."""
        return self.order.get("action") in ("BUY", "SLONG")

    @property
    def sign(self) -> int:
        """Sign of the quantity: 1 for a purchase, -1 for a sale."""
        return 1 if self.buys else -1

    @property
    def account(self) -> str:
        """Account that the order belongs to."""
        return str(self.order.get("account", ""))

    @property
    def average(self) -> float:
        """Average fill price; 0 before the first fill."""
        return round(self.spent / self.filled, 8) if self.filled else 0.0

    @property
    def working(self) -> bool:
        """Return True if the order has been transmitted and is not over."""
        return self.status in WORKING

    @property
    def done(self) -> bool:
        """Return True if the order is over."""
        return self.status in DONE

    def tif(self) -> str:
        """Return the time in force."""
        return str(self.order.get("tif") or "DAY")

    # -- messages ----------------------------------------------------------------------------------------------------

    def open_order(self, state: Mapping[str, Any] | None = None) -> Data:
        """Return the data of `openOrder`; `state` adds fields to the order state."""
        return {
            "orderId": self.order_id,
            "contract": self.contract,
            "order": self._record(),
            "orderState": {"status": self.status, **(state or {})},
        }

    def order_status(self) -> Data:
        """Return the data of `orderStatus`."""
        return {
            "orderId": self.order_id,
            "status": self.status,
            "filled": self.filled,
            "remaining": self.remaining,
            "avgFillPrice": self.average,
            "permId": self.perm_id,
            "parentId": self.order.get("parentId") or 0,
            "lastFillPrice": self.last_price,
            "clientId": self.client,
            "whyHeld": self.why_held,
            "mktCapPrice": 0.0,
        }

    def completed_order(self) -> Data:
        """Return the data of `completedOrder`, in which only the permId identifies the order."""
        record = self._record()
        for gone in ("orderId", "clientId", "parentId", "totalQuantity"):
            record.pop(gone, None)
        record |= {"filledQuantity": self.filled, "totalQuantity": self.quantity}
        state = {"status": self.status, "completedTime": self.completed, "completedStatus": self._ending()}
        return {"contract": self.contract, "order": record, "orderState": state}

    def execution(self, exec_id: str, at: float, shares: float) -> Data:
        """Return the execution record of the fill that was booked last."""
        record: Data = {
            "execId": exec_id,
            "time": ib_times.stamp(at),
            "acctNumber": self.account,
            "exchange": self.instrument.primary,
            "side": "BOT" if self.buys else "SLD",
            "shares": shares,
            "price": self.last_price,
            "permId": self.perm_id,
            "clientId": self.client,
            "orderId": self.order_id,
            "cumQty": self.filled,
            "avgPrice": self.average,
            "orderRef": self.order.get("orderRef", ""),
            "lastLiquidity": 2,
        }
        return {name: value for name, value in record.items() if value not in ("", 0)}

    def _record(self) -> Data:
        own = {"orderId": self.order_id, "clientId": self.client, "permId": self.perm_id, "tif": self.tif()}
        told = {name: value for name, value in self.order.items() if value not in ("", None)}
        record = USUAL | {"submitter": SUBMITTER, "filledQuantity": self.filled} | told
        record |= {name: value for name, value in own.items() if value}
        for never in ("transmit", "whatIf"):
            record.pop(never, None)
        if self.stop is not None:
            record["trailStopPrice"] = self.stop
            if record.get("lmtPrice") is None and record.get("lmtPriceOffset") is not None:
                record["lmtPrice"] = round(self.stop + self.sign * record["lmtPriceOffset"], 8)
        return record

    def _ending(self) -> str:
        if self.status == FILLED:
            return f"Filled Size: {self.filled:g}"
        if self.status == INACTIVE:
            return "Rejected by System"
        return "Expired" if self.expired else "Cancelled by Trader"
