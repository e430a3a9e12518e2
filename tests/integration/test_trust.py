"""Every subscriber ends with exactly what was published on its streams, or was told precisely what it lost.

Through real sockets, with a daemon in a process of its own. What was published is known from a witness that hears
everything, from the store's file, and from what the test's own TWS has said and numbered.
"""

from __future__ import annotations

import contextlib
import json
import random
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.integration.follower import Follower, read
from tests.integration.python_client import PythonClient
from tests.integration.rig import PATIENCE, Bridge, Host, Wire, free_port
from tests.integration.witness import ROUND, Load, Witness, check, durable, goal, number, on_disk, patience

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterable, Iterator
    from typing import Self

    from tests.integration.follower import Entry

SAID = ("md.", "ord.", "exec.", "acct.")
ALL = (*SAID, "sys.")


@contextlib.contextmanager
def connected(**settings) -> Iterator[tuple[Bridge, Host, Witness, Load]]:
    """A daemon with a witness, connected to the test's own TWS."""
    with Host() as host, Bridge(host.port, **settings) as bridge, Witness(bridge) as witness, host.accept() as guest:
        guest.start()
        witness.ready()
        yield bridge, host, witness, Load(guest)


class Running:
    """A follower in a thread of its own."""

    def __init__(
        self, bridge: Bridge, *prefixes: str, pub: str = "", kind: type[Follower | PythonClient] = Follower
    ) -> None:
        self.follower = kind(bridge.context, pub or bridge.pub, bridge.rep, *prefixes)
        self._failed: list[BaseException] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with contextlib.closing(self.follower):
            try:
                while not self.follower.there and not self.follower.over:
                    self.follower.step(20)
                # Messages that came as state may still be on their way as messages, too.
                while self.follower.there and not self.follower.drained and not self.follower.over:
                    self.follower.step(20)
            except AssertionError as error:
                self._failed.append(error)

    def begun(self) -> Running:
        """Wait until it follows all that it shall."""
        patience(lambda: self.follower.following, "a welcome")
        return self

    def finish(self, ends: dict[str, int]) -> None:
        """Let it get to these numbers; it must."""
        self.follower.goal = ends
        self._thread.join(PATIENCE)
        self.follower.over = True
        self._thread.join(PATIENCE)
        assert not self._failed, self._failed
        assert self.follower.there, (ends, self.follower.last)


def flow(load: Load, witness: Witness, count: int, at_once: int = 250) -> None:
    """Say so many messages, no faster than they are heard."""
    for _ in range(0, count, at_once):
        load.say(at_once)
        witness.hears(load)


def replayed(entries: Iterable[Entry]) -> int:
    """Return the number of messages that were fetched."""
    return sum(entry.kind == "replayed" for entry in entries)


def test_who_comes_late_has_the_state_and_all_that_follows():
    with connected() as (bridge, _, witness, load):
        flow(load, witness, 1000)
        followers = [Running(bridge, *ALL)]
        load.say(2000)
        followers.append(Running(bridge, *ALL))
        load.say(2000)
        witness.hears(load)
        kept = durable(bridge, witness, [load])
        ends = goal(witness, kept, *ALL)
        for each in followers:
            each.finish(ends)
            found = check(each.follower.entries, witness, kept, ends)
            for (stream, _), account in found.items():
                assert account.begun > 0
                if stream.startswith("md."):
                    mine = [entry for entry in each.follower.entries if entry.stream == stream]
                    first, second, *_ = mine
                    if first.kind == "state":
                        assert (second.kind, second.seq) == ("begun", number(first.body))
                    else:  # the snapshot has overtaken what it tells, which so came by itself
                        assert (first.kind, second.kind, second.seq) == ("begun", "message", first.seq + 1)


@pytest.mark.parametrize("kind", [Follower, PythonClient])
def test_an_execution_between_welcome_and_snapshot_that_arrives_behind_the_snapshot_is_not_lost(kind):
    port = free_port()
    with connected(pub=f"tcp://127.0.0.1:{port}") as (bridge, _, witness, load), Wire(port) as wire:
        flow(load, witness, 250)
        before = witness.last("exec.")["exec.ext."]
        late = kind(bridge.context, f"tcp://127.0.0.1:{wire.port}", bridge.rep, "exec.")
        with contextlib.closing(late):
            patience(lambda: b"\x01\x05exec." in wire.carried, "the frame of a welcome")
            with wire.held():
                flow(load, witness, 250)
                while not late.asked:
                    late.step(20)
            flow(load, witness, 250)
            executions = witness.last("exec.")["exec.ext."]
            until = time.monotonic() + PATIENCE
            while late.last.get("exec.ext.", 0) < executions:
                assert time.monotonic() < until
                late.step(20)
            while late.step(0):
                pass
        had = [entry.seq for entry in late.entries if entry.kind in ("message", "replayed")]
        assert had == list(range(before + 1, executions + 1))


@pytest.mark.parametrize("beats", [1, 8])
def test_whose_connection_was_cut_gets_what_it_missed_however_long_ago_that_was(beats):
    port = free_port()
    with connected(pub=f"tcp://127.0.0.1:{port}") as (bridge, _, witness, load), Wire(port) as wire:
        pub = f"tcp://127.0.0.1:{wire.port}"
        plain = Running(bridge, *ALL, pub=pub).begun()
        python = Running(bridge, *SAID, pub=pub, kind=PythonClient).begun()
        for _ in range(3):
            load.say(500)
            wire.cut()
            load.say(500)
            witness.hears(load)
            witness.passes(beats)
            wire.mend()
        kept = durable(bridge, witness, [load])
        for each in (plain, python):
            ends = goal(witness, kept, *each.follower.prefixes)
            each.finish(ends)
            found = check(each.follower.entries, witness, kept, ends)
            assert replayed(each.follower.entries) > 500
            assert not any(account.lost for account in found.values())


@pytest.mark.parametrize("ring", [500_000, 1000])
def test_who_is_slow_gets_what_was_dropped_or_is_told_its_numbers(ring):
    settings = {"bus__sndhwm": 1000, "ring__messages": ring}
    with connected(**settings) as (bridge, _, witness, load):
        slow = Follower(bridge.context, bridge.pub, bridge.rep, *ALL, rcvhwm=10)
        with contextlib.closing(slow):
            while not slow.following:
                slow.step(20)
            for _ in range(3):
                flow(load, witness, 6000, at_once=200)
                for _ in range(50):
                    slow.step(20)
            flow(load, witness, 200, at_once=200)  # small enough for the ring: so there is always something to have
            kept = durable(bridge, witness, [load])
            slow.goal = ends = goal(witness, kept, *ALL)
            until = time.monotonic() + PATIENCE
            while not slow.there:
                assert time.monotonic() < until, (ends, slow.last)
                slow.step(20)
        found = check(slow.entries, witness, kept, ends)
        lost = {stream: account.lost for (stream, _), account in found.items() if account.lost}
        assert replayed(slow.entries)
        if ring == 1000:
            assert set(lost) == {f"md.~{each}." for each in (71, 72, 73, 74)}
        else:
            assert lost == {}


def test_fifty_at_once():
    with connected() as (bridge, _, witness, load):
        luck = random.Random(50)
        followers = []
        for _ in range(50):
            load.say(40)
            followers.append(Running(bridge, *luck.sample(ALL, luck.randint(1, 5))))
        flow(load, witness, 500)
        kept = durable(bridge, witness, [load])
        for each in followers:
            ends = goal(witness, kept, *each.follower.prefixes)
            each.finish(ends)
            check(each.follower.entries, witness, kept, ends)


# Subscribers in processes of their own


class Process:
    """A follower in a process of its own, which can be stopped, killed and started again from its journal."""

    def __init__(self, bridge: Bridge, journal: pathlib.Path) -> None:
        self.journal = journal
        self._command = [sys.executable, "-m", "tests.integration.follower", str(journal), bridge.pub, bridge.rep, *ALL]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def has(self, entries: int, *kinds: str) -> None:
        """Wait until its journal has so many entries of these kinds."""
        patience(lambda: sum(each.kind in kinds for each in read(self.journal)) >= entries, f"{entries} {kinds}")

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def finish(self, ends: dict[str, int]) -> list[Entry]:
        self._process.communicate(json.dumps(ends) + "\n", timeout=PATIENCE)
        assert self._process.returncode == 0
        return read(self.journal)


def test_who_was_stopped_and_goes_on_has_all_of_it(tmp_path):
    with connected(bus__sndhwm=1000) as (bridge, _, witness, load), Process(bridge, tmp_path / "journal") as stopped:
        flow(load, witness, 200, at_once=200)
        stopped.has(len(witness.last(*ALL)), "begun")
        stopped.signal(signal.SIGSTOP)
        flow(load, witness, 12_000, at_once=200)
        witness.passes(5)
        stopped.signal(signal.SIGCONT)
        kept = durable(bridge, witness, [load])
        ends = goal(witness, kept, *ALL)
        entries = stopped.finish(ends)
        found = check(entries, witness, kept, ends)
        assert replayed(entries) > 1000
        assert not any(account.lost for account in found.values())


@pytest.mark.parametrize("ring", [500_000, 1000])
def test_who_was_killed_goes_on_from_where_it_was(tmp_path, ring):
    with connected(ring__messages=ring) as (bridge, _, witness, load):
        flow(load, witness, 250)
        for count in (1, 200, 400):
            with Process(bridge, tmp_path / "journal") as killed:
                killed.has(len(witness.last(*ALL)), "begun")  # who is killed before that has nothing to go on from
                load.say(500)
                killed.has(count, "message", "replayed")
            flow(load, witness, 4000)
        flow(load, witness, 250)
        kept = durable(bridge, witness, [load])
        ends = goal(witness, kept, *ALL)
        with Process(bridge, tmp_path / "journal") as last:
            found = check(last.finish(ends), witness, kept, ends)
        lost = [stream for (stream, _), account in found.items() if account.lost]
        assert all(stream.startswith("md.") for stream in lost)
        assert bool(lost) == (ring == 1000)


# The daemon ends, and begins again


@contextlib.contextmanager
def pumping(load: Load) -> Iterator[None]:
    """Send the load in a thread while the block lasts, until enough is sent or the daemon is gone."""
    over = threading.Event()

    def pump() -> None:
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                if over.is_set():
                    break
                load.say(50)

    thread = threading.Thread(target=pump, daemon=True)
    thread.start()
    yield
    over.set()
    thread.join(PATIENCE)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_daemon_that_is_ended_under_load_and_begins_again_has_lost_nothing_durable(how):
    luck = random.Random(int(how))
    with Host() as host, Bridge(host.port, tws__reconnect_min=0.01) as bridge, Witness(bridge) as witness:
        followers = [Running(bridge, *ALL).begun(), Running(bridge, *SAID, kind=PythonClient).begun()]
        loads, ended = [], 0
        for label in range(4):
            with host.accept() as guest:
                guest.start()
                # Before that it would miss market data; on a busy machine all that there will be.
                witness.until(lambda ended=ended: witness.epoch != ended, "a message of the daemon that began")  # type: ignore[misc]
                loads.append(Load(guest, label))
                enough = label * ROUND + luck.randrange(1, 800)
                with pumping(loads[-1]):
                    witness.counts("md.~71.", enough)
                    bridge.stop(how)
            ended = witness.epoch
            bridge.start()
            followers.append(Running(bridge, *luck.sample(ALL, 2)))
        with host.accept() as guest:
            guest.start()
            loads.append(Load(guest, 4))
            witness.until(lambda: witness.epoch != ended, "a message of the daemon that began last")
            loads[-1].say(1000)
            witness.hears(loads[-1])
            kept = durable(bridge, witness, loads)
            for each in followers:
                ends = goal(witness, kept, *each.follower.prefixes)
                each.finish(ends)
                check(each.follower.entries, witness, kept, ends)
        bridge.stop(signal.SIGTERM)
        written = on_disk(bridge.store)
        assert all(numbered.items() <= written[stream].items() for stream, numbered in kept.items())


def test_when_the_connection_to_tws_is_lost_meanwhile_numbers_run_on():
    with Host() as host, Bridge(host.port, tws__reconnect_min=0.01) as bridge, Witness(bridge) as witness:
        followers = [Running(bridge, *ALL).begun(), Running(bridge, *SAID, kind=PythonClient).begun()]
        loads = []
        for label in range(4):
            with host.accept() as guest:
                guest.start()
                loads.append(Load(guest, label))
                with pumping(loads[-1]):
                    witness.counts("ord.ext.", label * ROUND + 1)
            followers.append(Running(bridge, *ALL))
        with host.accept() as guest:
            guest.start()
            loads.append(Load(guest, 4))
            loads[-1].say(1000)
            witness.hears(loads[-1])
            kept = durable(bridge, witness, loads)
            for each in followers:
                ends = goal(witness, kept, *each.follower.prefixes)
                each.finish(ends)
                found = check(each.follower.entries, witness, kept, ends)
                assert not any(account.lost for account in found.values())
                assert {epoch for _, epoch in found} == {0, witness.epoch}
