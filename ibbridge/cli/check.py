"""`ibbridge check`: read a configuration file as the daemon does, and print its faults, or who may do what."""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING

from ibbridge import wiring
from ibbridge.config import credentials, loader
from ibbridge.config.model import ConfigError
from ibbridge.monitoring.printable import printable
from ibbridge.security import ways_in
from ibbridge.security.access import AccessError
from ibbridge.security.identity import NO_ROLE

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from ibbridge.config.model import Config
    from ibbridge.security.access import Access, Entrance

SUMMARY = """\
Read a configuration file as the daemon would, and print every fault: which line, which key, what was expected. If
there is none, print who may do what at each endpoint. Exit code 0: no fault; 2: at least one."""

EXAMPLES = """\
  ibbridge check /etc/ibbridge/ibbridge.yaml"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare options."""
    parser.add_argument("file", type=pathlib.Path, metavar="FILE", nargs="+", help="the configuration file")


def run(options: argparse.Namespace) -> int:
    """Check each file, and return 2 if any has faults. The faults are the result, so they go to standard output."""
    code = 0
    for file in options.file:
        try:
            config = loader.load(file)
            wiring.limits_of(config)
            rights = [*who_may(config)]
        except ConfigError as error:
            print(*map(printable, error.faults), sep="\n")
            code = 2
        except AccessError as error:
            print(printable(f"{file}: {error}"))
            code = 2
        else:
            print(f"{file}: ok", *map(printable, rights), sep="\n")
    return code


def who_may(config: Config) -> Iterator[str]:
    """Yield a line for each endpoint and each kind of peer that may connect there, with its role.

    Raise ConfigError or AccessError if the daemon could not start with the keys that it is given.
    """
    access = credentials.access(config.security)
    for key, endpoints in (("bus.pub", config.bus.pub), ("bus.rep", config.bus.rep)):
        for endpoint in endpoints:
            entrance = access.enter(key, endpoint)
            yield f"  {key} {endpoint}{' (CURVE)' if entrance.curve else ''}"
            yield from (f"    {line}" for line in _peers(access, entrance))
    if advice := ways_in.missing(config.bus.pub, config.bus.rep, access.rules):
        yield f"  {advice}"


def _peers(access: Access, entrance: Entrance) -> Iterator[str]:
    rules = access.rules
    for client in rules.clients:
        if entrance.curve and client.key:
            yield f"{client.name}, by its key: {client.role}"
        elif entrance.local and client.uid is not None:
            yield f"{client.name}, by the uid {client.uid}: {client.role}"
    if entrance.local:
        others = "every other user" if any(client.uid is not None for client in rules.clients) else "every user"
        who, role = f"{others} whom the directory's permissions let in", rules.ipc_role
    else:
        who, role = "every program of this machine", rules.loopback_role
    if entrance.curve:
        yield "nobody else"
    else:
        yield f"{who}: {'refused' if role == NO_ROLE else role}"
