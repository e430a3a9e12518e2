"""The queue in front of the socket: rate, order, fair turns, and everything together, in virtual time."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ibbridge.codec.messages import OUTBOUND, REQUESTS
from ibbridge.codec.schema import Kind, Pace
from ibbridge.protocol.errors import CommandRefused
from ibbridge.tws.fair_queue import NEWCOMERS
from ibbridge.tws.outbound import OutboundMessage
from ibbridge.tws.send_queue import PATIENCE
from tests.support.daemon_core import AAPL, MSFT, refusal
from tests.support.paced_line import BARS, DAILY, RATE, Line, answered, check_history, check_rate, message

# -- the rate


@pytest.mark.scenario("B28")
def test_a_burst_of_500_requests_is_paced_and_nothing_is_lost():
    line = Line()
    asked = [line.put("reqMktData", contract=AAPL) for _ in range(500)]
    left = line.go(60)
    assert [each.message for each in left] == asked, "in the order in which they came"
    check_rate(left)
    assert left[-1].at - left[0].at < 500 / 39, "and no slower than need be"


@pytest.mark.parametrize("urgent", ["cancelMktData", "cancelOrder", "placeOrder", "exerciseOptions", "reqGlobalCancel"])
@pytest.mark.parametrize("after", [0.0, 0.01, 0.5, 1.234, 5.0])
@pytest.mark.scenario("B28")
def test_a_cancel_or_an_order_overtakes_bulk_requests_at_once(urgent, after):
    line = Line()
    for number in range(500):
        line.put("reqMktData", f"c{number % 7}", contract=AAPL)
    line.go(after)
    one = line.put(urgent, "z")
    assert line.take() == [one]
    check_rate([*line.left, *line.go(20)])


@pytest.mark.parametrize("rate", [10, 22, 45, 50, 100, 1000])
def test_at_every_rate_no_second_has_more_and_something_leaves(rate):
    line = Line(rate, share=rate)
    for number in range(3 * rate):
        line.put(("reqMktData", "cancelMktData", "placeOrder")[number % 3])
        if number == rate:
            line.go(10)  # the budget is whole again
    left = line.go(60)
    assert len(line.left) == 3 * rate
    check_rate(line.left, rate)
    assert left[-1].at - left[0].at < 4


def test_cancels_come_before_orders_before_the_rest_before_history():
    names = ["cancelMktDepth", "placeOrder", "reqMktData", "reqHistoricalData"]
    for first, then in itertools.combinations(names, 2):
        line = Line()
        for _ in range(40):
            line.put(then, "a", **DAILY)
            line.put(first, "b", **DAILY)
        most, left = PATIENCE[REQUESTS[then].pace], [each.name for each in line.go(10)]
        in_a_row = [len([*group]) for name, group in itertools.groupby(left[:40]) if name == first]
        assert {*in_a_row[:-1]} <= {most}, "so many, and then one of those that have been passed by"
        assert left[:most] == [first] * most


@pytest.mark.parametrize(
    ("urgent", "late", "most"), [("cancelOrder", "placeOrder", 2), ("placeOrder", "reqMktData", 8)]
)
@pytest.mark.parametrize("names", [1, 200])
def test_a_flood_of_urgent_messages_leaves_a_part_of_the_rate_to_the_others(urgent, late, most, names):
    line = Line()
    for number in range(500):
        line.put(urgent, f"c{number % names}")
    line.go(2)
    one, began = line.put(late, "z"), line.now
    left = line.go(1)
    assert one in [each.message for each in left[: most + 1]]
    assert next(each.at for each in left if each.message is one) - began < (most + 2) / 39
    check_rate([*line.left, *line.go(20)])


@pytest.mark.parametrize("name", ["cancelOrder", "placeOrder", "reqMktData"])
@pytest.mark.parametrize(
    ("names", "peers", "peer"),
    [(1, 1, b"z"), (200, 1, b"z"), (200, 200, b"z"), (2000, 1, b"z"), (1, 1, b"p0"), (200, 1, b"p0"), (2000, 1, b"p0")],
)
def test_one_message_goes_before_the_backlog_of_others_whatever_they_call_themselves(name, names, peers, peer):
    line = Line(share=2000)
    for number in range(2000):
        line.put(name, f"c{number % names}", peer=b"p%d" % (number % peers))
    line.go(7 if names < 2000 or peer != b"p0" else 60)
    one = line.put(name, "z", peer=peer)
    assert one in [each.message for each in line.go(1)[: 2 if peers == 1 else 3]]


@pytest.mark.parametrize(("first", "then"), [("cancelOrder", "placeOrder"), ("placeOrder", "reqMktData")])
def test_nothing_overtakes_what_is_more_urgent_and_was_sent_before_by_the_same_client(first, then):
    line = Line()
    for number in range(60):
        line.put(first, "a")
        line.put(first, f"b{number % 5}")
    for _ in range(10):
        line.put(then, "a")
    line.put(then, "z")
    left = [(each.message.client, each.name) for each in line.go(10)]
    assert left.index(("a", then)) > max(n for n, each in enumerate(left) if each == ("a", first))
    assert left.index(("z", then)) <= PATIENCE[REQUESTS[then].pace], "others do not wait for that"
    assert len(left) == 131


def test_peers_take_turns_whatever_number_of_names_each_has():
    line = Line()
    for number in range(300):
        line.put("placeOrder", f"c{number}", peer=b"many")
    line.go(1)
    for _ in range(100):
        line.put("placeOrder", "z", peer=b"one")
    left = Counter(each.message.client == "z" for each in line.go(2))
    assert abs(left[True] - left[False]) <= 2


def test_names_that_are_new_each_time_hold_nobody_up_for_ever():
    line = Line()
    numbers = itertools.count()
    for _ in range(30):
        line.put("placeOrder", "z")
    while line.pacing.waiting(Pace.ORDER) and any(each.client == "z" for each in line.pacing.waiting(Pace.ORDER)):
        for _ in range(3):
            line.put("placeOrder", f"c{next(numbers)}")
        line.go(0.025)
    assert len(line.left) <= 30 * (NEWCOMERS + 1) + 2, "every fifth is one of those that came first"


def test_messages_of_one_client_stay_in_order_when_it_connects_again():
    line = Line()
    mine = []
    for number in range(40):
        mine.append(line.put("placeOrder", "a", peer=b"p%d" % (number % 3)))
        line.put("placeOrder", f"b{number % 5}", peer=b"other")
    left = [each.message for each in line.go(10)]
    assert [each for each in left if each.client == "a"] == mine


def test_every_cancel_is_a_cancel_and_every_order_an_order_to_the_queue():
    for request in OUTBOUND:
        if request.cancels:
            assert request.pace is Pace.CANCEL, request
        assert (request.does is Kind.ORDER) == (request.pace is Pace.ORDER), request
        if any(each.name.endswith("history") for each in request.limits):
            assert request.pace is Pace.HISTORY, request


# -- fairness


def test_a_client_with_one_message_waits_for_one_round_of_the_others():
    line = Line()
    for number in range(300):
        line.put("reqMktData", f"c{number % 3}")
    line.go(1)
    one = line.put("reqMktData", "late")
    left = [each.message for each in line.go(1)]
    ahead = Counter(each.client for each in left[: left.index(one)])
    assert all(count <= 1 for count in ahead.values()), ahead


def test_among_those_that_a_limit_holds_each_client_has_its_turn_too():
    line = Line()
    for number in range(200):
        line.put("reqHistoricalData", "greedy", **{**BARS, "endDateTime": str(number), "contract": {"conId": number}})
    line.go(5)
    line.pacing.completed(line.left[0].message)
    one = line.put("reqHistoricalData", "late", **BARS)
    for each in line.left:
        line.pacing.completed(each.message)
    left = [each.message for each in line.go(700)]
    assert left.index(one) <= 11, "those of the first fifty that were left of the ten minutes' sixty, and one round"


def test_messages_of_one_client_stay_in_order_beside_others():
    line = Line()
    mine = []
    for number in range(60):
        mine.append(line.put("placeOrder", "a"))
        line.put("placeOrder", f"b{number % 5}")
    left = [each.message for each in line.go(10)]
    assert [each for each in left if each.client == "a"] == mine


# -- taken back, dropped


def test_what_is_withdrawn_does_not_leave_and_what_has_left_cannot_be():
    line = Line()
    asked = [line.put("reqMktData") for _ in range(10)]
    gone = line.take()
    assert not line.pacing.withdraw(gone[0])
    assert line.pacing.withdraw(asked[5])
    assert not line.pacing.withdraw(asked[5])
    left = [each.message for each in line.go(1)]
    assert [*gone, *left] == [each for each in asked if each is not asked[5]]


@pytest.mark.parametrize("number", range(4))
def test_those_that_waited_behind_what_is_withdrawn_go_on(number):
    line = Line()
    asked = [line.put("reqMatchingSymbols", pattern=str(n)) for n in range(4)]
    line.take()
    line.pacing.withdraw(asked[number])
    line.go(5)
    assert len(line.left) == (4 if number == 0 else 3)


def test_one_that_replaces_others_takes_them_with_it_unless_it_is_refused():
    line = Line(share=2)
    for _ in range(10):
        line.put("reqMktData", "")
    old = line.put("reqPositions", "b")
    line.put("reqMktData", "a")
    line.put("reqMktData", "a")
    new = OutboundMessage(REQUESTS["reqPositions"], b"", "a", {}, instead_of=[old])
    with pytest.raises(CommandRefused):
        line.pacing.put(new, line.now)
    assert old in line.pacing.waiting(Pace.NORMAL)
    new.client = "c"
    line.pacing.put(new, line.now)
    assert old not in line.pacing.waiting(Pace.NORMAL)
    assert new in [each.message for each in line.go(1)]


def test_what_is_dropped_is_given_back_in_the_order_in_which_it_came_and_is_gone():
    line = Line()
    asked = [line.put("reqMatchingSymbols", "ab"[n % 2], pattern=str(n)) for n in range(4)]
    asked += [line.put("reqMktData") for _ in range(10)]
    left = line.take()
    assert line.pacing.drop() == [each for each in asked if each not in left]
    assert line.pacing.drop() == []
    assert not line.go(100)
    assert line.pacing.metrics(line.now)["queued"] == 0


# -- complaints


@pytest.mark.scenario("B29")
def test_after_error_100_half_as_many_leave_for_a_minute():
    line = Line()
    line.go(10)
    for _ in range(4000):
        line.put("reqMktData", "")
    line.go(5)
    assert line.pacing.complained(100, "Max rate of messages per second has been exceeded:max=50 rec=106 (1)", line.now)
    line.go(1)
    begin = len(line.left)
    slow = line.go(10)
    check_rate(slow, RATE // 2)
    assert len(slow) >= 10 * (RATE // 2) * 0.8
    assert line.pacing.complained(100, "again", line.now)
    assert line.pacing.metrics(line.now)["slowed"] == 60.0
    assert line.pacing.metrics(line.now)["rate"] == RATE // 2, "not a quarter"
    line.go(60)
    assert line.pacing.metrics(line.now)["slowed"] == 0
    fast = line.go(2)
    assert len(fast) > 2 * (RATE // 2)
    assert line.pacing.metrics(line.now)["rate"] == RATE
    check_rate(line.left[begin:])


@pytest.mark.scenario("B30")
def test_after_a_pacing_violation_history_waits_and_nothing_else_does():
    line = Line()
    text = "Historical Market Data Service error message:Historical data request pacing violation"
    assert line.pacing.complained(162, text, line.now)
    line.put("reqHistoricalData", **DAILY)
    line.put("reqMktData")
    assert [each.name for each in line.go(59)] == ["reqMktData"]
    assert [each.name for each in line.go(2)] == ["reqHistoricalData"]


@pytest.mark.parametrize(
    ("code", "text"), [(162, "HMDS query returned no data"), (200, "pacing"), (2104, "farm"), (101, "Max number")]
)
def test_what_is_no_complaint_changes_nothing(code, text):
    line = Line()
    before = line.pacing.metrics(line.now)
    assert line.pacing.complained(code, text, line.now) == ""
    assert line.pacing.metrics(line.now) == before


def test_figures_say_what_waits_for_whom_and_for_how_long():
    line = Line()
    for _ in range(7):
        line.put("reqMktData", "a")
    line.put("reqMktData", "")
    line.take()
    line.put("reqMatchingSymbols", "b", pattern="x")
    line.now += 0.01
    figures = line.pacing.metrics(line.now)
    assert figures["queued"] == sum(figures["clients"].values()) == 7
    assert set(figures["clients"]) == {"a", "b"}, "the daemon's own had its turn"
    assert figures["age"] == 0.01
    assert figures["sent"] == 2
    line.go(3)
    assert line.pacing.metrics(line.now)["queued"] == 0
    assert line.pacing.metrics(line.now)["age"] == 0


# -- many


@pytest.mark.parametrize("kind", ["plain", "one instrument", "all different"])
def test_ten_thousand_may_wait_and_each_is_looked_at_a_few_times_only(kind, monkeypatch):
    line, looks = Line(1000, 10_000, 100_000), Counter[str]()
    full = line.pacing._limits.full

    def looked(each: OutboundMessage) -> Any:
        looks["look"] += 1
        return full(each)

    monkeypatch.setattr(line.pacing._limits, "full", looked)
    for number in range(10_000):
        if kind == "plain":
            line.put("reqMktData", f"c{number % 20}")
        else:
            contract = {"conId": 1 if kind == "one instrument" else number + 1}
            args = {**BARS, "contract": contract, "endDateTime": str(number)}
            line.put("reqHistoricalData", f"c{number % 20}", **args)
    left = answered(line, 1300 if kind != "plain" else 12)
    assert len(left) == (10_000 if kind == "plain" else 180)
    assert looks["look"] < 30_000 + 10 * len(left)


# -- whatever happens


CLIENTS = st.sampled_from(["", "a", "b", "c"])
CONTRACTS = st.sampled_from([AAPL, MSFT])
UNLIMITED = ["reqMktData", "placeOrder", "cancelMktData", "reqCurrentTime"]


class Queue(RuleBasedStateMachine):
    """Clients that ask, cancel and are answered; a connection that comes and goes; time that passes."""

    def __init__(self) -> None:
        super().__init__()
        self.line = Line(share=40)
        self.connected = True
        self.waiting: dict[OutboundMessage, None] = {}
        self.sent: list[OutboundMessage] = []
        self.gone: list[OutboundMessage] = []  # withdrawn, or dropped and told
        self.open: list[OutboundMessage] = []
        self.ahead = Counter[Pace]()  # how many more urgent ones have left since the last of each
        self.passed: dict[OutboundMessage, Counter[str]] = {}  # who has overtaken the first of each client

    def _put(self, name: str, client: str, **args: Any) -> None:
        made = message(name, client, **args)
        mine = [each for each in self.waiting if (each.client, each.request.pace) == (client, made.request.pace)]
        if client and len(mine) == 40:
            assert refusal("E_PACING", self.line.pacing.put, made, self.line.now).more["retry_after"] > 0
        else:
            self.line.pacing.put(made, self.line.now)
            self.waiting[made] = None

    def _took(self, taken: list[OutboundMessage]) -> None:
        for each in taken:
            self._goes_before_none_more_urgent(each.request.pace)
            self._overtakes_nothing_of_its_own(each)
            for other, ahead in self.passed.items():
                alike = other.client != each.client and other.request.pace is each.request.pace and not each.counts
                if alike and not self._follows(other):
                    ahead[each.client] += 1
                    assert ahead[each.client] == 1, "one round, and not two"
            del self.waiting[each]  # or it was never put, or has left before
            self.passed.pop(each, None)
            self.sent.append(each)
            if any(limit.seconds is None for limit in each.request.limits):
                self.open.append(each)
            self._heads()

    def _goes_before_none_more_urgent(self, pace: Pace) -> None:
        """Unless so many of those have gone before that it is this one's turn."""
        urgent = [each for each in self.waiting if not each.counts and each.request.pace.value < pace.value]
        assert not urgent or self.ahead[pace] >= PATIENCE[pace]
        self.ahead[pace] = 0
        for other in Pace:
            self.ahead[other] += other.value > pace.value

    def _follows(self, message: OutboundMessage) -> bool:
        """Return True if the client sent a more urgent message before, which has not left."""
        earlier = itertools.takewhile(lambda each: each is not message, self.waiting)
        mine = [each for each in earlier if each.client == message.client]
        return any(each.request.pace.value < message.request.pace.value for each in mine)

    def _overtakes_nothing_of_its_own(self, message: OutboundMessage) -> None:
        for each in self.waiting:
            if each is message:
                return
            mine = each.client == message.client and each.request.pace.value < message.request.pace.value
            assert not mine or each.counts, "what the client sent before, and is more urgent"

    def _heads(self) -> None:
        """Note the first message of each client among those without a limit."""
        heads: dict[tuple[str, Pace], OutboundMessage] = {}
        for each in self.waiting:
            if not each.counts:
                heads.setdefault((each.client, each.request.pace), each)
        self.passed = {each: self.passed.get(each, Counter()) for each in heads.values()}

    @precondition(lambda self: self.connected)
    @rule(client=CLIENTS, name=st.sampled_from(UNLIMITED), n=st.integers(1, 30))
    def ask(self, client, name, n):
        for _ in range(n):
            self._put(name, client, **({"contract": AAPL} if name == "reqMktData" else {}))
        self._heads()

    @precondition(lambda self: self.connected)
    @rule(
        client=CLIENTS,
        contract=CONTRACTS,
        what=st.sampled_from(["TRADES", "BID_ASK"]),
        size=st.sampled_from(["1 day", "1 secs", "30 secs"]),
        ends=st.tuples(st.integers(0, 40), st.integers(1, 30)),
    )
    def ask_for_bars(self, client, contract, what, size, **drawn):
        first, count = drawn["ends"]
        for end in range(first, first + count):
            args = {"contract": contract, "whatToShow": what, "barSizeSetting": size, "endDateTime": str(end)}
            self._put("reqHistoricalData", client, **args)

    @precondition(lambda self: self.connected)
    @rule(client=CLIENTS, contract=CONTRACTS)
    def ask_when_it_begins(self, client, contract):
        self._put("reqHeadTimeStamp", client, contract=contract, whatToShow="TRADES")

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def take_back(self, data):
        one = data.draw(st.sampled_from(list(self.waiting)))
        assert self.line.pacing.withdraw(one)
        del self.waiting[one]
        self.gone.append(one)
        self._heads()

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def take_back_too_late(self, data):
        assert not self.line.pacing.withdraw(data.draw(st.sampled_from(self.sent)))

    @precondition(lambda self: self.open)
    @rule(n=st.integers(1, 60))
    def answer(self, n):
        for each in self.open[:n]:
            self.line.pacing.completed(each)
        del self.open[:n]

    @precondition(lambda self: self.connected)
    @rule(seconds=st.sampled_from([0.0, 0.01, 0.2, 1.0, 2.0, 16.0, 300.0, 700.0]))
    def time_passes(self, seconds):
        until = self.line.now + seconds
        while True:  # each time when it is said to be possible
            self._took(self.line.take())
            wake = self.line.pacing.wake()
            if wake is None or wake > until:
                break
            self.line.now = max(self.line.now, wake)
        self.line.now = until

    @rule(seconds=st.floats(0, 5))
    def time_passes_unseen(self, seconds):
        """The loop stalls, or there is no connection."""
        self.line.now += seconds

    @precondition(lambda self: self.connected)
    @rule(code=st.sampled_from([100, 162]))
    def complain(self, code):
        assert self.line.pacing.complained(code, "pacing", self.line.now)

    @precondition(lambda self: self.connected)
    @rule()
    def lose(self):
        self.connected = False
        dropped = self.line.pacing.drop()
        assert dropped == list(self.waiting), "each is told"
        self.gone += dropped
        self.waiting.clear()
        self.passed.clear()
        self.open.clear()

    @precondition(lambda self: not self.connected)
    @rule()
    def connect(self):
        self.connected = True

    @invariant()
    def nothing_is_lost_and_nothing_leaves_twice(self):
        assert self.line.pacing.metrics(self.line.now)["queued"] == len(self.waiting)
        assert len({*self.sent, *self.gone}) == len(self.sent) + len(self.gone)

    @invariant()
    def no_more_are_open_than_may_be(self):
        assert len(self.open) <= 50

    def teardown(self):
        check_rate(self.line.left)
        check_history([each for each in self.line.left if each.message.request.pace is Pace.HISTORY])
        for _ in range(60):  # all that waits leaves in the end, if what is asked is answered
            for each in self.open:
                self.line.pacing.completed(each)
            self.open.clear()
            self.time_passes(300.0)
        assert not self.waiting


TestQueue = Queue.TestCase
TestQueue.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
