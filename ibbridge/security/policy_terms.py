"""The terms of a policy as a configuration gives them: read with every fault named at once, and laid on one another.

Pure. `roles` has the policies that are there without configuration. This module must not know what a term permits.
"""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Path: TypeAlias = tuple[str, ...]
Fault: TypeAlias = tuple[Path, str]
"""Path of a value below the policy, and the sentence about it."""

LISTS = ("commands", "topics", "accounts", "symbols", "security_types", "exchanges", "currencies")
"""Lists of a policy. Each has a list beside it, `deny_` and the same name, of what is refused all the same."""

DENIALS = tuple(f"deny_{name}" for name in LISTS)
TERMS = ("like", *LISTS, *DENIALS, "acts_as", "limits")
"""Keys of a policy."""

LONGEST_TERM = 200
MOST_TERMS = 10_000
"""Most words of one list, and most characters of one word."""


@dataclass(frozen=True, slots=True)
class Terms:
    """Terms of a policy. A list that is not there is that of the policy below it; `denied` lists add to those below."""

    like: str = ""
    allowed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    denied: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    acts_as: tuple[str, ...] | None = None
    limits: Mapping[str, Any] = field(default_factory=dict)

    def over(self, below: Terms) -> Terms:
        """Return these terms laid on those of another policy."""
        denied = {
            name: (*below.denied.get(name, ()), *self.denied.get(name, ())) for name in {**below.denied, **self.denied}
        }
        acts_as = below.acts_as if self.acts_as is None else self.acts_as
        limits = {**below.limits, **self.limits}
        return Terms(self.like, {**below.allowed, **self.allowed}, denied, acts_as, limits)


def read(given: object, others: Sequence[str] = ()) -> tuple[Terms, list[Fault]]:
    """Return the terms in a map, and its faults. `others` are keys of the map that are no terms, and not read here."""
    if given is None:  # a role with nothing but comments below it
        return Terms(), []
    if not isinstance(given, dict):
        return Terms(), [((), f"expected a map with {', '.join(TERMS)}, got {_shown(given)}")]
    faults: list[Fault] = []
    for key in given:
        if key not in TERMS and key not in others:
            near = difflib.get_close_matches(str(key), (*TERMS, *others), 1)
            hint = f"; did you mean {near[0]}?" if near else f"; a policy has {', '.join(TERMS)}"
            faults.append(((str(key),), f"unknown key{hint}"))
    lists = {name: _words(name, given[name], faults) for name in (*LISTS, *DENIALS, "acts_as") if name in given}
    like = given.get("like", "")
    if not isinstance(like, str):
        faults.append((("like",), f"expected the name of a role, got {_shown(like)}"))
        like = ""
    terms = Terms(
        like,
        {name: lists[name] for name in LISTS if name in lists},
        {name: lists[f"deny_{name}"] for name in LISTS if f"deny_{name}" in lists},
        lists.get("acts_as"),
        _limits(given.get("limits"), faults),
    )
    return terms, faults


def _words(name: str, given: object, faults: list[Fault]) -> tuple[str, ...]:
    """Return a list of words as a tuple, and note each that cannot be one."""
    if isinstance(given, str):
        faults.append(((name,), f"expected a list, got {_shown(given)}; write [{given[:LONGEST_TERM]}]"))
        return ()
    if not isinstance(given, list):
        faults.append(((name,), f"expected a list of texts, got {_shown(given)}"))
        return ()
    if len(given) > MOST_TERMS:
        faults.append(((name,), f"has {len(given)} words, and may have {MOST_TERMS}"))
        return ()
    good: list[str] = []
    for each in given:
        if not isinstance(each, str):
            hint = " (put it in quotes)" if isinstance(each, int | float) else ""
            faults.append(((name,), f"expected a list of texts, with {_shown(each)} in it{hint}"))
        elif not 0 < len(each) <= LONGEST_TERM or not each.isprintable() or not each.isascii() or each != each.strip():
            expected = f"1 to {LONGEST_TERM} printable ASCII characters without blanks at the ends"
            faults.append(((name,), f"expected {expected}, got {_shown(each)}"))
        elif fault := _misspelt(name, each):
            faults.append(((name,), f"{_shown(each)}: {fault}"))
        else:
            good.append(each)
    return tuple(dict.fromkeys(good))


def _misspelt(name: str, word: str) -> str:
    """Return the fault of a word that would never match; empty if there is none."""
    if name not in ("topics", "deny_topics") or word == "*":
        return ""
    if "*" in word or "?" in word or "[" in word:
        return "a topic is a beginning of topics and takes no pattern, but * alone for all"
    if "{" in word.replace("{name}", "") or "}" in word.replace("{name}", ""):
        return "the only placeholder is {name}, the client's name"
    return "" if word.endswith(".") else "a topic ends in a dot: without it, a longer neighbour would match, too"


def _limits(given: object, faults: list[Fault]) -> Mapping[str, Any]:
    """Return the limits of a policy, as they are given: the rules of risk read them."""
    if given is None:
        return {}
    if not isinstance(given, dict) or not all(isinstance(name, str) for name in given):
        faults.append((("limits",), f"expected a map of limits, got {_shown(given)}"))
        return {}
    for name, value in given.items():
        if isinstance(value, float) and not math.isfinite(value):
            faults.append((("limits", name), f"expected a number, got {_shown(value)}"))
    return given


def _shown(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, dict | list):
        return "a map" if isinstance(value, dict) else "a list"
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:76]} ..."
