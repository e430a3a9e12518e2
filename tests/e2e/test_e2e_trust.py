"""Every subscriber ends with exactly what was published on its streams, or was told precisely what it lost.

Through real sockets, with a daemon in a process of its own. What was published is known from a witness that hears
everything, from the store's file, and from what the test's own TWS has said and numbered.
"""

from __future__ import annotations

import contextlib
import random
import signal
import threading
from typing import TYPE_CHECKING

import msgpack
import pytest

from tests.e2e.follower import Follower
from tests.e2e.rig import PATIENCE, Bridge, Host, Wire, free_port
from tests.e2e.witness import Load, Witness, check, durable, number, on_disk, patience

if TYPE_CHECKING:
    from collections.abc import Iterator

ALL = ("md.", "ord.", "exec.", "acct.", "sys.")


@contextlib.contextmanager
def connected(**settings) -> Iterator[tuple[Bridge, Host, Witness, Load]]:
    """A daemon with a witness, connected to the test's own TWS."""
    with Host() as host, Bridge(host.port, **settings) as bridge, Witness(bridge) as witness:
        with host.accept() as guest:
            guest.start()
            witness.until(lambda: witness.stage == "ready", "the connection")
            yield bridge, host, witness, Load(guest)


class Running:
    """A follower in a thread of its own."""

    def __init__(self, bridge: Bridge, *prefixes: str, pub: str = "", **options) -> None:
        self.follower = Follower(bridge.context, pub or bridge.pub, bridge.rep, *prefixes, **options)
        self._failed: list[BaseException] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with contextlib.closing(self.follower):
            try:
                while not self.follower.there and not self.follower.over:
                    self.follower.step(20)
            except AssertionError as error:
                self._failed.append(error)

    def begun(self) -> Running:
        """Wait until it follows all that it shall."""
        patience(lambda: self.follower.following, "a welcome")
        return self

    def finish(self, goal: dict[str, int]) -> None:
        """Let it get to these numbers; it must."""
        self.follower.goal = goal
        self._thread.join(PATIENCE)
        self.follower.over = True
        self._thread.join(PATIENCE)
        assert not self._failed, self._failed
        assert self.follower.there, (goal, self.follower.last)


def flow(load: Load, witness: Witness, count: int, at_once: int = 250) -> None:
    """Say so many messages, no faster than they are heard."""
    for _ in range(0, count, at_once):
        load.say(at_once)
        witness.hears(load)


def test_who_comes_late_has_the_state_and_all_that_follows():
    with connected() as (bridge, _, witness, load):
        flow(load, witness, 1000)
        followers = [Running(bridge, *ALL)]
        load.say(2000)
        followers.append(Running(bridge, *ALL))
        load.say(2000)
        witness.hears(load)
        goal = witness.last(*ALL)
        kept = durable(bridge, witness, [load])
        for each in followers:
            each.finish(goal)
            found = check(each.follower.entries, witness, kept, goal)
            for (stream, _), account in found.items():
                assert account.begun > 0
                if stream.startswith("md."):
                    state = [entry for entry in each.follower.entries if (entry.kind, entry.stream) == ("state", stream)]
                    assert [number(entry.body) for entry in state] == [account.begun]


@pytest.mark.parametrize("beats", [1, 8])
def test_whose_connection_was_cut_gets_what_it_missed_however_long_ago_that_was(beats):
    port = free_port()
    with connected(pub=f"tcp://127.0.0.1:{port}") as (bridge, _, witness, load), Wire(port) as wire:
        flow(load, witness, 500)
        each = Running(bridge, *ALL, pub=f"tcp://127.0.0.1:{wire.port}").begun()
        for _ in range(3):
            load.say(500)
            wire.cut()
            load.say(500)
            witness.hears(load)
            witness.passes(beats)
            wire.mend()
        goal = witness.last(*ALL)
        each.finish(goal)
        found = check(each.follower.entries, witness, durable(bridge, witness, [load]), goal)
        assert each.follower.replayed > 500
        assert not any(account.lost for account in found.values())
