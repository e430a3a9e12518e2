"""The table of exit codes of `ibbridge`: the meaning of each, and the service manager's response to it.

The units in `systemd/` list the codes that are not restarted (`RestartPreventExitStatus=`), and docs/operations.md has
the whole table. Tests hold both to this one.
"""

from __future__ import annotations

from typing import NamedTuple

DONE = 0
FAILED = 1
WRONG = 2
INTERRUPTED = 130


class ExitCode(NamedTuple):
    """Exit code: the cause of such an end, and True if the service manager starts the daemon again."""

    number: int
    cause: str
    restarts: bool


EXIT_CODES = (
    # systemd asks for no restart after its own `stop`; any other signal was somebody's mistake.
    ExitCode(DONE, "a signal has ended it in good order", restarts=True),
    # A failure may pass: an endpoint or a store is free when the process that has it is gone, an address comes with its
    # network, a disk is repaired. And who waits for an operator at night waits for long.
    ExitCode(
        FAILED,
        "a bug, a thread of the bus that has ended, or an endpoint or a store that cannot be opened, because another "
        "process has it for example; the last lines of the log say which",
        restarts=True,
    ),
    # The same text has the same faults at the next start.
    ExitCode(
        WRONG,
        "the configuration, a policy, a key file or the command line is wrong; each fault is on standard error",
        restarts=False,
    ),
    ExitCode(INTERRUPTED, "Ctrl-C has ended a program of the command line, or `run` before it has read its settings",
             restarts=True),
)  # fmt: skip
