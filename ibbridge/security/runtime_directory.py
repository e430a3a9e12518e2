"""The directory of the ipc endpoints: its permissions decide who can connect.

The module knows environment variables and directories. It must not know sockets.
"""

from __future__ import annotations

import os
import pathlib

RUNTIME_DIRECTORY = "$RUNTIME_DIRECTORY"
"""Placeholder for the directory, in a configured endpoint."""


def path() -> pathlib.Path:
    """Return systemd's runtime directory, or else the user's own, or else one in the user's home."""
    if given := os.environ.get("RUNTIME_DIRECTORY"):
        return pathlib.Path(given.split(":")[0])
    if given := os.environ.get("XDG_RUNTIME_DIR"):
        return pathlib.Path(given) / "ibbridge"
    return pathlib.Path("~/.local/state/ibbridge/run").expanduser()


def made() -> pathlib.Path:
    """Return the directory, and make it if it is missing: only this user may enter. Raise OSError on failure."""
    directory = path()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return directory
