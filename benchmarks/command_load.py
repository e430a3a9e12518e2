"""A client that sends commands and looks at the clock. Made and ended by `snapshots`.

Told `{ping, seconds, rate}` it sends so many pings a second, told `{snapshot, seconds}` it takes one whole snapshot
after the other. The answer are round trips in seconds: of each ping, or of each page.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from harness import Caller
from processes import hear, say


def pings(caller: Caller, rate: float, seconds: float) -> dict[str, Any]:
    """One that is late because of the one before is sent at once; its own time is what counts."""
    times = []
    began = time.monotonic()
    for number in range(int(rate * seconds)):
        time.sleep(max(0.0, began + number / rate - time.monotonic()))
        sent = time.monotonic()
        caller.result("ping")
        times.append(time.monotonic() - sent)
    return {"times": times}


def snapshots(caller: Caller, seconds: float) -> dict[str, Any]:
    """Pages, until the time is over and a snapshot is whole."""
    times: list[float] = []
    topics: set[bytes] = set()
    whole, most, until = 0, 0, time.monotonic() + seconds
    while time.monotonic() < until:
        topics.clear()
        messages = 0
        after: dict[str, str] | None = {}
        while after is not None:
            sent = time.monotonic()
            page = caller.result("snapshot", prefix="md.", **after)
            times.append(time.monotonic() - sent)
            for stream in page["streams"]:
                topics.update(topic for topic, _ in stream["messages"])
                messages += len(stream["messages"])
            after = {"after": page["next"]} if page["next"] else None
        whole, most = whole + 1, max(most, messages)
    return {"times": times, "snapshots": whole, "topics": len(topics), "messages": most}


def main() -> None:
    """Do as told, until the parent is gone."""
    with Caller(sys.argv[1]) as caller:
        while True:
            told = hear(patience=None)
            if "ping" in told:
                say(**pings(caller, told["rate"], told["seconds"]))
            else:
                say(**snapshots(caller, told["seconds"]))


if __name__ == "__main__":
    main()
