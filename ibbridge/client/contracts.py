"""Contract makers: plain maps under IB's attribute names. Write other kinds of contract as such a map yourself."""

from __future__ import annotations

from typing import Any

Contract = dict[str, Any]


def stock(symbol: str, exchange: str = "SMART", currency: str = "USD", **more: Any) -> Contract:
    """Return a stock: `stock("AAPL")`, `stock("SAP", "SMART", "EUR", primaryExchange="IBIS")`."""
    return {"symbol": symbol, "secType": "STK", "exchange": exchange, "currency": currency, **more}


def future(symbol: str, expiry: str, exchange: str, currency: str = "USD", **more: Any) -> Contract:
    """Return a future: `future("ES", "202612", "CME")`. `expiry` (lastTradeDateOrContractMonth): YYYYMM or YYYYMMDD."""
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
    """Return an option: `option("AAPL", "20261218", 200, "C")`. `right` is C or P."""
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
    """Return a currency pair: `forex("EURUSD")` (or `EUR.USD`) is EUR priced in USD."""
    letters = pair.replace(".", "").replace("/", "")
    if len(letters) != 6 or not letters.isalpha():
        raise ValueError(f"{pair!r} is no currency pair; write it as EURUSD")
    return {"symbol": letters[:3], "secType": "CASH", "exchange": exchange, "currency": letters[3:], **more}
