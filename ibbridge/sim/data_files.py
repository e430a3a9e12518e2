"""Data files of the simulator: tables in YAML, and documents, which lie beside the modules that use them.

Names are paths below `ibbridge/sim`. A table is read once, and whoever gets it must not change it.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import yaml

_ROOT = files(__package__)
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the loader in C is ten times as fast, where there is one


@cache
def table(name: str) -> Any:
    """Return the content of a YAML file."""
    return yaml.load(document(name), _LOADER)  # noqa: S506 - a SafeLoader


def text(name: str) -> str:
    """Return a document as text."""
    return document(name).decode("utf-8")


def document(name: str) -> bytes:
    """Return a document as bytes."""
    return _ROOT.joinpath(name).read_bytes()
