"""Facts about markets that the rules of risk need: quotes, rates of exchange and trading hours, as TWS has said them.

Pure. A quote is looked up in the state of the published streams when an order comes, so that a tick costs nothing. The
module knows streams and contracts. It must not know rules, or who has subscribed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from ibbridge.orders.known_contracts import MOST_SPELLINGS
from ibbridge.protocol.instrument_key import instrument_key
from ibbridge.protocol.topics import Escaped
from ibbridge.risk.facts import MarketQuote
from ibbridge.streams import envelope

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ibbridge.ib.trading_hours import TradingCalendar
    from ibbridge.orders.known_contracts import Identity, KnownContracts
    from ibbridge.streams.publisher import Publisher
    from ibbridge.streams.sequencer import Channel

PRICES, SIZES = "tickPrice", "tickSize"

_LIVE, _DELAYED = (1, 2, 4), (66, 67, 68)
"""Tick types of bid, ask and last price."""

_OF_A_QUOTE = frozenset((0, 3, 5, 69, 70, 71))
"""Tick types of the sizes of bid, ask and last: a size that changes shows that the price is still so."""

_RATE = "ExchangeRate"
_VALUES = frozenset(("updateAccountValue", "accountUpdateMulti"))

_NONE_QUOTED = (None, 0, "0", "")
"""Sizes with which TWS says by a price of -1 or 0 that there is none."""


class Markets(Protocol):
    """Subscriptions of clients, as far as quotes need them."""

    @property
    def changes(self) -> int:
        """Number that rises with each subscription that begins or ends."""

    def contracts(self) -> Iterable[Mapping[str, Any]]:
        """Return the contracts whose market data clients have subscribed to, as they spell them."""


class PublishedMarkets:
    """Facts about markets, from the state of the published streams.

    `names` are the configured names of instruments, by instrument key. `base` is the currency in which limits are.
    """

    def __init__(
        self,
        publisher: Publisher,
        contracts: KnownContracts,
        calendar: TradingCalendar,
        markets: Markets,
        names: Mapping[str, str],
    ) -> None:
        self.base = ""
        self._publisher = publisher
        self._contracts = contracts
        self._calendar = calendar
        self._markets = markets
        self._names = names
        self._stand = (0, 0)
        self._spelt: dict[Identity, list[str]] = {}
        self._quotes: dict[str, tuple[tuple[int, int], MarketQuote | None]] = {}  # with the stand of the stream
        self._meant: dict[str, set[Identity]] = {}
        self._topics: dict[str, bytes] = {}

    def is_open(self, instrument: str, con_id: int, now: int) -> bool | None:
        """Return True in the regular trading hours of an instrument; None if they are not known. `now` is in µs."""
        found = self._calendar.open(instrument, now / 1e6)
        for key in self._others(instrument, con_id) if found is None else ():
            found = self._calendar.open(key, now / 1e6) if found is None else found
        return found

    def quote(self, instrument: str, con_id: int = 0) -> MarketQuote | None:
        """Return the quote of an instrument, by key and conId; None if no price of it has come on this connection.

        Clients may have subscribed to it under another spelling.
        """
        others = self._others(instrument, con_id)
        found = None if self._means_another(instrument, con_id) else self._quote(instrument)
        for key in others if found is None else ():
            found = found or self._quote(key)
        known = self._contracts.by_id(con_id) or self._contracts.named(instrument)
        return found if found is None or known is None else found._replace(tick=known.tick)

    def _others(self, instrument: str, con_id: int) -> Sequence[str]:
        """Return other keys under which clients have subscribed to an instrument."""
        known = self._contracts.named(instrument)
        meant = con_id or (known.con_id if known is not None else 0)
        stand = self._markets.changes, len(self._contracts)
        if stand != self._stand:
            self._stand, self._spelt, self._meant = stand, {}, {}
            for contract in self._markets.contracts():
                meaning, key = self._contracts.identity(contract), str(instrument_key(contract))
                self._spelt.setdefault(meaning, []).append(key)
                self._meant.setdefault(key, set()).add(meaning)
        return [key for key in self._spelt.get(meant, ()) if key != instrument and len(self._meant[key]) == 1]

    def _means_another(self, instrument: str, con_id: int) -> bool:
        """Return True if a client has asked for another conId under the key of this instrument: a wrong spelling."""
        known = self._contracts.named(instrument)
        own = con_id or (known.con_id if known is not None else 0)
        meant = [each for each in self._meant.get(instrument, ()) if isinstance(each, int)]
        return bool(own and any(each != own for each in meant)) or len(meant) > 1

    def _quote(self, key: str) -> MarketQuote | None:
        topic = self._topics.get(key)
        if topic is None:
            if len(self._topics) >= MOST_SPELLINGS:
                self._topics.clear()
            topic = self._topics[key] = self._publisher.named("md", Escaped(self._names.get(key, key))).encode()
        stream = self._publisher.stream(topic)
        if stream is None:
            return None
        stand = stream.seq, stream.cuts
        known = self._quotes.get(key)
        if known is not None and known[0] == stand:
            return known[1]
        channels = [channel for channel in stream.channels.values() if channel.last]
        quotes = [_quote(channel, channels) for channel in channels if channel.kind == PRICES]
        found = max((quote for quote in quotes if quote is not None), key=lambda quote: quote.at, default=None)
        if len(self._quotes) >= MOST_SPELLINGS:
            self._quotes.clear()
        self._quotes[key] = stand, found
        return found

    def rate(self, currency: str) -> float | None:
        """Return the amount of the base currency that a unit of a currency is worth; None if that is not known.

        TWS says it with the values of an account, in the base currency of that account. Else the quote of the pair of
        currencies says it.
        """
        if currency == self.base or not self.base:  # without a base currency there are no limits of money
            return 1.0 if self.base else None
        for channels in self._publisher.holding(("acct",), _VALUES).values():
            rates = {name: rate for channel in channels for name, rate in _rates(channel)}
            if (one := rates.get(currency)) and (base := rates.get(self.base)):
                return one / base
        return self._rate_of_pair(currency)

    def _rate_of_pair(self, currency: str) -> float | None:
        for symbol, against in ((currency, self.base), (self.base, currency)):
            pair = {"symbol": symbol, "secType": "CASH", "exchange": "IDEALPRO", "currency": against}
            price = _middle(self.quote(str(instrument_key(pair))))
            if price:
                return price if symbol == currency else 1 / price
        return None


def _middle(quote: MarketQuote | None) -> float | None:
    """Return the price between bid and ask; the last price if one of them is missing."""
    if quote is None:
        return None
    return (quote.bid + quote.ask) / 2 if quote.bid and quote.ask else quote.last


def _rates(channel: Channel) -> Iterator[tuple[str, float]]:
    """Yield currencies and their rates, from the values of an account."""
    for identity, body in channel.last.items():
        if isinstance(identity, tuple) and identity[-2] == _RATE:
            try:
                yield identity[-1], float(envelope.unpack(body)["data"]["val"])
            except (TypeError, ValueError):
                continue


def _quote(prices: Channel, others: Iterable[Channel]) -> MarketQuote | None:
    found = [_price(prices, number) for number in _LIVE]
    delayed = not any(found)
    if delayed:
        found = [_price(prices, number) for number in _DELAYED]
    times = [each[1] for each in found if each is not None]
    if not times:
        return None
    times += [
        envelope.ts_of(body, sizes.head)
        for sizes in others
        if sizes.kind == SIZES
        for number, body in sizes.last.items()
        if number in _OF_A_QUOTE
    ]
    bid, ask, last = (each[0] if each is not None else None for each in found)
    return MarketQuote(bid, ask, last, max(times), delayed)


def _price(prices: Channel, number: int) -> tuple[float, int] | None:
    """Return price and time of a tick; None if TWS has sent none, or says that there is no such price now."""
    body = prices.last.get(number)
    if body is None:
        return None
    message = envelope.unpack(body)
    price = message["data"]["price"]
    if price is None or (price in (-1, 0) and message["data"].get("size") in _NONE_QUOTED):
        return None
    return price, message["ts"]
