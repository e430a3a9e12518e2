"""The daemon: runs the assembled parts until a signal ends it.

Messages are decoded and published in the callback that read them. The tasks, all in one group, only wait: for TWS, for
the next heartbeat, for the signal to stop. `wiring` builds the parts.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import gc
import logging
import os
from typing import TYPE_CHECKING, Any

import msgpack

from ibbridge import wiring
from ibbridge.config import credentials
from ibbridge.config.model import ConfigError
from ibbridge.monitoring import exit_codes, signals, slow_start
from ibbridge.monitoring.log_writer import LogWriter, occupy_standard_files
from ibbridge.monitoring.systemd import notify
from ibbridge.orders import recovery
from ibbridge.protocol.errors import CommandRefused
from ibbridge.security import process_limits, ways_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from ibbridge.config.model import Config

log = logging.getLogger(__name__)

LAST_ORDERS = 5.0
"""Seconds that a stopping daemon gives queued orders and cancels to leave: 200 of them, at the usual rate."""

_STDERR = 2


class Stop(Exception):  # noqa: N818 - not an error
    """Request to stop the daemon."""


class Daemon:
    """Daemon: opens the store and the sockets of the assembled `parts`, and runs them."""

    def __init__(
        self,
        config: Config,
        *,
        reread: Callable[[], Config] | None = None,
        log_writer: LogWriter | None = None,
        outside: wiring.Outside | None = None,
    ) -> None:
        """`reread` reads the configuration again. `outside` is what the parts are connected to; None is the world."""
        self.config = config
        self._began = False
        self._hangups: list[str] = []
        self._stopping = asyncio.Event()
        self._restored = recovery.Restored()
        self._at_once = False  # a second signal to stop has come: do not wait
        if outside is None:
            outside = wiring.world(config, log_writer)
        outside = outside._replace(reread=reread)
        self._clock = outside.clock
        self._audit = outside.audit
        self.parts = wiring.assemble(config, outside)
        self.store = self.parts.store
        self.order_store = outside.order_store
        self._note = recovery.JournalNote(self.store, self.order_store)

    def publish_heartbeat(self) -> None:
        """Do the periodic work of all parts, publish a heartbeat, and serve the sockets of the bus."""
        self.parts.heartbeat.beat()
        self._note.tick()
        self.parts.surplus.report()
        self.parts.bus.turn()

    # -- the tasks

    async def serve(self) -> None:
        """Run until a signal ends the daemon. Raise `BusError` or `StoreError` if sockets or store cannot be opened."""
        loop = asyncio.get_running_loop()
        signals.attach(loop, self._stop, self._reload)
        broken = _broken(loop)
        try:
            if await self._begin():
                try:
                    await self._serve(broken)
                finally:
                    self._close_store()
        finally:
            signals.hold_reloads()

    async def _begin(self) -> bool:
        """Open the store, and restore the state in it. Return False if a signal came before the disk has answered."""
        directory = wiring.directory(self.config)
        began = await slow_start.opened(self._open_and_take_up, directory, self._stopping)
        self.store.stuck = self.store.stuck or not began
        return began

    def _stop(self, signal: str = "") -> None:
        """Begin to stop. A second call ends the waiting for queued orders."""
        self._audit.record("operator", act="signal", signal=signal)
        self._at_once = self._stopping.is_set()
        self._stopping.set()

    def _reload(self, signal: str = "SIGHUP") -> None:
        """Read the configuration again, and take over its reloadable settings; change nothing if it has a fault.

        A starting daemon does so when it has started: nothing can be published before.
        """
        if not self._began:
            self._hangups.append(signal)
            return
        with contextlib.suppress(CommandRefused):  # the reloader has logged and published every fault
            self.parts.reloader.reload(signal)

    def open_store(self) -> None:
        """Open both stores, and begin the epoch. Raise `StoreError` if the event store cannot be opened."""
        epoch = self.store.open(self._clock.utc_us(), recovery.adopter(self.config.tws.client_id))
        self.parts.streams.publisher.begin(epoch)
        if self.store.before:
            log.warning(
                "store %s is gone from its directory, a new store (%s) begins: the messages of earlier days are lost; "
                "the keys of earlier orders are in the order journal",
                self.store.before,
                self.store.name,
            )
        self._open_journal()

    def _close_store(self) -> None:
        self._audit.record("operator", act="stop", pid=os.getpid())
        self._audit.close()
        self.parts.streams.journal.tick()
        self.order_store.close()
        self.store.close()
        if self.store.stuck:
            log.error("store: the disk does not answer; %d messages are lost, and the process ends without it",
                      self.store.uncommitted)  # fmt: skip

    def _open_and_take_up(self) -> None:
        self.open_store()
        self._audit.open()
        self._take_up()

    def _open_journal(self) -> None:
        """Open the order journal, and note in the event store which one it is."""
        self.order_store.open(self.config.tws.client_id, self._note.read())
        if why := self.order_store.fault or self.order_store.doubt:
            log.error("the order journal cannot be used as it is, and orders are refused: %s", why)
        self._note.tick()

    def _take_up(self) -> None:
        """Restore sequence numbers, streams, orders and the halts from the store of an earlier process."""
        streams, registry = self.parts.streams, self.parts.orders.registry
        state = self.store.state()
        self._restored.restore(registry, state)
        self.parts.orders.positions.restore()
        self.parts.orders.risk.keeper.restore(registry.open_orders())
        streams.order_keys.recall(registry)
        streams.publisher.restore(self.store.last(), state)
        for _, _, packed in state:
            body = msgpack.unpackb(packed, strict_map_key=False)
            if "ref" in body:  # an order; positions have none
                registry.recall(body["ref"], body["data"])
        # TWS may give a lower next order id than the orders in the store have.
        self.parts.tws.ids.begin()
        self.parts.tws.ids.raise_to(max(registry.highest or 0, streams.order_keys.highest))
        self.parts.tws.ids.tick()
        streams.halts.load()
        self.parts.mass_cancels.load()
        self.parts.dead_man.begin()

    def _report_start(self) -> None:
        """Publish a fault of the store, and what the start has found out about orders. Tell the audit of the start."""
        self._audit.record(
            "operator", act="start", **wiring.about(self.config), epoch=self.parts.streams.publisher.epoch
        )
        self.parts.store_watch.report()
        self._restored.publish(self.parts.orders.notifications)
        self.parts.orders.positions.publish()

    async def _serve(self, broken: asyncio.Future[None]) -> None:
        loop = asyncio.get_running_loop()
        bus = self.parts.bus
        bus.open()
        try:
            self._report_start()
            self._began = True
            if self._hangups:
                self._reload(self._hangups[0])
            bus.attach(loop)
            notify("READY=1")
            log.info("publishing on %s, commands on %s", *map(", ".join, bus.endpoints))
            rules = credentials.access_rules(self.config.security)
            if advice := ways_in.missing(self.config.bus.pub, self.config.bus.rep, rules):
                log.warning("%s", advice)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.parts.connector.run())
                tasks.create_task(self._publish_heartbeats())
                tasks.create_task(self._feed_watchdog())
                tasks.create_task(self._until_stopped())
                tasks.create_task(_raised(broken))
        except* Stop:
            notify("STOPPING=1")
            log.info("stopping")
        finally:
            self.parts.streams.events.bye()
            bus.close()
            if self.parts.recorder is not None:
                self.parts.recorder.close()

    async def _until_stopped(self) -> None:
        """Wait for the signal to stop, give queued orders and cancels some time to leave, and raise `Stop`."""
        await self._stopping.wait()
        for _ in range(round(LAST_ORDERS / 0.02)):
            if self._at_once or not self.parts.tws.port.has_orders():
                break
            await asyncio.sleep(0.02)
        raise Stop

    async def _publish_heartbeats(self) -> None:
        """Publish heartbeats at their due times, however long each takes."""
        due = self._clock.monotonic()
        while True:
            self.publish_heartbeat()
            settle()
            due = max(due + self.config.bus.heartbeat, self._clock.monotonic())
            await asyncio.sleep(due - self._clock.monotonic())

    async def _feed_watchdog(self) -> None:
        """Notify systemd that the daemon lives, if systemd wants that: this task shows that the event loop turns."""
        watchdog = self.parts.watchdog
        while watchdog.interval:
            self.parts.bus.turn()
            watchdog.tick()
            await asyncio.sleep(watchdog.interval)


def settle() -> None:
    """Collect garbage, then freeze the surviving objects, so that later collections skip them.

    With the state of 10,000 topics a full collection takes 25 to 80 ms; a collection of one second's objects takes a
    fraction of that. A lost connection unfreezes the objects.
    """
    gc.collect()
    gc.freeze()


def run(config: Config, reread: Callable[[], Config] | None = None) -> int:
    """Run the daemon until a signal ends it, and return the exit code. The log goes to standard error.

    `reread` reads the configuration again, for SIGHUP, and may raise ConfigError. Raise ConfigError for clients or keys
    that cannot be used.
    """
    occupy_standard_files()
    signals.prepare()
    faulthandler.enable(_STDERR)  # a signal of a broken process, such as the watchdog's: the log says where it was
    process_limits.raise_descriptor_limit()
    log_writer = LogWriter(_STDERR).start()
    logging.getLogger().setLevel(config.log.level.upper())
    try:
        daemon, code = Daemon(config, reread=reread, log_writer=log_writer), exit_codes.DONE
    except ConfigError:  # of the files that the configuration names; the caller prints its faults
        log_writer.finish()
        raise
    try:
        asyncio.run(daemon.serve())
    except wiring.FAILURES as error:
        log.error("cannot start: %s", error)  # noqa: TRY400 - the message is complete
        code = exit_codes.FAILED
    finally:
        log_writer.finish()
    if daemon.store.stuck:
        os._exit(code)  # a normal exit could wait for the disk thread, which waits for the disk
    return code


def _broken(loop: asyncio.AbstractEventLoop) -> asyncio.Future[None]:
    """Return a future that carries an exception out of a callback of the loop, which asyncio would only log.

    So a bug ends the process, and systemd starts a new one.
    """
    broken: asyncio.Future[None] = loop.create_future()

    def handle(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, Exception) and not broken.done():
            broken.set_exception(error)
        else:
            log.error("asyncio: %s", context.get("message"))

    loop.set_exception_handler(handle)
    return broken


async def _raised(broken: asyncio.Future[None]) -> None:
    await broken
