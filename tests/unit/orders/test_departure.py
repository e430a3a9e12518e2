"""The departure of orders: one commit of the journal, then the bytes, and everything else behind them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.daemon_core import AAPL, CLIENT_ID, LIMIT, Middle

JOURNAL, EVENTS, BYTES, PUBLISHED = "journal", "events", "bytes", "published"


def watched(middle: Middle) -> list[str]:
    """Note what happens from here on, in order. Ids are reserved in blocks, in good time."""
    middle.parts.tws.ids.tick()
    seen: list[str] = []
    journal: Any = middle.parts.streams.journal._store
    events: Any = middle.store
    link: Any = middle.link

    def note(owner: Any, name: str, what: str) -> None:
        inner = getattr(owner, name)

        def noting(*args: Any) -> Any:
            seen.append(what)
            return inner(*args)

        setattr(owner, name, noting)

    for owner, name, what in (
        (journal, "commit", JOURNAL), (journal, "reserve", JOURNAL), (events, "append", EVENTS), (link, "write", BYTES),
    ):  # fmt: skip
        note(owner, name, what)
    middle.parts.bus.send = lambda frames: seen.append(PUBLISHED)
    return seen


def ask(middle: Middle, command: str, key: str | None = None, **args: Any) -> None:
    middle.clock.us += 1
    about = {"id": middle.clock.us, "client": "a", "cmd": command, "args": args}
    reply = middle.call({**about, "key": key} if key else about)
    assert reply["ok"], reply


def working(middle: Middle, key: str) -> None:
    number = middle.place(key)
    order = {"clientId": CLIENT_ID, "permId": 7, "orderRef": f"a/{key}", **LIMIT}
    middle.hear("openOrder", orderId=number, order=order, orderState={"status": "Submitted"})


def test_an_order_leaves_behind_one_commit_and_nothing_else() -> None:
    middle = Middle()
    seen = watched(middle)
    ask(middle, "placeOrder", "k", contract=AAPL, order=LIMIT)
    assert seen[:2] == [JOURNAL, BYTES]
    assert EVENTS in seen
    assert JOURNAL not in seen[1:]


def test_a_group_leaves_in_one_write_behind_one_commit() -> None:
    middle = Middle()
    seen = watched(middle)
    ask(middle, "placeOrders", orders=[{"key": f"k{n}", "contract": AAPL, "order": LIMIT} for n in range(3)])
    assert seen[:2] == [JOURNAL, BYTES]
    assert seen.count(BYTES) == seen.count(JOURNAL) == 1


def test_a_change_leaves_behind_its_commit_and_is_published_then() -> None:
    middle = Middle()
    working(middle, "k")
    seen = watched(middle)
    ask(middle, "modifyOrder", key="k", rev=1, order={"lmtPrice": 151.0})
    assert seen[:2] == [JOURNAL, BYTES]
    assert EVENTS in seen


def test_a_cancel_leaves_before_anything_is_committed() -> None:
    middle = Middle()
    working(middle, "k")
    seen = watched(middle)
    ask(middle, "cancelOrder", "k")
    assert seen[0] == BYTES
    assert EVENTS in seen


def test_orders_that_have_waited_leave_behind_one_commit_and_are_published_then() -> None:
    middle = Middle(rate=4)
    for number in range(9):
        middle.place(f"k{number}")
    seen = watched(middle)
    middle.link.go_on(0.6)
    assert BYTES in seen
    assert seen[:2] == [JOURNAL, BYTES]
    assert EVENTS in seen


@pytest.mark.parametrize("waits", [False, True])
def test_an_order_that_cannot_be_recorded_is_never_called_sent(waits: bool) -> None:
    middle = Middle(rate=4 if waits else 1_000_000)
    for number in range(9 if waits else 0):
        middle.place(f"k{number}")
    middle.link.take()
    if waits:
        ask(middle, "placeOrder", "last", contract=AAPL, order=LIMIT)
    middle.parts.streams.journal._store.commit = lambda records: False  # type: ignore[method-assign]
    if waits:
        middle.link.go_on(10)
    else:
        about = {"id": 1, "client": "a", "cmd": "placeOrder", "key": "last", "args": {"contract": AAPL, "order": LIMIT}}
        assert middle.call(about)["error"]["code"] == "E_STORE"
    assert [each.name for each in middle.link.take()] == []
    states = [each.data["state"] for each in middle.published if each.topic == "ord.a.last.orderState."]
    assert states == (["queued", "done"] if waits else [])
