"""Contract details: static data of the instruments that a contract may mean."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ibbridge.sim.data_files import table
from ibbridge.sim.market.instruments import ZONE, Instrument, identity_number, session_hours
from ibbridge.sim.rejections import RequestRejected

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

    from ibbridge.sim.context import ClientSession, Data, SimulationContext

_TABLES = table("reference_data/contract_details.yaml")
_ORDER_TYPES, _FUND_ORDER_TYPES = ",".join(_TABLES["order_types"]), ",".join(_TABLES["fund_order_types"])
_BONDS = ("BOND", "BILL")
_CENTRAL = ("CME", "CBOT")
_GROUPS = {"FUT": 0, "CONTFUT": 0, "FUND": 0, "OPT": 2, "CASH": 4, "BOND": 7, "BILL": 7}
"""Group of exchanges that quotes are aggregated from, by type; 0 for none."""
_SIZES = {"STK": (0.0001, 0.0001, 100.0), "FUND": (0.001, 0.001, 1.0), "BOND": (2.0, 1.0, 1.0)}
"""Smallest order size, size increment, and suggested increment."""
_MATURITY = re.compile(r"(\d\d)/\d\d/(\d\d)$")


class ContractDetails:
    """Handler of reqContractDetails."""

    def __init__(self, context: SimulationContext) -> None:
        self._context = context

    def details(self, session: ClientSession, args: Mapping[str, Any]) -> None:
        """Send one message per matching instrument, then the end. Raise error 200, without an end, if none matches."""
        asked, request = args.get("contract", {}), args["reqId"]
        found = self._context.resolver.find(asked, self._context.today)
        if found[0].legs:
            raise RequestRejected(200, "No security definition has been found for the request")
        for instrument in found:
            exchange = asked.get("exchange") or instrument.exchange
            kind = "bondContractDetails" if instrument.sec_type in _BONDS else "contractDetails"
            record = contract_details(instrument, exchange, self._context.today)
            session.send(kind, {"reqId": request, "contractDetails": record})
        session.send("contractDetailsEnd", {"reqId": request})


def contract_details(instrument: Instrument, exchange: str, today: date) -> Data:
    """Return IB's record of an instrument, without the values that equal the record's defaults."""
    sec_type = instrument.sec_type
    special = _bond if sec_type in _BONDS else {"STK": _stock, "FUND": _fund, "FUT": _future}.get(sec_type)
    every = _usual(instrument, exchange, today)
    if instrument.expiry:
        every["contract"]["lastTradeDate"] = instrument.expiry
        every |= _derived(instrument)
    if special is not None:
        every |= special(instrument)
    return {name: value for name, value in every.items() if value not in ("", 0, [], None)} | {"minAlgoSize": 0.0}


def _usual(instrument: Instrument, exchange: str, today: date) -> Data:
    profile, step = instrument.profile, instrument.profile.increment
    least, steps, advised = _SIZES.get(instrument.sec_type, (step, step, step))
    industry, category, subcategory = instrument.trade
    return {
        "contract": instrument.described(exchange),
        "marketName": instrument.trading_class,
        "minTick": instrument.tick,
        "orderTypes": _ORDER_TYPES,
        "validExchanges": ",".join(instrument.exchanges),
        "priceMagnifier": 1,
        "longName": instrument.name,
        "contractMonth": instrument.expiry[:6],
        "industry": industry,
        "category": category,
        "subcategory": subcategory,
        "timeZoneId": "US/Central" if instrument.primary in _CENTRAL else ZONE,
        "tradingHours": session_hours(profile, today, liquid=False),
        "liquidHours": session_hours(profile, today, liquid=True),
        "secIdList": [{"tag": "ISIN", "value": instrument.isin}] if instrument.isin else [],
        "aggGroup": _GROUPS.get(instrument.sec_type, 1),
        "marketRuleIds": instrument.market_rules,
        "realExpirationDate": instrument.expiry,
        "minSize": least,
        "sizeIncrement": steps,
        "suggestedSizeIncrement": advised,
    }


def _derived(instrument: Instrument) -> Data:
    """Return the additional fields of a derivative: its underlying, and the time of its last trade."""
    future = instrument.sec_type in ("FUT", "CONTFUT")
    under = instrument.underlying
    return {
        "lastTradeTime": "08:30:00" if future else "16:00:00",
        "underConId": under.con_id if under else identity_number("IND", instrument.symbol),
        "underSymbol": under.symbol if under else instrument.symbol,
        "underSecType": under.sec_type if under else "IND",
        "settlementMethod": "" if future or (under and under.sec_type != "STK") else "Physical Delivery",
    }


def _stock(instrument: Instrument) -> Data:
    precision = {"lastPricePrecision": 0.000001, "lastSizePrecision": 0.000001}
    return {"stockType": "ETF" if instrument.fund else "COMMON", **precision}


def _future(_: Instrument) -> Data:
    return {"settlementMethod": "Cash Settlement"}


def _fund(instrument: Instrument) -> Data:
    """Return the additional fields of a fund: its family, its costs, and where the fund is sold."""
    family = instrument.name.partition(" ")[0]
    return {
        "orderTypes": _FUND_ORDER_TYPES,
        "marketName": instrument.symbol,
        "longName": f"{instrument.name} ({family})",
        "fundName": instrument.name,
        "fundFamily": family,
        **_TABLES["fund"],
    }


def _bond(instrument: Instrument) -> Data:
    """Return a bond as a gateway describes it: by its numbers and a line of text, without symbol or currency."""
    contract = instrument.described()
    for unnamed in ("symbol", "currency"):
        contract.pop(unnamed, None)
    matures = _MATURITY.search(instrument.name)
    numbers = [{"tag": tag, "value": value} for tag, value in (("CUSIP", instrument.cusip), ("ISIN", instrument.isin))]
    return {
        "contract": contract,
        "marketName": "",
        "longName": "",
        "cusip": instrument.local_symbol,
        "descAppend": instrument.name,
        "contractMonth": f"20{matures[2]}{matures[1]}" if matures else "",
        "evRule": "factor:",
        "secIdList": [number for number in numbers if number["value"]],
    }
