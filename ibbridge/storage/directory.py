"""The directory of a store: its file, the write-ahead log beside it, and the lock that admits one process at a time.

The module knows paths, permissions and locks. It must not know SQLite or threads.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, NamedTuple

from ibbridge.storage.faults import StoreError, may_pass

if TYPE_CHECKING:
    import pathlib


class Files(NamedTuple):
    """Inodes of the file and its write-ahead log, and the size of the file; 0 for a missing file."""

    inode: int
    wal_inode: int
    size: int


class StoreDirectory:
    """Store's directory. The lock file also holds the name of the store, so that a missing file is noticed."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.path = directory / "events.db"
        self.before = ""
        """The name of an earlier store in this directory whose file has vanished before this start."""
        self._directory = directory
        self._wal = directory / "events.db-wal"
        self._lock_path = f"{self.path}.lock"
        self._lock = -1
        self._opened = ExitStack()

    def prepare(self) -> None:
        """Create the directory, lock it, and create an empty file if there is none.

        Raise StoreError if the directory cannot be made, or another process has it locked; OSError for anything else.
        """
        self._make_directory()
        if self._lock < 0:
            self._lock = self._locked()
        if not self.path.exists():
            self.before = self.name() or self.before
            os.ftruncate(self._lock, 0)  # without the file a new store begins, with a new name
        # SQLite would create the file with read access for others.
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))

    def release(self) -> None:
        """Release the lock, after the file is closed. A second call does nothing."""
        self._lock = -1
        self._opened.close()

    def name(self) -> str:
        """Return the name of the store in this directory, from the lock file; "" if there never was one."""
        return os.pread(self._lock, 100, 0).decode("ascii", "replace").strip()

    def write_name(self, name: str) -> None:
        """Write the store's name into the lock file. A failed write is ignored: the name is written again and again."""
        with suppress(OSError):
            os.pwrite(self._lock, name.encode() + b"\n", 0)

    def files(self) -> Files:
        """Return the inodes of the file and its log, and the size of the file."""
        inode, size = _inode_and_size(self.path)
        return Files(inode, _inode_and_size(self._wal)[0], size)

    def wal_size(self) -> int:
        """Return the bytes of the write-ahead log; 0 if it is missing."""
        return _inode_and_size(self._wal)[1]

    def _make_directory(self) -> None:
        try:
            self._directory.mkdir(mode=0o750, parents=True, exist_ok=True)
        except OSError as error:
            if may_pass(error):
                raise
            raise StoreError(
                f"{self._directory}: cannot make the store's directory: {error.strerror}; make it, or choose another"
            ) from error

    def _locked(self) -> int:
        """Lock a file in the directory, and the directory itself, because the lock file may be removed by mistake."""
        with ExitStack() as opened:
            file = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            opened.callback(os.close, file)
            directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            opened.callback(os.close, directory)
            self._flock(file)
            with suppress(OSError):  # a network file system may lock files only
                self._flock(directory)
            self._opened.push(opened.pop_all())
        return file

    def _flock(self, file: int) -> None:
        """Lock an open file or directory. Raise StoreError if another process has it locked."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreError(
                f"{self._directory}: another ibbridge has this store (its lock is {self._lock_path}); stop that one, "
                "or choose another directory"
            ) from error


def _inode_and_size(path: pathlib.Path) -> tuple[int, int]:
    try:
        found = os.stat(path)  # noqa: PTH116 - twice as fast, behind each commit
    except OSError:
        return 0, 0
    return found.st_ino, found.st_size
