"""The topics that a policy allows: single ones, and prefixes of subscriptions.

Pure. A subscription is allowed if all topics under its prefix are. In three places a wider prefix is narrowed to
prefixes that are: below `sys.` to the types of message that may be seen, below `acct.` to the accounts, and an
instrument's key without its dot to the streams of that instrument. The module must not know sockets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ibbridge.codec.messages import MESSAGES
from ibbridge.codec.schema import Topic
from ibbridge.protocol.topics import escape, unescape

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ibbridge.security.globs import Globs
    from ibbridge.security.instrument_rights import InstrumentRights

HEARTBEAT = "sys.bridge.heartbeat."
"""Topic of the heartbeat with everything. Below it are those for limited rights."""

SYSTEM = (
    *(f"sys.tws.{name}." for name in ("connection", "decodeError", "decodeErrors", "error", "farm", "gap")),
    *(f"sys.tws.{name}." for name, message in MESSAGES.items() if message.topic is Topic.SYSTEM),
    *(f"sys.bridge.{name}." for name in ("alarm", "bye", "gap", "halt", "massCancel", "reconciled", "reload", "risk")),
    "sys.bridge.store.",
)
"""Topics below `sys.`, apart from heartbeats and the audit. A subscription to `sys.` is narrowed to these."""

ACCOUNTS = frozenset(
    ("sys.bridge.halt.", *(f"sys.tws.{name}." for name in ("managedAccounts", "familyCodes", "receiveFA")))
)
"""Topics with the numbers of all accounts: only for those who may see every account."""

ORDERS = frozenset(
    (
        "sys.bridge.alarm.",
        "sys.bridge.massCancel.",
        "sys.bridge.reconciled.",
        "sys.bridge.reload.",
        "sys.bridge.risk.",
        "sys.tws.decodeError.",
        "sys.tws.decodeErrors.",
        "sys.tws.error.",
        *(f"sys.tws.{name}." for name in MESSAGES if name.startswith("verify")),
    )
)
"""Topics whose messages may name anybody's orders, or settings: only for those who may see every order."""

_OWN = "{name}"


class Own(NamedTuple):
    """Names that are a client's own: `holds` says which. `name` is the only one, unless it is empty."""

    holds: Callable[[str], bool]
    name: str = ""


class TopicRights:
    """Topics that a policy allows. `allowed` and `denied` are beginnings, without the configured prefix."""

    def __init__(
        self,
        allowed: Sequence[str],
        denied: Sequence[str],
        own: Own,
        accounts: Globs,
        instruments: InstrumentRights,
    ) -> None:
        whole = ["" if each == "*" else each for each in allowed]
        self._allowed = tuple(each for each in whole if _OWN not in each)
        self._own_of = tuple(each for each in whole if _OWN in each)
        self._denied = tuple(
            _named(each, own.name) for each in denied if each != "*" and (own.name or _OWN not in each)
        )
        self._nothing = "*" in denied
        self._own = own
        self._accounts = accounts
        self._instruments = instruments
        self.orders = self._covers("ord.")
        """True if every order may be seen."""
        self.everything = "" in self._allowed and not denied and accounts.everything and instruments.everything
        """True if each topic may be seen."""

    def sees(self, topic: str) -> bool:
        """Return True if messages of a topic, or all topics of a stream, may be seen."""
        return self.everything or self.narrowed(topic) == (topic,)

    def sees_some(self, stream: str) -> bool:
        """Return True if some messages of a stream may be seen."""
        return self.everything or bool(self.narrowed(stream))

    def narrowed(self, prefix: str) -> tuple[str, ...]:
        """Return the prefixes that a subscription to `prefix` is narrowed to; none if it is refused.

        Topics of heartbeats are not among them.
        """
        if self.everything:
            return (prefix,)
        first, dot, rest = prefix.partition(".")
        if not dot or not prefix.isascii():
            return ()
        by_class = {"sys": self._of_system, "acct": self._of_accounts, "md": self._of_market}
        if first in by_class:
            return by_class[first](prefix, rest)
        return (prefix,) if self._covers(prefix) else ()

    def _covers(self, prefix: str) -> bool:
        """Return True if the lists of the policy allow all topics under a prefix."""
        if self._nothing or any(prefix.startswith(each) or each.startswith(prefix) for each in self._denied):
            return False
        if prefix.startswith(self._allowed):
            return True
        _, _, rest = prefix.partition(".")
        component, dot, _ = rest.partition(".")
        if not dot or not self._own_of:
            return False
        return any(prefix.startswith(each.replace(_OWN, component)) for each in self._own_of) and self._is_own(
            component
        )

    def _is_own(self, component: str) -> bool:
        try:
            name = unescape(component)
        except ValueError:
            return False
        return escape(name) == component and self._own.holds(name)

    def _of_system(self, prefix: str, _: str) -> tuple[str, ...]:
        if prefix.startswith(HEARTBEAT):
            return ()
        whole = [topic for topic in SYSTEM if prefix.startswith(topic) and self._sees_system(topic)]
        if whole:
            return (prefix,) if self._covers(prefix) else ()
        found = [topic for topic in SYSTEM if topic.startswith(prefix) and self._sees_system(topic)]
        if prefix.startswith("sys.audit.") and self._covers(prefix):
            return (prefix,)
        if "sys.audit.".startswith(prefix) and self._covers("sys.audit."):
            found.append("sys.audit.")
        return tuple(found)

    def _sees_system(self, topic: str) -> bool:
        if (topic in ACCOUNTS and not self._accounts.everything) or (topic in ORDERS and not self.orders):
            return False
        return self._covers(topic)

    def sees_heartbeat(self) -> bool:
        """Return True if heartbeats may be seen, filtered."""
        return self._covers(HEARTBEAT)

    def _of_accounts(self, prefix: str, rest: str) -> tuple[str, ...]:
        account, dot, _ = rest.partition(".")
        if dot:
            return (prefix,) if self._covers(prefix) and self._sees_account(account) else ()
        if self._accounts.everything:
            return (prefix,) if self._covers(prefix) else ()
        beginnings = self._accounts.beginnings()
        if not beginnings:
            return ()
        topics = [f"acct.{escape(each)}{'.' if whole else ''}" for each, whole in beginnings if each or whole]
        found = [topic if topic.startswith(prefix) else prefix for topic in [*topics, "acct.all."]
                 if topic.startswith(prefix) or prefix.startswith(topic)]  # fmt: skip
        return tuple(dict.fromkeys(topic for topic in found if self._covers(topic)))

    def _sees_account(self, component: str) -> bool:
        """Return True if an account may be seen. `all` is the place of messages that no account is named in."""
        if component == "all":
            return bool(self._accounts)
        if component.startswith("~"):
            return self._accounts.everything
        try:
            return self._accounts.matches(unescape(component))
        except ValueError:
            return False

    def _of_market(self, prefix: str, rest: str) -> tuple[str, ...]:
        if not self._covers(prefix):
            return ()
        if self._instruments.everything:
            return (prefix,)
        component, dot, _ = rest.partition(".")
        key, plus, _ = component.partition("+")
        if not self._sees_instrument(key):
            return ()
        if dot or plus:
            return (prefix,)
        # The key may go on: fields behind the currency are the same instrument's, anything else is another one.
        more = ("-",) if key.count("-") >= 3 else ()
        return tuple(prefix + each for each in (".", "+", *more))

    def _sees_instrument(self, key: str) -> bool:
        try:
            return self._instruments.sees(key)
        except ValueError:
            return False


def _named(topic: str, name: str) -> str:
    return topic.replace(_OWN, escape(name))
