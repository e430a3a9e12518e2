"""Account figures as rows and records under IB's names. Pure: a ledger in, data out."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from ibbridge.sim.accounts.ledger import BASE, Figures, Ledger, Position

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ibbridge.sim.context import Data

Row: TypeAlias = "tuple[str, str, str]"
"""Key, value and currency of an account value."""

SUMMARY_TAGS = (
    "AccountType", "NetLiquidation", "TotalCashValue", "SettledCash", "AccruedCash", "BuyingPower",
    "EquityWithLoanValue", "PreviousEquityWithLoanValue", "PreviousDayEquityWithLoanValue", "GrossPositionValue",
    "ReqTEquity", "ReqTMargin", "RegTEquity", "RegTMargin", "SMA",
    "InitMarginReq", "MaintMarginReq", "AvailableFunds", "ExcessLiquidity", "Cushion", "FullInitMarginReq",
    "FullMaintMarginReq", "FullAvailableFunds", "FullExcessLiquidity", "LookAheadNextChange", "LookAheadInitMarginReq",
    "LookAheadMaintMarginReq", "LookAheadAvailableFunds", "LookAheadExcessLiquidity", "HighestSeverity",
    "DayTradesRemaining", "Leverage",
)  # fmt: skip
PER_CURRENCY = "$LEDGER"


def position_row(ledger: Ledger, position: Position) -> Data:
    """Return the data of `position`."""
    return {
        "account": ledger.account,
        "contract": position.instrument.held(),
        "position": position.quantity,
        "avgCost": round(position.average, 8),
    }


def position_multi_row(request: int, ledger: Ledger, position: Position, model: str) -> Data:
    """Return the data of `positionMulti`."""
    return {
        "reqId": request,
        "account": ledger.account,
        "modelCode": model,
        "contract": position.instrument.held(),
        "pos": position.quantity,
        "avgCost": round(position.average, 8),
    }


def portfolio_row(ledger: Ledger, position: Position) -> Data:
    """Return the data of `updatePortfolio`: a position at the market."""
    valued, instrument = ledger.value(position), position.instrument
    return {
        "contract": instrument.held() | {"primaryExchange": instrument.primary},
        "position": position.quantity,
        "marketPrice": valued.price,
        "marketValue": valued.value,
        "averageCost": round(position.average, 8),
        "unrealizedPNL": valued.unrealised,
        "realizedPNL": round(position.realised, 2),
        "accountName": ledger.account,
    }


def _money(value: float) -> str:
    return f"{value:.2f}"


def _totals(figures: Figures) -> dict[str, float]:
    """Return an account's figures under IB's names, in the base currency."""
    every = {
        "NetLiquidation": figures.net_liquidation,
        "TotalCashValue": figures.cash,
        "SettledCash": figures.cash,
        "AccruedCash": 0.0,
        "BuyingPower": max(figures.available, 0.0) * 4,
        "EquityWithLoanValue": figures.net_liquidation,
        "PreviousEquityWithLoanValue": figures.net_liquidation,
        "GrossPositionValue": figures.gross,
        "PreviousDayEquityWithLoanValue": figures.net_liquidation,
        "ReqTEquity": figures.net_liquidation,
        "ReqTMargin": figures.initial,
        "RegTEquity": figures.net_liquidation,
        "RegTMargin": figures.initial,
        "SMA": figures.available,
        "InitMarginReq": figures.initial,
        "MaintMarginReq": figures.maintenance,
        "AvailableFunds": figures.available,
        "ExcessLiquidity": figures.excess,
    }
    full = ("InitMarginReq", "MaintMarginReq", "AvailableFunds", "ExcessLiquidity")
    return every | {f"{prefix}{name}": every[name] for prefix in ("Full", "LookAhead") for name in full}


def account_values(ledger: Ledger) -> Iterator[Row]:
    """Yield every row of an account download."""
    figures = ledger.figures()
    yield "AccountCode", ledger.account, ""
    yield "AccountReady", "true", ""
    yield "AccountType", "INDIVIDUAL", ""
    yield "Cushion", _cushion(figures), ""
    yield "DayTradesRemaining", "-1", ""
    yield "LookAheadNextChange", "0", ""
    for name, value in _totals(figures).items():
        yield name, _money(value), BASE
    yield from _currencies(ledger, figures)


def _currencies(ledger: Ledger, figures: Figures) -> Iterator[Row]:
    """Yield the rows that repeat per currency, and their sum as `BASE`."""
    for currency, cash in ledger.cash.items():
        rate = ledger.rate(currency)
        yield "Currency", currency, currency
        yield "CashBalance", _money(cash), currency
        yield "TotalCashBalance", _money(cash), currency
        yield "ExchangeRate", f"{rate:.4f}", currency
    yield "Currency", "BASE", "BASE"
    for name, value in {
        "CashBalance": figures.cash,
        "TotalCashBalance": figures.cash,
        "NetLiquidationByCurrency": figures.net_liquidation,
        "StockMarketValue": figures.stocks,
        "OptionMarketValue": figures.options,
        "UnrealizedPnL": figures.unrealised,
        "RealizedPnL": figures.realised,
    }.items():
        yield name, _money(value), "BASE"


def summary_rows(ledger: Ledger, tags: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of a summary. The tags `$LEDGER` and `$LEDGER:EUR` give the rows per currency."""
    figures = ledger.figures()
    plain = {
        "AccountType": "INDIVIDUAL",
        "Cushion": _cushion(figures),
        "LookAheadNextChange": "0",
        "HighestSeverity": "0",
        "DayTradesRemaining": "-1",
        "Leverage": f"{figures.gross / figures.net_liquidation:.2f}",
    }
    totals = _totals(figures)
    for tag in SUMMARY_TAGS if "All" in tags else tags:
        if tag.startswith(PER_CURRENCY):
            wanted = tag.partition(":")[2] or "BASE"
            yield from (row for row in _currencies(ledger, figures) if wanted in (row[2], "ALL"))
        elif tag in plain:
            yield tag, plain[tag], ""
        else:
            yield tag, _money(totals[tag]), BASE


def _cushion(figures: Figures) -> str:
    return f"{figures.excess / figures.net_liquidation:.4f}" if figures.net_liquidation else "0"
