"""Instruments, and the usual properties of each type of security.

Facts only: well-known names with their conIds at IB, tick sizes, hours, price ranges. `contract_resolver.py` says which
instruments a contract means, `prices.py` says what they cost.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from ibbridge.sim.market.listings import KNOWN, Known, invented_cusip, isin_of

__all__ = ["KNOWN", "Instrument", "Known", "Profile"]

ZONE = "US/Eastern"
"""Time zone of the host, and of most of the simulated exchanges, as a gateway spells it."""


@dataclass(frozen=True, slots=True)
class Profile:
    """Properties that the instruments of one security type have in common.

    `prices` are the bounds for the prices of unknown names, `spread` is in ticks, `lot` is the usual size of a quote.
    `hours` and `liquid` are local times, None for round the clock.
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
_STOCK_EXCHANGES = (
    "SMART,AMEX,NYSE,CBOE,PHLX,ISE,CHX,ARCA,ISLAND,DRCTEDGE,BEX,BATS,EDGEA,BYX,IEX,EDGX,FOXRIVER,PEARL,NYSENAT,LTSE,MEMX,"
    "IBEOS,OVERNIGHT,TPLUS0,PSX"
)

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
    "FUND": Profile(
        "FUNDSERV", 0.01, (10, 60), 0.009, 0, 0, quotes=False, hours=("1559", "2200"), liquid=("1559", "2200")
    ),
    "BAG": Profile("SMART", 0.01, (1, 50), 0.016, 500, 10, spread=2, hours=_EXTENDED, liquid=_REGULAR),
    "NEWS": Profile("NEWS", 0.01, (1, 2), 0.001, 0, 0, trades=False, quotes=False, orders=False, weekends=True),
}  # fmt: skip

MARKET_RULES: dict[int, tuple[tuple[float, float], ...]] = {
    26: ((0.0, 0.01),),
    30: ((0.0, 0.015625),),
    32: ((0.0, 0.01),),
    57: ((0.0, 0.05),),
    67: ((0.0, 0.25),),
    98: ((0.0, 1.0),),
    103: ((0.0, 0.1),),
    109: ((0.0, 0.01), (3.0, 0.05)),
    110: ((0.0, 0.01), (3.0, 0.05)),
    239: ((0.0, 0.00005),),
    240: ((0.0, 0.005),),
    342: ((0.0, 0.001),),
    635: ((0.0, 0.01),),
    1388: ((0.0, 0.0001),),
    2806: ((0.0, 0.01),),
    2963: ((0.0, 0.01),),
}
"""Price increments by rule id: the lowest price for which an increment holds, and the increment."""

_RULE_OF_TICK = {
    0.00005: 239, 0.0001: 1388, 0.001: 342, 0.005: 240, 0.01: 26, 0.015625: 30, 0.05: 57, 0.1: 103, 0.25: 67, 1.0: 98,
}  # fmt: skip
_RULES_OF_TYPE = {"OPT": (32, 109), "FUND": (2963, 2963)}
"""Rules of the types that have their own: on SMART, and on any other exchange."""

NEWS_PROVIDERS = {
    "BRFG": "Briefing.com General Market Columns",
    "BRFUPDN": "Briefing.com Analyst Actions",
    "DJNL": "Dow Jones Newsletters",
    "FLY": "Fly on the Wall",
}
"""News providers by code. Each has a broad tape: an instrument of its own with the provider's whole news."""


def broad_tape(provider: str) -> str:
    """Return the symbol of a provider's broad tape."""
    return f"{provider}:{provider}_ALL"


_AT_HOME = ("FUT", "CONTFUT", "FOP", "IND")
"""Types that are traded where they are listed."""
_ALIASES = {
    "STK": ("NASDAQ", "BEST", "IBKRATS", "DARK", "NYSEDARK"), "CASH": ("IDEAL", "FXCONV", "FXSUBPIP"),
    "CRYPTO": ("ZEROHASH",), "CMDTY": ("IBCMDTY",), "BAG": ("SMART",), "NEWS": tuple(NEWS_PROVIDERS),
    "CFD": ("IBCFD",), "BOND": ("BONDDESK", "TRADEWEB"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Instrument:
    """Instrument with its static data.

    `root` names the random walk that the price comes from; derivatives share the walk of their underlying. `base`,
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
    number: str = ""
    trade: tuple[str, str, str] = ("", "", "")
    fund: bool = False

    @property
    def profile(self) -> Profile:
        """Return the properties of the security type."""
        return PROFILES[self.sec_type]

    @property
    def size(self) -> float:
        """Return the value of one unit of price for one contract."""
        return float(self.multiplier or 1)

    @property
    def isin(self) -> str:
        """Return the ISIN; empty for a security without one."""
        return isin_of(self.number) if len(self.number) == len(invented_cusip()) else self.number

    @property
    def cusip(self) -> str:
        """Return the CUSIP; empty for a security without one."""
        return self.number if len(self.number) == len(invented_cusip()) else ""

    @property
    def exchange(self) -> str:
        """Return the exchange of a contract that names none."""
        return self.primary if self.sec_type in _AT_HOME else self.profile.exchange

    @property
    def exchanges(self) -> tuple[str, ...]:
        """Return the exchanges that trade the instrument, in the order of contract details."""
        if self.sec_type in ("FUT", "CONTFUT"):
            return (self.primary, "QBALGO")
        if self.sec_type == "STK" and self.currency != "USD":
            return ("SMART", self.primary)
        return tuple((self.profile.exchanges or self.exchange).split(","))

    def is_traded_on(self, exchange: str) -> bool:
        """Return True if a contract may name this exchange, by its present or a former name."""
        legs = {name for leg, _ in self.legs for name in leg.exchanges}
        return exchange.upper() in {*self.exchanges, self.primary, *_ALIASES.get(self.sec_type, ()), *legs}

    @property
    def market_rules(self) -> str:
        """Return the ids of the price increment rules, one for each exchange, as text with commas."""
        usual = _RULE_OF_TICK[self.tick]
        smart, elsewhere = _RULES_OF_TYPE.get(self.sec_type, (usual, usual))
        return ",".join(str(smart if exchange == "SMART" else elsewhere) for exchange in self.exchanges)

    def contract(self, exchange: str | None = None) -> dict[str, Any]:
        """Return IB's contract record as orders have it, on `exchange`; an empty `exchange` is left out."""
        every = {
            "conId": self.con_id,
            "symbol": self.symbol,
            "secType": self.sec_type,
            "lastTradeDateOrContractMonth": self.expiry,
            "strike": self.strike,
            "right": self.right,
            "multiplier": "" if self.legs else self.multiplier,
            "exchange": self.exchange if exchange is None else exchange,
            "currency": self.currency,
            "localSymbol": self.local_symbol,
            "tradingClass": self.trading_class,
        }
        return {name: value for name, value in every.items() if value != "" and (value or name == "strike")}

    def described(self, exchange: str | None = None) -> dict[str, Any]:
        """Return the contract record of contract details, with the exchange that a stock is listed on."""
        listed = {"primaryExchange": self.primary} if self.sec_type == "STK" else {}
        return self.contract(exchange) | listed

    def held(self) -> dict[str, Any]:
        """Return the contract record of positions: a stock on its listing exchange, others without an exchange."""
        return self.contract(self.primary if self.sec_type == "STK" else "")


def identity_number(*parts: object) -> int:
    """Return a positive number of 31 bits that is always the same for the same parts."""
    digest = hashlib.blake2b("|".join(map(str, parts)).encode(), digest_size=8).digest()
    return 100_000_000 + int.from_bytes(digest, "big") % 800_000_000


def third_friday(year: int, month: int) -> date:
    """Return the third Friday of a month, on which most derivatives expire."""
    first = date(year, month, 1)
    return first + timedelta((4 - first.weekday()) % 7 + 14)


def session_hours(profile: Profile, today: date, *, liquid: bool) -> str:
    """Return IB's text for the hours of today and the next five days."""
    hours = (profile.liquid if liquid else profile.hours) or ("0000", "2359")
    days = (today + timedelta(n) for n in range(6))
    return ";".join(
        f"{day:%Y%m%d}:CLOSED"
        if day.weekday() > 4 and not profile.weekends
        else f"{day:%Y%m%d}:{hours[0]}-{day:%Y%m%d}:{hours[1]}"
        for day in days
    )
