"""Spellings of instruments: which names may stand for one instrument, while TWS has not named both by their conIds.

Pure. A client may spell a contract in many ways, and TWS says only later that two spellings are the same. Until then
their orders must count together. This module must not know orders.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ibbridge.risk.order import MULTIPLIED

if TYPE_CHECKING:
    from ibbridge.risk.order import Place

_MONTH, _DETAILS, _CLASS = 4, (5, 6), (7, 8)
"""Fields of an instrument key: the month, strike and right, trading class and multiplier."""


class Spelt(Protocol):
    """Instrument under one of its names."""

    @property
    def place(self) -> Place:
        """The conId, or the instrument key."""

    @property
    def instrument(self) -> str:
        """The instrument key."""

    @property
    def symbol(self) -> str:
        """The symbol; empty if another attribute names the contract."""

    @property
    def sec_type(self) -> str:
        """The security type."""

    @property
    def currency(self) -> str:
        """The currency."""


def may_be_same(one: Spelt, other: Spelt) -> bool:
    """Return True if two names that are not equal may stand for one instrument. Two conIds never do."""
    if one.place == other.place or (isinstance(one.place, int) and isinstance(other.place, int)):
        return False
    if _differ(one.symbol, other.symbol) or _differ(one.sec_type, other.sec_type):
        return False
    return not _differ(one.currency, other.currency) and not _fields_differ(one, other)


def _fields_differ(one: Spelt, other: Spelt) -> bool:
    ours, theirs = one.instrument.split("-"), other.instrument.split("-")
    fields = (*_DETAILS, *_CLASS) if one.sec_type.upper() in MULTIPLIED else _DETAILS
    if any(_differ(_field(ours, each), _field(theirs, each)) for each in fields):
        return True
    month, their_month = _field(ours, _MONTH), _field(theirs, _MONTH)
    return not month.startswith(their_month) and not their_month.startswith(month)


def _field(key: list[str], number: int) -> str:
    return key[number] if number < len(key) else ""


def _differ(one: str, other: str) -> bool:
    return bool(one and other) and one.upper() != other.upper()
