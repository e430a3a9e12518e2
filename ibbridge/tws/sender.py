"""The sender of requests to TWS: checks arguments, gives request ids and order ids, and queues messages.

Pure: the caller gives a `SendPort` to send by. The sender raises `CommandRefused` for a request that cannot be sent. It
knows the declarations of requests, and one connection at a time. It must not know who may ask for what, or how TWS
responds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ibbridge.codec import NotCarried
from ibbridge.codec.messages import REQUESTS
from ibbridge.protocol.errors import CommandRefused
from ibbridge.tws.connection_listener import ConnectionListener
from ibbridge.tws.outbound import OutboundMessage, always, nothing

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from ibbridge.codec import Dialect
    from ibbridge.codec.schema import Pace, Request
    from ibbridge.tws.id_sequence import IdSequence
    from ibbridge.tws.outbound import Held
    from ibbridge.tws.send_port import SendPort
    from ibbridge.tws.session import Session

_DATA_TYPE = REQUESTS["reqMarketDataType"]


class RequestSender(ConnectionListener):
    """Sender of requests to TWS. `ids` is the source of request ids and order ids."""

    def __init__(
        self,
        send_port: SendPort,
        session: Session,
        ids: IdSequence,
        *,
        listed: bool = True,
        order_types: Collection[str] = (),
    ) -> None:
        """Send by a port.

        With `listed`, refuse values outside IB's list of values, for arguments that have a list. Take `order_types`
        besides the order types that IB lists.
        """
        self.ids = ids
        self._port = send_port
        self._session = session
        self._listed = listed
        self._order_types = order_types
        self.is_open = False
        """True while there is a connection on which requests may be sent."""
        self.peer = b""
        """The bus connection whose command is being executed: messages sent for a client wait in that peer's turn."""

    def connection_ready(self) -> None:
        """Accept requests."""
        self.is_open = True

    def connection_lost(self) -> None:
        """Refuse requests until the next connection is ready."""
        self.is_open = False

    @property
    def accounts(self) -> tuple[str, ...]:
        """Accounts that the login of TWS manages."""
        return self._session.accounts

    # -- requests

    def check(self, request: Request, args: dict[str, Any], faults: Iterable[str] = ()) -> dict[str, Any]:
        """Return the arguments as they can be sent.

        Raise `CommandRefused` with all their faults, after the given `faults`.
        """
        found = list(faults)
        dialect = self._dialect()
        checked: dict[str, Any] = {}
        try:
            checked = dialect.check(
                request.name, args, command=True, listed=self._listed, order_types=self._order_types
            )
        except NotCarried as error:
            found += error.faults
        if found:
            raise CommandRefused("E_ARG", *found)
        return checked

    def _dialect(self) -> Dialect:
        dialect = self._port.dialect
        if dialect is None or not self.is_open:
            raise CommandRefused(
                "E_NOT_CONNECTED", "there is no connection to TWS; status says why", outcome="not_sent", retry_after=1.0
            )
        return dialect

    def message(
        self,
        request: Request,
        values: dict[str, Any],
        *,
        client: str = "",
        on_send: Callable[[OutboundMessage], bool] = always,
        on_drop: Callable[[OutboundMessage], None] = nothing,
        on_refuse: Callable[[OutboundMessage], None] | None = None,
        on_written: Callable[[OutboundMessage], None] = nothing,
        instead_of: Sequence[OutboundMessage] = (),
    ) -> OutboundMessage:
        """Return a message for `send`, to wait in the turn of `client`. The daemon itself is the client "".

        The hooks and `instead_of` are those of `OutboundMessage`. Raise `CommandRefused` if there is no connection.
        """
        data = self._dialect().put(request.name, values)
        peer = self.peer if client else b""
        return OutboundMessage(request, data, client, values, on_send, on_drop, on_refuse, instead_of, peer, on_written)

    def packed(self, request: Request, values: dict[str, Any]) -> bytes:
        """Return the bytes of a request with valid arguments. Raise `CommandRefused` if there is no connection."""
        return self._dialect().put(request.name, values)

    def with_data_type(self, data: bytes, kind: int) -> bytes:
        """Return the bytes of a request with those that set the market data type before it, and set it back behind it.

        TWS keeps one type for the connection, which holds for the requests that follow. Nothing else comes between.
        """
        before, after = (
            self.packed(_DATA_TYPE, {"marketDataType": each}) for each in (kind, self._session.market_data_type)
        )
        return before + data + after

    def send(self, message: OutboundMessage) -> OutboundMessage:
        """Queue a message, and return it. The daemon's own messages are not limited in number.

        Raise `CommandRefused` if there is no connection, TWS takes nothing, or too many messages of the client wait.
        """
        if not self._port.send(message):
            fault = "TWS takes no data at the moment; try again, and if that does not help, check whether TWS hangs"
            raise CommandRefused("E_BUSY", fault, outcome="not_sent", retry_after=1.0)
        return message

    # -- queued and sent messages

    def withdraw(self, message: OutboundMessage | None) -> bool:
        """Take a message out of the send queue. Return False if it is not in the queue, or `message` is None."""
        return message is not None and self._port.withdraw(message)

    def held(self, message: OutboundMessage | None) -> Held | None:
        """Return the limit of IB's that holds a queued message back; None if no limit does, or `message` is None."""
        return None if message is None else self._port.held(message)

    def completed(self, message: OutboundMessage) -> None:
        """Mark the request of a sent message as no longer open at TWS."""
        self._port.completed(message)

    def release(self, message: OutboundMessage | None) -> None:
        """Withdraw the message of a request that is over, or free its share of IB's limits."""
        if message is not None and not self.withdraw(message):
            self.completed(message)

    def waiting(self, pace: Pace) -> list[OutboundMessage]:
        """Return the queued messages of a pace."""
        return self._port.waiting(pace)
