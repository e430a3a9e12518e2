"""Contracts as plain maps under IB's attribute names. What is not covered here is written as a map just the same."""

from __future__ import annotations

from typing import Any

Contract = dict[str, Any]


def stock(symbol: str, exchange: str = "SMART", currency: str = "USD", **more: Any) -> Contract:
    """A stock: `stock("AAPL")`, `stock("SAP", "SMART", "EUR", primaryExchange="IBIS")`."""
    return {"symbol": symbol, "secType": "STK", "exchange": exchange, "currency": currency, **more}


def future(symbol: str, expiry: str, exchange: str, currency: str = "USD", **more: Any) -> Contract:
    """A future: `future("ES", "202612", "CME")`. `expiry` is YYYYMM or YYYYMMDD (lastTradeDateOrContractMonth)."""
    return {
        "symbol": symbol,
        "secType": "FUT",
        "exchange": exchange,
        "currency": currency,
        "lastTradeDateOrContractMonth": expiry,
        **more,
    }


def option(
    symbol: str, expiry: str, strike: float, right: str, exchange: str = "SMART", *, currency: str = "USD", **more: Any
) -> Contract:
    """An option: `option("AAPL", "20261218", 200, "C")`. `right` is C or P."""
    return {
        "symbol": symbol,
        "secType": "OPT",
        "exchange": exchange,
        "currency": currency,
        "lastTradeDateOrContractMonth": expiry,
        "strike": float(strike),
        "right": right,
        **more,
    }


def forex(pair: str, exchange: str = "IDEALPRO", **more: Any) -> Contract:
    """A currency pair: `forex("EURUSD")` (or `EUR.USD`) is EUR priced in USD."""
    letters = pair.replace(".", "").replace("/", "")
    if len(letters) != 6 or not letters.isalpha():
        raise ValueError(f"{pair!r} is no currency pair; write it as EURUSD")
    return {"symbol": letters[:3], "secType": "CASH", "exchange": exchange, "currency": letters[3:], **more}
