"""`ibbridge risk`: why the daemon has refused an order, and what limits would have refused in a recording."""

from __future__ import annotations

import datetime as dt
import pathlib
import sys
from typing import TYPE_CHECKING, Any

from ibbridge.cli import halt, text
from ibbridge.cli import options as shared
from ibbridge.client import CommandError
from ibbridge.monitoring.printable import printable
from ibbridge.orders.recorded_orders import RecordedOrders
from ibbridge.recording.format import RecordingError
from ibbridge.recording.player.script import Script

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from ibbridge.orders.recorded_orders import RefusedOrder

SUMMARY = """\
explain ID: print all checks of a decision about an order, by the id in the refusal (E_RISK), or with --key the last
decision about an order. A client learns of its own orders only: name it with --by.
check FILE...: print the orders in recordings that the limits of a configuration (-c) would have refused, each with
rule, limit and value.

Exit code of explain: 0 the order passed, 1 it was refused, or nothing is remembered of it. Exit code of check: 0 no
order would have been refused, 1 at least one, or a file cannot be read. Both: 2 wrong usage."""

EXAMPLES = """\
  ibbridge risk explain 1767225600000000-7 --by scalper
  ibbridge risk explain --key first --by scalper
  ibbridge risk check monday.ibrec -c stricter.yaml"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare options."""
    parser.add_argument("action", choices=("explain", "check"), help="what to do")
    parser.add_argument("what", nargs="*", metavar="ID | FILE", help="a decision, or recordings")
    parser.add_argument("--key", help="the name of an order, instead of a decision")
    halt.connection(parser)


def run(options: argparse.Namespace) -> int:
    """Explain or check, and return the exit code."""
    if options.action == "check":
        return _check(options)
    if (len(options.what) == 1) == (options.key is not None) or len(options.what) > 1:
        print("ibbridge risk: give one decision, or --key and no decision", file=sys.stderr)
        return 2
    args = {"key": options.key} if options.key is not None else {"decision": options.what[0]}
    with halt.connected(options) as ib:
        try:
            result = ib.call("riskExplain", **args)
        except CommandError as error:
            print(printable(f"refused: {error.code} {error.message}"))
            return 1
    if options.json:
        print(text.dump(result))
    else:
        _print_decision(result)
    return 0 if result["allowed"] else 1


def _print_decision(result: dict[str, Any]) -> None:
    verdict = "allowed" if result["allowed"] else "refused"
    known = {name: value for name, value in result["order"].items() if value is not None and name != "side"}
    side = "SELL" if result["order"]["side"] < 0 else "BUY"
    print(printable(f"{verdict}: {side} {text.fields(known)}"))
    for check in result["checks"]:
        value = "" if check["value"] is None else f" value {check['value']:.10g}"
        mark = "ok" if check["passed"] else "REFUSES"
        fault = f": {check['fault']}" if check["fault"] else ""
        print(printable(f"  {mark:7} {check['rule']} of {check['scope']}{_limit(check['limit'])}{value}{fault}"))
        if not check["passed"]:
            print(printable(f"          {check['about']}"))


def _limit(limit: Any) -> str:
    """Return the limit of a check; empty for a rule that has none."""
    if limit is None:
        return ""
    if isinstance(limit, list):
        limit = ", ".join(map(str, limit))
    elif isinstance(limit, float):
        limit = f"{limit:.10g}"
    return f": limit {limit}"


def _check(options: argparse.Namespace) -> int:
    if not options.what:
        print("ibbridge risk check: give at least one recording", file=sys.stderr)
        return 2
    config = shared.load(options)
    try:
        script = Script([pathlib.Path(name) for name in options.what])
        judged = RecordedOrders(config.risk)
        for part in script.parts:
            judged.connected(part.version)
            for step in script.exchanged(part):
                judged.take(step.ts, step.payload, outbound=step.outbound)
    except (RecordingError, OSError) as error:
        print(printable(f"ibbridge risk check: {error}"), file=sys.stderr)
        return 1
    _print_table(judged.refused)
    print(f"{judged.count} orders and changes, of which {len(judged.refused)} would have been refused", file=sys.stderr)
    return 1 if judged.refused else 0


def _print_table(refused: Iterable[RefusedOrder]) -> None:
    for each in refused:
        value = "not known" if each.value is None else f"{each.value:.10g}"
        at = dt.datetime.fromtimestamp(each.ts / 1e6, dt.UTC).isoformat(timespec="milliseconds")
        print(printable(f"{at}  {each.order}  {each.rule} of {each.scope}: limit {each.limit}, value {value}"
                        f"{': ' + each.fault if each.fault else ''}"))  # fmt: skip
