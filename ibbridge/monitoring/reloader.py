"""The reload: a running daemon reads its configuration again, and takes over what can change, all of it or nothing.

Every part first says what it would do with the new settings, and names their faults. Only if there are none, all of
them act. The module must not know what a setting is for.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Protocol

from ibbridge.config import reload
from ibbridge.config.model import ConfigError
from ibbridge.protocol.errors import CommandRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ibbridge.config.model import Config
    from ibbridge.config.reload import Taken
    from ibbridge.monitoring.bridge_events import BridgeEvents
    from ibbridge.security.audit import Audit

log = logging.getLogger(__name__)


class Taker(Protocol):
    """Part that takes over settings."""

    def prepare(self, config: Config) -> Callable[[], Taken]:
        """Return the action that takes over new settings. Raise ConfigError, and change nothing, for faults in them.

        The action must not fail.
        """


class Reloader:
    """Reloader of the running configuration. `reread` reads it again, and raises ConfigError for faults."""

    def __init__(
        self,
        config: Config,
        reread: Callable[[], Config] | None,
        takers: Sequence[Taker],
        events: BridgeEvents,
        audit: Audit,
    ) -> None:
        self.config = config
        """The configuration that holds."""
        self._reread = reread
        self._takers = takers
        self._events = events
        self._audit = audit

    def reload(self, by: str) -> dict[str, Any]:
        """Read the configuration again, and take it over. Return what has changed, and what needs a restart.

        `by` is a signal or a client. Raise `CommandRefused` with every fault, and change nothing, if there are any.
        """
        try:
            if self._reread is None:
                raise ConfigError(["there is no configuration to read again"])
            merged, changed, restart = reload.merged(self.config, self._reread())
            actions = [taker.prepare(merged) for taker in self._takers]
        except ConfigError as error:
            self._refused(by, error.faults)
            raise CommandRefused("E_ARG", *error.faults, "nothing was changed") from None
        self.config = merged
        waiting: list[str] = []
        for action in actions:
            taken = action()
            changed += (each for each in taken.changed if each not in changed)
            waiting += taken.waiting
        about = {"by": by, "ok": True, "changed": changed, "restart": restart, "waiting": waiting, "faults": []}
        for key in restart:
            log.warning("%s: %s was changed in the configuration, which takes effect at the next start", by, key)
        for sentence in waiting:
            log.warning("%s: %s", by, sentence)
        log.warning("%s: the configuration was read again; changed now: %s", by, ", ".join(changed) or "nothing")
        self._tell(about)
        return {"changed": changed, "restart": restart, "waiting": waiting}

    def _refused(self, by: str, faults: Sequence[str]) -> None:
        for fault in faults:
            log.error("%s: the configuration has a fault, nothing was changed: %s", by, fault)
        self._tell({"by": by, "ok": False, "changed": [], "restart": [], "waiting": [], "faults": list(faults)})

    def _tell(self, about: dict[str, Any]) -> None:
        self._audit.record("operator", act="reload", config=reload.digest(self.config), **about)
        self._events.reloaded(about)
