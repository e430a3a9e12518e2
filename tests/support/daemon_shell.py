"""The daemon without sockets: the line, the session, the queue and all behind them, in time that passes when told.

What `ibbridge.tws.connector` and `ibbridge.daemon` do is done here in the same order, with a host that is called where
they have a socket. Timers are theirs too: what they would not be woken for, nobody does here.
"""

from __future__ import annotations

import heapq
import itertools
from typing import TYPE_CHECKING, Any, Protocol

from ibbridge.codec import Dialect
from ibbridge.codec.messages import REQUESTS
from ibbridge.config.model import TwsConfig
from ibbridge.ib.notices import NOT_CONNECTED
from ibbridge.orders.placement import CANCEL_UNKNOWN, ORDER_UNKNOWN
from ibbridge.tws.outbound import OutboundMessage
from ibbridge.tws.session import Session, Stage
from ibbridge.tws.supervisor import MARKET_DATA, Action, AnyAction, Close, Open, Resolve, Supervisor
from tests.support.daemon_core import EPOCH, Link, Middle, _blank

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ibbridge.tws.outbound import Held

BEAT = 1.0
VERSION = 226
LOST = "the connection to TWS was lost before the answer was complete; ask again, under a new id"


class Host(Protocol):
    """Other end of the connection, and observer of the daemon."""

    def asked_for_name(self) -> None:
        """Its addresses are looked up."""

    def knocked(self) -> None:
        """Somebody connects."""

    def greeted(self) -> None:
        """Note the greeting of the daemon."""

    def told_to_start(self) -> None:
        """Note startApi, which follows the exchange of versions."""

    def left(self) -> None:
        """The connection was closed by the daemon, or is known to be over."""

    def given(self, message: OutboundMessage) -> None:
        """The queue has taken a message, which may wait."""

    def withdrawn(self, message: OutboundMessage) -> None:
        """The queue has given it back."""

    def written(self, name: str, data: dict[str, Any]) -> None:
        """A message has arrived."""

    def moved_on(self) -> None:
        """The session has changed."""


class Wire(Link):
    """The gateway's half that sends. What waits leaves when the timer says so, set where the gateway sets it."""

    host: Host

    def __init__(self, rate: int, share: int, now: float) -> None:
        super().__init__(VERSION, rate, share)
        self.dialect = None
        self.now = now
        self.open = False  # TCP has connected
        self.full = False  # TWS takes nothing, and too much of what was written lies about
        self.timer: float | None = None
        self.bytes = 0
        self.leaves = b""  # what is being written

    def send(self, message: OutboundMessage) -> bool:
        if not self.open or self.full:
            return False
        needless = [*message.instead_of]
        self.pacing.put(message, self.now)
        for each in needless:
            self.host.withdrawn(each)
        self.host.given(message)
        self.drain()
        return True

    def withdraw(self, message: OutboundMessage) -> bool:
        if not self.pacing.withdraw(message):
            return False
        self.host.withdrawn(message)
        return True

    def held(self, message: OutboundMessage) -> Held | None:
        return self.pacing.held(message, self.now)

    def completed(self, message: OutboundMessage) -> None:
        self.pacing.completed(message)
        self.timer = self.pacing.wake()

    def drain(self) -> None:
        self.timer = None
        if not self.open:
            return
        for message in self.pacing.next_messages(self.now):
            if self.on_send(message):
                self._write(message.data)
                self.leaves = message.data
                self.bytes += len(message.data)
                self.host.written(*self.sent.pop())
            else:
                self.host.withdrawn(message)
        self.timer = self.pacing.wake()


class Shell(Middle):
    """The daemon, as far as there are decisions in it. `now` is what its clock says."""

    def __init__(self, host: Host, *, rate: int, share: int, jitter: float = 0.0, allowed: Iterable[str] = ()) -> None:
        self.wire = Wire(rate, share, 1000.0)
        self.wire.host = host
        super().__init__(VERSION, ready=False, link=self.wire, allowed=allowed)
        self.host = host
        self.config = TwsConfig()
        self.session = Session(self.now)
        self.line = Supervisor(self.config, self.session, lambda: jitter)
        self._alarm: float | None = None
        self._beat = self.now
        self._later: list[tuple[float, int, int, Callable[[], None]]] = []
        self._serial = itertools.count()
        self._connection = 0
        self._begun: set[str] = set()  # of what TWS must say first

    # -- time

    @property
    def now(self) -> float:
        return self.wire.now

    def begin(self) -> None:
        """The daemon starts."""
        self.line.wake(self.now)
        self._go()

    def soon(self, seconds: float, what: Callable[[], None], *, always: bool = False) -> None:
        """The host does something then, if this connection is still there."""
        which = 0 if always else self._connection
        heapq.heappush(self._later, (self.now + seconds, next(self._serial), which, what))

    def pass_on(self, seconds: float) -> None:
        """Let time pass, with everything that happens meanwhile."""
        until = self.now + seconds
        while (at := self._next()) <= until:
            self._to(max(self.now, at))
            if self._alarm is not None and self._alarm <= at:
                self.line.wake(max(at, self.now), self.wire.bytes)
                self._go()
            elif self.wire.timer is not None and self.wire.timer <= at:
                self.wire.drain()
            elif self._later and self._later[0][0] <= at:
                _, _, connection, what = heapq.heappop(self._later)
                if connection in (0, self._connection):
                    what()
            else:
                self._beat += BEAT
                self.requests.tick(self.now)
        self._to(until)

    def _next(self) -> float:
        times = (self._alarm, self.wire.timer, self._beat, self._later[0][0] if self._later else None)
        return min(each for each in times if each is not None)

    def _to(self, now: float) -> None:
        self.wire.now = self.clock = now
        self._now = max(self._now, EPOCH + int(now * 1e6))

    # -- what the line says

    def _go(self) -> None:
        while acts := self.line.next_actions():
            for act in acts:
                self._do(act)
        self._alarm = self.line.next_wakeup()

    def _do(self, act: AnyAction) -> None:
        match act:
            case Action.TELL:
                if not self.session.competing:
                    self.requests.uncontested()
                self.host.moved_on()
            case Action.BEGIN:
                self.host.greeted()
            case Action.PROBE if self.wire.dialect is not None:
                probe = REQUESTS["reqCurrentTime"]
                self.wire.send(OutboundMessage(probe, self.wire.dialect.put(probe.name, {})))
            case Resolve():
                self.host.asked_for_name()
            case Open():
                self.host.knocked()
            case Close():
                self._drop()

    def _drop(self) -> None:
        wire, was_open = self.wire, self.wire.open
        wire.open, wire.full, wire.dialect = False, False, None
        self._connection += 1
        if was_open:
            self.requests.on_drop(self._dropped())
            for route in self.requests.lost():
                self.routing.notifications.notify_error(route, NOT_CONNECTED, LOST, self._now)
            for order in self.orders.unheard():
                self.routing.order_notifications.notify_error(order, NOT_CONNECTED, ORDER_UNKNOWN, self._now)
            for order in self.orders.uncancelled():
                self.routing.order_notifications.notify_error(order, NOT_CONNECTED, CANCEL_UNKNOWN, self._now)
        self.host.left()

    def _dropped(self) -> list[OutboundMessage]:
        dropped = self.wire.pacing.drop()
        for each in dropped:
            self.host.withdrawn(each)
        return dropped

    # -- what the host does

    def resolved(self, addresses: list[tuple[Any, ...]]) -> None:
        self.line.resolved(addresses, self.now)
        self._go()

    def refused(self) -> None:
        self.line.refused("refused", self.now)
        self._go()

    def opened(self) -> None:
        self._begun.clear()
        self.wire.open, self.wire.bytes = True, 0
        self.line.opened(self.now)
        self._go()

    def closed(self, *, unfit: bool = False) -> None:
        self.line.closed("TWS closed the connection", self.now, unfit=unfit)
        self._go()

    def blocked(self, *, full: bool) -> None:
        """TWS does not take what is written any more."""
        self.wire.full = full
        self.line.blocked(self.now, self.wire.bytes)
        self._alarm = self.line.next_wakeup()

    def drained(self) -> None:
        self.wire.full = False
        self.line.drained()
        self._alarm = self.line.next_wakeup()

    def greet(self) -> None:
        """The host says its version, and is told to start."""
        self.session.heard = self.now
        self.requests.begin()
        self.requests.upstream = True
        self.wire.dialect = Dialect.client(VERSION)
        self.session.greeted({"version": VERSION, "connectionTime": ""})
        self.line.greeted(self.now)
        self._go()
        self.host.told_to_start()

    def say(self, name: str, **data: Any) -> None:
        """The host says something, in a read of its own."""
        self.session.heard = self.now
        watched = self.session.stage is not Stage.READY or self.session.competing
        about = {**_blank(name), **data}
        self._watch(name, about)
        self._now += 1
        self.router.publish(name, about, self._now)
        if watched and self.session.stage is not Stage.READY:
            self._learn(name)
        elif watched and self.session.competing and name in MARKET_DATA:
            self.line.flows(self.now)
        self._go()

    def _watch(self, name: str, data: dict[str, Any]) -> None:
        if name == "nextValidId":
            self.requests.raise_to(data["orderId"] - 1)
        elif name == "managedAccounts":
            self.session.named(data["accountsList"])
            self.requests.accounts = self.session.accounts
        elif name == "openOrder" and self.orders.ours(data["order"].get("clientId", 0)):
            self.requests.raise_to(data["orderId"])
        elif name == "error":
            self._notice(data["errorCode"], data["errorString"])

    def _notice(self, code: int, text: str) -> None:
        self.wire.pacing.complained(code, text, self.now)
        changed = self.line.on_notice(code, text, self.now)
        if changed:
            self.requests.upstream = self.session.upstream != "lost"
        self.requests.on_notice(code, changed[0] if changed else "")

    def _learn(self, name: str) -> None:
        self.line.spoke()
        self._go()
        self._begun |= {name} & {"nextValidId", "managedAccounts"}
        if len(self._begun) == 2 and self.session.stage is not Stage.DOWN and self.line.started(self.now):
            self._go()
            self._started()
            self.line.synced(self.now)
            self._go()

    def _started(self) -> None:
        assert self.wire.dialect is not None
        kind = REQUESTS["reqMarketDataType"]
        self.wire.send(OutboundMessage(kind, self.wire.dialect.write(kind.name, {"marketDataType": 1})))
        for route, why in self.requests.connected():
            self.routing.notifications.notify_error(route, NOT_CONNECTED, why, self._now)
