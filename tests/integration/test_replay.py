"""A session recorded by the daemon and by the tap, and the daemon fed with either recording: it publishes the same."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import msgpack
import pytest

from tests.integration.rig import AAPL, MSFT, PATIENCE, Bridge, Heard, Market, Subscriber, free_port

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

VERSIONS = (178, 226)
BUY = {"action": "BUY", "totalQuantity": 100, "orderType": "MKT"}
NEVER = {"action": "BUY", "totalQuantity": 100, "orderType": "LMT", "lmtPrice": 1.0}
HEAD = {"whatToShow": "TRADES", "useRTH": 1, "formatDate": 1}
DAY: dict[str, Any] = {"durationStr": "1 D", "barSizeSetting": "1 hour", "whatToShow": "TRADES", "useRTH": 0}


class Paced(Market):
    """A simulator whose time passes when it is told to: so what came before a command, and what after, is certain."""

    def __init__(self, version: int) -> None:
        super().__init__(newest=version, speed=0.0)

    def pass_time(self, seconds: float) -> None:
        self._run(self._pass(seconds))

    async def _pass(self, seconds: float) -> None:
        core = self._simulator.core
        core.advance(core.now + seconds)
        self._simulator._flush()


class Script:
    """A client that does always the same. It goes on when all that TWS has said until now has been published."""

    def __init__(self, bridge: Bridge, sub: Subscriber, pass_time: Callable[[float], None]) -> None:
        self._bridge = bridge
        self._sub = sub
        self._pass_time = pass_time

    def _settle(self, seconds: float = 2.0) -> None:
        self._pass_time(seconds)
        asked = self._bridge.do("reqContractDetails", client="settled", contract=MSFT)
        self._sub.until("contractDetailsEnd", topic=asked["topic"])

    def run(self, *, more: bool = False) -> None:
        """`more`: ask for something else first, which shifts the numbers of all other requests."""
        bridge = self._bridge
        if more:
            asked = {"id": "more", "client": "more", "cmd": "reqHeadTimeStamp", "args": {"contract": AAPL, **HEAD}}
            assert msgpack.unpackb(bridge.ask(msgpack.packb(asked)))["ok"]
        self._settle()
        bridge.do("reqAccountUpdates", subscribe=True, acctCode="DU1234567")
        bridge.do("reqPositions")
        ticks = bridge.do("reqMktData", contract=AAPL)
        self._settle()
        depth = bridge.do("reqMktDepth", contract=AAPL, numRows=5)
        bars = bridge.do("reqRealTimeBars", contract=MSFT, barSize=5, whatToShow="TRADES", useRTH=False)
        bridge.do("reqHistoricalData", contract=AAPL, **DAY)
        self._settle(10)
        bridge.do("placeOrder", key="buy", contract=AAPL, order=BUY)
        self._settle()
        bridge.do("placeOrder", client="other", key="rest", contract=AAPL, order=NEVER)
        self._settle(20)
        bridge.do("cancelOrder", client="other", key="rest")
        bridge.cancel("cancelMktDepth", depth["id"])
        self._settle()
        bridge.do("placeOrder", key="no", contract={**AAPL, "symbol": "NO-SUCH"}, order=BUY)
        self._settle()
        bridge.do("reqMktData", client="other", contract=MSFT)
        bridge.cancel("cancelRealTimeBars", bars["id"])
        self._settle(5)
        bridge.cancel("cancelMktData", ticks["id"])
        bridge.do("reqExecutions", execFilter={})
        bridge.do("reqAllOpenOrders")
        self._settle(5)


class Serving:
    """A subcommand that serves. Until it is told to go on it is stopped: a client gets as far as TCP does."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "ibbridge", *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def __enter__(self) -> Self:
        assert self.process.stdout is not None
        assert "Ctrl-C ends it" in self.process.stdout.readline()
        self.process.send_signal(signal.SIGSTOP)
        return self

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def __exit__(self, *_: object) -> None:
        self.go_on()
        self.process.send_signal(signal.SIGTERM)
        said = self.process.communicate(timeout=PATIENCE)[1]
        assert self.process.returncode == 0
        assert "Traceback" not in said, said


def published(
    tws: Serving, port: int, pass_time: Callable[[float], None], record: str = "", *, more: bool = False
) -> list[Heard]:
    """Run the script and return the messages that a daemon publishes, from its greeting of TWS to its end."""
    with Bridge(port, record__directory=record) as bridge:
        sub = bridge.sub("")
        sub.stage("handshaking")
        before = len(sub.heard)
        tws.go_on()
        sub.stage("ready")
        if not any(each.type == "reconciled" for each in sub.heard):
            sub.until("reconciled")
        Script(bridge, sub, pass_time).run(more=more)
        assert bridge.stop(signal.SIGTERM) == 0
        sub.until("bye")
        sub.check_numbers()
        return sub.heard[before:]


CLOCKED = {"since", "deadline", "nextTry", "silent", "upstreamSince", "seconds"}
"""Of the connection, of gaps and of reconciliations: how long something has lasted, or will."""


def same_in_every_session(heard: list[Heard]) -> list[tuple[str, dict[str, Any]]]:
    """Return the published messages without the fields that differ between sessions: epoch, clock and the like.

    The audit is published once a second: it differs, and with it the offsets of what comes between.
    """
    kept = [each for each in heard if each.type != "heartbeat" and not each.topic.startswith("sys.audit.")]
    bodies = [(each.topic, dict(each.body)) for each in kept]
    for topic, body in bodies:
        for name in ("epoch", "gen", "ts", "offset"):
            del body[name]
        if topic == "sys.tws.connection." or body["type"] in ("gap", "reconciled"):
            body["data"] = {name: value for name, value in body["data"].items() if name not in CLOCKED}
        if body["type"] == "bye":
            body["data"] = {}
        if body["type"] == "orderState" and body["data"]["lastError"]:
            body["data"]["lastError"].pop("ts")
    return bodies


@pytest.fixture(scope="module", params=VERSIONS)
def session(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A session recorded twice: the port, what was published, and both recordings."""
    where = tmp_path_factory.mktemp("recorded")
    port = free_port()
    with Paced(request.param) as market:
        tapped = where / "tap.ibrec"
        with Serving("record", str(tapped), "--listen", str(port), "--tws", f"127.0.0.1:{market.port}") as tap:
            heard = published(tap, port, market.pass_time, str(where / "daemon"))
    (by_daemon,) = (where / "daemon").iterdir()
    return port, same_in_every_session(heard), {"daemon": by_daemon, "tap": tapped}


def no_time(_: float) -> None:
    """A recording has its own."""


def first_difference(got: list[Any], wanted: list[Any]) -> Any:
    pairs = enumerate(zip(got, wanted, strict=False))
    return next(((number, *pair) for number, pair in pairs if pair[0] != pair[1]), None)


def test_the_session_has_something_of_everything(session):
    _, wanted, _ = session
    types = {body["type"] for _, body in wanted}
    assert types >= {
        "tickPrice", "tickSize", "updateMktDepthL2", "realtimeBar", "historicalData", "openOrder", "orderStatus",
        "execDetails", "commissionAndFeesReport", "updateAccountValue", "updatePortfolio", "position", "error",
        "contractDetails", "connection",
    }, types  # fmt: skip


@pytest.mark.parametrize("by", ["daemon", "tap"])
def test_a_daemon_that_is_fed_a_recording_publishes_the_same(session, by):
    port, wanted, recordings = session
    arguments = ("--port", str(port), "--speed", "max", "--patience", str(PATIENCE))
    with Serving("replay", str(recordings[by]), *arguments) as tws:
        got = same_in_every_session(published(tws, port, no_time))
    difference = first_difference(got, wanted)
    assert difference is None, difference
    assert len(got) == len(wanted)


NUMBERS = ("reqId", "tickerId", "orderId", "offset")


def without_numbers(value: Any) -> Any:
    """Return a value without request ids and order ids."""
    if isinstance(value, dict):
        return {name: without_numbers(each) for name, each in value.items() if name not in NUMBERS}
    return [without_numbers(each) for each in value] if isinstance(value, list | tuple) else value


def test_a_client_that_asks_for_more_is_told_so_and_gets_the_rest_under_its_own_numbers(session):
    port, wanted, recordings = session
    arguments = ("--port", str(port), "--speed", "max", "--patience", str(PATIENCE))
    with Serving("replay", str(recordings["daemon"]), *arguments) as tws:
        got = same_in_every_session(published(tws, port, no_time, more=True))
    (refused,) = [body for topic, body in got if topic.startswith("req.more.")]
    assert refused["data"]["errorCode"] == 321
    assert "reqHeadTimeStamp is not in the recording" in refused["data"]["errorString"]
    rest = [each for each in got if each[1] is not refused]
    assert first_difference(without_numbers(rest), without_numbers(wanted)) is None
    placed = [[body["data"]["orderId"] for _, body in each if body["type"] == "openOrder"] for each in (rest, wanted)]
    assert placed[0] == [number + 1 for number in placed[1]] != []
