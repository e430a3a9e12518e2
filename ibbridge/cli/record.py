"""`ibbridge record`: a proxy between any client and TWS that records both directions."""

from __future__ import annotations

import asyncio
import logging
import pathlib
import sys
from typing import TYPE_CHECKING

from ibbridge.cli import options as shared
from ibbridge.cli.serving import told
from ibbridge.config import validators
from ibbridge.recording.proxy import RecordingProxy
from ibbridge.recording.writer import OneFile, Recorder

if TYPE_CHECKING:
    import argparse

SUMMARY = """\
Stand between any client of IB's API and TWS, and record all bytes both ways, for `ibbridge replay`.

Clients connect to the port of --listen as if it were TWS. Bytes pass through unchanged and without delay. Any number of
clients may connect, one after the other or at once; FILE has all connections. The proxy runs until Ctrl-C or SIGTERM.
The daemon needs no proxy: the setting record.directory makes the daemon record by itself."""

EXAMPLES = """\
  ibbridge record monday.ibrec                          TWS where the default configuration has it: port 4002
  ibbridge record monday.ibrec --tws 127.0.0.1:7497     TWS's paper account
  ibbridge record monday.ibrec -c my.yaml --listen 4003"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare options."""
    parser.add_argument("file", type=pathlib.Path, metavar="FILE", help="the recording, a file that must not exist yet")
    parser.add_argument(
        "--listen", type=int, default=4102, metavar="PORT", help="where clients connect (default: %(default)s; 0: any)"
    )
    parser.add_argument("--tws", metavar="HOST:PORT", help="where TWS is (default: tws.host and tws.port)")
    shared.configured(parser)


def run(options: argparse.Namespace) -> int:
    """Record until a signal ends it, and return the exit code: 1 if nothing, or not everything, could be recorded."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)-7s %(message)s")
    tws = shared.load(options).tws
    host, port = tws.host, tws.port
    try:
        if options.tws is not None:
            host, port = _place(options.tws)
        shared.port("--listen", options.listen)
    except ValueError as error:
        print(f"ibbridge record: {error}", file=sys.stderr)
        return 2
    try:
        recorder = Recorder(OneFile(options.file))
    except FileExistsError:
        print(f"ibbridge record: {options.file} exists already; choose another name", file=sys.stderr)
        return 1
    except OSError as error:
        why = f"{options.file} cannot be created ({error.strerror}): choose a place where you may write"
        print(f"ibbridge record: {why}", file=sys.stderr)
        return 1
    try:
        asyncio.run(_serve(recorder, host, port, options))
    except OSError as error:
        if not recorder.status()["recorded"]:
            options.file.unlink()
        print(shared.taken("record", "127.0.0.1", options.listen, "--listen", error), file=sys.stderr)
        return 1
    finally:
        recorder.close()
    return 1 if recorder.status()["fault"] else 0


async def _serve(recorder: Recorder, host: str, port: int, options: argparse.Namespace) -> None:
    async with RecordingProxy(recorder, host, port, options.listen) as tap:
        over = told()
        print(
            f"clients that connect to 127.0.0.1:{tap.port} reach TWS at {host}:{port} and are recorded in "
            f"{options.file}; Ctrl-C ends it",
            flush=True,
        )
        await over.wait()


def _place(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    try:
        return validators.host(host.strip("[]")), validators.port(int(port))
    except (validators.RefusedError, ValueError):
        raise ValueError(f"--tws {text}: expected HOST:PORT, such as 127.0.0.1:7497") from None
