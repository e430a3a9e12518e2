"""Client process that sends commands and measures their round trips. Started and ended by `snapshots`.

On `{ping, seconds, rate}` the client sends `rate` pings a second. On `{snapshot, seconds}` it takes one complete
snapshot after another. The answer has the round trips in seconds: of each ping, or of each page.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from harness import Caller
from processes import hear, say


def pings(caller: Caller, rate: float, seconds: float) -> dict[str, Any]:
    """Ping at a fixed rate and return the round trips. A late ping is sent at once, and its delay not counted."""
    times = []
    began = time.monotonic()
    for number in range(int(rate * seconds)):
        time.sleep(max(0.0, began + number / rate - time.monotonic()))
        sent = time.monotonic()
        caller.result("ping")
        times.append(time.monotonic() - sent)
    return {"times": times}


def snapshots(caller: Caller, seconds: float) -> dict[str, Any]:
    """Take snapshots until the time is over and the last snapshot is complete. Return the round trip of each page."""
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
    """Execute the parent's orders until the parent is gone."""
    with Caller(sys.argv[1]) as caller:
        while True:
            told = hear(patience=None)
            if "ping" in told:
                say(**pings(caller, told["rate"], told["seconds"]))
            else:
                say(**snapshots(caller, told["seconds"]))


if __name__ == "__main__":
    main()
