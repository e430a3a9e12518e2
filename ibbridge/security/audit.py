"""The audit, as those who tell it something know it: one call for each fact, which never fails and costs little.

Pure. `AuditLog` keeps the records, and a file in `storage` has them. The kinds of records are in docs/security.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from typing import Any


class Audit(Protocol):
    """Audit, as callers know it."""

    def record(self, kind: str, **facts: Any) -> None:
        """Record a fact: a `command`, `decision`, `sent`, `operator` act or `connection`.

        Facts are plain values, and bytes. A fact that is None is left out. Never raises.
        """


class NoAudit:
    """Audit that keeps nothing, for tests and for parts without a daemon."""

    def record(self, kind: str, **facts: Any) -> None:
        """Drop a fact."""


NO_AUDIT: Audit = NoAudit()
