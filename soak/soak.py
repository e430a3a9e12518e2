"""Soak of a daemon under load: over a long time no message is lost or wrong, and memory does not grow.

A feeder sends ticks and some durable messages at a steady rate through a real daemon with ring and store. Four clients
(soak_client.py) check every message that they receive, to the byte: a subscriber of everything, a slow subscriber that
requests replays, a late subscriber that comes over and over, and a client that sends commands. The daemon's memory,
files and threads are sampled each second. The soak exits 1 on any fault, and if less than `--at-least` of the rate was
reached.

The seed decides everything but the moments of events.
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

sys.path.append(str(pathlib.Path(__file__).parents[1] / "benchmarks"))  # the harness and the feeder

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
"""Size of the ring in messages and bytes. 50,000 messages a second fill the ring in eight seconds, before memory is
judged."""

SNDHWM = 50_000
"""High-water mark at which the slow subscriber loses messages, but the others do not while they wait for a core."""

BEHIND = 4 * SNDHWM
"""Messages for which the slow subscriber stops: as many as queue and kernel hold, and as many again that are lost."""

SETTLING = 15.0
"""Seconds between the filling of the ring and the judging of memory. The slow subscriber fills its queue meanwhile."""

GROWTH = 24 * MIB
"""Most bytes by which the median memory may grow from the first third of the time to the last. Memory goes up and down
with ZeroMQ's queues: 20 MiB for a subscriber that is as far behind as possible. The reply cache grows with commands
(replies are kept for ten minutes), and SQLite's cache with the store, up to 8 MiB. A leak of two bytes for each message
gives 38 MiB between the middles of these thirds."""

SHOWN = 11
"""Number of memory samples that are shown, at equal distances."""

A_MESSAGE = 400
"""Most bytes of a message in ZeroMQ's queue for a subscriber."""

PEERS = 4
"""Connections by which samples may differ: the late subscriber connects and disconnects."""


@dataclass
class Samples:
    """Samples of the daemon's memory, files and threads, each second."""

    daemon: Child
    rss: list[int] = field(default_factory=list)
    files: list[int] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)
    settled: int | None = None  # the number of samples before memory is judged

    def take(self) -> None:
        """Take a sample."""
        place = pathlib.Path(f"/proc/{self.daemon.pid}")
        self.rss.append(self.daemon.rss())
        self.files.append(len(list((place / "fd").iterdir())))
        (threads,) = (line for line in (place / "status").read_text().splitlines() if line.startswith("Threads:"))
        self.threads.append(int(threads.split()[1]))

    def findings(self) -> Iterator[str]:
        """Yield the faults in the samples."""
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
        """Most bytes of memory: those before feeding, the full ring, a full queue, and a margin."""
        return self.rss[0] + RING_BYTES + RING_MESSAGES * 16 + SNDHWM * A_MESSAGE + 32 * MIB


class Soak:
    """A soak with its feeder, daemon and clients."""

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
        """Feed the daemon, take samples, and collect the findings of the clients."""
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
            if each.said():  # a client that reports unasked has a finding
                self._heard(role, each)

    def _conclude(self, sent: int) -> None:
        """Wait until the daemon has published all that was sent, then ask the clients for their results."""
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
        """Add a finding for each client that had nothing to check."""
        for role, name in (("slow", "replayed"), ("late", "followed"), ("commands", "ping")):
            if heard[role] and not heard[role].get(name):
                self.findings.append(f"{role}: nothing was {name}")

    def show(self) -> None:
        """Print the memory, files, threads and CPU of the daemon."""
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
    """Run the soak. Return the exit code."""
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
