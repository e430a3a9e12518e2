"""Real processes: a strategy that is killed, one that leaves, and a halt from the command line."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.rig import AAPL, Bridge, Market, Subscriber

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.rig import Heard

NEVER = {"action": "BUY", "totalQuantity": 100, "orderType": "LMT", "lmtPrice": 1.0}

STRATEGY = """
import sys, time
from ibbridge.client import connect, stock
pub, rep, how, ends, flagged = sys.argv[1:6]
ib = connect("strategy", pub, rep, cancel_on_disconnect=how, window=0.5)
order = {"action": "BUY", "totalQuantity": 100, "orderType": "LMT", "lmtPrice": 1.0}
ib.placeOrder(stock("AAPL"), order, key=flagged)
ib.placeOrder(stock("AAPL"), order, key="stays", cancel_on_disconnect="never")
print("placed", flush=True)
if ends == "computes":
    while True:
        sum(range(1000))
if ends == "leaves":
    ib.close()
"""


@pytest.fixture
def market() -> Iterator[Market]:
    with Market() as made:
        yield made


@contextlib.contextmanager
def strategy(bridge: Bridge, how: str, ends: str, flagged: str = "flagged") -> Iterator[subprocess.Popen[str]]:
    """Start a strategy, and wait until it has placed its orders. Kill it at the end of the block, if it is there."""
    command = [sys.executable, "-c", STRATEGY, bridge.pub, bridge.rep, how, ends, flagged]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "placed\n"
            yield process
        finally:
            process.kill()


def state(sub: Subscriber, key: str, wanted: str, client: str = "strategy") -> Heard:
    return sub.until("orderState", lambda data: data["state"] == wanted, topic=f"ord.{client}.{key}.")


def working(market: Market) -> list[str]:
    """Return the orders that work in the simulator's books."""
    return market.book(lambda book: sorted(str(each.order["orderRef"]) for each in book.working()))


def test_the_flagged_orders_of_a_strategy_that_is_killed_are_cancelled_and_no_others(market: Market) -> None:
    with Bridge(market.port) as bridge:
        sub, alarms = bridge.ready(), bridge.sub("sys.bridge.alarm.")
        bridge.do("placeOrder", client="other", key="k", contract=AAPL, order=NEVER)
        with strategy(bridge, "loss", "computes"):
            state(sub, "stays", "working")
        ended = state(sub, "flagged", "done")
        assert (ended.data["reason"], ended.data["cause"]) == ("cancelled", "dead_man")
        alarms.until("alarm", lambda data: data["alarm"] == "deadMan" and data["raised"])
        assert working(market) == ["other/k", "strategy/stays"]


def test_a_strategy_that_leaves_is_not_lost(market: Market) -> None:
    with Bridge(market.port) as bridge:
        sub = bridge.ready()
        with strategy(bridge, "loss", "leaves") as process:
            assert process.wait(30) == 0
        for _ in range(15):  # heartbeats, 0.1 s apart: three windows
            sub.until("heartbeat")
        assert working(market) == ["strategy/flagged", "strategy/stays"]
        with strategy(bridge, "logout", "leaves") as process:
            assert process.wait(30) == 0
        assert state(sub, "flagged", "done").data["cause"] == "dead_man"
        assert working(market) == ["strategy/stays"]


def test_a_daemon_that_starts_again_gives_a_lost_strategy_its_window_and_then_cancels(market: Market) -> None:
    with Bridge(market.port) as bridge:
        sub = bridge.ready()
        with strategy(bridge, "loss", "computes"):
            state(sub, "stays", "working")
            bridge.process.kill()
            bridge.process.wait()
        bridge.start()
        ended = state(bridge.sub("ord."), "flagged", "done")
        assert ended.data["cause"] == "dead_man"
        assert working(market) == ["strategy/stays"]


WINDOW, WITHIN = 0.5, 1.0
"""Seconds that a strategy has to come back, and in which its orders are over after that."""


def test_flagged_orders_are_over_a_second_after_the_window_by_the_clock_of_the_daemon(market: Market) -> None:
    with Bridge(market.port) as bridge:
        sub = bridge.ready()
        took: list[float] = []
        for key in ("first", "second", "third"):
            with strategy(bridge, "loss", "computes", key):
                state(sub, key, "working")
            began = sub.until("massCancel").data
            ended = state(sub, key, "done")
            assert (began["cause"], ended.data["reason"], ended.data["cause"]) == ("dead_man", "cancelled", "dead_man")
            assert began["since"] >= began["lost"] + WINDOW * 1e6
            assert f"strategy/{key}" not in working(market)
            took.append((ended.body["ts"] - began["lost"]) / 1e6)
            sub.until("massCancel", lambda data: data["over"])
        assert min(took) <= WINDOW + WITHIN, took  # the machine may be busy with other things meanwhile


def test_nothing_is_cancelled_in_a_restart_window_and_a_lost_client_has_its_window_after_it(
    market: Market, tmp_path: Any
) -> None:
    config = tmp_path / "ibbridge.yaml"

    def windows(*given: str) -> None:
        config.write_text(json.dumps({"tws": {"restart_windows": given}}), "utf-8")

    windows()
    with Bridge(market.port, config=str(config)) as bridge:
        sub = bridge.ready()
        with strategy(bridge, "loss", "computes"):
            state(sub, "stays", "working")
            now = dt.datetime.now(dt.UTC)
            hour = dt.timedelta(hours=1)
            windows(f"{now - hour:%H:%M}-{now + hour:%H:%M} UTC")
            bridge.do("reload")
        for _ in range(30):  # heartbeats, 0.1 s apart: six windows of the client
            sub.until("heartbeat")
        assert not [heard for heard in sub.heard if heard.type == "massCancel"]
        assert working(market) == ["strategy/flagged", "strategy/stays"]
        windows()
        over: int = sub.until("heartbeat").body["ts"]
        bridge.do("reload")
        began = sub.until("massCancel").data
        assert state(sub, "flagged", "done").data["cause"] == "dead_man"
        assert began["lost"] < over, "the strategy was lost in the restart window"
        assert began["since"] >= over + WINDOW * 1e6, "and had its window after that"
        assert working(market) == ["strategy/stays"]


# -- the command line


def command(bridge: Bridge, *arguments: str) -> subprocess.CompletedProcess[str]:
    given = [sys.executable, "-m", "ibbridge", *arguments, "--rep", bridge.rep, "--set", f"bus.pub={bridge.pub}"]
    return subprocess.run(given, capture_output=True, text=True, timeout=60, check=False)


def test_a_halt_from_the_command_line_says_of_each_order_what_became_of_it(market: Market) -> None:
    with Bridge(market.port) as bridge:
        sub = bridge.ready()
        for client in ("a", "b"):
            bridge.do("placeOrder", client=client, key="k", contract=AAPL, order=NEVER)
            state(sub, "k", "working", client)
        done = command(bridge, "halt", "--client", "a", "--cancel", "--reason", "test")
        assert done.stdout.splitlines() == [
            "orders of client a: halted",
            "cancelled  a/k: cancelled",
            "1 cancelled, 0 refused, 0 unknown",
        ]
        assert done.returncode == 0
        assert working(market) == ["b/k"]
        refused = bridge.call("placeOrder", client="a", key="k2", contract=AAPL, order=NEVER)
        assert refused["error"]["code"] == "E_HALTED"
        assert "halted by cli: test" in refused["error"]["message"]
        assert "HALTED     orders of client a are refused" in command(bridge, "status").stdout
        assert command(bridge, "halt", "--reducing").returncode == 0
        left = command(bridge, "resume")
        assert (left.returncode, left.stdout.splitlines()) == (3, ["resumed", "still halted: client a"])
        assert command(bridge, "resume", "--client", "a").returncode == 0


def test_a_halt_whose_cancels_tws_does_not_take_says_that_nobody_knows(market: Market) -> None:
    with Bridge(market.port) as bridge:
        sub, alarms = bridge.ready(), bridge.sub("sys.bridge.alarm.")
        bridge.do("placeOrder", client="a", key="k", contract=AAPL, order=NEVER)
        state(sub, "k", "working", "a")
        market.fault(do="half-open")
        done = command(bridge, "halt", "--cancel", "--deadline", "1")
        assert done.returncode == 4
        assert done.stdout.splitlines()[-1] == "0 cancelled, 0 refused, 1 unknown"
        alarms.until("alarm", lambda data: data["alarm"] == "haltCancel" and data["raised"])
        market.fault(do="off")
        state(sub, "k", "done", "a")
        alarms.until("alarm", lambda data: data["alarm"] == "haltCancel" and not data["raised"])


def test_without_a_daemon_a_halt_does_not_claim_to_be_in_force(tmp_path: Any) -> None:
    arguments = ["halt", "--timeout", "0.2", "--rep", f"ipc://{tmp_path}/rep"]
    done = subprocess.run(
        [sys.executable, "-m", "ibbridge", *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "nothing was sent" in done.stderr
