"""The history of published messages: the newest in memory, the durable ones in a store, and their replay from both.

Durable messages are committed to the store before they are sent. All messages are kept in a ring in memory while there
is room. The module must not know topics, sockets (the caller gives `send`), files (the caller gives a store), or what a
message means.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, NamedTuple, Protocol

from ibbridge.streams.replay_buffer import ReplayBuffer

if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable, Iterable, Sequence

    from ibbridge.streams.sequencer import Channel, Stream


class Row(NamedTuple):
    """Message for the store.

    `identity` names the message's state, if that state is to survive a restart. `key` is the message's order key.
    """

    stream: bytes
    seq: int
    ts: int
    topic: bytes
    body: bytes
    identity: bytes | None
    key: bytes | None = None


class StreamStore(Protocol):
    """Event store for durable messages: the part of `ibbridge.storage.event_store.EventStore` that publishing needs."""

    @property
    def name(self) -> str:
        """The name by which clients tell this store from another."""

    def append(self, rows: Sequence[Row]) -> bool:
        """Commit rows. Return False if the commit failed; the store tries again later."""

    def first(self, stream: bytes) -> int:
        """Return the oldest sequence number of a stream that can be read."""

    def read(self, stream: bytes, first: int, last: int, most: int, most_bytes: int) -> list[tuple[int, bytes, bytes]]:
        """Return sequence number, topic and body of messages, in order."""

    def forget(self, topic: bytes, identity: bytes | None) -> None:
        """Remove a state."""


MOST_REFS = 5_000
"""Most packed refs whose order keys are remembered."""


class Gone(Exception):  # noqa: N818 - an answer, not a failure
    """Replay failure: the first requested message is no longer kept. `first` is the oldest sequence number kept."""

    def __init__(self, first: int) -> None:
        super().__init__(first)
        self.first = first


def _no_key(_: bytes) -> bytes | None:
    return None


class MessageHistory:
    """History of the messages of one publisher: a ring of at most `messages` and `size` bytes, and perhaps a store.

    Without a `store` durable messages are kept in the ring like the rest. `key_name` returns the name of the order key
    in a packed `ref`; None if there is none. `prepare` is called before each commit.
    """

    def __init__(
        self,
        messages: int = 10_000,
        size: int = 2**24,
        store: StreamStore | None = None,
        key_name: Callable[[bytes], bytes | None] = _no_key,
        prepare: Callable[[], None] = lambda: None,
    ) -> None:
        self.ring = ReplayBuffer(messages, size)
        self._store = store
        self._key_name = key_name
        self._key_names: dict[bytes, bytes | None] = {}  # by packed `ref`
        self._prepare = prepare
        self._rows: list[Row] = []
        self._states: set[tuple[bytes, bytes]] = set()  # topics and states of these rows
        self._committed = 0  # how many of the held frames come before the first durable message

    @property
    def store_name(self) -> str | None:
        """The name of the store; None without a store."""
        return self._store.name if self._store else None

    @property
    def uncommitted(self) -> bool:
        """True if durable messages wait for their commit."""
        return bool(self._rows)

    def keep(self, channel: Channel, body: bytes, ts: int, state: bytes | None, before: int) -> None:
        """Have the newest message of a channel committed before it is sent, if its stream is durable.

        `state` names the state that the message is, if the state survives a restart. `before` is the number of held
        frames that come before the message.
        """
        stream = channel.stream
        if self._store is None or not stream.durable:
            return
        if not self._rows:
            self._committed = before
        key = self._key_of(channel.about) if channel.about else None
        self._rows.append(Row(stream.name, stream.seq, ts, channel.topic, body, state, key))
        if state is not None:
            self._states.add((channel.topic, state))

    def _key_of(self, ref: bytes) -> bytes | None:
        if ref not in self._key_names:
            if len(self._key_names) >= MOST_REFS:
                self._key_names.clear()
            self._key_names[ref] = self._key_name(ref)
        return self._key_names[ref]

    def committed(self, stream: bytes, seq: int) -> bytes | None:
        """Return the body of a committed message, empty if it is so old that it is not kept; None if there is none."""
        if self._store is None:
            return None
        if seq < self._store.first(stream):
            return b""
        found = self._store.read(stream, seq, seq, 1, 1)
        return found[0][2] if found else None

    def release(self, held: list[bytes], send: Callable[[list[bytes]], None]) -> None:
        """Keep the held topics and bodies in the ring, and send them in order.

        Messages before the first durable one do not wait for the commit. After a failed commit the messages are sent
        all the same, because clients must learn of a fill. The store tries again, and its `fault` says what is wrong.
        """
        self.ring.extend(held)
        if self._store is None or not self._rows:
            send(held)
            return
        rows, self._rows = self._rows, []
        self._states.clear()
        if self._committed:
            send(held[: self._committed])
        self._prepare()
        self._store.append(rows)
        send(held[self._committed :])

    def forget(self, topic: bytes, states: Iterable[bytes]) -> None:
        """Remove states of a topic from the store, and keep those of messages that wait for their commit out of it."""
        if self._store is not None:
            gone = {(topic, state) for state in states}
            for _, state in gone:
                self._store.forget(topic, state)
            if not gone.isdisjoint(self._states):
                self._rows = [
                    row._replace(identity=None) if (row.topic, row.identity) in gone else row for row in self._rows
                ]
                self._states -= gone

    def trim(self, stream: Stream) -> None:
        """Forget the offsets of a stream's messages that are no longer in the ring."""
        del stream.offsets[: bisect_left(stream.offsets, self.ring.first)]

    def last_body(self, stream: Stream, held: list[bytes]) -> bytes | None:
        """Return the body of a stream's last message, which may be one of those held; None if it is kept no more."""
        self.trim(stream)
        if not stream.offsets:
            return None
        offset = stream.offsets[-1]
        place = 2 * (offset - self.ring.next)
        return held[place + 1] if place >= 0 else next(self.ring.at((offset,)))[1]

    def replay(
        self, stream: Stream, first: int, last: int, most: int, most_bytes: int
    ) -> list[tuple[int, bytes, bytes]]:
        """Return sequence number, topic and body of the messages `first` to `last` of a stream, as they were published.

        The result has at most `most` messages and `most_bytes` bytes, but at least one message. Raise `Gone` if the
        first message is no longer kept.
        """
        last = min(last, stream.seq)
        if first > last:
            return []
        self.trim(stream)
        oldest = in_ring = stream.seq - len(stream.offsets) + 1
        if stream.durable and self._store is not None:
            # The ring may have messages that the store has dropped.
            oldest = min(self._store.first(stream.name), in_ring)
        if first < oldest:
            raise Gone(oldest)
        if first < in_ring and self._store is not None:
            return self._store.read(stream.name, first, min(last, in_ring - 1), most, most_bytes)
        offsets = stream.offsets[first - in_ring : min(last + 1, first + most) - in_ring]
        return self._from_ring(offsets, first, most_bytes)

    def _from_ring(self, offsets: array[int], first: int, most_bytes: int) -> list[tuple[int, bytes, bytes]]:
        found: list[tuple[int, bytes, bytes]] = []
        for seq, (topic, body) in enumerate(self.ring.at(offsets), first):
            most_bytes -= len(body)
            if most_bytes < 0 and found:
                break
            found.append((seq, topic, body))
        return found
