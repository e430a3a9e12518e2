"""The format of the log's lines, for people and for systemd's journal.

Pure, but for one look at a descriptor. The module must not know where the lines go.
"""

from __future__ import annotations

import logging
import os

from ibbridge.monitoring.printable import printable

LONGEST = 8_192
"""Most characters of one message. Error texts of TWS have a tenth of that."""

_PRIORITIES = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_CRITICAL, _DEBUG = 2, 7


class LogFormatter(logging.Formatter):
    """Formatter of lines for people. For the journal a line has its priority in front (`<4>`), and no time."""

    def __init__(self, *, journal: bool = False) -> None:
        super().__init__()
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as lines: one for the message, further ones for an exception."""
        said = f"{record.name}: {printable(record.getMessage(), LONGEST)}"
        lines = [said if self._journal else f"{self.formatTime(record)} {record.levelname:<7} {said}"]
        if record.exc_info:
            lines += map(printable, self.formatException(record.exc_info).splitlines())
        return "\n".join(self.marked(line, record.levelno) for line in lines)

    def marked(self, line: str, level: int) -> str:
        """Return a line with its priority for the journal; without a journal, the line as it is."""
        return f"<{priority(level)}>{line}" if self._journal else line


def priority(level: int) -> int:
    """Return syslog's priority for a level of `logging`: 2 critical, 3 error, 4 warning, 6 info, 7 debug."""
    if level >= logging.CRITICAL:
        return _CRITICAL
    return next((number for least, number in _PRIORITIES if level >= least), _DEBUG)


def to_journal(file: int) -> bool:
    """Return True if `file` leads to systemd's journal, whose device and inode are in JOURNAL_STREAM."""
    try:
        about = os.fstat(file)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM", "") == f"{about.st_dev}:{about.st_ino}"
