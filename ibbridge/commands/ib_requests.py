"""From a command to what TWS is asked: who may ask, what is shared, what a command id names, what is cancelled.

Every request that the codec declares is a command under IB's own name, without its `reqId` or `orderId`, which are the
daemon's to give. Orders are for `placement`, streams without a number for `singleton_streams`, and what happens to a
request once it has been asked for `resubscription`. Raises `Refused` for everything that is not carried out. Pure: it
is given a way to send.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from ibbridge.codec.messages import MESSAGES, OUTBOUND, REQUESTS
from ibbridge.codec.schema import Kind, Request
from ibbridge.config.model import RESTRICTED
from ibbridge.inbound.router import Asking, Route, Router
from ibbridge.inbound.unreadable import Unreadable
from ibbridge.orders.placement import Trading
from ibbridge.orders.registry import Order
from ibbridge.protocol import arguments
from ibbridge.protocol.arguments import DAEMON_ONLY, WHAT_IF
from ibbridge.protocol.errors import Refused
from ibbridge.requests.deadlines import Deadlines
from ibbridge.requests.delays import Delays
from ibbridge.requests.issuer import Asker
from ibbridge.requests.request_factory import Places
from ibbridge.subscriptions.registry import Subscriptions
from ibbridge.subscriptions.resubscription import Upkeep
from ibbridge.subscriptions.singleton_streams import Wholes
from ibbridge.tws.sender import Outgoing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ibbridge.codec.schema import Path
    from ibbridge.orders.registry import Orders
    from ibbridge.risk.halt import Halt
    from ibbridge.tws.send_queue import Waiting
    from ibbridge.tws.sender import Link


class Requests:
    """What clients ask of TWS. `halt`, `fault` and `window` are when no order is taken: see `Trading`."""

    def __init__(
        self,
        link: Link,
        router: Router,
        orders: Orders,
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
        self.outgoing = Outgoing(link, listed=unknown_words == "refuse")
        self._router = router
        self._allowed = frozenset(allowed)
        self._places = Places(router, names)
        self._trading = Trading(self.outgoing, router, orders, halt=halt, fault=fault, window=window, clock=clock)
        deadlines: Deadlines[object] = Deadlines()  # one for all: what is due is told in the order of its time
        self._asker = Asker(self.outgoing, router, deadlines)
        self._wanted = Subscriptions()
        router.over = self._over
        self._delays = Delays(self.outgoing, router, clock)
        self._wholes = Wholes(self.outgoing, router, self._places, deadlines, clock)
        self.unreadable = Unreadable(router, orders, self._wholes)
        self.upkeep = Upkeep(
            self._asker,
            router,
            self._wanted,
            self._wholes,
            deadlines,
            silent_after=silent_after,
            per_minute=resubscribe_per_minute,
            stamp=clock,
        )

        self._settings: dict[str, dict[str, Any]] = {}
        self.market_data_type_set: Callable[[int, str], None] = lambda _, __: None
        """Is told of the type of market data that TWS is told to send from now on, and by which client."""

    # -- the connection

    @property
    def upstream(self) -> bool:
        """Whether IB's servers are there behind TWS. While they are not, orders are refused."""
        return self._trading.upstream

    @upstream.setter
    def upstream(self, there: bool) -> None:
        self._trading.upstream = there

    @property
    def accounts(self) -> tuple[str, ...]:
        """The accounts that TWS manages here."""
        return self._trading.accounts

    @accounts.setter
    def accounts(self, managed: tuple[str, ...]) -> None:
        self._trading.accounts = managed

    def above(self, number: int | None) -> None:
        """Ids from here on are above `number`: what TWS gave as the next valid one, less one, or has been seen."""
        self.outgoing.above(number)

    def begin(self) -> None:
        """A new connection begins: the numbers of the old one mean nothing any more."""
        self.upkeep.begin()

    def connected(self) -> list[tuple[Route, str]]:
        """A new connection is ready: ask again for what clients want of it.

        Returns what could not be asked for, and why: TWS may speak an older version now.
        """
        self.outgoing.is_open = True
        self._set_again()
        return self.upkeep.connected()

    def lost(self) -> list[Route]:
        """The connection is gone: the requests that will have no answer."""
        self.outgoing.is_open = False
        return self.upkeep.lost()

    def tend(self, now: float) -> None:
        """Do what it is time for, in seconds of a clock that only goes forward. To be called every heartbeat."""
        self.upkeep.tend(now)
        self._delays.tend()
        self._trading.tend(now)

    def notice(self, code: int | None, farm: str = "") -> None:
        """One of IB's codes about its own servers; `farm` names one whose state has changed by it."""
        self.upkeep.notice(code, farm)

    def uncontested(self) -> None:
        """Another login has let go of the market data."""
        self.upkeep.uncontested()

    def _over(self, route: Route) -> None:
        self._asker.over(route)
        self._wanted.over(route)

    # -- on the way to TWS

    def leaving(self, message: Waiting) -> bool:
        """It is about to be written. False if it must not be any more."""
        self._note_setting(message)
        about = message.about
        if isinstance(about, Order):
            return self._trading.leaving(message, about)
        return not isinstance(about, Route) or self._asker.leaving(message, about)

    def unsent(self, messages: Iterable[Waiting]) -> None:
        """The connection is gone, and these never left. To be told before `lost`.

        Subscriptions and one-shots are then treated as those that did leave; cancels of such are void without it.
        """
        for message in messages:
            self._note_setting(message)
            about = message.about
            if isinstance(about, Order):
                self._trading.unsent(message, about)
            elif isinstance(about, Route) and message.request.name == "reqGlobalCancel":
                self._trading.cancel_all_unsent(message)
            elif isinstance(about, Route):
                self._asker.unsent(message, about)

    def _note_setting(self, message: Waiting) -> None:
        """Keep a setting of the connection that a client has made, so that the next one has it, too."""
        if message.request.does is not Kind.SETTING or not message.client:
            return
        if message.request.name == _MARKET_DATA_TYPE:
            self.market_data_type_set(message.args["marketDataType"], message.client)
        else:
            self._settings[message.request.name] = dict(message.args)

    def _set_again(self) -> None:
        """Make the settings on a new connection, but for the market data type, which the daemon sets on each."""
        for name, args in self._settings.items():
            with contextlib.suppress(Refused):  # a connection that takes nothing now does not last
                self.outgoing.send(REQUESTS[name], args)

    # -- commands

    def __contains__(self, command: str) -> bool:
        return command in REQUESTS or command == WHAT_IF

    def carried_out(self, command: str, args: Mapping[str, Any], asking: Asking, key: str | None) -> bool:
        """Whether this was done before, and is answered again as it was: an order under a known key."""
        return self._trading.carried_out(command, args, asking, key)

    def cancelled(self, asking: Asking) -> str | None:
        """The name of the request that was made by this command, if whoever made it has cancelled it since."""
        return self._wanted.given_up(asking)

    def carry_out(
        self,
        command: str,
        args: dict[str, Any],
        asking: Asking,
        key: str | None,
        not_after: int | None = None,
        *,
        peer: bytes = b"",
    ) -> dict[str, Any]:
        """Send the request of this name; return the `result` of the reply. Raises `Refused`.

        `not_after` is looked at once more when an order leaves. `peer` is the connection over which this is asked.
        """
        self.outgoing.peer = peer
        if command in DAEMON_ONLY:
            raise Refused("E_PERM", f"{command} is the daemon's own; no configuration allows it to clients")
        if command in RESTRICTED and command not in self._allowed:
            raise Refused(
                "E_PERM", f"{command} concerns the whole connection; the configuration's commands.allow can allow it"
            )
        if command == WHAT_IF:
            if key is not None:
                raise Refused("E_ARG", f"key is for orders; {command} has none")
            return self._what_if(args, asking)
        request = REQUESTS[command]
        if arguments.name(request) == "key":
            result = self._trading.carry_out(request, args, asking, key, not_after)
            return {**result, "topics": [result["topic"], result["executions"]]} if "topic" in result else result
        if key is not None:
            raise Refused("E_ARG", f"key is for orders; {command} has none")
        if request.target:
            return self._concern(request, args, asking)
        return self._ask(request, args, asking)

    def _ask(self, request: Request, args: dict[str, Any], asking: Asking) -> dict[str, Any]:
        path = request.request_id
        if path and arguments.has_number(args, path):
            raise Refused("E_ARG", f"{request.key} is the daemon's to give; answers are told apart by their topic")
        checked = self.outgoing.check(request, arguments.numbered(args, path, 0) if path else args)
        if request.does is Kind.STREAM and not path:
            topic = self._wholes.ask(request, checked, asking)
            return self._places.reply(self._places.route(request, checked, asking), topic)
        if request.does in (Kind.SETTING, Kind.FORGET):
            about = self._places.route(request, checked, asking)
            if request.name == "reqGlobalCancel" and self._trading.cancel_all(checked, about):
                return {"dup": True}
            self.outgoing.send(request, checked, client=asking.client, about=about)
            return {}
        route = self._places.route(request, checked, asking)
        if again := self._under_way(route, asking):
            return again
        if path:
            return self._ask_keyed(route, path, asking)
        # Even if the same one is under way: TWS leaves some without an answer, and all later ones would wait for it.
        self.outgoing.send(request, checked, client=asking.client, about=route)
        self._asked(route, asking)
        return self._replied(route)

    def _under_way(self, route: Route, asking: Asking) -> dict[str, Any] | None:
        """The reply to a command that came before, if its answer is still to come: an id is of one request."""
        mine = self._wanted.under(asking.named)
        if mine is None or mine.ended:
            return None
        path = arguments.number(route.request)
        asked, wanted = (arguments.numbered(each.args, path, 0) if path else each.args for each in (mine, route))
        if mine.request is not route.request or asked != wanted:
            raise Refused("E_ID_REUSED", f"id {asking.id!a} is of a {mine.request.name} that is under way")
        return {**self._replied(mine, route), "dup": True}

    def _ask_keyed(self, route: Route, path: Path, asking: Asking) -> dict[str, Any]:
        """Send a request that has an id; a stream that is open already is shared."""
        topic, args = self._places.topic(route), route.args
        shared = self._wanted.shared(route.request, topic, args) or self._only_one(route, topic)
        if not route.one_shot and shared is not None:
            shared.holders.add(asking.named)
            self._wanted.remember(asking.named, shared)
            return self._replied(shared, route)
        route.req_id = self.outgoing.number()
        route.args = arguments.numbered(route.args, path, route.req_id)
        route.holders.add(asking.named)
        self._router.open(route)
        try:
            self.outgoing.send(route.request, route.args, client=asking.client, about=route)
        except Refused:
            self._router.end(route)
            raise
        if not route.one_shot:
            for number in self._wanted.late(topic):
                self._router.disown(number)
            self._wanted.add(route, topic, args, self._router.last(route))
        self._asked(route, asking)
        return self._replied(route)

    def _replied(self, route: Route, named: Route | None = None) -> dict[str, Any]:
        """Return the result for a request that is under way: where it is answered, and until when it is held back.

        `named` is the request as its asker has made it, where it shares another's.
        """
        return {**self._places.reply(named or route), **self._delays.reply(route)}

    def _asked(self, route: Route, asking: Asking) -> None:
        """TWS has been sent what a command asked for."""
        self._wanted.remember(asking.named, route)
        self._asker.asked(route)

    def _only_one(self, route: Route, topic: str) -> Route | None:
        """The stream on that topic, of those that would be wrong if TWS sent them twice; refused if it is another.

        The contract may be spelt in another way: what has the same topic is the same instrument.
        """
        if route.request.name not in _ONE_AT_A_TIME:
            return None
        for there in (each.route for each in self._wanted.on(topic)):
            names = sorted({*route.args, *there.args} - {route.request.key, "contract"})
            differing = [each for each in names if there.args.get(each) != route.args.get(each)]
            if not differing:
                return there
            said = " and ".join(f"{each} {_told(there.args.get(each))}" for each in differing)
            fault = f"{topic} is of one {route.request.name} at a time, and {there.client} has it with {said}"
            raise Refused("E_BUSY", f"{fault}; ask for the same to share it")
        return None

    def _concern(self, request: Request, args: dict[str, Any], asking: Asking) -> dict[str, Any]:
        """Cancel a request that is under way, or do something else to it."""
        if request.request_id is None:
            if args:
                fault = f"{request.name} takes no arguments: it gives up your share of {request.cancels}"
                raise Refused("E_ARG", fault)
            return {} if self._wholes.release(request, args, asking) else {"dup": True}
        holder = self._named(request, args, asking)
        route = self._wanted.under(holder)
        if route is None or route.request.name != request.target:
            if request.cancels and self._wanted.given_up(holder) == request.cancels:
                return {"dup": True}
            shown = ascii(args["id"])[:80]
            raise Refused("E_ARG", f"id: {asking.client} has no {request.target} with the command id {shown}")
        if request.cancels:
            self._let_go(request, route, holder)
        elif route.ended:
            raise Refused("E_ARG", f"id: the {request.target} with this command id has ended")
        else:
            rest = {name: value for name, value in args.items() if name != "id"}
            checked = self.outgoing.check(request, arguments.numbered(rest, request.request_id, route.req_id))
            # In the turn of whoever asked, so that it stays behind what it is about.
            self.outgoing.send(request, checked, client=route.message.client if route.message else asking.client)
            route.touched = True
        return {}

    @staticmethod
    def _named(request: Request, args: dict[str, Any], asking: Asking) -> Asking:
        """The command whose request this one is about."""
        taken = {"id", *(each.name for each in arguments.fields(request))}
        needless = "is not needed: the request is named by its command id"
        faults = [f"{ascii(name)[:60]} {needless}" for name in args if name not in taken][:10]
        if "id" not in args:
            faults.append("id is missing: the command id of the request")
        if faults:
            raise Refused("E_ARG", *faults)
        named = args["id"]
        if isinstance(named, bool) or not isinstance(named, str | int):
            raise Refused("E_ARG", "id must be the command id of the request: an integer or text")
        return Asking(asking.client, named).named

    def _let_go(self, cancel: Request, route: Route, holder: Asking) -> None:
        """The last holder's cancel goes to TWS; one that cannot be sent changes nothing, and may be tried again.

        What still waits is withdrawn, and TWS hears of neither.
        """
        last = not route.holders - {holder} and not route.ended
        if last and self.outgoing.is_open and not self.outgoing.withdraw(route.message):
            self.outgoing.send(cancel, self._asker.cancelling(cancel, route), client=holder.client)
        self._wanted.give_up(holder)
        route.holders.discard(holder)
        if last:
            if not route.one_shot:
                self._wanted.leave(route, self._places.topic(route))
            self._router.end(route)

    def _what_if(self, args: dict[str, Any], asking: Asking) -> dict[str, Any]:
        """What an order would cost: answered by one openOrder, on the client's own stream. Never an order."""
        values = self._trading.what_if(args, self.outgoing.next)
        request = REQUESTS["placeOrder"]
        route = self._places.route(request, values, asking)
        if again := self._under_way(route, asking):
            return again
        self.outgoing.send(request, values, client=asking.client, about=route)
        route.req_id = self.outgoing.number()
        self._router.open(route)
        self._asked(route, asking)
        return self._replied(route)


_MARKET_DATA_TYPE = "reqMarketDataType"

_ONE_AT_A_TIME = frozenset(
    request.name
    for request in OUTBOUND
    if request.name == "reqTickByTickData" or any(name in MESSAGES and MESSAGES[name].book for name in request.answers)
)
"""Streams that are wrong if TWS sends them twice. Of prices it does not matter: the last one holds."""


def _told(value: Any) -> str:
    return "left out" if value is None else ascii(value)[:60]
