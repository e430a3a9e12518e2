"""The topics of messages about orders and executions, and the publication of executions and their commissions.

A message about an order goes to the order's owner. An execution goes to its owner once, and to each client that asks
for it; its commission follows it. This module knows orders, requests and streams. It must not know sockets or time.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from ibbridge.codec.schema import Kind
from ibbridge.orders.executions import ExecutionIndex, HeldCommissions
from ibbridge.orders.order import FOREIGN, Owner
from ibbridge.orders.order_states import OF_TWS
from ibbridge.requests.request import ActiveRequest
from ibbridge.streams import envelope
from ibbridge.tws.connection_listener import ConnectionListener

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ibbridge.orders.execution_ledger import ExecutionLedger
    from ibbridge.orders.executions import HeldCommission
    from ibbridge.orders.registry import OrderRegistry
    from ibbridge.requests.tracker import RequestTracker
    from ibbridge.streams.publisher import Publisher
    from ibbridge.streams.sequencer import Channel

log = logging.getLogger(__name__)

EXECUTION, COMMISSION = "execDetails", "commissionAndFeesReport"

LIVE = -1
"""Request id of an execution that TWS reports when it happens."""


class OrderRouter(ConnectionListener):
    """Router of messages about orders and executions."""

    def __init__(
        self, publisher: Publisher, tracker: RequestTracker, orders: OrderRegistry, ledger: ExecutionLedger
    ) -> None:
        self._publisher = publisher
        self._tracker = tracker
        self._orders = orders
        self._ledger = ledger
        self._executions = ExecutionIndex(ledger.recorded)
        self._held = HeldCommissions()

    # -- orders

    def channel(self, name: str, data: dict[str, Any]) -> Channel:
        """Return the channel of a message about an order, or of the response to a what-if."""
        if name == "orderBound":
            whose = self._orders.bound(data.get("clientId"), data.get("orderId"), data.get("permId"))
            return self._publisher.channel("ord", whose.owner, whose.part, name, ref=whose.ref)
        if (active := self._what_if(data)) is not None:
            return self._of_what_if(active, name, data)
        whose = self._orders.reported(name, data)
        self._orders.states.watch.reported(whose, name, data)
        return self._publisher.channel("ord", whose.owner, whose.part, name, ref=whose.ref)

    def is_compared(self, name: str, data: Mapping[str, Any]) -> bool:
        """Return True if TWS may have sent a message about an order only because the daemon compares its orders.

        Nobody else waits for such a list then.
        """
        listing = self._orders.listing
        if listing is None or not listing.answers or name not in OF_TWS or self._tracker.is_awaited(name):
            return False
        return self._what_if(data) is None

    def publish_difference(self, name: str, data: dict[str, Any], ts: int) -> None:
        """Publish a message in a list for the daemon, unless it repeats what is known.

        Each list has an order once: another message about the order was not asked for, nor was one about an order that
        is new.
        """
        channel = self.channel(name, data)
        topics = self._orders.listing.topics if self._orders.listing is not None else set()
        packed = envelope.pack(data)
        if channel.topic in topics or not (channel.last or channel.stale):
            self._publisher.publish_packed(channel, packed, ts, ())
        else:
            self._publisher.publish_difference(channel, packed, ts, ())
        topics.add(channel.topic)
        self.publish_states(ts)

    def publish_states(self, ts: int) -> None:
        """Publish the states of the orders that the messages since the last call have changed."""
        if self._orders.states.changed:
            self._orders.states.publish(ts)

    def _what_if(self, data: Mapping[str, Any]) -> ActiveRequest | None:
        """Return the what-if that a message is about; None if it is about an order.

        Another client of TWS may have an order with the same order id, and so may an order made by hand.
        """
        active = self._tracker.find(data.get("orderId", 0))
        if active is None or active.request.does is not Kind.ORDER:
            return None
        about = data.get("order") or data
        foreign = about.get("permId", 0) in self._orders.foreign
        return active if self._orders.ours(about.get("clientId", 0)) and not foreign else None

    def _of_what_if(self, active: ActiveRequest, name: str, data: dict[str, Any]) -> Channel:
        """Return the channel of a message about a what-if: the client's, unless an openOrder is not the response yet.

        TWS may send an openOrder before the margins are known. The daemon keeps this openOrder, and publishes it as the
        response only if no other comes (`answer_partly`).
        """
        if name == "openOrder" and (active.ended or not _has_margins(data)):
            if not active.ended:
                active.partial = envelope.pack(data)
                for listener in active.listeners:
                    listener.partly_answered(active)
            return self._publisher.transient_channel("req", f"~{active.req_id}", name)
        if name == "openOrder":
            self._tracker.end(active)
        return self._tracker.channel(active, name)

    # -- executions

    def publish(self, name: str, data: dict[str, Any], ts: int) -> None:
        """Publish an execution or a commission. Raises `OverflowError` for an integer that does not fit into msgpack.

        They are events: as state they would grow with every execution.
        """
        if name == EXECUTION:
            self._execution(data, ts)
            self.publish_states(ts)
            self._ledger.positions.publish(ts)
        elif not self._commission(data, ts):
            if exec_id := data[COMMISSION].get("execId"):
                self._give_up(self._held.hold(exec_id, data, ts), "too many others came after it")
            else:
                self._publish_for(None, COMMISSION, envelope.pack(data), ts)

    def _execution(self, data: dict[str, Any], ts: int) -> None:
        """Publish an execution for its owner, unless the owner has it, and for the client that asked for it."""
        packed = envelope.pack(data)
        execution = data["execution"]
        exec_id = execution.get("execId", "")
        whose = self._orders.reported(EXECUTION, data)
        self._orders.states.watch.reported(whose, EXECUTION, data)
        asker = self._asker(data["reqId"])
        own = isinstance(asker, ActiveRequest) and asker.on_response is not None
        asker = None if own else asker  # the daemon asks for the owners
        owner = self._executions.executed(exec_id, whose, asker)
        if exec_id:
            self._ledger.executed(exec_id, self._executions.owner(exec_id, whose), data, told=owner is not None)
        if owner is not None and asker is None and not own:
            self._publish_for(owner, EXECUTION, packed, ts)
        elif owner is not None:
            missed = envelope.pack({**data, "reqId": LIVE})
            self._publish_for(owner, EXECUTION, missed, ts, flags=(envelope.SYNTHETIC,))
        if asker is not None:
            self._answer(asker, EXECUTION, packed, ts)
        for commission in self._held.take(exec_id) if exec_id else ():
            self._commission(commission.data, commission.ts)

    def _asker(self, req_id: int) -> ActiveRequest | int | None:
        """Return the request of a list, or its id if the request was given up; None for a live report."""
        return self._tracker.find(req_id) or (req_id if self._tracker.is_disowned(req_id) else None)

    def _commission(self, data: dict[str, Any], ts: int) -> bool:
        """Publish a commission where its execution was published. Return False if the execution is not known."""
        report = data[COMMISSION]
        packed = envelope.pack(data)
        recipients = self._executions.charged(report.get("execId", ""), report)
        if recipients is None:
            return False
        if recipients.owner is not None:
            self._ledger.charged(report.get("execId", ""), recipients.owner, report)
            self._publish_for(recipients.owner, COMMISSION, packed, ts)
            self._ledger.positions.publish(ts)
        for asker in recipients.askers:
            self._answer(asker, COMMISSION, packed, ts)
        return True

    def _answer(self, asker: ActiveRequest | int, name: str, packed: bytes, ts: int) -> None:
        if isinstance(asker, int):
            channel = self._publisher.transient_channel("req", f"~{asker}", name)
        else:
            asker.respond()
            channel = self._publisher.transient_channel(*asker.place(name), name, ref=asker.ref)
        self._publisher.publish_packed(channel, packed, ts)

    def _publish_for(self, owner: Owner | None, name: str, packed: bytes, ts: int, flags: Sequence[str] = ()) -> None:
        """Publish for the owner of an order; None for `ext`, if nothing is known of the order."""
        place, ref = (owner.owner, owner.ref) if owner is not None else (FOREIGN, None)
        channel = self._publisher.transient_channel("exec", place, name, ref=ref, flags=flags)
        self._publisher.publish_packed(channel, packed, ts)

    # -- commissions whose executions do not come

    def tick(self, now: float) -> None:
        """Publish the commissions that have waited for their executions for too long."""
        self._give_up(self._held.take_due(now), "its time is over")

    def connection_lost(self) -> None:
        """Publish the commissions that are held: on another connection TWS repeats them with their executions."""
        self._give_up(self._held.take_all(), "the connection to TWS is lost")
        self._executions.forget_askers()

    def _give_up(self, commissions: Sequence[HeldCommission], why: str) -> None:
        """Publish commissions without their executions: for the owner of the execution that it corrects, or `ext`."""
        if not commissions:
            return
        log.warning(
            "TWS has not reported the execution %s of a commission, and %s: published without it (%d such commissions)",
            commissions[0].exec_id, why, len(commissions),
        )  # fmt: skip
        for exec_id, data, ts in commissions:
            self._publish_for(self._executions.kin(exec_id), COMMISSION, envelope.pack(data), ts)


def _has_margins(data: Mapping[str, Any]) -> bool:
    state = data.get("orderState") or {}
    return any(each.startswith(_MARGINS) and value not in (None, "") for each, value in state.items())


_MARGINS = ("initMargin", "maintMargin", "equityWithLoan")
