"""Benchmark of the latency of a message through the daemon, beside a raw relay in the same run.

A feeder sends ticks at a fixed rate, relay and daemon take turns, and a subscriber in a process of its own notes the
time of each message. A latency runs from the write of a frame to the end of the subscriber's `recv`, so both include
TCP, one ZeroMQ hop and two wake-ups. Every message must arrive: the benchmark exits 1 if a message is lost.
"""

from __future__ import annotations

import statistics
import sys
from typing import Any

from harness import Run, Subject, conclude, median_ratio, numbers, options, pairs, run

AIM = 1.5
"""Largest ratio of the daemon's median to the relay's."""

SETTLING = 0.5
"""Seconds at the start that do not count, because readers are made on first use."""

_QUANTILES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}


def quantile(one: Run, rate: int, share: float) -> float:
    """Return a quantile of the latencies of a run in µs, without the settling time."""
    settled = sorted(one.latencies[int(rate * SETTLING) :])
    return settled[min(len(settled) - 1, int(share * len(settled)))] * 1e6


def measure(version: int, rate: int, seconds: float, durable: float, count: int) -> dict[str, Any]:
    """Measure all pairs at one version and rate, print the results and return them."""
    messages = int(rate * (SETTLING + seconds))
    results = list(pairs(count, lambda subject: run(subject, version, messages, durable, rate)))
    print(f"\nserver version {version}, {rate:,} msg/s")
    about: dict[str, Any] = {"version": version, "rate": rate}
    for subject in Subject:
        about[subject.value] = _show(subject, rate, [pair[subject] for pair in results])
    about["ratio"] = median_ratio(results, lambda one: quantile(one, rate, 0.5))
    print(f"  daemon/relay {about['ratio']:.2f} times its p50 (aim: at most {AIM})")
    return about


def _show(subject: Subject, rate: int, runs: list[Run]) -> dict[str, float]:
    about = {name: statistics.median(quantile(one, rate, share) for one in runs) for name, share in _QUANTILES.items()}
    shown = ", ".join(f"{name} {value:,.0f}" for name, value in about.items())
    print(f"  {subject.value:6} {shown} µs")
    return about


def main() -> int:
    """Measure and print. Return the exit code."""
    parser = options(__doc__, count=3)
    parser.add_argument("--rates", type=numbers, default="5000", help="messages a second (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each run that count (default %(default)s)")
    given = parser.parse_args()
    print(f"{given.pairs} pairs of {given.seconds:g} s; medians of all runs")

    def measured() -> list[dict[str, Any]]:
        # Warm-up, which also writes missing bytecode.
        run(Subject.DAEMON, given.versions[0], 10_000, given.durable)
        return [
            measure(version, rate, given.seconds, given.durable, given.pairs)
            for version in given.versions
            for rate in given.rates
        ]

    return conclude(measured, given.json)


if __name__ == "__main__":
    sys.exit(main())
