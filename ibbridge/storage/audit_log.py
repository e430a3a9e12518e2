"""The audit of the daemon: takes facts from any thread, links them to records, and has them written.

A fact costs its caller a microsecond: it is made a line and handed to the kernel behind the callback of the loop, or
before the bytes of an order leave. A fault of writing drops nothing at first: records wait in memory, up to a bound.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from typing import TYPE_CHECKING, Any

from ibbridge.security.audit import Head
from ibbridge.security.audit_chain import LONGEST_OF_ORDERS, LONGEST_VALUE, Chain
from ibbridge.security.audit_counts import ALWAYS, AuditCounts, Event
from ibbridge.storage.audit_file import END, FILE, TORN, AuditFile, Tail, file_name, first_seq
from ibbridge.storage.audit_writer import AuditWriter

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Mapping, Sequence

    from ibbridge.clock import TimerClock

MEGABYTE = 2**20

SIZES = (128 * MEGABYTE, 32)
"""Bytes of a file, and the number of files that are kept."""

MOST_EVENTS = 100_000
"""Most facts that wait to become records; beyond it they are missed, and the number of them is recorded."""

KEPT = 16 * MEGABYTE
"""Bytes of lines that wait while nothing can be written; beyond it records are missed."""

PUBLISHED = 1_000
"""Records that are kept to be published, the newest."""

WHOLE = frozenset(("sent", "withheld", "decision"))
"""Kinds of records about orders, whose facts are cut only beyond a larger bound."""

LATER = frozenset(("command", "connection"))
"""Kinds of records that no order waits for: they are made lines when the loop has time."""

OPERATOR = frozenset(("halt", "resume", "acceptJournal", "reload"))
"""Commands that are acts of an operator."""


class AuditLog:
    """Audit in a directory, in files of which the newest are kept."""

    def __init__(
        self,
        directory: pathlib.Path,
        clock: TimerClock,
        *,
        sizes: tuple[int, int] = (128 * MEGABYTE, 32),
        patience: float = 0.5,
    ) -> None:
        """`sizes`: the bytes of a file, and the number of files. `patience`: seconds to wait for the disk."""
        self._clock = clock
        self._file = AuditFile(directory, sizes[0], sizes[1])
        self._writer = AuditWriter(self._file, patience)
        self._counts = AuditCounts(clock.monotonic())
        self._chain: Chain | None = None
        self._events: deque[Event] = deque()
        self._later: deque[Event] = deque()
        self._linked: list[dict[str, Any]] = []
        self._published: deque[dict[str, Any]] = deque(maxlen=PUBLISHED)
        self._missed: Counter[str] = Counter()
        self._reported: tuple[str, int] = ("", 0)  # the fault, and since when
        self._thread = threading.get_ident()
        self._is_due = False
        self._head = Head()

    @property
    def fault(self) -> str:
        """Text that says why nothing can be written, and what to do; empty if there is no fault."""
        return f"the audit cannot be written: {self._reported[0]}" if self._reported[0] else ""

    @property
    def head(self) -> Head:
        """Head of what has been handed to the kernel."""
        return self._head

    # -- facts

    def record(self, kind: str, **facts: Any) -> None:
        """Record a fact (see `Audit`)."""
        if len(self._events) + len(self._later) >= MOST_EVENTS:
            self._missed[kind] += 1
            return
        (self._later if kind in LATER else self._events).append(Event(self._clock.utc_us(), kind, facts))
        if not self._is_due and self._chain is not None and threading.get_ident() == self._thread:
            self._is_due = True
            self._clock.call_soon(self._flush_soon)

    def _flush_soon(self) -> None:
        self._is_due = False
        self.flush_all(wait=False)

    def flush_all(self, *, wait: bool = True) -> bool:
        """Hand all records to the kernel, those included that no order waits for."""
        while self._later:
            self._events.append(self._later.popleft())
        return self._flush(wait=wait)

    def hand_over(self) -> None:
        """Begin to hand the records that come before an order to the kernel, for a `flush` that follows."""
        self._flush(wait=False)

    def flush(self) -> bool:
        """Hand the records that come before an order to the kernel. Return False, and set the fault, if that failed."""
        return self._flush(wait=True)

    def _flush(self, *, wait: bool) -> bool:
        if self._chain is None or not self._file.is_open:
            return False
        now = self._clock.monotonic()
        while self._events:
            event = _whole(self._events.popleft())
            if self._counts.admit(event, now):
                self._link(self._chain, *_named(event))
        return self._write(self._chain, wait=wait)

    def _link(self, chain: Chain, kind: str, ts: int, facts: Mapping[str, Any]) -> None:
        if self._writer.waiting > KEPT:
            self._missed[kind] += 1
            return
        is_order = kind in WHOLE or (facts.get("cmd") in ALWAYS and facts.get("ok") is True)
        record, line = chain.link(kind, ts, facts, LONGEST_OF_ORDERS if is_order else LONGEST_VALUE)
        self._writer.add(line)
        self._linked.append(record)

    # -- the file

    def open(self) -> None:
        """Open the file, and go on from the records of earlier processes. A failure is a fault, and tried again."""
        try:
            tail, name = self._file.prepare()
            if self._chain is not None:  # its file was removed
                self._begin(self._chain, name)
            else:
                chain = Chain(tail.head or Head(max(0, first_seq(name) - 1)))
                self._go_on(chain, tail, name)
                self._chain = chain
        except OSError as error:
            self._writer.failed(error)
            self._note_fault()

    def _go_on(self, chain: Chain, tail: Tail, name: str) -> None:
        """Append to the newest file, or begin one; describe what is torn in it."""
        if not name or (tail.kind == END and not tail.is_unended):
            self._begin(chain, name)
            return
        self._writer.begin(name)
        if tail.is_unended:
            self._writer.add(b"\n")
        if tail.torn is not None:
            if not tail.torn.is_ended:
                self._writer.add(b"\n")
            self._link(chain, TORN, self._clock.utc_us(), tail.torn.facts(name))
        if tail.is_bare:
            self._link_file(chain, "", self._file.oldest or chain.head.seq + 1)

    def _begin(self, chain: Chain, previous: str) -> None:
        """Begin a file, and name the one before and the oldest that is kept. Raises OSError."""
        oldest = self._file.oldest_kept(chain.head.seq + 1)
        self._writer.begin(file_name(chain.head.seq + 1))
        self._link_file(chain, previous, oldest)

    def _link_file(self, chain: Chain, previous: str, oldest: int) -> None:
        self._link(chain, FILE, self._clock.utc_us(), {"previous": previous or None, "oldest": oldest})

    def _write(self, chain: Chain, *, wait: bool = True) -> bool:
        """Write what is linked. Begin the next file if this one is full."""
        if not self._writer.append(wait=wait):
            self._note_fault()
            return False
        if not self._writer.is_settled:
            return True
        if self._reported[0]:
            return self._recover(chain)
        self._head = chain.head
        self._published.extend(self._linked)
        self._linked.clear()
        if self._file.is_full:
            return self._rotate(chain)
        return True

    def _rotate(self, chain: Chain) -> bool:
        before = self._file.path.name
        self._link(chain, END, self._clock.utc_us(), {"next": file_name(chain.head.seq + 2)})
        if not self._writer.append():
            self._note_fault()
            return False
        try:
            self._begin(chain, before)
            self._file.remove_old()
        except OSError as error:
            self._writer.failed(error)
            self._note_fault()
            return False
        return self._write(chain)

    # -- faults

    def _note_fault(self) -> None:
        why, since = self._reported
        self._reported = (self._writer.fault or why, since or self._clock.utc_us())

    def _recover(self, chain: Chain) -> bool:
        """Record that a fault is over, and what was missed."""
        (why, since), self._reported = self._reported, ("", 0)
        self._writer.fault = ""
        missed, self._missed = dict(self._missed), Counter()
        facts = {"why": why, "since": since, "missed": sum(missed.values()), "kinds": missed}
        self._link(chain, "fault", self._clock.utc_us(), facts)
        return self._write(chain)

    # -- about every second

    def tick(self) -> None:
        """Write counts, look for the file, synchronise it with the disk, and try again after a fault."""
        if not self._file.is_open:
            self.open()
        if self._chain is None or not self._file.is_open:
            return
        self._link_counts(self._chain, all_of_them=False)
        self.flush_all(wait=bool(self._reported[0]))
        if self._writer.check(self._clock.monotonic()):
            return
        self._note_fault()
        if self._file.is_gone():
            self._missed["lost"] += self._writer.abandon()
            self._linked.clear()
            self.open()

    def _link_counts(self, chain: Chain, *, all_of_them: bool) -> None:
        for facts in self._counts.due(self._clock.monotonic(), all_of_them=all_of_them):
            self._link(chain, "count", self._clock.utc_us(), facts)

    def take_written(self) -> Sequence[Mapping[str, Any]]:
        """Return records that were written since the last call, the newest of them if there are many."""
        taken = [*self._published]
        self._published.clear()
        return taken

    def metrics(self) -> Mapping[str, Any]:
        """Return the metrics for `status`."""
        return {
            "seq": self._head.seq,
            "head": self._head.digest,
            "file": str(self._file.path),
            "fault": self.fault,
            "waiting": self._writer.waiting,
            "missed": sum(self._missed.values()),
        }

    def close(self) -> None:
        """Write what is left, have it on the disk, and close the file."""
        if self._chain is not None and self._file.is_open:
            self.flush_all()
            self._link_counts(self._chain, all_of_them=True)
            self._write(self._chain)
        self._writer.close()
        self._chain = None


def _whole(event: Event) -> Event:
    """Return an event with the facts that a function was to give later."""
    later = event.facts.pop("facts", None)
    return event if later is None else event._replace(facts={**event.facts, **later()})


def _named(event: Event) -> tuple[str, int, Mapping[str, Any]]:
    """Return kind, time and facts of an event. A command of an operator is an act."""
    cmd = event.facts.get("cmd")
    if event.kind == "command" and cmd in OPERATOR:
        facts = {name: value for name, value in event.facts.items() if name != "cmd"}
        return "operator", event.ts, {"act": cmd, **facts}
    return event.kind, event.ts, event.facts
