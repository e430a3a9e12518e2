"""The decode benchmark compares like with like. What it measures is for people to judge, so there is no threshold."""

from __future__ import annotations

import importlib
import itertools
import json
import pathlib
import subprocess
from typing import Any

import pytest

from ibbridge.codec import Dialect, Undecodable

FOLDER = pathlib.Path(__file__).parents[3] / "benchmarks"
VERSIONS = (178, 200, 226)
GARBAGE = b"\0\0\0\1not a message"


@pytest.fixture
def decode(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The program, as a module."""
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module("decode")


def comparison(decode: Any, version: int) -> Any:
    return next(each for each in decode.COMPARISONS if each.version == version)


def tiny(decode: Any, **more: Any) -> Any:
    return decode.Scale(**{"rounds": 2, "ticks": 60, "seconds": 0.0, "starts": 1, **more})


def test_the_versions_and_the_aims_are_those_that_are_promised(decode: Any) -> None:
    about = [(each.version, each.other.name.split()[0], each.aim) for each in decode.COMPARISONS]
    assert about == [(178, "ib_async", 2), (200, "ibapi", 8), (226, "ibapi", 8)]


@pytest.mark.parametrize("version", VERSIONS)
def test_all_sides_call_back_for_every_tick_of_the_mix(decode: Any, version: int) -> None:
    found = next(mix for each, mix in decode.mixes(tiny(decode)) if each.version == version)
    measured = comparison(decode, version)
    for name, slices in found.by_type.items():
        payloads = list(itertools.chain(*slices))
        assert payloads
        for side in measured.sides:
            heard = [side.listener(version)(one) for one in payloads]
            assert [each[0] for each in heard] == [name] * len(payloads), side.name
            extra = {"tickSize"} if side.name.startswith("ibapi") and name == "tickPrice" else set()
            assert {each for more in heard for each in more[1:]} <= extra  # IB's client gives the size apart


@pytest.mark.parametrize("version", VERSIONS)
def test_the_loop_that_is_timed_reads_every_payload(decode: Any, version: int) -> None:
    payloads = [each for each in decode.payloads_at(version)["tickString"] if each]
    for side in comparison(decode, version).sides:
        heard: list[str] = []
        side.at(version, heard)(payloads * 3)
        assert [name for name in heard if name == "tickString"] == ["tickString"] * len(payloads) * 3


def test_no_tick_of_the_mix_is_in_two_pieces_of_it(decode: Any) -> None:
    for _, mix in decode.mixes(tiny(decode, rounds=3)):
        assert [len(each) for each in mix.slices] == [60] * 3
        assert sum(len(each) for slices in mix.by_type.values() for each in slices) <= 180
    read: list[Any] = [
        Dialect.client(each.version).read(payload)
        for each, mix in decode.mixes(tiny(decode))
        for slices in ([mix.warm_up], mix.slices, mix.by_type["tickSize"])
        for payload in itertools.chain(*slices)
    ]
    seen = [(each.data["reqId"], each.data["size"]) for each in read if _is_volume(each)]  # it only rises
    assert seen
    assert len(set(seen)) == len(seen)


def _is_volume(message: Any) -> bool:
    return bool(message.name == "tickSize" and message.data["tickType"] == 8)


def test_sides_take_turns_and_each_reads_every_slice(decode: Any) -> None:
    calls: list[tuple[str, bytes]] = []
    runs = [lambda payloads, name=name: calls.extend((name, one) for one in payloads) for name in "abc"]
    result = decode.race(runs, [[b"1"], [b"2"], [b"3"]])
    assert sorted(calls) == [(name, one) for name in "abc" for one in (b"1", b"2", b"3")]
    assert [name for name, one in calls if one == b"1"] != [name for name, one in calls if one == b"2"]
    assert len(result.rates) == 3
    assert len(result.ratios) == 2


def test_the_ratio_is_how_many_times_as_fast_we_are(decode: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def takes(seconds: float) -> Any:
        def run(_: Any) -> None:
            nonlocal now
            now += seconds

        return run

    monkeypatch.setattr(decode.time, "thread_time", lambda: now)
    result = decode.race([takes(1), takes(2), takes(8)], [[b""] * 4] * 3)
    assert result.rates == [4, 2, 0.5]
    assert [each.median for each in result.ratios] == [8, 4]
    assert all(each.lowest == each.median == each.highest for each in result.ratios)


@pytest.mark.parametrize("version", VERSIONS)
def test_payloads_are_those_that_a_server_of_the_version_sends(decode: Any, version: int) -> None:
    found, dialect = decode.payloads_at(version), Dialect.client(version)
    assert not [name for name, payloads in found.items() if not payloads]
    for name, payloads in found.items():
        assert {each.name for each in map(dialect.read, payloads)} == {name}
    assert not dialect.surplus  # a payload of an older or newer form would leave or lack fields


def test_what_cannot_be_read_is_counted_and_not_timed(decode: Any) -> None:
    measured = comparison(decode, 178)
    good = decode.payloads_at(178)["nextValidId"]
    row = decode.measure_type(measured, "nextValidId", [*good, GARBAGE], tiny(decode))
    assert row.payloads == len(good) + 1
    assert set(row.read.values()) == {len(good)}
    assert row.result
    assert decode.measure_type(measured, "nextValidId", [GARBAGE], tiny(decode)).result is None
    assert isinstance(Dialect.client(178).read(GARBAGE), Undecodable)


def test_start_up_is_measured_in_a_process_that_reads_the_message(decode: Any) -> None:
    payload = decode.payloads_at(226)["tickPrice"][0]
    (found,) = decode.starts(226, payload, 1)
    assert min(found.packages, found.imported, found.first) > 0
    assert found.ours == found.imported + found.first
    with pytest.raises(subprocess.CalledProcessError):
        decode.starts(226, GARBAGE, 1)


def test_everything_is_said_and_kept(
    decode: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path
) -> None:
    monkeypatch.setattr(decode, "QUICK", tiny(decode))
    monkeypatch.setattr(decode, "starts", lambda *_: [decode.Start(packages=3.0, imported=2.0, first=1.0)])
    monkeypatch.setattr(decode.sys, "argv", ["decode.py", "--quick", "--json", str(tmp_path / "kept.json")])
    assert decode.main() == 0
    said = capsys.readouterr().out
    assert said.count("aim, at least") == 6
    assert said.count("aim, less than") == 6
    kept = json.loads((tmp_path / "kept.json").read_text())
    assert [each["version"] for each in kept] == list(VERSIONS)
    for each in kept:
        assert each["start"]["tickPrice"] == [{"packages": 3.0, "imported": 2.0, "first": 1.0}]
        for name, row in each["types"].items():
            assert f"  {name}" in said
            for side, count in row["read"].items():
                assert (f"not read by {side}: {row['payloads'] - count} of {row['payloads']} {name}\n" in said) == (
                    count < row["payloads"]
                )
