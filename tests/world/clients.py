"""Scripted clients: they place orders by key, cancel, ask, repeat commands without a reply, die and come back.

A client writes down each command before it sends it, as a careful program does, so after its death it repeats the very
same bytes. A client that does not name the epoch also repeats an order to a daemon that has been restarted since.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

import msgpack

from tests.world.process import START_US

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from tests.world.history import Heard, History
    from tests.world.timeline import Timeline

PATIENCE = 3.0
"""Seconds after which a client repeats a command that has no reply."""
TRIES = 6
"""Times that a client sends one command before it waits for better days."""

SPEAKS = 3.0
"""Seconds between two words of a client that is there."""
WINDOW = 5.0
"""Seconds in which a client comes back, or its orders are cancelled: more than `SPEAKS`."""

SYMBOLS = ("AAPL", "MSFT", "IBM")
QUESTIONS = (
    *("reqAllOpenOrders", "reqOpenOrders", "reqCompletedOrders", "reqExecutions", "reqPositions"),
    *("reqPositions", "orders", "reconcile"),
)
ANEW = frozenset(("orders", "reconcile", "replay"))
"""Commands whose repetition is answered anew."""
PLACING = frozenset(("placeOrder", "placeOrders"))
ARGS: dict[str, dict[str, Any]] = {"reqCompletedOrders": {"apiOnly": False}, "reqExecutions": {"execFilter": {}}}

ACTS = (
    *((40, "_place_one"), (7, "_place_group"), (15, "_cancel"), (2, "_cancel_several"), (11, "_change"), (6, "_ask")),
    *((3, "_replay"), (8, "_repeat"), (3, "_place_again"), (5, "_place_in_time"), (1, "_cancel_unknown")),
    (1, "_place_many"),
)
"""Methods by which a client does something, each with its share."""

MOMENTARY = frozenset(("E_NOT_CONNECTED", "E_PACING", "E_BUSY", "E_STORE", "E_HALTED", "E_RESTART_WINDOW"))
"""Refusals after which the same command may be accepted later."""


@dataclass(eq=False)
class Command:
    """Command that a client has written down. `replies` are the replies, each with the number of the daemon's run."""

    client: str
    cmd: str
    key: str
    packed: bytes
    epoch: int | None
    args: dict[str, Any]
    tries: int = 0
    runs: list[int] = field(default_factory=list)
    """Runs of the daemon that have been given the command, one for each time."""
    replies: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    again: bool = False  # a retry after a refusal is planned

    def placed(self) -> dict[str, dict[str, Any]]:
        """Return the orders that the command places, by key."""
        if self.cmd == "placeOrder":
            return {self.key: self.args["order"]}
        return {each["key"]: each["order"] for each in self.args["orders"]} if self.cmd == "placeOrders" else {}

    @property
    def accepted(self) -> bool:
        """True if a reply says that the command was accepted."""
        return any(reply["ok"] for _, reply in self.replies)


class Wires(Protocol):
    """Way of the commands to the daemon."""

    gone: set[bytes]
    """Connections that have closed."""

    def carry(
        self, packed: bytes, peer: bytes, reply: Callable[[int, bytes], None], given: Callable[[int], None]
    ) -> None:
        """Carry a command, and its reply if there is one. Both are told the number of the daemon's run."""

    def carry_word(self, packed: bytes, peer: bytes) -> None:
        """Carry a command by which a client says that it is there, if there is a daemon."""


class Client:
    """Program of one owner of orders."""

    def __init__(self, name: str, timeline: Timeline, chance: random.Random, history: History, wires: Wires) -> None:
        self.name = name
        self.commands: list[Command] = []
        self.epoch: int | None = None
        self.names_epoch = chance.random() < 0.6
        self.careless = chance.random() < 0.3  # repeats commands that have a reply already
        self.active = True
        self._timeline = timeline
        self.chance = chance
        self._history = history
        self._wires = wires
        self._life = 0
        self._away = False
        self._ids = 0
        self._keys = 0
        self._revisions: dict[str, int] = {}
        self.deaths: list[float] = []
        self._choice = ("never", "loss", "both", "loss")[chance.getrandbits(2)]
        self._words = 0
        self._said_to: int | None = None  # the epoch of the daemon that has heard the hello
        timeline.after(0.05, self._speak)

    # -- its life

    @property
    def peer(self) -> bytes:
        """The connection of this life."""
        return f"{self.name}/{self._life}".encode()

    def _speak(self) -> None:
        """Say hello to each daemon, and then that it is there, as a thread of its own does."""
        if not self._away:
            says_hello = self.epoch is None or self._said_to != self.epoch
            self._said_to = self.epoch
            args = {"cancel_on_disconnect": self._choice, "window": WINDOW} if says_hello else {}
            self._words += 1
            told = {"id": -self._words, "client": self.name, "cmd": "hello" if says_hello else "alive", "args": args}
            self._wires.carry_word(msgpack.packb(told), self.peer)
        self._timeline.after(SPEAKS, self._speak)

    def hear(self, heard: Heard) -> None:
        """Take a published message: the daemon of a new epoch does not know the old commands."""
        self.epoch = heard.body.get("epoch", self.epoch)

    # -- what it does

    def act(self) -> None:
        """Do something, if alive and if the time for that is not over."""
        if not self.active or self._away:
            return
        keys = [key for each in self.commands for key in each.placed()]
        if not keys:
            self._place()
            return
        shares, acts = zip(*ACTS, strict=True)
        (act,) = self.chance.choices(acts, shares)
        getattr(self, act)(keys)

    def _ask(self, _: list[str]) -> None:
        cmd = self.chance.choice(QUESTIONS)
        self._give(cmd, "", dict(ARGS.get(cmd, {})))

    def _repeat(self, _: list[str]) -> None:
        """Give a command again, for no reason."""
        self._send(self.chance.choice(self.commands[-6:]))

    def _place_again(self, keys: list[str]) -> None:
        """Place another order, under a used key."""
        self._place(key=self.chance.choice(keys))

    def _place_in_time(self, _: list[str]) -> None:
        self._place(until=self.chance.choice((-1000.0, 0.3, 2.0)))

    def _place_many(self, _: list[str]) -> None:
        """Place so many orders at once that some wait for their turn."""
        for _each in range(self.chance.randrange(8, 16)):
            self._place(until=self.chance.choice((None, 1.0)))

    def _new_key(self) -> str:
        self._keys += 1
        return f"{self.name}{self._keys}"

    def _place_one(self, _: list[str]) -> None:
        self._place()

    def _place(self, key: str = "", until: float | None = None) -> None:
        contract, order = self._order()
        self._give("placeOrder", key or self._new_key(), {"contract": contract, "order": order}, until)

    def place_large(self) -> None:
        """Place an order at the market, if alive: mostly one that takes seconds to fill."""
        if self.active and not self._away:
            contract = {"symbol": self.chance.choice(SYMBOLS), "secType": "STK", "exchange": "SMART", "currency": "USD"}
            order = {
                "action": self.chance.choice(("BUY", "SELL")),
                "totalQuantity": self.chance.choice((5, 2500, 2500)),
            }
            order["orderType"] = "MKT"
            self._give("placeOrder", self._new_key(), {"contract": contract, "order": order})

    def _order(self) -> tuple[dict[str, Any], dict[str, Any]]:
        chance = self.chance
        order: dict[str, Any] = {
            "action": chance.choice(("BUY", "SELL")),
            "totalQuantity": chance.choice((1, 10, 100, 700, 2500)) + chance.randrange(10),
            "orderType": "MKT",
        }
        symbol = chance.choice(SYMBOLS)
        kind = chance.random()
        if kind < 0.25:
            order |= {"orderType": "LMT", "lmtPrice": 1.0 if order["action"] == "BUY" else 5000.0}  # it rests
        elif kind < 0.45:
            order |= {"orderType": "LMT", "lmtPrice": 5000.0 if order["action"] == "BUY" else 1.0}  # it is filled
        elif kind < 0.55:
            order |= {"orderType": "STP", "auxPrice": 5000.0 if order["action"] == "BUY" else 1.0}
        elif kind < 0.6:
            order |= {"orderType": "LMT", "lmtPrice": 150.12345}  # no such price: 110
        elif kind < 0.65:
            symbol = "QQQQQQ"  # no such contract: 200
        elif kind < 0.7:
            order["totalQuantity"] = 9_000_000  # too much: 201
        elif kind < 0.76:
            order["transmit"] = False  # TWS keeps it, until it is changed
        elif kind < 0.82:
            at = datetime.fromtimestamp(START_US / 1e6 + self._timeline.now + chance.uniform(2.0, 15.0), tz=UTC)
            order |= {"orderType": "LMT", "lmtPrice": 1.0 if order["action"] == "BUY" else 5000.0}
            order |= {"tif": "GTD", "goodTillDate": f"{at:%Y%m%d-%H:%M:%S}"}  # it expires
        elif kind < 0.86:
            order |= {
                "orderType": "LMT",
                "lmtPrice": 1.0 if order["action"] == "BUY" else 5000.0,
                "tif": chance.choice(("IOC", "FOK")),
            }
        return {"symbol": symbol, "secType": "STK", "exchange": "SMART", "currency": "USD"}, order

    def _place_group(self, _: list[str]) -> None:
        """Place an entry with a target and a stop. The entry rests or is filled, or the group is refused."""
        chance = self.chance
        contract, entry = self._order()
        entry.pop("transmit", None)
        buys, quantity = entry["action"] == "SELL", entry["totalQuantity"]
        exit_ = {"action": "BUY" if buys else "SELL", "totalQuantity": quantity}
        key = self._new_key()
        near = chance.random() < 0.5  # the target is filled behind the entry, and the stop cancelled
        target = {**exit_, "orderType": "LMT", "lmtPrice": 5000.0 if buys == near else 1.0}
        stop = {**exit_, "orderType": "STP", "auxPrice": 5000.0 if buys else 1.0}
        if chance.random() < 0.15:
            stop["auxPrice"] = 150.12345  # no such price: 110, and the others are cancelled
        orders: list[dict[str, Any]] = [{"key": key, "contract": contract, "order": entry}]
        orders += [
            {"key": self._new_key(), "contract": contract, "order": each, "parent": key} for each in (target, stop)
        ]
        more = {"on_partial": "keep"} if chance.random() < 0.2 else {}
        self._give("placeOrders", "", {"orders": orders, **more})

    def _change(self, keys: list[str]) -> None:
        """Change an order: its quantity, its price, or that TWS is to transmit it."""
        chance = self.chance
        key = chance.choice(keys[-4:])
        revision = self._revisions[key] = self._revisions.get(key, 0) + 1
        change = chance.choice(({"totalQuantity": 50}, {"lmtPrice": 2.0}, {"transmit": True}, {"lmtPrice": 0.001234}))
        self._give("modifyOrder", "", {"key": key, "rev": revision, "order": change})

    def _replay(self, _: list[str]) -> None:
        """Ask for the messages that were missed, as after a hole in the stream."""
        stream = f"{self.chance.choice(('ord', 'exec'))}.{self.name}."
        self._give("replay", "", {"stream": stream, "from": 1})

    def _cancel(self, keys: list[str]) -> None:
        self._give("cancelOrder", self.chance.choice(keys[-6:]), {})

    def _cancel_several(self, keys: list[str]) -> None:
        self._give("cancelOrders", "", {"all": True} if self.chance.random() < 0.5 else {"keys": keys[-2:]})

    def _cancel_unknown(self, _: list[str]) -> None:
        self._give("cancelOrder", "none", {})

    def _give(self, cmd: str, key: str, args: dict[str, Any], until: float | None = None) -> None:
        """Write a command down, and send it. `until`: it is to be executed within so many seconds, by its clock."""
        self._ids += 1
        told = {"id": self._ids, "client": self.name, "cmd": cmd, "args": args}
        epoch = self.epoch if self.names_epoch and cmd in PLACING else None
        if key:
            told["key"] = key
        if epoch is not None:
            told["epoch"] = epoch
        if until is not None:
            told["not_after"] = START_US + round((self._timeline.now + until) * 1e6)
        packed: bytes = msgpack.packb(told)
        command = Command(self.name, cmd, key, packed, epoch, args)
        self.commands.append(command)
        self._send(command)

    # -- commands on their way

    def _send(self, command: Command) -> None:
        if self._away:
            return
        command.tries += 1
        command.again = False
        life, now = self._life, self._timeline.now
        tries, answered = command.tries, len(command.replies)
        self._history.record(now, "cmd", command.packed)
        self._history.note(now, f"{self.name} asks {msgpack.unpackb(command.packed)} (try {command.tries})")

        def replied(run: int, packed: bytes) -> None:
            if life == self._life:
                self._reply(command, run, packed)

        def unanswered() -> None:
            if life == self._life and len(command.replies) == answered and command.tries == tries:
                self._history.mark("a command was repeated without a reply")
                if command.tries < TRIES:
                    self._send(command)

        self._wires.carry(command.packed, self.peer, replied, command.runs.append)
        self._timeline.after(PATIENCE, unanswered)

    def _reply(self, command: Command, run: int, packed: bytes) -> None:
        reply = msgpack.unpackb(packed, strict_map_key=False)
        self._history.note(self._timeline.now, f"{self.name} hears {reply}")
        command.replies.append((run, reply))
        self.epoch = reply["epoch"]
        if reply["ok"]:
            self._history.mark(f"reply to {command.cmd}", *(["reply dup"] if reply.get("dup") else []))
            if command.cmd == "replay":
                for topic, body in reply["result"].get("messages", ()):
                    self._history.keep(topic.decode(), body, msgpack.unpackb(body, strict_map_key=False))
            if self.careless and command.tries < 3:
                self._timeline.after(self.chance.uniform(0.0, 2.0), self._send, command)
            return
        code, outcome = reply["error"]["code"], reply["error"]["outcome"]
        self._history.mark(f"reply {code} {outcome}")
        if outcome == "not_sent" and code in MOMENTARY and command.tries < TRIES and not command.again:
            command.again = True
            self._timeline.after(self.chance.uniform(1.0, 8.0), self._send, command)

    # -- death

    def die(self, away: float) -> None:
        """End the program: it forgets everything but what it has written down."""
        if not self._away:
            self.deaths.append(self._timeline.now)
            self._wires.gone.add(self.peer)
            self._life += 1
            self._away = True
            self._said_to = None
            self._timeline.after(away, self._come_back)

    def _come_back(self) -> None:
        self._away = False
        for command in self.commands:
            if not command.replies and command.cmd in (*PLACING, "cancelOrder", "modifyOrder"):
                self._history.mark("a client repeated a command after its death")
                command.tries = 0
                self._send(command)
