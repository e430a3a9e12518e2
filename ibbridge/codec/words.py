"""Word lists of IB's for single arguments, and the listed word that is nearest to a misspelt one.

A misspelt word is best refused before it leaves: TWS refuses it late, under a code of its own, or places an order that
the client did not mean. Only words from clients are checked; TWS may say anything. IB adds words from time to time, so
the sender of a request can leave its words unchecked (`checked(..., listed=False)`), or name more order types.

Sources: IB's documentation of requests and orders, the enumerations of IB's Java client with all spellings that it
takes for one order type, the text of TWS's own errors (bar sizes), and words in TWS's reports of orders, which clients
send back when they change an order.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

LONGEST_GUESSED = 64
"""Longest name, in characters, for which a nearest one is sought: a longer one is no misspelling of any."""


def nearest(name: str, known: Collection[str]) -> str | None:
    """Return the known name most like `name`, ignoring capitals, blanks and `_+-`; None if none is like it."""
    if len(name) > LONGEST_GUESSED:
        return None
    plain = {_plain(word): word for word in known}
    if same := plain.get(_plain(name)):
        return same
    near = get_close_matches(_plain(name), plain, 1)
    return plain[near[0]] if near else None


def _plain(name: str) -> str:
    return re.sub(r"[\s_+-]", "", name).lower()


@dataclass(frozen=True, slots=True, eq=False)
class Words:
    """Word list of IB's for one kind of argument.

    `noun` says what the list has. `any_case`: TWS takes its words in capitals and in small letters. A word is `listed`,
    or has the `form`, a regular expression that `formed` describes to people. `open`: callers may know `more` words.
    """

    noun: str
    listed: tuple[str | int, ...]
    any_case: bool = False
    form: str = ""
    formed: str = ""
    open: bool = False

    def has(self, word: str | int, more: Collection[str] = ()) -> bool:
        """Return True if IB lists this word, or if the list is open and the word is one of `more`."""
        if word in self.listed or (self.open and word in more):
            return True
        if not isinstance(word, str):
            return False
        if self.any_case and word.upper() in {str(listed).upper() for listed in self.listed}:
            return True
        return bool(self.form) and re.fullmatch(self.form, word, re.ASCII) is not None

    def meant(self, word: str | int, more: Collection[str] = ()) -> str | None:
        """Return the word that the client is likely to mean; None if no word is like this one."""
        if not isinstance(word, str):
            return None
        if self.form and len(word) <= LONGEST_GUESSED:
            parted = re.sub(r"^\s*(\d+)\s*([A-Za-z]).*$", lambda found: f"{found[1]} {found[2].upper()}", word)
            if re.fullmatch(self.form, parted, re.ASCII):
                return parted
        return nearest(word, [*map(str, self.listed), *(more if self.open else ())])

    def expected(self) -> str:
        """Return a description, for people, of the words that are taken."""
        shown = ", ".join(map(str, self.listed)) if len(self.listed) <= SHOWN else ""
        return f"one of IB's {self.noun}" + (f" ({self.formed or shown})" if self.formed or shown else "")


SHOWN = 12
"""Longest list that a refusal repeats whole; docs/messages.md has all lists."""

_SPELLINGS = (
    "MKT MARKET/LMT LIMIT/STP STOP/STP_LMT STOP_LIMIT STOPLIMIT STOPLMT STPLMT/REL RELATIVE/TRAIL TRAILING_STOP/"
    "BOX_TOP BOXTOP/FIX_PEGGED FIXPEGGED/LIT/LMT_+_MKT LMT+MKT/LOC LMT_CLS LMTCLS/MIDPRICE/MIT/MKT_PRT MKTPRT/"
    "MOC MKT_CLS MKTCLS/MTL MKT_TO_LMT MKTTOLMT/PASSV_REL PASSVREL/PEG_BENCH PEGBENCH/PEG_BEST PEGBEST/PEG_MID PEGMID/"
    "PEG_MKT PEGMKT/PEG_PRIM PEGPRIM/PEG_STK PEGSTK/REL_+_LMT REL+LMT/REL_+_MKT REL+MKT/SNAP_MID SNAPMID/"
    "SNAP_MKT SNAPMKT/SNAP_PRIM SNAPPRIM/SNAP_REL SNAPREL/STP_PRT STPPRT STOP_PROTECT/"
    "TRAIL_LIMIT TRAILLMT TRAILLIMIT TRAIL_LMT/TRAIL_LIT TRAILLIT/TRAIL_LMT_+_MKT TRAIL_LMT+MKT/TRAIL_MIT TRAILMIT/"
    "TRAIL_MKT_+_LMT/TRAIL_REL_+_MKT TRAIL_REL+MKT/VOL VOLATILITY VOLAT/VWAP/QUOTE/AUC/FUNARI/SCALE/"
    "PPV PEG_PRM_VOL PEGPRIMVOL/PDV PEG_MID_VOL PEGMIDVOL/PMV PEG_MKT_VOL PEGMKTVOL/PSV PEG_SURF_VOL PEGSURFVOL"
)
_ORDER_TYPES = (*(each.replace("_", " ") for each in re.split("[ /]", _SPELLINGS)), "BOX_TOP")
_NONE = ("NONE", "None")  # TWS writes an absent order type so, and IB's clients send it back

ACTIONS = Words("actions", ("BUY", "SELL", "SSHORT", "SLONG"))
ORDER_TYPES = Words("order types", _ORDER_TYPES, open=True)
ORDER_TYPES_OR_NONE = Words("order types", (*_ORDER_TYPES, *_NONE), open=True)
ATTACHED_ORDER_TYPES = Words("order types", (*_ORDER_TYPES, *_NONE, "PRESET"), open=True)
TIMES_IN_FORCE = Words(
    "times in force",
    (
        *("DAY", "GTC", "IOC", "GTD", "OPG", "FOK", "DTC", "AUC", "GTX", "GTT", "Minutes"),
        *("NMIN", "OVERNIGHT", "OVERNIGHT + DAY"),  # as TWS reports them
    ),
)
SECURITY_TYPES = Words(
    "security types",
    (
        *("STK", "OPT", "FUT", "CONTFUT", "FUT+CONTFUT", "CONTFUT+FUT", "IND", "FOP", "CASH", "BAG", "WAR", "BOND"),
        *("CMDTY", "NEWS", "FUND", "CFD", "CRYPTO", "BILL", "IOPT", "FWD", "FIXED", "SLB", "BSK", "ICU", "ICS", "EC"),
    ),
    any_case=True,
)
RIGHTS = Words("rights", ("C", "P", "CALL", "PUT", "0", "?"), any_case=True)
TICK_TYPES = Words("tick-by-tick types", ("Last", "AllLast", "BidAsk", "MidPoint"))
WHAT_TO_SHOW = Words(
    "kinds of data",
    (
        *("TRADES", "MIDPOINT", "BID", "ASK", "BID_ASK", "ADJUSTED_LAST", "HISTORICAL_VOLATILITY"),
        *("OPTION_IMPLIED_VOLATILITY", "FEE_RATE", "REBATE_RATE", "SCHEDULE", "AGGTRADES"),
        *("YIELD_ASK", "YIELD_BID", "YIELD_BID_ASK", "YIELD_LAST"),
    ),
    any_case=True,
)
BAR_SIZES = Words(
    "bar sizes",
    (
        *("1 secs", "5 secs", "10 secs", "15 secs", "30 secs", "1 min", "2 mins", "3 mins", "4 mins", "5 mins"),
        *("10 mins", "15 mins", "20 mins", "30 mins", "1 hour", "2 hours", "3 hours", "4 hours", "8 hours"),
        *("1 day", "1 week", "1W", "1 month", "1M"),
    ),
)
DURATIONS = Words("durations", (), form=r"[0-9]{1,9}( [SDWMY])?", formed="a number, a blank, and S, D, W, M or Y: 1 D")
DATE_FORMATS = Words("date formats", (1, 2, 3))
HEAD_DATE_FORMATS = Words("date formats", (1, 2))

LISTS = (
    *(ACTIONS, ORDER_TYPES, ORDER_TYPES_OR_NONE, ATTACHED_ORDER_TYPES, TIMES_IN_FORCE, SECURITY_TYPES, RIGHTS),
    *(TICK_TYPES, WHAT_TO_SHOW, BAR_SIZES, DURATIONS, DATE_FORMATS, HEAD_DATE_FORMATS),
)
"""Every word list."""
