"""Expected messages: the messages that the feeder sends, and the messages that a subscriber must receive for them.

The feeder sends a block of messages again and again. So the stream and the sequence number of a message determine its
data, and a receiver can check every message, also a late one, in a replay or in a snapshot.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import durable_messages
import msgpack
from ticks import contract, ticks

from ibbridge.codec import Dialect, Message
from ibbridge.protocol import topics
from ibbridge.protocol.instrument_key import instrument_key

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

BLOCK = 20_000
"""Messages of the block that the feeder repeats."""

DURABLE = 0.01
"""Default share of messages that go to disk."""

CLASSES = ("md", *durable_messages.CLASSES)
"""First topic components of the messages."""

# The identity of the values that one topic can hold, after docs/messages.md.
_IDENTITY = {
    "updateAccountValue": lambda data: (data["key"], data["currency"]),
    "updatePortfolio": lambda data: data["contract"]["conId"],
    "openOrder": lambda _: None,
    "orderStatus": lambda _: None,
    "execDetails": None,
}


def mix(ids: Sequence[int], count: int, durable: float, seed: int = 1) -> list[Message]:
    """Return `count` messages: ticks for the requests `ids`, and a share of `durable` messages that go to disk."""
    chance = random.Random(seed)
    lines = ticks(ids, count, seed)
    return [durable_messages.durable(chance) if chance.random() < durable else tick for tick in lines]


class Stream:
    """Messages of one stream in a block (topics and packed data), with the places of each identity."""

    def __init__(self) -> None:
        self.messages: list[tuple[bytes, bytes]] = []
        self._places: dict[tuple[bytes, Hashable], list[int]] = {}

    def add(self, topic: bytes, data: Mapping[str, Any], identity: Hashable, *, event: bool) -> None:
        """Add the next message."""
        if not event:
            self._places.setdefault((topic, identity), []).append(len(self.messages))
        packed: bytes = msgpack.packb(data)
        self.messages.append((topic, packed))

    def state(self, seq: int) -> set[tuple[bytes, int]]:
        """Return topic and sequence number of each message that is state after message `seq`."""
        length = len(self.messages)
        whole, place = divmod(seq, length)
        found = set()
        for (topic, _), places in self._places.items():
            here = [each for each in places if each < place]
            if here:
                found.add((topic, whole * length + here[-1] + 1))
            elif whole:
                found.add((topic, (whole - 1) * length + places[-1] + 1))
        return found


def streams(version: int, ids: Sequence[int], durable: float, seed: int = 1) -> dict[bytes, Stream]:
    """Return every stream that is fed, by name, with the data that a client at this version decodes."""
    server, client = Dialect.server(version), Dialect.client(version)
    keys = {number: instrument_key(contract(line)) for line, number in enumerate(ids)}
    found: dict[bytes, Stream] = {}
    for message in mix(ids, BLOCK, durable, seed):
        name, data = client.read(server.put(*message)[4:])  # type: ignore[misc]
        place = durable_messages.place(message) if name in durable_messages.MIX else ("md", keys[data["reqId"]], name)
        of = _IDENTITY.get(name, lambda data: data["tickType"])
        stream = found.setdefault(topics.topic(*place[:2]), Stream())
        stream.add(topics.topic(*place), data, of and of(data), event=of is None)
    return found
