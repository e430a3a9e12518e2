"""Simulated TWS: markets, orders and accounts for demos and tests, on the real wire.

`engine.SimulatedTws` is the simulated TWS without sockets or a clock; `server.Simulator` puts the host on a TCP port.
The package must not know the daemon or the bus.
"""

from __future__ import annotations

from ibbridge.sim.engine import SimulatedTws
from ibbridge.sim.server import Simulator, serve

__all__ = ["SimulatedTws", "Simulator", "serve"]
