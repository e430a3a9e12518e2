"""Subscriber in plain pyzmq: receives messages, then checks that none is missing. Started and ended by `harness`.

While receiving, the subscriber does nothing else: two `recv`s, and a look at the clock where latency is measured. The
messages are checked afterwards: a relay's frames by their checksum, a daemon's messages by sequence number and type.
"""

from __future__ import annotations

import argparse
import contextlib
import time
import zlib
from collections import Counter
from typing import Any

import msgpack
import zmq
from expected_messages import CLASSES
from processes import PATIENCE, say


class Inbox:
    """Received messages. A message that does not come in time ends the wait for the others."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self._recv = socket.recv
        self.topics: list[bytes] = []
        self.bodies: list[bytes] = []
        self.stamps: list[int] = []

    def burst(self, count: int) -> None:
        """Receive `count` messages, and stamp the time of the last one (ns, monotonic)."""
        recv, topics, bodies = self._recv, self.topics.append, self.bodies.append
        with contextlib.suppress(zmq.Again):
            for _ in range(count):
                topics(recv())
                bodies(recv())
        self.stamps.append(time.monotonic_ns())

    def stamped(self, count: int) -> None:
        """Receive `count` messages, and stamp the time of each one (ns, monotonic)."""
        recv, topics, bodies, stamp, now = (
            self._recv, self.topics.append, self.bodies.append, self.stamps.append, time.monotonic_ns
        )  # fmt: skip
        with contextlib.suppress(zmq.Again):
            for _ in range(count):
                topics(recv())
                bodies(recv())
                stamp(now())


def faults_of_daemon(topics: list[bytes], messages: list[dict[str, Any]]) -> list[str]:
    """Return the first fault in the messages of a daemon: a hole in a stream, a wrong order, a wrong topic."""
    seqs: dict[bytes, int] = {}
    offset = 0
    for topic, message in zip(topics, messages, strict=True):
        stream = b".".join(topic.split(b".")[:2])
        due = seqs.get(stream, message["seq"] - 1) + 1
        if message["seq"] != due:
            return [f"{stream.decode()}: {message['seq']} where {due} was due"]
        seqs[stream] = due
        if message["offset"] <= offset:
            return [f"offset {message['offset']} after {offset}"]
        if topic.split(b".")[-2].decode() != message["type"]:
            return [f"{message['type']} on {topic.decode()}"]
        offset = message["offset"]
    return []


def main() -> None:
    """Receive and check the messages, and report to the parent."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--messages", type=int, required=True)
    parser.add_argument("--more", type=int, default=0, help="of its kind that come later, and are welcomed as well")
    parser.add_argument("--skip", type=int, default=0, help="messages that come before those that count")
    parser.add_argument("--stamped", action="store_true", help="look at the clock for each message")
    parser.add_argument("--raw", action="store_true", help="bodies are frames, not msgpack")
    options = parser.parse_args()
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.set(zmq.RCVHWM, 0)
        socket.set(zmq.LINGER, 0)
        socket.set(zmq.RECONNECT_IVL, 10)
        socket.set(zmq.RCVTIMEO, int(PATIENCE * 1000))
        socket.connect(options.endpoint)
        for each in CLASSES:
            socket.subscribe(f"{each}.".encode())
        for _ in CLASSES:
            socket.recv_multipart()  # the welcome: no message is missed from here on
        say(subscribed=True)
        for _ in range(options.more * len(CLASSES)):
            socket.recv_multipart()
        socket.set(zmq.RCVTIMEO, 10_000)
        if options.skip:
            for _ in range(2 * options.skip):
                socket.recv()
            say(skipped=options.skip)
        inbox = Inbox(socket)
        (inbox.stamped if options.stamped else inbox.burst)(options.messages)
    about: dict[str, Any] = {"received": len(inbox.bodies), "stamps": inbox.stamps, "faults": []}
    if options.raw:
        about["crc"] = zlib.crc32(b"".join(inbox.bodies))
    else:
        messages = [msgpack.unpackb(body) for body in inbox.bodies]
        about["types"] = Counter(message["type"] for message in messages)
        about["faults"] = faults_of_daemon(inbox.topics, messages)
    say(**about, bytes=sum(map(len, inbox.bodies)) / (len(inbox.bodies) or 1))


if __name__ == "__main__":
    main()
