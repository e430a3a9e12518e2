"""The life of clients: present, lost or logged out, by the commands that they send and the connections they have.

Pure, apart from the store that keeps what clients have said of themselves: the caller gives the time, in seconds of a
monotonic clock, and says which connections are open. This module must not know orders.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

import msgpack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ibbridge.config.model import LivenessConfig
    from ibbridge.risk.halt import ValueStore


class Presence(Enum):
    """Knowledge of whether a client is there."""

    PRESENT = "present"
    """The client has said something lately, over a connection that is open."""
    LOST = "lost"
    """All connections of the client have closed, or it was silent for too long."""
    LEFT = "left"
    """The client has logged out."""


class PresenceEvent(Enum):
    """Event that may change the presence of a client."""

    WORD = "a command of the client comes"
    CLOSE = "the last of its connections closes"
    SILENCE = "no command comes for `ttl` seconds"
    LOGOUT = "the client logs out"


_P, _E = Presence, PresenceEvent

TRANSITIONS: dict[tuple[Presence, PresenceEvent], Presence] = {
    **dict.fromkeys(((state, _E.WORD) for state in Presence), _P.PRESENT),
    (_P.PRESENT, _E.CLOSE): _P.LOST,
    (_P.PRESENT, _E.SILENCE): _P.LOST,
    (_P.PRESENT, _E.LOGOUT): _P.LEFT,
    (_P.LOST, _E.LOGOUT): _P.LEFT,
}
"""The next presence by presence and event. A pair that is not here changes nothing."""


class CancelOn(Enum):
    """Choice of the ends of a client's life that cancel its orders."""

    NEVER = "never"
    LOSS = "loss"
    LOGOUT = "logout"
    BOTH = "both"

    def means(self, presence: Presence) -> bool:
        """Return True if the orders of a client are cancelled that is lost, or has left."""
        wanted = {Presence.LOST: (CancelOn.LOSS, CancelOn.BOTH), Presence.LEFT: (CancelOn.LOGOUT, CancelOn.BOTH)}
        return self in wanted.get(presence, ())


MOST = 10_000
"""Most clients that are remembered. Beyond that, those are forgotten first of which nothing depends."""

_KEY = "clients"


@dataclass(slots=True, eq=False)
class Life:
    """Life of a client.

    - `ttl`: seconds without a command after which it is lost. `window`: seconds from then until its orders are
      cancelled. `cancel_on`: its choice for its orders; None if it has made none.
    - `heard`: when the last command came. `peers`: the connections over which it has sent commands, if open.
    - `since`: when its presence changed. `why`: how it was lost. `settled`: what follows from its absence is done
      for its orders. `declared`: it has said `hello`. `trades`: it may trade.
    - `run`: the number of its present run, or of the last one. A run ends when the client is gone, or when it says
      that another process speaks for it (`named`). `let_go`: the last run whose subscriptions it has no longer.
    """

    name: str
    ttl: float
    window: float
    heard: float
    since: float
    cancel_on: CancelOn | None = None
    presence: Presence = Presence.PRESENT
    peers: set[bytes] = field(default_factory=set)
    why: str = ""
    settled: bool = False
    declared: bool = False
    trades: bool = False
    run: int = 0
    named: str = ""
    let_go: int = -1

    def step(self, event: PresenceEvent, now: float) -> bool:
        """Change the presence as the table says. Return True if it has changed."""
        to = TRANSITIONS.get((self.presence, event), self.presence)
        if to is self.presence:
            return False
        self.presence, self.since, self.settled = to, now, False
        if event is PresenceEvent.CLOSE:
            self.why = "its connections have closed"
        elif event is PresenceEvent.SILENCE:
            self.why = f"it has sent no command for {self.ttl:g} s"
        return True


class Liveness:
    """Table of the clients that have sent commands, or have orders. `monotonic` returns the time."""

    def __init__(self, config: LivenessConfig, values: ValueStore | None, monotonic: Callable[[], float]) -> None:
        self._config = config
        self._values = values
        self._monotonic = monotonic
        self.speaker: str | None = None
        """The client whose command is being executed; None for one that may not trade."""
        self._lives: dict[str, Life] = {}
        self._stored: dict[str, dict[str, Any]] = {}
        self._kept = True

    # -- what clients say

    def word(self, client: str | None, peer: bytes, *, trades: bool = True) -> None:
        """Note that a command of a client has come over a connection; None for one that speaks for nobody.

        `trades`: the sender may trade. What a program that may not has said under the name is void from then on, so
        that it decides nothing about orders.
        """
        self.speaker = client
        if client is None:
            return
        life = self._lives.get(client) or self._new(client)
        if trades and not life.trades:
            life.trades, life.cancel_on, life.peers = True, None, set()
        life.heard = now = self._monotonic()
        life.peers.add(peer)
        if life.presence is not Presence.PRESENT:
            if life.presence is Presence.LEFT:
                self._store(life, left=False)
            life.step(PresenceEvent.WORD, now)
            if not life.declared:
                life.let_go = life.run
            life.run += 1

    def hello(
        self, client: str, ttl: float | None, window: float | None, cancel_on: CancelOn | None, run: str = ""
    ) -> Life:
        """Take what a client says of itself, and return its life. What it leaves out is as configured.

        `run` names the process that speaks: another one than before ends what the earlier one has subscribed to.
        """
        if client != self.speaker:
            now = self._monotonic()
            return Life(client, self._config.ttl, self._config.window, now, now)
        life = self._lives.get(client) or self._new(client)
        life.ttl = self._config.ttl if ttl is None else ttl
        life.window = self._config.window if window is None else window
        life.cancel_on, life.declared = cancel_on, True
        if run:
            life.run += bool(life.named) and run != life.named
            life.named = run
        self._store(life, left=False)
        return life

    def logout(self, client: str) -> None:
        """Note that a client logs out: its connections may close now."""
        life = self._lives.get(client) if client == self.speaker else None
        if life is not None and life.step(PresenceEvent.LOGOUT, self._monotonic()):
            life.peers.clear()
            self._store(life, left=True)

    def choice(self, client: str) -> CancelOn:
        """Return what a client has chosen for its orders, or what is configured for it."""
        life = self._lives.get(client)
        if life is not None and life.cancel_on is not None:
            return life.cancel_on
        return CancelOn(self._config.clients.get(client, self._config.cancel_on_disconnect))

    # -- what becomes of them

    def look(self, connected: Callable[[bytes], bool]) -> None:
        """Find out which clients are lost. `connected` says if a connection is open."""
        now = self._monotonic()
        for life in self._lives.values():
            if life.presence is not Presence.PRESENT:
                continue
            life.peers = {peer for peer in life.peers if connected(peer)}
            if not life.peers:
                life.step(PresenceEvent.CLOSE, now)
            elif now - life.heard >= life.ttl:
                life.step(PresenceEvent.SILENCE, now)

    def unsettled(self) -> list[Life]:
        """Return the lives of the clients that are lost or have left, and of whose orders nothing was decided yet."""
        return [life for life in self._lives.values() if life.presence is not Presence.PRESENT and not life.settled]

    def is_known(self, client: str) -> bool:
        """Return True if a client has said `hello`, and is there."""
        life = self._lives.get(client)
        return life is not None and life.declared and life.presence is Presence.PRESENT

    def run_of(self, client: str) -> int:
        """Return the number of a client's present run, or of the last one."""
        life = self._lives.get(client)
        return 0 if life is None else life.run

    def take_ended(self) -> list[tuple[str, int]]:
        """Return the clients that have said `hello`, and whose runs have ended since the last call.

        Each comes with the number of the last run that has ended. The client itself may be back.
        """
        ended = []
        for life in self._lives.values():
            last = life.run - (life.presence is Presence.PRESENT)
            if life.declared and last > life.let_go:
                life.let_go = last
                ended.append((life.name, last))
        return ended

    def presence(self, client: str) -> Presence | None:
        """Return the presence of a client; None if it is not known."""
        life = self._lives.get(client)
        return None if life is None else life.presence

    # -- memory

    def _new(self, client: str) -> Life:
        if len(self._lives) >= MOST:
            self._forget()
        now = self._monotonic()
        life = self._lives[client] = Life(client, self._config.ttl, self._config.window, now, now)
        return life

    def _forget(self) -> None:
        """Forget clients that have said nothing of themselves, the longest silent ones first."""
        idle = sorted((life for life in self._lives.values() if life.name not in self._stored), key=lambda x: x.heard)
        for life in idle[: MOST // 10]:
            del self._lives[life.name]

    def load(self) -> None:
        """Load what the clients of an earlier process have said of themselves."""
        packed = self._values.get(_KEY) if self._values else None
        try:
            stored = msgpack.unpackb(packed) if packed else {}
            self._stored = {name: _valid(**about) for name, about in stored.items()}
        except (ValueError, TypeError, AttributeError):  # damaged: the choices of the orders themselves still count
            self._stored = {}

    def begin(self, owners: Iterable[str]) -> None:
        """Take the clients of an earlier process, and the owners of open orders, as lost from now on."""
        now = self._monotonic()
        for client in {*self._stored, *owners}:
            life = self._new(client)
            about = self._stored.get(client)
            life.presence, life.why = Presence.LOST, "it has not come back since the daemon started"
            if about is not None:
                life.ttl, life.window = about["ttl"], about["window"]
                life.cancel_on = CancelOn(about["cancel_on"]) if about["cancel_on"] else None
                life.presence = Presence.LEFT if about["left"] else Presence.LOST
            life.since = now

    def _store(self, life: Life, *, left: bool) -> None:
        choice = life.cancel_on.value if life.cancel_on else None
        about = {"ttl": life.ttl, "window": life.window, "cancel_on": choice, "left": left}
        if left and choice is None and life.name not in self._stored:
            about["cancel_on"] = None
        if self._stored.get(life.name) == about:
            return
        self._stored.pop(life.name, None)
        self._stored[life.name] = about
        while len(self._stored) > MOST // 2:  # the oldest
            del self._stored[next(iter(self._stored))]
        self._kept = False
        self.tick()

    def tick(self) -> None:
        """Write what could not be written before. Call this about every second."""
        if not self._kept and self._values is not None:
            self._kept = self._values.put(_KEY, msgpack.packb(self._stored))

    @property
    def kept(self) -> bool:
        """True if everything is stored, and so survives a restart."""
        return self._kept


def _valid(*, ttl: float, window: float, cancel_on: str | None, left: bool) -> dict[str, Any]:
    choice = CancelOn(cancel_on).value if cancel_on is not None else None
    return {"ttl": float(ttl), "window": float(window), "cancel_on": choice, "left": bool(left)}
