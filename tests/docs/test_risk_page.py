"""docs/risk.md: its tables of rules and limits are those of the gate."""

from __future__ import annotations

from pathlib import Path

import pytest

from ibbridge.docgen import risk_rules
from ibbridge.risk.rules import RULES

PAGE = (Path(__file__).parents[2] / risk_rules.PAGE).read_text(encoding="utf-8")


def test_the_rules_on_the_page_are_those_of_the_gate() -> None:
    assert risk_rules.filled(PAGE) == PAGE, "run `make docs`"
    with pytest.raises(ValueError, match="no place"):
        risk_rules.filled("a page")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_each_rule_says_what_it_does_in_sentences(rule) -> None:
    assert rule.sentence.endswith(".")
    assert rule.sentence[0].isupper() or rule.sentence[0] == "`"
