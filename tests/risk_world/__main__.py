"""Runs worlds: python -m tests.risk_world --steps N [--first K] [--length L] [--jobs J].

The program exits with 1 if the gate and the judge disagree, and prints the seed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections import Counter

from tests.risk_world.world import Disagreement, RiskWorld


def live(task: tuple[int, int]) -> tuple[int, Counter[str], str]:
    """Live through the world of one seed; return its steps, what was seen, and the disagreement."""
    seed, length = task
    world = RiskWorld(seed)
    for done in range(length):
        try:
            world.step()
        except Disagreement as error:
            return done, Counter(world.seen), str(error)
    return length, Counter(world.seen), ""


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.risk_world")
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--length", type=int, default=150)
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    tasks = [(options.first + number, options.length) for number in range(-(-options.steps // options.length))]
    began, steps, seen, failed = time.monotonic(), 0, Counter[str](), 0
    with multiprocessing.get_context("fork").Pool(options.jobs) as pool:
        for done, counts, fault in pool.imap_unordered(live, tasks, chunksize=5):
            steps, seen = steps + done, seen + counts
            if fault:
                failed += 1
                if failed <= 5:
                    print(fault, flush=True)
            if steps // 50_000 > (steps - done) // 50_000:
                print(f"{steps} steps in {time.monotonic() - began:.0f} s", flush=True)
    print(f"{steps} steps of {len(tasks)} seeds in {time.monotonic() - began:.0f} s, {failed} disagreements")
    print(", ".join(f"{name} {count}" for name, count in sorted(seen.items())))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
