"""Scenarios that a session must survive (docs/operations.md): a whole daemon and a simulated TWS in virtual time.

Hours take a second, and each scenario is as long and as bad as it is said to be. Only what none of the tests of
one part holds is here.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any

import msgpack
import pytest

from tests.support.daemon_core import AAPL, DAY, LIMIT, MSFT, Heard, Middle, refusal
from tests.support.simulated_world import BEGIN, Here, Subscriber, Tws, serving
from tests.support.virtual_loop import Loop, run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

PORT = 4002


class Kept(Subscriber):
    """Keeps what it hears."""

    def __init__(self) -> None:
        super().__init__()
        self.all: list[Heard] = []

    def hear(self, packed_topic: bytes, packed: bytes) -> None:
        super().hear(packed_topic, packed)
        heard = Heard(packed_topic.decode(), msgpack.unpackb(packed, strict_map_key=False))
        if "data" in heard.body and heard.body["type"] != "heartbeat":
            self.all.append(heard)


class Scene(Here):
    """A daemon that is connected to the simulator."""

    def __init__(self, loop: Loop, tws: Tws, **settings: Any) -> None:
        self.kept = Kept()
        super().__init__(PORT, self.kept, **settings)
        self.loop = loop
        self.tws = tws

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
            lambda: (
                self.kept.seqs.get(topic.rstrip("."), 0) > before
                and any(
                    each.topic.startswith(topic) and each.body["type"] not in ("gap", "error")
                    for each in self.kept.all[last:]
                )
            ),
            patience,
        )


def play(scene: Callable[[Scene], Awaitable[None]], simulator: dict[str, Any] | None = None, **settings: Any) -> None:
    """Run a scene from the moment at which everything is ready."""

    async def main(loop: Loop) -> None:
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


@pytest.mark.scenario("B7")
def test_a_client_id_that_a_broken_connection_keeps_is_got_back_and_order_ids_go_on() -> None:
    async def scene(here: Scene) -> None:
        first = here.do("placeOrder", key="a", contract=AAPL, order=LIMIT)["orderId"]
        here.tws.fault({"do": "stuck-id", "seconds": 45, "client": 1, "for": 600})
        here.tws.fault({"do": "close", "abort": True})
        await here.until(lambda: not here.daemon.parts.tws.session.ready)
        begin = here.loop.now
        await here.until_ready()
        assert 30 < here.loop.now - begin < 120
        assert any("326" in each.data["lastError"] for each in here.of("connection"))
        tries = [when for when, _ in here.loop.tried if when > begin]
        assert all(later - earlier >= 9.9 for earlier, later in itertools.pairwise(tries[1:])), tries
        assert here.do("placeOrder", key="b", contract=AAPL, order=LIMIT)["orderId"] > first

    play(scene)


# Losing upstream


@pytest.mark.scenario("B12")
def test_thirty_repeats_of_1100_in_20_seconds_are_one_outage_one_connection_and_streams_go_on() -> None:
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


@pytest.mark.scenario("B13")
def test_after_1101_every_stream_is_open_again_on_its_topic_and_never_too_fast() -> None:
    async def scene(here: Scene) -> None:
        topics = [
            here.do("reqMktData", contract=stock(n % 8), genericTickList=["", "233"][n // 8])["topic"]
            for n in range(16)
        ]
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


@pytest.mark.scenario("B14")
def test_after_1102_the_one_stream_that_stays_dead_is_found_and_flows_again() -> None:
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


@pytest.mark.scenario("B15")
def test_bars_that_stay_dead_after_three_seconds_without_their_farm_flow_again() -> None:
    async def scene(here: Scene) -> None:
        args: dict[str, Any] = {"barSize": 5, "whatToShow": "TRADES", "useRTH": False}
        topic = here.do("reqRealTimeBars", contract=AAPL, **args)["topic"]
        await asyncio.sleep(120)
        here.tws.fault({"do": "farm", "code": 2103, "farm": "usfarm"})
        await asyncio.sleep(3)
        here.tws.fault({"do": "farm", "code": 2104, "farm": "usfarm", "dead": True})
        await here.flows(topic, 300)
        assert len(here.of("gap", topic)) == 1

    play(scene)


@pytest.mark.scenario("B16")
def test_bars_that_end_with_their_farm_are_kept_up_to_date_again_when_it_is_back() -> None:
    async def scene(here: Scene) -> None:
        args: dict[str, Any] = {
            **DAY,
            "endDateTime": "",
            "useRTH": 0,
            "formatDate": 2,
            "keepUpToDate": True,
            "barSizeSetting": "5 secs",
        }
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


@pytest.mark.scenario("B17")
def test_without_upstream_for_an_hour_it_stays_connected_says_so_and_probes_on() -> None:
    async def scene(here: Scene) -> None:
        here.do("reqMktData", contract=AAPL)
        await asyncio.sleep(10)
        here.tws.fault({"do": "1100"})
        begin = here.loop.now
        await asyncio.sleep(3600)
        status = here.call("status")["result"]
        assert (status["tws"]["stage"], status["tws"]["upstream"], status["tws"]["silent"] < 11) == (
            "ready",
            "lost",
            True,
        )
        assert round(status["tws"]["upstreamSince"]) == round(here.loop.now - begin)
        assert [each["alarm"] for each in status["alarms"]] == ["upstream"]
        assert here.figures()["connections"]["accepted"] == 1
        assert here.figures()["rates"][1] <= 6
        assert len(here.of("currentTime")) >= 350
        error = here.call("placeOrder", key="k", contract=AAPL, order=LIMIT)["error"]
        assert (error["code"], error["outcome"]) == ("E_NOT_CONNECTED", "not_sent")

    play(scene)


@pytest.mark.scenario("B18")
def test_a_daily_restart_is_a_new_connection_with_everything_on_it_again() -> None:
    async def scene(here: Scene) -> None:
        topics = [here.do("reqMktData", contract=each)["topic"] for each in (AAPL, MSFT)]
        here.do("reqPositions")
        order = here.do("placeOrder", key="a", contract=AAPL, order={**LIMIT, "lmtPrice": 1.0})["orderId"]
        await asyncio.sleep(60)
        here.tws.fault({"do": "1100"})
        await asyncio.sleep(20)
        here.tws.fault({"do": "restart", "for": 45, "ids": -3})
        here.tws.fault({"do": "off", "fault": "1100"})
        await here.until(lambda: not here.daemon.parts.tws.session.ready)
        ends = len(here.of("positionEnd"))
        await here.until_ready(120)
        for topic in topics:
            await here.flows(topic, 60)
        await here.until(lambda: len(here.of("positionEnd")) > ends, 60)
        assert {each.topic for each in here.of("gap")} >= {f"{topic}gap." for topic in topics}
        assert here.figures()["subscriptions"] == {1: 2}
        assert here.do("placeOrder", key="b", contract=AAPL, order=LIMIT)["orderId"] > order
        open_ones, completed = here.do("reqAllOpenOrders"), here.do("reqCompletedOrders", apiOnly=False)
        await here.until(lambda: here.of("openOrderEnd", open_ones["topic"]), 60)
        await here.until(lambda: here.of("completedOrdersEnd", completed["topic"]), 60)

    play(scene)


@pytest.mark.scenario("B19")
def test_a_tws_that_is_mute_after_the_handshake_is_tried_seldom_and_is_an_alarm() -> None:
    async def scene(here: Scene) -> None:
        here.tws.fault({"do": "stall", "stage": "ready"})
        begin = here.loop.now
        await asyncio.sleep(3600)
        tries = [when for when, _ in here.loop.tried if when > begin]
        assert 3600 / (30 + 30 + 5) < len(tries) < 3600 / 30
        assert all(later - earlier > 30 for earlier, later in itertools.pairwise(tries))
        alarms = here.call("status")["result"]["alarms"]
        assert [each["alarm"] for each in alarms] == ["notReady"]
        assert [each.data["raised"] for each in here.of("alarm")] == [True], "once"
        here.tws.fault({"do": "off"})
        await here.until_ready(120)

    play(scene)


@pytest.mark.parametrize("number", [20, 21])
@pytest.mark.scenario("B20", "B21")
def test_while_a_frozen_tws_is_found_out_clients_are_answered_and_hear_heartbeats(number: int) -> None:
    async def scene(here: Scene) -> None:
        here.do("reqMktData", contract=AAPL)
        await asyncio.sleep(10)
        here.tws.fault({"do": "half-open"})
        begin, beats = here.loop.now, here.kept.beats
        while here.daemon.parts.tws.session.ready:
            assert here.call("ping")["ok"]
            if number == 20:  # 21 is left to its own probe
                here.do("reqContractDetails", contract=MSFT)
            await asyncio.sleep(1)
        assert 20 < here.loop.now - begin <= 32
        assert here.kept.beats - beats >= here.loop.now - begin - 2
        assert "for 30 s" in here.of("connection")[-1].data["lastError"]

    play(scene)


@pytest.mark.scenario("B22")
def test_a_false_200_while_the_farm_of_contracts_is_away_is_not_remembered() -> None:
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


@pytest.mark.scenario("B24")
def test_two_who_ask_the_same_at_once_have_one_whole_answer_each() -> None:
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


@pytest.mark.scenario("B25")
def test_the_market_data_type_is_the_daemons_for_everybody() -> None:
    middle = Middle(226)
    for client, kind in (("a", 1), ("b", 3)):
        refusal("E_PERM", middle.ask, "reqMarketDataType", client, marketDataType=kind)
    assert middle.link.sent == []


@pytest.mark.scenario("B27")
def test_one_too_many_is_told_on_its_topic_and_the_others_go_on() -> None:
    async def scene(here: Scene) -> None:
        scans = ("MOST_ACTIVE", "TOP_PERC_GAIN", "TOP_PERC_LOSE", "HOT_BY_VOLUME")
        generic = ("", "100", "101", "104", "106", "165", "221", "225", "233", "236", "293", "294", "295")
        lines = [("reqMktData", {"contract": stock(n), "genericTickList": each}) for each in generic for n in range(8)][
            :101
        ]
        ticks = [("reqTickByTickData", {"contract": stock(n), "tickType": "Last"}) for n in range(6)]
        depth = [("reqMktDepth", {"contract": {**stock(n), "exchange": "NASDAQ"}}) for n in range(4)]
        sums = [
            ("reqAccountSummary", {"groupName": "All", "tags": tag})
            for tag in ("NetLiquidation", "BuyingPower", "Cushion")
        ]
        scanners = [
            (
                "reqScannerSubscription",
                {
                    "subscription": {
                        "instrument": "STK",
                        "locationCode": "STK.US",
                        "scanCode": scan,
                        "numberOfRows": rows,
                    }
                },
            )
            for scan in scans
            for rows in (5, 10, 15)
        ][:11]
        groups: Any = ((lines, 101), (ticks, 10190), (depth, 309), (sums, 322), (scanners, 322))
        open_ = 0
        for group, code in groups:
            here.kept.all.clear()
            own = group is scanners  # whose number the daemon knows, and no configuration changes
            for number, (command, args) in enumerate(group[:-1] if own else group):
                here.do(command, f"c{number}", **args)
            await asyncio.sleep(5)
            open_ += len(group) - 1
            assert here.figures()["subscriptions"][1] == open_
            if own:
                refused = here.call(group[-1][0], "one more", **group[-1][1])
                assert refused["error"]["code"] == "E_LINES"
                continue
            (told,) = [each for each in here.of("error") if each.data["errorCode"] == code]
            assert (told.body["ref"]["client"], told.data["ends"]) == (f"c{len(group) - 1}", True)

    play(scene, tws__lines=1000)  # more than this TWS has, so that it is TWS that refuses


@pytest.mark.scenario("B28")
def test_500_requests_at_once_are_all_answered_an_order_and_its_cancel_overtake_them_and_none_is_too_many() -> None:
    async def scene(here: Scene) -> None:
        topics = [here.do("reqContractDetails", f"c{n % 10}", contract=stock(n % 8))["topic"] for n in range(500)]
        topic = here.do("placeOrder", key="k", contract=AAPL, order={**LIMIT, "lmtPrice": 1.0})["topic"]
        await here.until(lambda: here.of("openOrder", topic), 2)
        here.do("cancelOrder", key="k")
        await here.until(lambda: [e for e in here.of("orderStatus", topic) if e.data["status"] == "Cancelled"], 2)
        assert len(here.of("contractDetailsEnd")) < 250
        await here.until(lambda: len(here.of("contractDetailsEnd")) == 500, 30)
        assert sorted(each.topic for each in here.of("contractDetailsEnd")) == sorted(
            f"{each}contractDetailsEnd." for each in topics
        )
        assert (here.figures()["violations"], here.of("error", "req.")) == ({}, [])
        assert here.figures()["rates"][1] <= 45

    play(scene, {"pace": 50})


@pytest.mark.scenario("B29")
def test_after_error_100_it_goes_slower_and_the_connection_stays() -> None:
    async def scene(here: Scene) -> None:
        topics = [here.do("reqContractDetails", contract=stock(n % 8))["topic"] for n in range(200)]
        await here.until(lambda: [each for each in here.of("error") if each.data["errorCode"] == 100])
        assert here.call("status")["result"]["pacing"]["rate"] == 22
        await asyncio.sleep(300)
        answered = {each.topic.removesuffix("contractDetailsEnd.") for each in here.of("contractDetailsEnd")}
        told = {each.topic.removesuffix("error.") for each in here.of("error", "req.")}
        assert (answered | told, answered & told) == (set(topics), set())
        assert here.figures()["connections"]["accepted"] == 1
        assert 0 < here.figures()["violations"][1] < 3

    play(scene, {"pace": 30})


@pytest.mark.scenario("B29")
def test_after_the_third_error_100_the_end_is_an_end_like_any_and_no_order_is_sent_again() -> None:
    async def scene(here: Scene) -> None:
        topic = here.do("reqMktData", contract=AAPL)["topic"]
        order = here.do("placeOrder", key="k", contract=AAPL, order={**LIMIT, "lmtPrice": 1.0})["topic"]
        await here.until(lambda: here.of("openOrder", order))
        here.tws.fault({"do": "pace", "rate": 15})
        for number in range(400):
            here.do("reqContractDetails", contract=stock(number % 8))
        await here.until(lambda: here.figures()["connections"]["closed"] == 1, 60)
        here.tws.fault({"do": "off"})
        await here.until_ready()
        await here.flows(topic, 60)
        await asyncio.sleep(60)
        assert len([each for each in here.of("error", "sys.tws.") if each.data["errorCode"] == 100]) >= 3
        asked = here.do("reqAllOpenOrders")["topic"]
        await here.until(lambda: here.of("openOrderEnd", asked))
        assert {each.data["orderId"] for each in here.of("openOrder")} == {
            here.of("openOrder", order)[0].data["orderId"]
        }
        assert here.call("status")["result"]["requests"] == 1

    play(scene)


@pytest.mark.scenario("B30")
def test_whatever_history_is_asked_for_no_rule_is_broken_and_all_is_answered() -> None:
    async def scene(here: Scene) -> None:
        args: dict[str, Any] = {
            **DAY,
            "durationStr": "600 S",
            "barSizeSetting": "5 secs",
            "endDateTime": "",
            "useRTH": 0,
            "formatDate": 2,
        }
        for number in range(70):
            here.do("reqHistoricalData", f"c{number % 3}", contract=stock(number % 3), **args)
        await asyncio.sleep(1800)
        answered = here.of("historicalData", "req.")
        told = [each for each in here.of("error", "req.") if each.data["ends"]]
        assert (len({each.topic for each in answered}), told) == (70, [])
        assert here.figures()["historyViolations"] == {}

    play(scene, {"history": True})


@pytest.mark.scenario("B32")
def test_no_number_is_a_requests_and_an_orders_and_each_error_finds_its_owner() -> None:
    middle = Middle(226)
    owners: dict[int, str] = {}
    for turn in range(3):
        for each in range(20):
            if each % 2:
                owners_topic, number = f"ord.a.{turn}-{each}.error.", middle.place(f"{turn}-{each}")
            else:
                owners_topic = (
                    middle.ask("reqContractDetails", "b", f"{turn}-{each}", contract=AAPL)["topic"] + "error."
                )
                number = middle.last_id()
            assert number not in owners
            owners[number] = owners_topic
        for number in list(owners)[-20:]:
            assert middle.error(number, 201).topic == owners[number]
        middle.reconnect()
        middle.sender.ids.raise_to(0)


# Orders


def _states(here: Scene, topic: str) -> list[tuple[str, str | None]]:
    """Return the states of an order with their reasons, each once while it lasts."""
    states = [(each.data["state"], each.data["reason"]) for each in here.of("orderState", topic)]
    return [state for state, _ in itertools.groupby(states)]


def _statuses(here: Scene, topic: str) -> list[str]:
    return [each.data["status"] for each in here.of("orderStatus", topic)]


@pytest.mark.parametrize(
    ("how", "said"),
    [("duplicate", ["PreSubmitted"] * 2 + ["Submitted"] * 2), ("lose", []), ("reorder", ["PreSubmitted", "Submitted"])],
)
@pytest.mark.scenario("B38")
def test_events_of_an_order_are_published_as_they_come(how: str, said: list[str]) -> None:
    async def scene(here: Scene) -> None:
        here.tws.fault({"do": "order-events", "how": how, "message": "orderStatus", "times": 2})
        topic = here.do("placeOrder", key="k", contract=AAPL, order=LIMIT)["topic"]
        await asyncio.sleep(60)
        assert _statuses(here, topic) == said
        state = [each.data["status"] for each in _snapshot(here, topic) if each.body["type"] == "orderStatus"]
        assert state == said[-1:]
        asked = here.do("reqOpenOrders")["topic"]
        await here.until(lambda: here.of("openOrderEnd", asked), 5)
        assert _statuses(here, topic)[-1] == "Submitted"
        assert here.of("orderState", topic)[-1].data["state"] == "working"
        assert here.of("error", topic) == []

    play(scene)


@pytest.mark.scenario("B38")
def test_what_tws_says_last_is_the_state_of_an_order() -> None:
    middle = Middle(226)
    number = middle.place("k")
    for status in ("Filled", "Submitted", "Submitted"):
        middle.hear("orderStatus", orderId=number, clientId=1, permId=7, status=status)
    assert _held(middle) == ("Submitted", "done", "filled")


@pytest.mark.parametrize("ends", ["Filled", "Cancelled"])
@pytest.mark.scenario("B40")
def test_what_became_of_an_order_while_disconnected_is_told_under_its_key_without_being_asked_for(ends: str) -> None:
    async def scene(here: Scene) -> None:
        here.tws.fault({"do": "close", "on": "placeOrder"})
        price = 99_999.0 if ends == "Filled" else 1.0
        topic = here.do("placeOrder", key="k", contract=AAPL, order={**LIMIT, "lmtPrice": price})["topic"]
        await here.until(lambda: here.of("error", topic), 5)
        assert here.of("error", topic)[0].data["ends"] is None
        if ends == "Cancelled":
            here.tws.core.request(here.tws.core.connect(9), "reqGlobalCancel", {"orderCancel": {}})
        await here.until_ready()
        await asyncio.sleep(5)
        listed = [("working", None)] if ends == "Filled" else []  # the execution comes before the completed order
        assert _states(here, topic) == [("sent", None), ("unknown", None), *listed, ("done", ends.lower())]
        (told,) = here.of("completedOrder")
        assert (told.topic, told.data["orderState"]["status"]) == (f"{topic}completedOrder.", ends)
        refs = [each.data["execution"]["orderRef"] for each in here.of("execDetails", "exec.me.")]
        assert refs == ["me/k"] * (ends == "Filled")
        here.do("reqOpenOrders")
        mine = here.do("reqExecutions", execFilter={})["topic"]
        asked = here.do("reqCompletedOrders", apiOnly=False)["topic"]
        await here.until(lambda: here.of("completedOrdersEnd", asked), 5)
        assert [each.topic for each in here.of("completedOrder")] == [told.topic] * 2
        assert [each.data["execution"]["orderRef"] for each in here.of("execDetails", mine)] == refs
        assert len(here.of("execDetails", "exec.me.")) == len(refs), "the owner is told once"

    play(scene)


@pytest.mark.scenario("B44")
def test_a_cancel_that_comes_too_late_is_told_and_what_tws_says_last_is_state() -> None:
    async def scene(here: Scene) -> None:
        topic = here.do("placeOrder", key="k", contract=AAPL, order={**LIMIT, "lmtPrice": 99_999.0})["topic"]
        await here.until(lambda: "Filled" in _statuses(here, topic), 60)
        here.do("cancelOrder", key="k")
        await here.until(lambda: here.of("error", topic), 5)
        (told,) = here.of("error", topic)
        assert (told.data["errorCode"], told.data["ends"]) == (10148, False)
        await asyncio.sleep(60)
        assert len(here.of("error", topic)) == 1
        assert _statuses(here, topic)[-1] == "Filled"

    play(scene)


@pytest.mark.scenario("B44")
def test_a_fill_after_a_cancel_was_taken_is_state() -> None:
    middle = Middle(226)
    number = middle.place("k")
    middle.ask("cancelOrder", key="k")
    for code in (161, 10147, 10148):
        assert middle.error(number, code).data["ends"] is False
    for status in ("PendingCancel", "Filled"):
        middle.hear("orderStatus", orderId=number, clientId=1, permId=7, status=status)
    assert _held(middle) == ("Filled", "done", "filled")


@pytest.mark.scenario("B45")
def test_inactive_is_not_the_end_of_an_order() -> None:
    middle = Middle(226)
    number = middle.place("k")
    for status in ("Inactive", "Submitted"):
        middle.hear("orderStatus", orderId=number, clientId=1, permId=7, status=status)
    assert _held(middle) == ("Submitted", "working", None)
    middle.ask("cancelOrder", key="k")
    assert middle.link.take()[-1].name == "cancelOrder"


def _held(middle: Middle) -> tuple[str, str, str | None]:
    """Return what a snapshot has of the only order: the status of TWS, and state and reason."""
    held = {each.body["type"]: each.data for stream in middle.state("ord.a.").values() for each in stream}
    assert {*held} == {"orderStatus", "orderState"}
    assert held["orderState"]["status"] == held["orderStatus"]["status"]
    return held["orderStatus"]["status"], held["orderState"]["state"], held["orderState"]["reason"]


@pytest.mark.scenario("B46")
def test_a_read_only_tws_refuses_an_order_and_its_owner_is_told() -> None:
    async def scene(here: Scene) -> None:
        here.tws.fault({"do": "read-only"})
        topic = here.do("placeOrder", key="k", contract=AAPL, order=LIMIT)["topic"]
        await here.until(lambda: here.of("error", topic), 5)
        (told,) = here.of("error", topic)
        assert (told.data["errorCode"], told.data["ends"]) == (321, True)
        await asyncio.sleep(60)
        assert len(here.of("error", topic)) == 1

    play(scene)


@pytest.mark.parametrize("away", [60, 700])
@pytest.mark.scenario("B47")
def test_executions_of_before_midnight_are_not_to_be_had_and_the_order_is_told_to_be_unknown(away: int) -> None:
    pair = {"symbol": "EUR", "secType": "CASH", "exchange": "IDEALPRO", "currency": "USD"}
    order = {"action": "BUY", "totalQuantity": 20_000, "orderType": "MKT"}

    async def scene(here: Scene) -> None:
        here.tws.fault({"do": "close", "on": "placeOrder"})
        topic = here.do("placeOrder", key="k", contract=pair, order=order)["topic"]
        await here.until(lambda: not here.daemon.parts.tws.session.ready)
        here.tws.fault({"do": "refuse", "for": away})
        await here.until_ready()
        topics = [here.do("reqExecutions", execFilter={})["topic"], here.do("reqPositions")["topic"]]
        await here.until(lambda: here.of("positionEnd") and here.of("execDetailsEnd", topics[0]), 5)
        assert len(here.of("execDetails", topics[0])) == (away < 300)
        assert {each.data["position"] for each in here.of("position")} == {20_000}  # the daemon has asked as well
        assert [each.data["ends"] for each in here.of("error", topic)] == [None]

    play(scene, {"speed": 100.0})  # which makes 1.7 h of a minute


@pytest.mark.scenario("B48")
def test_of_a_bracket_that_was_cut_each_order_is_told_what_is_known_of_it() -> None:
    async def scene(here: Scene) -> None:
        here.tws.fault({"do": "close", "on": "placeOrder"})
        parent = here.do("placeOrder", key="parent", contract=AAPL, order={**LIMIT, "transmit": False})
        child = {**LIMIT, "action": "SELL", "parentId": parent["orderId"]}
        profit = here.do("placeOrder", key="profit", contract=AAPL, order={**child, "transmit": False})
        stop = here.do("placeOrder", key="stop", contract=AAPL, order={**child, "orderType": "STP", "auxPrice": 0.5})
        await here.until_ready()
        await asyncio.sleep(60)
        for each in (parent, profit, stop):
            (told,) = here.of("error", each["topic"])
            assert (told.data["errorCode"], told.data["ends"]) == (504, None)
            assert here.of("openOrder", each["topic"]) == []
        assert _states(here, parent["topic"])[-1] == ("held", None), "TWS lists no order that it holds"
        assert _states(here, stop["topic"])[-1] == ("done", "not_at_tws")
        assert here.figures()["connections"]["accepted"] == 2

    play(scene)


@pytest.mark.parametrize("code", [10167, 2174, 10090, 399])
@pytest.mark.scenario("B33")
def test_a_warning_is_passed_on_and_what_it_is_about_lives(code: int) -> None:
    middle = Middle(226)
    number = middle.subscribe()
    order = middle.place("k")
    for about, topic in ((number, "md.AAPL-STK-SMART-USD.error."), (order, "ord.a.k.error.")):
        heard = middle.error(about, code, "a word")
        assert (heard.topic, heard.data["class"], heard.data["ends"]) == (topic, "warning", False)
    assert middle.tick(number).topic == "md.AAPL-STK-SMART-USD.tickPrice."
    middle.link.take()
    middle.reconnect()
    assert [sent.name for sent in middle.link.take()] == ["reqMktData"]


@pytest.mark.scenario("B35")
def test_tick_types_and_error_codes_that_nobody_knows_are_passed_on_and_end_nothing() -> None:
    middle = Middle(226)
    number = middle.subscribe()
    assert middle.tick(number, 2.0, tick_type=9999).data["tickType"] == 9999
    heard = middle.error(number, 99_999)
    assert (heard.topic, heard.data["ends"]) == ("md.AAPL-STK-SMART-USD.error.", None)
    assert middle.tick(number).topic == "md.AAPL-STK-SMART-USD.tickPrice."


@pytest.mark.parametrize("kind", ["unknown", "undecodable", "surplus", "empty"])
@pytest.mark.scenario("B35", "B36")
def test_after_a_frame_that_is_none_everything_goes_on(kind: str) -> None:
    async def scene(here: Scene) -> None:
        topic = here.do("reqMktData", contract=AAPL)["topic"]
        await here.flows(topic)
        here.tws.fault({"do": "garbage", "kind": kind})
        await here.flows(topic, 60)
        await asyncio.sleep(60)
        assert len(here.of("decodeError")) == (kind != "surplus")
        assert here.figures()["connections"]["accepted"] == 1

    play(scene)


# Clients


@pytest.mark.scenario("B51")
def test_what_a_client_left_behind_goes_on_and_can_be_shared_and_its_orders_live() -> None:
    async def scene(here: Scene) -> None:
        topic = here.do("reqMktData", "gone", contract=AAPL)["topic"]
        order = here.do("placeOrder", "gone", "k", contract=AAPL, order={**LIMIT, "lmtPrice": 1.0})["topic"]
        await here.until(lambda: here.of("openOrder", order))
        await asyncio.sleep(3600)
        assert here.figures()["subscriptions"] == {1: 1}
        await here.flows(topic, 60)
        other = here.do("reqMktData", "other", contract=AAPL)
        assert other["topic"] == topic
        here.do("cancelMktData", "other", id=other["id"])
        await asyncio.sleep(10)
        assert here.figures()["subscriptions"] == {1: 1}
        assert {each.data["status"] for each in here.of("orderStatus", order)} <= {"PreSubmitted", "Submitted"}

    play(scene)


@pytest.mark.parametrize("newest", [176, 200, 226])
@pytest.mark.scenario("B52")
def test_a_client_asks_and_is_told_the_same_whatever_tws_speaks(newest: int) -> None:
    async def scene(here: Scene) -> None:
        topic = here.do("reqContractDetails", contract=AAPL)["topic"]
        await here.until(lambda: here.of("contractDetailsEnd", topic))
        details = here.of("contractDetails", topic)[0].data["contractDetails"]
        assert (details["contract"]["symbol"], details["contract"]["conId"], details["minTick"]) == (
            "AAPL",
            265598,
            0.01,
        )
        assert here.daemon.parts.tws.session.version == newest

    play(scene, {"newest": newest})


@pytest.mark.scenario("B53")
def test_who_comes_while_upstream_is_away_sees_that_in_a_snapshot_and_that_data_is_stale() -> None:
    async def scene(here: Scene) -> None:
        topic = here.do("reqMktData", contract=AAPL)["topic"]
        await here.flows(topic)
        here.tws.fault({"do": "1100"})
        await asyncio.sleep(10)
        state = _snapshot(here, "sys.tws.")
        assert [each.data["state"] for each in state if each.data.get("farm") == "upstream"] == ["lost"]
        here.tws.fault({"do": "refuse", "for": 3600})
        here.tws.fault({"do": "close"})
        await here.until(lambda: not here.daemon.parts.tws.session.ready)
        error = here.call("reqMktData", "new", contract=MSFT)["error"]
        assert (error["code"], error["outcome"]) == ("E_NOT_CONNECTED", "not_sent")
        (connection,) = [each for each in _snapshot(here, "sys.tws.") if each.body["type"] == "connection"]
        assert connection.data["stage"] != "ready"
        ticks = [each for each in _snapshot(here, topic) if each.body["type"] == "tickPrice"]
        assert ticks
        assert all("stale" in each.body.get("flags", ()) or each.body.get("stale") for each in ticks), ticks[0].body

    play(scene)


def _snapshot(here: Scene, prefix: str) -> list[Heard]:
    streams = here.do("snapshot", "new", prefix=prefix)["streams"]
    return [Heard(topic.decode(), msgpack.unpackb(body)) for each in streams for topic, body in each["messages"]]
