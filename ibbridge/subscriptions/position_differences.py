"""Differences between an account's positions and the sum of the owners', published under `ext` as `ownerPosition`.

Pure. An account's position has more causes than the executions that the owners caused: orders of others, assignments,
corporate actions, transfers. TWS reports an execution and the changed position one after the other, so a difference
counts once it has stood for some seconds. Without a complete list of positions from TWS nothing is concluded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from ibbridge.orders.order import FOREIGN
from ibbridge.orders.owner_positions import TYPE, decimal, plain
from ibbridge.orders.position import ZERO
from ibbridge.streams import envelope
from ibbridge.tws.connection_listener import ConnectionListener

if TYPE_CHECKING:
    from decimal import Decimal

    from ibbridge.clock import Clock
    from ibbridge.orders.owner_positions import OwnerPositions
    from ibbridge.streams.publisher import Publisher
    from ibbridge.subscriptions.position_lists import PositionLists

SETTLED = 3.0
"""Seconds for which a difference must stand."""

ROWS = "position"
"""Type of message with an account's position."""

Place: TypeAlias = tuple[str, Any]
"""Account and instrument."""


class PositionDifferences(ConnectionListener):
    """Comparison of the published positions of the accounts with the positions of the owners."""

    def __init__(self, publisher: Publisher, lists: PositionLists, owners: OwnerPositions, clock: Clock) -> None:
        self._publisher = publisher
        self._lists = lists
        self._owners = owners
        self._clock = clock
        self._rows: dict[Place, bytes] | None = None  # None: not listed on this connection
        self._due: dict[Place, float] = {}
        self._published: dict[Place, dict[str, Any]] = {}

    def connection_lost(self) -> None:
        """Conclude nothing until TWS has sent a whole list again."""
        self._due.clear()
        self._rows = None

    def tick(self, now: float) -> None:
        """Publish the differences that have stood for long enough. Call it about every second."""
        if not self._lists.completed(ROWS):
            return
        changed = self._changed_rows() | self._owners.changed
        self._owners.changed = set()
        self._due |= dict.fromkeys(changed, now + SETTLED)
        for place in [place for place, due in self._due.items() if due <= now]:
            del self._due[place]
            self._compare(place)

    def _changed_rows(self) -> set[Place]:
        """Return the accounts and instruments whose position was published since the last call, or is listed no more.

        On a new connection all positions count as changed.
        """
        rows = {
            (components[1], identity): body
            for components, channels in self._publisher.holding(("acct",), frozenset((ROWS,))).items()
            for channel in channels
            for identity, body in channel.last.items()
        }
        before, self._rows = self._rows, rows
        if before is None:
            return {*rows, *self._published, *self._owners.places()}
        changed = {place for place, body in rows.items() if before.get(place) is not body}
        return changed | (before.keys() - rows.keys())

    def _compare(self, place: Place) -> None:
        account, instrument = place
        held, contract = self._position(place)
        sums = self._owners.sums(account, instrument)
        owners = {holder: quantity for holder, quantity in sums.items() if not holder.startswith(f"{FOREIGN}/")}
        causes = {holder.partition("/")[2]: quantity for holder, quantity in sums.items() if holder not in owners}
        difference = held - sum(owners.values(), ZERO)
        state = {
            "account": account,
            "contract": contract or self._owners.contract(account, instrument),
            "position": plain(difference),
            "accountPosition": plain(held),
            "owners": {holder: plain(quantity) for holder, quantity in owners.items()},
            "causes": {cause: plain(quantity) for cause, quantity in causes.items()},
            "unexplained": plain(difference - sum(causes.values(), ZERO)),
        }
        before = self._published.pop(place, None)
        if before is None and not difference:
            return
        channel = self._publisher.channel("exec", FOREIGN, TYPE)
        if state != before:
            self._publisher.publish_map(channel, state, self._clock.utc_us(), place)
        if difference:
            self._published[place] = state
        else:
            self._publisher.drop(channel, place)

    def _position(self, place: Place) -> tuple[Decimal, dict[str, Any]]:
        """Return the account's position in an instrument, and the contract as TWS has it."""
        body = (self._rows or {}).get(place)
        if body is None:
            return ZERO, {}
        data = envelope.unpack(body)["data"]
        return decimal(data.get("position")) or ZERO, data.get("contract") or {}
