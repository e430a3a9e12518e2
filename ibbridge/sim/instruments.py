"""What can be traded: instruments, and what is usual for each type of security.

Facts only: names that everybody knows with the conIds they have at IB, tick sizes, hours, price ranges. Which
instruments a contract means is `catalogue.py`'s business, what they cost is `market.py`'s.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, NamedTuple

ZONE = "America/New_York"
"""The one time zone of the simulated exchanges, spelt so that every zone database has it."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What instruments of one security type have in common.

    `prices` bound those of unknown names, `spread` is in ticks, `lot` the usual size of a quote, `hours` and
    `liquid` are local times or empty for round the clock.
    """

    exchange: str
    tick: float
    prices: tuple[float, float]
    volatility: float
    volume: float
    lot: float
    spread: int = 1
    multiplier: str = ""
    hours: tuple[str, str] | None = None
    liquid: tuple[str, str] | None = None
    exchanges: str = ""
    increment: float = 1.0
    trades: bool = True
    quotes: bool = True
    orders: bool = True
    expires: bool = False
    weekends: bool = False


_EXTENDED, _REGULAR = ("0400", "2000"), ("0930", "1600")
_STOCK_EXCHANGES = "SMART,AMEX,NYSE,CBOE,PHLX,ISE,CHX,ARCA,ISLAND,DRCTEDGE,BEX,BATS,EDGEA,BYX,IEX,EDGX,PEARL,MEMX"

PROFILES: dict[str, Profile] = {
    "STK": Profile(
        "SMART", 0.01, (8, 400), 0.016, 9e6, 100, exchanges=_STOCK_EXCHANGES, hours=_EXTENDED, liquid=_REGULAR
    ),
    "CFD": Profile("SMART", 0.01, (8, 400), 0.016, 1e5, 100, hours=_EXTENDED, liquid=_REGULAR),
    "WAR": Profile("SMART", 0.01, (0.5, 20), 0.04, 5e5, 1000, spread=2, hours=_EXTENDED, liquid=_REGULAR),
    "IOPT": Profile("SMART", 0.01, (0.5, 20), 0.04, 5e5, 1000, spread=2, hours=_EXTENDED, liquid=_REGULAR),
    "FUT": Profile("CME", 0.25, (500, 8000), 0.011, 1.2e6, 5, multiplier="50", expires=True),
    "CONTFUT": Profile("CME", 0.25, (500, 8000), 0.011, 1.2e6, 5, multiplier="50", orders=False),
    "OPT": Profile(
        "SMART", 0.01, (1, 50), 0.016, 4000, 10, spread=4, multiplier="100", expires=True,
        exchanges="SMART,AMEX,CBOE,PHLX,PSE,ISE,BOX,BATS,NASDAQOM,CBOE2,NASDAQBX,MIAX,GEMINI,EDGX,MERCURY",
        hours=_REGULAR, liquid=_REGULAR,
    ),
    "FOP": Profile("CME", 0.05, (1, 50), 0.011, 900, 5, spread=3, multiplier="50", expires=True),
    "CASH": Profile("IDEALPRO", 0.00005, (0.5, 2), 0.005, 0, 1e6, trades=False),
    "IND": Profile(
        "CBOE", 0.01, (500, 8000), 0.010, 0, 0, quotes=False, orders=False, hours=_EXTENDED, liquid=_REGULAR
    ),
    "CMDTY": Profile("SMART", 0.01, (20, 2500), 0.010, 0, 100, spread=4, trades=False),
    "CRYPTO": Profile(
        "PAXOS", 0.25, (0.5, 3000), 0.028, 4000, 2, spread=2, increment=0.0001, weekends=True, exchanges="PAXOS",
    ),
    "BOND": Profile("SMART", 0.001, (88, 112), 0.003, 5000, 50, spread=40, hours=_EXTENDED, liquid=_REGULAR),
    "BILL": Profile("SMART", 0.001, (95, 100), 0.001, 5000, 50, spread=10, hours=_EXTENDED, liquid=_REGULAR),
    "FUND": Profile("FUNDSERV", 0.01, (10, 60), 0.009, 0, 0, quotes=False, hours=_EXTENDED, liquid=_REGULAR),
    "BAG": Profile("SMART", 0.01, (1, 50), 0.016, 500, 10, spread=2, hours=_EXTENDED, liquid=_REGULAR),
    "NEWS": Profile("NEWS", 0.01, (1, 2), 0.001, 0, 0, trades=False, quotes=False, orders=False, weekends=True),
}  # fmt: skip

MARKET_RULES: dict[int, tuple[tuple[float, float], ...]] = {
    26: ((0.0, 0.01),),
    30: ((0.0, 0.015625),),
    32: ((0.0, 0.05),),
    67: ((0.0, 0.25),),
    98: ((0.0, 1.0),),
    103: ((0.0, 0.1),),
    109: ((0.0, 0.001),),
    110: ((0.0, 0.01), (3.0, 0.05)),
    239: ((0.0, 0.00005),),
    240: ((0.0, 0.005),),
}
"""Price increments by the number of their rule: the lowest price for which one holds, and the increment."""

_RULE_OF_TICK = {increments[0][1]: number for number, increments in MARKET_RULES.items() if len(increments) == 1}

NEWS_PROVIDERS = {
    "BRFG": "Briefing.com General Market Columns",
    "BRFUPDN": "Briefing.com Analyst Actions",
    "DJNL": "Dow Jones Newsletters",
    "FLY": "Fly on the Wall",
}
"""Who writes news. Each has a broad tape, an instrument of its own with everything that it writes."""


def broad_tape(provider: str) -> str:
    """The symbol of a provider's broad tape."""
    return f"{provider}:{provider}_ALL"


class Known(NamedTuple):
    """A name everybody knows, with its conId at IB (0: none) and a price near what it has been."""

    con_id: int
    name: str
    primary: str
    price: float
    tick: float = 0.0
    multiplier: str = ""


KNOWN: dict[tuple[str, str, str], Known] = {
    ("STK", "AAPL", "USD"): Known(265598, "APPLE INC", "NASDAQ", 230),
    ("STK", "MSFT", "USD"): Known(272093, "MICROSOFT CORP", "NASDAQ", 430),
    ("STK", "NVDA", "USD"): Known(4815747, "NVIDIA CORP", "NASDAQ", 170),
    ("STK", "AMZN", "USD"): Known(3691937, "AMAZON.COM INC", "NASDAQ", 220),
    ("STK", "GOOG", "USD"): Known(208813720, "ALPHABET INC-CL C", "NASDAQ", 190),
    ("STK", "GOOGL", "USD"): Known(208813719, "ALPHABET INC-CL A", "NASDAQ", 190),
    ("STK", "META", "USD"): Known(107113386, "META PLATFORMS INC", "NASDAQ", 650),
    ("STK", "TSLA", "USD"): Known(76792991, "TESLA INC", "NASDAQ", 320),
    ("STK", "INTC", "USD"): Known(270639, "INTEL CORP", "NASDAQ", 25),
    ("STK", "AMD", "USD"): Known(4391, "ADVANCED MICRO DEVICES", "NASDAQ", 150),
    ("STK", "IBM", "USD"): Known(8314, "INTL BUSINESS MACHINES CORP", "NYSE", 250),
    ("STK", "GE", "USD"): Known(498843743, "GENERAL ELECTRIC", "NYSE", 240),
    ("STK", "KO", "USD"): Known(8894, "COCA-COLA CO/THE", "NYSE", 68),
    ("STK", "JPM", "USD"): Known(1520593, "JPMORGAN CHASE & CO", "NYSE", 280),
    ("STK", "SPY", "USD"): Known(756733, "SS SPDR S&P 500 ETF TRUST-US", "ARCA", 620),
    ("STK", "QQQ", "USD"): Known(320227571, "INVESCO QQQ TRUST SERIES 1", "NASDAQ", 550),
    ("STK", "IWM", "USD"): Known(9579970, "ISHARES RUSSELL 2000 ETF", "ARCA", 220),
    ("STK", "IBKR", "USD"): Known(43645865, "INTERACTIVE BROKERS GRO-CL A", "NASDAQ", 60),
    ("STK", "SAP", "EUR"): Known(14204, "SAP SE", "IBIS", 250),
    ("IND", "SPX", "USD"): Known(416904, "S&P 500 Stock Index", "CBOE", 6200),
    ("IND", "NDX", "USD"): Known(416843, "NASDAQ 100 Stock Index", "NASDAQ", 22500),
    ("IND", "VIX", "USD"): Known(13455763, "CBOE Volatility Index", "CBOE", 17),
    ("IND", "DAX", "EUR"): Known(825711, "DAX 40 Index (Deutsche Aktien Xchange 40)", "EUREX", 24000),
    ("FUT", "ES", "USD"): Known(0, "E-mini S&P 500", "CME", 6200, 0.25, "50"),
    ("FUT", "MES", "USD"): Known(0, "Micro E-Mini S&P 500 Stock Price Index", "CME", 6200, 0.25, "5"),
    ("FUT", "NQ", "USD"): Known(0, "E-mini NASDAQ 100", "CME", 22500, 0.25, "20"),
    ("FUT", "YM", "USD"): Known(0, "Mini Sized Dow Jones Industrial Average $5", "CBOT", 44000, 1, "5"),
    ("FUT", "RTY", "USD"): Known(0, "E-Mini Russell 2000 Index", "CME", 2200, 0.1, "50"),
    ("FUT", "CL", "USD"): Known(0, "Light Sweet Crude Oil", "NYMEX", 68, 0.01, "1000"),
    ("FUT", "GC", "USD"): Known(0, "Gold", "COMEX", 3300, 0.1, "100"),
    ("FUT", "ZN", "USD"): Known(0, "10 Year US Treasury Note", "CBOT", 111, 0.015625, "1000"),
    ("FUT", "DAX", "EUR"): Known(0, "DAX 40 Index (Deutsche Aktien Xchange 40)", "EUREX", 24000, 1, "25"),
    ("CASH", "EUR", "USD"): Known(12087792, "European Monetary Union Euro", "IDEALPRO", 1.14),
    ("CASH", "GBP", "USD"): Known(12087797, "British pound", "IDEALPRO", 1.34),
    ("CASH", "AUD", "USD"): Known(14433401, "Australian dollar", "IDEALPRO", 0.65),
    ("CASH", "USD", "JPY"): Known(15016059, "United States dollar", "IDEALPRO", 147, 0.005),
    ("CASH", "USD", "CHF"): Known(12087820, "United States dollar", "IDEALPRO", 0.81),
    ("CASH", "USD", "CAD"): Known(15016062, "United States dollar", "IDEALPRO", 1.37),
    ("CASH", "EUR", "GBP"): Known(12087807, "European Monetary Union Euro", "IDEALPRO", 0.85),
    ("CRYPTO", "BTC", "USD"): Known(479624278, "Bitcoin cryptocurrency", "PAXOS", 105000, 0.25),
    ("CRYPTO", "ETH", "USD"): Known(495759171, "Ethereum cryptocurrency", "PAXOS", 2800, 0.01),
    ("CMDTY", "XAUUSD", "USD"): Known(69067924, "London Gold", "SMART", 3300, 0.01),
}


@dataclass(frozen=True, slots=True)
class Instrument:
    """One instrument.

    `root` names the walk its price comes from, which derivatives share with what they derive from; `base`,
    `volatility` and `volume` belong to that walk. `legs` pairs the instruments of a combination with their signed
    ratios.
    """

    con_id: int
    sec_type: str
    symbol: str
    currency: str
    name: str
    primary: str
    local_symbol: str
    trading_class: str
    tick: float
    root: str
    base: float
    volatility: float
    volume: float
    multiplier: str = ""
    expiry: str = ""
    strike: float = 0.0
    right: str = ""
    underlying: Instrument | None = None
    legs: tuple[tuple[Instrument, float], ...] = field(default=())

    @property
    def profile(self) -> Profile:
        """What its security type has in common."""
        return PROFILES[self.sec_type]

    @property
    def size(self) -> float:
        """What one unit of price is worth for one contract."""
        return float(self.multiplier or 1)

    @property
    def market_rule(self) -> int:
        """The rule that says in which steps it can be priced: the same steps on every exchange."""
        return _RULE_OF_TICK[self.tick]

    def contract(self, exchange: str | None = None) -> dict[str, Any]:
        """IB's contract record; on `exchange`, or without any where that is empty."""
        every = {
            "conId": self.con_id,
            "symbol": self.symbol,
            "secType": self.sec_type,
            "lastTradeDateOrContractMonth": self.expiry,
            "strike": self.strike,
            "right": self.right,
            "multiplier": self.multiplier,
            "exchange": self.profile.exchange if exchange is None else exchange,
            "primaryExchange": self.primary if self.sec_type == "STK" else "",
            "currency": self.currency,
            "localSymbol": self.local_symbol,
            "tradingClass": self.trading_class,
        }
        return {name: value for name, value in every.items() if value != "" and (value or name == "strike")}


def identity_number(*parts: object) -> int:
    """A positive number of 31 bits that is always the same for the same parts."""
    digest = hashlib.blake2b("|".join(map(str, parts)).encode(), digest_size=8).digest()
    return 100_000_000 + int.from_bytes(digest, "big") % 800_000_000


def third_friday(year: int, month: int) -> date:
    """When most derivatives' months end."""
    first = date(year, month, 1)
    return first + timedelta((4 - first.weekday()) % 7 + 14)


def session_hours(profile: Profile, today: date, *, liquid: bool) -> str:
    """IB's text for the hours of today and the next five days."""
    hours = (profile.liquid if liquid else profile.hours) or ("0000", "2359")
    days = (today + timedelta(n) for n in range(6))
    return ";".join(
        f"{day:%Y%m%d}:CLOSED"
        if day.weekday() > 4 and not profile.weekends
        else f"{day:%Y%m%d}:{hours[0]}-{day:%Y%m%d}:{hours[1]}"
        for day in days
    )
