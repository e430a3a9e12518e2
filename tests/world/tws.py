"""Port of the simulated TWS without a socket: connections in memory and virtual time around the pure host.

The parts are those of `ibbridge.sim.server`: the host, the injector of faults, and a `ClientConnection` for each
client. The books of the host are what a world knows to be true.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ibbridge.codec import Acceptor, FramingError, HandshakeError, Message, frame
from ibbridge.sim.client_connection import ClientConnection, hand_over
from ibbridge.sim.encoding import Encoder
from ibbridge.sim.engine import SimulatedTws
from ibbridge.sim.faults.corrupt_frames import garbled
from ibbridge.sim.faults.injector import FaultInjector
from ibbridge.sim.faults.script import step as fault_step
from ibbridge.sim.latency import LatencyModel
from ibbridge.sim.market import ib_times

if TYPE_CHECKING:
    from collections.abc import Callable

    from ibbridge.codec import Undecodable
    from ibbridge.sim.orders.order import SimulatedOrder
    from tests.world.network import Cable
    from tests.world.timeline import Timeline

TICK = 0.25
"""Seconds between two ticks, and simulated seconds that pass in each: one beat of the simulated market."""
CALM = 1.0
"""Seconds between two ticks when nothing new happens any more. The market is four times slower then."""


PENDING_SUBMIT, SUBMITTED = "PendingSubmit", 1.5
"""Status of an order that TWS has sent, and the seconds after which it is confirmed, in worlds with this status."""


_REPORT = {"status": "Submitted", "filled": 0.0, "remaining": 1.0, "avgFillPrice": 0.0, "permId": 0, "clientId": 1}


class Writer:
    """Way of a connection's bytes to its client, as `ClientConnection` uses a stream's writer."""

    def __init__(self, cable: Cable, closed: Callable[[], None]) -> None:
        self._cable = cable
        self._closed = closed
        self._closing = False
        self.transport = self

    def write(self, data: bytes) -> None:
        if not self._closing:
            self._cable.send("daemon", data)

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._cable.end("daemon", "TWS closed the connection")
            self._closed()

    abort = close

    def is_closing(self) -> bool:
        return self._closing

    def get_write_buffer_size(self) -> int:
        return 0


class Client:
    """Connection of the daemon, as TWS sees it."""

    def __init__(self, port: TwsPort, cable: Cable, connection: ClientConnection) -> None:
        self._port = port
        self.cable = cable
        self.connection = connection
        self.held: list[bytes] = []  # bytes that a half-open connection does not read
        self.ended = False

    def arrived(self, data: bytes) -> None:
        self.held.append(data)
        self._port.read(self)

    def over(self, reason: str) -> None:
        self.ended = True
        self._port.read(self)


class TwsPort:
    """Port of a simulated TWS.

    `pending`: orders are reported as `PendingSubmit` first. `heard` is told of each request that arrives: the daemon's
    run, name and data. Either another program shares the daemon's client id (`id_is_shared`), or order ids go back
    (`ids_went_back`): otherwise TWS would give both programs the same ids.
    """

    def __init__(
        self,
        timeline: Timeline,
        seed: int,
        newest: int,
        heard: Callable[[int, str, dict[str, Any]], None],
        *,
        pending: bool = False,
    ) -> None:
        self.core = SimulatedTws(seed)
        self.injector = FaultInjector(self.core, delays=LatencyModel(seed))
        self._garbles = False
        self.id_is_shared = self.ids_went_back = False
        self._timeline = timeline
        self._newest = newest
        self._heard = heard
        self._clients: list[Client] = []
        self._pause = TICK
        self._answer_due: float | None = None
        timeline.after(TICK, self._tick)
        if pending:
            self._start, self.core.orders.book.start = self.core.orders.book.start, self._submit  # type: ignore[method-assign, assignment]

    def _submit(self, order: SimulatedOrder) -> None:
        """Report an order as `PendingSubmit` first. It goes to the market later, unless it is cancelled before."""
        book = self.core.orders.book
        if order not in book.tickets:
            book.tickets.append(order)
        book.number(order)
        order.status = PENDING_SUBMIT
        book.tell(order)
        self._timeline.after(SUBMITTED, self._go, order)

    def _go(self, order: SimulatedOrder) -> None:
        if order.status == PENDING_SUBMIT:
            self._start(order)
            self.flush()

    # -- the books

    @property
    def orders(self) -> list[SimulatedOrder]:
        """Every order that TWS has ever taken."""
        return self.core.orders.book.tickets

    @property
    def executions(self) -> list[tuple[SimulatedOrder, dict[str, Any], dict[str, Any]]]:
        """Every execution, with its order and its commission report."""
        return self.core.orders.book.executions

    def positions(self) -> dict[str, float]:
        """Return the holding in each symbol, of all accounts."""
        found: dict[str, float] = {}
        for ledger in self.core._accounts.updates.ledgers.values():
            for position in ledger.positions.values():
                symbol = position.instrument.symbol
                found[symbol] = found.get(symbol, 0.0) + position.quantity
        return found

    def is_away(self) -> bool:
        """Return True if TWS is not running, or is without IB's servers."""
        return any(self.injector.schedule.active(do, None) for do in ("restart", "1100", "2110"))

    # -- connections

    def takes(self) -> bool:
        """Return True if the port is open."""
        return not any(self.injector.schedule.active(do, None) for do in ("refuse", "restart"))

    def accept(self, cable: Cable) -> None:
        """Take a new connection, or close it at once."""
        if self.injector.schedule.use("accept-close", None):
            cable.end("daemon", "TWS closed the connection")
            return
        acceptor = Acceptor(self._newest, connection_time=ib_times.stamp(self.core.now))
        client: Client
        writer: Any = Writer(cable, lambda: self._left(client))
        client = Client(self, cable, ClientConnection(writer, acceptor, self.injector))
        cable.tws = client
        self._clients.append(client)

    def read(self, client: Client) -> None:
        """Read what has arrived from a client, unless a fault keeps TWS from reading."""
        if client not in self._clients or self._holds(client):
            return
        held, client.held = client.held, []
        now = self._timeline.now
        try:
            for data in held:
                for message in client.connection.receive(data, now):
                    self._take(client, message, now)
        except (FramingError, HandshakeError):
            client.connection.writer.close()
        self.flush()
        if client.ended and client in self._clients:
            client.connection.writer.close()

    def _holds(self, client: Client) -> bool:
        return self.injector.schedule.active("half-open", client.connection.client) is not None

    def _take(self, client: Client, message: Message | Undecodable, now: float) -> None:
        connection = client.connection
        session = connection.session
        if session is None:
            if isinstance(message, Message) and message.name == "startApi":
                connection.start(self.core, message.data["clientId"] or 0, now)
        elif self.injector.schedule.stalled("ready", connection.client):
            pass
        elif isinstance(message, Message) and connection.knows(message):
            self._heard(client.cable.run, message.name, message.data)
            if self._garbles and message.name in ("placeOrder", "cancelOrder"):
                self._garbles = False
                self._send_garbled(client, {**_REPORT, "orderId": message.data["orderId"]})
            self.injector.asked(session, message.name, message.data, now)
        else:
            hand_over(self.core, session, connection.acceptor.version or 0, message)

    def _left(self, client: Client) -> None:
        """Forget a client whose connection is closed."""
        if client in self._clients:
            self._clients.remove(client)
            client.cable.tws = None
            if (session := client.connection.session) is not None:
                self.injector.left(session, self._timeline.now)
                self.core.disconnect(session)

    # -- time and faults

    def _tick(self) -> None:
        now = self._timeline.now
        for step in self.injector.schedule.due(now):
            self._begin(step)
        self.injector.tick(now)
        self.core.advance(self.core.now + TICK)
        for client in [*self._clients]:
            if client.held or client.ended:
                self.read(client)
        self.flush()
        self._timeline.after(self._pause, self._tick)

    def garble(self, order: SimulatedOrder) -> None:
        """Send a report of an order that cannot be read."""
        for client in self._clients:
            self._send_garbled(client, order.order_status())
        self.flush()

    def garble_answer(self) -> None:
        """Send such a report before the answer to the next order, change or cancel."""
        self._garbles = True

    def _send_garbled(self, client: Client, status: dict[str, Any]) -> None:
        connection = client.connection
        if connection.session is not None and connection.acceptor.dialect is not None:
            whole = Encoder(connection.acceptor.dialect).put("orderStatus", status)
            text = whole[4:5].isdigit()  # or protobuf, which ends within a tag then
            garbage = garbled(whole, "undecodable") if text else frame(whole[4:] + b"\xff")
            connection.pipe.put(garbage, self._timeline.now)

    def calm(self) -> None:
        """Go on more slowly, because nothing new happens any more."""
        self._pause = CALM

    def flush(self) -> None:
        """Send what TWS has to say."""
        now = self._timeline.now
        for client in [*self._clients]:
            client.connection.flush(now)
        due = self.injector.next_answer
        if due is not None and (self._answer_due is None or due < self._answer_due):
            self._answer_due = due
            self._timeline.after(max(due - now, 0.001), self._flush_answers)

    def _flush_answers(self) -> None:
        self._answer_due = None
        self.flush()

    def fault(self, **given: Any) -> None:
        """Apply a fault of the simulator now."""
        self._begin(fault_step(given))
        self.flush()

    def _begin(self, step: Any) -> None:
        now = self._timeline.now
        self.injector.begin(step, now)
        if step.do == "restart":
            ids = max(0, step.args["ids"]) if self.id_is_shared else step.args["ids"]
            self.ids_went_back = self.ids_went_back or ids < 0
            self.core.restart(ids)
        for client in [*self._clients]:
            if step.client in (None, client.connection.client):
                client.connection.spoil(step, self.core.context.second, now)
