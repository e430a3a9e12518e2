"""`ibbridge status`: show the state of the daemon on one page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ibbridge.cli import options as shared
from ibbridge.cli import text
from ibbridge.cli.known_as import known_as
from ibbridge.client import Client
from ibbridge.monitoring.printable import printable

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping

SUMMARY = """\
Show the state of the daemon and of its connection to TWS.

Exit code 0: connected to TWS; 1: not connected, or no daemon answers."""

EXAMPLES = """\
  ibbridge status
  ibbridge status -c /etc/ibbridge/ibbridge.yaml     the daemon that runs with this configuration
  ibbridge status --json | jq .tws.stage"""

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare options."""
    parser.add_argument("--json", action="store_true", help="print the whole reply as one line of JSON")
    parser.add_argument(
        "--timeout", type=float, default=5.0, metavar="S", help="seconds to wait for the reply (default: %(default)s)"
    )
    shared.endpoint(parser, "rep", "where the daemon takes commands")
    shared.keyed(parser)
    shared.configured(parser)


def run(options: argparse.Namespace) -> int:
    """Print the status, and return 0 if the daemon is connected to TWS."""
    bus = shared.load(options).bus
    pub, rep = shared.chosen(options, bus)
    with Client(known_as(rep, "status", options.timeout), pub, rep, timeout=options.timeout) as ib:
        about = ib.status()
    print(text.dump(about) if options.json else "\n".join(page(about, rep.address)))
    return 0 if about["tws"]["stage"] == "ready" else 1


def page(about: Mapping[str, Any], rep: str) -> Iterator[str]:
    """Yield the lines of the page."""
    tws, counts = about["tws"], about["counts"]
    yield _row("daemon", f"ibbridge {about['version']}, process {about['pid']} at {rep}, up {span(about['uptime'])}")
    if "codec" in about:  # absent in the reply of an older daemon
        yield _row("codec", about["codec"])
    where = f"{tws['host']}:{tws['port']} as client {tws['clientId']}"
    yield _row("TWS", f"{where}: {tws['stage']} for {span(tws['since'])}")
    if tws["lastError"]:
        yield _row("", f"{tws['lastError']} ({tws['failures']} failed in a row; it keeps trying)")
    if tws["serverVersion"]:
        yield _row("", f"server version {tws['serverVersion']}, connected at {tws['connectionTime']}")
        yield _row("IB", f"the link behind TWS is {tws['upstream']}")
    if tws["farms"]:
        yield _row("farms", ", ".join(f"{farm} {state}" for farm, state in sorted(tws["farms"].items())))
    if tws["accounts"]:
        yield _row("accounts", ", ".join(tws["accounts"]))
    yield _row("published", f"{about['published']:,} messages")
    yield _row("requests", f"{about['requests']:,} under way, {about['orders']:,} orders placed")
    yield _row("commands", f"{counts.get('commands', 0):,} answered, {counts.get('refused', 0):,} of them refused")
    yield from _in_the_way(about)
    for name, what in _ALARMS.items():
        if counts.get(name):
            yield _row("ATTENTION", f"{counts[name]:,} {what}")


def _in_the_way(about: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines about faults, alarms and the halt, which need attention."""
    store = about.get("store") or {}
    if store.get("fault"):
        yield _row("ATTENTION", f"orders are refused, because the store cannot be written: {store['fault']}")
    if dropped := (about.get("log") or {}).get("dropped"):
        yield _row("ATTENTION", f"{dropped:,} lines of the log were dropped: standard error was blocked")
    for alarm in about.get("alarms") or ():
        yield _row("ALARM", f"{alarm['alarm']}: {alarm['why']}")
    if (record := about.get("record")) and record.get("fault"):
        yield _row("ATTENTION", f"recording has stopped: {record['fault']}")
    halt = about.get("halt")
    if halt and "halts" not in about:  # an older daemon
        yield _row("HALTED", f"orders are refused: halted by {halt['client']}. {halt['reason']}".rstrip())
    for halt in about.get("halts") or ():
        whose = f"orders of {halt['scope']} {halt['name']}" if halt["name"] else "orders"
        what = "may only reduce positions" if halt["state"] == "reducing" else "are refused"
        yield _row(
            halt["state"].upper(), f"{whose} {what}: {halt['state']} by {halt['client']}. {halt['reason']}".rstrip()
        )


_ALARMS = {
    "decodeErrors": "messages of TWS could not be decoded: see sys.tws.decodeError. and the log",
    "internalErrors": "commands failed through a bug in ibbridge: see the log",
    "notPublished": "messages could not be passed to ZeroMQ: subscribers see a gap in seq",
    "strayFrames": "frames from subscribers were not subscriptions: a program sends on its SUB connection",
    "strayRequests": "messages to bus.rep were not requests: a program sends no empty frame before its command",
    "refusedPeers": "connections were refused at the limit bus.max_peers: a program does not close its connections",
    "endedPeers": "connections were ended because they cost too much memory: the log says which, and why",
    "undeliveredReplies": "replies could not be delivered: a program sends commands and does not wait for the replies",
}


def _row(name: str, value: str) -> str:
    return f"{name:<10} {printable(value)}"


def span(seconds: float) -> str:
    """Return a duration in its two largest units: 3 d 4 h, 12 min 5 s, 8 s."""
    whole = int(seconds)
    if whole >= _DAY:
        return f"{whole // _DAY} d {whole % _DAY // _HOUR} h"
    if whole >= _HOUR:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} min"
    if whole >= _MINUTE:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s"
    return f"{whole} s"
