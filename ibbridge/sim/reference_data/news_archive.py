"""News archive: headlines, articles and bulletins that are always the same, whichever client asks.

The news is drawn from the seed, the instrument, the provider and the day, like prices. The id of an article identifies
the article, so the archive needs no memory. The module knows no client and no message.
"""

from __future__ import annotations

import base64
import random
import re
from heapq import merge
from typing import TYPE_CHECKING, NamedTuple

from ibbridge.sim.data_files import document, table
from ibbridge.sim.market.instruments import NEWS_PROVIDERS, Instrument, broad_tape, identity_number
from ibbridge.sim.market.price_path import DAY
from ibbridge.sim.market.prices import OPENED

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ibbridge.sim.context import SimulationContext

DAYS = 90
"""Days before today for which there are articles."""
TEXT, PDF = 0, 1
"""Types of article."""

_MOST = 8
_BULLETINS = 12
_KEPT = 5_000
_ARTICLE_ID = re.compile(r"([A-Z]+)\$([0-9a-f]{8})([0-9a-f]{4})([0-9a-f])")
_TEXTS = table("reference_data/news.yaml")
_WIDTH = 100
_BLANK = b"headline".ljust(_WIDTH, b".")
"""Place of the headline in the document of an article: of a fixed width, as a PDF counts its bytes."""
_PLAIN = bytes.maketrans(b"()\\", b"[]/")
"""Letters that have a meaning in a PDF, and what is printed for them."""


class Article(NamedTuple):
    """Headline of an article. `at` is in seconds since 1970."""

    at: int
    provider: str
    id: str
    headline: str


class Bulletin(NamedTuple):
    """Note from the broker to every client."""

    at: int
    number: int
    type: int
    text: str
    exchange: str


class NewsArchive:
    """Articles and bulletins of one seed."""

    def __init__(self, context: SimulationContext) -> None:
        self._context = context
        self._days: dict[tuple[int, str, int], list[Article]] = {}

    def articles(
        self, instrument: Instrument, providers: Sequence[str], after: float, until: float
    ) -> Iterator[Article]:
        """Yield the articles about an instrument after `after` and not after `until`, the newest first."""
        about = [instrument]
        if instrument.sec_type == "NEWS":
            about = self._context.resolver.known("STK")
            providers = [each for each in providers if instrument.symbol == broad_tape(each)]
        until = min(until, self._context.now)
        first = max(self._index(after), self._index(self._context.now) - DAYS)
        for day in range(self._index(until), first - 1, -1):
            found = (self._day(each, provider, day) for each in about for provider in providers)
            for article in merge(*found, key=lambda article: -article.at):
                if after < article.at <= until:
                    yield article

    def article(self, provider: str, number: str) -> tuple[int, str] | None:
        """Return the type and the text of an article (of a PDF as base64); None if there is no such article."""
        found = _ARTICLE_ID.fullmatch(number)
        if not found or found[1] != provider or provider not in NEWS_PROVIDERS:
            return None
        instrument = self._context.resolver.issued(int(found[2], 16))
        day = int(found[3], 16)
        if instrument is None or not 0 <= self._index(self._context.now) - day <= DAYS:
            return None
        for article in self._day(instrument, provider, day):
            if article.id == number and article.at <= self._context.now:
                if int(found[4], 16) % 4 == 3:
                    return PDF, base64.b64encode(_pdf(article.headline)).decode("ascii")
                return TEXT, "".join(f"<p>{line}</p>" for line in self._text(instrument, article))
        return None

    def bulletins(self, after: float, until: float) -> Iterator[Bulletin]:
        """Yield the bulletins after `after` and not after `until`, oldest first."""
        texts, exchanges = _TEXTS["bulletins"], _TEXTS["bulletin_exchanges"]
        for day in range(self._index(after), self._index(until) + 1):
            begin = self._begin(day)
            for place in range(_BULLETINS):
                draw = identity_number(self._context.market.seed, "bulletin", day, place)
                at = begin + (place * DAY + draw % DAY) // _BULLETINS
                if after < at <= until:
                    bulletin = texts[draw % len(texts)]
                    exchange = exchanges[draw // 7 % len(exchanges)]
                    text = bulletin["text"].format(exchange=exchange)
                    yield Bulletin(at, day * _BULLETINS + place, bulletin["type"], text, exchange)

    # -- one day -----------------------------------------------------------------------------------------------------

    def _index(self, at: float) -> int:
        """Return the number of the exchange's day that a time lies in, in days since 1970."""
        return self._context.market.day_begin(max(at, 0)) // DAY

    def _begin(self, day: int) -> int:
        return day * DAY + (self._context.start - OPENED) % DAY

    def _day(self, instrument: Instrument, provider: str, day: int) -> list[Article]:
        """Return the articles of a provider about an instrument on one day, the newest first."""
        key = instrument.con_id, provider, day
        if key not in self._days:
            if len(self._days) >= _KEPT:
                self._days.clear()
            self._days[key] = list(self._written(instrument, provider, day))
        return self._days[key]

    def _written(self, instrument: Instrument, provider: str, day: int) -> Iterator[Article]:
        draw = random.Random(identity_number(self._context.market.seed, "news", instrument.con_id, provider, day))
        times = sorted((draw.randrange(DAY) for _ in range(draw.randrange(1, _MOST))), reverse=True)
        for place, second in enumerate(times):
            headline = draw.choice(_TEXTS["headlines"]).format(
                name=instrument.name.title(),
                symbol=instrument.symbol,
                topic=draw.choice(_TEXTS["topics"]),
                verdict=draw.choice(_TEXTS["verdicts"]),
            )
            number = f"{provider}${instrument.con_id:08x}{day:04x}{place:x}"
            yield Article(self._begin(day) + second, provider, number, headline)

    def _text(self, instrument: Instrument, article: Article) -> list[str]:
        close = self._context.market.quote(instrument, article.at).last
        facts = {
            "headline": article.headline,
            "name": instrument.name,
            "symbol": instrument.symbol,
            "close": close,
            "currency": instrument.currency,
            "provider": NEWS_PROVIDERS[article.provider],
        }
        return [line.format(**facts) for line in _TEXTS["article"]]


def _pdf(headline: str) -> bytes:
    """Return a PDF document of one page with this headline, cut if it is too long."""
    line = headline.encode("ascii", "replace").translate(_PLAIN)[:_WIDTH].ljust(_WIDTH)
    return document("reference_data/article.pdf").replace(_BLANK, line)
