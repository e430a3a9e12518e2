"""docs/operations.md: what may happen is listed whole, and tests hold each line."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text()
ROWS = {row[1]: row for row in re.finditer(r"^\| (B\d+) \| (.+?) \| (.+?) \|$", PAGE, re.MULTILINE)}
ABOUT_ORDERS = frozenset(f"B{number}" for number in (38, 39, 40, *range(42, 49)))
"""Those that are not the session's: what becomes of orders."""

MARK = re.compile(r"^ *@pytest\.mark\.scenario\((.+)\)$", re.MULTILINE)


def marked() -> dict[str, int]:
    """Return how many tests name each line."""
    found: dict[str, int] = defaultdict(int)
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        for lines in MARK.findall(file.read_text()):
            for line in re.findall(r'"(\w+)"', lines):
                found[line] += 1
    return found


def test_every_line_is_there() -> None:
    assert list(ROWS) == [f"B{number}" for number in range(1, 55)]
    assert all(len(row[3]) > 10 for row in ROWS.values())


def test_tests_hold_every_line_about_the_session_and_no_line_that_is_not_there() -> None:
    assert ROWS.keys() - marked().keys() <= ABOUT_ORDERS
    assert marked().keys() <= ROWS.keys()


def test_the_tests_of_one_line_can_be_run() -> None:
    file = "tests/unit/tws/test_supervisor.py"
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "--scenario", "B3", file]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    source = (ROOT / file).read_text()
    expected = re.findall(r'scenario\("B3"\)\n(?:async )?def (test_\w+)', source)
    assert expected
    assert set(re.findall(r"::(test_\w+)", said)) == set(expected)
