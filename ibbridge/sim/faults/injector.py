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
from ibbridge.sim.faults.script import ORDER_EVENTS, FaultStep
from ibbridge.sim.latency import DelayedResponses, LatencyModel
from ibbridge.sim.market.contract_resolver import RequestRejected, not_found
from ibbridge.sim.pacing_rules import STRIKES, HistoryRules, Rate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ibbridge.sim.context import ClientSession, Sent
    from ibbridge.sim.engine import SimulatedTws

LOST = "Connectivity between IBKR and Trader Workstation has been lost."
BROKEN = "Connectivity between Trader Workstation and server is broken. It will be restored automatically."
BACK = "Connectivity between IBKR and Trader Workstation has been restored - "
_NOTICES = {
    2103: "Market data farm connection is broken:", 2104: "Market data farm connection is OK:",
    2105: "HMDS data farm connection is broken:", 2106: "HMDS data farm connection is OK:",
    2107: "HMDS data farm connection is inactive but should be available upon demand.",
    2108: "Market data farm connection is inactive but should be available upon demand.",
    2119: "Market data farm is connecting:", 2157: "Sec-def data farm connection is broken:",
    2158: "Sec-def data farm connection is OK:",
}  # fmt: skip
_BREAKS = {2103: 2104, 2105: 2106, 2157: 2158}
"""Codes of the notices that a data farm is down, each with the code of the notice that ends it."""
_ENDS = {ends: breaks for breaks, ends in _BREAKS.items()}
_LOCAL = frozenset(("reqCurrentTime", "reqCurrentTimeInMillis", "reqIds", "reqManagedAccts", "setServerLogLevel"))
_ANSWERS = frozenset(("error", "currentTime", "currentTimeInMillis", "nextValidId", "managedAccounts"))
_DATA = frozenset(("reqMktData", "reqMktDepth", "reqTickByTickData", "reqRealTimeBars"))
_ORDERS = frozenset(("placeOrder", "cancelOrder", "reqGlobalCancel"))


class Active:
    """Fault that is active, with its end and its remaining uses."""

    def __init__(self, step: FaultStep, now: float) -> None:
        self.step = step
        self.ends = None if step.lasts is None else now + step.lasts
        self.left = step.times
        self.said = 1
        self.began = now

    def concerns(self, client: int | None) -> bool:
        """Return True if the fault applies to this client."""
        return self.step.client is None or self.step.client == client


class ClientState:
    """State of one connected client: its open subscriptions, its rates, and the messages withheld from it."""

    def __init__(self, session: ClientSession) -> None:
        self.session = session
        self.rate = Rate()
        self.history = HistoryRules()
        self.open: dict[int, tuple[str, Mapping[str, Any]]] = {}
        self.dead: set[int] = set()
        self.kept: list[Sent] = []
        self.answers = DelayedResponses()
        self.asked: dict[int, str] = {}
        self.late: list[tuple[float, str, Mapping[str, Any]]] = []
        self.next_turn = 0.0

    def waits_for(self, name: str | None, key: int) -> bool:
        """Return True if `name` was the last request under this id."""
        return name is not None and self.asked.get(key) == name

    def note(self, name: str, args: Mapping[str, Any]) -> None:
        """Record the subscription that a request opens or cancels."""
        request, key = REQUESTS.get(name), _key(args)
        if request is None or key is None:
            return
        if request.cancels:
            self.open.pop(key, None)
            self.dead.discard(key)
            self.history.end(name, key)
        elif request.subscribes(args) and name not in _ORDERS:
            self.open[key] = name, args


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
        self._waiting: list[tuple[float, FaultStep]] = []
        self._triggers: list[FaultStep] = []
        self._active: list[Active] = []
        self._clients: dict[int, ClientState] = {}
        self._stuck: dict[int, float] = {}
        self._most: Counter[int] = Counter()
        self._strikes: Counter[int] = Counter()
        self._pacing: Counter[int] = Counter()

    # -- steps -------------------------------------------------------------------------------------------------------

    def plan(self, steps: Iterable[FaultStep], now: float) -> None:
        """Add the steps of a script. `at` counts from now, `after` from the step before."""
        before = now
        for step in steps:
            if step.on is not None:
                self._triggers.append(step)
                continue
            before = now + step.at if step.at is not None else before + (step.after or 0.0)
            self._waiting.append((before, step))
        self._waiting.sort(key=lambda entry: entry[0])

    def due(self, now: float) -> list[FaultStep]:
        """Remove and return the steps whose time has come, in order."""
        count = sum(at <= now for at, _ in self._waiting)
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        return [step for _, step in taken]

    def triggered(self, name: str, client: int) -> list[FaultStep]:
        """Remove and return the steps that this request of this client triggers."""
        hit = [step for step in self._triggers if step.on == name and step.client in (None, client)]
        self._triggers = [step for step in self._triggers if step not in hit]
        return hit

    def begin(self, step: FaultStep, now: float) -> None:
        """Activate a fault. Apply a momentary fault at once, except for its effect on bytes and ports."""
        act: Callable[[FaultStep], None] | None = getattr(self, f"_do_{step.do.replace('-', '_')}", None)
        if step.do in _LASTING or (step.do == "farm" and step.args["code"] in _BREAKS):
            self._active.append(Active(step, now))
        if act is not None:
            act(step)

    def tick(self, now: float) -> list[FaultStep]:
        """End faults, repeat notices, and process delayed requests. Return the steps whose faults ended."""
        over = [each for each in self._active if each.ends is not None and each.ends <= now]
        for each in over:
            self._end(each)
        for each in self._active:
            if each.step.do in ("1100", "2110") and each.said < each.step.args["repeat"]:
                while each.said < each.step.args["repeat"] and now >= each.began + each.said * each.step.args["every"]:
                    each.said += 1
                    self._do_1100(each.step)
        for number, until in list(self._stuck.items()):
            if until <= now:
                del self._stuck[number]
                self._core.occupied.discard(number)
        for client in list(self._clients.values()):
            self._hear_late(client, now)
        return [each.step for each in over]

    def _end(self, each: Active) -> None:
        if each not in self._active:
            return
        self._active.remove(each)
        if each.step.do in ("1100", "2110"):
            self._do_1102(FaultStep("1102", each.step.client, {"dead": 0, "text": ""}))
        elif each.step.do == "farm":
            code, farm = _BREAKS[each.step.args["code"]], each.step.args["farm"]
            self._do_farm(
                FaultStep("farm", each.step.client, {"code": code, "farm": farm, "dead": each.step.args["dead"]})
            )

    def active(self, do: str, client: int | None) -> Active | None:
        """Return the latest active fault of this name for a client; `client` is None before START_API."""
        return next((fault for fault in reversed(self._active) if fault.step.do == do and fault.concerns(client)), None)

    def use(self, do: str, client: int | None) -> Active | None:
        """Return the latest active fault of this name, and count one use; the last use of `times` ends the fault."""
        found = self.active(do, client)
        if found is not None and found.left is not None:
            found.left -= 1
            if not found.left:
                self._active.remove(found)
        return found

    def stalled(self, stage: str, client: int | None) -> bool:
        """Return True if connections go mute at this stage."""
        return any(
            fault.step.do == "stall" and fault.step.args["stage"] == stage and fault.concerns(client)
            for fault in self._active
        )

    # -- clients -----------------------------------------------------------------------------------------------------

    def joined(self, session: ClientSession) -> None:
        """Register a client that has connected. Send notice 2110 if the client's upstream is lost."""
        self._clients[session.client_id] = ClientState(session)
        if self._upstream(session.client_id):
            session.error(-1, 2110, BROKEN)

    def left(self, session: ClientSession, now: float) -> None:
        """Forget a client that has disconnected. The fault `stuck-id` keeps the client id occupied."""
        client = self._clients.get(session.client_id)
        if client is None or client.session is not session:
            return
        del self._clients[session.client_id]
        stuck = self.active("stuck-id", session.client_id)
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

    def _each(self, step: FaultStep) -> list[ClientState]:
        return [client for number, client in self._clients.items() if step.client in (None, number)]

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
        due = self._due(client, name, now)
        if due > now:
            client.late.append((due, name, args))
        else:
            self._hear(client, name, args, now)

    def _within(self, client: ClientState, count: int, now: float) -> bool:
        """Return True if a message is within the rate.

        A violation is reported to the client, and the third violation ends the connection.
        """
        fault = self.active("pace", client.session.client_id)
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
        """Return the time at which the host hears a request."""
        number, due = client.session.client_id, now
        delay = self.active("delay", number)
        if delay is not None and (not delay.step.args["requests"] or name in delay.step.args["requests"]):
            due += delay.step.args["seconds"]
        pace = self.active("pace", number)
        if pace is not None and pace.step.args["how"] == "wait":
            due = client.next_turn = max(due, client.next_turn + 1 / pace.step.args["rate"])
        return due

    def _hear_late(self, client: ClientState, now: float) -> None:
        heard = [entry for entry in client.late if entry[0] <= now]
        client.late = [entry for entry in client.late if entry[0] > now]
        for _, name, args in sorted(heard, key=lambda entry: entry[0]):
            self._hear(client, name, args, now)

    def _hear(self, client: ClientState, name: str, args: Mapping[str, Any], now: float) -> None:
        session = client.session
        number, key = session.client_id, _key(args)
        ignored = self.active("ignore", number)
        if (ignored is not None and name in ignored.step.args["requests"]) and self.use("ignore", number):
            return
        local = name in _LOCAL or REQUESTS[name].does is Kind.SETTING or REQUESTS[name].cancels is not None
        if self._upstream(number) and (name in _ORDERS or not local):
            if name in _ORDERS:
                client.late.append((now, name, args))  # tried again at every tick until the upstream is back
            return
        try:
            self._refuse(client, name, args, now)
        except RequestRejected as refused:
            session.error(args.get("orderId", -1) if key is None else key, refused.code, refused.text)
            return
        if self._down(number, name, args) and REQUESTS[name].cancels is None and name not in _DATA:
            return
        if self._answer(client, name, args, now) or REQUESTS[name].cancels is not None:
            client.note(name, args)

    def _answer(self, client: ClientState, name: str, args: Mapping[str, Any], now: float) -> bool:
        """Pass a request to the host, and queue the response until it is due. Return False for a refusal."""
        session, key = client.session, _key(args)
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
        if name in ORDER_REQUESTS and self.use("read-only", number):
            raise read_only()
        if name == "placeOrder" and (rejecting := self.use("reject", number)):
            self._core.burn_id(client.session, args["orderId"])
            raise RequestRejected(rejecting.step.args["code"], rejecting.step.args["text"])
        if name == "reqContractDetails" and self._farm(number, 2157):
            raise not_found()
        if self._history and (text := client.history.violated(name, args, now)):
            self._pacing[number] += 1
            raise RequestRejected(162, f"{_SERVICE}{text}")
        if name in _DATA and self.active("competing", number):
            raise RequestRejected(10197, _COMPETING)

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
            if (key := _key(data)) is not None:
                client.history.end(name, key)
        upstream = self._upstream(number)
        if upstream:
            client.kept += [message for message in messages if message[0] in ORDER_EVENTS]
            messages = [message for message in messages if message[0] in _ANSWERS]
        elif client.kept:
            messages, client.kept = client.kept + messages, []
        lose = self.active("lose", number)
        if lose is not None:
            names = lose.step.args["messages"]
            messages = [message for message in messages if message[0] not in names or not self.use("lose", number)]
        messages = [self._notice(number, message) for message in messages if not self._silent(client, message)]
        return self._disturbed(number, messages)

    def _silent(self, client: ClientState, message: Sent) -> bool:
        """Return True if a message belongs to a subscription that a fault has silenced."""
        name, data = message
        key = _key(data)
        if name == "error" or key is None or key not in client.open:
            return False
        asked, args = client.open[key]
        number = client.session.client_id
        return (
            key in client.dead
            or self._down(number, asked, args)
            or (asked in _DATA and self.active("competing", number) is not None)
        )

    def _notice(self, number: int, message: Sent) -> Sent:
        """Replace the notice that a farm is up while a fault keeps that farm down.

        A client that connects during the fault would otherwise be told that the farm is up.
        """
        name, data = message
        if name != "error" or data["errorCode"] not in _ENDS:
            return message
        code, farm = _ENDS[data["errorCode"]], data["errorString"].rpartition(":")[2]
        if not self._farm(number, code, farm):
            return message
        return name, data | {"errorCode": code, "errorString": _NOTICES[code] + farm}

    def _disturbed(self, number: int, messages: list[Sent]) -> list[Sent]:
        """Duplicate, reverse or drop order events, as the active fault says."""
        out: list[Sent] = []
        backwards: list[Sent] = []
        for message in messages:
            fault = self.active("order-events", number) if message[0] in ORDER_EVENTS else None
            if fault is None or fault.step.args["message"] not in ("", message[0]):
                out.append(message)
                continue
            self.use("order-events", number)
            how = fault.step.args["how"]
            if how == "duplicate":
                out += [message, message]
            elif how == "reorder":
                backwards.insert(0, message)
        return out + backwards

    # -- upstream and farms ------------------------------------------------------------------------------------------

    def _upstream(self, number: int) -> bool:
        """Return True if the host has lost IB's servers, as far as this client is told."""
        return any(self.active(do, number) is not None for do in ("1100", "2110"))

    def _farm(self, number: int, code: int, farm: str = "") -> bool:
        return any(
            fault.step.do == "farm" and fault.step.args["code"] == code and fault.concerns(number)
            and farm in ("", fault.step.args["farm"])
            for fault in self._active
        )  # fmt: skip

    def _down(self, number: int, name: str, args: Mapping[str, Any]) -> bool:
        """Return True if a request needs a data farm that is down."""
        if name in _DATA:
            return self._farm(number, 2103, _market_farm(args))
        return name in _HISTORICAL and self._farm(number, 2105)

    def _do_1100(self, step: FaultStep) -> None:
        code, text = (1100, LOST) if step.do == "1100" else (2110, BROKEN)
        for client in self._each(step):
            client.session.error(-1, code, text)

    _do_2110 = _do_1100

    def _back(self, step: FaultStep) -> None:
        self._active = [
            fault for fault in self._active
            if fault.step.do not in ("1100", "2110") or step.client not in (None, fault.step.client)
        ]  # fmt: skip

    def _do_1101(self, step: FaultStep) -> None:
        self._back(step)
        for client in self._each(step):
            self._core.lose_data(client.session)
            client.open = {key: asked for key, asked in client.open.items() if asked[0] not in _LOST_WITH_DATA}
            client.dead.clear()
            client.session.error(-1, 1101, f"{BACK}data lost.")

    def _do_1102(self, step: FaultStep) -> None:
        self._back(step)
        for client in self._each(step):
            streams = [key for key, (name, _) in client.open.items() if name in _LOST_WITH_DATA]
            client.dead.update(streams[: step.args["dead"]])
            client.session.error(-1, 1102, step.args["text"] or f"{BACK}data maintained.")

    def _do_farm(self, step: FaultStep) -> None:
        code, farm = step.args["code"], step.args["farm"]
        for each in self._each(step):
            if code in _ENDS and step.args["dead"]:
                each.dead.update(key for key, asked in each.open.items() if self._of(farm, code, *asked))
            each.session.error(-1, code, _NOTICES[code] + farm)
        if code in _ENDS:
            self._active = [
                each for each in self._active
                if each.step.do != "farm" or each.step.args["code"] != _ENDS[code] or each.step.args["farm"] != farm
                or step.client not in (None, each.step.client)
            ]  # fmt: skip

    @staticmethod
    def _of(farm: str, code: int, name: str, args: Mapping[str, Any]) -> bool:
        return (name in _DATA and farm == _market_farm(args)) if code == 2104 else name in _HISTORICAL

    def _do_10182(self, step: FaultStep) -> None:
        for client in self._each(step):
            self._core.end_updates(client.session)
            client.open = {
                key: asked for key, asked in client.open.items()
                if asked[0] != "reqHistoricalData" or not asked[1].get("keepUpToDate")
            }  # fmt: skip

    def _do_competing(self, step: FaultStep) -> None:
        for client in self._each(step):
            for key, (name, _) in client.open.items():
                if name in _DATA:
                    client.session.error(key, 10197, _COMPETING)

    def _do_1300(self, step: FaultStep) -> None:
        for client in self._each(step):
            text = "Socket port has been reset and this connection is being dropped. Please reconnect on the new port"
            client.session.error(-1, 1300, f"{text} - {step.args['port']}.")
            client.session.closed = True

    def _do_off(self, step: FaultStep) -> None:
        for each in [*self._active]:
            if step.args["fault"] in ("", each.step.do) and step.client in (None, each.step.client):
                self._end(each)
        self._triggers = [
            each for each in self._triggers
            if step.args["fault"] not in ("", each.do) or step.client not in (None, each.client)
        ]  # fmt: skip


_LASTING = frozenset((
    "accept-close", "stall", "half-open", "split", "merge", "slow", "greet", "id-in-use", "stuck-id", "1100", "2110",
    "competing", "order-events", "reject", "read-only", "ignore", "lose", "delay", "pace", "refuse", "restart",
))  # fmt: skip
_HISTORICAL = frozenset(("reqHistoricalData", "reqHeadTimeStamp", "reqHistoricalTicks", "reqHistogramData"))
_LOST_WITH_DATA = _DATA | {"reqHistoricalData", "reqNewsBulletins", "reqScannerSubscription"}
_SERVICE = "Historical Market Data Service error message:"
_COMPETING = "No market data during competing live session"
_FARMS = {"CASH": "cashfarm", "CRYPTO": "cashfarm", "FUT": "usfuture", "FOP": "usfuture", "CONTFUT": "usfuture"}


def _market_farm(args: Mapping[str, Any]) -> str:
    return _FARMS.get((args.get("contract") or {}).get("secType", ""), "usfarm")


def _key(data: Mapping[str, Any]) -> int | None:
    for name in ("reqId", "tickerId"):
        if (found := data.get(name)) is not None:
            return int(found)
    return None
