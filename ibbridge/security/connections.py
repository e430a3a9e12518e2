"""The connections that libzmq has accepted, as the kernel sees them: who does not read, and how such a one is ended.

libzmq keeps what a peer does not take, says of none how much that is, and disconnects nobody on demand. The kernel does
say which connections take nothing, and a connection that is shut down is one that libzmq lets go, with all it kept.
Knows descriptors and /proc; where there is no /proc nobody is found.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
import socket
import stat
import struct
import termios
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_OPEN = pathlib.Path("/proc/self/fd")
_ACKED = struct.Struct("=120xQ")  # tcpi_bytes_acked in Linux' struct tcp_info
_CREDENTIALS = struct.Struct("=iII")


class Connection(NamedTuple):
    """A peer's connection: its inode, who is there, how many bytes it has not taken and, over TCP, how many it has."""

    inode: int
    peer: str
    unread: int
    taken: int | None


class Connections:
    """The peers of some bound endpoints. Looks anew at each call; remembers what each had taken at the last."""

    def __init__(self) -> None:
        self._taken: dict[int, int | None] = {}

    def observe(self, endpoints: Sequence[str]) -> None:
        """Note what each has taken, for `shed` to tell who has stopped from who is slow."""
        with contextlib.ExitStack() as opened:
            self._unread(endpoints, opened)

    def shed(self, endpoints: Sequence[str]) -> str:
        """Shut down the connection that keeps most bytes unread; who it was, or "" if all are read.

        Those go first that have taken nothing at all since the last call: a client that is only slow is none of them.
        """
        before = self._taken
        with contextlib.ExitStack() as opened:
            if not (found := self._unread(endpoints, opened)):
                return ""
            worst, peer = max(found, key=lambda each: (_stands(each[0], before), each[0].unread))
            with contextlib.suppress(OSError):  # it has gone by itself
                peer.shutdown(socket.SHUT_RDWR)
            return worst.peer

    def _unread(self, endpoints: Sequence[str], opened: contextlib.ExitStack) -> list[tuple[Connection, socket.socket]]:
        accepted = [(each, opened.enter_context(peer)) for each, peer in _accepted(endpoints)]
        self._taken = {each.inode: each.taken for each, _ in accepted}
        return [(each, peer) for each, peer in accepted if each.unread]


def _stands(connection: Connection, before: dict[int, int | None]) -> bool:
    return connection.inode in before and connection.taken == before[connection.inode]


def _accepted(endpoints: Sequence[str]) -> Iterator[tuple[Connection, socket.socket]]:
    """Each connection to one of the endpoints, with a descriptor of its own, which is to be closed."""
    places = {_place(endpoint) for endpoint in endpoints}
    for file in [*_OPEN.iterdir()] if _OPEN.exists() else []:
        with contextlib.suppress(OSError):  # closed meanwhile, or no connection
            if stat.S_ISSOCK(file.stat().st_mode):
                peer = socket.socket(fileno=fcntl.fcntl(int(file.name), fcntl.F_DUPFD_CLOEXEC, 0))
                with contextlib.ExitStack() as opened:
                    opened.enter_context(peer)
                    own = peer.getsockname()
                    if (own if isinstance(own, str) else own[1:2]) in places:
                        yield _about(peer), peer
                        opened.pop_all()


def _place(endpoint: str) -> str | tuple[int | None, ...]:
    """What the kernel says of a socket that was accepted there: a path, or a port."""
    where = urlsplit(endpoint)
    return where.path if where.scheme == "ipc" else (where.port,)


def _about(peer: socket.socket) -> Connection:
    """What the kernel knows of a connection. OSError if it is none."""
    address = peer.getpeername()
    inode = os.fstat(peer.fileno()).st_ino
    unread = struct.unpack("i", fcntl.ioctl(peer.fileno(), termios.TIOCOUTQ, b"\0" * 4))[0]
    if peer.family == socket.AF_UNIX:
        pid, _, _ = _CREDENTIALS.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
        return Connection(inode, f"process {pid}", unread, None)
    info = peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACKED.size)
    taken = _ACKED.unpack(info)[0] if len(info) == _ACKED.size else None
    return Connection(inode, "{}:{}".format(*address), unread, taken)
