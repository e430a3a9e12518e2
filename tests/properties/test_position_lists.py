"""Random lists of positions, and connections that are cut at random: after each complete list a snapshot equals it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from ibbridge.subscriptions.position_lists import CLOSED
from tests.support.daemon_core import AAPL, Heard, Middle
from tests.support.outside import ManualClock
from tests.support.shelf import Shelf

if TYPE_CHECKING:
    from ibbridge.storage.keys import Key

ACCOUNTS = ("DU1", "DU2")
END = {"position": "positionEnd", "updatePortfolio": "accountDownloadEnd", "positionMulti": "positionMultiEnd"}

Value = tuple[str, int]
"""Account and conId."""

VALUES = st.tuples(st.sampled_from(ACCOUNTS), st.integers(1, 4))
ROWS = st.lists(st.tuples(VALUES, st.sampled_from((-1.0, 0.0, 1.0, 5.0))), max_size=6)


class Attempt(NamedTuple):
    """A list: its rows, whether it comes to its end, its unreadable rows, and what begins it.

    `begin` is "connection", "1101", "again" (a client requests it once more) or "restart" (a daemon begins anew).
    """

    begin: str
    rows: list[tuple[Value, float]]
    ends: bool
    unreadable: bool
    changes: list[tuple[Value, float]]


ATTEMPTS = st.lists(
    st.builds(
        Attempt,
        st.sampled_from(("connection", "1101", "again", "restart")),
        ROWS,
        st.booleans(),
        st.sampled_from((False, False, False, True)),
        ROWS,
    ),
    min_size=1,
    max_size=8,
)


class Memory(Shelf):
    """A store in memory that also takes order keys, of which none comes here."""

    def remember(self, *keys: Key) -> None:
        """Do nothing."""


class Life:
    """Lives of a daemon on one store, a TWS that lists positions, and a subscriber that follows."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.accounts = ACCOUNTS if kind != "updatePortfolio" else ACCOUNTS[:1]
        self.shelf, self.clock = Memory(), ManualClock()
        self.followed: dict[Value, float] = {}
        self.commands = 0
        self.start()

    def start(self) -> None:
        self.clock.us += 1_000_000
        self.middle = Middle(clock=self.clock, store=self.shelf)
        self.read = 0
        self.ask()

    def ask(self) -> None:
        self.commands += 1
        args: dict[str, dict[str, Any]] = {
            "position": {},
            "updatePortfolio": {"subscribe": True, "acctCode": ACCOUNTS[0]},
            "positionMulti": {"account": "", "modelCode": ""},
        }
        command = {"position": "reqPositions", "updatePortfolio": "reqAccountUpdates"}
        self.middle.ask(command.get(self.kind, "reqPositionsMulti"), "a", self.commands, **args[self.kind])

    def begin(self, how: str) -> bool:
        """Begin a list. Return True if no list that began before can end any more."""
        numbered = self.kind == "positionMulti"
        if how == "restart" and not numbered:
            self.follow()
            self.start()
        elif how == "1101":
            self.middle.resubscriber.on_notice(1101)
            return numbered
        elif how == "again" and not numbered:
            self.ask()
            return False
        else:
            self.middle.reconnect()
        return True

    def spoil(self) -> None:
        """Have a row come that cannot be read."""
        self.middle.unreadable.notify(self.kind, {}, "no number", self.clock.us)
        self.middle.hear("currentTime")

    def say(self, rows: list[tuple[Value, float]]) -> None:
        for (account, con_id), size in rows:
            place = {"accountName" if self.kind == "updatePortfolio" else "account": account}
            data = {"contract": {**AAPL, "conId": con_id}, next(iter(CLOSED[self.kind])): size}
            self.middle.hear(self.kind, **data, **place, **self.number())

    def end(self) -> None:
        place = {"accountName": ACCOUNTS[0]} if self.kind == "updatePortfolio" else {}
        self.middle.hear(END[self.kind], **place, **self.number())

    def number(self) -> dict[str, int]:
        return {"reqId": self.middle.last_id()} if self.kind == "positionMulti" else {}

    def value(self, heard: Heard) -> tuple[Value, float]:
        account = heard.topic.split(".")[1]
        return (account, heard.data["contract"]["conId"]), heard.data[next(iter(CLOSED[self.kind]))]

    def follow(self) -> dict[Value, float]:
        """The open positions that a subscriber knows, who was there all the time."""
        news, self.read = self.middle.published[self.read :], len(self.middle.published)
        self.followed.update(self.value(heard) for heard in news if heard.body["type"] == self.kind)
        return {value: size for value, size in self.followed.items() if size}

    def state(self) -> dict[Value, float]:
        """The positions in a snapshot."""
        return dict(self.value(heard) for heard in self.rows())

    def rows(self) -> list[Heard]:
        found = [heard for stream in self.middle.state("acct.").values() for heard in stream]
        return [heard for heard in found if heard.body["type"] == self.kind]


class Under:
    """A list under way: what TWS has sent since its request, and whether a row could not be read meanwhile.

    `alone`: no other list was under way, whose rows count for both, and may be from before a gap.
    """

    def __init__(self, *, alone: bool) -> None:
        self.alone = alone
        self.rows: dict[Value, float] = {}
        self.unreadable = False


@given(st.sampled_from(sorted(CLOSED)), ATTEMPTS)
def test_after_each_complete_list_a_snapshot_and_a_follower_have_what_was_listed(
    kind: str, attempts: list[Attempt]
) -> None:
    life = Life(kind)
    under = [Under(alone=True)]

    def say(rows: list[tuple[Value, float]]) -> None:
        said = [row for row in rows if row[0][0] in life.accounts]
        life.say(said)
        for each in under:
            each.rows.update(said)

    for attempt in attempts:
        if life.begin(attempt.begin):
            under.clear()
        for each in under:
            each.alone = False
        under.append(Under(alone=not under))
        say(attempt.rows)
        if attempt.unreadable:
            life.spoil()
            for each in under:
                each.unreadable = True
        if not attempt.ends:
            life.middle.reconnect()
            under[:] = [Under(alone=True)]
            continue
        life.end()
        ended = under.pop(0)
        if not ended.unreadable:
            assert life.state() == ended.rows
            assert not ended.alone or all("flags" not in heard.body for heard in life.rows())
            assert life.follow() == {value: size for value, size in ended.rows.items() if size}
        say(attempt.changes)
