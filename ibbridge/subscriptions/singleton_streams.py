"""Subscriptions without a request id, of which a connection holds one each: positions, account updates, bulletins.

This module knows the clients of each subscription. Every client's command is sent to TWS, and the last client's cancel.
`resubscription` decides when to send again, and when a deadline has passed. Pure; raises `Refused`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from ibbridge.codec.messages import REQUESTS
from ibbridge.protocol.arguments import canonical
from ibbridge.protocol.errors import Refused
from ibbridge.requests.request_factory import place_of_all
from ibbridge.tws.sender import NOT_CONNECTED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ibbridge.codec.schema import Request
    from ibbridge.requests.deadlines import Deadlines
    from ibbridge.requests.notifications import RequestNotifications
    from ibbridge.requests.request import Asking, Route
    from ibbridge.requests.request_factory import Places
    from ibbridge.requests.tracker import RequestTracker
    from ibbridge.tws.send_queue import Waiting
    from ibbridge.tws.sender import Outgoing


@dataclass(slots=True, eq=False)
class Whole:
    """A subscription without a request id, with its clients and the arguments of each.

    `asks` counts the sends. `answered`: the first values have come completely since the last send. `messages` are the
    requests and cancels that may still be queued.
    """

    request: Request
    holders: dict[Asking, dict[str, Any]] = field(default_factory=dict)
    asks: int = 0
    answered: bool = False
    messages: list[Waiting] = field(default_factory=list)

    def wanted(self) -> list[tuple[Asking, dict[str, Any]]]:
        """Return the different arguments in use, each with one of the clients that use them."""
        return list({canonical(args): (asking, args) for asking, args in self.holders.items()}.values())


class Incomplete(NamedTuple):
    """Deadline by which the first values of a subscription must be complete, with its count of sends at that time."""

    whole: Whole
    asks: int


class Wholes:
    """Table of the subscriptions that carry no request id."""

    def __init__(
        self,
        outgoing: Outgoing,
        tracker: RequestTracker,
        notifications: RequestNotifications,
        places: Places,
        deadlines: Deadlines[object],
        *,
        stamp: Callable[[], int],
    ) -> None:
        self._outgoing = outgoing
        self._tracker = tracker
        self._notifications = notifications
        self._places = places
        self._stamp = stamp
        self._of: dict[str, Whole] = {}
        self._deadlines = deadlines

    # -- commands

    def ask(self, request: Request, args: dict[str, Any], asking: Asking) -> str:
        """Subscribe, or unsubscribe if the arguments say `subscribe: false`. Return the topic of the messages."""
        if args.get("subscribe", True):
            self._hold(self._whole(request), args, asking)
        else:
            self.release(request, args, asking)
        return self._notifications.named(*place_of_all(request, args))

    def _hold(self, whole: Whole, args: dict[str, Any], asking: Asking) -> None:
        """Subscribe a client. Raises `Refused` if another client has the updates of another account.

        TWS sends the updates of one account at a time, and one client must not take another client's updates away.
        """
        account = args.get("acctCode", "")
        for other, held in whole.holders.items():
            if held.get("acctCode", "") != account and other.client != asking.client:
                raise Refused(
                    "E_BUSY",
                    f"{other.client} has the updates of account {held.get('acctCode') or '(default)'}, and TWS "
                    "sends the updates of one account at a time",
                )
        self._send(whole, whole.request, args, asking.client)
        for holder, held in [*whole.holders.items()]:
            if held.get("acctCode", "") != account:  # TWS sends no more updates of that account
                del whole.holders[holder]
                self._tracker.given_up(whole.request, *place_of_all(whole.request, held))
        self._tracker.wanted(whole.request, *place_of_all(whole.request, args))
        whole.holders[asking] = args
        self._asked(whole)

    def release(self, request: Request, args: dict[str, Any], asking: Asking) -> bool:
        """Release the client's share, and cancel at TWS for the last client. Return False if the client has none."""
        whole = self._whole(REQUESTS[request.cancels or request.name])
        mine = [holder for holder in whole.holders if holder.client == asking.client]
        if not mine:
            return False
        if len(mine) == len(whole.holders) and self._outgoing.is_open:
            self._send(whole, request, args, asking.client)
        for holder in mine:
            del whole.holders[holder]
        if not whole.holders:
            self._tracker.given_up(whole.request, *place_of_all(whole.request, args))
        return True

    def _whole(self, request: Request) -> Whole:
        return self._of.setdefault(request.name, Whole(request))

    def _send(self, whole: Whole, request: Request, args: dict[str, Any], client: str = "") -> None:
        """Queue a request or a cancel in place of queued ones, so that the message sent last is the valid one."""
        waiting = [message for message in whole.messages if message.waits]
        last_word = [*waiting] if request.cancels or "subscribe" in args else ()
        whole.messages = [*waiting, self._outgoing.send(request, args, client=client, instead_of=last_word)]

    # -- asking again

    def wanted(self) -> list[tuple[Whole, dict[str, Any]]]:
        """Return the subscriptions and arguments to send on a new connection."""
        return [(whole, args) for whole in self._of.values() for _, args in whole.wanted()]

    def ask_again(self, whole: Whole, args: Mapping[str, Any]) -> None:
        """Send a subscription to TWS once more. Raises `Refused`."""
        self._send(whole, whole.request, self._outgoing.check(whole.request, dict(args)))
        self._asked(whole)

    def refused(self, whole: Whole, args: Mapping[str, Any]) -> list[Route]:
        """Return a request for each client with these arguments, to tell the client that TWS does not offer it."""
        return [self._places.route(whole.request, held, by) for by, held in whole.holders.items() if held == args]

    def gaps(self, reason: str, ts: int) -> None:
        """Publish `gap` on the streams of all subscriptions in the table."""
        for whole, args in self.wanted():
            self._notifications.gap_of_all(whole.request, place_of_all(whole.request, args), reason, ts)

    def tell_holders(self, name: str, code: int, why: str) -> None:
        """Publish an error to the clients of the subscriptions that messages of this type belong to."""
        for whole in self._of.values():
            for asking, args in whole.holders.items() if name in whole.request.answers else ():
                self._notifications.tell(self._places.route(whole.request, args, asking), code, why, self._stamp())

    # -- deadlines

    def _asked(self, whole: Whole) -> None:
        whole.asks, whole.answered = whole.asks + 1, False
        if whole.request.deadline:
            self._deadlines.add(Incomplete(whole, whole.asks), whole.request.deadline)

    def complete(self, name: str) -> None:
        """Note that TWS has said all that a subscription has to say at first, if this type of message ends that."""
        for whole in self._of.values():
            if name in whole.request.ends:
                whole.answered = True

    def expire(self, due: Incomplete, *, able: bool) -> None:
        """Tell the clients of a subscription whose first values are not complete in time.

        While TWS is not `able` to send them, the deadline starts anew.
        """
        whole = due.whole
        if whole.asks != due.asks or whole.answered or not whole.holders:
            return
        seconds = whole.request.deadline or 0.0
        if not able:
            self._deadlines.add(due, seconds)
            return
        why = f"TWS has not sent all first values within {seconds:g} s; later values are published as they come"
        for asking, args in whole.holders.items():
            self._notifications.tell(self._places.route(whole.request, args, asking), NOT_CONNECTED, why, self._stamp())
