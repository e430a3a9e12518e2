"""News requests: providers, past headlines, articles, bulletins. Live headlines: `sim/market_data/quotes.py`."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from ibbridge.sim.market import ib_times
from ibbridge.sim.market.instruments import NEWS_PROVIDERS
from ibbridge.sim.rejections import RequestRejected, invalid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ibbridge.sim.context import ClientSession, SimulationContext
    from ibbridge.sim.reference_data.news_archive import Bulletin, NewsArchive

HEADLINES = 300
"""Limit of the headlines of one response."""

_DASHED = re.compile(r"(\d{4})-(\d\d)-(\d\d) (\d\d:\d\d:\d\d)(?:\.\d+)?(?: (\S+))?")


class News:
    """Handlers of news requests, and the subscriptions to bulletins."""

    def __init__(self, context: SimulationContext, archive: NewsArchive) -> None:
        self._context = context
        self._archive = archive
        self._listeners: dict[int, ClientSession] = {}
        self._told = context.now

    @staticmethod
    def providers(session: ClientSession, _: Mapping[str, Any]) -> None:
        """Send the news providers that this user may read."""
        rows = [{"code": code, "name": name} for code, name in NEWS_PROVIDERS.items()]
        session.send("newsProviders", {"newsProviders": rows})

    def headlines(self, session: ClientSession, args: Mapping[str, Any]) -> None:
        """Send the newest headlines of a stretch of time, and a flag if there are more."""
        request, number = args["reqId"], args.get("totalResults") or 0
        instrument = self._context.resolver.by_id(args.get("conId") or 0)
        providers = read_providers(args.get("providerCodes", ""))
        if number < 1:
            raise invalid("Total results must be positive")
        after = _moment(args.get("startDateTime", ""), 0.0)
        until = _moment(args.get("endDateTime", ""), self._context.now)
        number = min(number, HEADLINES)
        found = list(islice(self._archive.articles(instrument, providers, after, until), number + 1))
        for article in found[:number]:
            row = {"providerCode": article.provider, "articleId": article.id, "headline": article.headline}
            time = f"{datetime.fromtimestamp(article.at, UTC):%Y-%m-%d %H:%M:%S}.0"
            session.send("historicalNews", {"requestId": request, "time": time, **row})
        session.send("historicalNewsEnd", {"requestId": request, "hasMore": len(found) > number})

    def article(self, session: ClientSession, args: Mapping[str, Any]) -> None:
        """Send the text of an article: HTML, or a PDF as base64."""
        found = self._archive.article(args.get("providerCode", ""), args.get("articleId", ""))
        if found is None:
            raise RequestRejected(10172, "Failed to request news article:News article is not available")
        kind, text = found
        session.send("newsArticle", {"requestId": args["reqId"], "articleType": kind, "articleText": text})

    # -- bulletins ---------------------------------------------------------------------------------------------------

    def bulletins(self, session: ClientSession, args: Mapping[str, Any]) -> None:
        """Subscribe to bulletins. Send the bulletins of the day first if the request asks for them."""
        self._listeners[session.client_id] = session
        if args.get("allMsgs", False):
            for bulletin in self._archive.bulletins(self._context.market.day_begin(self._context.now), self._told):
                _send(session, bulletin)

    def cancel_bulletins(self, session: ClientSession, _: Mapping[str, Any]) -> None:
        """End the subscription to bulletins. There is no response."""
        self.drop(session)

    def drop(self, session: ClientSession) -> None:
        """Forget a client that has gone."""
        self._listeners.pop(session.client_id, None)

    def tick(self, quarter: int) -> None:
        """Send the bulletins since the last beat."""
        now = self._context.market.moment(quarter)
        if self._listeners:
            for bulletin in self._archive.bulletins(self._told, now):
                for session in self._listeners.values():
                    _send(session, bulletin)
        self._told = now


def read_providers(text: str) -> list[str]:
    """Return the providers of a text such as `BRFG+DJNL`. Raise `RequestRejected`."""
    codes = [code.strip() for code in text.replace(":", "+").split("+")]
    for code in codes:
        if code not in NEWS_PROVIDERS:
            raise invalid(f"Invalid news provider code: {code}")
    return list(dict.fromkeys(codes))


def _send(session: ClientSession, bulletin: Bulletin) -> None:
    row = {"msgType": bulletin.type, "newsMessage": bulletin.text, "originExch": bulletin.exchange}
    session.send("updateNewsBulletin", {"msgId": bulletin.number, **row})


def _plain(found: re.Match[str]) -> str:
    """Return a time with dashes in the form of other requests."""
    year, month, day, clock, zone = found.groups()
    return f"{year}{month}{day} {clock} {zone}" if zone else f"{year}{month}{day}-{clock}"


def _moment(text: str, otherwise: float) -> float:
    """Return the time of a text; `otherwise` if the text is empty. Raise `RequestRejected` for an invalid text.

    The forms are `2026-01-05 14:30:00.0` (UTC), the same with a zone, and the forms of other requests.
    """
    if not text.strip():
        return otherwise
    dashed = _DASHED.fullmatch(text.strip())
    try:
        return ib_times.read(_plain(dashed) if dashed else text)[0]
    except ValueError:
        raise invalid(f"Invalid date or time: {text}") from None
