"""IB's execIds: what an execution shares with its corrections, and how the leg of a combination is told.

Pure. A correction is an execution of its own, whose execId differs after the last dot: the digits there count the
corrections [Campus: Order Management]. The module must not know what an execution changes.
"""

from __future__ import annotations

MOST_CORRECTIONS = 5
"""Corrections of one execution that may be missing between two that TWS reports."""

LONGEST_NUMBER = 10
"""Digits from which on the last part of an execId does not count corrections."""

LEG_PARTS = 5
"""Parts between dots in the execId of a leg of a combination; other execIds have four."""


def stem_and_number(exec_id: str) -> tuple[str, int] | None:
    """Return the part that an execution shares with its corrections, and its number; None if there is no number."""
    stem, _, digits = exec_id.rpartition(".")
    return (stem, int(digits)) if stem and digits.isdecimal() and len(digits) < LONGEST_NUMBER else None


def other_numbers(exec_id: str) -> tuple[list[str], list[str]]:
    """Return the execIds that an execution may correct, the newest first, and those that may correct it."""
    found = stem_and_number(exec_id)
    if found is None:
        return [], []
    stem, last = found
    width = len(exec_id) - len(stem) - 1
    before = range(last - 1, max(0, last - 1 - MOST_CORRECTIONS), -1)
    after = range(last + 1, last + 1 + MOST_CORRECTIONS)
    return [f"{stem}.{each:0{width}}" for each in before], [f"{stem}.{each:0{width}}" for each in after]


def is_of_leg(exec_id: str) -> bool:
    """Return True if an execId is that of a leg of a combination."""
    return exec_id.count(".") == LEG_PARTS - 1
