"""Benchmark of the time that an order takes through the daemon, with the order journal on a disk.

The set-up: a TWS stand-in that sends 5,000 ticks a second, the daemon, and one client. A time runs from the send of a
command to the end of TWS's read of the last order. Single orders, groups of three and bursts take turns, and beside
each order the disk's own time is measured in the same folder: one page of 4 KiB written, and fsync. An order cannot
leave before the same has been done for the journal. Then a reconciliation of 1,000 open orders with 10,000 executions
is measured, in one process: the CPU of the loop's thread, and its longest callback. At last a journal of 100,000
orders is opened, as at each start. And the audit's share is measured: of an order's way the record with its bytes and
the append, of a command's way the note of it, and behind the reply the record of the command.
"""

from __future__ import annotations

import argparse
import asyncio
import asyncio.events
import itertools
import json
import os
import pathlib
import sys
import time
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import msgpack
import zmq
from harness import Caller, bridge, child, disk, free_ports, positive, subscribe
from processes import InvalidError, end_cleanly
from ticks import contract

from ibbridge.clock import SystemClock
from ibbridge.commands.audited import facts
from ibbridge.config.loader import load
from ibbridge.daemon import Daemon
from ibbridge.security.identity import LOCAL, LocalPeerage
from ibbridge.storage.audit_log import AuditLog
from ibbridge.storage.order_store import OrderStore
from ibbridge.storage.records import JournalRecord
from ibbridge.wiring import Outside, event_store, order_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from processes import Child

RATE = 5_000
"""Ticks a second that TWS sends meanwhile."""

LINES = 100
GROUP = 3
BURST = 20
"""Orders that are sent at once."""

PAUSE = 0.008
"""Seconds between two commands."""

WARM = 50
"""Rounds that do not count."""

PAGE = bytes(4096)

P50, P99, RATIO = 400, 2_000, 1.5
"""Aims: µs of a single order, and the most that a group of three may take in terms of it."""

OPEN, EXECUTIONS = 1_000, 10
"""Open orders of the reconciliation, and the executions of each."""

CPU, SLICE = 2.0, 10.0
"""Aims for it: seconds of CPU, and milliseconds of the longest callback."""

KNOWN = 100_000
"""Orders in the journal that is opened. One in a hundred of them is open."""

AUDITED = 20_000
"""Orders whose records are measured."""

OF_ORDER, OF_COMMAND = 30.0, 4.0
"""Aims for them: µs before the bytes of an order leave, and before a command is answered."""

CONTRACT = contract(0)
ORDER = {"action": "BUY", "totalQuantity": 1000, "orderType": "LMT", "lmtPrice": 1.0}
_QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


class Trial:
    """A daemon with its TWS, a client, and a file beside its store."""

    def __init__(self, given: argparse.Namespace, children: ExitStack) -> None:
        pub, rep = (f"tcp://127.0.0.1:{port}" for port in free_ports())
        self.desk, tws = _desk(children, given.version, LINES, 0)
        daemon = bridge(children, tws, pub, rep, {})
        with Caller(rep) as caller:
            subscribe(daemon, caller, LINES)
        self.desk.hear()
        context = children.enter_context(zmq.Context())
        self._client = children.enter_context(context.socket(zmq.DEALER))
        self._client.set(zmq.LINGER, 0)
        self._client.set(zmq.RCVTIMEO, 20_000)
        self._client.connect(rep)
        place = pathlib.Path(children.enter_context(disk())) / "page"
        self._file = os.open(place, os.O_RDWR | os.O_CREAT, 0o600)
        children.callback(os.close, self._file)
        self._count = 0
        self.sent: dict[str, list[tuple[int, int]]] = {"one order": [], "a group of 3": [], "in bursts of 20": []}
        self.page: list[float] = []

    def orders(self, kind: str, command: str, count: int = 1) -> None:
        """Send commands at once, take the replies, and note when each was sent, and the id of its last order."""
        at = {}
        for _ in range(count):
            self._count += 1
            packed = msgpack.packb(_command(command, self._count))
            at[self._count] = time.monotonic_ns()
            self._client.send_multipart([b"", packed])
        for _ in range(count):
            reply = msgpack.unpackb(self._client.recv_multipart()[1])
            if not reply["ok"]:
                raise InvalidError(f"{command}: {reply['error']}")
            last = reply["result"].get("orders", [reply["result"]])[-1]
            self.sent[kind].append((last["orderId"], at[reply["id"]]))

    def write_page(self) -> None:
        """Write a page beside the store, have it on the disk, and note the seconds."""
        began = time.perf_counter()
        os.pwrite(self._file, PAGE, 0)
        os.fsync(self._file)
        self.page.append(time.perf_counter() - began)

    def forget(self) -> None:
        """Forget what was measured so far."""
        self.page.clear()
        for each in self.sent.values():
            each.clear()

    def round(self) -> None:
        """Place one order, and a group."""
        self.orders("one order", "placeOrder")
        time.sleep(PAUSE)
        self.write_page()
        self.orders("a group of 3", "placeOrders")
        time.sleep(PAUSE)


def _command(command: str, number: int) -> dict[str, Any]:
    about = {"id": number, "cmd": command, "client": "bench"}
    if command == "placeOrder":
        return {**about, "key": f"o{number}", "args": {"contract": CONTRACT, "order": ORDER}}
    of_all = {"contract": CONTRACT, "order": ORDER}
    members: list[dict[str, Any]] = [{**of_all, "key": f"o{number}-0"}]
    members += [{**of_all, "key": f"o{number}-{each}", "parent": f"o{number}-0"} for each in range(1, GROUP)]
    return {**about, "args": {"orders": members}}


def _desk(children: ExitStack, version: int, lines: int, executions: int) -> tuple[Child, int]:
    given = ("--version", str(version), "--lines", str(lines), "--executions", str(executions))
    desk = children.enter_context(child("order_desk", *given))
    return desk, desk.hear()["port"]


def quantiles(seconds: list[float]) -> dict[str, float]:
    """Return the quantiles of times in seconds, in microseconds."""
    ranked = sorted(seconds)
    return {name: ranked[min(len(ranked) - 1, int(share * len(ranked)))] * 1e6 for name, share in _QUANTILES.items()}


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Measure the times of orders. Return their quantiles, and those of the disk, in µs."""
    with ExitStack() as children:
        trial = Trial(given, children)
        seconds = (given.rounds + WARM) * 0.05 + 5
        trial.desk.tell(rate=RATE, seconds=seconds)
        for number in range(given.rounds + WARM):
            if number == WARM:
                trial.forget()
            trial.round()
            if number % 10 == 0:
                trial.orders("in bursts of 20", "placeOrder", BURST)
                time.sleep(PAUSE)
        if trial.desk.said():
            raise InvalidError("the ticks have ended before the measurement")
        told = trial.desk.hear(seconds + 20)
    came = dict(told["came"])
    about: dict[str, Any] = {"rate": told["sent"] / told["seconds"], "page": quantiles(trial.page)}
    for kind, sent in trial.sent.items():
        about[kind] = quantiles([(came[number] - at) / 1e9 for number, at in sent])
    about["ratio"] = about["a group of 3"]["p50"] / about["one order"]["p50"]
    return about


def show(about: dict[str, Any]) -> None:
    """Print the results of `measure`."""
    load1 = os.getloadavg()[0]
    print(f"µs from the command to TWS, beside {about['rate']:,.0f} ticks a second; load {load1:.1f}")
    for kind in ("one order", "a group of 3", "in bursts of 20"):
        print(f"  {kind:16} {_shown(about[kind])}")
    print(f"  {'4 KiB and fsync':16} {_shown(about['page'])}")
    print(f"  aims on a quiet machine with a fast disk: one order p50 {P50}, p99 {P99:,}")
    print(f"  a group takes {about['ratio']:.2f} times as long as one order (aim: less than {RATIO})")


def _shown(values: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:7,.0f}" for name, value in values.items())


# -- reconciliation


class Slices:
    """Slices of the loop's thread: `longest` has the CPU and the wall time of the longest callback, in seconds."""

    def __init__(self) -> None:
        self.cpu = self.longest = self.longest_wall = 0.0

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Measure every callback of the loop."""
        run = asyncio.events.Handle._run  # noqa: SLF001 - the one place through which all callbacks pass

        def timed(handle: asyncio.Handle) -> None:
            wall, cpu = time.perf_counter(), time.thread_time()
            run(handle)
            cpu = time.thread_time() - cpu
            self.cpu += cpu
            self.longest = max(self.longest, cpu)
            self.longest_wall = max(self.longest_wall, time.perf_counter() - wall)

        asyncio.events.Handle._run = timed  # type: ignore[method-assign,assignment]  # noqa: SLF001
        try:
            yield
        finally:
            asyncio.events.Handle._run = run  # type: ignore[method-assign]  # noqa: SLF001


async def reconcile(given: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure two reconciliations in this process: one whose executions are new, and one whose are known."""
    with ExitStack() as children:
        desk, tws = _desk(children, given.version, 1, EXECUTIONS)
        pub, rep = (f"tcp://127.0.0.1:{port}" for port in free_ports())
        place = children.enter_context(disk())
        settings = {"tws.port": tws, "bus.pub": pub, "bus.rep": rep, "store.path": place, "pacing.rate": 100_000}
        config = load(None, [f"{key}={value}" for key, value in settings.items()])
        events = event_store(config)
        outside = Outside(SystemClock(), events, order_store(config, events), peerage=LocalPeerage())
        daemon = Daemon(config, outside=outside)
        serving = asyncio.create_task(daemon.serve())
        await _until(lambda: daemon.parts.tws.session.ready)
        _do(daemon, 0, "reqMktData", contract=CONTRACT)
        await _until(desk.said)
        desk.hear()
        desk.tell(rate=10, seconds=3600)
        for number in range(1, OPEN + 1):
            _do(daemon, number, "placeOrder", key=f"o{number}", contract=CONTRACT, order=ORDER)
            await asyncio.sleep(0)
        found = [await _reconciled(daemon) for _ in range(2)]
        daemon._stop()  # noqa: SLF001 - as a signal does
        await serving
    return found


async def _reconciled(daemon: Daemon) -> dict[str, Any]:
    schedule = daemon.parts.orders.reconciliation
    reconciliation = schedule._reconciliation  # noqa: SLF001 - it says when it runs
    await _until(lambda: not reconciliation.is_running)
    slices = Slices()
    with slices.measured():
        schedule.request()
        await _until(lambda: reconciliation.is_running)
        await _until(lambda: not reconciliation.is_running)
        await asyncio.sleep(1.5)
    return {"cpu": slices.cpu, "longest": slices.longest * 1e3, "longestWall": slices.longest_wall * 1e3}


async def _until(done: Any) -> None:
    late = time.monotonic() + 60
    while not done():
        if time.monotonic() > late:
            raise InvalidError("the reconciliation does not come to its end")
        await asyncio.sleep(0.01)


def _do(daemon: Daemon, number: int, command: str, **args: Any) -> None:
    packed = msgpack.packb({"id": number, "cmd": command, "client": "bench", "args": args})
    reply = msgpack.unpackb(daemon.parts.commands.answer(packed))
    if not reply["ok"]:
        raise InvalidError(f"{command}: {reply['error']}")


def show_reconciliations(found: list[dict[str, Any]]) -> None:
    """Print the results of `reconcile`."""
    print(f"reconciliation of {OPEN:,} open orders and {OPEN * EXECUTIONS:,} executions, with their commissions")
    for name, each in zip(("executions new", "executions known"), found, strict=True):
        wall = f"{each['longestWall']:.1f} ms with waiting for the disk"
        print(f"  {name:16} {each['cpu']:.2f} s of CPU, longest callback {each['longest']:.1f} ms of CPU ({wall})")
    print(f"  aims: less than {CPU:g} s, at most {SLICE:g} ms of CPU")


def opening() -> float:
    """Return the seconds that the opening of a large journal takes."""
    with disk() as place:
        store = OrderStore(pathlib.Path(place), patience=60)
        store.open(1, None)
        for first in range(0, KNOWN, 1000):
            numbers = range(first, first + 1000)
            store.commit([JournalRecord(1, b"bench/o%d" % each, bytes(400), each % 100 == 0) for each in numbers])
            store.tick()
        store.close()
        store = OrderStore(pathlib.Path(place), patience=60)
        began = time.perf_counter()
        store.open(1, None)
        seconds = time.perf_counter() - began
        fault, found = store.fault, len(store.take_open(1))
        store.close()
    if fault or found != KNOWN // 100:
        raise InvalidError(f"the journal has {found} open orders: {fault}")
    return seconds


class NoLoop(SystemClock):
    """Clock without a loop: the caller does what was to be done soon."""

    def call_soon(self, callback: Callable[..., object]) -> None:  # type: ignore[override]
        """Keep nothing."""


def audit() -> dict[str, dict[str, float]]:
    """Return the quantiles of the audit's share in the times of orders, in µs."""
    request = msgpack.packb(_command("placeOrder", 1))
    reply = msgpack.packb({"id": 1, "ok": True, "result": {"key": "o1", "orderId": 1, "topic": "ord.bench.o1."}})
    about = {"request": "placeOrder", "client": "bench", "does": "place", "owner": "bench"}
    took: dict[str, list[float]] = {"of an order": [], "of a command": [], "behind it": []}
    with disk() as place:
        log = AuditLog(pathlib.Path(place), NoLoop(), patience=60)
        log.open()
        for number in range(AUDITED):
            times = [time.perf_counter()]
            log.record("sent", **about, keys=[f"o{number}"], orders=[number], bytes=request * 3)
            log.flush()
            times.append(time.perf_counter())
            log.record("command", identity=LOCAL, facts=partial(facts, request, reply))
            times.append(time.perf_counter())
            log.flush_all()
            times.append(time.perf_counter())
            for each, (before, after) in zip(took.values(), itertools.pairwise(times), strict=True):
                each.append(after - before)
            if number % 1_000 == 0:
                log.tick()
        fault = log.fault
        log.close()
    if fault:
        raise InvalidError(fault)
    return {name: quantiles(each) for name, each in took.items()}


def show_audit(about: dict[str, dict[str, float]]) -> None:
    """Print the results of `audit`."""
    print("µs of the audit")
    for name, values in about.items():
        print(f"  {name:16} {'  '.join(f'{each} {value:7,.1f}' for each, value in values.items())}")
    print(
        f"  aims on a quiet machine: p50 {OF_ORDER:g} of an order, {OF_COMMAND:g} of a command; nothing of a tick's way"
    )


def main() -> int:
    """Measure and print. Return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=positive, default=500, help="of each (default %(default)s)")
    parser.add_argument("--version", type=int, default=226, help="server version (default %(default)s)")
    parser.add_argument("--only", choices=("times", "reconciliation", "opening", "audit"), help="measure only these")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write the results there too")
    given = parser.parse_args()
    end_cleanly()
    about: dict[str, Any] = {}
    try:
        if given.only in (None, "times"):
            about["times"] = measure(given)
            show(about["times"])
        if given.only in (None, "reconciliation"):
            about["reconciliation"] = asyncio.run(reconcile(given))
            show_reconciliations(about["reconciliation"])
        if given.only in (None, "opening"):
            about["opening"] = opening()
            print(f"a journal of {KNOWN:,} orders is opened in {about['opening']:.2f} s")
        if given.only in (None, "audit"):
            about["audit"] = audit()
            show_audit(about["audit"])
    except InvalidError as error:
        print(f"no measurement: {error}", file=sys.stderr)
        return 1
    if given.json:
        given.json.write_text(json.dumps(about, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
