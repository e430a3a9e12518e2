"""Runs seeds: python -m tests.world --seeds N [--first K] [--jobs J] [--everything] [--trace] [--catalogue].

The program exits with 1 if a rule is broken, or if a large run misses an entry of the catalogue. The docstring of the
package tells how to read what the program prints.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import re
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from tests.world import catalogue, checkers
from tests.world.world import live

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

COLLECT = 20
"""Seeds between two collections of garbage."""
EXAMPLES = 3
"""Failing seeds of which breaches and faults are printed."""
KEY = re.compile(r"\b[abc]\d+\b")
"""Keys of orders, in the sentences of rules."""
LINE, LINES = 200, 80
"""Characters of a line, and lines of a trace, that are printed."""
SHOWN = 40
"""Failing seeds whose numbers are printed."""


class Seen(NamedTuple):
    """Outcome of a seed."""

    seed: int
    digest: str
    marks: Counter[str]
    breaches: list[checkers.Breach]
    faults: list[str]


def see(task: tuple[int, bool]) -> Seen:
    """Live through a seed, and check the rules."""
    seed, everything = task
    if seed % COLLECT == 0:
        gc.collect()
    result = live(seed)
    history = result.evidence.history
    found = checkers.breaches(result.evidence, everything=everything)
    return Seen(seed, result.digest, history.marks, found, history.faults if found else [])


def outcomes(seeds: Sequence[int], jobs: int, *, everything: bool) -> Iterator[Seen]:
    """Yield the outcomes of seeds, in their order."""
    live(0)  # what is made once is not garbage
    gc.collect()
    gc.freeze()
    gc.disable()
    tasks = [(seed, everything) for seed in seeds]
    if jobs == 1:
        yield from map(see, tasks)
        return
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        yield from pool.imap(see, tasks, chunksize=COLLECT)


def story(seed: int) -> list[str]:
    """Return the trace of a seed, which is lived through once more."""
    return live(seed, traced=True).evidence.history.trace


def report(seen: Seen) -> None:
    """Print a failing seed: the rules that it breaks, its faults, and the part of its trace that names their orders."""
    print(f"\nseed {seen.seed} breaks rules (digest {seen.digest}):")
    for breach in seen.breaches:
        print(f"  {breach.rule}: {breach.text}")
    print("  its faults:", *seen.faults, sep="\n    ")
    keys = re.compile("|".join({*KEY.findall(" ".join(breach.text for breach in seen.breaches))}) or "$.")
    named = [line[:LINE] for line in story(seen.seed) if keys.search(line) or "FAULT" in line or "starts" in line]
    print("  its trace, as far as it names these orders:", *named[:LINES], sep="\n    ")
    print(f"  alone, with all that happens: python -m tests.world --first {seen.seed} --seeds 1 --trace")


class Tally:
    """Sum of the outcomes of a run."""

    def __init__(self) -> None:
        self.marks: Counter[str] = Counter()
        self.rules: Counter[str] = Counter()
        self.failing: list[int] = []

    def add(self, seen: Seen) -> None:
        self.marks.update(set(seen.marks))
        if seen.breaches:
            self.rules.update({breach.rule for breach in seen.breaches})
            self.failing.append(seen.seed)
            if len(self.failing) <= EXAMPLES:
                report(seen)

    def conclude(self, seeds: int, seconds: float) -> None:
        """Print the result of the run."""
        print(f"\n{seeds} seeds in {seconds:.1f} s ({seeds / seconds:.1f} a second), {len(self.failing)} fail")
        if self.failing:
            print("failing seeds:", *self.failing[:SHOWN], *(["..."] if len(self.failing) > SHOWN else []))
        for rule, number in self.rules.most_common():
            print(f"{number:6} seeds break: {rule}")


def arguments() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.world", description="Checks the truth of orders, by seeds.")
    parser.add_argument("--seeds", type=int, default=300, metavar="N", help="how many seeds (default: 300)")
    parser.add_argument("--first", type=int, default=0, metavar="K", help="the first seed (default: 0)")
    parser.add_argument("--jobs", type=int, default=1, metavar="J", help="processes to use (default: 1)")
    parser.add_argument("--everything", action="store_true", help="check also the rules that wait for a promise")
    parser.add_argument("--trace", action="store_true", help="print all that happens in each seed")
    parser.add_argument("--catalogue", action="store_true", help="print how many seeds reach each state and path")
    return parser.parse_args()


def main() -> int:
    """Run the seeds that the command line names. Return the exit code."""
    options, tally, began = arguments(), Tally(), time.perf_counter()
    seeds = range(options.first, options.first + options.seeds)
    for seen in outcomes(seeds, options.jobs, everything=options.everything):
        if options.trace:
            print(*story(seen.seed), sep="\n")
        tally.add(seen)
        if options.seeds == 1 and not seen.breaches:
            print(f"seed {seen.seed}: digest {seen.digest}, no rule is broken")
    tally.conclude(options.seeds, time.perf_counter() - began)
    if options.catalogue:
        for mark, number in sorted(tally.marks.items()):
            print(f"{number:6} seeds reach: {mark}")
    missed = catalogue.missed(tally.marks) if options.seeds >= catalogue.LARGE else []
    if missed:
        print("no seed reaches:", ", ".join(missed))
    return 1 if tally.failing or missed else 0


if __name__ == "__main__":
    sys.exit(main())
