"""A client of the simulated host for tests: asks, lets time pass, and hands over what was said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ibbridge.sim import SimulatedTws

AAPL = {"symbol": "AAPL", "secType": "STK", "exchange": "SMART", "currency": "USD"}
EURUSD = {"symbol": "EUR", "secType": "CASH", "exchange": "IDEALPRO", "currency": "USD"}
CALL = {
    "symbol": "AAPL",
    "secType": "OPT",
    "exchange": "SMART",
    "currency": "USD",
    "lastTradeDateOrContractMonth": "20260116",
    "strike": 230.0,
    "right": "C",
}
PUT = CALL | {"right": "P"}


class Client:
    """Client session of the simulator, with the messages that were sent to it."""

    def __init__(self, host: SimulatedTws, client_id: int = 1) -> None:
        self.host = host
        self.session = host.connect(client_id)
        self.welcome = self.session.take()

    def ask(self, name: str, **args: Any) -> list[tuple[str, dict[str, Any]]]:
        """Send a request and return the immediate messages."""
        self.host.request(self.session, name, args)
        return self.session.take()

    def wait(self, seconds: float = 0.25) -> list[tuple[str, dict[str, Any]]]:
        """Let time pass and return the messages of that time."""
        self.host.advance(self.host.now + seconds)
        return self.session.take()

    def place(self, order_id: int, contract: dict[str, Any] | None = None, **order: Any) -> list[Any]:
        return self.ask("placeOrder", orderId=order_id, contract=contract or AAPL, order=order)

    def market(self, order_id: int, quantity: float, action: str = "BUY", **more: Any) -> list[Any]:
        return self.place(order_id, action=action, totalQuantity=quantity, orderType="MKT", **more)

    def limit(self, order_id: int, price: float, quantity: float = 100.0, action: str = "BUY", **more: Any) -> list:
        return self.place(order_id, action=action, totalQuantity=quantity, orderType="LMT", lmtPrice=price, **more)


def names(messages: list[Any]) -> list[str]:
    return [name for name, _ in messages]


def only(messages: list[Any], name: str) -> list[dict[str, Any]]:
    return [data for kind, data in messages if kind == name]


def codes(messages: list[Any]) -> list[int]:
    return [data["errorCode"] for data in only(messages, "error")]


def story(messages: list[Any]) -> list[str]:
    """The life of orders in short: `5 Submitted`, `3 Filled`, `11`, `59`, `4 202`."""
    told = {
        "openOrder": lambda data: f"5 {data['orderState']['status']}",
        "orderStatus": lambda data: f"3 {data['status']}",
        "execDetails": lambda _: "11",
        "commissionAndFeesReport": lambda _: "59",
        "error": lambda data: f"4 {data['errorCode']}",
    }
    return [told[name](data) for name, data in messages if name in told]
