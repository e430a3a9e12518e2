"""The table of signals: for each that Linux has and a process can catch, what the daemon does when it is sent one.

Three answers: end as SIGTERM ends it, read the configuration again, go on. Only those that say that the process itself
is broken (SIGSEGV and its like) keep what the kernel does: a state that cannot be trusted is not carried on.
"""

from __future__ import annotations

import signal
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable


class Response(Enum):
    """What the daemon does about a signal."""

    END = "ends"
    """Stops taking new work, lets accepted orders leave, says bye, exits 0. Sent a second time: does not wait."""
    RELOAD = "reloads"
    """Reads its configuration again."""
    IGNORE = "ignored"
    """Nothing happens."""
    DEFAULT = "the kernel's"
    """What the kernel does: nothing, or an end with a core dump."""


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
    "SIGPIPE": Response.IGNORE,  # writing says so too
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
"""By name, as systems have different ones. Real-time signals are ignored; SIGKILL and SIGSTOP cannot be caught."""


def numbers(response: Response) -> list[signal.Signals | int]:
    """Return the signals of this system that have this response."""
    named: list[signal.Signals | int] = [
        getattr(signal, name) for name, each in RESPONSES.items() if each is response and hasattr(signal, name)
    ]
    real_time = response is Response.IGNORE and hasattr(signal, "SIGRTMIN")
    return [*named, *range(signal.SIGRTMIN, signal.SIGRTMAX + 1)] if real_time else named


def prepare() -> None:
    """Ignore what is to be ignored, and hold back the rest until `attach`: nothing ends a process that is starting."""
    for number in numbers(Response.IGNORE):
        signal.signal(number, signal.SIG_IGN)
    _mask(signal.SIG_BLOCK, Response.RELOAD)
    _mask(signal.SIG_BLOCK, Response.END)


def attach(loop: asyncio.AbstractEventLoop, end: Callable[[], None], reload: Callable[[], None]) -> None:
    """Have the loop call `end` and `reload`, also for what was held back since `prepare`."""
    for number in numbers(Response.END):
        loop.add_signal_handler(number, end)
    for number in numbers(Response.RELOAD):
        loop.add_signal_handler(number, reload)
    _mask(signal.SIG_UNBLOCK, Response.END)
    _mask(signal.SIG_UNBLOCK, Response.RELOAD)


def hold_reloads() -> None:
    """Hold back SIGHUP from here on: a process that is about to end has nothing to reload, and shall not be killed."""
    _mask(signal.SIG_BLOCK, Response.RELOAD)


def _mask(how: int, response: Response) -> None:
    signal.pthread_sigmask(how, _plain(numbers(response)))


def _plain(given: Iterable[signal.Signals | int]) -> set[int]:
    return set(map(int, given))
