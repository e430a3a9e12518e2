"""`ibbridge keygen`: make the keys of a client, or of the daemon, as certificates in the format of zmq.auth."""

from __future__ import annotations

import pathlib
import sys
from typing import TYPE_CHECKING

import zmq

from ibbridge.config import credentials, validators
from ibbridge.monitoring.printable import printable
from ibbridge.security import key_files
from ibbridge.security.identity import ROLES
from ibbridge.security.key_files import PUBLIC, SECRET, SERVER, SERVER_KEY, KeyFileError

if TYPE_CHECKING:
    import argparse

SUMMARY = """\
Make a pair of keys (CURVE): NAME.key, which is public, and NAME.key_secret, which only its program may read.

The daemon needs keys of its own (--server), once. Then each client gets a pair, and security.clients of the
configuration names the clients, or the directory with their public certificates. Nothing is ever overwritten. Exit
code 1: the files cannot be made."""

EXAMPLES = """\
  ibbridge keygen --server                        the daemon's keys
  ibbridge keygen alpha --role trader             the keys of the client alpha, who may trade
  ibbridge keygen alpha --dir /etc/ibbridge/keys  in another directory"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare options."""
    parser.add_argument("name", metavar="NAME", nargs="?", help="the client's name")
    parser.add_argument("--server", action="store_true", help="make the keys of the daemon")
    parser.add_argument(
        "--role", metavar="ROLE", default="observer",
        help=f"the client's role: {', '.join(ROLES)}, or one of security.roles (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--dir", type=pathlib.Path, metavar="DIR", default=credentials.default_directory(),
        help="the directory of the files (default: %(default)s)",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Make the files, say what to do with them, and return the exit code."""
    if fault := _fault(options):
        print(f"ibbridge keygen: {fault}", file=sys.stderr)
        return 2
    name = SERVER if options.server else options.name
    public, secret = (key.decode() for key in zmq.curve_keypair())
    directory = options.dir.expanduser()
    try:
        key_files.write(directory, name, public, secret, _metadata(options, directory))
    except KeyFileError as error:
        print(f"ibbridge keygen: {printable(str(error))}", file=sys.stderr)
        return 1
    print(*(_server if options.server else _client)(name, public, options.role, directory), sep="\n")
    return 0


def _fault(options: argparse.Namespace) -> str:
    if bool(options.name) == options.server:
        return "give the NAME of a client, or --server"
    if options.name == SERVER:
        return f"{SERVER} is the name of the daemon's own keys: give --server, or another NAME"
    if not options.server:
        for check, value in ((validators.client_name, options.name), (validators.client_name, options.role)):
            try:
                check(value)
            except validators.RefusedError as refused:
                return "; ".join(text for _, text in refused.faults)
    return ""


def _metadata(options: argparse.Namespace, directory: pathlib.Path) -> dict[str, str]:
    """Return the metadata of the certificates: the role of a client, and the server's key if it is there."""
    if options.server:
        return {}
    server = directory / f"{SERVER}{PUBLIC}"
    return {"role": options.role} | ({SERVER_KEY: key_files.read(server).public} if server.exists() else {})


def _server(name: str, public: str, _: str, directory: pathlib.Path) -> list[str]:
    return [
        f"the daemon's public key: {public}",
        f"made {directory / name}{PUBLIC} (for clients) and {directory / name}{SECRET} (for the daemon alone)",
        *([] if directory == credentials.default_directory() else [f"configure security.keys: {directory}"]),
    ]


def _client(name: str, public: str, role: str, directory: pathlib.Path) -> list[str]:
    return [
        f"made {directory / name}{PUBLIC} and {directory / name}{SECRET}",
        *([] if role in ROLES else [f"{role} is none of the roles that exist anyway: define it in security.roles"]),
        f"the daemon: security.clients: {directory}, or [{{name: {name}, role: {role}, key: '{public}'}}]",
        f"the client: connect({name!r}, key='{directory / name}{SECRET}'), or IBBRIDGE_KEY of its environment",
        f"on another machine the client needs that file, and server_key= or {SERVER}{PUBLIC}",
    ]
