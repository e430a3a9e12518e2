"""Fault scripts: the faults that the simulator knows, and the steps that order them.

A step is a map: when (`at`, `after` or `on`), what (`do`), to whom (`client`), for how long (`for` seconds, or so many
`times`), and the fault's own arguments. All errors of a script are reported at once, each with its step and the
expected value. The module knows no sockets, no clock, and not how a fault is applied.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from ibbridge.codec.messages import MESSAGES, REQUESTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


class FaultError(ValueError):
    """Invalid steps. `faults` has one line for each error."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class Argument(NamedTuple):
    """Argument of a fault: its check, its description for errors, and its default."""

    holds: Callable[[Any], bool]
    says: str
    default: Any = None
    needed: bool = False


class Fault(NamedTuple):
    """Meaning of one word of `do`. A `whole` fault concerns the port or the host, and so every client."""

    about: str
    arguments: Mapping[str, Argument] = {}
    whole: bool = False
    lasts: bool = True


@dataclass(frozen=True, slots=True)
class FaultStep:
    """Order to apply one fault. At most one of `at`, `after` and `on` is set; without them the step applies at once."""

    do: str
    client: int | None = None
    args: Mapping[str, Any] = field(default_factory=dict)
    at: float | None = None
    after: float | None = None
    on: str | None = None
    lasts: float | None = None
    times: int | None = None


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _seconds(default: float | None = None, *, needed: bool = False) -> Argument:
    return Argument(lambda value: _number(value) and 0 <= value < 1e9, "a number of seconds", default, needed)


def _whole(default: int | None = None, least: int = 1, *, needed: bool = False) -> Argument:
    def holds(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and value >= least

    return Argument(holds, f"a whole number from {least}", default, needed)


def _one_of(*values: Any) -> Argument:
    return Argument(lambda value: value in values, f"one of {', '.join(map(str, values))}", values[0])


def _text(default: str = "", *, needed: bool = False) -> Argument:
    return Argument(lambda value: isinstance(value, str), "a text", default, needed)


def _switch(*, default: bool = False) -> Argument:
    return Argument(lambda value: isinstance(value, bool), "true or false", default)


def _names(known: Mapping[str, Any], what: str, *, needed: bool = False) -> Argument:
    def holds(value: Any) -> bool:
        return isinstance(value, list) and all(_is_known(name, known) for name in value)

    return Argument(holds, f"a list of IB's {what}", [], needed)


def _is_known(value: Any, known: Mapping[str, Any]) -> bool:
    """Return True if a value of a script is a known name. The value may have any type."""
    return isinstance(value, str) and value in known


FARM_CODES = (2103, 2104, 2105, 2106, 2107, 2108, 2119, 2157, 2158)
ORDER_EVENTS = ("orderStatus", "openOrder", "execDetails", "commissionAndFeesReport")
_MISSED = _one_of("late", "lost", "some", "duplicate", "reorder")

FAULTS: dict[str, Fault] = {
    "refuse": Fault("the port is closed", whole=True),
    "accept-close": Fault("connections are accepted and closed", whole=True),
    "stall": Fault(
        "connections go mute at this stage: accepted (no version), version (START_API is not heard), start (15 and 9 "
        "never come), ready (nothing after them, while it lasts)",
        {"stage": _one_of("accepted", "version", "start", "ready")},
    ),
    "half-open": Fault("nothing is read or written, and the socket stays; what was held back follows at the end"),
    "drop": Fault("the connection ends after so many more bytes to the client", {"bytes": _whole(0, 0)}, lasts=False),
    "close": Fault("the connection ends now, with `abort` by a reset", {"abort": _switch()}, lasts=False),
    "split": Fault("every write is cut into pieces of so many bytes", {"bytes": _whole(1)}),
    "merge": Fault("what is written within so many seconds goes out as one write", {"seconds": _seconds(0.1)}),
    "slow": Fault("no more than so many bytes go out in a second", {"rate": _whole(needed=True)}),
    "greet": Fault(
        "the answer to the greeting announces this version (negative: a redirect to `time`) and connection time, in "
        "this encoding",
        {
            "announce": Argument(lambda value: isinstance(value, int), "a whole number"),
            "time": _text("20260105 09:30:00 Mitteleuropäische Zeit"),
            "encoding": _one_of("latin-1", "gbk", "utf-8"),
        },
        whole=True,
    ),
    "id-in-use": Fault(
        "START_API is answered by 326 and a close, or (how: close) by a close half a second later",
        {"how": _one_of("error", "close")},
    ),
    "stuck-id": Fault("the client id stays taken for so many seconds after a connection", {"seconds": _seconds(30.0)}),
    "1100": Fault(
        "the upstream is lost: data is silent, orders wait; until 1101 or 1102, the latter by itself after `for`. Said "
        "again so many times. Order events of this time come afterwards, are lost, or each is lost by a chance of one "
        "half (some); or they come twice afterwards, or in any order",
        {"repeat": _whole(1), "every": _seconds(1.0), "events": _MISSED},
    ),
    "2110": Fault(
        "the same as 1100, reported as 2110", {"repeat": _whole(1), "every": _seconds(1.0), "events": _MISSED}
    ),
    "1101": Fault("the upstream is back, and all data subscriptions are lost without a word", lasts=False),
    "1102": Fault(
        "the upstream is back and all is kept, or so it is said: the oldest `dead` subscriptions stay silent",
        {"dead": _whole(0, 0), "text": _text()},
        lasts=False,
    ),
    "farm": Fault(
        "a notice about a farm. 2103, 2105 and 2157: its subscriptions freeze and its requests go unanswered (2157: a "
        "false 200) until 2104, 2106 and 2158, with `dead` for ever; by itself after `for`",
        {
            "code": Argument(FARM_CODES.__contains__, f"one of {', '.join(map(str, FARM_CODES))}", needed=True),
            "farm": _text(needed=True),
            "dead": _switch(),
        },
    ),
    "10182": Fault("every subscription to bars that are kept up to date ends with error 10182", lasts=False),
    "competing": Fault("every market data subscription gets 10197 and is silent"),
    "1300": Fault("1300 names the port, then the connection ends", {"port": _whole(7496)}, lasts=False),
    "restart": Fault(
        "all connections end and the port is closed; untransmitted orders are lost; next ids have gone on or back by "
        "so many",
        {"ids": Argument(lambda value: isinstance(value, int), "a whole number", 0)},
        whole=True,
    ),
    "order-events": Fault(
        "order events of this kind (default: any) come twice, in reverse order, or not",
        {"how": _one_of("duplicate", "reorder", "lose"), "message": Argument(
            ("", *ORDER_EVENTS).__contains__, f"one of {', '.join(ORDER_EVENTS)}", "")},
    ),
    "reject": Fault(
        "orders are rejected", {"code": _whole(201), "text": _text("Order rejected - reason:The exchange is closed.")}
    ),
    "read-only": Fault("every request that concerns orders is refused by 321"),
    "garbage": Fault(
        "a corrupt frame is sent",
        {"kind": _one_of("unknown", "undecodable", "surplus", "empty", "length")},
        lasts=False,
    ),
    "ignore": Fault("these requests get no answer", {"requests": _names(REQUESTS, "requests", needed=True)}),
    "lose": Fault("these messages are not sent", {"messages": _names(MESSAGES, "messages", needed=True)}),
    "delay": Fault(
        "requests (default: all) are heard so many seconds late",
        {"seconds": _seconds(needed=True), "requests": _names(REQUESTS, "requests")},
    ),
    "pace": Fault(
        "more than `rate` messages in a second: error 100, the third time the connection ends; or (how: wait) they "
        "are heard late",
        {"rate": _whole(50), "how": _one_of("reject", "wait")},
    ),
    "by-hand": Fault(
        "a person makes an order in the host's window: at this price, or at the market without `price`",
        {
            "symbol": _text(needed=True), "action": _one_of("BUY", "SELL"), "quantity": _whole(100),
            "price": Argument(lambda value: _number(value) and 0 < value < 1e9, "a price above 0"),
            "secType": _text("STK"), "exchange": _text("SMART"), "currency": _text("USD"),
        },
        whole=True,
        lasts=False,
    ),
    "off": Fault("ends the faults of this name, or all", {"fault": _text()}, lasts=False),
    "figures": Fault("changes nothing; by command, the reply has the figures", lasts=False),
}  # fmt: skip

WHEN = ("at", "after", "on")
COUNTED = ("accept-close", "greet", "id-in-use", "order-events", "reject", "read-only", "ignore", "lose")
"""Faults that may have `times`, and end with the last of so many uses."""


def step(given: Any) -> FaultStep:
    """Return the step that a map describes. Raise `FaultError`."""
    faults = list(wrong(given))
    if faults:
        raise FaultError(faults)
    do = str(given["do"])
    args = {name: given.get(name, argument.default) for name, argument in FAULTS[do].arguments.items()}
    when = {name: given.get(name) for name in WHEN}
    return FaultStep(do, given.get("client"), args, lasts=given.get("for"), times=given.get("times"), **when)


def wrong(given: Any) -> Iterator[str]:
    """Yield every error of a step, each with the expected value."""
    if not isinstance(given, dict):
        yield "a step is a map such as {at: 5, do: close, client: 1}"
        return
    do = str(given.get("do", ""))
    fault = FAULTS.get(do)
    if fault is None:
        near = get_close_matches(do, FAULTS, 1)
        yield f"do: {do!r} is no fault; " + (f"did you mean {near[0]}?" if near else f"one of {', '.join(FAULTS)}")
        return
    if sum(name in given for name in WHEN) > 1:
        yield f"only one of {', '.join(WHEN)} can say when"
    yield from _values(given, fault)
    early = do == "stall" and given.get("stage", "accepted") in _EARLY
    if given.get("client") is not None and (fault.whole or early):
        yield f"client: {do} comes before a client has said its id, or concerns the whole port; leave it out"
    if do in ("refuse", "restart") and "for" not in given:
        yield f"for: {do} needs the seconds for which the port is closed"


_EARLY = ("accepted", "version")


def _values(given: Mapping[str, Any], fault: Fault) -> Iterator[str]:
    known = {
        "at": _seconds(), "after": _seconds(), "for": _seconds(), "times": _whole(), "client": _whole(least=0),
        "on": Argument(lambda value: _is_known(value, REQUESTS), "the name of a request of IB's"),
        "do": Argument(lambda _: True, ""),
        **fault.arguments,
    }  # fmt: skip
    for name, value in given.items():
        if name not in known:
            near = get_close_matches(str(name), known, 1)
            yield f"{name}: unknown; " + (f"did you mean {near[0]}?" if near else f"one of {', '.join(known)}")
        elif not isinstance(value, (str, int, float, list)) or not known[name].holds(value):
            yield f"{name}: {value!r} must be {known[name].says}"
        elif name == "times" and given["do"] not in COUNTED:
            yield f"times: {given['do']} cannot be counted; say for how long (`for`), or leave it out"
        elif name == "for" and not fault.lasts:
            yield f"{name}: {given['do']} happens once and is over; leave it out"
    for name, argument in fault.arguments.items():
        if argument.needed and name not in given:
            yield f"{name}: is missing; it must be {argument.says}"


class _Loader(yaml.SafeLoader):
    """YAML loader that reads `on` and `off` as words, as steps use them."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in pairs if tag != "tag:yaml.org,2002:bool" or first in "tTfF"]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read(text: str, name: str = "faults") -> list[FaultStep]:
    """Return the steps of a script. Raise `FaultError` with every error, by file, line and step."""
    try:
        node = yaml.compose(text, _Loader)
        given = yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise FaultError([f"{name}:{line}: {error.problem}; a script is a YAML list of steps"]) from None
    if given is None:
        return []
    if not isinstance(given, list) or not isinstance(node, yaml.SequenceNode):
        raise FaultError([f"{name}:1: a script is a YAML list of steps, each beginning with a dash"])
    lines = [each.start_mark.line + 1 for each in node.value]
    faults = [
        f"{name}:{line}: step {number}: {fault}"
        for number, (line, each) in enumerate(zip(lines, given, strict=True), 1)
        for fault in wrong(each)
    ]
    if faults:
        raise FaultError(faults)
    return [step(each) for each in given]
