"""IB's requests as commands: permissions, sharing of subscriptions, command ids, and cancels.

Every request that the codec declares is a command under IB's own name, without its `reqId` or `orderId`: the daemon
assigns both. `placement` handles orders, `singleton_streams` handles subscriptions without a request id, and
`resubscription` looks after a subscription once it has been requested. A command that is not executed raises
`CommandRefused`. Pure: the caller supplies the link that sends.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from ibbridge.codec.messages import MESSAGES, OUTBOUND, REQUESTS
from ibbridge.codec.schema import Kind, Request
from ibbridge.config.model import RESTRICTED
from ibbridge.inbound.unreadable import Unreadable
from ibbridge.orders.order import Order
from ibbridge.orders.placement import OrderPlacement
from ibbridge.protocol import arguments
from ibbridge.protocol.arguments import DAEMON_ONLY, WHAT_IF
from ibbridge.protocol.errors import CommandRefused
from ibbridge.requests.deadlines import Deadlines
from ibbridge.requests.delays import HeldRequests
from ibbridge.requests.issuer import RequestIssuer
from ibbridge.requests.request import ActiveRequest, CommandId
from ibbridge.requests.request_factory import RequestFactory
from ibbridge.subscriptions.registry import SubscriptionRegistry
from ibbridge.subscriptions.resubscription import Resubscriber
from ibbridge.subscriptions.singleton_streams import SingletonStreams
from ibbridge.tws.sender import RequestSender

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ibbridge.codec.schema import Path
    from ibbridge.inbound.routing import Routing
    from ibbridge.orders.registry import OrderRegistry
    from ibbridge.risk.halt import Halt
    from ibbridge.tws.outbound import OutboundMessage
    from ibbridge.tws.sender import SendPort


class IbRequests:
    """Executor of commands that are requests of IB's.

    `halt`, `fault` and `window` say when no order is accepted: see `OrderPlacement`.
    """

    def __init__(
        self,
        send_port: SendPort,
        routing: Routing,
        orders: OrderRegistry,
        *,
        allowed: Iterable[str],
        names: Mapping[str, str],
        halt: Halt,
        fault: Callable[[], str] = lambda: "",
        window: Callable[[], float] = lambda: 0.0,
        clock: Callable[[], int] = lambda: 0,
        silent_after: float = 180.0,
        resubscribe_per_minute: int = 6,
        unknown_words: str = "refuse",
    ) -> None:
        self.sender = RequestSender(send_port, listed=unknown_words == "refuse")
        self._tracker = tracker = routing.tracker
        notifications = routing.notifications
        self._allowed = frozenset(allowed)
        self._request_factory = RequestFactory(notifications, names)
        self._placement = OrderPlacement(
            self.sender,
            orders,
            notifications,
            routing.order_notifications,
            halt=halt,
            fault=fault,
            window=window,
            clock=clock,
        )
        deadlines: Deadlines[object] = Deadlines()  # one for all parts, so that deadlines pass in the order of time
        self._issuer = RequestIssuer(self.sender, tracker, deadlines)
        self._subscriptions = SubscriptionRegistry()
        tracker.over = self._over
        self._held_requests = HeldRequests(self.sender, notifications, clock)
        self._singletons = SingletonStreams(
            self.sender, tracker, notifications, self._request_factory, deadlines, stamp=clock
        )
        routing.router.complete = self._singletons.complete
        self.unreadable = Unreadable(routing, orders, self._singletons)
        self.resubscriber = Resubscriber(
            self._issuer,
            tracker,
            notifications,
            self._subscriptions,
            self._singletons,
            deadlines=deadlines,
            silent_after=silent_after,
            per_minute=resubscribe_per_minute,
            stamp=clock,
        )
        routing.errors.troubled = self.resubscriber.troubled
        routing.errors.refused_for_now = self.resubscriber.refused_for_now

        self._settings: dict[str, dict[str, Any]] = {}
        self.market_data_type_set: Callable[[int, str], None] = lambda _, __: None
        """Callback for the market data type that TWS sends from now on, and the client that has set it."""

    # -- the connection

    @property
    def upstream(self) -> bool:
        """True while TWS is connected to IB's servers. While TWS is not, orders are refused."""
        return self._placement.upstream

    @upstream.setter
    def upstream(self, there: bool) -> None:
        self._placement.upstream = there

    @property
    def accounts(self) -> tuple[str, ...]:
        """Accounts that the login of TWS manages."""
        return self._placement.accounts

    @accounts.setter
    def accounts(self, managed: tuple[str, ...]) -> None:
        self._placement.accounts = managed

    def raise_to(self, number: int | None) -> None:
        """Assign only ids above `number` from now on.

        `number` is the next valid id of TWS less one, or an id that a message has shown to be in use.
        """
        self.sender.raise_to(number)

    def begin(self) -> None:
        """Forget the request ids of the old connection: a new connection begins."""
        self.resubscriber.begin()

    def connected(self) -> list[tuple[ActiveRequest, str]]:
        """Re-send the settings and requests of clients on a new connection that is ready.

        Return the requests that could not be sent, with the reasons: TWS may speak an older version now.
        """
        self.sender.is_open = True
        self._set_again()
        return self.resubscriber.connected()

    def lost(self) -> list[ActiveRequest]:
        """Note the loss of the connection. Return the requests that will get no response."""
        self.sender.is_open = False
        return self.resubscriber.lost()

    def tick(self, now: float) -> None:
        """Do the work that is due at `now`, in seconds of a clock that only goes forward. Call this every heartbeat."""
        self.resubscriber.tick(now)
        self._held_requests.tick()
        self._placement.tick(now)

    def on_notice(self, code: int | None, farm: str = "") -> None:
        """Apply one of IB's codes about its own servers. `farm` names the data farm whose state the code changes."""
        self.resubscriber.on_notice(code, farm)

    def uncontested(self) -> None:
        """Resume market data after another login has released it."""
        self.resubscriber.uncontested()

    def _over(self, route: ActiveRequest) -> None:
        self._issuer.completed(route)
        self._subscriptions.remove(route)

    # -- on the way to TWS

    def on_send(self, message: OutboundMessage) -> bool:
        """Prepare for the writing of a message. Return False if the message must not be sent any more."""
        self._note_setting(message)
        about = message.about
        if isinstance(about, Order):
            return self._placement.on_send(message, about)
        return not isinstance(about, ActiveRequest) or self._issuer.on_send(message, about)

    def on_drop(self, messages: Iterable[OutboundMessage]) -> None:
        """Handle messages that never left because the connection is gone. Call this before `lost`.

        From here on, unsent subscriptions and one-shots are treated as sent ones. An unsent cancel of either is void.
        """
        for message in messages:
            self._note_setting(message)
            about = message.about
            if isinstance(about, Order):
                self._placement.on_drop(message, about)
            elif isinstance(about, ActiveRequest) and message.request.name == "reqGlobalCancel":
                self._placement.cancel_all_unsent(message)
            elif isinstance(about, ActiveRequest):
                self._issuer.on_drop(message, about)

    def _note_setting(self, message: OutboundMessage) -> None:
        """Remember a setting that a client has made on this connection, for the next connection."""
        if message.request.does is not Kind.SETTING or not message.client:
            return
        if message.request.name == _MARKET_DATA_TYPE:
            self.market_data_type_set(message.args["marketDataType"], message.client)
        else:
            self._settings[message.request.name] = dict(message.args)

    def _set_again(self) -> None:
        """Repeat the settings on a new connection, except the market data type, which the daemon sets itself."""
        for name, args in self._settings.items():
            with contextlib.suppress(CommandRefused):  # a connection that takes nothing now does not last
                self.sender.send(REQUESTS[name], args)

    # -- commands

    def __contains__(self, command: str) -> bool:
        return command in REQUESTS or command == WHAT_IF

    def is_repeat(self, command: str, args: Mapping[str, Any], command_id: CommandId, key: str | None) -> bool:
        """Return True if the command places an order under a key that is known already, so that nothing is sent."""
        return self._placement.is_repeat(command, args, command_id, key)

    def cancelled(self, command_id: CommandId) -> str | None:
        """Return the name of the request that this command made, if its client has cancelled the request since."""
        return self._subscriptions.abandoned(command_id)

    def execute(
        self,
        command: str,
        args: dict[str, Any],
        command_id: CommandId,
        key: str | None,
        not_after: int | None = None,
        *,
        peer: bytes = b"",
    ) -> dict[str, Any]:
        """Send the request of this name and return the `result` of the reply. Raises `CommandRefused`.

        `not_after` (µs since 1970 UTC) is checked again when an order leaves. `peer` is the client's connection.
        """
        self.sender.peer = peer
        if command in DAEMON_ONLY:
            raise CommandRefused("E_PERM", f"{command} is the daemon's own; no configuration allows it to clients")
        if command in RESTRICTED and command not in self._allowed:
            raise CommandRefused(
                "E_PERM", f"{command} concerns the whole connection; the configuration's commands.allow can allow it"
            )
        if command == WHAT_IF:
            if key is not None:
                raise CommandRefused("E_ARG", f"key is for orders; {command} has none")
            return self._what_if(args, command_id)
        request = REQUESTS[command]
        if arguments.name(request) == "key":
            result = self._placement.execute(request, args, command_id, key, not_after)
            return {**result, "topics": [result["topic"], result["executions"]]} if "topic" in result else result
        if key is not None:
            raise CommandRefused("E_ARG", f"key is for orders; {command} has none")
        if request.target:
            return self._concern(request, args, command_id)
        return self._ask(request, args, command_id)

    def _ask(self, request: Request, args: dict[str, Any], command_id: CommandId) -> dict[str, Any]:
        path = request.request_id
        if path and arguments.has_number(args, path):
            raise CommandRefused(
                "E_ARG", f"{request.key} is the daemon's to give; answers are told apart by their topic"
            )
        checked = self.sender.check(request, arguments.numbered(args, path, 0) if path else args)
        if request.does is Kind.SUBSCRIPTION and not path:
            topic = self._singletons.ask(request, checked, command_id)
            return self._request_factory.reply(self._request_factory.route(request, checked, command_id), topic)
        if request.does in (Kind.SETTING, Kind.FORGET):
            about = self._request_factory.route(request, checked, command_id)
            if request.name == "reqGlobalCancel" and self._placement.cancel_all(checked, about):
                return {"dup": True}
            self.sender.send(request, checked, client=command_id.client, about=about)
            return {}
        route = self._request_factory.route(request, checked, command_id)
        if again := self._under_way(route, command_id):
            return again
        if path:
            return self._ask_keyed(route, path, command_id)
        # Sent even if the same request is under way: TWS leaves some unanswered, and all later ones would wait for it.
        self.sender.send(request, checked, client=command_id.client, about=route)
        self._asked(route, command_id)
        return self._replied(route)

    def _under_way(self, route: ActiveRequest, command_id: CommandId) -> dict[str, Any] | None:
        """Return the result for a repeated command whose request is still under way; None for a new command.

        Raises `CommandRefused` if the command id belongs to another request that is under way.
        """
        mine = self._subscriptions.by_command(command_id.named)
        if mine is None or mine.ended:
            return None
        path = arguments.number(route.request)
        asked, wanted = (arguments.numbered(each.args, path, 0) if path else each.args for each in (mine, route))
        if mine.request is not route.request or asked != wanted:
            raise CommandRefused(
                "E_ID_REUSED", f"id {command_id.id!a} belongs to a {mine.request.name} that is under way"
            )
        return {**self._replied(mine, route), "dup": True}

    def _ask_keyed(self, route: ActiveRequest, path: Path, command_id: CommandId) -> dict[str, Any]:
        """Send a request that carries a request id, or share a subscription that is open already."""
        topic, args = self._request_factory.topic(route), route.args
        shared = self._subscriptions.shared(route.request, topic, args) or self._only_one(route, topic)
        if not route.one_shot and shared is not None:
            shared.subscribers.add(command_id.named)
            self._subscriptions.remember(command_id.named, shared)
            return self._replied(shared, route)
        route.req_id = self.sender.next_id()
        route.args = arguments.numbered(route.args, path, route.req_id)
        route.subscribers.add(command_id.named)
        self._tracker.open(route)
        try:
            self.sender.send(route.request, route.args, client=command_id.client, about=route)
        except CommandRefused:
            self._tracker.end(route)
            raise
        if not route.one_shot:
            for number in self._subscriptions.retired_ids(topic):
                self._tracker.ignore_late_responses(number)
            self._subscriptions.add(route, topic, args, self._tracker.last(route))
        self._asked(route, command_id)
        return self._replied(route)

    def _replied(self, route: ActiveRequest, named: ActiveRequest | None = None) -> dict[str, Any]:
        """Return the result for a request that is under way: the topics of its responses, and its delay by pacing.

        `named` is the request as this client made it, where the client shares the request of another client.
        """
        return {**self._request_factory.reply(named or route), **self._held_requests.reply(route)}

    def _asked(self, route: ActiveRequest, command_id: CommandId) -> None:
        """Remember a request that has been queued for TWS, and start its response deadline."""
        self._subscriptions.remember(command_id.named, route)
        self._issuer.asked(route)

    def _only_one(self, route: ActiveRequest, topic: str) -> ActiveRequest | None:
        """Return the subscription on that topic, if its messages would be wrong when TWS sends them twice.

        Raises `CommandRefused` if that subscription has other arguments. The contracts may be spelt differently: the
        same topic means the same instrument.
        """
        if route.request.name not in _ONE_AT_A_TIME:
            return None
        for there in (subscription.route for subscription in self._subscriptions.on_topic(topic)):
            names = sorted({*route.args, *there.args} - {route.request.key, "contract"})
            differing = [each for each in names if there.args.get(each) != route.args.get(each)]
            if not differing:
                return there
            said = " and ".join(f"{each} {_told(there.args.get(each))}" for each in differing)
            fault = f"{topic} can have one {route.request.name} at a time, and {there.client} has one with {said}"
            raise CommandRefused("E_BUSY", f"{fault}; use the same arguments to share it")
        return None

    def _concern(self, request: Request, args: dict[str, Any], command_id: CommandId) -> dict[str, Any]:
        """Cancel or update an earlier request of the same client."""
        if request.request_id is None:
            if args:
                fault = f"{request.name} takes no arguments: this command gives up your share of {request.cancels}"
                raise CommandRefused("E_ARG", fault)
            return {} if self._singletons.release(request, args, command_id) else {"dup": True}
        holder = self._named(request, args, command_id)
        route = self._subscriptions.by_command(holder)
        if route is None or route.request.name != request.target:
            if request.cancels and self._subscriptions.abandoned(holder) == request.cancels:
                return {"dup": True}
            shown = ascii(args["id"])[:80]
            raise CommandRefused(
                "E_ARG", f"id: {command_id.client} has no {request.target} with the command id {shown}"
            )
        if request.cancels:
            self._let_go(request, route, holder)
        elif route.ended:
            raise CommandRefused("E_ARG", f"id: the {request.target} with this command id has ended")
        else:
            rest = {name: value for name, value in args.items() if name != "id"}
            checked = self.sender.check(request, arguments.numbered(rest, request.request_id, route.req_id))
            # In the queue of the client that made the request, so that the update stays behind that request.
            self.sender.send(request, checked, client=route.message.client if route.message else command_id.client)
            route.has_followup = True
        return {}

    @staticmethod
    def _named(request: Request, args: dict[str, Any], command_id: CommandId) -> CommandId:
        """Return the client and command id of the request that this command names. Raises `CommandRefused`."""
        taken = {"id", *(field.name for field in arguments.fields(request))}
        needless = "is not needed: the request is named by its command id"
        faults = [f"{ascii(name)[:60]} {needless}" for name in args if name not in taken][:10]
        if "id" not in args:
            faults.append("id is missing: the command id of the request")
        if faults:
            raise CommandRefused("E_ARG", *faults)
        named = args["id"]
        if isinstance(named, bool) or not isinstance(named, str | int):
            raise CommandRefused("E_ARG", "id must be the command id of the request: an integer or text")
        return CommandId(command_id.client, named).named

    def _let_go(self, cancel: Request, route: ActiveRequest, holder: CommandId) -> None:
        """Release the holder's share of a request, and cancel the request at TWS for its last holder.

        A request that still waits in the queue is withdrawn, so that TWS receives neither the request nor the cancel.
        A cancel that cannot be sent raises `CommandRefused` and changes nothing, so that the client may try again.
        """
        last = not route.subscribers - {holder} and not route.ended
        if last and self.sender.is_open and not self.sender.withdraw(route.message):
            self.sender.send(cancel, self._issuer.cancelling(cancel, route), client=holder.client)
        self._subscriptions.abandon(holder)
        route.subscribers.discard(holder)
        if last:
            if not route.one_shot:
                self._subscriptions.unsubscribe(route, self._request_factory.topic(route))
            self._tracker.end(route)

    def _what_if(self, args: dict[str, Any], command_id: CommandId) -> dict[str, Any]:
        """Ask TWS for the margin and commission of an order without placing the order.

        TWS responds with one `openOrder`, which is published on the client's own stream.
        """
        values = self._placement.what_if(args, self.sender.upcoming_id)
        request = REQUESTS["placeOrder"]
        route = self._request_factory.route(request, values, command_id)
        if again := self._under_way(route, command_id):
            return again
        self.sender.send(request, values, client=command_id.client, about=route)
        route.req_id = self.sender.next_id()
        self._tracker.open(route)
        self._asked(route, command_id)
        return self._replied(route)


_MARKET_DATA_TYPE = "reqMarketDataType"

_ONE_AT_A_TIME = frozenset(
    request.name
    for request in OUTBOUND
    if request.name == "reqTickByTickData" or any(name in MESSAGES and MESSAGES[name].book for name in request.answers)
)
"""Subscriptions whose messages would be wrong if TWS sent them twice: ticks one by one, and market depth. Prices may
come twice, because only the last price counts."""


def _told(value: Any) -> str:
    return "left out" if value is None else ascii(value)[:60]
