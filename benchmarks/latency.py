"""How long a message takes through the daemon, beside a raw relay in the same run.

A feeder sends ticks at a fixed rate; relay and daemon take turns in the middle; a subscriber in a process of its own
looks at the clock when it has each. From the write of a frame to the end of the subscriber's `recv`, so both include
TCP, one ZeroMQ hop and two wake-ups. Every message is checked to have arrived: exits 1 if one is lost.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import sys
from typing import Any

from child import InvalidError, end_cleanly
from trial import Run, Subject, median_ratio, numbers, pairs, positive, run

AIM = 1.5
"""Times the relay's median."""

SETTLING = 0.5
"""Seconds at the start that do not count: readers are made when first needed."""

_QUANTILES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}


def quantile(one: Run, rate: int, share: float) -> float:
    """µs."""
    settled = sorted(one.latencies[int(rate * SETTLING) :])
    return settled[min(len(settled) - 1, int(share * len(settled)))] * 1e6


def measure(version: int, rate: int, seconds: float, count: int) -> dict[str, Any]:
    """All pairs at one version and rate, printed and returned."""
    messages = int(rate * (SETTLING + seconds))
    results = list(pairs(count, lambda subject: run(subject, version, messages, rate)))
    print(f"\nserver version {version}, {rate:,} msg/s")
    about: dict[str, Any] = {"version": version, "rate": rate}
    for subject in Subject:
        about[subject.value] = _show(subject, rate, [pair[subject] for pair in results])
    about["ratio"] = median_ratio(results, lambda one: quantile(one, rate, 0.5))
    print(f"  daemon/relay {about['ratio']:.2f} times its p50 (aim: at most {AIM})")
    return about


def _show(subject: Subject, rate: int, runs: list[Run]) -> dict[str, float]:
    about = {
        name: statistics.median(quantile(one, rate, share) for one in runs) for name, share in _QUANTILES.items()
    }
    shown = ", ".join(f"{name} {value:,.0f}" for name, value in about.items())
    print(f"  {subject.value:6} {shown} µs")
    return about


def main() -> int:
    """Measure and print; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rates", type=numbers, default="5000", help="messages a second (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each run that count (default %(default)s)")
    parser.add_argument("--pairs", type=positive, default=3, help="runs of each, in turns (default %(default)s)")
    parser.add_argument("--versions", type=numbers, default="178,200,226", help="server versions (default %(default)s)")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write the results there too")
    options = parser.parse_args()
    end_cleanly()
    print(f"{options.pairs} pairs of {options.seconds:g} s; medians of all runs")
    try:
        run(Subject.DAEMON, options.versions[0], 10_000)  # warms up the machine, and compiles what is not compiled
        results = [
            measure(version, rate, options.seconds, options.pairs)
            for version in options.versions
            for rate in options.rates
        ]
    except InvalidError as error:
        print(f"no measurement: {error}", file=sys.stderr)
        return 1
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
