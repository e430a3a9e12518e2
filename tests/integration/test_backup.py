"""`ibbridge backup` beside a daemon that places orders, and a daemon on the backup: no order is placed twice."""

from __future__ import annotations

import stat
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

from tests.integration.rig import AAPL, PATIENCE, Bridge, Market
from tests.integration.test_order_recovery import NEVER, at_tws
from tests.integration.witness import patience

if TYPE_CHECKING:
    from pathlib import Path

ORDER: dict[str, Any] = {"contract": AAPL, "order": NEVER}
FILLS: dict[str, Any] = {"contract": AAPL, "order": {"action": "BUY", "totalQuantity": 1, "orderType": "MKT"}}


def backed_up(store: Path, target: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ibbridge", "backup", "--set", f"store.path={store}", str(target)]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)


def outcome(reply: dict[str, Any]) -> str:
    return ("dup" if reply.get("dup") else "placed") if reply["ok"] else str(reply["error"]["code"])


def test_a_backup_beside_a_trading_daemon_places_nothing_twice(tmp_path):
    target = tmp_path / "backup"
    waiting = [f"w{number}" for number in range(15)]
    with Market(newest=226, speed=50) as market:
        with Bridge(market.port, pacing__rate=10) as bridge:
            bridge.ready()
            bridge.do("placeOrder", key="first", **ORDER)
            placing = threading.Thread(target=bridge.place_all, args=(waiting,), kwargs=ORDER)
            placing.start()
            patience(lambda: bridge.do("status")["pacing"]["queued"], "orders that wait")
            made = backed_up(bridge.store, target)
            assert (made.returncode, made.stderr) == (0, "")
            assert made.stdout.startswith(f"{target}: orders.db ")
            placing.join()
            for key, args in (("rests", ORDER), ("fills", FILLS), ("gone", ORDER)):
                bridge.do("placeOrder", key=key, **args)
            patience(lambda: {*waiting, "rests", "fills", "gone"} <= market.book(at_tws).keys(), "all orders at TWS")
            bridge.do("cancelOrder", key="gone")
            patience(lambda: market.book(at_tws)["gone"].status == "Cancelled", "the cancel")
            patience(lambda: market.book(at_tws)["fills"].status == "Filled", "the fill")
            again = backed_up(bridge.store, target)
            assert (again.returncode, again.stdout) == (1, "")
            assert again.stderr.startswith(f"ibbridge backup: {target}: there is something already; name a new")
            assert bridge.do("status")["journal"]["fault"] == bridge.do("status")["store"]["fault"] == ""
        there = market.book(at_tws)
        commands = [("placeOrder", key, FILLS if key == "fills" else ORDER) for key in there]
        assert {stat.S_IMODE(path.stat().st_mode) for path in target.iterdir()} == {0o600}
        with Bridge(market.port, store__path=target) as bridge:

            def repeat() -> dict[str, str]:
                return {key: outcome(bridge.call(cmd, "me", key, **args)) for cmd, key, args in commands}

            bridge.ready()
            assert {*repeat().values()} <= {"dup", "E_STORE", "E_KEY_REUSED"}
            assert outcome(bridge.call("placeOrder", "me", "new", **ORDER)) == "E_STORE"
            assert "restored from a copy of" in bridge.do("status")["journal"]["doubt"]
            patience(lambda: [each["alarm"] for each in bridge.do("status")["alarms"]] == ["journal"], "the alarm")
            bridge.do("cancelOrder", key="rests")
            patience(lambda: market.book(at_tws)["rests"].status == "Cancelled", "the cancel")
            patience(lambda: bridge.call("acceptJournal")["ok"], "two comparisons")
            told = repeat()
            assert {*told.values()} <= {"dup", "E_KEY_REUSED"}, told
            assert {told[key] for key in ("rests", "fills", "gone")} == {"E_KEY_REUSED"}
            assert told["first"] == "dup"
            assert outcome(bridge.call("placeOrder", "me", "new", **ORDER)) == "placed"
            patience(lambda: "new" in market.book(at_tws), "the new order")
            patience(lambda: bridge.do("status")["alarms"] == [], "the end of the alarm")
            now = market.book(at_tws)
            assert now.keys() == {*there, "new"}
            assert now["new"].order_id > max(each.order_id for each in there.values())
            states = {key: each for key, each in now.items() if each.status == "Submitted"}
            assert {each["key"] for each in bridge.do("orders", state="working")["orders"]} == states.keys()


def test_a_backup_of_a_stopped_daemon_and_of_no_store(tmp_path):
    with Market() as market, Bridge(market.port, store__path=tmp_path / "store") as bridge:
        bridge.ready()
        bridge.do("placeOrder", key="first", **ORDER)
        bridge.process.kill()
        bridge.process.wait(PATIENCE)
        assert backed_up(tmp_path / "store", tmp_path / "killed").returncode == 0
        bridge.start()
        bridge.ready()
        assert bridge.do("placeOrder", key="first", **ORDER)["orderId"]
    made = backed_up(tmp_path / "nowhere", tmp_path / "backup")
    assert (made.returncode, made.stdout) == (1, "")
    assert "there is no such file to be backed up" in made.stderr
    assert not (tmp_path / "backup").exists()
