"""A clock that is set by days and years, for a moment and for good, while the daemon runs and between two starts."""

from __future__ import annotations

import pytest

from tests.attacks.bystanders import Bystanders
from tests.attacks.preload import Shaken
from tests.integration.rig import AAPL, Host

pytestmark = pytest.mark.attack

DAY = 86_400
ORDER = {"action": "BUY", "totalQuantity": 1, "orderType": "LMT", "lmtPrice": 1.0}


def beats(bridge, count):
    """Wait until the daemon has seen to its store so many times."""
    sub = bridge.sub("sys.bridge.heartbeat.")
    for _ in range(count):
        sub.until("heartbeat")


def placed(bridge, guest, key="k"):
    """An order that TWS knows, and its number."""
    sub = bridge.sub("ord.")
    number = bridge.do("placeOrder", key=key, contract=AAPL, order=ORDER)["orderId"]
    guest.request("placeOrder")
    order = {"orderId": number, "clientId": 1, "permId": 9, "orderRef": f"me/{key}"}
    guest.say("openOrder", orderId=number, contract=AAPL, order=order, orderState={"status": "Submitted"})
    sub.until("orderState", lambda data: data["state"] == "working")
    return number


@pytest.mark.parametrize(("ahead", "then"), [(8 * DAY, 0), (8 * DAY, 8 * DAY), (-3000 * DAY, -3000 * DAY)])
def test_a_clock_that_is_set_forgets_no_key_no_message_and_makes_nobody_deaf(ahead, then):
    """The daemon is started again while the clock is where it was set to, or back."""
    with Host() as host, Shaken(host.port) as bridge:
        with host.accept() as guest:
            guest.start(4711)
            bridge.ready()
            placed(bridge, guest)
            before = bridge.replay("ord.me.", 1)
            with Bystanders(bridge):
                bridge.set_clock(ahead)
                beats(bridge, 15)
                assert bridge.replay("ord.me.", 1) == before
                bridge.set_clock(then)
                beats(bridge, 5)
            epoch = bridge.call("ping")["epoch"]
            bridge.process.terminate()
            bridge.process.wait()
        bridge.start()
        with host.accept() as guest:
            guest.start(1)
            bridge.ready()
            again = bridge.call("placeOrder", key="k", contract=AAPL, order=ORDER)
            assert again["dup"] is True
            assert again["result"]["orderId"] == 4711
            assert again["epoch"] > epoch
            assert bridge.replay("ord.me.", 1)[: len(before)] == before
            bridge.do("cancelOrder", key="k")
            assert guest.request("cancelOrder")["orderId"] == 4711


def test_followers_hear_a_daemon_that_was_started_with_its_clock_years_behind():
    with Host() as host, Shaken(host.port) as bridge:
        with host.accept() as guest:
            guest.start()
            bridge.ready()
            epoch = bridge.call("ping")["epoch"]
            assert bridge.stop(15) == 0
        bridge.set_clock(-3000 * DAY)
        bridge.start()
        with host.accept() as guest:
            guest.start()
            bridge.ready()
            assert bridge.call("ping")["epoch"] == epoch + 1
