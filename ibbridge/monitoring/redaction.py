"""Redaction of the log: account numbers are shortened, and what looks like a key or a password is left out.

No part means to log a secret. But errors quote what they are about, TWS writes account numbers into its texts, and
more people read a log than a configuration. So every line passes here last. Pure.
"""

from __future__ import annotations

import re

_SECRET = re.compile(
    r"""(?ix) \b ((?: secret | private ) [-_ ]? key | secret | pass (?: word | wd | phrase ) | api [-_ ]? key | token)
    \b (["']? \s* [=:] \s*) (?: "[^"]*" | '[^']*' | [^\s,;)}\]]+ )"""
)
"""A name of something secret, and its value."""

_ACCOUNT = re.compile(r"\b(D?[UFI][A-Z]?)\d{2,6}(\d{3})\b")
"""Account numbers of IB's: U1234567, DU1234567 (paper), F1234567 and DF1234567 (advisors), and so on."""


def redacted(text: str) -> str:
    """Return a text without secrets: `secret-key=***`, and of an account number the kind and the last three digits."""
    return _ACCOUNT.sub(r"\1...\2", _SECRET.sub(r"\1\2***", text))
