"""Listed names, with their real conIds, CUSIPs and ISINs.

A conId of 0 means that none is known here; the resolver then makes a conId of its own. A name outside this table exists
only in a market of made-up names.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple

from ibbridge.sim.data_files import table

if TYPE_CHECKING:
    from collections.abc import Iterator


class Known(NamedTuple):
    """Listed name, with a price near its real one.

    `number` is the CUSIP of an American security, else the ISIN; empty if there is none. `trade` has industry, category
    and subcategory.
    """

    con_id: int
    name: str
    primary: str
    price: float
    tick: float = 0.0
    multiplier: str = ""
    number: str = ""
    trade: tuple[str, ...] = ("", "", "")
    fund: bool = False

    @property
    def isin(self) -> str:
        """Return the ISIN; empty if there is none."""
        return self.number if len(self.number) != _CUSIP else isin_of(self.number)


_CUSIP = 9
_MORE = ("tick", "multiplier", "number", "trade")
"""Columns that not every row has."""
Key = tuple[str, str, str]
"""Type of security, symbol and currency, which together identify a name."""


def isin_of(cusip: str) -> str:
    """Return the ISIN of an American CUSIP: the country before the CUSIP, and a check digit behind."""
    stem = f"US{cusip}"
    digits = [int(digit) for letter in stem for digit in str(int(letter, 36))]
    doubled = (digit * (2 - place % 2) for place, digit in enumerate(reversed(digits)))
    return f"{stem}{-sum(part // 10 + part % 10 for part in doubled) % 10}"


def invented_cusip(*parts: object) -> str:
    """Return nine digits for a name that has no CUSIP, always the same for the same parts."""
    digest = hashlib.blake2b("|".join(map(str, parts)).encode(), digest_size=8).digest()
    return f"{int.from_bytes(digest, 'big') % 1_000_000_000:09}"


def _listed() -> Iterator[tuple[Key, Known]]:
    """Yield the names of the data file, whose comments say what is in which column."""
    tables = table("market/listings.yaml")
    trades = {name: tuple(trade) for name, trade in tables["trades"].items()}
    for symbol, con_id, number, primary, price, name, trade in tables["american"]:
        yield ("STK", symbol, "USD"), Known(con_id, name, primary, price, number=number, trade=trades[trade])
    for symbol, con_id, number, primary, price, name in tables["funds"]:
        known = Known(con_id, name, primary, price, number=number, trade=trades["shares"], fund=True)
        yield ("STK", symbol, "USD"), known
    for symbol, currency, con_id, number, primary, price, tick, name, trade in tables["foreign"]:
        yield ("STK", symbol, currency), Known(con_id, name, primary, price, tick, number=number, trade=trades[trade])
    for sec_type, symbol, currency, con_id, name, primary, price, *more in tables["others"]:
        given: dict[str, Any] = dict(zip(_MORE, more, strict=False))
        if "trade" in given:
            given["trade"] = trades[given["trade"]]
        yield (sec_type, symbol, currency), Known(con_id, name, primary, price, **given)


KNOWN: dict[Key, Known] = dict(_listed())
"""Listed names."""
