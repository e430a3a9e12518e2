"""The watch over attacks sees what it is there to see."""

from __future__ import annotations

import signal

import pytest

from tests.attacks.bystanders import Bystanders
from tests.integration.rig import Bridge, Market

pytestmark = pytest.mark.attack


def test_nothing_is_found_where_nobody_attacks():
    with Market() as market, Bridge(market.port) as bridge:
        bridge.ready()
        with Bystanders(bridge) as bystanders:
            sub = bridge.sub("sys.bridge.")
            for _ in range(5):
                sub.until("heartbeat")
    assert bystanders.report["pings"]
    assert bystanders.report["beats"]


def test_a_daemon_that_stops_for_a_while_is_found_out():
    with Market() as market, Bridge(market.port) as bridge:
        bridge.ready()
        bystanders = Bystanders(bridge)
        with pytest.raises(AssertionError, match="longest_reply"), bystanders:
            _stop(bridge, 1.5)
    assert bystanders.report["longest_reply"] > 1.0


def _stop(bridge: Bridge, seconds: float) -> None:
    bridge.process.send_signal(signal.SIGSTOP)
    try:
        signal.sigtimedwait((), seconds)
    finally:
        bridge.process.send_signal(signal.SIGCONT)
