"""The fuzzer's target, without the fuzzer: it runs, it looks at everything, and it can fail."""

from __future__ import annotations

import random
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from fuzz import decode, run
from fuzz.seeds import seeds
from ibbridge.codec import Message, Undecodable

if TYPE_CHECKING:
    import pathlib

SEEDS = list(seeds())


def test_seeds_are_for_every_look_and_hold() -> None:
    assert {seed[1] for seed in SEEDS} == set(range(len(decode.LOOKS)))
    for seed in SEEDS[:: len(SEEDS) // 400]:
        decode.check(seed)


def test_damaged_seeds_hold() -> None:
    chance = random.Random(7)
    for _ in range(400):
        seed = bytearray(chance.choice(SEEDS))
        for _ in range(3):
            seed[chance.randrange(len(seed))] = chance.randrange(256)
        decode.check(bytes(seed))


@pytest.mark.parametrize("data", [b"", b"\0", b"\0\0", b"\xff" * 3, b"\xff" * 40])
def test_any_bytes_are_an_input(data: bytes) -> None:
    decode.check(data)


def test_a_reader_that_raises_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ibbridge.codec.dialect.UNREADABLE", ())
    decode._sides.cache_clear()
    seed = decode.seed(decode.messages, 176, 0, b"2\x006\x007\x00x\x001\0")
    with pytest.raises(ValueError, match="invalid literal"):
        decode.check(seed)


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        Message("tickSize", {}),
        Message("noSuchMessage", {}),
        Undecodable(2, "tickSize", "", b""),
        Undecodable(2, "tickSize", "ValueError", b"another"),
        Undecodable(2, "tickSize", "x" * 201, b"2\x006\x007\x00x\x001\0"),
    ],
)
def test_a_wrong_result_is_found(wrong: object, monkeypatch: pytest.MonkeyPatch) -> None:
    client, _ = decode._sides(176)
    monkeypatch.setattr(client, "read", lambda _: wrong)
    with pytest.raises(AssertionError):
        decode.check(decode.seed(decode.messages, 176, 0, b"2\x006\x007\x00x\x001\0"))


def test_inputs_are_replayed_without_the_fuzzer(tmp_path: pathlib.Path) -> None:
    kept = tmp_path / "crash-1"
    kept.write_bytes(SEEDS[0])
    code = f"import sys; from fuzz.run import main; main([{str(kept)!r}]); assert 'atheris' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"{kept}: nothing wrong\n"


def test_the_last_status_of_the_fuzzer_is_understood() -> None:
    line = "#262144\tpulse  cov: 17392 ft: 28804 corp: 2733/493Kb lim: 2910 exec/s: 3495 rss: 119Mb\n"
    found = run._STATUS.match(line)
    assert found
    assert found.groups() == ("262144", "pulse", "17392", "28804")
