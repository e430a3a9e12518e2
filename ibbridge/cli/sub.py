"""`ibbridge sub`: print messages as the daemon publishes them."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import zmq

from ibbridge.cli import options as shared
from ibbridge.cli import text
from ibbridge.client import Down, Feed, Gap, Up
from ibbridge.client.events import Event
from ibbridge.monitoring.printable import printable

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from ibbridge.client import Message

SUMMARY = """\
Print messages as they are published, one line each: the time when the daemon read the message from TWS, the topic, the
data.

A PREFIX matches the topics that begin with it; several may be given, and none means all topics. The last message of
every topic with a state comes first, and missed messages are replayed, both marked [replayed]. Messages lost for good
are reported on standard error, by their sequence numbers. This command requests nothing from TWS: it shows messages
that strategies, or `ibbridge call`, have requested. Empty fields are left out, and so are IB's request ids, which mean
nothing outside the daemon; --json prints everything."""

EXAMPLES = """\
  ibbridge sub                          everything
  ibbridge sub md.AAPL-STK-SMART-USD.   ticks of one stock
  ibbridge sub ord. exec.               everybody's orders and fills
  ibbridge sub sys.tws. --json          TWS's connection and errors, for a program
  ibbridge sub md. --count 10           the next ten ticks, then exit code 0"""

_HINT_AFTER = 3.0
_WIDEST = 48


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare options."""
    parser.add_argument("prefixes", metavar="PREFIX", nargs="*", help="beginning of a topic (default: all)")
    parser.add_argument("--count", type=int, metavar="N", help="stop after N messages")
    parser.add_argument("--seconds", type=float, metavar="S", help="stop after S seconds")
    parser.add_argument("--json", action="store_true", help="JSON lines, with the whole envelope; bytes as hex")
    shared.endpoint(parser, "pub", "where the daemon publishes")
    shared.endpoint(parser, "rep", "where the daemon takes commands, for the replay of missed messages")
    shared.keyed(parser)
    shared.configured(parser)


def run(options: argparse.Namespace) -> int:
    """Print messages until the count or the time is reached, or Ctrl-C; return 0."""
    bus = shared.load(options).bus
    deadline = None if options.seconds is None else time.monotonic() + options.seconds
    left, width = options.count, 0
    context = zmq.Context()
    feed = Feed(context, *shared.chosen(options, bus), prefix=bus.prefix)
    try:
        for message in _messages(feed, options.prefixes or [""], deadline):
            width = max(width, min(len(message.topic), _WIDEST))
            print(text.dump(text.whole(message)) if options.json else text.line(message, width), flush=True)
            if left is not None and (left := left - 1) <= 0:
                break
    except KeyboardInterrupt:
        pass  # the usual way to end it
    finally:
        feed.close()
        context.term()
    return 0


def _messages(feed: Feed, prefixes: list[str], deadline: float | None) -> Iterator[Message]:
    """Yield the messages under these prefixes, and report events of the connection on standard error."""
    if not feed.begun(feed.subscribe(prefixes), patience := _until(deadline, _HINT_AFTER)):
        _note(f"{feed.silent(prefixes, patience)} Waiting.")
    while (message := feed.receive(None if deadline is None else _until(deadline))) is not None:
        if isinstance(message, Event):
            _note(_said(message, feed))
        elif any(message.topic.startswith(prefix) for prefix in prefixes):
            yield message


def _said(event: Event, feed: Feed) -> str:
    match event:
        case Gap():
            numbers = f"number {event.first}" if event.missed == 1 else f"numbers {event.first} to {event.last}"
            return f"lost: {numbers} of {event.stream} ({event.reason})"
        case Down():
            return f"the daemon at {feed.pub} has been silent for {event.seconds:g} s. Waiting."
        case Up():
            return f"the daemon at {feed.pub} is heard again, after {event.seconds:g} s"
    return "the daemon has been restarted: repeat the requests that were made before"


def _until(deadline: float | None, longest: float = float("inf")) -> float:
    return longest if deadline is None else max(0.0, min(longest, deadline - time.monotonic()))


def _note(text: str) -> None:
    print(f"ibbridge sub: {printable(text)}", file=sys.stderr, flush=True)
