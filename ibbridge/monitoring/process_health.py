"""Health of the process: the alarms about its log, its file descriptors and its memory.

Pure: the caller gives samples, taken from `process_limits` and `log_writer`, and their time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ibbridge.monitoring.alarms import Alarms

FULL = 0.8
"""Share of the descriptors, and of the memory, that may be in use before an alarm is raised."""

MEGABYTE = 2**20

OWN_MEMORY = 512 * MEGABYTE
"""Bytes of memory, beside the ring, for the daemon's own needs: code, the state of many topics, bursts."""


class ProcessSample(NamedTuple):
    """Process sample: descriptors and bytes of memory in use, and their limits. 0 stands for unknown."""

    log_fault: str = ""
    descriptors: int = 0
    descriptor_limit: int = 0
    memory: int = 0
    memory_limit: int = 0


def memory_limit(configured_mb: int, ring_bytes: int) -> int:
    """Return the bytes of memory above which clients are disconnected: the configured limit, but at least the needs."""
    return max(configured_mb * MEGABYTE, ring_bytes + OWN_MEMORY)


class ProcessHealth:
    """Health checks of the process, done at each sample."""

    def __init__(self, alarms: Alarms) -> None:
        self._alarms = alarms

    def check(self, sample: ProcessSample, ts: int) -> bool:
        """Raise and end alarms for a sample at `ts` (µs since 1970 UTC). Return True if memory must be freed now."""
        self._alarms.update("log", sample.log_fault, ts)
        self._alarms.update("descriptors", _descriptors(sample), ts)
        self._alarms.update("memory", _memory(sample), ts)
        return 0 < sample.memory_limit < sample.memory


def _descriptors(sample: ProcessSample) -> str:
    if sample.descriptors < FULL * sample.descriptor_limit or not sample.descriptor_limit:
        return ""
    return (
        f"{sample.descriptors:,} of {sample.descriptor_limit:,} descriptors are open: some program connects again and "
        "again and does not close; end it, or raise the limit (LimitNOFILE= in the unit, ulimit -n)"
    )


def _memory(sample: ProcessSample) -> str:
    if sample.memory < FULL * sample.memory_limit or not sample.memory_limit:
        return ""
    return (
        f"{sample.memory // MEGABYTE:,} of {sample.memory_limit // MEGABYTE:,} MB of memory are in use: "
        "the daemon keeps much for a client; above the limit the client for which most is kept is disconnected"
    )
