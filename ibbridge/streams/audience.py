"""The audience of the streams: what each subscriber may subscribe to, and the heartbeats for those who do not see all.

Pure. An identity comes from the connection, and its rights from the policy. The module knows topics and streams. It
must not know sockets: `zeromq` narrows and ends subscriptions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ibbridge.streams import envelope

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ibbridge.clock import Clock
    from ibbridge.security.audit import Audit
    from ibbridge.security.identity import Peerage
    from ibbridge.security.policy import Policy
    from ibbridge.security.rights import Rights
    from ibbridge.streams.publisher import Publisher

REFUSED = "refused"
"""Type of the message that refuses a subscription."""


class Admitted(NamedTuple):
    """Decision about a subscription: the prefixes that the subscriber gets, none if it is refused, and the message."""

    prefixes: tuple[bytes, ...]
    message: bytes


class Doors(Protocol):
    """Sockets whose subscribers can be disconnected."""

    def has_subscriber(self, peer: bytes) -> bool:
        """Return True while a connection that has subscribed to something is there."""

    def end_subscribers(self, peers: Iterable[bytes], why: str) -> int:
        """Disconnect subscribers, whose programs then connect and subscribe anew."""


class Doorman(NamedTuple):
    """Decision about a peer: who it is, what it may do, and the audit that hears of refusals."""

    peerage: Peerage
    policy: Policy
    audit: Audit


@dataclass(slots=True)
class _Subscriber:
    """Subscriber with rights, and the prefixes that it has in place of each that it has subscribed to.

    Nothing is noted of those who see everything.
    """

    rights: Rights
    held: dict[bytes, tuple[bytes, ...]] = field(default_factory=dict)


class Audience:
    """Subscribers by connection, and what each of them may see. `connect` comes before the first subscriber."""

    _doors: Doors

    def __init__(self, publisher: Publisher, doorman: Doorman, clock: Clock) -> None:
        self._publisher = publisher
        self._peerage, self._policy, self._audit = doorman
        self._clock = clock
        self._subscribers: dict[bytes, _Subscriber] = {}

    def subscribed(self, peer: bytes, prefix: bytes) -> Admitted:
        """Return the prefixes that a peer gets which subscribes to `prefix`, and its welcome, or its refusal."""
        rights = self._policy.rights(self._peerage.identity(peer))
        known = self._subscribers.get(peer)
        if known is None or known.rights is not rights:
            known = self._subscribers[peer] = _Subscriber(rights, known.held if known else {})
        prefixes = rights.subscription(prefix)
        if not prefixes:
            return Admitted((), self._refusal(peer, prefix, rights))
        if not rights.sees_everything:
            known.held[prefix] = prefixes
        return Admitted(prefixes, self._publisher.welcome(prefix))

    def unsubscribed(self, peer: bytes, prefix: bytes) -> tuple[bytes, ...]:
        """Return the prefixes that a peer has no longer, now that it has unsubscribed from `prefix`."""
        known = self._subscribers.get(peer)
        if known is None or known.rights.sees_everything:
            return (prefix,)
        gone = known.held.pop(prefix, (prefix + b"\0",))
        left = {each for prefixes in known.held.values() for each in prefixes} if len(gone) > 1 or known.held else set()
        return tuple(each for each in gone if each not in left)

    def _refusal(self, peer: bytes, prefix: bytes, rights: Rights) -> bytes:
        identity = self._peerage.identity(peer)
        text = prefix.decode("latin-1")
        fault = rights.refusal(text)
        self._audit.record("decision", rule="topics", allowed=False, identity=identity, prefix=text, why=fault)
        about = {"prefix": text, "role": identity.role, "allowed": list(rights.topics), "fault": fault}
        publisher = self._publisher
        return envelope.unsequenced(REFUSED, publisher.epoch, publisher.gen, self._clock.utc_us(), about)

    # -- those who have left, and those whose rights have changed

    def connect(self, doors: Doors) -> None:
        """Have the subscribers come through these sockets from now on."""
        self._doors = doors

    def tick(self) -> None:
        """Forget the subscribers who are no longer there. Call this before each heartbeat."""
        for peer in [peer for peer in self._subscribers if not self._doors.has_subscriber(peer)]:
            del self._subscribers[peer]

    def end_changed(self, why: str) -> None:
        """Disconnect the subscribers whose rights have changed: what they subscribe to then is decided anew."""
        self._doors.end_subscribers(self.changed(), why)

    def changed(self) -> list[bytes]:
        """Return the subscribers who may now see less, or more, than they have subscribed to."""
        return [peer for peer, known in self._subscribers.items() if self._differs(peer, known)]

    def _differs(self, peer: bytes, known: _Subscriber) -> bool:
        rights = self._policy.rights(self._peerage.identity(peer))
        if rights.sees_everything or known.rights.sees_everything:
            return rights.sees_everything is not known.rights.sees_everything
        return any(rights.subscription(prefix) != prefixes for prefix, prefixes in known.held.items())

    # -- heartbeats

    def limited(self) -> Iterable[Rights]:
        """Return the rights of those who have subscribed to a heartbeat and do not see everything, each once."""
        found: dict[bytes, Rights] = {}
        for known in self._subscribers.values():
            if known.held and any(known.rights.heartbeat in prefixes for prefixes in known.held.values()):
                found[known.rights.heartbeat] = known.rights
        return found.values()


def filtered(about: Mapping[str, Any], rights: Rights) -> dict[str, Any]:
    """Return a heartbeat, or the result of `status`, without what the rights do not cover. `for` names the rights."""
    return {**about, "for": rights.whose.label, **dict(_less(about, rights))}


def _less(about: Mapping[str, Any], rights: Rights) -> Iterator[tuple[str, Any]]:
    """Yield the sections that have less in them for these rights."""
    if "seqs" in about:
        yield "seqs", {name: seq for name, seq in about["seqs"].items() if rights.sees_some(name.encode("ascii"))}
    if "tws" in about:
        yield "tws", {**about["tws"], "accounts": [*filter(rights.accounts.matches, about["tws"]["accounts"])]}
    if "pacing" in about:
        own = rights.whose.own.name
        clients = about["pacing"].get("clients") or {}
        yield "pacing", {**about["pacing"], "clients": {name: count for name, count in clients.items() if name == own}}
    if "halts" in about:
        yield "halts", [halt for halt in about["halts"] if _concerns(halt, rights)]
    if not rights.sees_orders:
        yield from ((name, None if name == "record" else {}) for name in ("audit", "record") if about.get(name))
    if not rights.sees_orders and any(isinstance(alarm, dict) for alarm in about.get("alarms", ())):
        yield "alarms", [{**alarm, "why": _untold(alarm)} for alarm in about["alarms"]]
    if "instruments" in about:
        yield (
            "instruments",
            {key: name for key, name in about["instruments"].items() if rights.instruments.sees(str(key))},
        )


def _concerns(halt: Mapping[str, Any], rights: Rights) -> bool:
    """Return True if a halt may be told to a client: one of all clients, of its own, or of an account of its own."""
    if halt["scope"] == "account":
        return rights.accounts.matches(halt["name"])
    return halt["scope"] != "client" or halt["name"] == rights.whose.own.name or rights.sees_orders


PUBLIC_ALARMS = frozenset(("notReady", "upstream", "storeFull", "slowDisk", "log", "memory", "descriptors"))
"""Alarms whose reason names no order, no client and no account."""


def _untold(alarm: Mapping[str, Any]) -> str:
    """Return the reason of an alarm, as far as somebody may know it who may not see every order."""
    return str(alarm["why"]) if alarm["alarm"] in PUBLIC_ALARMS else "told to those who may see every order"
