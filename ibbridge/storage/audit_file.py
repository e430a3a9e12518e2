"""The files of the audit: lines are only ever appended, a new file begins when one is full, the newest files are kept.

A file is named by the sequence number of its first line. A file that is full ends with a line that names the next one,
and each file begins with a line that names the oldest one that is kept. So a missing file is found. At the start the
end of the newest file is examined: what is no chain of whole lines there is torn, stays as it is, and is described by
the next line. The module knows lines and digests. It must not know what a record means.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from ibbridge.security.audit import Head
from ibbridge.security.audit_chain import digest, parsed

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Mapping

NAME = re.compile(r"audit-(\d{12,})\.jsonl")

EXAMINED = 1_048_576
"""Bytes at the end of the newest file that are examined at the start: more than reaches the kernel between two
synchronisations with the disk."""

LONGEST_FIRST = 10_000
"""Bytes of the first line of a file, at most."""

FILE, END, TORN = "file", "end", "torn"
"""Kinds of the lines that are about the files themselves: the first and the last line of a file, and torn bytes."""

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


class Torn(NamedTuple):
    """End of a file that is no chain of whole lines: its place, the digest of its bytes, and if it ends a line."""

    offset: int
    length: int
    digest: str
    is_ended: bool

    def facts(self, name: str) -> dict[str, Any]:
        """Return the facts of the line that describes what is torn in the file of this name."""
        return {"file": name, "offset": self.offset, "length": self.length, "sha256": self.digest}


class Tail(NamedTuple):
    """End of a file: the head of its chain (None if it has no whole line), what follows it, and its last kind.

    `is_bare`: the file has no whole line, and the head is that of a file before it. `is_unended`: its last line is
    whole but for its end.
    """

    head: Head | None = None
    torn: Torn | None = None
    kind: str = ""
    is_bare: bool = False
    is_unended: bool = False


def file_name(seq: int) -> str:
    """Return the name of the file that begins with a sequence number."""
    return f"audit-{seq:012d}.jsonl"


def first_seq(name: str) -> int:
    """Return the sequence number with which a file of this name begins."""
    found = NAME.fullmatch(name)
    return int(found[1]) if found else 0


def files(directory: pathlib.Path) -> list[pathlib.Path]:
    """Return the files of an audit, the oldest first."""
    return sorted((path for path in directory.iterdir() if NAME.fullmatch(path.name)), key=lambda p: first_seq(p.name))


class AuditFile:
    """File of the audit that lines are appended to. `most_bytes` of one file, `most_files` at a time."""

    def __init__(self, directory: pathlib.Path, most_bytes: int, most_files: int) -> None:
        self.directory = directory
        self.most_bytes = most_bytes
        self.most_files = most_files
        self.path = directory
        self.size = 0
        self.oldest = 0
        """The first record that is kept."""
        self.descriptor = -1
        self._inode = (0, 0)

    @property
    def is_open(self) -> bool:
        """True if there is an open file."""
        return self.descriptor >= 0

    @property
    def is_full(self) -> bool:
        """True if the next lines belong into another file."""
        return self.size >= self.most_bytes

    def prepare(self) -> tuple[Tail, str]:
        """Make the directory, and examine the newest file. Return its end, and its name; "" if there is none.

        A newest file without one whole line is passed over for the head of the chain. Raises OSError.
        """
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.directory.chmod(0o700)
        found = files(self.directory)
        if not found:
            return Tail(), ""
        self.oldest = self.oldest or next((oldest for path in reversed(found) if (oldest := _oldest(path))), 0)
        tail = examined(found[-1])
        for path in reversed(found[:-1]):
            if tail.head is not None:
                break
            tail = Tail(examined(path).head, tail.torn, is_bare=True)
        return tail._replace(is_bare=tail.is_bare or tail.head is None), found[-1].name

    def begin(self, name: str) -> None:
        """Append to the file of this name from here on. Raises OSError."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.directory / name
        descriptor = os.open(path, _FLAGS, 0o600)
        try:
            os.fchmod(descriptor, 0o600)
            about = os.fstat(descriptor)
        except OSError:
            os.close(descriptor)
            raise
        self.path, self.descriptor, self.size = path, descriptor, about.st_size
        self._inode = about.st_dev, about.st_ino

    def append(self, data: bytes) -> tuple[int, OSError | None]:
        """Append bytes, in any thread. Return how many the kernel has taken, and the error that kept it from more."""
        written = 0
        try:
            while written < len(data):
                written += self.write(data[written:] if written else data)
        except OSError as error:
            return written, error
        return written, None

    def write(self, data: bytes) -> int:
        """Append bytes. Return how many the kernel has taken, perhaps not all. Raises OSError."""
        written = os.write(self.descriptor, data)
        self.size += written
        return written

    def sync(self, descriptor: int) -> tuple[int, OSError | None]:
        """Have all that was written on the disk, in any thread. Return the error if that failed."""
        try:
            os.fdatasync(descriptor)
            directory = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError as error:
            return 0, error
        return 0, None

    def give_up(self, descriptor: int) -> None:
        """Have a file on the disk, and close it, in any thread. Raises OSError."""
        try:
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)

    def is_gone(self) -> bool:
        """Return True if the file was removed or replaced, or cannot be found."""
        try:
            about = self.path.stat()
        except OSError:
            return True
        return (about.st_dev, about.st_ino) != self._inode

    def oldest_kept(self, seq: int) -> int:
        """Return the first record that is kept when a file has begun with record `seq`. Raises OSError.

        A file that somebody else has removed is kept as far as this goes, so that it is missed.
        """
        found = files(self.directory) if self.directory.exists() else []
        if len(found) >= self.most_files:
            self.oldest = first_seq(found[-self.most_files + 1].name) if self.most_files > 1 else seq
        self.oldest = self.oldest or seq
        return self.oldest

    def remove_old(self) -> list[str]:
        """Remove the oldest files beyond the number that is kept. Return their names. Raises OSError."""
        old = files(self.directory)[: -self.most_files]
        for path in old:
            path.unlink(missing_ok=True)
        return [path.name for path in old]


def examined(path: pathlib.Path, window: int = EXAMINED) -> Tail:
    """Return the end of a file: what follows the last line that chains with the lines before it. Raises OSError."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        while True:
            begin = max(0, size - window)
            file.seek(begin)
            tail = _examined(file.read(size - begin), begin)
            if tail.head is not None or begin == 0:
                return tail
            window *= 8


def _examined(data: bytes, begin: int) -> Tail:
    """Return the end of a file from its last bytes, which begin at an offset."""
    at = data.find(b"\n") + 1 if begin else 0
    head, kind, torn_at = None, "", -1
    while (end := data.find(b"\n", at)) >= 0:
        line = data[at:end]
        record = parsed(line)
        if record is not None and _goes_on(record, head, is_torn=torn_at >= 0):
            head, kind, torn_at = Head(record["seq"], digest(line)), record["kind"], -1
        elif torn_at < 0 and (head is not None or not begin):
            torn_at = at
        at = end + 1
    last = parsed(data[at:])
    if last is not None and torn_at < 0 and head is not None and _goes_on(last, head, is_torn=False):
        return Tail(Head(last["seq"], digest(data[at:])), kind=last["kind"], is_unended=True)
    torn_at = at if torn_at < 0 else torn_at
    rest = data[torn_at:]
    torn = Torn(begin + torn_at, len(rest), digest(rest), rest.endswith(b"\n")) if rest else None
    return Tail(head, torn, kind)


def _oldest(path: pathlib.Path) -> int:
    """Return the oldest record that is kept, as the first line of a file says; 0 if it does not. Raises OSError."""
    with path.open("rb") as file:
        record = parsed(file.readline(LONGEST_FIRST).removesuffix(b"\n"))
    oldest = record.get("oldest") if record is not None and record["kind"] == FILE else None
    return oldest if type(oldest) is int else 0


def _goes_on(record: Mapping[str, Any], head: Head | None, *, is_torn: bool) -> bool:
    """Return True if a record chains with the head. Behind torn bytes only a line that describes them does."""
    chains = head is None or (record["prev"] == head.digest and record["seq"] == head.seq + 1)
    return chains and (not is_torn or record["kind"] == TORN)
