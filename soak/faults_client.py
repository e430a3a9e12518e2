"""Subscribers of a daemon with a faulty TWS, which account for every message. Started by `soak_faults`.

`all` receives everything: each sequence number and each offset must be the next one. `library` is the Python client:
the client must either deliver each message or report it as lost.
"""

from __future__ import annotations

import argparse
import pathlib
import select
import sys
from collections import Counter
from typing import Any

import msgpack
import zmq

sys.path.append(str(pathlib.Path(__file__).parents[1] / "benchmarks"))  # the harness and the feeder

from processes import end_cleanly, hear, say

from ibbridge.client import Feed, Gap, Restart

CLASSES = ("md", "ord", "exec", "acct", "req", "news", "sys")


class Wrong(Exception):  # noqa: N818 - the finding of a soak
    """A message that is missing, or that came twice."""


class Account:
    """Account of the sequence numbers of each stream."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.last: dict[str, int] = {}

    def take(self, stream: str, first: int, last: int, kind: str) -> None:
        """Note that these sequence numbers were received, or reported as lost. Raises `Wrong` if others are missing."""
        before = self.last.get(stream)
        if before is not None and first != before + 1:
            raise Wrong(f"{stream}: {first} behind {before}")
        self.last[stream] = last
        self.counts["messages" if first == last else "lost"] += last - first + 1
        self.counts[kind] += 1


class Everything:
    """Subscriber of everything with a plain SUB socket."""

    def __init__(self, pub: str) -> None:
        self.account = Account()
        self.offset: int | None = None
        self._context = zmq.Context()
        self._sub = self._context.socket(zmq.SUB)
        self._sub.set(zmq.RCVHWM, 0)
        self._sub.subscribe(b"")
        self._sub.connect(pub)

    def close(self) -> None:
        """Hear no more."""
        self._context.destroy(linger=0)

    def step(self) -> None:
        """Receive the messages that are there, after a short wait for the first one."""
        if not self._sub.poll(100):
            return
        for _ in range(1000):
            try:
                topic, packed = self._sub.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            self._hear(topic.decode(), msgpack.unpackb(packed, strict_map_key=False))

    def _hear(self, topic: str, body: dict[str, Any]) -> None:
        if body["type"] == "welcome":
            self.offset = body["offset"] if self.offset is None else self.offset
        elif body["type"] != "heartbeat" and self.offset is not None:
            if body["offset"] != self.offset + 1:
                raise Wrong(f"{topic}: offset {body['offset']} behind {self.offset}")
            self.offset = body["offset"]
            self.account.take(".".join(topic.split(".")[:2]), body["seq"], body["seq"], body["type"])


class Library:
    """Subscriber with the Python client, which requests replays of missed messages."""

    def __init__(self, pub: str, rep: str) -> None:
        self.account = Account()
        self.offset = 0
        self._context = zmq.Context()
        self._feed = Feed(self._context, pub, rep)
        self._feed.subscribe([f"{each}." for each in CLASSES])

    def close(self) -> None:
        """Hear no more."""
        self._feed.close()
        self._context.destroy(linger=0)

    def step(self) -> None:
        """Receive one message, after a short wait."""
        message = self._feed.receive(0.1)
        if isinstance(message, Restart):
            raise Wrong("the daemon has begun anew")
        if isinstance(message, Gap):
            self.account.take(message.stream.rstrip("."), message.first, message.last, "gaps told")
        elif message is not None and message.seq:
            self.offset = max(self.offset, message.offset)
            stream = ".".join(message.topic.split(".")[:2])
            # State messages at the beginning or after a loss do not continue the sequence.
            if "replayed" not in message.flags or message.seq == self.account.last.get(stream, -2) + 1:
                self.account.take(stream, message.seq, message.seq, message.type)


def main() -> None:
    """Account for messages up to the offset that the parent names, and report the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("role", choices=["all", "library"])
    parser.add_argument("--pub", required=True)
    parser.add_argument("--rep", required=True)
    given = parser.parse_args()
    end_cleanly()
    one = Everything(given.pub) if given.role == "all" else Library(given.pub, given.rep)
    say(begun=True)
    try:
        until = None
        while until is None or (one.offset or 0) < until:
            one.step()
            if until is None and select.select([sys.stdin], [], [], 0)[0]:
                until = hear()["until"]
    except Wrong as error:
        say(wrong=str(error))
    else:
        say(counts=dict(one.account.counts))
    finally:
        one.close()


if __name__ == "__main__":
    main()
