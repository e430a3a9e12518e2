"""The daemon against a TWS that misbehaves on request."""

from __future__ import annotations

import pytest

from tests.integration.rig import AAPL, Bridge, Market


@pytest.mark.parametrize("step", [
    {"do": "close", "abort": True}, {"do": "restart", "lasts": 0.2}, {"do": "drop", "bytes": 100},
    {"do": "garbage", "kind": "length"}, {"do": "1300", "port": 4002},
])  # fmt: skip
def test_after_a_connection_that_ends_badly_streams_flow_again(step):
    with Market() as market, Bridge(market.port) as bridge:
        sub = bridge.ready()
        bridge.do("reqMktData", contract=AAPL)
        before = sub.until("tickPrice", topic="md.AAPL-")
        market.fault(**step)
        sub.until("connection", lambda data: data["stage"] == "down")
        sub.until("connection", lambda data: data["stage"] == "ready")
        after = sub.until("tickPrice", topic="md.AAPL-")
        assert after.body["gen"] == before.body["gen"] + 1


def test_bytes_in_pieces_change_nothing():
    with Market() as market, Bridge(market.port) as bridge:
        sub = bridge.ready()
        market.fault(do="split", bytes=3)
        bridge.do("reqMktData", contract=AAPL)
        sub.until("tickPrice", topic="md.AAPL-")
        assert market.fault(do="figures")["figures"]["connections"]["closed"] == 0
