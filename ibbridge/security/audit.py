"""The audit, as those who tell it something know it: one call for each fact, which never fails and costs little.

Pure. `AuditLog` keeps the records, and a file in `storage` has them. The kinds of records are in docs/security.md.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ibbridge.security.identity import Identity

FIRST = "0" * 64
"""Digest that the first record of all names as that of the record before."""


class Head(NamedTuple):
    """Head of the chain: the sequence number of the last record, and its SHA-256 in hex."""

    seq: int = 0
    digest: str = FIRST


class Audit(Protocol):
    """Audit, as callers know it."""

    def record(self, kind: str, **facts: Any) -> None:
        """Record a fact: a `command`, `decision`, `sent`, `operator` act or `connection`.

        Facts are plain values, bytes, and objects with fields, such as an `Identity`. They must not be changed
        afterwards. A fact that is None is left out. `facts` may be a function that gives more of them later, when
        nobody waits. Never raises, and may be called from any thread.
        """


class OrderAudit(Audit, Protocol):
    """Audit, as the way out to TWS knows it."""

    def hand_over(self) -> None:
        """Begin to hand all records to the kernel, for a `flush` that follows."""

    def flush(self) -> bool:
        """Hand all records to the kernel. Return False, and set the fault, if that failed."""


class DaemonAudit(OrderAudit, Protocol):
    """Audit, as the daemon knows it."""

    @property
    def fault(self) -> str:
        """Text that says why nothing can be written; empty if there is no fault."""

    @property
    def head(self) -> Head:
        """Head of what has been handed to the kernel."""

    def open(self) -> None:
        """Open the file, and go on from the records of earlier processes. A failure is a fault."""

    def tick(self) -> None:
        """Do the periodic work, about every second."""

    def take_written(self) -> Sequence[Mapping[str, Any]]:
        """Return records that were written since the last call, the newest of them if there are many."""

    def metrics(self) -> Mapping[str, Any]:
        """Return the metrics for `status`."""

    def close(self) -> None:
        """Write what is left, have it on the disk, and close the file."""


class CommandAudit:
    """Audit of what commands lead to: adds the `identity` by whose command a fact comes, while one is executed."""

    def __init__(self, audit: Audit) -> None:
        self.identity: Identity | None = None
        self._audit = audit

    def record(self, kind: str, **facts: Any) -> None:
        """Record a fact (see `Audit`)."""
        self._audit.record(kind, **{"identity": self.identity, **facts})


class NoAudit:
    """Audit that keeps nothing, for tests and for parts without a daemon."""

    fault = ""
    head = Head()

    def record(self, kind: str, **facts: Any) -> None:
        """Drop a fact."""

    def hand_over(self) -> None:
        """Do nothing."""

    def flush(self) -> bool:
        """Have nothing to write."""
        return True

    def open(self) -> None:
        """Do nothing."""

    def tick(self) -> None:
        """Do nothing."""

    def take_written(self) -> Sequence[Mapping[str, Any]]:
        """Return nothing."""
        return ()

    def metrics(self) -> Mapping[str, Any]:
        """Return nothing."""
        return MappingProxyType({})

    def close(self) -> None:
        """Do nothing."""


NO_AUDIT: DaemonAudit = NoAudit()
