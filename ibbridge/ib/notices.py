"""Codes of IB's errors and notices on which the daemon acts: connection, farms, pacing, competing sessions.

Pure. `error_codes` says what each code means, for people and programs; this module has the codes that change what the
daemon does, and reads the texts of notices that name something. (Source: IB's list of message codes.)
"""

from __future__ import annotations

import re

# -- the connection of TWS to IB's servers

UPSTREAM = {1100: "lost", 2110: "lost", 1101: "restored, data lost", 1102: "restored, data kept"}
"""The state of the link between TWS and IB's servers, by notice."""

LOST_DATA, KEPT_DATA = 1101, 1102

FARMS = {
    2103: "down",
    2104: "ok",
    2105: "down",
    2106: "ok",
    2107: "dormant",
    2108: "dormant",
    2119: "connecting",
    2157: "down",
    2158: "ok",
}
"""The state of one of IB's farms, by notice."""

FARM_KINDS = {2103: "market", 2104: "market", 2105: "history", 2106: "history", 2107: "history", 2108: "market"}
"""The data that a farm serves, by notice: market data or historical data."""

DEFINITIONS = {2157: False, 2158: True}
"""True if security definitions can be requested, by notice of the farm that serves them."""

PERHAPS_FALSE = frozenset((162, 200, 504))
"""Errors that TWS also gives while IB's servers are away: it cannot know contracts then, so a refusal may be false."""

# The farm is the part of the last word behind its colon, or behind its full stop (`upon demand.ushmds`). A farm's own
# name may have a full stop: `usfarm.nj`.
_FARM = re.compile(r"(?:^|\s)[^\s:.]*[:.]\s?([A-Za-z0-9][^\s:]*?)\.?\s*$")


def farm(code: int, text: str) -> str:
    """Return the farm that a notice names; its code where the text names none."""
    found = _FARM.search(text)
    return found[1] if found else str(code)


# -- the connection to TWS

CLIENT_ID_IN_USE = 326
PORT_CHANGED = 1300

NOT_CONNECTED = 504
"""Error of a request without a connection; the bridge uses it also for a request without a response."""

BAD_MESSAGE = 508
"""Code of IB's client libraries for a message that cannot be read. TWS itself never sends this code."""

# -- pacing

TOO_FAST = 100
NO_HISTORY = 162


def is_historical_pacing(code: int | None, text: str) -> bool:
    """Return True if an error says that historical data was requested too often. Code 162 has other meanings, too."""
    return code == NO_HISTORY and "pacing" in text.lower()


# -- subscriptions and orders

LIVE_UPDATES_FAILED = 10182
COMPETING = 10197
"""Another session has logged in with the same user and has the market data. IB sends no notice of the end of that."""

DATA_IS_BACK = frozenset((1101, 1102, 2104))
"""Notices that imply the end of a competing session."""

DEPTH_HALTED = 316
BUST = 10225

AGAIN = frozenset((LIVE_UPDATES_FAILED, DEPTH_HALTED, BUST))
"""Error codes by which TWS ends a subscription that the daemon keeps and requests again."""

UNTIED = frozenset((-1, 0, 2147483647, None))
"""Ids of errors that concern no request. The decoder turns 2147483647 into None."""

CANCELLED = 202
"""Code of a cancelled order, published by the daemon also for an order that never left."""

# -- who must know a code

ABOUT_PACING = frozenset((TOO_FAST, NO_HISTORY))
"""Codes by which TWS may say that it gets too many messages. The text decides about the second."""

ABOUT_SERVERS = frozenset((*UPSTREAM, *FARMS, COMPETING, *DATA_IS_BACK, CLIENT_ID_IN_USE, PORT_CHANGED))
"""Codes that change the state of the connection to TWS, or of IB's servers behind it."""
