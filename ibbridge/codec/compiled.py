"""The switch for compiled code, which is used where it was built, unless the variable `IBBRIDGE_PURE` is 1.

This module must not know what a compiled module does.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

PURE = os.environ.get("IBBRIDGE_PURE") == "1"
"""True if no compiled code is to be used."""

INTERFACE = 3
"""Number that every compiled module repeats, and that grows when one of them changes: an editable installation may have
an older build."""


def built(name: str) -> Any:
    """Return a compiled module; None if it was not built, or not from the source that is here."""
    try:
        module = import_module(name)
    except ImportError:  # there was no compiler
        return None
    return module if getattr(module, "INTERFACE", None) == INTERFACE else None


def in_use(name: str) -> Any:
    """Return a compiled module; None if pure Python does its work."""
    return None if PURE else built(name)


def fastest(name: str) -> Any:
    """Return the compiled form of a module, or the module itself if the compiled form is not in use.

    For modules that are compiled from their own source. The compiled form has the same name behind an underscore.
    """
    package, _, last = name.rpartition(".")
    return in_use(f"{package}._{last}") or import_module(name)
