"""Contract resolution: the instruments that a contract means.

A name exists if the name is listed. Where names may be made up, every other name exists too, except the few in
`NOBODY`. ConIds are the real ones where a name is known, and elsewhere a hash of the description: the same in every
run. A conId alone finds an instrument that is known or was issued before, as nothing can be read from the conId.

The module knows instruments, and callers pass the date. Refusals carry IB's codes and words.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from ibbridge.sim.market.instruments import (
    KNOWN,
    NEWS_PROVIDERS,
    PROFILES,
    Instrument,
    broad_tape,
    identity_number,
    third_friday,
)
from ibbridge.sim.market.issuance import MONTH_CODES, issue_future, issue_name, issue_option
from ibbridge.sim.rejections import RequestRejected, invalid, not_found

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NOBODY = ("NOSUCH", "INVALID", "UNKNOWN")
"""Beginnings of names that no security has, even where names may be made up."""

_SYMBOL = re.compile(r"[A-Z0-9][A-Z0-9. ]{0,15}")
_FUTURE_LOCAL = re.compile(r"([A-Z0-9]+)([FGHJKMNQUVXZ])(\d)")
_OPTION_LOCAL = re.compile(r"([A-Z0-9.]+) *(\d{6})([CP])(\d{8})")
_STRIKE_STEPS = ((25, 0.5), (100, 1.0), (250, 2.5), (1000, 5.0), (5000, 25.0), (float("inf"), 50.0))
_QUARTERLY = (3, 6, 9, 12)
_TAPES = frozenset(map(broad_tape, NEWS_PROVIDERS))


class ContractResolver:
    """Instruments of one seed. A seed moves the price level of each name by up to a fifth.

    With `made_up`, any name that looks like one exists, and not only the listed names.
    """

    def __init__(self, seed: int, *, made_up: bool = False) -> None:
        self._seed = seed
        self._made_up = made_up
        self._issued: dict[int, Instrument] = {}
        self._roots: dict[tuple[str, str, str], Instrument] = {}
        for sec_type, symbol, currency in KNOWN:
            if sec_type != "FUT":
                self.root(sec_type, symbol, currency)

    def one(self, contract: Mapping[str, Any], today: date) -> Instrument:
        """Return the instrument that a contract means. Raise `RequestRejected` if none or more than one matches."""
        found = self.find(contract, today)
        if len(found) > 1:
            symbol = contract.get("symbol") or contract.get("localSymbol", "")
            raise RequestRejected(
                200,
                f"The contract description specified for {symbol} is ambiguous; "
                "you must specify the multiplier or trading class.",
            )
        return found[0]

    def find(self, contract: Mapping[str, Any], today: date) -> list[Instrument]:
        """Return every instrument that a contract may mean, at least one.

        Raise `RequestRejected` if none matches.
        """
        sec_type = contract.get("secType", "")
        if sec_type and sec_type not in PROFILES:
            raise invalid("Please enter a valid security type")
        if sec_type == "BAG":
            return [self._combination(contract, today)]
        if con_id := contract.get("conId", 0):
            return [self._agreeing(self.by_id(con_id), contract)]
        if contract.get("secIdType") and contract.get("secId"):
            found = self._numbered(contract)
        elif not sec_type:
            raise invalid("Please enter a valid security type")
        else:
            found = [self._issue(instrument) for instrument in self._described(_completed(contract), today)]
        exchange = contract.get("exchange", "")
        found = [instrument for instrument in found if not exchange or instrument.is_traded_on(exchange)]
        if not found:
            raise not_found()
        return found

    @staticmethod
    def _agreeing(found: Instrument, contract: Mapping[str, Any]) -> Instrument:
        """Return the instrument of a conId. Raise `RequestRejected` if the contract contradicts the instrument."""
        exchange = contract.get("exchange", "")
        said = (
            (contract.get("symbol", "").upper(), found.symbol.upper()),
            (contract.get("secType", ""), found.sec_type),
            (contract.get("currency", ""), found.currency),
        )
        if any(text and text != is_ for text, is_ in said) or (exchange and not found.is_traded_on(exchange)):
            raise not_found()
        return found

    def _numbered(self, contract: Mapping[str, Any]) -> list[Instrument]:
        """Return the securities with this ISIN or CUSIP, of the contract's type and currency if it names them."""
        kind, number = contract["secIdType"], contract["secId"].upper()
        if kind not in ("ISIN", "CUSIP"):
            raise invalid(f"Invalid security id type: {kind}")
        wanted = {"sec_type": contract.get("secType", ""), "currency": contract.get("currency", "")}
        return [
            security
            for security in self._issued.values()
            if number == (security.isin if kind == "ISIN" else security.cusip)
            and all(not text or getattr(security, name) == text for name, text in wanted.items())
        ]

    def by_id(self, con_id: int) -> Instrument:
        """Return the instrument with this conId, known or issued before.

        Raise `RequestRejected` if there is none.
        """
        found = self.issued(con_id)
        if found is None:
            raise not_found()
        return found

    def issued(self, con_id: int) -> Instrument | None:
        """Return the instrument with this conId, known or issued before; None if there is none."""
        return self._issued.get(con_id)

    def matching(self, pattern: str) -> list[Instrument]:
        """Return known names whose symbol begins with `pattern` or whose name contains it; at most 16, as at IB."""
        wanted = pattern.upper()
        return [
            instrument
            for instrument in self.known()
            if instrument.symbol.startswith(wanted) or wanted in instrument.name.upper()
        ][:16]

    def known(self, sec_type: str = "") -> list[Instrument]:
        """Return the listed names of one type or all, without futures, which expire."""
        keys = (key for key in KNOWN if key[0] != "FUT" and sec_type in ("", key[0]))
        return [self.root(*key) for key in keys]

    def is_listed(self, sec_type: str, symbol: str, currency: str) -> bool:
        """Return True if a name exists: the name is listed, or names may be made up."""
        on = {"CONTFUT": ("FUT",), "FOP": ("FUT",), "OPT": ("STK", "IND"), "CFD": ("CFD", "STK")}
        kinds = on.get(sec_type, (sec_type, "STK") if sec_type in ("WAR", "IOPT") else (sec_type,))
        return self._made_up or any((kind, symbol, currency) in KNOWN for kind in kinds)

    def front_futures(self, today: date) -> list[Instrument]:
        """Return the contract that expires next, of every known future."""
        return [self._issue(self._front(*key[1:], today)) for key in KNOWN if key[0] == "FUT"]

    def combinations(self, today: date) -> list[Instrument]:
        """Return spreads of options on a few well-known stocks: two calls of the next expiration, the nearer bought."""
        return [self._spread(symbol, today) for symbol in ("AAPL", "MSFT", "NVDA", "SPY", "TSLA")]

    def _spread(self, symbol: str, today: date) -> Instrument:
        underlying = self.root("STK", symbol, "USD")
        expiry, strikes = self.expirations(underlying, today)[0], self.strikes(underlying)
        middle = len(strikes) // 2
        calls = [issue_option("OPT", underlying, expiry, strike, "C") for strike in strikes[middle : middle + 2]]
        legs = [{"conId": self._issue(call).con_id, "action": side} for call, side in zip(calls, "BS", strict=True)]
        return self._combination({"symbol": symbol, "comboLegs": legs}, today)

    def expirations(self, underlying: Instrument, today: date) -> list[str]:
        """Return the options' last trading days, as `yyyyMMdd`.

        A stock or an index has the next four Fridays, and the third Fridays of this month and the next four; a future
        has its own expiry.
        """
        fridays = (today + timedelta((4 - today.weekday()) % 7 + 7 * n) for n in range(4))
        monthly = (third_friday(*_month(today, n)) for n in range(5))
        days = {day for day in (*fridays, *monthly) if day >= today}
        return [f"{day:%Y%m%d}" for day in sorted(days)] if underlying.sec_type != "FUT" else [underlying.expiry]

    @staticmethod
    def strikes(underlying: Instrument) -> list[float]:
        """Return the strikes of the chain: ten on each side of the underlying's initial price."""
        step = next(step for limit, step in _STRIKE_STEPS if underlying.base < limit)
        middle = round(underlying.base / step)
        return [round(n * step, 2) for n in range(max(middle - 10, 1), middle + 11)]

    def _issue(self, instrument: Instrument) -> Instrument:
        """Register an instrument under its conId. Return the instrument."""
        self._issued[instrument.con_id] = instrument
        return instrument

    # -- by type -----------------------------------------------------------------------------------------------------

    def _described(self, contract: Mapping[str, Any], today: date) -> list[Instrument]:
        sec_type, symbol = contract["secType"], contract["symbol"]
        named = symbol in _TAPES if sec_type == "NEWS" else _SYMBOL.fullmatch(symbol)
        if not named or symbol.startswith(NOBODY):
            raise not_found()
        found: list[Instrument] = []
        for currency in self._currencies(contract):
            if sec_type == "NEWS" or self.is_listed(sec_type, symbol, currency):
                found += self._of_type({**contract, "currency": currency}, today)
        if not found:
            raise not_found()
        return found

    def _currencies(self, contract: Mapping[str, Any]) -> list[str]:
        """Return the currency that a contract names, or every currency in which the symbol is listed."""
        if contract.get("currency"):
            return [contract["currency"]]
        symbol = contract["symbol"]
        listed = [key[2] for key in KNOWN if key[1] == symbol and self.is_listed(contract["secType"], symbol, key[2])]
        return list(dict.fromkeys(listed)) or ["USD"]

    def _of_type(self, contract: Mapping[str, Any], today: date) -> list[Instrument]:
        sec_type, symbol = contract["secType"], contract["symbol"]
        if sec_type == "FUT":
            return self._futures(contract, today)
        if sec_type in ("OPT", "FOP"):
            return list(self._options(contract, today))
        if sec_type == "CONTFUT":
            front = self._front(symbol, contract["currency"], today)
            return [replace(front, sec_type="CONTFUT", con_id=identity_number("CONTFUT", front.root))]
        return [self.root(sec_type, symbol, contract["currency"])]

    def root(self, sec_type: str, symbol: str, currency: str) -> Instrument:
        """Return the instrument of a name that derives from nothing: made once, the same for ever."""
        key = sec_type, symbol, currency
        if key not in self._roots:
            made = issue_name(self._seed, *key)
            self._roots[key] = made
            self._issued[made.con_id] = made
        return self._roots[key]

    def _futures(self, contract: Mapping[str, Any], today: date) -> list[Instrument]:
        root = self.root("FUT", contract["symbol"], contract["currency"])
        wanted, multiplier = contract.get("lastTradeDateOrContractMonth", ""), contract.get("multiplier", "")
        if multiplier and multiplier.removesuffix(".0") != root.multiplier:
            return []
        if wanted:
            expiry = _month_end(wanted)
            days = [expiry] if f"{expiry:%Y%m%d}".startswith(wanted) and _listed(expiry, today) else []
        else:
            months = (_month(today, n) for n in range(15))
            days = [third_friday(*month) for month in months if month[1] in _QUARTERLY]
            days = [day for day in days if day >= today][:4]
        return [issue_future(root, day) for day in days]

    def _front(self, symbol: str, currency: str, today: date) -> Instrument:
        """Return the future that expires next."""
        return self._futures({"symbol": symbol, "currency": currency}, today)[0]

    def _options(self, contract: Mapping[str, Any], today: date) -> Iterator[Instrument]:
        underlying = self._underlying(contract, today)
        wanted = contract.get("lastTradeDateOrContractMonth", "")
        expirations = [x for x in self.expirations(underlying, today) if x.startswith(wanted)]
        if not expirations and len(wanted) == 8 and _listed(_day(wanted), today):
            expirations = [wanted]
        strike, right = contract.get("strike") or 0.0, contract.get("right", "")[:1]
        if strike and not 0.05 < strike / underlying.base < 20:
            return
        if right not in ("", "0", "?", "C", "P"):
            raise invalid("Please enter a valid right (P or C)")
        for expiry in expirations:
            for each in [strike] if strike else self.strikes(underlying):
                for side in right if right in ("C", "P") else "CP":
                    yield issue_option(contract["secType"], underlying, expiry, each, side)

    def _underlying(self, contract: Mapping[str, Any], today: date) -> Instrument:
        symbol, currency = contract["symbol"], contract["currency"]
        if contract["secType"] == "FOP":
            return self._front(symbol, currency, today)
        index = ("IND", symbol, currency) in KNOWN
        return self.root("IND" if index else "STK", symbol, currency)

    def _combination(self, contract: Mapping[str, Any], today: date) -> Instrument:
        legs = []
        for leg in contract.get("comboLegs") or ():
            instrument = self.by_id(leg.get("conId", 0))
            sign = 1 if leg.get("action", "BUY").upper().startswith("B") else -1
            legs.append((instrument, float(sign * (leg.get("ratio") or 1))))
        if len(legs) < 2 or any(leg.sec_type == "BAG" for leg, _ in legs):
            raise RequestRejected(314, "Combo details for leg are invalid")
        first = legs[0][0]
        symbol = contract.get("symbol", "").upper() or first.symbol
        number = identity_number("BAG", *sorted((leg.con_id, ratio) for leg, ratio in legs))
        made = replace(
            self.root("BAG", symbol, first.currency),
            con_id=number,
            legs=tuple(legs),
            multiplier=first.multiplier,
            trading_class="COMB",
        )
        return self._issue(made)


def _completed(contract: Mapping[str, Any]) -> dict[str, Any]:
    """Return the contract with its symbol in capitals, and with the fields that its local symbol implies."""
    given = {"symbol": ""} | {name: value for name, value in contract.items() if value}
    given["symbol"] = given["symbol"].upper()
    local = given.get("localSymbol", "").upper()
    if local and not given["symbol"]:
        given |= _read_local(given["secType"], local)
    return given


def _read_local(sec_type: str, local: str) -> dict[str, Any]:
    if sec_type == "FUT" and (found := _FUTURE_LOCAL.fullmatch(local)):
        month = f"202{found[3]}{MONTH_CODES.index(found[2]) + 1:02}"
        return {"symbol": found[1], "lastTradeDateOrContractMonth": month}
    if sec_type in ("OPT", "FOP") and (found := _OPTION_LOCAL.fullmatch(local)):
        strike = int(found[4]) / 1000
        return {
            "symbol": found[1],
            "lastTradeDateOrContractMonth": f"20{found[2]}",
            "right": found[3],
            "strike": strike,
        }
    if sec_type in ("CASH", "CRYPTO") and local.count(".") == 1:
        return dict(zip(("symbol", "currency"), local.split("."), strict=True))
    return {"symbol": local}


def _listed(expiry: date, today: date) -> bool:
    """Return True if a derivative with this expiry could be trading."""
    return today <= expiry and expiry.year - today.year <= 10


def _month(today: date, later: int) -> tuple[int, int]:
    years, month = divmod(today.month - 1 + later, 12)
    return today.year + years, month + 1


def _month_end(text: str) -> date:
    """Return the expiry in the month of `yyyyMM` or `yyyyMMdd`."""
    day = _day(text if len(text) == 8 else f"{text}01")
    return third_friday(day.year, day.month)


def _day(text: str) -> date:
    try:
        return datetime.strptime(text, "%Y%m%d").date()  # noqa: DTZ007 - a day, not a moment
    except ValueError:
        raise not_found() from None
