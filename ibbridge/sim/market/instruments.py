"""Instruments, and the usual properties of each type of security.

Facts only: well-known names with their conIds at IB, tick sizes, hours, price ranges. `contract_resolver.py` says which
instruments a contract means, `prices.py` says what they cost.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from ibbridge.sim.data_files import table
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


_TABLES = table("market/instruments.yaml")


def _profile(row: dict[str, Any]) -> Profile:
    """Return the profile of a row of the data file, in which ranges and exchanges are lists."""
    ranges: dict[str, Any] = {name: tuple(row[name]) for name in ("prices", "hours", "liquid") if name in row}
    return Profile(**{**row, **ranges, "exchanges": ",".join(row.get("exchanges", ()))})


PROFILES: dict[str, Profile] = {sec_type: _profile(row) for sec_type, row in _TABLES["profiles"].items()}
MARKET_RULES: dict[int, list[tuple[float, float]]] = _TABLES["market_rules"]
"""Price increments by rule id: the lowest price for which an increment holds, and the increment."""
NEWS_PROVIDERS: dict[str, str] = _TABLES["news_providers"]
"""News providers by code. Each has a broad tape: an instrument of its own with the provider's whole news."""

_RULE_OF_TICK: dict[float, int] = _TABLES["rule_of_tick"]
_RULES_OF_TYPE: dict[str, tuple[int, int]] = _TABLES["rules_of_type"]
_ALIASES: dict[str, list[str]] = _TABLES["aliases"]
_AT_HOME = ("FUT", "CONTFUT", "FOP", "IND")
"""Types that are traded where they are listed."""


def broad_tape(provider: str) -> str:
    """Return the symbol of a provider's broad tape."""
    return f"{provider}:{provider}_ALL"


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
    trade: tuple[str, ...] = ("", "", "")
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
