"""Lookups of names and exchanges: matching symbols, price increments, exchange letters, depth exchanges."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ibbridge.sim.market.instruments import MARKET_RULES, PROFILES
from ibbridge.sim.rejections import RequestRejected, invalid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ibbridge.sim.context import ClientSession, Data, SimulationContext
    from ibbridge.sim.market.instruments import Instrument

MATCHING_EVERY = 1.0
"""Seconds between two requests for matching symbols; an earlier request gets no response at all."""

_DERIVATIVES = {"STK": ["CFD", "OPT", "WAR", "BAG"], "IND": ["CFD", "FUT", "OPT", "BAG"]}
_SMART_KEYS = {"STK": "a60001", "OPT": "b20001", "FUT": "9c0001", "CASH": "c70001", "CRYPTO": "e10001", "IND": "f30001"}
"""IB's opaque names for the sets of exchanges that quotes are aggregated from, by type of security."""
_KEYED_AS = {"CONTFUT": "FUT", "FOP": "FUT"}
_LETTERS = "ANQPZKJYXBCMVHUIDEFGLORSTW"
_DEPTH_TYPES = ("STK", "OPT", "FUT", "CASH", "CRYPTO", "BOND")
_BOOKS = {"ISLAND": "Deep2", "ARCA": "Deep2", "BATS": "Deep2", "NYSE": "Deep2", "BEX": "Deep", "IEX": "Deep2"}
"""Stock exchanges whose books name market makers, and IB's name for that service."""


def smart_key(sec_type: str) -> str:
    """Return the key of tick 81, by which a client requests the meaning of the letters in quotes."""
    return _SMART_KEYS.get(_KEYED_AS.get(sec_type, sec_type), _SMART_KEYS["STK"])


class Lookups:
    """Handlers of lookups that are the same for every client."""

    def __init__(self, context: SimulationContext) -> None:
        self._context = context
        self._matched: dict[int, float] = {}

    def matching(self, session: ClientSession, args: Mapping[str, Any]) -> None:
        """Send known names that match the pattern; nothing to a client that asks again too soon."""
        now, last = self._context.now, self._matched.get(session.client_id)
        if last is not None and now - last < MATCHING_EVERY:
            return
        self._matched[session.client_id] = now
        found = self._context.resolver.matching(args.get("pattern", ""))
        described = [
            {"contract": _sample(instrument), "derivativeSecTypes": _derivatives(instrument)} for instrument in found
        ]
        session.send("symbolSamples", {"reqId": args["reqId"], "contractDescriptions": described})

    def drop(self, session: ClientSession) -> None:
        """Forget a client that has gone."""
        self._matched.pop(session.client_id, None)

    def tick(self, _: int) -> None:
        """Do nothing: lookups do not change with time."""

    @staticmethod
    def market_rule(session: ClientSession, args: Mapping[str, Any]) -> None:
        """Send the price increments of a rule. The error about an unknown rule carries no id, like the request."""
        rule = args.get("marketRuleId", 0)
        if rule not in MARKET_RULES:
            raise RequestRejected(
                322, f"Error processing request.-'cb' : cause - Market rule with id = {rule} is missing"
            )
        increments = [{"lowEdge": low, "increment": step} for low, step in MARKET_RULES[rule]]
        session.send("marketRule", {"marketRuleId": rule, "priceIncrements": increments})

    @staticmethod
    def smart_components(session: ClientSession, args: Mapping[str, Any]) -> None:
        """Send the exchange of each letter and bit. The request names the key of tick 81."""
        key = args.get("bboExchange", "")
        found = next((kind for kind, known in _SMART_KEYS.items() if known == key), None)
        if found is None:
            raise invalid(f"Unknown BBO exchange: {key}")
        rows = [
            {"bitNumber": bit, "exchange": exchange, "exchangeLetter": _LETTERS[bit]}
            for bit, exchange in enumerate(_exchanges(found))
        ]
        session.send("smartComponents", {"reqId": args["reqId"], "smartComponentMap": rows})

    @staticmethod
    def depth_exchanges(session: ClientSession, _: Mapping[str, Any]) -> None:
        """Send the exchanges that have market depth, by type of security."""
        rows: list[Data] = [
            {
                "exchange": exchange,
                "secType": sec_type,
                "serviceDataType": _BOOKS.get(exchange, "Deep") if sec_type == "STK" else "Deep",
                "aggGroup": 1 if sec_type == "STK" else None,
            }
            for sec_type in _DEPTH_TYPES
            for exchange in _exchanges(sec_type)
        ]
        described = [{name: value for name, value in row.items() if value is not None} for row in rows]
        session.send("mktDepthExchanges", {"depthMktDataDescriptions": described})


def _exchanges(sec_type: str) -> list[str]:
    """Return the exchanges that trade a type of security, without SMART."""
    profile = PROFILES[sec_type]
    return [exchange for exchange in (profile.exchanges or profile.exchange).split(",") if exchange != "SMART"]


def _sample(instrument: Instrument) -> Data:
    contract = instrument.contract("")
    return {name: contract[name] for name in ("conId", "symbol", "secType", "currency")} | {
        "primaryExchange": instrument.primary,
        "description": instrument.name,
    }


def _derivatives(instrument: Instrument) -> list[str]:
    return _DERIVATIVES.get(instrument.sec_type, [])
