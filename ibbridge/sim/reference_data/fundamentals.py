"""Fundamental reports as XML, in the structure of the Reuters reports that IB passes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from ibbridge.sim.data_files import text
from ibbridge.sim.market.instruments import KNOWN, identity_number
from ibbridge.sim.rejections import RequestRejected, invalid

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

    from ibbridge.sim.context import ClientSession, SimulationContext
    from ibbridge.sim.market.instruments import Instrument

_YEARS = 5
_OWNERS = 5
_REPORTS = (
    "ReportSnapshot", "ReportsFinSummary", "ReportRatios", "ReportsFinStatements", "RESC", "ReportsOwnership",
    "CalendarReport",
)  # fmt: skip
"""Types of report. Each has a data file, which names figures of a `Company`."""


class Company:
    """Made-up figures of one company, always the same, in millions except the figures per share.

    Lists begin with last year, and go back.
    """

    def __init__(self, stock: Instrument, price: float, today: date) -> None:
        shares = 500 + identity_number("shares", stock.root) % 9500
        sales = stock.base * shares / (2 + identity_number("sales", stock.root) % 6)
        growth = 0.96 + identity_number("growth", stock.root) % 20 / 100
        margin = 0.05 + identity_number("margin", stock.root) % 25 / 100
        self.stock = stock
        self.price = price
        self.year = today.year
        self.years = [today.year - 1 - ago for ago in range(_YEARS)]
        self.revenues = [sales * growth ** (_YEARS - ago) for ago in range(_YEARS)]
        self.incomes = [revenue * margin for revenue in self.revenues]
        self.earnings = [income / shares for income in self.incomes]
        self.expected_revenue = sales * growth ** (_YEARS + 1)
        self.expected_earnings = self.expected_revenue * margin / shares
        self.shares_out = shares * 1e6
        self.holdings = [shares * 1e6 / (10 * place) for place in range(1, _OWNERS + 1)]
        self.market_cap = price * shares
        self.price_to_earnings = price / self.earnings[0]
        self.margin_percent = self.incomes[0] / self.revenues[0] * 100


class Fundamentals:
    """Handler of reqFundamentalData, for listed stocks only."""

    def __init__(self, context: SimulationContext) -> None:
        self._context = context

    def report(self, session: ClientSession, args: Mapping[str, Any]) -> None:
        """Send a report as one text."""
        kind = args.get("reportType", "")
        if kind not in _REPORTS:
            raise invalid(f"Invalid report type. Legal ones are: {', '.join(_REPORTS)}")
        stock = self._context.instrument(args.get("contract", {}))
        if (stock.sec_type, stock.symbol, stock.currency) not in KNOWN or stock.sec_type != "STK":
            raise RequestRejected(430, "The fundamentals data for the security specified is not available.")
        price = self._context.market.quote(stock, self._context.now).last
        company = Company(stock, price, self._context.today)
        template = text(f"reference_data/reports/{kind}.xml")
        report = template.format(company=company, name=escape(stock.name), symbol=escape(stock.symbol))
        session.send("fundamentalData", {"reqId": args["reqId"], "data": report})
