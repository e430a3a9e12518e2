"""History of one seed: everything that went out of the daemon, as a digest, as messages, and as a trace for people."""

from __future__ import annotations

from collections import Counter
from hashlib import blake2b
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple

import msgpack

if TYPE_CHECKING:
    from collections.abc import Iterator

DURABLE = ("ord", "exec")
"""First components of the streams that a world keeps whole."""


class Heard(NamedTuple):
    """Published message. `process` is the number of the daemon's run, from 1."""

    at: float
    process: int
    topic: str
    body: dict[str, Any]

    @property
    def kind(self) -> str:
        return str(self.body.get("type"))

    @property
    def data(self) -> Any:
        return self.body.get("data")

    @property
    def stream(self) -> str:
        return ".".join(self.topic.split(".")[:2])


class Arrival(NamedTuple):
    """Order that has arrived at TWS as bytes."""

    at: float
    process: int
    order_id: int
    ref: str
    order: dict[str, Any]


class History:
    """Messages, arrivals and faults of one seed."""

    def __init__(self, *, traced: bool) -> None:
        self.heard: list[Heard] = []
        self.arrivals: list[Arrival] = []
        self.faults: list[str] = []
        self.errors: list[str] = []
        """Sentences about what must never happen at all, noticed when it happened."""
        self.marks: Counter[str] = Counter()
        """Catalogue entries that the seed has reached."""
        self.processes = 0
        self.audited = inf
        """Time of the audit: what is said afterwards belongs to the end of the daemon."""
        self.commits_lost = 0
        self.traced = traced
        self.trace: list[str] = []
        self.hidden = b""
        """Start of paths that differ from run to run."""
        self._digest = blake2b(digest_size=16)
        self._kept: dict[str, dict[int, tuple[str, bytes]]] = {}

    # -- what happens

    def record(self, now: float, what: str, data: bytes) -> None:
        """Add bytes to the digest."""
        if self.hidden and self.hidden in data:
            data = data.replace(self.hidden, b"")
        self._digest.update(b"%s %.6f %d " % (what.encode(), now, len(data)))
        self._digest.update(data)

    def note(self, now: float, line: str) -> None:
        """Add a line to the trace."""
        if self.traced:
            self.trace.append(f"{now:10.4f}  {line}")

    def fault(self, now: float, line: str) -> None:
        """Add a fault to the history of faults."""
        self.faults.append(f"{now:10.4f}  {line}")
        self.note(now, f"FAULT {line}")

    def mark(self, *names: str) -> None:
        """Note that the seed has reached entries of the catalogue."""
        self.marks.update(names)

    def digest(self) -> str:
        """Return the digest of all bytes so far."""
        return self._digest.hexdigest()

    # -- messages

    def publish(self, now: float, topic: bytes, packed: bytes) -> Heard:
        """Keep a published message."""
        self.record(now, "pub", topic)
        self.record(now, "body", packed)
        heard = Heard(now, self.processes, topic.decode(), msgpack.unpackb(packed, strict_map_key=False))
        if heard.topic.startswith(DURABLE):
            self.keep(heard.topic, packed, heard.body)
        if heard.kind != "heartbeat":
            self.heard.append(heard)
            if self.traced:
                self.note(now, f"pub   {heard.topic} {brief(heard.data)}")
        return heard

    def keep(self, topic: str, packed: bytes, body: dict[str, Any]) -> None:
        """Keep a message of a durable stream, published or replayed, by its number. Both must be the same."""
        stream = ".".join(topic.split(".")[:2])
        kept = self._kept.setdefault(stream, {})
        if (found := kept.setdefault(body["seq"], (topic, packed))) != (topic, packed):
            if self.commits_lost:
                kept[body["seq"]] = (topic, packed)
            else:
                self.errors.append(
                    f"{stream} has two messages with the number {body['seq']}: {found} and {topic} {packed!r}"
                )

    def forget(self) -> None:
        """Forget the messages of the durable streams."""
        self._kept.clear()

    def numbers(self) -> dict[str, list[int]]:
        """Return the sequence numbers that are known of each durable stream."""
        return {stream: sorted(kept) for stream, kept in self._kept.items()}

    def streams(self, first: str) -> Iterator[tuple[str, Heard]]:
        """Yield owner and message of the durable streams whose first component is `first`, each in its order."""
        for stream, kept in sorted(self._kept.items()):
            kind, owner = stream.split(".", 1)
            if kind == first:
                for _, (topic, packed) in sorted(kept.items()):
                    yield owner, Heard(0.0, 0, topic, msgpack.unpackb(packed, strict_map_key=False))


def brief(data: Any, most: int = 300) -> str:
    """Return data as one short line."""
    text = repr(data)
    return text if len(text) <= most else f"{text[:most]}..."
