"""Lines: how many subscriptions of each kind IB lets a user have at a time, and the clients that hold them.

Pure. TWS refuses a subscription above a budget (101, 309, 10190), and then nobody knows who has the others. So the
daemon counts them itself, by kind, refuses first, and says who holds what. This module must not know how a request is
sent, or when a subscription ends.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ibbridge.protocol.errors import CommandRefused
from ibbridge.protocol.instrument_key import instrument_key
from ibbridge.requests.request import RequestListener

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

    from ibbridge.requests.request import ActiveRequest

SHOWN = 5
"""Clients that a refusal names: those with the most lines."""


class NoLineError(CommandRefused):
    """Refusal of a subscription for which there is no line. `holders` are the clients that have them."""

    def __init__(self, kind: str, fault: str, most: int, holders: Counter[str], *, others: int = 0) -> None:
        named = [f"{client} {count}" for client, count in holders.most_common(SHOWN)]
        named += [f"and {len(holders) - SHOWN} more clients"] if len(holders) > SHOWN else []
        named += [f"other clients {others}"] if others else []
        advice = "cancel some, have an operator `release` them, or say wait: true"
        about: dict[str, Any] = {"kind": kind, "most": most, "holders": dict(holders.most_common(50))}
        if others:
            about["others"] = others
        super().__init__("E_LINES", f"{fault} ({', '.join(named)}); {advice}", outcome="not_sent", **about)
        self._about = kind, fault, most, holders

    def told_to(self, may_know: Callable[[str], bool]) -> NoLineError:
        """Return the refusal for somebody who may not know every client: the lines of the others are a number."""
        kind, fault, most, holders = self._about
        known = Counter({client: count for client, count in holders.items() if may_know(client)})
        return NoLineError(kind, fault, most, known, others=holders.total() - known.total())


@dataclass(frozen=True, slots=True)
class LineKind:
    """Kind of line. `most` gives the budget by the user's number of market data lines.

    `codes` are the errors by which TWS says that there are fewer. `alike` gives what counts as one; None: each request.
    """

    name: str
    most: Callable[[int], int]
    codes: frozenset[int] = frozenset()
    alike: Callable[[ActiveRequest], Hashable] | None = None


def _contract(active: ActiveRequest) -> Hashable:
    return instrument_key(active.args["contract"]) if isinstance(active.args.get("contract"), dict) else id(active)


LEVEL_1 = LineKind("level1", lambda lines: lines, frozenset((101,)))
"""Market data. 100 lines by default, more with equity, commissions or booster packs."""

DEPTH = LineKind("depth", lambda lines: min(60, max(3, lines * 3 // 100)), frozenset((309,)), _contract)
"""Market depth: 3 contracts with 100 lines, 60 at most. Several requests for one contract count once."""

TICK_BY_TICK = LineKind("tickByTick", lambda lines: max(5, lines // 20), frozenset((10190,)))
"""Tick by tick: 5 % of the lines."""

BARS = LineKind("bars", lambda _: 45)
"""Bars that are kept up to date. Each takes one of TWS's 50 open historical requests; five stay free for one-shots."""

HISTORY = LineKind("history", lambda _: 50)
"""Open historical requests of all kinds. The send queue holds more of them back, so none is refused here."""

SCANNERS = LineKind("scanners", lambda _: 10)
"""Market scanners."""

KINDS = (LEVEL_1, DEPTH, TICK_BY_TICK, BARS, HISTORY, SCANNERS)

_BY_REQUEST: Mapping[str, LineKind] = {
    "reqMktData": LEVEL_1,
    "reqMktDepth": DEPTH,
    "reqTickByTickData": TICK_BY_TICK,
    "reqScannerSubscription": SCANNERS,
}


def kinds_of(active: ActiveRequest) -> tuple[LineKind, ...]:
    """Return the kinds of line that a request takes while it is open at TWS."""
    if any(limit.name == "open history" for limit in active.request.limits):
        return (HISTORY,) if active.one_shot else (BARS, HISTORY)
    kind = _BY_REQUEST.get(active.request.name)
    return () if kind is None else (kind,)


class Lines(RequestListener):
    """Lines in use. `lines` is the user's number of market data lines, `quota` the most of one kind for one client."""

    def __init__(self, lines: int, quota: int = 0) -> None:
        self._lines = lines
        self._quota = quota
        self._corrected: dict[str, int] = {}
        self._open: dict[str, dict[ActiveRequest, None]] = {kind.name: {} for kind in KINDS}

    def opened(self, active: ActiveRequest) -> None:
        """Count the lines of a request that is open at TWS."""
        for kind in kinds_of(active):
            self._open[kind.name][active] = None

    def ended(self, active: ActiveRequest) -> None:
        """Free the lines of a request that is over."""
        for in_use in self._open.values():
            in_use.pop(active, None)

    def failed(self, active: ActiveRequest, code: int | None) -> None:
        """Lower a budget after an error by which TWS says that there are fewer lines."""
        for kind in kinds_of(active):
            if code in kind.codes:
                self._corrected[kind.name] = max(1, self._used(kind) - 1)

    def uncorrect(self) -> None:
        """Take the budgets as configured again: a new connection may be another user's, or have more lines."""
        self._corrected.clear()

    def most(self, kind: LineKind) -> int:
        """Return the budget of a kind, as TWS has corrected it."""
        return min(self._corrected.get(kind.name, 2**31), kind.most(self._lines))

    def _used(self, kind: LineKind) -> int:
        in_use = self._open[kind.name]
        return len(in_use) if kind.alike is None else len({kind.alike(active) for active in in_use})

    def refusal(self, active: ActiveRequest, client: str) -> CommandRefused | None:
        """Return the refusal of a subscription for which there is no line; None if there is one."""
        for kind in kinds_of(active):
            if kind is HISTORY:
                continue
            in_use = self._open[kind.name]
            if kind.alike is not None and kind.alike(active) in {kind.alike(each) for each in in_use}:
                continue
            mine = self.holders(kind)[client]
            if self._quota and mine >= self._quota:
                fault = (
                    f"{client} has {mine} lines of the kind {kind.name}, and streams.lines_per_client allows no more"
                )
                return NoLineError(kind.name, fault, self._quota, self.holders(kind))
            if self._used(kind) >= self.most(kind):
                fault = f"all {self.most(kind)} lines of the kind {kind.name} are in use"
                return NoLineError(kind.name, fault, self.most(kind), self.holders(kind))
        return None

    def holders(self, kind: LineKind) -> Counter[str]:
        """Return how many lines of a kind each client holds. A line that clients share counts for each of them."""
        found: Counter[str] = Counter()
        for active in self._open[kind.name]:
            found.update({command_id.client for command_id in active.subscribers} or {active.client})
        return found

    def summary(self) -> dict[str, dict[str, int]]:
        """Return the lines in use, free and at most, by kind, for `status` and the heartbeat."""
        return {
            kind.name: {
                "used": (used := self._used(kind)),
                "free": max(0, self.most(kind) - used),
                "most": self.most(kind),
            }
            for kind in KINDS
        }
