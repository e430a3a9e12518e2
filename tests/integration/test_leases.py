"""Leases through real processes and sockets: strategies that are killed, close, or never say that they are there."""

from __future__ import annotations

import contextlib
import random
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.rig import AAPL, MSFT, PATIENCE, Bridge, Market, Subscriber

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

SYMBOLS = ("AAPL", "AMD", "AMZN", "GE", "GOOG", "IBM", "INTC", "KO")

THREADED = """
import sys
from ibbridge.client import connect, stock
pub, rep, name, *symbols = sys.argv[1:]
ib = connect(name, pub, rep, timeout=30)
for each in symbols:
    ib.reqMktData(stock(each))
print("subscribed", flush=True)
sys.stdin.readline()
ib.close()
"""

ASYNCIO = """
import asyncio, sys
from ibbridge.client import stock
from ibbridge.client.aio import connect
async def main(pub, rep, name, *symbols):
    async with connect(name, pub, rep, timeout=30) as ib:
        for each in symbols:
            await ib.reqMktData(stock(each))
        print("subscribed", flush=True)
        sys.stdin.readline()  # the loop stands still, and a thread says that the strategy is there
asyncio.run(main(*sys.argv[1:]))
"""


class Strategy:
    """Strategy in a process of its own, which has subscribed to its symbols."""

    def __init__(self, bridge: Bridge, name: str, symbols: Iterable[str], program: str = THREADED) -> None:
        self.symbols = frozenset(symbols)
        command = [sys.executable, "-c", program, bridge.pub, bridge.rep, name, *self.symbols]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def subscribed(self) -> Strategy:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "subscribed\n"
        return self

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def close(self) -> None:
        self.process.communicate("close\n", PATIENCE)
        assert self.process.returncode == 0


@contextlib.contextmanager
def strategies() -> Iterator[dict[str, Strategy]]:
    """A map for strategies by name; those that are there at the end are killed."""
    made: dict[str, Strategy] = {}
    try:
        yield made
    finally:
        for each in made.values():
            each.kill()


@pytest.fixture
def market() -> Iterator[Market]:
    with Market() as made:
        yield made


def wait(sub: Subscriber, wanted: Callable[[], bool], shown: Callable[[], Any]) -> None:
    """Wait until something is so: the daemon's heartbeats come ten times a second."""
    end = time.monotonic() + PATIENCE
    while not wanted():
        assert time.monotonic() < end, shown()
        sub.until("heartbeat")


def settle(bridge: Bridge, sub: Subscriber, market: Market, symbols: Iterable[str]) -> None:
    """Wait until TWS, the count of lines and the leases agree that exactly these symbols are subscribed."""
    wanted = sorted(symbols)

    def found() -> tuple[list[str], int, list[str]]:
        listed = bridge.do("leases")
        used: int = listed["lines"]["level1"]["used"]
        return market.lines(), used, sorted({each["topic"].split(".")[1].split("-")[0] for each in listed["leases"]})

    wait(sub, lambda: found() == (wanted, len(wanted), wanted), lambda: (found(), wanted))


@pytest.mark.parametrize("program", [THREADED, ASYNCIO], ids=["threads", "asyncio"])
@pytest.mark.parametrize("end", ["kill", "close"])
def test_the_subscriptions_of_a_strategy_end_with_it_and_those_of_a_client_that_declares_nothing_stay(
    market: Market, program: str, end: str
) -> None:
    with Bridge(market.port, streams__grace=0.5) as bridge, strategies() as running:
        sub = bridge.ready()
        bridge.do("reqMktData", client="plain", contract=MSFT)
        running["s"] = Strategy(bridge, "s", ["AAPL", "MSFT"], program).subscribed()
        settle(bridge, sub, market, ["AAPL", "MSFT"])
        listed = bridge.do("leases")["leases"]
        assert {(each["client"], each["unbounded"]) for each in listed} == {("s", False), ("plain", True)}
        getattr(running.pop("s"), end)()
        settle(bridge, sub, market, ["MSFT"])
        (left,) = bridge.do("leases")["leases"]
        assert (left["client"], left["unbounded"]) == ("plain", True)


def test_a_strategy_that_hangs_loses_its_subscriptions_after_its_ttl(market: Market) -> None:
    with Bridge(market.port, streams__grace=0.5, liveness__ttl=1) as bridge, strategies() as running:
        sub = bridge.ready()
        strategy = running["s"] = Strategy(bridge, "s", ["AAPL"]).subscribed()
        settle(bridge, sub, market, ["AAPL"])
        strategy.process.send_signal(signal.SIGSTOP)
        settle(bridge, sub, market, [])
        strategy.process.send_signal(signal.SIGCONT)


def test_a_strategy_that_restarts_before_anybody_misses_it_holds_only_what_it_asks_for_again(market: Market) -> None:
    with Bridge(market.port, streams__grace=0.5) as bridge, strategies() as running:
        sub = bridge.ready()
        running["old"] = Strategy(bridge, "s", ["AAPL", "MSFT"]).subscribed()
        running["new"] = Strategy(bridge, "s", ["AAPL"]).subscribed()
        running.pop("old").kill()
        settle(bridge, sub, market, ["AAPL"])


def test_what_is_to_be_kept_outlives_its_strategy(market: Market) -> None:
    program = THREADED.replace("stock(each)", "stock(each), keep=True")
    with Bridge(market.port, streams__grace=0.1) as bridge, strategies() as running:
        sub = bridge.ready()
        running["kept"] = Strategy(bridge, "kept", ["AAPL"], program).subscribed()
        running["not"] = Strategy(bridge, "not", ["MSFT"]).subscribed()
        settle(bridge, sub, market, ["AAPL", "MSFT"])
        for name in ("kept", "not"):
            running.pop(name).kill()
        settle(bridge, sub, market, ["AAPL"])
        (left,) = bridge.do("leases")["leases"]
        assert (left["client"], left["keep"], left["unbounded"]) == ("kept", True, False)


def test_lines_are_those_of_the_living_whoever_is_killed_closed_and_started_again(market: Market) -> None:
    chance = random.Random(14)
    with Bridge(market.port, streams__grace=0.5) as bridge, strategies() as running:
        sub = bridge.ready()
        for turn in range(8):
            starting = []
            for name in chance.sample(["a", "b", "c", "d"], 2):
                if there := running.pop(name, None):
                    chance.choice([there.kill, there.kill, there.close])()
                if turn < 2 or chance.random() < 0.7:  # at once, before anybody can have missed it
                    running[name] = Strategy(bridge, name, chance.sample(SYMBOLS, 3))
                    starting.append(running[name])
            for each in starting:
                each.subscribed()
            settle(bridge, sub, market, frozenset().union(*(each.symbols for each in running.values())))
        market.fault(do="close")
        settle(bridge, sub, market, frozenset().union(*(each.symbols for each in running.values())))


def test_nothing_of_a_dead_strategy_is_asked_for_on_the_next_connection(market: Market) -> None:
    with Bridge(market.port, streams__grace=600) as bridge, strategies() as running:
        sub = bridge.ready()
        running["dead"] = Strategy(bridge, "dead", ["AAPL", "IBM"]).subscribed()
        running["alive"] = Strategy(bridge, "alive", ["IBM", "KO"]).subscribed()
        running.pop("dead").kill()
        wait(sub, lambda: bridge.do("status")["leases"]["unheld"] == 1, lambda: bridge.do("leases"))
        assert market.lines() == ["AAPL", "IBM", "KO"], "for the grace period TWS keeps what nobody holds"
        market.fault(do="close")
        sub.until("connection", lambda data: data["stage"] != "ready", "sys.tws.")
        sub.until("connection", lambda data: data["stage"] == "ready", "sys.tws.")
        settle(bridge, sub, market, ["IBM", "KO"])
        bridge.do("reqMktData", client="plain", contract=AAPL)  # asked for after all that was there
        settle(bridge, sub, market, ["AAPL", "IBM", "KO"])
        assert [each["client"] for each in bridge.do("leases")["leases"] if "AAPL" in each["topic"]] == ["plain"]


# -- the command line


def test_a_subscription_of_the_command_line_ends_with_the_command(market: Market) -> None:
    with Bridge(market.port, streams__grace=0.5) as bridge:
        sub = bridge.ready()
        where = ["--rep", bridge.rep, "--set", f"bus.pub={bridge.pub}"]
        given = [sys.executable, "-m", "ibbridge", "call", "reqMktData", *where]
        given += [f"contract.{name}={value}" for name, value in AAPL.items()]
        with subprocess.Popen(given, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("accepted id=")
            assert "md.AAPL" in process.stdout.readline()
            settle(bridge, sub, market, ["AAPL"])
            process.kill()
        settle(bridge, sub, market, [])
        done = subprocess.run([*given, "--no-wait"], capture_output=True, text=True, timeout=PATIENCE, check=True)
        assert done.stdout.startswith("accepted id=")
        settle(bridge, sub, market, ["AAPL"])
        (left,) = bridge.do("leases")["leases"]
        assert (left["client"], left["keep"], left["unbounded"]) == ("cli", True, False)
