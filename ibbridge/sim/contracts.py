"""Contract details: what there is to know of the instruments that a contract may mean."""

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


class Contracts:
    """Answers what the catalogue knows."""

    def __init__(self, world: World) -> None:
        self._world = world

    def handlers(self) -> dict[str, Handler]:
        """The requests that are answered here."""
        return {
            "reqContractDetails": self.details,
            "cancelContractData": lambda _session, _args: None,
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
        "marketRuleIds": ",".join([str(instrument.market_rule)] * (exchanges.count(",") + 1)),
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
