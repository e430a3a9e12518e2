"""The mass cancels under way, and the last that are over: begun by a halt or a dead man, pursued about every second.

Pure, apart from the store that keeps them over restarts. `mass_cancel` knows when an order is cancelled again, and what
is said of it. This module must not know commands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgpack

from ibbridge.orders import mass_cancel
from ibbridge.orders.mass_cancel import MassCancel
from ibbridge.orders.order_canceller import Attempt
from ibbridge.risk.halt import Scope
from ibbridge.tws.connection_listener import ConnectionListener

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ibbridge.clock import Clock
    from ibbridge.orders.order import Order
    from ibbridge.orders.order_canceller import OrderCanceller
    from ibbridge.risk.halt import ValueStore

HALT, DEAD_MAN = "halt", "dead_man"
"""Causes of a mass cancel."""

KEPT = 20
"""Mass cancels that are remembered, those that are over included."""

NAMED = 10
"""Most orders that an alarm names."""

SHOWN = 100
"""Most orders that one event names."""

_KEY = "massCancels"


class MassCancels(ConnectionListener):
    """Table of the mass cancels. `publish` is called with the progress of each."""

    def __init__(
        self,
        canceller: OrderCanceller,
        values: ValueStore,
        publish: Callable[[dict[str, Any]], None],
        clock: Clock,
    ) -> None:
        self._canceller = canceller
        self._values = values
        self._publish = publish
        self._clock = clock
        self._cancels: dict[str, MassCancel] = {}
        self._kept = True

    # -- questions

    def find(self, identifier: str) -> dict[str, Any] | None:
        """Return what is known of a mass cancel; None if it is not remembered."""
        one = self._cancels.get(identifier)
        return (
            None
            if one is None
            else mass_cancel.shown(one, self._canceller.strangers(one.foreign), self._clock.monotonic())
        )

    @property
    def listed(self) -> list[dict[str, Any]]:
        """The remembered mass cancels, without their orders, the newest last."""
        return [mass_cancel.about(one) for one in self._cancels.values()]

    def running(self, cause: str, scope: str, name: str) -> MassCancel | None:
        """Return the mass cancel of a scope that is under way; None if there is none."""
        whose = cause, scope, name
        return next(
            (one for one in self._cancels.values() if (one.cause, one.scope, one.name) == whose and not one.is_over),
            None,
        )

    def overdue(self, cause: str) -> str:
        """Return which orders of mass cancels are not over although the time has passed; empty if there are none."""
        names = []
        for one in self._cancels.values():
            if one.cause == cause and one.is_over:
                found = mass_cancel.lists(one, self._canceller.strangers(one.foreign))
                names += [
                    f"{each['owner']}/{each['key']}"
                    for each in (*found.unknown, *found.refused)
                    if each["state"] != "done"
                ]
        if not names:
            return ""
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        return f"not cancelled, as far as is known: {', '.join(names[:NAMED])}{more}; cancel them again, or in TWS"

    # -- begin and end

    def new_identifier(self, now_us: int) -> str:
        """Return an id that no mass cancel has had, from the time in µs since 1970 UTC."""
        newest = max((int(each) for each in self._cancels), default=0)
        return str(max(now_us, newest + 1))

    def begin(self, one: MassCancel, orders: Iterable[Order] = ()) -> bool:
        """Begin to cancel these orders, or (if the mass cancel adopts them) all of its scope.

        Return True if that is stored and so survives a restart.
        """
        for over in [each.identifier for each in self._cancels.values() if each.is_over][: -KEPT + 1 or None]:
            del self._cancels[over]
        self._cancels[one.identifier] = one
        one.orders |= {order: Attempt() for order in orders}
        self._pursue(one, self._clock.monotonic())
        return self._store()

    def extend(self, one: MassCancel, until: float) -> bool:
        """Give a mass cancel that is under way more time, and go on at once."""
        one.until = max(one.until, until)
        self._pursue(one, self._clock.monotonic())
        return self._store()

    def resumed(self, scope: str, name: str) -> None:
        """Note that orders of a scope are accepted again: those that come now are not cancelled."""
        for one in self._cancels.values():
            if (one.scope, one.name) == (scope, name):
                one.adopts = False

    def load(self) -> None:
        """Restore the mass cancels of an earlier process, after its orders."""
        packed = self._values.get(_KEY)
        now, now_us = self._clock.monotonic(), self._clock.utc_us()
        try:
            stored = msgpack.unpackb(packed) if packed else []
            restored = [self._restored(each, now, now_us) for each in stored]
        except (ValueError, TypeError, KeyError):  # a damaged value: the halt itself is in force all the same
            return
        self._cancels = {one.identifier: one for one in restored}

    def _restored(self, stored: Mapping[str, Any], now: float, now_us: int) -> MassCancel:
        identifier, cause, scope, name, client, reason = (
            str(stored[field]) for field in ("id", "cause", "scope", "name", "client", "reason")
        )
        until = now + min(3_600.0, (stored["until"] - now_us) / 1e6)  # the clock may have been set
        found = (self._canceller.restore(owner, key) for owner, key in stored["orders"])
        return MassCancel(
            identifier,
            cause,
            scope,
            name,
            client,
            reason,
            stored["since"],
            until,
            orders={order: Attempt() for order in found if order is not None},
            foreign={perm_id: Attempt() for perm_id in stored["foreign"]},
            adopts=bool(stored["adopts"]),
            is_over=bool(stored["over"]),
            lost=stored.get("lost"),
        )

    def _store(self) -> bool:
        self._kept = False
        now, now_us = self._clock.monotonic(), self._clock.utc_us()
        self._kept = self._values.put(_KEY, mass_cancel.packed(self._cancels.values(), now, now_us))
        return self._kept

    # -- progress

    def connection_started(self) -> None:
        """Note that what was sent before may be lost."""
        self._canceller.connection_started()

    def connection_ready(self) -> None:
        """Go on at once."""
        self.tick(self._clock.monotonic())

    def tick(self, now: float) -> None:
        """Pursue the mass cancels that are under way. Call it about every second."""
        for one in [*self._cancels.values()]:
            if not one.is_over:
                self._pursue(one, now)
        if not self._kept:
            self._store()

    def _pursue(self, one: MassCancel, now: float) -> None:
        """Send what is due, and publish what has come of it."""
        if one.adopts:
            self._adopt(one)
        for order, attempt in one.orders.items():
            self._canceller.cancel(order, attempt, one.cause, now)
        foreign = self._canceller.strangers(one.foreign)
        for perm_id, stranger in foreign.items():
            self._canceller.cancel_foreign(stranger, one.foreign[perm_id], one.cause, now)
        found = mass_cancel.lists(one, foreign)
        if not found.unknown or now >= one.until:
            one.is_over = True
            found = mass_cancel.lists(one, foreign)
            self._store()
        self._tell(one, found)

    def _adopt(self, one: MassCancel) -> None:
        """Add the orders of the scope that are open and were not known before."""
        scope = Scope(one.scope)
        for order in self._canceller.open_orders(scope, one.name):
            one.orders.setdefault(order, Attempt())
        for stranger in self._canceller.open_strangers(scope, one.name):
            one.foreign.setdefault(stranger.perm_id, Attempt())

    def _tell(self, one: MassCancel, found: mass_cancel.Lists) -> None:
        lengths = len(found.cancelled), len(found.refused), len(found.unknown)
        if (*lengths, one.is_over) == one.told:
            return
        one.told = (*lengths, one.is_over)
        counts = {name: len(each) for name, each in found._asdict().items()}
        open_ones = (*found.unknown, *found.refused)
        names = [f"{each['owner']}/{each['key']}" for each in open_ones if each["state"] != "done"]
        self._publish({**mass_cancel.about(one), "counts": counts, "open": names[:SHOWN]})
