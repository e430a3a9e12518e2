"""The supervisor of the connection to TWS: decides when to connect, when to probe, and when to give a connection up.

Pure: the caller tells what happened and when (seconds of a monotonic clock). `next_actions` returns the actions that
follow, and `next_wakeup` the time of the next call. `ibbridge.tws.connector` carries the actions out. The module must
not know sockets, bytes or the event loop.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeAlias

from ibbridge.ib.notices import CLIENT_ID_IN_USE, PORT_CHANGED
from ibbridge.tws.session import Backoff, ConnectionStep, Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ibbridge.config.model import TwsConfig
    from ibbridge.tws.session import Session

DEADLINES = {
    Stage.RESOLVING: ("resolve_timeout", "no answer to the look-up of the host's name"),
    Stage.CONNECTING: ("connect_timeout", "no answer to the connect"),
    Stage.HANDSHAKING: ("handshake_timeout", "TWS accepted the connection and sent nothing: is a dialog open?"),
    Stage.STARTING: ("start_timeout", "no accounts or order id came: is TWS logged in?"),
    Stage.SYNCING: ("sync_timeout", "the requests that each new connection needs were not sent"),
}
"""The setting with the seconds that a stage may take, and the error text if the stage takes longer."""

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
"""Messages that flow again once a competing session has released the market data."""

LONGEST_CLIENT_ID_PAUSE = 120.0
FAREWELL = 5.0
"""Seconds that TWS has to close a connection after it has announced the close."""
PROBE_APART = 1.0
"""Seconds between two probes: TWS does not answer a probe that comes earlier."""
LOOKS = 10
"""Checks of a host that takes no written bytes, within `silence_timeout`."""

MOST_REASONS = 8
"""Different reasons of one outage that are logged as warnings, once each; further ones are logged as debug lines."""

_PORT = re.compile(r"\d+")


class Cause(Enum):
    """Cause of a connection's end, as far as the pause before the next try depends on it."""

    LOST = "lost"
    SILENT = "silent"
    CLIENT_ID = "client id"
    UNFIT = "unfit"
    """Bridge and host do not speak the same protocol, so a quick retry would not help."""


class Action(Enum):
    """Action without parameters for the connector."""

    TELL = "tell"
    """Tell the owner that the session has changed."""
    BEGIN = "begin"
    """Send the greeting."""
    PROBE = "probe"
    """Send reqCurrentTime."""


@dataclass(frozen=True, slots=True)
class Resolve:
    """Action: look up the addresses of a host."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Open:
    """Action: connect to an address."""

    address: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Close:
    """Action: end the look-up, the connect or the connection under way.

    `repeated`: this reason was reported before in the same outage.
    """

    stage: Stage
    why: str
    repeated: bool


AnyAction: TypeAlias = Action | Resolve | Open | Close


class Supervisor:
    """Supervisor of the connection to TWS, one connection at a time. `jitter` returns a number from 0 to 1."""

    def __init__(self, config: TwsConfig, session: Session, jitter: Callable[[], float]) -> None:
        self.session = session
        self.port = config.port
        """The TCP port to connect to: the configured port, or with `follow_port` the port that TWS has moved to."""
        self._config = config
        self._jitter = jitter
        self._pause = Backoff(config.reconnect_min, config.reconnect_max)
        self._id_pause = Backoff(config.client_id_retry, max(LONGEST_CLIENT_ID_PAUSE, config.client_id_retry))
        self._acts: list[AnyAction] = []
        self._noticed = False
        self._addresses: list[tuple[Any, ...]] = []
        self._ids_in_use = 0  # tries in a row that failed because the client id was in use
        self._woken = 0.0
        self._reasons: set[str] = set()  # reasons of failures reported since TWS was ready last
        self._moved_to: int | None = None  # the port that TWS has moved to, if follow_port is off
        self._new_connection()

    def _new_connection(self) -> None:
        self._farewell: tuple[Cause, str] | None = None  # TWS has announced the close, for this reason
        self._spoke = False  # TWS has sent a message after START_API
        self._probed: float | None = None  # the time of the last probe
        self._unbroken = 0.0  # the time of the last byte before that probe
        self._blocked: float | None = None  # the time since which TWS takes no bytes
        self._looked = 0.0
        self._taken = 0

    @property
    def where(self) -> str:
        """Host and port of TWS, for people."""
        return f"{self._config.host}:{self.port}"

    @property
    def has_news(self) -> bool:
        """Return True if there are actions, or if a notice may have changed when to call `wake`."""
        return bool(self._acts) or self._noticed

    def next_actions(self) -> list[AnyAction]:
        """Return the actions to carry out, in order, and forget them."""
        acts, self._acts = self._acts, []
        self._noticed = False
        return acts

    # -- time

    def next_wakeup(self) -> float | None:
        """Return when to call `wake`; None if another event must happen first.

        Incoming bytes only move this time later, so the caller need not ask again after each read.
        """
        session, probe = self.session, self._config.probe_after
        if session.stage is Stage.DOWN:
            return session.next_try
        times = [] if session.deadline is None else [session.deadline]
        if session.ready:
            # While a probe is open: if its response comes, the next probe is due before TWS could count as dead.
            times.append(min(self._dead_at(), self._woken + probe) if self._awaited() else self._probe_at())
            if self._blocked is not None:
                times.append(self._looked + self._config.silence_timeout / LOOKS)
        return min(times, default=None)

    def wake(self, now: float, taken: int = 0) -> None:
        """Decide on the actions that are due at `now`, when TWS has taken `taken` bytes of this connection."""
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
        self._step(ConnectionStep.TRY, now)
        self._acts.append(Resolve(self._config.host, self.port))

    def _late(self, now: float) -> None:
        if self._farewell is not None:
            self._fail(Cause.LOST, "", now)
        else:
            setting, why = DEADLINES[self.session.stage]
            self._fail(Cause.LOST, f"{why} ({getattr(self._config, setting):g} s)", now)

    def _look(self, now: float, taken: int) -> None:
        """Check that the host takes written bytes and sends some; probe a silent host, give a dead one up."""
        seconds = f"for {self._config.silence_timeout:g} s"
        if self._blocked is not None:
            self._looked = now
            if taken > self._taken:
                self._taken, self._blocked = taken, now
            elif now >= self._blocked + self._config.silence_timeout:
                self._fail(Cause.SILENT, f"TWS has taken none of the bytes written to it {seconds}: TWS hangs", now)
                return
        if self._awaited():
            if now >= self._dead_at():
                self._fail(Cause.SILENT, f"TWS has sent nothing {seconds}, and no response to a probe", now)
        elif now >= self._probe_at():
            self._probed, self._unbroken = now, self._heard()
            self._acts.append(Action.PROBE)

    def _heard(self) -> float:
        return self.session.since if self.session.heard is None else self.session.heard

    def _awaited(self) -> bool:
        """Return True if no byte has come since the last probe."""
        return self._probed is not None and self._heard() == self._unbroken

    def _probe_at(self) -> float:
        due = self._heard() + self._config.probe_after
        return due if self._probed is None else max(due, self._probed + PROBE_APART)

    def _dead_at(self) -> float:
        """Return when a silent host counts as dead.

        A probe that was sent late, because the bridge had stalled, gets its full time, too.
        """
        config = self._config
        late = (self._probed or 0.0) + config.silence_timeout - config.probe_after
        return max(self._heard() + config.silence_timeout, late)

    # -- events

    def resolved(self, addresses: Sequence[tuple[Any, ...]], now: float) -> None:
        """Connect to the addresses of the host's name, one after the other: TWS may listen on only one of them."""
        if self._step(ConnectionStep.RESOLVED, now):
            self._addresses = list(addresses)
            self._next_address("the host's name has no address", now)

    def refused(self, why: str, now: float) -> None:
        """Note a failed look-up, or a failed connect: try the next address, or give up."""
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
        """Begin the handshake on a new TCP connection; its peer is still unknown."""
        if self._step(ConnectionStep.CONNECTED, now):
            self.session.heard = None
            self._acts.append(Action.BEGIN)

    def greeted(self, now: float) -> None:
        """Move on: TWS has sent its version, and the connection has sent START_API."""
        self._step(ConnectionStep.GREETED, now)

    def spoke(self) -> None:
        """Note that TWS has sent a message after its greeting."""
        self._spoke = True

    def started(self, now: float) -> bool:
        """Move on: accounts and the next order id are known. Return False if they were known before."""
        return self._step(ConnectionStep.STARTED, now)

    def synced(self, now: float) -> None:
        """Move to READY: the requests that each new connection needs have been sent."""
        if self._step(ConnectionStep.SYNCED, now):
            self._moved_to = None
            self._reasons.clear()

    def blocked(self, now: float, taken: int) -> None:
        """Note that TWS no longer takes written bytes at once, after `taken` bytes."""
        if self._blocked is None:
            self._blocked, self._looked, self._taken = now, now, taken

    def drained(self) -> None:
        """Note that TWS has taken all written bytes."""
        self._blocked = None

    def closed(self, why: str, now: float, *, unfit: bool = False) -> None:
        """Note the end of the connection; `unfit` if the two sides do not speak the same protocol."""
        bare = self.session.stage is Stage.STARTING and not self._spoke and not unfit
        if bare and self._farewell is None:
            why += f" right after the start, without a word; perhaps {self._in_use()}"
            self._fail(Cause.CLIENT_ID, why, now)
        else:
            self._fail(Cause.UNFIT if unfit else Cause.LOST, why, now)

    def flows(self, now: float) -> None:
        """Note that market data has come, which may end a competing session."""
        if self.session.flows(now):
            self._acts.append(Action.TELL)

    def on_notice(self, code: int, text: str, now: float) -> tuple[str, str] | None:
        """Apply a notice of TWS. Return the farm (or "upstream") that changed and its new state; None if none did."""
        if code == CLIENT_ID_IN_USE and not self.session.ready:
            self._part(Cause.CLIENT_ID, self._in_use(), now)
        elif code == PORT_CHANGED:
            self._moved(text, now)
        self._noticed = True
        competing = self.session.competing
        changed = self.session.apply_notice(code, text, now)
        if self.session.competing != competing:
            self._acts.append(Action.TELL)
        return changed

    def _in_use(self) -> str:
        number = self._config.client_id
        return (
            f"client id {number} is in use (326): TWS may still hold a broken connection of this daemon, and "
            "drops it by itself; if this goes on, another program uses the id: give that program another one"
        )

    def _moved(self, text: str, now: float) -> None:
        """Note the new API port of TWS, the last number in the text that can be a port, and expect the close."""
        ports = [port for port in map(int, (digits[:6] for digits in _PORT.findall(text))) if 1 <= port <= 65_535]
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
        """Expect TWS to close the connection; after `FAREWELL` seconds the bridge closes the connection itself."""
        session = self.session
        if session.stage is not Stage.DOWN and self._farewell is None:
            self._farewell = cause, why
            session.deadline = min(now + FAREWELL, session.deadline or now + FAREWELL)

    # -- from one stage to the next

    def _step(self, step: ConnectionStep, now: float) -> bool:
        session = self.session
        if not session.step(step, now):
            return False
        limit = DEADLINES.get(session.stage)
        if self._farewell is None:
            session.deadline = now + getattr(self._config, limit[0]) if limit else None
        self._acts.append(Action.TELL)
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
        session.step(ConnectionStep.LOST, now, why)
        session.next_try = now + self._delay(cause)
        self._acts.append(Action.TELL)

    def _is_known(self, why: str) -> bool:
        """Return True if this reason was reported since TWS was ready last, or `MOST_REASONS` others were."""
        known = why in self._reasons or len(self._reasons) >= MOST_REASONS
        if not known:
            self._reasons.add(why)
        return known

    def _delay(self, cause: Cause) -> float:
        if cause is Cause.CLIENT_ID:  # without jitter: after a shorter pause the id would still be in use
            usual = self._pause.delay(self.session.failures, self._jitter())
            return max(usual, self._id_pause.delay(self._ids_in_use, 0.0))
        if cause is Cause.UNFIT:
            return self._config.reconnect_max
        return self._pause.delay(self.session.failures, self._jitter())
