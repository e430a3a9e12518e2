"""Rights as a property: of random messages, a client with a random policy sees those that it covers, and no others.

A naive reading of the policy is the judge: of each topic by itself, without prefixes, narrowing or caches.
"""

from __future__ import annotations

import fnmatch
from typing import Any

import msgpack
from hypothesis import given, settings
from hypothesis import strategies as st

from ibbridge.commands.builtin import BuiltinCommands
from ibbridge.protocol.errors import CommandRefused
from ibbridge.security.audit import NO_AUDIT
from ibbridge.security.identity import Identity
from ibbridge.security.topic_rights import ACCOUNTS, ORDERS, SYSTEM
from ibbridge.streams.audience import Audience, Doorman, filtered
from tests.support.daemon_core import Middle
from tests.unit.security.test_policy import make

ME = "a"
INSTRUMENTS = {
    "AAPL-STK-SMART-USD": ("AAPL", "STK", "SMART", "USD"),
    "TSLA-STK-NYSE-USD": ("TSLA", "STK", "NYSE", "USD"),
    "EUR-CASH-IDEALPRO-CHF": ("EUR", "CASH", "IDEALPRO", "CHF"),
}
LISTS = ("symbols", "security_types", "exchanges", "currencies")
NAMES = ("a", "b", "ext")
NUMBERS = ("DU1", "DU2", "U9")

TOPICS = (
    *((("md", key, "tickPrice")) for key in INSTRUMENTS),
    *(("ord", name, "k", "orderStatus") for name in NAMES),
    *(("exec", name, "execDetails") for name in NAMES),
    *(("req", name, "7", "historicalData") for name in NAMES),
    *(("acct", account, "position") for account in NUMBERS),
    ("news", "BZ", "tickNews"),
    *(tuple(topic.split(".")[:3]) for topic in SYSTEM),
)
"""Components of the topics on which something is published."""

PREFIXES = ("md.", "md.AAPL-STK-SMART-USD.", "ord.", "ord.{name}.", "ord.b.", "exec.", "exec.{name}.", "req.{name}.",
            "acct.", "acct.DU1.", "news.", "sys.", "sys.tws.", "sys.bridge.", "sys.bridge.store.")  # fmt: skip


def lists(*values: str) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(values), max_size=len(values), unique=True)


def often(everything: st.SearchStrategy[list[str]]) -> st.SearchStrategy[list[str]]:
    return st.one_of(st.just(["*"]), everything)


POLICIES = st.fixed_dictionaries(
    {
        "commands": st.just(["snapshot", "replay", "status"]),
        "topics": often(lists(*PREFIXES)),
        "accounts": often(lists("*", "DU1", "DU*", "U9")),
        "symbols": often(lists("*", "AAPL", "T*", "EUR")),
        "security_types": often(lists("*", "STK", "CASH")),
        "exchanges": often(lists("*", "SMART", "IDEALPRO")),
        "currencies": often(lists("*", "USD", "CHF")),
    },
    optional={
        "deny_topics": lists("ord.", "ord.b.", "acct.U9.", "sys.bridge.", "md."),
        "deny_accounts": lists("DU2", "U*"),
        "deny_symbols": lists("TSLA", "A*"),
    },
)


# -- the judge


def matches(policy: dict[str, Any], name: str, text: str) -> bool:
    def some(patterns: list[str]) -> bool:
        return any(fnmatch.fnmatchcase(text, each) for each in patterns)

    return some(policy[name]) and not some(policy.get(f"deny_{name}", []))


def all_accounts(policy: dict[str, Any]) -> bool:
    return "*" in policy["accounts"] and not policy.get("deny_accounts")


def begins(policy: dict[str, Any], topic: str, *, whole: bool = False) -> bool:
    """Return True if the lists of topics cover a topic; with `whole`, all topics below it."""
    allowed = ["" if each == "*" else each.replace("{name}", ME) for each in policy["topics"]]
    denied = policy.get("deny_topics", [])
    below = any(each.startswith(topic) for each in denied) if whole else False
    return any(map(topic.startswith, allowed)) and not below and not any(map(topic.startswith, denied))


def may_see(policy: dict[str, Any], components: tuple[str, ...]) -> bool:
    """Return True if the policy covers a topic."""
    topic = ".".join(components) + "."
    if not begins(policy, topic):
        return False
    if components[0] == "md":
        values = zip(LISTS, INSTRUMENTS[components[1]], strict=True)
        return all(matches(policy, name, value) for name, value in values)
    if components[0] == "acct":
        return matches(policy, "accounts", components[1])
    if topic in ACCOUNTS and not all_accounts(policy):
        return False
    return topic not in ORDERS or begins(policy, "ord.", whole=True)


# -- what is shown


class Everybody:
    """Peerage in which each connection is the client's."""

    def identity(self, peer: bytes) -> Identity:
        return Identity(name=ME, role="nobody")


class House:
    """Daemon on which a message was published under each topic, and what one client is shown of that."""

    def __init__(self, terms: dict[str, Any], published: list[tuple[str, ...]]) -> None:
        middle = Middle()
        self.streams = middle.streams
        for components in published:
            channel = self.streams.channel(*components)
            self.streams.publish_map(channel, {"text": ".".join(components)}, 1, "one")
        self.streams.flush()
        policy = make(clients={ME: terms})
        self.rights = policy.rights(Everybody().identity(b""))
        nothing: Any = None
        self.commands = BuiltinCommands(self.streams, nothing, dict, {}, nothing)
        self.audience = Audience(self.streams, Doorman(Everybody(), policy, NO_AUDIT), middle.clock)

    def snapshot(self, prefix: str) -> set[str] | None:
        """Return the topics in all pages of a snapshot; None if it is refused."""
        found: set[str] = set()
        after = ""
        while True:
            try:
                page = self.commands.execute("snapshot", {"prefix": prefix, "after": after}, ME, self.rights)
            except CommandRefused as error:
                if error.code != "E_PERM":
                    raise
                return None
            found |= {topic.decode() for each in page["streams"] for topic, _ in each["messages"]}
            after = page["next"]
            if after is None:
                return found

    def replay(self, stream: str) -> tuple[set[str], int] | None:
        """Return the topics in a replay, and the number of messages that are withheld; None if it is refused."""
        try:
            page = self.commands.execute("replay", {"stream": stream, "from": 1}, ME, self.rights)
        except CommandRefused as error:
            if error.code != "E_PERM":
                raise
            return None
        bodies = [(topic.decode(), msgpack.unpackb(body)) for topic, body in page["messages"]]
        withheld = [(topic, body) for topic, body in bodies if body["type"] == "withheld"]
        assert all((topic, body["data"]) == (stream, {}) for topic, body in withheld)
        return {topic for topic, body in bodies if body["type"] != "withheld"}, len(withheld)


def text(components: tuple[str, ...]) -> str:
    return ".".join(components) + "."


def parts(topic: str) -> tuple[str, ...]:
    return tuple(topic.split(".")[:-1])


EVERY = st.lists(st.sampled_from(TOPICS), min_size=1, unique=True)


@settings(max_examples=100, deadline=None)
@given(POLICIES, EVERY)
def test_snapshots_and_replays_show_what_the_rights_cover_and_nothing_else(
    terms: dict[str, Any], published: list[tuple[str, ...]]
) -> None:
    house = House(terms, published)
    for prefix in ("", "md.", "ord.", "acct.", "sys.", *map(text, published)):
        shown = house.snapshot(prefix)
        assert all(may_see(terms, parts(topic)) for topic in shown or ())
        for components in published:
            if text(components) == prefix:
                assert (text(components) in (shown or ())) == may_see(terms, components), components
    for stream in {text(components[:2]) for components in published}:
        told = house.replay(stream)
        seen = {text(each) for each in published if text(each[:2]) == stream and may_see(terms, each)}
        if told is None:
            assert not seen
        else:
            assert seen <= told[0]
            assert all(may_see(terms, parts(topic)) for topic in told[0])


@settings(max_examples=100, deadline=None)
@given(POLICIES, EVERY)
def test_subscriptions_and_welcomes_cover_what_the_rights_cover_and_nothing_else(
    terms: dict[str, Any], published: list[tuple[str, ...]]
) -> None:
    house = House(terms, published)
    for prefix in ("", "s", "md.", "ord.", "acct.", "sys.", "sys.tws.", "sys.bridge.", *map(text, TOPICS)):
        admitted = house.audience.subscribed(b"peer", prefix.encode())
        granted = tuple(each.decode() for each in admitted.prefixes)
        for components in TOPICS:
            topic = text(components)
            if topic.startswith(granted):
                assert may_see(terms, components), (prefix, granted, topic)
            elif topic == prefix or prefix.startswith("sys."):
                assert not (topic.startswith(prefix) and may_see(terms, components)), (prefix, granted, topic)
        said = msgpack.unpackb(admitted.message)
        assert said["type"] == ("welcome" if granted else "refused")
        assert not granted or not any(text(each[:2]) in str(said) for each in published), "a welcome names no stream"


@settings(max_examples=100, deadline=None)
@given(POLICIES, EVERY)
def test_heartbeats_and_the_status_name_what_the_rights_cover_and_nothing_else(
    terms: dict[str, Any], published: list[tuple[str, ...]]
) -> None:
    house = House(terms, published)
    if house.rights.sees_everything:
        return
    scopes = [("all", ""), *(("client", name) for name in NAMES), *(("account", name) for name in NUMBERS)]
    halts = [{"scope": scope, "name": name} for scope, name in scopes]
    whole: dict[str, Any] = {
        "seqs": house.streams.seqs(),
        "tws": {"accounts": [*NUMBERS]},
        "pacing": {"clients": dict.fromkeys(NAMES, 1)},
        "halts": halts,
        "alarms": [{"alarm": "unknownOrders", "why": "b/k"}],
        "instruments": {key: f"name of {key}" for key in INSTRUMENTS},
    }
    shown = filtered(whole, house.rights)
    for stream in {text(components[:2]) for components in TOPICS} & {*whole["seqs"]}:
        below = [each for each in TOPICS if text(each[:2]) == stream and may_see(terms, each)]
        assert (stream in shown["seqs"]) == bool(below), stream
    all_orders = begins(terms, "ord.", whole=True)
    own = [name for name in NUMBERS if matches(terms, "accounts", name)]
    assert shown["tws"]["accounts"] == own
    assert [each["name"] for each in shown["halts"] if each["scope"] == "account"] == own
    clients = [each["name"] for each in shown["halts"] if each["scope"] == "client"]
    assert clients == ([*NAMES] if all_orders else [ME])
    assert shown["pacing"]["clients"] == {ME: 1}
    assert ("b/k" in str(shown["alarms"])) == all_orders
    for key, values in INSTRUMENTS.items():
        covered = all(matches(terms, name, value) for name, value in zip(LISTS, values, strict=True))
        assert (key in shown["instruments"]) == covered
