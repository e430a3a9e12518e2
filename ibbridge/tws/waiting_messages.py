"""The messages that wait to be sent to TWS: how many of each client and connection there are, and how many may wait.

Pure. The module must not know in which order the messages leave.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from operator import itemgetter
from typing import TYPE_CHECKING, TypeVar

from ibbridge.codec.schema import Pace

if TYPE_CHECKING:
    from ibbridge.tws.outbound import OutboundMessage

PLACE = 2048
"""Bytes of a message per place in the queue: a shorter message takes one place, each full `PLACE` takes one more."""

K = TypeVar("K")


class WaitingMessages:
    """Messages that wait. `share` of one client and pace may wait, and in `most` places those of all clients.

    The daemon's own messages, whose client is "", may wait in any number.
    """

    def __init__(self, share: int, most: int) -> None:
        self._share = share
        self._load = _Load(most)
        self._all: OrderedDict[OutboundMessage, None] = OrderedDict()
        self._shares: dict[tuple[str, Pace], OrderedDict[OutboundMessage, None]] = {}
        self._of_pace = dict.fromkeys(Pace, 0)
        self._of_client: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._all)

    def refusal(self, message: OutboundMessage) -> str:
        """Return why there is no room for a message; empty if there is."""
        client, pace = message.client, message.request.pace
        if client and len(self._shares.get((client, pace), ())) >= self._share:
            return (
                f"{self._share} messages of {client} (pace {pace.name.lower()}) wait for their turn to be sent, no "
                "more may wait: TWS takes a limited number a second, and of some requests fewer"
            )
        if client and not self._load.takes(message):
            return (
                f"{len(self)} messages of all clients wait for their turn to be sent, and {client} or its connection "
                "has its share of them: no more may wait; TWS takes a limited number a second"
            )
        return ""

    def add(self, message: OutboundMessage) -> None:
        """Add a message."""
        self._all[message] = None
        self._shares.setdefault((message.client, message.request.pace), OrderedDict())[message] = None
        self._tally(message, 1)

    def remove(self, message: OutboundMessage) -> None:
        """Remove a message that leaves or is withdrawn."""
        del self._all[message]
        self._tally(message, -1)
        mine = (message.client, message.request.pace)
        share = self._shares[mine]
        del share[message]
        if not share:
            del self._shares[mine]

    def clear(self) -> list[OutboundMessage]:
        """Remove all messages, and return them in order of arrival."""
        found = list(self._all)
        for message in found:
            self.remove(message)
        return found

    def _tally(self, message: OutboundMessage, sign: int) -> None:
        """Count a message by pace and by client, or with a `sign` of -1 undo that."""
        self._of_pace[message.request.pace] += sign
        _count(self._of_client, message.client, sign)
        if message.client:
            self._load.add(message, sign)

    def oldest(self) -> OutboundMessage | None:
        """Return the oldest message of all; None if none waits."""
        return next(iter(self._all), None)

    def first(self, client: str, pace: Pace) -> OutboundMessage | None:
        """Return the oldest message of a client and pace; None if none waits."""
        return next(iter(self._shares.get((client, pace), ())), None)

    def of_pace(self, pace: Pace) -> list[OutboundMessage]:
        """Return the messages of a pace, those of each client in order."""
        return [message for (_, other), share in self._shares.items() if other is pace for message in share]

    def count(self, pace: Pace) -> int:
        """Return the number of messages of a pace."""
        return self._of_pace[pace]

    def largest(self, most: int) -> dict[str, int]:
        """Return the clients with the most messages, at most `most` of them, and the number of messages of each."""
        return dict(heapq.nlargest(most, self._of_client.items(), key=itemgetter(1)))


class _Load:
    """Places that messages of clients take among `most`: in total, by connection and by client."""

    def __init__(self, most: int) -> None:
        self.total = 0
        self.of_peers: dict[bytes, int] = {}
        self.of_clients: dict[str, int] = {}
        self._most = most

    def add(self, message: OutboundMessage, sign: int = 1) -> None:
        """Add the places of a message, or subtract them with a `sign` of -1."""
        places = sign * _places(message)
        self.total += places
        _count(self.of_peers, message.peer, places)
        _count(self.of_clients, message.client, places)

    def takes(self, message: OutboundMessage) -> bool:
        """Return True if there are places for a message.

        The first half of the places is open to all. The third quarter is for clients or connections that hold less than
        an equal share of the first half, and the last quarter only for connections that do.
        """
        total, half = self.total + _places(message), self._most // 2
        if total <= half:
            return True
        if _modest(self.of_peers, message.peer, half):
            return total <= self._most
        return total <= self._most * 3 // 4 and _modest(self.of_clients, message.client, half)


def _places(message: OutboundMessage) -> int:
    return 1 + len(message.data) // PLACE


def _count(counts: dict[K, int], key: K, more: int) -> None:
    counts[key] = counts.get(key, 0) + more
    if not counts[key]:
        del counts[key]


def _modest(counts: dict[K, int], key: K, most: int) -> bool:
    """Return True if `key` holds less than an equal share of `most`, divided by all keys in `counts` and this one."""
    return counts.get(key, 0) < most // (len(counts) + (key not in counts))
