"""Records of the book of risk in the order journal: the book now and then, and each event since, by number.

Pure. An event is in the journal in the same commit as the order or the execution that it is about: so after the end of
the process, wherever that was, the book has each of them once. The module must not know what an event means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgpack

from ibbridge.orders.journal import RISK
from ibbridge.storage.records import JournalRecord

if TYPE_CHECKING:
    from collections.abc import Callable

    from ibbridge.orders.journal import OrderJournal

PLACES = 4_096
"""Records for events. An event takes the place of the one so many events before, which the book must have by then."""

OFTEN = 2_048
"""Events after which `tick` writes the book, which takes 10 µs for each instrument held."""

SELDOM = 600
"""Calls of `tick` after which the book is written if anything has changed."""

_BOOK = b"book"

_pack = msgpack.Packer().pack


class BookRecords:
    """Records of a book. `dump` returns the book as plain data."""

    def __init__(self, journal: OrderJournal, dump: Callable[[], Any]) -> None:
        self._journal = journal
        self._dump = dump
        self._count = 0
        self._written = 0
        self._ticks = 0

    def note(self, event: tuple[Any, ...]) -> None:
        """Have an event written with the next commit. The book has the event already."""
        self._count += 1
        if self._count - self._written >= PLACES:
            self._write()
            return
        name = b"%04d" % (self._count % PLACES)
        self._journal.note_record(JournalRecord(RISK, name, _pack((self._count, event)), open=True))

    def make_room(self) -> None:
        """Write the book now if that is due soon: so no event that may be taken back is the last that it has."""
        if self._count - self._written >= OFTEN:
            self._write()

    def tick(self) -> None:
        """Write the book, if that is due. Call it about every second."""
        self._ticks += 1
        self.make_room()
        if self._count > self._written and self._ticks >= SELDOM:
            self._write()

    def _write(self) -> None:
        self._journal.note_record(JournalRecord(RISK, _BOOK, msgpack.packb((self._count, self._dump())), open=True))
        self._written, self._ticks = self._count, 0

    def restore(self, load: Callable[[Any], None], apply: Callable[[Any], None]) -> bool:
        """Restore the book of an earlier process. Return False if there is none."""
        events: dict[int, Any] = {}
        book: Any = None
        for record in self._journal.take_open(RISK):
            number, value = msgpack.unpackb(record.value, use_list=False, strict_map_key=False)
            if record.name == _BOOK:
                self._written, book = number, value
            else:
                events[number] = value
        if book is not None:
            load(book)
        for number in sorted(number for number in events if number > self._written):
            apply(events[number])
        self._count = max(self._written, *events, 0) if events else self._written
        return book is not None or bool(events)
