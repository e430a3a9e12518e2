"""docs/operations.md: what may happen is listed whole, and each line is held by the tests that it names."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text()
ROWS = {int(row[1]): row for row in re.finditer(r"^\| B(\d+) \| (.+?) \| (.+?) \| (.*?) ?\|$", PAGE, re.MULTILINE)}
ABOUT_ORDERS = frozenset({38, 39, 40, 42, 43, 44, 45, 46, 47, 48})
"""Those that are not the session's: what becomes of orders."""


def named_tests() -> dict[int, set[str]]:
    """The tests that are named after a line, by its number."""
    found: dict[int, set[str]] = defaultdict(set)
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        for name, number in re.findall(r"def (test_b(\d\d)_\w+)\(", file.read_text()):
            found[int(number)].add(name)
    return found


def test_every_line_is_there() -> None:
    assert list(ROWS) == list(range(1, 55))
    assert all(len(row[3]) > 10 for row in ROWS.values())


def test_every_line_about_the_session_is_a_test() -> None:
    assert set(ROWS) - set(named_tests()) <= ABOUT_ORDERS


def test_the_page_names_exactly_the_tests_that_there_are() -> None:
    named = {number: set(re.findall(r"`(test_b\d\d_\w+)`", row[4])) for number, row in ROWS.items()}
    assert {number: each for number, each in named.items() if each} == named_tests()
