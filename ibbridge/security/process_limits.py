"""What the kernel lets this process have: descriptors and memory, how much of both is in use, and what is kept back.

Knows the system's calls and /proc. Where there is no /proc nothing is known, and nothing is an alarm.
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
    """Raise the soft limit of open descriptors to the hard one; the limit that holds then.

    The soft one is 1,024 by default, for programs that call select(2), which ours does not.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):  # a system that has a lower limit than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return descriptor_limit()


def descriptor_limit() -> int:
    """Return how many descriptors may be open at once."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def open_descriptors() -> int:
    """Return how many descriptors are open; 0 if the system does not say."""
    try:
        return os.stat(_OPEN).st_size or len(os.listdir(_OPEN))  # noqa: PTH116, PTH208 -- a listing of 60,000 takes 20 ms
    except OSError:
        return 0


def memory_in_use() -> int:
    """Return the bytes of memory that are resident; 0 if the system does not say."""
    try:
        return int(_STATM.read_bytes().split()[1]) * _PAGE
    except OSError:
        return 0


def return_memory() -> None:
    """Give back to the system what was freed; the C library would keep it for later."""
    with contextlib.suppress(OSError, AttributeError):  # another C library than GNU's
        ctypes.CDLL(None).malloc_trim(0)
