"""The way to TWS: whether there is one, what a request may say on it, under which number, and in whose turn.

Pure: it is given a way to send, and raises `Refused` for what cannot be. Knows how requests are declared and one
connection at a time; nothing of who may ask for what, nor of what comes of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from ibbridge.codec import NotCarried
from ibbridge.protocol.errors import Refused
from ibbridge.tws.send_queue import Waiting

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ibbridge.codec import Dialect
    from ibbridge.codec.schema import Pace, Request
    from ibbridge.inbound.router import Route
    from ibbridge.orders.registry import Order
    from ibbridge.tws.send_queue import Held

LARGEST_SEEN = 2**31 - 2**20

NOT_CONNECTED = 504
"""IB's code for a request that met no connection: here also for one that TWS has not answered."""


class Link(Protocol):
    """The connection to TWS."""

    @property
    def dialect(self) -> Dialect | None:
        """How to write to it; None while there is none."""

    def send(self, message: Waiting) -> bool:
        """Have it leave in its turn, unless it must not be sent any more by then. False if TWS takes nothing.

        Raises `Refused` where as much waits as may.
        """

    def withdraw(self, message: Waiting) -> bool:
        """Have it not leave; False if it has."""

    def over(self, message: Waiting) -> None:
        """What it asked for is no longer open at TWS."""

    def held(self, message: Waiting) -> Held | None:
        """Return by which of IB's limits a message that waits is held back; None if by none."""

    def waiting(self, pace: Pace) -> list[Waiting]:
        """What waits of a pace."""


class Outgoing:
    """What goes to TWS, by whatever link there is."""

    def __init__(self, link: Link, *, listed: bool = True) -> None:
        """`listed`: words of which IB has a list must be on it."""
        self._link = link
        self._listed = listed
        self._next = 1
        self.is_open = False
        """Whether there is a connection on which to ask."""
        self.peer = b""
        """The connection whose command is being carried out: what is sent for a client waits in the turn of that."""

    # -- numbers

    @property
    def next(self) -> int:
        """The number that is given next."""
        return self._next

    def number(self) -> int:
        """A number that nothing else has."""
        self._next += 1
        return self._next - 1

    def above(self, number: int | None) -> None:
        """Numbers from here on are above this one. One that leaves no room above it for ids of 32 bits is none."""
        if number is not None and self._next <= number < LARGEST_SEEN:
            self._next = number + 1

    # -- requests

    def check(self, request: Request, args: dict[str, Any], faults: Iterable[str] = ()) -> dict[str, Any]:
        """The arguments as they can be sent; refused for what is wrong with them, and for `faults` found before."""
        found = list(faults)
        dialect = self._dialect()
        checked: dict[str, Any] = {}
        try:
            checked = dialect.check(request.name, args, command=True, listed=self._listed)
        except NotCarried as error:
            found += error.faults
        if found:
            raise Refused("E_ARG", *found)
        return checked

    def _dialect(self) -> Dialect:
        dialect = self._link.dialect
        if dialect is None or not self.is_open:
            raise Refused(
                "E_NOT_CONNECTED", "there is no connection to TWS; status says why", outcome="not_sent", retry_after=1.0
            )
        return dialect

    def send(
        self,
        request: Request,
        values: dict[str, Any],
        *,
        client: str = "",
        about: Route | Order | None = None,
        not_after: int | None = None,
        instead_of: Sequence[Waiting] = (),
    ) -> Waiting:
        """Have it leave in its turn, that of `client`; the daemon's own ("") may wait in any number."""
        data = self._dialect().put(request.name, values)
        peer = self.peer if client else b""
        message = Waiting(request, data, client, values, about, not_after, instead_of, peer)
        if about is not None and request.target is None:
            about.message = message
        if not self._link.send(message):
            fault = "TWS takes nothing at the moment; try again, and if it stays so, see whether TWS hangs"
            raise Refused("E_BUSY", fault, outcome="not_sent", retry_after=1.0)
        return message

    # -- what was sent

    def withdraw(self, message: Waiting | None) -> bool:
        """Have it not leave. False if it has, or there is none."""
        return message is not None and self._link.withdraw(message)

    def held(self, message: Waiting | None) -> Held | None:
        """Return by which of IB's limits a message that waits is held back; None if by none, or there is none."""
        return None if message is None else self._link.held(message)

    def over(self, message: Waiting) -> None:
        """What it asked for is no longer open at TWS."""
        self._link.over(message)

    def waiting(self, pace: Pace) -> list[Waiting]:
        """What waits of a pace."""
        return self._link.waiting(pace)
