"""Lists of positions: a position that TWS no longer lists is published as 0, and leaves the state.

TWS answers each request for positions with a list and an end, and then sends changes. TWS does not list a position that
was closed while nobody was told of it. So after the end each value without a row since the request left is a closed
position. TWS names no request in an end, and answers requests in their order: an end belongs to the oldest request. A
row may then count for a list too early, and never too late.

Pure. This module knows requests and streams. It must not know bytes or sockets.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, NamedTuple

from ibbridge.codec.messages import OUTBOUND

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping, Sequence

    from ibbridge.requests.tracker import RequestTracker
    from ibbridge.streams.publisher import Publisher
    from ibbridge.streams.sequencer import Channel
    from ibbridge.tws.ib_servers import IbServers
    from ibbridge.tws.outbound import OutboundMessage
    from ibbridge.tws.sender import RequestSender

log = logging.getLogger(__name__)

CLOSED: Mapping[str, Mapping[str, Any]] = {
    "position": {"position": 0.0, "avgCost": 0.0},
    "updatePortfolio": {
        "position": 0.0,
        "marketPrice": None,
        "marketValue": 0.0,
        "averageCost": 0.0,
        "unrealizedPNL": 0.0,
        "realizedPNL": None,
    },
    "positionMulti": {"pos": 0.0, "avgCost": 0.0},
}
"""Fields of a closed position by type of message, the quantity first. The price and the profit are not known."""

_ROWS: Mapping[str, str] = {request.ends[0]: name for request in OUTBOUND for name in request.answers if name in CLOSED}
"""Types of the rows of a list, by the type of message that ends the list."""

MOST_BEGUN = 10_000
"""Most lists without an end. TWS does not answer if there are more, and its ends say nothing any more."""


class BegunList(NamedTuple):
    """List that was requested: the type of its rows, its account ("": not known), and the last offset before it.

    `sure`: TWS was connected to IB's servers when the request left.
    """

    row: str
    account: str
    since: int
    sure: bool


class Missing(NamedTuple):
    """Value that TWS has not listed: its channel, identity and data."""

    channel: Channel
    identity: Hashable
    data: dict[str, Any]


class PositionLists:
    """Lists of positions on the present connection, and the positions that are missing from them."""

    def __init__(
        self, publisher: Publisher, tracker: RequestTracker, sender: RequestSender, servers: IbServers
    ) -> None:
        self._publisher = publisher
        self._tracker = tracker
        self._sender = sender
        self._servers = servers
        self._begun: list[BegunList] = []
        self._counted = True  # the ends can be told apart
        self._unread: dict[str, int] = {}  # the offset at the last unreadable row, by type
        self._completed: dict[str, int] = {}  # lists on this connection whose end came, by type of row

    def completed(self, row: str) -> int:
        """Return how many whole lists of rows of a type TWS has sent on this connection."""
        return self._completed.get(row, 0)

    def clear(self) -> None:
        """Forget the lists of a lost connection: they will not be completed."""
        self._begun.clear()
        self._unread.clear()
        self._completed.clear()
        self._counted = True

    def on_send(self, message: OutboundMessage) -> bool:
        """Note the list that begins with a message that leaves now; cancels and other requests begin none."""
        if self._counted and not message.request.cancels and message.args.get("subscribe", True):
            rows = CLOSED.keys() & frozenset(message.request.answers)
            account = message.args.get("acctCode", "")
            self._begun += [BegunList(row, account, self._publisher.offset, self._servers.up) for row in rows]
        if len(self._begun) > MOST_BEGUN:
            self._counted = False
            self._begun.clear()
        return True

    def unreadable(self, name: str | None) -> None:
        """Note a message that cannot be read: each list under way that may have it as a row is not known completely.

        Without a `name` the message may be a row of any list.
        """
        for row in CLOSED if name is None else CLOSED.keys() & {name}:
            self._unread[row] = self._publisher.offset

    def end(self, name: str, data: Mapping[str, Any], ts: int) -> None:
        """Publish the closed positions after a message that ends a list. Other messages do nothing."""
        row = _ROWS.get(name)
        if row is None:
            return
        if "reqId" in data:
            active = self._tracker.under_way(data["reqId"])
            if active is not None:
                missing = self._missing([each for each in active.channels if each.kind == row], active.since)
                self._close(BegunList(row, "", active.since, sure=True), missing, {"reqId": active.req_id}, ts)
            return
        account = data.get("accountName", "")
        begun = next((each for each in self._begun if each.row == row and each.account in ("", account)), None)
        if begun is not None:
            self._begun.remove(begun)
            channels = self._channels(row, account, whole="accountName" not in data)
            self._close(begun, self._missing(channels, begun.since), {}, ts)

    def _missing(self, channels: Iterable[Channel], since: int) -> list[Missing]:
        """Return the values of channels without a row since an offset."""
        return [Missing(channel, *value) for channel in channels for value in self._publisher.older(channel, since)]

    def _channels(self, row: str, account: str, *, whole: bool) -> Iterable[Channel]:
        """Return the channels with the values that a list covers: those of one account, or of all that TWS manages.

        Another login of TWS may manage other accounts, and says nothing of the positions in the earlier ones.
        """
        if not whole and not account:
            return
        managed = self._sender.accounts
        held = self._publisher.holding(("acct",) if whole else ("acct", account), frozenset((row,)))
        for components, channels in held.items():
            if not whole or not managed or components[1] in managed:
                yield from channels

    def _close(self, begun: BegunList, missing: Sequence[Missing], own: Mapping[str, Any], ts: int) -> None:
        """Publish values that are missing from a list as closed positions, with the fields `own`, and drop them."""
        why = self._doubt(begun)
        if not why:
            self._completed[begun.row] = self.completed(begun.row) + 1
        elif missing:
            log.warning(
                "%s: TWS has not listed %d of the positions, %s; they stay as they were", begun.row, len(missing), why
            )
            return
        closed = CLOSED[begun.row]
        quantity = next(iter(closed))
        for channel, identity, data in missing:
            if data[quantity] == 0:
                self._publisher.drop(channel, identity)
            else:
                self._publisher.publish_end(channel, identity, {**data, **closed, **own}, ts)

    def _doubt(self, begun: BegunList) -> str:
        """Return why a list that has ended may lack an open position; empty if the list is complete."""
        if self._unread.get(begun.row, -1) >= begun.since:
            return "which may be in a row that cannot be read"
        if not (begun.sure and self._servers.up):
            return "which it may not know without IB's servers"
        return ""
