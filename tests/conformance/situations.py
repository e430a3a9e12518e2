"""Messages of the simulator in the situation in which a frame of a gateway was captured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ibbridge.sim import SimulatedTws
from tests.support.simulator_client import AAPL, CALL, Client

if TYPE_CHECKING:
    from collections.abc import Callable

ES = {"symbol": "ES", "secType": "FUT", "exchange": "CME", "currency": "USD"}
FUND = {"symbol": "VTSAX", "secType": "FUND", "exchange": "FUNDSERV", "currency": "USD"}
BOND = {"symbol": "AAPL", "secType": "BOND", "exchange": "SMART", "currency": "USD"}
EURUSD = {"symbol": "EUR", "secType": "CASH", "exchange": "IDEALPRO", "currency": "USD"}
CFD = AAPL | {"secType": "CFD"}
HYNIX = {"symbol": "000660", "secType": "STK", "exchange": "SMART", "currency": "KRW"}
FAR = 50.0
"""A price that the market is far from."""

Said = list[tuple[str, dict[str, Any]]]


def _client() -> Client:
    return Client(SimulatedTws(seed=1))


def welcome() -> Said:
    return _client().welcome


def asked(name: str, seconds: float = 0.0, **args: Any) -> Callable[[], Said]:
    """A request, and what comes of it within so many seconds."""

    def situation() -> Said:
        client = _client()
        said = client.ask(name, **args)
        return said + client.wait(seconds) if seconds else said

    return situation


def _holding(client: Client, contract: dict[str, Any] = AAPL, quantity: float = 1.0) -> Said:
    said = client.place(client_id(client), contract, action="BUY", totalQuantity=quantity, orderType="MKT")
    return said + client.wait(1)


def client_id(client: Client) -> int:
    return int(client.ask("reqIds", numIds=1)[0][1]["orderId"])


def held(name: str, seconds: float = 0.0, contract: dict[str, Any] = AAPL, **args: Any) -> Callable[[], Said]:
    """The same for an account that has a position, and has sold a part of it."""

    def situation() -> Said:
        client = _client()
        _holding(client, contract, 2.0)
        client.place(client_id(client), contract, action="SELL", totalQuantity=1.0, orderType="MKT")
        client.wait(1)
        said = client.ask(name, **args)
        return said + client.wait(seconds) if seconds else said

    return situation


def opened(name: str, seconds: float = 0.0, contract: dict[str, Any] = AAPL, **args: Any) -> Callable[[], Said]:
    """The same for an account that has sold nothing."""

    def situation() -> Said:
        client = _client()
        _holding(client, contract)
        said = client.ask(name, **args)
        return said + client.wait(seconds) if seconds else said

    return situation


def plain_limit(**more: Any) -> Said:
    return _client().limit(1, FAR, 1.0, **more)


def bracket_child() -> Said:
    client = _client()
    client.limit(1, 1.0, 1.0, transmit=False)
    return client.limit(2, 2000.0, 1.0, "SELL", parentId=1, ocaGroup="1571710075", orderRef="ref")


def conditional(condition: dict[str, Any]) -> Callable[[], Said]:
    def situation() -> Said:
        order: dict[str, Any] = {"conditions": [condition], "conditionsIgnoreRth": True, "orderRef": "ref"}
        return _client().limit(1, 14.59, 1.0, **order)

    return situation


PRICE: dict[str, Any] = {
    "condType": 1, "isConjunctionConnection": True, "isMore": True, "conId": 265598, "exchange": "SMART",
    "price": 2918.1, "triggerMethod": 4,
}  # fmt: skip
EXECUTION: dict[str, Any] = {
    "condType": 5, "isConjunctionConnection": True, "secType": "STK", "exchange": "ANY", "symbol": "AAPL",
}  # fmt: skip


def by_hand() -> Said:
    host = SimulatedTws(seed=1)
    option = CALL | {"lastTradeDateOrContractMonth": "20260116"}
    order = {"action": "SELL", "totalQuantity": 1.0, "orderType": "LMT", "lmtPrice": 900.0, "tif": "GTC"}
    host.enter_order(option, order)
    return Client(host, 3).ask("reqAllOpenOrders")


def combination() -> Said:
    """A vertical spread with a price for each leg and none for the whole."""
    client = _client()
    legs = spread(client)
    order = {"action": "BUY", "totalQuantity": 1.0, "orderType": "LMT", "orderRef": "ref",
             "orderComboLegs": [{"price": 0.04}, {"price": 0.01}],
             "smartComboRoutingParams": [{"tag": "NonGuaranteed", "value": "1"}]}  # fmt: skip
    return client.place(1, legs, **order)


def spread(client: Client) -> dict[str, Any]:
    found = [client.ask("reqContractDetails", reqId=9, contract=CALL | {"strike": x})[0][1] for x in (230.0, 235.0)]
    contracts = [each["contractDetails"]["contract"] for each in found]
    legs = [
        {"conId": contract["conId"], "ratio": 1, "action": action, "exchange": "SMART"}
        for contract, action in zip(contracts, ("BUY", "SELL"), strict=True)
    ]
    return {"symbol": "AAPL", "secType": "BAG", "exchange": "SMART", "currency": "USD", "comboLegs": legs}


def cancelled() -> Said:
    client = _client()
    client.limit(1, FAR, 1.0)
    return client.ask("cancelOrder", orderId=1, orderCancel={})


def cancelled_twice() -> Said:
    client = _client()
    client.limit(1, FAR, 1.0)
    client.ask("cancelOrder", orderId=1, orderCancel={})
    return client.ask("cancelOrder", orderId=1, orderCancel={})


def filled(side: str = "BUY", **more: Any) -> Callable[[], Said]:
    """A fill that opens, or (side SELL) one that closes."""

    def situation() -> Said:
        client = _client()
        if side == "SELL":
            _holding(client)
        client.market(client_id(client), 1.0, side, **more)
        return client.wait(1)

    return situation


def completed(**order: Any) -> Callable[[], Said]:
    def situation() -> Said:
        client = _client()
        client.place(1, AAPL, **order)
        client.wait(1)
        client.ask("cancelOrder", orderId=1, orderCancel={})
        return client.ask("reqCompletedOrders", apiOnly=False)

    return situation


TRAILING: dict[str, Any] = {
    "action": "BUY", "totalQuantity": 1.0, "orderType": "TRAIL LIMIT", "trailStopPrice": 2000.0, "auxPrice": 1.0,
    "lmtPriceOffset": 0.05,
}  # fmt: skip
RESTING: dict[str, Any] = {
    "action": "SELL", "totalQuantity": 1.0, "orderType": "LMT", "lmtPrice": 500.0, "tif": "GTC",
    "ocaGroup": "1001",
}  # fmt: skip


def closed_position() -> Said:
    client = _client()
    _holding(client)
    client.ask("reqPositions")
    client.market(client_id(client), 1.0, "SELL")
    return client.wait(1)


def unsubscribed() -> Said:
    client = Client(SimulatedTws(seed=1, unsubscribed=frozenset(("AAPL",))))
    return client.ask("reqMktData", reqId=1, contract=AAPL, genericTickList="")


def delayed() -> Said:
    client = _client()
    client.ask("reqMarketDataType", marketDataType=3)
    return client.ask("reqMktData", reqId=1, contract=AAPL)


HISTORY: dict[str, Any] = {
    "endDateTime": "", "durationStr": "1 D", "barSizeSetting": "1 hour", "whatToShow": "TRADES", "useRTH": 0,
    "formatDate": 1, "keepUpToDate": False,
}  # fmt: skip
CHAIN: dict[str, Any] = {"underlyingSymbol": "AAPL", "underlyingSecType": "STK", "underlyingConId": 265598}
SCAN: dict[str, Any] = {
    "instrument": "STK", "locationCode": "STK.US.MAJOR", "scanCode": "TOP_PERC_GAIN", "numberOfRows": 2,
}  # fmt: skip
NEWS: dict[str, Any] = {"conId": 265598, "providerCodes": "BRFG+BRFUPDN+DJNL", "totalResults": 5}


def article() -> Said:
    client = _client()
    found = [data for name, data in client.ask("reqHistoricalNews", reqId=1, **NEWS) if name == "historicalNews"]
    each = found[0]
    return client.ask("reqNewsArticle", reqId=2, providerCode=each["providerCode"], articleId=each["articleId"])


def details(contract: dict[str, Any]) -> Callable[[], Said]:
    return asked("reqContractDetails", reqId=1, contract=contract)
