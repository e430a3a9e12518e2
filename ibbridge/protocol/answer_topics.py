"""Topics on which the responses to each request are published: one place for the daemon, the clients and the pages.

The topic is the instrument's, the account's, or the client's own. Pure. This module knows declarations and the
arguments of commands. It must not know TWS, or requests that are under way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ibbridge.codec.messages import MESSAGES, OUTBOUND
from ibbridge.codec.schema import Kind, Topic
from ibbridge.protocol import topics
from ibbridge.protocol.instrument_key import tape
from ibbridge.protocol.topics import GAP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ibbridge.codec.schema import Request

Components = tuple[str, ...]

OF_ACCOUNTS = frozenset(
    request.name
    for request in OUTBOUND
    if any(name in MESSAGES and MESSAGES[name].topic is Topic.ACCOUNT for name in request.answers)
)
"""Names of requests whose responses are about accounts."""

DATA_TYPES: Mapping[int, str] = {0: "", 1: "+live", 2: "+frozen", 3: "+delayed", 4: "+delayed-frozen"}
"""Suffix to the instrument's key for market data of a type that a client wants for one request, by IB's number."""

UNREQUESTED: Mapping[Topic, Components] = {
    Topic.ORDER: ("ord", "<owner>", "<key>"),
    Topic.EXECUTION: ("exec", "<owner>"),
    Topic.ACCOUNT: ("acct", "<account>"),
    Topic.SYSTEM: ("sys", "tws"),
    Topic.NEWS: topics.BULLETINS,
}
"""Topic components of messages that no request decides, with the names of what differs."""


def own(client: str, identifier: str) -> Components:
    """Return the topic components of a client's own responses."""
    return ("req", client, identifier)


def response_topic(
    request: Request,
    args: Mapping[str, Any],
    own: Components,
    instrument: Callable[[Mapping[str, Any]], str],
) -> Callable[[str], tuple[str, ...]]:
    """Return a function from type of response to topic components: the instrument's stream, or the client's `own`.

    Responses about accounts are not covered.
    """
    if "contract" not in args or request.name not in _KINDS:
        return lambda _: own
    market = tape(args["contract"]) or ("md", instrument(args["contract"]) + _KINDS[request.name](args))
    if request.does is Kind.SUBSCRIPTION:
        place = market if request.subscribes(args) else own
        return lambda _: place
    return lambda name: market if name in ("historicalDataUpdate", GAP) else own


def topic_of_all(request: Request, args: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the topic components of a subscription without a request id: an account, all accounts, or bulletins."""
    if Topic.NEWS in (MESSAGES[name].topic for name in request.answers):
        return topics.BULLETINS
    account = args.get("acctCode", "")
    return ("acct", account) if account else ("acct",)


def _bars(args: Mapping[str, Any]) -> str:
    return f"{args['whatToShow']}-{'rth' if args.get('useRTH') else 'all'}"


_KINDS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "reqMktData": lambda _: "",
    "reqMktDepth": lambda args: "+depth-smart" if args.get("isSmartDepth") else "+depth",
    "reqTickByTickData": lambda args: f"+tbt-{args['tickType']}",
    "reqRealTimeBars": lambda args: f"+bars-{_bars(args)}",
    "reqHistoricalData": lambda args: f"+hist-{args['barSizeSetting'].replace(' ', '')}-{_bars(args)}",
}
"""Suffix to the instrument's key for each kind of subscription, from its arguments. Plain market data has none."""


def prefixes(request: Request, args: Mapping[str, Any], place: Callable[[str], Components]) -> Iterator[Components]:
    """Yield the topic components of each type of response, but for accounts and bulletins (see `topic_of_all`).

    `place` is the function that `response_topic` returns.
    """
    for name in request.answers:
        kind = MESSAGES[name].topic if name in MESSAGES else Topic.REQUEST
        if kind is Topic.ORDER and request.does is Kind.ONE_SHOT:
            yield ("ord",)  # an order is published under its owner and key, whoever asks
        elif kind not in (Topic.ORDER, Topic.ACCOUNT, Topic.NEWS):
            yield place("" if not request.subscribes(args) else name)


class Expected(NamedTuple):
    """Topic components of the responses, as far as they are known before the reply to the command.

    `lasting` ones name the topic of a subscription. `wide` ones are a beginning, which the reply completes: the last
    component goes on with more text. `passing` ones end with the last response.
    """

    lasting: Sequence[Components] = ()
    wide: Sequence[Components] = ()
    passing: Sequence[Components] = ()


def expected(request: Request, args: Mapping[str, Any], instrument: Callable[[Mapping[str, Any]], str]) -> Expected:
    """Return where the responses to a request will come, before the daemon has replied to its command.

    `instrument` returns the topic component of a contract.
    """
    contract = args.get("contract")
    if Topic.NEWS in {MESSAGES[name].topic for name in request.answers}:
        return Expected(lasting=[topics.BULLETINS])
    if isinstance(contract, Mapping) and request.subscribes(args):
        if feed := tape(contract):
            return Expected(lasting=[feed])
        market = ("md", instrument(contract) + DATA_TYPES.get(args.get("marketDataType", 0), ""))
        return Expected(lasting=[market]) if request.name in _PLAIN else Expected(wide=[market])
    kinds = {MESSAGES[name].topic for name in request.answers if name in MESSAGES}
    if Topic.ACCOUNT in kinds:
        return Expected(lasting=[("acct",)])
    if Topic.ORDER in kinds and request.does is Kind.ONE_SHOT:
        return Expected(passing=[("ord",)])
    return Expected()


_PLAIN = frozenset(("reqMktData",))
"""Subscriptions whose topic is the instrument's key without a suffix."""
