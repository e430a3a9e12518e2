"""A disk that does not answer: nothing fails, and nothing that is written to it comes back."""

from __future__ import annotations

import contextlib
import socket
import time

import msgpack
import pytest

from tests.attacks.bystanders import Bystanders
from tests.attacks.preload import Shaken
from tests.attacks.test_clock import ORDER, placed
from tests.integration.rig import AAPL, PATIENCE, Host

pytestmark = pytest.mark.attack

ALARMED_WITHIN = 2.0


def executed(guest, number, execution):
    about = {"execId": execution, "orderId": number, "clientId": 1, "permId": 9, "orderRef": "me/k"}
    guest.say("execDetails", reqId=-1, contract=AAPL, execution=about)


@pytest.mark.parametrize("busy", [True, False], ids=["while TWS speaks of orders", "while TWS is silent"])
def test_a_disk_that_hangs_stops_orders_and_nothing_else(busy):
    with Host() as host, Shaken(host.port, store__commit_timeout=0.5) as bridge, host.accept() as guest:
        guest.start(4711)
        sub = bridge.ready()
        number = placed(bridge, guest)
        other = placed(bridge, guest, "other")
        with Bystanders(bridge):
            with bridge.hanging():
                began = time.monotonic()
                if busy:
                    for count in range(20):
                        executed(guest, number, f"E{count}")
                alarm = sub.until("alarm", lambda data: data["alarm"] == "store")
                assert alarm.data["raised"]
                assert "the disk has not answered" in alarm.data["why"]
                assert time.monotonic() - began < ALARMED_WITHIN
                assert sub.until("heartbeat", lambda data: data["store"]["fault"]).data["store"]["uncommitted"] > 0
                refused = bridge.call("placeOrder", key="meanwhile", contract=AAPL, order=ORDER)["error"]
                assert (refused["code"], refused["outcome"]) == ("E_STORE", "not_sent")
                bridge.do("cancelOrder", key="other")
                assert guest.request("cancelOrder")["orderId"] == other
                for count in range(20, 200):
                    executed(guest, number, f"E{count}")
                sub.until("execDetails", lambda data: data["execution"]["execId"] == "E199")
                bridge.do("halt")
            sub.until("alarm", lambda data: data["alarm"] == "store" and not data["raised"])
            beat = sub.until("heartbeat", lambda data: not data["store"]["fault"])
            assert beat.data["store"]["uncommitted"] == 0
            bridge.do("resume")
            bridge.do("placeOrder", key="after", contract=AAPL, order=ORDER)
            assert guest.request("placeOrder")["order"]["orderRef"] == "me/after"
        kept = [msgpack.unpackb(body) for _, body in bridge.replay("exec.me.", 1)]
        expected = [f"E{count}" for count in range(0 if busy else 20, 200)]
        assert [body["data"]["execution"]["execId"] for body in kept] == expected
        assert [body["seq"] for body in kept] == list(range(1, len(expected) + 1))


def test_a_daemon_whose_disk_hangs_ends_all_the_same_when_it_is_told_to():
    with Host() as host, Shaken(host.port, store__commit_timeout=0.5) as bridge, host.accept() as guest:
        guest.start(4711)
        sub = bridge.ready()
        number = placed(bridge, guest)
        with bridge.hanging():
            executed(guest, number, "E1")
            sub.until("alarm", lambda data: data["alarm"] == "store")
            assert bridge.stop(15) == 0
            assert "store: the disk does not answer" in bridge.said()


def test_a_start_whose_disk_hangs_says_so_ends_when_told_to_and_forgets_no_halt():
    with Host() as host, Shaken(host.port) as bridge:
        with host.accept() as guest:
            guest.start(4711)
            bridge.ready()
            bridge.do("halt", reason="enough")
            assert bridge.stop(9) == -9
        with bridge.hanging():
            bridge.start()
            said(bridge, "opening the one in")
            assert bridge.stop(15) == 0
            said(bridge, "the process ends without it")
        bridge.start()
        with host.accept() as guest:
            guest.start(4711)
            bridge.ready()
            refused = bridge.call("placeOrder", key="k", contract=AAPL, order=ORDER)["error"]
            assert refused["code"] == "E_HALTED"


def test_a_disk_that_hangs_is_no_reason_for_the_watchdog_to_restart_the_daemon(tmp_path, monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "1000000")
        with Host() as host, Shaken(host.port, store__commit_timeout=0.5) as bridge, host.accept() as guest:
            guest.start(4711)
            sub = bridge.ready()
            with bridge.hanging():
                sub.until("alarm", lambda data: data["alarm"] == "store")
                manager.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    while manager.recv(4096):
                        pass
                manager.settimeout(PATIENCE)
                fed = 0
                while fed < 20:
                    fed += manager.recv(4096) == b"WATCHDOG=1"


def said(bridge, words):
    """Wait until the daemon has logged these words."""
    until = time.monotonic() + PATIENCE
    while words not in bridge.said():
        assert time.monotonic() < until, bridge.said()
        time.sleep(0.05)


def test_a_recording_whose_disk_hangs_holds_up_nobody(tmp_path):
    settings = {"store__commit_timeout": 0.5, "record__directory": tmp_path / "records"}
    with Host() as host, Shaken(host.port, **settings) as bridge, host.accept() as guest:
        guest.start(4711)
        sub = bridge.ready()
        placed(bridge, guest)
        with Bystanders(bridge), bridge.hanging():
            for number in range(300):
                guest.say("error", reqId=-1, errorTime=0, errorCode=2104, errorString=f"OK:farm{number}")
            sub.until("farm", lambda data: data["farm"] == "farm299")
