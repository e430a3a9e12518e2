"""Messages of TWS with more fields than are known: each type is logged once a connection.

A newer TWS may send such messages.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ibbridge.tws.connection_listener import ConnectionListener

if TYPE_CHECKING:
    from ibbridge.tws.send_port import SendPort

log = logging.getLogger(__name__)


class SurplusFields(ConnectionListener):
    """Watch over messages with unknown fields at their end."""

    def __init__(self, port: SendPort) -> None:
        self._port = port
        self._reported: set[str] = set()

    def counts(self) -> dict[str, int]:
        """Return the number of unknown fields by type of message, on this connection."""
        dialect = self._port.dialect
        return dict(dialect.surplus) if dialect else {}

    def connection_ready(self) -> None:
        """Report all types anew on a new connection."""
        self._reported.clear()

    def report(self) -> None:
        """Log the types of message that have not been reported yet."""
        for name in set(self.counts()) - self._reported:
            self._reported.add(name)
            log.warning("TWS sends more fields of %s than are known; status counts the unknown ones", name)
