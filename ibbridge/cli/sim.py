"""`ibbridge sim`: run the simulated TWS."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import zmq

from ibbridge.cli import options as shared
from ibbridge.codec.versions import NEWEST, OLDEST
from ibbridge.sim import serve
from ibbridge.sim.faults.script import read

if TYPE_CHECKING:
    import argparse

SUMMARY = """\
Run a simulated TWS: any client of IB's API can connect, get market data, and trade. Prices are random walks, and no
money is involved.

The simulator speaks server versions 176 to 226, whichever the client offers, serves up to 32 clients, and runs until
Ctrl-C or SIGTERM."""

EXAMPLES = """\
  ibbridge sim --port 4002                     where the daemon looks by default
  ibbridge sim --port 4002 --seed 7            another market; the same seed gives the same market
  ibbridge sim --port 7497 --max-version 178   as old as a TWS that still matters
  ibbridge sim --faults night.yaml             misbehaves as the script says
  ibbridge sim --control tcp://127.0.0.1:4010  misbehaves when `ibbridge fault` says so
  ibbridge sim --made-up                       any symbol can be traded, XXX too
  ibbridge sim --pace 50 --pace-history        enforces IB's limits"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare options."""
    parser.add_argument("--port", type=int, default=4002, help="TCP port; 0 takes a free one (default: %(default)s)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="which market (default: %(default)s)")
    parser.add_argument(
        "--max-version",
        type=int,
        default=NEWEST,
        choices=range(OLDEST, NEWEST + 1),
        metavar=f"{OLDEST}..{NEWEST}",
        help="the newest server version to speak (default: %(default)s)",
    )
    parser.add_argument("--faults", metavar="FILE", help="a YAML script of faults, see docs/simulator.md")
    parser.add_argument("--control", metavar="ENDPOINT", help="ZeroMQ endpoint that takes faults by command")
    parser.add_argument(
        "--pace", type=int, metavar="N", help="messages a client may send in a second before error 100 (default: any)"
    )
    parser.add_argument(
        "--made-up", action="store_true", help="any symbol exists, not only those that are listed (default: 200)"
    )
    parser.add_argument("--no-delays", action="store_true", help="answer at once; a gateway takes its time")
    parser.add_argument("--pace-history", action="store_true", help="enforce IB's pacing of historical data (162)")


def run(options: argparse.Namespace) -> int:
    """Serve until a signal ends it, and return the exit code."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)-7s %(message)s")
    try:
        shared.port("--port", options.port)
        options.steps = read(Path(options.faults).read_text("utf-8"), options.faults) if options.faults else []
    except (OSError, ValueError) as error:
        print(f"ibbridge sim: {error}", file=sys.stderr)
        return 2
    try:
        asyncio.run(_serve(options))
    except zmq.ZMQError as error:
        print(f"ibbridge sim: --control {options.control}: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(shared.taken("sim", options.host, options.port, "--port", error), file=sys.stderr)
        return 1
    return 0


async def _serve(options: argparse.Namespace) -> None:
    def started(port: int) -> None:
        print(f"a simulated TWS listens on {options.host}:{port} (seed {options.seed}); Ctrl-C ends it", flush=True)

    serving = asyncio.ensure_future(
        serve(
            options.host,
            options.port,
            seed=options.seed,
            newest=options.max_version,
            faults=options.steps,
            pace=options.pace,
            history=options.pace_history,
            control=options.control,
            delays=not options.no_delays,
            made_up=options.made_up,
            started=started,
        )
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, serving.cancel)
    await asyncio.wait([serving])
    if not serving.cancelled():
        serving.result()
