"""Client in several threads, and in a forked child. No test waits for time to pass, except to give up."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from ibbridge.client import BridgeError, Client, Message, Request, connect, stock
from tests.support.fake_daemon import FakeDaemon

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

PATIENCE = 60.0  # seconds after which a test gives up on what must come
EACH = 150  # what each thread does of its kind


@pytest.fixture
def daemon(tmp_path: pathlib.Path) -> Iterator[FakeDaemon]:
    fake = FakeDaemon(tmp_path)
    fake.answers["reqContractDetails"] = details
    fake.answers["reqMktData"] = lambda _, request: {"topic": f"md.{request['args']['contract']['symbol']}-STK."}
    fake.answers["cancelMktData"] = lambda _, __: {}
    yield fake
    fake.stop()


@pytest.fixture
def ib(daemon: FakeDaemon) -> Iterator[Client]:
    with connect("me", daemon.pub, daemon.rep, timeout=PATIENCE) as client:
        yield client


def details(fake: FakeDaemon, request: dict[str, Any]) -> dict[str, str]:
    ref = {"client": request["client"], "id": request["id"]}
    for kind in ("contractDetails", "contractDetails", "contractDetailsEnd"):
        fake.say(f"req.me.{request['id']}.{kind}.", ref=ref)
    return {"topic": f"req.me.{request['id']}."}


def until_bye(ib: Client) -> list[Message]:
    """Return the messages that come until the test ends them with "bye"."""
    seen: list[Message] = []
    while (message := ib.receive(PATIENCE)) is not None and message.type != "bye":
        seen.append(message)
    assert message is not None, "it never came"
    return seen


def test_commands_go_out_while_another_thread_waits_for_messages(ib: Client, daemon: FakeDaemon) -> None:
    """Subscriptions come and go under it, one-shots are answered, and no message of the rest is missed or twice."""
    ib.subscribe("md.steady.")

    def ticks(_: int) -> None:
        for _ in range(EACH):
            made = ib.reqMktData(stock(threading.current_thread().name))
            daemon.publish("md.steady.tickSize.")
            ib.cancelMktData(made)

    def questions(_: int) -> list[str]:
        kinds: list[str] = []
        for _ in range(EACH):
            kinds += [each.type for each in ib.answers(ib.reqContractDetails(stock("AAPL")))]
        return kinds

    with ThreadPoolExecutor() as pool:
        reader = pool.submit(until_bye, ib)
        asking = [pool.submit(questions, each) for each in range(2)]
        working = [pool.submit(ticks, each) for each in range(2)]
        answers = [each.result(PATIENCE) for each in asking]
        for each in working:
            each.result(PATIENCE)
        daemon.publish("sys.bridge.bye.")
        seen = [each for each in reader.result(PATIENCE) if each.topic.startswith("md.steady.")]
    assert answers == [["contractDetails", "contractDetails", "contractDetailsEnd"] * EACH] * 2
    assert sorted(each.seq for each in seen) == list(range(1, 2 * EACH + 1))


def test_each_message_is_given_to_one_of_the_threads_that_receive(ib: Client, daemon: FakeDaemon) -> None:
    ib.subscribe("md.")
    seen: Counter[int] = Counter()

    def receive(_: int) -> list[int]:
        mine = []
        while (message := ib.receive(PATIENCE)) is not None and message.type != "tickString":
            mine.append(message.seq)
        return mine

    with ThreadPoolExecutor() as pool:
        readers = [pool.submit(receive, each) for each in range(4)]
        for _ in range(4 * EACH):
            daemon.publish("md.X.tickSize.")
        for _ in readers:
            daemon.publish("md.X.tickString.")
        for reader in readers:
            mine = reader.result(PATIENCE)
            assert mine == sorted(mine)
            seen.update(mine)
    assert seen == dict.fromkeys(range(1, 4 * EACH + 1), 1)


def test_a_callback_may_make_requests_while_others_do(ib: Client, daemon: FakeDaemon) -> None:
    made: list[Request] = []

    def on_status(_: Message) -> None:
        made.append(ib.reqMktData(stock("ES")))
        ib.cancelMktData(made[-1])

    ib.register("orderStatus", on_status)
    with ThreadPoolExecutor() as pool:
        reader = pool.submit(until_bye, ib)
        others = pool.submit(lambda: [ib.call("ping") for _ in range(EACH)])
        for _ in range(EACH):
            daemon.publish("ord.me.k.orderStatus.")
        daemon.publish("sys.bridge.bye.")
        reader.result(PATIENCE)
        assert others.result(PATIENCE) == [{"pong": True}] * EACH
        ib.subscribe("md.")
    while len(made) < EACH:
        assert ib.receive(PATIENCE) is not None
    assert len({each.id for each in made}) == EACH


def test_answers_that_another_thread_has_taken_are_given_to_whoever_asked(ib: Client, daemon: FakeDaemon) -> None:
    with ThreadPoolExecutor() as pool:
        made = ib.reqContractDetails(stock("AAPL"))
        daemon.publish("sys.bridge.bye.")
        taken = pool.submit(until_bye, ib).result(PATIENCE)
    while len(taken) < 3:
        taken.append(ib.receive(PATIENCE) or pytest.fail("it never came"))
    assert [each.type for each in ib.answers(made)] == [each.type for each in taken if each.concerns(made)]


def test_closing_ends_whoever_waits(ib: Client) -> None:
    with ThreadPoolExecutor() as pool:
        waiting = [pool.submit(ib.receive) for _ in range(3)]
        ib.close()
        for each in waiting:
            assert "is closed" in str(each.exception(PATIENCE))


# A forked child

SCRIPT = """
import gc, os, sys, threading
from ibbridge.client import BridgeError, Feed, connect, stock

ib = connect("me", sys.argv[1], sys.argv[2], timeout=60)
waiting = threading.Thread(target=ib.run)
waiting.start()  # at the moment of the fork a thread holds what it holds
child = os.fork()
if not child:
    for use in (
        lambda: ib.receive(), lambda: ib.receive(0), lambda: next(iter(ib)), lambda: ib.run(1),
        lambda: ib.call("ping"), lambda: ib.status(), lambda: ib.snapshot("md."), lambda: ib.wait_for_tws(),
        lambda: ib.subscribe("md."), lambda: ib.unsubscribe("md."), lambda: ib.start(),
        lambda: ib.reqMktData(stock("AAPL")), lambda: ib.placeOrder(stock("AAPL"), {}), lambda: ib.cancelOrder("k"),
    ):
        try:
            use()
        except BridgeError as error:
            assert "connect after the fork" in str(error), error
        else:
            raise SystemExit(f"{use} is possible")
    if sys.argv[3] == "close":
        with ib:
            pass
    elif sys.argv[3] == "collect":
        del ib, use, waiting
        gc.collect()
    sys.exit(7)  # with all that the interpreter does at its end
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
assert code == 7, code
assert ib.call("ping") == {"pong": True}
ib.call("tick")
waiting.join()
ib.close()
print("unharmed", ib._stopped)
"""


@pytest.mark.parametrize("end", ["exit", "close", "collect"])
def test_a_forked_child_is_refused_and_its_end_harms_nobody(daemon: FakeDaemon, end: str) -> None:
    def tick(fake: FakeDaemon, _: dict[str, Any]) -> dict[str, str]:
        fake.say("ord.me.k.orderStatus.")
        return {}

    daemon.answers["tick"] = tick
    script = SCRIPT.replace("waiting =", "ib.register('orderStatus', lambda _: ib.stop())\nwaiting =", 1)
    command = [sys.executable, "-W", "error", "-c", script, daemon.pub, daemon.rep, end]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("unharmed True\n", "", 0)


def test_a_closed_client_says_so_in_every_thread(ib: Client) -> None:
    ib.close()
    with ThreadPoolExecutor() as pool, pytest.raises(BridgeError, match="is closed"):
        pool.submit(ib.call, "ping").result(PATIENCE)
