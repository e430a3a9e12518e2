from __future__ import annotations

import asyncio
import contextlib
import functools

import pytest

from ibbridge import sim
from ibbridge.codec import Connection, Greeting, HandshakeState, Message, frame
from ibbridge.sim import Simulator
from ibbridge.sim.engine import EPOCH
from tests.support.sample_requests import usual
from tests.support.simulator_client import AAPL

PATIENCE = 60
"""Seconds after which a test that waits has failed; nothing depends on how soon it is."""


def through_a_socket(test):
    """Run a coroutine as a test, with an end to its patience."""

    @functools.wraps(test)
    def run(*args, **kwargs):
        asyncio.run(asyncio.wait_for(test(*args, **kwargs), PATIENCE))

    return run


class Caller:
    """A client on a socket."""

    def __init__(self, client_id=1, *, newest=226, step=None):
        self.link = Connection(client_id, Greeting(newest))
        self.step = step
        self.messages = []
        self.over = False

    async def dial(self, port):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", port)
        self._write(self.link.data_to_send())
        return self

    def _write(self, data):
        for start in range(0, len(data), self.step or len(data) or 1):
            self.writer.write(data[start : start + (self.step or len(data))])

    async def until(self, name, **wanted):
        """The first message of a name with these values, from what has not been looked at yet."""
        while True:
            while self.messages:
                message = self.messages.pop(0)
                if message.name == name and all(message.data.get(key) == value for key, value in wanted.items()):
                    return message.data
            if self.over:
                raise EOFError(name)
            await self._more()

    async def _more(self):
        data = await self.reader.read(self.step or 65_536)
        self.over = not data
        for message in self.link.receive_data(data):
            assert isinstance(message, Message), message
            self.messages.append(message)
            self._write(self.link.data_to_send())

    def ask(self, name, **args):
        assert self.link.dialect is not None
        self._write(self.link.dialect.write(name, args))

    async def ready(self):
        while self.link.state is not HandshakeState.READY:
            if self.over:
                raise EOFError("not ready")
            await self._more()
        return self

    async def end(self):
        """Read up to the other side's close."""
        with contextlib.suppress(ConnectionError):
            while not self.over:
                await self._more()

    async def hang_up(self):
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


@contextlib.asynccontextmanager
async def simulator(**options):
    async with Simulator(seed=1, start=EPOCH, tick=0.005, **options) as running:
        yield running


@contextlib.asynccontextmanager
async def caller(port, *args, **options):
    made = await Caller(*args, **options).dial(port)
    try:
        yield made
    finally:
        await made.hang_up()


@pytest.mark.parametrize("version", [176, 178, 195, 196, 200, 201, 203, 206, 208, 213, 226])
@through_a_socket
async def test_every_version_trades(version):
    async with simulator() as tws, caller(tws.port, newest=version) as client:
        await client.ready()
        assert client.link.version == version
        client.ask("reqMktData", reqId=11, contract=AAPL, genericTickList="", snapshot=False)
        assert (await client.until("tickPrice", tickType=4))["reqId"] == 11
        order = {"action": "BUY", "totalQuantity": 100, "orderType": "MKT"}
        client.ask("placeOrder", orderId=12, contract=AAPL, order=order)
        fill = await client.until("execDetails")
        assert (fill["execution"]["shares"], fill["execution"]["orderId"]) == (100.0, 12)
        assert (await client.until("orderStatus", status="Filled"))["remaining"] == 0.0
        report = (await client.until("commissionAndFeesReport"))["commissionAndFeesReport"]
        assert report["commissionAndFees"] == 1.0
        history = {"durationStr": "1 D", "barSizeSetting": "1 hour", "whatToShow": "TRADES"}
        client.ask("reqHistoricalData", reqId=13, contract=AAPL, endDateTime="", useRTH=0, formatDate=1, **history)
        assert len((await client.until("historicalData"))["bars"]) >= 24


@pytest.mark.parametrize(("cap", "offered", "agreed"), [(200, 226, 200), (226, 178, 178), (213, 213, 213)])
@through_a_socket
async def test_the_lower_of_both_versions_is_spoken(cap, offered, agreed):
    async with simulator(newest=cap) as tws, caller(tws.port, newest=offered) as client:
        await client.ready()
        assert client.link.version == agreed


@pytest.mark.parametrize("step", [1, 3, 7])
@through_a_socket
async def test_any_fragmentation_gives_the_same(step):
    async with simulator() as tws, caller(tws.port, step=step) as client:
        await client.ready()
        client.ask("reqContractDetails", reqId=1, contract=AAPL)
        assert (await client.until("contractDetails"))["contractDetails"]["contract"]["conId"] == 265598


@through_a_socket
async def test_nothing_is_said_before_the_greeting_and_the_start():
    async with simulator() as tws, caller(tws.port) as other:
        reader, writer = await asyncio.open_connection("127.0.0.1", tws.port)
        writer.write(b"API\0" + frame(b"v100..226"))
        assert (await reader.readexactly(8))[4:] == b"226\0"
        await other.ready()
        other.ask("reqTickByTickData", reqId=1, contract=AAPL, tickType="BidAsk", numberOfTicks=0, ignoreSize=False)
        for _ in range(2):  # so time has passed
            await other.until("tickByTickBidAsk")
        writer.write_eof()
        rest = await reader.read()
        assert rest.count(b"\0") == 1, "only the connection time is left"
        writer.close()


@through_a_socket
async def test_a_client_id_in_use_is_told_and_closed_and_the_first_goes_on():
    async with simulator() as tws, caller(tws.port) as first, caller(tws.port) as second:
        await first.ready()
        assert (await second.until("error"))["errorCode"] == 326
        await second.end()
        first.ask("reqCurrentTime")
        assert (await first.until("currentTime"))["time"] >= EPOCH


@through_a_socket
async def test_the_connection_above_the_limit_is_closed():
    async with simulator(clients=2) as tws, contextlib.AsyncExitStack() as stack:
        callers = [await stack.enter_async_context(caller(tws.port, number)) for number in (1, 2)]
        for each in callers:
            await each.ready()
        with pytest.raises((EOFError, ConnectionError)):
            async with caller(tws.port, 3) as third:
                await third.ready()
        await callers[0].hang_up()
        while True:  # until the simulator has noticed
            async with caller(tws.port, 3) as third:
                with contextlib.suppress(EOFError, ConnectionError):
                    await third.ready()
                    break


@pytest.mark.parametrize(
    "garbage",
    [b"GET / HTTP/1.1\r\n\r\n", b"API\0" + frame(b"hello"), b"API\0" + frame(b"v1..99"), b"API\0\xff\xff\xff\xff"],
)
@through_a_socket
async def test_what_is_no_client_is_closed_and_others_go_on(garbage):
    async with simulator() as tws, caller(tws.port) as client:
        reader, writer = await asyncio.open_connection("127.0.0.1", tws.port)
        writer.write(garbage)
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()
        await client.ready()


@through_a_socket
async def test_an_unreadable_request_is_320_and_the_connection_lives():
    async with simulator() as tws, caller(tws.port, newest=178) as client:
        await client.ready()
        client.writer.write(frame(b"1\00011\0not a number\0"))
        assert (await client.until("error", errorCode=320))["reqId"] == -1
        client.writer.write(frame(b"999\0001\0"))
        unknown = await client.until("error", errorCode=320)
        assert (unknown["reqId"], "999" in unknown["errorString"]) == (-1, True)
        client.ask("reqCurrentTime")
        await client.until("currentTime")


@pytest.mark.parametrize("version", [178, 200, 213, 226])
@through_a_socket
async def test_one_connection_takes_every_request_and_garbage_between(version):
    async with simulator() as tws, caller(tws.port, newest=version) as client:
        await client.ready()
        assert client.link.dialect is not None
        asked = usual(version)
        for number, (name, args) in enumerate(asked):
            client.writer.write(client.link.dialect.put(name, args))
            client.writer.write(GARBAGE[number % len(GARBAGE)])
        unreadable = [await client.until("error", errorCode=320) for _ in asked]
        assert {error["reqId"] for error in unreadable} == {-1}
        client.ask("reqCurrentTime")
        assert (await client.until("currentTime"))["time"] >= EPOCH


GARBAGE = (
    frame(b""),
    frame(b"\0"),
    frame(b"hello"),
    frame(b"999\0001\0002\0"),
    frame(b"\0\0\3\xe7\1\2\3"),
    frame(b"\0\0\0\xd1\xff\xff\xff\xff"),
    frame(b"\xff" * 1000),
    frame(b"\0" * 100_000),
    frame(b"3\0" + b"9" * 5000 + b"\0"),
    frame(b"\xd9\xa3\0\xd9\xa1\0"),  # digits, but not ASCII
)
"""Frames that mean nothing in any version: empty, too short, of unknown ids, of wrong bodies."""


@through_a_socket
async def test_who_does_not_read_is_cut_off_and_others_go_on():
    async with simulator(backlog=50_000) as tws, caller(tws.port, 1) as deaf, caller(tws.port, 2) as client:
        await deaf.ready()
        await client.ready()
        future = {"secType": "OPT", "symbol": "AAPL", "exchange": "SMART", "currency": "USD"}
        deaf.writer.transport.pause_reading()
        for request in range(30):
            deaf.ask("reqContractDetails", reqId=request, contract=future)
        while len(tws._links) > 1:
            client.ask("reqCurrentTime")
            await client.until("currentTime")


@through_a_socket
async def test_a_client_that_goes_leaves_its_orders():
    async with simulator() as tws:
        async with caller(tws.port, 1) as client:
            await client.ready()
            order = {"action": "BUY", "totalQuantity": 100, "orderType": "LMT", "lmtPrice": 1.0, "tif": "GTC"}
            client.ask("placeOrder", orderId=5, contract=AAPL, order=order)
            await client.until("orderStatus", status="Submitted")
        async with caller(tws.port, 2) as client:
            await client.ready()
            client.ask("reqAllOpenOrders")
            assert (await client.until("openOrder"))["order"]["clientId"] == 1


@through_a_socket
async def test_leaving_closes_every_connection():
    async with simulator() as tws:
        client = await Caller().dial(tws.port)
        await client.ready()
    await client.end()
    await client.hang_up()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", tws.port)


@through_a_socket
async def test_a_port_that_is_taken_is_an_error():
    async with simulator() as tws:
        with pytest.raises(OSError, match="in use"):
            async with Simulator(port=tws.port):
                pass


@through_a_socket
async def test_serving_goes_on_until_it_is_cancelled():
    port = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(sim.serve(seed=1, newest=200, started=port.set_result))
    async with caller(await port) as client:
        await client.ready()
        assert client.link.version == 200
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving


@through_a_socket
async def test_what_fails_inside_is_raised_as_it_is():
    with pytest.raises(LookupError):
        async with simulator():
            raise LookupError


# -- settings


@through_a_socket
async def test_answers_take_their_time_unless_they_are_told_not_to():
    async def order_of(**options):
        async with simulator(**options) as tws, caller(tws.port) as client:
            await client.ready()
            for number in range(12):
                client.ask("reqContractDetails", reqId=number, contract=AAPL)
            return [(await client.until("contractDetailsEnd"))["reqId"] for _ in range(12)]

    at_once, delayed = await order_of(delays=False), await order_of()
    assert at_once == list(range(12))
    assert sorted(delayed) == at_once != delayed


@through_a_socket
async def test_names_are_made_up_only_where_that_is_wanted():
    async def details(**options):
        async with simulator(**options) as tws, caller(tws.port) as client:
            await client.ready()
            client.ask("reqContractDetails", reqId=1, contract=AAPL | {"symbol": "XXX"})
            return await client.until("error" if not options else "contractDetails", reqId=1)

    assert (await details())["errorCode"] == 200
    assert (await details(made_up=True))["contractDetails"]["contract"]["symbol"] == "XXX"
