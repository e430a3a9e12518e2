"""Market prices: prices, quotes and bars of any instrument at any time.

Prices are deterministic: a price is a function of the seed, the instrument and the seconds since the simulator started.
So the same seed gives the same market from the start on, whatever the wall clock says and whichever client asks first.
The simulated exchange never closes. Its day begins six and a half hours before the simulator and then every 24 hours,
so that there has been an open, a volume and a yesterday. Days and weeks of history are those days; smaller bars lie on
the clock's grid.

The module knows walks and instruments, and callers pass the time. The module knows no client and no message.
"""

from __future__ import annotations

import math
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, NamedTuple

from ibbridge.sim.market.instruments import Instrument, identity_number
from ibbridge.sim.market.price_path import DAY, Bar, PricePath

if TYPE_CHECKING:
    from collections.abc import Callable

OPENED = 23_400
"""Seconds between the opening of the exchange's day and the start of the simulator."""
QUARTERS = 4
"""Quarters in a second; prices change at most this often a second."""
INTEREST = 0.04
VOLATILITIES = (0.001, 20.0)
"""Bounds of the search for an implied volatility, per year."""

_REMEMBERED = 1_000
_MASK = (1 << 64) - 1


class Quote(NamedTuple):
    """Top of the book and the last trade; a size is 0 where there is no bid, ask or trade."""

    bid: float
    bid_size: float
    ask: float
    ask_size: float
    last: float
    last_size: float

    @property
    def mid(self) -> float:
        """Price half way between bid and ask."""
        return (self.bid + self.ask) / 2


class Greeks(NamedTuple):
    """Model price and its sensitivities: theta per day, vega per point of volatility."""

    price: float
    volatility: float
    delta: float
    gamma: float
    vega: float
    theta: float


class Market:
    """Prices of a seed, from `start` (seconds since 1970, UTC)."""

    def __init__(self, seed: int, start: int) -> None:
        self.seed = seed
        self.start = start
        self._walks: dict[str, PricePath] = {}
        self._past: dict[tuple[int, int, int], Bar] = {}

    def quarter(self, now: float) -> int:
        """Return the quarter of a second that `now` lies in, counted from the start."""
        return math.floor((now - self.start) * QUARTERS)

    def moment(self, quarter: int) -> float:
        """Return the begin of a quarter, in seconds since 1970."""
        return self.start + quarter / QUARTERS

    def day_begin(self, now: float) -> int:
        """Return the begin of the exchange's day that `now` lies in, in whole seconds since 1970."""
        axis = math.floor(now) - self.start + OPENED
        return math.floor(now) - axis % DAY

    def quote(self, instrument: Instrument, now: float) -> Quote:
        """Return the quote in the quarter of a second that `now` lies in."""
        quarter = self.quarter(now)
        last = self._price(instrument, quarter)
        profile, tick = instrument.profile, instrument.tick
        bid = below(last, tick)
        ask = to_tick(bid + profile.spread * tick, tick)
        # The sizes of bid, ask and last change at different paces, so that some ticks change a size alone.
        sizes = [_lots(instrument.con_id, side, quarter // (3, 5, 1)[side]) * profile.lot for side in range(3)]
        bid_size, ask_size, last_size = sizes if profile.quotes else (0.0, 0.0, 0.0)
        if bid <= 0 and not instrument.legs:
            bid, bid_size = 0.0, 0.0
        traded = profile.trades and _mix(instrument.con_id, quarter) % 4 != 0
        return Quote(bid, bid_size, ask, ask_size, to_tick(last, tick), last_size if traded else 0.0)

    def bar(self, instrument: Instrument, begin: int, end: int) -> Bar:
        """Return the bar of trades over `[begin, end)`, in seconds since 1970; `typical` is the average price."""
        raw = self._bar(instrument, begin, end)
        prices = [to_tick(price, instrument.tick) for price in raw[:4]]
        average = min(max(raw.typical, prices[2]), prices[1])
        return Bar(prices[0], prices[1], prices[2], prices[3], float(round(raw.volume)), round(average, 6))

    def today(self, instrument: Instrument, now: float) -> Bar:
        """Return the bar of the exchange's day so far."""
        begin = self.day_begin(now)
        return self.bar(instrument, begin, max(math.floor(now), begin + 1))

    def yesterday_close(self, instrument: Instrument, now: float) -> float:
        """Return the last price of the exchange's day before."""
        begin = self.day_begin(now)
        return self.bar(instrument, begin - DAY, begin).close

    def past(self, instrument: Instrument, days: int, now: float) -> Bar:
        """Return one bar of the exchange's last `days` days before today.

        The bar is cached for the day, because the bar of a year takes a while.
        """
        begin = self.day_begin(now)
        key = instrument.con_id, days, begin
        if key not in self._past:
            if len(self._past) >= _REMEMBERED:
                self._past.clear()
            self._past[key] = self.bar(instrument, begin - days * DAY, begin)
        return self._past[key]

    def greeks(self, instrument: Instrument, now: float) -> Greeks:
        """Return the model values of an option. Raise `ValueError` for any other instrument."""
        if instrument.underlying is None or not instrument.right:
            raise ValueError(f"{instrument.local_symbol} is no option")
        underlying = self._price(instrument.underlying, self.quarter(now))
        return option_value(instrument, underlying, years_left(instrument, now))

    # -- sources of prices -------------------------------------------------------------------------------------------

    def _price(self, instrument: Instrument, quarter: int) -> float:
        if instrument.legs:
            return sum(ratio * self._price(leg, quarter) for leg, ratio in instrument.legs)
        raw = self._walk(instrument).price(quarter + OPENED * QUARTERS)
        return self._derive(instrument, self.moment(quarter))(raw)

    def _bar(self, instrument: Instrument, begin: int, end: int) -> Bar:
        if instrument.legs:
            return self._combination(instrument, begin, end)
        shift = OPENED - self.start
        raw = self._walk(instrument).bar(begin + shift, end + shift)
        derive = self._derive(instrument, end)
        opened, high, low, closed, typical = (derive(x) for x in (*raw[:4], raw.typical))
        scale = instrument.volume / self._root(instrument).volume if self._root(instrument).volume else 1.0
        return Bar(opened, max(high, low), min(high, low), closed, raw.volume * scale, typical)

    def _combination(self, instrument: Instrument, begin: int, end: int) -> Bar:
        """Return the bar of a combination from the bars of its legs.

        The extremes of the legs need not coincide, so only open and close are known for sure.
        """
        legs = [(self._bar(leg, begin, end), ratio) for leg, ratio in instrument.legs]
        opened, closed = (sum(bar[i] * ratio for bar, ratio in legs) for i in (0, 3))
        volume = min(bar.volume / abs(ratio) for bar, ratio in legs) / 10
        return Bar(opened, max(opened, closed), min(opened, closed), closed, volume, (opened + closed) / 2)

    def _derive(self, instrument: Instrument, at: float) -> Callable[[float], float]:
        """Return the function from the price of the walk to the instrument's own price.

        The function is monotone, so extremes stay extremes.
        """
        if instrument.right and instrument.underlying:
            years, inner = years_left(instrument, at), self._derive(instrument.underlying, at)
            return lambda price: option_value(instrument, inner(price), years).price
        if instrument.expiry:
            carry = math.exp(INTEREST * years_left(instrument, at))
            return lambda spot: spot * carry
        return lambda price: price

    def _walk(self, instrument: Instrument) -> PricePath:
        root = self._root(instrument)
        walk = self._walks.get(root.root)
        if walk is None:
            key = identity_number(self.seed, root.root)
            walk = self._walks[root.root] = PricePath(key, root.base, root.volatility, root.volume)
        return walk

    @staticmethod
    def _root(instrument: Instrument) -> Instrument:
        return instrument.underlying or instrument


def years_left(instrument: Instrument, at: float) -> float:
    """Return the years until the end of the expiry day; at least an hour, so that the last day has prices."""
    expiry = datetime.combine(date.fromisoformat(instrument.expiry), datetime.min.time(), UTC).timestamp() + DAY
    return max(expiry - at, 3600.0) / (365 * DAY)


def option_value(option: Instrument, underlying: float, years: float) -> Greeks:
    """Return the values of an option by the model, in which the implied volatility smiles a little."""
    moneyness = math.log(underlying / option.strike)
    volatility = option.volatility * math.sqrt(252) * (1 + 0.4 * min(moneyness * moneyness, 1.0))
    return black_scholes(option, underlying, years, volatility)


def black_scholes(option: Instrument, underlying: float, years: float, volatility: float) -> Greeks:
    """Return the values of an option by Black and Scholes, without dividends, at a given volatility of a year."""
    moneyness = math.log(underlying / option.strike)
    deviation = volatility * math.sqrt(years)
    d1 = (moneyness + (INTEREST + volatility * volatility / 2) * years) / deviation
    d2 = d1 - deviation
    paid = option.strike * math.exp(-INTEREST * years)
    sign = 1 if option.right == "C" else -1
    price = sign * (underlying * _normal(sign * d1) - paid * _normal(sign * d2))
    density = math.exp(-d1 * d1 / 2) / math.sqrt(2 * math.pi)
    decay = -underlying * density * volatility / (2 * math.sqrt(years)) - sign * INTEREST * paid * _normal(sign * d2)
    return Greeks(
        price=max(price, 0.0),
        volatility=volatility,
        delta=sign * _normal(sign * d1),
        gamma=density / (underlying * deviation),
        vega=underlying * density * math.sqrt(years) / 100,
        theta=decay / 365,
    )


def implied_volatility(option: Instrument, price: float, underlying: float, years: float) -> float | None:
    """Return the volatility at which an option is worth `price`; None if no volatility gives that price.

    The price rises with the volatility, so bisection finds the volatility, to the last bit that makes a difference.
    """
    low, high = VOLATILITIES

    def worth(volatility: float) -> float:
        return black_scholes(option, underlying, years, volatility).price

    if not worth(low) < price < worth(high):
        return None
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if worth(middle) < price else (low, middle)
    return high


def to_tick(price: float, tick: float) -> float:
    """Return the nearest price on a tick."""
    return round(round(price / tick) * tick, 8)


def below(price: float, tick: float) -> float:
    """Return the highest price on a tick that is not above `price`."""
    return round(math.floor(price / tick + 1e-9) * tick, 8)


def _normal(x: float) -> float:
    return (1 + math.erf(x / math.sqrt(2))) / 2


def _lots(con_id: int, side: int, number: int) -> float:
    return 1.0 + _mix(con_id ^ side, number) % 9


def _mix(key: int, number: int) -> int:
    """Return 64 bits that look random, always the same for the same numbers."""
    x = (key * 0x9E3779B97F4A7C15 + number * 0xD1B54A32D192ED03) & _MASK
    x = ((x ^ x >> 30) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ x >> 27) * 0x94D049BB133111EB) & _MASK
    return x ^ x >> 31
