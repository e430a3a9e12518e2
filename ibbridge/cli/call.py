"""`ibbridge call`: send one command, print its reply, and the responses to a request."""

from __future__ import annotations

import shlex
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ibbridge.cli import arguments as given
from ibbridge.cli import options as shared
from ibbridge.cli import text
from ibbridge.cli.known_as import known_as
from ibbridge.client import Client, CommandError, NoAnswer, PlacedOrder
from ibbridge.client import request as requests
from ibbridge.client.dispatch import is_failure
from ibbridge.ib import error_codes
from ibbridge.monitoring.printable import printable

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from ibbridge.client import Message, Request

SUMMARY = """\
Send one command to the daemon and print its reply. If the responses to a request come to an end (contract details,
history), wait for them and print them as `ibbridge sub` does. Of a subscription print the messages until Ctrl-C, and
then end it: it ends also if this program is killed. With --no-wait or keep=true it stays, and this program does not. Of
an order, print the first state that says more than that it was sent, so that an order that TWS refuses shows why.

A command is an IB request under IB's name, without reqId and orderId, or a command of the daemon: ping, status,
snapshot, replay, whatIfOrder, modifyOrder, placeOrders, cancelOrders, orders, reconcile, halt, resume, haltStatus,
acceptJournal.
Dotted keys build nested maps. A value that is valid JSON is read as JSON, any other is text. `dup=true` in the output
means that the daemon had the same order, change or command before, and has done nothing a second time.
Exit code 0: accepted (and answered without an IB error); 1: refused (also a change of an order, or one of several
cancels), by the daemon or by TWS, or no reply or response, or nobody knows whether TWS has the order; 2: wrong usage.
After cancelOrder, 0 means that the cancel was taken, and not that the order is over."""

EXAMPLES = """\
  ibbridge call ping
  ibbridge call reqMktData contract.symbol=AAPL contract.secType=STK contract.exchange=SMART contract.currency=USD
  ibbridge call reqContractDetails contract.symbol=ES contract.secType=FUT contract.exchange=CME
  ibbridge call placeOrder --key first contract.symbol=AAPL contract.secType=STK contract.exchange=SMART \\
      contract.currency=USD order.action=BUY order.orderType=LMT order.totalQuantity=100 order.lmtPrice=180
  ibbridge call modifyOrder key=first rev=1 order.lmtPrice=181
  ibbridge call cancelOrder key=first
  ibbridge call cancelOrders all=true
  ibbridge call orders state=working
  ibbridge call snapshot prefix=md. --json"""


_OF_ORDERS = {
    "modifyOrder": (("key", "rev", "order"), "ibbridge call modifyOrder key=first rev=1 order.lmtPrice=181"),
    "placeOrders": (
        ("orders", "on_partial"),
        """ibbridge call placeOrders 'orders=[{"key": "a", "contract": {...}, "order": {...}}, ...]'""",
    ),
}
"""Arguments of the daemon's commands about orders, each with an example."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare options."""
    parser.add_argument("cmd", metavar="CMD", help="the command, such as reqMktData")
    parser.add_argument("args", metavar="KEY=VALUE", nargs="*", help="an argument of the command")
    parser.add_argument("--client", metavar="NAME", help="the client's name (default: as the daemon knows you, or cli)")
    parser.add_argument("--key", help="your own key of an order (default: placeOrder makes a new one)")
    parser.add_argument("--id", help="the command's id, which a cancel refers to (default: a new one)")
    parser.add_argument(
        "--no-wait", action="store_true",
        help="do not wait for responses, nor for the state of an order; a subscription stays (keep=true)",
    )  # fmt: skip
    parser.add_argument(
        "--seconds", type=float, metavar="S", help="seconds for which to print a subscription (default: until Ctrl-C)"
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
    shared.keyed(parser)
    shared.configured(parser)


def run(options: argparse.Namespace) -> int:
    """Send the command, print, and return the exit code: 0 if it was accepted and brought no IB error."""
    try:
        args = given.build(options.cmd, options.args)
    except given.ArgumentError as error:
        print(f"ibbridge call: {printable(str(error))}", file=sys.stderr)
        return 2
    bus = shared.load(options).bus
    pub, rep = shared.chosen(options, bus)
    name = options.client or known_as(rep, "cli", options.timeout)
    try:
        ib = Client(name, pub, rep, prefix=bus.prefix, timeout=options.timeout)
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
    rows = result.get("orders", []) if options.cmd in ("orders", "cancelOrders") else []
    if options.json:
        print(text.dump({"ok": True, "result": result}))
    elif options.cmd in ("orders", "cancelOrders"):
        _list(rows, result.get("next"))
    else:
        print(f"ok {text.fields(result)}".rstrip())
    if options.cmd == "reconcile":
        _look(options, ["sys.bridge.reconciled."])
    return int(any(row.get("ok") is False for row in rows))


def _list(rows: Sequence[Mapping[str, Any]], following: str | None) -> None:
    """Print a line for each order, and on standard error how many there are and how to see more."""
    for row in rows:
        print(text.row(row))
    more = f"; there are more: repeat the command with {printable(f'after={following}')}" if following else ""
    print(f"{len(rows)} orders{more}", file=sys.stderr)


def _request(ib: Client, options: argparse.Namespace, args: dict[str, Any]) -> int:
    """Send an IB request, print the reply and the responses, and return the exit code."""
    ib.start()
    subscribes = requests.subscribes(options.cmd, args)
    if subscribes and options.no_wait:
        args.setdefault("keep", True)
    follows = subscribes and not args.get("keep")
    if follows:
        ib.greet({})
    made = ib.request(options.cmd, args, key=options.key, id=options.id)
    about = {"id": made.id, **_reply(made)}
    print(text.dump({"ok": True, **about}) if options.json else f"accepted {text.fields(about)}", flush=True)
    if "held_by" in made.result and not options.json:
        print(_held(made.result), file=sys.stderr, flush=True)
    if isinstance(made, PlacedOrder):
        return _states(options, [made])
    if follows:
        return _follow(ib, options, made)
    if not made.one_shot or options.no_wait:
        _look(options, made.topics)
        return 0
    code = 0
    for message in ib.answers(made):
        _show(options, message)
        code = 1 if is_failure(message) else 0
    return code


def _follow(ib: Client, options: argparse.Namespace, made: Request) -> int:
    """Print the messages of a subscription, end it, and return the exit code: 1 if TWS has ended it."""
    try:
        with suppress(KeyboardInterrupt):  # the usual way to end it
            for message in ib.messages(options.seconds):
                if message.topic.startswith(made.topics):
                    _show(options, message)
                if is_failure(message) and made.id in _ids(message):
                    return 1
        if cancel := requests.cancel_of(made.cmd, made.id):
            ib.call(cancel[0], **cancel[1])
    finally:
        ib.close(logout=False)  # other programs of this name may have subscriptions
    return 0


def _ids(message: Message) -> Sequence[str]:
    """Return the ids of the commands that an error is about."""
    return [str(each.get("id")) for each in [message.ref, *message.ref.get("holders", ())]]


def _orders(ib: Client, options: argparse.Namespace, args: dict[str, Any]) -> int:
    """Change an order or place several, print the reply and the orders' states, and return the exit code."""
    ib.start()
    if options.cmd == "modifyOrder" and options.key is not None:
        args = {"key": options.key, **args}
    names, example = _OF_ORDERS[options.cmd]
    missing = [name for name in names if name not in args and name != "on_partial"]
    if missing or (unknown := sorted(args.keys() - {*names})):
        wrong = f"{', '.join(missing)} is missing" if missing else f"{printable(', '.join(unknown))} is unknown"
        print(f"ibbridge call: {options.cmd}: {wrong}; for example {example}", file=sys.stderr)
        return 2
    try:
        made = [ib.modifyOrder(**args)] if options.cmd == "modifyOrder" else ib.placeOrders(**args)
    except TypeError as error:
        print(f"ibbridge call: {printable(str(error))}", file=sys.stderr)
        return 2
    for order in made:
        about = _reply(order)
        print(text.dump({"ok": True, **about}) if options.json else f"accepted {text.fields(about)}")
    code = _states(options, made)
    if options.cmd == "modifyOrder" and (why := _refusal(made[0])):
        print(f"TWS refused the change: {printable(why)}", file=sys.stderr)
        return 1
    return code


def _refusal(order: PlacedOrder) -> str:
    """Return why TWS refused the last change of an order; empty if the order's last state does not come from that."""
    state, message = order.state, order.known.message
    error = state.lastError
    if error is None or message is None or state.state != "working" or error["own"] or error["ts"] != message.ts:
        return ""
    about = error_codes.about(error["code"], error["text"])
    refused = about.error_class != "warning" and about.refuses != "cancellation"
    return f"{error['code']} {error['text']}" if refused else ""


def _reply(made: Request) -> dict[str, Any]:
    """Return what is printed of the reply to a request."""
    return {**made.result, "dup": True} if made.dup else made.result


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
        _look(options, order.topics)
        code |= order.state.failed or order.state.state == "unknown"
    return int(code)


def _look(options: argparse.Namespace, topics: Sequence[str]) -> None:
    """Print the command that shows the messages under these topics."""
    if not topics or options.json:
        return
    given = [("-c", options.config), ("--pub", options.pub), ("--rep", options.rep)]
    where = [f"{name} {shlex.quote(str(value))}" for name, value in given if value is not None]
    where += [f"--set {shlex.quote(each)}" for each in options.overrides]
    print(f"see its messages with: ibbridge sub {printable(' '.join([*topics, *where]))}", file=sys.stderr)


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
