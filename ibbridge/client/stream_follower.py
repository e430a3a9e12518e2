"""Following streams without a hole or a duplicate: what arrives goes in, messages in order come out.

Knows the recipe (docs: the protocol) and no more: it is told what arrives, what commands were answered, and the time;
it says which messages are `ready` and which command it wants sent. No socket, no clock, no thread: whoever has these
drives it. It asks for one thing at a time, and for what got no answer again later.

What came between a welcome and the snapshot is given out, and not dropped: it may be an execution, which is in no
snapshot. So a stream begins with the state before the first message that came, and that message. If none came, and the
snapshot is newer than all that has arrived, some may still be on its way: another welcome, which comes behind it, says
when all is there.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

import msgpack

from ibbridge.client.errors import BridgeError
from ibbridge.client.events import Down, Restart, Up
from ibbridge.client.gap_recovery import MOST, Ordering
from ibbridge.client.message import Message, parse
from ibbridge.client.stream_state import DURABLE, At, Event, Mode, Now, Pages, Prefix, State, Track, stream_end

if TYPE_CHECKING:
    from collections.abc import Mapping

PROTO = 1
"""The version of the protocol that this library speaks."""

MISSED = 3.5
"""Heartbeats missed after which the daemon counts as gone: three, and as much as one may be late."""

RETRY = 1.0
"""Seconds until something is asked for again that got no answer."""

KEPT = 3
"""Heartbeats that name a stream after it has changed: if more were lost, its last messages may be lost unnoticed."""

_REMEMBERED = 100_000
_EPOCHS = 1_000


class Ask(NamedTuple):
    """A command to send, for what is `about` in this state."""

    cmd: str
    args: dict[str, Any]
    about: Prefix | Track
    state: At | Now
    epoch: int | None


class Follower(Ordering):
    """All that is followed of one daemon. `head` is how many characters of each topic are the configured prefix's."""

    def __init__(self, head: int = 0, *, now: float = 0.0, most: int = MOST) -> None:
        super().__init__(most)
        self.down = False
        self._head = head
        self._prefixes: dict[str, Prefix] = {}
        self._by_topic: dict[bytes, Track] = {}
        self._store: str | None = None
        self._certain = False  # of the store, in this epoch
        self._beat: int | None = None  # the number of the last heartbeat
        self._interval = 1.0
        self._heard = now
        self._asked: Ask | None = None
        self._not_before = now
        self._greet: dict[str, None] = {}
        self._over: deque[int] = deque(maxlen=_EPOCHS)  # epochs that have ended: what comes late begins none anew
        self._since = 0  # the first welcome's offset: what is published later is followed

    # -- subscriptions

    def subscribe(self, prefix: str, mode: Mode = Mode.STATE) -> None:
        """It has been subscribed to."""
        if prefix not in self._prefixes:
            self._prefixes[prefix] = Prefix(prefix, self._head, mode)

    def unsubscribe(self, prefix: str) -> None:
        """It is no longer subscribed to. What is ready stays so; what waits for something goes."""
        self._greet.pop(prefix, None)
        left = self._prefixes.pop(prefix, None)
        if left is None:
            return
        self._tell(left, Event.LEAVE)
        self._by_topic.clear()
        for track in list(self._tracks.values()):
            over = [each for each in self._prefixes.values() if track.prefix.startswith(each.text)]
            if not over:
                self._drop(track)
            elif track.state is Now.WAITING and all(each.mode is Mode.LIVE for each in over):
                self._give_up(track)

    def welcomed(self, prefix: str) -> bool:
        """Whether nothing that is published under it can be missed any more."""
        return prefix in self._prefixes and self._prefixes[prefix].state is not At.ASKED

    def begun(self, prefix: str) -> bool:
        """Whether its state has come as well, where that is wanted."""
        known = self._prefixes.get(prefix)
        if any(track.prefix.startswith(prefix) for track in self._found):
            return False
        return known is not None and (known.state in (At.FOLLOWING, At.VERIFYING) or
                                      (known.state is At.BEGINNING and known.mode is not Mode.STATE))  # fmt: skip

    def to_greet(self) -> list[str]:
        """What is to be subscribed to once more, so that it is welcomed once more; each is told once."""
        greet, self._greet = list(self._greet), {}
        return greet

    # -- what arrives

    def take(self, topic: bytes, packed: bytes) -> None:
        """A message has arrived. BridgeError if it is none of ibbridge's."""
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
                return  # the end of what was before, from a connection that is being given up
            self._new_epoch(message.epoch)
        if message.type == "welcome":
            self._welcome(message.topic, msgpack.unpackb(packed, strict_map_key=False))
        elif message.type == "heartbeat":
            self._heartbeat(message)
            self._arrived(message.data.get("offset", 0))
        elif self._certain:  # until then it cannot be said what a number means; it is had again by its number
            track = self._track(message.topic, message.seq)
            if track is not None:
                if len(self._by_topic) >= _REMEMBERED:
                    self._by_topic.clear()
                self._by_topic[topic] = track
                self._receive(track, message)
            self._arrived(message.offset)

    def _track(self, topic: str, seq: int) -> Track | None:
        """What follows a topic, made if it is met for the first time; None if it was unsubscribed from."""
        over = self._active(topic) or self._proven(topic)
        if any(not each.partial for each in over):
            name = topic[: stream_end(topic, self._head)]
            return self._tracks.get(name) or self._made(name, seq)
        if not over:
            return None
        part = min(over, key=lambda each: len(each.text))
        return self._tracks.get(part.text) or self._made_partial(part, seq)

    def _made(self, name: str, seq: int) -> Track:
        """A new stream: it begins with its first number where the others' state is known already.

        Otherwise it waits for the snapshot, or begins with this message where none is wanted.
        """
        track = self._tracks[name] = Track(name, name, partial=False)
        over = [each for each in self._active(name) if not each.partial]
        if any(each.stating for each in over):
            track.last, track.stated = 0, True
        elif any(each.state is At.BEGINNING for each in over):
            return track
        else:
            track.last = seq - 1
        self._tell(track, Event.BEGIN)
        return track

    def _made_partial(self, prefix: Prefix, seq: int) -> Track:
        name = prefix.text[: stream_end(prefix.text, self._head)]
        track = self._tracks[prefix.text] = Track(name, prefix.text, partial=True)
        if prefix.state is not At.BEGINNING:
            track.last = seq - 1
            self._tell(track, Event.BEGIN)
        return track

    def _active(self, topic: str) -> list[Prefix]:
        """The subscriptions in place that a topic, or all of a stream, is under."""
        return [each for each in self._prefixes.values() if each.state is not At.ASKED and topic.startswith(each.text)]

    def _proven(self, topic: str) -> list[Prefix]:
        """A message under a prefix whose welcome was lost proves as much as that."""
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

    def _begin(self, prefix: Prefix) -> None:
        """What is published under it from now on arrives."""
        if not self._tell(prefix, Event.WELCOME):
            return
        self._by_topic.clear()
        if prefix.mode is Mode.LIVE or any(each.stating for each in self._active(prefix.text)):
            self._tell(prefix, Event.COMPLETE)
        elif prefix.mode is Mode.STATE:
            for track in self._under(prefix):
                if not track.stated:
                    self._tell(track, Event.AGAIN)

    def _under(self, prefix: Prefix) -> list[Track]:
        return [each for each in self._tracks.values() if each.prefix.startswith(prefix.text)]

    def _heartbeat(self, message: Message) -> None:
        store = message.data.get("store")
        self._be_certain(store.get("name") if isinstance(store, dict) else None)
        self._count(message.data.get("beat"))
        for stream, seq in (message.data.get("seqs") or {}).items():
            self._reach(stream, seq)
        for prefix in [each for each in self._prefixes.values() if each.state is At.ASKED]:
            prefix.beats += 1
            if prefix.beats >= KEPT:  # its welcome was lost, and its streams are silent
                self._begin(prefix)
        self.ready.append(message)

    def _count(self, beat: int | None) -> None:
        """See whether so many heartbeats were lost that what else was is told by none of them.

        A snapshot under way may be of before or after: then it is seen again at the next one.
        """
        whole = [each for each in self._prefixes.values() if each.mode is Mode.STATE and not each.partial]
        if beat is not None and self._beat is not None and beat - self._beat > KEPT:
            for prefix in whole:
                self._tell(prefix, Event.SILENCE)
            if any(each.state is At.BEGINNING for each in whole):
                return
        self._beat = beat

    def _reach(self, stream: str, seq: int) -> None:
        """The stream is known to have got as far as this."""
        track = self._tracks.get(stream)
        if track is None:
            if not seq or all(each.partial for each in self._active(stream)):
                return
            track = self._made(stream, seq + 1)
        if seq > track.target:
            track.target = seq
            if track.state is Now.LIVE:
                self._advance(track)

    def _be_certain(self, store: str | None) -> None:
        """The store has this name. Unless it is the one of before, the numbers of durable streams begin anew."""
        if self._certain:
            return
        if store is None or store != self._store:
            for track in list(self._tracks.values()):
                self._give_up(track)
        self._store, self._certain = store, True

    def _new_epoch(self, epoch: int) -> None:
        for track in [each for each in self._found if self._class(each) in DURABLE and not each.partial]:
            if track.found is not None:  # what was on its way is lost, and can be had again: so many it were at most
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
            self._tell(prefix, Event.RESTART)
            prefix.pages, prefix.beats = Pages(), 0
        if before is None:
            return
        for track in list(self._tracks.values()):
            track.seen = track.seen or before
            # What was begun without its state has no more to go on from than a new one.
            if self._class(track) in DURABLE and (track.stated or track.last < 0) and not track.partial:
                self._suspend(track)
            else:
                self._give_up(track)
        self.ready.append(Restart(epoch, before))

    def _class(self, track: Track) -> str:
        return track.name[self._head : track.name.find(".", self._head)]

    # -- commands

    @property
    def asking(self) -> bool:
        """Whether something is asked, or to be asked."""
        return bool(self._queue) or self._asked is not None

    def ask(self, now: float) -> Ask | None:
        """The command to be sent now, if there is one: say `answer` or `unanswered` of it before there is another.

        But in a new epoch there is another at once; the daemon that was asked is gone.
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
        """The daemon has replied to what was asked."""
        if ask is not self._asked:
            return
        self._asked = None
        about = ask.about
        if reply.get("epoch") != self.epoch:
            self._ask_later(about, now)  # it is of another daemon, which has not been heard yet
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
        """There was no answer: it is wanted again, but not at once."""
        if ask is self._asked:
            self._asked = None
            self._ask_later(ask.about, now)

    def _ask_later(self, about: Prefix | Track, now: float) -> None:
        self._not_before = now + RETRY
        if about.wants is not None:
            self._queue[about] = None

    def _prefix_answered(self, prefix: Prefix, page: Mapping[str, Any] | None) -> None:
        """Begin the streams that are complete; after the last page, those that are not in it have no state.

        So has everything, if the snapshot was refused: what the streams have said is then replayed from their first.
        """
        for state in prefix.pages.add(page or {"streams": []}):
            if prefix.state is At.VERIFYING:
                self._reach(state.stream, state.seq)
            else:
                self._begun(prefix, state)
        if prefix.pages.after is None and self._tell(prefix, Event.COMPLETE):
            for track in self._under(prefix):
                if track not in self._found:
                    self._begun(prefix, State(track.name, 0, []))
        if self._found:
            self._greet[prefix.text] = None

    # -- time

    def hear(self, now: float) -> None:
        """Something has arrived, at about this time."""
        if self.down:
            self.down = False
            self.ready.append(Up(now - self._heard, self.epoch or 0))
        self._heard = now

    def tick(self, now: float) -> None:
        """Nothing more has arrived up to this time."""
        if not self.down and now - self._heard >= MISSED * self._interval:
            self.down = True
            self.ready.append(Down(now - self._heard, self.epoch or 0))

    def wake(self) -> float | None:
        """When to `tick` or to `ask` next, if nothing happens before."""
        times = [] if self.down else [self._heard + MISSED * self._interval]
        if self._queue and self._asked is None:
            times.append(self._not_before)
        return min(times, default=None)
