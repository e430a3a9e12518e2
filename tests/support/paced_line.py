"""A send queue and a clock for tests, and IB's rules, written once more in the plainest way."""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING, Any, NamedTuple

from ibbridge.codec.messages import REQUESTS
from ibbridge.protocol.errors import CommandRefused
from ibbridge.tws.outbound import OutboundMessage
from ibbridge.tws.send_queue import SendQueue
from tests.support.daemon_core import AAPL

if TYPE_CHECKING:
    from collections.abc import Iterable


RATE = 45
_NUMBERS = itertools.count(1)

BARS: dict[str, Any] = {"contract": AAPL, "durationStr": "1 D", "barSizeSetting": "5 secs", "whatToShow": "TRADES"}
DAILY = {**BARS, "barSizeSetting": "1 day"}


class Left(NamedTuple):
    at: float
    message: OutboundMessage

    @property
    def name(self) -> str:
        return self.message.request.name


def message(name: str, client: str = "a", peer: bytes = b"", **args: Any) -> OutboundMessage:
    request = REQUESTS[name]
    number = {request.key: next(_NUMBERS)} if request.key else {}
    return OutboundMessage(request, b"", client, {**number, **args}, peer=peer)


class Line:
    """A queue, a clock, and what has left when."""

    def __init__(self, rate: int = RATE, share: int = 500, most: int = 10_000) -> None:
        self.pacing = SendQueue(rate, share, most)
        self.now = 100.0
        self.left: list[Left] = []

    def put(self, name: str, client: str = "a", peer: bytes = b"", **args: Any) -> OutboundMessage:
        made = message(name, client, peer, **args)
        self.pacing.put(made, self.now)
        return made

    def take(self) -> list[OutboundMessage]:
        taken = self.pacing.next_messages(self.now)
        self.left += [Left(self.now, each) for each in taken]
        return taken

    def go(self, seconds: float) -> list[Left]:
        """Let time pass, and return the messages that leave in it, each at the time that the queue named."""
        before, until = len(self.left), self.now + seconds
        for _ in range(100_000):
            self.take()
            wake = self.pacing.wake()
            if wake is None or wake > until:
                break
            assert wake > self.now, "a queue that asks to be looked at again at once never rests"
            self.now = wake
        else:
            raise AssertionError("it never rests")
        self.now = until
        return self.left[before:]


def of(left: Iterable[Left], name: str) -> list[float]:
    return [each.at for each in left if each.name == name]


def most_within(seconds: float, times: Iterable[tuple[float, int]]) -> int:
    """The most in any window, both ends included."""
    times = list(times)
    return max((sum(n for at, n in times if begin <= at <= begin + seconds) for begin, _ in times), default=0)


def check_rate(left: list[Left], rate: int = RATE) -> None:
    times = [each.at for each in left]
    for first, later in zip(times, times[rate:], strict=False):
        assert later - first > 1 - 1e-6, "too many in one second"


def check_history(left: list[Left]) -> None:
    small = []
    for at, each in left:
        args = each.args
        if each.request.name == "reqHeadTimeStamp" or args.get("barSizeSetting", "").endswith(("sec", "secs")):
            small.append((at, each.request.name, {**args, "reqId": 0}, 2 if args["whatToShow"] == "BID_ASK" else 1))
    assert most_within(600, [(at, n) for at, *_, n in small]) <= 60
    for _, name, args, _ in small:
        assert most_within(15, [(at, 1) for at, other, same, _ in small if (other, same) == (name, args)]) == 1
        alike = [
            (at, n)
            for at, _, other, n in small
            if (other["contract"], other["whatToShow"]) == (args["contract"], args["whatToShow"])
        ]
        assert most_within(2, alike) < 6


def bars(line: Line, count: int, **args: Any) -> list[OutboundMessage]:
    """So many requests, each another by its end."""
    return [line.put("reqHistoricalData", **{**BARS, "endDateTime": f"{n}", **args}) for n in range(count)]


def answered(line: Line, seconds: float) -> list[Left]:
    """Time passes, and what leaves is answered within the second."""
    left: list[Left] = []
    for _ in range(int(seconds)):
        left += line.go(1)
        for each in left:
            line.pacing.completed(each.message)
    return left


def flood(line: Line, count: int, names: int, peers: int = 1, name: str = "placeOrder") -> int:
    """Put so many, under so many names and over so many connections; return how many were taken."""
    taken = 0
    for number in range(count):
        with contextlib.suppress(CommandRefused):
            line.put(name, f"c{number % names}", peer=b"p%d" % (number % peers))
            taken += 1
    return taken
