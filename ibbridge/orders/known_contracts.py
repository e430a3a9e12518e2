"""Contracts that TWS has named in full, and the contract that another spelling means.

Pure. A client may name a contract by its conId alone, by symbol and month, or by its local symbol. TWS names contracts
in full, with their conId, in contract details, positions, orders and executions. The module knows which spelling means
which contract, as far as TWS has said it. It must not guess: a spelling that fits several contracts means none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from ibbridge.protocol.instrument_key import instrument_key
from ibbridge.risk.order import LARGEST, NamedContract

if TYPE_CHECKING:
    from collections.abc import Mapping

Identity: TypeAlias = int | str
"""The conId of a contract, or the instrument key of one whose conId is not known."""

MOST_SPELLINGS = 20_000
"""Most spellings whose meaning is remembered. Beyond that all are worked out again."""

COMBINATION = "BAG"

_WITHOUT_MULTIPLIER = frozenset(("STK", "CASH", "CRYPTO", "CMDTY", "CFD", "FUND", "IND"))
"""Security types of which one unit is worth its price, unless the contract says another multiplier."""

_GIVEN = ("tradingClass", "localSymbol", "primaryExchange")
"""Attributes that must be the same, if both spellings give them."""


class KnownContract(NamedTuple):
    """Contract as TWS names it, and as the rules of risk see it (`named`).

    `magnifier`: the prices of an order are so many times those in the currency. `tick`: the smallest step of its price;
    None if it is not known.
    """

    con_id: int
    contract: Mapping[str, Any]
    magnifier: float = 1.0
    tick: float | None = None
    named: NamedContract = NamedContract(0, "", "", "", "", None)

    @property
    def multiplier(self) -> float | None:
        """Amount in the contract's currency that one unit of its price is worth; None if it is not known."""
        return self.named.multiplier


class KnownContracts:
    """Table of the contracts that TWS has named."""

    def __init__(self) -> None:
        self._by_id: dict[int, KnownContract] = {}
        self._alike: dict[tuple[Any, ...], list[int]] = {}
        self._spelt: dict[str, int] = {}  # as TWS has answered for this spelling
        self._meant: dict[str, KnownContract | None] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def learn(self, contract: Mapping[str, Any], details: Mapping[str, Any] | None = None) -> bool:
        """Take a contract that TWS names, with its details if the message has them. Return True if it is news."""
        con_id = contract.get("conId")
        if not con_id or type(con_id) is not int:
            return False
        known = self._by_id.get(con_id)
        if known is not None and details is None:
            return False
        magnifier, tick = (known.magnifier, known.tick) if known is not None else (1.0, None)
        if details is not None:
            magnifier, tick = max(1.0, float(details.get("priceMagnifier") or 1)), details.get("minTick") or tick
        found = KnownContract(con_id, contract, magnifier, tick, _named(con_id, contract, magnifier))
        if found == known:
            return False
        self._by_id[con_id] = found
        if known is None:
            self._alike.setdefault(_kind(contract), []).append(con_id)
        self._meant.clear()
        return True

    def spelt(self, given: Mapping[str, Any], named: Mapping[str, Any]) -> bool:
        """Note that TWS names a contract so that a client gave in this spelling. Return True if it is news.

        Beside a conId the spelling says nothing: TWS goes by the conId, whatever symbol stands there.
        """
        news = self.learn(named)
        if _con_id(given):
            return False
        con_id, key = named.get("conId"), instrument_key(given)
        if not con_id or self._spelt.get(key) == con_id:
            return news
        if len(self._spelt) >= MOST_SPELLINGS:
            self._spelt.clear()
        self._spelt[key] = con_id
        self._meant.pop(key, None)
        return True

    def find(self, contract: Mapping[str, Any], key: str | None = None) -> KnownContract | None:
        """Return the contract that a spelling means; None if that is not known. `key` is its instrument key."""
        key = instrument_key(contract) if key is None else key
        con_id = _con_id(contract)
        if con_id and (contract.get("symbol") or contract.get("localSymbol")):
            return self._by_id.get(con_id)  # the key is that of the symbol, which may be another contract's
        if key not in self._meant:
            if len(self._meant) >= MOST_SPELLINGS:
                self._meant.clear()
            self._meant[key] = self._by_id.get(con_id) if con_id else self._search(contract, key)
        return self._meant[key]

    def identity(self, contract: Mapping[str, Any]) -> Identity:
        """Return what names the instrument of a contract, however it is spelt."""
        key = instrument_key(contract)
        known = self.find(contract, key)
        if known is not None:
            return known.con_id
        return _con_id(contract) or key

    def named(self, key: str) -> KnownContract | None:
        """Return what an instrument key that was looked up means; None if that is not known."""
        return self._meant.get(key)

    def by_id(self, con_id: int) -> KnownContract | None:
        """Return the contract with a conId; None if TWS has not named it."""
        return self._by_id.get(con_id)

    def _search(self, contract: Mapping[str, Any], key: str) -> KnownContract | None:
        if con_id := self._spelt.get(key):
            return self._by_id.get(con_id)
        if contract.get("secType") == COMBINATION:
            return None
        alike = (self._by_id[each] for each in self._alike.get(_kind(contract), ()))
        fitting = [known for known in alike if _fits(contract, known.contract)]
        return fitting[0] if len(fitting) == 1 else None


def _con_id(contract: Mapping[str, Any]) -> Any:
    """Return the conId by which TWS goes; None without one, and for a combination."""
    return contract.get("conId") if contract.get("secType") != COMBINATION else None


def _named(con_id: int, contract: Mapping[str, Any], magnifier: float) -> NamedContract:
    multiplier = multiplier_of(contract)
    unit = None if multiplier is None else multiplier / magnifier
    symbol, sec_type, exchange, currency = (
        contract.get(name) or "" for name in ("symbol", "secType", "exchange", "currency")
    )
    return NamedContract(con_id, symbol, sec_type, exchange, currency, unit)


def multiplier_of(contract: Mapping[str, Any]) -> float | None:
    """Return the multiplier in a contract; None if it gives none, and its security type has no usual one."""
    try:
        given = float(contract.get("multiplier") or 0)
    except (TypeError, ValueError):
        return None
    if not 0 <= given < LARGEST:
        return None
    return given or (1.0 if contract.get("secType") in _WITHOUT_MULTIPLIER else None)


def _kind(contract: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what contracts that a spelling may mean have in common."""
    symbol = contract.get("symbol") or ""
    return contract.get("secType") or "", symbol, contract.get("currency") or ""


def _fits(given: Mapping[str, Any], known: Mapping[str, Any]) -> bool:
    """Return True if a spelling may mean a contract of the same kind. A month fits each day of it."""
    month = str(given.get("lastTradeDateOrContractMonth") or "")
    if not str(known.get("lastTradeDateOrContractMonth") or "").startswith(month):
        return False
    if any(given.get(name) and known.get(name) and given[name] != known[name] for name in _GIVEN):
        return False
    if (given.get("right") or "")[:1].upper() != (known.get("right") or "")[:1].upper():
        return False
    if _number(given.get("strike")) != _number(known.get("strike")):
        return False
    wanted = given.get("multiplier")
    return not wanted or _number(wanted) == _number(known.get("multiplier"))


def _number(value: Any) -> float:
    try:
        return float(value or 0)
    except (TypeError, ValueError):
        return 0.0
