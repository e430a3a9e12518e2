"""From a command to bytes for TWS: ids, topics, sharing, orders.

Every request that the codec declares is a command under IB's own name, without its `reqId` or `orderId`, which are
given here. Raises `Refused` for everything that is not carried out. Pure: it is given a way to send.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from ibbridge import arguments
from ibbridge.arguments import DAEMON_ONLY, WHAT_IF
from ibbridge.codec.messages import MESSAGES, OUTBOUND, REQUESTS
from ibbridge.codec.schema import Kind, Pace, Request
from ibbridge.config import RESTRICTED
from ibbridge.orders import LONGEST_REF, Order, Orders, order_ref
from ibbridge.outgoing import NOT_CONNECTED, Outgoing
from ibbridge.places import Places, place_of_all
from ibbridge.refusal import Refused
from ibbridge.routing import Asking, Route, Router
from ibbridge.subscriptions import Subscriptions
from ibbridge.upkeep import Upkeep

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ibbridge.codec.schema import Path
    from ibbridge.halt import Halt
    from ibbridge.outgoing import Link
    from ibbridge.pacing import Waiting

CANCELLED = 202
"""IB's code for an order that is cancelled: here, one that never left."""

OF_EVERY_ORDER = ("action", "orderType")
"""What an order must say. TWS has defaults, and nobody means them."""

NOT_OF_AN_ORDER = ("orderRef", "whatIf")
"""What an order says by its key and its command, and so by no attribute."""


class Requests:
    """What clients have asked of TWS.

    While there is a `fault` (of the store) or a halt no order is taken, nor for the seconds that a restart `window`
    still takes.
    """

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
    ) -> None:
        self.outgoing = Outgoing(link)
        self._router = router
        self._orders = orders
        self._allowed = frozenset(allowed)
        self._places = Places(router, names)
        self.upstream = True
        """Whether IB's servers are there behind TWS. While they are not, orders are refused."""
        self.accounts: tuple[str, ...] = ()
        """The accounts that TWS manages here."""
        self._halt = halt
        self._fault = fault
        self._window = window
        self._clock = clock  # µs since 1970 UTC
        router.answered = self._answered
        router.over = self._over
        self._asked_whole: dict[str, list[Waiting]] = {}  # what asks TWS for streams without a number, and may wait
        self._wanted = Subscriptions()
        self.upkeep = Upkeep(
            self, router, self._wanted, silent_after=silent_after, per_minute=resubscribe_per_minute, stamp=clock
        )
        self.upkeep.waiting = lambda route: route.message is not None and route.message.waits

    # -- the connection

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
        return self.upkeep.connected()

    def lost(self) -> list[Route]:
        """The connection is gone: the requests that will have no answer."""
        self.outgoing.is_open = False
        return self.upkeep.lost()

    def tend(self, now: float) -> None:
        """Do what it is time for, in seconds of a clock that only goes forward. To be called every heartbeat."""
        self.upkeep.tend(now)

    def notice(self, code: int | None, farm: str = "") -> None:
        """One of IB's codes about its own servers; `farm` names one whose state has changed by it."""
        self.upkeep.notice(code, farm)

    def uncontested(self) -> None:
        """Another login has let go of the market data."""
        self.upkeep.uncontested()

    # -- asking again

    @property
    def is_open(self) -> bool:
        """Whether there is a connection on which to ask."""
        return self.outgoing.is_open

    def ask_again(self, route: Route) -> None:
        """Ask TWS for this under a new number, if it has one."""
        if _unnumbered(route.request):
            self.outgoing.send(route.request, self.outgoing.check(route.request, dict(route.args)), about=route)
            return
        if route.message is not None:
            self.outgoing.over(route.message)  # what it was under its old number takes no room at TWS any more
        number = self.outgoing.number()
        args = arguments.numbered(route.args, route.request.request_id or (), number)
        self.outgoing.send(route.request, self.outgoing.check(route.request, dict(args)), about=route)
        route.args = args
        self._router.renumber(route, number)

    def ask_whole(self, request: Request, args: Mapping[str, Any]) -> None:
        """Ask for what has no number."""
        self._send_whole(request, self.outgoing.check(request, dict(args)))

    def cancel(self, route: Route) -> None:
        """Have TWS stop what it sends under the route's number, if there is a way. What still waits is withdrawn."""
        if self.outgoing.withdraw(route.message):
            return
        cancel = _CANCELS.get(route.request.name)
        if cancel is not None and cancel.request_id and route.request.does is not Kind.ORDER:
            try:
                values = self._cancelling(cancel, route)
            except Refused as error:
                if error.outcome == "refused":
                    return  # this version has no such cancel
                raise
            self.outgoing.send(cancel, values)

    def place_of(self, request: Request, args: Mapping[str, Any]) -> tuple[str, ...]:
        """Under which a stream without a number is published."""
        return place_of_all(request, args)

    def answer_of(self, request: Request, args: dict[str, Any], asking: Asking) -> Route:
        """Where to tell one who wants such a stream that it is not to be had."""
        return self._places.route(request, args, asking)

    # -- on the way to TWS

    def leaving(self, message: Waiting) -> bool:
        """It is about to be written. False if it must not be any more."""
        about = message.about
        if message.not_after is not None and self._clock() > message.not_after:
            self._unplaced(about, CANCELLED, "its not_after passed before it could be sent")
            return False
        if isinstance(about, Order) and message is about.message:
            about.message = None
        if isinstance(about, Route) and _unnumbered(message.request):
            if about.ended:
                return False
            self._await(about)  # only now: answers come in the order in which TWS was asked
        return True

    def _await(self, route: Route) -> None:
        """It waits for an answer without a number. That counts as an ask, so a deadline of before is void."""
        self._router.wait(route)
        self.upkeep.asked(route)

    def unsent(self, messages: Iterable[Waiting]) -> None:
        """The connection is gone, and these never left. To be told before `lost`.

        Subscriptions and one-shots are then treated as those that did leave; cancels of such are void without it.
        """
        for message in messages:
            about = message.about
            if isinstance(about, Route) and _unnumbered(message.request):
                self._await(about)
            elif isinstance(about, Order) and message.request.does is Kind.ORDER:
                self._unplaced(about, NOT_CONNECTED, "the connection to TWS was lost before it could be sent")
            elif isinstance(about, Order):
                why = "the connection to TWS was lost before the cancel of this order could be sent; cancel it again"
                self._router.tell_order(about, NOT_CONNECTED, why, self._clock(), ends=False)

    def _unplaced(self, order: Order, code: int, why: str) -> None:
        """An order that was accepted is over: it never left."""
        order.message, order.heard, order.unsent = None, True, True
        text = f"the order was not placed: {why}. Nothing of it has reached TWS; to place it, take a new key"
        self._router.tell_order(order, code, text, self._clock(), ends=True)

    def _taken_back(self, order: Order, why: str) -> bool:
        """Whether the order still waited. Then it does not leave, and nor do those that have it as their parent."""
        if not self.outgoing.withdraw(order.message):
            return False
        self._unplaced(order, CANCELLED, why)
        for each in self.outgoing.waiting(Pace.ORDER):
            if isinstance(each.about, Order) and each.args.get("order", {}).get("parentId") == order.order_id:
                self._taken_back(each.about, f"its parent, {order.key}, was cancelled before it could be sent")
        return True

    def _over(self, route: Route) -> None:
        if route.message is not None and not self.outgoing.withdraw(route.message):
            self.outgoing.over(route.message)

    # -- commands

    def __contains__(self, command: str) -> bool:
        return command in REQUESTS or command == WHAT_IF

    def carried_out(self, command: str, args: Mapping[str, Any], asking: Asking, key: str | None) -> bool:
        """Whether this was done before, and is answered again as it was: an order under a known key."""
        given = args.get("key", key)
        known = isinstance(given, str) and self._orders.keyed(asking.client, given) is not None
        return command in _ORDERS and known  # whether it is the same is for `carry_out` to say

    def cancelled(self, asking: Asking) -> str | None:
        """The name of the request that was made by this command, if whoever made it has cancelled it since."""
        return self._wanted.given_up(asking)

    def carry_out(
        self, command: str, args: dict[str, Any], asking: Asking, key: str | None, not_after: int | None = None
    ) -> dict[str, Any]:
        """Send the request of this name; the `result` of the reply. Raises `Refused`.

        `not_after` is looked at once more when an order leaves.
        """
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
            args, key = _with_key(args, key)
            if request.does is Kind.ORDER:
                return self._place(request, args, asking, key, not_after)
            return self._cancel_order(request, args, asking, key)
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
            return self._ask_whole(request, checked, asking)
        if request.does in (Kind.SETTING, Kind.FORGET):
            if request.name == "reqGlobalCancel":  # it overtakes the orders that wait, which it means as well
                for message in self.outgoing.waiting(Pace.ORDER):
                    if isinstance(message.about, Order):
                        self._taken_back(message.about, "all orders were cancelled before it could be sent")
            self.outgoing.send(request, checked, client=asking.client)
            return {}
        route = self._places.route(request, checked, asking)
        if again := self._under_way(route, asking):
            return again
        if path:
            return self._ask_keyed(route, path, asking)
        # Even if the same one is under way: TWS leaves some without an answer, and all later ones would wait for it.
        self.outgoing.send(request, checked, client=asking.client, about=route)
        self._asked(route, asking)
        return {"topic": self._places.topic(route)}

    def _under_way(self, route: Route, asking: Asking) -> dict[str, Any] | None:
        """The reply to a command that came before, if its answer is still to come: an id is of one request."""
        mine = self._wanted.under(asking.named)
        if mine is None or mine.ended:
            return None
        path = arguments.number(route.request)
        asked, wanted = (arguments.numbered(each.args, path, 0) if path else each.args for each in (mine, route))
        if mine.request is not route.request or asked != wanted:
            raise Refused("E_ID_REUSED", f"id {asking.id!a} is of a {mine.request.name} that is under way")
        return {"topic": self._places.topic(mine), "dup": True}

    def _ask_keyed(self, route: Route, path: Path, asking: Asking) -> dict[str, Any]:
        """Send a request that has an id; a stream that is open already is shared."""
        topic, args = self._places.topic(route), route.args
        shared = self._wanted.shared(topic, args) or self._only_one(route, topic)
        if not route.one_shot and shared is not None:
            shared.holders.add(asking.named)
            self._wanted.remember(asking.named, shared)
            return {"topic": self._places.topic(shared)}
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
        return {"topic": self._places.topic(route)}

    def _asked(self, route: Route, asking: Asking) -> None:
        """TWS has been sent what a command asked for."""
        self._wanted.remember(asking.named, route)
        self.upkeep.asked(route)

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

    def _ask_whole(self, request: Request, args: dict[str, Any], asking: Asking) -> dict[str, Any]:
        """Streams that the whole connection has once: positions, and the updates of one account at a time."""
        whole = self._wanted.whole(request)
        holders = whole.holders
        account = args.get("acctCode", "")
        if args.get("subscribe", True):
            for other, held in holders.items():
                if held.get("acctCode", "") != account and other.client != asking.client:
                    raise Refused(
                        "E_BUSY",
                        f"{other.client} has the updates of account {held.get('acctCode') or '(default)'}, and TWS "
                        "gives those of one account at a time",
                    )
            self._send_whole(request, args, asking.client)
            self._leave(request, holders, account)
            self._router.wanted(request, *place_of_all(request, args))
            holders[asking] = args
            self.upkeep.asked_whole(whole)
        else:
            self._release(request, holders, asking, args)
        return {"topic": self._router.named(*place_of_all(request, args))}

    def _leave(self, request: Request, holders: dict[Asking, dict[str, Any]], account: str) -> None:
        """TWS goes over to another account, and tells no more of that of before."""
        for holder, held in [*holders.items()]:
            if held.get("acctCode", "") != account:
                del holders[holder]
                self._router.given_up(request, *place_of_all(request, held))

    def _release(
        self, request: Request, holders: dict[Asking, dict[str, Any]], asking: Asking, args: dict[str, Any]
    ) -> None:
        """The client gives up its share; TWS is told when nobody is left."""
        mine = [holder for holder in holders if holder.client == asking.client]
        if len(mine) == len(holders) and self.outgoing.is_open:
            self._send_whole(request, args, asking.client)
        for holder in mine:
            del holders[holder]
        if mine and not holders:
            given_up = REQUESTS[request.cancels or request.name]
            self._router.given_up(given_up, *place_of_all(given_up, args))

    def _send_whole(self, request: Request, args: dict[str, Any], client: str = "") -> None:
        """Ask for such a stream, or cancel it. The last word holds: what still waits must not leave behind it."""
        asked = [each for each in self._asked_whole.get(request.cancels or request.name, ()) if each.waits]
        last_word = asked if request.cancels or "subscribe" in args else ()
        asked.append(self.outgoing.send(request, args, client=client, instead_of=[*last_word]))
        self._asked_whole[request.cancels or request.name] = asked

    def _concern(self, request: Request, args: dict[str, Any], asking: Asking) -> dict[str, Any]:
        """Cancel a request that is under way, or do something else to it."""
        if request.request_id is None:
            if args:
                fault = f"{request.name} takes no arguments: it gives up your share of {request.cancels}"
                raise Refused("E_ARG", fault)
            self._release(request, self._wanted.whole(REQUESTS[request.cancels or ""]).holders, asking, args)
            return {}
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
            self.outgoing.send(cancel, self._cancelling(cancel, route), client=holder.client)
        self._wanted.give_up(holder)
        route.holders.discard(holder)
        if last:
            if not route.one_shot:
                self._wanted.leave(route, self._places.topic(route))
            self._router.end(route)

    def _cancelling(self, cancel: Request, route: Route) -> dict[str, Any]:
        """The arguments that cancel what a route asked for."""
        same: dict[str, Any] = {f.name: route.args[f.name] for f in cancel.shape.shape if f.name in route.args}
        return self.outgoing.check(cancel, arguments.numbered(same, cancel.request_id or (), route.req_id))

    def _answered(self, route: Route) -> None:
        """A one-shot is over. TWS keeps some until they are cancelled, and there is no need for clients to know."""
        if route.request.lingers and self.outgoing.is_open:
            cancel = _CANCELS[route.request.name]
            with contextlib.suppress(Refused):  # nobody asked for it, and a connection that takes nothing forgets all
                self.outgoing.send(cancel, self._cancelling(cancel, route))

    # -- orders

    def _place(
        self, request: Request, args: dict[str, Any], asking: Asking, key: str, not_after: int | None
    ) -> dict[str, Any]:
        if known := self._orders.keyed(asking.client, key):
            if (known.command, known.args) != (request.name, args):
                raise Refused("E_KEY_REUSED", f"key {key!r} is of another order of {asking.client}; take a new one")
            return {**self._placed(known), "dup": True}
        self._may_trade()
        if self._orders.former(asking.client, key):
            topic = self._router.named("ord", asking.client, key)
            fault = f"key {key!r} was used before the daemon was restarted: {topic} says what became of that order"
            raise Refused("E_KEY_REUSED", f"{fault}; for another one take a new key")
        if len(ref := order_ref(asking.client, key)) > LONGEST_REF:
            raise Refused("E_ARG", f"key: {ref[:80]!r}, which travels in orderRef, may have {LONGEST_REF} characters")
        order = Order(asking.client, key, self.outgoing.next, args, request.name)
        values = self._order_values(order) if request.name == "placeOrder" else self._exercise_values(request, order)
        self.outgoing.number()
        self._orders.add(order)
        try:
            self.outgoing.send(request, values, client=asking.client, about=order, not_after=not_after)
        except Refused:
            self._orders.forget(order)
            raise
        return self._placed(order)

    def _may_trade(self) -> None:
        """Raises `Refused` while no order is taken from anybody."""
        if self._halt.state:
            told = "{client} said so: {reason}" if self._halt.state["reason"] else "{client} said so"
            fault = f"orders are halted, {told.format(**self._halt.state)}; `resume` ends it"
            raise Refused("E_HALTED", fault, outcome="not_sent")
        if fault := self._fault():
            raise Refused("E_STORE", f"no order is taken: {fault}", outcome="not_sent", retry_after=5.0)
        if left := self._window():
            fault = "this is a time at which TWS or IB's servers are restarted (tws.restart_windows)"
            raise Refused("E_RESTART_WINDOW", f"{fault}; it ends in {left:.0f} s", outcome="not_sent", retry_after=left)
        if not self.upstream:
            raise Refused(
                "E_NOT_CONNECTED",
                "TWS has lost its connection to IB (1100), and would keep the order for later; try again when it is "
                "back",
                outcome="not_sent",
                retry_after=5.0,
            )

    def _order_values(self, order: Order) -> dict[str, Any]:
        """The arguments of `placeOrder`. Owner and key travel in `orderRef`."""
        values = self._with_order(order.args, order.order_id, order_ref(order.owner, order.key))
        if values["order"].get("whatIf"):
            raise Refused("E_ARG", "order.whatIf: whatIfOrder asks what an order would cost; placeOrder places it")
        return values

    def _exercise_values(self, request: Request, order: Order) -> dict[str, Any]:
        """The arguments of `exerciseOptions`, whose request id is the number of the order that TWS makes of it."""
        args = order.args
        given = (name for name in ("reqId", "orderId") if name in args)
        faults = [f"{name} is the daemon's to give; key names the order" for name in given]
        if len(self.accounts) > 1 and not args.get("account"):
            faults.append(f"account is missing: one of {', '.join(self.accounts)}")
        rest = {name: value for name, value in args.items() if name != "orderId"}
        return self.outgoing.check(request, {**rest, str(request.key): order.order_id}, faults)

    def _with_order(self, args: Mapping[str, Any], order_id: int, ref: str) -> dict[str, Any]:
        given = args.get("order")
        faults = []
        if isinstance(given, dict):
            if given.get("orderRef"):
                faults.append("order.orderRef carries owner and key, and is the daemon's; key names the order")
            given = {**given, "orderRef": ref}
            faults += [f"order.{name} is missing" for name in OF_EVERY_ORDER if not given.get(name)]
            if len(self.accounts) > 1 and not any(given.get(name) for name in ("account", "faGroup")):
                faults.append(f"order.account is missing: one of {', '.join(self.accounts)}, or a faGroup")
        if "orderId" in args:
            faults.append("orderId is the daemon's to give; key names the order")
        rest = {name: value for name, value in args.items() if name != "orderId"}
        return self.outgoing.check(REQUESTS["placeOrder"], {**rest, "order": given, "orderId": order_id}, faults)

    def _placed(self, order: Order) -> dict[str, Any]:
        return {
            "key": order.key,
            "orderId": order.order_id,
            "topic": self._router.named("ord", order.owner, order.key),
            "executions": self._router.named("exec", order.owner),
        }

    def _what_if(self, args: dict[str, Any], asking: Asking) -> dict[str, Any]:
        """What an order would cost: answered by one openOrder, on the client's own stream. Never an order."""
        number = self.outgoing.next
        values = self._with_order(args, number, "")
        values["order"]["whatIf"] = True
        request = REQUESTS["placeOrder"]
        route = self._places.route(request, values, asking)
        if again := self._under_way(route, asking):
            return again
        self.outgoing.send(request, values, client=asking.client, about=route)
        route.req_id = self.outgoing.number()
        self._router.open(route)
        self._asked(route, asking)
        return {"topic": self._places.topic(route)}

    def _cancel_order(self, request: Request, args: dict[str, Any], asking: Asking, key: str) -> dict[str, Any]:
        order = self._orders.keyed(asking.client, key) or self._orders.former(asking.client, key)
        if order is None or not order.order_id:
            raise Refused("E_ARG", f"key: {asking.client} has no order with the key {key!r}")
        if "orderId" in args:
            raise Refused("E_ARG", "orderId is the daemon's; key names the order")
        checked = self.outgoing.check(request, {**args, "orderId": order.order_id})
        if not (order.unsent or self._taken_back(order, "it was cancelled before it could be sent")):
            self.outgoing.send(request, checked, client=asking.client, about=order)
        return {"key": key, "orderId": order.order_id}


def _unnumbered(request: Request) -> bool:
    """Whether its answer names no request, and belongs to the one that was sent first."""
    return request.does is Kind.ONE_SHOT and request.key is None


_ORDERS = frozenset(request.name for request in OUTBOUND if request.does is Kind.ORDER)
_CANCELS = {request.cancels: request for request in OUTBOUND if request.cancels}

_ONE_AT_A_TIME = frozenset(
    request.name
    for request in OUTBOUND
    if request.name == "reqTickByTickData" or any(name in MESSAGES and MESSAGES[name].book for name in request.answers)
)
"""Streams that are wrong if TWS sends them twice. Of prices it does not matter: the last one holds."""


def _told(value: Any) -> str:
    return "left out" if value is None else ascii(value)[:60]


def _with_key(args: dict[str, Any], key: str | None) -> tuple[dict[str, Any], str]:
    """The arguments without the order's key, and the key, which may be given in either place."""
    given = args.get("key", key)
    if key is not None and given != key:
        raise Refused("E_ARG", "key is given twice, and differently: beside args and within")
    if given is None:
        raise Refused("E_ARG", "key is missing: your own name for the order, by which it is known for ever")
    if not isinstance(given, str) or not given or not given.isascii() or not given.isprintable() or "/" in given:
        raise Refused("E_ARG", "key must be 1 or more printable ASCII characters without /")
    return {name: value for name, value in args.items() if name != "key"}, given
