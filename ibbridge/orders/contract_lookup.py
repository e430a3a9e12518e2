"""Questions to TWS about contracts that an order names, and that TWS has not named in full yet.

Pure. The answer says which contract a spelling means, what a unit of it is worth, and when its market is open. An order
whose rules need that, and that comes before the answer, is refused. The module must not know rules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ibbridge.codec.messages import REQUESTS
from ibbridge.protocol.errors import CommandRefused
from ibbridge.protocol.instrument_key import instrument_key
from ibbridge.requests.request import ActiveRequest, RequestListener

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ibbridge.clock import Clock
    from ibbridge.ib.trading_hours import TradingCalendar
    from ibbridge.orders.known_contracts import KnownContracts
    from ibbridge.requests.issuer import RequestIssuer

OWN = "~contracts"
"""Client name of the daemon's own questions. Their responses go to `req.~contracts.<instrument>.`."""

AGAIN_AFTER = 60.0
"""Seconds after which TWS is asked once more about a contract whose question brought nothing."""

MOST_ASKED = 5_000
"""Most contracts for which the time of the question is remembered."""


class ContractLookup(RequestListener):
    """Questions about contracts. `calendar` has the trading hours in the answers."""

    def __init__(
        self, issuer: RequestIssuer, contracts: KnownContracts, calendar: TradingCalendar, clock: Clock
    ) -> None:
        self.contracts = contracts
        self.calendar = calendar
        self._issuer = issuer
        self._clock = clock
        self._asked: dict[str, float] = {}
        self._answers: dict[str, list[Mapping[str, Any]]] = {}
        self._given: dict[str, Mapping[str, Any]] = {}

    def ask(self, contract: Mapping[str, Any], instrument: str = "") -> bool:
        """Ask TWS about a contract, unless that was done lately. Return True if an answer may come.

        `instrument` is the key of the contract, if the caller has it.
        """
        key, now = instrument or instrument_key(contract), self._clock.monotonic()
        if now - self._asked.get(key, float("-inf")) < AGAIN_AFTER:
            return True
        if not key or not self._issuer.is_open:  # a contract without a name is none
            return False
        if len(self._asked) >= MOST_ASKED:
            self._asked.clear()
        self._asked[key], self._given[key] = now, contract
        active = ActiveRequest(
            REQUESTS["reqContractDetails"],
            OWN,
            key,
            {"contract": contract, "reqId": 0},
            lambda _: ("req", OWN, key),
            None,
            on_response=lambda data: self._take(key, data),
            listeners=(self._issuer, self),
        )
        try:
            self._issuer.reissue(active)
        except CommandRefused:
            del self._asked[key], self._given[key]
            return False
        return True

    def _take(self, key: str, data: Mapping[str, Any]) -> None:
        details = data.get("contractDetails") or {}
        named = details.get("contract") or {}
        self.contracts.learn(named, details)
        self._answers.setdefault(key, []).append(details)

    def answered(self, active: ActiveRequest) -> None:
        """Take the only contract of an answer for the one that the spelling means."""
        key = str(active.id)
        answers, given = self._answers.pop(key, []), self._given.pop(key, None)
        if given is None or len(answers) != 1:
            return
        details = answers[0]
        self.contracts.spelt(given, details.get("contract") or {})
        self.calendar.learn(key, details.get("liquidHours", ""), details.get("timeZoneId", ""))

    def ended(self, active: ActiveRequest) -> None:
        """Forget a question that TWS has not answered."""
        self._answers.pop(str(active.id), None)
        self._given.pop(str(active.id), None)
