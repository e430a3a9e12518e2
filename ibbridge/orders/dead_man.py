"""The dead man's switch: cancels the orders of a client that is lost, or logs out, if the client has asked for that.

Pure. It acts when the client's window has passed, and never while the daemon itself is cut off from TWS or IB, in a
restart window, or before the orders are known again after that: every client then has its window anew. `liveness` knows
which clients are lost, and `mass_cancels` pursues the cancels. This module must not know connections.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ibbridge.orders.mass_cancel import MassCancel
from ibbridge.orders.mass_cancels import DEAD_MAN, NAMED
from ibbridge.risk.halt import Scope
from ibbridge.risk.liveness import CancelOn, Presence

if TYPE_CHECKING:
    from collections.abc import Callable

    from ibbridge.clock import Timer, TimerClock
    from ibbridge.orders.mass_cancels import MassCancels
    from ibbridge.orders.order import Order
    from ibbridge.orders.order_certainty import OrderCertainty
    from ibbridge.orders.registry import OrderRegistry
    from ibbridge.risk.liveness import Life, Liveness

LOOK_EVERY = 0.1
"""Seconds between two looks at the clients' connections, while a client is there."""

PURSUED = 3_600.0
"""Seconds for which the cancels are pursued: nobody is there who could do it again."""

DAEMON = "ibbridge"
"""The client in whose name the daemon cancels."""


class DeadMan:
    """Dead man's switch of all clients."""

    def __init__(
        self,
        liveness: Liveness,
        registry: OrderRegistry,
        cancels: MassCancels,
        certainty: OrderCertainty,
        clock: TimerClock,
    ) -> None:
        self._liveness = liveness
        self._registry = registry
        self._cancels = cancels
        self._certainty = certainty
        self._clock = clock
        self._timer: Timer | None = None
        self._urgent = False  # there are orders that the end of a client cancels
        self._fired: dict[str, str] = {}  # why the orders of a client were cancelled that is not back

    def begin(self) -> None:
        """Take the owners of open orders of an earlier process as lost, until they come back."""
        self._liveness.load()
        self._liveness.begin({order.owner for order in self._registry.all_open()})

    def tick(self, connected: Callable[[bytes], bool]) -> None:
        """Look at the clients now, and more often until the next call. Call it about every second."""
        self._liveness.tick()
        self._urgent = any(self._choice(order) is not CancelOn.NEVER for order in self._registry.all_open())
        self._look(connected)

    def _look(self, connected: Callable[[bytes], bool]) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._liveness.look(connected)
        now = self._clock.monotonic()
        wait = LOOK_EVERY
        if (known := self._certainty.since(now)) is not None:
            for life in self._liveness.unsettled():
                left = max(life.since, known) + _window(life) - now
                if left <= 0:
                    self._fire(life)
                else:
                    wait = min(wait, left)
        if self._urgent:  # else the calls of `tick` do
            self._timer = self._clock.call_later(wait, self._look, connected)

    def _fire(self, life: Life) -> None:
        """Cancel the orders of a client that is gone, as far as it has asked for that."""
        life.settled = True
        orders = [order for order in self._registry.all_open() if self._is_flagged(order, life)]
        if not orders:
            return
        is_lost = life.presence is Presence.LOST
        why = life.why if is_lost else "it has logged out"
        now, now_us = self._clock.monotonic(), self._clock.utc_us()
        if is_lost:
            names = ", ".join(order.key for order in orders[:NAMED])
            more = f" and {len(orders) - NAMED} more" if len(orders) > NAMED else ""
            self._fired[life.name] = f"{life.name} is lost ({why}), and its orders are cancelled: {names}{more}"
        self._cancels.begin(
            MassCancel(
                self._cancels.new_identifier(now_us),
                DEAD_MAN,
                Scope.CLIENT.value,
                life.name,
                DAEMON,
                why,
                now_us,
                now + PURSUED,
                lost=now_us - round((now - life.since) * 1e6) if is_lost else None,
            ),
            orders,
        )

    def _is_flagged(self, order: Order, life: Life) -> bool:
        """Return True if an order is to be cancelled now that its client is gone. The order's own word wins."""
        if order.owner != life.name:
            return False
        return self._choice(order).means(life.presence)

    def _choice(self, order: Order) -> CancelOn:
        """Return what cancels an order: its own word, or its client's."""
        own = order.args.get("cancel_on_disconnect")
        return CancelOn(own) if own is not None else self._liveness.choice(order.owner)

    @property
    def alarm(self) -> str:
        """Text that names the clients that are lost, and whose orders were cancelled; empty if there are none.

        A client that comes back, or logs out, is left out once all of these orders are over.
        """
        gone = {name: why for name, why in self._fired.items() if self._liveness.presence(name) is Presence.LOST}
        self._fired = gone
        return "; ".join((*gone.values(), *filter(None, (self._cancels.overdue(DEAD_MAN),))))


def _window(life: Life) -> float:
    """Return the seconds that a client has to come back. One that has logged out does not want to."""
    return life.window if life.presence is Presence.LOST else 0.0
