"""How long a command waits while others take snapshots of everything.

A daemon with the state of 10,000 topics and more is fed 20,000 messages a second. One client pings at a fixed rate, in
turns without and with another one that takes one whole snapshot after the other. Exits 1 if a ping took 20 ms or more.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
from contextlib import ExitStack
from typing import Any

from harness import Caller, bridge, child, feeding, free_ports, greet, positive, subscribe
from processes import Child, InvalidError, end_cleanly

LONGEST = 0.02
"""Seconds that a command may wait."""

TOPICS = 10_000
"""With state, at least."""

LINES = 2_500
"""Instruments, with five topics each once everything has been said of them."""

BLOCK = 100_000
"""Messages after which all but a few of the rarest have."""

FOR_EVER = 3600
"""Seconds for which is fed: the feeder is ended with the rest."""

_QUANTILES = {"p50": 0.5, "p99": 0.99, "max": 1.0}


def quantiles(times: list[float]) -> dict[str, float]:
    """Milliseconds."""
    ranked = sorted(times)
    return {name: ranked[min(len(ranked) - 1, int(share * len(ranked)))] * 1e3 for name, share in _QUANTILES.items()}


def show(name: str, times: list[float], more: str = "") -> dict[str, float]:
    """A line of the table."""
    about = quantiles(times)
    shown = ", ".join(f"{key} {value:.2f}" for key, value in about.items())
    print(f"  {name:28} {shown} ms ({len(times):,}{more})")
    return about


class Trial:
    """A daemon that has its state, and is fed."""

    def __init__(self, given: argparse.Namespace, children: ExitStack) -> None:
        self.given = given
        pub, rep = (f"tcp://127.0.0.1:{port}" for port in free_ports())
        feeder, tws = feeding(children, given.version, LINES, 0, "--block", str(BLOCK))
        daemon = bridge(children, tws, pub, rep, {})
        with Caller(rep) as caller:
            subscribe(daemon, caller, LINES)
        greet(feeder, given.version)
        sink = children.enter_context(child("subscriber_load", pub, "md."))
        sink.hear()
        feeder.tell(messages=BLOCK, rate=0)
        feeder.hear()
        self.pinger, self.taker = (children.enter_context(child("command_load", rep)) for _ in range(2))
        feeder.tell(rate=given.rate, seconds=FOR_EVER)
        self.feeder = feeder

    def round(self, *, beside: bool) -> tuple[list[float], dict[str, Any]]:
        """Pings, with snapshots beside them or without, and these."""
        seconds = self.given.seconds
        if beside:
            self.taker.tell(snapshot=True, seconds=seconds + 0.5)
        self.pinger.tell(ping=True, seconds=seconds, rate=self.given.pings)
        pings = _said(self.pinger)["times"]
        return pings, _said(self.taker) if beside else {}


def _said(one: Child) -> dict[str, Any]:
    return one.hear(60)


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """All rounds, printed and returned."""
    alone: list[float] = []
    beside: list[float] = []
    taken: list[dict[str, Any]] = []
    with ExitStack() as children:
        trial = Trial(given, children)
        trial.round(beside=True)  # what is made when first needed is made
        for _ in range(given.rounds):
            alone += trial.round(beside=False)[0]
            pings, pages = trial.round(beside=True)
            beside += pings
            taken.append(pages)
        if trial.feeder.said():
            raise InvalidError("the feeder has ended before the measurement")
    topics, messages = taken[-1]["topics"], taken[-1]["messages"]
    if topics < TOPICS:
        raise InvalidError(f"a snapshot has {topics} topics, not {TOPICS}")
    page_times = [each for one in taken for each in one["times"]]
    print(f"snapshots of {topics:,} topics, {messages:,} messages, while {given.rate:,} msg/s flow; round trips:")
    about: dict[str, Any] = {"alone": show("ping", alone), "beside": show("ping, beside snapshots", beside)}
    about["page"] = show("a page", page_times, f"; {sum(one['snapshots'] for one in taken)} snapshots")
    return about


def main() -> int:
    """Measure, print, judge; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=positive, default=20_000, help="messages a second (default %(default)s)")
    parser.add_argument("--pings", type=positive, default=200, help="a second (default %(default)s)")
    parser.add_argument("--rounds", type=positive, default=3, help="of each, in turns (default %(default)s)")
    parser.add_argument("--seconds", type=positive, default=5, help="of each round (default %(default)s)")
    parser.add_argument("--version", type=int, default=226, help="server version (default %(default)s)")
    parser.add_argument("--only-print", action="store_true", help="exit 0 however long it took")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write the results there too")
    given = parser.parse_args()
    end_cleanly()
    try:
        about = measure(given)
    except InvalidError as error:
        print(f"no measurement: {error}", file=sys.stderr)
        return 1
    if given.json:
        given.json.write_text(json.dumps(about, indent=2) + "\n")
    met = about["beside"]["max"] < LONGEST * 1e3
    print(f"  the longest ping beside snapshots is {'' if met else 'NOT '}below {LONGEST * 1e3:.0f} ms")
    if not met and about["alone"]["max"] >= LONGEST * 1e3:
        print("  nor is it without snapshots: this machine is too busy to tell")
    return 0 if met or given.only_print else 1


if __name__ == "__main__":
    sys.exit(main())
