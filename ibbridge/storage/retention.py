"""The retention of messages: the removal of old ones, and of the oldest ones if the file exceeds its size.

Pruning does not depend on a clock that can be set. Each message is stamped with the *uptime*, the total time for which
daemons had been running on this store, and is removed after `days` of further uptime: a clock that jumps prunes
nothing, and neither does a month without a running daemon. If the file exceeds its bytes the oldest messages are
removed earlier, those of streams about orders last. Order keys, and the state of an open order, are never removed.
"""

from __future__ import annotations

from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING

from ibbridge.storage import event_table, schema
from ibbridge.storage.schema import Damage

if TYPE_CHECKING:
    import sqlite3

    from ibbridge.storage.contents import Contents, StoredStream
    from ibbridge.storage.disk import Disk
    from ibbridge.storage.event_table import Old
    from ibbridge.storage.write_ahead_log import WriteAheadLog

PRUNED, PRUNED_BYTES = 250, 256 * 2**10
"""Limits of one removal, in rows and bytes: about 1 ms. With one `tick` a second that is 21 million rows a day."""

FULL, HIGH, LOW = 1.0, 0.8, 0.75
"""Shares of `most_bytes`: above the first messages are removed early, the second starts an alarm, the third ends it."""

MEASURED = 2**20
"""Bytes written between two measurements of the file's size."""

LOOKED_AT = 40
"""Batches of `PRUNED` rows that one call examines to find rows that may be removed."""

MAKING_ROOM = 0.1
"""Seconds after which one call stops removing. On a slow disk the next write goes on with the removal, in batches
`LARGER` times as large, because there the commit is the slow part."""

LARGER = 4

_DAY = 86_400_000_000


class Retention:
    """Retention of messages for `days` of uptime, in a file of at most `most_bytes`; `used` bytes of it are in use."""

    def __init__(self, disk: Disk, log: WriteAheadLog, contents: Contents, days: float, most_bytes: int) -> None:
        self.used = 0
        self.most_bytes = most_bytes
        self._disk = disk
        self._log = log
        self._contents = contents
        self._lifetime = int(days * _DAY)
        self._unmeasured = 0  # bytes written since the file was measured
        self._high, self._evicting = False, False
        self._making_room = False  # the last call had no time to remove enough
        self._evicted = 0  # the row up to which only streams about orders have messages left

    def load(self, db: sqlite3.Connection) -> None:
        """Measure a file that has just been opened."""
        self.used = event_table.used(db)

    @property
    def shortage(self) -> str:
        """A clause for operators about a store that is nearly full or full; empty if there is enough room."""
        if not self._high:
            return ""
        figures = f"holds {self.used / 2**20:.0f} of {self.most_bytes / 2**20:.0f} MiB (store.max_bytes)"
        then = "messages are removed before store.days are over" if self._evicting else "beyond that the oldest go"
        return f"{figures}: {then}; find out what writes so much, keep messages for fewer days, or allow more bytes"

    def wrote(self, size: int) -> None:
        """Note that `size` bytes of messages are written, and make room for more if the file is full."""
        self._unmeasured += size
        if self._making_room or self._unmeasured >= MEASURED:
            self.keep_size()

    def keep_size(self) -> bool:
        """Measure the file, and remove messages if it is too large. Return False if it is not."""
        too_much = self._too_much()
        if too_much:
            self._make_room()
        return too_much

    def prune(self) -> bool:
        """Remove some of the messages that are older than `days`. Return True if any were removed."""
        return self._remove(self._old(self._oldest(0, PRUNED), self._contents.about.uptime - self._lifetime))

    def _oldest(self, after: int, most: int) -> list[Old]:
        found: list[Old] = self._disk.attempt(partial(event_table.oldest, after, most)) or []
        if any(old.stream not in self._contents.numbered for old in found):
            self._disk.faults.failed(Damage("a message is unreadable"))
            return []
        return found

    def _old(self, found: list[Old], before: int) -> list[Old]:
        """Return the first messages of `found`, up to one that must be kept, or to the limit of one removal."""
        room = PRUNED_BYTES
        for count, old in enumerate(found):
            uptime = 0 if old.uptime > schema.TIMES_OF_DAY else old.uptime
            if room < 0 or (uptime >= before and old.seq > self._contents.numbered[old.stream].floor):
                return found[:count]
            room -= old.size
        return found

    def _remove(self, messages: list[Old]) -> bool:
        """Remove messages, which are the oldest of their streams. Return True if any were removed."""
        if not messages:
            return False
        floors: dict[StoredStream, int] = {}
        for old in messages:
            stream = self._contents.numbered[old.stream]
            floors[stream] = max(old.seq, floors.get(stream, stream.floor))
        rows = {stream: stream.row()._replace(floor=floor) for stream, floor in floors.items()}

        def removed(_: object) -> None:
            for stream, row in rows.items():
                stream.saved = row
                stream.hide(row.floor)

        return self._log.commit(partial(event_table.remove, messages, list(rows.values())), removed)

    def _too_much(self) -> bool:
        """Measure the file; return True if messages have to be removed to keep its limit."""
        used = self._disk.attempt(event_table.used)
        if used is not None:
            self.used, self._unmeasured = used, 0
        self._high = self.used >= self.most_bytes * (LOW if self._high else HIGH)
        self._evicting = self._high and (self._evicting or self.used > self.most_bytes * FULL)
        return self.used > self.most_bytes * FULL

    def _make_room(self) -> None:
        """Remove the oldest messages, twice as many bytes as were written. Messages of streams about orders go last."""
        room, until = 2 * MEASURED, perf_counter() + MAKING_ROOM
        most = PRUNED * LARGER if self._making_room else PRUNED
        self._making_room = False
        for _ in range(LOOKED_AT):
            found = self._oldest(self._evicted, most)
            gone = [old for old in found if not self._contents.numbered[old.stream].keyed]
            if not gone and len(found) < most:
                gone = self._oldest(0, most)
            if gone and not self._remove(gone):
                return
            self._evicted = found[-1].id if found else self._evicted
            room -= sum(old.size + 100 for old in gone)
            if room <= 0:
                return
            if perf_counter() > until:
                self._making_room = True
                return
