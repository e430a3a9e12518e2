"""Codes of IB's errors and notices that the daemon acts on.

Pure. `error_codes` says what a code means to whoever asked; this module says which codes change what the daemon does.
"""

from __future__ import annotations

LIVE_UPDATES_FAILED = 10182
COMPETING = 10197
BAD_MESSAGE = 508
"""Code of IB's client libraries for a message that cannot be read. TWS itself never sends this code."""

DEPTH_HALTED = 316
BUST = 10225

AGAIN = frozenset((LIVE_UPDATES_FAILED, DEPTH_HALTED, BUST))
"""Error codes by which TWS ends a subscription that the daemon keeps and requests again."""

UNTIED = frozenset((-1, 0, 2147483647, None))
"""Ids of errors that concern no request. The decoder turns 2147483647 into None."""
