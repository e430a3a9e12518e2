"""The client for asyncio, against the daemon of two plain sockets: what is its own, beside what it shares."""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

from ibbridge.client import BridgeError, CommandError, Gap, Message, NoAnswer, aio, limit, stock
from ibbridge.client import Client as Blocking
from tests.support.fake_daemon import FakeDaemon, Refusal

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Awaitable, Callable, Iterator

    Body = Callable[[aio.Client, FakeDaemon], Awaitable[None]]

PATIENCE = 20.0  # seconds after which a test gives up on what must come
AT_ONCE = 0.05  # seconds after which what must not come has not come


@pytest.fixture
def daemon(tmp_path: pathlib.Path) -> Iterator[FakeDaemon]:
    fake = FakeDaemon(tmp_path)
    fake.answers["reqContractDetails"] = details
    fake.answers["reqMktData"] = lambda _, request: {"topic": f"md.{request['args']['contract']['symbol']}."}
    fake.answers["cancelMktData"] = lambda _, __: {}
    yield fake
    fake.stop()


def details(fake: FakeDaemon, request: dict[str, Any]) -> dict[str, str]:
    ref = {"client": request["client"], "id": request["id"]}
    for kind in ("contractDetails", "contractDetailsEnd"):
        fake.say(f"req.me.{request['id']}.{kind}.", ref=ref)
    return {"topic": f"req.me.{request['id']}."}


def connected(test: Body) -> Callable[[FakeDaemon], None]:
    """A test that is a coroutine, with a client."""

    async def within(daemon: FakeDaemon) -> None:
        async with aio.connect("me", daemon.pub, daemon.rep, timeout=PATIENCE) as ib:
            await test(ib, daemon)

    @functools.wraps(test)
    def run(daemon: FakeDaemon) -> None:
        asyncio.run(within(daemon), debug=False)

    run.__signature__ = inspect.Signature(  # type: ignore[attr-defined] # for pytest, which gives what it names
        [inspect.Parameter("daemon", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    )
    return run


async def received(ib: aio.Client) -> Message:
    message = await ib.receive(PATIENCE)
    assert message is not None, "no message came"
    return message


def test_it_has_the_methods_of_the_other_client() -> None:
    own = {name for name in dir(Blocking) if not name.startswith("_")}
    assert own - {"disconnect"} <= set(dir(aio.Client))


@connected
async def test_a_request_is_a_coroutine_and_its_data_comes(ib: aio.Client, daemon: FakeDaemon) -> None:
    made = await ib.reqMktData(stock("AAPL"), "233")
    daemon.publish("md.AAPL.tickPrice.", data={"price": 1.5})
    async for message in ib:
        assert (message.price, message.concerns(made)) == (1.5, True)
        ib.stop()
    await ib.cancelMktData(made)
    daemon.has_no_subscriber_of("md.AAPL.")
    assert str(inspect.signature(ib.reqMktData)).startswith("(contract, ")
    with pytest.raises(AttributeError, match="did you mean reqMktData"):
        ib.reqMktDta  # noqa: B018 -- that it is there is what is tested


@connected
async def test_a_hole_is_filled_and_what_is_lost_is_told(ib: aio.Client, daemon: FakeDaemon) -> None:
    await ib.subscribe("md.")
    daemon.publish("md.X.tickSize.")
    daemon.miss("md.X.tickSize.")
    daemon.publish("md.X.tickSize.")
    assert [((await received(ib)).seq) for _ in range(3)] == [1, 2, 3]
    daemon.publish("md.X.tickSize.", seq=9)
    gap = await received(ib)
    assert isinstance(gap, Gap)
    assert (gap.first, gap.last) == (4, 8)
    assert (await received(ib)).seq == 9


@connected
async def test_answers_are_given_to_whoever_asked_while_another_task_iterates(
    ib: aio.Client, daemon: FakeDaemon
) -> None:
    async def iterate() -> list[int]:
        return [message.seq async for message in ib if message.topic == "md.X.tickSize."]

    async def ask() -> list[str]:
        made = await ib.reqContractDetails(stock("AAPL"))
        daemon.publish("md.X.tickSize.")
        return [each.type async for each in ib.answers(made)]

    await ib.subscribe("md.")
    reader = asyncio.create_task(iterate())
    answers = await asyncio.gather(*(ask() for _ in range(50)))
    assert answers == [["contractDetails", "contractDetailsEnd"]] * 50
    ib.register("bye", lambda _: ib.stop())
    daemon.publish("sys.bridge.bye.")
    assert await reader == list(range(1, 51))


@connected
async def test_callbacks_may_be_coroutines_that_make_requests(ib: aio.Client, daemon: FakeDaemon) -> None:
    async def on_status(_: Message) -> None:
        await ib.reqMktData(stock("ES"))

    ib.register("orderStatus", on_status)
    daemon.publish("ord.me.k.orderStatus.")
    assert (await received(ib)).type == "orderStatus"
    daemon.has_subscriber_of("md.ES.")


@connected
async def test_under_a_flood_others_have_their_turn(ib: aio.Client, daemon: FakeDaemon) -> None:
    def flood(fake: FakeDaemon, request: dict[str, Any]) -> dict[str, str]:
        assert request["client"] == "me"
        for _ in range(900):  # less than the daemon of two sockets would drop
            fake.say("md.X.tickSize.")
        return {}

    daemon.answers["flood"] = flood
    await ib.subscribe("md.")
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    other = asyncio.create_task(others())
    await ib.call("flood")
    before = turns
    assert [(await received(ib)).seq for _ in range(900)] == list(range(1, 901))
    assert turns - before >= 5
    other.cancel()


@connected
async def test_who_is_cancelled_while_waiting_loses_nothing(ib: aio.Client, daemon: FakeDaemon) -> None:
    await ib.subscribe("md.")
    waiting = asyncio.create_task(ib.receive())
    await asyncio.sleep(0)
    waiting.cancel()
    assert await ib.receive(AT_ONCE) is None
    daemon.publish("md.X.tickSize.")
    assert (await received(ib)).seq == 1


async def outcome_of_silence(ib: aio.Client) -> str:
    with pytest.raises(NoAnswer) as silent:
        await ib.reqPositions()
    return silent.value.outcome


@connected
async def test_refusals_and_silence_are_those_of_the_other_client(ib: aio.Client, daemon: FakeDaemon) -> None:
    def refuse(*_: Any) -> None:
        raise Refusal("E_ARG", "a is wrong")

    daemon.answers |= {"placeOrder": refuse, "reqPositions": lambda _, __: None}
    with pytest.raises(CommandError, match="placeOrder: E_ARG: a is wrong"):
        await ib.placeOrder(stock("AAPL"), limit("BUY", 1, 2.0), key="k")
    await ib.subscribe("acct.")
    ib.timeout = AT_ONCE
    while (outcome := await outcome_of_silence(ib)) == "not_sent" and ib.timeout < PATIENCE:
        ib.timeout *= 2  # a busy machine has not sent it by then
    assert outcome == "unknown"
    ib.timeout = PATIENCE
    assert await asyncio.gather(*(ib.call("ping") for _ in range(20))) == [{"pong": True}] * 20


def test_a_command_that_had_no_reply_is_sent_again_with_the_same_id(
    daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ibbridge.client.commands.RETRY", AT_ONCE)
    replies = iter([None, None])
    daemon.answers["reqMarketDataType"] = lambda _, __: next(replies, {})

    @connected
    async def ask(ib: aio.Client, _: FakeDaemon) -> None:
        await ib.reqMarketDataType(1)

    ask(daemon)
    sent = [each for each in daemon.requests if each["cmd"] == "reqMarketDataType"]
    assert len(sent) >= 3
    assert all(each == sent[0] for each in sent)


def test_without_a_daemon_connecting_says_what_to_look_at(tmp_path: pathlib.Path) -> None:
    async def absent() -> None:
        await aio.connect("me", f"ipc://{tmp_path}/pub", f"ipc://{tmp_path}/rep", timeout=AT_ONCE)

    with pytest.raises(NoAnswer, match="Is ibbridge running"):
        asyncio.run(absent())


def test_waiting_for_tws_ends_although_another_task_takes_the_news(daemon: FakeDaemon) -> None:
    async def waiting() -> None:
        ib = await aio.connect("me", daemon.pub, daemon.rep, timeout=PATIENCE)
        stages = iter(["down", "connecting"])  # and no message says so to this task
        daemon.answers["status"] = lambda _, __: {"tws": {"stage": next(stages, "ready")}}
        await ib.wait_for_tws(3600.0)
        await ib.close()

    asyncio.run(waiting())


def test_connecting_waits_until_the_daemon_is_connected_to_tws(daemon: FakeDaemon) -> None:
    stages = iter(["down", "connecting"])

    def status(fake: FakeDaemon, _: dict[str, Any]) -> dict[str, Any]:
        fake.say("sys.tws.connection.", data={"stage": "?"})
        return {"tws": {"stage": next(stages, "ready")}}

    daemon.answers["status"] = status

    async def connecting() -> None:
        ib = await aio.connect("me", daemon.pub, daemon.rep, timeout=PATIENCE)
        assert (await received(ib)).type == "connection"  # seen while waiting, and not lost
        await ib.close()
        with pytest.raises(BridgeError, match="is closed"):
            await ib.receive()

    asyncio.run(connecting())


@connected
async def test_closing_ends_whoever_waits(ib: aio.Client, daemon: FakeDaemon) -> None:
    waiting = asyncio.create_task(ib.receive())
    await asyncio.sleep(0)
    await ib.close()
    with pytest.raises(BridgeError, match="is closed"):
        await waiting


def test_a_loop_that_hangs_closes_when_it_runs_again_and_nothing_fails_there(
    daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ibbridge.client.aio.CLOSING", AT_ONCE)
    failed: list[dict[str, Any]] = []

    async def hanging() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failed.append(context))
        ib = await aio.connect("me", daemon.pub, daemon.rep, timeout=PATIENCE)
        closing = threading.Thread(target=lambda: asyncio.run(ib.close()))
        closing.start()
        closing.join()  # the other thread has given up waiting for this loop
        await asyncio.sleep(0)
        with pytest.raises(BridgeError, match="is closed"):
            await ib.receive()

    asyncio.run(hanging())
    assert failed == []


@connected
async def test_a_forked_child_is_refused(ib: aio.Client, daemon: FakeDaemon) -> None:
    uses = [ib.receive(0), ib.receive(), ib.run(1), ib.call("ping"), ib.subscribe("md."), ib.reqMktData(stock("AAPL"))]
    child = os.fork()
    if not child:
        refused = 0
        try:
            for use in uses:
                try:
                    use.send(None)
                except BridgeError as error:
                    refused += "connect after the fork" in str(error)
            ib.close().send(None)
        except StopIteration:
            refused += 1
        finally:
            os._exit(refused)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == len(uses) + 1  # noqa: ASYNC222 -- it is about this
    for use in uses:
        use.close()
    assert await ib.call("ping") == {"pong": True}
