"""Requests about contracts: details, option chains, names that match, price increments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ibbridge.sim.catalogue import Refused
from ibbridge.sim.instruments import ZONE, Instrument, session_hours

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

    from ibbridge.sim.world import Data, Handler, Session, World

_ORDER_TYPES = (
    "ACTIVETIM,AD,ADJUST,ALERT,ALLOC,AVGCOST,BASKET,CASHQTY,COND,CONDORDER,DAY,DEACT,DEACTDIS,DEACTEOD,GAT,GTC,GTD,GTT,"
    "HID,IOC,LIT,LMT,MIT,MKT,MTL,NGCOMB,NONALGO,OCA,SCALE,SCALERST,STP,STPLMT,TRAIL,TRAILLIT,TRAILLMT,TRAILMIT,WHATIF"
)
_BONDS = ("BOND", "BILL")
_INCREMENTS = {
    26: ((0.0, 0.01),),
    67: ((0.0, 0.25),),
    239: ((0.0, 0.00005),),
    240: ((0.0, 0.005),),
    110: ((0.0, 0.01), (3.0, 0.05)),
}


class Contracts:
    """Answers what the catalogue knows."""

    def __init__(self, world: World) -> None:
        self._world = world

    def handlers(self) -> dict[str, Handler]:
        """The requests that are answered here."""
        return {
            "reqContractDetails": self.details,
            "cancelContractData": lambda _session, _args: None,
            "reqMatchingSymbols": self.matching,
            "reqSecDefOptParams": self.option_parameters,
            "reqMarketRule": self.market_rule,
        }

    def details(self, session: Session, args: Mapping[str, Any]) -> None:
        """One message per instrument that the contract may mean, then the end; 200 and no end where there is none."""
        asked, request = args.get("contract", {}), args["reqId"]
        found = self._world.catalogue.find(asked, self._world.today)
        if found[0].legs:
            raise Refused(200, "No security definition has been found for the request")
        for instrument in found:
            exchange = asked.get("exchange") or instrument.profile.exchange
            kind = "bondContractDetails" if instrument.sec_type in _BONDS else "contractDetails"
            record = contract_details(instrument, exchange, self._world.today)
            session.send(kind, {"reqId": request, "contractDetails": record})
        session.send("contractDetailsEnd", {"reqId": request})

    def matching(self, session: Session, args: Mapping[str, Any]) -> None:
        """Known names that begin with the pattern, or contain it."""
        found = self._world.catalogue.matching(args.get("pattern", ""))
        described = [{"contract": _sample(each), "derivativeSecTypes": _derivatives(each)} for each in found]
        session.send("symbolSamples", {"reqId": args["reqId"], "contractDescriptions": described})

    def option_parameters(self, session: Session, args: Mapping[str, Any]) -> None:
        """Strikes and expirations per exchange, then the end."""
        catalogue, request = self._world.catalogue, args["reqId"]
        if args.get("futFopExchange"):
            future = {"secType": "FUT", "symbol": args.get("underlyingSymbol", "")}
            underlying = catalogue.find(future, self._world.today)[0]
            exchanges, multiplier = [underlying.profile.exchange], underlying.multiplier
        else:
            underlying = catalogue.by_id(args.get("underlyingConId", 0))
            exchanges, multiplier = ["SMART", "CBOE"], "100"
        for exchange in exchanges:
            session.send(
                "securityDefinitionOptionParameter",
                {
                    "reqId": request,
                    "exchange": exchange,
                    "underlyingConId": underlying.con_id,
                    "tradingClass": underlying.symbol,
                    "multiplier": multiplier,
                    "expirations": catalogue.expirations(underlying, self._world.today),
                    "strikes": catalogue.strikes(underlying),
                },
            )
        session.send("securityDefinitionOptionParameterEnd", {"reqId": request})

    def market_rule(self, session: Session, args: Mapping[str, Any]) -> None:
        """The price increments of a rule. An unknown one is refused under no id, as the request has none."""
        rule = args.get("marketRuleId", 0)
        if rule not in _INCREMENTS:
            session.error(-1, 322, f"Error processing request.-'cb' : cause - Market rule with id = {rule} is missing")
            return
        increments = [{"lowEdge": low, "increment": step} for low, step in _INCREMENTS[rule]]
        session.send("marketRule", {"marketRuleId": rule, "priceIncrements": increments})


def contract_details(instrument: Instrument, exchange: str, today: date) -> Data:
    """IB's record of everything about an instrument, without what equals the record's defaults."""
    profile, underlying = instrument.profile, instrument.underlying
    step = profile.increment
    exchanges = profile.exchanges or exchange
    every: Data = {
        "contract": instrument.contract(exchange),
        "marketName": instrument.trading_class,
        "minTick": instrument.tick,
        "orderTypes": _ORDER_TYPES,
        "validExchanges": exchanges,
        "priceMagnifier": 1,
        "underConId": underlying.con_id if underlying else 0,
        "longName": instrument.name,
        "contractMonth": instrument.expiry[:6],
        "timeZoneId": ZONE,
        "tradingHours": session_hours(profile, today, liquid=False),
        "liquidHours": session_hours(profile, today, liquid=True),
        "aggGroup": 1,
        "underSymbol": underlying.symbol if underlying else "",
        "underSecType": underlying.sec_type if underlying else "",
        "marketRuleIds": ",".join([str(profile.rule)] * (exchanges.count(",") + 1)),
        "realExpirationDate": instrument.expiry,
        "stockType": "COMMON" if instrument.sec_type == "STK" else "",
        "minSize": step,
        "sizeIncrement": step,
        "suggestedSizeIncrement": 100.0 if instrument.sec_type == "STK" else step,
    }
    if instrument.sec_type in _BONDS:
        every |= {
            "cusip": f"{instrument.con_id}",
            "couponType": "FIXED",
            "coupon": 4.25,
            "maturity": f"{today.year + 9}0215",
        }
    return {name: value for name, value in every.items() if value not in ("", 0)}


def _sample(instrument: Instrument) -> Data:
    contract = instrument.contract("")
    return {name: contract[name] for name in ("conId", "symbol", "secType", "currency")} | {
        "primaryExchange": instrument.primary
    }


def _derivatives(instrument: Instrument) -> list[str]:
    return {"STK": ["CFD", "OPT", "BAG"], "IND": ["FUT", "OPT"]}.get(instrument.sec_type, [])
