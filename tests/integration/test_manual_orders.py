"""Orders made by hand in TWS, beside a daemon with client id 0, over restarts of both: bound, published, cancelled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgpack

from tests.integration.rig import AAPL, Bridge, Market
from tests.integration.witness import patience

if TYPE_CHECKING:
    from ibbridge.sim.orders.registry import OrderBook

NEVER = {"action": "BUY", "totalQuantity": 1.0, "orderType": "LMT", "lmtPrice": 1.0, "tif": "GTC"}
NOW = {"action": "BUY", "totalQuantity": 1.0, "orderType": "MKT"}
BINDS: dict[str, Any] = {"tws__client_id": 0, "orders__bind_manual": "true"}


def status(book: OrderBook, perm_id: int) -> str:
    return next(each.status for each in book.tickets if each.perm_id == perm_id)


def told(bridge: Bridge, stream: str) -> list[dict[str, Any]]:
    """Return all bodies that were published on a stream."""
    if not bridge.do("snapshot", prefix=stream)["streams"]:
        return []
    return [msgpack.unpackb(body) for _, body in bridge.replay(stream, 1)]


def is_bound(bridge: Bridge, perm_id: int) -> bool:
    """Return True if the daemon has seen the order with an order id: TWS may have said orderBound to a dead daemon."""
    return any(each["ref"]["permId"] == perm_id and each["ref"]["orderId"] for each in told(bridge, "ord.ext."))


def cancel(market: Market, bridge: Bridge, perm_id: int) -> None:
    """Cancel an order made by hand, as soon as it is bound."""
    patience(lambda: is_bound(bridge, perm_id), "the order id")
    result = bridge.do("cancelOrder", permId=perm_id)
    assert result["topic"] == f"ord.ext.~{perm_id}."
    assert result["orderId"] < 0
    patience(lambda: market.book(lambda book: status(book, perm_id)) == "Cancelled", "the cancel")


def test_orders_made_by_hand_are_bound_and_can_be_cancelled():
    with Market(newest=200) as market:
        early = market.enter(AAPL, NEVER)
        with Bridge(market.port, **BINDS) as bridge:
            sub = bridge.ready()
            cancel(market, bridge, early)
            late = market.enter(AAPL, NEVER)
            sub.until("openOrder", lambda data: data["order"]["permId"] == late, topic=f"ord.ext.~{late}.")
            cancel(market, bridge, late)
            bound = [each["data"]["permId"] for each in told(bridge, "ord.ext.") if each["type"] == "orderBound"]
            assert bound == [early, late]
            bridge.do("placeOrder", key="own", contract=AAPL, order=NEVER)
            filled = market.enter(AAPL, NOW)
            sub.until("execDetails", lambda data: data["execution"]["permId"] == filled, topic="exec.ext.")

            bridge.process.kill()
            bridge.process.wait()
            away = market.enter(AAPL, NEVER)
            market.fault(do="restart", lasts=0.2)
            bridge.start()
            cancel(market, bridge, away)
            bridge.do("cancelOrder", key="own")
            patience(lambda: _ends(bridge) == {"own": "cancelled"}, "the end of the order of a client")
            executed = [each["ref"]["permId"] for each in told(bridge, "exec.ext.") if each["type"] == "execDetails"]
            assert executed == [filled]
            assert told(bridge, "exec.me.") == []


def _ends(bridge: Bridge) -> dict[str, str]:
    states = [each for each in told(bridge, "ord.me.") if each["type"] == "orderState"]
    return {each["ref"]["key"]: each["data"]["reason"] for each in states}


def test_without_the_setting_the_reply_names_it():
    with Market(newest=200) as market, Bridge(market.port) as bridge:
        sub = bridge.ready()
        perm_id = market.enter(AAPL, NEVER)
        bridge.do("reconcile")
        sub.until("openOrder", lambda data: data["order"]["permId"] == perm_id, topic=f"ord.ext.~{perm_id}.")
        error = bridge.call("cancelOrder", permId=perm_id)["error"]
        assert error["code"] == "E_ARG"
        assert "tws.client_id: 0 and orders.bind_manual: true" in error["message"]
        assert market.book(lambda book: status(book, perm_id)) in ("PreSubmitted", "Submitted")
