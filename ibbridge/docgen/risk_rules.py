"""Tables of the gate's rules and limits for docs/risk.md, from the tables that the gate uses.

The module must not know what a rule does: rules and limits carry their words.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from ibbridge.docgen.states import END
from ibbridge.risk.limits import Limits
from ibbridge.risk.rules import RULES

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = "docs/risk.md"


def filled(page: str) -> str:
    """Return the page with its tables between their marks. Raise ValueError if the marks are not there."""
    for module, rows in (("risk/rules.py", _rules()), ("risk/limits.py", _limits())):
        mark = f"<!-- made from {module} by make docs -->\n"
        before, begin, rest = page.partition(mark)
        _, end, after = rest.partition(END)
        if not (begin and end):
            raise ValueError(f"the page has no place for the table of {module}")
        page = before + begin + "".join(f"| {' | '.join(row)} |\n" for row in rows) + end + after
    return page


def _rules() -> Iterator[tuple[str, str]]:
    yield "rule", "what it does"
    yield "---", "---"
    for rule in RULES:
        yield f"`{rule.name}`", rule.sentence


def _limits() -> Iterator[tuple[str, str]]:
    yield "limit", "what it is"
    yield "---", "---"
    for each in dataclasses.fields(Limits):
        yield f"`{each.name}`", each.metadata["why"]
