"""Orders in a recording, as the limits of a configuration would have judged them.

Pure: the caller gives the frames of both directions with their times. An order that would have been refused counts no
more, and neither do its executions: as if the limits had held. The module must not know files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ibbridge.codec import Dialect, Message
from ibbridge.orders.known_contracts import KnownContracts
from ibbridge.orders.order import Order, is_end
from ibbridge.orders.proposals import Proposals
from ibbridge.orders.recorded_markets import RecordedMarkets
from ibbridge.orders.risk_reports import plain_limit, scope_name
from ibbridge.protocol.instrument_key import instrument_key
from ibbridge.risk import settings
from ibbridge.risk.book import TradeFill, TradingBook
from ibbridge.risk.evaluation import RiskGate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ibbridge.config.model import RiskConfig

_REJECTED = 201


class RefusedOrder(NamedTuple):
    """Order that a rule would have refused. `ts`: when it was sent, in µs since 1970 UTC."""

    ts: int
    order: str
    rule: str
    scope: str
    limit: Any
    value: float | None
    fault: str


class _Login:
    """Accounts that the login of TWS manages."""

    accounts: tuple[str, ...] = ()


class RecordedOrders:
    """Judge of the orders in a recording. `refused`: those that would have been refused. `count`: all of them."""

    def __init__(self, config: RiskConfig) -> None:
        self.refused: list[RefusedOrder] = []
        self.count = 0
        self._contracts, self._login = KnownContracts(), _Login()
        self._facts = RecordedMarkets(config.base_currency)
        self._gate = RiskGate(settings.policy(config), TradingBook(self._facts), self._facts)
        self._proposals = Proposals(self._contracts, self._login)
        self._client = 0
        self._asked: dict[int, tuple[str, Mapping[str, Any]]] = {}
        self._orders: dict[int, Order] = {}
        self._executed: set[str] = set()
        self._does: Mapping[str, Callable[[Mapping[str, Any], int], None]] = {
            "managedAccounts": self._take_accounts,
            "tickPrice": self._take_price,
            "updateAccountValue": lambda data, _: self._facts.take_value(data["key"], data["value"], data["currency"]),
            "contractDetails": self._take_details,
            "position": self._take_position,
            "openOrder": self._take_order,
            "orderStatus": self._take_status,
            "execDetails": self._take_execution,
            "error": self._take_error,
        }

    def connected(self, version: int) -> None:
        """Begin a connection of a server version."""
        self._sides = Dialect.client(version), Dialect.server(version)
        self._asked.clear()

    def take(self, ts: int, payload: bytes, *, outbound: bool) -> None:
        """Take a frame of the recording, with its time in µs since 1970 UTC."""
        message = self._sides[outbound].read(payload)
        if not isinstance(message, Message):
            return
        if not outbound:
            if message.name in self._does:
                self._does[message.name](message.data, ts)
        elif message.name == "startApi":
            self._client = message.data["clientId"]
        elif message.name in ("reqMktData", "reqContractDetails"):
            number = message.data.get("reqId", message.data.get("tickerId"))
            self._asked[number or 0] = str(instrument_key(message.data["contract"])), message.data["contract"]
        elif message.name in ("placeOrder", "exerciseOptions"):
            self._judge(message.name, message.data, ts)

    # -- orders

    def _judge(self, name: str, data: Mapping[str, Any], ts: int) -> None:
        number = data.get("orderId", data.get("reqId")) or 0
        about = data.get("order") or {}
        if about.get("whatIf"):
            return
        owner, slash, key = str(about.get("orderRef") or "").partition("/")
        if not slash:
            owner, key = f"client {self._client}", str(number)
        known = self._orders.get(number)
        order = known or Order(owner, key, number, data, name)
        self.count += 1
        for proposed in self._proposals.of(order, data if known else None):
            decision = self._gate.evaluate(proposed, ts)
            if decision.breaches:
                self.refused += [
                    RefusedOrder(
                        ts, f"{owner}/{key}", check.rule, scope_name(check.scope), plain_limit(check.limit),
                        check.value, check.fault,
                    )
                    for check in decision.breaches[:1]
                ]  # fmt: skip
                return
            self._gate.accepted(proposed, ts)
        order.args = data
        self._orders[number] = order

    def _take_order(self, data: Mapping[str, Any], _: int) -> None:
        order = self._orders.get(data.get("orderId") or 0)
        contract = data.get("contract") or {}
        if order is None or (data.get("order") or {}).get("clientId", self._client) != self._client:
            self._contracts.learn(contract)
        else:
            self._name(order, contract)

    def _name(self, order: Order, contract: Mapping[str, Any]) -> None:
        """Note the contract that TWS names for that of an order."""
        if key := self._proposals.name(order, contract):
            self._gate.book.identify(key, contract["conId"])

    def _take_status(self, data: Mapping[str, Any], ts: int) -> None:
        order = self._orders.get(data.get("orderId") or 0)
        if order is not None and data.get("clientId", self._client) == self._client and is_end(data["status"]):
            self._gate.book.ended((order.owner, order.key), ts, float(data.get("filled") or 0))

    def _take_error(self, data: Mapping[str, Any], ts: int) -> None:
        order = self._orders.get(data.get("reqId") or 0)
        if order is not None and data.get("errorCode") == _REJECTED:
            self._gate.rejected((order.owner, order.key), ts)
            self._gate.book.ended((order.owner, order.key), ts, float(order.filled or 0))

    def _take_execution(self, data: Mapping[str, Any], ts: int) -> None:
        execution, contract = data["execution"], data.get("contract") or {}
        order, exec_id = self._orders.get(execution.get("orderId") or 0), execution.get("execId") or ""
        ours = order is not None and execution.get("clientId", self._client) == self._client
        if order is None or not ours or exec_id in self._executed or contract.get("secType") == "BAG":
            return
        self._executed.add(exec_id)
        self._name(order, contract)
        side = 1 if execution["side"] == "BOT" else -1
        known = self._contracts.find(contract)
        self._gate.book.filled(
            TradeFill(
                (order.owner, order.key), execution.get("acctNumber") or "", str(instrument_key(contract)),
                contract.get("conId") or 0, contract.get("symbol") or "", contract.get("secType") or "",
                contract.get("currency") or "", known.multiplier if known else 1.0, side,
                float(execution["shares"]), float(execution["price"]), ts,
            )
        )  # fmt: skip

    # -- facts

    def _take_accounts(self, data: Mapping[str, Any], _: int) -> None:
        self._login.accounts = tuple(filter(None, data["accountsList"].split(",")))

    def _take_price(self, data: Mapping[str, Any], ts: int) -> None:
        if (asked := self._asked.get(data["reqId"])) and data.get("price") is not None:
            self._facts.take_price(asked[0], data["tickType"], data["price"], ts)

    def _take_details(self, data: Mapping[str, Any], _: int) -> None:
        details = data.get("contractDetails") or {}
        named = details.get("contract") or {}
        self._contracts.learn(named, details)
        if asked := self._asked.get(data["reqId"]):
            self._contracts.spelt(asked[1], named)
            self._facts.calendar.learn(asked[0], details.get("liquidHours", ""), details.get("timeZoneId", ""))

    def _take_position(self, data: Mapping[str, Any], ts: int) -> None:
        key, contract = self._proposals.held(data["contract"])
        self._gate.book.reported(data["account"], key, contract, float(data.get("position") or 0), ts)
