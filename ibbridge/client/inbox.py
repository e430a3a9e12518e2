"""Inbox that distributes the messages of one feed to several threads or tasks.

Any thread or task may take the next message. A taker that waits for the responses to a request takes those, and sets
other messages aside for everybody. A response that somebody else takes meanwhile is also kept for the request's owner.
The states of orders are noted as soon as anybody takes their messages or sets them aside.
This module knows no waiting and no locks.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from ibbridge.client import request as requests
from ibbridge.client.order_state import TYPE, KnownOrder

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from ibbridge.client.message import Message
    from ibbridge.client.request import Request

MOST = 1000
"""Limit of requests whose responses are kept for their owner; a further request ends the oldest watch."""


@dataclass(eq=False, slots=True)
class Watch:
    """Watch for the responses to one request; `kept` has those that others than its `owner` have taken."""

    request: Request
    owner: Hashable
    kept: deque[Message] = field(default_factory=deque)
    looked: int = 0

    def matches(self, message: Message) -> bool:
        """Return True if the message is a response to the request."""
        return message.concerns(self.request) or requests.answered_by(self.request.cmd, message.type)


class Inbox:
    """Queue between a stream follower's `ready` messages and the threads or tasks that take messages."""

    def __init__(self, ready: deque[Message]) -> None:
        self.ready = ready
        self._aside: deque[Message] = deque()
        self._set_aside = 0  # in all
        self._watches: dict[str, Watch] = {}
        self._orders: WeakValueDictionary[str, KnownOrder] = WeakValueDictionary()  # by the topic of their states

    def __bool__(self) -> bool:
        """Return True if `next` has a message."""
        return bool(self._aside or self.ready)

    def next(self, taker: Hashable) -> Message:
        """Return the next message. Raise IndexError if there is none."""
        message = self._aside.popleft() if self._aside else self._taken()
        if self._watches:
            self._keep(message, taker)
        return message

    def skip_to_news_of_tws(self) -> bool:
        """Set messages aside up to the next one that may mean another stage of the connection to TWS.

        Return False if there is none. Such a message is a "connection" message, or a heartbeat, which is dropped.
        """
        while self.ready:
            message = self._taken()
            if message.type == "heartbeat":
                return True
            self._put_aside(message)
            if message.type == "connection":
                return True
        return False

    def watch(self, request: Request, owner: Hashable) -> Watch:
        """Keep the responses to a request for its owner, even if others take them from the inbox."""
        watch = self._watches.get(request.id)
        if watch is None:
            if len(self._watches) >= MOST:
                del self._watches[next(iter(self._watches))]
            watch = self._watches[request.id] = Watch(request, owner)
        return watch

    def unwatch(self, identifier: str) -> None:
        """End the watch for responses to the request with this id."""
        self._watches.pop(identifier, None)

    def pick(self, watch: Watch) -> Message | None:
        """Return the next response, or None if there is none. Messages before the response are set aside."""
        new, watch.looked = min(self._set_aside - watch.looked, len(self._aside)), self._set_aside
        found = [message for message in islice(reversed(self._aside), new) if watch.matches(message)]
        for message in reversed(found):
            self._aside.remove(message)
            watch.kept.append(message)
        while not watch.kept and self.ready:
            message = self._taken()
            if watch.matches(message):
                return message
            self._put_aside(message)
            watch.looked += 1
        return watch.kept.popleft() if watch.kept else None

    def track(self, topic: str, key: str) -> KnownOrder:
        """Return what is known of the order whose states come on `topic`. It is kept for as long as somebody holds it.

        From here on the states that come are noted.
        """
        known = self._orders.get(topic)
        if known is None:
            known = self._orders[topic] = KnownOrder(key)
        return known

    def tracked(self) -> list[KnownOrder]:
        """Return what is known of all orders that somebody holds."""
        return list(self._orders.values())

    def set_aside_until(self, done: Callable[[], bool]) -> bool:
        """Set messages aside until `done` returns True. Return False if it does not after all of them.

        Heartbeats are dropped: nobody wants late ones, and a wait may be long.
        """
        while not (found := done()) and self.ready:
            message = self._taken()
            if message.type != "heartbeat":
                self._put_aside(message)
        return found

    def _taken(self) -> Message:
        """Return the next message of the follower. Note the state of an order, if the message brings one."""
        message = self.ready.popleft()
        if message.type == TYPE and (known := self._orders.get(message.topic)) is not None:
            known.note(message)
        return message

    def _put_aside(self, message: Message) -> None:
        """Set a message aside. It is kept for no owner: owners look through what is set aside, and takers keep it."""
        self._aside.append(message)
        self._set_aside += 1

    def _keep(self, message: Message, taker: Hashable) -> None:
        watch = self._watches.get(message.ref.get("id", ""))
        if watch is None or not message.concerns(watch.request):
            return
        if watch.owner != taker:
            watch.kept.append(message)
        elif requests.is_last(watch.request.cmd, message.type, message.data):
            self.unwatch(watch.request.id)
