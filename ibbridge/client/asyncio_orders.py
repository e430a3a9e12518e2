"""Orders of the client for asyncio: `order = await ib.placeOrder(...)`, then `await order.wait()`, and so on."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from ibbridge.client import order_handle
from ibbridge.client import request as requests
from ibbridge.client.dispatch import Dispatch
from ibbridge.client.errors import BridgeError, CommandError
from ibbridge.client.order_handle import OrderHandle
from ibbridge.client.order_state import TYPE, OrderState, order_state, wanted
from ibbridge.client.stream_state import Mode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

    from ibbridge.client.asyncio_feed import AsyncioFeed
    from ibbridge.client.commands import Command, Reply
    from ibbridge.client.contracts import Contract
    from ibbridge.client.message import Message
    from ibbridge.client.order_state import KnownOrder
    from ibbridge.client.orders import Order
    from ibbridge.client.request import Request


@dataclass(frozen=True, slots=True)
class PlacedOrder(OrderHandle):
    """Order that the daemon has accepted: a `Request` that also knows the order's state.

    `state` is the last state that has come: `order.state.state`, `order.state.filled`.
    """

    ib: AsyncioOrders = field(kw_only=True, compare=False, repr=False)

    async def wait(self, until: str | Iterable[str] | None = None, timeout: float | None = None) -> OrderState:  # noqa: ASYNC109 -- as the other client's
        """Wait until the order is in one of the states `until`, or over, and return its state.

        The default is to wait until TWS has said something of the order, or nobody knows: no longer "queued", "sent",
        "modifying" or "cancelling". After `modify` and `cancel` only states count that show the change or the cancel.
        All messages but heartbeats are kept for those who receive. Raise NoAnswer if the state does not come in
        `timeout` seconds (default: the client's `timeout`); nothing is sent or cancelled then.
        """
        return await self.ib.wait_for_order(self, wanted(until), timeout)

    async def modify(self, order: Order | object | None = None, /, **changes: Any) -> PlacedOrder:
        """Change attributes of the order: `order.modify(lmtPrice=180.5)`, or give an order with all of them.

        If no reply comes (NoAnswer), call `modify` with the same changes again: the daemon makes the change once. While
        TWS has not reported the order, or another change or cancel is under way, the daemon refuses (E_STATE): `wait`
        first.
        """
        given = order_handle.changed(order, changes)
        rev, again = self.known.revision(given)
        try:
            made = await self.ib.modifyOrder(self, given, rev)
        except CommandError as error:
            if self.is_behind(error, again=again):
                return await self.modify(given)
            raise
        self.known.attempted()
        return made

    async def cancel(self) -> Request:
        """Cancel the order. It may still fill until its state is "done"."""
        return await self.ib.request("cancelOrder", {"key": self.key})


class AsyncioOrders(Dispatch):
    """Base class of the client: its methods about orders. The client itself sends commands and subscribes."""

    _feed: AsyncioFeed

    async def request(
        self,
        name: str,
        args: dict[str, Any],
        *,
        key: str | None = None,
        id: str | None = None,  # noqa: A002
    ) -> Request:
        """Send the request `name` with a map of arguments."""
        raise NotImplementedError

    async def call(self, cmd: str, /, **args: Any) -> dict[str, Any]:
        """Send any command with these arguments, and return its result."""
        raise NotImplementedError

    async def snapshot(self, prefix: str) -> list[Message]:
        """Return the last message of every topic under `prefix` that has a state."""
        raise NotImplementedError

    async def _exchange(self, command: Command) -> Reply:
        raise NotImplementedError

    async def _join(self, wanted: list[tuple[Mode, list[str]]], holder: str) -> None:
        raise NotImplementedError

    # -- commands

    async def placeOrder(  # noqa: N802 -- IB's name
        self,
        contract: Contract | object,
        order: Order | object,
        key: str | None = None,
        parent: Request | str | None = None,
        *,
        cancel_on_disconnect: str | None = None,
    ) -> PlacedOrder:
        """Place an order under the strategy's own `key`, and return its handle.

        The key makes a retry safe: the same key and order again is the same order, never a second one. The default is a
        new unique key, which the handle has as `key`. `parent` is the order that this order depends on: its key, or its
        handle. `cancel_on_disconnect` is the order's own word on what `connect` says for all orders.
        `result["orderId"]` is IB's order id, or None for an order that waits for its turn.
        """
        args = order_handle.placing(contract, order, parent, cancel_on_disconnect)
        return cast("PlacedOrder", await self.request("placeOrder", args, key=key))

    async def whatIfOrder(self, contract: Contract | object, order: Order | object) -> Request:  # noqa: N802 -- named as IB's requests are
        """Ask TWS for margin and commission of an order without placing the order.

        `answers` yields one openOrder message; its orderState has the figures.
        """
        return await self.request("whatIfOrder", requests.bind("whatIfOrder", (contract, order), {}))

    async def placeOrders(  # noqa: N802 -- named as IB's requests are
        self, orders: Iterable[Mapping[str, Any]], on_partial: str = "cancel"
    ) -> list[PlacedOrder]:
        """Place up to 10 orders, all or none, and return their handles.

        Each is a map with `contract`, `order`, and perhaps `key`, `cancel_on_disconnect` and `parent`, an order before
        it; `bracket` makes three. If TWS refuses one, the daemon cancels the others; `on_partial="keep"` keeps them.
        The same orders under the same keys again are never placed twice. So give keys if you want to be able to try
        again.
        """
        args = order_handle.group(orders, on_partial, self._names.new)
        known = [self._track(each["key"]) for each in args["orders"]]
        reply = await self._exchange(self._command("placeOrders", args, epoch=self._epoch()))
        rows = reply.result["orders"]
        made = [self._request("placeOrders", reply.id, each["key"], each, dup=reply.dup) for each in rows]
        await self._join([(Mode.STATE, self._missing(made, self._feed.connection.prefixes))], reply.id)
        return [await self._handle(each, order, former=reply.dup) for each, order in zip(made, known, strict=True)]

    async def modifyOrder(self, key: Request | str, order: Order | object, rev: int) -> PlacedOrder:  # noqa: N802 -- named as IB's requests are
        """Change the attributes of an order that `order` has, as the change number `rev` of this order.

        `rev` is above that of the last change; the same change under the same `rev` again is made once. The handle's
        `modify` counts by itself.
        """
        key = requests.key_of(key)
        known = self._track(key)
        known.expect_change(rev)
        try:
            reply = await self._exchange(self._command("modifyOrder", {"rev": rev, "order": order}, key))
        except BaseException:
            known.give_up()
            raise
        made = self._request("modifyOrder", reply.id, key, reply.result, dup=reply.dup)
        await self._join([(Mode.STATE, self._missing([made], self._feed.connection.prefixes))], reply.id)
        return await self._handle(made, known, former=True)

    async def cancelOrders(self, keys: Iterable[Request | str] | Request | str | None = None) -> list[dict[str, Any]]:  # noqa: N802 -- named as IB's requests are
        """Cancel the orders of these keys or handles, or all open orders of this client.

        Return a map for each order: `key`, `ok`, and the `error` of one whose cancel was refused.
        """
        cancels = order_handle.Cancels(keys, self._feed.inbox.tracked())
        try:
            cancelled: list[dict[str, Any]] = (await self.call("cancelOrders", **cancels.args))["orders"]
        except BaseException:
            cancels.settle()
            raise
        cancels.settle(cancelled)
        return cancelled

    async def orders(self, state: str | None = None, since: int | None = None) -> AsyncIterator[PlacedOrder]:
        """Yield the orders that this client has ever placed, as handles, in the order of their keys.

        `state`: only orders in this state. `since`: only orders that have changed since then, in microseconds since
        1970 UTC. `result` has the order's `contract`, `order` and `ts`, the time of its last change.
        """
        listing = order_handle.Listing(state, since)
        while listing.args is not None:
            page = await self.call("orders", **listing.args)
            for row in page["orders"]:
                known = self._track(row["key"])
                known.suppose(order_state(row))
                yield self._handle_of(self._listed(row), known)
            listing.turn(page)

    async def reconcile(self) -> None:
        """Have the daemon compare its orders with those of TWS. What it finds comes as states of the orders."""
        await self.call("reconcile")

    async def wait_for_order(
        self,
        order: PlacedOrder,
        states: frozenset[str],
        timeout: float | None = None,  # noqa: ASYNC109 -- as the other client's
    ) -> OrderState:
        """Wait until an order is in one of these states, or over, and return its state; the handle's `wait` calls this.

        Raise NoAnswer after `timeout` seconds (default: the client's `timeout`).
        """
        seconds = self.timeout if timeout is None else timeout
        done = partial(self._feed.inbox.set_aside_until, partial(order.known.reached, states))
        if not await self._feed.wait(done, self._feed.after(seconds)):
            raise order.late(states, seconds)
        return order.state

    # -- handles

    def _track(self, key: str) -> KnownOrder:
        return self._feed.inbox.track(self._states_topic(key), key)

    async def _made_order(self, made: Request, known: KnownOrder, *, former: bool) -> Request:
        return await self._handle(made, known, former=former) if requests.is_order(made.cmd) else made

    async def _handle(self, made: Request, known: KnownOrder, *, former: bool) -> PlacedOrder:
        """Return the handle of an order. If the order is a `former` one, and its state has not come, get its state."""
        if former and known.message is None:
            with suppress(BridgeError):  # the order is placed, and its state comes with its next change
                for message in await self.snapshot(self._order_topic(known.key)):
                    if message.type == TYPE:
                        known.note(message)
            known.suppose(OrderState("unknown"))
        return self._handle_of(made, known)

    def _handle_of(self, made: Request, known: KnownOrder) -> PlacedOrder:
        return PlacedOrder(**order_handle.parts(made), known=known, ib=self)

    def _epoch(self) -> int | None:
        self._feed.check()
        self._feed.turn(wanted=True)  # a message that has arrived may tell of a restarted daemon, with a new epoch
        return self._feed.connection.follower.epoch
