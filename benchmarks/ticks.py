"""Ticks for the feeder, mixed as on a busy morning and written by the codec's own server side.

Every run of the same length has the same ticks. A frame has about 25 bytes as text; option computations are the
longest. Prices walk, volumes only rise, and other values repeat, as in a real market.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from ibbridge.codec import Message

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# The share of each type of message, in percent, and its tick types.
MIX = {
    "tickSize": (46, (0, 3, 5, 8)),
    "tickPrice": (36, (1, 2, 4)),
    "tickString": (8, (45, 48)),
    "tickGeneric": (5, (23, 24, 49)),
    "tickOptionComputation": (5, (10, 11, 12, 13)),
}

_VOLUME, _RT_VOLUME = 8, 48


def contract(line: int) -> dict[str, Any]:
    """Return the contract of a market data line: mostly stocks, some options."""
    symbol = "".join(chr(65 + line // 26**place % 26) for place in (2, 1, 0))
    if line % 10 != 9:
        return {"symbol": symbol, "secType": "STK", "exchange": "SMART", "currency": "USD"}
    return {
        "symbol": symbol,
        "secType": "OPT",
        "exchange": "SMART",
        "currency": "USD",
        "lastTradeDateOrContractMonth": "20261218",
        "strike": 150.0,
        "right": "C",
        "multiplier": "100",
    }


def ticks(ids: Sequence[int], count: int, seed: int = 1) -> Iterator[Message]:
    """Yield `count` ticks for the requests `ids`."""
    chance = random.Random(seed)
    lines = [_Line(number, chance) for number in ids]
    names, weights = list(MIX), [share for share, _ in MIX.values()]
    for name in chance.choices(names, weights, k=count):
        yield chance.choice(lines).tick(name, chance.choice(MIX[name][1]))


class _Line:
    """A market data line with its price and volume."""

    def __init__(self, number: int, chance: random.Random) -> None:
        self._id = number
        self._chance = chance
        self._price = chance.randrange(1000, 50000)  # cents
        self._volume = chance.randrange(10**5, 10**7)

    def tick(self, name: str, tick_type: int) -> Message:
        about: dict[str, Any] = {"reqId": self._id, "tickType": tick_type}
        size = float(self._chance.randrange(1, 40) * 100)
        if name == "tickSize":
            return Message(name, {**about, "size": self._traded(size) if tick_type == _VOLUME else size})
        if name == "tickPrice":
            attrib = {"canAutoExecute": True} if tick_type < 4 else {}
            return Message(name, {**about, "price": self._moved(), "size": size, "attrib": attrib})
        if name == "tickString":
            return Message(name, {**about, "value": self._sale(size) if tick_type == _RT_VOLUME else "1767278400"})
        if name == "tickGeneric":
            return Message(name, {**about, "value": self._chance.randrange(3) / 8})
        return Message(name, {**about, "tickAttrib": 0, **self._model()})

    def _moved(self) -> float:
        self._price = max(100, self._price + self._chance.randrange(-3, 4))
        return self._price / 100

    def _traded(self, size: float) -> float:
        self._volume += int(size)
        return float(self._volume)

    def _sale(self, size: float) -> str:
        return f"{self._moved()};{size:.0f};1767278400123;{self._traded(size):.0f};{self._price / 100};true"

    def _model(self) -> dict[str, float]:
        names = ("impliedVol", "delta", "optPrice", "pvDividend", "gamma", "vega", "theta")
        return {**{name: self._chance.random() for name in names}, "undPrice": self._price / 100}
