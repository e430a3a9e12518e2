"""`ibbridge replay`: play recordings to clients, in the place of TWS."""

from __future__ import annotations

import argparse
import asyncio
import logging
import pathlib
import sys
from datetime import UTC, datetime

from ibbridge.cli import options as shared
from ibbridge.cli.serving import told
from ibbridge.recording.format import RecordingError
from ibbridge.recording.player import Playback, Player, Script
from ibbridge.recording.player.server import PATIENCE

SUMMARY = """\
Play the TWS of a recording: a client that sends the recorded requests gets the recorded responses, in the same order.

The first client gets the first recorded connection, and so on. Messages recorded after a request wait until the client
has sent that request, for --patience seconds at most. A request that is not in the recording gets an error. At the end
the connection stays open and silent, until Ctrl-C or SIGTERM."""

EXAMPLES = """\
  ibbridge replay monday.ibrec                            at its own pace, on port 4002
  ibbridge replay monday.ibrec --speed max                as fast as the client takes it
  ibbridge replay /var/lib/ibbridge/record/*.ibrec --from 2026-01-05T14:30 --speed 10"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare options."""
    parser.add_argument(
        "files", type=pathlib.Path, nargs="+", metavar="FILE", help="recordings; of a daemon, all that belong together"
    )
    parser.add_argument("--port", type=int, default=4002, help="TCP port; 0 takes a free one (default: %(default)s)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--speed", type=_speed, default=1.0, metavar="N", help="speed factor, or max (default: 1)")
    parser.add_argument(
        "--from", dest="begin", type=_moment, default=0, metavar="TIME",
        help="play everything before TIME (UTC, as 2026-01-05T14:30) as fast as possible",
    )  # fmt: skip
    parser.add_argument(
        "--patience", type=_seconds, default=PATIENCE, metavar="SECONDS",
        help="how long to wait for a recorded request (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--exit", action="store_true", help="end after the last recorded connection")


def run(options: argparse.Namespace) -> int:
    """Play until a signal ends it, and return the exit code."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)-7s %(message)s")
    try:
        shared.port("--port", options.port)
        script = Script(options.files)
    except ValueError as error:
        print(f"ibbridge replay: {error}", file=sys.stderr)
        return 2
    except RecordingError as error:
        print(f"ibbridge replay: {error}", file=sys.stderr)
        return 1
    except IsADirectoryError as error:
        why = f"{error.filename} is a directory: give the files in it, {error.filename}/*.ibrec"
        print(f"ibbridge replay: {why}", file=sys.stderr)
        return 1
    except OSError as error:
        why = f"{error.filename} cannot be read ({error.strerror}): give a file that ibbridge recorded"
        print(f"ibbridge replay: {why}", file=sys.stderr)
        return 1
    for remark in script.remarks:
        logging.getLogger(__name__).warning("%s", remark)
    try:
        asyncio.run(_serve(script, options))
    except OSError as error:
        print(shared.taken("replay", options.host, options.port, "--port", error), file=sys.stderr)
        return 1
    return 0


async def _serve(script: Script, options: argparse.Namespace) -> None:
    playback = Playback(speed=options.speed, begin=options.begin, patience=options.patience, stay=not options.exit)
    async with Player(script, playback, host=options.host, port=options.port) as player:
        over = told(player.over if options.exit else None)
        print(
            f"plays {len(script.parts)} recorded connection(s) on {options.host}:{player.port}; Ctrl-C ends it",
            flush=True,
        )
        await over.wait()


def _speed(text: str) -> float:
    if text == "max":
        return float("inf")
    return _positive(text, "a number above 0, or max")


def _seconds(text: str) -> float:
    return 0.0 if text == "0" else _positive(text, "seconds")


def _positive(text: str, expected: str) -> float:
    try:
        if 0 < (number := float(text)) < float("inf"):
            return number
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")


def _moment(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a time in UTC, such as 2026-01-05T14:30, got {text!r}") from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1e6)
