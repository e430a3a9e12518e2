"""Endpoints that a client connects to, and how they are chosen if the client is given none.

The module knows files and environment variables. It must not know sockets.
"""

from __future__ import annotations

import os
import pathlib
from typing import TYPE_CHECKING, NamedTuple

from ibbridge.client import keys
from ibbridge.security import runtime_directory
from ibbridge.security.runtime_directory import RUNTIME_DIRECTORY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ibbridge.client.keys import Keys, Path

PUB = "tcp://127.0.0.1:5555"
REP = "tcp://127.0.0.1:5556"

SYSTEM = pathlib.Path("/run/ibbridge")
"""Directory of the endpoints of the packaged service."""


class Endpoint(NamedTuple):
    """Endpoint of a daemon, and the keys for it; None where the daemon asks for none, as over ipc."""

    address: str
    keys: Keys | None = None

    @classmethod
    def of(cls, given: str | Endpoint) -> Endpoint:
        """Return the endpoint for an address; an endpoint as it is."""
        return cls(given) if isinstance(given, str) else given


def defaults(name: str) -> tuple[str, ...]:
    """Return the endpoints that a daemon has by default for `pub` or `rep`."""
    return f"ipc://{RUNTIME_DIRECTORY}/{name}", PUB if name == "pub" else REP


def both(
    pub: str | Endpoint, rep: str | Endpoint, key: Path | None = None, server_key: Path | None = None
) -> tuple[Endpoint, Endpoint]:
    """Return the endpoints of a client, with its keys (see `keys.loaded`). Raise AuthError if a key cannot be used.

    Where none is given, it is that of the environment (IBBRIDGE_PUB, IBBRIDGE_REP), or else the nearest default.
    """
    return _given(pub, "pub", key, server_key), _given(rep, "rep", key, server_key)


def _given(endpoint: str | Endpoint, name: str, key: Path | None, server_key: Path | None) -> Endpoint:
    if isinstance(endpoint, Endpoint):
        return endpoint
    own = keys.loaded(key, server_key)
    return with_keys(endpoint or os.environ.get(f"IBBRIDGE_{name.upper()}") or nearest(defaults(name), own), own)


def with_keys(address: str, own: Keys | None) -> Endpoint:
    """Return an endpoint with keys, if they are for it: over ipc a client is known by its user."""
    return Endpoint(address, None if address.startswith("ipc://") else own)


def nearest(endpoints: Sequence[str], own: Keys | None = None) -> str:
    """Return the first ipc endpoint whose socket is there, or else the first other endpoint.

    With keys, return the first endpoint that takes them.
    """
    found = [each for endpoint in endpoints for each in _resolved(endpoint)]
    local = [each for each in found if each.startswith("ipc://")]
    there = (each for each in local if own is None and _is_there(each.removeprefix("ipc://")))
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
