"""The credentials that the settings name: clients from certificates, the server's secret key, and the table of access.

The module knows where key files are. It must not know sockets.
"""

from __future__ import annotations

import os
import pathlib
from dataclasses import replace
from typing import TYPE_CHECKING

from ibbridge.config import validators
from ibbridge.config.model import ConfigError
from ibbridge.security import key_files, policy_terms
from ibbridge.security.access import Access, AccessRules, KnownClient
from ibbridge.security.key_files import KeyFileError
from ibbridge.security.policy import DEFAULTS

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from ibbridge.config.model import SecurityConfig
    from ibbridge.security.key_files import Certificate


def access(config: SecurityConfig) -> Access:
    """Return the table of access. Raise ConfigError for clients or keys that cannot be used."""
    rules = access_rules(config)
    secret = directory(config) / f"{key_files.SERVER}{key_files.SECRET}"
    if not rules.has_keys or not secret.exists():
        return Access(rules)
    try:
        return Access(rules, key_files.read(secret).secret.encode())
    except KeyFileError as error:
        raise ConfigError([f"security.keys: {error}"]) from error


def access_rules(config: SecurityConfig) -> AccessRules:
    """Return the rules of access, with the clients of a directory read. Raise ConfigError with every fault."""
    clients = config.clients if isinstance(config.clients, tuple) else _clients_in(config.clients, config.roles)
    loopback = "admin" if config.trust_loopback else config.loopback_role
    return AccessRules(clients, config.ipc_role, loopback, config.plain)


def directory(config: SecurityConfig) -> pathlib.Path:
    """Return the directory of the server's keys."""
    if config.keys:
        return pathlib.Path(config.keys).expanduser()
    return default_directory()


def default_directory() -> pathlib.Path:
    """Return the directory of keys of systemd's service, or else of this user."""
    if given := os.environ.get("CONFIGURATION_DIRECTORY"):
        return pathlib.Path(given.split(":")[0]) / "keys"
    return pathlib.Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "ibbridge" / "keys"


def _clients_in(text: str, roles: Collection[str]) -> tuple[KnownClient, ...]:
    place = pathlib.Path(text).expanduser()
    try:
        found = key_files.read_all(place)
    except KeyFileError as error:
        raise ConfigError([f"security.clients: {error}"]) from error
    faults: list[str] = []
    clients = []
    for name, certificate in found.items():
        try:
            clients.append(client := _client(name, certificate))
            if client.role not in roles and client.role not in DEFAULTS:
                known = ", ".join(sorted({*DEFAULTS, *roles}))
                fault = f"there is no role {client.role!a}; there are {known}"
                faults.append(f"security.clients: {place / name}{key_files.PUBLIC}: {fault}")
        except validators.RefusedError as refused:
            faults += (f"security.clients: {place / name}{key_files.PUBLIC}: {text}" for _, text in refused.faults)
    faults += (f"security.clients: {place}: {fault}" for fault in validators.shared_credentials(clients))
    if faults:
        raise ConfigError(faults)
    return tuple(clients)


def _client(name: str, certificate: Certificate) -> KnownClient:
    given: dict[str, object] = {"name": name, "key": certificate.public}
    if "role" in certificate.metadata:
        given["role"] = certificate.metadata["role"]
    if "acts_as" in certificate.metadata:
        given["acts_as"] = _words(certificate.metadata["acts_as"])
    sound = {key: validators.CLIENT[key](value) for key, value in given.items()}
    terms, faults = policy_terms.read(_terms(certificate.metadata))
    if faults:
        raise validators.RefusedError([((), f"{'.'.join(path)}: {text}") for path, text in faults])
    return KnownClient(**sound, policy=replace(terms, acts_as=sound.get("acts_as")))


def _terms(metadata: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the terms of a policy in the metadata of a certificate. A misspelt denial is a fault, and not skipped."""
    names = {*policy_terms.LISTS, *(name for name in metadata if name.startswith("deny_"))}
    return {name: _words(metadata[name]) for name in names if name in metadata}


def _words(text: str) -> list[str]:
    return [each.strip() for each in text.split(",")]
