"""Endpoints of the bus: binding with advice if that fails, and a lock on each ipc endpoint.

The module knows addresses, files and errors. It must not know which socket an endpoint is for: the caller gives `key`,
the name of the endpoint's setting.
"""

from __future__ import annotations

import errno
import fcntl
import os
import pathlib
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING

import zmq

from ibbridge.security import runtime_directory
from ibbridge.security.runtime_directory import RUNTIME_DIRECTORY

if TYPE_CHECKING:
    from collections.abc import Iterator

_ADVICE = {
    errno.EADDRINUSE: "another ibbridge or another program has it; stop that one, or choose another {key}",
    errno.EADDRNOTAVAIL: "this machine has no such address; bind to one it has, such as 127.0.0.1",
    errno.ENODEV: "this machine has no such address; bind to one it has, such as 127.0.0.1",
    errno.EACCES: "this user may not; choose another {key}, or give the user the right to it",
    errno.ENAMETOOLONG: f"a path may have {zmq.IPC_PATH_MAX_LEN} bytes; choose a shorter {{key}}",
}


class BusError(Exception):
    """Failure of the bus's sockets. str() says which endpoint, why, and what to do about it."""


def resolved(endpoint: str) -> str:
    """Return an endpoint with the runtime directory in it, which is made if it is missing. Raise `BusError`."""
    if RUNTIME_DIRECTORY not in endpoint:
        return endpoint
    try:
        directory = runtime_directory.made()
    except OSError as error:
        raise BusError(
            f"{endpoint}: cannot make {runtime_directory.path()}: {error.strerror}; set XDG_RUNTIME_DIR to a directory "
            "of this user, or name another endpoint in bus.pub and bus.rep"
        ) from error
    return endpoint.replace(RUNTIME_DIRECTORY, str(directory))


def lock(key: str, endpoint: str) -> int | None:
    """Lock an ipc endpoint, and return the open lock file; None for any other endpoint. Raise `BusError` on failure.

    Without the lock a second bind would take over the clients of the first. The lock file is not deleted with the lock:
    at that moment another daemon may have locked the same file.
    """
    transport, _, name = endpoint.partition("://")
    if transport != "ipc":
        return None
    path = pathlib.Path(name)
    if not path.parent.is_dir():
        raise BusError(
            f"{key}: {endpoint}: there is no directory {path.parent}; create it (mode 0750: who may enter may trade), "
            "or have systemd do it with RuntimeDirectory="
        )
    if path.parent.stat().st_mode & (stat.S_IWOTH | stat.S_ISVTX) == stat.S_IWOTH:
        raise BusError(
            f"{key}: {endpoint}: every user may write to {path.parent}, and so could put another socket there, which "
            f"clients would take for the daemon's: chmod o-w {path.parent}"
        )
    if path.exists() and not path.is_socket():  # libzmq would delete it
        raise BusError(f"{key}: {endpoint}: {path} exists and is no socket; choose another {key}, or remove it")
    return _locked(key, endpoint, f"{path}.lock")


def _locked(key: str, endpoint: str, path: str) -> int:
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise BusError(f"{key}: {endpoint}: cannot open its lock {path}: {_why(error.errno, key)}") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(file)
        raise BusError(
            f"{key}: {endpoint}: another ibbridge has it (its lock is {path}); stop that one, or choose another {key}"
        ) from error
    return file


def bind(socket: zmq.Socket[bytes], key: str, endpoint: str) -> str:
    """Bind a socket, and return the bound endpoint. A new ipc file is accessible to the user and the group alone.

    Raise `BusError` if the endpoint cannot be bound.
    """
    socket.set(zmq.IPV6, int("[" in endpoint))
    try:
        with _umask(0o007):
            socket.bind(endpoint)
    except zmq.ZMQError as error:
        raise BusError(f"{key}: {endpoint}: cannot bind: {_why(error.errno, key)}") from error
    bound = socket.get(zmq.LAST_ENDPOINT)
    return bound.decode() if isinstance(bound, bytes) else str(bound)


def _why(number: int | None, key: str) -> str:
    """Return the text of an error number, and what to do about the error."""
    advice = _ADVICE.get(number or 0, "write {key} as tcp://127.0.0.1:PORT or ipc:///PATH")
    return f"{zmq.strerror(number or 0)}; {advice.format(key=key)}"


@contextmanager
def _umask(mask: int) -> Iterator[None]:
    previous = os.umask(mask)
    try:
        yield
    finally:
        os.umask(previous)
