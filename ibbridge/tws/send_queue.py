"""What waits for its turn to leave for TWS: who goes first, and what IB's own limits hold back meanwhile.

Cancels first, then orders, everything else, and history last, but none of them for ever: what has been passed by too
often goes next (`PATIENCE`). Within a pace each connection in turn, of one connection each client, and the messages of
one client in the order in which they came. A message that one of IB's limits concerns (`codec.schema.Limit`) waits
beside the queue until there is room; what no limit holds passes by. Pure: told the time, in seconds of a clock that
only goes forward. Knows declarations; nothing of sockets, and nothing of what a message is for.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from ibbridge.codec.schema import Pace
from ibbridge.protocol.arguments import canonical
from ibbridge.protocol.errors import Refused
from ibbridge.protocol.topics import instrument_key
from ibbridge.tws.fair_queue import FairQueue
from ibbridge.tws.token_bucket import Budget

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping, Sequence

    from ibbridge.codec.schema import Limit, Request

MARGIN = 0.25
"""Seconds by which IB's limits are taken to be longer than they are: messages do not all take the same time to TWS."""

HELD = 60.0
"""Seconds without history after TWS has complained of too much of it."""

PATIENCE = {Pace.CANCEL: 0, Pace.ORDER: 2, Pace.NORMAL: 8, Pace.HISTORY: 32}
"""More urgent messages that may leave in a row while one of this pace waits. Then that one leaves, whatever is kept for
the others: so a flood of cancels leaves a third of the rate to orders, and one of both a ninth of it to the rest. But
nobody's order overtakes a cancel that the same client sent before it."""

PLACE = 2048
"""Bytes of a message that take one place in the queue; of a longer one each further so many take one more."""

SHOWN = 20
"""Clients that `figures` names: those of whom most waits."""

UNKNOWN = 10.0
"""Seconds after which to try again where nobody can tell when there is room: another request has to end first."""

TOO_FAST = 100
NO_HISTORY = 162


K = TypeVar("K")


class _Count(NamedTuple):
    """Where a message counts: for `units` in the room of this key."""

    limit: Limit
    key: Hashable
    units: int


class Held(NamedTuple):
    """The fact that a message is held back: for so many `seconds` (None: nobody can tell), `by` what, for people."""

    seconds: float | None
    by: str


@dataclass(slots=True, eq=False)
class Waiting:
    """A request on its way to TWS, for a client ("" is the daemon itself) that asked over the connection `peer`.

    `about` is the order or route that it belongs to, if any, for whoever put it, and `joined` are others that ask for
    the very same. `instead_of` are earlier ones that it makes needless. `not_after` is the time of day (µs since 1970
    UTC) after which it must not leave.
    """

    request: Request
    data: bytes
    client: str = ""
    args: Mapping[str, Any] = field(default_factory=dict)
    about: Any = None
    not_after: int | None = None
    instead_of: Sequence[Waiting] = ()
    peer: bytes = b""
    joined: list[Any] = field(default_factory=list)
    # The queue's own.
    since: float = 0.0
    arrival: int = 0
    counts: tuple[_Count, ...] = ()
    queue: FairQueue[Waiting] | None = None
    held_by: _Room | None = None
    offered_by: _Room | None = None

    @property
    def waits(self) -> bool:
        """Whether it has been accepted, and has neither left nor been withdrawn."""
        return self.queue is not None


class _Room:
    """What one limit takes of requests that are alike, and what waits for it.

    One of those that wait is offered to the queue whenever there is room for it, and the next when that one has left,
    or waits elsewhere: so an hour's worth of requests is not looked at again each time that one of them may go.
    """

    def __init__(self, limit: Limit, key: Hashable) -> None:
        self.limit = limit
        self.key = key
        self.used = 0
        self.spent: deque[tuple[float, int]] = deque()  # until when how many count
        self.held: FairQueue[Waiting] = FairQueue()
        self.offered: Waiting | None = None

    @property
    def idle(self) -> bool:
        return not (self.used or self.held or self.offered)

    def fits(self, units: int) -> bool:
        return not self.used or self.used + units <= self.limit.most

    def units(self, message: Waiting) -> int:
        return next(each.units for each in message.counts if each.key == self.key)

    def when(self, units: int, now: float) -> float | None:
        """When there is room for so many, if nothing else comes; None if nobody can tell."""
        rounds, rest = divmod(units - 1, self.limit.most)
        free = self.limit.most - self.used
        for until, leaving in self.spent:
            if free > rest:
                break
            free, now = free + leaving, until
        return None if self.limit.seconds is None else now + rounds * self.limit.seconds


def _held_in(room: _Room, message: Waiting, now: float) -> Held:
    limit, units = room.limit, room.units(message)
    ahead = len(room.held) - (message.held_by is room)
    when = room.when(units * (ahead + 1), now)
    span = "at a time" if limit.seconds is None else f"in {limit.seconds:g} s"
    return Held(None if when is None else max(0.0, when - now), f"IB's limit '{limit.name}': {limit.most} {span}")


class _Load:
    """The places that messages of clients take in the queue: together, by connection and by client."""

    def __init__(self) -> None:
        self.total = 0
        self.of_peers: dict[bytes, int] = {}
        self.of_clients: dict[str, int] = {}

    def add(self, message: Waiting, sign: int = 1) -> None:
        """Count a message, or with a `sign` of -1 count it no more."""
        places = sign * _places(message)
        self.total += places
        _count(self.of_peers, message.peer, places)
        _count(self.of_clients, message.client, places)

    def takes(self, message: Waiting, most: int) -> bool:
        """Return True if there is a place for a message where there are `most`.

        The second half of them is for those that have less than their share of the first: three quarters of the places
        can be taken under names that have, and the last quarter only over connections that have.
        """
        total = self.total + _places(message)
        if total <= most // 2:
            return True
        if _modest(self.of_peers, message.peer, most // 2):
            return total <= most
        return total <= most * 3 // 4 and _modest(self.of_clients, message.client, most // 2)


def _places(message: Waiting) -> int:
    return 1 + len(message.data) // PLACE


def _count(counts: dict[K, int], key: K, more: int) -> None:
    counts[key] = counts.get(key, 0) + more
    if not counts[key]:
        del counts[key]


def _modest(counts: dict[K, int], key: K, most: int) -> bool:
    """Return True if this one has less than its part of `most`, of which all that wait and this one have the same."""
    return counts.get(key, 0) < most // (len(counts) + (key not in counts))


class Pacing:
    """The queue in front of the socket.

    `share` is how many messages of one client and pace may wait, `most` how many places there are for all clients.
    """

    def __init__(self, rate: int = 45, share: int = 500, most: int = 10_000) -> None:
        self._budget = Budget(rate)
        self._share = share
        self._most = most
        self._ready: dict[Pace, FairQueue[Waiting]] = {pace: FairQueue() for pace in Pace}
        self._passed = dict.fromkeys(Pace, 0)  # more urgent messages that have left while some of this pace wait
        self._rooms: dict[Hashable, _Room] = {}
        self._ends: list[tuple[float, int, _Room]] = []  # when something stops to count
        self._waiting: OrderedDict[Waiting, None] = OrderedDict()
        self._shares: dict[tuple[str, Pace], OrderedDict[Waiting, None]] = {}
        self._load = _Load()
        self._of_pace = dict.fromkeys(Pace, 0)
        self._of_client: dict[str, int] = {}
        self._no_history_before = float("-inf")
        self._now = float("-inf")  # when it was looked at last
        self._open: set[Waiting] = set()  # what has left and still takes room
        self._held = 0
        self._sent = 0
        self._serial = 0
        self._arrivals = 0

    # -- in

    def put(self, message: Waiting, now: float) -> None:
        """Take a message. Raises `Refused` if there is no room for it; then nothing has changed."""
        mine = (message.client, message.request.pace)
        if message.client and len(self._shares.get(mine, ())) >= self._share:
            self._refuse_more(mine, now)
        if message.client and not self._load.takes(message, self._most):
            self._refuse_all(mine, now)
        for each in message.instead_of:
            self.withdraw(each)
        message.instead_of = ()
        message.since = now
        self._arrivals += 1
        message.arrival = self._arrivals
        message.counts = tuple(_counts(message))
        self._waiting[message] = None
        self._shares.setdefault(mine, OrderedDict())[message] = None
        self._tally(message, 1)
        rooms = (self._rooms.get(each.key) for each in message.counts)
        # Not past those that wait for the same.
        busy = next((room for room in rooms if room is not None and (room.held or room.offered)), None)
        if busy is not None:
            self._hold(message, busy)
        else:
            self._ready[message.request.pace].add(message)

    def _tally(self, message: Waiting, sign: int) -> None:
        """Count a message that waits, or with a `sign` of -1 count it no more."""
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
        raise Refused("E_PACING", fault, outcome="not_sent", retry_after=retry_after)

    def _refuse_all(self, mine: tuple[str, Pace], now: float) -> None:
        client, pace = mine
        fault = (
            f"{len(self._waiting)} messages of all clients wait for their turn to be sent, and {client} or its "
            "connection has its share of them: no more may wait; TWS takes a limited number a second"
        )
        own = self._until_one_leaves(mine, now) if mine in self._shares else 0.0
        retry_after = round(max(own, self._budget.when(pace) - now, 1 / self._budget.rate) + 0.001, 3)
        raise Refused("E_PACING", fault, outcome="not_sent", retry_after=retry_after)

    def _until_one_leaves(self, mine: tuple[str, Pace], now: float) -> float:
        """Seconds until there is room in a share, if nothing else comes: until its oldest message leaves."""
        client, pace = mine
        self._budget.advance(now)
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
        when = max(when, self._budget.when(pace, ahead))
        if pace is Pace.HISTORY:
            when = max(when, self._no_history_before)
        return max(0.0, when - now)

    # -- out

    def take(self, now: float) -> list[Waiting]:
        """What leaves now, in this order."""
        self._advance(now)
        taken = []
        while (message := self._next(now)) is not None:
            self._leave(message, now)
            taken.append(message)
        return taken

    def _next(self, now: float) -> Waiting | None:
        for pace, overdue in self._order(now):
            if not self._budget.allows(pace, now, overdue=overdue):
                return None  # what comes behind it may even less
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
        """Return the paces of which something may leave, the next one first, and of each whether it is overdue."""
        ready = [pace for pace, turns in self._ready.items() if turns]
        if now < self._no_history_before and Pace.HISTORY in ready:
            ready.remove(Pace.HISTORY)
        overdue = [pace for pace in ready if self._passed[pace] >= PATIENCE[pace] > 0]
        return [*((pace, True) for pace in overdue), *((pace, False) for pace in ready)]

    def _overdue(self, turns: FairQueue[Waiting]) -> Waiting | None:
        """Return the next message of those whose client has sent nothing more urgent before that is ready too."""
        return next((each for each in turns.heads() if not self._follows(each)), None)

    def _follows(self, message: Waiting) -> bool:
        for pace in Pace:
            if pace is message.request.pace:
                return False
            first = next(iter(self._shares.get((message.client, pace), ())), None)
            if first is not None and first.held_by is None and first.arrival < message.arrival:
                return True
        return False

    def _full(self, message: Waiting) -> _Room | None:
        """The room that has no room for it, if one has not."""
        for _, key, units in message.counts:
            room = self._rooms.get(key)
            if room is not None and not room.fits(units):
                return room
        return None

    def _leave(self, message: Waiting, now: float) -> None:
        pace = message.request.pace
        self._ready[pace].served(message)
        self._forget(message)
        for other, turns in self._ready.items():
            if other is pace or not turns:
                self._passed[other] = 0
            elif other.value > pace.value:
                self._passed[other] += 1
        self._sent += 1
        self._budget.spend()
        for limit, key, units in message.counts:
            room = self._rooms.get(key) or self._rooms.setdefault(key, _Room(limit, key))
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

    def _forget(self, message: Waiting) -> None:
        """It waits no more."""
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
        """What no longer counts makes room."""
        self._now = now
        self._budget.advance(now)
        while self._ends and self._ends[0][0] <= now:
            _, _, room = heapq.heappop(self._ends)
            room.used -= room.spent.popleft()[1]
            self._offer(room)

    def _hold(self, message: Waiting, room: _Room, *, first: bool = False) -> None:
        room.held.add(message, first=first)
        message.held_by = room
        self._held += 1

    def _offer(self, room: _Room) -> None:
        """Give the next of those that wait for this room back to the queue, if it fits."""
        message = room.held.head()
        if room.offered is None and message is not None and room.fits(room.units(message)):
            room.held.served(message)
            room.held.remove(message)
            message.held_by, message.offered_by, room.offered = None, room, message
            self._held -= 1
            self._ready[message.request.pace].add(message, first=True)
        if room.idle:
            self._rooms.pop(room.key, None)

    def _settle(self, room: _Room | None) -> None:
        """What a room offered has found its place."""
        if room is not None:
            room.offered = None
            self._offer(room)

    def held(self, message: Waiting, now: float) -> Held | None:
        """Return by what a message is held back, and for how long if nothing changes; None if by no limit of IB's.

        All that wait for the same limit are taken to go first.
        """
        if not message.waits:
            return None
        self._advance(now)
        found = [_held_in(room, message, now) for room in self._full_rooms(message)]
        if message.request.pace is Pace.HISTORY and now < self._no_history_before:
            found.append(Held(self._no_history_before - now, "TWS has had too many historical requests (162)"))
        return max(found, key=lambda each: float("inf") if each.seconds is None else each.seconds, default=None)

    def _full_rooms(self, message: Waiting) -> Iterator[_Room]:
        for _, key, units in message.counts:
            room = self._rooms.get(key)
            if room is not None and (room is message.held_by or not room.fits(units)):
                yield room

    # -- what happens otherwise

    def wake(self) -> float | None:
        """When to take again; None if nothing waits for a time."""
        times = []
        for pace, overdue in self._order(self._now):
            if not overdue or self._overdue(self._ready[pace]) is not None:
                times.append(self._budget.when(pace, overdue=overdue))
                break
        if self._ready[Pace.HISTORY] and self._now < self._no_history_before:
            times.append(self._no_history_before)
        if self._held and self._ends:
            times.append(self._ends[0][0])
        return min(times, default=None)

    def withdraw(self, message: Waiting) -> bool:
        """Have a message not leave. False if it has left already, or was never put."""
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

    def over(self, message: Waiting) -> None:
        """What it asked for is no longer open at TWS."""
        if message not in self._open:
            return
        self._open.remove(message)
        for limit, key, units in message.counts:
            if limit.seconds is None:
                room = self._rooms[key]
                room.used -= units
                self._offer(room)

    def drop(self) -> list[Waiting]:
        """The connection is gone: all that waited, in the order in which it came. What was open is no more."""
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

    def waiting(self, pace: Pace) -> list[Waiting]:
        """The messages of a pace that wait, those of each client in their order."""
        return [message for (_, other), share in self._shares.items() if other is pace for message in share]

    def complained(self, code: int, text: str, now: float) -> str:
        """TWS has said this. What is done about it, in words; empty if it is no complaint of too many messages."""
        if code == TOO_FAST:
            self._budget.slow(now)
            return f"sending {self._budget.rate} a second for the next {self._budget.slowed(now):.0f} s"
        if code == NO_HISTORY and "pacing" in text.lower():
            self._no_history_before = now + HELD
            return f"no historical request leaves for the next {HELD:.0f} s"
        return ""

    def figures(self, now: float) -> dict[str, Any]:
        """Return what waits, for whom and for how long, and how fast messages leave."""
        clients = heapq.nlargest(SHOWN, self._of_client.items(), key=itemgetter(1))
        oldest = next(iter(self._waiting), None)
        return {
            "queued": len(self._waiting),
            "age": round(max(0.0, now - oldest.since), 3) if oldest else 0.0,
            "held": self._held,
            "clients": dict(clients),
            "sent": self._sent,
            "rate": self._budget.rate,
            "slowed": round(self._budget.slowed(now), 3),
            "noHistory": round(max(0.0, self._no_history_before - now), 3),
        }


def _counts(message: Waiting) -> Iterator[_Count]:
    """Where a request counts."""
    for limit in message.request.limits:
        if units := limit.counts(message.args):
            yield _Count(limit, (limit.name, *_alike(limit, message)), units)


def _alike(limit: Limit, message: Waiting) -> Iterator[Hashable]:
    """What requests have in common that count together under a limit."""
    if limit.alike is None:
        yield message.request.name
        yield canonical({name: value for name, value in message.args.items() if name != message.request.key})
        return
    for name in limit.alike:
        value = message.args.get(name)
        yield instrument_key(value) if name == "contract" and value is not None else value
