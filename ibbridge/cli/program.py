"""Entry point of `ibbridge`: the table of subcommands, and their common help, version, exit codes and pipe handling.

A subcommand is a module with `SUMMARY`, `EXAMPLES`, `arguments(parser)` and `run(options)`. `run` returns the exit
code: 0 done, 1 failed, 2 wrong usage. Only the module of the given subcommand is imported.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from difflib import get_close_matches
from typing import TYPE_CHECKING, Protocol, cast

import ibbridge
from ibbridge.cli import help  # noqa: A004 -- the word of every command line
from ibbridge.client import BridgeError
from ibbridge.config.model import ConfigError
from ibbridge.monitoring import exit_codes
from ibbridge.monitoring.printable import printable, printable_lines

if TYPE_CHECKING:
    from collections.abc import Sequence

# Module name, and one line for the overview.
COMMANDS = {
    "demo": "simulator, daemon and a sample strategy together, for about 20 seconds",
    "run": "the daemon: TWS on one side, ZeroMQ on the other",
    "sim": "a simulated TWS or IB Gateway",
    "fault": "make a running simulator misbehave",
    "status": "show the state of the daemon and of its connection to TWS",
    "sub": "print messages as they are published",
    "call": "send a command and print its reply",
    "halt": "refuse new orders, and cancel those that are open",
    "resume": "accept orders again after a halt",
    "audit": "verify and show the record of commands, orders and operators",
    "risk": "why an order was refused, and what limits would refuse in a recording",
    "reload": "have the daemon read its configuration again",
    "backup": "copy the store and the order journal, while the daemon runs",
    "check": "print the faults of a configuration file, and who may do what",
    "keygen": "make the keys of a client, or of the daemon",
    "record": "record the connections between any client and TWS",
    "replay": "play recordings as if this were TWS",
    "schema": "print the JSON Schema of a message or command",
    "decode": "wire tool: frames of TWS to messages, JSON lines in and out",
    "encode": "wire tool: requests to frames for TWS, JSON lines in and out",
}


class Subcommand(Protocol):
    """Interface of the subcommand modules in this package."""

    SUMMARY: str
    EXAMPLES: str

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare options."""

    def run(self, options: argparse.Namespace) -> int:
        """Run the subcommand, and return the exit code."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the subcommand that `arguments` (default: the process's own) name, and return the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in ("-h", "--help", "help"):
        print(overview())
        return 0 if given else 2
    if given[0] in ("--version", "-V"):
        print(f"ibbridge {ibbridge.__version__}")
        return 0
    name, *rest = given
    if name not in COMMANDS:
        near = get_close_matches(name, COMMANDS, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(COMMANDS)}."
        print(f"ibbridge: there is no command {name!r}; {hint}", file=sys.stderr)
        return 2
    module = cast("Subcommand", importlib.import_module(f"ibbridge.cli.{name}"))
    return _run(module, parser(name, module).parse_intermixed_args(rest))


def overview() -> str:
    """Return the help text of `ibbridge` itself."""
    width = max(map(len, COMMANDS))
    return "\n".join(
        [
            "ibbridge: Interactive Brokers TWS on ZeroMQ",
            "",
            "usage: ibbridge COMMAND ...",
            "",
            *(help.wrapped_row(f"  {name:<{width}}  ", about) for name, about in COMMANDS.items()),
            "",
            help.wrapped_row("  ", "`ibbridge COMMAND --help` says more, with examples. New here?"),
            help.wrapped_row("  ", "`ibbridge demo` needs nothing else and shows everything working."),
        ]
    )


def parser(name: str, module: Subcommand) -> argparse.ArgumentParser:
    """Return the argument parser of a subcommand."""
    made = argparse.ArgumentParser(
        prog=f"ibbridge {name}",
        description=module.SUMMARY,
        epilog=f"{help.EXAMPLES}\n{module.EXAMPLES}",
        formatter_class=help.HelpFormatter,
        allow_abbrev=False,
    )
    module.arguments(made)
    return made


def _run(module: Subcommand, options: argparse.Namespace) -> int:
    try:
        code = module.run(options)
        sys.stdout.flush()
        return code
    except ConfigError as error:
        print(*map(printable, error.faults), sep="\n", file=sys.stderr)
        return exit_codes.WRONG
    except BridgeError as error:
        print(f"ibbridge: {printable_lines(str(error))}", file=sys.stderr)
        return exit_codes.FAILED
    except KeyboardInterrupt:
        return exit_codes.INTERRUPTED
    except BrokenPipeError:  # `| head` has closed the pipe; the flush at Python's exit must not raise again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
