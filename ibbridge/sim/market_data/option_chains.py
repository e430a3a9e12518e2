"""Options: which there are on an underlying, and what one would cost or imply."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ibbridge.sim.market.contract_resolver import invalid
from ibbridge.sim.market.instruments import PROFILES
from ibbridge.sim.market.prices import VOLATILITIES, Greeks, black_scholes, implied_volatility, years_left

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ibbridge.sim.context import Handler, Session, World
    from ibbridge.sim.market.instruments import Instrument

CUSTOM = 53
"""The tick type of a computation that was asked for."""

_PRICES = (1e-6, 1e9)


class Options:
    """Chains and calculators."""

    def __init__(self, world: World) -> None:
        self._world = world

    def handlers(self) -> dict[str, Handler]:
        """The requests that are answered here. Calculations are done at once: there is nothing left to cancel."""
        return {
            "reqSecDefOptParams": self.chain,
            "calculateImpliedVolatility": self.volatility,
            "calculateOptionPrice": self.price,
            "cancelCalculateImpliedVolatility": lambda _session, _args: None,
            "cancelCalculateOptionPrice": lambda _session, _args: None,
        }

    def chain(self, session: Session, args: Mapping[str, Any]) -> None:
        """Strikes and expirations on each exchange, then the end; the end alone for what has no options."""
        catalogue, request = self._world.catalogue, args["reqId"]
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
                    "expirations": catalogue.expirations(underlying, self._world.today),
                    "strikes": catalogue.strikes(underlying),
                },
            )
        session.send("securityDefinitionOptionParameterEnd", {"reqId": request})

    def _underlying(self, args: Mapping[str, Any]) -> Instrument:
        """What options are asked for on: of a future the one by its conId, or else the next to expire."""
        catalogue, number = self._world.catalogue, args.get("underlyingConId") or 0
        if args.get("futFopExchange") and not number:
            future = {"secType": "FUT", "symbol": args.get("underlyingSymbol", "")}
            return catalogue.find(future, self._world.today)[0]
        return catalogue.by_id(number)

    # -- calculators -------------------------------------------------------------------------------------------------

    def volatility(self, session: Session, args: Mapping[str, Any]) -> None:
        """The volatility at which an option costs what is said. What no volatility explains is not computed."""
        option, underlying = self._option(args), _amount(args, "underPrice", "underlying price")
        price, years = _amount(args, "optionPrice", "option price"), years_left(option, self._world.now)
        found = implied_volatility(option, price, underlying, years)
        greeks = None if found is None else black_scholes(option, underlying, years, found)
        _send(session, args["reqId"], greeks, underlying, price)

    def price(self, session: Session, args: Mapping[str, Any]) -> None:
        """What an option costs at the volatility that is said."""
        option, underlying = self._option(args), _amount(args, "underPrice", "underlying price")
        volatility = args.get("volatility")
        if volatility is None or not VOLATILITIES[0] <= volatility <= VOLATILITIES[1]:
            raise invalid("Invalid volatility")
        greeks = black_scholes(option, underlying, years_left(option, self._world.now), volatility)
        _send(session, args["reqId"], greeks, underlying, greeks.price)

    def _option(self, args: Mapping[str, Any]) -> Instrument:
        instrument = self._world.instrument(args.get("contract", {}))
        if not instrument.right:
            raise invalid("The contract is not an option")
        return instrument


def _amount(args: Mapping[str, Any], name: str, called: str) -> float:
    value = args.get(name)
    if value is None or not _PRICES[0] <= value <= _PRICES[1]:  # said so that it also catches what is no number
        raise invalid(f"Invalid {called}")
    return float(value)


def _send(session: Session, request: int, greeks: Greeks | None, underlying: float, price: float) -> None:
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
