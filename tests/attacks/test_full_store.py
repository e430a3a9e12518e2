"""A TWS that says so much that it would fill the disk, all of it readable and all of it durable."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.attacks.bystanders import Bystanders
from tests.attacks.test_clock import placed
from tests.integration.rig import Bridge, Host

pytestmark = [pytest.mark.attack, pytest.mark.long]

MOST = 32 * 2**20
SECONDS = 15.0
FROM_THE_FIRST: dict[str, Any] = {"stream": "sys.tws.", "from": 1}


def on_disk(bridge):
    return sum(path.stat().st_size for path in bridge.store.iterdir())


def test_a_flood_of_durable_messages_fills_no_disk_and_pushes_out_no_order():
    with Host() as host, Bridge(host.port, store__max_bytes=MOST, ring__bytes=2**21) as bridge, host.accept() as guest:
        guest.start(4711)
        sub = bridge.ready()
        placed(bridge, guest)
        orders = bridge.replay("ord.me.", 1)
        with Bystanders(bridge):
            until, said, largest = time.monotonic() + SECONDS, 0, 0
            while time.monotonic() < until:
                for _ in range(50):
                    guest.say("error", reqId=-1, errorTime=0, errorCode=999, errorString=f"{said} " + "x" * 20_000)
                    said += 1
                largest = max(largest, on_disk(bridge))
            assert said * 20_000 > 2 * MOST, "there was more than there is room for"
            assert largest < MOST + 16 * 2**20
            alarm = sub.until("alarm", lambda data: data["alarm"] == "storeFull" and data["raised"])
            assert "of 32 MiB (store.max_bytes)" in alarm.data["why"]
            sub.until("error", lambda data: data["errorString"].startswith(f"{said - 1} "))
        gone = bridge.call("replay", **FROM_THE_FIRST)["error"]
        assert gone["code"] == "E_GAP_TOO_OLD"
        assert gone["first"] > 1
        assert bridge.replay("ord.me.", 1) == orders
        status = bridge.do("status")["store"]
        assert (status["fault"], status["kept"], status["dropped"], status["orderKeys"]) == ("", 0, 0, 2)
        assert status["used"] <= status["maxBytes"] == MOST
