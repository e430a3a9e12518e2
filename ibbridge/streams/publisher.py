"""The publisher: numbers, wraps, keeps and sends messages, and says in heartbeats and welcomes what was sent.

Messages of the durable classes are committed to a store before they are sent, and their streams go on from the store
after a restart. The module must not know sockets (the caller gives `send`), files (the history has the store), time
(the caller gives `ts`) or what a message means.

The hot path (`sequencer`) has two counters, a mark on the stream, and one join.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ibbridge.codec import compiled
from ibbridge.protocol import topics
from ibbridge.protocol.topics import GAP
from ibbridge.streams import envelope
from ibbridge.streams.channels import ChannelRegistry, outdate
from ibbridge.streams.history import MessageHistory

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

    from ibbridge.streams import sequencer
    from ibbridge.streams.replay_buffer import ReplayBuffer
    from ibbridge.streams.sequencer import Channel, Stream
else:
    sequencer = compiled.fastest("ibbridge.streams.sequencer")

EVENT: Hashable = object()
"""Marker in place of an identity, for a message that is an event and no state."""


class Publisher(ChannelRegistry):
    """Publisher of all streams of one epoch. `begin` may set the epoch before the first message.

    `send` gets the published topics and bodies in turn. `prefix` is put before all topics. `heartbeat` is the interval
    in seconds that welcomes announce.
    """

    def __init__(
        self,
        epoch: int,
        send: Callable[[list[bytes]], None],
        prefix: str = "",
        history: MessageHistory | None = None,
        heartbeat: float = 1.0,
    ) -> None:
        super().__init__(epoch, prefix, history or MessageHistory())
        self.heartbeat = heartbeat
        self.beats = 0
        """The number of the last heartbeat: the count of calls of `seqs`."""
        self._send = send
        self._holding = False
        self._sequencer = sequencer.Sequencer()

    @property
    def ring(self) -> ReplayBuffer:
        """The newest published messages."""
        return self._history.ring

    @property
    def offset(self) -> int:
        """The offset of the last message: its number over all streams."""
        return self._sequencer.offset

    def begin(self, epoch: int) -> None:
        """Set the epoch. Raise `RuntimeError` if a message was published before."""
        if self.offset or self._streams:
            raise RuntimeError("an epoch begins before anything is published in it")
        self.epoch = epoch

    def publish(self, channel: Channel, data: bytes, ts: int) -> bytes:
        """Publish packed `data`, read from TWS at `ts` (µs since 1970 UTC), and return the body.

        Only for streams that are not durable; `publish_packed` is for all streams.
        """
        body = self._sequencer.publish(channel, data, ts)
        if not self._holding:
            self.flush()
        return body

    def publish_packed(self, channel: Channel, data: bytes, ts: int, identity: Hashable = EVENT) -> None:
        """Publish packed data. With an `identity` the message is state, and replaces the last one of that identity."""
        holding, self._holding = self._holding, True
        before = len(self._sequencer.held)
        try:
            body = self.publish(channel, data, ts)
        finally:
            self._holding = holding
        if identity is not EVENT:
            channel.last[identity] = body
        if channel.stream.durable:
            state = self._state_name(channel, identity) if identity is not EVENT else None
            self._history.keep(channel, body, ts, state, before)
        if not holding:
            self.flush()

    def publish_map(self, channel: Channel, data: Mapping[str, Any], ts: int, identity: Hashable = EVENT) -> None:
        """Pack data and publish it like `publish_packed`."""
        self.publish_packed(channel, envelope.pack(data), ts, identity)

    def publish_end(self, channel: Channel, identity: Hashable, data: Mapping[str, Any], ts: int) -> None:
        """Publish the last message about a value, flagged `synthetic`, and drop the value from the channel's state."""
        head = self._head(channel.kind, channel.about, (envelope.SYNTHETIC,))
        last = sequencer.Channel(channel.stream, channel.topic, channel.kind, channel.about, head)
        self.publish_map(last, data, ts)
        self.drop(channel, identity)

    def publish_difference(self, channel: Channel, data: bytes, ts: int, identity: Hashable) -> None:
        """Publish packed data as state, flagged `synthetic`, unless the channel has the same.

        State of an earlier connection is confirmed by a message, and so counts as another.
        """
        last = channel.last.get(identity)
        if last is not None and envelope.data_of(last, channel.head) == data:
            return
        head, data = envelope.marked(channel.head, data)
        marked = sequencer.Channel(channel.stream, channel.topic, channel.kind, channel.about, head)
        self.publish_packed(marked, data, ts, identity)
        channel.last[identity] = marked.last[identity]

    def gap(self, channels: Iterable[Channel], components: Sequence[str], reason: str, ts: int) -> None:
        """Publish a `gap` on a stream, because messages may be missing, and mark the state of its `channels` as stale.

        The first two `components` name the stream, and all of them go before `gap` in the topic.
        """
        stream = self._stream(self._name((*components[:2],)), components[0])
        since = self._heard(stream)
        self.publish_map(
            self.transient_channel(*components, GAP, flags=(envelope.SYNTHETIC,)),
            {"reason": reason, "since": since},
            ts,
        )
        stream.cuts += 1
        for channel in channels:
            if channel.stream is stream:
                outdate(channel)

    def _heard(self, stream: Stream) -> int | None:
        """Return when the last message of a stream was read (for a gap: the time in it); None if it is kept no more."""
        body = self._history.last_body(stream, self._sequencer.held)
        if body is None:
            return None
        last = envelope.unpack(body)
        gap = last["type"] == GAP and envelope.SYNTHETIC in last.get("flags", ())
        heard: int | None = last["data"]["since"] if gap else last["ts"]
        return heard

    # -- batches

    def begin_batch(self) -> None:
        """Hold published messages back until `flush`.

        ZeroMQ's own thread writes all messages that it finds to the subscribers at once, and then sleeps. Given one
        message at a time the thread wakes and writes for each, at five times the cost. So the messages of one read go
        out together. And all durable messages among them take one commit.
        """
        self._holding = True

    def publish_all(
        self,
        messages: Iterable[Any],
        ts: int,
        usual: Mapping[str, Mapping[Any, Channel]],
        other: Callable[[Any, int], None],
    ) -> None:
        """Begin a batch, and publish the messages of one read in it.

        A packed message whose channel is in `usual`, by its type and key, is published there. `other` gets the others,
        and may publish.
        """
        self.begin_batch()
        self._sequencer.publish_all(messages, ts, usual, other)

    def end_batch(self) -> bool:
        """End holding without sending. Return True if durable messages among those held wait for their commit.

        The next published message sends all of them, as `flush` does: so one commit does for several reads.
        """
        self._holding = False
        return self._history.uncommitted

    def flush(self) -> None:
        """Send the held messages in order, the durable ones after their commit, and end holding."""
        self._holding = False
        held = self._sequencer.held
        if held:
            self._sequencer.held = []
            self._history.release(held, self._send)

    # -- outside the sequences

    def publish_unsequenced(self, kind: str, data: Mapping[str, Any], ts: int, *components: str) -> None:
        """Publish outside all sequences, without a sequence number or replay: for heartbeats."""
        self.send_unsequenced(topics.topic(*self._prefix, *components, kind), kind, data, ts)

    def send_unsequenced(self, topic: bytes, kind: str, data: Mapping[str, Any], ts: int) -> None:
        """Publish outside all sequences on a topic that does not end with the type of the message."""
        self.flush()
        self._send([topic, envelope.unsequenced(kind, self.epoch, self.gen, ts, data)])

    def welcome(self, _: bytes) -> bytes:
        """Return the body of the welcome, which tells a new subscriber that its filter is in place.

        A welcome has no sequence number. All messages up to its `offset` are sent before it.
        """
        self.flush()
        store = str(self.epoch) if self._history.store_name is None else self._history.store_name
        more = {"beat": self.beats, "heartbeat": self.heartbeat, "store": store}
        return envelope.welcome(self.epoch, self.gen, self.offset, **more)

    def seqs(self) -> dict[str, int]:
        """Return the last sequence numbers for the next heartbeat (see `heartbeat_numbers`).

        Call it once for each heartbeat, because the call counts the heartbeat in `beats`.
        """
        self.beats += 1
        changed, self._sequencer.changed = self._sequencer.changed, []
        for stream in changed:
            stream.changed = False
        return self._numbers.next_heartbeat(changed)

    def was_committed(self, name: bytes, seq: int, epoch: int) -> bool:
        """Return True if the message with this number of a durable stream was published in that epoch.

        A message that is so old that it is not kept any more counts as published.
        """
        body = self._history.committed(name, seq)
        return body is not None and (not body or envelope.unpack(body)["epoch"] == epoch)

    def replay(self, name: bytes, first: int, last: int, most: int, most_bytes: int) -> list[tuple[int, bytes, bytes]]:
        """Return sequence number, topic and body of the messages `first` to `last` of a stream, as they were published.

        The result has at most `most` messages and `most_bytes` bytes, but at least one message. Raise `Gone` if the
        first message is no longer kept, and `KeyError` if the stream is unknown.
        """
        stream = self.stream(name)
        if stream is None:
            raise KeyError(name)
        return self._history.replay(stream, first, last, most, most_bytes)
