"""Dead man as a state machine: clients speak, fall silent, close and leave, and the daemon is cut off, in any order.

A model says whose orders must have been cancelled by now, and whose must not.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.unit.orders.test_dead_man import Desk
from tests.unit.orders.test_mass_cancel import cancels

WINDOW, TTL = 3.0, 8.0
SLACK = 1.2
"""Seconds within which the dead man notices something, with a heartbeat each second."""

CLIENTS = st.sampled_from(("a", "b"))


class DeadManMachine(RuleBasedStateMachine):
    """Daemon with two clients, each with one order that is cancelled at a loss."""

    @initialize()
    def begin(self) -> None:
        self.desk = Desk()
        self.cancelled: set[int] = set()
        self.orders: dict[str, int] = {}
        self.peers = {"a": 1, "b": 1}
        self.gone_since: dict[str, float | None] = {"a": None, "b": None}
        self.left: set[str] = set()
        self.heard: dict[str, float] = {}
        self.linked_since = 0.0
        self.linked = True
        for client in ("a", "b"):
            self.desk.hello(client, self.peer(client), cancel_on_disconnect="loss", window=WINDOW, ttl=TTL)
            self.orders[client] = self.desk.order("k", client, self.peer(client))
            self.heard[client] = self.desk.clock.now

    def peer(self, client: str) -> bytes:
        return f"{client}{self.peers[client]}".encode()

    @rule(client=CLIENTS)
    def speak(self, client: str) -> None:
        """Send a command, over a new connection if the last one has closed."""
        if self.gone_since[client] is not None or client in self.left:
            self.peers[client] += 1
        self.desk.send("alive", client, self.peer(client))
        self.gone_since[client], self.heard[client] = None, self.desk.clock.now
        self.left.discard(client)

    @rule(client=CLIENTS)
    def close(self, client: str) -> None:
        self.desk.close(self.peer(client))
        if self.gone_since[client] is None:
            self.gone_since[client] = self.desk.clock.now

    @rule(client=CLIENTS)
    def leave(self, client: str) -> None:
        if self.gone_since[client] is None:
            self.desk.send("logout", client, self.peer(client))
            self.left.add(client)

    @rule()
    def cut(self) -> None:
        self.desk.session.upstream, self.linked = "lost", False

    @rule()
    def link(self) -> None:
        if not self.linked:
            self.desk.session.upstream, self.linked = "ok", True
            self.linked_since = self.desk.clock.now

    @rule(seconds=st.sampled_from((0.5, 1.0, 2.0, 5.0, 12.0)))
    def wait(self, seconds: float) -> None:
        self.desk.live(seconds)
        now = self.desk.clock.now
        for client in ("a", "b"):
            silent = now - self.heard[client] >= TTL
            if self.gone_since[client] is None and silent and client not in self.left:
                self.gone_since[client] = self.heard[client] + TTL

    @invariant()
    def only_those_are_cancelled_whose_time_has_passed(self) -> None:
        self.cancelled |= {*cancels(self.desk)}
        now = self.desk.clock.now
        for client, number in self.orders.items():
            since = self.gone_since[client]
            if since is not None:
                self.ever_gone.add(client)
            due = None if since is None or client in self.left else max(since, self.linked_since) + WINDOW
            if due is not None and self.linked and now > due + SLACK:
                assert number in self.cancelled, f"{client} is lost since {since}, and now is {now}"
            elif number in self.cancelled:
                assert client in self.ever_gone, f"{client} has never been gone"

    def __init__(self) -> None:
        super().__init__()
        self.ever_gone: set[str] = set()


DeadManMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
TestDeadMan = DeadManMachine.TestCase
