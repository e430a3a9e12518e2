"""Permission checks for ipc endpoints. Without permission libzmq retries for ever and reports no error."""

from __future__ import annotations

import os
import pathlib
import socket


def forbidden(endpoint: str) -> str:
    """Return why this user may not connect to an ipc endpoint and what to do; "" if permissions are not the fault."""
    transport, _, path = endpoint.partition("://")
    if transport != "ipc":
        return ""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(0)
        try:
            probe.connect(path)
        except PermissionError:
            return _who_may(path)
        except OSError:  # no daemon listens there, or its backlog is full
            return ""
    return ""


def _who_may(path: str) -> str:
    """Return an error text that names the user and the group that may use this socket."""
    parents = reversed(pathlib.Path(path).parents)
    closed = next((folder for folder in parents if not os.access(folder, os.X_OK)), None)
    barred = closed or pathlib.Path(path)
    try:
        owner, group = barred.owner(), barred.group()
    except (OSError, KeyError):  # a user without a name
        owner = group = "another user"
    return (
        f"this user may not use {path}: {barred} is for the user {owner} and the group {group}. Join that group "
        f"(usermod -aG {group} NAME, and log in again), or run as that user"
    )
