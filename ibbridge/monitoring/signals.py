"""The table of signals: the daemon's response to each signal that Linux has and a process can catch.

The daemon ends (as for SIGTERM), reads its configuration again, or goes on. Signals of a broken process (SIGSEGV and
the like) keep the kernel's response, because the process must not go on with a state that cannot be trusted.
"""

from __future__ import annotations

import signal
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable


class Response(Enum):
    """Response of the daemon to a signal."""

    END = "ends"
    """Take no new work, let accepted orders leave, publish `bye`, exit with 0. A second signal ends the waiting."""
    RELOAD = "reloads"
    """Read the configuration again."""
    IGNORE = "ignored"
    """Do nothing."""
    DEFAULT = "the kernel's"
    """Leave the signal to the kernel, which does nothing, or ends the process with a core dump."""


RESPONSES = {
    "SIGTERM": Response.END,
    "SIGINT": Response.END,
    "SIGQUIT": Response.END,  # Ctrl-\
    "SIGPWR": Response.END,
    "SIGXCPU": Response.END,  # the kernel kills at the hard limit, some seconds later
    "SIGHUP": Response.RELOAD,
    "SIGUSR1": Response.IGNORE,  # other daemons reopen their log files
    "SIGUSR2": Response.IGNORE,
    "SIGALRM": Response.IGNORE,  # timers, of which the daemon sets none
    "SIGVTALRM": Response.IGNORE,
    "SIGPROF": Response.IGNORE,
    "SIGPIPE": Response.IGNORE,  # the write fails with an error as well
    "SIGXFSZ": Response.IGNORE,
    "SIGIO": Response.IGNORE,
    "SIGSTKFLT": Response.IGNORE,
    "SIGTSTP": Response.IGNORE,  # Ctrl-Z would stop heartbeats, cancels and market data for everybody
    "SIGTTIN": Response.IGNORE,
    "SIGTTOU": Response.IGNORE,  # a background process that logs to its terminal (stty tostop)
    "SIGCHLD": Response.DEFAULT,
    "SIGCONT": Response.DEFAULT,
    "SIGURG": Response.DEFAULT,
    "SIGWINCH": Response.DEFAULT,
    "SIGILL": Response.DEFAULT,
    "SIGTRAP": Response.DEFAULT,
    "SIGABRT": Response.DEFAULT,
    "SIGBUS": Response.DEFAULT,
    "SIGFPE": Response.DEFAULT,
    "SIGSEGV": Response.DEFAULT,
    "SIGSYS": Response.DEFAULT,
}
"""Responses by signal name, because systems have different signals. Real-time signals are ignored; SIGKILL and SIGSTOP
cannot be caught."""


def numbers(response: Response) -> list[signal.Signals | int]:
    """Return the signals of this system that have a response."""
    named: list[signal.Signals | int] = [
        getattr(signal, name) for name, known in RESPONSES.items() if known is response and hasattr(signal, name)
    ]
    real_time = response is Response.IGNORE and hasattr(signal, "SIGRTMIN")
    return [*named, *range(signal.SIGRTMIN, signal.SIGRTMAX + 1)] if real_time else named


def prepare() -> None:
    """Ignore the signals to be ignored, and block the others until `attach`, so that none ends a starting process."""
    for number in numbers(Response.IGNORE):
        signal.signal(number, signal.SIG_IGN)
    _mask(signal.SIG_BLOCK, Response.RELOAD)
    _mask(signal.SIG_BLOCK, Response.END)


def attach(loop: asyncio.AbstractEventLoop, end: Callable[[str], None], reload: Callable[[str], None]) -> None:
    """Have the loop call `end` and `reload` with the name of their signal, also of those blocked since `prepare`."""
    for response, callback in ((Response.END, end), (Response.RELOAD, reload)):
        for number in numbers(response):
            loop.add_signal_handler(number, callback, signal.Signals(number).name)
    _mask(signal.SIG_UNBLOCK, Response.END)
    _mask(signal.SIG_UNBLOCK, Response.RELOAD)


def hold_reloads() -> None:
    """Block SIGHUP from here on: an ending process has nothing to reload, and SIGHUP must not kill it."""
    _mask(signal.SIG_BLOCK, Response.RELOAD)


def _mask(how: int, response: Response) -> None:
    signal.pthread_sigmask(how, _plain(numbers(response)))


def _plain(given: Iterable[signal.Signals | int]) -> set[int]:
    return set(map(int, given))
