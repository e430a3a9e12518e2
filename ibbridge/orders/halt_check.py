"""The check of orders against the halts: which orders of a client, or for an account, may leave now.

Pure. An order for which the accounts are not certain is in the scope of every account's halt. This module must not know
how an order is sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ibbridge.orders.reducing import is_smaller
from ibbridge.protocol.errors import CommandRefused
from ibbridge.risk.halt import Scope, TradingState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ibbridge.orders.order import Order
    from ibbridge.orders.order_accounts import OrderAccounts
    from ibbridge.orders.reducing import ReducingOrders
    from ibbridge.risk.halt import Halts


class HaltCheck:
    """Check of orders against the halts."""

    def __init__(self, halts: Halts, accounts: OrderAccounts, reducing: ReducingOrders) -> None:
        self._halts = halts
        self._accounts = accounts
        self._reducing = reducing

    def check(self, client: str) -> None:
        """Raise `CommandRefused` if all orders of a client are halted, whatever they say."""
        self._halts.check(client)

    def check_orders(self, orders: Sequence[Order]) -> None:
        """Raise `CommandRefused` if one of these orders, which come together, must not leave."""
        if self._halts:
            for number, order in enumerate(orders):
                self._check(order, order.args, orders[:number])

    def check_change(self, order: Order, args: Mapping[str, Any]) -> None:
        """Raise `CommandRefused` if an order must not become one with these arguments.

        A change that only makes the quantity smaller passes while positions may only be reduced.
        """
        if self._halts:
            self._check(order, args, (), smaller=is_smaller(order.args, args))

    def objection(self, orders: Sequence[Order]) -> str:
        """Return why these orders, which were queued before a halt, must not leave; empty if they may."""
        try:
            self.check_orders(orders)
        except CommandRefused as error:
            return str(error)
        return ""

    def objection_to_change(self, order: Order, args: Mapping[str, Any]) -> str:
        """Return why a change that was queued before a halt must not leave; empty if it may."""
        try:
            self.check_change(order, args)
        except CommandRefused as error:
            return str(error)
        return ""

    def _check(self, order: Order, args: Mapping[str, Any], beside: Sequence[Order], *, smaller: bool = False) -> None:
        for halt in self._halts.covering(order.owner, self._accounts.of(args)):
            if halt.state is TradingState.HALTED:
                raise halt.refusal()
            owner = order.owner if halt.scope is Scope.CLIENT else ""
            if not smaller and (why := self._reducing.objection(order, args, owner, beside)):
                raise halt.refusal(why)
