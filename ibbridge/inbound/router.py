"""Routing of messages from TWS to their topics, and the requests that are under way.

A request under way has a *route*: the topic of its responses, its client, and its request id at TWS. The declarations
say the rest: the field with a message's id, the topic of a message without a request, and the fields that identify the
values that a message can hold. Data with a request id that this daemon has not assigned is published under the key
`~<reqId>`.

This module knows declarations, streams, orders and the meaning of IB's error codes. It must not know sockets, time or
permissions.
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
"""Most completed requests that are remembered, so that a late response still reaches its client."""

LIVE_UPDATES_FAILED = 10182
COMPETING = 10197
BAD_MESSAGE = 508
"""Code of IB's client libraries for a message that cannot be read. TWS itself never sends this code."""

DEPTH_HALTED = 316
BUST = 10225

AGAIN = frozenset((LIVE_UPDATES_FAILED, DEPTH_HALTED, BUST))
"""Error codes by which TWS ends a subscription that the daemon keeps and requests again."""

UNTIED = frozenset((-1, 0, 2147483647, None))
"""Ids of errors that concern no request. The decoder turns 2147483647 into None."""

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
"""Types of message that end a response without a request id, by the types of message that are part of the response."""

_pack: Callable[[Any], bytes] = msgpack.Packer().pack


class Asking(NamedTuple):
    """The client of a command, and its command id."""

    client: str
    id: str | int

    @property
    def named(self) -> Asking:
        """The client and the id as topics spell them, where every id is text."""
        return Asking(self.client, str(self.id))


@dataclass(slots=True, eq=False)
class Route:
    """A request under way: its client, its request id, its arguments, and the topics of its responses.

    - `place(type)`: the components of the topic for a type of response, without the type itself.
    - `ref`: published with every response; None where clients share the responses.
    - `touched`: a later command, such as an update, named this request, so an error may belong to that command.
    - `asks`: how often the request was sent to TWS; `refusals`: how often TWS refused the request for pacing.
    - `begun`: a response has come since the request was sent last. `spoken`: the same since the last `has_spoken`.
    - `answers`: the number of responses of the types that are `counted`.
    - `due`: the latest deadline of the request. Earlier deadlines are void.
    - `hears`: receives each counted response; set only for requests of the daemon itself.
    - `holders`: the clients that share the request. `channels`: the channels of its responses. The state of a channel
      is kept as long as a request uses the channel.
    - `message`: the message that carries the request to TWS, sent or not.
    - `partial`: a packed response that may be incomplete.
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
        """True if the last response ends the request. A regulatory snapshot is one, and costs money when repeated."""
        return not self.request.streams(self.args)

    @property
    def blamed(self) -> Mapping[str, Any]:
        """The `ref` of an error about this request. On a shared stream the `ref` names all clients of the request."""
        if self.ref is not None:
            return self.ref
        holders = [{"client": holder.client, "id": holder.id} for holder in sorted(self.holders, key=str)]
        return {"client": self.client, "id": self.id, "holders": holders}

    @property
    def waits(self) -> bool:
        """True while the request is still queued. The time for its response has not begun then."""
        return self.message is not None and self.message.waits


@dataclass(slots=True, eq=False)
class _Plan:
    """Rules for publishing the messages of one type, and the channels in use."""

    declaration: Declaration
    number: Callable[[Mapping[str, Any]], int | None] | None = None
    channels: dict[Any, Channel] = field(default_factory=dict)
    identity: Callable[[Mapping[str, Any]], Hashable] | None = None
    unknown: str = "req"
    ends: bool = False
    counted: bool = False


class Router:
    """Router of messages from TWS to their topics, with the table of requests under way."""

    def __init__(self, streams: Streams, orders: Orders) -> None:
        self._streams = streams
        self._publish = streams.publish
        self._orders = orders
        self._routes: dict[int, Route] = {}
        self._ended: OrderedDict[int, Route] = OrderedDict()
        self._disowned: OrderedDict[int, None] = OrderedDict()
        self._unwanted: set[tuple[str, tuple[str, ...]]] = set()  # message types given up, for one account or for all
        self._waiting: dict[str, deque[list[Route]]] = {}
        self._plans = {name: _plan(declaration) for name, declaration in MESSAGES.items()}
        self.usual: dict[str, dict[Any, Channel]] = {
            name: {} if self._plans[name].ends else self._plans[name].channels for name in PASSED_ON
        }
        """Channels of packed messages, by message type and request id. A message without an entry is for `pass_on`."""
        self.answered: Callable[[Route], None] = lambda _: None
        """Callback for a one-shot whose last response has come."""
        self.over: Callable[[Route], None] = lambda _: None
        """Callback for a request that is over, for whatever reason."""
        self.partly_answered: Callable[[Route], None] = lambda _: None
        """Callback for a what-if order to which TWS has responded without the margins."""
        self.complete: Callable[[str], None] = lambda _: None
        """Callback for the type of a message without a request id that ends the first values of a subscription."""
        self.refused_for_now: Callable[[Route, int | None, str], bool] = lambda _, __, ___: False
        """Callback for an error about a request under way: the request, the code and the text. Returns True if TWS has
        refused the request for a passing reason; the request is then sent again and does not end."""
        self.troubled: Callable[[Route, int | None, int], None] = lambda _, __, ___: None
        """Callback for an error about a request that stays under way: the request, the code and the time."""

    # -- requests under way

    def open(self, route: Route) -> None:
        """Enter a request that is sent under `route.req_id`."""
        self._routes[route.req_id] = route
        route.asks, route.begun, route.spoken = route.asks + 1, False, False

    def renumber(self, route: Route, number: int) -> None:
        """Give a request that is sent again a new request id, and disown the old one.

        Otherwise late responses with the old request id would pass for responses to the new request.
        """
        if self._routes.get(route.req_id) is route:
            del self._routes[route.req_id]
        self.disown(route.req_id)
        route.req_id = number
        self.open(route)

    def disown(self, number: int) -> None:
        """Stop treating messages with this request id as responses.

        The router publishes them under `~<reqId>` and keeps them out of snapshots.
        """
        self._ended.pop(number, None)
        self._disowned[number] = None
        if len(self._disowned) > MOST_ENDED:
            self._disowned.popitem(last=False)
        for plan in self._plans.values():
            plan.channels.pop(number, None)

    def wait(self, route: Route) -> None:
        """Enter a request that is sent without a request id.

        If the same request is under way, one response answers both, unless the declaration says `fresh`.
        """
        route.asks += 1
        queue = self._waiting.setdefault(route.request.ends[0], deque())
        for waiters in () if route.request.fresh else queue:
            if waiters[0].request is route.request and waiters[0].args == route.args:
                waiters.append(route)
                return
        queue.append([route])

    def named(self, *components: str) -> str:
        """Return the topic with these components as clients subscribe to the topic."""
        return self._streams.named(*components)

    def concerned(self, number: int | None) -> Route | None:
        """Return the request with this request id, under way or over; None for an id that names no request."""
        return None if number in UNTIED else self._routes.get(number) or self._ended.get(number)  # type: ignore[arg-type]

    def incomplete(self, name: str, known: Mapping[str, Any]) -> list[Route]:
        """End and return the requests whose response, without a request id, has this unreadable message as a part.

        If the message was the last part, the requests stop waiting. Otherwise they still receive the last part.
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
        """End a one-shot that has an unreadable response, because its responses can never be complete.

        A subscription goes on. A subscription to market depth is requested again, because its book is wrong.
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
        """Return the request with this request id, if the request is under way."""
        return self._routes.get(req_id)

    def end(self, route: Route) -> None:
        """End a request. Late responses go to the same topic, but leave no state: no client holds the request."""
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
        """Mark a request as over, and release everything but what routing its late responses needs.

        No cycle of references may stay in the request. The garbage collector looks at old objects only when a
        connection is lost (`daemon.settle`), which may be never.
        """
        route.ended = True
        self.over(route)
        route.message = route.due = None
        route.args = {name: value for name, value in route.args.items() if not isinstance(value, dict | list)}

    def given_up(self, request: Request, *place: str) -> None:
        """Forget the state under `place` of a subscription without a request id, whose last client has left."""
        self._unwanted |= {(kind, place[1:]) for kind in request.answers}
        self._streams.forget_types(place, frozenset(request.answers))

    def wanted(self, request: Request, *place: str) -> None:
        """Keep the messages of a subscription without a request id as state again: a client holds the subscription."""
        whole: tuple[str, ...] = ()
        self._unwanted = {
            (kind, of)
            for kind, of in self._unwanted
            if kind not in request.answers or (of not in (whole, place[1:]) and place[1:] != whole)
        }

    @staticmethod
    def _use(route: Route, channel: Channel) -> None:
        """Note that a request's responses arrive on a channel, which other requests for the instrument may share."""
        route.begun = route.spoken = True
        if not route.one_shot:  # earlier refusals no longer count: a subscription lives for months
            route.refusals = 0
        if not route.ended and channel not in route.channels:
            route.channels.append(channel)
            channel.users += 1

    def reconnected(self) -> None:
        """Begin a new connection: forget all request ids of the old one."""
        self._streams.next_generation()
        self._routes.clear()
        self._ended.clear()
        self._disowned.clear()
        for plan in self._plans.values():
            plan.channels.clear()

    def unanswered(self) -> list[Route]:
        """Forget and return the one-shots under way, to which a lost connection will bring no response."""
        keyed = [route for route in self._routes.values() if route.one_shot]
        waiting = [route for queue in self._waiting.values() for waiters in queue for route in waiters]
        for route in keyed:
            del self._routes[route.req_id]
        self._waiting.clear()
        return keyed + waiting

    def give_up(self, route: Route) -> None:
        """End a request that TWS has not answered, and disown its late responses."""
        self.end(route)
        self.disown(route.req_id)
        if route.request.key is None:
            queue = self._waiting.get(route.request.ends[0]) or deque()
            for waiters in [each for each in queue if route in each]:
                waiters.remove(route)
                if not waiters:
                    queue.remove(waiters)

    def gap(self, route: Route, reason: str, ts: int) -> bool:
        """Publish `gap` on the streams of a request. Return False if no response has ever come."""
        streams = {channel.stream.name: channel.stream for channel in route.channels}
        place = route.place(GAP)
        for stream in streams.values():
            own = self._streams.components(stream)
            self._streams.gap(route.channels, place if place[:2] == own else own, reason, ts)
        return bool(streams)

    def gap_of_all(self, request: Request, place: tuple[str, ...], reason: str, ts: int) -> None:
        """Publish `gap` on the streams of a subscription without a request id, such as all accounts or bulletins."""
        for components, channels in self._streams.holding(place, frozenset(request.answers)).items():
            self._streams.gap(channels, components, reason, ts)

    def last(self, route: Route) -> int:
        """Return the last sequence number of the stream on which the responses to a request arrive."""
        return self._streams.last(*route.place(GAP))

    def has_spoken(self, route: Route) -> bool:
        """Return True if a message with the request's id has come since the last call, or since the request was sent.

        This is for subscriptions that share a topic, where the stream's sequence number says nothing about each of
        them. The call drops the request's channels, so that the next message takes the slow path and is noticed.
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
        """Publish a decoded message. Raises `OverflowError` for an integer that does not fit into msgpack."""
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
        """Publish a message that the codec has packed already. Its type is in `PASSED_ON`."""
        name, key, identity, data = message
        plan = self._plans[name]
        channel = plan.channels.get(key)
        if channel is None:
            channel = self._answer_to(plan, name, key)
        body = self._publish(channel, data, ts)
        if plan.identity is not None:  # the identity itself may be None, and counts all the same
            channel.last[identity] = body
        if plan.ends and key is not None:
            self._over(name, key, {})

    def _over(self, name: str, number: int, data: Mapping[str, Any]) -> None:
        """End the one-shot with the request id `number`, if this message is its last response."""
        route = self._routes.get(number)
        if route is None or not route.one_shot or name not in route.request.ends:
            return
        last = self._plans[name].declaration.last
        if last is None or data[last]:
            self.answered(route)
            self.end(route)

    def _channel(self, plan: _Plan, name: str, data: dict[str, Any], ts: int) -> Channel | None:
        """Return the channel of a message that has no channel yet, or whose channel depends on more than its id.

        Return None if the message has been published here: as an error, or to the requests that waited for it.
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
        """Remove and return the oldest waiting requests that this message answers.

        If a response repeats arguments of its request, only requests with the same arguments match.
        """
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
        # A what-if is no order. Another client of TWS may have an order with the same order id.
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
        """Return the channel of a message about a what-if: the client's, unless an openOrder is not the response yet.

        TWS may send an openOrder before the margins are known. The daemon keeps this openOrder, and publishes it as the
        response only if no other comes (`answer_partly`).
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
        """Publish a kept partial response as the final one. Return False if there is none."""
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
        return self._streams.passing(*components, name, ref=ref)  # an event: state would grow with every execution

    def _execution(self, plan: _Plan, data: dict[str, Any]) -> tuple[Any, ...]:
        """Return the topic components and `ref` of an execution: its requester's, or for a live one its owner's."""
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
        if given_up:  # a late message is no state: its subscription has been cancelled
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
        """Publish an error to the request or the order with its id, and end the request if the error does.

        An id never names both a request and an order. A subscription that may be over or not is kept. If a live
        subscription were taken for dead, its state would be lost, and its cancel would not reach TWS. If a dead one is
        taken for alive, the cost is a needless cancel. An order is marked as over only by an error that refuses,
        rejects or cancels it for sure; otherwise its status decides.
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
        for channel in channels or [self._streams.channel("sys", "tws", "error")]:
            self._say_error(channel, data, ts, ends=ends)
        if route is not None and not route.ended:
            self.troubled(route, data["errorCode"], ts)

    def tell_order(self, order: Order, code: int, text: str, ts: int, *, ends: bool | None = None) -> None:
        """Publish an error of the daemon's own about an order. `ends` is None if the order may be over or not."""
        order.ended = order.ended or bool(ends)
        channel = self._streams.passing("ord", *order.whose[:2], "error", ref=order.whose.ref)
        self._say_error(channel, _own_error(order.order_id, code, text), ts, ends=ends)

    def tell(self, route: Route, code: int, text: str, ts: int) -> None:
        """Publish an error of the daemon's own about a request, with `ends` as the caller has set `route.ended`."""
        for channel in (self._at(route, "error"), *self._to_others(route)):
            self._say_error(channel, _own_error(route.req_id, code, text), ts, ends=route.ended)

    def tell_held(self, route: Route, about: Mapping[str, Any], ts: int) -> None:
        """Publish `held` for a request that a limit holds back, with the time until which it waits."""
        self._streams.say(self._at(route, "held"), about, ts)

    def _of_error(self, route: Route) -> list[Channel]:
        return [self._streams.passing(*route.place("error"), "error", ref=route.blamed), *self._to_others(route)]

    def _to_others(self, route: Route) -> list[Channel]:
        """Return the error channels of further clients that share an account's subscription with the first client."""
        if route.place("error")[0] != "req":
            return []
        others = sorted(route.holders - {Asking(route.client, route.id).named}, key=str)
        return [
            self._streams.passing("req", one.client, str(one.id), "error", ref={"client": one.client, "id": one.id})
            for one in others
        ]

    def _say_error(self, channel: Channel, data: Mapping[str, Any], ts: int, *, ends: bool | None) -> None:
        """Publish an error with its class, and with `ends`: whether its request or order is over."""
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
    """Return an error of the daemon's own in the form of an error of TWS."""
    said = {"reqId": number, "errorTime": 0, "errorCode": code, "errorString": text}
    return {**said, "advancedOrderRejectJson": ""}


def _has_margins(data: Mapping[str, Any]) -> bool:
    state = data.get("orderState") or {}
    return any(each.startswith(_MARGINS) and value not in (None, "") for each, value in state.items())


_MARGINS = ("initMargin", "maintMargin", "equityWithLoan")


def _clear_books(route: Route) -> None:
    for channel in route.channels:
        if channel.book:
            channel.book.clear()


def _plan(declaration: Declaration) -> _Plan:
    """Return the rules for publishing a message type that follow from its declaration."""
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
    """Return a getter of the request id or order id of a message; None for a type without an id."""
    if declaration.key is None:
        return None
    path = declaration.key.split(".")
    if len(path) == 1:
        return itemgetter(declaration.key)
    return lambda data: reduce(lambda found, name: found.get(name) or {}, path[:-1], data).get(path[-1])


def _identity(fields: tuple[str, ...] | None) -> Callable[[Mapping[str, Any]], Hashable] | None:
    """Return a getter of the identity by which one topic holds several values; a contract counts by its instrument."""
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
"""Types of message that go to the requester without a look at their fields: the codec may hand them over packed."""
