"""Benchmark of the daemon's throughput, beside a raw relay in the same run.

Everything is on: sequence numbers, state, ring, and the store, on a real disk, for the share of messages that are
durable. A feeder sends a burst, relay and daemon take turns, and a subscriber in a process of its own counts. Every
message must arrive: the benchmark exits 1 if a message is lost. Results depend on the machine and its other load; the
ratio to the relay depends on them much less.
"""

from __future__ import annotations

import statistics
import sys
from typing import Any

from harness import Run, Subject, conclude, median_ratio, options, pairs, positive, run

AIM = 0.4
"""Least share of the relay's throughput."""


def measure(version: int, messages: int, durable: float, count: int) -> dict[str, Any]:
    """Measure all pairs at one version, print the results and return them."""
    results = list(pairs(count, lambda subject: run(subject, version, messages, durable)))
    first = results[0][Subject.DAEMON]
    print(f"\nserver version {version}: {first.frame_bytes:.0f} bytes a frame, {first.body_bytes:.0f} a body published")
    about: dict[str, Any] = {"version": version}
    for subject in Subject:
        about[subject.value] = _show(subject, [pair[subject] for pair in results])
    about["ratio"] = median_ratio(results, lambda one: one.rate)
    about["cpu_ratio"] = median_ratio(results, lambda one: one.cpu_per_million)
    print(f"  daemon/relay: {about['ratio']:.2f} of its throughput (aim: at least {AIM})", end=", ")
    print(f"{about['cpu_ratio']:.1f} times its CPU")
    return about


def _show(subject: Subject, runs: list[Run]) -> dict[str, float]:
    rates = [one.rate for one in runs]
    about = {
        "rate": statistics.median(rates),
        "lowest": min(rates),
        "highest": max(rates),
        "cpu_per_million": statistics.median(one.cpu_per_million for one in runs),
    }
    print(
        f"  {subject.value:6} {about['rate']:9,.0f} msg/s ({about['lowest']:,.0f} to {about['highest']:,.0f}), "
        f"{about['cpu_per_million']:.2f} s of CPU for a million"
    )
    return about


def main() -> int:
    """Measure and print. Return the exit code."""
    parser = options(__doc__, count=5)
    parser.add_argument("--messages", type=positive, default=300_000, help="in one burst (default %(default)s)")
    given = parser.parse_args()
    what = f"{given.messages:,}, {given.durable:.1%} of it durable"
    print(f"bursts of {what}, {given.pairs} pairs; median (lowest to highest)")

    def measured() -> list[dict[str, Any]]:
        for subject in Subject:  # warm-up, which also writes missing bytecode
            run(subject, given.versions[0], min(given.messages, 50_000), given.durable)
        return [measure(version, given.messages, given.durable, given.pairs) for version in given.versions]

    return conclude(measured, given.json)


if __name__ == "__main__":
    sys.exit(main())
