"""Records of the order journal, and the mark by which a missing or older journal is noticed. Pure."""

from __future__ import annotations

from typing import NamedTuple


class JournalRecord(NamedTuple):
    """Record of a kind, by name. `open`: the record is returned when the file is opened."""

    kind: int
    name: bytes
    value: bytes
    open: bool

    @property
    def known_as(self) -> bytes:
        """The name among those of all kinds."""
        return known_as(self.kind, self.name)


class Mark(NamedTuple):
    """Mark of a journal, noted elsewhere to notice a missing or older one: its name, and how often it was opened."""

    name: str
    generation: int


def known_as(kind: int, name: bytes) -> bytes:
    """Return the name of a record among those of all kinds."""
    return bytes((kind,)) + name
