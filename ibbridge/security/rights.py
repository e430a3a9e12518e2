"""The rights of one client: the commands, arguments and topics that its policy allows.

Pure, and called for each command: what a policy allows is worked out once. A command that is not allowed raises
`CommandRefused` with the code E_PERM, which says the role, what is allowed, and what to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from ibbridge.protocol.errors import CommandRefused
from ibbridge.protocol.topics import escape
from ibbridge.security.globs import Globs
from ibbridge.security.instrument_rights import InstrumentRights
from ibbridge.security.topic_rights import HEARTBEAT, TopicRights

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ibbridge.security.instrument_rights import InstrumentKeys
    from ibbridge.security.policy_terms import Terms
    from ibbridge.security.topic_rights import Own

MOST_SHOWN = 20
"""Most commands of a list that a refusal repeats: more are no help."""

MOST_FAULTS = 10
"""Most faults of one refusal."""

_ORDERS = frozenset(("placeOrder", "whatIfOrder", "exerciseOptions"))
"""Commands that need an account, and take TWS's default one without it."""

TRADING = ("placeOrder", "placeOrders", "exerciseOptions", "cancelOrder")
"""Commands of those who trade."""

_NUMBERS = ("conId", "conid", "underlyingConId")
"""Arguments that are the conId of an instrument."""

_NESTED = (("order", "deltaNeutralConId"), ("wshEventData", "conId"))
"""Further conIds within arguments. TWS trades the first of them to hedge the order."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Knowledge that rights are applied with: the prefix of topics, instruments, and the accounts that TWS manages."""

    prefix: str
    keys: InstrumentKeys
    accounts: Callable[[], tuple[str, ...]] = lambda: ()
    way: str = "connect over ipc"
    """Advice to peers without a name of their own, which may do more elsewhere."""


class Whose(NamedTuple):
    """Client whose rights they are: its role, and the names that are its own."""

    role: str
    own: Own
    acts_as: Globs

    @property
    def label(self) -> str:
        """Text that names these rights: `data`, or `trader+alpha`."""
        return f"{self.role}+{self.own.name}" if self.own.name else self.role


class Rights:
    """Rights by the terms of a policy, which are complete here."""

    def __init__(self, whose: Whose, terms: Terms, around: Surroundings) -> None:
        self.whose = whose
        self.topics = terms.allowed.get("topics", ())
        """Topics as the policy gives them."""
        self.limits = terms.limits
        """Limits of risk, as the policy gives them."""
        allowed, denied = terms.allowed, terms.denied
        self._commands = Globs(allowed.get("commands", ()), denied.get("commands", ()), fold=False)
        self.accounts = Globs(allowed.get("accounts", ()), denied.get("accounts", ()))
        self.instruments = InstrumentRights(terms, around.keys)
        self._topics = TopicRights(
            allowed.get("topics", ()), denied.get("topics", ()), whose.own, self.accounts, self.instruments
        )
        self._managed = around.accounts
        self._way = around.way
        self._head = f"{around.prefix}." if around.prefix else ""
        self.everything = self._commands.everything and self._topics.everything
        """True if nothing is refused."""
        self.trades = any(map(self._commands.matches, TRADING))
        """True if orders may be sent."""
        self.heartbeat = f"{self._head}{HEARTBEAT}{escape(whose.label)}.".encode("ascii")
        """Topic of the heartbeat for these rights."""

    # -- topics

    @property
    def sees_everything(self) -> bool:
        """True if each topic may be seen."""
        return self._topics.everything

    @property
    def sees_orders(self) -> bool:
        """True if the orders of all clients may be seen."""
        return self._topics.everything or self._topics.orders

    def sees(self, topic: bytes) -> bool:
        """Return True if messages of a topic may be seen."""
        if self._topics.everything:
            return True
        text = self._below(topic)
        if topic == self.heartbeat:
            return self._topics.sees_heartbeat()
        return text is not None and self._topics.sees(text)

    def sees_some(self, stream: bytes) -> bool:
        """Return True if some messages of a stream may be seen."""
        if self._topics.everything:
            return True
        text = self._below(stream)
        return text is not None and self._topics.sees_some(text)

    def subscription(self, prefix: bytes) -> tuple[bytes, ...]:
        """Return the prefixes that a subscription gets in place of `prefix`; none if it is refused."""
        if self._topics.everything:
            return (prefix,)
        text = self._below(prefix)
        if text is None:
            return ()
        found = [f"{self._head}{each}".encode("ascii") for each in self._topics.narrowed(text)]
        if self.heartbeat.startswith(prefix) and text.startswith("sys.") and self._topics.sees_heartbeat():
            found.append(self.heartbeat)
        return tuple(found)

    def may_subscribe(self, prefix: bytes) -> bool:
        """Return True if a subscription is allowed, perhaps narrowed."""
        return bool(self.subscription(prefix))

    def _below(self, topic: bytes) -> str | None:
        """Return a topic without the configured prefix; None for one that is not below it."""
        text = topic.decode("latin-1")
        return text.removeprefix(self._head) if text.startswith(self._head) else None

    # -- commands

    def check_command(self, name: str, args: Mapping[str, Any]) -> None:
        """Raise `CommandRefused` unless a command with these arguments is allowed."""
        if not self._commands.matches(name):
            fault = f"{name} is not allowed to {self._who}"
            if len(self._commands.allowed) <= MOST_SHOWN:
                fault += f"; allowed are: {self._commands.shown()}"
            raise self._refused(f"{fault}; {self._more}")
        if self.instruments.everything and self.accounts.everything:
            return
        if faults := list(self._faults(name, args)):
            raise self._refused(*faults[:MOST_FAULTS])

    def check_contract(self, contract: Mapping[str, Any]) -> None:
        """Raise `CommandRefused` unless a contract is allowed."""
        if faults := list(self.instruments.faults(contract)):
            raise self._refused(*faults[:MOST_FAULTS])

    def check_account(self, account: str, where: str = "account") -> None:
        """Raise `CommandRefused` unless an account is allowed."""
        if faults := list(self._account_faults(account, where)):
            raise self._refused(*faults)

    def check_topic(self, prefix: bytes, where: str) -> None:
        """Raise `CommandRefused` unless the topics under a prefix may be seen, perhaps some of them only."""
        if not self.may_subscribe(prefix):
            shown = prefix.decode("latin-1")[:200]
            raise self._refused(f"{where}: {self.refusal(shown)}")

    def refusal(self, prefix: str) -> str:
        """Return the sentence that a subscription to `prefix` is refused with."""
        return (
            f"topics under {prefix!a} are not allowed to {self._who}; `topics`, `accounts` and the lists of "
            "instruments in its policy say which are"
        )

    def _refused(self, *faults: str) -> CommandRefused:
        return CommandRefused("E_PERM", *faults, role=self.whose.role)

    @property
    def _more(self) -> str:
        """Text that says how a peer may do more."""
        if self.whose.own.name:
            return "a role that may send it, or `commands` in the policy of this one, allows it"
        return (
            f"{self._way}, or with the key of a client that may send it (`ibbridge keygen`), or have the configuration "
            "say security.trust_loopback: true, which lets every program of this machine do everything"
        )

    @property
    def _who(self) -> str:
        name = self.whose.own.name
        return f"{name} (role {self.whose.role})" if name else f"the role {self.whose.role}"

    def _faults(self, name: str, args: Mapping[str, Any]) -> Iterator[str]:
        if not self.instruments.everything:
            yield from self._instrument_faults(args)
        if not self.accounts.everything:
            yield from self._faults_of_accounts(name, args)
        orders = args.get("orders")
        for number, each in enumerate(orders if isinstance(orders, list) else ()):
            if isinstance(each, dict):
                yield from (f"orders[{number}]: {fault}" for fault in self._faults("placeOrder", each))

    def _instrument_faults(self, args: Mapping[str, Any]) -> Iterator[str]:
        contract = args.get("contract")
        if isinstance(contract, dict):
            yield from self.instruments.faults(contract)
        for name in _NUMBERS:
            if name in args:
                yield from self.instruments.number_faults(args[name], name)
        for name, number in _NESTED:
            within = args.get(name)
            if isinstance(within, dict):
                yield from self.instruments.number_faults(within.get(number), f"{name}.{number}")
        if "underlyingSymbol" in args:
            yield from self.instruments.symbol_faults(args["underlyingSymbol"], "underlyingSymbol")

    def _faults_of_accounts(self, name: str, args: Mapping[str, Any]) -> Iterator[str]:
        order = args.get("order") if name != "exerciseOptions" else None
        if name in _ORDERS or isinstance(order, dict):
            yield from self._faults_of_order(name, order if isinstance(order, dict) else args)
        elif named := _ACCOUNT.get(name):
            value: Any = args
            for part in named.split("."):
                value = value.get(part) if isinstance(value, dict) else None
            if (name, value) != ("reqAccountSummary", "All"):
                yield from self._account_faults(value, named, default=name == "reqAccountUpdates")
        if name in _WHOLE and not self.accounts:
            yield f"{name} shows accounts, and no account is allowed to {self._who}"

    def _faults_of_order(self, name: str, attributes: Mapping[str, Any]) -> Iterator[str]:
        where = "" if name == "exerciseOptions" else "order."
        if group := attributes.get("faGroup"):
            yield from self._account_faults(group, f"{where}faGroup")
        if "account" in attributes or (name in _ORDERS and not group):
            yield from self._account_faults(attributes.get("account"), f"{where}account")

    def _account_faults(self, account: object, where: str, *, default: bool = True) -> Iterator[str]:
        """Yield why an account is not allowed. With `default`, the login's only account is meant if none is given."""
        managed = self._managed()
        if not account and default and len(managed) == 1:
            account = managed[0]
        if not account:
            yield f"{where} is missing: this client's accounts are limited to {self.accounts.shown()}"
        elif not self.accounts.matches(str(account)):
            yield f"{where}: {str(account)[:60]!a} is not allowed; accounts: {self.accounts.shown()}"


_ACCOUNT = {
    "reqAccountSummary": "groupName",
    "reqAccountUpdates": "acctCode",
    "reqAccountUpdatesMulti": "account",
    "reqExecutions": "execFilter.acctCode",
    "reqPnL": "account",
    "reqPnLSingle": "account",
    "reqPositionsMulti": "account",
}
"""Argument of each request that names an account, or a group of accounts."""

_WHOLE = frozenset(("reqPositions", "reqAccountSummary", "reqManagedAccts"))
"""Requests whose responses go to the topics of all accounts, of which a client sees those that are allowed to it."""
