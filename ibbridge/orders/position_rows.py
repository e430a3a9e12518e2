"""Positions of the accounts as TWS has listed them last, read from the state of the published streams.

Pure. A position is read when an order comes, and not when TWS sends it. The module must not know what follows from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ibbridge.orders.owner_positions import decimal
from ibbridge.streams import envelope

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping

    from ibbridge.streams.publisher import Publisher

ROWS = "position"
"""Type of message with an account's position."""


class PositionRow(NamedTuple):
    """Position of an account, with its contract."""

    account: str
    contract: Mapping[str, Any]
    quantity: float


class PositionRows:
    """Reader of the positions of the accounts."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._prefix = b""
        self._seqs: dict[bytes, tuple[int, int]] = {}
        self._read: dict[tuple[str, Hashable], bytes] = {}
        self._contracts: dict[tuple[str, Hashable], Mapping[str, Any]] = {}

    def changed(self) -> Iterator[PositionRow]:
        """Yield the positions that have changed since the last call. One that is listed no more is 0."""
        self._prefix = self._prefix or self._publisher.named("acct").encode()
        for stream in self._publisher.under(self._prefix, b""):
            if self._seqs.get(stream.name) != (stream.seq, stream.cuts):
                at = stream.seq, stream.cuts
                rows: dict[Hashable, bytes] = {}
                for channel in stream.channels.values():
                    if channel.kind == ROWS:
                        rows |= {**channel.stale, **channel.last}
                yield from self._taken(self._publisher.components(stream)[1], rows)
                self._seqs[stream.name] = at  # not earlier: the caller may go on with the rest another time

    def _taken(self, account: str, rows: Mapping[Hashable, bytes]) -> Iterator[PositionRow]:
        for place in [place for place in self._read if place[0] == account and place[1] not in rows]:
            del self._read[place]
            yield PositionRow(account, self._contracts.pop(place), 0.0)
        for identity, body in rows.items():
            place = account, identity
            if self._read.get(place) is not body:
                data = envelope.unpack(body)["data"]
                self._read[place], self._contracts[place] = body, data.get("contract") or {}
                yield PositionRow(account, self._contracts[place], float(decimal(data.get("position")) or 0))
