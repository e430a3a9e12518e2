"""The start of the daemon while its store is being opened: signals are served, and people and systemd are told.

No message can be published meanwhile, because the sequence numbers are in the store. A disk may be slow, or not answer
at all; a start that systemd broke off and tried again would be no faster.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from ibbridge.monitoring.systemd import notify
from ibbridge.storage.disk_thread import DiskThread

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable

log = logging.getLogger(__name__)

OPENING = 2.0
"""Seconds that opening the store may take without a warning; the next warning comes after twice as long."""

HEEDING = 0.25
"""Seconds between two checks for a signal to stop."""

EXTENSION = 30.0
"""Seconds for which systemd is asked to wait, each time anew: it would kill the daemon after TimeoutStartSec=."""

EXTEND_EVERY = 5.0
"""Seconds between two such requests."""


async def opened(work: Callable[[], object], directory: pathlib.Path, stopping: asyncio.Event) -> bool:
    """Do the work of opening the store, and raise what it raises. Return False if a signal to stop came before its end.

    `directory` is the store's, for the warnings.
    """
    thread, waited, warn_at, extend_at = DiskThread(), 0.0, OPENING, HEEDING
    job = thread.submit(work)
    while not thread.wait(job, HEEDING):
        waited += HEEDING
        await asyncio.sleep(0)  # let the loop run the signal handlers
        if stopping.is_set():
            log.error("store: its disk has not answered for %.1f s; the process ends without it", waited)
            return False
        if waited >= extend_at:
            extend_at = waited + EXTEND_EVERY
            notify(f"EXTEND_TIMEOUT_USEC={EXTENSION * 1e6:.0f}")
        if waited >= warn_at:
            warn_at *= 2
            _warn(directory, waited)
    thread.end(0)
    job.result()
    return True


def _warn(directory: pathlib.Path, waited: float) -> None:
    log.warning(
        "store: opening the one in %s has taken %.0f s so far, and the daemon does nothing else until it is open; "
        "if this goes on, see what the system log says of its disk",
        directory,
        waited,
    )
    notify("STATUS=opening the store; its disk is slow, or does not answer")
