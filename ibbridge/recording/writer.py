"""Writer of recordings: each read or write is queued by one call, and a thread compresses and writes the queue.

Trading never waits for the disk, because `ConnectionTape` only appends to a queue. A disk that fails, fills up or is
too slow ends the recording with an error in the log and in `status`, and has no other effect. Only the owner may read
the files (0600), because they contain account data. This module knows files, a clock and a thread. It must not know the
meaning of the bytes.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pathlib
import re
import threading
import time
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from ibbridge.recording import format as recording_format
from ibbridge.recording.format import HEADER, RecordKind

if TYPE_CHECKING:
    from ibbridge.config.model import RecordConfig, TwsConfig

log = logging.getLogger(__name__)

PERIOD = 0.5
"""Seconds between writes: a killed process loses at most this much."""
MOST_WAITING = 64 * 1024 * 1024
"""Limit of bytes that wait for the disk; more end the recording."""
SUFFIX = ".ibrec"

_BLOCK = 1024 * 1024  # bytes of records; a reader unpacks as many at a time
_PATIENCE = 10.0  # seconds for the last writes, at the end


class RecordingFiles(Protocol):
    """Target of a recording. Failures raise `OSError`."""

    @property
    def current(self) -> str:
        """Path of the current file; "" if there is none."""

    def write(self, data: bytes, now: int) -> None:
        """Append a block, at the time `now` (µs since 1970 UTC)."""

    def close(self) -> None:
        """Close the current file."""


class OneFile:
    """Single file, which the constructor creates. FileExistsError if the file exists already."""

    def __init__(self, path: pathlib.Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self.current = str(path)
        self.size = 0
        self.write(HEADER)

    def write(self, data: bytes, now: int = 0) -> None:
        """Append all of the data."""
        rest = memoryview(data)
        while rest:
            written = os.write(self._descriptor, rest)
            self.size += written
            rest = rest[written:]

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


class Rotated:
    """Rotating files in a directory, which is created if needed: a new file each day (UTC), and after `largest` bytes.

    The oldest files of this name are removed once all of them have more than `keep` bytes.
    """

    def __init__(self, directory: pathlib.Path, name: str, *, largest: int, keep: int) -> None:
        self._directory = directory
        self._name = name
        self._largest = largest
        self._keep = keep
        self._file: OneFile | None = None
        self._day = ""

    @property
    def current(self) -> str:
        """Path of the current file; "" before the first."""
        return self._file.current if self._file else ""

    def write(self, data: bytes, now: int) -> None:
        """Append a block, to a new file if a new day has begun or the current file would become too large."""
        stamp = datetime.fromtimestamp(now / 1e6, UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        if self._file is None or self._day != stamp[:8] or self._file.size + len(data) > self._largest:
            self.close()
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = OneFile(self._directory / f"{self._name}-{stamp}{SUFFIX}")
            self._day = stamp[:8]
            self._prune(self._keep - self._largest)
        self._file.write(data)

    def close(self) -> None:
        """Close the current file, if any."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _prune(self, keep: int) -> None:
        """Remove the oldest files until the others have at most `keep` bytes."""
        ours = re.compile(re.escape(self._name) + r"-\d{8}T\d{6}\.\d{6}Z" + re.escape(SUFFIX))
        for path in sorted((path for path in self._directory.iterdir() if ours.fullmatch(path.name)), reverse=True):
            with contextlib.suppress(FileNotFoundError):  # another program may have removed the file
                keep -= path.stat().st_size
                if keep < 0 and str(path) != self.current:
                    path.unlink()


class Recorder:
    """Recorder of any number of connections. The first connection starts its thread."""

    def __init__(self, files: RecordingFiles) -> None:
        self._files = files
        self._waiting: deque[bytes] = deque()
        self._taken = 0  # bytes queued, written only by the callers of `take`
        self._written = 0  # bytes written to disk, written only by the thread; so neither counter needs a lock
        self._fault = ""
        self._last = 0
        self._stop = threading.Event()
        # A daemon thread: a disk that hangs must not keep a process that wants to end.
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)

    def opened(self, **about: Any) -> ConnectionTape:
        """Record the opening of a connection, with the facts `about` it, and return the connection's tape."""
        if not self._thread.ident:
            self._thread.start()
        self._last = max(_now(), self._last + 1)
        tape = ConnectionTape(self, self._last)
        self.take(RecordKind.OPENED, self._last, self._last, recording_format.told(about))
        return tape

    def take(self, kind: RecordKind, connection: int, ts: int, data: bytes) -> None:
        """Queue one record. `ConnectionTape` calls this method, which takes about a microsecond."""
        if self._fault:
            return
        record = recording_format.pack(kind, connection, ts, data)
        self._taken += len(record)
        self._waiting.append(record)
        if self._taken - self._written > MOST_WAITING:
            self._fail(f"the disk is too slow: {MOST_WAITING} bytes wait to be written")

    def status(self) -> dict[str, Any]:
        """Return the current file, the bytes recorded, the bytes that wait to be written, and the fault, if any."""
        waiting = self._taken - self._written
        return {
            "file": self._files.current or None,
            "recorded": self._taken,
            "waiting": 0 if self._fault else waiting,
            "fault": self._fault or None,
        }

    def close(self) -> None:
        """Write the queue, and end. Wait for the disk for 10 seconds at most."""
        if not self._thread.ident:
            self._files.close()
            return
        self._stop.set()
        self._thread.join(_PATIENCE)
        if self._thread.is_alive():
            self._fail("the disk hangs, and the last records are not on the disk")

    def _fail(self, why: str) -> None:
        self._fault = why
        log.error(
            "recording has stopped: %s. Only the recording is affected; the part in %s can be used. To record again, "
            "remove the cause and restart",
            why,
            self._files.current or "older files",
        )

    # -- the thread

    def _run(self) -> None:
        try:
            ended = False
            while not (ended or self._fault):
                ended = self._stop.wait(PERIOD)
                self._write()
        except OSError as error:
            self._fail(f"{error.strerror or error}: {error.filename or self._files.current}")
        finally:
            self._waiting.clear()
            with contextlib.suppress(OSError):  # a full disk may fail again
                self._files.close()

    def _write(self) -> None:
        """Write the queued records, in blocks."""
        records: list[bytes] = []
        size = 0
        while self._waiting:
            records.append(self._waiting.popleft())
            size += len(records[-1])
            if size >= _BLOCK or not self._waiting:
                self._files.write(recording_format.block(b"".join(records)), _now())
                self._written += size
                records, size = [], 0


class ConnectionTape:
    """Recording of one connection: passes its records to the recorder."""

    __slots__ = ("_connection", "_recorder")

    def __init__(self, recorder: Recorder, connection: int) -> None:
        self._recorder = recorder
        self._connection = connection

    def inbound(self, data: bytes, ts: int = 0) -> None:
        """Record bytes that TWS sent, read at `ts` in µs since 1970 UTC (default: now)."""
        self._recorder.take(RecordKind.INBOUND, self._connection, ts or _now(), data)

    def outbound(self, data: bytes) -> None:
        """Record bytes that are sent to TWS."""
        self._recorder.take(RecordKind.OUTBOUND, self._connection, _now(), data)

    def closed(self, why: str) -> None:
        """Record the end of the connection, and its reason."""
        self._recorder.take(RecordKind.CLOSED, self._connection, _now(), recording_format.told({"why": why}))


def configured(record: RecordConfig, tws: TwsConfig) -> Recorder | None:
    """Return the recorder of the configuration; None if recording is off."""
    if not record.directory:
        return None
    name = f"tws-{tws.host}-{tws.port}-{tws.client_id}"
    size, directory = 1_000_000, pathlib.Path(record.directory).expanduser()
    return Recorder(Rotated(directory, name, largest=record.file_mb * size, keep=record.keep_mb * size))


def _now() -> int:
    return time.time_ns() // 1000
