"""`ibbridge fault`: send one fault step to a running simulator."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import yaml

from ibbridge.cli import text
from ibbridge.monitoring.printable import printable
from ibbridge.sim.faults import control_socket
from ibbridge.sim.faults.script import FAULTS

if TYPE_CHECKING:
    import argparse

SUMMARY = """\
Make a running simulator misbehave: send one step, as in a script of `ibbridge sim --faults`, to the endpoint of its
`--control`. A value that looks like a number is a number, a value in brackets is a list, and any other value is text.
Exit code 0: done or planned; 1: refused, or no reply; 2: wrong usage."""

EXAMPLES = """\
  ibbridge fault tcp://127.0.0.1:4010 do=1100 client=1 for=5
  ibbridge fault tcp://127.0.0.1:4010 do=ignore client=1 'requests=[reqMktData]'
  ibbridge fault tcp://127.0.0.1:4010 do=off client=1
  ibbridge fault tcp://127.0.0.1:4010 do=by-hand symbol=AAPL action=BUY quantity=100 price=150
  ibbridge fault tcp://127.0.0.1:4010 do=figures"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare options."""
    parser.add_argument("endpoint", metavar="ENDPOINT", help="the endpoint of `ibbridge sim --control`")
    parser.add_argument("step", metavar="KEY=VALUE", nargs="+", help=f"do= one of {', '.join(FAULTS)}; and the rest")
    parser.add_argument(
        "--timeout", type=float, default=5.0, metavar="S", help="seconds to wait for the reply (default: %(default)s)"
    )


def run(options: argparse.Namespace) -> int:
    """Send the step, print the reply, and return the exit code."""
    step: dict[str, Any] = {}
    for pair in options.step:
        name, equals, value = pair.partition("=")
        if not equals:
            print(f"ibbridge fault: {pair!r} must be KEY=VALUE", file=sys.stderr)
            return 2
        step[name] = _value(name, value)
    try:
        answer = control_socket.send(options.endpoint, step, options.timeout)
    except TimeoutError as error:
        print(f"ibbridge fault: {error}", file=sys.stderr)
        return 1
    if not answer.pop("ok"):
        print("refused:", *map(printable, answer["error"].split("\n")), sep="\n  ", file=sys.stderr)
        return 1
    del answer["error"]
    print(text.dump(answer) if answer else "ok")
    return 0


def _value(name: str, value: str) -> Any:
    if name in ("do", "on", "fault"):
        return value
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError:
        return value
