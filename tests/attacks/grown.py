"""Memory that the core keeps of requests that are over: prints the bytes before and after, as JSON.

The program uses the daemon's parts and its garbage collection, without sockets and time.
"""

from __future__ import annotations

import json
import os
import sys

from ibbridge.daemon import settle
from ibbridge.streams.replay_buffer import ReplayBuffer
from tests.attacks.bystanders import memory
from tests.support.daemon_core import AAPL, Middle

WARM = 30_000
"""Requests after which what is bounded by number, or remembered for ten minutes, has been as large as it gets."""


def one(middle: Middle, what: str, number: int) -> None:
    """Make a request of this kind, and end it."""
    symbol = {**AAPL, "symbol": f"S{number}"}
    if what == "names":
        middle.call({"id": number, "cmd": "reqCurrentTime", "client": f"c{number}"})
        middle.hear("currentTime", time=1)
        return
    asked = middle.call({"id": number, "cmd": "reqMktData", "client": "a", "args": {"contract": symbol}})
    assert asked["ok"], asked
    if what == "refused":
        middle.error(middle.last_id(), 200, "No security definition has been found for the request")
    else:
        middle.tick(middle.last_id())
        middle.call({"id": -number, "cmd": "cancelMktData", "client": "a", "args": {"id": number}})


def run(middle: Middle, what: str, first: int, count: int) -> None:
    """Make and end so many requests, forty a second, and let eleven minutes pass."""
    for number in range(first, first + count):
        one(middle, what, number)
        if number % 40 == 0:
            beat(middle, 1)
    for _ in range(660):
        beat(middle, 1)


def beat(middle: Middle, seconds: float) -> None:
    """Do what the daemon does with each heartbeat, so many seconds after the last."""
    middle.link.sent.clear()
    middle.published.clear()
    middle.pass_time(seconds)
    middle.commands.tick()
    middle.streams.seqs()
    middle.streams.tick()
    settle()


def main(what: str, count: int) -> None:
    """Print the memory before and after so many requests."""
    middle = Middle(share=1_000_000)
    middle.streams._history.ring = ReplayBuffer(1000, 2**20)
    run(middle, what, 1, WARM)
    before = memory(os.getpid())
    run(middle, what, 1 + WARM, count)
    print(json.dumps([before, memory(os.getpid())]))  # noqa: T201 - the test reads it


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
