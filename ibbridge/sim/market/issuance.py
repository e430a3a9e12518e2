"""Issuance of instruments: a name, a future or an option with all its static data, always the same.

ConIds are the real ones where a name is known, and elsewhere a hash of the description: the same in every run.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ibbridge.sim.market.instruments import KNOWN, PROFILES, Instrument, identity_number
from ibbridge.sim.market.listings import invented_cusip

if TYPE_CHECKING:
    from datetime import date

MONTH_CODES = "FGHJKMNQUVXZ"
"""Letters of the months in the local symbols of futures."""

_NUMBERED = ("STK", "BOND", "BILL", "FUND")
"""Types whose securities have a CUSIP or an ISIN."""


def issue_name(seed: int, sec_type: str, symbol: str, currency: str) -> Instrument:
    """Return the instrument of a name that derives from nothing.

    A seed moves the price level of each name by up to a fifth, and of a currency pair by up to a hundredth.
    """
    profile, known = PROFILES[sec_type], KNOWN.get((sec_type, symbol, currency))
    draw = identity_number(seed, "level", sec_type, symbol, currency) % 10_000 / 10_000
    low, high = profile.prices
    usual = known.price if known else low * (high / low) ** (identity_number("price", symbol) % 10_000 / 10_000)
    tick = known.tick if known and known.tick else profile.tick
    con_id = known.con_id if known and known.con_id else identity_number(sec_type, symbol, currency)
    number = known.number if known else invented_cusip(sec_type, symbol, currency) if sec_type in _NUMBERED else ""
    return Instrument(
        con_id=con_id,
        sec_type=sec_type,
        symbol=symbol,
        currency=currency,
        name=known.name if known else f"{symbol} INC" if sec_type == "STK" else symbol,
        primary=known.primary if known else "NYSE" if sec_type == "STK" else profile.exchange,
        local_symbol=_local_symbol(sec_type, symbol, currency, con_id, number),
        trading_class=_trading_class(sec_type, symbol, currency, number),
        tick=0.005 if sec_type == "CASH" and currency == "JPY" else tick,
        root=f"{sec_type} {symbol} {currency}",
        base=usual * (1 + (draw - 0.5) * (0.02 if sec_type == "CASH" else 0.4)),
        volatility=profile.volatility,
        volume=profile.volume,
        multiplier=(known.multiplier if known else "") or profile.multiplier,
        number=number,
        trade=known.trade if known else ("", "", ""),
        fund=known is not None and known.fund,
    )


def issue_future(root: Instrument, day: date) -> Instrument:
    """Return the future on a name that expires on a day."""
    local = f"{root.symbol}{MONTH_CODES[day.month - 1]}{day.year % 10}"
    number = identity_number(root.root, day)
    return replace(root, con_id=number, expiry=f"{day:%Y%m%d}", local_symbol=local)


def issue_option(sec_type: str, underlying: Instrument, expiry: str, strike: float, right: str) -> Instrument:
    """Return an option on an underlying. `expiry` is `yyyyMMdd`, `right` is C or P."""
    profile = PROFILES[sec_type]
    return Instrument(
        con_id=identity_number(sec_type, underlying.root, expiry, strike, right),
        sec_type=sec_type,
        symbol=underlying.symbol,
        currency=underlying.currency,
        name=underlying.name,
        primary=underlying.primary if sec_type == "FOP" else profile.exchange,
        local_symbol=f"{underlying.symbol:<6}{expiry[2:]}{right}{round(strike * 1000):08}",
        trading_class=underlying.symbol,
        tick=profile.tick,
        root=underlying.root,
        base=underlying.base,
        volatility=underlying.volatility,
        volume=profile.volume,
        multiplier=underlying.multiplier or profile.multiplier,
        expiry=expiry,
        strike=strike,
        right=right,
        underlying=underlying,
        trade=underlying.trade,
    )


def _local_symbol(sec_type: str, symbol: str, currency: str, con_id: int, number: str) -> str:
    """Return the exchange's name of an instrument: a pair by both names, a bond and a fund by a number."""
    if sec_type in ("CASH", "CRYPTO"):
        return f"{symbol}.{currency}"
    if (sec_type, currency) == ("STK", "KRW"):
        return f"{symbol}.KS"
    return {"BOND": f"IBCID{con_id}", "BILL": f"IBCID{con_id}", "FUND": number}.get(sec_type) or symbol


def _trading_class(sec_type: str, symbol: str, currency: str, number: str) -> str:
    if sec_type == "CASH":
        return f"{symbol}.{currency}"
    return {"STK": "NMS" if currency == "USD" else symbol, "FUND": number}.get(sec_type) or symbol
