"""State machines of a subscription to a prefix and of a stream, as transition tables.

This module knows names, sequence numbers and snapshot pages. It must not know the meaning of messages, sockets or time;
`stream_follower` acts on the states.
"""

from __future__ import annotations

from collections import deque
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ibbridge.client.message import Message

DURABLE = frozenset(("ord", "exec", "acct", "sys"))
"""Classes of streams whose sequence numbers continue over restarts of the daemon that keep its store."""


class Mode(Enum):
    """Purpose of a subscription."""

    STATE = auto()
    """Deliver the state first, then every message."""
    HOLD = auto()
    """Hold messages undelivered until the reply names the wanted stream, so that none of its messages is missed."""
    LIVE = auto()
    """Deliver messages from now on, without state."""


class PrefixStage(Enum):
    """State of a prefix."""

    ASKED = auto()
    BEGINNING = auto()
    FOLLOWING = auto()
    VERIFYING = auto()
    """Following, but too many heartbeats were lost: only a snapshot can say which messages were lost."""
    LEFT = auto()


class StreamStage(Enum):
    """State of a stream."""

    WAITING = auto()
    LIVE = auto()
    FILLING = auto()
    RESUMING = auto()
    """After a restart of the daemon: a replay checks that the last sequence number still has the same message."""
    LOST = auto()
    """Messages are lost for good, and a snapshot of the state that they changed is requested."""
    LEFT = auto()


class StreamEvent(Enum):
    """Event that may change the state of a prefix or a stream."""

    WELCOME = auto()
    COMPLETE = auto()
    SILENCE = auto()
    RESTART = auto()
    LEAVE = auto()
    BEGIN = auto()
    RESUME = auto()
    HOLE = auto()
    WHOLE = auto()
    GONE = auto()
    AGAIN = auto()


# An event without an entry for the current state changes nothing.
PREFIX: Mapping[tuple[PrefixStage, StreamEvent], PrefixStage] = {
    (PrefixStage.ASKED, StreamEvent.WELCOME): PrefixStage.BEGINNING,
    (PrefixStage.BEGINNING, StreamEvent.COMPLETE): PrefixStage.FOLLOWING,
    (PrefixStage.FOLLOWING, StreamEvent.SILENCE): PrefixStage.VERIFYING,
    (PrefixStage.VERIFYING, StreamEvent.COMPLETE): PrefixStage.FOLLOWING,
    (PrefixStage.BEGINNING, StreamEvent.RESTART): PrefixStage.ASKED,
    (PrefixStage.FOLLOWING, StreamEvent.RESTART): PrefixStage.ASKED,
    (PrefixStage.VERIFYING, StreamEvent.RESTART): PrefixStage.ASKED,
    **{(state, StreamEvent.LEAVE): PrefixStage.LEFT for state in PrefixStage},
}

STREAM: Mapping[tuple[StreamStage, StreamEvent], StreamStage] = {
    (StreamStage.WAITING, StreamEvent.BEGIN): StreamStage.LIVE,
    (StreamStage.WAITING, StreamEvent.RESUME): StreamStage.RESUMING,
    (StreamStage.RESUMING, StreamEvent.BEGIN): StreamStage.LIVE,
    (StreamStage.RESUMING, StreamEvent.GONE): StreamStage.LOST,
    (StreamStage.LIVE, StreamEvent.HOLE): StreamStage.FILLING,
    (StreamStage.LIVE, StreamEvent.AGAIN): StreamStage.WAITING,
    (StreamStage.FILLING, StreamEvent.WHOLE): StreamStage.LIVE,
    (StreamStage.FILLING, StreamEvent.GONE): StreamStage.LOST,
    (StreamStage.FILLING, StreamEvent.AGAIN): StreamStage.WAITING,
    (StreamStage.LOST, StreamEvent.WHOLE): StreamStage.LIVE,
    (StreamStage.LOST, StreamEvent.HOLE): StreamStage.FILLING,
    (StreamStage.LOST, StreamEvent.AGAIN): StreamStage.WAITING,
    **{(state, StreamEvent.RESTART): StreamStage.WAITING for state in StreamStage if state is not StreamStage.LEFT},
    **{(state, StreamEvent.LEAVE): StreamStage.LEFT for state in StreamStage},
}


class StreamSnapshot(NamedTuple):
    """State of one stream in a snapshot: its last sequence number, and its messages as topic and body.

    `offset` is the highest offset of all messages when the snapshot was made.
    """

    stream: str
    seq: int
    rows: list[tuple[bytes, bytes]]
    offset: int = 0


class Pages:
    """Reader of a snapshot, page by page. The next page may continue the last stream of a page, or restart it."""

    def __init__(self) -> None:
        self.after: str | None = None
        self._open: StreamSnapshot | None = None

    def add(self, page: Mapping[str, Any]) -> Iterator[StreamSnapshot]:
        """Add a page, and yield the streams that are complete with it."""
        self.after = page.get("next")
        for stream in page["streams"]:
            rows = [(topic, body) for topic, body in stream["messages"]]
            state = StreamSnapshot(stream["stream"], stream["seq"], rows, page.get("offset", 0))
            if self._open is not None and self._open.stream == state.stream:
                if self._open.seq == state.seq:
                    state = state._replace(rows=self._open.rows + state.rows)
            elif self._open is not None:
                yield self._open
            self._open = state
        if self.after is None and self._open is not None:
            yield self._open
            self._open = None


class Prefix:
    """Subscription to one prefix. `partial`: the prefix covers only part of a stream, so holes cannot be noticed."""

    __slots__ = ("beats", "mode", "pages", "partial", "state", "text")

    def __init__(self, text: str, head: int, mode: Mode) -> None:
        self.text = text
        self.mode = mode
        self.partial = 0 < stream_end(text, head) < len(text)
        self.state = PrefixStage.ASKED
        self.pages = Pages()
        self.beats = 0

    def apply(self, event: StreamEvent) -> bool:
        """Apply an event. Return True if the state has changed."""
        before, self.state = self.state, PREFIX.get((self.state, event), self.state)
        return self.state is not before

    @property
    def stating(self) -> bool:
        """Return True if the state of all streams under the prefix is known, so that any further stream is new."""
        return (
            self.mode is Mode.STATE
            and not self.partial
            and self.state in (PrefixStage.FOLLOWING, PrefixStage.VERIFYING)
        )

    @property
    def wants(self) -> tuple[str, dict[str, Any]] | None:
        """Command that the prefix needs next, with its arguments; None if there is none."""
        if self.state is PrefixStage.VERIFYING or (self.state is PrefixStage.BEGINNING and self.mode is Mode.STATE):
            return "snapshot", _snapshot(self.text, self.pages)
        return None


class StreamState:
    """Progress of one followed stream, or of the part of a stream that a narrower prefix covers.

    `last` is the sequence number of the last delivered message, -1 before the stream has begun. `following` is the
    sequence number that can be delivered at once, 0 unless the stream is live. `held` has messages that wait behind a
    hole. `target` is the highest sequence number known to exist. `first` is the first sequence number that arrived
    before the stream had begun. Messages up to `gone` are lost for good. `rows` of a market depth book are delivered
    when the stream reaches sequence number `rows_at`. `stated`: the state was delivered when the stream began. `found`
    is a state that may have overtaken messages under way: see `gap_recovery`.

    After a restart of the daemon, `seen` is the epoch in which `last` was reached, and `reached` the highest sequence
    number known in that epoch. Replayed messages of the epoch `skip` or an earlier one were delivered before.
    """

    __slots__ = (
        "first", "following", "found", "gone", "held", "last", "name", "pages", "partial", "prefix", "reached", "rows",
        "rows_at", "seen", "skip", "state", "stated", "target",
    )  # fmt: skip

    def __init__(self, name: str, prefix: str, *, partial: bool) -> None:
        self.name = name
        self.prefix = prefix
        self.partial = partial
        self.state = StreamStage.WAITING
        self.last = -1
        self.first = 0
        self.following = 0
        self.target = 0
        self.reached = 0
        self.gone = 0
        self.held: deque[Message] = deque()
        self.rows: list[Message] = []
        self.rows_at = 0
        self.seen = 0
        self.skip = 0
        self.stated = False
        self.found: StreamSnapshot | None = None
        self.pages = Pages()

    def apply(self, event: StreamEvent) -> bool:
        """Apply an event. Return True if the state has changed."""
        before, self.state = self.state, STREAM.get((self.state, event), self.state)
        self.following = self.last + 1 if self.state is StreamStage.LIVE else 0
        if self.state not in (StreamStage.WAITING, StreamStage.RESUMING):
            self.seen = 0
        return self.state is not before

    @property
    def missing(self) -> int:
        """Last sequence number of the hole before the held messages, or the target if none are held."""
        return self.held[0].seq - 1 if self.held else self.target

    @property
    def wants(self) -> tuple[str, dict[str, Any]] | None:
        """Command that the stream needs next, with its arguments; None if there is none."""
        if self.state is StreamStage.FILLING:
            return "replay", {"stream": self.name, "from": self.last + 1, "to": self.missing}
        if self.state is StreamStage.RESUMING:
            return "replay", {"stream": self.name, "from": self.last, "to": max(self.last, self.missing)}
        if self.state is StreamStage.LOST:
            return "snapshot", _snapshot(self.name, self.pages)
        return None


def _snapshot(prefix: str, pages: Pages) -> dict[str, Any]:
    return {"prefix": prefix} if pages.after is None else {"prefix": prefix, "after": pages.after}


def stream_end(topic: str, head: int) -> int:
    """Return the length of the stream's name in a topic, which ends after two components; 0 for a shorter topic."""
    key = topic.find(".", head) + 1
    return topic.find(".", key) + 1 if key else 0
