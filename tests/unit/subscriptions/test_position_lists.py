"""Positions that TWS no longer lists: published as 0 after a complete list, and gone from the state."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from ibbridge.codec import Undecodable
from ibbridge.codec.messages import REQUESTS
from ibbridge.subscriptions import position_lists
from ibbridge.subscriptions.position_lists import CLOSED
from ibbridge.tws.outbound import OutboundMessage
from tests.support.daemon_core import AAPL, Heard, Middle

if TYPE_CHECKING:
    from collections.abc import Callable

ASK = {
    "position": "reqPositions",
    "updatePortfolio": "reqAccountUpdates",
    "positionMulti": "reqPositionsMulti",
}
END = {"position": "positionEnd", "updatePortfolio": "accountDownloadEnd", "positionMulti": "positionMultiEnd"}
SYMBOLS = ("AAPL", "MSFT", "IBM")


def contract(symbol: str, **more: Any) -> dict[str, Any]:
    return {**AAPL, "symbol": symbol, "conId": SYMBOLS.index(symbol) + 1, **more}


class Session:
    """A client that wants one kind of position, and a TWS that lists them. `step` takes a line of a play.

    - `ask DU1`: a client requests the list (of account DU1); `ask DU1 b`: client b does. `cancel`: client a cancels.
    - `DU1 AAPL 100`: TWS sends that position. `end DU1`: TWS ends the list.
    - `bad`: a row cannot be read. `?`: a message cannot be read at all. `new`: a message of an unknown type comes.
    - `lost`, `connect`, and a number: a notice of that code.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.middle = Middle()
        self.ids = itertools.count(1)

        self.verbs: dict[str, Callable[..., object]] = {
            "ask": self.ask,
            "cancel": self.cancel,
            "end": self.end,
            "bad": lambda: self.spoil(self.kind),
            "badEnd": lambda: self.spoil(END[self.kind]),
            "?": lambda: self.spoil(None),
            "new": lambda: self.spoil(None, number=9999),
            "lost": self.middle.lost,
            "connect": self.middle.connect,
        }

    def step(self, line: str) -> None:
        first, *more = line.split()
        if first in self.verbs:
            self.verbs[first](*more)
        elif first.isdigit():
            self.middle.resubscriber.on_notice(int(first))
        else:
            symbol, quantity, *rest = more
            self.say(first, symbol, float(quantity), **dict(each.split("=") for each in rest))

    def ask(self, account: str = "DU1", client: str = "a") -> None:
        args: dict[str, dict[str, Any]] = {
            "position": {},
            "updatePortfolio": {"subscribe": True, "acctCode": "" if account == "default" else account},
            "positionMulti": {"account": account, "modelCode": ""},
        }
        self.middle.ask(ASK[self.kind], client, next(self.ids), **args[self.kind])

    def cancel(self) -> None:
        if self.kind == "updatePortfolio":
            self.middle.ask("reqAccountUpdates", "a", next(self.ids), subscribe=False, acctCode="DU1")
        else:
            self.middle.ask("cancelPositions", "a", next(self.ids))

    def number(self) -> dict[str, int]:
        return {"reqId": self.middle.last_id()} if self.kind == "positionMulti" else {}

    def say(self, account: str, symbol: str, size: float, **more: Any) -> None:
        place = {"accountName" if self.kind == "updatePortfolio" else "account": account}
        quantity = {next(iter(CLOSED[self.kind])): size}
        self.middle.hear(self.kind, contract=contract(symbol, **more), **place, **quantity, **self.number())

    def end(self, account: str = "DU1") -> None:
        place = {"accountName": account} if self.kind == "updatePortfolio" else {}
        self.middle.hear(END[self.kind], **place, **self.number())

    def spoil(self, name: str | None, number: int | None = None) -> None:
        undecodable = Undecodable(number, name, "no number", b"\0")
        self.middle.parts.dispatcher.deliver([undecodable], self.middle.clock.us)

    def play(self, lines: str) -> list[str]:
        """Take all steps; return the positions that were published as closed meanwhile."""
        before = len(self.middle.published)
        for line in lines.split(","):
            self.step(line.strip())
        return [shown(heard) for heard in self.middle.published[before:] if closed(heard)]

    def state(self) -> dict[str, float]:
        """The positions in a snapshot, and `!` behind those that are stale."""
        found = [heard for stream in self.middle.state("acct.").values() for heard in stream]
        rows = [heard for heard in found if heard.body["type"] == self.kind]
        return {shown(heard) + "!" * ("stale" in heard.body.get("flags", ())): size(heard) for heard in rows}


def size(heard: Heard) -> float:
    found: float = heard.data[next(iter(CLOSED[heard.body["type"]]))]
    return found


def shown(heard: Heard) -> str:
    return f"{heard.topic.split('.')[1]} {heard.data['contract']['symbol']}"


def closed(heard: Heard) -> bool:
    return heard.body.get("flags") == ["synthetic"] and heard.body["type"] in CLOSED


BOTH = "DU1 AAPL 100, DU1 MSFT 50, end"


class Case(NamedTuple):
    play: str
    zero: list[str]
    state: dict[str, float]


EVERY_KIND = {
    "the first list closes nothing": Case(f"ask, {BOTH}", [], {"DU1 AAPL": 100, "DU1 MSFT": 50}),
    "a position that is missing on the next connection": Case(
        f"ask, {BOTH}, lost, connect, DU1 MSFT 50, end", ["DU1 AAPL"], {"DU1 MSFT": 50}
    ),
    "all positions": Case(f"ask, {BOTH}, lost, connect, end", ["DU1 AAPL", "DU1 MSFT"], {}),
    "nothing before the end": Case(
        f"ask, {BOTH}, lost, connect, DU1 MSFT 50", [], {"DU1 AAPL!": 100, "DU1 MSFT": 50}
    ),
    "a position that is missing after 1101": Case(
        f"ask, {BOTH}, 1100, 1101, DU1 MSFT 50, end", ["DU1 AAPL"], {"DU1 MSFT": 50}
    ),
    "nothing after 1102, when nothing is asked": Case(
        f"ask, {BOTH}, 1100, 1102", [], {"DU1 AAPL": 100, "DU1 MSFT": 50}
    ),
    "a list that is cut short closes nothing, and the next one what that lacks": Case(
        f"ask, {BOTH}, lost, connect, DU1 AAPL 100, lost, connect, DU1 MSFT 50, end", ["DU1 AAPL"], {"DU1 MSFT": 50}
    ),
    "a list that is cut short before its end": Case(
        "ask, DU1 AAPL 100, lost, connect, lost", [], {"DU1 AAPL!": 100}
    ),
    "a change during the list is listed": Case(
        f"ask, {BOTH}, lost, connect, DU1 MSFT 50, DU1 AAPL 90, end", [], {"DU1 MSFT": 50, "DU1 AAPL": 90}
    ),
    "a position that TWS itself reports as 0 is no news, and leaves with the next list": Case(
        f"ask, {BOTH}, DU1 AAPL 0, lost, connect, DU1 MSFT 50, end", [], {"DU1 MSFT": 50}
    ),
    "a 0 in the list stays": Case(
        f"ask, {BOTH}, lost, connect, DU1 AAPL 0, DU1 MSFT 50, end", [], {"DU1 AAPL": 0, "DU1 MSFT": 50}
    ),
    "a short position": Case("ask, DU1 AAPL -5, end, lost, connect, end", ["DU1 AAPL"], {}),
    "a closed position that is opened again": Case(
        f"ask, {BOTH}, lost, connect, DU1 MSFT 50, end, DU1 AAPL 7", ["DU1 AAPL"], {"DU1 AAPL": 7, "DU1 MSFT": 50}
    ),
    "each closing once": Case(
        f"ask, {BOTH}, lost, connect, end, lost, connect, end", ["DU1 AAPL", "DU1 MSFT"], {}
    ),
    "a contract is the same under another spelling": Case(
        f"ask, {BOTH}, lost, connect, DU1 AAPL 100 exchange=NASDAQ localSymbol=AAPL, end", ["DU1 MSFT"],
        {"DU1 AAPL": 100},
    ),
    "a row that cannot be read may be any position": Case(
        f"ask, {BOTH}, lost, connect, bad, DU1 MSFT 50, end", [], {"DU1 AAPL!": 100, "DU1 MSFT": 50}
    ),
    "so may a message of which nothing can be read": Case(
        f"ask, {BOTH}, lost, connect, ?, DU1 MSFT 50, end", [], {"DU1 AAPL!": 100, "DU1 MSFT": 50}
    ),
    "but not a message of a type that is not known": Case(
        f"ask, {BOTH}, lost, connect, new, DU1 MSFT 50, end", ["DU1 AAPL"], {"DU1 MSFT": 50}
    ),
    "the next list is complete again": Case(
        f"ask, {BOTH}, lost, connect, bad, DU1 MSFT 50, end, lost, connect, DU1 MSFT 50, end", ["DU1 AAPL"],
        {"DU1 MSFT": 50},
    ),
    "an unreadable row before the list": Case(
        f"ask, {BOTH}, bad, lost, connect, DU1 MSFT 50, end", ["DU1 AAPL"], {"DU1 MSFT": 50}
    ),
    "an end that cannot be read ends nothing": Case(
        f"ask, {BOTH}, lost, connect, DU1 MSFT 50, badEnd", [], {"DU1 AAPL!": 100, "DU1 MSFT": 50}
    ),
    "a TWS without IB's servers may not know a position": Case(
        f"ask, {BOTH}, lost, connect, 1100, DU1 MSFT 50, end", [], {"DU1 AAPL!": 100, "DU1 MSFT": 50}
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", list(CLOSED))
@pytest.mark.parametrize("name", EVERY_KIND)
def test_closed(name: str, kind: str) -> None:
    case, session = EVERY_KIND[name], Session(kind)
    assert (session.play(case.play), session.state()) == (case.zero, case.state)


WITHOUT_AN_ID = {
    "a client that asks again": Case(f"ask, {BOTH}, ask DU1 a, DU1 MSFT 50, end", ["DU1 AAPL"], {"DU1 MSFT": 50}),
    "another client that asks": Case(f"ask, {BOTH}, ask DU1 b, DU1 MSFT 50, end", ["DU1 AAPL"], {"DU1 MSFT": 50}),
    "an end that nobody asked for": Case(f"ask, {BOTH}, DU1 MSFT 50, end", [], {"DU1 AAPL": 100, "DU1 MSFT": 50}),
    "an end belongs to the oldest request": Case(
        "ask, DU1 AAPL 100, ask DU1 b, DU1 MSFT 50, end", [], {"DU1 AAPL": 100, "DU1 MSFT": 50}
    ),
    "two lists, one in the other": Case(
        f"ask, {BOTH}, lost, connect, ask DU1 b, DU1 MSFT 50, end", ["DU1 AAPL"], {"DU1 MSFT": 50}
    ),
    "the second of two lists": Case(
        "ask, DU1 AAPL 100, ask DU1 b, DU1 MSFT 50, end, DU1 MSFT 50, end", ["DU1 AAPL"], {"DU1 MSFT": 50}
    ),
    "the end of a list that was cancelled, after a new request": Case(
        "ask, DU1 AAPL 100, cancel, ask, DU1 MSFT 50, end, DU1 AAPL 100, DU1 MSFT 50, end", [],
        {"DU1 AAPL": 100, "DU1 MSFT": 50},
    ),
    "nothing of what was cancelled": Case(f"ask, {BOTH}, cancel, ask, DU1 MSFT 50, end", [], {"DU1 MSFT": 50}),
    "a list that began before IB's servers came back": Case(
        f"ask, {BOTH}, 1100, ask DU1 b, 1102, DU1 MSFT 50, end", [], {"DU1 AAPL": 100, "DU1 MSFT": 50}
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", ["position", "updatePortfolio"])
@pytest.mark.parametrize("name", WITHOUT_AN_ID)
def test_closed_without_a_request_id(name: str, kind: str) -> None:
    case, session = WITHOUT_AN_ID[name], Session(kind)
    assert (session.play(case.play), session.state()) == (case.zero, case.state)


TWO = "DU1 AAPL 1, DU2 AAPL 2, end"

OF_ACCOUNTS = {
    "position": {
        "a list is of all accounts": Case(f"ask, {TWO}, lost, connect, end", ["DU1 AAPL", "DU2 AAPL"], {}),
        "one account": Case(f"ask, {TWO}, lost, connect, DU1 AAPL 1, end", ["DU2 AAPL"], {"DU1 AAPL": 1}),
    },
    "updatePortfolio": {
        "a download is of one account": Case(
            "ask DU1, DU1 AAPL 1, DU2 AAPL 2, end DU1, lost, connect, end DU1", ["DU1 AAPL"], {"DU2 AAPL!": 2}
        ),
        "a download of another account": Case(
            "ask DU1, DU1 AAPL 1, end DU1, lost, connect, end DU2", [], {"DU1 AAPL!": 1}
        ),
        "the account that TWS takes if none is named": Case(
            "ask default, DU1 AAPL 1, end DU1, lost, connect, end DU1", ["DU1 AAPL"], {}
        ),
        "an end without an account": Case(
            "ask default, DU1 AAPL 1, end DU1, lost, connect, end", ["DU1 AAPL"], {}
        ),
        "another account from now on": Case(
            "ask DU1, DU1 AAPL 1, ask DU2, DU2 AAPL 2, end DU2, end DU1", [], {"DU2 AAPL": 2}
        ),
    },
    "positionMulti": {
        "a list is of all accounts that its request has told of": Case(
            f"ask , {TWO}, lost, connect, DU2 AAPL 2, end", ["DU1 AAPL"], {"DU2 AAPL": 2}
        ),
    },
}  # fmt: skip


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, cases in OF_ACCOUNTS.items() for name in cases])
def test_closed_by_account(kind: str, name: str) -> None:
    case, session = OF_ACCOUNTS[kind][name], Session(kind)
    assert (session.play(case.play), session.state()) == (case.zero, case.state)


def test_positions_of_accounts_that_the_login_does_not_manage_stay_stale() -> None:
    session = Session("position")
    session.play(f"ask, {TWO}, lost")
    session.middle.session.named("DU2,DU3")
    assert session.play("connect, end") == ["DU2 AAPL"]
    assert session.state() == {"DU1 AAPL!": 1}


def test_a_closed_position_is_the_last_row_without_what_it_was_worth() -> None:
    middle = Middle()
    middle.ask("reqAccountUpdates", "a", 1, subscribe=True, acctCode="DU1")
    worth = {"marketPrice": 5.5, "marketValue": 550.0, "averageCost": 5.0, "unrealizedPNL": 50.0, "realizedPNL": 3.0}
    middle.hear("updatePortfolio", contract=contract("AAPL"), position=100.0, accountName="DU1", **worth)
    middle.hear("accountDownloadEnd", accountName="DU1")
    middle.reconnect()
    middle.clock.us += 1000
    end = middle.hear("accountDownloadEnd", accountName="DU1")
    zero = middle.published[-1]
    ended = middle.published[-2]
    assert end == zero
    assert (ended.topic, zero.topic) == ("acct.DU1.accountDownloadEnd.", "acct.DU1.updatePortfolio.")
    assert zero.body["seq"] == ended.body["seq"] + 1
    assert (zero.body["ts"], zero.body["gen"]) == (ended.body["ts"], ended.body["gen"])
    assert zero.data == {
        "contract": contract("AAPL"),
        "position": 0.0,
        "marketPrice": None,
        "marketValue": 0.0,
        "averageCost": 0.0,
        "unrealizedPNL": 0.0,
        "realizedPNL": None,
        "accountName": "DU1",
    }


def test_the_positions_of_each_request_are_its_own() -> None:
    """Two requests for models of one account: the end of one says nothing of the other."""
    middle = Middle()
    numbers = {}
    for id_, model in enumerate(("", "M"), 1):
        middle.ask("reqPositionsMulti", "a", id_, account="DU1", modelCode=model)
        numbers[model] = middle.last_id()
        row = {"account": "DU1", "modelCode": model, "contract": contract("AAPL"), "pos": 5.0, "avgCost": 1.0}
        middle.hear("positionMulti", reqId=numbers[model], **row)
        middle.hear("positionMultiEnd", reqId=numbers[model])
    middle.link.take()
    middle.reconnect()
    (new,) = (each.data["reqId"] for each in middle.link.sent if each.data.get("modelCode") == "M")
    middle.hear("positionMultiEnd", reqId=numbers["M"])  # late, under the id of the old connection
    middle.hear("positionMultiEnd", reqId=new)
    (zero,) = filter(closed, middle.published)
    assert zero.body["ref"] == {"client": "a", "id": 2}
    assert zero.data == {
        "reqId": new, "account": "DU1", "modelCode": "M", "contract": contract("AAPL"), "pos": 0.0, "avgCost": 0.0
    }  # fmt: skip
    (left,) = middle.state("acct.DU1.")["acct.DU1."]
    assert (left.data["modelCode"], left.body["flags"]) == ("", ["stale"])


def test_other_lists_say_nothing_of_what_they_lack() -> None:
    """An account value that is missing has no value that would say so: it stays stale."""
    middle = Middle()
    middle.ask("reqAccountUpdates", "a", 1, subscribe=True, acctCode="DU1")
    middle.hear("updateAccountValue", accountName="DU1", key="CashBalance", val="5", currency="EUR")
    middle.hear("accountDownloadEnd", accountName="DU1")
    middle.reconnect()
    middle.hear("accountDownloadEnd", accountName="DU1")
    (value,) = middle.state("acct.DU1.")["acct.DU1."]
    assert (value.data["val"], value.body["flags"]) == ("5", ["stale"])


def test_a_request_that_was_replaced_in_the_queue_begins_no_list() -> None:
    middle = Middle(rate=1)
    for _ in range(3):
        middle.ask("reqAccountUpdates", "a", subscribe=True, acctCode="DU1")
        middle.ask("reqAccountUpdates", "a", subscribe=False, acctCode="DU1")
    middle.ask("reqAccountUpdates", "a", subscribe=True, acctCode="DU1")
    middle.link.go_on(60.0)
    sent = [each for each in middle.link.sent if each.data.get("subscribe")]
    for _ in sent:
        middle.hear("accountDownloadEnd", accountName="DU1")
    middle.hear("updatePortfolio", contract=contract("AAPL"), position=1.0, accountName="DU1")
    middle.ask("reqAccountUpdates", "a", subscribe=True, acctCode="DU1")
    middle.link.go_on(60.0)
    middle.hear("accountDownloadEnd", accountName="DU1")
    assert [shown(heard) for heard in middle.published if closed(heard)] == ["DU1 AAPL"]


def test_a_tws_that_never_ends_a_list_costs_bounded_memory_and_closes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(position_lists, "MOST_BEGUN", 3)
    session = Session("position")
    session.play(f"ask, {BOTH}, ask, ask, ask, ask")
    assert session.play("end, end, DU1 MSFT 50, end, end, ask, end") == []
    assert session.play("lost, connect, DU1 MSFT 50, end") == ["DU1 AAPL"]


def test_why_nothing_is_closed_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    session = Session("position")
    session.play(f"ask, {BOTH}, lost, connect, bad, end")
    (line,) = (each.getMessage() for each in caplog.records if each.name == position_lists.__name__)
    assert line == (
        "position: TWS has not listed 2 of the positions, which may be in a row that cannot be read; "
        "they stay as they were"
    )


def test_a_subscriber_that_follows_has_the_same_positions_as_a_snapshot() -> None:
    session = Session("position")
    session.play(f"ask, {BOTH}, DU2 IBM 7, lost, connect, DU1 MSFT 60, end")
    followed: dict[tuple[str, int], float] = {}
    for heard in session.middle.published:
        if heard.body["type"] == "position":
            followed[heard.data["account"], heard.data["contract"]["conId"]] = heard.data["position"]
    assert followed == {("DU1", 1): 0.0, ("DU1", 2): 60.0, ("DU2", 3): 0.0}
    assert session.state() == {"DU1 MSFT": 60}


def test_messages_that_begin_no_list() -> None:
    lists = Middle().parts.requests.singletons.lists
    for name, args in (("cancelPositions", {}), ("reqAccountUpdates", {"subscribe": False}), ("reqNewsBulletins", {})):
        assert lists.on_send(OutboundMessage(REQUESTS[name], b"", args=args))
    assert lists._begun == []
