"""Scanner criteria: scan codes, filters, instruments and locations. One table for responses and for the XML."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from ibbridge.sim.market.instruments import Instrument, identity_number

if TYPE_CHECKING:
    from collections.abc import Callable

    from ibbridge.sim.market.price_path import Bar
    from ibbridge.sim.market.prices import Market, Quote


class Sight:
    """Figures of an instrument for scanners. Each figure is computed on its first use."""

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
    def option_volume(self) -> float:
        """Options traded today."""
        return float(round(self.day.volume * 0.018))

    @property
    def put_call_ratio(self) -> float:
        """Puts traded for each call; made up, but always the same."""
        return 0.5 + identity_number("puts", self.instrument.root) % 100 / 100

    @property
    def underlying(self) -> float:
        """ConId of the underlying of an option, or of a combination's first leg; 0 without an underlying."""
        first = self.instrument.legs[0][0] if self.instrument.legs else self.instrument
        return float(first.underlying.con_id if first.underlying else 0)

    @property
    def is_fund(self) -> bool:
        """Return True if the instrument is an exchange-traded fund."""
        return self.instrument.fund

    def place_in(self, days: int) -> float:
        """Return the position of the price between the low (0) and the high (100) of the last `days` days."""
        past = self._market.past(self.instrument, days, self._now)
        return (self.quote.last - past.low) / (past.high - past.low) * 100 if past.high > past.low else 0.0


class ScanCode(NamedTuple):
    """Scan code: the ranked value, the direction, and the instruments that may be in the list."""

    name: str
    value: Callable[[Sight], float]
    sign: int = 1
    sec_types: tuple[str, ...] = ("STK", "FUT", "IND")
    holds: Callable[[Sight], bool] = lambda _sight: True


class Filter(NamedTuple):
    """Filter on a value, which must be above the limit (1), below the limit (-1), or equal to the limit (0)."""

    name: str
    value: Callable[[Sight], float]
    sign: int


class InstrumentType(NamedTuple):
    """Group of instruments that a scanner can look at."""

    name: str
    sec_types: tuple[str, ...]
    filters: tuple[str, ...]


class Location(NamedTuple):
    """Location of a scan: its groups of instruments, its parent location, and the instruments inside."""

    name: str
    instruments: tuple[str, ...]
    parent: str
    holds: Callable[[Instrument], bool]


_STOCKS = ("STK",)
_WEEKS = {"13W": 91, "26W": 182, "52W": 364}

SCANS: dict[str, ScanCode] = {
    "TOP_PERC_GAIN": ScanCode("Top % Gainers", lambda s: s.change, 1, holds=lambda s: s.change > 0),
    "TOP_PERC_LOSE": ScanCode("Top % Losers", lambda s: s.change, -1, holds=lambda s: s.change < 0),
    "MOST_ACTIVE": ScanCode("Most Active", lambda s: s.day.volume, sec_types=("STK", "FUT")),
    "MOST_ACTIVE_USD": ScanCode("Most Active ($)", lambda s: s.day.volume * s.quote.last, sec_types=_STOCKS),
    "MOST_ACTIVE_AVG_USD": ScanCode("Most Active by Avg ($)", lambda s: s.day.volume * s.day.typical, 1, _STOCKS),
    "HOT_BY_VOLUME": ScanCode("Hot Contracts by Volume", lambda s: s.volume_rate, sec_types=("STK", "FUT")),
    "HOT_BY_PRICE": ScanCode("Hot Contracts by Price", lambda s: abs(s.change) / s.volatility),
    "HOT_BY_PRICE_RANGE": ScanCode("Hot Contracts by Price Range", lambda s: s.range / s.volatility),
    "TOP_PRICE_RANGE": ScanCode("Top Price Range", lambda s: s.range),
    "TOP_TRADE_COUNT": ScanCode("Top Trade Count", lambda s: s.day.volume / 150, sec_types=("STK", "FUT")),
    "TOP_TRADE_RATE": ScanCode("Top Trade Rate", lambda s: s.day.volume / 150 / 390, sec_types=("STK", "FUT")),
    "TOP_VOLUME_RATE": ScanCode("Top Volume Rate", lambda s: s.volume_rate, sec_types=("STK", "FUT")),
    "TOP_OPEN_PERC_GAIN": ScanCode(
        "Top % Gainers Since Open", lambda s: s.since_open, holds=lambda s: s.since_open > 0
    ),
    "TOP_OPEN_PERC_LOSE": ScanCode(
        "Top % Losers Since Open", lambda s: s.since_open, -1, holds=lambda s: s.since_open < 0
    ),
    "HIGH_OPEN_GAP": ScanCode("Top Close-to-Open % Gainers", lambda s: s.gap, 1, holds=lambda s: s.gap > 0),
    "LOW_OPEN_GAP": ScanCode("Top Close-to-Open % Losers", lambda s: s.gap, -1, holds=lambda s: s.gap < 0),
    "OPT_VOLUME_MOST_ACTIVE": ScanCode("Most Active by Opt Volume", lambda s: s.option_volume, sec_types=_STOCKS),
    "HIGH_OPT_VOLUME_PUT_CALL_RATIO": ScanCode(
        "High Put/Call Vol Ratio", lambda s: s.put_call_ratio, 1, ("STK", "IND")
    ),
    "LOW_OPT_VOLUME_PUT_CALL_RATIO": ScanCode("Low Put/Call Vol Ratio", lambda s: s.put_call_ratio, -1, ("STK", "IND")),
    "COMBO_LATEST_TRADE": ScanCode("Latest Trade", lambda s: s.instrument.con_id, sec_types=("BAG",)),
    "HIGH_OPT_IMP_VOLAT": ScanCode("Highest Option Imp Vol", lambda s: s.volatility, 1, ("STK", "IND")),
    "LOW_OPT_IMP_VOLAT": ScanCode("Lowest Option Imp Vol", lambda s: s.volatility, -1, ("STK", "IND")),
    "SCAN_marketCap_DESC": ScanCode("Highest Market Cap", lambda s: s.capital, 1, _STOCKS),
    "SCAN_marketCap_ASC": ScanCode("Lowest Market Cap", lambda s: s.capital, -1, _STOCKS),
    "HALTED": ScanCode("Halted", lambda s: s.change, holds=lambda _sight: False),  # no instrument is ever halted here
    **{
        f"{side}_VS_{weeks}_HL": ScanCode(
            f"{weeks}eek {side.title()}",
            lambda s, days=days: s.place_in(days),  # type: ignore[misc]
            sign,
        )
        for weeks, days in _WEEKS.items()
        for side, sign in (("HIGH", 1), ("LOW", -1))
    },
}

_BOUNDED: dict[str, tuple[str, Callable[[Sight], float]]] = {
    "price": ("Price", lambda s: s.quote.last),
    "volume": ("Volume", lambda s: s.day.volume),
    "marketCap": ("Market Cap", lambda s: s.capital * 1e6),
    "changePerc": ("% Change", lambda s: s.change),
    "changeOpenPerc": ("% Change Since Open", lambda s: s.since_open),
    "openGapPerc": ("% Gap at Open", lambda s: s.gap),
    "priceRange": ("% Price Range", lambda s: s.range),
    "volumeRate": ("Volume Rate", lambda s: s.volume_rate),
    "tradeCount": ("Trade Count", lambda s: s.day.volume / 150),
    "impVolat": ("Implied Volatility", lambda s: s.volatility),
    "optVolume": ("Option Volume", lambda s: s.option_volume),
    "avgOptVolume": ("Average Option Volume", lambda s: round(s.instrument.volume * 0.018)),
    "avgVolume": ("Average Volume", lambda s: s.instrument.volume),
}

FILTERS: dict[str, Filter] = {
    f"{code}{side}": Filter(f"{name} {side}", value, sign)
    for code, (name, value) in _BOUNDED.items()
    for side, sign in (("Above", 1), ("Below", -1))
}
FILTERS |= {
    f"marketCap{side}1e6": Filter(f"Market Cap {side} (millions)", lambda s: s.capital, sign)
    for side, sign in (("Above", 1), ("Below", -1))
}

FILTERS |= {
    f"usdMarketCap{side}": Filter(f"Market Cap {side} ($)", lambda s: s.capital * 1e6, sign)
    for side, sign in (("Above", 1), ("Below", -1))
}
FILTERS["underConID"] = Filter("Underlying", lambda s: s.underlying, 0)

FIELDS = {
    "abovePrice": "priceAbove",
    "belowPrice": "priceBelow",
    "aboveVolume": "volumeAbove",
    "marketCapAbove": "marketCapAbove1e6",
    "marketCapBelow": "marketCapBelow1e6",
    "averageOptionVolumeAbove": "avgOptVolumeAbove",
}
"""Fields of a subscription, and the filters that they set."""

INSTRUMENTS: dict[str, InstrumentType] = {
    "STK": InstrumentType("US Stocks", ("STK",), tuple(FILTERS)),
    "ETF.EQ.US": InstrumentType("US Equity ETFs", ("STK",), tuple(FILTERS)),
    "STOCK.EU": InstrumentType("European Stocks", ("STK",), tuple(FILTERS)),
    "FUT.US": InstrumentType("US Futures", ("FUT",), tuple(each for each in FILTERS if "arketCap" not in each)),
    "FUT.EU": InstrumentType("European Futures", ("FUT",), tuple(each for each in FILTERS if "arketCap" not in each)),
    "IND.US": InstrumentType(
        "US Indexes", ("IND",), ("changePercAbove", "changePercBelow", "priceAbove", "priceBelow")
    ),
    "NATCOMB": InstrumentType("Native Combos", ("BAG",), ("underConID",)),
    "IND.EU": InstrumentType(
        "European Indexes", ("IND",), ("changePercAbove", "changePercBelow", "priceAbove", "priceBelow")
    ),
}


def _american(sec_type: str, *exchanges: str) -> Callable[[Instrument], bool]:
    return lambda instrument: (
        (instrument.sec_type, instrument.currency) == (sec_type, "USD")
        and (not exchanges or instrument.primary in exchanges)
    )


def _european(sec_type: str) -> Callable[[Instrument], bool]:
    return lambda instrument: (instrument.sec_type, instrument.currency) == (sec_type, "EUR")


_US, _EU = ("STK", "ETF.EQ.US"), ("STOCK.EU",)
LOCATIONS: dict[str, Location] = {
    "STK.US": Location("US Stocks", _US, "", _american("STK")),
    "STK.US.MAJOR": Location("Listed/NASDAQ", _US, "STK.US", _american("STK")),
    "STK.NYSE": Location("NYSE", _US, "STK.US.MAJOR", _american("STK", "NYSE")),
    "STK.ARCA": Location("NYSE Arca", _US, "STK.US.MAJOR", _american("STK", "ARCA")),
    "STK.NASDAQ": Location("NASDAQ", _US, "STK.US.MAJOR", _american("STK", "NASDAQ")),
    "STK.NASDAQ.NMS": Location("NASDAQ NMS", _US, "STK.NASDAQ", _american("STK", "NASDAQ")),
    "ETF.EQ.US.MAJOR": Location("US Equity ETFs", _US, "STK.US", lambda each: _american("STK")(each) and each.fund),
    "STK.EU": Location("European Stocks", _EU, "", _european("STK")),
    "STK.EU.IBIS": Location("Xetra", _EU, "STK.EU", _european("STK")),
    "FUT.US": Location("US Futures", ("FUT.US",), "", _american("FUT")),
    "FUT.CME": Location("CME", ("FUT.US",), "FUT.US", _american("FUT", "CME")),
    "FUT.CBOT": Location("CBOT", ("FUT.US",), "FUT.US", _american("FUT", "CBOT")),
    "FUT.NYMEX": Location("NYMEX", ("FUT.US",), "FUT.US", _american("FUT", "NYMEX")),
    "FUT.COMEX": Location("COMEX", ("FUT.US",), "FUT.US", _american("FUT", "COMEX")),
    "FUT.EU": Location("European Futures", ("FUT.EU",), "", _european("FUT")),
    "FUT.EU.EUREX": Location("Eurex", ("FUT.EU",), "FUT.EU", lambda each: each.primary == "EUREX"),
    "NATCOMB.OPT.US": Location("US Option Combos", ("NATCOMB",), "", lambda each: each.sec_type == "BAG"),
    "IND.US": Location("US Indexes", ("IND.US",), "", _american("IND")),
    "IND.EU": Location("European Indexes", ("IND.EU",), "", _european("IND")),
}
