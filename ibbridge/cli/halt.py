"""`ibbridge halt`: refuse new orders of all, of an account or of a client, and cancel those that are open."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ibbridge.cli import options as shared
from ibbridge.cli import text
from ibbridge.cli.known_as import known_as
from ibbridge.client import Client, CommandError, NoAnswer
from ibbridge.monitoring.printable import printable

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

SUMMARY = """\
Have the daemon refuse new orders from now on, also after a restart, until `ibbridge resume`: those of all clients, or
of one client or account. Cancels pass in any case. With --cancel, cancel all open orders of the scope too, and wait
until each is over, TWS has refused the cancel, or the deadline has passed. The command prints each order as that
becomes known; the daemon goes on without the command.

Exit code 0: the halt is in force, and (with --cancel) no order of the scope is open any more; 1: refused, or no reply:
the halt may not be in force; 2: wrong usage; 3: the halt is in force, and an order still works, because TWS refused the
cancel; 4: the halt is in force, and of an order nobody knows at the deadline; 5: the halt is in force, but could not be
stored, and would not survive a restart."""

EXAMPLES = """\
  ibbridge halt --cancel --reason 'the feed is wrong'
  ibbridge halt --client scalper --cancel --deadline 20
  ibbridge halt --account DU1234567 --reducing"""

DONE, FAILED, USAGE, OPEN, UNKNOWN, UNSTORED = range(6)

POLL = 0.3
"""Seconds between two questions for the progress."""

GRACE = 10.0
"""Seconds after the deadline for which a daemon that does not answer is asked again: it may be starting."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare options."""
    scope(parser)
    parser.add_argument("--reducing", action="store_true", help="let orders pass that can only reduce a position")
    parser.add_argument("--cancel", action="store_true", help="also cancel all open orders of the scope")
    parser.add_argument("--reason", default="", help="a text for people, which heartbeats and refusals repeat")
    parser.add_argument(
        "--deadline", type=float, default=60.0, metavar="S",
        help="seconds for which the daemon goes on to cancel, before it raises an alarm (default: %(default)s)",
    )  # fmt: skip
    connection(parser)


def scope(parser: argparse.ArgumentParser) -> None:
    """Declare the options that name the scope of a halt."""
    one = parser.add_mutually_exclusive_group()
    one.add_argument("--client", metavar="NAME", help="only the orders of this client")
    one.add_argument("--account", metavar="ACCOUNT", help="only the orders for this account")


def connection(parser: argparse.ArgumentParser) -> None:
    """Declare the options about the daemon, and who gives the command."""
    parser.add_argument(
        "--by", metavar="NAME", help="the client in whose name you ask (default: as the daemon knows you, or cli)"
    )
    parser.add_argument(
        "--timeout", type=float, default=10.0, metavar="S", help="seconds to wait for a reply (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print the replies as JSON lines")
    shared.endpoint(parser, "rep", "where the daemon takes commands")
    shared.keyed(parser)
    shared.configured(parser)


def scope_of(options: argparse.Namespace) -> dict[str, str]:
    """Return the scope as arguments of a command."""
    if options.client:
        return {"scope": "client", "name": options.client}
    return {"scope": "account", "name": options.account} if options.account else {}


def connected(options: argparse.Namespace) -> Client:
    """Return a client of the daemon that the options name."""
    bus = shared.load(options).bus
    pub, rep = shared.chosen(options, bus)
    name = options.by or known_as(rep, "cli", options.timeout)
    return Client(name, pub, rep, prefix=bus.prefix, timeout=options.timeout)


def run(options: argparse.Namespace) -> int:
    """Halt, wait for the cancels, and return the exit code."""
    args: dict[str, Any] = scope_of(options)
    args |= {"state": "reducing" if options.reducing else "halted", "reason": options.reason}
    if options.cancel:
        args |= {"cancel": True, "deadline": options.deadline}
    with connected(options) as ib:
        try:
            result = ib.call("halt", **args)
        except CommandError as error:
            print(printable(f"refused: {error.code} {error.message}"))
            return FAILED
        if options.json:
            print(text.dump(result), flush=True)
        else:
            print(printable(f"{_whose(args)}: {args['state']}") + ("" if result["kept"] else _NOT_KEPT), flush=True)
        code = _follow(ib, options, result["cancel"]) if options.cancel else DONE
        return code or (DONE if result["kept"] else UNSTORED)


_NOT_KEPT = "; this could not be stored, and would not survive a restart of the daemon"


def _whose(args: Mapping[str, Any]) -> str:
    return f"orders of {args['scope']} {args['name']}" if "scope" in args else "all orders"


def _follow(ib: Client, options: argparse.Namespace, about: Mapping[str, Any]) -> int:
    """Print what becomes of the orders until nothing is open, or the daemon has given up. Return the exit code."""
    told: dict[str, str] = {}
    until = time.monotonic() + options.deadline + GRACE
    while True:
        if not options.json:
            _print_news(about, told)
        if about["over"]:
            break
        time.sleep(POLL)
        try:
            about = ib.call("haltStatus", cancel=about["id"])["cancel"]
        except CommandError as error:
            print(printable(f"the daemon does not say what became of the orders: {error.message}"))
            return UNKNOWN
        except NoAnswer:
            if time.monotonic() > until:
                print("the daemon does not answer: nobody knows what became of the other orders")
                return UNKNOWN
    return _conclude(options, about)


def _print_news(about: Mapping[str, Any], told: dict[str, str]) -> None:
    """Print the orders that have come to a list where they are final."""
    for name in ("cancelled", "refused"):
        for order in about[name]:
            line = _line(name, order)
            if told.get(key := f"{order['owner']}/{order['key']}") != line:
                told[key] = line
                print(printable(line), flush=True)


def _line(name: str, order: Mapping[str, Any]) -> str:
    word = "filled" if order["reason"] in ("filled", "Filled") else name
    filled = f", filled {order['filled']:g}" if isinstance(order["filled"], int | float) and order["filled"] else ""
    why = order.get("fault") or order["reason"] or order["state"]
    return f"{word:<10} {order['owner']}/{order['key']}{filled}: {why}"


def _conclude(options: argparse.Namespace, about: Mapping[str, Any]) -> int:
    """Print the lists at the end, and return the exit code."""
    still_open = [order for order in about["refused"] if order["state"] != "done"]
    counts = about["counts"]
    if options.json:
        print(text.dump(about))
    else:
        for order in about["unknown"]:
            print(printable(_line("unknown", order)))
        print(f"{counts['cancelled']} cancelled, {counts['refused']} refused, {counts['unknown']} unknown")
    if counts["unknown"]:
        return UNKNOWN
    return OPEN if still_open else DONE
