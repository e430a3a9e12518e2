"""The watch on access to the bus: the audit and the log are told who was admitted and who was not. Pure."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ibbridge.security.access import Access
    from ibbridge.security.audit import Audit

log = logging.getLogger(__name__)


class AccessWatch:
    """Watch on the table of access."""

    def __init__(self, access: Access, audit: Audit) -> None:
        self._access = access
        self._audit = audit

    def tick(self) -> None:
        """Report what has happened since the last call. Call this about every second."""
        for warning in self._access.tell(self._audit):
            log.warning("a peer was not admitted: %s", warning)
