"""The audit of a real daemon: what was sent is in it, whatever ends the daemon, and its head can be noted elsewhere."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import msgpack
import zmq

from tests.integration.rig import AAPL, PATIENCE, Bridge, Market
from tests.integration.test_order_recovery import NEVER, at_tws
from tests.integration.witness import patience

if TYPE_CHECKING:
    from pathlib import Path

ORDER: dict[str, Any] = {"contract": AAPL, "order": NEVER}


def audit(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ibbridge", "audit", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)


def records(store: Path, *arguments: str) -> list[dict[str, Any]]:
    said = audit("show", store / "audit", "--json", *arguments)
    assert said.returncode == 0, said.stderr
    return [json.loads(line) for line in said.stdout.splitlines()]


def test_an_order_is_in_the_audit_from_the_command_to_its_bytes(tmp_path: Path) -> None:
    store = tmp_path / "store"
    with Market() as market, Bridge(market.port, store__path=store) as bridge:
        heard = bridge.ready()
        bridge.do("placeOrder", key="one", **ORDER)
        bridge.do("cancelOrder", key="one")
        bridge.call("placeOrder", "me", "two", contract=AAPL, order={"action": "HOLD"})
        bridge.do("halt", reason="enough")
        assert heard.until("auditSent", lambda data: data["keys"] == ["one"]).data["does"] == "place"
        head = heard.until("auditHead", lambda data: data["seq"] >= bridge.do("status")["audit"]["seq"]).data
        bridge.process.send_signal(signal.SIGHUP)
        patience(lambda: bool(records(store, "--kind", "operator")[2:]), "the reload")
        assert audit("verify", store / "audit").returncode == 0, "also while the daemon runs"
    said = audit("verify", store / "audit", "--head", f"{head['seq']}:{head['digest']}")
    assert said.returncode == 0, said.stdout
    assert f"record {head['seq']} is the one that was noted" in said.stdout
    assert [each["act"] for each in records(store, "--kind", "operator")] == [
        "start", "halt", "reload", "signal", "stop",
    ]  # fmt: skip
    about_one = records(store, "--order", "one")
    assert [(each["kind"], each.get("cmd", each.get("does"))) for each in about_one] == [
        ("sent", "place"), ("command", "placeOrder"), ("sent", "cancel"), ("command", "cancelOrder"),
    ]  # fmt: skip
    (refused,) = records(store, "--order", "two")
    assert (refused["ok"], refused["code"]) == (False, "E_ARG")
    assert len(records(store, "--client", "nobody")) == 0
    lines = audit("show", store / "audit", "--since", "1h", "--client", "me").stdout.splitlines()
    assert any("placeOrder" in line and "key=one" in line for line in lines)


def test_every_order_at_tws_is_in_the_audit_of_a_daemon_that_is_killed_again_and_again(tmp_path: Path) -> None:
    store, chance = tmp_path / "store", random.Random(7)
    rounds = 6
    with Market() as market, Bridge(market.port, store__path=store) as bridge:
        for number in range(rounds):
            bridge.ready()
            keys = [f"{number}-{each}" for each in range(chance.randrange(5, 60))]
            some = keys[chance.randrange(len(keys) // 2)]
            with bridge.context.socket(zmq.DEALER) as peer:
                peer.linger = 0
                peer.connect(bridge.rep)
                for each, key in enumerate(keys):
                    command = {"id": f"{number}-{each}", "cmd": "placeOrder", "client": "me", "key": key, "args": ORDER}
                    peer.send_multipart([b"", msgpack.packb(command)])
                while some not in market.book(at_tws):
                    peer.recv_multipart()
                bridge.process.send_signal(signal.SIGKILL)
                bridge.process.wait(PATIENCE)
            said = audit("verify", store / "audit")
            assert said.returncode == 0, said.stdout
            bridge.start()
        bridge.ready()
        at_market = {*market.book(at_tws)}
    said = audit("verify", store / "audit", "--json")
    assert (said.returncode, json.loads(said.stdout)["whole"]) == (0, True), said.stdout
    sent = {key for each in records(store, "--kind", "sent") for key in each["keys"]}
    assert at_market
    assert at_market <= sent
    assert len([each for each in records(store, "--kind", "operator") if each["act"] == "start"]) == rounds + 1


def test_an_audit_that_was_changed_is_named_with_its_place(tmp_path: Path) -> None:
    store = tmp_path / "store"
    with Market() as market, Bridge(market.port, store__path=store) as bridge:
        bridge.ready()
        bridge.do("placeOrder", key="one", **ORDER)
        bridge.do("placeOrder", key="two", **ORDER)
    (path,) = (store / "audit").glob("*.jsonl")
    path.write_bytes(path.read_bytes().replace(b'"keys":["one"]', b'"keys":["won"]'))
    said = audit("verify", store / "audit")
    assert said.returncode == 1
    assert f"BREAK: {path.name}, line " in said.stdout
    assert "does not name the record before it: one of the two was changed" in said.stdout
    assert "NOT whole" in said.stdout


def test_orders_are_refused_while_the_audit_cannot_be_written_and_cancels_are_not(tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    (store / "audit").write_text("in the way")
    with Market() as market, Bridge(market.port, store__path=store) as bridge:
        heard = bridge.ready()
        (alarm,) = [each for each in bridge.do("status")["alarms"] if each["alarm"] == "audit"]
        assert "File exists" in alarm["why"]
        refused = bridge.call("placeOrder", "me", "one", **ORDER)
        assert refused["error"]["code"] == "E_STORE"
        assert "the audit cannot be written" in refused["error"]["message"]
        (store / "audit").unlink()
        heard.until("alarm", lambda data: data["alarm"] == "audit" and not data["raised"])
        assert bridge.call("placeOrder", "me", "one", **ORDER)["ok"]
    (fault,) = records(store, "--kind", "fault")
    assert fault["missed"] == 0
    first = records(store)[1:3]
    assert [each.get("act") for each in first if each["kind"] == "operator"] == ["start"]


def test_wrong_usage_is_named(tmp_path: Path) -> None:
    for arguments, wrong in (
        (("verify", tmp_path, "--head", "7"), "expected the number of a record, a colon"),
        (("show", tmp_path, "--since", "yesterday"), "expected 30m, 2h, 3d, or a time"),
    ):
        said = audit(*arguments)
        assert (said.returncode, wrong in said.stderr) == (2, True), said.stderr
    said = audit("verify", tmp_path / "nothing")
    assert said.returncode == 1
    assert "No such file or directory; name the directory of an audit" in said.stderr
    assert audit("verify", tmp_path).returncode == 1
