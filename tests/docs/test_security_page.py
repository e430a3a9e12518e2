"""Each bound that docs/security.md names is the one that holds."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

import ibbridge
from ibbridge.codec.schema import Pace
from ibbridge.config.model import Config
from ibbridge.security import policy_terms, roles

PAGE = (Path(ibbridge.__file__).parents[1] / "docs" / "security.md").read_text()
UNITS = {"": 1, "s": 1, "ms": 0.001, "bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
ROWS = re.findall(r"^\| ([^|]+) \| ([\d,.]+) ?(\w*) \| `([\w.\[\]]+)` \|", PAGE, re.MULTILINE)


def _setting(section: str, key: str) -> float:
    return float(getattr(getattr(Config(), section), key))


def _constant(place: str) -> float:
    module, _, name = place.partition("[")[0].rpartition(".")
    value = getattr(importlib.import_module(module), name)
    return float(value[Pace[place.partition("[")[2][:-1]]] if "[" in place else value)


def test_every_row_of_the_table_is_read():
    _, _, table = PAGE.partition("## Bounds")
    rows = [line for line in table.splitlines() if line.startswith("| ") and not line.startswith(("| bound", "|---"))]
    assert len(rows) == len(ROWS) > 30


@pytest.mark.parametrize(("bound", "number", "unit", "place"), ROWS, ids=[row[3] for row in ROWS])
def test_a_bound_is_what_the_page_says(bound, number, unit, place):
    value = float(number.replace(",", "")) * UNITS[unit]
    holds = _constant(place) if place.startswith("ibbridge.") else _setting(*place.split("."))
    assert holds == pytest.approx(value), bound


@pytest.mark.parametrize("group", [roles.OBSERVING, roles.ASKING, roles.TRADING])
def test_the_page_has_the_commands_of_each_role(group):
    assert ", ".join(f"`{name}`" for name in group) in PAGE


def test_the_page_has_every_key_of_a_policy():
    lists = [name for name in policy_terms.TERMS if not name.startswith("deny_")]
    assert all(f"`{name}`" in PAGE for name in (*lists, *roles.ROLES))
