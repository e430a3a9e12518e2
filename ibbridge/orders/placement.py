"""Placement and cancellation of orders by key, withdrawal of queued orders, and the reasons to refuse all orders.

This module knows what an order must say to TWS, and tells the owner of an order that never left. `registry` finds the
owner of an order that TWS reports, and `sender` sends. A command that is not executed raises `CommandRefused`. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ibbridge.codec.messages import OUTBOUND, REQUESTS
from ibbridge.codec.schema import Kind, Pace
from ibbridge.ib.notices import CANCELLED, NOT_CONNECTED
from ibbridge.orders.order import LONGEST_REF, Order, order_ref
from ibbridge.protocol.errors import CommandRefused
from ibbridge.requests.deadlines import Deadlines

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ibbridge.codec.schema import Request
    from ibbridge.orders.notifications import OrderNotifications
    from ibbridge.orders.registry import OrderRegistry
    from ibbridge.requests.notifications import RequestNotifications
    from ibbridge.requests.request import ActiveRequest, CommandId
    from ibbridge.risk.halt import Halt
    from ibbridge.tws.outbound import OutboundMessage
    from ibbridge.tws.sender import RequestSender

UNHEARD = 30.0
"""Seconds after which the owner of an order is told that TWS has not reported the order, or its cancel."""

SAME_CANCEL = 5.0
"""Seconds for which a repeated cancel counts as the cancel that has left, unless TWS has reported the order since."""

MOST_JOINED = 100
"""Most commands to cancel all orders that share one message to TWS."""

ORDER_UNKNOWN = "the order may or may not exist; look for it among open and completed orders, executions and positions"
CANCEL_UNKNOWN = "the order may or may not be cancelled; look for it among open orders, or cancel it again"

OF_EVERY_ORDER = ("action", "orderType")
"""Attributes that every order must give. TWS has defaults for them, which nobody means."""

WITHOUT_QUANTITY = ("cashQty", "hedgeType", "faGroup", "faMethod", "faPercentage")
"""Attributes from which TWS or IB computes the quantity of an order."""

NOT_OF_AN_ORDER = ("orderRef", "whatIf")
"""Attributes that no client gives, because the key and the name of the command replace them."""

_ORDERS = frozenset(request.name for request in OUTBOUND if request.does is Kind.ORDER)


class OrderPlacement:
    """Placement and cancellation of orders.

    Orders are refused during a `halt`, during a `fault` of the store (its text; empty if there is none), and for the
    seconds that `window` returns, which are left of a restart window.
    """

    def __init__(
        self,
        sender: RequestSender,
        orders: OrderRegistry,
        notifications: RequestNotifications,
        order_notifications: OrderNotifications,
        *,
        halt: Halt,
        fault: Callable[[], str],
        window: Callable[[], float],
        clock: Callable[[], int],
    ) -> None:
        self.upstream = True
        """True while TWS is connected to IB's servers. While TWS is not, orders are refused."""
        self.accounts: tuple[str, ...] = ()
        """Accounts that the login of TWS manages."""
        self._sender = sender
        self._notifications = notifications
        self._order_notifications = order_notifications
        self._orders = orders
        self._halt = halt
        self._fault = fault
        self._window = window
        self._clock = clock  # µs since 1970 UTC
        self._unheard: Deadlines[tuple[Order, bool]] = Deadlines()  # orders; True for a cancel of the order

    # -- commands

    def is_repeat(self, command: str, args: Mapping[str, Any], command_id: CommandId, key: str | None) -> bool:
        """Return True if the command places an order under a known key. `execute` compares the two orders."""
        given = args.get("key", key)
        return (
            command in _ORDERS and isinstance(given, str) and self._orders.keyed(command_id.client, given) is not None
        )

    def execute(
        self, request: Request, args: dict[str, Any], command_id: CommandId, key: str | None, not_after: int | None
    ) -> dict[str, Any]:
        """Place or cancel the order that a command names by its key. Return the `result` of the reply."""
        args, key = _with_key(args, key)
        if request.does is Kind.ORDER:
            return self._place(request, args, command_id, key, not_after)
        return self._cancel(request, args, command_id, key)

    def _place(
        self, request: Request, args: dict[str, Any], command_id: CommandId, key: str, not_after: int | None
    ) -> dict[str, Any]:
        if known := self._orders.keyed(command_id.client, key):
            if (known.command, known.args) != (request.name, args):
                raise CommandRefused(
                    "E_KEY_REUSED", f"key {key!r} names another order of {command_id.client}; take a new key"
                )
            return {**self._placed(known), "dup": True}
        self._may_trade()
        if self._former(command_id.client, key):
            topic = self._notifications.named("ord", command_id.client, key)
            fault = f"key {key!r} was used before the daemon was restarted: {topic} has the state of that order"
            raise CommandRefused("E_KEY_REUSED", f"{fault}; for another order take a new key")
        if len(ref := order_ref(command_id.client, key)) > LONGEST_REF:
            raise CommandRefused(
                "E_ARG", f"key: {ref[:80]!r}, which travels in orderRef, may have {LONGEST_REF} characters"
            )
        order = Order(command_id.client, key, self._sender.upcoming_id, args, request.name)
        values = self._order_values(order) if request.name == "placeOrder" else self._exercise_values(request, order)
        self._sender.next_id()
        self._orders.add(order)
        try:
            self._sender.send(request, values, client=command_id.client, about=order, not_after=not_after)
        except CommandRefused:
            self._orders.forget(order)
            raise
        return self._placed(order)

    def _former(self, client: str, key: str) -> Order | None:
        """Return the order of an earlier process under a key. Raise `CommandRefused` if the store cannot say."""
        found = self._orders.former(client, key)
        if found is None and (fault := self._fault()):
            fault = f"the daemon cannot look up whether {client} has an order with the key {key!r}: {fault}"
            raise CommandRefused("E_STORE", fault, outcome="not_sent", retry_after=5.0)
        return found

    def _may_trade(self) -> None:
        """Raise `CommandRefused` while orders of all clients are refused."""
        if self._halt.state:
            told = "{client}: {reason}" if self._halt.state["reason"] else "{client}"
            fault = f"orders are halted by {told.format(**self._halt.state)}; `resume` ends the halt"
            raise CommandRefused("E_HALTED", fault, outcome="not_sent")
        if fault := self._fault():
            raise CommandRefused("E_STORE", f"orders are refused: {fault}", outcome="not_sent", retry_after=5.0)
        if left := self._window():
            fault = "orders are refused in a restart window of TWS or IB (tws.restart_windows)"
            fault += f", which ends in {left:.0f} s"
            raise CommandRefused("E_RESTART_WINDOW", fault, outcome="not_sent", retry_after=left)
        if not self.upstream:
            raise CommandRefused(
                "E_NOT_CONNECTED",
                "TWS has lost its connection to IB (1100), and would send the order later; try again when TWS is "
                "connected",
                outcome="not_sent",
                retry_after=5.0,
            )

    def _placed(self, order: Order) -> dict[str, Any]:
        return {
            "key": order.key,
            "orderId": order.order_id,
            "topic": self._notifications.named("ord", order.owner, order.key),
            "executions": self._notifications.named("exec", order.owner),
        }

    def _cancel(self, request: Request, args: dict[str, Any], command_id: CommandId, key: str) -> dict[str, Any]:
        order = self._orders.keyed(command_id.client, key) or self._former(command_id.client, key)
        if order is None or not order.order_id:
            raise CommandRefused("E_ARG", f"key: {command_id.client} has no order with the key {key!r}")
        if "orderId" in args:
            raise CommandRefused("E_ARG", "orderId is the daemon's to give; key names the order")
        checked = self._sender.check(request, {**args, "orderId": order.order_id})
        result = {"key": key, "orderId": order.order_id}
        if order.unsent or self._taken_back(order, "it was cancelled before it could be sent"):
            return result
        if self._being_cancelled(order, checked):
            return {**result, "dup": True}
        former = [order.cancel] if order.cancel else []
        order.cancel = self._sender.send(request, checked, client=command_id.client, about=order, instead_of=former)
        return result

    def _being_cancelled(self, order: Order, args: Mapping[str, Any]) -> bool:
        """Return True if the same cancel is queued, or has just left and TWS has not reported the order since."""
        cancel = order.cancel
        if cancel is None or cancel.args != args:
            return False
        return cancel.waits or (order.cancelling and 0 <= self._clock() - order.cancelled_at < SAME_CANCEL * 1e6)

    def cancel_all(self, args: Mapping[str, Any], route: ActiveRequest) -> bool:
        """Withdraw all queued orders: the cancel of all orders overtakes them, and means them too.

        Return True if the same cancel of this client is queued already. `route` then receives the errors about it.
        """
        waiting = [message.about for message in self._sender.waiting(Pace.ORDER) if isinstance(message.about, Order)]
        for order in waiting:
            if self._sender.withdraw(order.message):
                self._unplaced(order, CANCELLED, "all orders were cancelled before it could be sent")
        for message in self._sender.waiting(Pace.CANCEL):
            of_all = message.request is route.request and message.args == args and message.client == route.client
            if of_all and len(message.joined) < MOST_JOINED:
                message.joined.append(route)
                return True
        return False

    def what_if(self, args: dict[str, Any], number: int) -> dict[str, Any]:
        """Return the arguments of a `placeOrder` that asks for the margin and commission, and places nothing."""
        values = self._with_order(args, number, "")
        values["order"]["whatIf"] = True
        return values

    # -- what an order must say

    def _order_values(self, order: Order) -> dict[str, Any]:
        """Return the arguments of `placeOrder`. Owner and key travel in `orderRef`."""
        values = self._with_order(order.args, order.order_id, order_ref(order.owner, order.key))
        if values["order"].get("whatIf"):
            raise CommandRefused(
                "E_ARG", "order.whatIf: whatIfOrder asks what an order would cost; placeOrder places it"
            )
        return values

    def _exercise_values(self, request: Request, order: Order) -> dict[str, Any]:
        """Return the arguments of `exerciseOptions`. Its request id becomes the order id of the resulting order."""
        args = order.args
        given = (name for name in ("reqId", "orderId") if name in args)
        faults = [f"{name} is the daemon's to give; key names the order" for name in given]
        if len(self.accounts) > 1 and not args.get("account"):
            faults.append(f"account is missing: one of {', '.join(self.accounts)}")
        rest = {name: value for name, value in args.items() if name != "orderId"}
        return self._sender.check(request, {**rest, str(request.key): order.order_id}, faults)

    def _with_order(self, args: Mapping[str, Any], order_id: int, ref: str) -> dict[str, Any]:
        given = args.get("order")
        faults = []
        if isinstance(given, dict):
            if given.get("orderRef"):
                faults.append("order.orderRef carries owner and key, and is the daemon's; key names the order")
            given = {**given, "orderRef": ref}
            faults += [f"order.{name} is missing" for name in OF_EVERY_ORDER if not given.get(name)]
            if _is_zero(given.get("totalQuantity")) and not any(given.get(name) for name in WITHOUT_QUANTITY):
                meant = f"0 is only for orders with {', '.join(WITHOUT_QUANTITY)}"
                faults.append(f"order.totalQuantity must be more than 0; {meant}")
            if len(self.accounts) > 1 and not any(given.get(name) for name in ("account", "faGroup")):
                faults.append(f"order.account is missing: one of {', '.join(self.accounts)}, or a faGroup")
        if "orderId" in args:
            faults.append("orderId is the daemon's to give; key names the order")
        rest = {name: value for name, value in args.items() if name != "orderId"}
        return self._sender.check(REQUESTS["placeOrder"], {**rest, "order": given, "orderId": order_id}, faults)

    # -- on the way to TWS

    def on_send(self, message: OutboundMessage, order: Order) -> bool:
        """Prepare for the writing of an order or a cancel. Return False if the message must not be sent any more."""
        if message.not_after is not None and self._clock() > message.not_after:
            self._unplaced(order, CANCELLED, "its not_after passed before it could be sent")
            return False
        if cancel := message is not order.message:
            order.cancelling = order.has_followup = True
            order.cancelled_at = self._clock()
        elif (parent := self._orders.numbered(_parent(message))) is not None and parent.unsent:
            self._unplaced(order, CANCELLED, f"its parent, {parent.key}, was not placed")
            return False
        else:
            order.message = None
        if cancel or _transmitted(message):
            self._unheard.add((order, cancel), UNHEARD)
        return True

    def on_drop(self, message: OutboundMessage, order: Order) -> None:
        """Tell the owner that the order or its cancel never left, because the connection is gone."""
        if message.request.does is Kind.ORDER:
            self._unplaced(order, NOT_CONNECTED, "the connection to TWS was lost before it could be sent")
        else:
            why = "the connection to TWS was lost before the cancel of this order could be sent; cancel it again"
            self._order_notifications.notify_error(order, NOT_CONNECTED, why, self._clock(), ends=False)

    def cancel_all_unsent(self, message: OutboundMessage) -> None:
        """Tell the clients that the cancel of all orders never left, because the connection is gone."""
        why = "the connection to TWS was lost before the cancel of all orders could be sent; cancel them again"
        for route in (message.about, *message.joined):
            route.ended, route.message = True, None
            self._notifications.notify_error(route, NOT_CONNECTED, why, self._clock())

    def tick(self, now: float) -> None:
        """Publish an error for each order, and each cancel, that TWS has not reported in time."""
        for order, cancel in self._unheard.due(now):
            if order.cancelling if cancel else not order.heard:
                of, unknown = ("the cancel of this order", CANCEL_UNKNOWN) if cancel else ("this order", ORDER_UNKNOWN)
                order.hear()
                why = f"TWS has not reported {of} for {UNHEARD:g} s: {unknown}"
                self._order_notifications.notify_error(order, NOT_CONNECTED, why, self._clock())

    def _unplaced(self, order: Order, code: int, why: str) -> None:
        """End an accepted order that never left, and tell its owner."""
        order.message, order.heard, order.unsent = None, True, True
        text = f"the order was not placed: {why}. Nothing of it has reached TWS; to place it, take a new key"
        self._order_notifications.notify_error(order, code, text, self._clock(), ends=True)

    def _taken_back(self, order: Order, why: str) -> bool:
        """Withdraw a queued order and its queued descendants. Return False if the order has left already."""
        if not self._sender.withdraw(order.message):
            return False
        self._unplaced(order, CANCELLED, why)
        children: dict[int, list[Order]] = {}
        for message in self._sender.waiting(Pace.ORDER):
            if isinstance(message.about, Order):
                children.setdefault(_parent(message), []).append(message.about)
        gone = [order]
        while gone:
            parent = gone.pop()
            for child in children.pop(parent.order_id, ()):
                if self._sender.withdraw(child.message):
                    self._unplaced(child, CANCELLED, f"its parent, {parent.key}, was cancelled before it could be sent")
                    gone.append(child)
        return True


def _is_zero(quantity: Any) -> bool:
    """Return True if a client has given no quantity, or 0. Text that is no number is left for later checks."""
    if isinstance(quantity, str):
        return not quantity.strip("0.")
    return quantity is None or (type(quantity) in (int, float) and quantity == 0)


def _parent(message: OutboundMessage) -> int:
    """Return the order id of the parent of a queued order; 0 if there is none."""
    number: int = message.args.get("order", {}).get("parentId") or 0
    return number


def _transmitted(message: OutboundMessage) -> bool:
    """Return True if TWS is to transmit the order. TWS does not report an order that it only keeps."""
    return bool(message.args.get("order", {}).get("transmit", True))


def _with_key(args: dict[str, Any], key: str | None) -> tuple[dict[str, Any], str]:
    """Return the arguments without the order's key, and the key, which may stand in the arguments or beside them."""
    given = args.get("key", key)
    if key is not None and given != key:
        raise CommandRefused("E_ARG", "key is given twice, and differently: beside args and within")
    if given is None:
        wanted = "a name of your choice that identifies this order for ever"
        raise CommandRefused("E_ARG", f"key is missing; give {wanted} (printable ASCII, no /)")
    if (
        not isinstance(given, str)
        or not 0 < len(given) <= LONGEST_REF
        or not (given.isascii() and given.isprintable())
        or "/" in given
    ):
        raise CommandRefused("E_ARG", f"key must be 1 to {LONGEST_REF} printable ASCII characters without /")
    return {name: value for name, value in args.items() if name != "key"}, given
