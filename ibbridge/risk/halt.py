"""Whether new orders are refused, by whose word and since when. It outlives the process.

Pure but for the store that it is given, which keeps one value. Cancels are not its business: they are always taken.
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
    "reason": "whether orders were halted cannot be understood from the store; resume unless they are to be halted",
}
"""The state where what was kept of it is no state."""


class Values(Protocol):
    """What keeps values by name."""

    def get(self, key: str) -> bytes | None:
        """The value; None if there is none."""

    def put(self, key: str, value: bytes) -> bool:
        """Keep it; False if that was not possible."""


class Halt:
    """`state` is None, or `{since, client, reason}`: since when (µs since 1970 UTC), and who said why."""

    def __init__(self, values: Values | None, changed: Callable[[dict[str, Any]], None] = lambda _: None) -> None:
        self._values = values
        self._changed = changed
        self.state: dict[str, Any] | None = None
        self._kept = True

    def load(self) -> None:
        """Take up what an earlier process was told. Where that cannot be understood, orders are halted."""
        packed = self._values.get(_KEY) if self._values else None
        self.state = _state(packed) if packed else None

    def set(self, client: str, reason: str, now: int) -> bool:
        """Refuse orders from here on; whether a restart will find it so."""
        return self._become({"since": now, "client": client, "reason": reason}, client, reason, now)

    def clear(self, client: str, now: int) -> bool:
        """Take orders again; whether a restart will find it so."""
        return self._become(None, client, "", now)

    def _become(self, state: dict[str, Any] | None, client: str, reason: str, now: int) -> bool:
        """In memory first: what cannot be written is in force all the same."""
        self.state = state
        self._kept = False
        self.tend()
        self._changed({"halted": state is not None, "since": now, "client": client, "reason": reason})
        return self._kept

    def tend(self) -> None:
        """Write what could not be written before. To be called every second or so."""
        if not self._kept and self._values is not None:
            self._kept = self._values.put(_KEY, msgpack.packb(self.state))


def _state(packed: bytes) -> dict[str, Any] | None:
    try:
        state = msgpack.unpackb(packed)
    except (ValueError, TypeError):  # what msgpack raises of what is damaged, or is no bytes at all
        return UNREADABLE
    if state is None or (isinstance(state, dict) and state.keys() == UNREADABLE.keys()):
        return state
    return UNREADABLE
