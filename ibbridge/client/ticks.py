"""What IB's tick types are called: the `tickType` of a tick is a number, and this is IB's name for it."""

from __future__ import annotations

from ibbridge.ib import TICK_TYPES

TICK_NAMES = {number: each.name for number, each in TICK_TYPES.items()}
