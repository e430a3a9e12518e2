"""Positions of the owners: what counts, once over restarts, and the difference from what the account has."""

from __future__ import annotations

from typing import Any

import pytest

from ibbridge.orders.execution_ledger import CAUSES
from tests.support.daemon_core import CLIENT_ID, Middle
from tests.support.outside import EPOCH, ManualClock, NoStore

ACCOUNT = "DU1"
CONTRACT = {"conId": 265598, "symbol": "AAPL", "secType": "STK", "currency": "USD", "exchange": "IEX"}
OPTION = {**CONTRACT, "conId": 7, "secType": "OPT", "strike": 150.0, "right": "C", "multiplier": "100"}


def execute(middle: Middle, exec_id: str, ref: str, quantity: float, price: float = 10.0, **more: Any) -> None:
    contract = more.pop("contract", CONTRACT)
    execution = {
        "execId": exec_id,
        "orderRef": ref,
        "clientId": CLIENT_ID if ref else 0,
        "orderId": more.pop("orderId", 0),
        "acctNumber": ACCOUNT,
        "side": "BOT" if quantity > 0 else "SLD",
        "shares": abs(quantity),
        "price": price,
        **more,
    }
    middle.hear("execDetails", reqId=-1, contract=contract, execution=execution)


def charge(middle: Middle, exec_id: str, amount: float, currency: str = "USD") -> None:
    report = {"execId": exec_id, "commissionAndFees": amount, "currency": currency}
    middle.hear("commissionAndFeesReport", commissionAndFeesReport=report)


def account(middle: Middle, *positions: tuple[dict[str, Any], float], end: bool = True) -> None:
    """TWS's answer to a request for positions."""
    for contract, quantity in positions:
        middle.hear("position", account=ACCOUNT, contract=contract, position=quantity, avgCost=10.0)
    if end:
        middle.hear("positionEnd")


def published(middle: Middle, owner: str = "a") -> list[dict[str, Any]]:
    return [each.data for each in middle.published if each.topic == f"exec.{owner}.ownerPosition."]


def settle(middle: Middle) -> None:
    for _ in range(5):
        middle.pass_time(1.0)


class LostStore(NoStore):
    """An event store without the last messages: they were not committed."""

    def first(self, stream: bytes) -> int:
        return 1


def restarted(middle: Middle, store: NoStore | None = None) -> Middle:
    """The next daemon, with the same journal."""
    middle.streams.flush()
    middle.parts.streams.journal.commit()
    again = Middle(order_store=middle.order_store, clock=ManualClock(us=EPOCH + 1_000_000), store=store)
    again.parts.orders.positions.restore()
    again.parts.orders.positions.publish()
    return again


@pytest.fixture
def middle() -> Middle:
    return Middle()


def test_an_execution_moves_the_position_of_its_owner(middle: Middle) -> None:
    execute(middle, "E1.01", "a/k", 100, 10.0)
    execute(middle, "E2.01", "b/k", -30, 11.0)
    execute(middle, "E3.01", "a/l", -40, 12.0)
    assert published(middle, "b")[-1]["position"] == -30
    assert published(middle)[-1] == {
        "account": ACCOUNT,
        "contract": {name: CONTRACT[name] for name in ("conId", "symbol", "secType", "currency")},
        "position": 60.0,
        "avgPrice": 10.0,
        "realizedPNL": 80.0,
        "commissions": {},
    }


def test_a_position_is_state_by_account_and_instrument(middle: Middle) -> None:
    execute(middle, "E1.01", "a/k", 100)
    execute(middle, "E2.01", "a/k", 2, contract=OPTION)
    execute(middle, "E3.01", "a/k", 50)
    shown = [each.data["position"] for each in middle.state("exec.a.ownerPosition.")["exec.a."]]
    assert sorted(shown) == [2.0, 150.0]


def test_an_option_counts_with_its_multiplier(middle: Middle) -> None:
    execute(middle, "E1.01", "a/k", 2, 1.5, contract=OPTION)
    execute(middle, "E2.01", "a/k", -2, 2.5, contract=OPTION)
    assert published(middle)[-1]["realizedPNL"] == 200.0


def test_a_report_that_is_repeated_counts_once(middle: Middle) -> None:
    for _ in range(3):
        execute(middle, "E1.01", "a/k", 100)
    assert [each["position"] for each in published(middle)] == [100.0]


def test_a_commission_counts_once_and_a_later_amount_instead_of_the_first(middle: Middle) -> None:
    execute(middle, "E1.01", "a/k", 100)
    for amount in (1.0, 1.0, 1.5):
        charge(middle, "E1.01", amount)
    execute(middle, "E2.01", "a/k", 100)
    charge(middle, "E2.01", 2.0, "EUR")
    assert published(middle)[-1]["commissions"] == {"EUR": 2.0, "USD": 1.5}


def test_a_commission_that_comes_first_is_counted_when_its_execution_comes(middle: Middle) -> None:
    charge(middle, "E1.01", 1.0)
    execute(middle, "E1.01", "a/k", 100)
    assert published(middle)[-1]["commissions"] == {"USD": 1.0}


@pytest.mark.parametrize("late", [False, True])
def test_a_correction_counts_in_place_of_the_execution_that_it_corrects(middle: Middle, late: bool) -> None:
    order = [("E1.01", 100.0, 10.0), ("E1.02", 80.0, 11.0)]
    for exec_id, quantity, price in reversed(order) if late else order:
        execute(middle, exec_id, "a/k", quantity, price)
    charge(middle, "E1.01", 1.0)
    charge(middle, "E1.02", 0.8)
    last = published(middle)[-1]
    assert (last["position"], last["avgPrice"], last["commissions"]) == (80.0, 11.0, {"USD": 0.8})


def test_a_correction_keeps_the_commission_until_it_has_one_of_its_own(middle: Middle) -> None:
    execute(middle, "E1.01", "a/k", 100)
    charge(middle, "E1.01", 1.0)
    execute(middle, "E1.02", "a/k", 90)
    assert published(middle)[-1]["commissions"] == {"USD": 1.0}


def test_a_correction_at_another_owner_takes_the_commission_along(middle: Middle) -> None:
    execute(middle, "E1.01", "", 100)
    charge(middle, "E1.01", 1.0)
    execute(middle, "E1.02", "a/k", 90)
    assert (published(middle)[-1]["position"], published(middle)[-1]["commissions"]) == (90.0, {"USD": 1.0})
    assert middle.parts.orders.positions.sums(ACCOUNT, 265598) == {"a": 90}


def test_a_bust_takes_the_execution_back(middle: Middle) -> None:
    execute(middle, "E1.01", "a/k", 100)
    execute(middle, "E1.02", "a/k", 0)
    assert published(middle)[-1]["position"] == 0.0


def test_the_legs_of_a_combination_count_and_the_combination_does_not(middle: Middle) -> None:
    execute(middle, "E1.01.01", "a/k", 1, contract={"secType": "BAG", "symbol": "AAPL", "conId": 28812380})
    execute(middle, "E1.01.02.01", "a/k", 1, contract=OPTION)
    assert [each["contract"]["conId"] for each in published(middle)] == [7]


@pytest.mark.parametrize("wrong", [{"side": "?"}, {"shares": None}, {"price": "x"}, {"shares": float("nan")}])
def test_an_execution_that_cannot_be_read_moves_nothing(middle: Middle, wrong: dict[str, Any]) -> None:
    execute(middle, "E1.01", "a/k", 100, **wrong)
    assert published(middle) == []


def test_an_execution_whose_owner_becomes_known_later_moves_to_the_owner(middle: Middle) -> None:
    execute(middle, "E1.01", "", 100)
    charge(middle, "E1.01", 1.0)
    execute(middle, "E1.01", "a/k", 100)
    charge(middle, "E1.01", 1.0)
    assert published(middle)[-1]["commissions"] == {"USD": 1.0}
    assert middle.parts.orders.positions.sums(ACCOUNT, 265598) == {"a": 100}


def test_positions_and_what_they_count_survive_a_restart(middle: Middle) -> None:
    execute(middle, "E1.01", "a/k", 100, 10.0)
    charge(middle, "E1.01", 1.0)
    execute(middle, "E2.01", "a/k", 5, contract=OPTION)
    execute(middle, "E3.01", "a/k", -5, contract=OPTION)
    again = restarted(middle)
    assert [each["position"] for each in published(again)] == [100.0], "a flat position is not published again"
    for exec_id in ("E1.01", "E2.01", "E3.01"):
        execute(again, exec_id, "a/k", 100)
    charge(again, "E1.01", 1.0)
    execute(again, "E1.02", "a/k", 100, 11.0)
    execute(again, "E4.01", "a/k", 1, 2.0, contract=OPTION)
    stock, option = published(again)[-2:]
    assert (stock["position"], stock["avgPrice"], stock["commissions"]) == (100.0, 11.0, {"USD": 1.0})
    assert (option["position"], option["avgPrice"]) == (1.0, 2.0)


# -- the account


def test_without_a_list_of_positions_nothing_is_said_of_differences(middle: Middle) -> None:
    execute(middle, "E1.01", "a/k", 100)
    settle(middle)
    assert published(middle, "ext") == []


def test_what_the_owners_have_not_done_is_published_under_ext(middle: Middle) -> None:
    middle.ask("reqPositions")
    execute(middle, "E1.01", "a/k", 100)
    execute(middle, "E2.01", "b/k", -20)
    account(middle, (CONTRACT, 130.0))
    settle(middle)
    assert published(middle, "ext") == [
        {
            "account": ACCOUNT,
            "contract": published(middle, "ext")[0]["contract"],
            "position": 50.0,
            "accountPosition": 130.0,
            "owners": {"a": 100.0, "b": -20.0},
            "causes": {},
            "unexplained": 50.0,
        }
    ]
    assert published(middle, "ext")[0]["contract"]["conId"] == 265598


def test_a_difference_of_a_moment_is_not_published(middle: Middle) -> None:
    middle.ask("reqPositions")
    account(middle)
    execute(middle, "E1.01", "a/k", 100)
    middle.pass_time(1.0)
    account(middle, (CONTRACT, 100.0), end=False)
    settle(middle)
    assert published(middle, "ext") == []


def test_a_difference_that_ends_is_published_as_0_and_leaves_the_state(middle: Middle) -> None:
    middle.ask("reqPositions")
    account(middle, (CONTRACT, 70.0))
    settle(middle)
    execute(middle, "E1.01", "a/k", 70)
    settle(middle)
    assert [each["position"] for each in published(middle, "ext")] == [70.0, 0.0]
    assert not middle.state("exec.ext.ownerPosition.").get("exec.ext.")


def test_a_position_that_the_account_has_no_more_is_a_difference(middle: Middle) -> None:
    execute(middle, "E1.01", "a/k", 100)
    middle.ask("reqPositions")
    account(middle)
    settle(middle)
    last = published(middle, "ext")[-1]
    assert (last["position"], last["accountPosition"]) == (-100.0, 0.0)
    assert last["contract"]["conId"] == 265598


@pytest.mark.parametrize(
    ("more", "cause"),
    [
        ({}, "trade"),
        ({"liquidation": True}, "liquidation"),
        *(({"optExerciseOrLapseType": number}, name) for number, name in CAUSES.items()),
    ],
)
def test_an_execution_of_nobody_here_explains_a_difference(middle: Middle, more: dict[str, Any], cause: str) -> None:
    middle.ask("reqPositions")
    execute(middle, "E1.01", "", 100, **more)
    account(middle, (CONTRACT, 130.0))
    settle(middle)
    last = published(middle, "ext")[-1]
    assert (last["position"], last["causes"], last["unexplained"]) == (130.0, {cause: 100.0}, 30.0)


def test_after_a_connection_nothing_is_concluded_before_the_whole_list(middle: Middle) -> None:
    middle.ask("reqPositions")
    execute(middle, "E1.01", "a/k", 100)
    account(middle, (CONTRACT, 100.0))
    settle(middle)
    middle.reconnect()
    settle(middle)
    execute(middle, "E2.01", "a/k", 50)
    settle(middle)
    assert published(middle, "ext") == []
    account(middle, (CONTRACT, 100.0))
    settle(middle)
    assert [each["position"] for each in published(middle, "ext")] == [-50.0]


def test_a_difference_that_stands_over_a_connection_is_not_published_again(middle: Middle) -> None:
    middle.ask("reqPositions")
    account(middle, (CONTRACT, 70.0))
    settle(middle)
    middle.reconnect()
    middle.pass_time(1.0)
    account(middle, (CONTRACT, 70.0))
    settle(middle)
    assert [each["position"] for each in published(middle, "ext")] == [70.0]
    middle.reconnect()
    middle.pass_time(1.0)
    account(middle)
    settle(middle)
    assert [each["position"] for each in published(middle, "ext")] == [70.0, 0.0]


def test_a_position_that_somebody_closed_while_tws_was_away_is_a_difference(middle: Middle) -> None:
    middle.ask("reqPositions")
    execute(middle, "E1.01", "a/k", 100)
    account(middle, (CONTRACT, 100.0))
    settle(middle)
    middle.reconnect()
    middle.pass_time(1.0)
    account(middle)
    settle(middle)
    assert [(each["position"], each["accountPosition"]) for each in published(middle, "ext")] == [(-100.0, 0.0)]


def test_a_position_that_somebody_closed_while_the_daemon_was_away_is_a_difference(middle: Middle) -> None:
    execute(middle, "E1.01", "a/k", 100)
    again = restarted(middle)
    again.ask("reqPositions")
    account(again)
    settle(again)
    assert [each["position"] for each in published(again, "ext")] == [-100.0]


def test_a_position_follows_its_execution_when_that_is_published_once_more(middle: Middle) -> None:
    execute(middle, "E1.01", "a/k", 5)
    execute(middle, "E2.01", "a/k", -5)
    again = restarted(middle, LostStore())
    execute(again, "E2.01", "a/k", -5)
    assert [each["position"] for each in published(again)] == [0.0]


def test_an_execution_that_nothing_corrects_asks_the_journal_for_few_records(
    middle: Middle, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bytes] = []
    find = middle.order_store.find

    def noted(kind: int, name: bytes) -> Any:
        asked.append(name)
        return find(kind, name)

    monkeypatch.setattr(middle.order_store, "find", noted)
    execute(middle, "E1.01", "a/k", 5)
    assert {name for name in asked if b"E1." in name} == {b"E1.01"}
    asked.clear()
    execute(middle, "E1.01", "a/k", 5)
    assert not asked, "a repetition"
