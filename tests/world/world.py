"""World from one seed: a daemon, a simulated TWS, clients and faults, in virtual time and in one thread.

The life of a world: clients trade while faults strike; then the faults end, and everything has time to come right; then
an auditor reads back all that the daemon has kept. After that the rules (`tests.world.checkers`) look at the evidence.
"""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING, Any, NamedTuple

import msgpack

from ibbridge.orders.order import Order
from ibbridge.orders.state_machine import TRANSITIONS
from tests.world import faults
from tests.world.catalogue import transition
from tests.world.clients import Client
from tests.world.disk import Disk
from tests.world.history import Arrival, History, brief
from tests.world.process import CLIENT_ID, Process, Surroundings
from tests.world.timeline import Timeline
from tests.world.tws import TwsPort

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ibbridge.orders.state_machine import OrderEvent, Reason
    from ibbridge.sim.orders.order import SimulatedOrder
    from tests.world.clients import Command
    from tests.world.history import Heard
    from tests.world.process import Doom

BEGIN = 1000.0
SETTLED = 80.0
"""Seconds for which everything must be well before the audit: longer than the daemon waits for two answers."""
COMPARED = 150.0
"""Seconds in which a daemon that compares its orders with those of TWS every minute has done so twice."""
PATIENCE = 900.0
"""Seconds after the last fault in which the daemon must be ready again, and stay so."""
LISTED = 8.0
"""Seconds for the list of positions before the audit, and for what follows from it."""
OPERATOR = "operator"
MARKED = ("store", "halt", "massCancel", "bye", "farm", "gap", "execDetails", "ownerPosition", "position")
"""Types of messages that are marks by themselves."""

SETTINGS = {
    "tws.client_id": CLIENT_ID,
    "bus.heartbeat": 5,
    "commands.allow": "[reqGlobalCancel]",
    "store.slow": 86400,  # how long a commit takes here is no matter of the seed
    "memory.limit_mb": 1_000_000,
    "risk.accounts": '{"*": {max_open_orders: 1000}}',  # clients place as many as they like
}
"""Settings of the daemon."""


class Evidence(NamedTuple):
    """Evidence for the rules: what clients know, what the daemon has said, and the books of TWS."""

    history: History
    commands: list[Command]
    orders: list[SimulatedOrder]
    executions: list[tuple[SimulatedOrder, dict[str, Any], dict[str, Any]]]
    positions: dict[str, float]
    """Holdings that the orders of this daemon have made."""
    struck: frozenset[str]
    """Kinds of faults that have struck."""
    strangers: frozenset[str]
    """Ids of the executions of others at TWS."""
    holdings: dict[str, float]
    """All holdings, by symbol."""
    listed: dict[str, float]
    """Positions that the daemon has in its state after a list of TWS's, by symbol."""
    mass_cancels: list[dict[str, Any]]
    """Mass cancels with their lists, as the daemon tells of them at the audit."""
    deaths: dict[str, list[float]]
    """Times at which each client has died."""


class Result(NamedTuple):
    """Result of a seed."""

    seed: int
    digest: str
    evidence: Evidence


class World:
    """World of one seed. In a `calm` one no fault strikes; with `only`, faults of these kinds."""

    def __init__(self, seed: int, *, traced: bool = False, calm: bool = False, only: Sequence[str] = ()) -> None:
        # Each part has a chance of its own, so a change to one part leaves what the others draw as it was.
        self.chance, self._network, self._daemon, disk, *clients = _chances(seed, 7)
        self._calm = calm
        self._only = only
        self.gone: set[bytes] = set()
        self._mass_cancels: list[dict[str, Any]] = []
        self.timeline = Timeline(BEGIN)
        self.history = History(traced=traced)
        self.struck: set[str] = set()
        self._dooms_wait: list[Doom] = []
        self._begins = 0
        self._waiting: list[Callable[[], None]] = []  # commands that wait for the next run of the daemon
        self._ahead = 0
        self._operations = 0
        self._statuses: dict[tuple[str, str], str] = {}
        self._faulty = True
        self.says_back = self.chance.choice(("1101", "1102", ""))
        """Notice of every return of IB's servers in this world; empty if they differ."""
        self._listed: dict[str, float] = {}
        self.disk = Disk(disk, self._commit)
        self.history.hidden = self.disk.root
        newest = self.chance.choice((176, 187, 200, 200, 203, 226))
        pending = self.chance.random() < 0.25
        self.tws = TwsPort(self.timeline, seed, newest, self._arrive, pending=pending)
        self.settings = {
            **SETTINGS,
            "store.sync": self.chance.choice(("normal", "full")),
            "pacing.rate": self.chance.choice((45, 10)),  # at a low rate a burst of orders waits
            "orders.reconcile_minutes": self.chance.choice((15, 15, 1)),
        }
        self.process: Process | None = None
        self.clients = [
            Client(name, self.timeline, chance, self.history, self)
            for name, chance in list(zip(("a", "b", "c"), clients, strict=True))[: self.chance.randrange(1, 4)]
        ]

    # -- life

    def live(self) -> Evidence:
        """Live through the seed. Return the evidence."""
        try:
            self._start()
            self._trade()
            self._come_right()
            self._audit()
            return self._evidence()
        finally:
            if self.process is not None:
                self.process.close()
            self.disk.remove()

    def _trade(self) -> None:
        chance, timeline = self.chance, self.timeline
        kinds, end = (
            [] if self._calm else [*self._only] or faults.kinds(chance),
            BEGIN + chance.choice((5.0, 10.0, 20.0, 40.0)),
        )
        pause = chance.choice((1.5, 4.0, 10.0))
        for client in self.clients:
            self._act(client, chance.choice((1.5, 3.0, 6.0)))
        at = BEGIN + chance.uniform(0.0, 5.0)
        while kinds and at < end:
            timeline.run(at)
            kind = chance.choice(kinds)
            self.struck.add(kind)
            self.history.mark(f"fault {kind}")
            faults.FAULTS[kind](self, chance)
            at += chance.expovariate(1 / pause)
        timeline.run(end)

    def _act(self, client: Client, pause: float) -> None:
        client.act()
        self.timeline.after(client.chance.expovariate(1 / pause), self._act, client, pause)

    def _come_right(self) -> None:
        """End all faults, and wait until the daemon has been ready for some time."""
        self._faulty = False
        self.history.note(self.timeline.now, "all faults end")
        for client in self.clients:
            client.active = False
        self._dooms_wait.clear()
        if self.process is not None:
            self.process.doom = None
        self.disk.fail("")
        self.tws.fault(do="off")  # an outage ends with 1102
        self.operate("resume")
        for client in self.clients:
            self.operate("resume", scope="client", name=client.name)
        settled = SETTLED
        if self.struck & faults.BLINDNESS:  # the daemon asks for what it missed when it is time, or when it connects
            if self.settings["orders.reconcile_minutes"] == 1:
                settled = COMPARED
            else:
                self.break_off(0.0, 0.0)
        self.tws.calm()
        begin = since = self.timeline.now
        while self.timeline.now < since + settled:
            self.timeline.run(self.timeline.now + 1.0)
            if self.process is None or self.process.dead or not self.process.parts.tws.session.ready:
                since = self.timeline.now
            if since > begin + PATIENCE:
                self.history.errors.append(f"the daemon is not ready {PATIENCE} s after the last fault")
                return

    def _evidence(self) -> Evidence:
        self.stop(None)
        self.timeline.run(self.timeline.now + 10.0)
        for row in self.disk.rows():
            self.history.record(0.0, "row", row)
        refs = {each.ref for each in self.history.arrivals}
        orders = [each for each in self.tws.orders if each.client == CLIENT_ID and each.order.get("orderRef") in refs]
        own = [each for each in self.tws.executions if each[0] in orders]
        strangers = [each for each in self.tws.executions if each[0] not in orders]
        holdings = self.tws.positions()
        positions = dict(holdings)
        for order, execution, _ in strangers:
            positions[order.instrument.symbol] -= order.sign * execution["shares"]
        commands = [command for client in self.clients for command in client.commands]
        others = frozenset(execution["execId"] for _, execution, _ in strangers)
        deaths = {client.name: client.deaths for client in self.clients}
        return Evidence(
            self.history, commands, orders, own, positions, frozenset(self.struck), others, holdings, self._listed,
            self._mass_cancels, deaths,
        )  # fmt: skip

    # -- the daemon

    def _start(self) -> None:
        history = self.history
        history.processes += 1
        if history.processes > 1:
            history.note(self.timeline.now, f"the daemon starts, for the {history.processes}. time")
            if any(order.working for order in self.tws.orders):
                history.mark("the daemon started with working orders")
        self.disk.begin()
        around = Surroundings(
            self.timeline, self.disk, self.tws, history, self._daemon, self._publish, self._ended, self.gone
        )
        self.process = Process(around, self.settings, self._ahead)
        if self._dooms_wait:
            self.process.plan(self._dooms_wait.pop())
        self.process.begin()
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            self.timeline.after(0.01, each)

    def _ended(self, doom: Doom) -> None:
        process = self.process
        if process is not None and not process.ready:
            self.history.mark("the daemon was killed while it started")
        said = {heard.topic for heard in self.history.heard if heard.kind in ("orderStatus", "openOrder", "error")}
        for each in self.history.arrivals:
            if not any(topic.startswith(f"ord.{each.ref.replace('/', '.')}.") for topic in said):
                self.history.mark("the daemon was killed before it heard of an order at TWS")
        self._begin_again(doom.away)

    def _begin_again(self, away: float) -> None:
        if self.process is not None:
            self.process.close()
        self.process = None
        self.timeline.after(away, self._start)

    def doom(self, doom: Doom) -> None:
        """Plan the end of the running daemon, or of the next one while it starts."""
        self.history.note(self.timeline.now, f"planned: {doom}")
        if self.process is None or self.process.dead:
            self._dooms_wait.append(doom)
        else:
            self.process.plan(doom)

    def stop(self, away: float | None) -> None:
        """Stop the daemon as a signal does, and start it again if `away` is given."""
        if self.process is None or self.process.dead:
            return
        if away is None:
            self.process.stop(lambda: None)
        else:
            self.history.fault(self.timeline.now, f"the daemon is stopped, for {away:.2f} s")
            self.process.stop(lambda: self._begin_again(away))

    def _commit(self, side: str) -> None:
        if self.process is not None:
            self.process.passing("commit", side)

    def set_clock(self, by: int) -> None:
        """Set the clock of the machine, by so many microseconds."""
        self._ahead += by
        if self.process is not None:
            self.process.clock.ahead = self._ahead

    def break_off(self, daemon_hears: float | None, tws_hears: float | None) -> None:
        """Lose the connections to TWS that there are."""
        for client in [*self.tws._clients]:
            client.cable.break_off(daemon_hears, tws_hears)

    # -- commands and messages

    def carry(
        self, packed: bytes, peer: bytes, reply: Callable[[int, bytes], None], given: Callable[[int], None]
    ) -> None:
        """Carry a command to the daemon, and its reply back. ZeroMQ may keep the command until a daemon is there."""

        def arrive() -> None:
            process = self.process
            if process is None or process.dead:
                if self._network.random() < 0.5:
                    self._waiting.append(arrive)
                return
            given(process.run)
            answer = process.command(packed, peer)
            if answer is not None:
                self.timeline.after(self._network.uniform(0.0001, 0.002), reply, process.run, answer)

        self.timeline.after(self._network.uniform(0.0001, 0.002), arrive)

    def carry_word(self, packed: bytes, peer: bytes) -> None:
        """Carry a command by which a client says that it is there, if there is a daemon."""

        def arrive() -> None:
            if self.process is not None and not self.process.dead:
                self.process.command(packed, peer)

        self.timeline.after(0.001, arrive)

    def operate(self, cmd: str, **args: Any) -> None:
        """Send a command of the operator's."""
        self._operations += 1
        command = {"id": self._operations, "client": OPERATOR, "cmd": cmd, "args": args}
        self.carry(msgpack.packb(command), OPERATOR.encode(), lambda *_: None, lambda _: None)

    def _publish(self, topic: bytes, packed: bytes) -> None:
        heard = self.history.publish(self.timeline.now, topic, packed)
        for client in self.clients:
            client.hear(heard)
        self._mark(heard)

    def _arrive(self, run: int, name: str, data: dict[str, Any]) -> None:
        self.history.note(self.timeline.now, f"TWS hears {name} {brief(data)}")
        if name == "placeOrder":
            order = data["order"]
            self.history.arrivals.append(
                Arrival(self.timeline.now, run, data["orderId"], order.get("orderRef", ""), order)
            )

    def _mark(self, heard: Heard) -> None:
        """Mark the states and codes that a message shows."""
        mark, data = self.history.mark, heard.data
        if heard.kind == "connection":
            mark(f"stage {data['stage']}")
        elif heard.kind == "error":
            mark(f"error {data['errorCode']}")
            if "was not placed" in data["errorString"]:
                mark(f"an accepted order never left, {data['errorCode']}")
        elif heard.kind in ("orderStatus", "orderState"):
            self._mark_state(heard)
        elif heard.kind == "reconciled":
            self._mark_comparison(data)
        elif heard.kind == "alarm":
            mark("message alarm", f"alarm {data['alarm']} {'raised' if data['raised'] else 'over'}")
        elif heard.kind in (
            "store",
            "halt",
            "bye",
            "farm",
            "gap",
            "massCancel",
            "execDetails",
            "ownerPosition",
            "position",
        ):
            mark(f"message {heard.kind}")
            if "synthetic" in heard.body.get("flags", ()):
                mark(f"message {heard.kind}, synthetic")

    def _mark_state(self, heard: Heard) -> None:
        field = "status" if heard.kind == "orderStatus" else "state"
        status, order = str(heard.data.get(field)), (heard.kind, heard.topic)
        before = self._statuses.get(order, "new")
        self._statuses[order] = status
        self.history.mark(f"{field} {status}")
        if before != status:
            self.history.mark(f"{field} {before} -> {status}")
        for why in ("reason", "cause"):
            if heard.data.get(why):
                self.history.mark(f"{why} {heard.data[why]}")

    def _mark_comparison(self, data: dict[str, Any]) -> None:
        if self.process is None:
            return
        upstream = self.process.parts.tws.session.upstream
        after = {"ok": "a connect", "restored, data lost": "1101", "restored, data kept": "1102"}.get(upstream, "1100")
        whole = "" if data["complete"] else ", without all answers"
        self.history.mark(f"orders were compared after {after}{whole}")
        if data["not_at_tws"]:
            self.history.mark("an order was found nowhere")

    # -- the audit

    def _ask(self, cmd: str, **args: Any) -> dict[str, Any]:
        self._operations += 1
        command = {"id": self._operations, "client": OPERATOR, "cmd": cmd, "args": args}
        answer = self.process.command(msgpack.packb(command), b"auditor") if self.process else None
        if answer is None:
            return {}
        reply: dict[str, Any] = msgpack.unpackb(answer, strict_map_key=False)
        if not reply["ok"]:
            self.history.errors.append(f"the auditor's {cmd} {args} is refused: {reply['error']}")
            return {}
        result: dict[str, Any] = reply["result"]
        return result

    def _audit(self) -> None:
        """Read every durable stream back from the daemon."""
        self.operate("reqPositions")
        self.timeline.run(self.timeline.now + LISTED)
        self.history.audited = self.timeline.now
        self._listed = self._positions()
        for each in self._ask("haltStatus").get("cancels", ()):
            self._mass_cancels.append(self._ask("haltStatus", cancel=each["id"])["cancel"])
        if self.history.commits_lost:  # numbers were given twice: what counts is what the daemon still has
            self.history.forget()
        for prefix in ("ord.", "exec."):
            after = None
            while True:
                found = self._ask("snapshot", prefix=prefix, **({"after": after} if after else {}))
                for each in found.get("streams", ()):
                    self._replay(each["stream"])
                after = found.get("next")
                if after is None:
                    break

    def _positions(self) -> dict[str, float]:
        """Return the positions in the state of the daemon."""
        rows = [
            msgpack.unpackb(packed, strict_map_key=False)
            for each in self._ask("snapshot", prefix="acct.").get("streams", ())
            for _, packed in each["messages"]
        ]
        return {
            row["data"]["contract"]["symbol"]: float(row["data"]["position"])
            for row in rows
            if row["type"] == "position"
        }

    def _replay(self, stream: str) -> None:
        following: int | None = 1
        while following is not None:
            found = self._ask("replay", stream=stream, **{"from": following})
            for topic, packed in found.get("messages", ()):
                self.history.keep(topic.decode(), packed, msgpack.unpackb(packed, strict_map_key=False))
            following = found.get("next")


class _Lines(logging.Handler):
    """Log of the daemon, as lines of the trace."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        self._world.history.note(self._world.timeline.now, f"log   {record.levelname} {record.getMessage()}")


def _chances(seed: int, number: int) -> list[random.Random]:
    root = random.Random(seed)
    return [random.Random(root.getrandbits(64)) for _ in range(number)]


def live(seed: int, *, traced: bool = False, calm: bool = False, only: Sequence[str] = ()) -> Result:
    """Live through a seed."""
    log = logging.getLogger("ibbridge")
    world = World(seed, traced=traced, calm=calm, only=only)
    handler, step = _Lines(world), Order.step

    def watched(order: Order, event: OrderEvent, reason: Reason | None = None) -> None:
        if (order.state, event) in TRANSITIONS:
            world.history.mark(transition(order.state, event))
        step(order, event, reason)

    before, propagated = log.level, log.propagate
    log.propagate = False
    log.setLevel(logging.INFO if traced else logging.CRITICAL + 1)
    log.addHandler(handler)
    Order.step = watched  # type: ignore[method-assign, assignment]
    try:
        evidence = world.live()
        return Result(seed, world.history.digest(), evidence)
    finally:
        Order.step = step  # type: ignore[method-assign]
        log.removeHandler(handler)
        log.setLevel(before)
        log.propagate = propagated
