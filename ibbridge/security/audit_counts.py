"""The records that are counted and not written one by one, so that no flood fills the disk or displaces evidence.

Pure: the caller gives the time. Questions, repetitions and identical refusals are counted; other refusals and
connections are written as long as the allowance of their origin lasts, and that of all origins together. What sends an
order, and what an operator does, is always written. A count is written a second after its first event; while the
same goes on, the next count takes twice as long, up to a minute.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping

QUESTIONS = frozenset(("ping", "status", "snapshot", "replay", "alive", "orders", "reconcile", "halts"))
"""Commands that are counted when they are answered."""

ALWAYS = frozenset(("placeOrder", "placeOrders", "modifyOrder", "exerciseOptions", "cancelOrder", "cancelOrders",
                    "reqGlobalCancel"))  # fmt: skip
"""Commands that are written whole when they are taken, however many: the pace of messages to TWS bounds them."""

SHORTEST, LONGEST = 1.0, 64.0
"""Seconds that a count takes: the first, and at most."""

BURST, RATE = 30.0, 1.0
"""Refusals and connections of one origin that are written at once, and in each further second."""

BURST_OF_ALL, RATE_OF_ALL = 1_000.0, 2.0
"""The same of all origins together, with the first counts of each kind."""

TAKEN, RATE_TAKEN = 5_000.0, 5.0
"""Commands that are no orders, and were taken, which are written at once, and in each further second."""

MOST_COUNTS = 2_000
"""Most counts at a time; beyond that, events of all origins are counted together."""

MOST_CODES = 50
"""Most codes that one count tells apart: more than there are."""


class Event(NamedTuple):
    """Event that may be recorded: its time (µs since 1970 UTC), kind and facts."""

    ts: int
    kind: str
    facts: dict[str, Any]


class Allowance:
    """Allowance: `burst` at once, and `rate` in each further second."""

    def __init__(self, burst: float, rate: float, now: float) -> None:
        self._burst, self._rate = burst, rate
        self._left, self._at = burst, now

    def refill(self, now: float) -> float:
        """Return what is left at a time."""
        self._left = min(self._burst, self._left + max(0.0, now - self._at) * self._rate)
        self._at = now
        return self._left

    def take(self) -> None:
        """Use one."""
        self._left -= 1.0

    def is_full(self, now: float) -> bool:
        """Return True if nothing has been used that has not come back since."""
        return self.refill(now) >= self._burst


@dataclass(slots=True)
class Tally:
    """Tally of alike events. `about` are the facts that they share."""

    about: Mapping[str, Any]
    until: float
    seconds: float
    number: int = 0
    first: int = 0
    last: int = 0
    codes: dict[str, int] = field(default_factory=dict)

    def add(self, event: Event) -> None:
        """Count an event."""
        self.number += 1
        self.first, self.last = self.first or event.ts, event.ts
        code = event.facts.get("code") or ("refused" if is_refusal(event) else "ok")
        if code in self.codes or len(self.codes) < MOST_CODES:
            self.codes[code] = self.codes.get(code, 0) + 1

    def facts(self) -> dict[str, Any]:
        """Return the facts of its record, and begin anew."""
        counted = {"number": self.number, "from": self.first, "to": self.last, "codes": self.codes}
        self.number, self.first, self.codes = 0, 0, {}
        return {**self.about, **counted}


class AuditCounts:
    """Counts of events that are not written one by one."""

    def __init__(self, now: float) -> None:
        self._counts: dict[Hashable, Tally] = {}
        self._origins: dict[Hashable, Allowance] = {}
        self._all = Allowance(BURST_OF_ALL, RATE_OF_ALL, now)
        self._taken = Allowance(TAKEN, RATE_TAKEN, now)
        self._seen: dict[Hashable, float] = {}

    def __len__(self) -> int:
        return len(self._counts)

    def admit(self, event: Event, now: float) -> bool:
        """Return True if an event is to be written as it is; else it is counted."""
        match event.kind:
            case "command" if is_refusal(event):
                return self._admit_refusal(event, now)
            case "command":
                return self._admit_taken(event, now)
            case "decision" if is_refusal(event):
                return self._admit_refusal(event, now)
            case "connection":
                return self._admit_refusal(event, now)
        return True

    def due(self, now: float, *, all_of_them: bool = False) -> Iterator[dict[str, Any]]:
        """Yield the facts of the counts whose time is over."""
        for key, count in list(self._counts.items()):
            if not all_of_them and count.until > now:
                continue
            if count.number:
                yield count.facts()
                count.seconds = min(2 * count.seconds, LONGEST)
                count.until = now + count.seconds
            else:
                del self._counts[key]
        for memory in (self._origins, self._seen):
            self._trim(memory, now)

    def _trim(self, memory: dict[Hashable, Any], now: float) -> None:
        for key, each in list(memory.items()):
            if each.is_full(now) if isinstance(each, Allowance) else each <= now:
                del memory[key]

    def _admit_taken(self, event: Event, now: float) -> bool:
        cmd = event.facts.get("cmd")
        if event.facts.get("dup") or cmd in QUESTIONS:
            self._count(event, _alike(event), now)
            return False
        if cmd in ALWAYS:
            return True
        if self._taken.refill(now) >= 1.0:
            self._taken.take()
            return True
        self._count(event, _alike(event), now)
        return False

    def _admit_refusal(self, event: Event, now: float) -> bool:
        origin, same = _origin(event), _identical(event)
        if same in self._seen and self._seen[same] > now:
            self._count(event, _alike(event), now)
            return False
        if origin not in self._origins and len(self._origins) >= MOST_COUNTS:
            origin = ""
        own = self._origins.setdefault(origin, Allowance(BURST, RATE, now))
        if own.refill(now) >= 1.0 and self._all.refill(now) >= 1.0:
            own.take()
            self._all.take()
            self._seen[same] = now + SHORTEST
            return True
        self._count(event, {"of": event.kind, "identity": event.facts.get("identity")}, now)
        return False

    def _count(self, event: Event, about: Mapping[str, Any], now: float) -> None:
        """Count an event with those that are alike; with all others if there are too many kinds."""
        key = _hashable(about)
        found = self._counts.get(key)
        if found is None and len(self._counts) < MOST_COUNTS and self._all.refill(now) >= 1.0:
            self._all.take()
            found = self._counts[key] = Tally(about, now + SHORTEST, SHORTEST)
        if found is None:
            found = self._counts.get("others")
        if found is None:
            found = self._counts["others"] = Tally({"of": "others"}, now + SHORTEST, SHORTEST)
        found.add(event)


def is_refusal(event: Event) -> bool:
    """Return True if an event is a refusal."""
    return event.facts.get("ok") is False or event.facts.get("allowed") is False


def _origin(event: Event) -> Hashable:
    """Return the origin of an event: who sent it, as the connection shows; the client's name, if it does not."""
    identity = event.facts.get("identity")
    if identity is None:
        return event.facts.get("client")
    if name := getattr(identity, "name", ""):
        return name
    address = getattr(identity, "address", None)
    return str(identity) if address is None else (identity.endpoint, str(address).partition(", pid")[0])


def _alike(event: Event) -> dict[str, Any]:
    """Return the facts that events have in common that are counted together."""
    facts = event.facts
    about = {name: facts[name] for name in ("identity", "client", "cmd", "act", "code", "dup") if facts.get(name)}
    return {"of": event.kind, **about}


def _identical(event: Event) -> Hashable:
    """Return what makes refusals identical: their origin, what was wanted, and what was wrong with it."""
    wanted = tuple(str(event.facts.get(name)) for name in ("client", "cmd", "act", "key", "code", "fault", "rule"))
    return event.kind, _origin(event), wanted


def _hashable(about: Mapping[str, Any]) -> Hashable:
    return tuple((name, str(value)) for name, value in about.items())
