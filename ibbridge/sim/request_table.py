"""Table of the requests that one package of the host answers, and the subscriptions behind them.

Each package of requests (`accounts`, `market_data`, `orders`, `reference_data`) declares its table in its module
`requests`. The engine knows these tables, and no part behind them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ibbridge.sim.context import ClientSession

Handler: TypeAlias = "Callable[[ClientSession, Mapping[str, Any]], None]"
"""Function that answers a request of a client. It raises `RequestRejected` for a refusal."""


class Subscriptions(Protocol):
    """Subscriptions of every client to one kind of data."""

    def drop(self, session: ClientSession) -> None:
        """Forget a client that has gone."""

    def tick(self, quarter: int) -> None:
        """Send what is new at this beat of the market, in quarters of a second since the start."""


class RequestTable:
    """Handlers of requests by request name, and the subscriptions that they open."""

    def __init__(self, handlers: Mapping[str, Handler], *subscriptions: Subscriptions) -> None:
        self.handlers = handlers
        self._subscriptions = subscriptions

    def drop(self, session: ClientSession) -> None:
        """Forget a client that has gone: its subscriptions end."""
        for each in self._subscriptions:
            each.drop(session)

    def tick(self, quarter: int) -> None:
        """Send what is new at this beat to every subscriber."""
        for each in self._subscriptions:
            each.tick(quarter)


def done_at_once(_: ClientSession, __: Mapping[str, Any]) -> None:
    """Do nothing: the request that this cancel names was answered at once."""
