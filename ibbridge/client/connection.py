"""Sockets of one stream follower: messages go to the follower, and the commands that it wants are sent.

This module knows ZeroMQ, and which holder has subscribed to which prefix. It never waits, and must not know threads or
event loops: `threaded_feed` and `asyncio_feed` wait, each in its own way, and then call `turn`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgpack
import zmq
import zmq.backend

from ibbridge.client import sockets
from ibbridge.client.access import forbidden
from ibbridge.client.commands import RETRY, Names, unpacked
from ibbridge.client.endpoints import Endpoint
from ibbridge.client.errors import NoAnswer, SubscriptionRefused
from ibbridge.client.stream_follower import StreamFollower
from ibbridge.client.stream_state import Mode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ibbridge.client.errors import AuthError
    from ibbridge.client.stream_follower import Ask

TURN = 1000
"""Limit of messages taken in one turn, so that a burst does not hold up a thread that waits for something else."""

_NOWAIT, _RCVMORE = int(zmq.NOBLOCK), int(zmq.RCVMORE)
_IN, _OUT = int(zmq.POLLIN), int(zmq.POLLOUT)


class BusConnection:
    """SUB socket of one daemon, REQ socket for the follower's commands, and the follower. `prefix` is `bus.prefix`."""

    def __init__(
        self, context: zmq.Context[Any], pub: str | Endpoint, rep: str | Endpoint, *, prefix: str = ""
    ) -> None:
        published, asked = Endpoint.of(pub), Endpoint.of(rep)
        self.pub, self.rep = published.address, asked.address
        self.sub, admitted = sockets.subscriber(context, published)
        try:
            self.req, answered = sockets.requester(context, asked)
        except BaseException:
            admitted.close()
            self.sub.close()
            raise
        self.admissions = (admitted, answered)
        head = f"{prefix}." if prefix else ""
        self.follower = StreamFollower(len(head), now=time.monotonic())
        self.ready = self.follower.ready
        # The methods of the compiled socket: the Python layer above them would cost more than all other work here.
        self._recv: Callable[[int], bytes] = zmq.backend.Socket.recv.__get__(self.sub)
        self._more: Callable[[int], int] = zmq.backend.Socket.get.__get__(self.sub)
        self._holders: dict[str, set[str]] = {}
        self._names = Names()
        self._asked: Ask | None = None
        self._sent = False
        self._until = 0.0
        self._fresh = False
        self.join([f"{head}sys.bridge.heartbeat."], "", Mode.LIVE)

    def close(self) -> None:
        """Disconnect. Do nothing if the sockets are closed already."""
        for admission in self.admissions:
            admission.close()
        self.sub.close()
        self.req.close()

    # -- subscriptions

    def join(self, prefixes: Iterable[str], holder: str, mode: Mode = Mode.STATE) -> list[str]:
        """Add the holder to these prefixes, subscribe to those that had no holder, and return all of them as a list."""
        given = list(prefixes)
        for prefix in given:
            if prefix not in self._holders:
                self._holders[prefix] = set()
                self.follower.subscribe(prefix, mode)
                self.sub.subscribe(prefix)
            self._holders[prefix].add(holder)
        return given

    def unsubscribe(self, prefixes: Iterable[str], holder: str | None = None) -> None:
        """Remove the holder (None: every holder) from these prefixes, and unsubscribe from those without a holder."""
        for prefix in list(prefixes):
            holders = self._holders.get(prefix, set())
            if holder is None:
                holders.clear()
            holders.discard(holder or "")
            if not holders and self._holders.pop(prefix, None) is not None:
                self.sub.unsubscribe(prefix)
                self.follower.unsubscribe(prefix)

    def unsubscribe_all(self, holder: str) -> None:
        """Remove the holder from all of its prefixes."""
        self.unsubscribe([prefix for prefix, holders in self._holders.items() if holder in holders], holder)

    @property
    def prefixes(self) -> frozenset[str]:
        """Prefixes that are subscribed to."""
        return frozenset(self._holders)

    def begun(self, prefixes: Iterable[str]) -> bool:
        """Return True if no message under these prefixes can be missed any more, and their state has arrived.

        Raise SubscriptionRefused if the daemon has refused one of them.
        """
        prefixes = list(prefixes)
        for prefix in prefixes:
            if (refusal := self.follower.refused.get(prefix)) is not None:
                raise SubscriptionRefused(prefix, refusal.role, refusal.fault)
        return all(map(self.follower.begun, prefixes))

    def silent(self, prefixes: Iterable[str], timeout: float) -> NoAnswer:
        """Return the error for subscriptions that have not begun in `timeout` seconds, with the likely cause."""
        if why := forbidden(self.pub) or forbidden(self.rep):
            return NoAnswer(why, "not_sent")
        if all(map(self.follower.welcomed, prefixes)):
            why = f"a daemon is heard at {self.pub}, but none answers at {self.rep} within {timeout:g} s. Is this"
            return NoAnswer(f"{why} the bus.rep of its configuration?", "not_sent")
        why = f"nothing heard from a daemon at {self.pub} within {timeout:g} s. Is ibbridge running (`ibbridge status`)"
        return NoAnswer(f"{why}? Is this the bus.pub of its configuration?", "not_sent")

    # -- messages and commands

    def take(self) -> bool:
        """Pass one message from the socket to the follower. Return False if there is none."""
        try:
            topic = self._recv(_NOWAIT)
            # A message has two frames. A message with another number of frames puts topics and bodies out of step, and
            # the follower then raises BridgeError.
            packed = self._recv(_NOWAIT) if self._more(_RCVMORE) else b""
        except zmq.Again:
            return False
        except BaseException:  # KeyboardInterrupt: the rest of a message must not be taken for the next message's topic
            while self._more(_RCVMORE):
                self._recv(_NOWAIT)
            raise
        follower = self.follower
        if follower.down:
            follower.hear(time.monotonic())
        self._fresh = True
        follower.take(topic, packed)
        if follower.asking:
            self.exchange(time.monotonic())
        return True

    def turn(self, now: float) -> bool:
        """Do all work that is possible without waiting. Return True if `TURN` was reached and more may be there."""
        for _ in range(TURN):
            if not self.take():
                break
        else:
            return True
        if self._fresh:
            self._fresh = False
            self.follower.hear(now)
        self.exchange(now)
        self.follower.tick(now)
        return False

    def exchange(self, now: float) -> None:
        """Send the commands that the follower wants, and pass their replies to the follower."""
        while True:
            if (ask := self.follower.ask(now)) is not None:  # after a restart of the daemon, it replaces a pending one
                self._asked, self._sent, self._until = ask, False, now + RETRY
            if self._asked is None or not self._step(self._asked, now):
                return

    def _step(self, ask: Ask, now: float) -> bool:
        """Send the command or take its reply. Return False if the socket is not ready for that yet."""
        try:
            if not self._sent:
                request = {"id": self._names.new(), "cmd": ask.cmd, "args": ask.args}
                self.req.send(msgpack.packb(request), zmq.NOBLOCK)
                self._sent = True
            reply = unpacked(self.req.recv(zmq.NOBLOCK), self.rep)
        except zmq.Again:
            if now < self._until:
                return False
            self._asked = None
            self.follower.unanswered(ask, now)
        else:
            self._asked = None
            self.follower.answer(ask, reply, now)
            for prefix in self.follower.to_greet():
                self.sub.subscribe(prefix)
                self.sub.unsubscribe(prefix)  # ZeroMQ counts subscriptions, so the first one stays
        return True

    def wake(self) -> float | None:
        """Return the monotonic time of the next `turn` that is due even if nothing arrives; None if there is none."""
        times = [self.follower.wake(), self._until if self._asked is not None else None]
        return min((time for time in times if time is not None), default=None)

    def waits_for(self) -> list[tuple[Any, int]]:
        """Return the sockets to poll, each with the ZeroMQ events to poll for."""
        asking = [] if self._asked is None else [(self.req, _IN if self._sent else _OUT)]
        return [(self.sub, _IN), *asking, *((admission.monitor, _IN) for admission in self.admissions)]

    def refusal(self) -> AuthError | None:
        """Return the error if the daemon has refused one of the sockets lately; None if it has not."""
        return next((found for each in self.admissions if (found := each.refusal())), None)
