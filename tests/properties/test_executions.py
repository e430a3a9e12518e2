"""Whatever the order of live reports, lists and connections: everybody who must be told of a fill is told once.

The model has what TWS has said, and counts what must have been published. It shares no code with what it checks.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ibbridge.orders.executions import LONGEST_HELD
from tests.support.daemon_core import AAPL, Middle

CLIENTS = ("a", "b")
DETAILS, COMMISSION = "execDetails", "commissionAndFeesReport"


class Fill:
    """A fill at TWS: of an order of `owner`'s, or of another client of TWS (`ext`)."""

    def __init__(self, number: int, order_id: int, owner: str) -> None:
        self.exec_id = f"0000e0d5.{number:04x}.01.01"
        self.owner = owner
        self.execution = {"execId": self.exec_id, "orderId": order_id, "clientId": 9 if owner == "ext" else 1}
        self.live = self.charged = False
        """True if TWS has reported the execution, or its commission, as it happens."""
        self.listed = False
        """True if TWS has reported the execution, with its commission, in a list."""


class Executions(RuleBasedStateMachine):
    """Fills of two clients' orders and of others, reported live or not, and lists of them that overlap."""

    def __init__(self) -> None:
        super().__init__()
        self.middle = Middle()
        self.orders = {client: self.middle.place("k", client) for client in CLIENTS}
        self.fills: list[Fill] = []
        self.lists: dict[int, tuple[str, list[Fill]]] = {}
        self.expected: Counter[tuple[str, str, str]] = Counter()
        """How often each report of each fill is to be published in each list."""
        self.asked = 0

    @rule(owner=st.sampled_from((*CLIENTS, "ext")))
    def fill(self, owner: str) -> None:
        self.fills.append(Fill(len(self.fills), self.orders.get(owner, 77), owner))

    def _say(self, name: str, fill: Fill, req_id: int = -1) -> None:
        if name == DETAILS:
            data: dict[str, Any] = {"reqId": req_id, "contract": AAPL, "execution": fill.execution}
        else:
            data = {COMMISSION: {"execId": fill.exec_id, "commissionAndFees": 1.0, "currency": "USD"}}
        self.middle.hear(name, **data)

    @rule(data=st.data())
    def report_live(self, data: st.DataObject) -> None:
        """Report an execution or its commission as it happens; either may come first, and again."""
        if self.fills:
            fill = data.draw(st.sampled_from(self.fills))
            name = data.draw(st.sampled_from((DETAILS, COMMISSION)))
            self._say(name, fill)
            if name == DETAILS:
                fill.live = True
            else:
                fill.charged = True

    @rule(client=st.sampled_from(CLIENTS))
    def ask(self, client: str) -> None:
        self.asked += 1
        self.middle.ask("reqExecutions", client, self.asked)
        self.lists[self.middle.last_id()] = (f"req.{client}.{self.asked}.", list(self.fills))

    @rule(data=st.data(), whole=st.booleans())
    def go_on(self, data: st.DataObject, whole: bool) -> None:
        """Send the next execution of a list with its commission, or the end of the list."""
        if not self.lists:
            return
        req_id = data.draw(st.sampled_from(list(self.lists)))
        place, waiting = self.lists[req_id]
        while waiting:
            fill = waiting.pop(0)
            for name in (DETAILS, COMMISSION):
                self._say(name, fill, req_id)
                self.expected[place, name, fill.exec_id] += 1
            fill.listed = True
            if not whole:
                return
        del self.lists[req_id]
        self.middle.hear("execDetailsEnd", reqId=req_id)

    @rule()
    def go_on_with_two_lists(self) -> None:
        """Send the next execution of two lists, and their commissions after both."""
        pairs = [(req_id, *each) for req_id, each in self.lists.items() if each[1]]
        said = [(req_id, place, waiting.pop(0)) for req_id, place, waiting in pairs[:2]]
        for name in (DETAILS, COMMISSION):
            for req_id, place, fill in said:
                self._say(name, fill, req_id)
                self.expected[place, name, fill.exec_id] += 1
                fill.listed = True

    @rule()
    def lose_the_connection(self) -> None:
        self.lists.clear()
        self.middle.reconnect()

    @rule()
    def wait(self) -> None:
        """Let so much time pass that held commissions are published, and lists are given up: they go on unasked."""
        for _ in range(4):
            self.middle.pass_time(LONGEST_HELD)
        self.lists = {req_id: (f"req.~{req_id}.", waiting) for req_id, (_, waiting) in self.lists.items()}

    def _published(self) -> Counter[tuple[str, str, str]]:
        found: Counter[tuple[str, str, str]] = Counter()
        for heard in self.middle.published:
            name = heard.body["type"]
            if name in (DETAILS, COMMISSION):
                about = heard.data["execution"] if name == DETAILS else heard.data[COMMISSION]
                found[heard.topic.removesuffix(f"{name}."), name, about["execId"]] += 1
        return found

    @invariant()
    def all_who_must_be_told_are_told_once(self) -> None:
        published = self._published()
        in_lists = Counter({key: count for key, count in published.items() if key[0].startswith("req.")})
        assert in_lists == self.expected
        for fill in self.fills:
            known = fill.live or (fill.listed and fill.owner != "ext")
            place = f"exec.{fill.owner}."
            assert published[place, DETAILS, fill.exec_id] == known
            if fill.owner != "ext":
                assert published[place, COMMISSION, fill.exec_id] <= 1
                if fill.listed:
                    assert published[place, COMMISSION, fill.exec_id] == 1

    def teardown(self) -> None:
        """Check that no commission is lost in the end, wherever its execution was."""
        self.wait()
        published = self._published()
        for fill in self.fills:
            if fill.charged:
                places = {"exec.ext.", f"exec.{fill.owner}."} if fill.owner != "ext" else {"exec.ext.", "req."}
                found = [key for key in published if key[1:] == (COMMISSION, fill.exec_id)]
                assert [key for key in found if key[0].startswith(tuple(places))]


TestExecutions = Executions.TestCase
TestExecutions.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
