"""Lists of patterns: `*`, `?` and `[...]` as in a shell, with a list of denied ones beside. Pure."""

from __future__ import annotations

import re
from fnmatch import translate

MOST_REMEMBERED = 10_000
"""Most answers that one list remembers."""

_MAGIC = re.compile(r"[*?\[]")


class Globs:
    """Patterns that allow a text unless others deny it. With `fold`, case and blanks at the ends do not count."""

    def __init__(self, allowed: tuple[str, ...] = (), denied: tuple[str, ...] = (), *, fold: bool = True) -> None:
        self.allowed, self.denied = allowed, denied
        self._fold = fold
        self.everything = "*" in allowed and not denied
        """True if each text is allowed."""
        self._allow = _compiled(self._folded(each) for each in allowed)
        self._deny = _compiled(self._folded(each) for each in denied)
        self._known: dict[str, bool] = {}

    def __bool__(self) -> bool:
        """Return True if any text may be allowed."""
        return bool(self.allowed)

    def matches(self, text: str) -> bool:
        """Return True if a text is allowed."""
        found = self._known.get(text)
        if found is None:
            if len(self._known) >= MOST_REMEMBERED:
                self._known.clear()
            plain = self._folded(text)
            found = self._known[text] = bool(self._allow.match(plain)) and not self._deny.match(plain)
        return found

    def beginnings(self) -> list[tuple[str, bool]] | None:
        """Return the texts that are allowed, each as a beginning and whether it is the whole text.

        Return None if the list cannot be told in this way.
        """
        if any(_MAGIC.search(each.removesuffix("*")) for each in self.allowed) or (
            self.denied and any(each.endswith("*") for each in self.allowed)
        ):
            return None
        return [(each.removesuffix("*"), not each.endswith("*")) for each in self.allowed if self._passes(each)]

    def shown(self) -> str:
        """Return the list for people."""
        some = ", ".join(self.allowed[:20]) or "none"
        more = f" and {len(self.allowed) - 20} more" if len(self.allowed) > 20 else ""
        less = f", but not {', '.join(self.denied[:20])}" if self.denied else ""
        return some + more + less

    def _passes(self, allowed: str) -> bool:
        return not self._deny.match(self._folded(allowed))

    def _folded(self, text: str) -> str:
        return text.strip().upper() if self._fold else text


def _compiled(patterns: object) -> re.Pattern[str]:
    """Return one expression for all patterns; it matches nothing if there are none."""
    return re.compile("|".join(map(translate, patterns)) or r"(?!)")  # type: ignore[call-overload]
