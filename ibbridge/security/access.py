"""Access to the bus: which peers are admitted at which endpoint, and who each of them is.

The table leads from credentials (the key of a CURVE peer, the uid of an ipc peer) to a client, and from a connection to
its identity. The module must not know sockets, topics or commands. ZAP's thread asks to admit peers, and the loop's
thread asks who they are.
"""

from __future__ import annotations

import ipaddress
import secrets
import threading
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from ibbridge.security import z85
from ibbridge.security.identity import NO_ROLE, Identity
from ibbridge.security.policy_terms import Terms

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ibbridge.security.audit import Audit

MOST_TOLD = 1_000
"""Admissions and refusals of different kinds that wait to be told to the audit; more are only counted."""

_MARK = b"\x01"  # libzmq's own routing ids begin with a zero
_RANDOM = 12  # bytes: too many for a peer to guess the name of another connection
_LONGEST_ADDRESS = 60


class AccessError(Exception):
    """Endpoint that must not be bound as it is configured. str() says why, and what to do."""


class NotAdmittedError(Exception):
    """Peer that is not admitted. str() says why, and what to do."""


@dataclass(frozen=True, slots=True)
class KnownClient:
    """Client that the operator has named, with the credentials by which its connections are known."""

    name: str
    role: str = "observer"
    key: str = ""
    """The public key, in Z85."""
    uid: int | None = None
    """The user id by which an ipc peer is known."""
    acts_as: tuple[str, ...] = ()
    """Names, or patterns of names, that this client may use beside its own."""
    policy: Terms = field(default_factory=Terms)
    """Terms of the client's policy, on top of those of its role."""


@dataclass(frozen=True, slots=True)
class AccessRules:
    """The operator's rules: clients, and the roles of peers who show no credentials."""

    clients: tuple[KnownClient, ...] = ()
    ipc_role: str = "admin"
    loopback_role: str = "data"
    plain: tuple[str, ...] = ()
    """tcp endpoints that stay without CURVE although there are keys."""

    @property
    def has_keys(self) -> bool:
        """True if a client has a key, so that tcp endpoints speak CURVE."""
        return any(client.key for client in self.clients)


class Entrance(NamedTuple):
    """Entrance: one endpoint of one socket, known to the ZAP handler by its domain."""

    number: int
    endpoint: str
    curve: bool

    @property
    def domain(self) -> str:
        """ZAP domain of the endpoint."""
        return f"ibbridge {self.number}"

    @property
    def local(self) -> bool:
        """True for ipc, whose peers show their uid."""
        return self.endpoint.startswith("ipc://")


class Credentials(NamedTuple):
    """Credentials of a peer, as libzmq shows them to the ZAP handler."""

    domain: str
    address: str
    """The IP address, or `localhost:UID:GID:PID` over ipc."""
    mechanism: str
    key: bytes = b""


class Access:
    """Table of access. `secret` is the server's secret key (Z85), which CURVE endpoints need.

    The name of a connection holds what identifies it (endpoint, key, address), so nothing has to be forgotten when the
    connection ends, and a change of the rules holds for connections that exist already.
    """

    def __init__(self, rules: AccessRules | None = None, secret: bytes = b"") -> None:
        self.refused = 0
        """The number of connections that were not admitted."""
        self.secret = secret
        self._rules = rules or AccessRules()
        self._by_key: Mapping[str, KnownClient] = {}
        self._by_uid: Mapping[int, KnownClient] = {}
        self._entrances: list[Entrance] = []
        self._keys: list[str] = [""]
        self._key_numbers: dict[str, int] = {"": 0}
        self._lock = threading.Lock()
        self._known: dict[bytes, Identity] = {}
        self._untold: Counter[tuple[str, str, Identity]] = Counter()
        self._warnings: deque[str] = deque(maxlen=MOST_TOLD)
        self._warned: set[str] = set()
        self.refresh(self._rules)

    @property
    def rules(self) -> AccessRules:
        """The rules that hold."""
        return self._rules

    def refresh(self, rules: AccessRules) -> None:
        """Have other rules hold from now on, also for peers that are connected already."""
        by_key = {client.key: client for client in rules.clients if client.key}
        by_uid = {client.uid: client for client in rules.clients if client.uid is not None}
        with self._lock:
            self._rules, self._by_key, self._by_uid = rules, by_key, by_uid
            for key in by_key:
                if key not in self._key_numbers:
                    self._key_numbers[key] = len(self._keys)
                    self._keys.append(key)
            self._known.clear()

    def unapplied(self, rules: AccessRules) -> list[str]:
        """Return what the bound endpoints cannot take over from other rules before a restart of the daemon."""
        tcp = [entrance for entrance in self._entrances if not entrance.local]
        wrong = [each.endpoint for each in tcp if each.curve != _demands_key(each.endpoint, rules)]
        word = "demand keys" if rules.has_keys else "demand no keys any more"
        return [f"{', '.join(wrong)}: it takes a restart until these endpoints {word}"] if wrong else []

    # -- endpoints

    def enter(self, key: str, endpoint: str) -> Entrance:
        """Return the entrance for an endpoint of the setting `key`. Raise AccessError if it must not be bound."""
        curve = _demands_key(endpoint, self._rules)
        if not curve and not is_near(endpoint):
            why = "is in security.plain" if self._rules.has_keys else "no client in security.clients has a key"
            raise AccessError(
                f"{key}: {endpoint}: other machines can reach this endpoint, and {why}, so whoever reaches it would be "
                "let in; make keys (ibbridge keygen --help), or bind to tcp://127.0.0.1:PORT or ipc:///PATH"
            )
        if curve and not self.secret:
            raise AccessError(
                f"{key}: {endpoint}: clients have keys, and the server has none; make it with `ibbridge keygen "
                "--server`, and have security.keys name its directory"
            )
        entrance = Entrance(len(self._entrances), endpoint, curve)
        self._entrances.append(entrance)
        return entrance

    # -- peers

    def admit(self, shown: Credentials) -> bytes:
        """Return a new name for the connection of a peer. Raise NotAdmittedError if the peer is not admitted."""
        with self._lock:
            entrance = next((each for each in self._entrances if each.domain == shown.domain), None)
            if entrance is None or shown.mechanism != ("CURVE" if entrance.curve else "NULL"):
                self.refused += 1
                raise NotAdmittedError("these credentials are not for this endpoint")
            key = z85.encoded(shown.key) if entrance.curve else ""
            address = _address(shown.address)
            try:
                identity = self._identity(entrance, key, address)
            except NotAdmittedError as error:
                self._refuse(str(error), Identity("", NO_ROLE, entrance.endpoint, address, shown.mechanism, key))
                raise
            self._note("admitted", "", identity)
            where = bytes((entrance.number,)) + self._key_numbers[key].to_bytes(2, "big")
            return _MARK + where + secrets.token_bytes(_RANDOM) + address.encode()[:_LONGEST_ADDRESS]

    def identity(self, peer: bytes) -> Identity:
        """Return the identity of a connection; one with the role `none` if it would not be admitted now."""
        if (known := self._known.get(peer)) is not None:
            return known
        with self._lock:
            identity = self._found(peer)
            if len(self._known) > MOST_TOLD:
                self._known.clear()
            self._known[peer] = identity
        return identity

    def _found(self, peer: bytes) -> Identity:
        behind = len(_MARK) + 3 + _RANDOM
        if len(peer) < behind or not peer.startswith(_MARK) or peer[1] >= len(self._entrances):
            return Identity(role=NO_ROLE)
        entrance, number = self._entrances[peer[1]], int.from_bytes(peer[2:4], "big")
        key = self._keys[number] if number < len(self._keys) else "?"
        address = peer[behind:].decode("utf-8", "replace")
        try:
            return self._identity(entrance, key, address)
        except NotAdmittedError:
            return Identity("", NO_ROLE, entrance.endpoint, address, "CURVE" if entrance.curve else "NULL", key)

    def _identity(self, entrance: Entrance, key: str, address: str) -> Identity:
        if entrance.curve:
            client = self._by_key.get(key)
            if client is None:
                raise NotAdmittedError(
                    f"no client in security.clients has the key {key}; if it is to be let in, add it there and reload"
                )
            return Identity(client.name, client.role, entrance.endpoint, address, "CURVE", key)
        uid = _uid(address) if entrance.local else None
        client = self._by_uid.get(uid) if uid is not None else None
        if client is not None:
            return Identity(client.name, client.role, entrance.endpoint, address)
        role, setting = self._rules.loopback_role, "loopback_role"
        if entrance.local:
            role, setting = self._rules.ipc_role, "ipc_role"
        if role == NO_ROLE:
            user = f"uid {uid} is no client of security.clients" if entrance.local else "the peer shows no credentials"
            raise NotAdmittedError(f"{user}, and security.{setting} is none; add a client, or change that setting")
        return Identity("", role, entrance.endpoint, address)

    # -- the audit

    def tell(self, audit: Audit) -> list[str]:
        """Tell the audit who was admitted and refused since the last call. Return the warnings for the log."""
        with self._lock:
            untold, self._untold = self._untold, Counter()
            warnings = [*self._warnings]
            self._warnings.clear()
        for (act, why, who), times in untold.items():
            audit.record("connection", act=act, why=why or None, identity=who, times=times)
        return warnings

    def _refuse(self, why: str, who: Identity) -> None:
        self.refused += 1
        self._note("refused", why, who)
        said = f"{who.address} at {who.endpoint}: {why}"
        if why not in self._warned and len(self._warned) < MOST_TOLD:
            self._warned.add(why)
            self._warnings.append(said)

    def _note(self, act: str, why: str, who: Identity) -> None:
        if (act, why, who) in self._untold or len(self._untold) < MOST_TOLD:
            self._untold[act, why, who] += 1


def _demands_key(endpoint: str, rules: AccessRules) -> bool:
    return rules.has_keys and not endpoint.startswith("ipc://") and endpoint not in rules.plain


def is_near(endpoint: str) -> bool:
    """Return True for an endpoint that other machines cannot reach."""
    transport, _, place = endpoint.partition("://")
    name = place.rpartition(":")[0].strip("[]")
    if transport != "tcp" or name == "localhost":
        return transport in {"ipc", "inproc", "tcp"}
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:  # `*`, or the name of an interface
        return False


def _address(shown: str) -> str:
    """Return an address as people write it: `uid 1000, pid 123` for libzmq's `localhost:1000:1000:123`."""
    parts = shown.split(":")
    if len(parts) == 4 and all(part.isdecimal() for part in parts[1:]):
        return f"uid {parts[1]}, pid {parts[3]}"
    return shown


def _uid(address: str) -> int | None:
    word, _, rest = address.partition(" ")
    number = rest.partition(",")[0]
    return int(number) if word == "uid" and number.isdecimal() else None
