"""Settings of the simulator, and the keywords by which users give them.

`SimulatedTws` takes the keywords of `HostOptions`, and `Simulator` those of `SimulatorOptions`. Each option is a field
of the settings beside it, which have the defaults. A test holds that both have the same names and types.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

from ibbridge.codec.versions import NEWEST

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ibbridge.sim.faults.script import FaultStep

ACCOUNT = "DU1234567"
CLIENTS = 32
"""Connections that a TWS takes; the next connection is accepted and closed."""
BACKLOG = 16 * 1024 * 1024
"""Bytes that may wait for one client before the client is disconnected."""
TICK = 0.05
"""Seconds between two ticks of the clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSettings:
    """Settings of the simulated TWS."""

    accounts: Sequence[str] = (ACCOUNT,)
    """Managed accounts."""
    master: int | None = None
    """Client id that is told of every client's orders, at first."""
    unsubscribed: frozenset[str] = frozenset()
    """Symbols that have delayed data only."""
    foreign_cancel: bool = False
    """Lets a client cancel an order of another client, as was seen on paper accounts; IB's documentation forbids it."""
    advisor: bool = False
    """Gives the user groups of accounts and their aliases."""
    made_up: bool = False
    """Lets names exist that are not listed."""


class HostOptions(TypedDict, total=False):
    """Keywords of `SimulatedTws`: the fields of `HostSettings`."""

    accounts: Sequence[str]
    master: int | None
    unsubscribed: frozenset[str]
    foreign_cancel: bool
    advisor: bool
    made_up: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorSettings:
    """Settings of a simulator on a TCP port."""

    seed: int = 0
    """Seed of the market: the same seed gives the same prices."""
    start: int | None = None
    """First simulated time, in whole seconds since 1970; None for now."""
    speed: float = 1.0
    """Simulated seconds that pass in one second."""
    tick: float = TICK
    """Seconds between two ticks of the clock."""
    newest: int = NEWEST
    """Highest server version that is spoken."""
    clients: int = CLIENTS
    """Number of connections that are served at the same time."""
    backlog: int = BACKLOG
    """Bytes that may wait for one client before the client is disconnected."""
    faults: Sequence[FaultStep] = ()
    """Script of faults that begins on entering."""
    control: str | None = None
    """ZeroMQ endpoint that takes faults by command."""
    pace: int | None = None
    """Messages per second that a client may send before error 100; None for any number."""
    history: bool = False
    """Enforces IB's pacing rules for historical data."""
    delays: bool = True
    """Lets responses take as long as at a gateway, by the clock and drawn from the seed."""
    made_up: bool = False
    """Lets names exist that are not listed."""


class SimulatorOptions(TypedDict, total=False):
    """Keywords of `Simulator` and `serve`: the fields of `SimulatorSettings`."""

    seed: int
    start: int | None
    speed: float
    tick: float
    newest: int
    clients: int
    backlog: int
    faults: Sequence[FaultStep]
    control: str | None
    pace: int | None
    history: bool
    delays: bool
    made_up: bool
