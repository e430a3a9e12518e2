"""The life of the connection to TWS: when to try, when to probe, when to give up, and why it is as it is.

Pure: it is told what happened and when (seconds of a clock that only goes forward), and says what is to be done:
`take` gives it, `wake_at` says when to come again. `ibbridge.tws.connector` carries it out. Knows no socket, byte or
loop.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeAlias

from ibbridge.tws.session import Backoff, Stage, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ibbridge.config.model import TwsConfig
    from ibbridge.tws.session import Session

DEADLINES = {
    Stage.RESOLVING: ("resolve_timeout", "no answer to the look-up of the host's name"),
    Stage.CONNECTING: ("connect_timeout", "no answer to the connect"),
    Stage.HANDSHAKING: ("handshake_timeout", "TWS accepted and then said nothing: is a dialog open?"),
    Stage.STARTING: ("start_timeout", "no accounts or order id came: is TWS logged in?"),
    Stage.SYNCING: ("sync_timeout", "what a new connection must be told was not done"),
}
"""The setting with the seconds that a stage may take, and what is said when it takes longer."""

MARKET_DATA = frozenset(
    (
        "tickPrice",
        "tickSize",
        "tickString",
        "tickGeneric",
        "tickOptionComputation",
        "tickByTickAllLast",
        "tickByTickBidAsk",
        "tickByTickMidPoint",
        "updateMktDepth",
        "updateMktDepthL2",
        "realtimeBar",
    )
)
"""What flows again once a competing session has let go of the data."""

CLIENT_ID_IN_USE = 326
PORT_CHANGED = 1300
LONGEST_CLIENT_ID_PAUSE = 120.0
FAREWELL = 5.0
"""Seconds that TWS has to close a connection of which it has said that it is over."""
PROBE_APART = 1.0
"""Seconds between two probes: TWS does not answer one that comes earlier."""
LOOKS = 10
"""How often, within the silence that is borne, a host is looked at that does not take what is written."""

MOST_REASONS = 8
"""Different reasons for which an outage goes on that are told; two that take turns are told once each."""

_PORT = re.compile(r"\d+")


class Cause(Enum):
    """Why a connection ended, as far as the pause depends on it."""

    LOST = "lost"
    SILENT = "silent"
    CLIENT_ID = "client id"
    UNFIT = "unfit"
    """The two sides cannot talk to each other, and will not be able to in a second either."""


class Do(Enum):
    """What is to be done, where there is nothing more to say of it."""

    TELL = "tell"
    """The session has changed."""
    BEGIN = "begin"
    """Say hello, and listen."""
    PROBE = "probe"
    """Send reqCurrentTime."""


@dataclass(frozen=True, slots=True)
class Resolve:
    """Look up the addresses of a host."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Open:
    """Connect to one address."""

    address: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Close:
    """End what is under way: a look-up, a connect, a connection. `repeated`: it is known since TWS was ready last."""

    stage: Stage
    why: str
    repeated: bool


Act: TypeAlias = Do | Resolve | Open | Close


class Line:
    """One connection at a time, for ever. `jitter` gives a number from 0 to 1 for each pause."""

    def __init__(self, config: TwsConfig, session: Session, jitter: Callable[[], float]) -> None:
        self.session = session
        self.port = config.port
        """Where it connects to: as configured, unless TWS has moved and is followed."""
        self._config = config
        self._jitter = jitter
        self._pause = Backoff(config.reconnect_min, config.reconnect_max)
        self._id_pause = Backoff(config.client_id_retry, max(LONGEST_CLIENT_ID_PAUSE, config.client_id_retry))
        self._acts: list[Act] = []
        self._addresses: list[tuple[Any, ...]] = []
        self._ids_in_use = 0  # tries in a row that the client id was in use for
        self._woken = 0.0
        self._reasons: set[str] = set()  # that are known since TWS was ready
        self._moved_to: int | None = None  # where TWS has said it is, and we are not
        self._new_connection()

    def _new_connection(self) -> None:
        self._farewell: tuple[Cause, str] | None = None  # TWS has said that, and why, it will close
        self._spoke = False  # TWS has said something after START_API
        self._probed: float | None = None
        self._unbroken = 0.0  # when the last byte before that probe came
        self._blocked: float | None = None  # since when TWS takes nothing
        self._looked = 0.0
        self._taken = 0

    def take(self) -> list[Act]:
        """What is to be done, in this order; each is given once."""
        acts, self._acts = self._acts, []
        return acts

    # -- time

    def wake_at(self) -> float | None:
        """When to call `wake`; None if something else must happen first.

        Bytes that come only ever make it later. So nobody has to look at it for each read.
        """
        session, probe = self.session, self._config.probe_after
        if session.stage is Stage.DOWN:
            return session.next_try
        times = [] if session.deadline is None else [session.deadline]
        if session.ready:
            # An answer to a probe would have the next one be due before TWS would be dead.
            times.append(min(self._dead_at(), self._woken + probe) if self._awaited() else self._probe_at())
            if self._blocked is not None:
                times.append(self._looked + self._config.silence_timeout / LOOKS)
        return min(times, default=None)

    def wake(self, now: float, taken: int = 0) -> None:
        """It is `now`, and TWS has taken so many bytes of this connection's."""
        session = self.session
        self._woken = now
        if session.stage is Stage.DOWN:
            if session.next_try is None or now >= session.next_try:
                self._try(now)
        elif session.deadline is not None and now >= session.deadline:
            self._late(now)
        elif session.ready:
            self._look(now, taken)

    def _try(self, now: float) -> None:
        self._new_connection()
        self._step(Step.TRY, now)
        self._acts.append(Resolve(self._config.host, self.port))

    def _late(self, now: float) -> None:
        if self._farewell is not None:
            self._fail(Cause.LOST, "", now)
        else:
            setting, why = DEADLINES[self.session.stage]
            self._fail(Cause.LOST, f"{why} ({getattr(self._config, setting):g} s)", now)

    def _look(self, now: float, taken: int) -> None:
        """See whether the host is alive: whether it takes what is written, and says something now and then."""
        seconds = f"for {self._config.silence_timeout:g} s"
        if self._blocked is not None:
            self._looked = now
            if taken > self._taken:
                self._taken, self._blocked = taken, now
            elif now >= self._blocked + self._config.silence_timeout:
                self._fail(Cause.SILENT, f"TWS has taken nothing of what was written {seconds}: it hangs", now)
                return
        if self._awaited():
            if now >= self._dead_at():
                self._fail(Cause.SILENT, f"TWS has said nothing {seconds}, not even the time when asked", now)
        elif now >= self._probe_at():
            self._probed, self._unbroken = now, self._heard()
            self._acts.append(Do.PROBE)

    def _heard(self) -> float:
        return self.session.since if self.session.heard is None else self.session.heard

    def _awaited(self) -> bool:
        """Whether nothing at all has come since the last probe."""
        return self._probed is not None and self._heard() == self._unbroken

    def _probe_at(self) -> float:
        due = self._heard() + self._config.probe_after
        return due if self._probed is None else max(due, self._probed + PROBE_APART)

    def _dead_at(self) -> float:
        """When silence has lasted too long. A probe that went out late, as we were held up, has its full time too."""
        config = self._config
        late = (self._probed or 0.0) + config.silence_timeout - config.probe_after
        return max(self._heard() + config.silence_timeout, late)

    # -- what happened

    def resolved(self, addresses: Sequence[tuple[Any, ...]], now: float) -> None:
        """The host's name has these addresses; they are tried in turn: TWS may listen on one of them."""
        if self._step(Step.RESOLVED, now):
            self._addresses = list(addresses)
            self._next_address("the host's name has no address", now)

    def refused(self, why: str, now: float) -> None:
        """The name was not found, or an address did not take us."""
        if self.session.stage is Stage.CONNECTING:
            self._next_address(why, now)
        elif self.session.stage is Stage.RESOLVING:
            self._fail(Cause.LOST, why, now)

    def _next_address(self, why: str, now: float) -> None:
        if self._addresses:
            self._acts.append(Open(self._addresses.pop(0)))
        else:
            self._fail(Cause.LOST, why, now)

    def opened(self, now: float) -> None:
        """There is a TCP connection, which says nothing yet of who is behind it."""
        if self._step(Step.CONNECTED, now):
            self.session.heard = None
            self._acts.append(Do.BEGIN)

    def greeted(self, now: float) -> None:
        """TWS has said its version, and was told to start."""
        self._step(Step.GREETED, now)

    def spoke(self) -> None:
        """TWS has said something after that."""
        self._spoke = True

    def started(self, now: float) -> bool:
        """Accounts and the next order id are known; False if that was known before."""
        return self._step(Step.STARTED, now)

    def synced(self, now: float) -> None:
        """TWS has been told what a new connection must be told."""
        if self._step(Step.SYNCED, now):
            self._moved_to = None
            self._reasons.clear()

    def blocked(self, now: float, taken: int) -> None:
        """What is written is not taken at once any more; so many bytes were."""
        if self._blocked is None:
            self._blocked, self._looked, self._taken = now, now, taken

    def drained(self) -> None:
        """Everything that was written has been taken."""
        self._blocked = None

    def closed(self, why: str, now: float, *, unfit: bool = False) -> None:
        """The connection is over; `unfit` if the two sides do not speak the same language."""
        bare = self.session.stage is Stage.STARTING and not self._spoke and not unfit
        if bare and self._farewell is None:
            why += f" right after the start, without a word; perhaps {self._in_use()}"
            self._fail(Cause.CLIENT_ID, why, now)
        else:
            self._fail(Cause.UNFIT if unfit else Cause.LOST, why, now)

    def flows(self, now: float) -> None:
        """Market data has come."""
        if self.session.flows(now):
            self._acts.append(Do.TELL)

    def notice(self, code: int, text: str, now: float) -> tuple[str, str] | None:
        """TWS has said this. Which farm (or `upstream`) has changed, and to what, if one has."""
        if code == CLIENT_ID_IN_USE and not self.session.ready:
            self._part(Cause.CLIENT_ID, self._in_use(), now)
        elif code == PORT_CHANGED:
            self._moved(text, now)
        competing = self.session.competing
        changed = self.session.notice(code, text, now)
        if self.session.competing != competing:
            self._acts.append(Do.TELL)
        return changed

    def _in_use(self) -> str:
        number = self._config.client_id
        return (
            f"client id {number} is in use (326): TWS may still hold a connection of ours that broke, which it lets "
            "go of by itself; if it stays so, another program uses it: give that one another id"
        )

    def _moved(self, text: str, now: float) -> None:
        """Behind which port TWS is now: the last number in the text that can be one."""
        ports = [port for port in map(int, (each[:6] for each in _PORT.findall(text))) if 1 <= port <= 65_535]
        named = [port for port in ports if port != PORT_CHANGED] or ports
        if not named:
            self._part(Cause.LOST, f"TWS has changed its API port, and does not say to which (1300): {text}", now)
        elif self._config.follow_port:
            self.port = named[-1]
            self._part(Cause.LOST, f"TWS has changed its API port to {self.port} (1300), where we follow it", now)
        else:
            self._moved_to = named[-1]
            self._part(Cause.LOST, "TWS has changed its API port", now)

    def _part(self, cause: Cause, why: str, now: float) -> None:
        """TWS is about to close. If it does not, we do."""
        session = self.session
        if session.stage is not Stage.DOWN and self._farewell is None:
            self._farewell = cause, why
            session.deadline = min(now + FAREWELL, session.deadline or now + FAREWELL)

    # -- from one stage to the next

    def _step(self, step: Step, now: float) -> bool:
        session = self.session
        if not session.step(step, now):
            return False
        limit = DEADLINES.get(session.stage)
        if self._farewell is None:
            session.deadline = now + getattr(self._config, limit[0]) if limit else None
        self._acts.append(Do.TELL)
        return True

    def _fail(self, cause: Cause, why: str, now: float) -> None:
        session = self.session
        if session.stage is Stage.DOWN:
            return
        if self._farewell is not None:
            cause, why = self._farewell
        if self._moved_to is not None:
            why += f"; TWS has said (1300) that its API port is {self._moved_to} now: set tws.port, or tws.follow_port"
        lived = self._heard() if cause is Cause.SILENT else now
        if session.ready and lived - session.since >= self._config.stable_after:
            session.settled()
        self._acts.append(Close(session.stage, why, self._is_known(why)))
        self._ids_in_use = self._ids_in_use + 1 if cause is Cause.CLIENT_ID else 0
        session.step(Step.LOST, now, why)
        session.next_try = now + self._delay(cause)
        self._acts.append(Do.TELL)

    def _is_known(self, why: str) -> bool:
        """Return True if a failure for this reason was told since TWS was ready, or too many different ones were."""
        known = why in self._reasons or len(self._reasons) >= MOST_REASONS
        if not known:
            self._reasons.add(why)
        return known

    def _delay(self, cause: Cause) -> float:
        if cause is Cause.CLIENT_ID:  # to the full: less would find the id in use again
            usual = self._pause.delay(self.session.failures, self._jitter())
            return max(usual, self._id_pause.delay(self._ids_in_use, 0.0))
        if cause is Cause.UNFIT:
            return self._config.reconnect_max
        return self._pause.delay(self.session.failures, self._jitter())
