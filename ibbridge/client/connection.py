"""The sockets behind a follower: what arrives goes to it, what it asks for is asked. Does everything but wait.

Knows ZeroMQ, prefixes and who holds them. Must not know threads or event loops: those wait, in ways of their own, and
then say `turn`.
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
from ibbridge.client.errors import NoAnswer
from ibbridge.client.stream_follower import Follower
from ibbridge.client.stream_state import Mode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ibbridge.client.stream_follower import Ask

TURN = 1000
"""Messages taken in one turn at most, so that whoever waits for something else is not kept from it for long."""

_NOWAIT, _RCVMORE = int(zmq.NOBLOCK), int(zmq.RCVMORE)
_IN, _OUT = int(zmq.POLLIN), int(zmq.POLLOUT)


class Link:
    """One daemon's SUB socket, a REQ socket for what the follower asks, and the follower. `prefix` is `bus.prefix`."""

    def __init__(self, context: zmq.Context[Any], pub: str, rep: str, *, prefix: str = "") -> None:
        self.pub, self.rep = pub, rep
        self.sub = sockets.subscriber(context, pub)
        try:
            self.req = sockets.requester(context, rep)
        except BaseException:
            self.sub.close()
            raise
        head = f"{prefix}." if prefix else ""
        self.follower = Follower(len(head), now=time.monotonic())
        self.ready = self.follower.ready
        # The compiled socket's own methods: the Python layer above them would cost more than all the rest here.
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
        """Disconnect. Once closed, does nothing."""
        self.sub.close()
        self.req.close()

    # -- subscriptions

    def join(self, prefixes: Iterable[str], holder: str, mode: Mode = Mode.STATE) -> list[str]:
        """Subscribe, in the name of a holder, to what nobody holds yet; the prefixes given."""
        given = list(prefixes)
        for prefix in given:
            if prefix not in self._holders:
                self._holders[prefix] = set()
                self.follower.subscribe(prefix, mode)
                self.sub.subscribe(prefix)
            self._holders[prefix].add(holder)
        return given

    def leave(self, prefixes: Iterable[str], holder: str | None = None) -> None:
        """The holder, or with None everybody, no longer holds these: what nobody holds is no longer subscribed to."""
        for prefix in list(prefixes):
            holders = self._holders.get(prefix, set())
            if holder is None:
                holders.clear()
            holders.discard(holder or "")
            if not holders and self._holders.pop(prefix, None) is not None:
                self.sub.unsubscribe(prefix)
                self.follower.unsubscribe(prefix)

    def leave_all(self, holder: str) -> None:
        """The holder holds nothing any more."""
        self.leave([prefix for prefix, holders in self._holders.items() if holder in holders], holder)

    @property
    def prefixes(self) -> frozenset[str]:
        """What is subscribed to."""
        return frozenset(self._holders)

    def begun(self, prefixes: Iterable[str]) -> bool:
        """Whether nothing that is published under these can be missed any more, and their state is there."""
        return all(map(self.follower.begun, prefixes))

    def silent(self, prefixes: Iterable[str], timeout: float) -> NoAnswer:
        """What is wrong where these have not begun in time."""
        if why := forbidden(self.pub) or forbidden(self.rep):
            return NoAnswer(why, "not_sent")
        if all(map(self.follower.welcomed, prefixes)):
            why = f"a daemon is heard at {self.pub}, but none answers at {self.rep} within {timeout:g} s. Is this"
            return NoAnswer(f"{why} the bus.rep of its configuration?", "not_sent")
        why = f"nothing heard from a daemon at {self.pub} within {timeout:g} s. Is ibbridge running (`ibbridge status`)"
        return NoAnswer(f"{why}? Is this the bus.pub of its configuration?", "not_sent")

    # -- messages and commands

    def take(self) -> bool:
        """One message from the socket to the follower; False if there is none."""
        try:
            topic = self._recv(_NOWAIT)
        except zmq.Again:
            return False
        # A message is two frames; after one that is not, topics and bodies are out of step, and the follower says so.
        packed = self._recv(_NOWAIT) if self._more(_RCVMORE) else b""
        follower = self.follower
        if follower.down:
            follower.hear(time.monotonic())
        self._fresh = True
        follower.take(topic, packed)
        if follower.asking:
            self.exchange(time.monotonic())
        return True

    def turn(self, now: float) -> bool:
        """All that can be done without waiting, within bounds; False if nothing more is there."""
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
        """Send what the follower asks, and give it what was replied."""
        while True:
            if (ask := self.follower.ask(now)) is not None:  # instead of another one, after a restart of the daemon
                self._asked, self._sent, self._until = ask, False, now + RETRY
            if self._asked is None or not self._step(self._asked, now):
                return

    def _step(self, ask: Ask, now: float) -> bool:
        """Get on with what is asked; False while there is nothing to be done but wait."""
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
                self.sub.unsubscribe(prefix)  # the first one stays: they are counted
        return True

    def wake(self) -> float | None:
        """When there is something to do even if nothing arrives."""
        times = [self.follower.wake(), self._until if self._asked is not None else None]
        return min((each for each in times if each is not None), default=None)

    def waits_for(self) -> list[tuple[Any, int]]:
        """The sockets, and what is to be waited for on each."""
        asking = [] if self._asked is None else [(self.req, _IN if self._sent else _OUT)]
        return [(self.sub, _IN), *asking]
