"""Every fault through sockets: it happens, to the one client it is meant for, and it ends."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from ibbridge.codec import HandshakeError, HandshakeState
from ibbridge.sim.faults import control_socket
from ibbridge.sim.faults.script import FaultError, read, step
from tests.support.simulator_client import AAPL, EURUSD
from tests.unit.sim.test_server import Caller, caller, simulator, through_a_socket


@contextlib.asynccontextmanager
async def pair(**options):
    """A simulator, the client that faults are for (1), and one that they are not for (2)."""
    async with simulator(**options) as tws, caller(tws.port, 1) as one, caller(tws.port, 2) as two:
        await one.ready()
        await two.ready()
        await settled(one)
        await settled(two)
        yield tws, one, two


async def settled(client):
    """Wait until the client has heard everything up to now, and forget it."""
    client.ask("reqCurrentTimeInMillis")
    await client.until("currentTimeInMillis")
    client.messages.clear()


async def between(client, ask, *args, **more):
    """The messages from a request to the answer to the one after it."""
    client.ask(ask, *args, **more)
    client.ask("reqCurrentTimeInMillis")
    heard: list[str] = []
    while not any(name == "currentTimeInMillis" for name in heard):
        while not client.messages:
            assert not client.over
            await client._more()
        heard.append(client.messages.pop(0).name)
    return heard[:-1]


async def error(client, number):
    return await client.until("error", errorCode=number)


def watch(client, number=11, contract=AAPL):
    client.ask("reqMktData", reqId=number, contract=contract, genericTickList="", snapshot=False)


# -- connections ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [{"do": "refuse", "for": 1}, {"do": "restart", "for": 1}])
@through_a_socket
async def test_the_port_is_closed_and_opens_again(step):
    async with simulator() as tws:
        tws.fault(step)
        with pytest.raises(ConnectionRefusedError):
            await Caller().dial(tws.port)
        while True:
            with contextlib.suppress(ConnectionRefusedError):
                async with caller(tws.port) as client:
                    await client.ready()
                    break
            await asyncio.sleep(0)
        assert tws.figures()["connections"]["accepted"] == 1


@through_a_socket
async def test_a_closed_port_leaves_who_is_connected():
    async with pair() as (tws, one, _):
        tws.fault({"do": "refuse", "for": 100})
        await settled(one)


@through_a_socket
async def test_a_connection_is_accepted_and_closed_so_many_times():
    async with simulator() as tws:
        tws.fault({"do": "accept-close", "times": 2})
        for _ in range(2):
            async with caller(tws.port) as client:
                await client.end()
        async with caller(tws.port) as client:
            await client.ready()
        assert tws.figures()["connections"]["refused"] == 2


@pytest.mark.parametrize(("stage", "state"), [
    ("accepted", HandshakeState.GREETING), ("version", HandshakeState.STARTING), ("start", HandshakeState.STARTING),
])  # fmt: skip
@through_a_socket
async def test_a_handshake_stalls(stage, state):
    async with simulator() as tws:
        tws.fault({"do": "stall", "stage": stage} | ({"client": 1} if stage == "start" else {}))
        async with caller(tws.port, 1) as stalled:
            waiting = asyncio.ensure_future(stalled.ready())
            if stage == "start":
                async with caller(tws.port, 2) as other:
                    await (await other.ready()).until("error")
            while stalled.link.state is not state or not any(link.mute for link in tws._links):  # noqa: ASYNC110
                await asyncio.sleep(0)
            assert not waiting.done()
            waiting.cancel()
        tws.fault({"do": "off"})
        async with caller(tws.port, 3) as client:
            await client.ready()


@through_a_socket
async def test_mute_after_ready_is_for_one_client_and_ends():
    async with pair() as (tws, one, two):
        tws.fault({"do": "stall", "stage": "ready", "client": 1})
        one.ask("reqCurrentTime")
        for _ in range(3):
            await settled(two)
        tws.fault({"do": "off", "client": 1})
        assert await between(one, "reqIds", numIds=1) == ["nextValidId"]


@through_a_socket
async def test_a_half_open_connection_stays_and_delivers_at_its_end():
    async with pair() as (tws, one, two):
        tws.fault({"do": "half-open", "client": 1})
        one.ask("reqCurrentTime")
        await settled(two)
        assert not one.over
        tws.fault({"do": "off", "fault": "half-open"})
        assert (await one.until("currentTime"))["time"]


@through_a_socket
async def test_a_connection_ends_at_a_byte():
    async with pair() as (tws, one, two):
        tws.fault({"do": "drop", "bytes": 10, "client": 1})
        one.ask("reqContractDetails", reqId=5, contract=AAPL)
        data = b""
        while more := await one.reader.read(100):
            data += more
        assert len(data) == 10
        await settled(two)


@pytest.mark.parametrize("abort", [False, True])
@through_a_socket
async def test_a_connection_ends_now(abort):
    async with pair() as (tws, one, two):
        tws.fault({"do": "close", "abort": abort, "client": 1})
        await one.end()
        await settled(two)
        assert tws.figures()["connections"]["closed"] == 1


@pytest.mark.parametrize("step", [
    {"do": "split"}, {"do": "split", "bytes": 3}, {"do": "merge", "seconds": 0.05}, {"do": "slow", "rate": 20_000},
])  # fmt: skip
@through_a_socket
async def test_bytes_arrive_whole_however_they_are_written(step):
    async with pair() as (tws, one, _):
        tws.fault({**step, "client": 1})
        one.ask("reqContractDetails", reqId=5, contract=AAPL)
        assert (await one.until("contractDetails"))["contractDetails"]["longName"] == "APPLE INC"
        tws.fault({"do": "off"})
        await settled(one)


@through_a_socket
async def test_a_redirect_and_a_version_too_new():
    async with simulator() as tws:
        for number in (-1, 999):
            tws.fault({"do": "greet", "announce": number, "time": "10.0.0.1:4001", "times": 1})
            async with caller(tws.port) as client:
                with pytest.raises(HandshakeError):
                    await client.ready()
        async with caller(tws.port) as client:
            await client.ready()


@through_a_socket
async def test_a_connection_time_that_is_not_ascii():
    async with simulator() as tws:
        tws.fault({"do": "greet"})
        async with caller(tws.port) as client:
            await client.ready()


# -- client ids -------------------------------------------------------------------------------------------------------


@through_a_socket
async def test_an_id_in_use():
    async with pair() as (tws, _, two):
        tws.fault({"do": "id-in-use", "client": 5, "times": 1})
        async with caller(tws.port, 5) as client:
            await client.end()
            assert 326 in [each.data.get("errorCode") for each in client.messages]
        tws.fault({"do": "id-in-use", "how": "close", "client": 5, "times": 1})
        async with caller(tws.port, 5) as client:
            await client.end()
            assert [each.name for each in client.messages] == ["serverVersion"]
        async with caller(tws.port, 5) as client:
            await client.ready()
        await settled(two)


@through_a_socket
async def test_an_id_stays_taken_after_a_drop():
    async with simulator() as tws:
        tws.fault({"do": "stuck-id", "seconds": 1, "client": 1})
        async with caller(tws.port, 1) as client:
            await client.ready()
        tries = 0
        while True:
            async with caller(tws.port, 1) as client:
                try:
                    await client.ready()
                    break
                except EOFError:
                    tries += 1
        assert tries


@through_a_socket
async def test_a_restart_moves_ids_and_loses_what_was_not_transmitted():
    async with simulator() as tws:
        async with caller(tws.port, 1) as client:
            await client.ready()
            order = {"action": "BUY", "totalQuantity": 1, "orderType": "LMT", "lmtPrice": 1.0}
            client.ask("placeOrder", orderId=10, contract=AAPL, order=order)
            await client.until("orderStatus")
            client.ask("placeOrder", orderId=11, contract=AAPL, order=order | {"transmit": False})
            await settled(client)
            tws.fault({"do": "restart", "for": 0, "ids": -5})
            await client.end()
        while True:
            with contextlib.suppress(ConnectionRefusedError):
                async with caller(tws.port, 1) as client:
                    assert (await client.until("nextValidId"))["orderId"] == 7
                    await client.ready()
                    assert [each.order_id for each in tws.core.orders.book.tickets] == [10]
                    break
            await asyncio.sleep(0)


# -- upstream and farms -----------------------------------------------------------------------------------------------


@through_a_socket
async def test_1100_again_and_again_then_1101_loses_subscriptions():
    async with pair() as (tws, one, two):
        watch(one)
        watch(two)
        await one.until("tickPrice")
        tws.fault({"do": 1100, "repeat": 3, "every": 0.01, "client": 1})
        for _ in range(3):
            await error(one, 1100)
        one.messages.clear()
        await two.until("tickSize")
        assert await between(one, "reqContractDetails", reqId=6, contract=AAPL) == []
        assert tws.figures()["subscriptions"] == {1: 1, 2: 1}
        tws.fault({"do": 1101, "client": 1})
        await error(one, 1101)
        assert tws.figures()["subscriptions"] == {1: 0, 2: 1}
        one.ask("cancelMktData", reqId=11)
        assert (await one.until("error", reqId=11))["errorCode"] == 300


@through_a_socket
async def test_orders_wait_for_1102_and_one_stream_stays_dead():
    async with pair() as (tws, one, _):
        watch(one, 11)
        watch(one, 12, EURUSD)
        await one.until("tickPrice", reqId=12)
        tws.fault({"do": "1100", "client": 1})
        order = {"action": "BUY", "totalQuantity": 100, "orderType": "MKT"}
        assert "orderStatus" not in await between(one, "placeOrder", orderId=13, contract=AAPL, order=order)
        tws.fault({"do": "1102", "dead": 1, "client": 1})
        await error(one, 1102)
        await one.until("orderStatus", status="Filled")
        one.messages.clear()
        await one.until("tickSize", reqId=12)
        for each in one.messages:
            assert each.data.get("reqId") != 11
        one.ask("cancelMktData", reqId=11)
        watch(one, 14)
        await one.until("tickPrice", reqId=14)


@through_a_socket
async def test_an_outage_ends_by_itself():
    async with pair() as (tws, one, _):
        tws.fault({"do": "2110", "for": 0.05, "client": 1})
        await error(one, 2110)
        await error(one, 1102)


@through_a_socket
async def test_a_farm_freezes_its_streams_and_no_others():
    async with pair() as (tws, one, two):
        watch(one, 11)
        watch(one, 12, EURUSD)
        watch(two, 11)
        await one.until("tickPrice", reqId=12)
        await two.until("tickPrice")
        tws.fault({"do": "farm", "code": 2103, "farm": "usfarm", "client": 1})
        assert (await error(one, 2103))["errorString"].endswith(":usfarm")
        one.messages.clear()
        for _ in range(3):
            await two.until("tickSize", reqId=11)
            await one.until("tickSize", reqId=12)
        assert not any(each.data.get("reqId") == 11 for each in one.messages)
        tws.fault({"do": "farm", "code": 2104, "farm": "usfarm", "client": 1})
        await error(one, 2104)
        await one.until("tickSize", reqId=11)


@through_a_socket
async def test_streams_stay_dead_after_2104():
    async with pair() as (tws, one, _):
        watch(one, 11)
        watch(one, 12, EURUSD)
        await one.until("tickPrice", reqId=12)
        tws.fault({"do": "farm", "code": 2103, "farm": "usfarm", "client": 1, "dead": True, "for": 0.02})
        await error(one, 2104)
        heard = []
        for _ in range(3):
            while not one.messages:
                await one._more()
            heard += [each.data.get("reqId") for each in one.messages if each.name != "error"]
            one.messages.clear()
        assert 12 in heard
        assert 11 not in heard


@pytest.mark.parametrize("number", [2105, 2106, 2107, 2108, 2119, 2158])
@through_a_socket
async def test_notices_name_their_farm(number):
    async with pair() as (tws, one, _):
        tws.fault({"do": "farm", "code": number, "farm": "eufarm", "client": 1})
        assert (await error(one, number))["errorString"].endswith("eufarm")


@through_a_socket
async def test_a_false_200_while_the_secdef_farm_is_down():
    async with pair() as (tws, one, two):
        tws.fault({"do": "farm", "code": 2157, "farm": "secdefnj", "client": 1})
        for client in (one, two):
            client.ask("reqContractDetails", reqId=5, contract=AAPL)
        await error(one, 200)
        await two.until("contractDetails")
        tws.fault({"do": "farm", "code": 2158, "farm": "secdefnj", "client": 1})
        one.ask("reqContractDetails", reqId=6, contract=AAPL)
        await one.until("contractDetails")


@through_a_socket
async def test_10182_ends_bars_that_were_kept_up_to_date():
    async with pair() as (tws, one, _):
        bars = {"durationStr": "60 S", "barSizeSetting": "5 secs", "whatToShow": "TRADES", "endDateTime": ""}
        one.ask("reqHistoricalData", reqId=7, contract=AAPL, useRTH=0, formatDate=1, keepUpToDate=True, **bars)
        await one.until("historicalData")
        tws.fault({"do": 10182, "client": 1})
        assert (await error(one, 10182))["reqId"] == 7
        one.ask("cancelHistoricalData", reqId=7)
        await error(one, 366)


@through_a_socket
async def test_a_competing_session_silences_market_data():
    async with pair() as (tws, one, two):
        watch(one)
        watch(two)
        await one.until("tickPrice")
        await two.until("tickPrice")
        tws.fault({"do": "competing", "client": 1})
        assert (await error(one, 10197))["reqId"] == 11
        watch(one, 12)
        assert (await error(one, 10197))["reqId"] == 12
        one.messages.clear()
        await two.until("tickSize")
        tws.fault({"do": "off", "client": 1})
        await one.until("tickSize", reqId=11)


@through_a_socket
async def test_1300_names_the_port_and_closes():
    async with pair() as (tws, one, two):
        tws.fault({"do": 1300, "port": 7500, "client": 1})
        assert "7500" in (await error(one, 1300))["errorString"]
        await one.end()
        await settled(two)


# -- orders and requests ----------------------------------------------------------------------------------------------


async def bought(client, number):
    order = {"action": "BUY", "totalQuantity": 100, "orderType": "MKT"}
    client.ask("placeOrder", orderId=number, contract=AAPL, order=order)
    heard: list[str] = []
    while not heard or heard[-1] != "commissionAndFeesReport":
        while not client.messages:
            await client._more()
        heard.append(client.messages.pop(0).name)
    return heard


@through_a_socket
async def test_order_events_twice_or_one_missing():
    async with pair() as (tws, one, two):
        tws.fault({"do": "order-events", "how": "duplicate", "message": "execDetails", "client": 1})
        assert (await bought(one, 5)).count("execDetails") == 2
        assert (await bought(two, 5)).count("execDetails") == 1
        tws.fault({"do": "off", "client": 1})
        tws.fault({"do": "order-events", "how": "lose", "message": "execDetails", "times": 1, "client": 1})
        await settled(one)
        assert (await bought(one, 6)).count("execDetails") == 0
        await settled(one)
        assert (await bought(one, 7)).count("execDetails") == 1


@through_a_socket
async def test_order_events_in_reverse():
    async with pair() as (tws, one, _):
        tws.fault({"do": "order-events", "how": "reorder", "client": 1})
        heard = await bought(one, 5)
        events = [each for each in heard if each != "error"]
        assert events.index("orderStatus") < events.index("openOrder")


@through_a_socket
async def test_orders_are_rejected_and_read_only():
    async with pair() as (tws, one, two):
        tws.fault({"do": "reject", "times": 1, "client": 1})
        order = {"action": "BUY", "totalQuantity": 100, "orderType": "MKT"}
        one.ask("placeOrder", orderId=5, contract=AAPL, order=order)
        assert (await error(one, 201))["reqId"] == 5
        tws.fault({"do": "read-only", "client": 1})
        one.ask("placeOrder", orderId=6, contract=AAPL, order=order)
        await error(one, 321)
        await bought(two, 5)
        tws.fault({"do": "off", "fault": "read-only"})
        await bought(one, 6)


@through_a_socket
async def test_requests_get_no_answer_and_messages_are_lost():
    async with pair() as (tws, one, two):
        tws.fault({"do": "ignore", "requests": ["reqCurrentTime"], "client": 1})
        assert await between(one, "reqCurrentTime") == []
        assert await between(two, "reqCurrentTime") == ["currentTime"]
        tws.fault({"do": "off", "client": 1})
        tws.fault({"do": "lose", "messages": ["currentTime"], "times": 1, "client": 1})
        assert await between(one, "reqCurrentTime") == []
        assert await between(one, "reqCurrentTime") == ["currentTime"]


@through_a_socket
async def test_answers_are_late():
    async with pair() as (tws, one, _):
        tws.fault({"do": "delay", "seconds": 0.05, "requests": ["reqCurrentTime"], "client": 1})
        assert await between(one, "reqCurrentTime") == []
        await one.until("currentTime")


@pytest.mark.parametrize("kind", ["unknown", "surplus", "undecodable"])
@through_a_socket
async def test_garbage_between_messages(kind):
    async with pair() as (tws, one, _):
        tws.fault({"do": "garbage", "kind": kind, "client": 1})
        data = await one.reader.read(1000)
        found = list(one.link.receive_data(data))
        assert len(found) == 1
        assert kind == "surplus" or type(found[0]).__name__ == "Undecodable"
        await settled(one)


# -- limits and figures -----------------------------------------------------------------------------------------------


@through_a_socket
async def test_who_talks_too_fast_is_told_and_the_third_time_closed():
    async with pair(pace=20) as (tws, one, two):
        while not one.over and tws.figures()["violations"].get(1, 0) < 3:
            one.ask("reqIds", numIds=1)
            await asyncio.sleep(0)
        await one.end()
        texts = [each.data["errorString"] for each in one.messages if each.data.get("errorCode") == 100]
        assert [text[-3:] for text in texts] == ["(1)", "(2)", "(3)"]
        assert "max=20" in texts[0]
        await settled(two)
        figures = tws.figures()
        assert figures["violations"] == {1: 3}
        assert figures["rates"][1] > 20 >= figures["rates"][2]


@through_a_socket
async def test_who_talks_too_fast_is_heard_late():
    async with pair() as (tws, one, _):
        tws.fault({"do": "pace", "rate": 200, "how": "wait", "client": 1})
        for _ in range(30):
            one.ask("reqCurrentTime")
        for _ in range(30):
            await one.until("currentTime")
        assert tws.figures()["violations"] == {}


@through_a_socket
async def test_history_is_paced():
    async with pair(history=True) as (tws, one, _):
        bars = {"durationStr": "60 S", "barSizeSetting": "5 secs", "whatToShow": "TRADES", "endDateTime": ""}
        for number in (7, 8):
            one.ask("reqHistoricalData", reqId=number, contract=AAPL, useRTH=0, formatDate=1, **bars)
        found = await error(one, 162)
        assert (found["reqId"], "pacing violation" in found["errorString"]) == (8, True)
        assert tws.figures()["historyViolations"] == {1: 1}


@through_a_socket
async def test_a_script_runs_by_time_and_by_request():
    script = "- {at: 0, do: ignore, requests: [reqCurrentTime], client: 1}\n- {on: reqScannerParameters, do: close}\n"
    async with pair(faults=read(script)) as (_, one, two):
        assert await between(one, "reqCurrentTime") == []
        assert await between(two, "reqCurrentTime") == ["currentTime"]
        two.ask("reqScannerParameters")
        await one.end()
        await two.end()


@through_a_socket
async def test_faults_by_command(tmp_path):
    endpoint = f"ipc://{tmp_path}/control"
    async with pair(control=endpoint) as (_, one, two):
        send = asyncio.to_thread
        assert await send(control_socket.send, endpoint, {"do": "clsoe"}, 10.0) == {
            "ok": False, "error": "do: 'clsoe' is no fault; did you mean close?",
        }  # fmt: skip
        answer = await send(control_socket.send, endpoint, {"do": "close", "client": 1}, 10.0)
        assert answer == {"ok": True, "error": None}
        await one.end()
        watch(two)
        await two.until("tickPrice")
        figures = (await send(control_socket.send, endpoint, {"do": "figures"}, 10.0))["figures"]
        assert figures["connections"] == {"accepted": 2, "refused": 0, "closed": 1}
        assert figures["subscriptions"] == {2: 1}


@through_a_socket
async def test_a_person_makes_orders_by_command_and_by_script():
    script = [step({"do": "by-hand", "symbol": "NOSUCH"}), step({"do": "by-hand", "symbol": "MSFT"})]
    async with simulator(faults=script) as tws:
        made = tws.fault({"do": "by-hand", "symbol": "AAPL", "action": "SELL", "quantity": 7, "price": 900})
        [late] = [each for each in tws.core.orders.book.tickets if each.perm_id == made["permId"]]
        assert (late.order["action"], late.order["lmtPrice"], late.manual) == ("SELL", 900.0, True)
        assert [each.contract["symbol"] for each in tws.core.orders.book.tickets] == ["MSFT", "AAPL"]
        with pytest.raises(FaultError, match="the host refuses the order: 200 "):
            tws.fault({"do": "by-hand", "symbol": "NOSUCH"})


@through_a_socket
async def test_a_fault_that_cannot_be_is_refused_in_process():
    async with simulator() as tws:
        with pytest.raises(FaultError, match="no fault"):
            tws.fault({"do": "explode"})
