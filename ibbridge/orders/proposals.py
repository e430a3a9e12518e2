"""Orders as the rules of risk see them, from the arguments of commands and from the messages of TWS.

Pure. What a command leaves out of a contract is filled in from the contract that TWS has named. The module must not
know rules, or what becomes of an order.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from ibbridge.orders.order import FOREIGN
from ibbridge.protocol.instrument_key import instrument_key
from ibbridge.risk import order as risk_order
from ibbridge.risk.order import COMBINATION, OrderLeg

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ibbridge.orders.known_contracts import KnownContracts
    from ibbridge.orders.order import Order
    from ibbridge.risk.order import ProposedOrder

_BUYS = "BUY"


class Login(Protocol):
    """Login of TWS, as far as orders need it."""

    @property
    def accounts(self) -> tuple[str, ...]:
        """The accounts that it manages."""


class Proposals:
    """Maker of proposed orders."""

    def __init__(self, contracts: KnownContracts, login: Login) -> None:
        self.contracts = contracts
        self._login = login

    def of(self, order: Order, args: Mapping[str, Any] | None = None) -> Sequence[ProposedOrder]:
        """Return what an order of a client proposes, with the arguments that it has, or gets by a change.

        The exercise of an option proposes a second order, in the underlying, if that is known.
        """
        account = self._account()
        if order.command != "placeOrder":
            return (
                self._known(risk_order.exercise(order.owner, order.key, args or order.args, account=account), order),
            )
        given = args or order.args
        changes = (order.owner, order.key) if args is not None else None
        legs = self._legs(given.get("contract") or {})
        made = risk_order.proposed(
            order.owner, order.key, given, account=account, parent=order.parent, changes=changes, legs=legs
        )
        if (given.get("order") or {}).get("faGroup") and len(self._login.accounts) > 1:
            made = replace(made, account="")  # TWS allocates it to accounts that are not known here
        return (self._known(made, order, given),)

    def foreign(self, key: str, data: Mapping[str, Any]) -> ProposedOrder:
        """Return the order of another program that an `openOrder` of TWS reports."""
        contract = data.get("contract") or {}
        made = risk_order.proposed(FOREIGN, key, data, account=self._account(), legs=self._legs(contract))
        return self._filled_in(made, contract)

    def name(self, order: Order, contract: Mapping[str, Any]) -> str:
        """Note the contract that TWS names for that of an order. Return the key of the instrument if that is news."""
        given = order.args.get("contract")
        if not isinstance(given, dict) or not self.contracts.spelt(given, contract):
            return ""
        return str(instrument_key(given)) if contract.get("conId") else ""

    def held(self, contract: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Return the key and the attributes of the contract of a position, as the book of risk knows it."""
        self.contracts.learn(contract)
        known = self.contracts.find(contract)
        found = {name: contract.get(name) or "" for name in ("symbol", "secType", "currency")}
        found |= {"conId": contract.get("conId") or 0, "multiplier": known.multiplier if known else None}
        return str(instrument_key(contract)), found

    def _account(self) -> str:
        accounts = self._login.accounts
        return accounts[0] if len(accounts) == 1 else ""

    def _known(self, made: ProposedOrder, order: Order, args: Mapping[str, Any] | None = None) -> ProposedOrder:
        return self._filled_in(made, (args or order.args).get("contract") or {})

    def _filled_in(self, made: ProposedOrder, contract: Mapping[str, Any]) -> ProposedOrder:
        """Fill in what TWS has said of the contract of an order.

        TWS goes by a conId, so what else a client says beside one counts for nothing.
        """
        known = self.contracts.find(contract, made.instrument)
        alone = bool(contract.get("conId")) and made.sec_type != COMBINATION
        if known is None:
            return replace(made, symbol="", sec_type="") if alone else made
        named = known.contract
        if alone:
            made = replace(made, symbol="", sec_type="", currency="")
        return replace(
            made,
            con_id=known.con_id,
            symbol=made.symbol or named.get("symbol") or "",
            sec_type=made.sec_type or named.get("secType") or "",
            exchange=made.exchange or named.get("exchange") or "",
            currency=made.currency or named.get("currency") or "",
            multiplier=known.multiplier,
        )

    def _legs(self, contract: Mapping[str, Any]) -> tuple[OrderLeg, ...] | None:
        """Return the legs of a combination with what TWS has said of their contracts; None for another contract."""
        rows = contract.get("comboLegs")
        if contract.get("secType") != COMBINATION or not isinstance(rows, list | tuple):
            return None
        return tuple(self._leg(row) for row in rows if isinstance(row, dict))

    def _leg(self, row: Mapping[str, Any]) -> OrderLeg:
        con_id, exchange = row.get("conId") or 0, row.get("exchange") or ""
        side = 1 if row.get("action") == _BUYS else -1
        spelt = {"conId": con_id, "exchange": exchange}
        known = self.contracts.find(spelt)
        leg = OrderLeg(con_id, float(row.get("ratio") or 0), side, exchange, instrument_key(spelt))
        if known is None:
            return leg
        named = known.contract
        symbol, sec_type = named.get("symbol") or "", named.get("secType") or ""
        return leg._replace(
            symbol=symbol, sec_type=sec_type, currency=named.get("currency") or "", multiplier=known.multiplier
        )
