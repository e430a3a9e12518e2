"""Whatever clients ask and whatever TWS does, in any order: what was promised of requests and of pacing holds.

The state machine keeps its own books of what was accepted, sent and told, and shares no code with what it checks.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ibbridge.codec.schema import Pace
from ibbridge.outgoing import NOT_CONNECTED
from ibbridge.refusal import Refused
from tests.middle import AAPL, LIMIT, Middle, Sent

RATE = 10
SHARE = 8
CLIENTS = st.sampled_from(("a", "b"))
SYMBOLS = st.sampled_from(("AAPL", "MSFT", "IBM", "TSLA"))
CANCELS = frozenset(("cancelMktData", "cancelOrder", "cancelHistoricalData", "cancelContractData"))


class SessionMachine(RuleBasedStateMachine):
    """One daemon without sockets, its clients, and a TWS that answers, errs, is silent, or goes."""

    def __init__(self) -> None:
        super().__init__()
        self.middle = Middle(rate=RATE, share=SHARE)
        self.connection = 1
        self.up = True
        self.writes: list[tuple[int, float, Sent]] = []
        self.live: dict[int, str] = {}  # what TWS streams, by number
        self.open: dict[int, tuple[str, str]] = {}  # questions that TWS has and has not answered
        self.times = 0  # reqCurrentTime likewise
        self.wanted: dict[tuple[str, str], str] = {}  # streams, by client and command id
        self.asked: dict[str, str] = {}  # one-shots: their topic, by the symbol or the bar that only they have
        self.placed: set[int] = set()
        self.names = itertools.count(1)
        self._write = self.middle.link._write
        self.middle.link._write = self._written  # type: ignore[method-assign]

    def _written(self, data: bytes) -> None:
        self._write(data)
        sent = self.middle.link.sent[-1]
        self._cancel_first(sent.name)
        self.writes.append((self.connection, self.middle.link.now, sent))
        assert self.up, f"{sent.name} left while there was no connection"
        if sent.name == "reqMktData":
            self.live[sent.data["reqId"]] = sent.data["contract"]["symbol"]
        elif sent.name == "cancelMktData":
            self.live.pop(sent.data["reqId"], None)
        elif sent.name in ("reqContractDetails", "reqHistoricalData"):
            self.open[sent.data["reqId"]] = sent.name, sent.data["contract"]["symbol"]
        elif sent.name == "reqCurrentTime":
            self.times += 1

    def _cancel_first(self, name: str) -> None:
        if name not in CANCELS:
            waiting = self.middle.link.waiting(Pace.CANCEL)
            assert not waiting, f"{name} overtook {waiting[0].request.name}"

    def _ask(self, command: str, client: str, id: str, key: str | None = None, **args: Any) -> dict[str, Any] | None:  # noqa: A002
        try:
            return self.middle.ask(command, client, id, key, **args)
        except Refused as error:
            if error.code not in ("E_NOT_CONNECTED", "E_PACING", "E_BUSY"):
                raise
            return None

    # -- clients

    @rule(client=CLIENTS, symbol=SYMBOLS)
    def subscribe(self, client: str, symbol: str) -> None:
        name = f"n{next(self.names)}"
        if self._ask("reqMktData", client, name, contract={**AAPL, "symbol": symbol}):
            self.wanted[client, name] = symbol

    @precondition(lambda self: self.wanted)
    @rule(data=st.data())
    def unsubscribe(self, data: Any) -> None:
        client, name = data.draw(st.sampled_from(sorted(self.wanted)))
        try:
            self.middle.cancel("cancelMktData", name, client)
        except Refused as error:
            if error.code != "E_PACING":
                raise
        else:
            del self.wanted[client, name]

    def _one_shot(self, command: str, client: str, **args: Any) -> None:
        name = f"n{next(self.names)}"
        if reply := self._ask(command, client, name, contract={**AAPL, "symbol": f"Q{name}"}, **args):
            self.asked[f"Q{name}"] = reply["topic"]

    @rule(client=CLIENTS, many=st.integers(1, 12))
    def question(self, client: str, many: int) -> None:
        for _ in range(many):
            self._one_shot("reqContractDetails", client)

    @rule(client=CLIENTS)
    def history(self, client: str) -> None:
        day = {"endDateTime": "", "durationStr": "1 D", "barSizeSetting": "1 min", "whatToShow": "TRADES"}
        more = {"useRTH": 1, "formatDate": 2, "keepUpToDate": False, "chartOptions": []}
        self._one_shot("reqHistoricalData", client, **day, **more)

    @rule(client=CLIENTS)
    def time(self, client: str) -> None:
        name = f"n{next(self.names)}"
        if reply := self._ask("reqCurrentTime", client, name):
            self.asked[f"T{name}"] = reply["topic"]

    @rule(client=CLIENTS, cancelled=st.booleans())
    def order(self, client: str, cancelled: bool) -> None:
        key = f"k{next(self.names)}"
        reply = self._ask("placeOrder", client, key, key, contract=AAPL, order=LIMIT)
        if reply:
            assert reply["orderId"] not in self.placed
            self.placed.add(reply["orderId"])
            if cancelled:
                self._ask("cancelOrder", client, f"c{key}", key)

    # -- TWS

    @rule(seconds=st.sampled_from((0.01, 0.1, 0.5, 1.0, 1.0, 20.0, 60.0)))
    def wait(self, seconds: float) -> None:
        for _ in range(max(1, int(seconds))):
            self.middle.pass_time(min(seconds, 1.0))

    @precondition(lambda self: self.up and self.open)
    @rule(data=st.data(), errs=st.booleans())
    def answer(self, data: Any, errs: bool) -> None:
        number = data.draw(st.sampled_from(sorted(self.open)))
        command, symbol = self.open.pop(number)
        if errs:
            heard: Any = self.middle.error(number)
        else:
            ending = "contractDetailsEnd" if command == "reqContractDetails" else "historicalDataEnd"
            heard = self.middle.hear(ending, reqId=number)
        topic = self.asked.get(symbol)
        mine = topic is not None and heard.topic.startswith(topic)
        nobodys = ("req.~", "md.~", "sys.tws.error.")  # what comes under a number that nobody waits for any more
        assert mine or heard.topic.startswith(nobodys), (heard.topic, topic)

    @precondition(lambda self: self.up and self.times)
    @rule()
    def tell_time(self) -> None:
        self.times -= 1
        self.middle.hear("currentTime", time=1)

    @precondition(lambda self: self.up and self.live)
    @rule(data=st.data())
    def tick(self, data: Any) -> None:
        number = data.draw(st.sampled_from(sorted(self.live)))
        heard = self.middle.tick(number)
        assert heard.topic.split(".")[1] in (f"{self.live[number]}-STK-SMART-USD", f"~{number}")

    @precondition(lambda self: self.up)
    @rule(code=st.sampled_from((1100, 1101, 1102)), times=st.integers(1, 10))
    def upstream(self, code: int, times: int) -> None:
        for _ in range(times):
            if code == 1101:
                self.live.clear()
            self.middle.requests.upstream = code != 1100
            self.middle.requests.notice(code)

    @precondition(lambda self: self.up)
    @rule()
    def lose(self) -> None:
        middle, self.up = self.middle, False
        middle.link.takes = False
        middle.requests.unsent(middle.link.pacing.drop())
        for route in middle.requests.lost():
            middle.router.tell(route, NOT_CONNECTED, "lost", 1)
        self.live, self.open, self.times = {}, {}, 0

    @precondition(lambda self: not self.up)
    @rule()
    def connect(self) -> None:
        middle, self.up = self.middle, True
        self.connection += 1
        middle.link.takes = True
        middle.requests.upstream = True
        for route, why in middle.connect():
            middle.router.tell(route, NOT_CONNECTED, why, 1)

    # -- what holds

    @invariant()
    def never_more_than_the_rate(self) -> None:
        times = [when for _, when, _ in self.writes]
        assert all(later - first >= 1.0 - 1e-6 for first, later in zip(times, times[RATE:], strict=False))

    @invariant()
    def each_number_and_each_order_once(self) -> None:
        numbers = Counter(
            sent.data.get("reqId", sent.data.get("orderId"))
            for _, _, sent in self.writes
            if sent.name in ("reqMktData", "reqContractDetails", "reqHistoricalData", "placeOrder")
        )
        assert not numbers or max(numbers.values()) == 1, numbers.most_common(1)

    @invariant()
    def a_question_at_most_twice_and_again_only_when_it_cannot_be_answered_any_more(self) -> None:
        sent: dict[str, list[tuple[int, float, Sent]]] = defaultdict(list)
        for each in self.writes:
            if each[2].name in ("reqContractDetails", "reqHistoricalData"):
                sent[each[2].data["contract"]["symbol"]].append(each)
        for symbol, asked in sent.items():
            if symbol in self.asked and len(asked) > 1:
                (former, at, first), (later, again, _) = asked
                dropped = first.name == "reqHistoricalData" and again - at > 85 and self._cancelled(first)
                assert former != later or dropped, (symbol, asked)

    def _cancelled(self, asked: Sent) -> bool:
        cancel = Sent("cancelHistoricalData", {"reqId": asked.data["reqId"]})
        return any(each == cancel for _, _, each in self.writes)

    def _ends(self, topic: str) -> int:
        ending = ("contractDetailsEnd", "historicalDataEnd", "currentTime")
        told = [each for each in self.middle.published if each.topic.startswith(topic)]
        return sum(each.body["type"] in ending or each.data.get("ends") is True for each in told)

    @invariant()
    def nobody_is_told_twice_that_it_is_over(self) -> None:
        ends: Counter[str] = Counter()
        for each in self.middle.published:
            if each.topic.startswith("req.") and "~" not in each.topic:
                over = each.body["type"] in ("contractDetailsEnd", "historicalDataEnd", "currentTime")
                ends[".".join(each.topic.split(".")[:3])] += over or each.data.get("ends") is True
        assert not ends or max(ends.values()) <= 1, ends.most_common(1)

    def teardown(self) -> None:
        """In the end, with a TWS that says nothing more: all wanted streams are there, every question is over."""
        if not self.up:
            self.connect()
        self.upstream(1102, 1)
        for _ in range(400):
            self.middle.pass_time(1.0)
        assert set(self.live.values()) == set(self.wanted.values())
        assert len(self.live) == len(set(self.live.values()))
        assert {name: self._ends(topic) for name, topic in self.asked.items() if self._ends(topic) != 1} == {}
        self.never_more_than_the_rate()


TestSession = SessionMachine.TestCase
TestSession.settings = settings(
    max_examples=20, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
