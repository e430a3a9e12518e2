"""The lists that a reconciliation asks TWS for: open orders, executions, completed orders, positions.

Pure. Each list is asked for once the one before is complete. The module must not know what follows from a list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from ibbridge.codec.messages import REQUESTS
from ibbridge.protocol.errors import CommandRefused
from ibbridge.requests.request import ActiveRequest, CommandId, RequestListener

if TYPE_CHECKING:
    from collections.abc import Callable

    from ibbridge.clock import Clock
    from ibbridge.codec.schema import Request
    from ibbridge.requests.issuer import RequestIssuer

OWN = "~orders"
"""Client name of the daemon's own requests about orders."""

ORDERS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("reqAllOpenOrders", {}),
    ("reqExecutions", {"reqId": 0, "execFilter": {}}),
    ("reqCompletedOrders", {"apiOnly": False}),
)
"""Lists about orders, one after the other: an order that is over is missing in the first, and is in a later one."""

_OPEN = ORDERS[0][0]

BIND: tuple[tuple[str, dict[str, Any]], ...] = (("reqOpenOrders", {}),)
"""List before the others, which has TWS bind the orders made by hand that are not bound yet."""

_POSITIONS, _ROWS = REQUESTS["reqPositions"], "position"

PATIENCE = 10.0
"""Seconds to wait for a complete list of positions. TWS sends none for a login with very many accounts."""


class AccountPositions(Protocol):
    """Subscription to the positions of the accounts, which clients share."""

    def ask(self, request: Request, args: dict[str, Any], command_id: CommandId) -> str:
        """Have TWS list the positions, and send changes from then on. Raise `CommandRefused`."""

    def completed(self, row: str) -> int:
        """Return how many whole lists of rows of a type TWS has sent on this connection."""


class Then(Protocol):
    """Function to be called after a list."""

    def __call__(self, *, complete: bool) -> None:
        """Go on after a list that is complete, or that TWS has not sent completely."""


class _Listener(RequestListener):
    """Listener to the request for one list: tells `then` whether the list is complete."""

    def __init__(self, then: Then) -> None:
        self._then: Then | None = then

    def answered(self, _: ActiveRequest) -> None:
        """Go on after the last response."""
        self._finish(complete=True)

    def ended(self, _: ActiveRequest) -> None:
        """Give up after a request that ends without its last response."""
        self._finish(complete=False)

    def _finish(self, *, complete: bool) -> None:
        then, self._then = self._then, None
        if then is not None:
            then(complete=complete)


class TwsLists:
    """Lists of TWS. `orders` and `positions` call `then` after a complete list, or without one.

    `binds_manual`: have TWS bind the orders made by hand. After `stop` nothing is called for what was asked before.
    """

    def __init__(
        self, issuer: RequestIssuer, positions: AccountPositions, clock: Clock, *, binds_manual: bool = False
    ) -> None:
        self._issuer = issuer
        self._positions = positions
        self._clock = clock
        self._orders = (*BIND, *ORDERS) if binds_manual else ORDERS
        self._rounds = 0
        self._asked: ActiveRequest | None = None
        self._then: Then | None = None  # for the positions
        self._before = 0
        self._until = 0.0

    @property
    def is_open(self) -> bool:
        """True if TWS takes requests."""
        return self._issuer.is_open

    def stop(self) -> None:
        """Forget what was asked for."""
        self._rounds += 1
        self._then = None

    def give_up(self) -> None:
        """Go on without the list about orders that TWS has been asked for."""
        if self._asked is not None:
            self._issuer.give_up(self._asked)

    def orders(self, opened: Callable[[], None], then: Then) -> None:
        """Ask for the lists about orders. A list of positions that is not complete yet counts as late.

        `opened` is called when the list of open orders is complete.
        """
        self._go_on(complete=False)
        self._rounds += 1
        self._ask(0, opened, then)

    def _ask(self, number: int, opened: Callable[[], None], then: Then) -> None:
        name, args = self._orders[number]
        rounds = self._rounds

        def listed(*, complete: bool) -> None:
            if rounds != self._rounds:
                return
            if complete and name == _OPEN:
                opened()
            if complete and number + 1 < len(self._orders):
                self._ask(number + 1, opened, then)
            else:
                then(complete=complete)

        active = ActiveRequest(
            REQUESTS[name],
            OWN,
            f"{name}-{rounds}",
            args,
            lambda _: ("req", OWN, name),
            None,
            on_response=lambda _: None,
            listeners=(self._issuer, _Listener(listed)),
        )
        self._asked = active
        try:
            self._issuer.reissue(active)
        except CommandRefused:
            then(complete=False)

    def positions(self, then: Then) -> None:
        """Ask for the positions. The daemon holds the subscription from then on: clients see closed positions."""
        self._before = self._positions.completed(_ROWS)
        try:
            self._positions.ask(_POSITIONS, {}, CommandId(OWN, _ROWS))
        except CommandRefused:
            then(complete=False)
            return
        self._then, self._until = then, self._clock.monotonic() + PATIENCE

    def tick(self, now: float) -> None:
        """Go on after a complete list of positions, or without one if it is late. Call it about every second."""
        complete = self._positions.completed(_ROWS) > self._before
        if complete or now >= self._until:
            self._go_on(complete=complete)

    def _go_on(self, *, complete: bool) -> None:
        then, self._then = self._then, None
        if then is not None:
            then(complete=complete)
