"""The state of the session with TWS: connection stage, farms, accounts, failures, and the backoff before the next try.

Pure: the caller tells what happened and when (seconds of a monotonic clock). `status` and heartbeats show this state.
The module must not know sockets or the bus.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from ibbridge.ib import notices

if TYPE_CHECKING:
    from collections.abc import Mapping


class Stage(Enum):
    """Stage of a connection to TWS. A connection that fails goes to DOWN; after a pause a new one begins."""

    DOWN = "down"
    RESOLVING = "resolving"
    CONNECTING = "connecting"
    HANDSHAKING = "handshaking"
    STARTING = "starting"
    SYNCING = "syncing"
    READY = "ready"


class ConnectionStep(Enum):
    """Event that moves a connection from one stage to the next."""

    TRY = "try"
    RESOLVED = "resolved"
    CONNECTED = "connected"
    GREETED = "greeted"
    STARTED = "started"
    SYNCED = "synced"
    LOST = "lost"


TRANSITIONS = {
    (Stage.DOWN, ConnectionStep.TRY): Stage.RESOLVING,
    (Stage.RESOLVING, ConnectionStep.RESOLVED): Stage.CONNECTING,
    (Stage.CONNECTING, ConnectionStep.CONNECTED): Stage.HANDSHAKING,
    (Stage.HANDSHAKING, ConnectionStep.GREETED): Stage.STARTING,
    (Stage.STARTING, ConnectionStep.STARTED): Stage.SYNCING,
    (Stage.SYNCING, ConnectionStep.SYNCED): Stage.READY,
    **{(stage, ConnectionStep.LOST): Stage.DOWN for stage in Stage},
}

_ON_ITS_WAY = 1.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff before the next try: seconds that double with each failure, up to `longest`."""

    shortest: float
    longest: float

    def delay(self, failures: int, jitter: float) -> float:
        """Return the seconds to wait. `jitter` (0 to 1) takes up to half away, so that daemons do not try in step."""
        whole = min(self.longest, self.shortest * 2.0 ** min(failures - 1, 30))
        return whole * (1 - jitter / 2)


class Session:
    """Session state that outlives single connections."""

    def __init__(self, now: float) -> None:
        self.stage = Stage.DOWN
        self.since = now
        self.deadline: float | None = None
        """The time at which the connection is given up if it is still in this stage."""
        self.next_try: float | None = None
        """The time of the next try, while there is no connection."""
        self.heard: float | None = None
        """The time of the last read from TWS."""
        self.failures = 0
        self.last_error = ""
        self.stuck: Stage | None = None
        """The stage in which the last try ended; None as soon as a connection is ready."""
        self.upstream = "ok"
        self.upstream_since = now
        self.competing = False
        self.farms: dict[str, str] = {}
        self.version: int | None = None
        self.connection_time = ""
        self.accounts: tuple[str, ...] = ()
        self.market_data_type = 1
        """The type of market data requested on each new connection: the type that a client set last."""
        self._streak = 0  # failures in a row; a connection that was ready only for a short time does not reset them
        self._competed = now

    @property
    def ready(self) -> bool:
        """Return True if requests may be sent."""
        return self.stage is Stage.READY

    def step(self, step: ConnectionStep, now: float, why: str = "") -> bool:
        """Move to the next stage. Return False if the stage did not change. `why` is the reason of a failure."""
        to = TRANSITIONS.get((self.stage, step))
        if step is ConnectionStep.LOST:
            self._streak += 1
            self.failures, self.last_error = self._streak, why
            self.stuck = self.stage
        if step is ConnectionStep.SYNCED:
            self.failures, self.last_error, self.stuck = 0, "", None
        if to is None or to is self.stage:
            return False
        if to in (Stage.DOWN, Stage.RESOLVING):
            self._forget(now)
        self.stage, self.since = to, now
        return True

    def _forget(self, now: float) -> None:
        """Reset the state of a connection that is gone."""
        self.farms, self.upstream, self.upstream_since = {}, "ok", now
        self.version, self.connection_time, self.competing = None, "", False
        self.deadline = self.next_try = self.heard = None

    def settled(self) -> None:
        """Reset the row of failures: the connection was ready long enough for its end to count as a first failure."""
        self._streak = 0

    def proven(self, seconds: float) -> bool:
        """Return True if the connection is ready and, after failures, TWS still sent data `seconds` after that."""
        return self.ready and (not self._streak or (self.heard or 0.0) - self.since >= seconds)

    def apply_notice(self, code: int, text: str, now: float) -> tuple[str, str] | None:
        """Apply a connectivity notice of IB's. Return the farm (or "upstream") and its new state; None if unchanged."""
        if code == notices.COMPETING:
            self.competing, self._competed = True, now
        elif code in notices.DATA_IS_BACK:
            self.competing = False
        if code in notices.UPSTREAM:
            if self.upstream == notices.UPSTREAM[code]:
                return None  # 1100 is repeated while one outage lasts
            self.upstream, self.upstream_since = notices.UPSTREAM[code], now
            return "upstream", self.upstream
        if code not in notices.FARMS:
            return None
        farm = notices.farm(code, text)
        before_farm = self.farms.get(farm)
        self.farms[farm] = notices.FARMS[code]
        return (farm, self.farms[farm]) if self.farms[farm] != before_farm else None

    def flows(self, now: float) -> bool:
        """Return True if market data that has just come ends a competing session, and note the end.

        Data within a second after the notice (10197) proves nothing: it was on its way before.
        """
        if not self.competing or now < self._competed + _ON_ITS_WAY:
            return False
        self.competing = False
        return True

    def greeted(self, data: Mapping[str, Any]) -> None:
        """Note the server version and the connection time of the host's greeting."""
        self.version, self.connection_time = data["version"], data["connectionTime"]

    def named(self, accounts: str) -> None:
        """Note the accounts that the host manages, from a list that may end in a comma."""
        self.accounts = tuple(filter(None, accounts.split(",")))

    def summary(self, now: float) -> dict[str, Any]:
        """Return the session state as shown in `sys.tws.connection.`, heartbeats and `status`. Times are in seconds."""
        return {
            "stage": self.stage.value,
            "since": round(now - self.since, 3),
            "deadline": _left(self.deadline, now),
            "nextTry": _left(self.next_try, now),
            "silent": None if self.heard is None else round(now - self.heard, 3),
            "serverVersion": self.version,
            "connectionTime": self.connection_time,
            "accounts": list(self.accounts),
            "marketDataType": self.market_data_type,
            "upstream": self.upstream,
            "upstreamSince": round(now - self.upstream_since, 3),
            "competing": self.competing,
            "farms": dict(self.farms),
            "failures": self.failures,
            "lastError": self.last_error,
            "stuck": self.stuck.value if self.stuck else None,
        }


def _left(until: float | None, now: float) -> float | None:
    return None if until is None else round(max(0.0, until - now), 3)
