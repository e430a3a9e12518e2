"""The kill switch: new orders are refused from `halt` to `resume`, also across restarts of the daemon.

Pure, apart from the store that keeps its one value. Cancels pass in any case, and not through this module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import msgpack

if TYPE_CHECKING:
    from collections.abc import Callable

_KEY = "halt"


UNREADABLE = {
    "since": 0,
    "client": "ibbridge",
    "reason": "the store's record of the halt cannot be read, so orders are halted; `resume` if no halt is wanted",
}
"""State of the kill switch if the stored value cannot be read: orders are halted."""


class ValueStore(Protocol):
    """A store of values by name."""

    def get(self, key: str) -> bytes | None:
        """Return the value under `key`, or None."""

    def put(self, key: str, value: bytes) -> bool:
        """Store a value under `key`. Return False if that was not possible."""


class Halt:
    """Kill switch for new orders.

    `state` is None while orders are accepted. While they are halted, `state` is `{since, client, reason}`: the time in
    µs since 1970 UTC, the client that halted, and the client's reason.
    """

    def __init__(self, values: ValueStore | None, changed: Callable[[dict[str, Any]], None] = lambda _: None) -> None:
        self._values = values
        self._changed = changed
        self.state: dict[str, Any] | None = None
        self._kept = True

    def load(self) -> None:
        """Load the state that an earlier process stored. A value that cannot be read halts orders."""
        packed = self._values.get(_KEY) if self._values else None
        self.state = _state(packed) if packed else None

    def set(self, client: str, reason: str, now: int) -> bool:
        """Halt new orders. Return True if the halt is stored and so survives a restart."""
        return self._become({"since": now, "client": client, "reason": reason}, client, reason, now)

    def clear(self, client: str, now: int) -> bool:
        """Accept orders again. Return True if that is stored and so survives a restart."""
        return self._become(None, client, "", now)

    def _become(self, state: dict[str, Any] | None, client: str, reason: str, now: int) -> bool:
        """Change the state in memory first, so that a state that cannot be written is in force all the same."""
        self.state = state
        self._kept = False
        self.tick()
        self._changed({"halted": state is not None, "since": now, "client": client, "reason": reason})
        return self._kept

    def tick(self) -> None:
        """Write a state that could not be written before. Call this about every second."""
        if not self._kept and self._values is not None:
            self._kept = self._values.put(_KEY, msgpack.packb(self.state))


def _state(packed: bytes) -> dict[str, Any] | None:
    try:
        state = msgpack.unpackb(packed)
    except (ValueError, TypeError):  # msgpack raises these for damaged data, and for a value that is not bytes
        return UNREADABLE
    if state is None or (isinstance(state, dict) and state.keys() == UNREADABLE.keys()):
        return state
    return UNREADABLE
