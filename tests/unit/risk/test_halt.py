"""Halting orders: in force at once, and after a restart."""

from __future__ import annotations

from typing import Any

import pytest

from ibbridge.config.maintenance_windows import window
from ibbridge.risk.halt import Halt, Halts, Scope, TradingState
from tests.support.daemon_core import AAPL, LIMIT, Middle, refusal

ALL = {"scope": "all", "name": ""}


class Values:
    def __init__(self, *, writable: bool = True) -> None:
        self.values: dict[str, bytes] = {}
        self.writable = writable

    def get(self, key: str) -> bytes | None:
        return self.values.get(key)

    def put(self, key: str, value: bytes) -> bool:
        if self.writable:
            self.values[key] = value
        return self.writable


def of_all(client: str, reason: str, now: int) -> Halt:
    return Halt(Scope.ALL, "", TradingState.HALTED, now, client, reason)


def clear(halts: Halts, client: str, now: int) -> bool:
    return halts.clear(Scope.ALL, "", client, now)


def test_what_was_halted_is_halted_after_a_restart_until_somebody_resumes():
    values = Values()
    told: list[dict[str, Any]] = []
    halt = Halts(values, told.append)
    halt.load()
    assert halt.state is None
    assert halt.set(of_all("risk", "too much", 5))
    again = Halts(values, told.append)
    again.load()
    assert again.state == {"since": 5, "client": "risk", "reason": "too much"}
    assert clear(again, "me", 9)
    halt.load()
    assert halt.state is None
    assert told == [
        {"halted": True, **ALL, "state": "halted", "since": 5, "client": "risk", "reason": "too much"},
        {"halted": False, **ALL, "state": "active", "since": 9, "client": "me", "reason": ""},
    ]


def test_a_halt_that_cannot_be_kept_is_in_force_all_the_same_and_says_so():
    values = Values(writable=False)
    halt = Halts(values)
    assert not halt.set(of_all("a", "", 1))
    assert halt.state
    halt.tick()
    assert values.get("halt") is None
    values.writable = True
    halt.tick()
    again = Halts(values)
    again.load()
    assert again.state == halt.state
    values.values.clear()
    halt.tick()
    assert values.get("halt") is None, "it is written once"


DAMAGED = [b"\xc1", b"\x00\xff", b"\x81\xa1", b"\xa2\xff\xff", b"\x01", b"\x80", b"\x81\xa5since\x01", "text"]


@pytest.mark.parametrize("packed", DAMAGED)
def test_where_it_cannot_be_understood_whether_orders_were_halted_they_are(packed):
    values = Values()
    values.values["halt"] = packed
    halt = Halts(values)
    halt.load()
    assert halt.state is not None
    assert halt.state["reason"].startswith("the store's record of the halt cannot be read")
    assert clear(halt, "me", 9)
    again = Halts(values)
    again.load()
    assert again.state is None


@pytest.fixture
def middle():
    return Middle()


def command(middle, cmd, **args):
    return middle.call({"id": f"{cmd}{middle.clock.now}", "cmd": cmd, "client": "risk", "args": args})


def test_while_halted_orders_are_refused_and_cancels_are_not(middle):
    middle.place("before")
    middle.store.keeps = False
    assert command(middle, "halt", reason="news {x}")["result"] == {"kept": False}
    error = refusal("E_HALTED", middle.place, "k")
    said = "orders are halted by risk: news {x}; `ibbridge resume` ends the halt"
    assert (error.outcome, str(error)) == ("not_sent", said)
    exercise = {"exerciseAction": 1, "exerciseQuantity": 1, "account": "DU1", "override": 0}
    refusal("E_HALTED", middle.ask, "exerciseOptions", key="x", contract=AAPL, **exercise)
    again = middle.ask("placeOrder", key="before", contract=AAPL, order=LIMIT)
    assert again["dup"], "what was placed before is answered as it was"
    middle.ask("cancelOrder", key="before")
    middle.ask("whatIfOrder", contract=AAPL, order=LIMIT)
    middle.clock.now = 1.0
    command(middle, "resume")
    middle.place("k")


def test_a_resume_that_comes_too_late_does_not_resume(middle):
    command(middle, "halt")
    reply = middle.call({"id": 1, "cmd": "resume", "client": "risk", "not_after": 1})
    assert reply["error"]["code"] == "E_DEADLINE"
    assert reply["error"]["message"].endswith(" s ago, in microseconds since 1970 UTC; nothing was sent")
    assert middle.halts.state


def test_who_halts_says_who_he_is(middle):
    assert middle.call({"id": 1, "cmd": "halt"})["error"]["code"] == "E_PROTO"
    assert middle.halts.state is None


def test_while_the_store_cannot_be_written_orders_are_refused_and_cancels_are_not(middle):
    middle.place("before")
    middle.store.fault = "the disk is full"
    error = refusal("E_STORE", middle.place, "k")
    assert error.outcome == "not_sent"
    assert "the disk is full" in str(error)
    middle.ask("cancelOrder", key="before")
    middle.store.fault = ""
    middle.place("k")


def test_a_long_reason_is_cut_off_because_it_is_in_every_heartbeat(middle):
    command(middle, "halt", reason="x" * 100_000)
    assert len(middle.halts.state["reason"]) == 500


# Restart windows


def test_in_a_restart_window_orders_are_refused_with_its_end_and_cancels_are_not():
    middle = Middle(windows=(window("22:14-22:16 UTC"),))
    middle.place("before")  # the clock begins at 22:13:20
    middle.clock.us += 70 * 10**6
    error = refusal("E_RESTART_WINDOW", middle.place, "k")
    assert (error.outcome, error.more) == ("not_sent", {"retry_after": pytest.approx(90.0)})
    assert "which ends in 90 s" in str(error)
    assert middle.ask("placeOrder", key="before", contract=AAPL, order=LIMIT)["dup"]
    middle.ask("cancelOrder", key="before")
    middle.ask("reqMktData", contract=AAPL)
    middle.clock.us += 90 * 10**6
    middle.place("k")
    assert [each.name for each in middle.link.sent].count("placeOrder") == 2
