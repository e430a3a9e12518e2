"""The permissions of ipc endpoints: libzmq tries for ever and says nothing where this user may not connect."""

from __future__ import annotations

import os
import pathlib
import socket


def forbidden(endpoint: str) -> str:
    """Return why this user may not connect to an ipc endpoint, and what to do; "" if that is not what is wrong."""
    transport, _, path = endpoint.partition("://")
    if transport != "ipc":
        return ""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(0)
        try:
            probe.connect(path)
        except PermissionError:
            return _who_may(path)
        except OSError:  # nobody is there, or somebody is busy
            return ""
    return ""


def _who_may(path: str) -> str:
    """Return who may use a socket that this user may not."""
    closed = next((each for each in reversed(pathlib.Path(path).parents) if not os.access(each, os.X_OK)), None)
    barred = closed or pathlib.Path(path)
    try:
        owner, group = barred.owner(), barred.group()
    except (OSError, KeyError):  # a user without a name
        owner = group = "another user"
    return (
        f"this user may not use {path}: {barred} is for the user {owner} and the group {group}. Be one of that group "
        f"(usermod -aG {group} NAME, and log in again), or that user"
    )
