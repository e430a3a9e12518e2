"""Stages, notices and backoff, in a time that the tests make."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibbridge.tws.session import TRANSITIONS, Backoff, ConnectionStep, Session, Stage

UP = (
    ConnectionStep.TRY,
    ConnectionStep.RESOLVED,
    ConnectionStep.CONNECTED,
    ConnectionStep.GREETED,
    ConnectionStep.STARTED,
    ConnectionStep.SYNCED,
)
ORDER = (
    Stage.DOWN,
    Stage.RESOLVING,
    Stage.CONNECTING,
    Stage.HANDSHAKING,
    Stage.STARTING,
    Stage.SYNCING,
    Stage.READY,
)


def at(stage: Stage, now: float = 0.0) -> Session:
    session = Session(now)
    for step in UP[: ORDER.index(stage)]:
        session.step(step, now)
    assert session.stage is stage
    return session


# The transitions, written down a second time, on purpose.
ALLOWED = {
    **{(before, step): after for before, step, after in zip(ORDER, UP, ORDER[1:], strict=False)},
    **{(stage, ConnectionStep.LOST): Stage.DOWN for stage in ORDER},
}


def test_the_table_says_what_may_follow_what():
    assert TRANSITIONS == ALLOWED


@pytest.mark.parametrize(("stage", "step"), list(itertools.product(Stage, ConnectionStep)), ids=lambda each: each.value)
def test_every_step_in_every_stage(stage, step):
    session = at(stage, 10.0)
    to = ALLOWED.get((stage, step), stage)
    changed = session.step(step, 20.0, "why")
    assert session.stage is to
    assert changed is (to is not stage)
    assert session.since == (20.0 if changed else 10.0)
    assert session.ready is (to is Stage.READY)


@given(st.lists(st.tuples(st.sampled_from(ConnectionStep), st.floats(0, 100))))
def test_whatever_happens_ready_is_reached_only_through_every_stage(steps):
    session, reached = Session(0.0), Stage.DOWN
    now = 0.0
    for step, later in steps:
        now += later
        session.step(step, now)
        if session.stage is not reached:
            assert session.stage is Stage.DOWN or ORDER.index(session.stage) == ORDER.index(reached) + 1
            assert session.since == now
            reached = session.stage
        assert session.summary(now)["since"] >= 0


def test_failures_count_until_a_connection_is_ready_and_the_last_reason_stays_until_then():
    session = Session(0.0)
    for number in (1, 2, 3):
        session.step(ConnectionStep.TRY, 0)
        session.step(ConnectionStep.LOST, 0, f"reason {number}")
        assert (session.failures, session.last_error) == (number, f"reason {number}")
    for step in UP[:-1]:
        session.step(step, 0)
        assert (session.failures, session.last_error) == (3, "reason 3")
    session.step(ConnectionStep.SYNCED, 0)
    assert (session.failures, session.last_error) == (0, "")


def test_a_new_try_forgets_what_the_old_connection_said_of_itself_but_not_the_accounts():
    session = at(Stage.STARTING)
    session.greeted({"version": 200, "connectionTime": "20260105 12:00:00 CET"})
    session.named("DU1,DU2,")
    session.apply_notice(1100, "lost", 0.0)
    session.apply_notice(2103, "broken:usfarm", 0.0)
    summary = session.summary(1.0)
    assert summary["serverVersion"] == 200
    assert summary["connectionTime"] == "20260105 12:00:00 CET"
    assert summary["upstream"] == "lost"
    assert summary["farms"] == {"usfarm": "down"}
    session.step(ConnectionStep.LOST, 2.0)
    summary = session.summary(3.0)
    assert (summary["serverVersion"], summary["connectionTime"]) == (None, "")
    assert (summary["upstream"], summary["farms"]) == ("ok", {})
    assert summary["accounts"] == ["DU1", "DU2"]
    assert summary["since"] == 1.0


@pytest.mark.parametrize(("listed", "accounts"), [("DU1", ("DU1",)), ("DU1,DU2,", ("DU1", "DU2")), ("", ()), (",", ())])
def test_the_list_of_accounts_may_end_in_a_comma_or_be_empty(listed, accounts):
    session = Session(0.0)
    session.named(listed)
    assert session.accounts == accounts


# Notices


@pytest.mark.parametrize(
    ("code", "state"),
    [
        (1100, "lost"),
        (1101, "restored, data lost"),
        (1102, "restored, data kept"),
        (2110, "lost"),
    ],
)
def test_the_link_behind_tws(code, state):
    session = Session(0.0)
    assert session.apply_notice(code, "Connectivity between IBKR and Trader Workstation ...", 0.0) == (
        "upstream",
        state,
    )
    assert session.upstream == state
    assert session.apply_notice(code, "again", 0.0) is None
    assert session.farms == {}


@pytest.mark.scenario("B12")
def test_thirty_repeats_of_1100_are_one_outage():
    session = Session(0.0)
    told = [session.apply_notice(1100, "lost", 0.0) for _ in range(30)] + [session.apply_notice(1102, "back", 0.0)]
    assert [each for each in told if each] == [("upstream", "lost"), ("upstream", "restored, data kept")]


FARM_CODES = {
    2103: "down",
    2104: "ok",
    2105: "down",
    2106: "ok",
    2107: "dormant",
    2108: "dormant",
    2119: "connecting",
    2157: "down",
    2158: "ok",
}


@pytest.mark.parametrize(("code", "state"), list(FARM_CODES.items()))
@pytest.mark.parametrize(
    ("text", "farm"),
    [
        ("Market data farm connection is OK:usfarm", "usfarm"),
        ("HMDS data farm connection is inactive but should be available upon demand.ushmds", "ushmds"),
        ("Sec-def data farm connection is OK:secdefnj", "secdefnj"),
        ("Market data farm connection is OK:usfarm.nj", "usfarm.nj"),
        ("HMDS data farm connection is inactive but should be available upon demand.ushmds.nj", "ushmds.nj"),
        ("Market data farm is connecting:us-farm_2", "us-farm_2"),
        ("Market data farm connection is broken: usfarm", "usfarm"),
        ("Market data farm connection is broken:usfarm. ", "usfarm"),
        ("Verbindung zum Marktdatenserver ist unterbrochen:eufarm\n", "eufarm"),
        (":x", "x"),
    ],
)
def test_a_farm_is_named_behind_the_last_colon_or_full_stop(code, state, text, farm):
    session = Session(0.0)
    assert session.apply_notice(code, text, 0.0) == (farm, state)
    assert session.apply_notice(code, text, 0.0) is None
    assert session.farms == {farm: state}
    assert session.upstream == "ok"


@pytest.mark.parametrize("text", ["", "A farm is down", "broken:", "broken.", ":", "...", "two words: and more"])
def test_a_notice_that_names_no_farm_is_kept_under_its_code(text):
    session = Session(0.0)
    assert session.apply_notice(2103, text, 0.0) == ("2103", "down")


@given(st.sampled_from(sorted(FARM_CODES)), st.text())
def test_whatever_a_notice_says_it_is_kept(code, text):
    session = Session(0.0)
    changed = session.apply_notice(code, text, 0.0)
    assert changed is not None
    assert session.farms == {changed[0]: FARM_CODES[code]}


def test_two_farms_of_one_place_are_two():
    session = Session(0.0)
    session.apply_notice(2104, "Market data farm connection is OK:usfarm.nj", 0.0)
    session.apply_notice(2103, "Market data farm connection is broken:usopt.nj", 0.0)
    assert session.farms == {"usfarm.nj": "ok", "usopt.nj": "down"}


@pytest.mark.parametrize("code", [0, -1, 200, 326, 502, 504, 1300, 2100, 2109, 2120, 2174, 10182, 10197])
def test_other_codes_change_nothing(code):
    session = Session(0.0)
    assert session.apply_notice(code, "text:usfarm", 0.0) is None
    assert (session.upstream, session.farms) == ("ok", {})


# Backoff


@given(st.floats(0.1, 10), st.floats(1, 100), st.integers(1, 10**9), st.floats(0, 1))
def test_the_pause_is_half_to_all_of_what_it_doubles_to_and_never_above_the_longest(low, more, fails, jitter):
    backoff = Backoff(low, low * more)
    whole = min(low * more, low * 2.0 ** min(fails - 1, 200))
    assert whole / 2 <= backoff.delay(fails, jitter) <= whole


def test_the_pause_doubles_up_to_the_longest():
    backoff = Backoff(1.0, 30.0)
    assert [backoff.delay(failures, 0.0) for failures in range(1, 8)] == [1, 2, 4, 8, 16, 30, 30]


@given(st.integers(0, 100), st.floats(0, 1))
def test_the_pause_is_never_zero(failures, jitter):
    assert Backoff(1.0, 30.0).delay(failures, jitter) >= 0.25
