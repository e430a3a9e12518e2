"""The sender of requests to TWS: checks arguments, gives request ids and order ids, and queues messages.

Pure: the caller gives a `SendPort` to send by. The sender raises `CommandRefused` for a request that cannot be sent. It
knows the declarations of requests, and one connection at a time. It must not know who may ask for what, or how TWS
responds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from ibbridge.codec import NotCarried
from ibbridge.protocol.errors import CommandRefused
from ibbridge.tws.outbound import OutboundMessage

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ibbridge.codec import Dialect
    from ibbridge.codec.schema import Pace, Request
    from ibbridge.tws.outbound import Held

LARGEST_SEEN = 2**31 - 2**20


class Subject(Protocol):
    """The request or order that a message is about: it keeps the message that carries it to TWS."""

    message: OutboundMessage | None


class SendPort(Protocol):
    """Port by which the sender reaches the connection to TWS."""

    @property
    def dialect(self) -> Dialect | None:
        """The message layouts of the connection; None while there is no connection."""

    def send(self, message: OutboundMessage) -> bool:
        """Queue a message. Return False if there is no connection, or its write buffer is full.

        Raise `CommandRefused` if the client's share of the queue is used up.
        """

    def withdraw(self, message: OutboundMessage) -> bool:
        """Take a message out of the send queue. Return False if the message is not in the queue (any more)."""

    def completed(self, message: OutboundMessage) -> None:
        """Mark the request of a sent message as no longer open at TWS."""

    def held(self, message: OutboundMessage) -> Held | None:
        """Return the limit of IB's that holds a queued message back; None if no limit does."""

    def waiting(self, pace: Pace) -> list[OutboundMessage]:
        """Return the queued messages of a pace."""


class RequestSender:
    """Sender of requests to TWS, and the source of request ids and order ids."""

    def __init__(self, send_port: SendPort, *, listed: bool = True) -> None:
        """Send by `link`. With `listed`, refuse values outside IB's list of values, for arguments that have a list."""
        self._link = send_port
        self._listed = listed
        self._next = 1
        self.is_open = False
        """True while there is a connection on which requests may be sent."""
        self.peer = b""
        """The bus connection whose command is being executed: messages sent for a client wait in that peer's turn."""

    # -- ids

    @property
    def upcoming_id(self) -> int:
        """The next request id or order id to be given."""
        return self._next

    def next_id(self) -> int:
        """Return a new id for a request or an order. No id is given twice."""
        self._next += 1
        return self._next - 1

    def raise_to(self, number: int | None) -> None:
        """Give only ids above `next_id` from here on. Ignore a number that leaves too little room for 32-bit ids."""
        if number is not None and self._next <= number < LARGEST_SEEN:
            self._next = number + 1

    # -- requests

    def check(self, request: Request, args: dict[str, Any], faults: Iterable[str] = ()) -> dict[str, Any]:
        """Return the arguments as they can be sent.

        Raise `CommandRefused` with all their faults, after the given `faults`.
        """
        found = list(faults)
        dialect = self._dialect()
        checked: dict[str, Any] = {}
        try:
            checked = dialect.check(request.name, args, command=True, listed=self._listed)
        except NotCarried as error:
            found += error.faults
        if found:
            raise CommandRefused("E_ARG", *found)
        return checked

    def _dialect(self) -> Dialect:
        dialect = self._link.dialect
        if dialect is None or not self.is_open:
            raise CommandRefused(
                "E_NOT_CONNECTED", "there is no connection to TWS; status says why", outcome="not_sent", retry_after=1.0
            )
        return dialect

    def send(
        self,
        request: Request,
        values: dict[str, Any],
        *,
        client: str = "",
        about: Subject | None = None,
        not_after: int | None = None,
        instead_of: Sequence[OutboundMessage] = (),
    ) -> OutboundMessage:
        """Queue a request in the turn of `client`. The daemon's own requests ("") are not limited in number.

        Return the queued message. Raise `CommandRefused` if there is no connection, TWS takes nothing, or too many
        wait.
        """
        data = self._dialect().put(request.name, values)
        peer = self.peer if client else b""
        message = OutboundMessage(request, data, client, values, about, not_after, instead_of, peer)
        if about is not None and request.target is None:
            about.message = message
        if not self._link.send(message):
            fault = "TWS takes no data at the moment; try again, and if that does not help, check whether TWS hangs"
            raise CommandRefused("E_BUSY", fault, outcome="not_sent", retry_after=1.0)
        return message

    # -- queued and sent messages

    def withdraw(self, message: OutboundMessage | None) -> bool:
        """Take a message out of the send queue. Return False if it is not in the queue, or `message` is None."""
        return message is not None and self._link.withdraw(message)

    def held(self, message: OutboundMessage | None) -> Held | None:
        """Return the limit of IB's that holds a queued message back; None if no limit does, or `message` is None."""
        return None if message is None else self._link.held(message)

    def completed(self, message: OutboundMessage) -> None:
        """Mark the request of a sent message as no longer open at TWS."""
        self._link.completed(message)

    def waiting(self, pace: Pace) -> list[OutboundMessage]:
        """Return the queued messages of a pace."""
        return self._link.waiting(pace)
