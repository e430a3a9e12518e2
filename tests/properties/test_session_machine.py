"""Whatever clients ask and whatever TWS does, in any order: what was promised of sessions, requests, orders and pacing.

The state machine keeps its own books of what was accepted, written and told, and shares no code with what it checks.
IB's rules are written down here once more, naively.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ibbridge.protocol.errors import CommandRefused
from ibbridge.requests.request import CommandId
from ibbridge.tws.session import Stage
from tests.support.daemon_core import AAPL, CLIENT_ID, LIMIT, Heard, refusal
from tests.support.daemon_shell import Shell

if TYPE_CHECKING:
    from collections.abc import Callable

    from ibbridge.tws.outbound import OutboundMessage

RATE = 20
SHARE = 8
CLIENTS = st.sampled_from(("a", "b", "c"))
SYMBOLS = st.sampled_from(("AAPL", "MSFT", "IBM"))
HOLD = 1e-6  # what floating point may be off by

LONGEST_STAGE = {"resolving": 10, "connecting": 10, "handshaking": 10, "starting": 30, "syncing": 30}
SHORTEST_PAUSE, LONGEST_PAUSE, AFTER_326 = 0.5, 30.0, (10.0, 120.0)
SILENCE = 30.0
SILENCE_ABOUT_ORDERS = 32.0
SETTLED = 20_000.0
"""Seconds after which everything must have come right: streams that are tried in vain are tried every hour at last."""

BARS: dict[str, Any] = {"durationStr": "1 D", "useRTH": 1, "formatDate": 2, "chartOptions": [], "keepUpToDate": False}
STREAMS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "quotes": ("reqMktData", "cancelMktData", {}),
    "shortable": ("reqMktData", "cancelMktData", {"genericTickList": "236"}),
    "bars": ("reqRealTimeBars", "cancelRealTimeBars", {"barSize": 5, "whatToShow": "TRADES", "useRTH": False}),
    "ticks": ("reqTickByTickData", "cancelTickByTickData", {"tickType": "MidPoint"}),
    "kept up": (
        "reqHistoricalData",
        "cancelHistoricalData",
        {**BARS, "keepUpToDate": True, "endDateTime": "", "barSizeSetting": "5 secs", "whatToShow": "TRADES"},
    ),
}
"""What is asked for, how it is cancelled, and with which arguments."""

TICKS = {
    "reqMktData": "tickPrice",
    "reqRealTimeBars": "realtimeBar",
    "reqTickByTickData": "tickByTickMidPoint",
    "reqHistoricalData": "historicalDataUpdate",
}
QUESTIONS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "details": ("reqContractDetails", "contractDetailsEnd", {}),
    "history": ("reqHistoricalData", "historicalDataEnd", BARS),
    "first": ("reqHeadTimeStamp", "headTimestamp", {"whatToShow": "TRADES", "useRTH": 1, "formatDate": 2}),
    "snapshot": ("reqMktData", "tickSnapshotEnd", {"snapshot": True}),
    "paid": ("reqMktData", "tickSnapshotEnd", {"regulatorySnapshot": True}),
    "matching": ("reqMatchingSymbols", "symbolSamples", {}),
    "rule": ("reqMarketRule", "marketRule", {}),
    "time": ("reqCurrentTime", "currentTime", {}),
    "margin": ("whatIfOrder", "openOrder", {"order": LIMIT}),
}
"""What is asked, what ends the answer, and with which arguments; what differs of each is `_marked`."""

ONCE = frozenset(("paid", "margin"))
DROPPED = {"reqHistoricalData": "cancelHistoricalData", "reqHeadTimeStamp": "cancelHeadTimeStamp"}
"""What TWS drops without a word if there is too much of it, and how it is cancelled before it is asked again."""
ENDINGS = {ending for _, ending, _ in QUESTIONS.values()}
LISTS = {
    "reqAllOpenOrders": "openOrderEnd",
    "reqExecutions": "execDetailsEnd",
    "reqCompletedOrders": "completedOrdersEnd",
}
"""Questions of the daemon about orders, one after the other, each with what ends its answer."""
OPEN = ("PreSubmitted", "Submitted")
REASONS = ("not_sent", "not_at_tws", "cancelled", "expired", "rejected", "filled")
"""Reasons for which an order is over, the strongest last."""
REASON_OF = {"Filled": "filled", "Cancelled": "cancelled"}
ACCOUNTS = ("DU1", "DU2")
FARMS = {2103: "usfarm", 2105: "ushmds", 2157: "secdefnj"}
UP_AGAIN = {2103: 2104, 2105: 2106, 2157: 2158}
PACING = "Historical Market Data Service error message:Historical data request pacing violation"

TROUBLES = (
    *(("resolving", how) for how in ("mute", "refuse", "nowhere")),
    *(("connecting", how) for how in ("mute", "refuse")),
    *(("handshaking", how) for how in ("mute", "close", "unfit")),
    *(("starting", how) for how in ("mute", "close", "326", "326 and open", "no id", "close after a word")),
)
"""Where TWS stops to go along, and how."""


class Write(NamedTuple):
    """Message that TWS has read."""

    connection: int
    at: float
    name: str
    data: dict[str, Any]

    @property
    def number(self) -> int | None:
        return self.data.get("reqId", self.data.get("orderId"))


@dataclass
class Question:
    """A one-shot that was accepted, or is about to be. `over` counts how often its client was told that it is."""

    kind: str
    accepted_on: int
    topic: str = ""
    writes: list[Write] = field(default_factory=list)
    refused: Counter[int] = field(default_factory=Counter)  # by connection
    begun: bool = False
    over: int = 0
    cancelled: bool = False


@dataclass(eq=False)
class Placed:
    """An order that was accepted.

    `status` and `filled` are TWS's own: no status if TWS never had the order, or has refused it and knows it no more.
    `held`: TWS has the order, and keeps it back until a child is transmitted.
    """

    client: str
    key: str
    not_after: int | None
    parent: Placed | None
    said: dict[str, Any] = field(default_factory=dict)
    number: int = 0
    writes: list[Write] = field(default_factory=list)
    status: str = ""
    filled: float = 0.0
    refused: bool = False
    held: bool = False
    states: list[dict[str, Any]] = field(default_factory=list)
    sent_at: float = 0.0
    heard: bool = False
    never_left: int = 0
    unknown: int = 0
    doubted: int = 0
    to_cancel: int = 0
    cancels: int = 0
    cancels_lost: int = 0

    @property
    def about(self) -> dict[str, Any]:
        return {"clientId": CLIENT_ID, "permId": 100_000 + self.number, "orderRef": f"{self.client}/{self.key}"}

    @property
    def transmitted(self) -> bool:
        return bool(self.said["order"].get("transmit", True))

    @property
    def last(self) -> dict[str, Any]:
        """State that was published last."""
        return self.states[-1] if self.states else {}

    def differs(self) -> str:
        """Return in what the last published state differs from TWS's books; empty if it agrees."""
        state, reason = self.last.get("state"), self.last.get("reason")
        if not self.writes:
            agrees = (state, reason) == ("done", "not_sent")
        elif not (self.status or self.refused or self.transmitted):
            agrees = state == "held"  # whether TWS has it cannot be asked
        elif not self.status:
            agrees = state == "done" and reason in (("rejected", "not_at_tws") if self.refused else ("not_at_tws",))
        elif self.status in OPEN:
            agrees = state in ("acked", "working")
        else:
            agrees = (state, reason) == ("done", REASON_OF[self.status])
        if agrees and self.status:
            agrees = float(self.last["filled"] or 0) == self.filled
        return "" if agrees else f"{self.key} is {self.status or 'not at TWS'} ({self.filled}), and not {self.last}"


class Tws:
    """State of TWS for the one connection there is."""

    def __init__(self) -> None:
        self.live: dict[int, str] = {}  # streams, each with what it is of
        self.streams: set[int] = set()  # and all that ever were
        self.spoken: set[int] = set()
        self.open: dict[int, str] = {}  # questions with a number, by their mark; "" is the daemon's own
        self.rules: list[int] = []
        self.history: set[int] = set()  # what counts as open historical requests
        self.positions = False
        self.account: str | None = None
        self.numbers: dict[int, str] = {}
        self.ready = False
        self.answered_at = float("-inf")
        self.listed = ""  # the list of orders that it has completed last


def _mark(write: Write) -> str:
    """Which of the questions that clients have asked it is; empty if none."""
    data = write.data
    rule_id = data.get("marketRuleId", 0)
    said: str = data.get("pattern") or (data.get("contract") or {}).get("symbol") or (f"Q{rule_id}" if rule_id else "")
    return said if said.startswith("Q") else ""


def _cancels(name: str) -> bool:
    return name.startswith("cancel") or name == "reqGlobalCancel"


def _small(write: Write) -> bool:
    """Return True if IB's rules for small bars, of 30 s and less, apply to a request."""
    size = write.data.get("barSizeSetting", "")
    return write.name == "reqHeadTimeStamp" or (write.name == "reqHistoricalData" and size.endswith(("sec", "secs")))


def _units(write: Write) -> int:
    return 2 if write.data["whatToShow"] == "BID_ASK" else 1


def _of(write: Write) -> tuple[str, str, str]:
    """Contract, exchange and type."""
    contract = write.data["contract"]
    return contract["symbol"], contract["exchange"], write.data["whatToShow"]


def _streams(write: Write) -> bool:
    once = write.data.get("snapshot") or write.data.get("regulatorySnapshot")
    return write.name in TICKS and not once and write.data.get("keepUpToDate", True)


def _stream(write: Write) -> str:
    """Return a name for the subscription that a request opens."""
    generic = write.data.get("genericTickList", "")
    return f"{write.name} {write.data['contract']['symbol']} {generic}".strip()


class SessionMachine(RuleBasedStateMachine):
    """Daemon without sockets, its clients, and a TWS that answers, errs, is silent, refuses, hangs or goes."""

    def __init__(self) -> None:
        super().__init__()
        self.connection = 0
        self.tws = Tws()
        self.writes: list[Write] = []
        self.names = itertools.count(1)
        self.next_id = 1
        self.highest = 0  # of the numbers of orders
        self.mute = self.blocked = self.loses = False
        self.lag: float | None = 0.005  # after which it answers about orders; None: never
        self.troubles: list[tuple[str, str]] = []
        self.trouble = ("", "")
        # The connection.
        self.stage, self.since = Stage.DOWN, 1000.0
        self.said_at = 1000.0
        self.down_at: float | None = None
        self.in_use = False
        self.ready_on: set[int] = set()
        # IB.
        self.away = False
        self.keeps = True
        self.farms_down: set[int] = set()
        self.taken = False
        # The clients.
        self.wanted: dict[tuple[str, str], tuple[str, str]] = {}  # command: stream, and how it is cancelled
        self.questions: dict[str, Question] = {}
        self.asked: dict[tuple[str, str], Question] = {}
        self.placed: dict[tuple[str, str], Placed] = {}
        self.positions: set[str] = set()
        self.accounts: dict[str, str] = {}
        self.waiting: list[OutboundMessage] = []  # given, and not yet written
        self.globals = Counter[str]()
        self.joined: set[tuple[str, str]] = set()  # cancels of all that are one with another that waited
        self.seen = 0

    @initialize(jitter=st.floats(0, 1), answers=st.booleans(), acknowledges=st.booleans())
    def begin(self, jitter: float, answers: bool, acknowledges: bool) -> None:
        self.jitter, self.answers, self.acknowledges = jitter, answers, acknowledges
        self.shell = Shell(self, rate=RATE, share=SHARE, jitter=jitter, allowed=("reqGlobalCancel",))
        self.shell.begin()
        self.wait(1.0)

    @property
    def now(self) -> float:
        return self.shell.now

    # -- TWS, as the shell sees it: in whatever stage it has its trouble, it stops there

    def asked_for_name(self) -> None:
        self._paused()
        self.trouble = self.troubles.pop(0) if self.troubles else ("", "")
        shell = self.shell
        how = self._way("resolving")
        if how == "refuse":
            shell.soon(0.01, shell.refused)
        elif how != "mute":
            shell.soon(0.01, lambda: shell.resolved([] if how == "nowhere" else [("127.0.0.1", 4002)]))

    def knocked(self) -> None:
        shell, how = self.shell, self._way("connecting")
        if how != "mute":
            shell.soon(0.01, shell.refused if how == "refuse" else shell.opened)

    def greeted(self) -> None:
        self.connection += 1
        self.tws, self.said_at = Tws(), self.now
        self.mute = self.blocked = self.loses = False
        shell, how = self.shell, self._way("handshaking")
        if how in ("close", "unfit"):
            shell.soon(0.01, lambda: shell.closed(unfit=how == "unfit"))
        elif how != "mute":
            shell.soon(0.01, shell.greet)

    def told_to_start(self) -> None:
        shell, how = self.shell, self._way("starting")
        self.in_use = how in ("close", "326", "326 and open")
        if how.startswith("326"):
            self._later(0.01, "error", reqId=-1, errorCode=326, errorString="client id is already in use")
        if how not in ("mute", "close", "326", "326 and open"):
            self._later(0.01, "managedAccounts", accountsList="DU1,")
        if how in ("close", "326", "close after a word"):
            shell.soon(0.02, shell.closed)
        if not how:
            self._later(0.02, "error", reqId=-1, errorCode=2104, errorString="farm connection is OK:usfarm")
            shell.soon(0.03, self._give_id)

    def _give_id(self) -> None:
        self.tws.ready = True
        self.away, self.taken = False, False
        self.farms_down.clear()
        self._say("nextValidId", orderId=self.next_id)

    def _way(self, stage: str) -> str:
        return self.trouble[1] if self.trouble[0] == stage else ""

    def _later(self, seconds: float, name: str, **data: Any) -> None:
        self.shell.soon(seconds, lambda: None if self.mute else self._say(name, **data))

    def _say(self, name: str, **data: Any) -> None:
        self.said_at = self.now
        self.shell.say(name, **data)

    def _error(self, number: int, code: int, text: str = "no") -> None:
        self._say("error", reqId=number, errorCode=code, errorString=text)

    def left(self) -> None:
        """The daemon knows that the connection is over: who waited to hear of an order has been told."""
        self.tws, self.down_at = Tws(), self.now
        self._hear()
        for order in self.placed.values():
            if order.writes and not order.heard:
                told = order.unknown or order.doubted or order.last["state"] in ("unknown", "done")
                assert told, f"nobody was told that {order.key} may be there or not"
            assert order.last["state"] not in ("queued", "sent"), order.last
        assert not self.waiting

    # -- the line

    def moved_on(self) -> None:
        session = self.shell.session
        if session.stage is not self.stage:
            self.stage, self.since = session.stage, self.now
            if session.ready:
                assert self.tws.ready, "ready before TWS has said so"
                assert self.connection not in self.ready_on, "ready twice"
                self.ready_on.add(self.connection)

    def _paused(self) -> None:
        """The next try: not too soon, and not too late."""
        if self.down_at is not None:
            shortest, longest = AFTER_326 if self.in_use else (SHORTEST_PAUSE, LONGEST_PAUSE)
            assert shortest - HOLD <= self.now - self.down_at <= longest + HOLD, self.now - self.down_at
        self.in_use = False

    def _line(self) -> None:
        lasted = self.now - self.since
        assert lasted <= LONGEST_STAGE.get(self.stage.value, float("inf")) + HOLD, f"stuck while {self.stage.value}"
        if self.stage is Stage.READY:
            silent = self.now - max(self.said_at, self.since)
            assert silent <= SILENCE + HOLD, "half-open, and not found out"

    # -- what is written

    def given(self, message: OutboundMessage) -> None:
        self.waiting.append(message)
        of = Counter((each.client, each.request.pace) for each in self.waiting if each.client)
        assert max(of.values(), default=0) <= SHARE, "more of one client wait than its share"

    def withdrawn(self, message: OutboundMessage) -> None:
        """Remove a message, or one with the same bytes: the daemon asks for positions with those of a client."""
        alike = [each for each in self.waiting if each is message] or [
            each for each in self.waiting if each.data == message.data
        ]
        self.waiting = [each for each in self.waiting if each not in alike[:1]]

    def _overtaken(self, one: OutboundMessage) -> list[str]:
        """Return the cancels of the same client that were given before a message, and wait."""
        earlier = self.waiting[: self.waiting.index(one)]
        return [each.request.name for each in earlier if _cancels(each.request.name) and each.client == one.client]

    def written(self, name: str, data: dict[str, Any]) -> None:
        write = Write(self.connection, self.now, name, data)
        assert self.tws.ready, f"{name} left while there was no connection that takes it"
        self.writes.append(write)
        self._rate()
        alike = [each for each in self.waiting if each.data == self.shell.wire.leaves]
        one = next((each for each in alike if not self._overtaken(each)), alike[0])
        if not _cancels(name):
            assert not self._overtaken(one), f"{name} overtook {self._overtaken(one)} of the same client"
        self.withdrawn(one)
        number = write.number
        if number is not None and not name.startswith("cancel"):
            assert number not in self.tws.numbers, f"{number} is of two: {self.tws.numbers[number]} and {name}"
            self.tws.numbers[number] = name
        if name == "placeOrder" and not data["order"].get("whatIf"):
            self._order(write)
        elif name == "cancelOrder":
            order = self._by_number(number)
            order.cancels += 1
            self._after_lag(lambda: self._cancel(order))
        elif name == "reqGlobalCancel":
            self.globals["written"] += 1
            self._after_lag(self._cancel_open)
        elif name in LISTS:
            self._list(write)
        else:
            self._request(write)

    def _order(self, write: Write) -> None:
        client, key = write.data["order"]["orderRef"].split("/")
        order = self.placed[client, key]
        assert not order.writes, f"{key} was written twice"
        assert not order.never_left, f"{key} was said never to leave"
        assert order.not_after is None or self.shell._now <= order.not_after
        assert order.parent is None or order.parent.writes, "a child without its parent"
        assert write.data["order"].get("parentId", 0) == (order.parent.number if order.parent else 0)
        assert write.number is not None
        assert write.number > self.highest, "TWS takes only numbers that rise"
        assert write.number >= self.next_id, "TWS would not take it"
        assert write.number not in {each.data.get("reqId", each.data.get("orderId")) for each in self.writes[:-1]}
        order.writes.append(write)
        order.number = self.highest = write.number
        if not self.loses:
            self._take(order)

    def _take(self, order: Placed) -> None:
        """TWS has an order now: it holds one that is not to be transmitted, until the last of its family comes."""
        order.held = not order.transmitted
        if order.held:
            return
        family = [each for each in self.placed.values() if each.held and order.parent in (each, each.parent)]
        for each in (*family, order) if order.parent else (order,):
            each.held, each.status = False, "PreSubmitted"
            if self.acknowledges:
                self._after_lag(lambda each=each: self._report(each, "orderStatus"))  # type: ignore[misc]

    def _after_lag(self, then: Callable[[], None]) -> None:
        if self.lag is not None:
            self.shell.soon(self.lag, lambda: None if self.mute else then())

    def _cancel(self, order: Placed) -> None:
        """TWS cancels an order, or says why it does not."""
        if order.status in OPEN:
            order.status = "Cancelled"
            self._report(order, "orderStatus")
            self._error(order.number, 202, "Order Canceled - reason:")
        else:
            self._error(order.number, 10148 if order.status else 10147, "OrderId that needs to be cancelled is gone")
            order.heard |= bool(order.status)

    def _cancel_open(self) -> None:
        for order in [order for order in self.placed.values() if order.status in OPEN]:
            self._cancel(order)

    def _report(self, order: Placed, kind: str, number: int = -1) -> None:
        """Have TWS say of an order what is in its books."""
        if not order.status:
            return
        order.heard = True
        about, open_state = order.about, {"status": order.status}
        if kind == "orderStatus":
            left = {"filled": order.filled, "remaining": 100 - order.filled}
            about.pop("orderRef")
            self._say(kind, orderId=order.number, status=order.status, **left, **about)
        elif kind == "openOrder":
            self._say(kind, orderId=order.number, order=about, orderState=open_state)
        elif kind == "completedOrder":
            told = {"permId": about["permId"], "orderRef": about["orderRef"], "filledQuantity": order.filled}
            self._say(kind, order=told, orderState=open_state)
        elif order.filled:
            execution = {"execId": f"{order.number}.{order.filled:g}.01", "orderId": order.number, **about}
            self._say(kind, reqId=number, execution={**execution, "cumQty": order.filled, "shares": order.filled})

    def _list(self, write: Write) -> None:
        """Note a question about all orders, of which each waits for the end of the one before."""
        names = [*LISTS]
        place = names.index(write.name)
        assert place == 0 or self.tws.listed == names[place - 1], f"{write.name} after {self.tws.listed or 'nothing'}"
        self.tws.listed = ""
        self._after_lag(lambda: self._answer_list(write.name, write.number))

    def _answer_list(self, name: str, number: int | None) -> None:
        for order in self.placed.values():
            if name == "reqExecutions":
                self._report(order, "execDetails", number or 0)
            elif name == "reqCompletedOrders" and order.status not in OPEN:
                self._report(order, "completedOrder")
            elif name == "reqAllOpenOrders" and order.status in OPEN:
                self._report(order, "openOrder")
                self._report(order, "orderStatus")
        self.tws.listed = name
        self._say(LISTS[name], **({} if number is None else {"reqId": number}))

    def _by_number(self, number: int | None) -> Placed:
        return next(each for each in self.placed.values() if each.number == number)

    def _request(self, write: Write) -> None:
        tws, name, number = self.tws, write.name, write.number
        self._limits(write)
        if mark := _mark(write):
            self._question(self.questions[mark], write)
        if name == "reqCurrentTime":
            self._tell_time()
        elif name == "reqMarketRule":
            tws.rules.append(write.data["marketRuleId"])
        elif name in ("reqPositions", "cancelPositions"):
            tws.positions = name == "reqPositions"
        elif name == "reqAccountUpdates":
            tws.account = write.data["acctCode"] if write.data["subscribe"] else None
        elif number is not None and name.startswith("cancel"):
            tws.live.pop(number, None)
            tws.open.pop(number, None)
            tws.history.discard(number)
        elif number is not None and _streams(write):
            tws.streams.add(number)
            if self.keeps or not self.away:
                tws.live[number] = _stream(write)
        elif number is not None:
            tws.open[number] = mark

    def _tell_time(self) -> None:
        """TWS ignores who asks again within a second."""
        if self.now - self.tws.answered_at >= 1.0:
            self.tws.answered_at = self.now
            self._later(0.005, "currentTime", time=1)

    def _question(self, question: Question, write: Write) -> None:
        """Check that a request is repeated only on another connection, or after TWS has refused or dropped it."""
        assert not question.over, f"{question.topic} was told that it is over"
        assert not question.cancelled
        assert not question.begun or write.connection == question.writes[-1].connection, "half an answer, then all"
        here = [each for each in question.writes if each.connection == write.connection]
        dropped = 0
        if here and write.name in DROPPED and write.at - here[-1].at > 85:
            dropped = self._cancelled(here[-1])
        assert len(here) <= question.refused[write.connection] + dropped, (question, write)
        refusals = question.refused.total()
        assert refusals <= 3
        assert len(question.writes) - refusals < (1 if question.kind in ONCE else 2), (question, write)
        question.writes.append(write)

    def _cancelled(self, write: Write) -> bool:
        cancel = DROPPED[write.name], write.connection, write.number
        return any((each.name, each.connection, each.number) == cancel for each in self.writes)

    # -- IB's limits

    def _rate(self) -> None:
        if len(self.writes) > RATE:
            assert self.now - self.writes[-1 - RATE].at >= 1.0 - HOLD, "more than the rate in one second"

    def _within(self, seconds: float) -> list[Write]:
        late = itertools.takewhile(lambda each: self.now - each.at <= seconds, reversed(self.writes[:-1]))
        return list(late)

    def _limits(self, write: Write) -> None:
        """Check the limits in IB's documentation, each window with both its ends."""
        name, data = write.name, write.data
        if name == "reqTickByTickData":
            of = [each.data["contract"] for each in self._within(15) if each.name == name]
            assert data["contract"] not in of, "tick by tick of an instrument again within 15 s"
        elif name == "reqMatchingSymbols":
            assert all(each.name != name for each in self._within(1)), "two look-ups in a second"
        elif name == "reqRealTimeBars":
            assert sum(each.name == name for each in self._within(600)) < 60, "more than 60 bars in ten minutes"
        elif name in ("reqHistoricalData", "reqHeadTimeStamp"):
            assert write.number is not None
            self.tws.history.add(write.number)
            assert len(self.tws.history) <= 50, "more than 50 open"
            if _small(write):
                self._small_bars(write)

    def _small_bars(self, write: Write) -> None:
        past = [each for each in self._within(600) if _small(each)]
        assert sum(map(_units, past)) + _units(write) <= 60, "more than 60 in ten minutes"
        same = {**write.data, "reqId": 0}
        for each in past:
            if self.now - each.at <= 15:
                assert (each.name, {**each.data, "reqId": 0}) != (write.name, same), "identical within 15 s"
        of = [each for each in past if self.now - each.at <= 2 and _of(each) == _of(write)]
        assert sum(map(_units, of)) + _units(write) < 6, "six of one contract and type in 2 s"

    # -- what is published

    def _hear(self) -> None:
        published = self.shell.published
        for each in published[self.seen :]:
            self._read(each)
        self.seen = len(published)
        if self.seen > 20_000:
            published.clear()
            self.seen = 0

    def _read(self, heard: Heard) -> None:
        parts, kind = heard.topic.split("."), heard.body["type"]
        ends = kind == "error" and heard.data["ends"]
        if kind == "error" and "cancel of all orders" in heard.data["errorString"]:
            self.globals["lost"] += (parts[1], parts[2]) not in self.joined
        elif parts[0] == "req" and (question := self.asked.get((parts[1], parts[2]))):
            question.over += bool(ends) or kind in ENDINGS
            if ends and "TWS has not answered" in heard.data["errorString"]:
                self._was_asked(question)
            question.begun |= kind in ("contractDetails", "tickPrice")
            assert question.over <= 1, f"{heard.topic} was over before: {heard.body}"
        elif parts[0] == "ord" and kind == "orderState":
            self._known(self.placed[parts[1], parts[2]], heard.data)
        elif parts[0] == "ord" and kind == "error" and (order := self.placed.get((parts[1], parts[2]))):
            text = heard.data["errorString"]
            order.never_left += "was not placed" in text
            order.unknown += "may or may not exist" in text
            order.doubted += "may or may not be cancelled" in text
            order.cancels_lost += "cancel of this order could not" in text or "before the cancel" in text
        elif ends and kind == "error" and (ref := heard.body.get("ref")):
            for each in ref.get("holders") or [ref]:
                self.wanted.pop((each["client"], str(each["id"])), None)

    def _known(self, order: Placed, state: dict[str, Any]) -> None:
        """Check a published state of an order against the one before and TWS's books."""
        before = order.last
        assert state["changes"] == before.get("changes", 0) + 1
        assert state["orderId"] in (None, order.number)
        assert (state["orderId"] is None) == (state["state"] == "queued" or state["reason"] == "not_sent"), state
        if before.get("state") == "done":
            assert state["state"] == "done", f"{order.key} was over: {before}"
            assert REASONS.index(state["reason"]) >= REASONS.index(before["reason"]), state
        if state["state"] == "done":
            assert state["reason"] is not None
            assert (state["reason"] == "not_sent") == (not order.writes), order
            assert state["reason"] != "not_at_tws" or not order.status, f"TWS has {order.key}: {order.status}"
        if state["state"] == "sent":  # by itself, or with the family that TWS has kept back
            order.sent_at = self.now
        order.states.append(state)

    def _was_asked(self, question: Question) -> None:
        """TWS has had its time to answer: on this connection, and twice where it may have dropped the question."""
        if question.writes:
            assert question.writes[-1].connection == self.connection, question
            droppable = question.writes[0].name in DROPPED and question.accepted_on == self.connection
            assert len(question.writes) > 1 or question.begun or not droppable, question

    # -- clients

    def _ask(self, command: str, client: str, args: dict[str, Any], key: str | None = None, **more: Any) -> Any:
        """The result, and under which id it was asked; None if it was refused for now."""
        asking = CommandId(client, more.pop("name", None) or f"n{next(self.names)}")
        try:
            return self.shell.execute(command, args, asking, key, **more), str(asking.id)
        except CommandRefused as error:
            if error.code not in ("E_NOT_CONNECTED", "E_PACING", "E_BUSY"):
                raise
            return None
        finally:
            self._hear()

    @rule(client=CLIENTS, symbol=SYMBOLS, kind=st.sampled_from(sorted(STREAMS)))
    def subscribe(self, client: str, symbol: str, kind: str) -> None:
        command, cancel, args = STREAMS[kind]
        if got := self._ask(command, client, {**args, "contract": {**AAPL, "symbol": symbol}}):
            self.wanted[client, got[1]] = f"{command} {symbol} {args.get('genericTickList', '')}".strip(), cancel

    @rule(client=CLIENTS, symbol=SYMBOLS, seconds=st.sampled_from((0.0, 1.0)))
    def subscribe_to_all(self, client: str, symbol: str, seconds: float) -> None:
        for kind in STREAMS:
            self.subscribe(client, symbol, kind)
        self.wait(seconds)

    @precondition(lambda self: self.wanted)
    @rule(data=st.data())
    def unsubscribe(self, data: Any) -> None:
        client, name = data.draw(st.sampled_from(sorted(self.wanted)))
        if self._ask(self.wanted[client, name][1], client, {"id": name}):
            del self.wanted[client, name]

    @rule(client=CLIENTS, wants=st.booleans())
    def all_positions(self, client: str, wants: bool) -> None:
        if self._ask("reqPositions" if wants else "cancelPositions", client, {}):
            (self.positions.add if wants else self.positions.discard)(client)

    @rule(client=CLIENTS, account=st.sampled_from(ACCOUNTS), wants=st.booleans())
    def account(self, client: str, account: str, wants: bool) -> None:
        account = account if wants else self.accounts.get(client, account)
        if self._ask("reqAccountUpdates", client, {"subscribe": wants, "acctCode": account}):
            if wants:
                self.accounts[client] = account
            else:
                self.accounts.pop(client, None)

    def _question_of(self, kind: str, client: str, contract: str = "", **more: Any) -> None:
        number = next(self.names)
        name, mark = f"n{number}", f"Q{number}"
        command, _, args = QUESTIONS[kind]
        question = self.questions[mark] = self.asked[client, name] = Question(kind, self.connection)
        match kind:
            case "matching":
                marked: dict[str, Any] = {"pattern": mark}
            case "rule":
                marked = {"marketRuleId": number}
            case "time":
                marked = {}
            case _:
                marked = {"contract": {**AAPL, "symbol": contract or mark}}
        got = self._ask(command, client, {**args, **marked, **more}, name=name)
        if got is None:
            assert not question.writes
            del self.questions[mark], self.asked[client, name]
        else:
            question.topic = got[0]["topic"]

    @rule(client=CLIENTS, kind=st.sampled_from(sorted({*QUESTIONS} - {"history"})), many=st.sampled_from((1, 1, 3, 12)))
    def question(self, client: str, kind: str, many: int) -> None:
        for _ in range(many):
            self._question_of(kind, client)

    @rule(
        client=CLIENTS,
        size=st.sampled_from(("1 secs", "30 secs", "1 day")),
        what=st.sampled_from(("TRADES", "BID_ASK")),
        contract=st.sampled_from(("", "AAPL", "AAPL", "MSFT")),
        ends=st.lists(st.sampled_from(("", "20260105-00:00:00", "20260104-00:00:00")), min_size=1, max_size=9),
    )
    def history(self, client: str, size: str, what: str, contract: str, ends: list[str]) -> None:
        for end in ends:
            self._question_of("history", client, contract, barSizeSetting=size, whatToShow=what, endDateTime=end)

    @precondition(lambda self: self._speaks())
    @rule(size=st.sampled_from(("5 secs", "1 day")), answered=st.booleans(), few=st.booleans())
    def fill_up(self, size: str, answered: bool, few: bool) -> None:
        """Have three clients ask for histories as fast as possible, as some programs do."""
        for number in range(30):
            client = "abc"[number % 3]
            for _ in range(2 if few else 4):
                self._question_of("history", client, barSizeSetting=size, whatToShow="TRADES", endDateTime="")
            self.wait(0.3)
            for each in sorted(self.tws.history & {*self.tws.open}) if answered and self._speaks() else ():
                self._complete(each, self.tws.numbers[each])

    @precondition(lambda self: self._under_way())
    @rule(data=st.data())
    def give_up(self, data: Any) -> None:
        client, name = data.draw(st.sampled_from(self._under_way()))
        question = self.asked[client, name]
        cancel = "cancelContractData" if question.kind == "details" else "cancelHistoricalData"
        if self._ask(cancel, client, {"id": name}):
            question.cancelled = True

    def _under_way(self) -> list[tuple[str, str]]:
        there = [each for each, of in self.asked.items() if of.kind in ("details", "history")]
        return [each for each in there if not self.asked[each].over and not self.asked[each].cancelled]

    @rule(
        client=CLIENTS,
        many=st.sampled_from((1, 1, 2, 7)),
        late=st.sampled_from((None, None, 0.02, 1.0)),
        of=st.booleans(),
        numbered=st.booleans(),
        holds=st.booleans(),
    )
    def order(self, *, client: str, many: int, late: float | None, of: bool, numbered: bool, holds: bool) -> None:
        """Some orders; with `of` the others are children of the first, which they name by number or key.

        With `holds` only the last of them is transmitted.
        """
        parent: Placed | None = None
        for which in range(many):
            key = f"k{next(self.names)}"
            not_after = None if late is None or parent else self.shell._now + int(late * 1e6)
            order = self.placed[client, key] = Placed(client, key, not_after, parent)
            said = {**LIMIT, "transmit": False} if of and holds and which < many - 1 else LIMIT
            order.said = {"contract": AAPL, "order": said}
            if parent is not None and numbered and parent.number:
                order.said["order"] = {**said, "parentId": parent.number}
            elif parent is not None:
                order.said["parent"] = parent.key
            got = self._ask("placeOrder", client, order.said, key, not_after=not_after)
            if got is None:
                assert not order.writes
                assert not order.never_left
                assert not order.states
                del self.placed[client, key]
                break
            assert not self.away, "taken while IB's servers are away"
            assert got[0]["orderId"] == (order.number or None)
            left = "sent" if order.transmitted else "held"
            assert order.last["state"] in ((left,) if order.writes else ("queued", "done"))
            parent = parent or (order if of else None)

    def _an_order(self, data: Any) -> Placed:
        placed = list(self.placed.values())[-12:]
        found: Placed = placed[data.draw(st.integers(0, len(placed) - 1))]
        return found

    @precondition(lambda self: self.placed)
    @rule(data=st.data())
    def order_again(self, data: Any) -> None:
        """Under its key it is the same; another is refused. Nothing is written."""
        order, before = self._an_order(data), len(self.writes)
        got = self._ask("placeOrder", order.client, order.said, order.key)
        assert got is not None
        assert (got[0]["orderId"], got[0]["dup"]) == (order.number or None, True)
        changed = {**order.said, "order": {**order.said["order"], "lmtPrice": 1.0}}
        refusal("E_KEY_REUSED", self._ask, "placeOrder", order.client, changed, order.key)
        assert len(self.writes) == before

    @precondition(lambda self: self.placed)
    @rule(data=st.data())
    def cancel_order(self, data: Any) -> None:
        self._cancel_one(self._an_order(data))

    def _cancel_one(self, order: Placed) -> None:
        if order.last["state"] == "held":
            return  # after a cancel that TWS does not answer nobody could find out about it
        if order.writes:
            order.to_cancel += 1  # at once, as it may be written before there is a reply
        written = bool(order.writes)
        got = self._ask("cancelOrder", order.client, {}, order.key)
        if not got or got[0].get("dup"):
            order.to_cancel -= written
        if got:
            assert order.writes or order.never_left == 1

    @rule(client=CLIENTS)
    def cancel_all(self, client: str) -> None:
        if got := self._ask("reqGlobalCancel", client, {}):
            if got[0].get("dup"):
                self.joined.add((client, got[1]))
            else:
                self.globals["given"] += 1
            assert all(each.writes or each.never_left for each in self.placed.values())

    # -- TWS, as chance has it

    @rule(seconds=st.sampled_from((0.01, 0.1, 0.5, 1.0, 1.0, 3.0, 20.0, 60.0, 200.0)))
    def wait(self, seconds: float) -> None:
        self.shell.pass_on(seconds)
        self._hear()
        self._line()
        for order in self.placed.values():
            if order.last["state"] == "sent":
                assert self.now - order.sent_at < SILENCE_ABOUT_ORDERS, f"{order.key}, and nobody says a word"

    @precondition(lambda self: not self.shell.session.ready)
    @rule()
    def get_ready(self) -> None:
        """Wait until the connection is ready, which random steps would seldom reach."""
        self.troubles.clear()
        for _ in range(200):
            if not self.shell.session.ready:
                self.wait(1.0)
        assert self.shell.session.ready

    @rule(troubles=st.lists(st.sampled_from(TROUBLES), min_size=1, max_size=4))
    def will_have_trouble(self, troubles: list[tuple[str, str]]) -> None:
        self.troubles += troubles

    def _speaks(self) -> bool:
        return self.tws.ready and self.shell.session.ready and not self.mute

    @precondition(lambda self: self.shell.wire_open)
    @rule(rolled=st.sampled_from(("on", "on", "back", "far")), after=st.sampled_from((0.0, 0.0, 0.03)))
    def ends(self, rolled: str, after: float) -> None:
        """TWS goes; where it goes on with its numbers is its affair."""
        used = max((each.number for each in self.placed.values() if each.writes), default=0)
        if after:
            self.wait(after)
        if self.shell.wire_open:
            self.shell.closed()
            if rolled != "on":  # it has started again, and kept nothing that was not transmitted
                for order in self.placed.values():
                    order.held = False
            self.next_id = {"on": max(self.next_id, used + 1), "back": 1, "far": self.next_id + 1000}[rolled]

    @precondition(_speaks)
    @rule()
    def falls_silent(self) -> None:
        self.mute = True

    @precondition(_speaks)
    @rule(full=st.booleans())
    def takes_nothing(self, full: bool) -> None:
        self.blocked = True
        self.shell.blocked(full=full)

    @precondition(lambda self: self._speaks() and self.blocked)
    @rule()
    def takes_all_again(self) -> None:
        self.blocked = False
        self.shell.drained()

    @precondition(lambda self: self._speaks() and self.tws.open)
    @rule(data=st.data(), how=st.sampled_from(("all", "half", "half and gone", "no", "much", "always too much")))
    def answers_a_question(self, data: Any, how: str) -> None:
        number = data.draw(st.sampled_from(sorted(self.tws.open)))
        mark, name = self.tws.open[number], self.tws.numbers[number]
        if how.startswith("half") and name in ("reqContractDetails", "reqMktData"):
            self._say("contractDetails" if name == "reqContractDetails" else "tickPrice", reqId=number)
            if how == "half and gone":
                self.shell.closed()
        elif how == "always too much":
            self._refuse_always(mark)
        elif how in ("no", "much") and name != "placeOrder":
            self._refuse(number, data.draw(st.sampled_from((100, 162))) if how == "much" else 200)
        else:
            self._complete(number, name)
        self._hear()
        if mark and number not in self.tws.open and not self.questions[mark].refused:
            assert self.questions[mark].over or self.questions[mark].cancelled

    def _refuse_always(self, mark: str) -> None:
        for _ in range(5):
            for number in [number for number, of in self.tws.open.items() if mark and of == mark]:
                self._refuse(number, 100)
            self.wait(0.5)

    def _refuse(self, number: int, code: int) -> None:
        """Have TWS refuse a request, which ends its number."""
        mark = self.tws.open.pop(number, "")
        history = self.tws.numbers[number] in ("reqHistoricalData", "reqHeadTimeStamp")
        code = 100 if code == 162 and not history else code
        self.tws.history.discard(number)
        self.tws.live.pop(number, None)
        if mark and code in (100, 162):
            self._count_refusal(self.questions[mark])
        self._error(number, code, PACING if code == 162 else "no")
        self._hear()

    def _count_refusal(self, question: Question) -> None:
        if not question.begun and not question.cancelled and question.kind not in ONCE and question.refused.total() < 3:
            question.refused[self.connection] += 1

    def _complete(self, number: int, name: str) -> None:
        del self.tws.open[number]
        if name != "reqHeadTimeStamp":  # which stays open until it is cancelled
            self.tws.history.discard(number)
        if name == "placeOrder":
            about = {"clientId": CLIENT_ID, "whatIf": True}
            self._say("openOrder", orderId=number, order=about, orderState={"initMarginAfter": "1.0"})
        else:
            ending = next(ending for command, ending, _ in QUESTIONS.values() if command == name)
            self._say(ending, reqId=number)

    @precondition(lambda self: self._speaks() and self.tws.rules)
    @rule()
    def answers_a_rule(self) -> None:
        self._say("marketRule", marketRuleId=self.tws.rules.pop(0))
        self._hear()

    @precondition(lambda self: self._speaks() and self.tws.live)
    @rule(data=st.data(), code=st.sampled_from((None, None, None, 100, 162, 200, 10182, 10197)))
    def a_stream(self, data: Any, code: int | None) -> None:
        """Have TWS send data for a subscription, or an error."""
        number = data.draw(st.sampled_from(sorted(self.tws.live)))
        name = self.tws.numbers[number]
        if code is None:
            self.tws.spoken.add(number)
            self._say(TICKS[name], reqId=number)
        elif code == 10197:
            self.taken = True
            self._error(number, code)
        elif code in (200, 10182) or number not in self.tws.spoken:
            self._refuse(number, code)
        self._hear()

    @precondition(lambda self: self._speaks() and self.tws.streams)
    @rule(data=st.data())
    def a_late_tick(self, data: Any) -> None:
        """Under any number that was ever that of a stream on this connection: its own topic, or nobody's."""
        number = data.draw(st.sampled_from(sorted(self.tws.streams)))
        self._say(TICKS[self.tws.numbers[number]], reqId=number)
        self._hear()

    def _at_tws(self) -> list[Placed]:
        return [order for order in self.placed.values() if order.status][-12:]

    @precondition(lambda self: self._speaks() and self._at_tws())
    @rule(data=st.data(), kind=st.sampled_from(("works", "openOrder", "error", "fills", "fills in part", "cancelled")))
    def an_order(self, data: Any, kind: str) -> None:
        """Have something become of an order, or have TWS repeat what it has said of the order."""
        self._happens(data.draw(st.sampled_from(self._at_tws())), kind)

    def _happens(self, order: Placed, kind: str) -> None:
        if not self._speaks():
            self._become(order, kind)
        elif kind == "error" and order.status in OPEN:
            order.status, order.refused, order.heard = "", True, True
            self._error(order.number, 201)
        elif kind == "openOrder":
            self._report(order, kind)
        else:
            self._become(order, kind)
            if kind.startswith("fills"):
                self._report(order, "execDetails")
            self._report(order, "orderStatus")
        self._hear()

    @rule(
        client=CLIENTS,
        of=st.booleans(),
        life=st.lists(
            st.sampled_from(
                ("works", "error", "fills", "fills in part", "cancelled", "soon", "late", "cancel", "gone")
            ),
            min_size=1,
            max_size=8,
        ),
    )
    def trade(self, client: str, of: bool, life: list[str]) -> None:
        """Place orders on a ready connection, and have this and that become of the last of them."""
        if not self.shell.session.ready:
            self.get_ready()
        self.order(client=client, many=2, late=None, of=of, numbered=False, holds=of)
        if not self.placed:
            return
        order = next(reversed(self.placed.values()))
        for each in life:
            if each in ("soon", "late"):
                self.wait(1.0 if each == "soon" else 40.0)
            elif each == "cancel":
                self._cancel_one(order)
            elif each == "gone" and self.shell.wire_open:
                self.shell.closed()
            elif order.status:
                self._happens(order, each)

    def _become(self, order: Placed, what: str) -> None:
        if order.status not in OPEN:
            return
        if what.startswith("fills"):
            order.filled = 40.0 if what == "fills in part" else 100.0
        order.status = {"cancelled": "Cancelled", "fills": "Filled"}.get(what, "Submitted")

    @precondition(lambda self: not self._speaks() and self._at_tws())
    @rule(data=st.data(), what=st.sampled_from(("works", "fills", "fills in part", "cancelled")))
    def an_order_meanwhile(self, data: Any, what: str) -> None:
        """Have something become of an order that TWS cannot report."""
        self._become(data.draw(st.sampled_from(self._at_tws())), what)

    @precondition(_speaks)
    @rule()
    def loses_orders(self) -> None:
        """Have no order arrive any more on this connection."""
        self.loses = True

    @rule(lag=st.sampled_from((0.005, 3.0, 25.0, None)))
    def is_slow_about_orders(self, lag: float | None) -> None:
        self.lag = lag

    @precondition(_speaks)
    @rule(code=st.sampled_from((1100, 1101, 1102)), lost=st.booleans(), times=st.integers(1, 3))
    def ib(self, code: int, lost: bool, times: int) -> None:
        """IB's servers go and come. That all is lost with 1101 may be true or not, and 1102 may lie of new streams."""
        if code == 1100:
            self.away, self.keeps = True, not lost
        elif code == 1101:
            self.away = False
            if lost:
                self.tws.live.clear()
                self.tws.history.clear()
                self.tws.open = {n: mark for n, mark in self.tws.open.items() if self.tws.numbers[n] == "placeOrder"}
                self.tws.positions, self.tws.account = False, None
        else:
            self.away = False
        for _ in range(times):
            self._error(-1, code)
        self._hear()

    @precondition(lambda self: self._speaks() and self.tws.live)
    @rule(lost=st.sampled_from((True, True, False)))
    def data_is_lost(self, lost: bool) -> None:
        self.wait(0.5)
        if self._speaks():
            self.ib(1101, lost, 1)

    @precondition(_speaks)
    @rule(code=st.sampled_from(sorted(FARMS)), down=st.booleans())
    def farm(self, code: int, down: bool) -> None:
        (self.farms_down.add if down else self.farms_down.discard)(code)
        self._error(-1, code if down else UP_AGAIN[code], f"data farm connection is so:{FARMS[code]}")
        self._hear()

    @precondition(_speaks)
    @rule(code=st.sampled_from((100, 1300)))
    def complains(self, code: int) -> None:
        self._error(-1, code, "Max rate of messages per second has been exceeded" if code == 100 else "port 4002")
        self._hear()

    # -- in the end

    @invariant()
    def all_that_is_known_of_orders_agrees(self) -> None:
        for order in self.placed.values():
            assert len(order.writes) + order.never_left <= 1, order
            was_held = any(state["state"] == "held" for state in order.states)  # and perhaps transmitted later
            assert order.unknown <= 1 + was_held

    def _settled(self) -> str:
        """Return the parts of the state that are not as they should be yet; empty if all are."""
        tws = self.tws
        wanted = Counter(stream for stream, _ in self.wanted.values())
        for stream in wanted:
            if not stream.startswith("reqHistoricalData"):  # of which each has its own history
                wanted[stream] = 1
        open_ones = [each for each in self.questions.values() if each.over != 1 and not each.cancelled]
        unclear = [each for each in self.placed.values() if len(each.writes) + each.never_left != 1]
        uncancelled = [each for each in self.placed.values() if each.to_cancel != each.cancels + each.cancels_lost]
        differing = [what for each in self.placed.values() if (what := each.differs())]
        account = next(iter(self.accounts.values()), None)
        live = Counter(tws.live.values())
        checks = {
            "not ready": not self.shell.session.ready,
            f"streams: {live} and not {wanted}": live != wanted,
            f"questions: {open_ones}": open_ones,
            f"orders: {unclear}": unclear,
            f"states: {differing}": differing,
            f"cancels: {uncancelled}": uncancelled,
            f"global cancels: {self.globals}": self.globals["given"] != self.globals["written"] + self.globals["lost"],
            f"positions: {self.positions}": bool(self.positions) and not tws.positions,
            f"account: {tws.account} and not {account}": tws.account != account,
        }
        return "; ".join(what for what, wrong in checks.items() if wrong)

    def teardown(self) -> None:
        """TWS is well, and answers or not; all that was accepted comes right, and stays so."""
        if not hasattr(self, "shell"):
            return
        self.troubles.clear()
        begin = self.now
        while self._settled() and self.now < begin + SETTLED:
            self._be_well()
            self.wait(1.0 if self.now < begin + 300 else 30.0)
        assert not self._settled(), self._settled()

    def _be_well(self) -> None:
        if not self._speaks():
            return
        if self.away:
            self.ib(1102, lost=False, times=1)
        for code in [*self.farms_down]:
            self.farm(code, down=False)
        if self.taken:
            self.taken = False
            self.farm(2103, down=False)
        self.lag = 0.005
        if self.answers:
            for number in sorted(self.tws.open):
                if number in self.tws.open:
                    self._complete(number, self.tws.numbers[number])
            while self.tws.rules:
                self.answers_a_rule()
            self._hear()


TestSession = SessionMachine.TestCase
TestSession.settings = settings(
    max_examples=120, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
