"""Generic ticks: additional ticks that a market data request may ask for.

A single table maps IB's number to the ticks, and to the security types for which the generic tick is legal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from ibbridge.sim.market.instruments import NEWS_PROVIDERS
from ibbridge.sim.reference_data.news import read_providers
from ibbridge.sim.rejections import invalid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ibbridge.sim.market.instruments import Instrument
    from ibbridge.sim.market.price_path import Bar
    from ibbridge.sim.market.prices import Market, Quote

Tick: TypeAlias = "tuple[str, dict[str, Any]]"


class Look(NamedTuple):
    """Instrument at one moment."""

    market: Market
    instrument: Instrument
    at: float
    quote: Quote
    day: Bar


class Generic(NamedTuple):
    """Generic tick: its name in IB's refusals, the security types for which it is legal, and its ticks.

    With empty `sec_types` the generic tick is legal for every type. `ticks` are rows of message, tick type and value.
    """

    name: str
    sec_types: tuple[str, ...]
    ticks: tuple[tuple[str, int, Callable[[Look], Any]], ...]


def price(tick_type: int, value: float, size: float | None = None, *, automatic: bool = False) -> Tick:
    """Return a tickPrice. Only bids, asks and trades have a size."""
    attributes = {"canAutoExecute": True} if automatic else {}
    return "tickPrice", {"tickType": tick_type, "price": value, "size": size, "attrib": attributes}


def size(tick_type: int, value: float) -> Tick:
    """Return a tickSize."""
    return "tickSize", {"tickType": tick_type, "size": value}


def generic(tick_type: int, value: float) -> Tick:
    """Return a tickGeneric."""
    return "tickGeneric", {"tickType": tick_type, "value": value}


def string(tick_type: int, value: str) -> Tick:
    """Return a tickString."""
    return "tickString", {"tickType": tick_type, "value": value}


def trade_report(look: Look) -> str:
    """Return RTVolume: price, size, time in ms, day's volume, average price, and `true` for a single market maker."""
    quote, day = look.quote, look.day
    return f"{quote.last};{quote.last_size:g};{int(look.at * 1000)};{day.volume:.0f};{day.typical};true"


_MAKERS: dict[str, Callable[[int, Any], Tick]] = {"price": price, "size": size, "generic": generic, "string": string}


def _volatility(look: Look) -> float:
    return float(round(look.instrument.volatility * 252**0.5, 6))


def _extreme(days: int, side: int) -> Callable[[Look], float]:
    def value(look: Look) -> float:
        return float(look.market.past(look.instrument, days, look.at)[side])

    return value


def _share(part: float) -> Callable[[Look], float]:
    """Return a function for a part of the day's volume, as nothing here says what such figures could be."""
    return lambda look: float(round(look.day.volume * part))


_OPTIONABLE = ("STK", "IND", "OPT")

GENERIC_TICKS: dict[int, Generic] = {
    100: Generic("Option Volume", _OPTIONABLE, (("size", 29, _share(0.01)), ("size", 30, _share(0.008)))),
    101: Generic("Option Open Interest", _OPTIONABLE, (("size", 27, _share(0.1)), ("size", 28, _share(0.08)))),
    104: Generic("Historical Volatility", ("STK", "IND"), (("generic", 23, _volatility),)),
    105: Generic("Average Opt Volume", ("STK", "IND"), (("size", 87, _share(0.02)),)),
    106: Generic("Option Implied Volatility", ("STK", "IND", "OPT"), (("generic", 24, _volatility),)),
    162: Generic("Index Future Premium", ("IND",), (("generic", 31, lambda look: 0.01),)),
    165: Generic(
        "Miscellaneous Stats", (),
        (
            ("price", 15, _extreme(91, 2)), ("price", 16, _extreme(91, 1)),
            ("price", 17, _extreme(182, 2)), ("price", 18, _extreme(182, 1)),
            ("price", 19, _extreme(364, 2)), ("price", 20, _extreme(364, 1)),
            ("size", 21, lambda look: float(look.instrument.volume)),
        ),
    ),
    221: Generic("Mark Price", (), (("price", 37, lambda look: look.quote.last),)),
    225: Generic("Auction Price", ("STK",), (("size", 34, _share(0.05)), ("price", 35, lambda look: look.day.close),
                                             ("size", 36, _share(0.001)), ("size", 61, _share(0.001)))),
    232: Generic("Mark Price", (), (("price", 37, lambda look: look.quote.last),)),
    233: Generic("RTVolume", (), (("string", 48, trade_report),)),
    236: Generic("Inventory", ("STK",), (("generic", 46, lambda look: 3.0), ("size", 89, lambda look: 12_000_000.0))),
    258: Generic("Fundamentals", ("STK",), ()),
    292: Generic("News", (), ()),
    293: Generic("Trade Count", (), (("generic", 54, lambda look: float(round(look.day.volume / 150))),)),
    294: Generic("Trade Rate", (), (("generic", 55, lambda look: 180.0),)),
    295: Generic("Volume Rate", (), (("generic", 56, lambda look: 27_000.0),)),
    318: Generic("Last RTH Trade", (), (("price", 57, lambda look: look.quote.last),)),
    375: Generic("RTTrdVolume", (), (("string", 77, trade_report),)),
    411: Generic("RTHistVol", ("STK", "IND"), (("generic", 58, _volatility),)),
    456: Generic("IBDividends", ("STK",), (("string", 59, lambda look: "0.83,0.92,,0.23"),)),
    460: Generic("Bond Factor Multiplier", ("BOND",), (("generic", 60, lambda look: 1.0),)),
    576: Generic("ETF Nav Bid-Ask", ("STK",), (("price", 94, lambda look: look.quote.bid),
                                               ("price", 95, lambda look: look.quote.ask))),
    578: Generic("ETF Nav Close-Prior Close", ("STK",), (("price", 92, lambda look: look.day.open),
                                                         ("price", 93, lambda look: look.day.open))),
    586: Generic("IPO Price", ("STK",), ()),
    614: Generic("ETF Nav High-Low", ("STK",), (("price", 98, lambda look: look.day.high),
                                                ("price", 99, lambda look: look.day.low))),
    623: Generic("ETF Nav Frozen Last", ("STK",), (("price", 97, lambda look: look.quote.last),)),
    787: Generic("Odd Lot Quotes", ("STK",), (
        ("price", 105, lambda look: look.quote.bid), ("price", 106, lambda look: look.quote.ask),
        ("size", 107, lambda look: look.quote.bid_size % 100 + 1),
        ("size", 108, lambda look: look.quote.ask_size % 100 + 1),
        ("string", 109, lambda look: "Q"), ("string", 110, lambda look: "Q"),
    )),
    577: Generic("ETF Nav Last", ("STK",), (("price", 96, lambda look: look.quote.last),)),
    588: Generic("Futures Open Interest", ("FUT",), (("size", 86, lambda look: float(look.instrument.volume)),)),
    595: Generic("Short-Term Volume X Mins", ("STK",), (("size", 63, _share(0.004)), ("size", 64, _share(0.007)),
                                                        ("size", 65, _share(0.014)))),
    619: Generic("Slow Mark Price", (), (("price", 79, lambda look: look.quote.last),)),
}  # fmt: skip

TRADE_REPORTS = {233: 48, 375: 77}
"""Generic ticks that are sent again with every trade, and their tick types."""
NEWS = "292"
"""Generic tick of news, from the providers that are named behind a colon (`292:BRFG+DJNL`), or from all."""
NO_DEFAULTS = "mdoff"
"""Word that turns the usual ticks off."""


class Wanted(NamedTuple):
    """Generic ticks that a request asks for, with or without the usual ticks, and the news providers."""

    numbers: frozenset[int]
    defaults: bool
    providers: list[str]


def read_list(text: str, sec_type: str) -> Wanted:
    """Return the content of a list of generic ticks. Raise `RequestRejected`, naming the legal ones."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    numbers = frozenset(_number(word, text, sec_type) for word in words if word != NO_DEFAULTS)
    providers: list[str] = []
    for word in words:
        number, _, named = word.partition(":")
        if number == NEWS:
            providers += read_providers(named) if named else NEWS_PROVIDERS
    return Wanted(numbers, NO_DEFAULTS not in words, list(dict.fromkeys(providers)))


def _number(word: str, text: str, sec_type: str) -> int:
    number = word.partition(":")[0]  # 292 may name its news providers
    wanted = GENERIC_TICKS.get(int(number)) if number.isascii() and number.isdecimal() else None
    if wanted is None or (wanted.sec_types and sec_type not in wanted.sec_types):
        legal = ",".join(
            f"{n}({g.name})" for n, g in GENERIC_TICKS.items() if not g.sec_types or sec_type in g.sec_types
        )
        raise invalid(f"Incorrect generic tick list of {text}.  Legal ones for ({sec_type}) are: {legal}")
    return int(number)


def generic_ticks(numbers: frozenset[int], look: Look) -> Iterator[Tick]:
    """Yield the present ticks of these generic ticks."""
    for number in sorted(numbers):
        for kind, tick_type, value in GENERIC_TICKS[number].ticks:
            yield _MAKERS[kind](tick_type, value(look))
