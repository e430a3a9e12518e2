"""Registry of subscriptions: the request, the clients and the liveness of each subscription at TWS.

The registry outlives connections: every subscription in it is requested again on each new connection. Pure. This module
knows requests and declarations. It must not know how a request is sent (`issuer`, `reissue_queue`), the messages that
are published, or a clock: callers supply the times.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ibbridge.protocol.arguments import canonical
from ibbridge.protocol.instrument_key import instrument_key, tape
from ibbridge.protocol.topics import GAP
from ibbridge.requests.request import RequestListener
from ibbridge.subscriptions.state import TRANSITIONS, SubscriptionEvent, SubscriptionState
from ibbridge.tws.connection_listener import ConnectionListener

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ibbridge.codec.schema import Request
    from ibbridge.requests.request import ActiveRequest
    from ibbridge.subscriptions.leases import LeaseTable
    from ibbridge.subscriptions.lines import Lines

MOST_REMEMBERED = 5_000
"""Topics whose late request ids are remembered."""


@dataclass(slots=True, eq=False)
class Subscription:
    """A subscription with a request id, and its liveness. The holders of its `active` are its clients.

    Times are in seconds of a clock that only goes forward.

    - `seq`: the sequence number of its stream when that was looked at last.
    - `heard`: the time of the look that last found a new sequence number; None before data on this connection.
    - `every`: the average seconds between its messages while data flows.
    - `asked`: the time of the first look after the request was sent. `tries`: the re-subscriptions because of silence.
    - `state`: its liveness. `stale`: True from a `gap` until data comes.
    - `instrument`: the instrument whose open market makes data expected; empty if silence is normal.
    - `sharing`: the request and its arguments. Clients with the same topic and `sharing` share the subscription.
    - `spoke`: data has come on this or an earlier connection, so that silence means more.
    - `elsewhere`: later data has another topic than the first responses, such as bars that are kept up to date.
    """

    active: ActiveRequest
    topic: str
    seq: int = 0
    instrument: str = ""
    sharing: str = ""
    heard: float | None = None
    every: float | None = None
    asked: float | None = None
    tries: int = 0
    stale: bool = False
    spoke: bool = False
    elsewhere: bool = False
    state: SubscriptionState = SubscriptionState.REQUESTED

    def step(self, event: SubscriptionEvent) -> None:
        """Change the state as the table says."""
        self.state = TRANSITIONS.get((self.state, event), self.state)

    def died(self, event: SubscriptionEvent, seq: int) -> None:
        """Note that TWS has said that the subscription is dead, with the stream at `seq`."""
        self.step(event)
        self.seq, self.heard, self.asked = seq, None, None

    def renewed(self, seq: int) -> None:
        """Reset the state of this connection after a new request, with the stream at `seq`; keep the experience."""
        self.step(SubscriptionEvent.SENT)
        self.seq, self.heard, self.asked = seq, None, None


class SubscriptionRegistry(ConnectionListener, RequestListener):
    """Registry of subscriptions. It forgets a subscription as soon as its request ends."""

    def __init__(self, lines: Lines, leases: LeaseTable) -> None:
        self.lines = lines
        """The lines in use at TWS."""
        self.leases = leases
        """Since when each client holds what it holds."""
        self.changes = 0
        """Number that rises with each subscription that begins or ends."""
        self._shared: dict[tuple[str, str], Subscription] = {}
        self._of: dict[ActiveRequest, Subscription] = {}
        self._on: dict[str, list[Subscription]] = {}
        self._late: OrderedDict[str, list[int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._shared)

    def add(self, active: ActiveRequest, topic: str, args: Any, seq: int, *, waits: bool = False) -> None:
        """Add a subscription that has been requested, or that `waits` for a line.

        `args` are the arguments without request id, which all clients of the subscription have in common. `seq` is the
        current sequence number of its stream.
        """
        elsewhere = active.place(GAP) != active.place("")
        sharing = _sharing(active.request, args)
        subscription = Subscription(active, topic, seq, _market(active), sharing, elsewhere=elsewhere)
        if waits:
            subscription.state = SubscriptionState.WAITING
        if former := self._shared.get((topic, subscription.sharing)):
            self._drop(former)
        self._shared[topic, subscription.sharing] = subscription
        self._index(subscription)

    def _index(self, subscription: Subscription) -> None:
        self.changes += 1
        self._of[subscription.active] = subscription
        self._on.setdefault(subscription.topic, []).append(subscription)

    def _drop(self, subscription: Subscription) -> None:
        self.changes += 1
        del self._shared[subscription.topic, subscription.sharing], self._of[subscription.active]
        there = self._on[subscription.topic]
        there.remove(subscription)
        if not there:
            del self._on[subscription.topic]

    def shared(self, request: Request, topic: str, args: Any) -> ActiveRequest | None:
        """Return the subscription for this request on that topic with these arguments, if there is one."""
        found = self._shared.get((topic, _sharing(request, args)))
        return None if found is None or found.active.ended else found.active

    def on_topic(self, topic: str) -> Iterator[Subscription]:
        """Yield the subscriptions on that topic, whatever their arguments."""
        there = self._on.get(topic, ())
        yield from (subscription for subscription in there if not subscription.active.ended)

    def is_alone(self, subscription: Subscription) -> bool:
        """Return True if no other subscription has messages on its topic."""
        return not subscription.elsewhere and len(self._on.get(subscription.topic, ())) == 1

    def find(self, active: ActiveRequest) -> Subscription | None:
        """Return the subscription of this request, if there is one."""
        return self._of.get(active)

    def all(self) -> list[Subscription]:
        """Return all subscriptions, also those that wait for a line or have lost their last client."""
        return [subscription for subscription in self._shared.values() if not subscription.active.ended]

    def live(self) -> list[Subscription]:
        """Return all subscriptions that have a client, and that do not wait for a line."""
        return [
            subscription
            for subscription in self.all()
            if subscription.active.subscribers and subscription.state is not SubscriptionState.WAITING
        ]

    def waiting(self) -> list[Subscription]:
        """Return the subscriptions that wait for a line, the oldest first."""
        return [subscription for subscription in self.all() if subscription.state is SubscriptionState.WAITING]

    def contracts(self) -> Iterable[Mapping[str, Any]]:
        """Return the contracts whose market data clients have subscribed to, as they spell them."""
        wanted = (subscription.active for subscription in self._shared.values())
        return [active.args["contract"] for active in wanted if active.request.name == "reqMktData"]

    def ended(self, active: ActiveRequest) -> None:
        """Forget the subscription of a request that is over, and remember its request id as late.

        No client cancels a subscription that TWS has refused. TWS may still send messages with the request id, which
        must not reach the next subscriber of the topic.
        """
        if (left := self._of.get(active)) is None:
            return
        self._drop(left)
        self._late.setdefault(left.topic, []).append(active.req_id)
        if len(self._late) > MOST_REMEMBERED:
            self._late.popitem(last=False)

    def retired_ids(self, topic: str) -> list[int]:
        """Remove and return the late request ids of a topic."""
        return self._late.pop(topic, [])

    def connection_started(self) -> None:
        """Forget the late request ids of the old connection, and what TWS said of its lines."""
        self._late.clear()
        self.lines.uncorrect()


def _sharing(request: Request, args: Any) -> str:
    """Return the text that is the same for all clients that share a subscription on a topic: request and arguments."""
    return f"{request.name} {canonical(args)}"


def _market(active: ActiveRequest) -> str:
    """Return the instrument whose trading hours a subscription follows; empty if none, as for a news feed."""
    contract = active.args.get("contract")
    return instrument_key(contract) if active.request.flows and contract and tape(contract) is None else ""
