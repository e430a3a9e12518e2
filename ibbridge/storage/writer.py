"""The writer of the store: commits messages, order keys and forgotten states, or keeps them until it can.

Items that cannot be written wait in the backlog, in order. The module must not know why a write has failed.
"""

from __future__ import annotations

from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING

from ibbridge.storage import event_table
from ibbridge.storage.backlog import Backlog, PendingEvent
from ibbridge.storage.batch import Batch, rows_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ibbridge.storage.backlog import Item
    from ibbridge.storage.contents import Contents, Row
    from ibbridge.storage.disk import Disk
    from ibbridge.storage.retention import Retention
    from ibbridge.storage.write_ahead_log import WriteAheadLog

CATCH_UP = 400
"""Rows of the backlog that one call writes, beside its own rows: about 2 ms."""

PROBE = 8
"""Rows of the first write after a failure: a write that fails again must cost little."""


class Writer:
    """Writer of the file on `disk`. `backlog` has the items that are not written yet."""

    def __init__(self, disk: Disk, log: WriteAheadLog, contents: Contents, retention: Retention) -> None:
        self.backlog = Backlog()
        self._disk = disk
        self._log = log
        self._contents = contents
        self._retention = retention

    def append(self, rows: Sequence[Row], room: int) -> bool:
        """Commit rows. Return False if the commit failed; then keep as many of the newest rows as `room` bytes take."""
        for row in rows:
            self._contents.note(row)
        uptime = self._contents.about.uptime
        fresh = [
            PendingEvent(name, seq, uptime, topic, body, identity, key)
            for name, seq, _, topic, body, identity, key in rows
        ]
        self._disk.collect()
        if self._disk.faults.failing or self.backlog.messages:
            self._keep(fresh, room)
            return self._catch_up(CATCH_UP + len(rows))
        if not self._write([*self.backlog, *fresh] if self.backlog else fresh):
            self._keep(fresh, room)
            return False
        return True

    def catch_up(self) -> None:
        """Write some of the backlog, if there is one, or end a fault. More at once if the disk hangs: no call waits."""
        if self.backlog or self._disk.faults.failing:
            self._catch_up(CATCH_UP * 5 if self._disk.health.is_hung else CATCH_UP)

    def stamp(self) -> None:
        """Write the row `about`."""
        about = self._contents.about
        self._log.commit(partial(event_table.write_about, about), lambda _: self._contents.stamped(about))

    def write_rest(self, until: float) -> None:
        """Write all of the backlog, and the uptime, if the disk answers. `until` is a time of `perf_counter`."""
        faults = self._disk.faults
        while True:
            if not self._disk.wait_for_late(until - perf_counter()):
                return
            self._disk.collect()
            if not self.backlog or faults.spoilt or not (self._write_some(CATCH_UP) or self._disk.is_late):
                break
        if not self._contents.is_stamped and not faults.spoilt:
            self.stamp()

    def _keep(self, fresh: Sequence[PendingEvent], room: int) -> None:
        """Add rows to the backlog, and drop the oldest ones above the limit."""
        for message in fresh:
            self.backlog.add(message)
        for message in self.backlog.drop(room):
            self._contents.streams[message.stream].hide(message.seq)

    def _catch_up(self, most: int) -> bool:
        """Write up to `most` items of the backlog. Return True if no message waits any more."""
        if self._disk.faults.failing and not self._write_some(PROBE):
            return False
        if self.backlog and not self._write_some(most):
            return False
        self._disk.faults.recovered()
        return not self.backlog.messages

    def _write_some(self, most: int) -> bool:
        return self._write(self.backlog.first(most))

    def _write(self, items: Sequence[Item]) -> bool:
        """Commit items, and the rows of their streams that have changed. Return True if the commit succeeded."""
        contents = self._contents
        rows = rows_of(items, contents.number)
        moved = {stream: stream.row() for name in rows.streams if not (stream := contents.streams[name]).is_saved()}
        new = [name for name in rows.keys if name not in contents.known]
        about = contents.row_with_keys(len(new)) if new or contents.is_new else None
        batch = Batch(rows, [*moved.values()], about, probe=self._disk.faults.failing)

        def written(_: object) -> None:
            self.backlog.written(items)
            for stream, row in moved.items():
                stream.saved = row
            contents.keys_written(new, about)

        if not self._log.commit(batch.write, written):
            return False
        self._retention.wrote(rows.size)
        return True
