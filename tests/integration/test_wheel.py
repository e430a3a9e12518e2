"""Contents of wheel and sdist: the test builds both without network, and leaves no file in the source tree."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from shutil import copy, copytree, ignore_patterns

import pytest

from ibbridge.codec.speedups import BUILT
from ibbridge.docgen import SCHEMAS, files

ROOT = Path(__file__).parents[2]
BUILD = "import sys; from setuptools import build_meta; getattr(build_meta, sys.argv[1])(sys.argv[2])"
DATA = {
    path.relative_to(ROOT).as_posix(): path.read_bytes()
    for path in (ROOT / "ibbridge" / "sim").rglob("*")
    if path.suffix in (".yaml", ".xml", ".pdf")
}
"""Data files of the simulator."""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("source")
    source_tree(source)
    return source


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("build_wheel", source, tmp_path_factory.mktemp("wheel"))


def source_tree(target: Path) -> None:
    """Copy what a wheel is built from: a build leaves files in its tree."""
    copytree(ROOT / "ibbridge", target / "ibbridge", ignore=ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "setup.py", "pyproject.toml", "README.md", "LICENSE"):
        copy(ROOT / name, target)


def build(hook: str, source: Path, target: Path) -> Path:
    run = subprocess.run(
        [sys.executable, "-c", BUILD, hook, str(target)], cwd=source, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    (path,) = target.iterdir()
    return path


def test_a_wheel_has_every_schema_as_it_is_written(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        got = {name: archive.read(name).decode() for name in archive.namelist() if name.startswith(SCHEMAS)}
    assert got == {path: text for path, text in files().items() if path.startswith(SCHEMAS)}


def test_a_wheel_has_the_data_files_of_the_simulator(wheel: Path) -> None:
    assert len(DATA) > 12
    with zipfile.ZipFile(wheel) as archive:
        assert {name: archive.read(name) for name in archive.namelist() if name in DATA} == DATA


def test_an_sdist_has_them_too(source: Path, tmp_path: Path) -> None:
    with tarfile.open(build("build_sdist", source, tmp_path)) as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers()}
    assert names >= DATA.keys()


def test_the_simulator_finds_its_data_in_what_a_wheel_installs(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    look = (
        "from ibbridge.sim import SimulatedTws, data_files; print(data_files.__file__, len(SimulatedTws().simulated))"
    )
    run = subprocess.run([sys.executable, "-c", look], cwd=tmp_path, capture_output=True, text=True, check=True)
    path, number = run.stdout.split()
    assert Path(path).is_relative_to(tmp_path)
    assert int(number) > 70


def test_a_wheel_has_the_compiled_part_where_it_can_be_built(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        parts = {name for name in archive.namelist() if "/_speedups." in name}
    assert any(name.endswith(".so") for name in parts) is BUILT
    assert {name for name in parts if not name.endswith(".so")} == {"ibbridge/codec/_speedups.pyi"}


def test_a_schema_is_found_in_what_a_wheel_installs(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    find = "from importlib import resources; print(resources.files('ibbridge') / 'schema' / 'index.json')"
    run = subprocess.run([sys.executable, "-c", find], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert Path(run.stdout.strip()) == tmp_path / SCHEMAS / "index.json"
    assert (tmp_path / SCHEMAS / "index.json").exists()
