"""Options that several subcommands share: the configuration file, its overrides, and the endpoints."""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING

from ibbridge.client import endpoints, keys
from ibbridge.config import loader, model

if TYPE_CHECKING:
    import argparse

    from ibbridge.client.endpoints import Endpoint
    from ibbridge.config.model import BusConfig


def configured(parser: argparse.ArgumentParser) -> None:
    """Declare `-c FILE` and `--set KEY=VALUE`."""
    parser.add_argument(
        "-c", "--config", type=pathlib.Path, metavar="FILE", help="the configuration file (default: all defaults)"
    )
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override one key of the configuration, such as tws.port=7497; may be repeated",
    )


def endpoint(parser: argparse.ArgumentParser, name: str, what: str) -> None:
    """Declare `--pub` or `--rep`, which overrides bus.NAME of the configuration with any address."""
    parser.add_argument(f"--{name}", metavar="ENDPOINT", help=f"{what} (default: bus.{name} of the configuration)")


def chosen(options: argparse.Namespace, bus: BusConfig) -> tuple[Endpoint, Endpoint]:
    """Return the endpoints `pub` and `rep`: the given ones, or else the nearest ones of the configuration.

    They have the given keys. Raise AuthError for keys that cannot be used.
    """
    own = keys.loaded(options.key_file, options.server_key)
    pub = getattr(options, "pub", None) or endpoints.nearest(bus.pub, own)
    rep = options.rep or endpoints.nearest(bus.rep, own)
    return endpoints.with_keys(pub, own), endpoints.with_keys(rep, own)


def keyed(parser: argparse.ArgumentParser) -> None:
    """Declare `--key-file` and `--server-key`."""
    parser.add_argument(
        "--key-file",
        metavar="FILE",
        help="the secret certificate to connect with (default: $IBBRIDGE_KEY)",
    )
    parser.add_argument(
        "--server-key",
        metavar="KEY",
        help="the public key of the daemon, or the file with it (default: $IBBRIDGE_SERVER_KEY)",
    )


def port(option: str, number: int) -> None:
    """Raise ValueError if `number` is not a valid port to listen on."""
    if not 0 <= number <= 65535:
        raise ValueError(f"{option} {number}: a port is a number from 0 to 65535")


def taken(command: str, host: str, number: int, option: str, error: OSError) -> str:
    """Return the error text for a port that cannot be listened on."""
    return (
        f"ibbridge {command}: cannot listen on {host}:{number}: {error.strerror or error}. Choose another {option} (0 "
        "takes a free one), or stop the program that has this one."
    )


def load(options: argparse.Namespace) -> model.Config:
    """Return the configuration of the given file and overrides. Raise ConfigError if it has faults."""
    return loader.load(options.config, options.overrides)
