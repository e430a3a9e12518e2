"""The life of the connection to TWS, in virtual time: hours of it in milliseconds, whatever happens in any order."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ibbridge.config.model import TwsConfig
from ibbridge.tws.session import Session, Stage
from ibbridge.tws.supervisor import DEADLINES, Action, AnyAction, Close, Open, Resolve, Supervisor

HERE = ("127.0.0.1", 4002)
THERE = ("::1", 4002)
CONFIG = TwsConfig()
EOF_ = "TWS closed the connection"


class World:
    """A line, what it has said, and a host that does as the test says. No time passes but in `pass_`."""

    def __init__(self, now: float = 1000.0, jitter: float = 0.0, **settings: Any) -> None:
        self.now = now
        self.config = dataclasses.replace(CONFIG, **settings)
        self.session = Session(now)
        self.line = Supervisor(self.config, self.session, lambda: jitter)
        self.tries: list[float] = []
        self.ports: list[int] = []
        self.probes: list[float] = []
        self.closes: list[Close] = []
        self.stages: list[Stage] = []
        self.taken = 0
        self.answers = True  # probes are answered at once
        self.line.wake(now)
        self.see()

    def see(self) -> list[AnyAction]:
        acts = self.line.next_actions()
        for act in acts:
            match act:
                case Resolve(port=port):
                    self.tries.append(self.now)
                    self.ports.append(port)
                case Action.PROBE:
                    self.probes.append(self.now)
                case Close():
                    self.closes.append(act)
                case Action.TELL:
                    self.stages.append(self.session.stage)
        self.alarm = self.line.next_wakeup()
        if Action.PROBE in acts and self.answers:
            self.byte()
        return acts

    def byte(self) -> None:
        """Note a byte from TWS, after which no alarm is set anew."""
        self.session.heard = self.now

    def pass_(self, seconds: float) -> None:
        """Time passes; the line is woken when it asked to be, the last time that it was asked."""
        until = self.now + seconds
        while (at := self.alarm) is not None and at <= until:
            self.now = max(self.now, at)
            self.line.wake(self.now, self.taken)
            self.see()
        self.now = until

    def until_try(self) -> float:
        """Wait for the next try; how long that took."""
        begin, number = self.now, len(self.tries)
        at = self.line.next_wakeup()
        assert self.session.stage is Stage.DOWN
        assert at is not None
        self.pass_(at - self.now)
        assert len(self.tries) == number + 1
        return self.now - begin

    # -- the host

    def refuse(self, why: str = "connection refused") -> None:
        self.line.resolved([HERE], self.now)
        self.line.refused(why, self.now)
        self.see()

    def accept(self) -> None:
        self.line.resolved([HERE], self.now)
        self.line.opened(self.now)
        self.see()

    def greet(self) -> None:
        self.accept()
        self.byte()
        self.line.greeted(self.now)
        self.see()

    def ready(self) -> None:
        self.greet()
        self.byte()
        self.line.spoke()
        assert self.line.started(self.now)
        self.see()
        self.line.synced(self.now)
        self.see()
        assert self.session.ready

    def close(self, why: str = EOF_, **more: Any) -> None:
        self.line.closed(why, self.now, **more)
        self.see()

    def say(self, code: int, text: str = "") -> tuple[str, str] | None:
        self.byte()
        self.line.spoke()
        changed = self.line.on_notice(code, text, self.now)
        self.see()
        return changed

    def summary(self) -> dict[str, Any]:
        return self.session.summary(self.now)


# Connecting


@pytest.mark.scenario("B1")
def test_port_closed_is_tried_for_ever_with_growing_pauses_up_to_the_longest():
    world = World()
    pauses = []
    for failures in range(1, 10):
        world.refuse()
        assert world.summary().items() >= {"failures": failures, "lastError": "connection refused"}.items()
        pauses.append(world.until_try())
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30, 30]
    assert [close.repeated for close in world.closes] == [False, *[True] * 8]


def test_an_outage_is_told_once_for_each_of_its_reasons_and_anew_after_it_was_over():
    world = World()
    for why in ["refused", "unreachable"] * 3:
        world.refuse(why)
        world.until_try()
    assert [close.repeated for close in world.closes] == [False, False, *[True] * 4]
    world.ready()
    world.close("refused")
    assert not world.closes[-1].repeated


def test_an_outage_with_ever_new_reasons_is_not_told_for_ever():
    world = World()
    for number in range(50):
        world.refuse(f"reason {number}")
        world.until_try()
    assert [close.repeated for close in world.closes] == [*[False] * 8, *[True] * 42]


@pytest.mark.scenario("B1")
def test_the_pause_is_said_while_it_lasts():
    world = World()
    world.refuse()
    assert (world.summary()["nextTry"], world.summary()["deadline"]) == (1.0, None)
    world.pass_(0.75)
    assert world.summary()["nextTry"] == 0.25
    world.until_try()
    assert world.summary()["nextTry"] is None


@pytest.mark.scenario("B1")
def test_jitter_takes_up_to_half_of_a_pause_away():
    world = World(jitter=1.0)
    pauses = []
    for _ in range(7):
        world.refuse()
        pauses.append(world.until_try())
    assert pauses == [0.5, 1, 2, 4, 8, 15, 15]


@pytest.mark.scenario("B1")
def test_each_address_is_tried_and_the_last_one_says_why_it_failed():
    world = World()
    world.line.resolved([THERE, HERE], world.now)
    assert world.see() == [Action.TELL, Open(THERE)]
    world.line.refused("first", world.now)
    assert world.see() == [Open(HERE)]
    world.line.refused("second", world.now)
    assert world.see() == [Close(Stage.CONNECTING, "second", repeated=False), Action.TELL]


@pytest.mark.scenario("B1")
def test_a_name_without_an_address_and_one_that_is_not_found_are_failures():
    world = World()
    world.line.resolved([], world.now)
    world.see()
    assert "no address" in world.summary()["lastError"]
    world.until_try()
    world.line.refused("not known", world.now)
    world.see()
    assert world.summary().items() >= {"lastError": "not known", "failures": 2, "stuck": "resolving"}.items()


def resolve(world: World) -> None:
    world.line.resolved([HERE], world.now)
    world.see()


def start(world: World) -> None:
    world.greet()
    world.line.started(world.now)
    world.see()


STEPS = {
    Stage.RESOLVING: lambda _: None,
    Stage.CONNECTING: resolve,
    Stage.HANDSHAKING: World.accept,
    Stage.STARTING: World.greet,
    Stage.SYNCING: start,
}


@pytest.mark.parametrize("stage", STEPS, ids=lambda stage: stage.value)
@pytest.mark.scenario("B2", "B4")
def test_each_stage_is_given_up_at_its_deadline_and_not_before(stage):
    world = World()
    STEPS[stage](world)
    setting, why = DEADLINES[stage]
    limit = getattr(world.config, setting)
    assert world.summary().items() >= {"stage": stage.value, "since": 0.0, "deadline": limit}.items()
    world.pass_(limit - 0.5)
    assert (world.session.stage, world.summary()["deadline"]) == (stage, 0.5)
    world.pass_(0.5)
    assert [(each.stage, each.why) for each in world.closes] == [(stage, f"{why} ({limit:g} s)")]
    assert world.summary().items() >= {"stage": "down", "stuck": stage.value, "failures": 1}.items()
    assert world.until_try() == 1.0


def test_every_stage_that_something_must_end_has_a_deadline():
    assert DEADLINES.keys() == set(Stage) - {Stage.DOWN, Stage.READY}


@pytest.mark.parametrize("reach", [World.accept, World.ready], ids=["accepted", "ready"])
@pytest.mark.scenario("B3")
def test_who_accepts_and_closes_again_and_again_is_backed_off_from(reach):
    world = World()
    pauses = []
    for failures in range(1, 8):
        reach(world)
        world.pass_(1.0)
        world.close()
        assert world.summary()["failures"] == failures
        pauses.append(world.until_try())
    assert pauses == [1, 2, 4, 8, 16, 30, 30]


@pytest.mark.scenario("B3")
def test_a_connection_that_was_ready_for_long_enough_ends_the_row_of_failures():
    world = World()
    for lived, failures in ((9.0, 1), (9.5, 2), (10.0, 1), (3600.0, 1), (1.0, 2)):
        world.ready()
        assert world.summary().items() >= {"failures": 0, "lastError": "", "stuck": None}.items()
        world.pass_(lived)
        world.close()
        assert world.summary()["failures"] == failures
        assert world.until_try() == 2.0 ** (failures - 1)


@pytest.mark.scenario("B4")
def test_no_accounts_is_not_ready_whatever_else_is_said():
    world = World()
    world.greet()
    for _ in range(29):
        world.pass_(1.0)
        world.say(2104, "OK:usfarm")
        assert not world.session.ready
    world.pass_(1.0)
    assert "no accounts or order id came" in world.closes[0].why
    assert Stage.READY not in world.stages


@pytest.mark.scenario("B5")
def test_it_is_ready_exactly_once():
    world = World()
    world.ready()
    assert not world.line.started(world.now)
    world.line.synced(world.now)
    assert world.see() == []
    assert world.stages.count(Stage.READY) == 1


@pytest.mark.parametrize("said", [True, False], ids=["326", "closed without a word"])
@pytest.mark.scenario("B6")
def test_a_client_id_in_use_has_a_pause_of_its_own_and_is_said(said):
    world = World(jitter=1.0)
    pauses = []
    for _ in range(6):
        world.greet()
        world.pass_(0.5)
        if said:
            world.say(326, "Unable to connect as the client id is already in use.")
        world.close()
        error = world.summary()["lastError"]
        assert "client id 1 is in use (326)" in error
        assert "another program" in error
        pauses.append(world.until_try())
    assert pauses == [10, 20, 40, 80, 120, 120]


@pytest.mark.scenario("B6")
def test_a_host_that_says_326_and_does_not_close_is_closed():
    world = World()
    world.greet()
    world.say(326)
    world.pass_(5.0)
    assert "client id 1 is in use" in world.closes[0].why
    assert world.session.stage is Stage.DOWN


@pytest.mark.scenario("B6")
def test_after_many_failures_a_client_id_in_use_is_no_reason_to_hurry():
    world = World()
    for _ in range(6):
        world.refuse()
        world.until_try()
    world.greet()
    world.say(326)
    world.close()
    assert world.until_try() == 30.0


@pytest.mark.scenario("B7")
def test_a_stuck_client_id_is_got_back_unattended_and_the_pauses_begin_anew():
    world = World()
    for _ in range(4):
        world.greet()
        world.say(326)
        world.close()
        world.until_try()
    world.ready()
    world.pass_(60.0)
    world.close()
    assert world.until_try() == 1.0
    world.greet()
    world.say(326)
    world.close()
    assert world.until_try() == 10.0


@pytest.mark.scenario("B6")
def test_what_has_said_something_and_closes_is_no_client_id_in_use():
    world = World()
    world.greet()
    world.say(2104, "OK:usfarm")
    world.close()
    assert world.summary()["lastError"] == EOF_
    assert world.until_try() == 1.0


@pytest.mark.scenario("B10")
def test_a_host_that_does_not_speak_our_versions_is_tried_seldom_from_the_start():
    world = World(jitter=1.0)
    for _ in range(3):
        world.accept()
        world.close("HandshakeError: the host speaks server version 999", unfit=True)
        assert "999" in world.summary()["lastError"]
        assert world.until_try() == world.config.reconnect_max


MOVED = "TWS socket port has been reset and this connection is being dropped. Please reconnect on the new port - 4005"


@pytest.mark.scenario("B11")
def test_a_changed_port_is_reported_until_it_is_ready_again_and_the_configured_one_is_tried():
    world = World()
    world.ready()
    world.pass_(60)
    world.say(1300, MOVED)
    world.close()
    assert "its API port is 4005 now: set tws.port, or tws.follow_port" in world.summary()["lastError"]
    world.until_try()
    world.refuse()
    assert world.summary()["lastError"].startswith("connection refused; ")
    assert "4005" in world.summary()["lastError"]
    world.until_try()
    world.ready()
    world.close()
    assert world.summary()["lastError"] == EOF_
    assert set(world.ports) == {4002}


@pytest.mark.scenario("B11")
def test_a_changed_port_is_followed_if_that_is_wanted():
    world = World(follow_port=True)
    world.ready()
    world.pass_(60)
    world.say(1300, MOVED)
    world.pass_(5.0)  # and it does not even close
    assert "to 4005 (1300)" in world.closes[0].why
    world.until_try()
    world.ready()
    assert world.ports == [4002, 4005]


@pytest.mark.parametrize("text", ["", "port 0", "port 99999", "port 123456789012"])
@pytest.mark.scenario("B11")
def test_a_port_that_is_none_is_not_followed(text):
    world = World(follow_port=True)
    world.ready()
    world.say(1300, text)
    world.close()
    assert "does not say to which" in world.summary()["lastError"]
    world.until_try()
    assert world.ports == [4002, 4002]


# Losing upstream


@pytest.mark.scenario("B12")
def test_thirty_repeats_of_1100_are_one_outage_and_no_reconnect():
    world = World()
    world.ready()
    world.pass_(100)
    changes = []
    for _ in range(30):
        changes.append(world.say(1100, "Connectivity has been lost"))
        world.pass_(20 / 30)
    assert world.summary().items() >= {"upstream": "lost", "upstreamSince": 20.0}.items()
    changes.append(world.say(1102, "restored"))
    assert [each for each in changes if each] == [("upstream", "lost"), ("upstream", "restored, data kept")]
    assert world.summary()["upstreamSince"] == 0.0
    assert (len(world.tries), world.closes) == (1, [])


@pytest.mark.scenario("B17")
def test_without_upstream_for_an_hour_it_stays_connected_and_keeps_probing():
    world = World()
    world.ready()
    world.say(1100)
    world.pass_(3600)
    assert world.closes == []
    assert world.summary().items() >= {"stage": "ready", "upstream": "lost", "upstreamSince": 3600.0}.items()
    assert len(world.probes) == 360
    assert {round(later - before, 6) for before, later in zip(world.probes, world.probes[1:], strict=False)} == {10.0}


@pytest.mark.scenario("B18")
def test_upstream_lost_and_then_the_connection_is_a_new_start():
    world = World()
    world.ready()
    world.say(2103, "broken:usfarm")
    world.pass_(60)
    world.say(1100)
    world.close()
    assert world.until_try() == 1.0
    world.ready()
    assert world.summary().items() >= {"upstream": "ok", "farms": {}}.items()


@pytest.mark.scenario("B19")
def test_a_host_that_is_mute_after_ready_again_and_again_is_no_storm():
    world = World()
    world.answers = False
    pauses = []
    for failures in range(1, 8):
        world.ready()
        begin = world.now
        world.pass_(30.0)
        assert world.closes[-1].why == "TWS has sent nothing for 30 s, and no response to a probe"
        assert world.now - begin == 30.0
        assert world.summary()["failures"] == failures
        pauses.append(world.until_try())
    assert pauses == [1, 2, 4, 8, 16, 30, 30]
    assert len(world.probes) == 7


@pytest.mark.scenario("B20")
def test_a_host_that_takes_nothing_is_dead_even_while_it_talks():
    world = World()
    world.ready()
    world.pass_(60)
    world.line.blocked(world.now, world.taken)
    world.see()
    for _ in range(29):
        world.pass_(1.0)
        world.byte()
    assert world.closes == []
    world.pass_(4.0)
    assert "has taken none of the bytes written to it for 30 s" in world.closes[0].why


@pytest.mark.scenario("B20")
def test_a_host_that_takes_slowly_is_not_dead_and_one_that_has_caught_up_is_well():
    world = World()
    world.ready()
    world.line.blocked(world.now, world.taken)
    world.see()
    for _ in range(100):
        world.pass_(20.0)
        world.taken += 1
    assert world.closes == []
    world.line.drained()
    world.pass_(1000)
    assert world.closes == []


@given(st.floats(0, 1000))
@settings(max_examples=50)
@pytest.mark.scenario("B21")
def test_a_peer_that_vanished_is_found_within_the_silence_that_is_borne(quiet):
    world = World()
    world.ready()
    world.pass_(quiet)
    world.byte()
    world.answers = False
    vanished = world.now
    world.pass_(29.9)
    assert world.closes == []
    assert len([at for at in world.probes if at > vanished]) == 1
    world.pass_(0.2)
    assert len(world.closes) == 1


@pytest.mark.scenario("B21")
def test_who_talks_is_never_probed():
    world = World()
    world.ready()
    for _ in range(1000):
        world.pass_(9.9)
        world.byte()
    assert world.probes == []


@pytest.mark.scenario("B21")
def test_probes_are_a_second_apart_however_short_the_silence_that_starts_one():
    world = World(probe_after=0.1, silence_timeout=5.0)
    world.ready()
    world.pass_(60)
    assert min(later - before for before, later in zip(world.probes, world.probes[1:], strict=False)) >= 1.0 - 1e-9


@pytest.mark.scenario("B54")
def test_a_process_that_was_held_up_asks_before_it_takes_tws_for_dead():
    world = World()
    world.answers = False
    world.ready()
    world.pass_(5)
    world.now += 3600  # a machine that slept: nobody was woken
    world.line.wake(world.now)
    assert world.see() == [Action.PROBE]
    world.pass_(19)
    world.byte()
    world.answers = True
    world.pass_(1000)
    assert world.closes == []


@given(st.floats(0, 1e9), st.integers(0, 6))
@pytest.mark.scenario("B54")
def test_only_differences_of_times_count(start, failures):
    world = World(start)
    for _ in range(failures):
        world.refuse()
        world.until_try()
    world.refuse()
    at = world.line.next_wakeup()
    assert at is not None
    assert at - world.now == pytest.approx(min(30, 2.0**failures), abs=1e-6)


# Somebody else has the data


def test_a_competing_session_is_told_once_and_over_when_data_flows():
    world = World()
    world.ready()
    world.stages.clear()
    for _ in range(3):
        world.say(10197, "No market data during competing live session")
    assert world.summary()["competing"] is True
    world.line.flows(world.now + 0.5)  # that was on its way
    assert world.session.competing
    world.pass_(5)
    world.line.flows(world.now)
    world.line.flows(world.now)
    world.see()
    assert world.summary()["competing"] is False
    assert world.stages == [Stage.READY, Stage.READY]


@pytest.mark.parametrize(("code", "over"), [(1101, True), (1102, True), (2104, True), (2106, False), (1100, False)])
def test_which_notices_end_a_competing_session(code, over):
    world = World()
    world.ready()
    world.say(10197)
    world.say(code, "text:usfarm")
    assert world.session.competing is not over


def test_a_competing_session_is_forgotten_with_the_connection():
    world = World()
    world.ready()
    world.say(10197)
    world.close()
    assert not world.session.competing


# Whatever happens


class Anything(RuleBasedStateMachine):
    """Events in any order, from a shell that does as it is told, and hears of some events late or never."""

    @initialize(jitter=st.floats(0, 1), follow=st.booleans())
    def begin(self, jitter: float, follow: bool) -> None:
        self.world = World(0.0, jitter, follow_port=follow)
        self.under_way = True
        self.was_ready = False
        self.failed = 0
        self.ready_at = self.heard_at = 0.0
        self.earliest = 0.0
        self.look()

    def look(self) -> None:
        """Follow what was said to be done since the last time."""
        world = self.world
        acts = world.line.next_actions()
        for act in acts:
            match act:
                case Resolve():
                    assert not self.under_way, "what was opened is closed before the next try"
                    assert world.now >= self.earliest - 1e-9, "sooner than the backoff allows"
                    self.under_way, self.was_ready = True, False
                case Open() | Action.BEGIN | Action.PROBE:
                    assert self.under_way
                case Close(stage=stage, why=why):
                    assert self.under_way, "closed twice"
                    self.under_way = False
                    alive = self.heard_at if "for 30 s" in why else world.now
                    steady = stage is Stage.READY and alive - self.ready_at >= world.config.stable_after
                    self.failed = 1 if steady else self.failed + 1
                    assert world.session.failures == self.failed
                    pause = min(world.config.reconnect_max, 2.0 ** min(self.failed - 1, 30)) / 2
                    self.earliest = world.now + pause
                case Action.TELL if world.session.ready and not self.was_ready:
                    self.was_ready, self.ready_at, self.heard_at = True, world.now, world.now

    @rule(seconds=st.floats(0, 200))
    def time_passes(self, seconds: float) -> None:
        world = self.world
        until = world.now + seconds
        turns = 0
        while (at := world.line.next_wakeup()) is not None and at <= until:
            world.now = max(world.now, at)
            world.line.wake(world.now, world.taken)
            self.look()
            turns += 1
            assert turns <= 3 * seconds + 50, "it is woken again and again"
        world.now = until

    @rule(addresses=st.lists(st.sampled_from([HERE, THERE]), max_size=3))
    def resolved(self, addresses: list[tuple[str, int]]) -> None:
        self.world.line.resolved(addresses, self.world.now)
        self.look()

    @rule()
    def refused(self) -> None:
        self.world.line.refused("refused", self.world.now)
        self.look()

    @precondition(lambda self: self.world.session.stage is Stage.RESOLVING)
    @rule(as_far_as=st.integers(1, 3))
    def connected(self, as_far_as: int) -> None:
        """Bring the connection to a stage that random steps would seldom reach."""
        self.resolved([HERE])
        for then in (self.opened, self.greeted, self.started)[:as_far_as]:
            then()

    @precondition(lambda self: self.world.session.stage is Stage.DOWN)
    @rule()
    def waited(self) -> None:
        at = self.world.line.next_wakeup()
        assert at is not None
        self.time_passes(max(0.0, at - self.world.now))

    @rule()
    def opened(self) -> None:
        self.world.line.opened(self.world.now)
        self.look()

    @rule()
    def greeted(self) -> None:
        self.world.line.greeted(self.world.now)
        self.look()

    @rule()
    def started(self) -> None:
        ready = self.world.session.ready
        if self.world.line.started(self.world.now):
            assert not ready
            assert not self.was_ready, "ready twice"
            self.look()
            self.world.line.synced(self.world.now)
        self.look()

    @rule(unfit=st.booleans())
    def closed(self, unfit: bool) -> None:
        self.world.line.closed("closed", self.world.now, unfit=unfit)
        self.look()

    @rule(
        code=st.sampled_from([326, 1300, 1100, 1101, 1102, 2103, 2104, 10197, 200]), text=st.sampled_from(["", MOVED])
    )
    def noticed(self, code: int, text: str) -> None:
        self.world.line.on_notice(code, text, self.world.now)
        self.look()

    @precondition(lambda self: self.world.session.stage not in (Stage.DOWN, Stage.RESOLVING, Stage.CONNECTING))
    @rule()
    def byte(self) -> None:
        self.world.byte()
        self.heard_at = self.world.now

    @rule(taken=st.integers(0, 1))
    def blocked(self, taken: int) -> None:
        self.world.taken += taken
        self.world.line.blocked(self.world.now, self.world.taken)

    @rule()
    def drained(self) -> None:
        self.world.line.drained()

    @invariant()
    def something_will_wake_it(self) -> None:
        assert self.world.line.next_wakeup() is not None

    @invariant()
    def what_is_down_has_nothing_under_way(self) -> None:
        assert self.under_way is (self.world.session.stage is not Stage.DOWN)

    @invariant()
    def the_summary_is_sane(self) -> None:
        summary = self.world.summary()
        assert summary["since"] >= 0
        assert (summary["nextTry"] is not None) is (summary["stage"] == "down")
        assert summary["deadline"] is not None or summary["stage"] in ("down", "ready")


TestAnything = Anything.TestCase
TestAnything.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
