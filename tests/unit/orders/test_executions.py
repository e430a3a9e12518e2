"""Whom each report of an execution and of its commission is for."""

from __future__ import annotations

from typing import Any

import pytest

from ibbridge.orders import executions
from ibbridge.orders.executions import Execution, ExecutionIndex, HeldCommissions
from ibbridge.orders.order import FOREIGN, Owner

ME, YOU, EXT = (Owner(name, "k", {"owner": name}) for name in ("me", "you", FOREIGN))
REPORT = {"commissionAndFees": 1.0, "currency": "USD"}


@pytest.fixture
def index() -> ExecutionIndex:
    return ExecutionIndex()


def told(index: ExecutionIndex, exec_id: str = "E.01", **more: Any) -> tuple[str | None, list[Any]] | None:
    """Return the owner and the lists to which a commission goes."""
    found = index.charged(exec_id, {**REPORT, **more})
    return None if found is None else (found.owner and found.owner.owner, found.askers)


def test_the_owner_is_told_of_an_execution_and_its_commission_once(index: ExecutionIndex) -> None:
    assert [index.executed("E.01", ME) for _ in range(2)] == [ME, None]
    assert [told(index) for _ in range(2)] == [("me", []), (None, [])]


def test_every_list_has_its_own_commission_and_takes_none_from_the_owner(index: ExecutionIndex) -> None:
    index.executed("E.01", ME)
    assert index.executed("E.01", ME, "first") is None
    assert told(index) == ("me", ["first"])
    for name in ("second", "third"):
        index.executed("E.01", ME, name)
        assert told(index) == (None, [name])
    assert told(index) == (None, [])


def test_an_execution_that_was_missed_live_is_told_to_its_owner_when_it_is_listed(index: ExecutionIndex) -> None:
    assert index.executed("E.01", ME, "list") == ME
    assert told(index) == ("me", ["list"])
    assert index.executed("E.01", ME) is None


def test_executions_of_others_are_told_to_who_asks_and_under_ext_if_they_are_live(index: ExecutionIndex) -> None:
    assert index.executed("E.01", EXT, "list") is None
    assert told(index) == (None, ["list"])
    assert index.executed("E.01", EXT) == EXT
    assert told(index) == (FOREIGN, [])


def test_an_execution_whose_owner_becomes_known_is_told_to_the_owner(index: ExecutionIndex) -> None:
    assert index.executed("E.01", EXT) == EXT
    assert told(index) == (FOREIGN, [])
    assert index.executed("E.01", ME, "list") == ME
    assert told(index) == ("me", ["list"])
    assert index.executed("E.01", EXT) is None, "as it is known"


def test_another_amount_is_another_commission(index: ExecutionIndex) -> None:
    index.executed("E.01", ME)
    assert told(index, commissionAndFees=None) == ("me", [])
    assert told(index) == ("me", [])
    assert told(index, realizedPNL=5.0) == (None, [])


@pytest.mark.parametrize(
    ("first", "second"), [("0001.5f.01.01", "0001.5f.01.02"), ("0001.5f.02.01.01", "0001.5f.02.01.12")]
)
def test_a_correction_is_an_execution_of_its_own_with_the_same_owner(
    index: ExecutionIndex, first: str, second: str
) -> None:
    index.executed(first, ME)
    assert index.kin(second) == ME
    assert index.executed(second, EXT) == ME
    assert [told(index, each) for each in (first, second)] == [("me", [])] * 2


def test_legs_and_other_fills_have_owners_of_their_own(index: ExecutionIndex) -> None:
    index.executed("0001.5f.01.01", ME)
    index.executed("0001.5f.02.01.01", YOU)
    assert [index.kin(each) for each in ("0001.5f.02.01", "0001.5f.03.01.01", "0001.5f", "", "E")] == [None] * 5
    assert index.kin("0001.5f.02.01.02") == YOU


def test_executions_without_an_id_cannot_be_told_apart(index: ExecutionIndex) -> None:
    assert told(index, "") is None
    for _ in range(2):
        assert index.executed("", ME) == ME
        assert told(index, "") == ("me", [])
    assert index.executed("", EXT, "list") is None
    assert told(index, "") == (None, ["list"])


def test_lists_end_with_the_connection(index: ExecutionIndex) -> None:
    index.executed("E.01", ME, "list")
    index.forget_askers()
    assert told(index) == ("me", [])


def test_what_is_kept_is_bounded(index: ExecutionIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executions, "MOST_EXECUTIONS", 3)
    monkeypatch.setattr(executions, "MOST_ASKERS", 2)
    for count in range(5):
        index.executed(f"{count}.01", ME)
        index.executed("4.01", ME, count)
    assert [told(index, f"{count}.01") for count in range(4)] == [None, None, ("me", []), ("me", [])]
    assert told(index, "4.01") == ("me", [3, 4])
    assert [index.kin(f"{count}.02") for count in range(5)] == [None, None, ME, ME, ME]


def test_executions_that_are_recorded_are_known() -> None:
    known = {"E.01": Execution(ME, told=True), "F.01": Execution(ME, told=True, charge=(1.0, "USD"))}
    index = ExecutionIndex(known.get)
    assert told(index) == ("me", [])
    assert told(index, "F.01") == (None, [])
    assert index.executed("F.01", ME, "list") is None
    assert index.kin("F.02") == ME


# -- commissions that are held


def ids(commissions: list[executions.HeldCommission]) -> list[tuple[str, int]]:
    return [(each.exec_id, each.ts) for each in commissions]


def test_a_commission_is_held_until_its_execution_comes() -> None:
    held = HeldCommissions()
    for ts, exec_id in enumerate(("E", "F", "E")):
        assert held.hold(exec_id, {}, ts) == []
    assert ids(held.take("E")) == [("E", 0), ("E", 2)]
    assert held.take("E") == []
    assert ids(held.take_all()) == [("F", 1)]


def test_a_commission_is_held_for_a_bounded_time() -> None:
    held = HeldCommissions()
    held.hold("E", {}, 1)
    assert held.take_due(100.0) == []
    held.hold("F", {}, 2)
    assert held.take_due(101.0) == []
    assert ids(held.take_due(100.0 + executions.LONGEST_HELD)) == [("E", 1)]
    assert ids(held.take_due(101.0 + executions.LONGEST_HELD)) == [("F", 2)]
    assert held.take_due(1e9) == held.take_all() == []


def test_commissions_are_held_in_bounded_number_and_the_oldest_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executions, "MOST_HELD", 3)
    held = HeldCommissions()
    gone = [ids(held.hold(exec_id, {}, ts)) for ts, exec_id in enumerate("EEFGHI")]
    assert gone == [[], [], [], [("E", 0), ("E", 1)], [], [("F", 2)]]
    assert ids(held.take_all()) == [("G", 3), ("H", 4), ("I", 5)]
