"""A fair queue: peers (connections) take turns, and within a peer its clients do, so client names of one peer share it.

A newcomer goes before flows that have had a turn, so that a single order never stands behind the backlog of others.
After `NEWCOMERS` newcomers in a row an old flow has its turn, so that endless newcomers hold nobody up. Pure. The queue
reads only `client` and `peer` of a message, and sets its `queue`.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

NEWCOMERS = 4
"""Newcomers that go in a row before a flow that has had a turn."""


class Queued(Protocol):
    """A message that can wait in a `FairQueue`."""

    client: str
    peer: bytes
    queue: Any


F = TypeVar("F")
M = TypeVar("M", bound=Queued)


class _Round(Generic[F]):
    """Round robin over flows: newcomers in order of arrival, and in between flows that have had their turn.

    An empty flow keeps its place until the round comes to it. If the round forgot the flow at once, the next message
    would make the flow a newcomer again, and the flow would overtake the others each time.
    """

    def __init__(self, make: Callable[[], F]) -> None:
        self._make = make
        self._new: OrderedDict[Hashable, F] = OrderedDict()
        self._old: OrderedDict[Hashable, F] = OrderedDict()
        self._newcomers = 0  # that have gone in a row

    def flow(self, key: Hashable) -> F:
        """Return the flow of a key; make one, a newcomer, if there is none."""
        found = self._old.get(key)
        if found is None and (found := self._new.get(key)) is None:
            found = self._new[key] = self._make()
        return found

    def head(self) -> F | None:
        """Return the first flow that has messages; forget the empty flows before this one."""
        both = (self._old, self._new) if self._newcomers >= NEWCOMERS else (self._new, self._old)
        for flows in both:
            while flows:
                key, flow = next(iter(flows.items()))
                if flow:
                    return flow
                del flows[key]
        return None

    def served(self, key: Hashable) -> None:
        """Put the flow of a key, which has had its turn, behind all others."""
        new = self._new.pop(key, None)
        if new is not None:
            self._old[key] = new
        elif key in self._old:
            self._old.move_to_end(key)
        self._newcomers = 0 if new is None else self._newcomers + 1

    def order(self) -> Iterator[tuple[Hashable, F]]:
        """Iterate over the flows as if all newcomers had their turn first."""
        yield from self._new.items()
        yield from self._old.items()

    def clear(self) -> None:
        """Forget all flows. With no message waiting, none can be overtaken."""
        self._new.clear()
        self._old.clear()

    def __len__(self) -> int:
        return len(self._new) + len(self._old)


class _Peer(Generic[M]):
    """Messages of one peer, `size` in number; its clients take turns."""

    def __init__(self) -> None:
        self.size = 0
        self.clients: _Round[OrderedDict[M, None]] = _Round(OrderedDict)

    def __bool__(self) -> bool:
        return self.size > 0


class FairQueue(Generic[M]):
    """Fair queue of messages: peers take turns, the clients of a peer take turns, a client's messages keep their order.

    While messages of a client wait, new messages of that client join them, even if they come over another peer: an
    order must not overtake its parent order because its client has reconnected.
    """

    def __init__(self) -> None:
        self._peers: _Round[_Peer[M]] = _Round(_Peer)
        self._size = 0
        self._by: dict[str, bytes] = {}  # the peer in whose turn a client waits

    def __bool__(self) -> bool:
        return self._size > 0

    def __len__(self) -> int:
        return self._size

    def add(self, message: M, *, first: bool = False) -> None:
        """Put a message behind those of its client; with `first`, for a message that comes back, before them."""
        peer = self._peers.flow(self._by.setdefault(message.client, message.peer))
        messages = peer.clients.flow(message.client)
        messages[message] = None
        if first:
            messages.move_to_end(message, last=False)
        peer.size += 1
        self._size += 1
        message.queue = self

    def head(self) -> M | None:
        """Return the message whose turn it is."""
        peer = self._peers.head()
        messages = peer.clients.head() if peer else None
        return next(iter(messages)) if messages else None

    def heads(self) -> Iterator[M]:
        """Iterate over the first message of each client, about in the order of their turns."""
        for _, peer in self._peers.order():
            for _, messages in peer.clients.order():
                if messages:
                    yield next(iter(messages))

    def remove(self, message: M) -> None:
        """Take a message out of the queue, whether or not its turn has come."""
        peer = self._peers.flow(self._by[message.client])
        messages = peer.clients.flow(message.client)
        del messages[message]
        peer.size -= 1
        self._size -= 1
        message.queue = None
        if not messages:
            del self._by[message.client]
        if not peer:
            peer.clients.clear()
        if not self._size:
            self._peers.clear()

    def served(self, message: M) -> None:
        """Put the client of a message that is about to leave, and the client's peer, behind the others."""
        key = self._by[message.client]
        self._peers.flow(key).clients.served(message.client)
        self._peers.served(key)

    def turns(self, client: str) -> int:
        """Return at most how many messages of other clients have their turn before the next one of this client."""
        mine = self._by.get(client)
        if mine is None:  # a newcomer to one of the peers, or to all
            return min(self._size, len(self._peers))
        clients = self._peers.flow(mine).clients
        return min(self._size - len(clients.flow(client)), len(self._peers) * len(clients) - 1)
