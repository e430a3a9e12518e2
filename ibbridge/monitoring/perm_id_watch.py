"""Alarm for an order to which TWS has given more than one permId.

An order has one permId for its life, and another one may mean that two orders are taken for one. The messages under
both permIds are published as those of the order. The module must not know how orders are found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ibbridge.clock import Clock
    from ibbridge.monitoring.alarms import Alarms

NAME = "permId"

HOLDS = 3600.0
"""Seconds for which the alarm holds after the last such order."""


class PermIdWatch:
    """Raises the alarm for each further permId, and ends it."""

    def __init__(self, alarms: Alarms, clock: Clock) -> None:
        self._alarms = alarms
        self._clock = clock
        self._until: float | None = None

    def report(self, owner: str, key: str, perm_ids: Sequence[int]) -> None:
        """Raise the alarm, because TWS has given another permId to an order. An alarm that holds begins anew."""
        now = self._clock.utc_us()
        self._until = self._clock.monotonic() + HOLDS
        first = ", ".join(map(str, perm_ids[:-1]))
        why = (
            f"TWS has given order {key!r} of {owner} permId {perm_ids[-1]} after {first}: compare ord.{owner} with "
            "the orders in TWS, because two orders may be taken for one"
        )
        self._alarms.update(NAME, "", now)
        self._alarms.update(NAME, why, now)

    def tick(self) -> None:
        """End the alarm if there was no such order for long enough."""
        if self._until is not None and self._clock.monotonic() >= self._until:
            self._until = None
            self._alarms.update(NAME, "", self._clock.utc_us())
