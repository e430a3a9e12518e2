"""Endpoints that a client connects to if it is given none: the ipc endpoint if it is there, or else loopback tcp.

The module knows files and environment variables. It must not know sockets.
"""

from __future__ import annotations

import os
import pathlib
from typing import TYPE_CHECKING

from ibbridge.security import runtime_directory
from ibbridge.security.runtime_directory import RUNTIME_DIRECTORY

if TYPE_CHECKING:
    from collections.abc import Sequence

PUB = "tcp://127.0.0.1:5555"
REP = "tcp://127.0.0.1:5556"

SYSTEM = pathlib.Path("/run/ibbridge")
"""Directory of the endpoints of the packaged service."""


def defaults(name: str) -> tuple[str, ...]:
    """Return the endpoints that a daemon has by default for `pub` or `rep`."""
    return f"ipc://{RUNTIME_DIRECTORY}/{name}", PUB if name == "pub" else REP


def given(endpoint: str, name: str) -> str:
    """Return the given endpoint, or that of the environment (IBBRIDGE_PUB, IBBRIDGE_REP), or the nearest default."""
    return endpoint or os.environ.get(f"IBBRIDGE_{name.upper()}") or nearest(defaults(name))


def nearest(endpoints: Sequence[str]) -> str:
    """Return the first ipc endpoint whose socket is there, or else the first other endpoint."""
    found = [each for endpoint in endpoints for each in _resolved(endpoint)]
    local = [each for each in found if each.startswith("ipc://")]
    there = (each for each in local if _is_there(each.removeprefix("ipc://")))
    others = (each for each in found if each not in local)
    return next(there, None) or next(others, None) or found[0]


def _is_there(path: str) -> bool:
    try:
        return pathlib.Path(path).is_socket()
    except OSError:  # this user may not look
        return False


def _resolved(endpoint: str) -> list[str]:
    if RUNTIME_DIRECTORY not in endpoint:
        return [endpoint]
    return [endpoint.replace(RUNTIME_DIRECTORY, str(each)) for each in (runtime_directory.path(), SYSTEM)]
