from __future__ import annotations

import re
from pathlib import Path

import ibbridge
from ibbridge.monitoring.exit_codes import EXIT_CODES

PAGE = (Path(ibbridge.__file__).parents[1] / "docs" / "operations.md").read_text()


def test_the_page_for_operators_has_the_table():
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \| (yes|no)[^|]* \|$", PAGE, re.MULTILINE)
    told = {int(number): (cause, answer == "yes") for number, cause, answer in rows}
    assert told == {each.number: (each.cause, each.restarts) for each in EXIT_CODES}


def test_every_code_is_one_of_its_own():
    assert len({each.number for each in EXIT_CODES}) == len(EXIT_CODES)
