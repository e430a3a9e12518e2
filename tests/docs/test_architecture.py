"""docs/architecture.md: its table has each package once, the page is short, and the states are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import ibbridge
from ibbridge.docgen import states

ROOT = Path(ibbridge.__file__).parent
PAGE = (Path(__file__).parents[2] / "docs" / "architecture.md").read_text(encoding="utf-8")
ROWS = [re.findall(r"`([\w.]+)`", row) for row in re.findall(r"^\| (`.+?) \| .+ \| .+ \|$", PAGE, re.MULTILINE)]
DATA = {"schema"}
"""Folders without modules."""


def test_each_package_has_one_row() -> None:
    named = [name.removesuffix(".py") for row in ROWS for name in row if not name.startswith("codec/")]
    packages = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith("_")} - DATA
    modules = {path.stem for path in ROOT.glob("*.py") if not path.stem.startswith("_")}
    assert sorted(set(named) & (packages | modules)) == sorted(packages | modules)
    assert len(named) == len(set(named))


def test_the_table_fits_on_a_page() -> None:
    assert len(ROWS) <= 30
    assert PAGE.count("\n") <= 150


def test_the_states_on_the_page_are_those_of_the_code() -> None:
    for name in states.PAGES:
        page = (ROOT.parent / name).read_text(encoding="utf-8")
        assert states.filled(name, page) == page, "run `make docs`"
        with pytest.raises(ValueError, match="no place"):
            states.filled(name, "a page")
