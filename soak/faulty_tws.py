"""Faulty TWS: the simulator with an accelerated market, and faults on command. Started by `soak_faults`.

On `{fault}` (a step, see docs/simulator.md) the program injects the fault, and answers with the simulator's figures. On
`{orders}` it answers with the statuses of the orders of each `orderRef`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
from typing import Any

from ibbridge.sim import Simulator
from ibbridge.sim.engine import EPOCH


async def serve(options: argparse.Namespace) -> None:
    """Run the simulator until standard input ends."""
    loop = asyncio.get_running_loop()
    told = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(told), sys.stdin)
    async with Simulator(seed=options.seed, start=EPOCH, speed=options.speed, tick=0.02, made_up=True) as simulator:
        say({"port": simulator.port})
        while line := await told.readline():
            given = json.loads(line)
            if "orders" in given:
                say({"orders": orders(simulator)})
                continue
            simulator.fault(given["fault"])
            figures = simulator.figures()
            say({"subscriptions": figures["subscriptions"].get(1, 0), "rate": figures["rates"].get(1, 0)})


def orders(simulator: Simulator) -> dict[str, list[str]]:
    """Return the statuses of the orders of each `orderRef`. More than one is an order that was placed twice."""
    found: dict[str, list[str]] = {}
    for ticket in simulator.core.orders.book.tickets:
        found.setdefault(ticket.order.get("orderRef", ""), []).append(ticket.status)
    return found


def say(about: dict[str, Any]) -> None:
    """Send an object to the parent."""
    print(json.dumps(about), flush=True)


def main() -> None:
    """Parse the command line and run the simulator."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--speed", type=float, required=True)
    logging.basicConfig(level=logging.CRITICAL)
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
