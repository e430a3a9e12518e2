"""Who is given which message, where several threads or tasks take from one feed.

Everybody may take the next. Whoever waits for the answers to a request takes these, and sets the others aside for
everybody; an answer that somebody else has taken meanwhile is kept for them, too. Knows no waiting, no locks.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from ibbridge.client import request as requests

if TYPE_CHECKING:
    from collections.abc import Hashable

    from ibbridge.client.message import Message
    from ibbridge.client.request import Request

MOST = 1000
"""Requests whose answers are kept for whoever asked, if somebody else takes them: the latest ones."""


@dataclass(eq=False, slots=True)
class Watch:
    """The answers to one request: those that somebody else than its `owner` has taken."""

    request: Request
    owner: Hashable
    kept: deque[Message] = field(default_factory=deque)
    looked: int = 0

    def matches(self, message: Message) -> bool:
        """Whether it is an answer to the request."""
        return message.concerns(self.request) or requests.answered_by(self.request.cmd, message.type)


class Inbox:
    """What a follower has made `ready`, on its way to those who take it."""

    def __init__(self, ready: deque[Message]) -> None:
        self.ready = ready
        self._aside: deque[Message] = deque()
        self._set_aside = 0  # in all
        self._watches: dict[str, Watch] = {}

    def __bool__(self) -> bool:
        """Whether there is a message for everybody."""
        return bool(self._aside or self.ready)

    def next(self, taker: Hashable) -> Message:
        """The next message. IndexError if there is none."""
        message = (self._aside or self.ready).popleft()
        if self._watches:
            self._keep(message, taker)
        return message

    def put_back(self, messages: list[Message]) -> None:
        """Have `next` give these first."""
        self._aside.extendleft(reversed(messages))

    def watch(self, request: Request, owner: Hashable) -> Watch:
        """See to it that the owner gets the answers, whoever takes them."""
        watch = self._watches.get(request.id)
        if watch is None:
            if len(self._watches) >= MOST:
                del self._watches[next(iter(self._watches))]
            watch = self._watches[request.id] = Watch(request, owner)
        return watch

    def unwatch(self, identifier: str) -> None:
        """No more answers to the request with this id are wanted."""
        self._watches.pop(identifier, None)

    def pick(self, watch: Watch, taker: Hashable) -> Message | None:
        """The next answer, if there is one; what comes before it is set aside."""
        new, watch.looked = min(self._set_aside - watch.looked, len(self._aside)), self._set_aside
        found = [each for each in islice(reversed(self._aside), new) if watch.matches(each)]
        for message in reversed(found):
            self._aside.remove(message)
            watch.kept.append(message)
        while not watch.kept and self.ready:
            message = self.ready.popleft()
            if watch.matches(message):
                return message
            self._keep(message, taker)
            self._aside.append(message)
            self._set_aside += 1
            watch.looked += 1
        return watch.kept.popleft() if watch.kept else None

    def _keep(self, message: Message, taker: Hashable) -> None:
        watch = self._watches.get(message.ref.get("id", ""))
        if watch is None or not message.concerns(watch.request):
            return
        if watch.owner != taker:
            watch.kept.append(message)
        elif requests.is_last(watch.request.cmd, message.type, message.data):
            self.unwatch(watch.request.id)
