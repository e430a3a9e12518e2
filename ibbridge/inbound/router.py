"""The topic of each message of TWS, and its publication there.

Responses go where their request says. The declarations say the rest: the field with a message's id, the topic of a
message without a request, and the fields that identify the values that a message can hold. Data with a request id that
this daemon has not assigned is published under the key `~<reqId>`.

`order_router` has the messages about orders. This module knows declarations, streams and requests. It must not know
sockets, time or permissions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import msgpack

from ibbridge.codec.messages import MESSAGES
from ibbridge.codec.schema import Topic
from ibbridge.inbound.publication_plan import PASSED_ON, publication_plan
from ibbridge.streams.market_depth import DepthBook
from ibbridge.streams.publisher import EVENT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ibbridge.codec import Packed
    from ibbridge.inbound.errors import ErrorRouter
    from ibbridge.inbound.order_router import OrderRouter
    from ibbridge.inbound.publication_plan import PublicationPlan
    from ibbridge.requests.tracker import RequestTracker
    from ibbridge.streams.publisher import Publisher
    from ibbridge.streams.sequencer import Channel
    from ibbridge.subscriptions.singleton_streams import SingletonStreams

_pack: Callable[[Any], bytes] = msgpack.Packer().pack


class Router:
    """Router of messages from TWS to their topics."""

    def __init__(
        self,
        publisher: Publisher,
        tracker: RequestTracker,
        orders: OrderRouter,
        errors: ErrorRouter,
        singletons: SingletonStreams,
    ) -> None:
        self._publisher = publisher
        self._publish = publisher.publish
        self._tracker = tracker
        self._orders = orders
        self._errors = errors
        self._singletons = singletons
        self._lists = singletons.lists
        self._plans = {
            name: publication_plan(declaration, tracker.channels[name]) for name, declaration in MESSAGES.items()
        }
        self.usual: dict[str, dict[Any, Channel]] = {
            name: {} if self._plans[name].ends else self._plans[name].channels for name in PASSED_ON
        }
        """The channels of most packed messages, by name and key; `pass_on` takes a message that is not found here."""

    def publish(self, name: str, data: dict[str, Any], ts: int) -> None:
        """Publish a decoded message. Raises `OverflowError` for an integer that does not fit into msgpack."""
        plan = self._plans[name]
        number = plan.number(data) if plan.number else None
        channel = plan.channels.get(number) if plan.number else None
        if channel is None:
            channel = self._channel(plan, name, data, ts)
            if channel is None:
                return
        self._publisher.publish_packed(channel, _pack(data), ts, plan.identity(data) if plan.identity else EVENT)
        if plan.counted and number is not None and (active := self._tracker.under_way(number)):
            active.answers += 1
            if active.on_response:
                active.on_response(data)
        if plan.declaration.book:
            channel.book = channel.book or DepthBook()
            channel.book.apply(data, ts)
        if plan.ends:
            if number is not None:
                self._over(name, number, data)
            self._lists.end(name, data, ts)
        self._orders.publish_states(ts)

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
        active = self._tracker.under_way(number)
        if active is None or not active.one_shot or name not in active.request.ends:
            return
        last = self._plans[name].declaration.last
        if last is None or data[last]:
            self._tracker.answer(active)

    def _channel(self, plan: PublicationPlan, name: str, data: dict[str, Any], ts: int) -> Channel | None:
        """Return the channel of a message that has no channel yet, or whose channel depends on more than its id.

        Return None if nothing is left to do: the message was an error, an execution, an end that requests have waited
        for, or a part of the comparison of orders.
        """
        declaration = plan.declaration
        if name == "error":
            self._errors.publish(data, ts)
            return None
        if declaration.topic is Topic.EXECUTION:
            self._orders.publish(name, data, ts)
            return None
        if declaration.topic is Topic.ORDER and self._orders.is_compared(name, data):
            self._orders.publish_difference(name, data, ts)
            return None
        if plan.ends and declaration.key is None:
            self._singletons.complete(name)
        if plan.ends and declaration.key is None and (waiters := self._tracker.take_waiters(name, data)):
            packed = _pack(data)
            for active in waiters:
                self._tracker.answer_waiting(active)
                self._publisher.publish_packed(self._tracker.channel(active, name), packed, ts)
            return None
        return self._places[declaration.topic](self, plan, name, data)

    def _answer(self, plan: PublicationPlan, name: str, data: Mapping[Any, Any]) -> Channel:
        return self._answer_to(plan, name, plan.number(data) if plan.number else None)

    def _answer_to(self, plan: PublicationPlan, name: str, number: int | None) -> Channel:
        active = self._tracker.find(number)
        if active is None:
            if self._tracker.is_disowned(number):
                return self._publisher.transient_channel(plan.unknown, f"~{number}", name)
            return self._publisher.channel(plan.unknown, f"~{number}", name)
        channel = self._tracker.channel(active, name)
        if active.ended:
            return channel
        plan.channels[number] = channel
        channel.keeps = plan.identity is not None
        self._tracker.use(active, channel)
        return channel

    def _of_order(self, _: PublicationPlan, name: str, data: dict[str, Any]) -> Channel:
        return self._orders.channel(name, data)

    def _of_account(self, plan: PublicationPlan, name: str, data: dict[str, Any]) -> Channel:
        number = plan.number(data) if plan.number else None
        active = self._tracker.find(number) if plan.number else None
        account = data.get("accountName") or data.get("account") or (active and active.args.get("account"))
        if not account:
            account = "all" if plan.number is None or active is not None else f"~{number}"
        given_up = active.ended if active else self._singletons.is_unwanted(name, account)
        if given_up:  # a late message is no state: its subscription has been cancelled
            return self._publisher.transient_channel("acct", account, name, ref=active.ref if active else None)
        channel = self._publisher.channel("acct", account, name, ref=active.ref if active else None)
        if active:
            self._tracker.use(active, channel)
        return channel

    def _at_its_place(self, plan: PublicationPlan, name: str, _: dict[str, Any]) -> Channel:
        return self._publisher.channel(*plan.place, name)

    _places: ClassVar[Mapping[Topic, Callable[[Router, PublicationPlan, str, dict[str, Any]], Channel]]] = {
        Topic.REQUEST: _answer,
        Topic.ORDER: _of_order,
        Topic.ACCOUNT: _of_account,
        Topic.SYSTEM: _at_its_place,
        Topic.NEWS: _at_its_place,
    }
