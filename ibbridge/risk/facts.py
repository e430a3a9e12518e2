"""Facts of the market that the rules of the gate want: the last quote, the rate of a currency, the trading hours.

Pure. The facts are looked up when an order comes, so a tick costs nothing. The module must not know where they come
from.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol


class MarketQuote(NamedTuple):
    """Last quote of an instrument.

    `at`: when it came, in µs since 1970 UTC. `delayed`: TWS delays it. `tick`: the least step of the price, None if it
    is not known. A price that is not known is None.
    """

    bid: float | None = None
    ask: float | None = None
    last: float | None = None
    at: int = 0
    delayed: bool = False
    tick: float | None = None


class MarketFacts(Protocol):
    """Facts of the market. An instrument is named by its key, and by its conId if that is not 0."""

    def quote(self, instrument: str, con_id: int) -> MarketQuote | None:
        """Return the last quote of an instrument; None if there is none."""

    def rate(self, currency: str) -> float | None:
        """Return the units of the base currency that one unit of a currency is worth; None if that is not known."""

    def is_open(self, instrument: str, con_id: int, now: int) -> bool | None:
        """Return True in the regular trading hours of an instrument; None if they are not known. `now` is in µs."""


class NoFacts:
    """Market of which nothing is known."""

    def quote(self, instrument: str, con_id: int) -> MarketQuote | None:  # noqa: D102 -- the protocol says what it is
        return None

    def rate(self, currency: str) -> float | None:  # noqa: D102 -- the protocol says what it is
        return None

    def is_open(self, instrument: str, con_id: int, now: int) -> bool | None:  # noqa: D102 -- the protocol says what it is
        return None
