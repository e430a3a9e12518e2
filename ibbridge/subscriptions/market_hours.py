"""Trading hours of the instruments that clients subscribe to, requested from TWS when their silence makes it needed.

Pure. This module must not know why the hours are wanted (`silence_watch`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ibbridge.codec.messages import REQUESTS
from ibbridge.protocol.errors import CommandRefused
from ibbridge.requests.request import ActiveRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ibbridge.clock import Clock
    from ibbridge.ib.trading_hours import TradingCalendar
    from ibbridge.requests.issuer import RequestIssuer
    from ibbridge.subscriptions.registry import Subscription
    from ibbridge.tws.ib_servers import IbServers

OWN = "~hours"
"""Client name for the daemon's own requests for trading hours. Their responses go to `req.~hours.<instrument>.`."""


class MarketHours:
    """Trading hours by instrument, learned from the details of its contract, which are requested one at a time."""

    def __init__(self, issuer: RequestIssuer, servers: IbServers, calendar: TradingCalendar, clock: Clock) -> None:
        self._issuer = issuer
        self.servers = servers
        """State of IB's servers."""
        self._clock = clock
        self._calendar = calendar
        self._request: ActiveRequest | None = None

    def open(self, subscription: Subscription) -> bool | None:
        """Return whether the market of its instrument is open; None if that is not known."""
        return self._calendar.open(subscription.instrument, self._clock.utc_us() / 1e6)

    def ask(self, quiet: Iterable[Subscription]) -> None:
        """Request the hours of the first of these subscriptions whose hours are not known."""
        if not self.servers.definitions or (self._request is not None and not self._request.ended):
            return
        at = self._clock.utc_us() / 1e6
        for subscription in quiet:
            if not self._calendar.wants(subscription.instrument, at):
                continue
            self._calendar.asking(subscription.instrument, at)
            try:
                self._request = self._question(subscription.instrument, subscription.active.args["contract"])
            except CommandRefused:
                continue
            return

    def _question(self, instrument: str, contract: Mapping[str, Any]) -> ActiveRequest:
        def on_response(data: Mapping[str, Any]) -> None:
            details = data.get("contractDetails") or {}
            self._calendar.learn(instrument, details.get("liquidHours", ""), details.get("timeZoneId", ""))

        active = ActiveRequest(
            REQUESTS["reqContractDetails"],
            OWN,
            instrument,
            {"contract": contract, "reqId": 0},
            lambda _: ("req", OWN, instrument),
            None,
            on_response=on_response,
            listeners=(self._issuer,),
        )
        self._issuer.reissue(active)
        return active
