"""`ibbridge reload`: have the daemon read its configuration again."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ibbridge.cli import halt, text
from ibbridge.client import CommandError
from ibbridge.monitoring import exit_codes
from ibbridge.monitoring.printable import printable

if TYPE_CHECKING:
    import argparse

SUMMARY = """\
Have the running daemon read its configuration again, as SIGHUP does: clients, keys, roles and the other settings that
can change while it runs. The daemon takes over all of it, or nothing if anything has a fault. Print what has changed,
what takes effect at the next start, or every fault. Connections of clients whose key is gone are ended.

Exit code 0: taken over; 1: refused, or no reply; 2: wrong usage."""

EXAMPLES = """\
  ibbridge reload
  ibbridge reload -c /etc/ibbridge/ibbridge.yaml"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare options."""
    halt.connection(parser)


def run(options: argparse.Namespace) -> int:
    """Reload, print the result, and return the exit code."""
    with halt.connected(options) as ib:
        try:
            result = ib.call("reload")
        except CommandError as error:
            said = map(printable, [error.code, *(error.faults or [error.message])])
            print("refused: " + "\n  ".join(said), file=sys.stderr)
            return exit_codes.FAILED
    if options.json:
        print(text.dump(result))
        return exit_codes.DONE
    print(printable(f"changed: {', '.join(result['changed']) or 'nothing'}"))
    for key in result["restart"]:
        print(printable(f"at the next start: {key}"))
    for sentence in result["waiting"]:
        print(printable(sentence))
    return exit_codes.DONE
