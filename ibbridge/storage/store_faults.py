"""The fault of several store files, as one sentence: the first that keeps an order from being recorded.

Pure. The module must not know what refuses orders because of a fault.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence


class StoreFile(Protocol):
    """Event store or order journal, as far as its faults go."""

    @property
    def fault(self) -> str:
        """Text that says why nothing can be written; empty if there is no fault."""


class Journal(StoreFile, Protocol):
    """Order journal, as far as its faults go."""

    @property
    def doubt(self) -> str:
        """Text that says why orders may be missing; empty if there is no doubt."""


class StoreFaults:
    """Faults of the event store, of the order journal, and of `others` without which no order leaves."""

    def __init__(self, events: StoreFile, journal: Journal, *others: StoreFile) -> None:
        self._files: Sequence[StoreFile] = (events, journal, *others)
        self._journal = journal

    @property
    def fault(self) -> str:
        """The first fault, its place, and what to do about it; empty if orders can be recorded, and none is missing."""
        return next((file.fault for file in self._files if file.fault), "") or self._journal.doubt
