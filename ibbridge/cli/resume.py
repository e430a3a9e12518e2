"""`ibbridge resume`: end a halt, so that the daemon accepts orders again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ibbridge.cli import halt, text
from ibbridge.client import CommandError
from ibbridge.monitoring.printable import printable

if TYPE_CHECKING:
    import argparse

SUMMARY = """\
End a halt: that of all clients, or of one client or account. Halts of other scopes stay in force, and are printed.

Exit code 0: ended, and no other halt is in force; 1: refused, or no reply; 2: wrong usage; 3: ended, and other halts
are in force; 5: ended, but this could not be stored: after a restart the halt would be in force again."""

EXAMPLES = """\
  ibbridge resume
  ibbridge resume --client scalper"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare options."""
    halt.scope(parser)
    halt.connection(parser)


def run(options: argparse.Namespace) -> int:
    """End the halt, print what is still halted, and return the exit code."""
    with halt.connected(options) as ib:
        try:
            result = ib.call("resume", **halt.scope_of(options))
        except CommandError as error:
            print(printable(f"refused: {error.code} {error.message}"))
            return halt.FAILED
    if options.json:
        print(text.dump(result))
    else:
        print("resumed" if result["kept"] else "resumed; this could not be stored, and would not survive a restart")
        for other in result["halts"]:
            print(printable(f"still {other['state']}: {other['scope']} {other['name']}".rstrip()))
    if not result["kept"]:
        return halt.UNSTORED
    return halt.OPEN if result["halts"] else halt.DONE
