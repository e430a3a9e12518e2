"""The state of the connection to TWS on `sys.tws.connection.`, and its outages in the log."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from ibbridge.monitoring.systemd import notify
from ibbridge.tws.session import Stage

if TYPE_CHECKING:
    from ibbridge.clock import Clock
    from ibbridge.config.model import TwsConfig
    from ibbridge.streams.publisher import Publisher
    from ibbridge.tws.session import Session
    from ibbridge.tws.supervisor import Supervisor

log = logging.getLogger(__name__)


class ConnectionStatus:
    """Publisher of the connection's state."""

    def __init__(
        self, config: TwsConfig, session: Session, supervisor: Supervisor, publisher: Publisher, clock: Clock
    ) -> None:
        self._config = config
        self.session = session
        self._supervisor = supervisor
        self._publisher = publisher
        self._clock = clock
        self._down_since: float | None = None
        self._tries = 0

    def stage_changed(self) -> None:
        """Log an outage or its end, tell systemd, and publish the state."""
        session = self.session
        if session.stage in (Stage.READY, Stage.DOWN):
            self._log_outage(down=session.stage is Stage.DOWN)
            notify(f"STATUS=TWS: {session.stage.value} {session.last_error}".rstrip())
        self.publish()

    def publish(self) -> None:
        """Publish the state of the connection."""
        channel = self._publisher.channel("sys", "tws", "connection")
        about = self._about()
        del about["accounts"]  # for those who may see each of them: sys.tws.managedAccounts.
        self._publisher.publish_map(channel, about, self._clock.utc_us(), ())

    def _about(self) -> dict[str, Any]:
        where = {"host": self._config.host, "port": self._supervisor.port, "clientId": self._config.client_id}
        return {**self.session.summary(self._clock.monotonic()), **where}

    def metrics(self, unsent: int) -> dict[str, Any]:
        """Return the state for `status`. `unsent` are the bytes written that TWS has not taken yet."""
        return {**self._about(), "unsent": unsent}

    def _log_outage(self, *, down: bool) -> None:
        """Note the beginning of an outage, or log its end. The connector logs the beginning and each new reason."""
        now = self._clock.monotonic()
        if down:
            self._down_since = now if self._down_since is None else self._down_since
            self._tries += 1
            return
        where = f"{self._config.host}:{self._supervisor.port}"
        if self._down_since is None:
            log.info("TWS at %s is ready", where)
        else:
            away = now - self._down_since
            log.warning("TWS at %s is ready again, after %.0f s and %d failures", where, away, self._tries)
        self._down_since, self._tries = None, 0
