"""Clients are closed from anywhere, by anything: that ends, and so does the process, without a word on standard error.

Each script is a process of its own, as what it did wrong once was to hang or to abort. What is awaited of the daemon
has 60 seconds there, and a script has half of that.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from tests.support.fake_daemon import FakeDaemon

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

PATIENCE = 30.0

THREADS = """
import faulthandler, gc, os, signal, sys, threading, time
from ibbridge.client import BridgeError, Client, NoAnswer, connect, stock

faulthandler.dump_traceback_later(25, exit=True)
main = threading.get_ident()
threads = len(os.listdir("/proc/self/task"))  # of Python's and of ZeroMQ's

def settled():  # a thread that has been joined may be there for a moment
    while len(os.listdir("/proc/self/task")) > threads:
        time.sleep(0.001)

def opened():
    ib = connect("me", sys.argv[1], sys.argv[2], timeout=60)
    ib.subscribe("md.")
    return ib

def soon(what, delay):
    thread = threading.Thread(target=lambda: (time.sleep(delay), what()))
    thread.start()
    return thread

def kill(number):
    return lambda: signal.pthread_kill(main, number)

def once(true, what):  # not after a time: a busy machine may have got anywhere by then
    def wait():
        while not true():
            time.sleep(0.001)
        what()
    return soon(wait, 0)

def asked():  # the daemon has got the command that it does not answer
    return os.path.exists(sys.argv[3])
"""

LOOPS = """
import asyncio, faulthandler, gc, os, signal, sys, threading, time
from ibbridge.client import BridgeError, NoAnswer, stock
from ibbridge.client.aio import Client, connect

faulthandler.dump_traceback_later(25, exit=True)
main = threading.get_ident()
threads = len(os.listdir("/proc/self/task"))  # of Python's and of ZeroMQ's

def settled():  # a thread that has been joined may be there for a moment
    while len(os.listdir("/proc/self/task")) > threads:
        time.sleep(0.001)

async def opened():
    ib = await connect("me", sys.argv[1], sys.argv[2], timeout=60)
    await ib.subscribe("md.")
    return ib

async def iterate(ib):
    async for message in ib:
        pass
"""

BY_THREADS = {
    "another thread, while the first iterates": """
for each in range(12):
    ib = opened()
    closing = soon(ib.close, each * 0.004)
    for message in ib:
        pass
    closing.join()
""",
    "another thread, while a command waits for its reply": """
ib = opened()
closing = once(asked, ib.close)
try:
    ib.call("nothing")
except NoAnswer as error:
    assert error.outcome == "unknown", error
else:
    raise SystemExit("an answer")
closing.join()
""",
    "another thread, while one waits for answers": """
ib = opened()
made = ib.reqContractDetails(stock("AAPL"))
closing = soon(ib.close, 0.05)
try:
    list(ib.answers(made))
except BridgeError as error:
    assert "is closed" in str(error), error
closing.join()
""",
    "many threads, while many iterate and ask": """
for each in range(4):
    ib = opened()
    def use():
        try:
            while True:
                ib.call("ping")
        except BridgeError:
            pass
    using = [threading.Thread(target=use) for _ in range(3)] + [threading.Thread(target=ib.run) for _ in range(3)]
    for thread in using:
        thread.start()
    closing = [soon(ib.close, 0.02) for _ in range(4)]
    for thread in using + closing:
        thread.join()
    ib.close()
""",
    "a signal handler, while the thread iterates": """
for each in range(12):
    ib = opened()
    signal.signal(signal.SIGTERM, lambda *_: ib.close())
    killing = soon(kill(signal.SIGTERM), each * 0.004)
    with ib:
        for message in ib:
            pass
    killing.join()
    settled()
""",
    "a signal handler, while nothing comes": """
ib = connect("me", sys.argv[1], sys.argv[2], timeout=60)
signal.signal(signal.SIGTERM, lambda *_: ib.close())
killing = soon(kill(signal.SIGTERM), 0.05)
ib.run()
killing.join()
""",
    "a signal handler, while a command waits for its reply": """
ib = opened()
signal.signal(signal.SIGTERM, lambda *_: ib.close())
killing = once(asked, kill(signal.SIGTERM))
try:
    ib.call("nothing")
except NoAnswer as error:
    assert error.outcome == "unknown", error
killing.join()
""",
    "a signal handler, while other threads iterate": """
for each in range(6):
    ib = opened()
    signal.signal(signal.SIGTERM, lambda *_: ib.close())
    others = [threading.Thread(target=ib.run) for _ in range(2)]
    for thread in others:
        thread.start()
    killing = soon(kill(signal.SIGTERM), each * 0.004)
    ib.run()
    for thread in [*others, killing]:
        thread.join()
""",
    "a storm of signals": """
ib = opened()
signal.signal(signal.SIGTERM, lambda *_: ib.close())
storm = soon(lambda: [(kill(signal.SIGTERM)(), time.sleep(0.0005)) for _ in range(200)], 0.02)
for message in ib:
    pass
ib.close()
storm.join()
""",
    "a signal handler that does more than it can": """
ib, said = opened(), []
def handler(*_):
    try:
        ib.cancelOrder("k")
    except BridgeError as error:
        said.append(str(error))
    ib.close()
signal.signal(signal.SIGTERM, handler)
ib.unsubscribe("md.")  # so that the thread waits at the sockets
killing = once(lambda: ib._feed._lock.waiter == main, kill(signal.SIGTERM))
ib.run()
killing.join()
assert "call only stop() or close() there" in said[0], said
""",
    "an interrupt": """
for each in range(15):
    ib = opened()
    try:
        with ib:
            killing = soon(kill(signal.SIGINT), 0.002 + each * 0.003)
            for message in ib:
                pass
            raise SystemExit("not interrupted")
    except KeyboardInterrupt:
        pass
    settled()
""",
    "a callback": """
for each in range(5):
    ib = opened()
    ib.register("tickSize", lambda _: ib.close())
    ib.run()
""",
    "another thread, while callbacks run": """
ib, begun, go_on = opened(), threading.Event(), threading.Event()
ib.register("tickSize", lambda _: (begun.set(), go_on.wait()))
iterating = threading.Thread(target=ib.run)
iterating.start()
begun.wait()
ib.close()
go_on.set()
iterating.join()
""",
    "nobody: the garbage collector": """
import warnings
warnings.simplefilter("ignore", ResourceWarning)
for each in range(10):
    ib = opened()
    ib.register("tickSize", lambda _, ib=ib: ib.stop())
    del ib
    gc.collect()
settled()
""",
    "nobody: a thread still iterates at the end": """
ib = opened()
iterating = threading.Thread(target=ib.run, daemon=True)
iterating.start()
time.sleep(0.05)
""",
    "twice, and before it was open": """
ib = opened()
ib.close()
ib.close()
Client("me", sys.argv[1], sys.argv[2]).close()
assert list(ib) == []
for use in (ib.receive, lambda: ib.call("ping"), lambda: ib.subscribe("md.")):
    try:
        use()
    except BridgeError as error:
        assert "is closed" in str(error), error
    else:
        raise SystemExit("possible")
""",
}

BY_TASKS = {
    "another task, while one iterates": """
async def go():
    for each in range(8):
        ib = await opened()
        iterating = [asyncio.create_task(iterate(ib)) for _ in range(2)]
        await asyncio.sleep(each * 0.004)
        await ib.close()
        await asyncio.gather(*iterating)
asyncio.run(go())
""",
    "another task, while a command waits for its reply": """
async def go():
    ib = await opened()
    asking = [asyncio.create_task(ib.call("nothing")) for _ in range(3)]
    await asyncio.sleep(0.05)
    await ib.close()
    said = await asyncio.gather(*asking, return_exceptions=True)
    assert [each.outcome for each in said] == ["unknown", "not_sent", "not_sent"], said
asyncio.run(go())
""",
    "another task, while one waits for answers": """
async def go():
    ib = await opened()
    made = await ib.reqContractDetails(stock("AAPL"))
    async def answers():
        async for _ in ib.answers(made):
            pass
    waiting = asyncio.create_task(answers())
    await asyncio.sleep(0.05)
    await ib.close()
    (error,) = await asyncio.gather(waiting, return_exceptions=True)
    assert "is closed" in str(error), error
asyncio.run(go())
""",
    "another thread's loop, while one iterates": """
async def go():
    ib = await opened()
    closing = threading.Thread(target=lambda: (time.sleep(0.05), asyncio.run(ib.close())))
    closing.start()
    await iterate(ib)
    await asyncio.to_thread(closing.join)
for _ in range(5):
    asyncio.run(go())
""",
    "the loop's signal handler": """
async def go():
    ib = await opened()
    tasks = set()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: tasks.add(asyncio.create_task(ib.close())))
    threading.Timer(0.05, lambda: os.kill(os.getpid(), signal.SIGTERM)).start()
    await iterate(ib)
asyncio.run(go())
""",
    "an interrupt, with a runner": """
async def go():
    async with connect("me", sys.argv[1], sys.argv[2], timeout=60) as ib:
        await ib.subscribe("md.")
        threading.Timer(0.02, lambda: signal.pthread_kill(main, signal.SIGINT)).start()
        await iterate(ib)
for _ in range(5):
    try:
        asyncio.run(go())
    except KeyboardInterrupt:
        continue
    raise SystemExit("not interrupted")
""",
    "an interrupt, with a bare loop": """
for each in range(10):
    loop = asyncio.new_event_loop()
    ib = loop.run_until_complete(opened())
    iterating = loop.create_task(iterate(ib))
    try:
        threading.Timer(0.002 + 0.004 * each, lambda: signal.pthread_kill(main, signal.SIGINT)).start()
        loop.run_until_complete(iterating)
    except KeyboardInterrupt:
        pass
    loop.run_until_complete(ib.close())
    if not iterating.done():
        loop.run_until_complete(iterating)
    loop.close()
""",
    "a callback": """
async def go():
    ib = await opened()
    ib.register("tickSize", lambda _: ib.close())
    await ib.run()
asyncio.run(go())
""",
    "the next loop, as the first has ended": """
kept = []
async def go():
    kept.append(await opened())
asyncio.run(go())
asyncio.run(kept[0].close())
asyncio.run(kept[0].close())
""",
    "nobody: the garbage collector": """
import warnings
warnings.simplefilter("ignore", ResourceWarning)
async def go(inside):
    ib = await opened()
    ib.register("tickSize", lambda _, ib=ib: ib.stop())
    if inside:
        del ib
        gc.collect()
        await asyncio.sleep(0)
for each in range(10):
    asyncio.run(go(each % 2))
    gc.collect()
settled()
""",
    "nobody: the process ends": """
loop = asyncio.new_event_loop()
ib = loop.run_until_complete(opened())
""",
    "a forked child": """
loop = asyncio.new_event_loop()
ib = loop.run_until_complete(opened())
child = os.fork()
if not child:
    loop.run_until_complete(ib.close())
    try:
        loop.run_until_complete(ib.receive(0))
    except BridgeError as error:
        assert "connect after the fork" in str(error)
        os._exit(7)
    os._exit(1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert loop.run_until_complete(ib.call("ping")) == {"pong": True}
loop.run_until_complete(ib.close())
loop.close()
""",
}

SCRIPTS = [
    *(pytest.param(THREADS + script, id=f"threads: {name}") for name, script in BY_THREADS.items()),
    *(pytest.param(LOOPS + script, id=f"asyncio: {name}") for name, script in BY_TASKS.items()),
]


@pytest.fixture
def daemon(tmp_path: pathlib.Path) -> Iterator[FakeDaemon]:
    """A daemon that publishes all the time, and leaves some commands without a reply."""
    fake, asked = FakeDaemon(tmp_path), tmp_path / "asked"
    fake.answers["nothing"] = lambda _, __: asked.touch()
    fake.answers["reqContractDetails"] = lambda _, request: {"topic": f"req.me.{request['id']}."}
    over = threading.Event()

    def talk() -> None:
        while not over.wait(0.0005):
            fake.publish("md.X.tickSize.")

    talking = threading.Thread(target=talk)
    talking.start()
    yield fake
    over.set()
    talking.join()
    fake.stop()


@pytest.mark.parametrize("script", SCRIPTS)
def test_closing_ends_whoever_does_it(daemon: FakeDaemon, script: str, tmp_path: pathlib.Path) -> None:
    script += "\nprint('the end')"
    command = [sys.executable, "-W", "error", "-c", script, daemon.pub, daemon.rep, str(tmp_path / "asked")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.stdout, done.returncode) == ("the end\n", 0), done.stderr
    assert not done.stderr or "ResourceWarning" in done.stderr, done.stderr
