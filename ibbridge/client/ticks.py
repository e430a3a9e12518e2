"""Names of IB's tick types: `TICK_NAMES` maps the number in a tick's `tickType` to IB's name."""

from __future__ import annotations

from ibbridge.ib import TICK_TYPES

TICK_NAMES = {number: tick_type.name for number, tick_type in TICK_TYPES.items()}
