"""When the process itself is so ill that a human must know: its log, its descriptors, its memory.

Pure: told how things are, and when. `process_limits` and `log_writer` find it out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ibbridge.monitoring.alarms import Alarms

FULL = 0.8
"""The part of its descriptors, and of its memory, that may be in use before that is an alarm."""

MEGABYTE = 2**20

OWN_MEMORY = 512 * MEGABYTE
"""Bytes that the daemon may take beside its ring before anybody can be blamed: code, state of many topics, bursts."""


class ProcessSample(NamedTuple):
    """What is in use, and how much there is of it: descriptors, and bytes of memory. 0 stands for unknown."""

    log_fault: str = ""
    descriptors: int = 0
    descriptor_limit: int = 0
    memory: int = 0
    memory_limit: int = 0


def memory_limit(configured_mb: int, ring_bytes: int) -> int:
    """Return the bytes of memory above which clients are disconnected: what is configured, or what is needed anyway."""
    return max(configured_mb * MEGABYTE, ring_bytes + OWN_MEMORY)


class ProcessHealth:
    """Raises and ends the alarms about the process, at each sample."""

    def __init__(self, alarms: Alarms) -> None:
        self._alarms = alarms

    def check(self, sample: ProcessSample, ts: int) -> bool:
        """Raise and end alarms as the sample says, at `ts` (µs since 1970 UTC). True if memory is to be freed now."""
        self._alarms.tell("log", sample.log_fault, ts)
        self._alarms.tell("descriptors", _descriptors(sample), ts)
        self._alarms.tell("memory", _memory(sample), ts)
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
        f"{sample.memory // MEGABYTE:,} of {sample.memory_limit // MEGABYTE:,} MB of memory are in use: a client "
        "makes it keep much; beyond the limit the one for whom most is kept is disconnected"
    )
