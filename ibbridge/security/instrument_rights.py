"""The instruments that a policy allows: symbols, security types, exchanges and currencies of contracts and topics.

Pure. What TWS has said of a conId is asked for; the module must not know where that comes from. What cannot be told is
refused, with what to add.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from ibbridge.protocol.topics import unescape
from ibbridge.security.globs import Globs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ibbridge.security.policy_terms import Terms

Known: TypeAlias = Callable[[int], Mapping[str, Any] | None]
"""Function from a conId to the contract as TWS names it; None if TWS has not named it."""

_LISTS = {"symbols": "symbol", "security_types": "secType", "exchanges": "exchange", "currencies": "currency"}
"""Attribute of a contract for each list of a policy, in the order of an instrument key."""

COMBINATION = "BAG"
MOST_KEYS = 50_000
"""Most instrument keys whose contracts are remembered."""


class InstrumentKeys:
    """Contracts behind instrument keys that do not say which: names of the configuration, conIds, combinations."""

    def __init__(self, names: Mapping[str, Mapping[str, Any]], known: Known) -> None:
        self.known = known
        self._contracts: dict[str, Mapping[str, Any]] = dict(names)

    def note(self, key: str, contract: Mapping[str, Any]) -> None:
        """Remember which contract a request means that is answered under this key."""
        if key not in self._contracts and len(self._contracts) < MOST_KEYS:
            self._contracts[key] = contract

    def contract(self, key: str) -> Mapping[str, Any] | None:
        """Return the contract behind an instrument key, as far as it is known."""
        if (found := self._contracts.get(key)) is not None:
            return found
        number, at, exchange = key.partition("@")
        if at:
            named = self.known(int(number)) if number.isdecimal() else None
            return None if named is None else {**named, "exchange": unescape(exchange) or named.get("exchange", "")}
        if key.startswith(("~", f"{COMBINATION}-")):
            return None
        return dict(zip(_LISTS.values(), map(unescape, (*key.split("-")[:4], "", "", "")), strict=False))


class InstrumentRights:
    """Instruments that a policy allows."""

    def __init__(self, terms: Terms, keys: InstrumentKeys) -> None:
        self._keys = keys
        lists = {name: Globs(terms.allowed.get(name, ()), terms.denied.get(name, ())) for name in _LISTS}
        self._limited = [(_LISTS[name], name, globs) for name, globs in lists.items() if not globs.everything]
        self.everything = not self._limited
        """True if each instrument is allowed."""

    def sees(self, key: str) -> bool:
        """Return True if data of the instrument with this key may be seen."""
        if self.everything:
            return True
        contract = self._keys.contract(key)
        return contract is not None and not any(self.faults(contract))

    def faults(self, contract: Mapping[str, Any], where: str = "contract") -> Iterator[str]:
        """Yield why a contract is not allowed, or cannot be told to be allowed, each with what to do."""
        if self.everything:
            return
        told: Mapping[str, Any] = contract
        combination = _text(contract.get("secType")) == COMBINATION
        if (con_id := contract.get("conId")) and not combination:
            named = self._keys.known(con_id) if type(con_id) is int else None
            if named is None:
                yield self._unknown(f"{where}.conId", con_id)
                return
            yield from _contradictions(contract, named, where)
            told = {**named, "exchange": contract.get("exchange") or named.get("exchange")}
        elif contract.get("secId"):
            yield f"{where}.secId: this client's instruments are limited, and a secId does not tell which one is meant"
        for attribute, name, globs in self._limited:
            value = told.get(attribute)
            if not _text(value):
                yield f"{where}.{attribute} is missing: this client's {name} are limited to {globs.shown()}"
            elif not globs.matches(str(value)):
                yield f"{where}.{attribute}: {str(value)[:60]!a} is not allowed; {name}: {globs.shown()}"
        yield from self._of_others(contract, where)

    def number_faults(self, con_id: object, where: str) -> Iterator[str]:
        """Yield why the instrument with a conId is not allowed. Nothing is said of the exchange."""
        if self.everything or not con_id:
            return
        named = self._keys.known(con_id) if type(con_id) is int else None
        if named is None:
            yield self._unknown(where, con_id)
            return
        for attribute, name, globs in self._limited:
            if attribute != "exchange" and not globs.matches(str(named.get(attribute, ""))):
                yield f"{where}: {attribute} {named.get(attribute, '')!a} is not allowed; {name}: {globs.shown()}"

    def symbol_faults(self, symbol: object, where: str) -> Iterator[str]:
        """Yield why a symbol alone is not allowed."""
        for attribute, name, globs in self._limited:
            if attribute == "symbol" and not globs.matches(str(symbol)):
                yield f"{where}: {str(symbol)[:60]!a} is not allowed; {name}: {globs.shown()}"

    def _of_others(self, contract: Mapping[str, Any], where: str) -> Iterator[str]:
        """Yield the faults of the other instruments that a contract names: legs, and the stock of a delta hedge."""
        legs = contract.get("comboLegs")
        if _text(contract.get("secType")) == COMBINATION and not legs:
            yield f"{where}.comboLegs is missing: the legs of a combination say which instruments it trades"
        for number, leg in enumerate(legs if isinstance(legs, list) else ()):
            if isinstance(leg, Mapping):
                yield from self.number_faults(leg.get("conId"), f"{where}.comboLegs[{number}].conId")
                yield from self._exchange_faults(leg.get("exchange"), f"{where}.comboLegs[{number}].exchange")
        hedge = contract.get("deltaNeutralContract")
        if isinstance(hedge, Mapping):
            yield from self.number_faults(hedge.get("conId"), f"{where}.deltaNeutralContract.conId")

    def _exchange_faults(self, exchange: object, where: str) -> Iterator[str]:
        for attribute, name, globs in self._limited:
            if attribute == "exchange" and _text(exchange) and not globs.matches(str(exchange)):
                yield f"{where}: {str(exchange)[:60]!a} is not allowed; {name}: {globs.shown()}"

    @staticmethod
    def _unknown(where: str, con_id: object) -> str:
        return (
            f"{where}: this client's instruments are limited, and TWS has not named the contract with the conId "
            f"{str(con_id)[:20]} since the daemon began; give symbol, secType, exchange and currency instead, or have "
            "a client without such limits ask reqContractDetails for it"
        )


def _contradictions(contract: Mapping[str, Any], named: Mapping[str, Any], where: str) -> Iterator[str]:
    """Yield the attributes beside a conId that are another contract's: the topics of the data would be that one's."""
    for attribute in ("symbol", "secType", "currency"):
        given, meant = _text(contract.get(attribute)), _text(named.get(attribute))
        if given and given != meant:
            yield f"{where}.{attribute}: {given[:60]!a} is not that of the conId, {meant!a}; leave it out"
    if contract.get("localSymbol") and not contract.get("symbol"):
        yield f"{where}.localSymbol: leave it out beside a conId, or give the symbol as well"


def _text(value: object) -> str:
    return value.strip().upper() if isinstance(value, str) else ""
