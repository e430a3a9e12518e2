"""SIGHUP of a daemon that has not begun to run: held from the first line, so that it reloads later and ends nothing."""

from __future__ import annotations

import signal
import sys


def hold() -> None:
    """Block SIGHUP if this process is to be a daemon. `monitoring.signals` takes it up again."""
    if sys.argv[1:2] == ["run"]:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
