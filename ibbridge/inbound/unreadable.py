"""Unreadable messages of TWS: the clients concerned are told at once, and do not wait for a deadline.

One unreadable row spoils its whole message: an option chain without one strike, or bars without one bar, would look
complete. A one-shot whose response can no longer be complete is over. A subscription goes on; market depth is requested
again, because its book is wrong. This module knows requests, orders and streams. It must not know bytes, sockets or
time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ibbridge.codec.messages import MESSAGES
from ibbridge.codec.schema import Kind, Topic
from ibbridge.ib.notices import BAD_MESSAGE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ibbridge.codec.schema import Declaration
    from ibbridge.inbound.errors import ErrorRouter
    from ibbridge.orders.notifications import OrderNotifications
    from ibbridge.orders.order import Order
    from ibbridge.orders.registry import OrderRegistry
    from ibbridge.requests.request import ActiveRequest
    from ibbridge.requests.tracker import RequestTracker
    from ibbridge.subscriptions.singleton_streams import SingletonStreams


_NUMBERS = range(-(2**31), 2**31)
"""Valid request ids and order ids."""


class Concerned(NamedTuple):
    """The id that an unreadable message names, and the `ref` of the request or order with that id."""

    number: int | None = None
    ref: Mapping[str, Any] | None = None


class Unreadable:
    """Notifier of the clients whose request or order an unreadable message concerns."""

    def __init__(
        self,
        tracker: RequestTracker,
        errors: ErrorRouter,
        orders: OrderRegistry,
        order_notifications: OrderNotifications,
        singletons: SingletonStreams,
    ) -> None:
        self._tracker = tracker
        self._errors = errors
        self._orders = orders
        self._order_notifications = order_notifications
        self._singletons = singletons

    def notify(
        self, name: str | None, known: Mapping[str, Any], why: str, ts: int, *, admitted: bool = True
    ) -> Concerned:
        """Tell the clients concerned by an unreadable message. `known` has the fields that could be read.

        Clients whose request ends are always told. Clients whose subscription or order goes on are told only if the
        message is `admitted`, so that a flood of unreadable messages does not become a flood of errors.
        """
        if name is not None:
            self._singletons.lists.unreadable(name)
        message = MESSAGES.get(name or "")
        if message is None or name is None:
            return Concerned()
        text = f"a message of TWS cannot be read ({name}: {why}); its bytes are on sys.tws.decodeError"
        number = _number(message, known)
        requests = self._requests(message, number, known)
        for active in requests:
            self._errors.unreadable(active, name, known, text, ts, admitted=admitted)
        order = self._order(message, number, known)
        if message.topic is Topic.ORDER and not self._is_anothers(order, number, known):
            self._orders.unreadable(order)
        order = None if requests else order
        if admitted:
            if not message.key:
                self._singletons.notify_subscribers(name, BAD_MESSAGE, text)
            if order is not None:
                self._order_notifications.unreadable(order, text, ts)
        ref = order.whose.ref if order else next((active.blamed for active in requests), None)
        return Concerned(number, ref)

    def unidentified(self) -> None:
        """Note a message of which not even the type could be read: each list may miss a row."""
        self._singletons.lists.unreadable(None)
        self._orders.unreadable(None)

    def _requests(self, message: Declaration, number: int | None, known: Mapping[str, Any]) -> list[ActiveRequest]:
        """Return the requests that the message would have answered."""
        active = self._tracker.concerned(number)
        if message.topic is Topic.ORDER and active and not (active.request.does is Kind.ORDER and self._ours(known)):
            active = None  # the order id belongs to another client of TWS
        if active is None and not message.key:
            return self._tracker.incomplete(message.name, known)
        return [active] if active else []

    def _order(self, message: Declaration, number: int | None, known: Mapping[str, Any]) -> Order | None:
        """Return the order of this daemon that a message is about."""
        if message.topic is Topic.EXECUTION:
            known = known.get("execution") or {}
            number = known.get("orderId")
        elif message.topic is not Topic.ORDER and message.name != "error":
            return None
        if number:
            return self._orders.numbered(number) if self._ours(known) else None
        return self._orders.owner_of((known.get("order") or known).get("permId") or 0)

    def _is_anothers(self, order: Order | None, number: int | None, known: Mapping[str, Any]) -> bool:
        """Return True if the message names an order that no client of this daemon has placed."""
        about = known.get("order") or known
        return order is None and (bool(number) or about.get("permId", 0) in self._orders.foreign)

    def _ours(self, known: Mapping[str, Any]) -> bool:
        """Return False if the message names another client of TWS as the owner of its order."""
        about = known.get("order") or known
        return "clientId" not in about or self._orders.ours(about["clientId"])


def _number(message: Declaration, known: Mapping[str, Any]) -> int | None:
    """Return the request id or order id of a message, if that field could be read."""
    found: Any = known
    for name in (message.key or "orderId").split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found if type(found) is int and found in _NUMBERS else None
