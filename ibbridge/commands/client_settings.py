"""Settings that clients make on the connection to TWS, such as the market data type, kept for the next connections.

Pure. This module must not know what a setting does at TWS.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from ibbridge.codec.messages import REQUESTS
from ibbridge.protocol.errors import CommandRefused
from ibbridge.tws.connection_listener import ConnectionListener

if TYPE_CHECKING:
    from ibbridge.codec.schema import Request
    from ibbridge.monitoring.connection_status import ConnectionStatus
    from ibbridge.tws.outbound import OutboundMessage
    from ibbridge.tws.sender import RequestSender
    from ibbridge.tws.session import Session

log = logging.getLogger(__name__)

_MARKET_DATA_TYPE, _BIND = "reqMarketDataType", "reqAutoOpenOrders"


class ClientSettings(ConnectionListener):
    """Settings of the connection, as the last client has made each. `bind_manual`: have TWS bind manual orders."""

    def __init__(
        self, sender: RequestSender, session: Session, status: ConnectionStatus, *, bind_manual: bool = False
    ) -> None:
        self._sender = sender
        self._session = session
        self._status = status
        self._configured = session.market_data_type
        self._settings: dict[str, dict[str, Any]] = {_BIND: {"bAutoBind": True}} if bind_manual else {}

    def send(self, request: Request, args: dict[str, Any], client: str) -> dict[str, Any]:
        """Make a setting with checked arguments, and remember it. Return the `result` of the reply."""
        message = self._sender.message(request, args, client=client, on_send=self._leaves, on_drop=self._dropped)
        self._sender.send(message)
        return {}

    def _leaves(self, message: OutboundMessage) -> bool:
        self._dropped(message)
        return True

    def _dropped(self, message: OutboundMessage) -> None:
        """Remember a setting for the connections to come, though the lost one has never had it."""
        if message.request.name == _MARKET_DATA_TYPE:
            self._set_market_data_type(message.args["marketDataType"], message.client)
        else:
            self._settings[message.request.name] = dict(message.args)

    def _set_market_data_type(self, kind: int, client: str) -> None:
        if kind == self._session.market_data_type:
            return
        log.warning("market data type set to %s by %s, for all clients and for the connections to come", kind, client)
        self._session.market_data_type = kind
        self._status.publish()

    def connection_ready(self) -> None:
        """Make the settings on a new connection: the market data type first, before anything is subscribed to."""
        kind = self._session.market_data_type
        if kind != self._configured:
            log.info("market data type %s, set by a client earlier, is set on the new connection, too", kind)
        self._make(_MARKET_DATA_TYPE, {"marketDataType": kind})
        for name, args in self._settings.items():
            self._make(name, args)

    def _make(self, name: str, args: dict[str, Any]) -> None:
        try:
            self._sender.send(self._sender.message(REQUESTS[name], self._sender.check(REQUESTS[name], dict(args))))
        except CommandRefused as error:
            if error.outcome == "refused":  # else this connection takes nothing now, and does not last
                log.error("%s %s cannot be set: %s", name, args, error)  # noqa: TRY400 - the message is complete
