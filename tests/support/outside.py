"""The outside of the daemon's parts in tests: a clock that is set, a bus that is a list, a store of nothing."""

from __future__ import annotations

import heapq
import itertools
from typing import TYPE_CHECKING, Any

from ibbridge.security.audit import NO_AUDIT
from ibbridge.security.identity import LocalPeerage
from ibbridge.storage.records import JournalRecord, Mark, known_as
from ibbridge.wiring import Outside

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ibbridge.storage.keys import Key

EPOCH = 1_700_000_000_000_000


class Scheduled:
    """Callback of a `ManualClock`."""

    def __init__(self, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.callback: Callable[..., object] | None = callback
        self.args = args

    def cancel(self) -> None:
        self.callback = None


class ManualClock:
    """Clock on which time passes when told: `now` in seconds, `us` in µs since 1970 UTC."""

    def __init__(self, now: float = 0.0, us: int = EPOCH) -> None:
        self.now = now
        self.us = us
        self._timers: list[tuple[float, int, Scheduled]] = []
        self._count = itertools.count()

    def monotonic(self) -> float:
        return self.now

    def utc_us(self) -> int:
        return self.us

    def call_later(self, seconds: float, callback: Callable[..., object], *args: Any) -> Scheduled:
        scheduled = Scheduled(callback, args)
        heapq.heappush(self._timers, (self.now + max(0.0, seconds), next(self._count), scheduled))
        return scheduled

    def call_soon(self, callback: Callable[..., object]) -> Scheduled:
        return self.call_later(0.0, callback)

    def next_due(self) -> float:
        """Return the time of the next callback."""
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else float("inf")

    def pass_to(self, until: float) -> None:
        """Let time pass, with everything that is scheduled meanwhile."""
        while (due := self.next_due()) <= until:
            scheduled = heapq.heappop(self._timers)[2]
            self._set(max(due, self.now))
            if scheduled.callback is not None:
                scheduled.callback(*scheduled.args)
        self._set(max(until, self.now))

    def pass_time(self, seconds: float) -> None:
        """Let so many seconds pass."""
        self.pass_to(self.now + seconds)

    def _set(self, now: float) -> None:
        self.us += round((now - self.now) * 1e6)
        self.now = now


class NoStore:
    """Event store that writes and finds nothing, and has the `fault` that a test gives it."""

    def __init__(self) -> None:
        self.fault = ""
        self.name = str(EPOCH)
        self.before = self.shortage = ""
        self.uncommitted = 0
        self.stuck = False
        self.keeps = True

    def open(self, clock: int, adopt: object = None) -> int:
        return clock

    def close(self) -> None:
        """Do nothing."""

    def append(self, rows: Sequence[Any]) -> bool:
        return True

    def first(self, stream: bytes) -> int:
        return 2**62

    def read(self, stream: bytes, first: int, last: int, most: int, most_bytes: int) -> list[tuple[int, bytes, bytes]]:
        return []

    def last(self) -> dict[bytes, int]:
        return {}

    def state(self) -> list[tuple[bytes, bytes, bytes]]:
        return []

    def forget(self, topic: bytes, identity: bytes | None) -> None:
        """Do nothing."""

    def remember(self, *keys: Key) -> None:
        """Do nothing."""

    def open_keys(self) -> list[Key]:
        return []

    def key(self, name: bytes) -> bytes | None:
        return None

    def get(self, key: str) -> bytes | None:
        return None

    def put(self, key: str, value: bytes) -> bool:
        return self.keeps

    def tick(self, now: int) -> None:
        """Do nothing."""

    def slowest(self) -> float:
        return 0.0

    def metrics(self) -> dict[str, Any]:
        return {}


class MemoryOrderStore:
    """Store of the order journal in memory: it keeps what it is given, unless it has the `fault` that a test gives."""

    def __init__(self) -> None:
        self.fault = self.doubt = ""
        self.reserved = 1
        self.mark = Mark("j", 1)
        self.records: dict[bytes, JournalRecord] = {}
        self.commits = 0

    def open(self, client_id: int, expected: Mark | None) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""

    def accept(self) -> bool:
        if not self.fault:
            self.doubt = ""
        return not self.fault

    def take_open(self, kind: int) -> list[JournalRecord]:
        return [record for record in self.records.values() if record.kind == kind and record.open]

    def knows(self, kind: int, name: bytes) -> bool:
        return known_as(kind, name) in self.records

    def find(self, kind: int, name: bytes) -> JournalRecord | None:
        return self.records.get(known_as(kind, name))

    def scan(self, kind: int, prefix: bytes, after: bytes, most: int) -> list[JournalRecord] | None:
        found = [each for each in self.records.values() if each.kind == kind and each.name.startswith(prefix)]
        return sorted(each for each in found if each.name > after)[:most]

    def commit(self, records: Sequence[JournalRecord]) -> bool:
        if self.fault:
            return False
        self.commits += 1
        self.records |= {record.known_as: record for record in records}
        return True

    def reserve(self, below: int) -> bool:
        if not self.fault:
            self.reserved = max(self.reserved, below)
        return not self.fault

    def tick(self) -> None:
        """Do nothing."""

    def slowest(self) -> float:
        return 0.0

    def metrics(self) -> dict[str, Any]:
        return {}


class ListBus:
    """Bus whose subscribers are a callback for each topic and body, and whose commands a test executes."""

    def __init__(self, keep: Callable[[bytes, bytes], Any], turned: Callable[[], None] = lambda: None) -> None:
        self._keep = keep
        self._turned = turned
        self.unsent = self.strays = 0
        self.counts: dict[str, int] = {}
        self.gone: set[bytes] = set()
        self.endpoints = ("inproc://pub", "inproc://rep")

    def send(self, frames: list[bytes]) -> None:
        each = iter(frames)
        for topic, body in zip(each, each, strict=True):
            self._keep(topic, body)

    def turn(self) -> None:
        self._turned()

    def connected(self, peer: bytes) -> bool:
        return peer not in self.gone

    def check(self) -> None:
        """Find nothing."""

    def standstill(self) -> str:
        return ""

    def shed(self) -> str:
        return ""

    def has_subscriber(self, peer: bytes) -> bool:
        return True

    def disconnect_revoked(self) -> int:
        return 0

    def end_subscribers(self, peers: Iterable[bytes], why: str) -> int:
        return 0

    def open(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""

    def attach(self, loop: object) -> None:
        """Do nothing."""


class NoTransports:
    """Transports by which no connection is made."""

    def __init__(self, *_: object) -> None: ...

    def resolve(self, host: str, port: int, events: object) -> None:
        """Find nothing, ever."""

    def stop_trying(self) -> None:
        """Do nothing."""

    def restock(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


def outside(
    clock: ManualClock,
    bus: ListBus,
    *,
    store: Any = None,
    order_store: Any = None,
    transports: Callable[..., Any] = NoTransports,
    jitter: Callable[[], float] = lambda: 0.0,
    audit: Any = NO_AUDIT,
) -> Outside:
    """Return the outside of a daemon that a test has all in its hands."""
    given: Any = store or NoStore()
    orders: Any = order_store or MemoryOrderStore()
    peerage = LocalPeerage()
    return Outside(clock, given, orders, lambda *_: bus, transports, jitter=jitter, peerage=peerage, audit=audit)  # type: ignore[arg-type]
