"""Every signal that Linux has, sent to a real daemon: each ends it as SIGTERM does, reloads, or does nothing."""

from __future__ import annotations

import pathlib
import re
import signal
import sys
from typing import Any

import pytest

from ibbridge.monitoring.signals import RESPONSES, Response, numbers
from tests.integration.rig import AAPL, PATIENCE, Bridge, Host

PAGE = (pathlib.Path(__file__).parents[2] / "docs" / "operations.md").read_text()
ORDER = {"action": "BUY", "totalQuantity": 1, "orderType": "MKT"}

SLOWEST = 10
"""Orders a second, by the slowest pace that can be configured."""

ORDERS = 400
"""Orders that need 40 seconds at this pace: some are left, however slow this machine is."""


def test_every_signal_that_can_be_caught_has_a_response() -> None:
    catchable = {each.name for each in signal.Signals} - {"SIGKILL", "SIGSTOP", "SIGRTMIN", "SIGRTMAX"}
    aliases = {name for name in catchable if int(getattr(signal, name)) in {int(signal.SIGIO), int(signal.SIGABRT)}}
    assert catchable - aliases <= RESPONSES.keys()


def test_the_page_for_operators_has_each() -> None:
    rows = dict(re.findall(r"^\| ((?:`SIG\w+`,? ?)+) \| (ends|reloads|ignored|the kernel's)", PAGE, re.MULTILINE))
    told = {name: said for names, said in rows.items() for name in re.findall(r"SIG\w+", names)}
    assert told == {name: response.value for name, response in RESPONSES.items()}


@pytest.mark.parametrize("number", numbers(Response.END), ids=lambda each: each.name)
def test_who_ends_it_ends_it_as_sigterm_does(number):
    with Host() as host, Bridge(host.port) as bridge, host.accept() as guest:
        guest.start()
        sub = bridge.ready()
        assert bridge.stop(number) == 0
        bye = sub.until("bye")
        assert sub.heard[-1] is bye, "it is the last word"
        guest.closed()


def test_who_is_ignored_changes_nothing():
    with Host() as host, Bridge(host.port) as bridge, host.accept() as guest:
        guest.start()
        sub = bridge.ready()
        for number in numbers(Response.IGNORE):
            bridge.process.send_signal(number)
            assert bridge.do("ping")["pong"]
        for _ in range(3):
            sub.until("heartbeat", lambda data: data["tws"]["stage"] == "ready")
        assert bridge.stop(signal.SIGTERM) == 0


def mask(bridge: Bridge, which: str) -> int:
    """A set of signals of the daemon's process, as the kernel shows it."""
    text = pathlib.Path(f"/proc/{bridge.process.pid}/status").read_text()
    return int(re.search(rf"^{which}:\t([0-9a-f]+)$", text, re.MULTILINE)[1], 16)  # type: ignore[index]


def test_no_signal_ends_it_while_it_starts():
    with Host() as host, Bridge(host.port) as bridge:
        while not (mask(bridge, "SigBlk") | mask(bridge, "SigCgt")) & 1 << signal.SIGHUP - 1:
            assert bridge.process.poll() is None
        bridge.process.send_signal(signal.SIGHUP)
        bridge.sub("")
        assert bridge.do("ping")["pong"]


PATIENT = """
import sys
from ibbridge import cli, daemon
daemon.LAST_ORDERS = 3600.0
sys.exit(cli.main(sys.argv[4:]))  # behind `python -m ibbridge`
"""
"""A daemon that waits for orders to leave for longer than any test does."""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
def test_accepted_orders_that_have_not_left_by_the_end_are_told_before_the_bye(number):
    with Host() as host, Bridge(host.port, pacing__rate=SLOWEST) as bridge, host.accept() as guest:
        guest.start()
        sub = bridge.ready()
        bridge.place_all([f"k{each}" for each in range(ORDERS)], contract=AAPL, order=ORDER)
        bridge.process.send_signal(number)
        bridge.process.send_signal(number)
        assert bridge.process.wait(PATIENCE) == 0
        placed = guest.rest().count("placeOrder")
        sub.until("bye")
        told = [heard for heard in sub.heard if heard.topic.startswith("ord.me.") and heard.type == "error"]
        unsent = [heard for heard in told if "was not placed" in heard.data["errorString"]]
        assert 0 < placed < ORDERS
        assert len({heard.body["ref"]["key"] for heard in unsent}) == len(unsent) == ORDERS - placed
        assert all(heard.data["ends"] for heard in unsent)
        everybody = {heard.body["ref"]["key"] for heard in told}
        assert len(everybody) == ORDERS, "of the others it is told that nothing was heard"


def test_a_second_signal_ends_the_wait_for_orders():
    # A TWS that is given up for its silence would end the wait, too.
    settings: dict[str, Any] = {"pacing__rate": SLOWEST, "tws__silence_timeout": 600}
    within = [sys.executable, "-c", PATIENT]
    with Host() as host, Bridge(host.port, within=within, **settings) as bridge, host.accept() as guest:
        guest.start()
        sub = bridge.ready()
        bridge.place_all([f"k{each}" for each in range(ORDERS)], contract=AAPL, order=ORDER)
        bridge.process.send_signal(signal.SIGTERM)
        sub.until("heartbeat")
        sub.until("heartbeat")
        assert bridge.process.poll() is None, "it waits for orders to leave"
        bridge.process.send_signal(signal.SIGINT)
        assert bridge.process.wait(PATIENCE) == 0
        assert guest.rest().count("placeOrder") < ORDERS


# -- SIGHUP


class Configured(Bridge):
    """A daemon with a configuration file that can be changed."""

    def __init__(self, port: int, file: pathlib.Path, text: str) -> None:
        self._file = file
        file.write_text(text)
        super().__init__(port)

    def start(self) -> None:
        self._command += ["-c", str(self._file)]
        super().start()

    def reload(self, text: str) -> None:
        self._file.write_text(text)
        self.process.send_signal(signal.SIGHUP)


def test_sighup_changes_what_can_be_changed_and_names_what_cannot(tmp_path):
    with Host() as host, Configured(host.port, tmp_path / "c.yaml", "log: {level: error}\n") as bridge:
        with host.accept() as guest:
            guest.start()
            sub = bridge.ready()
            assert "publishing on" not in bridge.said()
            bridge.reload("log: {level: info}\nring: {messages: 5000}\nbus: {sndhwm: 7}\n")
            said = bridge.says("the configuration was read again")
            assert "changed now: log.level" in said
            assert "bus.sndhwm was changed" in said
            assert "ring.messages was changed" in said
            guest.say("error", reqId=-1, errorTime=0, errorCode=999, errorString="heard now")
            bridge.says("heard now")
            sub.until("heartbeat", lambda data: data["tws"]["stage"] == "ready")
        assert bridge.stop(signal.SIGTERM) == 0


def test_sighup_with_a_fault_in_the_file_changes_nothing_and_names_each_fault(tmp_path):
    with Host() as host, Configured(host.port, tmp_path / "c.yaml", "log: {level: warning}\n") as bridge:
        bridge.sub("")
        bridge.reload("log: {level: debug, levle: info}\ntws: {client_id: many}\n")
        bridge.says("client_id")
        said = bridge.says("levle")
        assert "nothing was changed" in said
        assert "changed now" not in said
        bridge.reload("log: [")
        bridge.says("not YAML")
        (tmp_path / "c.yaml").unlink()
        bridge.process.send_signal(signal.SIGHUP)
        bridge.says("cannot be read")
        assert bridge.do("ping")["pong"]


def test_sighup_opens_and_closes_a_restart_window(tmp_path):
    with Host() as host, Configured(host.port, tmp_path / "c.yaml", "") as bridge, host.accept() as guest:
        guest.start()
        bridge.ready()
        bridge.reload("tws: {restart_windows: ['00:00-12:00 UTC', '12:00-00:00 UTC']}\n")
        bridge.says("changed now: tws.restart_windows")
        reply = bridge.call("placeOrder", key="k", contract=AAPL, order=ORDER)
        assert reply["error"]["code"] == "E_RESTART_WINDOW"
        bridge.reload("")
        bridge.says("changed now: tws.restart_windows\n")
        while "error" in bridge.call("placeOrder", key="l", contract=AAPL, order=ORDER):
            assert bridge.process.poll() is None
