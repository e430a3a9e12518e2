"""Subscriptions without a request id, of which a connection holds one each: positions, account updates, bulletins.

This module knows the clients of each subscription. Every client's command is sent to TWS, and the last client's cancel.
`reissue_queue` has them sent again. Pure; raises `CommandRefused`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ibbridge.ib.notices import NOT_CONNECTED
from ibbridge.protocol.answer_topics import topic_of_all
from ibbridge.protocol.errors import CommandRefused
from ibbridge.subscriptions.singleton_stream import FirstValues, Incomplete, SingletonStream
from ibbridge.tws.connection_listener import ConnectionListener

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ibbridge.codec.schema import Request
    from ibbridge.requests.notifications import RequestNotifications
    from ibbridge.requests.request import ActiveRequest, CommandId
    from ibbridge.requests.request_factory import RequestFactory
    from ibbridge.subscriptions.position_lists import PositionLists
    from ibbridge.tws.ib_servers import IbServers
    from ibbridge.tws.sender import RequestSender


class SingletonStreams(ConnectionListener):
    """Table of the subscriptions that carry no request id."""

    def __init__(
        self,
        sender: RequestSender,
        notifications: RequestNotifications,
        request_factory: RequestFactory,
        servers: IbServers,
        lists: PositionLists,
    ) -> None:
        self._sender = sender
        self._notifications = notifications
        self._request_factory = request_factory
        self._servers = servers
        self.lists = lists
        """The lists with which TWS answers requests for positions."""
        self._of: dict[str, SingletonStream] = {}
        self._deadlines = FirstValues()
        self._unwanted: set[tuple[str, tuple[str, ...]]] = set()  # types of message given up, of an account or of all

    # -- commands

    def ask(self, request: Request, args: dict[str, Any], command_id: CommandId) -> str:
        """Subscribe, or unsubscribe if the arguments say `subscribe: false`. Return the topic of the messages."""
        if args.get("subscribe", True):
            self._hold(self._whole(request), args, command_id)
        else:
            self.release(request, args, command_id)
        return self._notifications.named(*topic_of_all(request, args))

    def _hold(self, singleton: SingletonStream, args: dict[str, Any], command_id: CommandId) -> None:
        """Subscribe a client. Raises `CommandRefused` if another client has the updates of another account.

        TWS sends the updates of one account at a time, and one client must not take another client's updates away.
        """
        account = args.get("acctCode", "")
        for other, held in singleton.subscribers.items():
            if held.get("acctCode", "") != account and other.client != command_id.client:
                raise CommandRefused(
                    "E_BUSY",
                    f"{other.client} has the updates of account {held.get('acctCode') or '(default)'}, and TWS "
                    "sends the updates of one account at a time",
                )
        self._send(singleton, singleton.request, args, command_id.client)
        for holder, held in [*singleton.subscribers.items()]:
            if held.get("acctCode", "") != account:  # TWS sends no more updates of that account
                del singleton.subscribers[holder]
                self._give_up(singleton.request, *topic_of_all(singleton.request, held))
        self._want(singleton.request, *topic_of_all(singleton.request, args))
        singleton.subscribers[command_id] = args
        self._asked(singleton)

    def release(self, request: Request, args: dict[str, Any], command_id: CommandId) -> bool:
        """Release the client's share, and cancel at TWS for the last client. Return False if the client has none."""
        singleton = self._of.get(request.cancels or request.name)
        mine = [holder for holder in singleton.subscribers if holder.client == command_id.client] if singleton else []
        if singleton is None or not mine:
            return False
        if len(mine) == len(singleton.subscribers) and self._sender.is_open:
            self._send(singleton, request, args, command_id.client)
        for holder in mine:
            del singleton.subscribers[holder]
        if not singleton.subscribers:
            self._give_up(singleton.request, *topic_of_all(singleton.request, args))
        return True

    def shares(self) -> list[tuple[CommandId, Request, str]]:
        """Return the share of each client, with the topic of the messages."""
        return [
            (command_id, singleton.request, self._notifications.named(*topic_of_all(singleton.request, args)))
            for singleton in self._of.values()
            for command_id, args in singleton.clients
        ]

    def give_up(self, request: Request, command_id: CommandId) -> None:
        """Take a client's share away, and cancel at TWS for the last client. Raises `CommandRefused`."""
        singleton = self._of[request.name]
        args = singleton.subscribers[command_id]
        if len(singleton.subscribers) == 1 and self._sender.is_open:
            self._send(singleton, *singleton.ending(args))
        del singleton.subscribers[command_id]
        if not singleton.subscribers:
            self._give_up(request, *topic_of_all(request, args))

    def completed(self, row: str) -> int:
        """Return how many whole lists of rows of a type TWS has sent on this connection."""
        return self.lists.completed(row)

    # -- state

    def _give_up(self, request: Request, *place: str) -> None:
        """Forget the state under `place` of a subscription whose last client has left."""
        self._unwanted |= {(kind, place[1:]) for kind in request.answers}
        self._notifications.forget_types(place, frozenset(request.answers))

    def _want(self, request: Request, *place: str) -> None:
        """Keep the messages of a subscription as state again: a client holds the subscription."""
        whole: tuple[str, ...] = ()
        self._unwanted = {
            (kind, of)
            for kind, of in self._unwanted
            if kind not in request.answers or (of not in (whole, place[1:]) and place[1:] != whole)
        }

    def is_unwanted(self, name: str, account: str) -> bool:
        """Return True if nobody holds the subscription that this type of message belongs to."""
        return not self._unwanted.isdisjoint({(name, ()), (name, (account,))})

    def _whole(self, request: Request) -> SingletonStream:
        return self._of.setdefault(request.name, SingletonStream(request))

    def _send(self, singleton: SingletonStream, request: Request, args: dict[str, Any], client: str = "") -> None:
        """Queue a request or a cancel in place of queued ones, so that the message sent last is the valid one."""
        waiting = [message for message in singleton.messages if message.waits]
        last_word = [*waiting] if request.cancels or "subscribe" in args else ()
        on_send = self.lists.on_send
        message = self._sender.message(request, args, client=client, on_send=on_send, instead_of=last_word)
        singleton.messages = [*waiting, self._sender.send(message)]

    # -- asking again

    def wanted(self) -> list[tuple[SingletonStream, dict[str, Any]]]:
        """Return the subscriptions and arguments to send on a new connection."""
        return [(singleton, args) for singleton in self._of.values() for _, args in singleton.wanted()]

    def to_reissue(self) -> list[tuple[SingletonStream, dict[str, Any]]]:
        """Return the subscriptions and arguments that clients want, to be sent again. Their deadlines wait for that.

        The daemon's own part asks again by itself.
        """
        for singleton in self._of.values():
            singleton.queued = bool(singleton.clients)
        return [(singleton, args) for singleton, args in self.wanted() if singleton.queued]

    def connection_lost(self) -> None:
        """Note that nothing will be sent before the next connection, and that no list will be completed."""
        self.lists.clear()
        for singleton in self._of.values():
            singleton.queued = False

    def reissue(self, singleton: SingletonStream, args: Mapping[str, Any]) -> None:
        """Send a subscription to TWS once more. Raises `CommandRefused`."""
        self._send(singleton, singleton.request, self._sender.check(singleton.request, dict(args)))
        self._asked(singleton)

    def refused(self, singleton: SingletonStream, args: Mapping[str, Any]) -> list[ActiveRequest]:
        """Return a request for each client with these arguments, to tell the client that TWS does not offer it."""
        return [
            self._request_factory.make(singleton.request, held, by)
            for by, held in singleton.subscribers.items()
            if held == args
        ]

    def gaps(self, reason: str, ts: int) -> None:
        """Publish `gap` on the streams of all subscriptions in the table."""
        for singleton, args in self.wanted():
            self._notifications.gap_of_all(singleton.request, topic_of_all(singleton.request, args), reason, ts)

    def notify_subscribers(self, name: str, code: int, why: str) -> None:
        """Publish an error to the clients of the subscriptions that messages of this type belong to."""
        for singleton in self._of.values():
            for command_id, args in singleton.clients if name in singleton.request.answers else ():
                self._notifications.notify_error(
                    self._request_factory.make(singleton.request, args, command_id), code, why
                )

    # -- deadlines

    def _asked(self, singleton: SingletonStream) -> None:
        singleton.attempts, singleton.answered, singleton.queued = singleton.attempts + 1, False, False
        if singleton.request.deadline:
            self._deadlines.add(Incomplete(singleton, singleton.attempts), singleton.request.deadline)

    def complete(self, name: str) -> None:
        """Note that TWS has said all that a subscription has to say at first, if this type of message ends that."""
        for singleton in self._of.values():
            if name in singleton.request.ends:
                singleton.answered = True

    def tick(self, now: float) -> None:
        """Tell the clients of subscriptions whose first values are not complete in time."""
        for due in self._deadlines.due(now):
            self._expire(due)

    def _expire(self, due: Incomplete) -> None:
        """Tell the clients of a subscription. While TWS is not able to send the values, the deadline starts anew."""
        singleton = due.singleton
        if singleton.attempts != due.attempts or singleton.answered or not singleton.subscribers:
            return
        seconds = singleton.request.deadline or 0.0
        if singleton.queued or not self._servers.up or not self._sender.is_open:
            self._deadlines.add(due, seconds)
            return
        why = f"TWS has not sent all first values within {seconds:g} s; later values are published as they come"
        for command_id, args in singleton.clients:
            self._notifications.notify_error(
                self._request_factory.make(singleton.request, args, command_id), NOT_CONNECTED, why
            )
