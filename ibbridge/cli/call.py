"""`ibbridge call`: send one command, print its reply, and the responses to a request."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ibbridge.cli import arguments as given
from ibbridge.cli import options as shared
from ibbridge.cli import text
from ibbridge.client import Client, CommandError, NoAnswer, PlacedOrder
from ibbridge.client import request as requests
from ibbridge.client.dispatch import is_failure
from ibbridge.monitoring.printable import printable

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from ibbridge.client import Message

SUMMARY = """\
Send one command to the daemon and print its reply. If the responses to a request come to an end (contract details,
history), wait for them and print them as `ibbridge sub` does. Of an order, print the first state that says more than
that it was sent, so that an order that TWS refuses shows why.

A command is an IB request under IB's name, without reqId and orderId, or a command of the daemon: ping, status,
snapshot, whatIfOrder, modifyOrder, placeOrders, cancelOrders, orders. Dotted keys build nested maps. A value that is
valid JSON is read as JSON, any other is text.
Exit code 0: accepted (and answered without an IB error); 1: refused, by the daemon or by TWS, or no reply or response,
or nobody knows whether TWS has the order; 2: wrong usage."""

EXAMPLES = """\
  ibbridge call ping
  ibbridge call reqMktData contract.symbol=AAPL contract.secType=STK contract.exchange=SMART contract.currency=USD
  ibbridge call reqContractDetails contract.symbol=ES contract.secType=FUT contract.exchange=CME
  ibbridge call placeOrder --key first contract.symbol=AAPL contract.secType=STK contract.exchange=SMART \\
      contract.currency=USD order.action=BUY order.orderType=LMT order.totalQuantity=100 order.lmtPrice=180
  ibbridge call modifyOrder key=first rev=1 order.lmtPrice=181
  ibbridge call cancelOrder key=first
  ibbridge call cancelOrders all=true
  ibbridge call snapshot prefix=md. --json"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare options."""
    parser.add_argument("cmd", metavar="CMD", help="the command, such as reqMktData")
    parser.add_argument("args", metavar="KEY=VALUE", nargs="*", help="an argument of the command")
    parser.add_argument("--client", default="cli", metavar="NAME", help="the client's name (default: %(default)s)")
    parser.add_argument("--key", help="your own key of an order (default: placeOrder makes a new one)")
    parser.add_argument("--id", help="the command's id, which a cancel refers to (default: a new one)")
    parser.add_argument(
        "--no-wait", action="store_true", help="do not wait for responses, nor for the state of an order"
    )
    parser.add_argument(
        "--wait", type=float, default=3.0, metavar="S",
        help="seconds to wait for the state of an order after it has left (default: %(default)s; 0: do not wait)",
    )  # fmt: skip
    parser.add_argument(
        "--timeout", type=float, default=10.0, metavar="S",
        help="seconds to wait for the reply and for each response (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the reply and the responses as JSON lines")
    shared.endpoint(parser, "rep", "where the daemon takes commands")
    shared.endpoint(parser, "pub", "where the daemon publishes")
    shared.configured(parser)


def run(options: argparse.Namespace) -> int:
    """Send the command, print, and return the exit code: 0 if it was accepted and brought no IB error."""
    try:
        args = given.build(options.cmd, options.args)
    except given.ArgumentError as error:
        print(f"ibbridge call: {printable(str(error))}", file=sys.stderr)
        return 2
    bus = shared.load(options).bus
    name = options.client
    try:
        ib = Client(name, options.pub or bus.pub, options.rep or bus.rep, prefix=bus.prefix, timeout=options.timeout)
    except ValueError as error:
        print(f"ibbridge call: {printable(str(error))}", file=sys.stderr)
        return 2
    with ib:
        try:
            if options.cmd in ("modifyOrder", "placeOrders"):
                return _orders(ib, options, args)
            return _request(ib, options, args) if requests.known(options.cmd) else _own(ib, options, args)
        except CommandError as error:
            return _refused(options, error)


def _own(ib: Client, options: argparse.Namespace, args: dict[str, Any]) -> int:
    """Send a command of the daemon, or an unknown command: the daemon's refusal suggests the right name."""
    if options.cmd == "snapshot" and set(args) == {"prefix"}:
        for message in ib.snapshot(args["prefix"]):
            _show(options, message)
        return 0
    result = ib.call(options.cmd, **args)
    print(text.dump({"ok": True, "result": result}) if options.json else f"ok {text.fields(result)}".rstrip())
    return 0


def _request(ib: Client, options: argparse.Namespace, args: dict[str, Any]) -> int:
    """Send an IB request, print the reply and the responses, and return the exit code."""
    ib.start()
    made = ib.request(options.cmd, args, key=options.key, id=options.id)
    about = {"id": made.id, **made.result}
    print(text.dump({"ok": True, **about}) if options.json else f"accepted {text.fields(about)}", flush=True)
    if "held_by" in made.result and not options.json:
        print(_held(made.result), file=sys.stderr, flush=True)
    if isinstance(made, PlacedOrder):
        return _states(options, [made])
    if not made.one_shot or options.no_wait:
        if made.topics and not options.json:
            print(f"see its messages with: ibbridge sub {printable(' '.join(made.topics))}", file=sys.stderr)
        return 0
    code = 0
    for message in ib.answers(made):
        _show(options, message)
        code = 1 if is_failure(message) else 0
    return code


def _orders(ib: Client, options: argparse.Namespace, args: dict[str, Any]) -> int:
    """Change an order or place several, print the reply and the orders' states, and return the exit code."""
    ib.start()
    if options.cmd == "modifyOrder" and options.key is not None:
        args = {"key": options.key, **args}
    try:
        made = [ib.modifyOrder(**args)] if options.cmd == "modifyOrder" else ib.placeOrders(**args)
    except TypeError as error:
        print(f"ibbridge call: {printable(str(error))}", file=sys.stderr)
        return 2
    for order in made:
        print(text.dump({"ok": True, **order.result}) if options.json else f"accepted {text.fields(order.result)}")
    return _states(options, made)


def _states(options: argparse.Namespace, orders: Sequence[PlacedOrder]) -> int:
    """Wait for the states of orders, print them, and return the exit code: 1 if an order is not at TWS, or may not be.

    The orders share one time to wait.
    """
    seconds = 0.0 if options.no_wait else options.wait
    code, end = 0, time.monotonic() + seconds
    for order in orders:
        if seconds:
            with suppress(NoAnswer):
                order.wait(timeout=max(0.0, end - time.monotonic()))
            if order.known.message is not None:
                _show(options, order.known.message)
        if order.topics and not options.json:
            print(f"see its messages with: ibbridge sub {printable(' '.join(order.topics))}", file=sys.stderr)
        code |= order.state.failed or order.state.state == "unknown"
    return int(code)


def _held(about: Mapping[str, Any]) -> str:
    until = about.get("held_until")
    when = "for an unknown time" if until is None else f"for {max(0.0, until / 1e6 - time.time()):.0f} s from now"
    return f"held back by {about['held_by']}, {when}"


def _show(options: argparse.Namespace, message: Message) -> None:
    print(text.dump(text.whole(message)) if options.json else text.block(message), flush=True)


def _refused(options: argparse.Namespace, error: CommandError) -> int:
    if options.json:
        about = {"code": error.code, "message": error.message, "faults": [*error.faults], "outcome": error.outcome}
        print(text.dump({"ok": False, "error": about}))
    said = map(printable, [error.code, *(error.faults or [error.message])])
    print("refused: " + "\n  ".join(said), file=sys.stderr)
    return 1
