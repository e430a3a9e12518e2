"""Fundamental reports as XML, in the structure of the Reuters reports that IB passes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from ibbridge.sim.market.contract_resolver import RequestRejected, invalid
from ibbridge.sim.market.instruments import KNOWN, identity_number

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import date

    from ibbridge.sim.context import ClientSession, SimulationContext
    from ibbridge.sim.market.instruments import Instrument

_YEARS = 5


class Company:
    """Made-up figures of one company, always the same, in millions except the figures per share."""

    def __init__(self, stock: Instrument, price: float, today: date) -> None:
        self.stock = stock
        self.price = price
        self.today = today
        self.shares = 500 + identity_number("shares", stock.root) % 9500
        self._sales = stock.base * self.shares / (2 + identity_number("sales", stock.root) % 6)
        self._growth = 0.96 + identity_number("growth", stock.root) % 20 / 100
        self._margin = 0.05 + identity_number("margin", stock.root) % 25 / 100

    def revenue(self, years_ago: int) -> float:
        """Return the sales of a year."""
        return float(self._sales * self._growth ** (_YEARS - years_ago))

    def income(self, years_ago: int) -> float:
        """Return the net income of a year."""
        return self.revenue(years_ago) * self._margin

    def earnings(self, years_ago: int) -> float:
        """Return the net income of a year per share."""
        return self.income(years_ago) / self.shares


class Fundamentals:
    """Handler of reqFundamentalData, for listed stocks only."""

    def __init__(self, context: SimulationContext) -> None:
        self._context = context

    def report(self, session: ClientSession, args: Mapping[str, Any]) -> None:
        """Send a report as one text."""
        make = _REPORTS.get(args.get("reportType", ""))
        if make is None:
            raise invalid(f"Invalid report type. Legal ones are: {', '.join(_REPORTS)}")
        stock = self._context.instrument(args.get("contract", {}))
        if (stock.sec_type, stock.symbol, stock.currency) not in KNOWN or stock.sec_type != "STK":
            raise RequestRejected(430, "The fundamentals data for the security specified is not available.")
        price = self._context.market.quote(stock, self._context.now).last
        root = make(Company(stock, price, self._context.today))
        indent(root)
        text = f'<?xml version="1.0" encoding="UTF-8"?>\n{tostring(root, encoding="unicode")}\n'
        session.send("fundamentalData", {"reqId": args["reqId"], "data": text})


def _headed(name: str, company: Company) -> Element:
    root = Element(name, Major="1", Minor="0", Revision="1")
    identity = SubElement(root, "CoIDs")
    for kind, text in (("RepNo", f"{company.stock.con_id}"), ("CompanyName", company.stock.name)):
        SubElement(identity, "CoID", Type=kind).text = text
    issue = SubElement(SubElement(root, "Issues"), "Issue", ID="1", Type="C", Desc="Common Stock", Order="1")
    for kind, text in (("Name", "Ordinary Shares"), ("Ticker", company.stock.symbol)):
        SubElement(issue, "IssueID", Type=kind).text = text
    SubElement(issue, "Exchange", Code=company.stock.primary, Country="USA").text = company.stock.primary
    return root


def _snapshot(company: Company) -> Element:
    root = _headed("ReportSnapshot", company)
    general = SubElement(root, "CoGeneralInfo")
    SubElement(general, "CoStatus", Code="1").text = "Active"
    SubElement(general, "SharesOut", TotalFloat=f"{company.shares * 1e6:.1f}").text = f"{company.shares * 1e6:.1f}"
    SubElement(general, "ReportingCurrency", Code=company.stock.currency).text = company.stock.currency
    info = SubElement(root, "TextInfo")
    summary = f"{company.stock.name} is simulated, and so are its figures."
    SubElement(info, "Text", Type="Business Summary").text = summary
    _ratio_group(SubElement(root, "Ratios", PriceCurrency=company.stock.currency), company)
    return root


def _ratios(company: Company) -> Element:
    root = _headed("ReportRatios", company)
    _ratio_group(SubElement(root, "Ratios", PriceCurrency=company.stock.currency), company)
    return root


def _ratio_group(ratios: Element, company: Company) -> None:
    group = SubElement(ratios, "Group", ID="Price and Volume")
    figures = {
        "NPRICE": company.price,
        "MKTCAP": company.price * company.shares,
        "TTMREV": company.revenue(0),
        "TTMNIAC": company.income(0),
        "TTMEPSXCLX": company.earnings(0),
        "PEEXCLXOR": company.price / company.earnings(0),
        "TTMNPMGN": company.income(0) / company.revenue(0) * 100,
    }
    for field, value in figures.items():
        SubElement(group, "Ratio", FieldName=field, Type="N").text = f"{value:.5f}"


def _summary(company: Company) -> Element:
    root = Element("FinancialSummary")
    for name, figure in (("EPSs", company.earnings), ("TotalRevenues", company.revenue)):
        rows = SubElement(root, name, currency=company.stock.currency)
        for ago in range(_YEARS):
            day = f"{company.today.year - 1 - ago}-12-31"
            row = SubElement(rows, name[:-1], asofDate=day, reportType="A", period="12M")
            row.text = f"{figure(ago):.4f}"
    return root


def _statements(company: Company) -> Element:
    root = _headed("ReportFinancialStatements", company)
    periods = SubElement(SubElement(root, "FinancialStatements"), "AnnualPeriods")
    for ago in range(_YEARS):
        year = company.today.year - 1 - ago
        period = SubElement(periods, "FiscalPeriod", Type="Annual", EndDate=f"{year}-12-31", FiscalYear=f"{year}")
        statement = SubElement(period, "Statement", Type="INC")
        for code, value in (("RTLR", company.revenue(ago)), ("NINC", company.income(ago))):
            SubElement(statement, "lineItem", coaCode=code).text = f"{value:.5f}"
    return root


def _estimates(company: Company) -> Element:
    root = Element("REarnEstCons", Major="1", Minor="0")
    SubElement(SubElement(root, "Company"), "CoName").text = company.stock.name
    estimates = SubElement(SubElement(root, "ConsEstimates"), "FYEstimates")
    for code, value in (("EPS", company.earnings(-1)), ("REVENUE", company.revenue(-1))):
        year = SubElement(SubElement(estimates, "FYEstimate", type=code), "FYPeriod", fYear=f"{company.today.year}")
        SubElement(SubElement(year, "ConsEstimate", type="Mean"), "ConsValue").text = f"{value:.4f}"
    return root


def _ownership(company: Company) -> Element:
    root = Element("OwnershipDetails")
    SubElement(SubElement(root, "ISIN"), "ticker").text = company.stock.symbol
    for place in range(1, 6):
        owner = SubElement(root, "Owner", ownerId=f"{place}")
        SubElement(owner, "type").text = "3"
        SubElement(owner, "name").text = f"Simulated Fund {place}"
        SubElement(owner, "quantity").text = f"{company.shares * 1e6 / (10 * place):.1f}"
    return root


def _calendar(company: Company) -> Element:
    root = Element("WSHData")
    for quarter in range(1, 5):
        event = SubElement(SubElement(root, "Earnings"), "Quarter")
        event.text = f"Q{quarter} {company.today.year}"
    return root


_REPORTS: dict[str, Callable[[Company], Element]] = {
    "ReportSnapshot": _snapshot,
    "ReportsFinSummary": _summary,
    "ReportRatios": _ratios,
    "ReportsFinStatements": _statements,
    "RESC": _estimates,
    "ReportsOwnership": _ownership,
    "CalendarReport": _calendar,
}
