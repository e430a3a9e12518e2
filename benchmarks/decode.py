"""Benchmark of decoding, beside ib_async and IB's own client in the same run, and of the codec's start-up.

The decoders take turns at the same payloads in short slices, in another order each round, so that other load on the
machine hits all of them. Time is CPU of this thread. A ratio is formed round by round, within one run. The output names
every message that a decoder cannot read. Nothing is judged: the aims are printed beside the results.
"""

from __future__ import annotations

import argparse
import gc
import gzip
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any

from decoders import IB_ASYNC, OFFICIAL, PACKED, READ, Subject, is_packed
from ticks import MIX, ticks

from ibbridge.codec import Dialect, speedups
from ibbridge.codec.layout import edges
from ibbridge.codec.messages import INBOUND, MESSAGES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from decoders import Run

    from ibbridge.codec import Message

LINES = 100
"""Market data lines that tick."""

THE_MIX = "the whole mix"

LIMIT = 50
"""Milliseconds from the codec's import to the first message."""

FIRST = ("tickPrice", "openOrder")
"""First messages for measuring start-up: a small message, and the message with the largest reader."""

_HERE = pathlib.Path(__file__).parent
_VECTORS = _HERE.parent / "tests" / "conformance" / "vectors"


@dataclass(frozen=True)
class Comparison:
    """The other decoder at a server version, and the aim: how many times as fast ours is to read the tick mix."""

    version: int
    other: Subject
    aim: float

    @property
    def sides(self) -> tuple[Subject, ...]:
        """The decoders that take turns, the other one last."""
        return READ, PACKED, self.other


COMPARISONS = (Comparison(178, IB_ASYNC, 2), Comparison(200, OFFICIAL, 8), Comparison(226, OFFICIAL, 8))


@dataclass(frozen=True)
class Scale:
    """The amount of measuring. A slice has `ticks` messages of the mix, or takes the slowest side `seconds`."""

    rounds: int
    ticks: int
    seconds: float
    starts: int


FULL = Scale(rounds=15, ticks=4_000, seconds=0.004, starts=9)
QUICK = Scale(rounds=5, ticks=1_500, seconds=0.001, starts=3)


# -- measuring -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ratio:
    """Speed of ours divided by speed of the other decoder, over all rounds."""

    median: float
    lowest: float
    highest: float

    def __str__(self) -> str:
        return f"{self.median:5.2f} ({self.lowest:.2f} to {self.highest:.2f})"


@dataclass(frozen=True)
class Result:
    """A row of results: the median rates of all decoders in messages a second, and the ratios of ours to the other."""

    rates: list[float]
    ratios: list[Ratio]


def race(runs: Sequence[Run], slices: Sequence[Sequence[bytes]]) -> Result:
    """Time all decoders at each slice, in turns. The other decoder is the last of `runs`."""
    rounds = []
    for number, payloads in enumerate(slices):
        costs = [0.0] * len(runs)
        for turn in range(len(runs)):
            side = (number + turn) % len(runs)
            begin = time.thread_time()
            runs[side](payloads)
            costs[side] = (time.thread_time() - begin) / len(payloads)
        rounds.append(costs)
    rates = [1 / statistics.median(costs) for costs in zip(*rounds, strict=True)]
    return Result(rates, [_ratio([each[-1] / each[side] for each in rounds]) for side in range(len(runs) - 1)])


def _ratio(values: list[float]) -> Ratio:
    return Ratio(statistics.median(values), min(values), max(values))


# -- the tick mix ----------------------------------------------------------------------------------------------------


class Mix:
    """Payloads of one comparison: slices of the mix, and other slices of each of its types.

    Each payload is read once, as in production: a decoder that caches values profits only from earlier payloads.
    """

    def __init__(self, stream: Iterator[Message], version: int, scale: Scale) -> None:
        server = Dialect.server(version)

        def take(count: int) -> Iterator[tuple[str, bytes]]:
            return ((tick.name, server.put(*tick)[4:]) for tick in islice(stream, count))

        self.warm_up = [payload for _, payload in take(scale.ticks)]
        self.slices = [[payload for _, payload in take(scale.ticks)] for _ in range(scale.rounds)]
        by_type: dict[str, list[bytes]] = {name: [] for name in MIX}
        for name, payload in take(scale.ticks * scale.rounds):
            by_type[name].append(payload)
        self.by_type = {name: _cut(payloads, scale.rounds) for name, payloads in by_type.items()}


def _cut(payloads: list[bytes], count: int) -> list[list[bytes]]:
    size = len(payloads) // count
    return [payloads[start : start + size] for start in range(0, size * count, size)]


def mixes(scale: Scale) -> Iterator[tuple[Comparison, Mix]]:
    """Yield pieces of one long stream. No piece is used twice, because decoders may cache values."""
    each = scale.ticks * (1 + 2 * scale.rounds)
    stream = ticks(range(1, LINES + 1), each * len(COMPARISONS))
    for comparison in COMPARISONS:
        yield comparison, Mix(stream, comparison.version, scale)


def measure_mix(comparison: Comparison, mix: Mix) -> dict[str, Result]:
    """Measure the whole mix, then each of its types. Raises ValueError if a decoder does not read all ticks."""
    for side in comparison.sides:
        if not all(map(listener(side, comparison.version), mix.warm_up)):
            raise ValueError(f"{side.name} does not read all ticks at version {comparison.version}")
    runs = [side.at(comparison.version, None) for side in comparison.sides]
    for run in runs:
        run(mix.warm_up)
    gc.collect()
    return {
        THE_MIX: race(runs, mix.slices),
        **{name: race(runs, slices) for name, slices in mix.by_type.items()},
    }


# -- every type of message -------------------------------------------------------------------------------------------


@cache
def _vectors() -> list[tuple[int, str, bytes]]:
    """Return server version, encoding and payload of every recorded inbound frame."""
    found = []
    for name in ("in_text", "in_proto", "legacy"):
        with gzip.open(_VECTORS / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
            _, *vectors = map(json.loads, lines)  # the first line names the origin of the file
        heard = (each for each in vectors if each["dir"] == "in")
        found += [(each["server_version"], each["enc"], bytes.fromhex(each["frame"])) for each in heard]
    return found


def payloads_at(version: int) -> dict[str, list[bytes]]:
    """Return the recorded payloads that a server of `version` could have sent, by the name of the message.

    Payloads of other versions are included if the message has the same form in both versions.
    """
    found: dict[str, list[bytes]] = {each.name: [] for each in INBOUND if each.exists(version)}
    for recorded, encoding, payload in _vectors():
        name = _dialect(recorded).read(payload).name or "unknown"
        if name in found and encoding == _encoding(name, version) and _same_form(name, recorded, version):
            found[name].append(payload)
    return found


_dialect = cache(Dialect.client)


def _encoding(name: str, version: int) -> str:
    return "proto" if MESSAGES[name].in_protobuf(version) else "text"


def _same_form(name: str, one: int, other: int) -> bool:
    return not any(min(one, other) < edge <= max(one, other) for edge in _edges(name))


@cache
def _edges(name: str) -> list[int]:
    return edges(MESSAGES[name])


@dataclass(frozen=True)
class Row:
    """Results of a message type: the number of payloads, the number that each decoder reads, and the rates.

    The rates are for the payloads that all decoders read.
    """

    payloads: int
    read: dict[str, int]
    packed: bool
    result: Result | None


def measure_type(comparison: Comparison, name: str, payloads: Sequence[bytes], scale: Scale) -> Row:
    """Measure a message type, timing only the payloads that all decoders read, over and over."""
    version = comparison.version
    able = {side.name: [understands(side, version, name, one) for one in payloads] for side in comparison.sides}
    common = [one for one, *understood in zip(payloads, *able.values(), strict=True) if all(understood)]
    packs = any(is_packed(version, one) for one in common)
    counts = {side: sum(understood) for side, understood in able.items()}
    return Row(len(payloads), counts, packs, _timed(comparison, common, scale) if common else None)


def understands(side: Subject, version: int, name: str, payload: bytes) -> bool:
    """Return True if a decoder calls the callback of a payload. For an empty list, its end callback is enough."""
    return not {name, f"{name}End"}.isdisjoint(listener(side, version)(payload))


@cache
def listener(side: Subject, version: int) -> Callable[[bytes], list[str]]:
    """Return a function from a payload to the names of the callbacks that a decoder calls."""
    return side.listener(version)


def _timed(comparison: Comparison, payloads: Sequence[bytes], scale: Scale) -> Result:
    runs = [side.at(comparison.version, None) for side in comparison.sides]
    longest = 0.0
    for run in runs:
        run(payloads)
        begin = time.thread_time()
        run(payloads)
        longest = max(longest, time.thread_time() - begin)
    times = max(1, round(scale.seconds / longest))
    return race(runs, [list(payloads) * times] * scale.rounds)


# -- start-up --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Start:
    """Milliseconds of CPU until the first message: import of third-party packages, import of the codec, decoding."""

    packages: float
    imported: float
    first: float

    @property
    def ours(self) -> float:
        """Milliseconds of CPU that the codec itself takes."""
        return self.imported + self.first


def starts(version: int, payload: bytes, count: int) -> list[Start]:
    """Measure `count` start-ups, each in a process of its own.

    One more start-up comes first and does not count: it writes the bytecode, into a folder of its own.
    """
    command = [sys.executable, str(_HERE / "startup.py"), str(version), payload.hex()]
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryDirectory() as folder:
        environment = {**kept, "PYTHONPYCACHEPREFIX": folder}
        said = [subprocess.check_output(command, env=environment, timeout=60) for _ in range(count + 1)]
    return [Start(**json.loads(each)) for each in said[1:]]


# -- the program -----------------------------------------------------------------------------------------------------


def show_mix(comparison: Comparison, results: dict[str, Result]) -> None:
    """Print the results of the tick mix at one version, and whether the aim is met."""
    _show_head(f"the tick mix at server version {comparison.version}, every message met once", comparison)
    for name, result in results.items():
        _show_row(name, "", result, packed=True)
    for side, ratio in zip(comparison.sides, results[THE_MIX].ratios, strict=False):
        met = "met" if ratio.median >= comparison.aim else "missed"
        print(f"  {side.name}: {ratio.median:.2f} times {comparison.other.name}; aim, at least {comparison.aim}: {met}")


def show_types(comparison: Comparison, rows: dict[str, Row]) -> None:
    """Print the results of every message type at one version, and the messages that a decoder could not read."""
    _show_head(f"by type at server version {comparison.version}, the same few messages over and over", comparison)
    for name, row in rows.items():
        if row.result:
            _show_row(name, str(min(row.read.values())), row.result, packed=row.packed)
    for name, row in rows.items():
        for side, read in row.read.items():
            if read < row.payloads:
                print(f"  not read by {side}: {row.payloads - read} of {row.payloads} {name}")
        if not row.payloads:
            print(f"  no payload recorded: {name}")


def _show_head(title: str, comparison: Comparison) -> None:
    other = comparison.other.name
    print(f"\n{title}\n")
    print(f"  {'messages a second':24} {'of':>4} {'read':>10} {'packed':>10} {other:>15}", end="")
    print(f"   {'read / theirs':22} packed / theirs")


def _show_row(name: str, count: str, result: Result, *, packed: bool) -> None:
    read, ours, theirs = (f"{rate:,.0f}" for rate in result.rates)
    first, second = (str(each) for each in result.ratios)
    print(f"  {name:24} {count:>4} {read:>10} {ours if packed else '-':>10} {theirs:>15}", end="")
    print(f"   {first:22} {second if packed else '    -'}")


def show_start(version: int, name: str, found: list[Start]) -> None:
    """Print the median times of start-up to the first message."""
    packages, imported, first = (
        statistics.median(getattr(each, part) for each in found) for part in ("packages", "imported", "first")
    )
    ours = [each.ours for each in found]
    met = "met" if statistics.median(ours) < LIMIT else "missed"
    print(f"  {version}, {name:10} {imported:6.1f} import + {first:4.1f} first message, together ", end="")
    print(f"{statistics.median(ours):.1f} ({min(ours):.1f} to {max(ours):.1f}); before that {packages:.1f}", end="")
    print(f" for msgpack and protobuf; aim, less than {LIMIT}: {met}")


def measure(scale: Scale) -> list[dict[str, Any]]:
    """Measure everything, print the results and return them."""
    about: list[dict[str, Any]] = []
    for comparison, mix in mixes(scale):
        results = measure_mix(comparison, mix)
        show_mix(comparison, results)
        about.append({"version": comparison.version, "other": comparison.other.name, "mix": _plain(results)})
    for comparison, entry in zip(COMPARISONS, about, strict=True):
        recorded = payloads_at(comparison.version)
        rows = {name: measure_type(comparison, name, payloads, scale) for name, payloads in recorded.items()}
        show_types(comparison, rows)
        entry["types"] = _plain(rows)
    print("\nstart-up, ms of CPU from the import of the codec to the first message read\n")
    for comparison, entry in zip(COMPARISONS, about, strict=True):
        recorded = payloads_at(comparison.version)
        for name in FIRST:
            found = starts(comparison.version, recorded[name][0], scale.starts)
            show_start(comparison.version, name, found)
            entry.setdefault("start", {})[name] = [asdict(each) for each in found]
    return about


def _plain(results: Mapping[str, Any]) -> dict[str, Any]:
    return {name: asdict(result) for name, result in results.items()}


def main() -> int:
    """Measure and print. Return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="less of everything, in about ten seconds")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write the results there too")
    options = parser.parse_args()
    scale = QUICK if options.quick else FULL
    print(f"medians of {scale.rounds} rounds (lowest to highest); ours: read to a dict, packed to msgpack")
    print(f"packed by {'compiled code' if speedups.IN_USE else 'pure Python'}")
    about = measure(scale)
    if options.json:
        options.json.write_text(json.dumps(about, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
