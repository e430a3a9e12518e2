"""Benchmark of the cost that a stopped or slow subscriber causes for the other subscribers.

Some subscribers of a daemon read everything. In turns there are only these, these and a stopped one (SIGSTOP), and
these and a slow one, which has a tiny queue and reads a message now and then. The daemon is fed until its queue for the
odd subscriber is full. Then latency is measured at a fixed rate, and throughput in a burst. Every message to the other
subscribers is checked. The benchmark exits 1 if they lose a message, or if the daemon takes more memory than the queue
may hold.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import signal
import statistics
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from expected_messages import DURABLE
from harness import LINES, Caller, bridge, child, feeding, free_ports, greet, positive, subscribe
from processes import InvalidError, end_cleanly

from ibbridge.config.model import BusConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

SNDHWM = BusConfig().sndhwm

FILL, FILL_RATE = int(2.5 * SNDHWM), 50_000
"""Messages and their rate a second: more than queue and kernel hold for a subscriber that does not read."""

PACED, PACED_RATE = 10_000, 5_000

BURST = int(0.9 * SNDHWM)
"""Messages of a burst that fit into the queue, so that a reading subscriber loses none while it waits for a core."""

A_MESSAGE = 400
"""Most bytes of a message in ZeroMQ's queue."""

MIB = 2**20


class Odd(Enum):
    """The odd subscriber beside the others."""

    NOBODY = "nobody"
    STOPPED = "a stopped one"
    SLOW = "a slow one"


@dataclass(frozen=True)
class Run:
    """Results of one run. `rss` is the largest resident memory of the daemon, in bytes."""

    rate: float
    p50: float
    p99: float
    rss: int


def run(odd: Odd, given: argparse.Namespace) -> Run:
    """Measure one run. Raises `InvalidError` if one of the others did not receive exactly what was sent."""
    pub, rep = (f"tcp://127.0.0.1:{port}" for port in free_ports())
    total = FILL + PACED + BURST
    with ExitStack() as children:
        feeder, tws = feeding(children, given.version, LINES, given.durable)
        daemon = bridge(children, tws, pub, rep, {"bus.sndhwm": SNDHWM})
        options = ("--endpoint", pub, "--messages", str(total), "--stamped")
        others = []
        for number in reversed(range(given.subscribers)):
            others.append(children.enter_context(child("subscriber", *options, "--more", str(number))))
            others[-1].hear()
        children.enter_context(_beside(odd, pub))
        with Caller(rep) as caller:
            subscribe(daemon, caller, LINES)
        greet(feeder, given.version)
        phases = ((FILL, FILL_RATE, 100), (PACED, PACED_RATE, 1), (BURST, 0, 1))
        sent, memory = [], []
        for messages, rate, each_write in phases:
            feeder.tell(messages=messages, rate=rate, each=each_write)
            sent.append(feeder.hear())
            memory.append(daemon.rss())
        received = [each.hear(60) for each in others]
        memory.append(daemon.rss())
    _check(sent, received, total)
    return _seen(sent, received, max(memory))


def _check(sent: list[dict[str, Any]], received: list[dict[str, Any]], total: int) -> None:
    types = {name: sum(each["types"].get(name, 0) for each in sent) for each in sent for name in each["types"]}
    for each in received:
        if each["received"] != total or each["faults"] or each["types"] != types:
            raise InvalidError(f"{each['received']} of {total} arrived at one of the others; {each['faults']}")


def _seen(sent: list[dict[str, Any]], received: list[dict[str, Any]], rss: int) -> Run:
    times = sorted(
        (got - put) / 1e3
        for each in received
        for put, got in zip(sent[1]["stamps"], each["stamps"][FILL : FILL + PACED], strict=True)
    )
    seconds = (max(each["stamps"][-1] for each in received) - sent[2]["stamps"][0]) / 1e9
    return Run(BURST / seconds, times[len(times) // 2], times[int(len(times) * 0.99)], rss)


@contextmanager
def _beside(odd: Odd, pub: str) -> Iterator[None]:
    """Run the odd subscriber, stopped or slow, for the time of the block."""
    if odd is Odd.NOBODY:
        yield
        return
    with child("subscriber_load", pub, "", *(["--slow"] if odd is Odd.SLOW else [])) as one:
        one.hear()
        if odd is Odd.STOPPED:
            os.kill(one.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(one.pid, signal.SIGCONT)  # a stopped process would not end


def show(results: list[dict[Odd, Run]]) -> dict[str, Any]:
    """Print the table and return its values."""
    about: dict[str, Any] = {}
    for odd in Odd:
        runs = [one[odd] for one in results]
        figures = {name: statistics.median(getattr(each, name) for each in runs) for name in ("rate", "p50", "p99")}
        ratios = {
            name: statistics.median(getattr(one[odd], name) / getattr(one[Odd.NOBODY], name) for one in results)
            for name in figures
        }
        rss = max(each.rss for each in runs)
        about[odd.value] = {**figures, "ratios": ratios, "rss": rss}
        print(
            f"  beside {odd.value:13} {figures['rate']:8,.0f} msg/s ({ratios['rate']:.2f}), "
            f"p50 {figures['p50']:,.0f} µs ("
            f"{ratios['p50']:.2f}), p99 {figures['p99']:,.0f} µs ({ratios['p99']:.2f}), {rss / MIB:.0f} MiB"
        )
    return about


def main() -> int:
    """Measure, print and judge. Return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=positive, default=3, help="runs of each, in turns (default %(default)s)")
    parser.add_argument("--subscribers", type=positive, default=3, help="that read (default %(default)s)")
    parser.add_argument("--durable", type=float, default=DURABLE, help="share of such messages (default %(default)s)")
    parser.add_argument("--version", type=int, default=226, help="server version (default %(default)s)")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write the results there too")
    given = parser.parse_args()
    end_cleanly()
    print(f"{given.subscribers} subscribers, {given.rounds} runs of each; medians, and the ratio to nobody beside them")
    try:
        orders = [list(Odd) if number % 2 == 0 else list(reversed(Odd)) for number in range(given.rounds)]
        about = show([{odd: run(odd, given) for odd in order} for order in orders])
    except InvalidError as error:
        print(f"no measurement: {error}", file=sys.stderr)
        return 1
    if given.json:
        given.json.write_text(json.dumps(about, indent=2) + "\n")
    more = max(about[odd.value]["rss"] for odd in Odd) - about[Odd.NOBODY.value]["rss"]
    met = more < SNDHWM * A_MESSAGE
    print(f"  the odd one took {more / MIB:.0f} MiB of the daemon; a full queue is {'' if met else 'NOT '}so much")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
