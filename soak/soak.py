"""A daemon under load for a long time: nothing is lost, nothing is wrong, nothing grows.

A feeder sends ticks and some durable messages at a steady rate through a real daemon with ring and store. Beside it a
subscriber of everything, one that is slow and has what it missed replayed, one that comes late over and over, and one
that sends commands (soak_client.py): each checks all that it gets, to the byte. The daemon's memory, files and threads
are looked at each second. Exits 1 on anything that is wrong, and if less than `--at-least` of the
rate was reached.

Everything is chosen by the seed but the moments at which things happen.
"""

from __future__ import annotations

import argparse
import pathlib
import statistics
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

sys.path.append(str(pathlib.Path(__file__).parents[1] / "benchmarks"))  # the harness, and what TWS says

from expected_messages import DURABLE
from harness import LINES, Caller, bridge, child, feeding, free_ports, greet, positive, subscribe
from processes import PATIENCE, InvalidError, end_cleanly
from soak_client import ROLES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from processes import Child

_HERE = pathlib.Path(__file__).parent
MIB = 2**20

RING_MESSAGES, RING_BYTES = 400_000, 96 * MIB
"""As much as a rate of 50,000 fills in eight seconds: it is full before anything is judged."""

SNDHWM = 50_000
"""So little that the slow subscriber loses some, and so much that the others do not when they wait for a core."""

BEHIND = 4 * SNDHWM
"""Messages for which the slow one stops: its queue here, what the kernel holds, and as many again that are lost."""

SETTLING = 15.0
"""Seconds, beside those in which the ring fills, before memory is judged: the slow one has filled its queue too."""

GROWTH = 24 * MIB
"""More memory in the last third of the time than in the first, of each the median. It goes up and down with what waits
in ZeroMQ's queues: 20 MiB for a subscriber that is as far behind as it may be. What is remembered grows with commands
(their replies are kept for ten minutes) and SQLite's cache with the store, up to 8 MiB. Two bytes lost for each message
are 38 MiB between the middles of these thirds."""

SHOWN = 11
"""How many of the samples of memory are shown, at equal distances."""

A_MESSAGE = 400
"""Bytes that a message takes at most in ZeroMQ's queue for a subscriber."""

PEERS = 4
"""Connections that come and go: those of the late subscriber, when a sample falls into its change."""


@dataclass
class Samples:
    """What the daemon's process looked like, each second."""

    daemon: Child
    rss: list[int] = field(default_factory=list)
    files: list[int] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)
    settled: int | None = None  # how many were taken before memory was judged

    def take(self) -> None:
        """One more."""
        place = pathlib.Path(f"/proc/{self.daemon.pid}")
        self.rss.append(self.daemon.rss())
        self.files.append(len(list((place / "fd").iterdir())))
        (threads,) = (line for line in (place / "status").read_text().splitlines() if line.startswith("Threads:"))
        self.threads.append(int(threads.split()[1]))

    def findings(self) -> Iterator[str]:
        """What is wrong with them."""
        if self.settled is None or len(self.rss) < self.settled + 20:
            yield "it did not settle in time for its memory to be judged"
            return
        rest = self.rss[self.settled :]
        if max(rest) > self.bound:
            yield f"memory: {max(rest) / MIB:.0f} MiB, which is more than ring, queue and program come to"
        third = len(rest) // 3
        before, after = statistics.median(rest[:third]), statistics.median(rest[-third:])
        if after > before + GROWTH:
            yield f"memory grows: {before / MIB:.0f} MiB at first, {after / MIB:.0f} in the end"
        for name, values in (("files", self.files), ("threads", self.threads)):
            room = PEERS if name == "files" else 0
            if max(values[self.settled :]) - min(values[self.settled :]) > room:
                yield f"{name}: from {min(values[self.settled :])} to {max(values[self.settled :])}"

    @property
    def bound(self) -> int:
        """What it takes before anything is fed, the ring, a queue that is full, and some."""
        return self.rss[0] + RING_BYTES + RING_MESSAGES * 16 + SNDHWM * A_MESSAGE + 32 * MIB


class Soak:
    """One run."""

    def __init__(self, given: argparse.Namespace, children: ExitStack) -> None:
        self.given = given
        self.findings: list[str] = []
        self.cpu = self.rate = 0.0
        ports = free_ports()
        pub, rep = (f"tcp://127.0.0.1:{port}" for port in ports)
        self.feeder, tws = feeding(children, given.version, LINES, given.durable, "--seed", str(given.seed))
        ring = {"ring.messages": RING_MESSAGES, "ring.bytes": RING_BYTES}
        self.daemon = bridge(children, tws, pub, rep, {"bus.sndhwm": SNDHWM, **ring})
        self.caller = children.enter_context(Caller(rep))
        subscribe(self.daemon, self.caller, LINES)
        ids = greet(self.feeder, given.version)["ids"]
        about = {"pub": pub, "rep": rep, "version": given.version, "durable": given.durable, "seed": given.seed}
        options = [part for key, value in {**about, "behind": BEHIND}.items() for part in (f"--{key}", str(value))]
        self.clients = {
            role: children.enter_context(child("soak_client", role, *options, folder=_HERE)) for role in ROLES
        }
        for each in self.clients.values():
            each.tell(ids=ids)
        for each in self.clients.values():
            each.hear()
        self.samples = Samples(self.daemon)

    def run(self) -> None:
        """Feed, look, and have everybody tell what they have seen."""
        self.samples.take()
        seconds = self.given.seconds
        used, began = self.daemon.cpu(), time.monotonic()
        self.feeder.tell(rate=self.given.rate, seconds=seconds)
        full = 0.0
        while not self.feeder.said() and not self.findings:
            time.sleep(1)
            self._look()
            now = time.monotonic() - began
            if not full and self.caller.result("status")["ring"]["messages"] > RING_MESSAGES * 0.95:
                full = now
            if full and now > full + SETTLING and self.samples.settled is None:
                self.samples.settled = len(self.samples.rss)
        if self.findings:
            return
        fed = self.feeder.hear()
        self.cpu = (self.daemon.cpu() - used) / fed["seconds"]
        self.rate = fed["sent"] / fed["seconds"]
        self._conclude(fed["sent"])
        self.findings += self.samples.findings()
        if self.rate < self.given.rate * self.given.at_least:
            self.findings.append(f"{self.rate:,.0f} messages a second is too low a rate")

    def _look(self) -> None:
        self.daemon.check()
        self.samples.take()
        for role, each in self.clients.items():
            if each.said():  # before it is asked
                self._heard(role, each)

    def _conclude(self, sent: int) -> None:
        """Wait until the daemon has taken all that was sent, then ask the clients."""
        late, before = time.monotonic() + PATIENCE, -1
        published = self.caller.result("status")["published"]
        while published != before and time.monotonic() < late:
            time.sleep(1)
            before, published = published, self.caller.result("status")["published"]
        heard = {}
        for role, each in self.clients.items():
            each.tell(until=published)
            heard[role] = self._heard(role, each)
        got = heard["all"].get("fed messages")
        if got is not None and got != sent:
            self.findings.append(f"{got} messages were published of the {sent} that were fed")
        self._expect(heard)

    def _heard(self, role: str, one: Child) -> dict[str, Any]:
        try:
            said = one.hear(3 * PATIENCE)
        except InvalidError as error:
            said = {"wrong": str(error)}
        if "wrong" in said:
            self.findings.append(f"{role}: {said['wrong']}")
            return {}
        counts: dict[str, Any] = said["counts"]
        print(f"  {role}: " + ", ".join(f"{value:,} {name}" for name, value in sorted(counts.items())))
        return counts

    def _expect(self, heard: dict[str, dict[str, Any]]) -> None:
        """Whoever had nothing to check has checked nothing."""
        for role, name in (("slow", "replayed"), ("late", "followed"), ("commands", "ping")):
            if heard[role] and not heard[role].get(name):
                self.findings.append(f"{role}: nothing was {name}")

    def show(self) -> None:
        """What it was like, in a line or two."""
        rss = self.samples.rss
        print(
            f"  daemon: {max(rss) / MIB:.0f} MiB at most of {self.samples.bound / MIB:.0f} "
            f"({rss[0] / MIB:.0f} before, {rss[self.samples.settled or 0] / MIB:.0f} settled, "
            f"{rss[-1] / MIB:.0f} in the end), {max(self.samples.files)} files, {max(self.samples.threads)} threads, "
            f"{self.cpu:.0%} of a core"
        )
        shown = rss[:: max(1, (len(rss) - 1) // (SHOWN - 1))]
        print(f"  its memory, at equal distances: {', '.join(f'{each / MIB:.0f}' for each in shown)} MiB")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=positive, default=600, help="(default %(default)s)")
    parser.add_argument("--rate", type=positive, default=50_000, help="messages a second (default %(default)s)")
    parser.add_argument("--at-least", type=float, default=0, help="share of the rate that must be reached on average")
    parser.add_argument("--durable", type=float, default=DURABLE, help="share of such messages (default %(default)s)")
    parser.add_argument("--version", type=int, default=226, help="server version (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="(default %(default)s)")
    given = parser.parse_args(arguments)
    end_cleanly()
    what = f"{given.seconds} s at {given.rate:,} msg/s, {given.durable:.1%} durable"
    print(f"soak of {what}, seed {given.seed}", flush=True)
    try:
        with ExitStack() as children:
            soak = Soak(given, children)
            soak.run()
    except InvalidError as error:
        print(f"soak: {error}", file=sys.stderr)
        return 1
    if soak.samples.rss:
        soak.show()
    for finding in soak.findings:
        print(f"soak: {finding}", file=sys.stderr)
    if not soak.findings:
        print(f"nothing was lost, wrong or growing; {soak.rate:,.0f} msg/s were reached")
    return 1 if soak.findings else 0


if __name__ == "__main__":
    sys.exit(main())
