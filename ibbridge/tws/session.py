"""What holds above one connection to TWS: the stage it is in, its farms, and how long to wait before the next try.

Pure: told what happened and when (seconds of any clock that only goes forward), it keeps what `status` and the
heartbeat show. Knows no socket and no bus.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


class Stage(Enum):
    """Where a connection is. One that fails goes to DOWN, waits, and begins again."""

    DOWN = "down"
    RESOLVING = "resolving"
    CONNECTING = "connecting"
    HANDSHAKING = "handshaking"
    STARTING = "starting"
    SYNCING = "syncing"
    READY = "ready"


class Step(Enum):
    """What moves a connection from one stage to the next."""

    TRY = "try"
    RESOLVED = "resolved"
    CONNECTED = "connected"
    GREETED = "greeted"
    STARTED = "started"
    SYNCED = "synced"
    LOST = "lost"


TRANSITIONS = {
    (Stage.DOWN, Step.TRY): Stage.RESOLVING,
    (Stage.RESOLVING, Step.RESOLVED): Stage.CONNECTING,
    (Stage.CONNECTING, Step.CONNECTED): Stage.HANDSHAKING,
    (Stage.HANDSHAKING, Step.GREETED): Stage.STARTING,
    (Stage.STARTING, Step.STARTED): Stage.SYNCING,
    (Stage.SYNCING, Step.SYNCED): Stage.READY,
    **{(stage, Step.LOST): Stage.DOWN for stage in Stage},
}

# IB's notices about its own servers: what each says about the link behind TWS, and about one farm.
_UPSTREAM = {1100: "lost", 2110: "lost", 1101: "restored, data lost", 1102: "restored, data kept"}
_FARMS = {
    2103: "down",
    2104: "ok",
    2105: "down",
    2106: "ok",
    2107: "dormant",
    2108: "dormant",
    2119: "connecting",
    2157: "down",
    2158: "ok",
}
# Somebody else has logged in with the same user and has the market data; what says that it is here again. IB sends no
# notice of its own for that.
_COMPETING = 10197
_DATA_IS_BACK = frozenset((1101, 1102, 2104))
_ON_ITS_WAY = 1.0

# The farm is the last word's rest behind its colon, or behind its full stop (`upon demand.ushmds`); `usfarm.nj` is one.
_FARM = re.compile(r"(?:^|\s)[^\s:.]*[:.]\s?([A-Za-z0-9][^\s:]*?)\.?\s*$")


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds before the next try: twice as long after each failure, never more than `longest`."""

    shortest: float
    longest: float

    def delay(self, failures: int, jitter: float) -> float:
        """`jitter` from 0 to 1 takes up to half of it away, so that daemons do not knock in step."""
        whole = min(self.longest, self.shortest * 2.0 ** min(failures - 1, 30))
        return whole * (1 - jitter / 2)


class Session:
    """The state that outlives connections."""

    def __init__(self, now: float) -> None:
        self.stage = Stage.DOWN
        self.since = now
        self.deadline: float | None = None
        """When this stage is given up."""
        self.next_try: float | None = None
        """When the next connection is tried, while there is none."""
        self.heard: float | None = None
        """When the last byte came."""
        self.failures = 0
        self.last_error = ""
        self.stuck: Stage | None = None
        """Where the last try ended, until one is ready."""
        self.upstream = "ok"
        self.upstream_since = now
        self.competing = False
        self.farms: dict[str, str] = {}
        self.version: int | None = None
        self.connection_time = ""
        self.accounts: tuple[str, ...] = ()
        self.market_data_type = 1
        """The type of market data that TWS is asked for on each new connection: the one that was set last."""
        self._streak = 0  # failures, of which those that a connection's short life has not made good yet
        self._competed = now

    @property
    def ready(self) -> bool:
        """Whether requests may be sent."""
        return self.stage is Stage.READY

    def step(self, step: Step, now: float, why: str = "") -> bool:
        """Move on; False if nothing changed. `why` says what went wrong, where something did."""
        to = TRANSITIONS.get((self.stage, step))
        if step is Step.LOST:
            self._streak += 1
            self.failures, self.last_error = self._streak, why
            self.stuck = self.stage
        if step is Step.SYNCED:
            self.failures, self.last_error, self.stuck = 0, "", None
        if to is None or to is self.stage:
            return False
        if to in (Stage.DOWN, Stage.RESOLVING):
            self._forget(now)
        self.stage, self.since = to, now
        return True

    def _forget(self, now: float) -> None:
        """What was known of a connection that is no more."""
        self.farms, self.upstream, self.upstream_since = {}, "ok", now
        self.version, self.connection_time, self.competing = None, "", False
        self.deadline = self.next_try = self.heard = None

    def settled(self) -> None:
        """The connection was ready for so long that its end is a new failure, and not the next in a row."""
        self._streak = 0

    def proven(self, seconds: float) -> bool:
        """Whether it is ready; after failures, whether TWS has gone on talking for so long since it was."""
        return self.ready and (not self._streak or (self.heard or 0.0) - self.since >= seconds)

    def notice(self, code: int, text: str, now: float) -> tuple[str, str] | None:
        """What one of IB's connectivity notices changed: the farm (or `upstream`) and its state, if anything did."""
        if code == _COMPETING:
            self.competing, self._competed = True, now
        elif code in _DATA_IS_BACK:
            self.competing = False
        if code in _UPSTREAM:
            if self.upstream == _UPSTREAM[code]:
                return None  # 1100 is repeated while one outage lasts
            self.upstream, self.upstream_since = _UPSTREAM[code], now
            return "upstream", self.upstream
        if code not in _FARMS:
            return None
        found = _FARM.search(text)
        farm = found[1] if found else str(code)
        before_farm = self.farms.get(farm)
        self.farms[farm] = _FARMS[code]
        return (farm, self.farms[farm]) if self.farms[farm] != before_farm else None

    def flows(self, now: float) -> bool:
        """Market data has come; whether that is news. What was on its way when the other session took it is not."""
        if not self.competing or now < self._competed + _ON_ITS_WAY:
            return False
        self.competing = False
        return True

    def greeted(self, data: Mapping[str, Any]) -> None:
        """The host has said its version and time."""
        self.version, self.connection_time = data["version"], data["connectionTime"]

    def named(self, accounts: str) -> None:
        """The host has said which accounts it manages; the list may end in a comma."""
        self.accounts = tuple(filter(None, accounts.split(",")))

    def summary(self, now: float) -> dict[str, Any]:
        """What `sys.tws.connection.`, heartbeats and `status` say."""
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
