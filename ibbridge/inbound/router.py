"""Which topic a message belongs to, and publishing it there.

A request that is under way has a *route*: where its answers go, who asked, and under which number TWS knows it. The
rest is read off the declarations: what a message is keyed by, which topic it belongs to without a request, what
identifies the values it can hold. Data of a request that nobody here made is published under the key `~<reqId>`.

Knows declarations, streams, orders and what IB's error codes mean; nothing of sockets, time or who may do what.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from functools import reduce
from operator import itemgetter
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import msgpack

from ibbridge import ib
from ibbridge.codec.messages import INBOUND, MESSAGES, OUTBOUND
from ibbridge.codec.schema import Declaration, Kind, Request, Topic
from ibbridge.protocol import topics
from ibbridge.streams.market_depth import RESET, Book
from ibbridge.streams.publisher import EVENT, GAP

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

    from ibbridge.codec import Packed
    from ibbridge.orders.registry import Order, Orders
    from ibbridge.streams.publisher import Streams
    from ibbridge.streams.sequencer import Channel
    from ibbridge.tws.send_queue import Waiting

MOST_ENDED = 10_000
"""Requests that are over and still remembered, so that a late answer reaches who asked."""

LIVE_UPDATES_FAILED = 10182
COMPETING = 10197
BAD_MESSAGE = 508
"""A message that cannot be read: IB's clients have the code for it. TWS itself never sends it."""

DEPTH_HALTED = 316
BUST = 10225

AGAIN = frozenset((LIVE_UPDATES_FAILED, DEPTH_HALTED, BUST))
"""What ends a stream at TWS and not here: it is asked for again."""

UNTIED = frozenset((-1, 0, 2147483647, None))
"""The ids of errors that concern no request. 2147483647 arrives as None."""

_ENDS_OF: Mapping[str, tuple[str, ...]] = {
    message.name: tuple(
        dict.fromkeys(
            request.ends[0]
            for request in OUTBOUND
            if message.name in request.answers and request.ends and not request.key and not request.streams({})
        )
    )
    for message in INBOUND
}
"""The ends of the answers without a number of which a message is a part."""

_pack: Callable[[Any], bytes] = msgpack.Packer().pack


class Asking(NamedTuple):
    """Who asks, and under which command id."""

    client: str
    id: str | int

    @property
    def named(self) -> Asking:
        """The same as topics have it, where every id is text."""
        return Asking(self.client, str(self.id))


@dataclass(slots=True, eq=False)
class Route:
    """A request under way. `place` gives the topic's components for a type of answer, but for the type itself.

    One that is `touched` has had something else done to it: an error may be about that. `channels` are those that its
    answers have come on: their state lives as long as somebody asks for it. `message` is what asks TWS, sent or not;
    `asks` counts how often TWS was asked, `refusals` how often it was too much for TWS then; `begun` says that an
    answer has come since, `answers` counts those of the types that are `counted`. `due` is what was noted last of when
    it must be answered. One has `spoken` if it has since that was asked (`has_spoken`). What `hears` its answers is the
    daemon itself. `partial` is an answer, packed, that may not be the whole one.
    """

    request: Request
    client: str
    id: str | int
    args: Mapping[str, Any]
    place: Callable[[str], tuple[str, ...]]
    ref: Mapping[str, Any] | None
    req_id: int = 0
    ended: bool = False
    touched: bool = False
    asks: int = 0
    refusals: int = 0
    begun: bool = False
    answers: int = 0
    due: object = None
    spoken: bool = False
    hears: Callable[[Mapping[str, Any]], None] | None = None
    holders: set[Asking] = field(default_factory=set)
    channels: list[Channel] = field(default_factory=list)
    message: Waiting | None = None
    partial: bytes | None = None

    @property
    def one_shot(self) -> bool:
        """Whether it is over with its last answer, and never repeated by itself: a regulatory snapshot costs money."""
        return not self.request.streams(self.args)

    @property
    def blamed(self) -> Mapping[str, Any]:
        """Whose request an error is about: on a stream that clients share it may be somebody else's."""
        if self.ref is not None:
            return self.ref
        holders = [{"client": each.client, "id": each.id} for each in sorted(self.holders, key=str)]
        return {"client": self.client, "id": self.id, "holders": holders}

    @property
    def waits(self) -> bool:
        """Whether what asks TWS has not left yet: its time has not begun then."""
        return self.message is not None and self.message.waits


@dataclass(slots=True, eq=False)
class _Plan:
    """How messages of one type are published."""

    declaration: Declaration
    number: Callable[[Mapping[str, Any]], int | None] | None = None
    channels: dict[Any, Channel] = field(default_factory=dict)
    identity: Callable[[Mapping[str, Any]], Hashable] | None = None
    unknown: str = "req"
    ends: bool = False
    counted: bool = False


class Router:
    """Publishes every message where it belongs."""

    def __init__(self, streams: Streams, orders: Orders) -> None:
        self._streams = streams
        self._publish = streams.publish
        self._orders = orders
        self._routes: dict[int, Route] = {}
        self._ended: OrderedDict[int, Route] = OrderedDict()
        self._disowned: OrderedDict[int, None] = OrderedDict()
        self._unwanted: set[tuple[str, tuple[str, ...]]] = set()  # types of message given up, of an account or of all
        self._waiting: dict[str, deque[list[Route]]] = {}
        self._plans = {name: _plan(declaration) for name, declaration in MESSAGES.items()}
        self.usual: dict[str, dict[Any, Channel]] = {
            name: {} if self._plans[name].ends else self._plans[name].channels for name in PASSED_ON
        }
        """Where most of what is passed on goes, by name and key; what is not found there is for `pass_on`."""
        self.answered: Callable[[Route], None] = lambda _: None
        """Is told of every one-shot whose last answer has come."""
        self.over: Callable[[Route], None] = lambda _: None
        """Is told of every request that is over, for whatever reason."""
        self.partly_answered: Callable[[Route], None] = lambda _: None
        """Is told of every what-if of which TWS has said something, and not yet the margins."""
        self.complete: Callable[[str], None] = lambda _: None
        """Is told of messages without a number that end what a stream had to say at first."""
        self.refused_for_now: Callable[[Route, int | None, str], bool] = lambda _, __, ___: False
        """Is told of errors about requests under way. Whether TWS has refused this for a reason that passes: then it is
        asked again."""
        self.troubled: Callable[[Route, int | None, int], None] = lambda _, __, ___: None
        """Is told of errors about requests that are still under way, with the time."""

    # -- requests under way

    def open(self, route: Route) -> None:
        """A request goes out under `route.req_id`."""
        self._routes[route.req_id] = route
        route.asks, route.begun, route.spoken = route.asks + 1, False, False

    def renumber(self, route: Route, number: int) -> None:
        """A request goes out once more. What still comes under its old number is nobody's, lest it be taken for new."""
        if self._routes.get(route.req_id) is route:
            del self._routes[route.req_id]
        self.disown(route.req_id)
        route.req_id = number
        self.open(route)

    def disown(self, number: int) -> None:
        """What comes under this number is published as what nobody has asked for, and is no state."""
        self._ended.pop(number, None)
        self._disowned[number] = None
        if len(self._disowned) > MOST_ENDED:
            self._disowned.popitem(last=False)
        for plan in self._plans.values():
            plan.channels.pop(number, None)

    def wait(self, route: Route) -> None:
        """A request without an id goes out. If the same one is under way, the next answer may be for both."""
        route.asks += 1
        queue = self._waiting.setdefault(route.request.ends[0], deque())
        for waiters in () if route.request.fresh else queue:
            if waiters[0].request is route.request and waiters[0].args == route.args:
                waiters.append(route)
                return
        queue.append([route])

    def named(self, *components: str) -> str:
        """The topic with these components as clients subscribe to it."""
        return self._streams.named(*components)

    def concerned(self, number: int | None) -> Route | None:
        """Return the request with this number, under way or over; None for a number that means none."""
        return None if number in UNTIED else self._routes.get(number) or self._ended.get(number)  # type: ignore[arg-type]

    def incomplete(self, name: str, known: Mapping[str, Any]) -> list[Route]:
        """Return who waits for an answer without a number of which this message is a part that cannot be read.

        Their requests are over. If it was the last part nobody waits any more; else they hear the last part too.
        """
        found: list[Route] = []
        for end in _ENDS_OF.get(name, ()):
            queue = self._waiting.get(end) or deque()
            for waiters in queue:
                args, repeats = waiters[0].args, waiters[0].request.repeats
                if all(known.get(each, args[each]) == args[each] for each in repeats):
                    if name == end:
                        queue.remove(waiters)
                    found += [route for route in waiters if not route.ended]
                    break
        for route in found:
            route.ended = True
        return found

    def spoil(self, route: Route, name: str, known: Mapping[str, Any], ts: int) -> None:
        """End a request of which an answer cannot be read, as it can never be complete. A stream goes on.

        A book is wrong from there on, and asked for again.
        """
        if route.ended:
            return
        if not route.one_shot:
            route.begun = route.spoken = True
            if self._plans[name].declaration.book:
                self.troubled(route, BAD_MESSAGE, ts)
            return
        last = self._plans[name].declaration.last
        if name in route.request.ends and (last is None or known.get(last, True)):
            self.answered(route)
        self.end(route)

    def route(self, req_id: int) -> Route | None:
        """The request with this number, if it is under way."""
        return self._routes.get(req_id)

    def end(self, route: Route) -> None:
        """The request is over. What still comes goes where the rest went, and leaves no state: nobody holds it."""
        self._finish(route)
        for used in route.channels:
            used.users -= 1
            if not used.users:
                self._streams.forget(used)
        route.channels.clear()
        if self._routes.pop(route.req_id, None) is None:
            return
        self._ended[route.req_id] = route
        for plan in self._plans.values():
            plan.channels.pop(route.req_id, None)
        if len(self._ended) > MOST_ENDED:
            self._ended.popitem(last=False)

    def _finish(self, route: Route) -> None:
        """Mark a request as over, and let go of what only one under way needs: it is remembered for late answers.

        No cycle of references may be left in it. The garbage collector looks at what has become old only when a
        connection is lost (`daemon.settle`), which may be never.
        """
        route.ended = True
        self.over(route)
        route.message = route.due = None
        route.args = {name: value for name, value in route.args.items() if not isinstance(value, dict | list)}

    def given_up(self, request: Request, *place: str) -> None:
        """Nobody holds a stream without a number any more: what it told, under that place, is no state now."""
        self._unwanted |= {(kind, place[1:]) for kind in request.answers}
        self._streams.forget_types(place, frozenset(request.answers))

    def wanted(self, request: Request, *place: str) -> None:
        """Somebody holds it: what it tells is state."""
        whole: tuple[str, ...] = ()
        self._unwanted = {
            (kind, of)
            for kind, of in self._unwanted
            if kind not in request.answers or (of not in (whole, place[1:]) and place[1:] != whole)
        }

    @staticmethod
    def _use(route: Route, channel: Channel) -> None:
        """The route's answers come there, maybe beside another's: the same instrument, asked for in another way."""
        route.begun = route.spoken = True
        if not route.one_shot:  # what it was refused before is over: a stream lives for months
            route.refusals = 0
        if not route.ended and channel not in route.channels:
            route.channels.append(channel)
            channel.users += 1

    def reconnected(self) -> None:
        """A new connection: no number of the old one means anything."""
        self._streams.next_generation()
        self._routes.clear()
        self._ended.clear()
        self._disowned.clear()
        for plan in self._plans.values():
            plan.channels.clear()

    def unanswered(self) -> list[Route]:
        """The one-shots under way, which the end of the connection leaves without an answer; it forgets them."""
        keyed = [route for route in self._routes.values() if route.one_shot]
        waiting = [route for queue in self._waiting.values() for waiters in queue for route in waiters]
        for route in keyed:
            del self._routes[route.req_id]
        self._waiting.clear()
        return keyed + waiting

    def give_up(self, route: Route) -> None:
        """TWS has not answered. What comes late is nobody's."""
        self.end(route)
        self.disown(route.req_id)
        if route.request.key is None:
            queue = self._waiting.get(route.request.ends[0]) or deque()
            for waiters in [each for each in queue if route in each]:
                waiters.remove(route)
                if not waiters:
                    queue.remove(waiters)

    def gap(self, route: Route, reason: str, ts: int) -> bool:
        """Say on its streams that something may have been missed; False if nothing has ever come there."""
        streams = {channel.stream.name: channel.stream for channel in route.channels}
        place = route.place(GAP)
        for stream in streams.values():
            own = self._streams.components(stream)
            self._streams.gap(route.channels, place if place[:2] == own else own, reason, ts)
        return bool(streams)

    def gap_of_all(self, request: Request, place: tuple[str, ...], reason: str, ts: int) -> None:
        """The same of a stream without a number, that tells of all accounts or of all bulletins."""
        for components, channels in self._streams.holding(place, frozenset(request.answers)).items():
            self._streams.gap(channels, components, reason, ts)

    def last(self, route: Route) -> int:
        """The number of the last message of the stream on which a request's answers arrive."""
        return self._streams.last(*route.place(GAP))

    def has_spoken(self, route: Route) -> bool:
        """Whether a message has come under its number since this was asked last, or for the first time.

        For streams that others share the topic of: the number of their stream says nothing of each. The next message
        is looked at, as the first one was.
        """
        spoken, route.spoken = route.spoken, False
        for name in route.request.answers:
            if name in self._plans:
                self._plans[name].channels.pop(route.req_id, None)
        return spoken

    def __len__(self) -> int:
        return len(self._routes)

    # -- messages

    def publish(self, name: str, data: dict[str, Any], ts: int) -> None:
        """Publish a decoded message. Raises `OverflowError` for a number that msgpack has no room for."""
        plan = self._plans[name]
        number = plan.number(data) if plan.number else None
        channel = plan.channels.get(number) if plan.number else None
        if channel is None:
            channel = self._channel(plan, name, data, ts)
            if channel is None:
                return
        self._streams.put(channel, _pack(data), ts, plan.identity(data) if plan.identity else EVENT)
        if plan.counted and number is not None and (route := self._routes.get(number)):
            route.answers += 1
            if route.hears:
                route.hears(data)
        if plan.declaration.book:
            channel.book = channel.book or Book()
            channel.book.apply(data, ts)
        if plan.ends and number is not None:
            self._over(name, number, data)

    def pass_on(self, message: Packed, ts: int) -> None:
        """Publish a message that is packed already: one of `PASSED_ON`."""
        name, key, identity, data = message
        plan = self._plans[name]
        channel = plan.channels.get(key)
        if channel is None:
            channel = self._answer_to(plan, name, key)
        body = self._publish(channel, data, ts)
        if plan.identity is not None:  # an identity may be unset, and is one all the same
            channel.last[identity] = body
        if plan.ends and key is not None:
            self._over(name, key, {})

    def _over(self, name: str, number: int, data: Mapping[str, Any]) -> None:
        """What `number` asked for is complete, if this message is its end."""
        route = self._routes.get(number)
        if route is None or not route.one_shot or name not in route.request.ends:
            return
        last = self._plans[name].declaration.last
        if last is None or data[last]:
            self.answered(route)
            self.end(route)

    def _channel(self, plan: _Plan, name: str, data: dict[str, Any], ts: int) -> Channel | None:
        """The channel of a message that has not been met before, or depends on more than its id.

        None if the message has been published: where it was waited for, or as an error.
        """
        declaration = plan.declaration
        if name == "error":
            self._error(data, ts)
            return None
        if plan.ends and declaration.key is None:
            self.complete(name)
        if plan.ends and declaration.key is None and (waiters := self._waiters(name, data)):
            packed = _pack(data)
            for route in waiters:
                self._finish(route)
                self._streams.put(self._at(route, name), packed, ts)
            return None
        return self._places[declaration.topic](self, plan, name, data)

    def _waiters(self, name: str, data: Mapping[str, Any]) -> list[Route]:
        """Those who wait for this answer: who asked first, and for just this if the answer repeats what was asked."""
        queue = self._waiting.get(name) or deque()
        for waiters in queue:
            route = waiters[0]
            if all(data[each] == route.args[each] for each in route.request.repeats):
                queue.remove(waiters)
                return waiters
        return []

    def _at(self, route: Route, name: str) -> Channel:
        channel = self._streams.passing if route.ended else self._streams.channel
        return channel(*route.place(name), name, ref=route.ref)

    def _answer(self, plan: _Plan, name: str, data: Mapping[Any, Any]) -> Channel:
        return self._answer_to(plan, name, plan.number(data) if plan.number else None)

    def _answer_to(self, plan: _Plan, name: str, number: int | None) -> Channel:
        route = self._routes.get(number) or self._ended.get(number)  # type: ignore[arg-type]
        if route is None:
            if number in self._disowned:
                return self._streams.passing(plan.unknown, f"~{number}", name)
            return self._streams.channel(plan.unknown, f"~{number}", name)
        channel = self._at(route, name)
        if route.ended:
            return channel
        plan.channels[number] = channel
        channel.keeps = plan.identity is not None
        self._use(route, channel)
        return channel

    def _of_order(self, _: _Plan, name: str, data: dict[str, Any]) -> Channel:
        about = data.get("order") or data
        number = data.get("orderId", 0)
        route = self._routes.get(number) or self._ended.get(number)
        # A what-if is no order. Another client of TWS may have an order of the same number.
        if route is not None and route.request.does is Kind.ORDER and self._orders.ours(about.get("clientId", 0)):
            return self._of_what_if(route, name, data)
        whose = self._orders.whose(
            client_id=about.get("clientId", 0),
            order_id=data.get("orderId", about.get("orderId", 0)),
            perm_id=about.get("permId", 0),
            order_ref=about.get("orderRef", ""),
            status=data.get("status") or (data.get("orderState") or {}).get("status") or "",
        )
        return self._streams.channel("ord", whose.owner, whose.part, name, ref=whose.ref)

    def _of_what_if(self, route: Route, name: str, data: dict[str, Any]) -> Channel:
        """Return where a message about a what-if belongs: to who asked, but for an openOrder that is not its answer.

        TWS may send one before it knows the margins. It is the answer only where no other comes (`answer_partly`).
        """
        if name == "openOrder" and (route.ended or not _has_margins(data)):
            if not route.ended:
                route.partial = _pack(data)
                self.partly_answered(route)
            return self._streams.passing("req", f"~{route.req_id}", name)
        if name == "openOrder":
            self.end(route)
        return self._at(route, name)

    def answer_partly(self, route: Route, ts: int) -> bool:
        """Publish what there is of an answer as all that comes. Return False if there is nothing."""
        if route.partial is None:
            return False
        self.end(route)
        self._streams.put(self._at(route, "openOrder"), route.partial, ts)
        return True

    def _of_execution(self, plan: _Plan, name: str, data: dict[str, Any]) -> Channel:
        if name == "commissionAndFeesReport":
            where = self._orders.execution(data[name].get("execId", "")) or ("exec", "ext", None)
        else:
            where = self._execution(plan, data)
            self._orders.executed(data["execution"].get("execId", ""), where)
        *components, ref = where
        return self._streams.passing(*components, name, ref=ref)  # an event: there would be one more for each order

    def _execution(self, plan: _Plan, data: dict[str, Any]) -> tuple[Any, ...]:
        """An execution that was asked for goes to who asked; a live one to its owner."""
        execution = data["execution"]
        whose = self._orders.whose(
            client_id=execution.get("clientId", 0),
            order_id=execution.get("orderId", 0),
            perm_id=execution.get("permId", 0),
            order_ref=execution.get("orderRef", ""),
        )
        route = self._routes.get(data["reqId"]) or self._ended.get(data["reqId"])
        if route is not None:
            route.begun = True
            return (*route.place(plan.declaration.name), route.ref)
        return ("exec", whose.owner, whose.ref)

    def _of_account(self, plan: _Plan, name: str, data: dict[str, Any]) -> Channel:
        number = plan.number(data) if plan.number else None
        route = self._routes.get(number) or self._ended.get(number) if plan.number else None  # type: ignore[arg-type]
        account = data.get("accountName") or data.get("account") or (route and route.args.get("account"))
        if not account:
            account = "all" if plan.number is None or route is not None else f"~{number}"
        given_up = route.ended if route else not self._unwanted.isdisjoint({(name, ()), (name, (account,))})
        if given_up:  # what comes late is no state: nobody asks for it any more
            return self._streams.passing("acct", account, name, ref=route.ref if route else None)
        channel = self._streams.channel("acct", account, name, ref=route.ref if route else None)
        if route:
            self._use(route, channel)
        return channel

    def _of_system(self, _: _Plan, name: str, __: dict[str, Any]) -> Channel:
        return self._streams.channel("sys", "tws", name)

    def _of_bulletin(self, _: _Plan, name: str, __: dict[str, Any]) -> Channel:
        return self._streams.channel(*topics.BULLETINS, name)

    def _error(self, data: dict[str, Any], ts: int) -> None:
        """An error belongs to the request or the order with its id; one number is never both.

        A stream that may be over or not is kept: taken for dead while it lives, it would lose its state, and its cancel
        would not reach TWS; taken for alive while it is dead, it costs a needless cancel. Orders are not ended here:
        their status says what became of them.
        """
        number = data["reqId"]
        error = ib.about(data["errorCode"], data["errorString"])
        ends = error.ends
        channels: list[Channel] = []
        route = None
        if number not in UNTIED:
            if route := self._routes.get(number) or self._ended.get(number):
                ends = error.ends_one_shot if route.one_shot else error.ends
                ends = None if ends and route.touched else ends
                ends = False if not route.ended and data["errorCode"] in AGAIN and not route.one_shot else ends
                if not route.ended and self.refused_for_now(route, data["errorCode"], data["errorString"]):
                    ends = False
                if ends and not route.ended:
                    self.end(route)
                if data["errorCode"] == RESET:
                    _clear_books(route)
                channels = self._of_error(route)
            elif order := self._orders.numbered(number):
                order.hear()
                ends = error.ends_order(acknowledged=bool(order.perm_id) or order.touched)
                order.ended = order.ended or bool(ends)
                channels = [self._streams.passing("ord", *order.whose[:2], "error", ref=order.whose.ref)]
        for each in channels or [self._streams.channel("sys", "tws", "error")]:
            self._say_error(each, data, ts, ends=ends)
        if route is not None and not route.ended:
            self.troubled(route, data["errorCode"], ts)

    def tell_order(self, order: Order, code: int, text: str, ts: int, *, ends: bool | None = None) -> None:
        """Publish an error of the daemon's own about an order. Whether that is over is not known, unless it is said."""
        order.ended = order.ended or bool(ends)
        channel = self._streams.passing("ord", *order.whose[:2], "error", ref=order.whose.ref)
        self._say_error(channel, _own_error(order.order_id, code, text), ts, ends=ends)

    def tell(self, route: Route, code: int, text: str, ts: int) -> None:
        """Publish an error of the daemon's own about a request. Whether that is over has been decided before."""
        for each in (self._at(route, "error"), *self._to_others(route)):
            self._say_error(each, _own_error(route.req_id, code, text), ts, ends=route.ended)

    def tell_held(self, route: Route, about: Mapping[str, Any], ts: int) -> None:
        """Publish that a request that has not left is held back, and until when."""
        self._streams.say(self._at(route, "held"), about, ts)

    def _of_error(self, route: Route) -> list[Channel]:
        return [self._streams.passing(*route.place("error"), "error", ref=route.blamed), *self._to_others(route)]

    def _to_others(self, route: Route) -> list[Channel]:
        """Where clients that share a stream of an account hear of errors about it, beside who asked first."""
        if route.place("error")[0] != "req":
            return []
        others = sorted(route.holders - {Asking(route.client, route.id).named}, key=str)
        return [
            self._streams.passing("req", each.client, str(each.id), "error", ref={"client": each.client, "id": each.id})
            for each in others
        ]

    def _say_error(self, channel: Channel, data: Mapping[str, Any], ts: int, *, ends: bool | None) -> None:
        """Every error says of which class it is, and whether what it is about is over."""
        error_class = ib.about(data["errorCode"], data["errorString"]).error_class
        self._streams.say(channel, {**data, "class": error_class, "ends": ends}, ts)

    _places: ClassVar[Mapping[Topic, Callable[[Router, _Plan, str, dict[str, Any]], Channel]]] = {
        Topic.REQUEST: _answer,
        Topic.ORDER: _of_order,
        Topic.EXECUTION: _of_execution,
        Topic.ACCOUNT: _of_account,
        Topic.SYSTEM: _of_system,
        Topic.NEWS: _of_bulletin,
    }


def _own_error(number: int, code: int, text: str) -> dict[str, Any]:
    """An error of the daemon's own, as one of TWS's looks."""
    said = {"reqId": number, "errorTime": 0, "errorCode": code, "errorString": text}
    return {**said, "advancedOrderRejectJson": ""}


def _has_margins(data: Mapping[str, Any]) -> bool:
    state = data.get("orderState") or {}
    return any(each.startswith(_MARGINS) and value not in (None, "") for each, value in state.items())


_MARGINS = ("initMargin", "maintMargin", "equityWithLoan")


def _clear_books(route: Route) -> None:
    for each in route.channels:
        if each.book:
            each.book.clear()


def _plan(declaration: Declaration) -> _Plan:
    """Everything about a message's publication that its declaration decides."""
    asked = [request for request in OUTBOUND if declaration.name in request.answers]
    streams = any(r.does is Kind.STREAM and any(f.name == "contract" for f in r.shape.fields) for r in asked)
    return _Plan(
        declaration,
        _number(declaration),
        identity=_identity(declaration.identity),
        unknown="md" if streams else "req",
        ends=any(declaration.name in request.ends for request in asked),
        counted=any(request.throttled for request in asked),
    )


def _number(declaration: Declaration) -> Callable[[Mapping[str, Any]], int | None] | None:
    """The request or order id of a message; None for one that has none."""
    if declaration.key is None:
        return None
    path = declaration.key.split(".")
    if len(path) == 1:
        return itemgetter(declaration.key)
    return lambda data: reduce(lambda found, name: found.get(name) or {}, path[:-1], data).get(path[-1])


def _identity(fields: tuple[str, ...] | None) -> Callable[[Mapping[str, Any]], Hashable] | None:
    """What tells apart the values that one topic can hold at a time; a contract counts by its instrument."""
    if fields is None:
        return None
    if not fields:
        return lambda _: ()
    if fields == ("contract",):
        return lambda data: _instrument(data["contract"])
    if "contract" not in fields:
        return itemgetter(*fields)
    return lambda data: tuple(_instrument(data[f]) if f == "contract" else data[f] for f in fields)


def _instrument(contract: Mapping[str, Any]) -> Hashable:
    return contract.get("conId") or topics.instrument_key(contract)


PASSED_ON = frozenset(
    name
    for name, plan in ((declaration.name, _plan(declaration)) for declaration in INBOUND)
    if plan.declaration.topic is Topic.REQUEST and plan.number and name != "error"
    if not (plan.declaration.last or plan.declaration.book)
)
"""Messages that go to whoever asked and are looked into by nobody: the codec may hand them over packed."""
