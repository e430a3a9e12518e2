"""The faults of the event store: why nothing can be written, where, what to do about it, and whether a retry helps.

Pure. The module knows SQLite's error codes, and must not know what was to be written.
"""

from __future__ import annotations

import errno
import sqlite3
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pathlib

_ADVICE = {
    sqlite3.SQLITE_FULL: "free some space on its disk",
    sqlite3.SQLITE_IOERR: "see what the system log says of its disk",
    sqlite3.SQLITE_CORRUPT: "move it away with its -wal and -shm; sqlite3's .recover may save what is in it",
    sqlite3.SQLITE_NOTADB: "move it away with its -wal and -shm",
    sqlite3.SQLITE_ERROR: "move it away with its -wal and -shm: its tables are not those of a store",
    sqlite3.SQLITE_READONLY: "give the user that runs ibbridge the right to write it and its directory",
    sqlite3.SQLITE_CANTOPEN: "give the user that runs ibbridge the right to write it and its directory",
    sqlite3.SQLITE_BUSY: "end the other program that writes to it",
}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}
_NO_ROOM = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}
_MAY_PASS = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.EROFS}

_RETRIED, _RESTART = "it is tried again by itself", "then restart ibbridge"


class StoreError(Exception):
    """Store that cannot be used at all. str() says what is wrong, where, and what to do about it."""


class Faults:
    """Faults of one store file.

    `unwritten` is the sentence of the fault that prevents writing, `uncopied` that of a failed copy of the log; both
    are empty without a fault. `failing`: the last write has failed. `spoilt`: nothing is written until a restart.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self.unwritten = ""
        self.uncopied = ""
        self.failing = False
        self.spoilt = False
        self._path = path

    def failed(self, error: Exception, *, copying: bool = False, retried: bool = True) -> None:
        """Set the fault for an error of SQLite's. Damage spoils the store for good. `retried`: there is a next try."""
        code = _code(error)
        self.spoilt = self.spoilt or code in _DAMAGED
        what_then = _RETRIED if retried and not self.spoilt else _RESTART
        fault = f"{self._path}: {error}; {_ADVICE.get(code, 'see what the system log says')}, {what_then}"
        if copying and not self.spoilt:
            self.uncopied = fault
        else:
            self.failing, self.unwritten = True, fault

    def no_access(self, error: OSError, *, retried: bool = True) -> None:
        """Set the fault for a directory or file that cannot be created or written. `retried`: there is a next try."""
        self.unwritten = (
            f"{error.filename or self._path}: {error.strerror}; give the user that runs ibbridge a disk with room, "
            f"and the right to write there, {_RETRIED if retried and may_pass(error) else _RESTART}"
        )

    def unfit(self, why: str) -> None:
        """Set the fault for a file that holds no store that can be used. `why` also says what to do."""
        self.unwritten = f"{self._path}: {why}, {_RESTART}"

    def refused(self, error: StoreError) -> None:
        """Set the fault for a store that cannot be used at all, found when the daemon already runs."""
        self.unwritten = f"{error}, {_RESTART}"

    def replaced(self) -> None:
        """Set the fault for a file that somebody has removed or replaced. It spoils the store for good."""
        self.spoilt = self.failing = True
        self.unwritten = f"{self._path}: it, or its -wal, was removed or replaced while in use; restart ibbridge"

    def stalled(self, seconds: float) -> None:
        """Set the fault of a disk that has not answered for some seconds."""
        self.failing = True
        advice = "see what the system log says of its disk"
        self.unwritten = f"{self._path}: the disk has not answered for {seconds:g} s; {advice}, {_RETRIED}"

    def unread(self, seconds: float) -> None:
        """Set the fault of a disk that did not return what the start needs. It spoils the store for good."""
        self.spoilt = True
        self.unwritten = (
            f"{self._path}: its disk did not answer for {seconds:g} s when it was to be read; see what the system "
            f"log says of the disk, {_RESTART}"
        )

    def recovered(self) -> None:
        """Clear the fault after a successful write, unless the store is spoilt."""
        if not self.spoilt:
            self.failing, self.unwritten = False, ""


def may_pass(error: OSError) -> bool:
    """Return True if an error of the file system may pass without a restart."""
    return error.errno in _MAY_PASS


def is_full(error: Exception) -> bool:
    """Return True if an error of SQLite's can come from a full disk, so that a later try may succeed."""
    return _code(error) in _NO_ROOM


def _code(error: Exception) -> int:
    """Return SQLite's code of an error. A text that Python cannot decode has no code, and counts as damage."""
    return int(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)) & 0xFF
