"""Stop signals of the subcommands that serve until SIGTERM or Ctrl-C."""

from __future__ import annotations

import asyncio
import signal


def told(over: asyncio.Event | None = None) -> asyncio.Event:
    """Return an event (`over`, if given) that SIGTERM and Ctrl-C set from now on."""
    event = over or asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, event.set)
    return event
