"""What subcommands that serve have in common: they run until they are told to stop."""

from __future__ import annotations

import asyncio
import signal


def told(over: asyncio.Event | None = None) -> asyncio.Event:
    """Set by SIGTERM and Ctrl-C from here on; `over` if that is given."""
    event = over or asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, event.set)
    return event
