"""The changes of the states of orders: each is noted in the journal, and published to the owner as `orderState`.

Pure. This module knows orders, the journal and streams. It must not know which message or deadline causes a change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ibbridge.orders.fills import number
from ibbridge.orders.state_machine import OrderState, Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ibbridge.clock import Clock
    from ibbridge.orders.journal import OrderJournal
    from ibbridge.orders.order import Order, Owner
    from ibbridge.orders.order_keys import OrderKeys
    from ibbridge.streams.publisher import Publisher

OF_TWS = ("openOrder", "orderStatus", "completedOrder")
"""Types of IB's messages that are state of an order. TWS's lists of orders have them."""

TYPE = "orderState"
"""Type of the messages that say what is known of an order."""


class OrderWatch:
    """A part that is told how orders go on. Each method does nothing by default."""

    def order_changed(self, order: Order) -> None:
        """Act on an order that may have changed."""

    def reported(self, whose: Owner, name: str, data: Mapping[str, Any]) -> None:
        """Act on a message of TWS about an order, whosever it is."""

    def listed(self, since: int) -> None:
        """Act on a whole list of open orders of TWS, which was asked for at `since` (µs since 1970 UTC)."""


class OrderStates:
    """Publisher of the states of orders. `changed` has the orders whose change is not published yet.

    `watch` is told of each change, and of lists of TWS.
    """

    def __init__(
        self,
        journal: OrderJournal,
        keys: OrderKeys,
        publisher: Publisher,
        clock: Clock,
        watch: OrderWatch | None = None,
    ) -> None:
        self.changed: dict[tuple[str, str], Order] = {}
        self.journal = journal
        self.watch = watch or OrderWatch()
        self._keys = keys
        self._publisher = publisher
        self._clock = clock

    def heard(self, order: Order) -> None:
        """Note that TWS reports the order now."""
        order.heard_at = self._clock.utc_us()

    def note(self, order: Order) -> None:
        """Note that an order may have changed: `publish` publishes its state then."""
        if not order.keyless:
            self.changed[order.owner, order.key] = order

    def publish(self, ts: int | None = None) -> None:
        """Publish the states of the noted orders that have changed. `ts` is in µs since 1970 UTC; None is now."""
        changed, self.changed = self.changed, {}
        for order in changed.values():
            self._keys.note(order)
            self.watch.order_changed(order)
            state = shown(order)
            if state != order.published:
                order.published = state
                order.changes += 1
                at = self._clock.utc_us() if ts is None else ts
                order.changed_at = at
                self.journal.note(order)
                channel = self._publisher.channel("ord", *order.whose[:2], TYPE, ref=order.whose.ref)
                self._publisher.publish_map(channel, {**state, "changes": order.changes}, at, ())

    def forget(self, order: Order) -> None:
        """Drop the messages that are state of an order: it was over long ago, and many have ended since."""
        for kind in (TYPE, *OF_TWS):
            self._publisher.forget_topic("ord", *order.whose[:2], kind)

    def changed_now(self, order: Order, ts: int | None = None) -> None:
        """Publish the state of an order, if it has changed."""
        self.note(order)
        self.publish(ts)


def shown(order: Order) -> dict[str, Any]:
    """Return what is published of an order."""
    return {
        "state": order.state.value,
        "reason": order.reason.value if order.reason else None,
        "cause": order.cause or None,
        "orderId": order.order_id or None,
        "permId": order.perm_id or None,
        "rev": order.revision,
        "status": order.status or None,
        "filled": order.filled,
        "remaining": order.remaining,
        "avgFillPrice": order.average,
        "lastError": order.error,
    }


def recall(order: Order, data: Mapping[str, Any]) -> bool:
    """Take over the state that was published last, if the journal has an older one: it is written after the message.

    Return True if the journal has an older one.
    """
    state = {name: value for name, value in data.items() if name != "changes"}
    if data["changes"] < order.changes:
        return False
    order.published = state
    if data["changes"] == order.changes:  # the journal is as new, or newer
        return False
    order.changes = data["changes"]
    order.state = OrderState(state["state"])
    order.reason = Reason(state["reason"]) if state["reason"] else None
    order.cause, order.status = state["cause"] or "", state["status"] or ""
    if state["permId"] and state["permId"] not in order.perm_ids:
        order.take_perm_id(state["permId"])
    order.revision = state["rev"]
    order.filled, order.remaining, order.average = state["filled"], state["remaining"], state["avgFillPrice"]
    order.counted = max((each for each in (order.counted, number(state["filled"])) if each is not None), default=None)
    order.error = state["lastError"]
    return True
