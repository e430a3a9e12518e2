"""Subscriptions that the configuration wants from the start: instruments with `subscribe: true`.

Pure. The daemon holds them itself, so they outlive every client. This module must not know what happens to a
subscription later (`resubscription`).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from ibbridge.codec.messages import REQUESTS
from ibbridge.protocol import arguments
from ibbridge.protocol.errors import CommandRefused
from ibbridge.requests.request import CommandId
from ibbridge.subscriptions.service import LeaseOptions
from ibbridge.tws.connection_listener import ConnectionListener

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ibbridge.subscriptions.service import SubscriptionService
    from ibbridge.tws.sender import RequestSender

log = logging.getLogger(__name__)

HOLDER = "~config"
"""Client name under which the daemon holds these subscriptions."""

_MARKET_DATA = REQUESTS["reqMktData"]
_OPTIONS = LeaseOptions(keep=True, wait=True)


class ConfiguredSubscriptions(ConnectionListener):
    """Market data of `contracts`, by the names of the configuration."""

    def __init__(
        self, service: SubscriptionService, sender: RequestSender, contracts: Mapping[str, Mapping[str, Any]]
    ) -> None:
        self._service = service
        self._sender = sender
        self._contracts = contracts

    def connection_ready(self) -> None:
        """Subscribe to what is not subscribed to: at first all, later what TWS has refused on an earlier connection."""
        for name, contract in self._contracts.items():
            args = arguments.numbered({"contract": dict(contract)}, _MARKET_DATA.request_id or (), 0)
            try:
                self._service.subscribe(
                    _MARKET_DATA, self._sender.check(_MARKET_DATA, dict(args)), CommandId(HOLDER, name), _OPTIONS
                )
            except CommandRefused as error:
                log.error("instruments.%s cannot be subscribed to: %s", name, error)  # noqa: TRY400 - complete
