"""The SUB socket: messages in the order they came, and told, never silently, what did not come.

Knows subscriptions, welcomes and sequence numbers. Must not know commands or what a message means. Three types are made
here, flagged `synthetic`: `gap` where a stream's numbers jump, `restart` where the daemon is another one than before
(so that whatever is not durable is to be asked for again), `silence` where not even a heartbeat came.

A stream is a topic's first two components; who is subscribed to less than all of it sees holes by definition, so only
whole ones are checked.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any

import msgpack
import zmq
import zmq.backend

from ibbridge.client.errors import BridgeError, NoAnswer
from ibbridge.client.events import Event
from ibbridge.client.message import parse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ibbridge.client.message import Message

PROTO = 1
"""The version of the protocol that this library speaks."""

RECEIVE_HIGH_WATER = 100_000
"""Messages kept for a strategy that is busy, in this process; the daemon keeps as many again."""

MISSED = 3.5
"""Heartbeats missed after which the daemon counts as gone."""

_PARTLY = -1
_SLICE = 1.0
_NOWAIT, _RCVMORE = int(zmq.NOBLOCK), int(zmq.RCVMORE)


class Feed:
    """Subscriptions to one daemon, from the making to `close`.

    `prefix` is the daemon's `bus.prefix`. `heartbeats`: they are among the subscriptions, so that their absence means
    something.
    """

    def __init__(self, context: zmq.Context[Any], pub: str, *, prefix: str = "", heartbeats: bool = False) -> None:
        self.pub = pub
        self.epoch: int | None = None
        self._socket: zmq.Socket[bytes] = context.socket(zmq.SUB)
        self._socket.set(zmq.RCVHWM, RECEIVE_HIGH_WATER)
        self._socket.set(zmq.LINGER, 0)
        self._socket.set(zmq.RECONNECT_IVL_MAX, 1000)
        if "[" in pub:
            self._socket.set(zmq.IPV6, 1)
        connect(self._socket, pub, "pub")
        # The compiled socket's own methods: the Python layer above them would cost more than all the rest here.
        self._recv: Callable[[int], bytes] = zmq.backend.Socket.recv.__get__(self._socket)
        self._more: Callable[[int], int] = zmq.backend.Socket.get.__get__(self._socket)
        self._head = len(prefix) + 1 if prefix else 0
        self._prefixes: set[str] = set()
        self._welcomed: set[str] = set()
        self._last: dict[str, int] = {}
        self._ready: deque[Message] = deque()
        self._heartbeats = heartbeats
        self._heard = time.monotonic()
        self._patience = MISSED
        self._fresh = False
        self._silent = False

    def close(self) -> None:
        """Disconnect. Once closed, does nothing."""
        self._socket.close()

    # -- subscriptions

    @property
    def prefixes(self) -> frozenset[str]:
        """What is subscribed to."""
        return frozenset(self._prefixes)

    def subscribe(self, prefixes: Iterable[str]) -> list[str]:
        """Ask for everything whose topic begins with one of `prefixes`; those that were not subscribed to before."""
        new = sorted(set(prefixes) - self._prefixes)
        for prefix in new:
            self._welcomed.discard(prefix)
            self._socket.subscribe(prefix)
        self._prefixes.update(new)
        self._forget(lambda seq, _: seq == _PARTLY)
        return new

    def unsubscribe(self, prefixes: Iterable[str]) -> None:
        """No longer ask for these; what has arrived already still comes."""
        for prefix in self._prefixes.intersection(prefixes):
            self._socket.unsubscribe(prefix)
            self._prefixes.discard(prefix)
        self._forget(lambda _, stream: not self._whole(stream))

    def welcomed(self, prefixes: Iterable[str], timeout: float) -> bool:
        """Wait until the daemon has confirmed these subscriptions; what else comes meanwhile is kept for `receive`."""
        wanted = set(prefixes)
        deadline = time.monotonic() + timeout
        while not wanted <= self._welcomed:
            if not self._take(deadline):
                return False
        return True

    def join(self, prefixes: Iterable[str], timeout: float) -> list[str]:
        """Subscribe and wait until nothing can be missed any more; the new ones. NoAnswer if the daemon is silent."""
        new = self.subscribe(prefixes)
        if not self.welcomed(new, timeout):
            self.unsubscribe(new)
            raise NoAnswer(
                f"nothing heard from a daemon at {self.pub} within {timeout:g} s. Is ibbridge running (`ibbridge "
                "status`)? Is this the bus.pub of its configuration?",
                "not_sent",
            )
        return new

    # -- messages

    def receive(self, timeout: float | None = None) -> Message | None:
        """The next message, or None if there was none for `timeout` seconds (None: wait for ever)."""
        if self._ready:
            return self._ready.popleft()
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._ready:
            if not self._take(deadline):
                return None
        return self._ready.popleft()

    def earliest(self, stream: str) -> int | None:
        """The number of the first message of a stream that has arrived and not been received; None if there is none."""
        return next((each.seq for each in self._ready if each.topic.startswith(stream)), None)

    def put_back(self, messages: Iterable[Message]) -> None:
        """Have `receive` give these first, in their order."""
        self._ready.extendleft(reversed(list(messages)))

    def _take(self, deadline: float | None) -> bool:
        """One message from the socket to where it belongs; False if none came before the deadline."""
        try:
            topic = self._recv(_NOWAIT)
        except zmq.Again:
            return self._wait(deadline)
        # A message is two frames; after one that is not, topics and bodies are out of step, and `parse` says so.
        self._fresh = True
        self._sort(topic, self._recv(_NOWAIT) if self._more(_RCVMORE) else b"")
        return True

    def _wait(self, deadline: float | None) -> bool:
        """Wait for something to arrive, but not for long, so that signals are noticed; False past the deadline."""
        now = time.monotonic()
        if self._fresh:
            self._heard, self._fresh, self._silent = now, False, False
        if deadline is not None and now >= deadline:
            return False
        until = min(now + _SLICE, now + _SLICE if deadline is None else deadline)
        if self._heartbeats and not self._silent:
            if now - self._heard >= self._patience:
                self._silent = True
                self._ready.append(Event("silence", "", seconds=round(now - self._heard, 1)))
                return True
            until = min(until, self._heard + self._patience)
        self._socket.poll(int((until - now) * 1000) + 1)
        return True

    def _sort(self, topic: bytes, packed: bytes) -> None:
        message = parse(topic, packed)
        if message.epoch != self.epoch:
            self._restarted(message.epoch)
        if message.type == "welcome":
            self._welcome(message.topic, msgpack.unpackb(packed, strict_map_key=False))
            return
        self._follow(message)
        self._ready.append(message)

    def _welcome(self, prefix: str, about: Mapping[str, Any]) -> None:
        if (proto := about.get("proto")) != PROTO:
            raise BridgeError(f"the daemon at {self.pub} speaks protocol {proto}, this library {PROTO}")
        self._patience = MISSED * about.get("heartbeat", 1.0)
        self._welcomed.add(prefix)

    def _restarted(self, epoch: int) -> None:
        if self.epoch is not None:
            self._last.clear()
            self._ready.append(Event("restart", "", epoch, before=self.epoch))
        self.epoch = epoch

    # -- sequences

    def _follow(self, message: Message) -> None:
        topic, seq = message.topic, message.seq
        stream = topic[: topic.find(".", topic.find(".", self._head) + 1) + 1]
        last = self._last.get(stream)
        if last is None:
            last = seq - 1 if self._whole(stream) else _PARTLY
        if last == _PARTLY:
            self._last[stream] = _PARTLY
            return
        if seq > last + 1:
            gap = {"after": last, "next": seq, "missed": seq - last - 1}
            self._ready.append(Event("gap", stream, stream=stream, **gap))
        self._last[stream] = max(seq, last)

    def _whole(self, stream: str) -> bool:
        return any(stream.startswith(prefix) for prefix in self._prefixes)

    def _forget(self, which: Callable[[int, str], bool]) -> None:
        for stream in [stream for stream, seq in self._last.items() if which(seq, stream)]:
            del self._last[stream]


def connect(socket: zmq.Socket[bytes], endpoint: str, name: str) -> None:
    """Connect, which never waits. BridgeError if the endpoint is not written as one."""
    try:
        socket.connect(endpoint)
    except zmq.ZMQError as error:
        socket.close()
        raise BridgeError(
            f"{name}={endpoint!r}: {error.strerror}; write it as tcp://127.0.0.1:PORT or ipc:///PATH"
        ) from error
