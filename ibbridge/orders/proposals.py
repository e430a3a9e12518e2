"""Orders as the rules of risk see them, from the arguments of commands and from the messages of TWS.

Pure. What a command leaves out of a contract is filled in from the contract that TWS has named. The module must not
know rules, or what becomes of an order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from ibbridge.orders.order import FOREIGN
from ibbridge.protocol.instrument_key import instrument_key
from ibbridge.risk import order as risk_order
from ibbridge.risk.order import COMBINATION, OrderLeg

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ibbridge.orders.known_contracts import KnownContracts
    from ibbridge.orders.order import Order
    from ibbridge.risk.order import NamedContract, ProposedOrder

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
        given = order.args if args is None else args
        contract = given.get("contract") or {}
        instrument = instrument_key(contract)
        known = self.contracts.find(contract, instrument)
        named = known.named if known is not None else None
        if order.command != "placeOrder":
            made = risk_order.exercise(order.owner, order.key, given, account=self._account(), named=named)
            return (_checked(made, contract, named),)
        changes = (order.owner, order.key) if args is not None else None
        made = risk_order.proposed(
            order.owner, order.key, given, account=self._account(), parent=order.parent, changes=changes,
            legs=self._legs(contract), instrument=instrument, named=named,
        )  # fmt: skip
        if (given.get("order") or {}).get("faGroup") and len(self._login.accounts) > 1:
            made = made._replace(account="")  # TWS allocates it to accounts that are not known here
        return (_checked(made, contract, named),)

    def foreign(self, key: str, data: Mapping[str, Any]) -> ProposedOrder:
        """Return the order of another program that an `openOrder` of TWS reports."""
        contract = data.get("contract") or {}
        known = self.contracts.find(contract)
        named = known.named if known is not None else None
        made = risk_order.proposed(FOREIGN, key, data, account=self._account(), legs=self._legs(contract), named=named)
        return _checked(made, contract, named)

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


def _checked(made: ProposedOrder, contract: Mapping[str, Any], named: NamedContract | None) -> ProposedOrder:
    """Return an order without the symbol beside a conId of which TWS has said nothing: it may be any."""
    if named is None and contract.get("conId") and made.sec_type != COMBINATION:
        return made._replace(symbol="", sec_type="")
    return made
