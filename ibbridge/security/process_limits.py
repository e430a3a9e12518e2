"""Limits and use of the process's file descriptors and memory.

The module knows system calls and /proc. Without /proc the use is unknown, and no alarm is raised.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pathlib
import resource

_OPEN = pathlib.Path("/proc/self/fd")
_STATM = pathlib.Path("/proc/self/statm")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def raise_descriptor_limit() -> int:
    """Raise the soft limit of open descriptors to the hard limit, and return the limit that holds then.

    The soft limit is 1,024 by default, for programs that call select(2). The daemon does not call select(2).
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):  # a system with a lower limit than it reports
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return descriptor_limit()


def descriptor_limit() -> int:
    """Return how many descriptors may be open at once."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def open_descriptors() -> int:
    """Return how many descriptors are open; 0 if this is unknown."""
    try:
        return os.stat(_OPEN).st_size or len(os.listdir(_OPEN))  # noqa: PTH116, PTH208 -- a listing of 60,000 takes 20 ms
    except OSError:
        return 0


def memory_in_use() -> int:
    """Return the bytes of resident memory; 0 if this is unknown."""
    try:
        return int(_STATM.read_bytes().split()[1]) * _PAGE
    except OSError:
        return 0


def return_memory() -> None:
    """Return freed memory to the system. The C library would keep it for later use."""
    with contextlib.suppress(OSError, AttributeError):  # another C library than GNU's
        ctypes.CDLL(None).malloc_trim(0)
