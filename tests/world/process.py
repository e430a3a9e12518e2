"""Run of the daemon's process: the parts as they are wired for real, and a border at which the run can end.

The border is everything that connects the process with the world: callbacks, commits, writes to TWS, frames, replies.
A `Doom` names a place at the border and how often it is passed before the process is killed there. From that moment on
nothing that the process does has an effect, although its stack is still unwound.
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from ibbridge.codec import Connection, Greeting
from ibbridge.config.loader import load
from ibbridge.daemon import Daemon
from ibbridge.security.identity import LocalPeerage
from ibbridge.storage.event_store import EventStore
from ibbridge.storage.order_store import OrderStore
from ibbridge.tws.decode_errors import Readability
from ibbridge.wiring import Outside
from tests.support.outside import ListBus
from tests.world.network import Cable

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable, Mapping

    from ibbridge.codec import Dialect
    from ibbridge.config.model import Config, TwsConfig
    from ibbridge.tws.transport import TransportEvents
    from tests.world.disk import Disk
    from tests.world.history import History
    from tests.world.timeline import Entry, Timeline
    from tests.world.tws import TwsPort

START_US = 1_767_623_400_000_000
"""UTC when a world begins, in microseconds since 1970: Monday, 5 January 2026, 09:30 in New York."""

CLIENT_ID = 1
"""Client id of the daemon at TWS."""

BORDERS = {
    "callback": ("before", "after"),
    "commit": ("before", "within", "after"),
    "write": ("before", "within", "after"),
    "frame": ("before", "after"),
    "reply": ("before",),
}
"""Places at which the process can be killed, and when: before, within or after what happens there."""


class Killed(BaseException):
    """End of the process, here and now. No code of the daemon catches it."""


@dataclass(frozen=True, slots=True)
class Doom:
    """Plan to kill the process when it passes a place of the border for the `count`-th time from now.

    `power`: the machine loses power, and this share of what is not synced has reached the platter.
    """

    place: str
    side: str
    count: int
    away: float
    power: float | None = None


class Surroundings(NamedTuple):
    """Things that outlive a process: time, disk, network, TWS, and what is known."""

    timeline: Timeline
    disk: Disk
    tws: TwsPort
    history: History
    chance: random.Random
    heard: Callable[[bytes, bytes], None]
    """Function that is called with each published message."""
    ended: Callable[[Doom], None]
    """Function that is called when the process has been killed."""
    gone: set[bytes]
    """Connections of clients that have closed."""


class ProcessClock:
    """Clock of one process. `ahead` is how far the computer's clock is set ahead, in microseconds."""

    def __init__(self, process: Process, timeline: Timeline) -> None:
        self.ahead = 0
        self._process = process
        self._timeline = timeline

    def monotonic(self) -> float:
        return self._timeline.now

    def utc_us(self) -> int:
        return START_US + round(self._timeline.now * 1e6) + self.ahead

    def call_later(self, seconds: float, callback: Callable[..., object], *args: Any) -> Entry:
        return self._timeline.after(seconds, self._process.enter, callback, *args)

    def call_soon(self, callback: Callable[..., object]) -> Entry:
        return self._timeline.after(0.0, self._process.enter, callback)


class Link:
    """Daemon's side of a connection to TWS, in the place of a `TcpTransport`."""

    def __init__(self, process: Process, connection: Connection, events: TransportEvents) -> None:
        self.cable: Cable | None = None
        self.open = False
        self._process = process
        self._connection = connection
        self._readability = Readability()
        self._events: Any = events
        self._written = 0
        self._over = False

    def connected(self, cable: Cable) -> None:
        self.cable, self.open = cable, True
        cable.daemon = self
        if not self._events.made(self):
            self.abort()

    def arrived(self, data: bytes) -> None:
        self._process.enter(self._read, data)

    def _read(self, data: bytes) -> None:
        if self._over:
            return
        ts = self._process.clock.utc_us()
        self._process.record("read", data)
        try:
            self._events.received(self, self._connection.receive_data(data), ts, more=False)
        except Exception as error:
            if type(error).__name__ not in ("FramingError", "HandshakeError"):
                raise
            self._events.ended(self, error)

    def over(self, reason: str) -> None:
        self._process.enter(self._lost, reason)

    def _lost(self, reason: str) -> None:
        self.cable = None
        self._events.ended(self, ConnectionResetError(reason))
        self._events.gone(self)

    @property
    def dialect(self) -> Dialect | None:
        return self._connection.dialect

    @property
    def ready(self) -> bool:
        return self._connection.state.value == "ready"

    def note(self, *, read: bool) -> bool:
        return self._readability.note(read=read)

    def flush(self) -> None:
        if data := self._connection.data_to_send():
            self.write(data)

    def write(self, data: bytes) -> None:
        if self.cable is None or self._over or self._process.dead:
            return
        cable = self.cable
        self._process.passing("write", "before")
        self._process.passing("write", "within", lambda: cable.send("tws", data[: len(data) // 2]))
        self._process.record("write", data)
        self._written += len(data)
        cable.send("tws", data)
        self._process.passing("write", "after")

    def closing(self) -> bool:
        return self.cable is None or self._over

    def unsent(self) -> int:
        return 0

    def taken(self) -> int:
        return self._written

    def close(self) -> None:
        """Close the connection. TWS hears of it behind the bytes on their way."""
        if not self._over and self.cable is not None and not self._process.dead:
            self._over = True
            self.cable.end("tws", "closed")
            self.cable.end("daemon", "closed")
        self._over = True

    abort = close


class Transports:
    """Maker of connections to TWS, in the place of `TcpTransports`. Looking up and connecting take some time."""

    def __init__(self, process: Process, around: Surroundings, packed: Iterable[str], config: TwsConfig) -> None:
        self.links: list[Link] = []
        self._process = process
        self._around = around
        self._packed = frozenset(packed)
        self._config = config
        self._trying: Entry | None = None

    def resolve(self, host: str, port: int, events: Any) -> None:
        self._try(events.resolved, [(host, port)])

    def open(self, address: tuple[Any, ...], events: Any) -> Link:
        config = self._config
        connection = Connection(
            config.client_id, Greeting(config.max_version), packed=self._packed, encoding=config.encoding
        )
        link = Link(self._process, connection, events)
        self._try(self._connect, link, events)
        return link

    def _try(self, callback: Callable[..., object], *args: Any) -> None:
        delay = self._around.chance.uniform(0.0002, 0.002)
        self._trying = self._around.timeline.after(delay, self._process.enter, callback, *args)

    def _connect(self, link: Link, events: Any) -> None:
        around = self._around
        if not around.tws.takes():
            events.refused(link, ConnectionRefusedError("Connect call failed"))
            return
        cable = Cable(around.timeline, around.chance.uniform(0.0001, 0.003), self._process.run)
        around.tws.accept(cable)
        self.links.append(link)
        link.connected(cable)

    def stop_trying(self) -> None:
        if self._trying is not None:
            self._trying.cancel()

    def restock(self) -> None:
        """Do nothing: there are no sockets."""

    def close(self) -> None:
        """Do nothing."""


@cache
def _config(settings: tuple[str, ...]) -> Config:
    return load(None, settings)


class StoreHere(EventStore):
    """Event store on the disk of the world."""

    def __init__(self, disk: Disk, config: Config) -> None:
        self.outside = disk.outside()
        super().__init__(disk.directory, days=config.store.days, sync=config.store.sync)


class OrderStoreHere(OrderStore):
    """Store of the order journal on the disk of the world."""

    def __init__(self, disk: Disk) -> None:
        self.outside = disk.outside()
        super().__init__(disk.directory)


class Process:
    """Run of the daemon."""

    def __init__(self, around: Surroundings, settings: Mapping[str, Any], ahead: int) -> None:
        self.dead = self.ready = False
        self.doom: Doom | None = None
        self.run = around.history.processes
        self._around = around
        self._transports: Transports | None = None
        self._count = 0
        self.clock = ProcessClock(self, around.timeline)
        self.clock.ahead = ahead
        self.config = _config(tuple(f"{key}={value}" for key, value in settings.items()))
        self.store = StoreHere(around.disk, self.config)
        self.order_store = OrderStoreHere(around.disk)
        outside: Any = Outside(
            self.clock, self.store, self.order_store, self._bus, self._new_transports, jitter=around.chance.random,
            peerage=LocalPeerage(),
        )  # fmt: skip
        self.daemon = Daemon(self.config, outside=outside)
        self.parts = self.daemon.parts

    def _bus(self, *_: Any) -> Any:
        bus = ListBus(self._publish)
        bus.gone = self._around.gone
        return bus

    def _new_transports(self, config: TwsConfig, _: object, packed: Iterable[str], __: object) -> Any:
        self._transports = Transports(self, self._around, packed, config)
        return self._transports

    # -- the border

    def enter(self, callback: Callable[..., object], *args: Any) -> Any:
        """Call into the process, unless it is dead. Every call is one callback of its event loop."""
        if self.dead:
            return None
        try:
            self.passing("callback", "before")
            result = callback(*args)
            self.passing("callback", "after")
        except Killed:
            return None
        except Exception:  # noqa: BLE001 - a bug, which ends the process and breaks a rule
            self._around.history.errors.append(f"the daemon has raised an exception: {traceback.format_exc()}")
            self.kill(Doom("callback", "in", 1, 1.0))
            return None
        return result

    def passing(self, place: str, side: str, last: Callable[[], object] = lambda: None) -> None:
        """Pass a place of the border. Raise `Killed` if the process ends there; `last` is done before the end."""
        doom = self.doom
        if self.dead or doom is None or doom.place != place or doom.side != side:
            return
        self._count += 1
        if self._count >= doom.count:
            last()
            self.kill(doom)
            raise Killed

    def kill(self, doom: Doom) -> None:
        """End the process: its files stay as they are, and the kernel closes its sockets."""
        self.dead = True
        around, history = self._around, self._around.history
        now = around.timeline.now
        lost = around.disk.end(doom.power) + self._unwritten()
        history.commits_lost += lost > 0
        how = "kill -9" if doom.power is None else f"loss of power, {lost} bytes of the log are lost,"
        history.fault(now, f"{how} {doom.side} a {doom.place}; the daemon is away for {doom.away:.2f} s")
        history.mark(f"killed {doom.side} a {doom.place}")
        if doom.power is not None:
            history.mark("power was lost", "commits were lost" if lost else "no commit was lost")
        for link in self._transports.links if self._transports else ():
            if (cable := link.cable) is not None and cable.daemon is link:
                cable.daemon = None
                if doom.power is None:
                    cable.end("tws", "closed by the kernel")
                else:  # TWS hears nothing, until its own kernel gives up
                    cable.break_off(None, around.chance.uniform(1.0, 60.0))
        around.timeline.after(0.0, around.ended, doom)

    def _unwritten(self) -> int:
        """Return the number of published messages that the store could not write so far."""
        return self.store.uncommitted if self._around.disk.has_failed else 0

    def plan(self, doom: Doom) -> None:
        """Have the process killed later."""
        self.doom, self._count = doom, 0
        self._around.disk.may_tear = doom.place == "commit" and doom.power is not None

    def record(self, what: str, data: bytes) -> None:
        if not self.dead:
            self._around.history.record(self._around.timeline.now, what, data)

    def _publish(self, topic: bytes, packed: bytes) -> None:
        if not self.dead:
            self.passing("frame", "before")
            self._around.heard(topic, packed)
            self.passing("frame", "after")

    # -- life

    def begin(self) -> None:
        """Start, as the daemon does before its tasks run."""
        self.enter(self._begin)

    def _begin(self) -> None:
        self.daemon._open_and_take_up()
        self.parts.bus.open()
        self.daemon._report_start()
        self.parts.connector.begin()
        self._beat()
        self.ready = self._around.disk.can_fail = True

    def _beat(self) -> None:
        self.daemon.publish_heartbeat()
        self.clock.call_later(self.config.bus.heartbeat, self._beat)

    def command(self, packed: bytes, peer: bytes) -> bytes | None:
        """Execute a command. Return the reply; None if the process is dead, or dies before the reply has left."""

        def answered() -> bytes:
            reply = self.parts.commands.answer(packed, peer)
            self.passing("reply", "before")
            self.record("reply", reply)
            return reply

        reply: bytes | None = self.enter(answered)
        return reply

    def stop(self, ended: Callable[[], None], patience: float = 5.0) -> None:
        """End in good order: queued orders get some time to leave."""
        self.enter(self._stop, ended, patience)

    def _stop(self, ended: Callable[[], None], patience: float) -> None:
        if patience > 0 and self.parts.tws.port.has_orders():
            self.clock.call_later(0.02, self._stop, ended, patience - 0.02)
            return
        self.parts.connector.end()
        self.parts.streams.events.bye()
        self.parts.bus.close()
        self.daemon._close_store()
        self.dead = True
        self._around.history.commits_lost += self._around.disk.end(None) + self._unwritten() > 0
        self._around.timeline.after(0.0, ended)

    def close(self) -> None:
        """Release what a dead process has open. Its files are not those of the next process."""
        self.order_store.close()
        self.store.close()
