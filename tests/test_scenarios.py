"""What a session must survive (docs/operations.md), with the whole daemon and a simulated TWS in virtual time.

Hours take a second, and each scenario is as long and as bad as it is said to be. Only what none of the tests of one part
holds is here.
"""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgpack
import pytest

from ibbridge import daemon, gateway
from tests.days import BEGIN, Here, Subscriber, Tws, clocked, serving
from tests.middle import AAPL, DAY, LIMIT, MSFT, Heard, Middle, refusal
from tests.virtual import Loop, run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

PORT = 4002


class Kept(Subscriber):
    """Keeps what it hears."""

    def __init__(self) -> None:
        super().__init__()
        self.all: list[Heard] = []

    def hear(self, frames: list[bytes]) -> None:
        super().hear(frames)
        for topic, body in zip(frames[::2], frames[1::2], strict=True):
            heard = Heard(topic.decode(), msgpack.unpackb(body, strict_map_key=False))
            if "data" in heard.body and heard.body["type"] != "heartbeat":
                self.all.append(heard)


class Scene(Here):
    """A daemon that is connected to the simulator."""

    def __init__(self, loop: Loop, tws: Tws, **settings: Any) -> None:
        super().__init__(PORT, **settings)
        self.loop = loop
        self.tws = tws
        self.kept = Kept()
        self.heard = self.kept
        self.daemon.bus.send = self.kept.hear

    def do(self, cmd: str, client: str = "me", key: str | None = None, **args: Any) -> dict[str, Any]:
        reply = self.call(cmd, client, key, **args)
        assert reply["ok"], reply
        return {"id": reply["id"], **reply["result"]}

    def of(self, kind: str, topic: str = "") -> list[Heard]:
        return [each for each in self.kept.all if each.body["type"] == kind and each.topic.startswith(topic)]

    def stages(self) -> list[str]:
        return [each.data["stage"] for each in self.of("connection")]

    def figures(self) -> dict[str, Any]:
        return self.tws.figures()

    async def until(self, true: Callable[[], Any], patience: float = 3600.0) -> None:
        async with asyncio.timeout(patience):
            while not true():  # noqa: ASYNC110 - time costs nothing here
                await asyncio.sleep(0.1)

    async def flows(self, topic: str, patience: float = 3600.0) -> None:
        """Wait for the next tick or bar on a topic."""
        before = self.kept.seqs.get(topic.rstrip("."), 0)
        last = len(self.kept.all)
        await self.until(
            lambda: self.kept.seqs.get(topic.rstrip("."), 0) > before
            and any(
                each.topic.startswith(topic) and each.body["type"] not in ("gap", "error") for each in self.kept.all[last:]
            ),
            patience,
        )


def play(
    scene: Callable[[Scene], Awaitable[None]], simulator: dict[str, Any] | None = None, **settings: Any
) -> None:
    """Run a scene from the moment at which everything is ready."""

    async def main(loop: Loop) -> None:
        with pytest.MonkeyPatch.context() as patch:
            clocked(loop, patch)
            given = {"seed": 1, "tick": 0.25, "start": BEGIN, **(simulator or {})}
            async with Tws(port=PORT, **given) as tws:
                here = Scene(loop, tws, **settings)
                with serving(here):
                    await here.until_ready()
                    await scene(here)

    run(main)


def stock(number: int) -> dict[str, Any]:
    return {**AAPL, "symbol": ("AAPL", "MSFT", "GOOG", "AMZN", "NVDA", "TSLA", "META", "IBM")[number]}


# Connecting


def test_b07_a_client_id_that_a_broken_connection_keeps_is_got_back_and_order_ids_go_on() -> None:
    async def scene(here: Scene) -> None:
        first = here.do("placeOrder", key="a", contract=AAPL, order=LIMIT)["orderId"]
        here.tws.fault({"do": "stuck-id", "seconds": 45, "client": 1, "for": 600})
        here.tws.fault({"do": "close", "abort": True})
        await here.until(lambda: not here.daemon.session.ready)
        begin = here.loop.now
        await here.until_ready()
        assert 30 < here.loop.now - begin < 120
        assert any("326" in each.data["lastError"] for each in here.of("connection"))
        tries = [when for when, _ in here.loop.tried if when > begin]
        assert all(later - earlier >= 9.9 for earlier, later in zip(tries[1:], tries[2:], strict=False)), tries
        assert here.do("placeOrder", key="b", contract=AAPL, order=LIMIT)["orderId"] > first

    play(scene)


# Losing upstream


def test_b12_thirty_repeats_of_1100_in_20_seconds_are_one_outage_one_connection_and_streams_go_on() -> None:
    async def scene(here: Scene) -> None:
        topic = here.do("reqMktData", contract=AAPL)["topic"]
        await here.flows(topic)
        here.tws.fault({"do": "1100", "repeat": 30, "every": 0.6, "for": 20})
        await asyncio.sleep(21)
        states = [each.data["state"] for each in here.of("farm") if each.data["farm"] == "upstream"]
        assert states == ["lost", "restored, data kept"]
        assert sum(each.data["errorCode"] == 1100 for each in here.of("error")) == 30
        await here.flows(topic, 60)
        assert (here.figures()["connections"]["accepted"], here.stages().count("down")) == (1, 0)

    play(scene)


def test_b13_after_1101_every_stream_is_open_again_on_its_topic_and_never_too_fast() -> None:
    async def scene(here: Scene) -> None:
        topics = [here.do("reqMktData", contract=stock(n % 8), genericTickList=["", "233"][n // 8])["topic"] for n in range(16)]
        topics.append(here.do("reqPositions")["topic"])
        await asyncio.sleep(5)
        here.tws.fault({"do": "1101"})
        assert here.figures()["subscriptions"] == {1: 0}
        await here.until(lambda: here.figures()["subscriptions"] == {1: 16}, 10)
        assert here.figures()["violations"] == {}
        assert here.figures()["rates"][1] <= 10
        for topic in topics[:8]:
            await here.flows(topic, 60)
        assert {each.data["reason"] for each in here.of("gap")} == {"data"}

    play(scene, {"pace": 10}, pacing__rate=10)


def test_b14_after_1102_the_one_stream_that_stays_dead_is_found_and_flows_again() -> None:
    async def scene(here: Scene) -> None:
        topics = [here.do("reqMktData", contract=each)["topic"] for each in (AAPL, MSFT)]
        await asyncio.sleep(120)
        here.tws.fault({"do": "1100"})
        await asyncio.sleep(20)
        here.tws.fault({"do": "1102", "dead": 1})
        await here.flows(topics[1], 10)
        await here.flows(topics[0], 300)
        assert [each.topic for each in here.of("gap")] == [f"{topics[0]}gap."]
        assert here.figures()["connections"]["accepted"] == 1

    play(scene)


def test_b15_bars_that_stay_dead_after_three_seconds_without_their_farm_flow_again() -> None:
    async def scene(here: Scene) -> None:
        args = {"barSize": 5, "whatToShow": "TRADES", "useRTH": False}
        topic = here.do("reqRealTimeBars", contract=AAPL, **args)["topic"]
        await asyncio.sleep(120)
        here.tws.fault({"do": "farm", "code": 2103, "farm": "usfarm"})
        await asyncio.sleep(3)
        here.tws.fault({"do": "farm", "code": 2104, "farm": "usfarm", "dead": True})
        await here.flows(topic, 300)
        assert len(here.of("gap", topic)) == 1

    play(scene)


def test_b16_bars_that_end_with_their_farm_are_kept_up_to_date_again_when_it_is_back() -> None:
    async def scene(here: Scene) -> None:
        args = {**DAY, "endDateTime": "", "useRTH": 0, "formatDate": 2, "keepUpToDate": True, "barSizeSetting": "5 secs"}
        here.do("reqHistoricalData", contract=AAPL, **args)
        await here.until(lambda: here.of("historicalDataUpdate"))
        here.tws.fault({"do": "farm", "code": 2105, "farm": "ushmds"})
        here.tws.fault({"do": "10182"})
        await asyncio.sleep(300)
        before = len(here.of("historicalDataUpdate"))
        here.tws.fault({"do": "farm", "code": 2106, "farm": "ushmds"})
        await here.until(lambda: len(here.of("historicalDataUpdate")) > before, 60)
        assert {each.data["reason"] for each in here.of("gap")} == {"farm"}

    play(scene)


def test_b17_without_upstream_for_an_hour_it_stays_connected_says_so_and_probes_on() -> None:
    async def scene(here: Scene) -> None:
        here.do("reqMktData", contract=AAPL)
        await asyncio.sleep(10)
        here.tws.fault({"do": "1100"})
        begin, sent = here.loop.now, here.call("status")["result"]["pacing"]["sent"]
        await asyncio.sleep(3600)
        status = here.call("status")["result"]
        assert (status["tws"]["stage"], status["tws"]["upstream"], status["tws"]["silent"] < 11) == ("ready", "lost", True)
        assert round(status["tws"]["upstreamSince"]) == round(here.loop.now - begin)
        assert [each["alarm"] for each in status["alarms"]] == ["upstream"]
        assert here.figures()["connections"]["accepted"] == 1
        assert here.figures()["rates"][1] <= 5
        assert status["pacing"]["sent"] - sent >= 0
        error = here.call("placeOrder", key="k", contract=AAPL, order=LIMIT)["error"]
        assert (error["code"], error["outcome"]) == ("E_NOT_CONNECTED", "not_sent")

    play(scene)


def test_b18_a_daily_restart_is_a_new_connection_with_everything_on_it_again() -> None:
    async def scene(here: Scene) -> None:
        topics = [here.do("reqMktData", contract=each)["topic"] for each in (AAPL, MSFT)]
        here.do("reqPositions")
        order = here.do("placeOrder", key="a", contract=AAPL, order={**LIMIT, "lmtPrice": 1.0})["orderId"]
        await asyncio.sleep(60)
        here.tws.fault({"do": "1100"})
        await asyncio.sleep(20)
        here.tws.fault({"do": "restart", "for": 45, "ids": -3})
        here.tws.fault({"do": "off", "fault": "1100"})
        await here.until(lambda: not here.daemon.session.ready)
        ends = len(here.of("positionEnd"))
        await here.until_ready(120)
        for topic in topics:
            await here.flows(topic, 60)
        await here.until(lambda: len(here.of("positionEnd")) > ends, 60)
        assert {each.topic for each in here.of("gap")} >= {f"{topic}gap." for topic in topics}
        assert here.figures()["subscriptions"] == {1: 2}
        assert here.do("placeOrder", key="b", contract=AAPL, order=LIMIT)["orderId"] > order
        here.do("reqAllOpenOrders")
        here.do("reqCompletedOrders", apiOnly=False)
        await here.until(lambda: here.of("openOrderEnd") and here.of("completedOrdersEnd"), 60)

    play(scene)


def test_b19_a_tws_that_is_mute_after_the_handshake_is_tried_seldom_and_is_an_alarm() -> None:
    async def scene(here: Scene) -> None:
        here.tws.fault({"do": "stall", "stage": "ready"})
        begin = here.loop.now
        await asyncio.sleep(3600)
        tries = [when for when, _ in here.loop.tried if when > begin]
        assert 3600 / (30 + 30 + 5) < len(tries) < 3600 / 30
        assert all(later - earlier > 30 for earlier, later in zip(tries, tries[1:], strict=False))
        alarms = here.call("status")["result"]["alarms"]
        assert [each["alarm"] for each in alarms] == ["notReady"]
        assert [each.data["raised"] for each in here.of("alarm")] == [True], "once"
        here.tws.fault({"do": "off"})
        await here.until_ready(120)

    play(scene)


@pytest.mark.parametrize("number", [20, 21])
def test_b20_b21_while_a_frozen_tws_is_found_out_clients_are_answered_and_hear_heartbeats(number: int) -> None:
    async def scene(here: Scene) -> None:
        here.do("reqMktData", contract=AAPL)
        await asyncio.sleep(10)
        here.tws.fault({"do": "half-open"})
        begin, beats = here.loop.now, here.kept.beats
        while here.daemon.session.ready:
            assert here.call("ping")["ok"]
            if number == 20:  # 21 is left to its own probe
                here.do("reqContractDetails", contract=MSFT)
            await asyncio.sleep(1)
        assert 20 < here.loop.now - begin <= 32
        assert here.kept.beats - beats >= here.loop.now - begin - 2
        assert "for 30 s" in here.of("connection")[-1].data["lastError"]

    play(scene)


def test_b22_a_false_200_while_the_farm_of_contracts_is_away_is_not_remembered() -> None:
    async def scene(here: Scene) -> None:
        here.tws.fault({"do": "farm", "code": 2157, "farm": "secdefnj"})
        first = here.do("reqContractDetails", contract=AAPL)
        await here.until(lambda: here.of("error", first["topic"]), 60)
        assert here.of("error", first["topic"])[0].data["errorCode"] == 200
        here.tws.fault({"do": "farm", "code": 2158, "farm": "secdefnj"})
        second = here.do("reqContractDetails", contract=AAPL)
        await here.until(lambda: here.of("contractDetailsEnd", second["topic"]), 60)
        assert len(here.of("contractDetails", second["topic"])) == 1

    play(scene)


# Requests


def test_b24_two_who_ask_the_same_at_once_have_one_whole_answer_each() -> None:
    async def scene(here: Scene) -> None:
        for command, answer, last in (
            ("reqCurrentTime", "currentTime", "currentTime"),
            ("reqScannerParameters", "scannerParameters", "scannerParameters"),
            ("reqFamilyCodes", "familyCodes", "familyCodes"),
        ):
            topics = [here.do(command, client)["topic"] for client in ("a", "b")]
            assert len(set(topics)) == 2
            await asyncio.sleep(60)
            assert [len(here.of(answer, topic)) for topic in topics] == [1, 1], command
            assert [len(here.of(last, topic)) for topic in topics] == [1, 1], command
        assert here.of("error", "req.") == []

    play(scene)


def test_b25_the_market_data_type_is_the_daemons_for_everybody() -> None:
    middle = Middle(226)
    for client, kind in (("a", 1), ("b", 3)):
        refusal("E_PERM", middle.ask, "reqMarketDataType", client, marketDataType=kind)
    assert middle.link.sent == []


def test_b27_one_too_many_is_told_on_its_topic_and_the_others_go_on() -> None:
    async def scene(here: Scene) -> None:
        scans = ("MOST_ACTIVE", "TOP_PERC_GAIN", "TOP_PERC_LOSE", "HOT_BY_VOLUME")
        ticks = [("reqTickByTickData", {"contract": stock(n), "tickType": "Last"}) for n in range(6)]
        depth = [("reqMktDepth", {"contract": {**stock(n), "exchange": "NASDAQ"}}) for n in range(4)]
        sums = [("reqAccountSummary", {"groupName": "All", "tags": tag}) for tag in ("NetLiquidation", "BuyingPower", "Cushion")]
        scanners = [
            ("reqScannerSubscription", {"subscription": {"instrument": "STK", "locationCode": "STK.US", "scanCode": scan, "numberOfRows": rows}})
            for scan in scans for rows in (5, 10, 15)
        ][:11]
        open_ = 0
        for group, code in ((ticks, 10190), (depth, 309), (sums, 322), (scanners, 322)):
            here.kept.all.clear()
            topics = [here.do(command, f"c{n}", **args)["topic"] for n, (command, args) in enumerate(group)]
            await asyncio.sleep(30)
            (told,) = [each for each in here.of("error") if each.data["errorCode"] == code]
            assert (told.body["ref"]["client"], told.data["ends"]) == (f"c{len(group) - 1}", True)
            assert here.figures()["subscriptions"][1] == (open_ := open_ + len(group) - 1)

    play(scene)
