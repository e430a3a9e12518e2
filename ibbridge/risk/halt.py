"""Halts: orders of a client, of an account or of all are refused from `halt` to `resume`, also across restarts.

Pure, apart from the store that keeps the table of halts. Cancels pass in any case, and not through this module.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

import msgpack

from ibbridge.protocol.errors import CommandRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

_KEY = "halt"

MOST = 1_000
"""Most halts of single clients and accounts at a time: each heartbeat has them all."""


class TradingState(Enum):
    """Permission of a scope to trade, the freest first."""

    ACTIVE = "active"
    """Orders pass."""
    REDUCING = "reducing"
    """Orders pass that cannot increase a position."""
    HALTED = "halted"
    """No order passes."""

    @property
    def rank(self) -> int:
        """The place in the list: of two states that hold, the one with the higher rank counts."""
        return list(TradingState).index(self)


class Scope(Enum):
    """Scope of a halt."""

    ALL = "all"
    ACCOUNT = "account"
    CLIENT = "client"


@dataclass(frozen=True, slots=True)
class Halt:
    """A halt in force: its scope with the name of the client or account, its state, and who has set it, when and why.

    `since` is in µs since 1970 UTC.
    """

    scope: Scope
    name: str
    state: TradingState
    since: int
    client: str
    reason: str

    @property
    def key(self) -> tuple[str, str]:
        """The scope with its name: there is one halt for each."""
        return self.scope.value, self.name

    def covers(self, client: str, accounts: Collection[str] | None) -> bool:
        """Return True if orders of this client for these accounts are in the scope. None: any account is possible."""
        if self.scope is Scope.ALL:
            return True
        if self.scope is Scope.CLIENT:
            return self.name == client
        return accounts is None or self.name in accounts

    @property
    def whose(self) -> str:
        """Text that says whose orders are meant."""
        return "orders" if self.scope is Scope.ALL else f"orders of {self.scope.value} {self.name}"

    @property
    def ended_by(self) -> str:
        """Text that says what ends the halt."""
        if self.scope is Scope.ALL:
            return "`ibbridge resume` ends the halt"
        return f"`ibbridge resume --{self.scope.value} {self.name}` ends the halt"

    def as_map(self) -> dict[str, Any]:
        """Return what is stored and published of the halt."""
        return {
            "scope": self.scope.value,
            "name": self.name,
            "state": self.state.value,
            "since": self.since,
            "client": self.client,
            "reason": self.reason,
        }

    def refusal(self, why: str = "") -> CommandRefused:
        """Return the refusal of an order. `why` says of one that is refused in the state `reducing` what it increases.

        The refusal has the halt, and the command that ends it.
        """
        by = f"{self.client}: {self.reason}" if self.reason else self.client
        if self.state is TradingState.REDUCING:
            fault = f"{self.whose} may only reduce positions, by order of {by}; {why}; {self.ended_by}"
        else:
            fault = f"{self.whose} are halted by {by}; {self.ended_by}"
        return CommandRefused(
            "E_HALTED", fault, outcome="not_sent", scope=self.scope.value, name=self.name, state=self.state.value
        )


UNREADABLE = Halt(
    Scope.ALL,
    "",
    TradingState.HALTED,
    0,
    "ibbridge",
    "the store's record of the halt cannot be read, so orders are halted; `resume` if no halt is wanted",
)
"""Halt if the stored value cannot be read: all orders are halted."""


class ValueStore(Protocol):
    """A store of values by name."""

    def get(self, key: str) -> bytes | None:
        """Return the value under `key`, or None."""

    def put(self, key: str, value: bytes) -> bool:
        """Store a value under `key`. Return False if that was not possible."""


class Halts:
    """Table of the halts in force. `changed` is called with each that is set or ended, in its published form."""

    def __init__(self, values: ValueStore | None, changed: Callable[[dict[str, Any]], None] = lambda _: None) -> None:
        self._values = values
        self._changed = changed
        self._halts: dict[tuple[str, str], Halt] = {}
        self._kept = True

    def __bool__(self) -> bool:
        return bool(self._halts)

    def load(self) -> None:
        """Load the halts that an earlier process stored. A value that cannot be read halts all orders."""
        packed = self._values.get(_KEY) if self._values else None
        self._halts = {halt.key: halt for halt in (_halts(packed) if packed else ())}

    def set(self, halt: Halt) -> bool:
        """Put a halt in force. Return True if the halt is stored and so survives a restart.

        Raise `CommandRefused` if there are too many.
        """
        if halt.state is TradingState.ACTIVE:
            return self.clear(halt.scope, halt.name, halt.client, halt.since)
        if len(self._halts) >= MOST and halt.scope is not Scope.ALL and halt.key not in self._halts:
            raise CommandRefused("E_BUSY", f"{MOST} halts are in force, and no more are kept; halt all orders instead")
        self._halts[halt.key] = halt
        return self._store(halt)

    def clear(self, scope: Scope, name: str, client: str, now: int) -> bool:
        """End the halt of a scope. Return True if that is stored and so survives a restart."""
        ended = Halt(scope, name, TradingState.ACTIVE, now, client, "")
        self._halts.pop(ended.key, None)
        return self._store(ended)

    def _store(self, halt: Halt) -> bool:
        """Store the halts, which have changed in memory first: one that cannot be written is in force all the same."""
        self._kept = False
        self.tick()
        self._changed({"halted": halt.state is TradingState.HALTED, **halt.as_map()})
        return self._kept

    def tick(self) -> None:
        """Write halts that could not be written before. Call this about every second."""
        if not self._kept and self._values is not None:
            stored = [halt.as_map() for halt in self._halts.values()] or None
            self._kept = self._values.put(_KEY, msgpack.packb(stored))

    # -- questions

    @property
    def state(self) -> dict[str, Any] | None:
        """The halt of all orders, as `{since, client, reason}`; None if not all orders are halted."""
        halt = self._halts.get((Scope.ALL.value, ""))
        if halt is None or halt.state is not TradingState.HALTED:
            return None
        return {"since": halt.since, "client": halt.client, "reason": halt.reason}

    @property
    def listed(self) -> list[dict[str, Any]]:
        """The halts in force, in their published form."""
        return [halt.as_map() for halt in self._halts.values()]

    def of(self, scope: Scope, name: str) -> Halt | None:
        """Return the halt of a scope; None if there is none."""
        return self._halts.get((scope.value, name))

    def covering(self, client: str, accounts: Collection[str] | None) -> list[Halt]:
        """Return the halts of orders of a client for these accounts, the strictest first. None: any account."""
        found = [halt for halt in self._halts.values() if halt.covers(client, accounts)]
        return sorted(found, key=lambda halt: -halt.state.rank)

    def check(self, client: str) -> None:
        """Raise `CommandRefused` if all orders of a client are halted, whatever they say."""
        for halt in self.covering(client, ()):
            if halt.state is TradingState.HALTED:
                raise halt.refusal()


def _halts(packed: bytes) -> list[Halt]:
    """Return the halts in a stored value. Earlier versions stored the one halt of all orders, or None."""
    try:
        stored = msgpack.unpackb(packed)
        if stored is None:
            return []
        if isinstance(stored, dict):
            return [Halt(Scope.ALL, "", TradingState.HALTED, stored["since"], stored["client"], stored["reason"])]
        return [_halt(**each) for each in stored]
    except (ValueError, TypeError, KeyError):  # damaged data, a value that is not bytes, and a map of something else
        return [UNREADABLE]


def _halt(*, scope: str, name: str, state: str, since: int, client: str, reason: str) -> Halt:
    return Halt(Scope(scope), name, TradingState(state), since, client, reason)
