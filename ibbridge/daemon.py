"""The daemon: wires the connector to TWS, the bus and the parts between them, and runs them until a signal ends it.

Messages are decoded and published in the callback that read them. The tasks, all in one group, only wait: for TWS, for
the next heartbeat, for the signal to stop.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import pathlib
import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

import msgpack

import ibbridge
from ibbridge import ib
from ibbridge.bus import Bus, BusError
from ibbridge.codec import Dialect, Message, NotCarried, Undecodable, speedups
from ibbridge.codec.messages import REQUESTS
from ibbridge.codec.schema import Pace
from ibbridge.commands.builtin import BuiltinCommands
from ibbridge.commands.endpoint import CommandEndpoint
from ibbridge.commands.ib_requests import IbRequests
from ibbridge.config import maintenance_windows, reload
from ibbridge.config.model import ConfigError
from ibbridge.ib.notices import NOT_CONNECTED
from ibbridge.inbound.publication_plan import PASSED_ON
from ibbridge.inbound.routing import routing
from ibbridge.monitoring import signals
from ibbridge.monitoring.alarms import Alarms
from ibbridge.monitoring.health_checks import REMEMBERED, HealthChecks, HealthSample
from ibbridge.monitoring.log_writer import LogWriter, occupy_standard_files
from ibbridge.monitoring.process_health import MEGABYTE, ProcessHealth, ProcessSample, memory_limit
from ibbridge.monitoring.systemd import notify
from ibbridge.orders.order_keys import OrderKeys, adopt
from ibbridge.orders.placement import CANCEL_UNKNOWN, ORDER_UNKNOWN
from ibbridge.orders.registry import OrderRegistry
from ibbridge.protocol.instrument_key import instrument_key
from ibbridge.recording import writer
from ibbridge.risk.halt import Halt
from ibbridge.security import process_limits
from ibbridge.security.process_limits import memory_in_use
from ibbridge.storage.disk_thread import DiskThread
from ibbridge.storage.event_store import EventStore, StoreError
from ibbridge.streams.history import MessageHistory
from ibbridge.streams.publisher import Publisher
from ibbridge.tws.connector import TwsConnector
from ibbridge.tws.decode_errors import DecodeErrors, MessageType
from ibbridge.tws.outbound import OutboundMessage
from ibbridge.tws.send_queue import SendQueue
from ibbridge.tws.session import Session, Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ibbridge.codec import Packed
    from ibbridge.config.model import Config

log = logging.getLogger(__name__)


OPENING = 2.0
"""Seconds that opening the store may take without a warning; the next warning comes after twice as long."""

HEEDING = 0.25
"""Seconds between two checks for a signal to stop, while a starting daemon waits for the store."""

TOGETHER = 3
"""Reads in a burst whose messages may wait, to share one commit with those of the next read: some 8 ms in all."""

LAST_ORDERS = 5.0
"""Seconds that a stopping daemon gives queued orders and cancels to leave: 200 of them, at the usual rate."""

TRIMS = 30
"""Heartbeats after excessive memory use, at each of which freed memory is returned to the system."""

_STDERR = 2


class Stop(Exception):  # noqa: N818 - not an error
    """Request to stop the daemon."""


class Daemon:
    """Daemon: owns and wires all parts between TWS and the bus. The connector reports its events to the daemon."""

    def __init__(
        self, config: Config, *, reread: Callable[[], Config] | None = None, log_writer: LogWriter | None = None
    ) -> None:
        self.config = config
        self._reread = reread
        self._log_writer = log_writer
        self._stopping = asyncio.Event()
        self._at_once = False  # a second signal to stop has come: do not wait
        self.started_at = time.monotonic()
        self.session = Session(self.started_at)
        self.session.market_data_type = config.tws.market_data_type
        self.store = EventStore(
            _directory(config),
            days=config.store.days,
            sync=config.store.sync,
            most_bytes=config.store.max_bytes,
            patience=config.store.commit_timeout,
        )
        self.halt = Halt(self.store, self._publish_halt)
        self.order_keys = OrderKeys(config.tws.client_id, self.store)
        self.publisher = Publisher(
            _now(),  # until the store gives the epoch
            self._send,
            config.bus.prefix,
            MessageHistory(config.ring.messages, config.ring.bytes, self.store, self.order_keys.of),
            config.bus.heartbeat,
        )
        self.orders = OrderRegistry(config.tws.client_id, self.order_keys.find)
        self.routing = routing(self.publisher, self.orders)
        self.router = self.routing.router
        self.recorder = writer.configured(config.record, config.tws)
        self.send_queue = SendQueue(config.pacing.rate, config.pacing.share, config.pacing.most)
        self.connector = TwsConnector(
            config.tws, self.session, self, PASSED_ON, self.recorder, send_queue=self.send_queue
        )
        self.names: dict[str, str] = {instrument_key(contract): name for name, contract in config.instruments.items()}
        self.requests = IbRequests(
            self.connector,
            self.routing,
            self.orders,
            allowed=config.commands.allow,
            names=self.names,
            halt=self.halt,
            fault=lambda: self.store.fault,
            window=self._window,
            clock=_now,
            silent_after=config.streams.silent_after,
            resubscribe_per_minute=config.streams.resubscribe_per_minute,
            unknown_words=config.commands.unknown_words,
        )
        self.requests.market_data_type_set = self._market_data_type_set
        self.commands = CommandEndpoint(
            self.publisher, self.requests, BuiltinCommands(self.publisher, self.halt, self.status, _now)
        )
        self.bus = Bus(config.bus, self.commands, self.publisher.welcome)
        self.counts: Counter[str] = Counter()
        self.alarms = Alarms(self._publish_alarm)
        self.health_checks = HealthChecks(self.alarms, config.tws.not_ready_alarm, config.store.slow, self.started_at)
        self.decode_errors = DecodeErrors(self.started_at)
        self._unread_at = self.started_at
        self._down_since: float | None = None
        self._tries = 0
        self._reads = 0  # reads whose messages wait for a commit
        self._turning: asyncio.TimerHandle | None = None
        self.process_health = ProcessHealth(self.alarms)
        self._trims = 0
        self._too_large = False  # at the last heartbeat too much memory was in use
        self._memory_limit = memory_limit(config.memory.limit_mb, config.ring.bytes)
        self._descriptor_limit = process_limits.descriptor_limit()
        self._fault = ""  # the fault of the store that was reported last
        self._surplus: set[str] = set()

    def _send(self, frames: list[bytes]) -> None:
        self.bus.send(frames)  # looked up at each call, because `Bus.open` replaces it

    # -- messages from TWS

    def deliver(self, messages: Iterable[Message | Packed | Undecodable], ts: int, *, more: bool = False) -> None:
        """Publish the messages of one read, then serve the sockets of the bus.

        No inbound message is dropped: an undecodable one is published with its bytes. If there is `more` to read,
        durable messages are committed and sent together with those of the next reads: a commit costs as much as 200
        ticks.
        """
        self.publisher.begin_batch()
        try:
            self.publisher.publish_all(messages, ts, self.router.usual, self._deliver)
        finally:
            if more and self._reads < TOGETHER and self.publisher.end_batch():
                self._reads += 1
                self._turn_soon()
            else:
                self._turn()

    def _deliver(self, message: Message | Packed | Undecodable, ts: int) -> None:
        """Publish a message that `Publisher.publish_all` has no channel for."""
        if isinstance(message, Message):
            self._publish(message.name, message.data, ts)
        elif isinstance(message, Undecodable):
            self._undecodable(message, ts)
        else:
            self.router.pass_on(message, ts)

    def _publish(self, name: str, data: dict[str, Any], ts: int) -> None:
        if name in _WATCHED:
            self._watch(name, data, ts)
            if name == "serverVersion":
                return
        try:
            self.router.publish(name, data, ts)
        except OverflowError as error:
            fault = f"a number without room in msgpack: {error}"
            self._undecodable(Undecodable(None, name, fault, repr(data).encode()[:65536], known=data), ts)

    def _turn_soon(self) -> None:
        """Schedule `_turn` in case the next read does not call it. The loop runs timers after waiting reads."""
        if self._turning is not None:
            self._turning.cancel()
        self._turning = asyncio.get_running_loop().call_later(0, self._turn)

    def _turn(self) -> None:
        """Send the held messages, then serve both sockets: in this order a welcome follows the messages it counts."""
        self._reads = 0
        self.publisher.flush()
        self.bus.turn()

    def _undecodable(self, message: Undecodable, ts: int) -> None:
        """Publish an undecodable message with its bytes, and notify the request that waits for the message."""
        self.counts["decodeErrors"] += 1
        kind, size = MessageType(message.id, message.name), len(message.raw)
        admitted = self.decode_errors.admit(kind, message.reason, size, time.monotonic())
        why = f"{message.field}: {message.reason}" if message.field else message.reason
        whose = self.requests.unreadable.notify(message.name, message.known, why, ts, admitted=admitted)
        if not admitted:
            return
        log.warning("cannot decode %s (id %s) from TWS: %s; published on sys.tws.decodeError.", *kind[::-1], why)
        about = {**kind._asdict(), "reason": message.reason, "field": message.field, "raw": message.raw}
        about |= {"reqId": whose.number, "ref": whose.ref}
        self.publisher.publish_map(self.publisher.channel("sys", "tws", "decodeError"), about, ts)

    def _sum_up_decode_errors(self) -> None:
        """Publish the counts of undecodable messages beyond the limit, and raise or end their alarm."""
        now = time.monotonic()
        if about := self.decode_errors.summary():
            self._unread_at = now
            self.publisher.publish_map(self.publisher.channel("sys", "tws", "decodeErrors"), about, _now())
            why = (
                f"TWS sends more undecodable messages than are kept: {about['count']:,} in a second are only "
                f"counted, such as {about['kinds'][0]['name']} (id {about['kinds'][0]['id']}): "
                f"{about['kinds'][0]['reason']}"
            )
            self.alarms.update("decodeErrors", why, _now())
        elif now - self._unread_at > REMEMBERED:
            self.alarms.update("decodeErrors", "", _now())

    def _watch(self, name: str, data: dict[str, Any], ts: int) -> None:
        """Update the daemon's state from a message: version, next order id, accounts, open orders, errors."""
        if name == "serverVersion":
            self.requests.begin()
            self.requests.upstream = True
        elif name == "nextValidId" and data["orderId"] is not None:
            self.requests.raise_to(data["orderId"] - 1)
        elif name == "managedAccounts":
            self.session.named(data["accountsList"])
            self.requests.accounts = self.session.accounts
        elif name == "openOrder" and self.orders.ours(data["order"].get("clientId", 0)):
            self.requests.raise_to(data["orderId"])
        elif name == "error" and data["errorCode"] is not None:
            self._on_notice(data, ts)

    def _on_notice(self, data: dict[str, Any], ts: int) -> None:
        code, text = data["errorCode"], data["errorString"]
        error = ib.about(code, text)
        if done := self.send_queue.complained(code, text, time.monotonic()):
            log.warning("TWS reports too many messages (%s: %s): %s", code, text, done)
        changed = self.connector.on_notice(code, text)
        if changed:
            farm, state = changed
            self.requests.upstream = self.session.upstream != "lost"
            self.publisher.publish_map(
                self.publisher.channel("sys", "tws", "farm"), {"farm": farm, "state": state}, ts, farm
            )
        elif error.ends is not False or error.error_class == "order":
            log.info("TWS reports %s for id %s: %s", code, data["reqId"], text)
        self.requests.on_notice(code, changed[0] if changed else "")

    # -- the connection

    def stage_changed(self) -> None:
        """Publish the stage of the connection to TWS."""
        session = self.session
        if session.stage in (Stage.READY, Stage.DOWN):
            self._log_outage(down=session.stage is Stage.DOWN)
            notify(f"STATUS=TWS: {session.stage.value} {session.last_error}".rstrip())
        if not session.competing:
            self.requests.uncontested()
        self._publish_connection()
        self._turn()

    def _log_outage(self, *, down: bool) -> None:
        """Note the beginning of an outage, or log its end. The connector logs the beginning and each new reason."""
        if down:
            self._down_since = time.monotonic() if self._down_since is None else self._down_since
            self._tries += 1
            return
        where = f"{self.config.tws.host}:{self.connector.port}"
        if self._down_since is None:
            log.info("TWS at %s is ready", where)
        else:
            away = time.monotonic() - self._down_since
            log.warning("TWS at %s is ready again, after %.0f s and %d failures", where, away, self._tries)
        self._down_since, self._tries = None, 0

    def _publish_connection(self) -> None:
        where = {"host": self.config.tws.host, "port": self.connector.port, "clientId": self.config.tws.client_id}
        about = {**self.session.summary(time.monotonic()), **where}
        self.publisher.publish_map(self.publisher.channel("sys", "tws", "connection"), about, _now(), ())

    def started(self, dialect: Dialect) -> None:
        """Set the market data type on a new connection, then send the requests again whose subscriptions it needs."""
        self._surplus = set()
        kind = self.session.market_data_type
        if kind != self.config.tws.market_data_type:
            log.info("market data type %s, set by a client earlier, is set on the new connection, too", kind)
        try:
            data = dialect.write("reqMarketDataType", {"marketDataType": kind})
            self.connector.send(OutboundMessage(REQUESTS["reqMarketDataType"], data))
        except NotCarried as error:
            log.error("market data type %s cannot be set: %s", kind, error)  # noqa: TRY400 - the message is complete
        for route, why in self.requests.connected():
            self.routing.notifications.notify_error(route, NOT_CONNECTED, why, _now())

    def _market_data_type_set(self, kind: int, client: str) -> None:
        if kind == self.session.market_data_type:
            return
        log.warning("market data type set to %s by %s, for all clients and for the connections to come", kind, client)
        self.session.market_data_type = kind
        self._publish_connection()
        asyncio.get_running_loop().call_soon(self._turn)

    def on_send(self, message: OutboundMessage) -> bool:
        """Return True if a message, which is about to be written to TWS, may still be sent."""
        if self.requests.on_send(message):
            return True
        asyncio.get_running_loop().call_soon(self._turn)  # sends the error that tells the client why not
        return False

    def lost(self) -> None:
        """Publish the loss of the connection for all requests without a complete response, and unconfirmed orders."""
        gc.unfreeze()  # let the garbage collector examine the objects of that connection once more
        self.requests.on_drop(self.send_queue.drop())
        why = "the connection to TWS was lost before the answer was complete; ask again, under a new id"
        for route in self.requests.lost():
            self.routing.notifications.notify_error(route, NOT_CONNECTED, why, _now())
        why = "the connection to TWS was lost before TWS said anything of"
        tell = self.routing.order_notifications.notify_error
        for order in self.orders.unheard():
            tell(order, NOT_CONNECTED, f"{why} this order: {ORDER_UNKNOWN}", _now())
        for order in self.orders.uncancelled():
            tell(order, NOT_CONNECTED, f"{why} the cancel of this order: {CANCEL_UNKNOWN}", _now())

    # -- status, heartbeats, alarms

    def status(self) -> dict[str, Any]:
        """Return the result of the command `status`."""
        now = time.monotonic()
        tws = {"host": self.config.tws.host, "port": self.connector.port, "clientId": self.config.tws.client_id}
        dialect = self.connector.dialect
        return {
            "version": ibbridge.__version__,
            "proto": self.publisher.proto,
            "codec": "compiled" if speedups.IN_USE else "pure",
            "pid": os.getpid(),
            "uptime": round(now - self.started_at, 3),
            "tws": {**tws, **self.session.summary(now), "unsent": self.connector.unsent},
            "published": self.publisher.offset,
            "store": self.store.metrics(),
            "record": self.recorder.status() if self.recorder else None,
            "ring": {"messages": len(self.publisher.ring), "bytes": self.publisher.ring.size},
            "halt": self.halt.state,
            "alarms": self.alarms.raised,
            "log": self._log_writer.metrics() if self._log_writer else None,
            "pacing": self.send_queue.metrics(now),
            "requests": len(self.routing.tracker),
            "orders": len(self.orders),
            "tasks": _tasks(),
            "counts": {**self.counts, **self.commands.counts, **self._of_bus()},
            "instruments": self.names,
            "surplusFields": dict(dialect.surplus) if dialect else {},
        }

    def _of_bus(self) -> dict[str, int]:
        return {"notPublished": self.bus.unsent, "strayFrames": self.bus.strays, **self.bus.counts}

    def publish_heartbeat(self) -> None:
        """Do the periodic work of all parts, publish a heartbeat, and log messages with new surplus fields."""
        self.store.tick(time.monotonic_ns() // 1000)
        self.halt.tick()
        self._watch_store()
        self._sum_up_decode_errors()
        self._check_health()
        self.requests.tick(time.monotonic())
        self.commands.tick()
        self.publisher.tick()
        seqs = self.publisher.seqs()
        about = {
            "proto": self.publisher.proto,
            "beat": self.publisher.beats,
            "offset": self.publisher.offset,
            "seqs": seqs,
            "tws": self.session.summary(time.monotonic()),
            "store": self._about_store(),
            "halt": self.halt.state,
            "alarms": [alarm["alarm"] for alarm in self.alarms.raised],
            "unsent": self.connector.unsent,
            "pacing": self.send_queue.metrics(time.monotonic()),
        }
        self.publisher.publish_unsequenced("heartbeat", about, _now(), "sys", "bridge")
        self._log_surplus()
        self.bus.turn()

    def _about_store(self) -> dict[str, Any]:
        return {
            "name": self.store.name,
            "fault": self.store.fault or None,
            "uncommitted": self.store.uncommitted,
        }

    def _watch_store(self) -> None:
        """Log and publish a change of the store's fault, because orders are refused during a fault."""
        before, fault = self._fault, self.store.fault
        if fault == before:
            return
        self._fault = fault
        if fault:
            log.error("event store: %s. Orders are refused; other messages are published, and kept in memory", fault)
        else:
            log.warning("event store writable again; accepting orders")
        if bool(fault) != bool(before):
            self.publisher.publish_map(
                self.publisher.channel("sys", "bridge", "store"), self._about_store(), _now(), ()
            )

    def _check_health(self) -> None:
        """Raise and end alarms by the state of TWS, the store and the process."""
        session = self.session
        sample = HealthSample(
            session.proven(self.config.tws.stable_after),
            session.stage.value,
            session.last_error,
            session.upstream,
            self.store.slowest(),
            self.store.fault,
            self.store.shortage,
        )
        self.health_checks.tick(sample, time.monotonic(), _now(), expected=bool(self._window()))
        self._check_process()

    def _check_process(self) -> None:
        """Check the log, the descriptors and the memory of the process; free memory if too much is in use."""
        self.connector.restock()
        sample = ProcessSample(
            self._log_writer.fault(time.monotonic()) if self._log_writer else "",
            process_limits.open_descriptors(),
            self._descriptor_limit,
            memory_in_use(),
            self._memory_limit,
        )
        if self.process_health.check(sample, _now()):
            self._trims = TRIMS
            self._free_memory()
        else:
            self._too_large = False
            if self._trims:  # libzmq frees the memory of a disconnected peer gradually
                self._trims -= 1
                process_limits.return_memory()

    def _free_memory(self) -> None:
        """Return freed memory to the system. If that is not enough at two heartbeats in a row, disconnect a client.

        The client for which most bytes are kept is disconnected.
        """
        process_limits.return_memory()
        used = memory_in_use()
        if used <= self._memory_limit:
            return
        if not self._too_large:
            self._too_large = True
        elif said := self.bus.shed():
            log.error("%d MB of memory are in use: %s", used // MEGABYTE, said)

    def _window(self) -> float:
        """Return the seconds until the current restart window ends; 0 outside of restart windows."""
        return maintenance_windows.left(self.config.tws.restart_windows, time.time())

    def _publish_alarm(self, about: dict[str, Any]) -> None:
        if about["raised"]:
            log.error("alarm %s: %s", about["alarm"], about["why"])
        else:
            log.warning("alarm %s is over", about["alarm"])
        self.publisher.publish_map(self.publisher.channel("sys", "bridge", "alarm"), about, _now(), about["alarm"])

    def _publish_halt(self, about: dict[str, Any]) -> None:
        why = f": {about['reason']}" if about["reason"] else ""
        log.warning("orders %s by %s%s", "halted" if about["halted"] else "resumed", about["client"], why)
        self.publisher.publish_map(self.publisher.channel("sys", "bridge", "halt"), about, _now(), ())

    def _log_surplus(self) -> None:
        dialect = self.connector.dialect
        for name in set(dialect.surplus) - self._surplus if dialect else ():
            self._surplus.add(name)
            log.warning("TWS sends more fields of %s than are known; status counts the unknown ones", name)

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
        """Open the store, and restore the state in it. Return False if a signal came before the disk has answered.

        No message can be published meanwhile, because the sequence numbers are in the store. But signals are handled.
        """
        thread, waited, warn_at = DiskThread(), 0.0, OPENING
        job = thread.submit(self._open_and_take_up)
        while not thread.wait(job, HEEDING):
            waited += HEEDING
            await asyncio.sleep(0)  # let the loop run the signal handlers
            if self._stopping.is_set():
                self.store.stuck = True
                log.error("store: its disk has not answered for %.1f s; the process ends without it", waited)
                return False
            if waited >= warn_at:
                warn_at *= 2
                self._report_opening(waited)
        thread.end(0)
        job.result()
        return True

    def _report_opening(self, waited: float) -> None:
        log.warning(
            "store: opening the one in %s has taken %.0f s so far, and the daemon does nothing else until it is open; "
            "if this goes on, see what the system log says of its disk",
            _directory(self.config),
            waited,
        )
        notify("STATUS=opening the store; its disk is slow, or does not answer")

    def _stop(self) -> None:
        """Begin to stop. A second call ends the waiting for queued orders."""
        self._at_once = self._stopping.is_set()
        self._stopping.set()

    def _reload(self) -> None:
        """Read the configuration again, and take over its reloadable settings; change nothing if it has a fault."""
        if self._reread is None:
            log.warning("SIGHUP: there is no configuration to read again; nothing was changed")
            return
        try:
            self.config, done, left = reload.merged(self.config, self._reread())
        except ConfigError as error:
            for fault in error.faults:
                log.error("SIGHUP: the configuration has a fault, nothing was changed: %s", fault)  # noqa: TRY400
            return
        self._apply()
        for key in left:
            log.warning("SIGHUP: %s was changed in the configuration, which takes effect at the next start", key)
        log.warning("SIGHUP: the configuration was read again; changed now: %s", ", ".join(done) or "nothing")

    def _apply(self) -> None:
        """Apply the reloadable settings to the log and the health checks."""
        logging.getLogger().setLevel(self.config.log.level.upper())
        self.health_checks.bear(self.config.tws.not_ready_alarm, self.config.store.slow)

    def open_store(self) -> None:
        """Open the store, and begin the epoch that it returns. Raise `StoreError` if it cannot be opened."""
        self.publisher.begin(self.store.open(_now(), partial(adopt, self.config.tws.client_id)))
        if self.store.before:
            log.warning(
                "store %s is gone from its directory, a new store (%s) begins: the keys of earlier orders are lost, "
                "and a key that is used again will place a new order",
                self.store.before,
                self.store.name,
            )

    def _close_store(self) -> None:
        self.store.close()
        if self.store.stuck:
            log.error("store: the disk does not answer; %d messages are lost, and the process ends without it",
                      self.store.uncommitted)  # fmt: skip

    def _open_and_take_up(self) -> None:
        self.open_store()
        self._take_up()

    def _take_up(self) -> None:
        """Restore sequence numbers, streams, orders and the halt from the store of an earlier process."""
        self.order_keys.recall(self.orders)
        state = self.store.state()
        self.publisher.restore(self.store.last(), state)
        for _, _, packed in state:
            body = msgpack.unpackb(packed, strict_map_key=False)
            self.orders.recall(body["ref"], body["data"])
        # TWS may give a lower next order id than the orders in the store have.
        self.requests.raise_to(max(self.orders.highest or 0, self.order_keys.highest))
        self.halt.load()

    async def _serve(self, broken: asyncio.Future[None]) -> None:
        loop = asyncio.get_running_loop()
        self.bus.open()
        try:
            self._watch_store()
            self.bus.attach(loop)
            notify("READY=1")
            log.info("publishing on %s, commands on %s", *self.bus.endpoints)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.connector.run())
                tasks.create_task(self._publish_heartbeats())
                tasks.create_task(self._until_stopped())
                tasks.create_task(_raised(broken))
        except* Stop:
            notify("STOPPING=1")
            log.info("stopping")
        finally:
            self.publisher.publish_map(
                self.publisher.channel("sys", "bridge", "bye"), {"offset": self.publisher.offset}, _now()
            )
            self.bus.close()
            if self.recorder is not None:
                self.recorder.close()

    async def _until_stopped(self) -> None:
        """Wait for the signal to stop, give queued orders and cancels some time to leave, and raise `Stop`."""
        await self._stopping.wait()
        for _ in range(round(LAST_ORDERS / 0.02)):
            if self._at_once or not any(map(self.send_queue.waiting, (Pace.CANCEL, Pace.ORDER))):
                break
            await asyncio.sleep(0.02)
        raise Stop

    async def _publish_heartbeats(self) -> None:
        """Publish heartbeats at their due times, however long each takes."""
        due = time.monotonic()
        while True:
            self.publish_heartbeat()
            settle()
            due = max(due + self.config.bus.heartbeat, time.monotonic())
            await asyncio.sleep(due - time.monotonic())


def settle() -> None:
    """Collect garbage, then freeze the surviving objects, so that later collections skip them.

    With the state of 10,000 topics a full collection takes 25 to 80 ms; a collection of one second's objects takes a
    fraction of that. A lost connection unfreezes the objects.
    """
    gc.collect()
    gc.freeze()


_WATCHED = frozenset(("serverVersion", "nextValidId", "managedAccounts", "openOrder", "error"))


def run(config: Config, reread: Callable[[], Config] | None = None) -> int:
    """Run the daemon until a signal ends it, and return the exit code. The log goes to standard error.

    `reread` reads the configuration again, for SIGHUP, and may raise ConfigError.
    """
    occupy_standard_files()
    signals.prepare()
    process_limits.raise_descriptor_limit()
    log_writer = LogWriter(_STDERR).start()
    logging.getLogger().setLevel(config.log.level.upper())
    daemon, code = Daemon(config, reread=reread, log_writer=log_writer), 0
    try:
        asyncio.run(daemon.serve())
    except (BusError, StoreError) as error:
        log.error("cannot start: %s", error)  # noqa: TRY400 - the message is complete
        code = 1
    finally:
        log_writer.finish()
    if daemon.store.stuck:
        os._exit(code)  # a normal exit could wait for the disk thread, which waits for the disk
    return code


def _directory(config: Config) -> pathlib.Path:
    """Return the store's directory: from the configuration, from systemd, or else in the user's home."""
    if config.store.path:
        return pathlib.Path(config.store.path).expanduser()
    if given := os.environ.get("STATE_DIRECTORY"):
        return pathlib.Path(given.split(":")[0])
    home = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return pathlib.Path(home).expanduser() / "ibbridge" / f"{config.tws.port}-{config.tws.client_id}"


def _tasks() -> int:
    """Return the number of tasks in the loop; 0 without a loop."""
    try:
        return len(asyncio.all_tasks())
    except RuntimeError:
        return 0


def _now() -> int:
    return time.time_ns() // 1000


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
