"""Key files: certificates in the format of zmq.auth, made, read, and refused if others could read their secret.

A certificate has metadata and a public key. NAME.key_secret has the secret key as well. The module knows files. It must
not know settings, sockets, or what a role allows.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from ibbridge.security import z85

if TYPE_CHECKING:
    import pathlib

PUBLIC, SECRET = ".key", ".key_secret"
SERVER = "server"
"""Name of the server's certificates."""

SERVER_KEY = "server-key"
"""Name of the server's public key in the metadata of a client's secret certificate."""

LONGEST = 65_536
"""Most bytes of a certificate that are read."""


class KeyFileError(Exception):
    """Key file that cannot be used. str() says which, why, and what to do."""


class Certificate(NamedTuple):
    """Certificate: keys in Z85, and metadata. `secret` is empty in a public certificate."""

    public: str
    secret: str
    metadata: dict[str, str]

    def __repr__(self) -> str:
        """Show the public key alone, so that no secret reaches a log."""
        return f"Certificate({self.public!r})"


def read(path: pathlib.Path) -> Certificate:
    """Read a certificate. Raise KeyFileError if it is none, or if others can read the secret key in it."""
    try:
        opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe must not block
        with os.fdopen(opened, "rb") as file:
            status = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(status):
                raise KeyFileError(f"{path}: is no certificate: not a file; remove it")
            mode = stat.S_IMODE(status)
            text = file.read(LONGEST).decode("utf-8")
    except OSError as error:
        raise KeyFileError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise KeyFileError(f"{path}: is no certificate: not UTF-8") from error
    values = _values(text)
    public, secret = values.pop("public-key", ""), values.pop("secret-key", "")
    if secret and mode & 0o077:
        raise KeyFileError(
            f"{path}: has a secret key, and its mode {mode:04o} lets others read or change it: chmod 600 {path}, and "
            "make new keys if others use this machine"
        )
    for name, key in (("public-key", public), ("secret-key", secret)):
        if not z85.is_key(key) and (key or name == "public-key"):
            raise KeyFileError(f"{path}: is no certificate: {name} is {'no key' if key else 'missing'}")
    return Certificate(public, secret, values)


def _values(text: str) -> dict[str, str]:
    """Return the values of a certificate by name. The names of its two sections have no value."""
    values: dict[str, str] = {}
    for line in text.splitlines():
        name, equals, value = line.strip().partition("=")
        if equals and not name.startswith("#"):
            values[name.strip()] = value.strip().strip("\"'")
    return values


def read_all(directory: pathlib.Path) -> dict[str, Certificate]:
    """Read the public certificates in a directory, by the names of their files. Raise KeyFileError for one that is bad.

    So is one that others can write. The server's own certificate is passed over.
    """
    if not directory.is_dir():
        raise KeyFileError(f"{directory}: is no directory; `ibbridge keygen NAME --dir {directory}` makes it")
    _check_writers(directory, 0o755)
    files = sorted(path for path in directory.iterdir() if path.suffix == PUBLIC and path.stem != SERVER)
    found = {path.stem: read(path) for path in files}
    for path in files:
        _check_writers(path, 0o644)
    return found


def _check_writers(path: pathlib.Path, wanted: int) -> None:
    """Refuse what others can write: whoever adds a certificate, or a role to one, is let in by it."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise KeyFileError(f"{path}: cannot be read: {error.strerror}") from error
    if mode & 0o022:
        raise KeyFileError(
            f"{path}: its mode {mode:04o} lets others change who is admitted, and with which role: chmod {wanted:o} "
            f"{path}"
        )


def write(directory: pathlib.Path, name: str, public: str, secret: str, metadata: dict[str, str]) -> None:
    """Write a public and a secret certificate, which only this user can read. Raise KeyFileError if one exists."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for suffix in (SECRET, PUBLIC):
            if (path := directory / f"{name}{suffix}").exists():
                raise KeyFileError(f"{path}: exists already, and is not overwritten; choose another name, or remove it")
        _write(directory / f"{name}{SECRET}", public, secret, metadata)
        known = {key: value for key, value in metadata.items() if key != SERVER_KEY}
        _write(directory / f"{name}{PUBLIC}", public, "", known)
    except OSError as error:
        raise KeyFileError(f"{error.filename or directory}: cannot be written: {error.strerror}") from error


def _write(path: pathlib.Path, public: str, secret: str, metadata: dict[str, str]) -> None:
    lines = [
        "#   ZeroMQ CURVE **Secret** Certificate. Keep it from everybody else."
        if secret
        else "#   ZeroMQ CURVE Public Certificate.",
        "metadata",
        *(f'    {key} = "{value}"' for key, value in metadata.items()),
        "curve",
        f'    public-key = "{public}"',
        *([f'    secret-key = "{secret}"'] if secret else []),
    ]
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(file, "w", encoding="utf-8") as opened:
        opened.write("\n".join(lines) + "\n")
