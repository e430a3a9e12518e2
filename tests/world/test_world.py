"""Some seeds in every test run; that a seed is the same everywhere; and that each rule notices what it is there for."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgpack
import pytest

from ibbridge.storage.records import JournalRecord
from tests.world import catalogue, checkers, faults
from tests.world.checkers import RULES, always, breaches
from tests.world.disk import Disk
from tests.world.process import Killed, OrderStoreHere, StoreHere, _config
from tests.world.world import Evidence, live

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
SEEDS = 48
AT_ONCE = 12
CALM = 0
"""A seed in which orders rest and are filled, if no fault strikes."""
DISTURBED = (5, 18, 21)
"""Seeds with kills, losses of power and much else."""


@pytest.mark.parametrize("first", range(0, SEEDS, AT_ONCE))
def test_no_seed_breaks_a_rule(first: int) -> None:
    for seed in range(first, first + AT_ONCE):
        evidence = live(seed).evidence
        assert breaches(evidence) == [], f"seed {seed}: " + "\n".join(evidence.history.faults)


@pytest.mark.parametrize("kind", [*faults.FAULTS])
def test_a_halt_tells_the_truth_of_each_order_under_every_fault(kind: str) -> None:
    for seed in range(2):
        evidence = live(seed, only=("halt and cancel", kind)).evidence
        assert breaches(evidence) == [], f"seed {seed}: " + "\n".join(evidence.history.faults)


# -- one seed, one world


@pytest.mark.parametrize("seed", DISTURBED)
def test_two_lives_of_a_seed_are_the_same_to_the_byte_and_a_trace_changes_nothing(seed: int) -> None:
    assert live(seed).digest == live(seed, traced=True).digest


def test_a_seed_is_the_same_in_another_process() -> None:
    """Another order of sets, and nothing that was lived through before."""
    script = f"from tests.world.world import live; print([live(seed).digest for seed in {DISTURBED}])"
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str([live(seed).digest for seed in DISTURBED])


def test_two_seeds_are_two_worlds() -> None:
    assert live(1).digest != live(2).digest


# -- rules


def copy_of(evidence: Evidence, stream: str, kind: str, **data: Any) -> None:
    """Add another message to a stream, made from its first of a kind."""
    owner = stream.partition(".")[2]
    numbers = evidence.history.numbers()[stream]
    known = [each for of, each in evidence.history.streams(stream.partition(".")[0]) if of == owner]
    found = next((each for each in known if each.kind == kind), known[0])
    body = {**found.body, "seq": numbers[-1] + 1, "type": kind, "data": data or found.data}
    evidence.history.keep(found.topic, msgpack.packb(body), body)


def filled(evidence: Evidence) -> Any:
    """Return an order that was filled."""
    return next(order for order in evidence.orders if order.status == "Filled")


def stream_of(evidence: Evidence, kind: str) -> str:
    return f"{kind}.{filled(evidence).order['orderRef'].partition('/')[0]}"


def lie(evidence: Evidence) -> None:
    """Call an order cancelled that was filled."""
    owner, _, key = filled(evidence).order["orderRef"].partition("/")
    about = {"owner": owner, "key": key, "reason": "cancelled"}
    evidence.mass_cancels.append(
        {"id": "1", "cause": "halt", "over": True, "cancelled": [about], "refused": [], "unknown": []}
    )


def bury(evidence: Evidence) -> None:
    """Have the dead man cancel the order of a client that lives."""
    found = next(each for each in evidence.history.heard if each.kind == "orderState")
    body = {**found.body, "data": {**found.data, "cause": "dead_man"}}
    evidence.history.heard.append(found._replace(body=body))


def refuse_all(evidence: Evidence) -> None:
    refusal = {"ok": False, "error": {"code": "E_ARG", "outcome": "refused"}}
    for command in evidence.commands:
        command.replies = [(run, refusal) for run in command.runs]


def contradict(evidence: Evidence) -> None:
    command = next(each for each in evidence.commands if each.accepted)
    run, reply = next((run, reply) for run, reply in command.replies if reply["ok"])
    command.replies.append((run, {**reply, "result": {}}))


def answer_again(evidence: Evidence, **change: Any) -> None:
    evidence.history.arrivals.append(evidence.history.arrivals[0]._replace(**change))


def book(evidence: Evidence, status: str) -> None:
    filled(evidence).status = status


def doubt(evidence: Evidence) -> None:
    found = next(each for each in evidence.history.heard if each.kind == "orderState")
    body = {**found.body, "data": {**found.data, "state": "unknown"}}
    evidence.history.heard[:] = [found._replace(body=body)]
    evidence.history.forget()
    evidence.history.keep(found.topic, msgpack.packb(body), body)


def lose(evidence: Evidence) -> None:
    """Take an order that was done out of the books, and its end back."""
    evidence.orders.clear()
    for stream in [*evidence.history.numbers()]:
        if stream.startswith("ord."):
            copy_of(evidence, stream, "orderState", state="working", reason=None, changes=99)


def revive(evidence: Evidence) -> None:
    owner, first = next(evidence.history.streams("ord"))
    copy_of(evidence, f"ord.{owner}", "orderState", state="working", reason=None, changes=99)
    ref = f"{owner}/{first.topic.split('.')[2]}"
    next(order for order in evidence.orders if order.order["orderRef"] == ref).status = "Inactive"


WRONGS: dict[str, Callable[[Evidence], Any]] = {
    "nothing_breaks": lambda evidence: evidence.history.errors.append("broken"),
    "one_answer_to_one_command": contradict,
    "no_order_twice_in_a_run": lambda evidence: answer_again(evidence, order_id=999),
    "no_order_twice": lambda evidence: answer_again(evidence, order_id=999, process=2),
    "one_order_for_an_id_in_a_run": lambda evidence: answer_again(evidence, ref="a/other"),
    "one_order_for_an_id": lambda evidence: answer_again(evidence, ref="a/other", process=2),
    "the_order_is_the_one_that_was_asked_for": lambda evidence: answer_again(evidence, order={"totalQuantity": 3.0}),
    "no_refused_order_reaches_tws": refuse_all,
    "an_end_is_the_end": lambda evidence: book(evidence, "Submitted"),
    "a_final_state_is_true": lambda evidence: book(evidence, "Cancelled"),
    "states_are_numbered": lambda evidence: copy_of(
        evidence, stream_of(evidence, "ord"), "orderState", state="done", reason="filled", changes=0
    ),
    "no_state_is_old": lambda evidence: book(evidence, "Submitted"),
    "a_rejected_order_is_over": revive,
    "an_execution_is_told_to_its_owner_only": lambda evidence: evidence.executions.clear(),
    "an_execution_is_told_as_it_was": lambda evidence: evidence.executions[0][1].update(price=0.125),
    "no_execution_twice": lambda evidence: copy_of(evidence, stream_of(evidence, "exec"), "execDetails"),
    "every_execution_is_told": lambda evidence: evidence.executions.append(
        (filled(evidence), {"execId": "another", "side": "BOT", "shares": 1.0}, {})
    ),
    "every_commission_is_told": lambda evidence: evidence.executions[0][2].update(commissionAndFees=77.0),
    "no_commission_twice": lambda evidence: copy_of(evidence, stream_of(evidence, "exec"), "commissionAndFeesReport"),
    "the_positions_of_owners_are_true": lambda evidence: evidence.executions.pop(),
    "positions_are_those_of_the_account": lambda evidence: evidence.listed.update(IBM=3.0),
    "a_message_is_about_its_order": lambda evidence: setattr(filled(evidence), "perm_id", 3),
    "an_unknown_order_has_an_alarm": doubt,
    "a_halt_tells_the_truth": lie,
    "a_living_client_keeps_its_orders": bury,
    "positions_are_what_was_told": lambda evidence: evidence.positions.update(AAPL=0.5),
    "the_last_word_is_true": lambda evidence: book(evidence, "Cancelled"),
    "an_accepted_order_is_not_lost": lose,
    "the_fate_is_said": lambda evidence: evidence.history._kept.pop(stream_of(evidence, "ord")),
    "streams_have_no_hole": lambda evidence: evidence.history._kept[stream_of(evidence, "ord")].pop(1),
    "tws_sees_no_used_id": lambda evidence: copy_of(
        evidence, stream_of(evidence, "ord"), "error", errorCode=103, errorString="Duplicate order id", ends=None
    ),
}
"""What breaks each rule, in a seed in which all is well."""


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_rule_notices_what_it_is_there_for(rule: checkers.Rule) -> None:
    evidence = live(CALM, calm=True).evidence
    assert not [*rule.check(evidence)]
    WRONGS[rule.check.__name__](evidence)
    assert [*rule.check(evidence)]


def test_a_rule_that_waits_says_for_what() -> None:
    assert {rule.name for rule in RULES if rule.condition is not always and not rule.waits_for} == {
        # Without the commits that a loss of power has taken:
        "streams have no hole",
        "states are numbered",
        "no execution twice",
        "no commission twice",
        "tws sees no used id",  # a simulated TWS that burns ids, or hears requests in another order, says 103 itself
    }


# -- what a loss of power takes


@pytest.mark.parametrize(("sync", "share", "left"), [("normal", 0.0, 0), ("normal", 1.0, 9), ("full", 0.0, 9)])
def test_a_loss_of_power_takes_commits_that_are_not_synced_and_a_kill_takes_none(
    sync: str, share: float, left: int
) -> None:
    for power in (share, None):
        disk = Disk(random.Random(1), lambda _: None)
        try:
            store = opened(disk, sync)
            for seq in range(1, 10):
                assert store.append([(b"ord.a", seq, 0, b"ord.a.k.error.", b"body", None, None)])
            lost = disk.end(power)
            store.close()
            disk.begin()
            again = opened(disk, sync)
            assert again.fault == ""
            assert again.last().get(b"ord.a", 0) == (left if power is not None else 9)
            assert (lost > 0) == (left == 0 and power is not None)
            again.close()
        finally:
            disk.remove()


@pytest.mark.parametrize("seed", range(20))
def test_a_loss_of_power_within_a_commit_of_the_journal_takes_nothing_else(seed: int) -> None:
    passed: list[str] = []

    def passing(side: str) -> None:
        passed.append(side)
        if ends and side == "within":
            raise Killed

    ends = False
    disk = Disk(random.Random(seed), passing)
    try:
        journal = OrderStoreHere(disk)
        journal.open(1, None)
        for number in range(60):  # the log begins anew meanwhile
            assert journal.commit([record(number)])
            journal.tick()
        ends, disk.may_tear = True, True
        with pytest.raises(Killed):
            journal.commit([record(60)])
        assert disk.end(random.Random(seed).random()) == 0
        journal.close()
        disk.begin()
        ends = False
        again = OrderStoreHere(disk)
        again.open(1, None)
        assert again.fault == ""
        assert all(again.find(1, record(number).name) == record(number) for number in range(60))
        again.close()
    finally:
        disk.remove()
    assert {"before", "within", "after"} == {*passed}


def record(number: int) -> JournalRecord:
    return JournalRecord(1, b"order %d" % number, b"value" * 100, open=True)


def test_commits_to_one_file_can_fail_and_what_was_not_written_counts_as_lost() -> None:
    disk = Disk(random.Random(1), lambda _: None)
    try:
        store = opened(disk, "normal")
        disk.fail("events.db")
        disk.can_fail = True
        store.append([(b"ord.a", 1, 0, b"ord.a.k.error.", b"body", None, None)])
        assert "full" in store.fault
        assert disk.end(None) > 0
        store.close()
    finally:
        disk.remove()


def opened(disk: Disk, sync: str) -> StoreHere:
    store = StoreHere(disk, _config((f"store.sync={sync}",)))
    store.open(1)
    return store


# -- the catalogue


def test_what_was_not_reached_is_missed() -> None:
    assert catalogue.missed(catalogue.REQUIRED) == []
    assert catalogue.missed(catalogue.REQUIRED[1:]) == [catalogue.REQUIRED[0]]


def test_the_catalogue_names_every_fault_and_every_place_of_a_kill() -> None:
    assert {f"fault {kind}" for kind in faults.FAULTS} <= {*catalogue.REQUIRED}
    assert faults.FAULTS.keys() >= faults.RESTARTS | faults.BLINDNESS
