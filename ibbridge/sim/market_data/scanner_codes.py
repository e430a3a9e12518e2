"""Scanner criteria: scan codes, filters, instruments and locations. One table for responses and for the XML."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from ibbridge.sim.data_files import table
from ibbridge.sim.market.instruments import Instrument, identity_number

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ibbridge.sim.market.price_path import Bar
    from ibbridge.sim.market.prices import Market, Quote

_TRADE = 150
"""Usual size of a trade."""
_OPTIONS = 0.018
"""Options traded for each share."""
_MINUTES = 390
"""Minutes of regular hours."""


class Sight:
    """Figures of an instrument for scanners. The data file names them; each is computed when it is used."""

    def __init__(self, market: Market, instrument: Instrument, now: float) -> None:
        self._market = market
        self._now = now
        self.instrument = instrument

    @cached_property
    def day(self) -> Bar:
        """Bar of the exchange's day so far."""
        return self._market.today(self.instrument, self._now)

    @cached_property
    def quote(self) -> Quote:
        """Present quote."""
        return self._market.quote(self.instrument, self._now)

    @cached_property
    def close(self) -> float:
        """Close of yesterday."""
        return self._market.yesterday_close(self.instrument, self._now)

    def figure(self, name: str) -> float:
        """Return a figure by its name."""
        return float(getattr(self, name))

    @property
    def price(self) -> float:
        """Price of the last trade."""
        return self.quote.last

    @property
    def change(self) -> float:
        """Change since yesterday's close, in percent."""
        return (self.quote.last / self.close - 1) * 100 if self.close else 0.0

    @property
    def gap(self) -> float:
        """Gap from yesterday's close to the open, in percent."""
        return (self.day.open / self.close - 1) * 100 if self.close else 0.0

    @property
    def since_open(self) -> float:
        """Change since the open, in percent."""
        return (self.quote.last / self.day.open - 1) * 100 if self.day.open else 0.0

    @property
    def range(self) -> float:
        """Range from the day's low to its high, in percent."""
        return (self.day.high / self.day.low - 1) * 100 if self.day.low else 0.0

    @property
    def unusual_change(self) -> float:
        """Change since yesterday's close, as a multiple of the volatility."""
        return abs(self.change) / self.volatility

    @property
    def unusual_range(self) -> float:
        """Range of the day, as a multiple of the volatility."""
        return self.range / self.volatility

    @property
    def volume(self) -> float:
        """Volume of the day."""
        return self.day.volume

    @property
    def usual_volume(self) -> float:
        """Volume of a usual day."""
        return self.instrument.volume

    @property
    def money(self) -> float:
        """Volume of the day, in money at the last price."""
        return self.day.volume * self.quote.last

    @property
    def average_money(self) -> float:
        """Volume of the day, in money at the average price."""
        return self.day.volume * self.day.typical

    @property
    def trades(self) -> float:
        """Trades of the day."""
        return self.day.volume / _TRADE

    @property
    def trade_rate(self) -> float:
        """Trades of the day per minute of regular hours."""
        return self.trades / _MINUTES

    @property
    def volume_rate(self) -> float:
        """Volume of the day as a part of a usual day's."""
        return self.day.volume / self.instrument.volume if self.instrument.volume else 0.0

    @property
    def volatility(self) -> float:
        """Volatility of a year, in percent."""
        return float(self.instrument.volatility * 252**0.5 * 100)

    @property
    def capital(self) -> float:
        """Market capitalisation in millions; the number of shares is made up, but always the same."""
        shares = 500 + identity_number("shares", self.instrument.root) % 9500
        return float(shares * self.quote.last)

    @property
    def capital_in_dollars(self) -> float:
        """Market capitalisation."""
        return self.capital * 1e6

    @property
    def option_volume(self) -> float:
        """Options traded today."""
        return float(round(self.day.volume * _OPTIONS))

    @property
    def usual_option_volume(self) -> float:
        """Options traded on a usual day."""
        return float(round(self.instrument.volume * _OPTIONS))

    @property
    def put_call_ratio(self) -> float:
        """Puts traded for each call; made up, but always the same."""
        return 0.5 + identity_number("puts", self.instrument.root) % 100 / 100

    @property
    def con_id(self) -> float:
        """ConId, in the place of the time of the latest trade."""
        return float(self.instrument.con_id)

    @property
    def underlying(self) -> float:
        """ConId of the underlying of an option, or of a combination's first leg; 0 without an underlying."""
        first = self.instrument.legs[0][0] if self.instrument.legs else self.instrument
        return float(first.underlying.con_id if first.underlying else 0)

    @property
    def is_fund(self) -> bool:
        """Return True if the instrument is an exchange-traded fund."""
        return self.instrument.fund

    @property
    def place_in_13_weeks(self) -> float:
        """Position of the price between the low (0) and the high (100) of 13 weeks."""
        return self._place_in(13 * 7)

    @property
    def place_in_26_weeks(self) -> float:
        """Position of the price between the low (0) and the high (100) of 26 weeks."""
        return self._place_in(26 * 7)

    @property
    def place_in_52_weeks(self) -> float:
        """Position of the price between the low (0) and the high (100) of 52 weeks."""
        return self._place_in(52 * 7)

    def _place_in(self, days: int) -> float:
        past = self._market.past(self.instrument, days, self._now)
        return (self.quote.last - past.low) / (past.high - past.low) * 100 if past.high > past.low else 0.0


class ScanCode(NamedTuple):
    """Scan code: the ranked figure, its order, and the instruments that may be in the list."""

    name: str
    figure: str
    ascending: bool = False
    sec_types: tuple[str, ...] = ("STK", "FUT", "IND")
    only: str = ""

    def rank(self, sight: Sight) -> float:
        """Return the figure by which instruments are sorted, the lowest first."""
        figure = sight.figure(self.figure)
        return figure if self.ascending else -figure

    def holds(self, sight: Sight) -> bool:
        """Return True if an instrument may be in the list."""
        if self.only == "positive":
            return sight.figure(self.figure) > 0
        if self.only == "negative":
            return sight.figure(self.figure) < 0
        return self.only != "never"


class Filter(NamedTuple):
    """Filter on a figure, which must be above the limit (1), below the limit (-1), or equal to the limit (0)."""

    name: str
    figure: str
    sign: int

    def passes(self, sight: Sight, limit: float) -> bool:
        """Return True if an instrument is within the limit."""
        figure = sight.figure(self.figure)
        return self.sign * (figure - limit) >= 0 if self.sign else figure == limit


class InstrumentType(NamedTuple):
    """Group of instruments that a scanner can look at."""

    name: str
    sec_types: tuple[str, ...]
    filters: tuple[str, ...]


class Location(NamedTuple):
    """Location of a scan: its groups of instruments, its parent location, and what an instrument inside must have."""

    name: str
    instruments: tuple[str, ...]
    parent: str = ""
    sec_type: str = ""
    currency: str = ""
    exchange: str = ""
    fund: bool = False

    def holds(self, instrument: Instrument) -> bool:
        """Return True if an instrument is in this place."""
        pairs = (
            (self.sec_type, instrument.sec_type),
            (self.currency, instrument.currency),
            (self.exchange, instrument.primary),
        )
        return all(wanted in ("", has) for wanted, has in pairs) and (instrument.fund or not self.fund)


def _filters(rows: Mapping[str, Mapping[str, str]]) -> Iterator[tuple[str, Filter]]:
    """Yield the filters of the data file, in which `{side}` stands for a filter on each side of the limit."""
    for code, row in rows.items():
        for side, sign in (("Above", 1), ("Below", -1)) if "{side}" in code else (("", 0),):
            yield code.format(side=side), Filter(row["name"].format(side=side), row["figure"], sign)


def _tuples(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}


def _instrument(row: Mapping[str, Any]) -> InstrumentType:
    without = tuple(row.get("without", ()))
    filters = row.get("filters") or [code for code in FILTERS if not without or not code.startswith(without)]
    return InstrumentType(row["name"], tuple(row["sec_types"]), tuple(filters))


_TABLES = table("market_data/scanner.yaml")
SCANS = {code: ScanCode(**_tuples(row)) for code, row in _TABLES["scans"].items()}
FILTERS = dict(_filters(_TABLES["filters"]))
FIELDS: dict[str, str] = _TABLES["fields"]
"""Fields of a subscription, and the filters that they set."""
INSTRUMENTS = {code: _instrument(row) for code, row in _TABLES["instruments"].items()}
LOCATIONS = {code: Location(**_tuples(row)) for code, row in _TABLES["locations"].items()}
