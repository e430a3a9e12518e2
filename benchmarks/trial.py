"""One run: a feeder, what is measured, and a subscriber, each a process of its own, all on loopback.

Either the relay or the daemon stands in the middle; everything around is the same. A run in which a message was lost
is no measurement and raises `InvalidError`.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import socket
import statistics
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

import msgpack
import zmq
from child import PATIENCE, Child, InvalidError, end_cleanly
from ticks import contract

from ibbridge.config import TwsConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LINES = 100
"""Market data lines: as many as an account has without paying for more."""

SNDHWM = 10_000_000
"""More than any burst here, so that it loses nothing."""

CHUNK = TwsConfig().read_chunk
_HERE = pathlib.Path(__file__).parent


class Subject(Enum):
    """What stands in the middle."""

    RELAY = "relay"
    DAEMON = "daemon"


@dataclass(frozen=True)
class Run:
    """What one run showed. Times in seconds."""

    messages: int
    seconds: float
    cpu: float
    latencies: list[float]
    frame_bytes: float
    body_bytes: float

    @property
    def rate(self) -> float:
        """Messages per second, from the first byte sent to the last message received."""
        return self.messages / self.seconds

    @property
    def cpu_per_million(self) -> float:
        """Seconds of CPU for a million messages, of all threads of the process in the middle."""
        return self.cpu / self.messages * 1e6


def run(subject: Subject, version: int, messages: int, rate: float = 0) -> Run:
    """Measure once: a burst, or `rate` messages a second, each with its latency."""
    port, rep = free_ports()
    endpoint = f"tcp://127.0.0.1:{port}"
    count = ["--messages", str(messages)]
    with ExitStack() as children:
        feeder = children.enter_context(
            _child("feeder", "--version", str(version), "--lines", str(LINES), "--rate", str(rate), *count)
        )
        tws = feeder.hear()["port"]
        middle = children.enter_context(_MIDDLE[subject](tws, endpoint, f"tcp://127.0.0.1:{rep}"))
        raw = ["--raw"] if subject is Subject.RELAY else []
        stamped = ["--stamped"] if rate else []
        subscriber = children.enter_context(_child("subscriber", "--endpoint", endpoint, *count, *raw, *stamped))
        subscriber.hear()
        if subject is Subject.DAEMON:
            _subscribe(middle, f"tcp://127.0.0.1:{rep}")
        greeted = feeder.hear()
        if greeted["version"] != version:
            raise InvalidError(f"the {subject.value} speaks version {greeted['version']}, not {version}")
        used = middle.cpu()
        feeder.tell(go=True)
        sent, received = feeder.hear(), subscriber.hear()
        used = middle.cpu() - used
    _check(subject, messages, sent, received)
    seconds = (received["stamps"][-1] - sent["stamps"][0]) / 1e9
    latencies = [(got - put) / 1e9 for put, got in zip(sent["stamps"], received["stamps"], strict=True)] if rate else []
    return Run(messages, seconds, used, latencies, greeted["bytes"], received["bytes"])


def pairs(count: int, measure: Callable[[Subject], Run]) -> Iterator[dict[Subject, Run]]:
    """Relay and daemon in turns, the other one first each time: what else the machine does hits both."""
    for number in range(count):
        order = list(Subject) if number % 2 == 0 else list(reversed(Subject))
        yield {subject: measure(subject) for subject in order}


def median_ratio(results: list[dict[Subject, Run]], value: Callable[[Run], float]) -> float:
    """The daemon's value over the relay's, pair by pair; the median."""
    return statistics.median(value(pair[Subject.DAEMON]) / value(pair[Subject.RELAY]) for pair in results)


def numbers(text: str) -> list[int]:
    """`178,226` as numbers, for the command line."""
    return [int(part) for part in text.split(",")]


def positive(text: str) -> int:
    """A count, for the command line."""
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _check(subject: Subject, messages: int, sent: dict[str, Any], received: dict[str, Any]) -> None:
    if received["received"] != messages:
        raise InvalidError(f"{subject.value}: {received['received']} of {messages} messages arrived")
    if received["faults"]:
        raise InvalidError(f"{subject.value}: {'; '.join(received['faults'])}")
    what = "crc" if subject is Subject.RELAY else "types"
    if received[what] != sent[what]:
        raise InvalidError(f"{subject.value}: sent {what} {sent[what]}, received {received[what]}")


def _child(name: str, *arguments: str) -> Child:
    return Child(name, [sys.executable, str(_HERE / f"{name}.py"), *arguments])


def _relay(tws: int, pub: str, _: str) -> Child:
    sizes = ("--chunk", str(CHUNK), "--sndhwm", str(SNDHWM), "--lines", str(LINES))
    return _child("relay", "--port", str(tws), "--pub", pub, *sizes)


def _daemon(tws: int, pub: str, rep: str) -> Child:
    settings = {
        "tws.port": tws,
        "bus.pub": pub,
        "bus.rep": rep,
        "bus.sndhwm": SNDHWM,
        "log.level": "warning",
    }
    given = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    return Child("daemon", [sys.executable, "-m", "ibbridge", "run", *given])


_MIDDLE: dict[Subject, Callable[[int, str, str], Child]] = {Subject.RELAY: _relay, Subject.DAEMON: _daemon}


def _subscribe(daemon: Child, rep: str) -> None:
    """Have the daemon ask for every market data line."""
    with zmq.Context() as context, context.socket(zmq.REQ) as socket:
        socket.set(zmq.LINGER, 0)
        socket.set(zmq.RCVTIMEO, int(PATIENCE * 1000))
        socket.connect(rep)
        late = time.monotonic() + PATIENCE
        while _call(socket, "status", {})["tws"]["stage"] != "ready":
            daemon.check()
            if time.monotonic() > late:
                raise InvalidError("the daemon does not get ready")
            time.sleep(0.01)
        for line in range(LINES):
            _call(socket, "reqMktData", {"contract": contract(line)}, line)


def _call(socket: zmq.Socket[bytes], command: str, args: dict[str, Any], number: int = 0) -> dict[str, Any]:
    socket.send(msgpack.packb({"id": f"{command}-{number}", "cmd": command, "args": args, "client": "benchmark"}))
    try:
        reply = msgpack.unpackb(socket.recv())
    except zmq.Again:
        raise InvalidError(f"the daemon does not answer {command}") from None
    if not reply["ok"]:
        raise InvalidError(f"{command}: {reply['error']}")
    result: dict[str, Any] = reply["result"]
    return result


def options(about: str | None, count: int) -> argparse.ArgumentParser:
    """The options that every benchmark has; `count` is how many pairs there are by default."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=positive, default=count, help="runs of each, in turns (default %(default)s)")
    parser.add_argument("--versions", type=numbers, default="178,200,226", help="server versions (default %(default)s)")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write the results there too")
    return parser


def conclude(measured: Callable[[], list[dict[str, Any]]], file: pathlib.Path | None) -> int:
    """Measure, write the results to `file` if there is one; the exit code."""
    end_cleanly()
    try:
        results = measured()
    except InvalidError as error:
        print(f"no measurement: {error}", file=sys.stderr)
        return 1
    if file:
        file.write_text(json.dumps(results, indent=2) + "\n")
    return 0


def free_ports() -> tuple[int, int]:
    """Two that nobody has at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return one.getsockname()[1], other.getsockname()[1]
