"""Contents of the wheel: the test builds a wheel without network, and leaves no file in the source tree."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path
from shutil import copy, copytree, ignore_patterns

import pytest

from ibbridge.codec.speedups import BUILT
from ibbridge.docgen import SCHEMAS, files

ROOT = Path(__file__).parents[2]
BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source, made = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    copytree(ROOT / "ibbridge", source / "ibbridge", ignore=ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "setup.py", "pyproject.toml", "README.md", "LICENSE"):
        copy(ROOT / name, source)
    run = subprocess.run(
        [sys.executable, "-c", BUILD, str(made)], cwd=source, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    (path,) = made.glob("*.whl")
    return path


def test_a_wheel_has_every_schema_as_it_is_written(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        got = {name: archive.read(name).decode() for name in archive.namelist() if name.startswith(SCHEMAS)}
    assert got == {path: text for path, text in files().items() if path.startswith(SCHEMAS)}


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
