"""Stream follower: delivers the messages of each stream in order, without a hole or a duplicate.

This module knows the recipe of the protocol (docs: the protocol) and no more. Its caller passes messages, replies and
the time to the follower; the follower has `ready` messages and the next command to send. The follower has no socket, no
clock and no thread. The follower has one command pending at a time, and repeats a command without a reply later.

Messages between a welcome and the snapshot are delivered, not dropped: one may be an execution, which no snapshot has.
So a stream begins with the state before the first message that arrived, and then that message. If no message arrived
and the snapshot is newer than every message so far, messages may still be under way. The follower then requests another
welcome, which arrives after those messages.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

import msgpack

from ibbridge.client.errors import BridgeError
from ibbridge.client.events import Down, Refused, Restart, Up
from ibbridge.client.gap_recovery import MOST, GapRecovery
from ibbridge.client.message import Message, parse
from ibbridge.client.stream_state import (
    DURABLE,
    Mode,
    Pages,
    Prefix,
    PrefixStage,
    StreamEvent,
    StreamSnapshot,
    StreamStage,
    StreamState,
    stream_end,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

PROTO = 1
"""Protocol version of this library."""

MISSED = 3.5
"""Heartbeats missed until the daemon counts as gone: three, and half an interval because one may be late."""

RETRY = 1.0
"""Seconds until a command without a usable reply is sent again."""

KEPT = 3
"""Heartbeats that name a stream after it has changed. If more are lost, its last messages may be lost unnoticed."""

_REMEMBERED = 100_000
_EPOCHS = 1_000


class Ask(NamedTuple):
    """Command to send for the prefix or stream `about`, with the state and the epoch in which it was wanted."""

    cmd: str
    args: dict[str, Any]
    about: Prefix | StreamState
    state: PrefixStage | StreamStage
    epoch: int | None


class StreamFollower(GapRecovery):
    """State of all subscriptions to one daemon. `head` is the length of the configured topic prefix in characters."""

    def __init__(self, head: int = 0, *, now: float = 0.0, most: int = MOST) -> None:
        super().__init__(most)
        self.down = False
        self.refused: dict[str, Refused] = {}
        """Prefixes whose subscription the daemon has refused."""
        self._whole = False  # True once a heartbeat came that has everything: those for others are not ours
        self._head = head
        self._prefixes: dict[str, Prefix] = {}
        self._by_topic: dict[bytes, StreamState] = {}
        self._store: str | None = None
        self._certain = False  # True once the store of this epoch is known
        self._beat: int | None = None  # the number of the last heartbeat
        self._interval = 1.0
        self._heard = now
        self._asked: Ask | None = None
        self._not_before = now
        self._greet: dict[str, None] = {}
        self._over: deque[int] = deque(maxlen=_EPOCHS)  # ended epochs: a late message must not begin one again
        self._since = 0  # the first welcome's offset: later messages are followed

    # -- subscriptions

    def subscribe(self, prefix: str, mode: Mode = Mode.STATE) -> None:
        """Begin to follow a prefix that the caller has subscribed to."""
        if prefix not in self._prefixes:
            self._prefixes[prefix] = Prefix(prefix, self._head, mode)

    def unsubscribe(self, prefix: str) -> None:
        """Stop following a prefix. Ready messages stay ready. Streams that no other prefix covers drop held ones."""
        self._greet.pop(prefix, None)
        self.refused.pop(prefix, None)
        left = self._prefixes.pop(prefix, None)
        if left is None:
            return
        self._apply(left, StreamEvent.LEAVE)
        self._by_topic.clear()
        for track in list(self._tracks.values()):
            over = [other for other in self._prefixes.values() if track.prefix.startswith(other.text)]
            if not over:
                self._drop(track)
            elif track.state is StreamStage.WAITING and all(other.mode is Mode.LIVE for other in over):
                self._give_up(track)

    def welcomed(self, prefix: str) -> bool:
        """Return True if no message under the prefix can be missed any more."""
        return prefix in self._prefixes and self._prefixes[prefix].state is not PrefixStage.ASKED

    def begun(self, prefix: str) -> bool:
        """Return True if no message under the prefix can be missed, and its state, if wanted, has arrived."""
        known = self._prefixes.get(prefix)
        if any(track.prefix.startswith(prefix) for track in self._found):
            return False
        return known is not None and (
            known.state in (PrefixStage.FOLLOWING, PrefixStage.VERIFYING)
            or (known.state is PrefixStage.BEGINNING and known.mode is not Mode.STATE)
        )

    def to_greet(self) -> list[str]:
        """Return the prefixes to subscribe to again for another welcome, and forget them."""
        greet, self._greet = list(self._greet), {}
        return greet

    # -- what arrives

    def take(self, topic: bytes, packed: bytes) -> None:
        """Process one message that has arrived. Raise BridgeError if ibbridge did not publish it."""
        message = parse(topic, packed)
        track = self._by_topic.get(topic)
        if track is not None and message.seq == track.following and message.epoch == self.epoch:
            track.last = message.seq
            track.following = message.seq + 1
            self.ready.append(message)
        else:
            self._sort(message, topic, packed)

    def _sort(self, message: Message, topic: bytes, packed: bytes) -> None:
        if message.epoch != self.epoch:
            if message.epoch in self._over:
                return  # the last messages of an earlier epoch, from a connection that is closing
            self._new_epoch(message.epoch)
        if message.type == "welcome":
            self._welcome(message.topic, msgpack.unpackb(packed, strict_map_key=False))
        elif message.type == "refused":
            self._refuse(message)
        elif message.type == "heartbeat":
            self._whole = self._whole or "for" not in message.data
            if self._whole and "for" in message.data:
                return
            self._heartbeat(message)
            self._arrived(message.data.get("offset", 0))
        elif self._certain:  # before that sequence numbers have no meaning, and the message is replayed later
            track = self._track(message.topic, message.seq)
            if track is not None:
                if len(self._by_topic) >= _REMEMBERED:
                    self._by_topic.clear()
                self._by_topic[topic] = track
                self._receive(track, message)
            self._arrived(message.offset)

    def _track(self, topic: str, seq: int) -> StreamState | None:
        """Return the state of a topic's stream, made for the first message; None if no prefix covers the topic."""
        over = self._active(topic) or self._proven(topic)
        if any(not prefix.partial for prefix in over):
            name = topic[: stream_end(topic, self._head)]
            return self._tracks.get(name) or self._made(name, seq)
        if not over:
            return None
        part = min(over, key=lambda prefix: len(prefix.text))
        return self._tracks.get(part.text) or self._made_partial(part, seq)

    def _made(self, name: str, seq: int) -> StreamState:
        """Return the state of a new stream whose first message is `seq`.

        The stream begins with its first sequence number if the state of all streams under a prefix is known. Otherwise
        the stream waits for the snapshot, or begins with this message if no snapshot is wanted.
        """
        track = self._tracks[name] = StreamState(name, name, partial=False)
        over = [prefix for prefix in self._active(name) if not prefix.partial]
        if any(prefix.stating for prefix in over):
            track.last, track.stated = 0, True
        elif any(prefix.state is PrefixStage.BEGINNING for prefix in over):
            return track
        else:
            track.last = seq - 1
        self._apply(track, StreamEvent.BEGIN)
        return track

    def _made_partial(self, prefix: Prefix, seq: int) -> StreamState:
        name = prefix.text[: stream_end(prefix.text, self._head)]
        track = self._tracks[prefix.text] = StreamState(name, prefix.text, partial=True)
        if prefix.state is not PrefixStage.BEGINNING:
            track.last = seq - 1
            self._apply(track, StreamEvent.BEGIN)
        return track

    def _active(self, topic: str) -> list[Prefix]:
        """Return the prefixes in effect that cover a topic, or the name of a stream."""
        in_effect = (prefix for prefix in self._prefixes.values() if prefix.state is not PrefixStage.ASKED)
        return [prefix for prefix in in_effect if topic.startswith(prefix.text)]

    def _proven(self, topic: str) -> list[Prefix]:
        """Begin the prefixes of a topic, because a message proves the subscription if the welcome was lost."""
        for prefix in self._prefixes.values():
            if topic.startswith(prefix.text):
                self._begin(prefix)
        return self._active(topic)

    # -- welcomes, heartbeats, epochs

    def _welcome(self, text: str, about: Mapping[str, Any]) -> None:
        if (proto := about.get("proto")) != PROTO:
            raise BridgeError(f"the daemon speaks protocol {proto}, this library {PROTO}")
        self._interval = about.get("heartbeat", 1.0)
        self._be_certain(about.get("store"))
        if self._beat is None:
            self._beat = about.get("beat")
        if text in self._prefixes:
            self._begin(self._prefixes[text])
        self._since = self._since or about.get("offset", 0)
        self._arrived(about.get("offset", 0))

    def _refuse(self, message: Message) -> None:
        """Note that a subscription is refused, and tell the program, which might wait for its messages for ever."""
        prefix = str(message.data.get("prefix", ""))
        if prefix in self._prefixes and prefix not in self.refused:
            role, fault = str(message.data.get("role", "")), str(message.data.get("fault", ""))
            self.refused[prefix] = Refused(prefix, role, fault, message.epoch)
            self.ready.append(self.refused[prefix])

    def _begin(self, prefix: Prefix) -> None:
        """Note that a subscription is in effect, and request the state under its prefix where that is needed."""
        if not self._apply(prefix, StreamEvent.WELCOME):
            return
        self._by_topic.clear()
        if prefix.mode is Mode.LIVE or any(other.stating for other in self._active(prefix.text)):
            self._apply(prefix, StreamEvent.COMPLETE)
        elif prefix.mode is Mode.STATE:
            for track in self._under(prefix):
                if not track.stated:
                    self._apply(track, StreamEvent.AGAIN)

    def _under(self, prefix: Prefix) -> list[StreamState]:
        return [track for track in self._tracks.values() if track.prefix.startswith(prefix.text)]

    def _heartbeat(self, message: Message) -> None:
        store = message.data.get("store")
        self._be_certain(store.get("name") if isinstance(store, dict) else None)
        self._count(message.data.get("beat"))
        for stream, seq in (message.data.get("seqs") or {}).items():
            self._reach(stream, seq)
        for prefix in [prefix for prefix in self._prefixes.values() if prefix.state is PrefixStage.ASKED]:
            prefix.beats += 1
            if prefix.beats >= KEPT:  # its welcome was lost, and its streams are silent
                self._begin(prefix)
        self.ready.append(message)

    def _count(self, beat: int | None) -> None:
        """Request a snapshot if more heartbeats were lost than `KEPT`, because lost messages may go unnoticed then.

        A pending snapshot may be from before or after the loss: then the next heartbeat repeats this check.
        """
        whole = [prefix for prefix in self._prefixes.values() if prefix.mode is Mode.STATE and not prefix.partial]
        if beat is not None and self._beat is not None and beat - self._beat > KEPT:
            for prefix in whole:
                self._apply(prefix, StreamEvent.SILENCE)
            if any(prefix.state is PrefixStage.BEGINNING for prefix in whole):
                return
        self._beat = beat

    def _reach(self, stream: str, seq: int) -> None:
        """Note that a stream has at least reached sequence number `seq`."""
        track = self._tracks.get(stream)
        if track is None:
            if not seq or all(prefix.partial for prefix in self._active(stream)):
                return
            track = self._made(stream, seq + 1)
        if seq > track.target:
            track.target = seq
            if track.state is StreamStage.LIVE:
                self._advance(track)

    def _be_certain(self, store: str | None) -> None:
        """Note the name of the daemon's store. A new store, or none, restarts the numbers of durable streams."""
        if self._certain:
            return
        if store is None or store != self._store:
            for track in list(self._tracks.values()):
                self._give_up(track)
        self._store, self._certain = store, True

    def _new_epoch(self, epoch: int) -> None:
        for track in [track for track in self._found if self._class(track) in DURABLE and not track.partial]:
            if track.found is not None:  # messages under way are lost; this many there were at most, to be replayed
                track.first = max(1, track.found.seq + 1 - (track.found.offset - self._since))
            self._begin_found(track)
        before, self.epoch = self.epoch, epoch
        if before is not None:
            self._over.append(before)
        self._certain, self._beat = False, None
        self._asked, self._not_before, self._offset, self._since = None, 0.0, 0, 0
        self._found.clear()
        self._greet.clear()
        self._by_topic.clear()
        self._queue.clear()
        for prefix in self._prefixes.values():
            self._apply(prefix, StreamEvent.RESTART)
            prefix.pages, prefix.beats = Pages(), 0
        if before is None:
            return
        for track in list(self._tracks.values()):
            track.seen = track.seen or before
            # A stream that began without its state cannot continue any better than a new one.
            if self._class(track) in DURABLE and (track.stated or track.last < 0) and not track.partial:
                self._suspend(track)
            else:
                self._give_up(track)
        self.ready.append(Restart(epoch, before))

    def _class(self, track: StreamState) -> str:
        return track.name[self._head : track.name.find(".", self._head)]

    # -- commands

    @property
    def asking(self) -> bool:
        """Return True if a command is pending or queued."""
        return bool(self._queue) or self._asked is not None

    def ask(self, now: float) -> Ask | None:
        """Return the command to send now, or None.

        Call `answer` or `unanswered` with the command before the next one. Only a new epoch makes another command at
        once, because the daemon that had the first one is gone.
        """
        if self._asked is not None or now < self._not_before:
            return None
        while self._queue:
            about = next(iter(self._queue))
            del self._queue[about]
            if (wants := about.wants) is not None:
                self._asked = Ask(*wants, about, about.state, self.epoch)
                return self._asked
        return None

    def answer(self, ask: Ask, reply: Mapping[str, Any], now: float) -> None:
        """Process the daemon's reply to a command that `ask` returned."""
        if ask is not self._asked:
            return
        self._asked = None
        about = ask.about
        if reply.get("epoch") != self.epoch:
            self._ask_later(about, now)  # the reply is from a restarted daemon that has not published anything yet
            return
        if about.state is not ask.state:
            return
        result = reply.get("result") if reply.get("ok") else None
        if isinstance(about, Prefix):
            self._prefix_answered(about, result)
        elif ask.cmd == "snapshot":
            self._state_answered(about, result)
        else:
            self._replay_answered(about, ask.args, result, reply.get("error") or {})
        if about.wants is not None:
            self._queue[about] = None

    def unanswered(self, ask: Ask, now: float) -> None:
        """Note that a command got no reply, and queue it again after `RETRY` seconds."""
        if ask is self._asked:
            self._asked = None
            self._ask_later(ask.about, now)

    def _ask_later(self, about: Prefix | StreamState, now: float) -> None:
        self._not_before = now + RETRY
        if about.wants is not None:
            self._queue[about] = None

    def _prefix_answered(self, prefix: Prefix, page: Mapping[str, Any] | None) -> None:
        """Begin the streams that a page of a snapshot completes, and after the last page the others that wait.

        The other streams have no state. A refused snapshot (None) counts as empty, so that every stream is replayed
        from its first message.
        """
        for state in prefix.pages.add(page or {"streams": []}):
            if prefix.state is PrefixStage.VERIFYING:
                self._reach(state.stream, state.seq)
            else:
                self._begun(prefix, state)
        if prefix.pages.after is None and self._apply(prefix, StreamEvent.COMPLETE):
            for track in self._under(prefix):
                if track not in self._found:
                    self._begun(prefix, StreamSnapshot(track.name, 0, []))
        if self._found:
            self._greet[prefix.text] = None

    # -- time

    def hear(self, now: float) -> None:
        """Note that something arrived at about this time, and report the end of a silence."""
        if self.down:
            self.down = False
            self.ready.append(Up(now - self._heard, self.epoch or 0))
        self._heard = now

    def tick(self, now: float) -> None:
        """Note that nothing more has arrived up to this time, and report a silence of the daemon once."""
        if not self.down and now - self._heard >= MISSED * self._interval:
            self.down = True
            self.ready.append(Down(now - self._heard, self.epoch or 0))

    def wake(self) -> float | None:
        """Return the time of the next `tick` or `ask` that is due even if nothing arrives; None if there is none."""
        times = [] if self.down else [self._heard + MISSED * self._interval]
        if self._queue and self._asked is None:
            times.append(self._not_before)
        return min(times, default=None)
