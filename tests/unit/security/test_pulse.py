from __future__ import annotations

from ibbridge.security.pulse import LONGEST, Pulse
from tests.support.outside import ManualClock


def test_a_thread_that_comes_round_has_nothing_to_say_for_itself():
    clock = ManualClock()
    pulse = Pulse("does nothing", clock.monotonic)
    for _ in range(100):
        clock.pass_time(LONGEST)
        assert pulse.standstill() == ""
        pulse.beat()


def test_a_thread_that_does_not_is_named_with_its_work_until_it_comes_round_again():
    clock = ManualClock()
    pulse = Pulse("admits peers", clock.monotonic)
    clock.pass_time(LONGEST + 2)
    assert pulse.standstill() == "the thread that admits peers has stood still for 12 s"
    pulse.beat()
    assert pulse.standstill() == ""
