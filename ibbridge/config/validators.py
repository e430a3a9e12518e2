"""Validators of settings: one function per kind of value, which returns the value or raises its faults.

Pure, and defined for every value that YAML can hold. A fault says what was expected, what was given and, for a usual
mistake, what to do about it.
"""

from __future__ import annotations

import difflib
import ipaddress
import math
import posixpath
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

from ibbridge.codec.encoding import is_usable
from ibbridge.config import yaml_document
from ibbridge.config.maintenance_windows import Window, window
from ibbridge.security import policy, policy_terms, z85
from ibbridge.security.access import KnownClient, is_near
from ibbridge.security.identity import NO_ROLE
from ibbridge.security.runtime_directory import RUNTIME_DIRECTORY

if TYPE_CHECKING:
    from ibbridge.security.policy_terms import Terms

Check: TypeAlias = Callable[[object], Any]


class RefusedError(Exception):
    """Invalid value: `faults` has (path below the value, sentence) for each fault."""

    def __init__(self, faults: Sequence[tuple[yaml_document.Path, str]]) -> None:
        super().__init__(faults)
        self.faults = faults


def shown(value: object) -> str:
    """Return a short text for a given value, in printable ASCII."""
    if value is None:
        return "nothing"
    if isinstance(value, dict | list):
        return "a map" if isinstance(value, dict) else "a list"
    text = str(value).lower() if isinstance(value, bool) else ascii(value)
    return text if len(text) <= 80 else f"{text[:76]} ..."


def _refused(expected: str, value: object, hint: str = "") -> RefusedError:
    return RefusedError([((), f"expected {expected}, got {shown(value)}{hint}")])


def _number(expected: str, value: object) -> int | float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    in_quotes = isinstance(value, str) and isinstance(yaml_document.scalar(value), int | float)
    raise _refused(expected, value, " (drop the quotes)" if in_quotes else "")


def _text(expected: str, value: object) -> str:
    if isinstance(value, str):
        return value
    raise _refused(expected, value, " (put it in quotes)" if isinstance(value, int | float) else "")


def whole(low: int, high: int) -> Check:
    """Return a check for an integer from `low` to `high`, both included."""
    expected = f"a whole number from {low} to {high}"

    def check(value: object) -> int:
        number = _number(expected, value)
        if isinstance(number, int) and low <= number <= high:
            return number
        raise _refused(expected, value)

    return check


port = whole(1, 65535)


def seconds(low: float = 0.0, high: float = 86_400.0) -> Check:
    """Return a check for a duration in seconds, whole or not: above 0, at least `low`, at most `high`."""
    expected = f"seconds, {f'from {low:g}' if low else 'more than 0'} up to {high:g}"

    def check(value: object) -> float:
        number = _number(expected, value)
        if math.isfinite(number) and number > 0 and low <= number <= high:
            return float(number)
        raise _refused(expected, value)

    return check


def choice(*words: str) -> Check:
    """Return a check for one of `words`."""
    expected = f"one of {', '.join(words)}"

    def check(value: object) -> str:
        if isinstance(value, str) and value in words:
            return value
        raise _refused(expected, value, _meant(value, words))

    return check


def choices(*words: str) -> Check:
    """Return a check for a map of names to one of `words` each."""
    of_each = choice(*words)

    def check(value: object) -> dict[str, str]:
        if value is None:  # the section with nothing but comments below it
            return {}
        if not isinstance(value, dict):
            raise _refused("a map of names", value)
        faults: list[tuple[yaml_document.Path, str]] = []
        found: dict[str, str] = {}
        for name, given in value.items():
            try:
                found[str(name)] = of_each(given)
            except RefusedError as refused:
                faults += [((name, *below), text) for below, text in refused.faults]
        if faults:
            raise RefusedError(faults)
        return found

    return check


def names(known: Sequence[str]) -> Check:
    """Return a check for a list of `known` words, which returns a tuple. Each unknown word is a fault of its own."""

    def check(value: object) -> tuple[str, ...]:
        if not isinstance(value, list):
            raise _refused(f"a list, such as [{known[0]}]", value)
        if strangers := [item for item in value if item not in known]:
            raise RefusedError([((), f"{shown(item)}: unknown name{_meant(item, known)}") for item in strangers])
        return tuple(dict.fromkeys(value))

    return check


LONGEST_WORD = 64


def words(value: object) -> tuple[str, ...]:
    """Return a list of words of IB's as a tuple, each word once. Each text that cannot be one is a fault of its own."""
    if not isinstance(value, list):
        raise _refused("a list, such as [TYPE A, TYPE B]", value)
    expected = f"printable ASCII text of at most {LONGEST_WORD} characters, without blanks at its ends"
    faults: list[tuple[yaml_document.Path, str]] = []
    for item in value:
        try:
            word = _text(expected, item)
        except RefusedError as refused:
            faults += refused.faults
            continue
        if not (0 < len(word) <= LONGEST_WORD and word.isascii() and word.isprintable() and word == word.strip()):
            faults.append(((), f"expected {expected}, got {shown(item)}"))
    if faults:
        raise RefusedError(faults)
    return tuple(dict.fromkeys(value))


def windows(value: object) -> tuple[Window, ...]:
    """Return a list of maintenance windows as a tuple; each invalid window is a fault of its own."""
    if not isinstance(value, list):
        raise _refused("a list, such as ['Sun-Fri 23:45-00:45 America/New_York']", value)
    found: list[Window] = []
    faults: list[tuple[yaml_document.Path, str]] = []
    for text in value:
        try:
            found.append(window(_text("a window", text)))
        except ValueError as error:
            faults.append(((), f"{shown(text)}: {error}"))
    if faults:
        raise RefusedError(faults)
    return tuple(found)


def _meant(value: object, known: Sequence[str]) -> str:
    lower = {word.lower(): word for word in known}
    near = difflib.get_close_matches(value.lower(), lower, 1) if isinstance(value, str) else []
    return f"; did you mean {lower[near[0]]}?" if near else ""


def host(value: object) -> str:
    """Return a host name or an address, without a port."""
    expected = "a host name or an IP address"
    text = _text(expected, value)
    if re.fullmatch(r"[A-Za-z0-9._:%-]{1,253}", text) and (text.count(":") != 1):
        return text
    raise _refused(expected, value, "; the port has a key of its own" if text.count(":") == 1 else "")


def share(value: object) -> float:
    """Return a part of a whole: more than 0, at most 1."""
    expected = "a number from 0.01 to 1"
    number = _number(expected, value)
    if math.isfinite(number) and 0.01 <= number <= 1:
        return float(number)
    raise _refused(expected, value)


def currency(value: object) -> str:
    """Return an empty text, or the code of a currency."""
    expected = 'empty text ("") or a currency such as USD'
    text = _text(expected, value)
    if re.fullmatch(r"([A-Z]{3})?", text):
        return text
    raise _refused(expected, value)


def accounts(value: object) -> tuple[str, ...]:
    """Return a list of accounts, by name or pattern."""
    if not isinstance(value, list):
        raise _refused("a list of accounts, such as [U1234567]", value)
    expected = "the name of an account, or a pattern such as U12*"
    found = [((), f"expected {expected}, got {shown(item)}") for item in value if not isinstance(item, str) or not item]
    if found:
        raise RefusedError(found)
    return tuple(dict.fromkeys(value))


def limits(value: object) -> dict[str, Any]:
    """Return a map of limits. The values are checked where the limits are declared."""
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise _refused("a map of limits, such as {max_order_quantity: 1000}", value)
    return value


def limits_by_name(value: object) -> dict[str, dict[str, Any]]:
    """Return maps of limits by the name of an account or a client."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _refused("a map of names to limits, such as {DU123: {max_position: 100}}", value)
    found: dict[str, dict[str, Any]] = {}
    faults: list[tuple[yaml_document.Path, str]] = []
    for name, given in value.items():
        try:
            found[str(name)] = limits(given)
        except RefusedError as refused:
            faults += [((name, *below), text) for below, text in refused.faults]
    if faults:
        raise RefusedError(faults)
    return found


def printable(value: object) -> str:
    """Return a text that can go into a frame of the handshake, which a NUL or a line break would end early."""
    expected = "printable ASCII text of at most 255 characters"
    text = _text(expected, value)
    if text.isascii() and text.isprintable() and len(text) <= 255:
        return text
    raise _refused(expected, value)


def encoding(value: object) -> str:
    """Return the name of an encoding of text that Python knows, in which ASCII is itself."""
    expected = "an encoding of text in which ASCII is itself, such as utf-8, cp1252, gbk or cp932"
    name = _text(expected, value)
    if is_usable(name):
        return name
    raise _refused(expected, value)


def days(value: object) -> float:
    """Return a number of days, from an hour to ten years."""
    expected = "days, from 0.04 (an hour) to 3650"
    number = _number(expected, value)
    if math.isfinite(number) and 0.04 <= number <= 3650:
        return float(number)
    raise _refused(expected, value)


def path(value: object) -> str:
    """Return an empty text, or a path in the file system; `~` is the user's home."""
    expected = 'empty text ("") or a path'
    text = _text(expected, value)
    if text.isprintable() and len(text.encode()) < 4096:
        return text
    raise _refused(expected, value)


COMPONENT = "A-Z a-z 0-9 _ - + @ ~ /"  # the characters of a topic's part between two dots


def prefix(value: object) -> str:
    """Return an empty text, or one component of a topic."""
    expected = f'empty text ("") or characters out of {COMPONENT}'
    text = _text(expected, value)
    if re.fullmatch(r"[A-Za-z0-9_+@~/-]{0,200}", text):
        return text
    raise _refused(expected, value)


# The kernel's sun_path holds 108 bytes, the last of which is NUL.
MAX_IPC_PATH = 107


MOST_ENDPOINTS = 16


def endpoints(value: object) -> tuple[str, ...]:
    """Return one ZeroMQ endpoint, or a list of them, as a tuple."""
    if not isinstance(value, list):
        return (endpoint(value),)
    if not 0 < len(value) <= MOST_ENDPOINTS:
        raise RefusedError([((), f"expected 1 to {MOST_ENDPOINTS} endpoints, got {len(value)}")])
    return _each(value, endpoint)


def plain_endpoints(value: object) -> tuple[str, ...]:
    """Return a list of loopback endpoints as a tuple."""
    if not isinstance(value, list):
        raise _refused("a list, such as [tcp://127.0.0.1:5555]", value)
    return _each(value, _loopback)


def _each(values: Sequence[object], check: Check) -> tuple[Any, ...]:
    faults: list[tuple[yaml_document.Path, str]] = []
    sound = []
    for item in values:
        try:
            sound.append(check(item))
        except RefusedError as refused:
            faults += refused.faults
    if faults:
        raise RefusedError(faults)
    return tuple(dict.fromkeys(sound))


def _loopback(value: object) -> str:
    text = endpoint(value)
    if text.startswith("tcp://") and is_near(text):
        return text
    raise _refused("a loopback endpoint, such as tcp://127.0.0.1:5555", value)


def endpoint(value: object) -> str:
    """Return a ZeroMQ endpoint of this machine."""
    expected = "tcp://127.0.0.1:PORT or ipc:///PATH"
    text = _text(expected, value)
    if text.startswith("ipc://"):
        fault = _ipc_fault(text.removeprefix("ipc://").replace(RUNTIME_DIRECTORY, "/run", 1))
    elif text.startswith("tcp://"):
        fault = _tcp_fault(text.removeprefix("tcp://"))
    else:
        raise _refused(expected, value)
    if fault:
        raise RefusedError([((), f"{fault}, got {shown(text)}")])
    return text


def _ipc_fault(path: str) -> str:
    if path.startswith("@"):
        return (
            "abstract ipc sockets have no permissions and would let in every user of this machine: expected ipc:///PATH"
        )
    if not path.startswith("/") or path.endswith("/") or not path.isprintable():
        return "expected an absolute path after ipc://, as in ipc:///run/ibbridge/pub"
    if len(path.encode()) > MAX_IPC_PATH:
        return f"expected a path of at most {MAX_IPC_PATH} bytes after ipc://"
    return ""


def _tcp_fault(address: str) -> str:
    name, colon, number = address.rpartition(":")
    if not (colon and re.fullmatch(r"[1-9][0-9]{0,4}", number) and int(number) <= 65535):
        return "expected a port from 1 to 65535, as in tcp://127.0.0.1:5555"
    if not _is_address(name):
        return "expected an IP address (127.0.0.1, [::1]), localhost, or * for all addresses of this machine"
    return ""


def _is_address(name: str) -> bool:
    if name in {"localhost", "*"}:
        return True
    bracketed = name.startswith("[") and name.endswith("]")
    try:
        address = ipaddress.ip_address(name[1:-1] if bracketed else name)
    except ValueError:
        return False
    return bracketed == (address.version == 6) and "%" not in name


def same_endpoint(one: str, other: str) -> bool:
    """Return True if two valid endpoints are the same address, perhaps in two spellings."""
    return _canonical(one) == _canonical(other)


def _canonical(text: str) -> str:
    scheme, _, rest = text.partition("://")
    if scheme == "ipc":
        return posixpath.normpath(rest)
    name, _, number = rest.rpartition(":")
    known = {"localhost": "127.0.0.1", "*": "0.0.0.0"}  # noqa: S104 -- compared, not bound
    return f"{ipaddress.ip_address(known.get(name) or name.strip('[]'))}:{number}"


def flag(value: object) -> bool:
    """Return true or false."""
    if isinstance(value, bool):
        return value
    raise _refused("true or false", value)


def _price(value: object) -> float:
    number = _number("a number", value)
    if math.isfinite(number):
        return float(number)
    raise _refused("a number", value)


# The attributes of IB's contract that identify it. A combo has no name here: its key is made from its legs.
CONTRACT: dict[str, Check] = {
    "conId": whole(1, 2**31 - 1),
    "symbol": printable,
    "secType": printable,
    "lastTradeDateOrContractMonth": printable,
    "strike": _price,
    "right": printable,
    "multiplier": printable,
    "exchange": printable,
    "primaryExchange": printable,
    "currency": printable,
    "localSymbol": printable,
    "tradingClass": printable,
    "includeExpired": flag,
    "secIdType": printable,
    "secId": printable,
}
SUBSCRIBE = "subscribe"
"""Setting of an instrument: true has the daemon subscribe to its market data from the start."""

IDENTIFYING = ("conId", "symbol", "localSymbol", "secId")


def instruments(value: object) -> dict[str, dict[str, Any]]:
    """Return contracts by their names in topics.

    A second name for a contract is a fault: it would mean a second stream, and take a second market data line.
    """
    if value is None:  # `instruments:` with nothing but comments below it
        return {}
    if not isinstance(value, dict):
        raise _refused("a map of names to contracts", value)
    faults: list[tuple[yaml_document.Path, str]] = []
    contracts: dict[str, dict[str, Any]] = {}
    for name, given in value.items():
        # `+` begins the kind of a stream (`ES+depth`), `~` the name of a stream that no client has requested (`~17`).
        if not re.fullmatch(r"(?!~)[A-Za-z0-9_@~/-]{1,200}", name):
            faults.append(((name,), "a name has characters out of A-Z a-z 0-9 _ - @ ~ / and does not begin with ~"))
        try:
            contract = _contract(given)
        except RefusedError as refused:
            faults += [((name, *below), text) for below, text in refused.faults]
            continue
        if twin := next((other for other, known in contracts.items() if bare(known) == bare(contract)), None):
            faults.append(((name,), f"is the same contract as {twin}; keep one of the two names"))
        contracts[name] = contract
    if faults:
        raise RefusedError(faults)
    return contracts


def bare(instrument: Mapping[str, Any]) -> dict[str, Any]:
    """Return the contract of a configured instrument, without what the daemon is to do about it."""
    return {name: value for name, value in instrument.items() if name != SUBSCRIBE}


def _contract(given: object) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise _refused("a map of the contract's attributes, such as {symbol: ES, secType: FUT, exchange: CME}", given)
    faults: list[tuple[yaml_document.Path, str]] = []
    contract: dict[str, Any] = {}
    for key, value in given.items():
        if (check := flag if key == SUBSCRIBE else CONTRACT.get(key)) is None:
            faults.append(((key,), f"unknown attribute of a contract{_meant(key, tuple(CONTRACT))}"))
            continue
        try:
            contract[key] = check(value)
        except RefusedError as refused:
            faults += [((key,), text) for _, text in refused.faults]
    if not faults and not any(contract.get(key) for key in IDENTIFYING):
        faults.append(((), f"does not say which contract it is: give one of {', '.join(IDENTIFYING)}"))
    if faults:
        raise RefusedError(faults)
    return contract


def role(value: object) -> str:
    """Return the name of a role. `SecurityConfig` knows which roles there are."""
    expected = "the name of a role, out of a-z A-Z 0-9 _ -"
    text = _text(expected, value)
    if re.fullmatch(r"[A-Za-z0-9_-]{1,32}", text):
        return text
    raise _refused(expected, value)


def roles(value: object) -> dict[str, Terms]:
    """Return the terms of roles by name."""
    if value is None:  # `roles:` with nothing but comments below it
        return {}
    if not isinstance(value, dict):
        raise _refused("a map of roles, such as {desk: {like: trader, accounts: [DU1]}}", value)
    faults: list[tuple[yaml_document.Path, str]] = []
    found: dict[str, Terms] = {}
    for name, given in value.items():
        try:
            role(name)
        except RefusedError as refused:
            faults += [((name,), text) for _, text in refused.faults]
        if name == NO_ROLE:
            faults.append(((name,), "is nobody's role: it stands for connections that are not admitted"))
        found[name], wrong = policy_terms.read(given)
        faults += [((name, *path), text) for path, text in wrong]
    faults += policy.faults(found)
    if faults:
        raise RefusedError(faults)
    return found


LONGEST_NAME = 32


def client_name(value: object) -> str:
    """Return a client's name, which is also a file's name and a part of topics."""
    expected = f"1 to {LONGEST_NAME} characters out of A-Z a-z 0-9 _ - . + @ ~"
    text = _text(expected, value)
    if text == "ext":
        raise RefusedError([((), "'ext' is nobody's name: the owner of orders that no client here has placed")])
    if re.fullmatch(rf"(?!\.)[A-Za-z0-9_.+@~-]{{1,{LONGEST_NAME}}}", text):
        return text
    raise _refused(expected, value)


def _key(value: object) -> str:
    expected = "a public key in Z85, 40 characters, in quotes (`ibbridge keygen` prints it)"
    text = _text(expected, value)
    if z85.is_key(text):
        return text
    raise _refused(expected, value)


NOBODY = 65_534
"""Uid that the kernel shows for every user who has none in the namespace of this process (systemd's PrivateUsers=)."""


def _uid(value: object) -> int:
    number: int = whole(0, 2**32 - 2)(value)
    if number != NOBODY:
        return number
    raise RefusedError(
        [((), f"{number} is nobody: the kernel shows it for all users whom it hides (systemd: PrivateUsers=no)")]
    )


def _names(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise _refused("a list of names, such as [alpha, 'desk-*']", value)
    return _each(value, printable)


CLIENT: dict[str, Check] = {
    "name": client_name,
    "role": role,
    "key": _key,
    "uid": _uid,
    "acts_as": _names,
}
"""The settings of a client."""


def clients(value: object) -> str | tuple[KnownClient, ...]:
    """Return clients, or the path of a directory with their certificates."""
    if isinstance(value, str) and value:
        return path(value)
    if value is None or value == "":
        return ()
    if not isinstance(value, list):
        raise _refused("a list of clients, such as [{name: alpha, role: trader, key: ...}], or a directory", value)
    faults: list[tuple[yaml_document.Path, str]] = []
    found: list[KnownClient] = []
    for number, given in enumerate(value, 1):
        try:
            found.append(_client(given, number))
        except RefusedError as refused:
            faults += refused.faults
    faults += [((), fault) for fault in shared_credentials(found)]
    if faults:
        raise RefusedError(faults)
    return tuple(found)


def _client(given: object, number: int) -> KnownClient:
    if not isinstance(given, dict):
        raise RefusedError([((), f"client {number}: expected a map with name and role, got {shown(given)}")])
    who = f"client {given['name']}" if isinstance(given.get("name"), str) else f"client {number}"
    terms, wrong = policy_terms.read({key: item for key, item in given.items() if key not in CLIENT}, tuple(CLIENT))
    faults: list[tuple[yaml_document.Path, str]] = [
        ((), f"{who}: {': '.join(('.'.join(path), text))}") for path, text in wrong
    ]
    if terms.like:
        faults.append(((), f"{who}: like: a client has a role in place of that: write role: {terms.like}"))
    sound: dict[str, Any] = {}
    for key, value in given.items():
        try:
            if key in CLIENT:
                sound[key] = CLIENT[key](value)
        except RefusedError as refused:
            faults += [((), f"{who}: {key}: {text}") for _, text in refused.faults]
    if "name" not in given:
        faults.append(((), f"{who}: has no name"))
    if not {"key", "uid"} & given.keys():
        faults.append(((), f"{who}: has neither key nor uid, so nothing would prove that it is the one"))
    if faults:
        raise RefusedError(faults)
    return KnownClient(**sound, policy=replace(terms, acts_as=sound.get("acts_as")))


def shared_credentials(clients: Sequence[KnownClient]) -> list[str]:
    """Return a fault for each key and each uid that is given to two clients."""
    faults = []
    first: dict[str | int, KnownClient] = {}
    for client in clients:
        for what, value in (("key", client.key or None), ("uid", client.uid)):
            if value is not None and (other := first.setdefault(value, client)) is not client:
                faults.append(f"client {client.name}: has the same {what} as {other.name}; give each its own")
    return faults
