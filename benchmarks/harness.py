"""Benchmark harness: a feeder, the subject and a subscriber, each in a process of its own, all on loopback.

The subject is the relay or the daemon; everything else is the same. A run in which a message was lost is no measurement
and raises `InvalidError`.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import socket
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Self

import msgpack
import zmq
from expected_messages import DURABLE
from processes import PATIENCE, Child, InvalidError, end_cleanly
from ticks import contract

from ibbridge.config.model import RingConfig, TwsConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

LINES = 100
"""Market data lines: the number that an account has without paying for more."""

SNDHWM = 10_000_000
"""High-water mark above any burst here, so that no message is lost."""

FILL = RingConfig().messages
"""Messages sent before the measurement: as many as the ring holds. While the ring fills, each message is written to
memory that the process has never touched, which can cost as much as all the rest. A daemon pays for that once."""

CHUNK = TwsConfig().read_chunk
_DURABLE = "share of messages that go to disk before they are published (default %(default)s)"
_HERE = pathlib.Path(__file__).parent


class Subject(Enum):
    """The process under measurement."""

    RELAY = "relay"
    DAEMON = "daemon"


@dataclass(frozen=True)
class Run:
    """Results of one run, with times in seconds."""

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
        """Seconds of CPU for a million messages, of all threads of the subject."""
        return self.cpu / self.messages * 1e6


def run(subject: Subject, version: int, messages: int, durable: float, rate: float = 0) -> Run:
    """Measure one run: a burst, or `rate` messages a second, each with its latency. Raises `InvalidError`."""
    port, rep = free_ports()
    endpoint = f"tcp://127.0.0.1:{port}"
    count = ["--messages", str(messages)]
    with ExitStack() as children:
        feeder, tws = feeding(children, version, LINES, durable)
        if subject is Subject.RELAY:
            middle = children.enter_context(_relay(tws, endpoint))
        else:
            middle = bridge(children, tws, endpoint, f"tcp://127.0.0.1:{rep}", {"bus.sndhwm": SNDHWM})
        raw = ["--raw"] if subject is Subject.RELAY else []
        stamped = ["--stamped"] if rate else []
        given = ("--endpoint", endpoint, *count, "--skip", str(FILL), *raw, *stamped)
        subscriber = children.enter_context(child("subscriber", *given))
        subscriber.hear()
        if subject is Subject.DAEMON:
            with Caller(f"tcp://127.0.0.1:{rep}") as caller:
                subscribe(middle, caller, LINES)
        greeted = greet(feeder, version)
        feeder.tell(messages=FILL, rate=0)
        feeder.hear()
        subscriber.hear()
        used = middle.cpu()
        feeder.tell(messages=messages, rate=rate, each=1)
        sent, received = feeder.hear(), subscriber.hear()
        used = middle.cpu() - used
    _check(subject, messages, sent, received)
    seconds = (received["stamps"][-1] - sent["stamps"][0]) / 1e9
    latencies = [(got - put) / 1e9 for put, got in zip(sent["stamps"], received["stamps"], strict=True)] if rate else []
    return Run(messages, seconds, used, latencies, greeted["bytes"], received["bytes"])


def pairs(count: int, measure: Callable[[Subject], Run]) -> Iterator[dict[Subject, Run]]:
    """Yield pairs of runs of relay and daemon, first and second in turns, so that other load hits both."""
    for number in range(count):
        order = list(Subject) if number % 2 == 0 else list(reversed(Subject))
        yield {subject: measure(subject) for subject in order}


def median_ratio(results: list[dict[Subject, Run]], value: Callable[[Run], float]) -> float:
    """Return the median over all pairs of the daemon's value divided by the relay's."""
    return statistics.median(value(pair[Subject.DAEMON]) / value(pair[Subject.RELAY]) for pair in results)


def numbers(text: str) -> list[int]:
    """Parse `178,226` from the command line as integers."""
    return [int(part) for part in text.split(",")]


def positive(text: str) -> int:
    """Parse a positive integer from the command line."""
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


def child(name: str, *arguments: str, folder: pathlib.Path = _HERE) -> Child:
    """Start a program of `folder` by its name without `.py`."""
    return Child(name, [sys.executable, str(folder / f"{name}.py"), *arguments])


def feeding(children: ExitStack, version: int, lines: int, durable: float, *more: str) -> tuple[Child, int]:
    """Start a feeder that waits for `lines` market data requests. Return the feeder and its port."""
    given = ("--version", str(version), "--lines", str(lines), "--durable", str(durable), *more)
    feeder = children.enter_context(child("feeder", *given))
    return feeder, feeder.hear()["port"]


def greet(feeder: Child, version: int) -> dict[str, Any]:
    """Return the feeder's answer after all market data requests. Raises `InvalidError` for another server version."""
    greeted = feeder.hear()
    if greeted["version"] != version:
        raise InvalidError(f"version {greeted['version']} was spoken, and not {version}")
    return greeted


def _relay(tws: int, pub: str) -> Child:
    sizes = ("--chunk", str(CHUNK), "--sndhwm", str(SNDHWM), "--lines", str(LINES))
    return child("relay", "--port", str(tws), "--pub", pub, *sizes)


def bridge(children: ExitStack, tws: int, pub: str, rep: str, more: Mapping[str, Any]) -> Child:
    """Start the daemon with `more` settings. Its store lies on a disk and is deleted when `children` end."""
    settings = {
        "tws.port": tws,
        "pacing.rate": 100_000,  # the rate of market data requests is not measured
        "bus.pub": pub,
        "bus.rep": rep,
        "store.path": children.enter_context(disk()),
        "log.level": "warning",
        "security.trust_loopback": "true",
        "risk.accounts": '{"*": {max_open_orders: 1000000}}',  # neither is the gate, but by gate.py
        "tws.lines": 100_000,
        **more,
    }
    given = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    return children.enter_context(Child("daemon", [sys.executable, "-m", "ibbridge", "run", *given]))


def disk() -> tempfile.TemporaryDirectory[str]:
    """Make a temporary directory on a real disk. /tmp often lies in memory; /var/tmp survives a restart."""
    return tempfile.TemporaryDirectory(prefix="ibbridge-", dir="/var/tmp")


class Caller:
    """Blocking client for commands to a daemon."""

    def __init__(self, endpoint: str) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.REQ)
        self._socket.set(zmq.LINGER, 0)
        self._socket.set(zmq.RCVTIMEO, int(PATIENCE * 1000))
        self._socket.connect(endpoint)
        self.number = 0  # of the last command

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._context.destroy()

    def ask(self, command: str, client: str | None = None, **args: Any) -> dict[str, Any]:
        """Send a command and return the reply. With a `client`, the daemon remembers the reply for ten minutes."""
        self.number += 1
        about = {"client": client} if client else {}
        self._socket.send(msgpack.packb({"id": self.number, "cmd": command, "args": args, **about}))
        try:
            reply: dict[str, Any] = msgpack.unpackb(self._socket.recv())
        except zmq.Again:
            raise InvalidError(f"the daemon does not answer {command}") from None
        if reply["id"] != self.number:
            raise InvalidError(f"{command}: the reply is to {reply['id']}, not to {self.number}")
        return reply

    def result(self, command: str, client: str | None = None, **args: Any) -> dict[str, Any]:
        """Send a command and return its result. Raises `InvalidError` if the command was refused."""
        reply = self.ask(command, client, **args)
        if not reply["ok"]:
            raise InvalidError(f"{command}: {reply['error']}")
        result: dict[str, Any] = reply["result"]
        return result


def subscribe(daemon: Child, caller: Caller, lines: int) -> None:
    """Request `lines` lines of market data from the daemon, once the daemon is ready."""
    late = time.monotonic() + PATIENCE
    while caller.result("status")["tws"]["stage"] != "ready":
        daemon.check()
        if time.monotonic() > late:
            raise InvalidError("the daemon does not get ready")
        time.sleep(0.01)
    for line in range(lines):
        caller.result("reqMktData", "benchmark", contract=contract(line))


def options(about: str | None, count: int) -> argparse.ArgumentParser:
    """Return a parser with the options of every benchmark. `count` is the default number of pairs."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=positive, default=count, help="runs of each, in turns (default %(default)s)")
    parser.add_argument("--versions", type=numbers, default="178,200,226", help="server versions (default %(default)s)")
    parser.add_argument("--durable", type=float, default=DURABLE, help=_DURABLE)
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write the results there too")
    return parser


def conclude(measured: Callable[[], list[dict[str, Any]]], file: pathlib.Path | None) -> int:
    """Measure, and write the results to `file` if there is one. Return the exit code."""
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
    """Return two ports that are free at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return one.getsockname()[1], other.getsockname()[1]
