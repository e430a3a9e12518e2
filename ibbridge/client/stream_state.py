"""How far each prefix and each stream has got, and what moves it on: the two state machines of following, as tables.

Knows names, numbers and pages. Must not know messages' meaning, sockets or time; what is done in a state is
`stream_follower`'s.
"""

from __future__ import annotations

from collections import deque
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ibbridge.client.message import Message

DURABLE = frozenset(("ord", "exec", "acct", "sys"))
"""Classes of streams whose numbers run on over restarts of the daemon, as long as its store is the same."""


class Mode(Enum):
    """What a subscription is for."""

    STATE = auto()
    """To know all of it: its state first, then what comes."""
    HOLD = auto()
    """To miss nothing until it is known which stream is meant: what comes is kept, and given to nobody yet."""
    LIVE = auto()
    """To hear what is said from now on."""


class At(Enum):
    """Where a prefix is."""

    ASKED = auto()
    BEGINNING = auto()
    FOLLOWING = auto()
    VERIFYING = auto()
    """Following, but so many heartbeats were lost that only a snapshot can say what else was."""
    LEFT = auto()


class Now(Enum):
    """Where a stream is."""

    WAITING = auto()
    LIVE = auto()
    FILLING = auto()
    RESUMING = auto()
    """After a restart of the daemon: what has the last number is asked for, to see whether it is what had it before."""
    LOST = auto()
    """Some of it cannot be had again, and what that has changed is asked for."""
    LEFT = auto()


class Event(Enum):
    """What happens to prefixes and streams."""

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


# Any other event, in any state, leaves it where it is.
PREFIX: Mapping[tuple[At, Event], At] = {
    (At.ASKED, Event.WELCOME): At.BEGINNING,
    (At.BEGINNING, Event.COMPLETE): At.FOLLOWING,
    (At.FOLLOWING, Event.SILENCE): At.VERIFYING,
    (At.VERIFYING, Event.COMPLETE): At.FOLLOWING,
    (At.BEGINNING, Event.RESTART): At.ASKED,
    (At.FOLLOWING, Event.RESTART): At.ASKED,
    (At.VERIFYING, Event.RESTART): At.ASKED,
    **{(each, Event.LEAVE): At.LEFT for each in At},
}

STREAM: Mapping[tuple[Now, Event], Now] = {
    (Now.WAITING, Event.BEGIN): Now.LIVE,
    (Now.WAITING, Event.RESUME): Now.RESUMING,
    (Now.RESUMING, Event.BEGIN): Now.LIVE,
    (Now.RESUMING, Event.GONE): Now.LOST,
    (Now.LIVE, Event.HOLE): Now.FILLING,
    (Now.LIVE, Event.AGAIN): Now.WAITING,
    (Now.FILLING, Event.WHOLE): Now.LIVE,
    (Now.FILLING, Event.GONE): Now.LOST,
    (Now.FILLING, Event.AGAIN): Now.WAITING,
    (Now.LOST, Event.WHOLE): Now.LIVE,
    (Now.LOST, Event.HOLE): Now.FILLING,
    (Now.LOST, Event.AGAIN): Now.WAITING,
    **{(each, Event.RESTART): Now.WAITING for each in Now if each is not Now.LEFT},
    **{(each, Event.LEAVE): Now.LEFT for each in Now},
}


class State(NamedTuple):
    """What a snapshot says of one stream: its last number, and the messages, as topic and body.

    `offset` is the last number of all messages of that moment.
    """

    stream: str
    seq: int
    rows: list[tuple[bytes, bytes]]
    offset: int = 0


class Pages:
    """A snapshot as it comes, page by page. A stream may go on in the next one, or begin anew there."""

    def __init__(self) -> None:
        self.after: str | None = None
        self._open: State | None = None

    def add(self, page: Mapping[str, Any]) -> Iterator[State]:
        """The streams that are complete with this page."""
        self.after = page.get("next")
        for each in page["streams"]:
            rows = [(topic, body) for topic, body in each["messages"]]
            state = State(each["stream"], each["seq"], rows, page.get("offset", 0))
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
    """One subscription. Part of a stream, where it is narrower than that: then holes cannot be seen."""

    __slots__ = ("beats", "mode", "pages", "partial", "state", "text")

    def __init__(self, text: str, head: int, mode: Mode) -> None:
        self.text = text
        self.mode = mode
        self.partial = 0 < stream_end(text, head) < len(text)
        self.state = At.ASKED
        self.pages = Pages()
        self.beats = 0

    def tell(self, event: Event) -> bool:
        """Move on; whether it has."""
        before, self.state = self.state, PREFIX.get((self.state, event), self.state)
        return self.state is not before

    @property
    def stating(self) -> bool:
        """Whether the state of all streams under it is known: one that was not among them has said nothing before."""
        return self.mode is Mode.STATE and not self.partial and self.state in (At.FOLLOWING, At.VERIFYING)

    @property
    def wants(self) -> tuple[str, dict[str, Any]] | None:
        """The command that it waits for the answer to."""
        if self.state is At.VERIFYING or (self.state is At.BEGINNING and self.mode is Mode.STATE):
            return "snapshot", _snapshot(self.text, self.pages)
        return None


class Track:
    """One stream that is followed (or that part of one to which a narrower prefix leads).

    `last` is the number of the last message given out, -1 if it has not begun, `following` the number that may be given
    out at once: none (0), unless it is live. `held` waits for what is missing before it, and `target` is the highest
    number that is known to exist. `first` is the first that arrived before it began. What is up to `gone` cannot be had
    again. `rows` are to be given out on reaching number `rows_at`. `stated`: its state was given out when it began. It
    may have to begin with `found`, a state that may have overtaken messages on their way: see `gap_recovery`.

    Over a restart of the daemon: `seen` is the epoch in which `last` was reached, and `reached` the highest number that
    was known then. `skip`: what is read again and is of this epoch or an earlier one has been given out before.
    """

    __slots__ = (
        "first", "following", "found", "gone", "held", "last", "name", "pages", "partial", "prefix", "reached", "rows",
        "rows_at", "seen", "skip", "state", "stated", "target",
    )  # fmt: skip

    def __init__(self, name: str, prefix: str, *, partial: bool) -> None:
        self.name = name
        self.prefix = prefix
        self.partial = partial
        self.state = Now.WAITING
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
        self.found: State | None = None
        self.pages = Pages()

    def tell(self, event: Event) -> bool:
        """Move on; whether it has."""
        before, self.state = self.state, STREAM.get((self.state, event), self.state)
        self.following = self.last + 1 if self.state is Now.LIVE else 0
        if self.state not in (Now.WAITING, Now.RESUMING):
            self.seen = 0
        return self.state is not before

    @property
    def missing(self) -> int:
        """The last number that is missing before what is held, or before the end."""
        return self.held[0].seq - 1 if self.held else self.target

    @property
    def wants(self) -> tuple[str, dict[str, Any]] | None:
        """The command that it waits for the answer to."""
        if self.state is Now.FILLING:
            return "replay", {"stream": self.name, "from": self.last + 1, "to": self.missing}
        if self.state is Now.RESUMING:
            return "replay", {"stream": self.name, "from": self.last, "to": max(self.last, self.missing)}
        if self.state is Now.LOST:
            return "snapshot", _snapshot(self.name, self.pages)
        return None


def _snapshot(prefix: str, pages: Pages) -> dict[str, Any]:
    return {"prefix": prefix} if pages.after is None else {"prefix": prefix, "after": pages.after}


def stream_end(topic: str, head: int) -> int:
    """Where the name of a topic's stream ends: behind its first two components; 0 if it has not as many."""
    key = topic.find(".", head) + 1
    return topic.find(".", key) + 1 if key else 0
