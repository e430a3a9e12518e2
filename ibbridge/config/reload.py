"""Reloading: the settings that a running daemon takes over from a new configuration, and those that need a restart.

Pure: from the running and the new configuration the module makes the one that holds from now on.
"""

from __future__ import annotations

import dataclasses
import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ibbridge.config.model import Config

RELOADABLE = frozenset(
    (
        "log.level",
        "security.clients",
        "security.ipc_role",
        "security.loopback_role",
        "security.roles",
        "security.trust_loopback",
        "tws.restart_windows",
        "tws.not_ready_alarm",
        "store.slow",
        "risk.mode",
        "risk.warn_at",
        "risk.base_currency",
        "risk.allow_live",
        "risk.all",
        "risk.accounts",
        "risk.clients",
    )
)
"""Settings that take effect at once. The others belong to sockets, files and ids that only a restart makes anew."""


class Taken(NamedTuple):
    """Outcome of a reload in one part: what it has changed beside the settings themselves, and what it could not.

    `waiting` has sentences about what changes at the next start only, although the setting itself has changed.
    """

    changed: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()


def merged(running: Config, read: Config) -> tuple[Config, list[str], list[str]]:
    """Return the running configuration with the reloadable settings of the new one, `read`.

    The second result has the keys that this has changed, the third the keys that differ and need a restart.
    """
    changed = list(_differences(running, read))
    done = [key for key in changed if key in RELOADABLE]
    for key in done:
        running = _with(running, key, read)
    return running, done, [key for key in changed if key not in RELOADABLE]


def digest(config: Config) -> str:
    """Return a text that is the same for the same settings, and says nothing of them."""
    return hashlib.sha256(repr(config).encode()).hexdigest()


def _differences(running: Config, read: Config) -> Iterator[str]:
    for item in dataclasses.fields(running):
        old, new = getattr(running, item.name), getattr(read, item.name)
        if not dataclasses.is_dataclass(old):
            yield from [item.name] if old != new else []
        else:
            yield from (f"{item.name}.{key.name}" for key in dataclasses.fields(old) if _differ(old, new, key.name))


def _differ(old: Any, new: Any, name: str) -> bool:
    return bool(getattr(old, name) != getattr(new, name))


def _with(running: Config, key: str, read: Config) -> Config:
    section, name = key.split(".")
    value = getattr(getattr(read, section), name)
    changes: dict[str, Any] = {section: dataclasses.replace(getattr(running, section), **{name: value})}
    return dataclasses.replace(running, **changes)
