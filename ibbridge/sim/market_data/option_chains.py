"""Option chains and option calculators: strikes and expirations, prices and implied volatilities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ibbridge.sim.market.instruments import PROFILES
from ibbridge.sim.market.prices import VOLATILITIES, Greeks, black_scholes, implied_volatility, years_left
from ibbridge.sim.rejections import invalid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ibbridge.sim.context import ClientSession, SimulationContext
    from ibbridge.sim.market.instruments import Instrument

CUSTOM = 53
"""Tick type of a computation that a client has requested."""

_PRICES = (1e-6, 1e9)


class OptionChains:
    """Handlers of option chains and option calculators."""

    def __init__(self, context: SimulationContext) -> None:
        self._context = context

    def chain(self, session: ClientSession, args: Mapping[str, Any]) -> None:
        """Send strikes and expirations on each exchange, then the end; only the end if there are no options."""
        resolver, request = self._context.resolver, args["reqId"]
        underlying = self._underlying(args)
        options = PROFILES["FOP" if underlying.sec_type == "FUT" else "OPT"]
        exchanges = (options.exchanges or options.exchange).split(",")
        for exchange in exchanges if underlying.sec_type in ("STK", "IND", "FUT") else ():
            session.send(
                "securityDefinitionOptionParameter",
                {
                    "reqId": request,
                    "exchange": exchange,
                    "underlyingConId": underlying.con_id,
                    "tradingClass": underlying.symbol,
                    "multiplier": underlying.multiplier or options.multiplier,
                    "expirations": resolver.expirations(underlying, self._context.today),
                    "strikes": resolver.strikes(underlying),
                },
            )
        session.send("securityDefinitionOptionParameterEnd", {"reqId": request})

    def _underlying(self, args: Mapping[str, Any]) -> Instrument:
        """Return the underlying of a requested chain.

        For options on futures that is the future with the given conId, or else the future that expires next.
        """
        resolver, number = self._context.resolver, args.get("underlyingConId") or 0
        if args.get("futFopExchange") and not number:
            future = {"secType": "FUT", "symbol": args.get("underlyingSymbol", "")}
            return resolver.find(future, self._context.today)[0]
        return resolver.by_id(number)

    # -- calculators -------------------------------------------------------------------------------------------------

    def volatility(self, session: ClientSession, args: Mapping[str, Any]) -> None:
        """Send the implied volatility of an option's price, unset if no volatility gives that price."""
        option, underlying = self._option(args), _amount(args, "underPrice", "underlying price")
        price, years = _amount(args, "optionPrice", "option price"), years_left(option, self._context.now)
        found = implied_volatility(option, price, underlying, years)
        greeks = None if found is None else black_scholes(option, underlying, years, found)
        _send(session, args["reqId"], greeks, underlying, price)

    def price(self, session: ClientSession, args: Mapping[str, Any]) -> None:
        """Send the price of an option at a given volatility."""
        option, underlying = self._option(args), _amount(args, "underPrice", "underlying price")
        volatility = args.get("volatility")
        if volatility is None or not VOLATILITIES[0] <= volatility <= VOLATILITIES[1]:
            raise invalid("Invalid volatility")
        greeks = black_scholes(option, underlying, years_left(option, self._context.now), volatility)
        _send(session, args["reqId"], greeks, underlying, greeks.price)

    def _option(self, args: Mapping[str, Any]) -> Instrument:
        instrument = self._context.instrument(args.get("contract", {}))
        if not instrument.right:
            raise invalid("The contract is not an option")
        return instrument


def _amount(args: Mapping[str, Any], name: str, called: str) -> float:
    value = args.get(name)
    if value is None or not _PRICES[0] <= value <= _PRICES[1]:  # negated, so that a NaN fails too
        raise invalid(f"Invalid {called}")
    return float(value)


def _send(session: ClientSession, request: int, greeks: Greeks | None, underlying: float, price: float) -> None:
    session.send(
        "tickOptionComputation",
        {
            "reqId": request,
            "tickType": CUSTOM,
            "tickAttrib": 0,
            "impliedVol": greeks and greeks.volatility,
            "delta": greeks and greeks.delta,
            "optPrice": price,
            "pvDividend": None,
            "gamma": greeks and greeks.gamma,
            "vega": greeks and greeks.vega,
            "theta": greeks and greeks.theta,
            "undPrice": underlying,
        },
    )
