"""Watch over the process: its log, its file descriptors, and its memory, which is freed if too much is in use.

This module knows the limits of the process. It must not know for whom the memory is kept: the bus does.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ibbridge.monitoring.process_health import MEGABYTE, ProcessHealth, ProcessSample
from ibbridge.security import process_limits
from ibbridge.security.process_limits import memory_in_use

if TYPE_CHECKING:
    from collections.abc import Callable

    from ibbridge.clock import Clock
    from ibbridge.monitoring.alarms import Alarms
    from ibbridge.monitoring.log_writer import LogWriter

log = logging.getLogger(__name__)

TRIMS = 30
"""Heartbeats after excessive memory use, at each of which freed memory is returned to the system."""


class ProcessWatch:
    """Watch over the process. `shed` disconnects the client for which most bytes are kept, and returns a text."""

    def __init__(
        self,
        alarms: Alarms,
        limit: int,
        shed: Callable[[], str],
        log_writer: LogWriter | None,
        clock: Clock,
    ) -> None:
        self._health = ProcessHealth(alarms)
        self._limit = limit
        self._shed = shed
        self._log_writer = log_writer
        self._clock = clock
        self._descriptor_limit = process_limits.descriptor_limit()
        self._trims = 0
        self._too_large = False  # at the last heartbeat too much memory was in use

    def tick(self) -> None:
        """Check the log, the descriptors and the memory of the process; free memory if too much is in use."""
        sample = ProcessSample(
            self._log_writer.fault(self._clock.monotonic()) if self._log_writer else "",
            process_limits.open_descriptors(),
            self._descriptor_limit,
            memory_in_use(),
            self._limit,
        )
        if self._health.check(sample, self._clock.utc_us()):
            self._trims = TRIMS
            self._free_memory()
        else:
            self._too_large = False
            if self._trims:  # libzmq frees the memory of a disconnected peer gradually
                self._trims -= 1
                process_limits.return_memory()

    def _free_memory(self) -> None:
        """Return freed memory to the system. If that is not enough at two heartbeats in a row, disconnect a client."""
        process_limits.return_memory()
        used = memory_in_use()
        if used <= self._limit:
            return
        if not self._too_large:
            self._too_large = True
        elif said := self._shed():
            log.error("%d MB of memory are in use: %s", used // MEGABYTE, said)
