"""Random walks with random access: any second of the past costs the same as the present one.

A walk is a tree. A day is drawn first (open, high, low, close, volume), then its 24 hours within that day, the 5-minute
spans of an hour, and so on down to single seconds. The parts of a day chain up, and always reach exactly the extremes
of the whole. So bars of all sizes and the ticks agree with each other, and the order of queries changes nothing.

Time here is in whole seconds on the walk's own axis, where a day begins at every multiple of 86,400, negative ones
included. The module knows no instrument, no calendar and no clock.
"""

from __future__ import annotations

import math
import random
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

DAY = 86_400
SPANS = (DAY, 3600, 300, 60, 5, 1)
"""Seconds covered by a node, from the day down to the second."""
PARTS = (24, 12, 5, 12, 5)
"""Nodes of the next level that a node has, by level."""
LEAF = len(SPANS) - 1

_OCTAVES = tuple(4**n for n in range(6))
"""Periods in days of the waves that make up a price above one day: up to 1,024 days."""
_REMEMBERED = 2_000
"""Nodes cached per walk; a node that was dropped is drawn again, the same."""


class Bar(NamedTuple):
    """Prices and volume of a span of time. `typical` is the volume-weighted average price."""

    open: float
    high: float
    low: float
    close: float
    volume: float
    typical: float


class PricePath:
    """Random walk of a key. `volatility` is the usual relative move of a day, `volume` the usual volume of a day.

    The price at the end of the day before day 0 is `base`.
    """

    def __init__(self, key: int, base: float, volatility: float, volume: float) -> None:
        self._key = key
        self._base = base
        self._volatility = volatility
        self._volume = volume
        self._children: dict[tuple[int, int], tuple[Bar, ...]] = {}
        self._points: dict[tuple[int, int], float] = {}
        self._drift = self._waves(0)

    def bar(self, begin: int, end: int) -> Bar:
        """Return the bar over `[begin, end)`. Raise `ValueError` if the span is empty."""
        if begin >= end:
            raise ValueError(f"no time between {begin} and {end}")
        return merge(self._cover(0, begin, end))

    def price(self, quarter: int) -> float:
        """Return the price in a quarter of a second, counted from 0 on the axis.

        The four quarters of a second touch the extremes of that second.
        """
        second = self._node(LEAF, quarter // 4)
        between = (second.low, second.high) if second.close >= second.open else (second.high, second.low)
        return (second.open, *between, second.close)[quarter % 4]

    def _cover(self, level: int, begin: int, end: int) -> Iterator[Bar]:
        """Yield the fewest nodes that make up `[begin, end)`, in order."""
        span = SPANS[level]
        for index in range(begin // span, -(-end // span)):
            start, stop = index * span, (index + 1) * span
            if begin <= start and stop <= end:
                yield self._node(level, index)
            else:
                yield from self._cover(level + 1, max(begin, start), min(end, stop))

    def _node(self, level: int, index: int) -> Bar:
        if level == 0:
            return self._day(index)
        parent, place = divmod(index, PARTS[level - 1])
        return self._split(level - 1, parent)[place]

    def _split(self, level: int, index: int) -> tuple[Bar, ...]:
        children = self._children.get((level, index))
        if children is None:
            if len(self._children) >= _REMEMBERED:
                self._children.clear()
            children = divide(self._node(level, index), PARTS[level], self._random(level, index))
            self._children[level, index] = children
        return children

    def _day(self, index: int) -> Bar:
        draw = self._random(LEAF, index)
        overnight = 1 + self._volatility * (draw.random() - 0.5) / 2
        opened, closed = self._level(index) * overnight, self._level(index + 1)
        reach = self._volatility * (opened + closed) / 2
        high = max(opened, closed) + reach * draw.random()
        low = max(min(opened, closed) - reach * draw.random(), min(opened, closed) / 2)
        volume = self._volume * (0.5 + draw.random())
        return Bar(opened, high, low, closed, volume, (high + low + closed) / 3)

    def _level(self, day: int) -> float:
        """Return the price at which the day before closed."""
        return self._base * math.exp(self._volatility * (self._waves(day) - self._drift))

    def _waves(self, day: int) -> float:
        """Return the sum of waves of several periods, each a line between random points.

        Such a walk wanders and does not run away.
        """
        total = 0.0
        for octave, period in enumerate(_OCTAVES):
            index, rest = divmod(day, period)
            here, there = self._point(octave, index), self._point(octave, index + 1)
            total += math.sqrt(period) * (here + (there - here) * rest / period)
        return total

    def _point(self, octave: int, index: int) -> float:
        """Return the random point at an end of a wave's line; most days share their points with the day before."""
        point = self._points.get((octave, index))
        if point is None:
            if len(self._points) >= _REMEMBERED:
                self._points.clear()
            point = self._points[octave, index] = self._random(LEAF + 1 + octave, index).uniform(-1, 1)
        return point

    def _random(self, stream: int, index: int) -> random.Random:
        """Return the random generator of one place in the tree."""
        return random.Random(((self._key << 8 | stream) << 40) + index + (1 << 39))


def divide(whole: Bar, parts: int, draw: random.Random) -> tuple[Bar, ...]:
    """Cut a bar into `parts` that follow each other from its open to its close and together have its extremes."""
    clamp = partial(_clamp, whole.low, whole.high)
    reach = (whole.high - whole.low) / math.sqrt(parts)
    steps = [draw.random() - 0.5 for _ in range(parts)]
    mean = sum(steps) / parts
    points, wander = [whole.open], 0.0
    for i, step in enumerate(steps[:-1], 1):
        wander += (step - mean) * 2 * reach
        points.append(clamp(whole.open + (whole.close - whole.open) * i / parts + wander))
    points.append(whole.close)
    ends = list(pairwise(points))
    highs = [clamp(max(pair) + reach * draw.random()) for pair in ends]
    lows = [clamp(min(pair) - reach * draw.random()) for pair in ends]
    highs[highs.index(max(highs))] = whole.high
    lows[lows.index(min(lows))] = whole.low
    weights = [0.2 + draw.random() for _ in range(parts)]
    share = whole.volume / sum(weights)
    return tuple(
        Bar(opened, high, low, closed, weight * share, (high + low + closed) / 3)
        for (opened, closed), high, low, weight in zip(ends, highs, lows, weights, strict=True)
    )


def merge(bars: Iterator[Bar]) -> Bar:
    """Return one bar of several that follow each other."""
    parts = list(bars)
    volume = math.fsum(part.volume for part in parts)
    weighted = math.fsum(part.typical * part.volume for part in parts)
    return Bar(
        parts[0].open,
        max(part.high for part in parts),
        min(part.low for part in parts),
        parts[-1].close,
        volume,
        weighted / volume if volume else parts[-1].close,
    )


def _clamp(low: float, high: float, value: float) -> float:
    return min(max(value, low), high)
