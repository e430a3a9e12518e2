"""The send queue: messages that wait to be sent to TWS, by priority, in fair turns, within IB's pacing limits.

Cancels go first, then orders, then everything else, and history last. None waits for ever: a message that more urgent
ones have overtaken too often goes next (`PATIENCE`). Within a pace the connections take turns, within a connection its
clients, and the messages of one client keep their order. A message that a full limit of IB's holds back waits beside
the queue (`request_limits`), and others overtake it. Pure: the caller gives the time, in seconds of a monotonic clock.
The module must not know sockets, or the purpose of a message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ibbridge.codec.schema import Pace
from ibbridge.ib.notices import TOO_FAST, is_historical_pacing
from ibbridge.protocol.errors import CommandRefused
from ibbridge.tws.fair_queue import FairQueue
from ibbridge.tws.outbound import Held, OutboundMessage
from ibbridge.tws.request_limits import RequestLimits, counts
from ibbridge.tws.token_bucket import TokenBucket
from ibbridge.tws.waiting_messages import WaitingMessages

if TYPE_CHECKING:
    from collections.abc import Iterable

HELD = 60.0
"""Seconds without historical requests after TWS has reported a pacing violation (162)."""

PATIENCE = {Pace.CANCEL: 0, Pace.ORDER: 2, Pace.NORMAL: 8, Pace.HISTORY: 32}
"""More urgent messages that may leave in a row while a message of this pace waits. Then the waiting message leaves,
even with tokens that are kept for the others. So a flood of cancels leaves a third of the rate to orders, and a flood
of both leaves a ninth of the rate to the rest. But no order overtakes an earlier cancel of the same client."""

SHOWN = 20
"""Clients that `metrics` names: those with the most waiting messages."""

UNKNOWN = 10.0
"""Seconds to wait before a retry if the time is unknown, because another request has to end first."""


class SendQueue:
    """Send queue in front of the TWS socket.

    `share` is the number of messages of one client and pace that may wait, `most` the number of places for all clients,
    `rate` the number of messages a second.
    """

    def __init__(self, rate: int = 45, share: int = 500, most: int = 10_000) -> None:
        self._bucket = TokenBucket(rate)
        self._waiting = WaitingMessages(share, most)
        self._limits = RequestLimits()
        self._ready: dict[Pace, FairQueue[OutboundMessage]] = {pace: FairQueue() for pace in Pace}
        self._passed = dict.fromkeys(Pace, 0)  # more urgent messages that have left while some of this pace wait
        self._no_history_before = float("-inf")
        self._now = float("-inf")  # the time of the last `_advance`
        self._sent = 0
        self._arrivals = 0

    # -- in

    def put(self, message: OutboundMessage, now: float) -> None:
        """Queue a message. Raise `CommandRefused`, and change nothing, if there is no room for the message."""
        if fault := self._waiting.refusal(message):
            retry_after = round(self._estimate(message.client, message.request.pace, now) + 0.001, 3)
            raise CommandRefused("E_PACING", fault, outcome="not_sent", retry_after=retry_after)
        for replaced in message.instead_of:
            self.withdraw(replaced)
        message.instead_of = ()
        message.since = now
        self._arrivals += 1
        message.arrival = self._arrivals
        message.counts = tuple(counts(message))
        self._waiting.add(message)
        # Messages that wait for the same limit go first.
        busy = self._limits.busy(message)
        if busy is not None:
            self._limits.hold(message, busy)
        else:
            self._ready[message.request.pace].add(message)

    def _estimate(self, client: str, pace: Pace, now: float) -> float:
        """Return how many seconds pass at most until a message of a client leaves, if no more messages come.

        Every other client has one turn before the message, and the other paces have theirs. The messages before it may
        fill a limit of IB's that still has room: then the time is longer.
        """
        self._bucket.advance(now)
        first = self._waiting.first(client, pace)
        free = now if first is None else self._limits.free_at(first, now)
        if free is None:
            return UNKNOWN
        begin = max(free, self._bucket.when(pace), self._no_history_before if pace is Pace.HISTORY else now)
        turns = self._ready[pace].turns(client)
        others = len(self._waiting) - self._waiting.count(pace)
        ahead = turns + min(others, (PATIENCE[pace] + 1) * (turns + 1) + len(Pace))
        return max(begin - now, self._bucket.interval) + ahead * self._bucket.interval

    # -- out

    def next_messages(self, now: float) -> list[OutboundMessage]:
        """Remove the messages that may leave now from the queue, and return them in sending order."""
        self._advance(now)
        taken = []
        while (message := self._next(now)) is not None:
            self._leave(message, now)
            taken.append(message)
        return taken

    def _next(self, now: float) -> OutboundMessage | None:
        for pace, overdue in self._order(now):
            if not self._bucket.allows(pace, now, overdue=overdue):
                return None  # nor may any pace behind this one
            turns = self._ready[pace]
            while (message := self._overdue(turns) if overdue else turns.head()) is not None:
                window = self._limits.full(message)
                if window is None:
                    return message
                turns.remove(message)
                self._admit(self._limits.hold(message, window))
        return None

    def _order(self, now: float) -> list[tuple[Pace, bool]]:
        """Return the paces with messages that are ready, the next one first; True marks a pace that is overdue."""
        ready = [pace for pace, turns in self._ready.items() if turns]
        if now < self._no_history_before and Pace.HISTORY in ready:
            ready.remove(Pace.HISTORY)
        overdue = [pace for pace in ready if self._passed[pace] >= PATIENCE[pace] > 0]
        return [*((pace, True) for pace in overdue), *((pace, False) for pace in ready)]

    def _overdue(self, turns: FairQueue[OutboundMessage]) -> OutboundMessage | None:
        """Return the next message that has no earlier, more urgent message of the same client ready before it."""
        return next((message for message in turns.heads() if not self._follows(message)), None)

    def _follows(self, message: OutboundMessage) -> bool:
        for pace in Pace:
            if pace is message.request.pace:
                return False
            first = self._waiting.first(message.client, pace)
            if first is not None and first.held_by is None and first.arrival < message.arrival:
                return True
        return False

    def _leave(self, message: OutboundMessage, now: float) -> None:
        pace = message.request.pace
        self._ready[pace].served(message)
        self._forget(message)
        for other, turns in self._ready.items():
            if other is pace or not turns:
                self._passed[other] = 0
            elif other.value > pace.value:
                self._passed[other] += 1
        self._sent += 1
        for _ in range(message.weight):
            self._bucket.spend()
        self._limits.spend(message, now)
        self._admit(self._limits.release(message))

    def _forget(self, message: OutboundMessage) -> None:
        """Remove a message from its queue, and from the messages that wait."""
        if message.queue is not None:
            message.queue.remove(message)
        self._waiting.remove(message)

    def _advance(self, now: float) -> None:
        """Advance the time to `now`, and take back the messages that fit into IB's limits by now."""
        self._now = now
        self._bucket.advance(now)
        self._admit(self._limits.advance(now))

    def _admit(self, messages: Iterable[OutboundMessage]) -> None:
        """Take messages back that a limit has held."""
        for message in messages:
            self._ready[message.request.pace].add(message, first=True)

    # -- other events

    def wake(self) -> float | None:
        """Return when to call `next_messages` again; None if no message waits for a time."""
        times = []
        for pace, overdue in self._order(self._now):
            if not overdue or self._overdue(self._ready[pace]) is not None:
                times.append(self._bucket.when(pace, overdue=overdue))
                break
        if self._ready[Pace.HISTORY] and self._now < self._no_history_before:
            times.append(self._no_history_before)
        if (end := self._limits.next_end) is not None:
            times.append(end)
        return min(times, default=None)

    def withdraw(self, message: OutboundMessage) -> bool:
        """Take a message out of the queue. Return False if the message has left, or was never queued."""
        if not message.waits:
            return False
        self._forget(message)
        self._admit(self._limits.release(message))
        return True

    def completed(self, message: OutboundMessage) -> None:
        """Free the units of a sent message whose request is no longer open at TWS."""
        self._admit(self._limits.completed(message))

    def drop(self) -> list[OutboundMessage]:
        """Clear the queue after a lost connection, and return the messages that waited, in order of arrival.

        Requests open at TWS are gone as well. Units of limits with a time span stay in use, for TWS counts them on.
        """
        dropped = self._waiting.clear()
        for message in dropped:
            message.queue = message.held_by = message.offered_by = None
        self._ready, self._passed = {pace: FairQueue() for pace in Pace}, dict.fromkeys(Pace, 0)
        self._limits.drop()
        return dropped

    def complained(self, code: int, text: str, now: float) -> str:
        """Slow down if TWS reports too many messages. Return the measure in words; "" for any other error."""
        if code == TOO_FAST:
            self._bucket.slow(now)
            return f"sending {self._bucket.rate} a second for the next {self._bucket.slowed(now):.0f} s"
        if is_historical_pacing(code, text):
            self._no_history_before = now + HELD
            return f"no historical request leaves for the next {HELD:.0f} s"
        return ""

    # -- views

    def held(self, message: OutboundMessage, now: float) -> Held | None:
        """Return the limit of IB's that holds a message back longest, and the time left; None if no limit does.

        The time assumes that all messages held by the same limit go first.
        """
        if not message.waits:
            return None
        self._advance(now)
        found = self._limits.holding(message, now)
        if message.request.pace is Pace.HISTORY and now < self._no_history_before:
            found.append(Held(self._no_history_before - now, "TWS has had too many historical requests (162)"))
        return max(found, key=lambda held: float("inf") if held.seconds is None else held.seconds, default=None)

    def waiting(self, pace: Pace) -> list[OutboundMessage]:
        """Return the waiting messages of a pace, those of each client in order."""
        return self._waiting.of_pace(pace)

    def metrics(self, now: float) -> dict[str, Any]:
        """Return the state of the queue for `status`: messages waiting, by client, their age in s, the sending rate."""
        oldest = self._waiting.oldest()
        return {
            "queued": len(self._waiting),
            "age": round(max(0.0, now - oldest.since), 3) if oldest else 0.0,
            "held": self._limits.held,
            "clients": self._waiting.largest(SHOWN),
            "sent": self._sent,
            "rate": self._bucket.rate,
            "slowed": round(self._bucket.slowed(now), 3),
            "noHistory": round(max(0.0, self._no_history_before - now), 3),
        }
