"""Fault injection: the active faults by client, and their effect on requests and messages.

The injector stands between the connections and the pure host, and is as pure: callers pass the time, in seconds of a
clock that only goes forward. Faults of bytes and ports are only stored here; the server asks for them and applies them.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

from ibbridge.codec.messages import REQUESTS
from ibbridge.codec.schema import Kind
from ibbridge.sim.configuration import ORDER_REQUESTS, read_only
from ibbridge.sim.faults.client_state import ORDERS, ClientState, key_of
from ibbridge.sim.faults.connectivity import BREAKS, BROKEN, COMPETING, DATA, Connectivity
from ibbridge.sim.faults.schedule import FaultSchedule
from ibbridge.sim.faults.script import FAULTS, ORDER_EVENTS
from ibbridge.sim.pacing_rules import STRIKES
from ibbridge.sim.rejections import RequestRejected, not_found

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ibbridge.sim.context import ClientSession, Sent
    from ibbridge.sim.engine import SimulatedTws
    from ibbridge.sim.faults.schedule import ActiveFault
    from ibbridge.sim.faults.script import FaultStep
    from ibbridge.sim.latency import LatencyModel

_LOCAL = frozenset(("reqCurrentTime", "reqCurrentTimeInMillis", "reqIds", "reqManagedAccts", "setServerLogLevel"))
_SERVICE = "Historical Market Data Service error message:"


class FaultInjector:
    """Faults of one simulator.

    `pace` is the rate in messages per second that is enforced without any fault, None for none. `history` turns the
    pacing rules for historical data on. `delays` draws response times; without `delays`, responses come at once.
    """

    def __init__(
        self, core: SimulatedTws, *, pace: int | None = None, history: bool = False, delays: LatencyModel | None = None
    ) -> None:
        self._core = core
        self._delays = delays
        self._pace = pace
        self._history = history
        self._clients: dict[int, ClientState] = {}
        self.schedule = FaultSchedule()
        self._connectivity = Connectivity(core, self.schedule, self._clients)
        self._stuck: dict[int, float] = {}
        self._most: Counter[int] = Counter()
        self._strikes: Counter[int] = Counter()
        self._pacing: Counter[int] = Counter()

    # -- steps -------------------------------------------------------------------------------------------------------

    def begin(self, step: FaultStep, now: float) -> None:
        """Activate a fault. Apply a momentary fault at once, except for its effect on bytes and ports."""
        if FAULTS[step.do].lasts and (step.do != "farm" or step.args["code"] in BREAKS):
            self.schedule.start(step, now)
        if step.do == "off":
            self._end_by(step)
        self._connectivity.begin(step)

    def tick(self, now: float) -> None:
        """End faults, repeat notices, and process delayed requests."""
        for each in [fault for fault in self.schedule.faults if fault.ends is not None and fault.ends <= now]:
            self._end(each)
        self._connectivity.repeat(now)
        for number, until in list(self._stuck.items()):
            if until <= now:
                del self._stuck[number]
                self._core.occupied.discard(number)
        for client in list(self._clients.values()):
            self._hear_late(client, now)

    def _end(self, fault: ActiveFault) -> None:
        """End a fault, unless the end of another fault has ended it too."""
        if self.schedule.remove(fault):
            self._connectivity.end(fault.step)

    def _end_by(self, step: FaultStep) -> None:
        """End the faults that a step `off` names."""
        for each in [*self.schedule.faults]:
            if step.args["fault"] in ("", each.step.do) and step.client in (None, each.step.client):
                self._end(each)
        self.schedule.forget_triggers(step)

    # -- clients -----------------------------------------------------------------------------------------------------

    def joined(self, session: ClientSession) -> None:
        """Register a client that has connected. Send notice 2110 if the client's upstream is lost."""
        self._clients[session.client_id] = ClientState(session)
        if self._connectivity.upstream_lost(session.client_id):
            session.error(-1, 2110, BROKEN)

    def left(self, session: ClientSession, now: float) -> None:
        """Forget a client that has disconnected. The fault `stuck-id` keeps the client id occupied."""
        client = self._clients.get(session.client_id)
        if client is None or client.session is not session:
            return
        del self._clients[session.client_id]
        stuck = self.schedule.active("stuck-id", session.client_id)
        if stuck is not None:
            self._stuck[session.client_id] = now + stuck.step.args["seconds"]
            self._core.occupied.add(session.client_id)

    def figures(self) -> dict[str, Any]:
        """Return by client: the most messages in any second, violations, and the open subscriptions."""
        return {
            "rates": dict(self._most),
            "violations": dict(self._strikes),
            "historyViolations": dict(self._pacing),
            "subscriptions": {number: len(client.open) for number, client in self._clients.items()},
        }

    # -- requests ----------------------------------------------------------------------------------------------------

    def asked(self, session: ClientSession, name: str, args: Mapping[str, Any], now: float) -> None:
        """Pass a client's request to the host, now or later, or apply a fault to the request."""
        client = self._clients.get(session.client_id)
        if client is None or client.session is not session or session.closed:
            return
        number = session.client_id
        count = client.rate.count(now)
        self._most[number] = max(self._most[number], count)
        if not self._within(client, count, now):
            return
        self._hear_late(client, now)
        due = self._due(client, name, now)
        if due > now:
            client.late.append((due, name, args))
        else:
            self._hear(client, name, args, now)

    def _within(self, client: ClientState, count: int, now: float) -> bool:
        """Return True if a message is within the rate.

        A violation is reported to the client, and the third violation ends the connection.
        """
        fault = self.schedule.active("pace", client.session.client_id)
        if fault is not None and fault.step.args["how"] == "wait":
            return True
        most = fault.step.args["rate"] if fault is not None else self._pace
        if most is None or count <= most:
            return True
        if client.rate.strike(now):
            strikes = client.rate.strikes
            self._strikes[client.session.client_id] += 1
            text = f"Max rate of messages per second has been exceeded:max={most} rec={count} ({strikes})"
            client.session.error(-1, 100, text)
            client.session.closed = client.session.closed or strikes >= STRIKES
        return False

    def _due(self, client: ClientState, name: str, now: float) -> float:
        """Return the time at which the host hears a request: never before a request that it reads late."""
        number, due = client.session.client_id, max(now, client.reads_at)
        delay = self.schedule.active("delay", number)
        if delay is not None and not delay.step.args["requests"]:
            due = client.reads_at = max(due, now + delay.step.args["seconds"])
        elif delay is not None and name in delay.step.args["requests"]:
            due += delay.step.args["seconds"]
        pace = self.schedule.active("pace", number)
        if pace is not None and pace.step.args["how"] == "wait":
            due = client.reads_at = max(due, client.reads_at + 1 / pace.step.args["rate"])
        return due

    def _hear_late(self, client: ClientState, now: float) -> None:
        heard = [entry for entry in client.late if entry[0] <= now]
        client.late = [entry for entry in client.late if entry[0] > now]
        for _, name, args in sorted(heard, key=lambda entry: entry[0]):
            self._hear(client, name, args, now)

    def _hear(self, client: ClientState, name: str, args: Mapping[str, Any], now: float) -> None:
        session = client.session
        number, key = session.client_id, key_of(args)
        ignored = self.schedule.active("ignore", number)
        if (ignored is not None and name in ignored.step.args["requests"]) and self.schedule.use("ignore", number):
            return
        local = name in _LOCAL or REQUESTS[name].does is Kind.SETTING or REQUESTS[name].cancels is not None
        if self._connectivity.upstream_lost(number) and (name in ORDERS or not local):
            if name in ORDERS:
                client.late.append((now, name, args))  # tried again at every tick until the upstream is back
            return
        try:
            self._refuse(client, name, args, now)
        except RequestRejected as refused:
            session.error(args.get("orderId", -1) if key is None else key, refused.code, refused.text)
            return
        if self._connectivity.data_missing(number, name, args) and REQUESTS[name].cancels is None and name not in DATA:
            return
        if self._answer(client, name, args, now) or REQUESTS[name].cancels is not None:
            client.note(name, args)

    def _answer(self, client: ClientState, name: str, args: Mapping[str, Any], now: float) -> bool:
        """Pass a request to the host, and queue the response until it is due. Return False for a refusal."""
        session, key = client.session, key_of(args)
        client.answers.put(session.take(), now)
        if client.answers.due is None:
            client.asked.clear()
        if name == "placeOrder":
            client.answers.orders.add(args["orderId"])
        withdrawn = key is not None and client.waits_for(REQUESTS[name].cancels, key) and client.answers.withdraw(key)
        if key is not None:
            client.asked[key] = name
        heard = self._core.request(session, name, args)
        answer = session.take()
        if withdrawn and name == "cancelHistoricalData":
            answer = []
            session.error(args["reqId"], 162, f"{_SERVICE}API historical data query cancelled: {args['reqId']}")
        client.answers.put(answer, now + (self._delays.draw(name) if self._delays else 0.0))
        return heard

    def _refuse(self, client: ClientState, name: str, args: Mapping[str, Any], now: float) -> None:
        """Raise `RequestRejected` if a fault or a limit rejects the request."""
        number = client.session.client_id
        if name in ORDER_REQUESTS and self.schedule.use("read-only", number):
            raise read_only()
        if name == "placeOrder" and (rejecting := self.schedule.use("reject", number)):
            self._core.burn_id(client.session, args["orderId"])
            raise RequestRejected(rejecting.step.args["code"], rejecting.step.args["text"])
        if name == "reqContractDetails" and self._connectivity.farm_broken(number, 2157):
            raise not_found()
        if self._history and (text := client.history.violated(name, args, now)):
            self._pacing[number] += 1
            raise RequestRejected(162, f"{_SERVICE}{text}")
        if self._connectivity.competing(number, name):
            raise RequestRejected(10197, COMPETING)

    # -- messages ----------------------------------------------------------------------------------------------------

    @property
    def next_answer(self) -> float | None:
        """Time at which the next delayed response is due; None if no response waits."""
        waiting = [due for client in self._clients.values() if (due := client.answers.due) is not None]
        return min(waiting, default=None)

    def said(self, session: ClientSession, messages: list[Sent], now: float = math.inf) -> list[Sent]:
        """Return the messages that a client receives by now, in order, as the active faults leave them."""
        client = self._clients.get(session.client_id)
        if client is None or client.session is not session:
            return messages
        client.answers.put(messages, now)
        messages = client.answers.take(now)
        if not messages:
            return messages
        number = session.client_id
        for name, data in messages:
            if (key := key_of(data)) is not None:
                client.history.end(name, key)
        messages = self._without_lost(number, self._connectivity.held_back(client, messages))
        heard = (message for message in messages if not self._connectivity.silences(client, message))
        return self._disturbed(number, [self._connectivity.corrected(number, message) for message in heard])

    def _without_lost(self, number: int, messages: list[Sent]) -> list[Sent]:
        """Leave out the messages that the active fault loses."""
        lose = self.schedule.active("lose", number)
        if lose is None:
            return messages
        lost = lose.step.args["messages"]
        return [message for message in messages if message[0] not in lost or not self.schedule.use("lose", number)]

    def _disturbed(self, number: int, messages: list[Sent]) -> list[Sent]:
        """Duplicate, reverse or drop order events, as the active fault says."""
        out: list[Sent] = []
        backwards: list[Sent] = []
        for message in messages:
            fault = self.schedule.active("order-events", number) if message[0] in ORDER_EVENTS else None
            if fault is None or fault.step.args["message"] not in ("", message[0]):
                out.append(message)
                continue
            self.schedule.use("order-events", number)
            how = fault.step.args["how"]
            if how == "duplicate":
                out += [message, message]
            elif how == "reorder":
                backwards.insert(0, message)
        return out + backwards
