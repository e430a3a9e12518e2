"""The send queue: messages that wait to be sent to TWS, by priority, in fair turns, within IB's pacing limits.

Cancels go first, then orders, then everything else, and history last. None waits for ever: a message that more urgent
ones have overtaken too often goes next (`PATIENCE`). Within a pace the connections take turns, within a connection its
clients, and the messages of one client keep their order. A message that a full limit of IB's holds back
(`codec.schema.Limit`) waits beside the queue, and others overtake it. Pure: the caller gives the time, in seconds of a
monotonic clock. The module knows the declarations of requests. It must not know sockets, or the purpose of a message.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from ibbridge.codec.schema import Pace
from ibbridge.ib.notices import TOO_FAST, is_historical_pacing
from ibbridge.protocol.arguments import canonical
from ibbridge.protocol.errors import CommandRefused
from ibbridge.protocol.instrument_key import instrument_key
from ibbridge.tws.fair_queue import FairQueue
from ibbridge.tws.outbound import Count, OutboundMessage
from ibbridge.tws.token_bucket import TokenBucket

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from ibbridge.codec.schema import Limit

MARGIN = 0.25
"""Seconds added to the span of each of IB's limits, because the transit time to TWS varies from message to message."""

HELD = 60.0
"""Seconds without historical requests after TWS has reported a pacing violation (162)."""

PATIENCE = {Pace.CANCEL: 0, Pace.ORDER: 2, Pace.NORMAL: 8, Pace.HISTORY: 32}
"""More urgent messages that may leave in a row while a message of this pace waits. Then the waiting message leaves,
even with tokens that are kept for the others. So a flood of cancels leaves a third of the rate to orders, and a flood
of both leaves a ninth of the rate to the rest. But no order overtakes an earlier cancel of the same client."""

PLACE = 2048
"""Bytes of a message per place in the queue: a shorter message takes one place, each full `PLACE` takes one more."""

SHOWN = 20
"""Clients that `metrics` names: those with the most waiting messages."""

UNKNOWN = 10.0
"""Seconds to wait before a retry if the time is unknown, because another request has to end first."""


K = TypeVar("K")


class Held(NamedTuple):
    """Limit that holds a message back: `by` is its text for people, `seconds` the time left (None: unknown)."""

    seconds: float | None
    by: str


class LimitWindow:
    """Window of one of IB's limits: the units used by requests that count together, and the messages held back by it.

    A room offers one held message to the queue as soon as the message fits, and the next one after the first has left
    or waits for another limit. So an hour's worth of requests is not examined again each time one of them may leave.
    """

    def __init__(self, limit: Limit, key: Hashable) -> None:
        self.limit = limit
        self.key = key
        self.used = 0
        self.spent: deque[tuple[float, int]] = deque()  # (end, units): these units are in use until `end`
        self.held: FairQueue[OutboundMessage] = FairQueue()
        self.offered: OutboundMessage | None = None

    @property
    def idle(self) -> bool:
        """Return True if nothing counts against the limit, and nothing waits for it."""
        return not (self.used or self.held or self.offered)

    def fits(self, units: int) -> bool:
        """Return True if a message of this many units may leave now."""
        return not self.used or self.used + units <= self.limit.most

    def units(self, message: OutboundMessage) -> int:
        """Return the units that a message takes of this limit."""
        return next(count.units for count in message.counts if count.key == self.key)

    def when(self, units: int, now: float) -> float | None:
        """Return when `units` fit, if no other message comes first; None if the time is unknown."""
        rounds, rest = divmod(units - 1, self.limit.most)
        free = self.limit.most - self.used
        for until, leaving in self.spent:
            if free > rest:
                break
            free, now = free + leaving, until
        return None if self.limit.seconds is None else now + rounds * self.limit.seconds


def _held_in(room: LimitWindow, message: OutboundMessage, now: float) -> Held:
    limit, units = room.limit, room.units(message)
    ahead = len(room.held) - (message.held_by is room)
    when = room.when(units * (ahead + 1), now)
    span = "at a time" if limit.seconds is None else f"in {limit.seconds:g} s"
    return Held(None if when is None else max(0.0, when - now), f"IB's limit '{limit.name}': {limit.most} {span}")


class _Load:
    """Places that messages of clients take in the queue: in total, by connection and by client."""

    def __init__(self) -> None:
        self.total = 0
        self.of_peers: dict[bytes, int] = {}
        self.of_clients: dict[str, int] = {}

    def add(self, message: OutboundMessage, sign: int = 1) -> None:
        """Add the places of a message, or subtract them with a `sign` of -1."""
        places = sign * _places(message)
        self.total += places
        _count(self.of_peers, message.peer, places)
        _count(self.of_clients, message.client, places)

    def takes(self, message: OutboundMessage, most: int) -> bool:
        """Return True if a message fits into a queue with `most` places.

        The first half of the places is open to all. The third quarter is for clients or connections that hold less than
        an equal share of the first half, and the last quarter only for connections that do.
        """
        total = self.total + _places(message)
        if total <= most // 2:
            return True
        if _modest(self.of_peers, message.peer, most // 2):
            return total <= most
        return total <= most * 3 // 4 and _modest(self.of_clients, message.client, most // 2)


def _places(message: OutboundMessage) -> int:
    return 1 + len(message.data) // PLACE


def _count(counts: dict[K, int], key: K, more: int) -> None:
    counts[key] = counts.get(key, 0) + more
    if not counts[key]:
        del counts[key]


def _modest(counts: dict[K, int], key: K, most: int) -> bool:
    """Return True if `key` holds less than an equal share of `most`, divided by all keys in `counts` and this one."""
    return counts.get(key, 0) < most // (len(counts) + (key not in counts))


class SendQueue:
    """Send queue in front of the TWS socket.

    `share` is the number of messages of one client and pace that may wait, `most` the number of places for all clients,
    `rate` the number of messages a second.
    """

    def __init__(self, rate: int = 45, share: int = 500, most: int = 10_000) -> None:
        self._bucket = TokenBucket(rate)
        self._share = share
        self._most = most
        self._ready: dict[Pace, FairQueue[OutboundMessage]] = {pace: FairQueue() for pace in Pace}
        self._passed = dict.fromkeys(Pace, 0)  # more urgent messages that have left while some of this pace wait
        self._rooms: dict[Hashable, LimitWindow] = {}
        self._ends: list[tuple[float, int, LimitWindow]] = []  # a heap: when units become free, and in which room
        self._waiting: OrderedDict[OutboundMessage, None] = OrderedDict()
        self._shares: dict[tuple[str, Pace], OrderedDict[OutboundMessage, None]] = {}
        self._load = _Load()
        self._of_pace = dict.fromkeys(Pace, 0)
        self._of_client: dict[str, int] = {}
        self._no_history_before = float("-inf")
        self._now = float("-inf")  # the time of the last `_advance`
        self._open: set[OutboundMessage] = set()  # sent messages whose request is open and still takes room
        self._held = 0
        self._sent = 0
        self._serial = 0
        self._arrivals = 0

    # -- in

    def put(self, message: OutboundMessage, now: float) -> None:
        """Queue a message. Raise `CommandRefused`, and change nothing, if there is no room for the message."""
        mine = (message.client, message.request.pace)
        if message.client and len(self._shares.get(mine, ())) >= self._share:
            self._refuse_more(mine, now)
        if message.client and not self._load.takes(message, self._most):
            self._refuse_all(mine, now)
        for replaced in message.instead_of:
            self.withdraw(replaced)
        message.instead_of = ()
        message.since = now
        self._arrivals += 1
        message.arrival = self._arrivals
        message.counts = tuple(_counts(message))
        self._waiting[message] = None
        self._shares.setdefault(mine, OrderedDict())[message] = None
        self._tally(message, 1)
        rooms = (self._rooms.get(count.key) for count in message.counts)
        # Messages that wait for the same limit go first.
        busy = next((room for room in rooms if room is not None and (room.held or room.offered)), None)
        if busy is not None:
            self._hold(message, busy)
        else:
            self._ready[message.request.pace].add(message)

    def _tally(self, message: OutboundMessage, sign: int) -> None:
        """Count a waiting message by pace and by client, or with a `sign` of -1 undo that."""
        self._of_pace[message.request.pace] += sign
        _count(self._of_client, message.client, sign)
        if message.client:
            self._load.add(message, sign)

    def _refuse_more(self, mine: tuple[str, Pace], now: float) -> None:
        client, pace = mine
        fault = (
            f"{self._share} messages of {client} (pace {pace.name.lower()}) wait for their turn to be sent, no more "
            "may wait: TWS takes a limited number a second, and of some requests fewer"
        )
        retry_after = round(self._until_one_leaves(mine, now) + 0.001, 3)
        raise CommandRefused("E_PACING", fault, outcome="not_sent", retry_after=retry_after)

    def _refuse_all(self, mine: tuple[str, Pace], now: float) -> None:
        client, pace = mine
        fault = (
            f"{len(self._waiting)} messages of all clients wait for their turn to be sent, and {client} or its "
            "connection has its share of them: no more may wait; TWS takes a limited number a second"
        )
        own = self._until_one_leaves(mine, now) if mine in self._shares else 0.0
        retry_after = round(max(own, self._bucket.when(pace) - now, 1 / self._bucket.rate) + 0.001, 3)
        raise CommandRefused("E_PACING", fault, outcome="not_sent", retry_after=retry_after)

    def _until_one_leaves(self, mine: tuple[str, Pace], now: float) -> float:
        """Return the seconds until the oldest message of a share leaves, if no other message comes."""
        client, pace = mine
        self._bucket.advance(now)
        oldest = next(iter(self._shares[mine]))
        ahead = 0
        if (room := oldest.held_by) is not None:
            when = room.when(room.held.before(client) + room.units(oldest), now)
            if when is None:
                return UNKNOWN
        else:
            when = now
            ahead = self._ready[pace].before(client)
        urgent = sum(count for other, count in self._of_pace.items() if other.value < pace.value)
        ahead += min(urgent, PATIENCE[pace] * (ahead + 1))
        when = max(when, self._bucket.when(pace, ahead))
        if pace is Pace.HISTORY:
            when = max(when, self._no_history_before)
        return max(0.0, when - now)

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
                room = self._full(message)
                if room is None:
                    return message
                turns.remove(message)
                offered_by, message.offered_by = message.offered_by, None
                self._hold(message, room, first=room is offered_by)
                self._settle(offered_by)
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
            first = next(iter(self._shares.get((message.client, pace), ())), None)
            if first is not None and first.held_by is None and first.arrival < message.arrival:
                return True
        return False

    def _full(self, message: OutboundMessage) -> LimitWindow | None:
        """Return the first room whose limit a message exceeds; None if all limits allow the message."""
        for _, key, units in message.counts:
            room = self._rooms.get(key)
            if room is not None and not room.fits(units):
                return room
        return None

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
        self._bucket.spend()
        for limit, key, units in message.counts:
            room = self._rooms.get(key) or self._rooms.setdefault(key, LimitWindow(limit, key))
            room.used += units
            if limit.seconds is None:
                self._open.add(message)
                continue
            until = now + limit.seconds + MARGIN
            room.spent.append((until, units))
            self._serial += 1
            heapq.heappush(self._ends, (until, self._serial, room))
        offered_by, message.offered_by = message.offered_by, None
        self._settle(offered_by)

    def _forget(self, message: OutboundMessage) -> None:
        """Remove a message from all records of waiting messages."""
        if message.queue is not None:
            message.queue.remove(message)
        if message.held_by is not None:
            message.held_by = None
            self._held -= 1
        del self._waiting[message]
        self._tally(message, -1)
        mine = (message.client, message.request.pace)
        share = self._shares[mine]
        del share[message]
        if not share:
            del self._shares[mine]

    # -- limits

    def _advance(self, now: float) -> None:
        """Advance the time to `now`: free the units whose span has ended, and offer held messages to the queue."""
        self._now = now
        self._bucket.advance(now)
        while self._ends and self._ends[0][0] <= now:
            _, _, room = heapq.heappop(self._ends)
            room.used -= room.spent.popleft()[1]
            self._offer(room)

    def _hold(self, message: OutboundMessage, room: LimitWindow, *, first: bool = False) -> None:
        room.held.add(message, first=first)
        message.held_by = room
        self._held += 1

    def _offer(self, room: LimitWindow) -> None:
        """Move the next message held in a room back into the queue, if the message fits; drop a room that is idle."""
        message = room.held.head()
        if room.offered is None and message is not None and room.fits(room.units(message)):
            room.held.served(message)
            room.held.remove(message)
            message.held_by, message.offered_by, room.offered = None, room, message
            self._held -= 1
            self._ready[message.request.pace].add(message, first=True)
        if room.idle:
            self._rooms.pop(room.key, None)

    def _settle(self, room: LimitWindow | None) -> None:
        """Offer the room's next message: the one that it offered has left, or waits for another limit."""
        if room is not None:
            room.offered = None
            self._offer(room)

    def held(self, message: OutboundMessage, now: float) -> Held | None:
        """Return the limit of IB's that holds a message back longest, and the time left; None if no limit does.

        The time assumes that all messages held by the same limit go first.
        """
        if not message.waits:
            return None
        self._advance(now)
        found = [_held_in(room, message, now) for room in self._full_rooms(message)]
        if message.request.pace is Pace.HISTORY and now < self._no_history_before:
            found.append(Held(self._no_history_before - now, "TWS has had too many historical requests (162)"))
        return max(found, key=lambda held: float("inf") if held.seconds is None else held.seconds, default=None)

    def _full_rooms(self, message: OutboundMessage) -> Iterator[LimitWindow]:
        for _, key, units in message.counts:
            room = self._rooms.get(key)
            if room is not None and (room is message.held_by or not room.fits(units)):
                yield room

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
        if self._held and self._ends:
            times.append(self._ends[0][0])
        return min(times, default=None)

    def withdraw(self, message: OutboundMessage) -> bool:
        """Take a message out of the queue. Return False if the message has left, or was never queued."""
        if not message.waits:
            return False
        room = message.held_by or message.offered_by
        self._forget(message)
        if room is not None:
            if room.offered is message:
                room.offered = None
            message.offered_by = None
            self._offer(room)
        return True

    def completed(self, message: OutboundMessage) -> None:
        """Free the units of a sent message whose request is no longer open at TWS."""
        if message not in self._open:
            return
        self._open.remove(message)
        for limit, key, units in message.counts:
            if limit.seconds is None:
                room = self._rooms[key]
                room.used -= units
                self._offer(room)

    def drop(self) -> list[OutboundMessage]:
        """Clear the queue after a lost connection, and return the messages that waited, in order of arrival.

        Requests open at TWS are gone as well. Units of limits with a time span stay in use, for TWS counts them on.
        """
        dropped = list(self._waiting)
        for message in dropped:
            message.queue = message.held_by = message.offered_by = None
        self._waiting.clear()
        self._shares.clear()
        self._open.clear()
        self._load, self._of_pace, self._of_client = _Load(), dict.fromkeys(Pace, 0), {}
        self._ready, self._passed = {pace: FairQueue() for pace in Pace}, dict.fromkeys(Pace, 0)
        self._held = 0
        for room in self._rooms.values():
            room.held, room.offered = FairQueue(), None
        self._rooms = {key: room for key, room in self._rooms.items() if room.limit.seconds is not None and room.used}
        return dropped

    def waiting(self, pace: Pace) -> list[OutboundMessage]:
        """Return the waiting messages of a pace, those of each client in order."""
        return [message for (_, other), share in self._shares.items() if other is pace for message in share]

    def complained(self, code: int, text: str, now: float) -> str:
        """Slow down if TWS reports too many messages. Return the measure in words; "" for any other error."""
        if code == TOO_FAST:
            self._bucket.slow(now)
            return f"sending {self._bucket.rate} a second for the next {self._bucket.slowed(now):.0f} s"
        if is_historical_pacing(code, text):
            self._no_history_before = now + HELD
            return f"no historical request leaves for the next {HELD:.0f} s"
        return ""

    def metrics(self, now: float) -> dict[str, Any]:
        """Return the state of the queue for `status`: messages waiting, by client, their age in s, the sending rate."""
        clients = heapq.nlargest(SHOWN, self._of_client.items(), key=itemgetter(1))
        oldest = next(iter(self._waiting), None)
        return {
            "queued": len(self._waiting),
            "age": round(max(0.0, now - oldest.since), 3) if oldest else 0.0,
            "held": self._held,
            "clients": dict(clients),
            "sent": self._sent,
            "rate": self._bucket.rate,
            "slowed": round(self._bucket.slowed(now), 3),
            "noHistory": round(max(0.0, self._no_history_before - now), 3),
        }


def _counts(message: OutboundMessage) -> Iterator[Count]:
    """Yield the limits that a request counts under."""
    for limit in message.request.limits:
        if units := limit.counts(message.args):
            yield Count(limit, (limit.name, *_alike(limit, message)), units)


def _alike(limit: Limit, message: OutboundMessage) -> Iterator[Hashable]:
    """Yield the values that requests counting together under a limit have in common."""
    if limit.alike is None:
        yield message.request.name
        yield canonical({name: value for name, value in message.args.items() if name != message.request.key})
        return
    for name in limit.alike:
        value = message.args.get(name)
        yield instrument_key(value) if name == "contract" and value is not None else value
