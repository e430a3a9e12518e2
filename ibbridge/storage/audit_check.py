"""The check of an audit: reads all of its files once, line by line, and says in plain words what is not as it was.

A chain without a secret can be made anew by whoever may write the files. So the check also compares with a head that
was noted elsewhere, if one is given: the record of that number must be there, with that digest. Memory stays small,
however large the files are.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from ibbridge.security.audit import FIRST, Head
from ibbridge.security.audit_chain import digest, parsed
from ibbridge.storage.audit_file import END, FILE, TORN, files, first_seq

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Mapping

MOST_BREAKS = 1_000
"""Breaks that are described; further ones are counted."""

LONGEST_LINE = 64 * 2**20
"""Bytes of a line beyond which it is taken for no line, so that a file without line ends is not read as a whole."""

SET_BACK = 1_000_000
"""Microseconds by which a record may be older than the one before without a word."""


class LinePlace(NamedTuple):
    """Place of a line: its file, its number in the file, and the offset of its first byte."""

    file: str = ""
    line: int = 0
    offset: int = 0

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}" if self.line else self.file


class Break(NamedTuple):
    """Break: the place where the audit is not as it was written, and what is wrong there."""

    place: LinePlace
    what: str


@dataclass(slots=True)
class Findings:
    """Findings of a check. The audit is whole if there are no breaks; `notes` are no faults."""

    files: list[str] = field(default_factory=list)
    records: int = 0
    first: int = 0
    last: int = 0
    first_seq: int = 0
    head: Head = field(default_factory=Head)
    kinds: Counter[str] = field(default_factory=Counter)
    breaks: list[Break] = field(default_factory=list)
    more_breaks: int = 0
    notes: list[Break] = field(default_factory=list)
    set_back: int = 0
    end: str = ""


class _Region:
    """Bytes that do not go on the chain, from their first on: a later line may describe them as torn."""

    def __init__(self, offset: int, found: Findings) -> None:
        self.offset, self.head = offset, found.head
        self._breaks, self._more = len(found.breaks), found.more_breaks
        self._sha256 = hashlib.sha256()
        self._length = 0
        self._unended = self._sha256  # without the last byte: the daemon adds an end of line to torn bytes

    def add(self, raw: bytes) -> None:
        """Add a line with its end."""
        self._unended = self._sha256.copy()
        self._unended.update(raw[:-1])
        self._sha256.update(raw)
        self._length += len(raw)

    def is_described_by(self, record: Mapping[str, Any]) -> bool:
        """Return True if a record describes exactly these bytes."""
        if record["kind"] != TORN or record["prev"] != self.head.digest or record.get("offset") != self.offset:
            return False
        told = record.get("length"), record.get("sha256")
        return told in (
            (self._length, self._sha256.hexdigest()),
            (self._length - 1, self._unended.hexdigest()),
        )

    def forgive(self, found: Findings) -> None:
        """Take back what was found in these bytes."""
        del found.breaks[self._breaks :]
        found.head, found.more_breaks = self.head, self._more


class AuditCheck:
    """Check of an audit. `wanted` is a head that was noted elsewhere."""

    def __init__(self, wanted: Head | None = None) -> None:
        self.found = Findings()
        self._wanted = wanted
        self._is_met = False
        self._oldest = 0
        self._next = ""  # the file that a last line names
        self._region: _Region | None = None
        self._is_first = True  # no record was read in this file
        self._unfinished: tuple[LinePlace, int] | None = None

    def begin_file(self, name: str) -> None:
        """Begin a file. The files come in their order."""
        if self._unfinished is not None:
            self._break(self._unfinished[0], "the line has no end, and another file follows: its rest was cut off")
        if self._next and self._next != name:
            self._break(LinePlace(name), f"the file {self._next}, which the one before names as the next, is missing")
        self.found.files.append(name)
        self._next, self._region, self._is_first, self._unfinished = "", None, True, None

    def line(self, place: LinePlace, raw: bytes) -> None:
        """Take a line with its end."""
        if not raw.endswith(b"\n"):
            self._unfinished = place, len(raw)
            return
        line = raw[:-1]
        record = parsed(line)
        if record is not None and self._region is not None and self._region.is_described_by(record):
            self._region.forgive(self.found)
            self._note(place, f"{record['length']} bytes before it are torn, as a kill or a loss of power leaves them")
            self._region = None
        why = self._unchained(place, record) if record is not None else f"{len(raw)} bytes are no record"
        if why:
            self._region = self._region or _Region(place.offset, self.found)
            self._break(place, why)
        if self._region is not None:
            self._region.add(raw)
        if record is not None:
            self._take(place, record, Head(record["seq"], digest(line)))

    def end(self) -> Findings:
        """End the check, and return what was found."""
        found, last = self.found, LinePlace(self.found.files[-1] if self.found.files else "")
        if self._unfinished is not None:
            self._note(self._unfinished[0], f"the last line is unfinished ({self._unfinished[1]} bytes)")
        if self._next:
            self._break(last, f"the file {self._next}, which it names as the next, is missing")
        if found.records and self._oldest and found.first_seq > self._oldest:
            self._break(LinePlace(found.files[0]), f"{_range(self._oldest, found.first_seq - 1)} missing before it")
        if not found.records:
            self._break(last, "there is no record")
        elif self._wanted is not None and not self._is_met:
            self._miss(self._wanted, last)
        return found

    def _miss(self, wanted: Head, last: LinePlace) -> None:
        """Say why the record that was noted is not there."""
        found = self.found
        if wanted.seq < found.first_seq:
            self._note(last, f"record {wanted.seq}, which was noted, is older than what is kept")
        elif wanted.seq > found.head.seq:
            self._break(last, f"{_range(found.head.seq + 1, wanted.seq)} missing: the end was cut off")
        else:
            self._break(last, f"record {wanted.seq}, which was noted, is missing")

    def _take(self, place: LinePlace, record: Mapping[str, Any], head: Head) -> None:
        found, kind, ts = self.found, record["kind"], record["ts"]
        found.first_seq = found.first_seq or head.seq
        found.first = found.first or ts
        found.set_back += ts < found.last - SET_BACK
        found.last, found.head = ts, head
        found.records += 1
        found.kinds[kind] += 1
        self._is_first = False
        self._next = str(record.get("next", "")) if kind == END else ""
        if kind == FILE and isinstance(record.get("oldest"), int):
            self._oldest = record["oldest"]
        found.end = str(record.get("act", "")) if kind == "operator" else ""
        if self._wanted is not None and head.seq == self._wanted.seq:
            self._is_met = True
            if head.digest != self._wanted.digest:
                self._break(place, f"record {head.seq} is not the one that was noted: its digest is {head.digest}")

    def _unchained(self, place: LinePlace, record: Mapping[str, Any]) -> str:
        """Return why a record does not go on the chain; empty if it does."""
        last, seq, kind = self.found.head, record["seq"], record["kind"]
        if self._is_first and kind not in (FILE, TORN):
            return f"the file does not begin with a line about itself, but with record {seq}"
        if self._is_first and kind == FILE and first_seq(place.file) != seq:
            return f"the file begins with record {seq}, and not with the one of its name"
        if not self.found.records:
            return "record 1 names a record before it" if seq == 1 and record["prev"] != FIRST else ""
        if seq > last.seq + 1:
            return f"{_range(last.seq + 1, seq - 1)} missing before it"
        if seq <= last.seq:
            return f"record {seq} comes after record {last.seq}: lines were moved, repeated or replaced"
        if record["prev"] != last.digest:
            return f"record {seq} does not name the record before it: one of the two was changed"
        return ""

    def _break(self, place: LinePlace, what: str) -> None:
        if len(self.found.breaks) < MOST_BREAKS:
            self.found.breaks.append(Break(place, what))
        else:
            self.found.more_breaks += 1

    def _note(self, place: LinePlace, what: str) -> None:
        if len(self.found.notes) < MOST_BREAKS:
            self.found.notes.append(Break(place, what))


def checked(directory: pathlib.Path, wanted: Head | None = None) -> Findings:
    """Check the audit in a directory. Raises OSError if the directory cannot be read."""
    check = AuditCheck(wanted)
    for path in files(directory):
        check.begin_file(path.name)
        number = offset = 0
        with path.open("rb") as file:
            while raw := file.readline(LONGEST_LINE):
                number += 1
                check.line(LinePlace(path.name, number, offset), raw)
                offset += len(raw)
    return check.end()


def _range(first: int, last: int) -> str:
    return f"record {first} is" if first == last else f"records {first} to {last} are"
