"""Keys of a client: its own, from the secret certificate that `ibbridge keygen` has made, and the daemon's public key.

The module knows key files and environment variables. It must not know sockets.
"""

from __future__ import annotations

import os
import pathlib
from typing import NamedTuple

from ibbridge.client.errors import AuthError
from ibbridge.security import key_files, z85
from ibbridge.security.key_files import SERVER_KEY, KeyFileError

KEY, SERVER = "IBBRIDGE_KEY", "IBBRIDGE_SERVER_KEY"
"""Environment variables that name the keys, where a program is given none."""

Path = str | os.PathLike[str]


class Keys(NamedTuple):
    """Keys of a CURVE connection, in Z85: the client's pair, and the public key of the server."""

    public: str
    secret: str
    server: str

    def __repr__(self) -> str:
        """Show the public key alone, so that no secret reaches a log."""
        return f"Keys({self.public!r})"


def loaded(key: Path | None = None, server_key: Path | None = None) -> Keys | None:
    """Return the keys in these certificates, or in those that the environment names; None if there is no key.

    `key` is the path of a secret certificate. `server_key` is the daemon's public key, or the path of its certificate;
    it may be left out if the secret certificate names it. Raise AuthError if a key cannot be used.
    """
    own, server = key or os.environ.get(KEY), server_key or os.environ.get(SERVER)
    if not own:
        if server_key:
            raise AuthError("server_key= is given, and no key=: give both, or neither")
        return None
    try:
        certificate = key_files.read(pathlib.Path(own).expanduser())
        server = _server(server or certificate.metadata.get(SERVER_KEY, ""))
    except KeyFileError as error:
        raise AuthError(str(error)) from error
    if not certificate.secret:
        raise AuthError(f"{own}: has no secret key; give the file NAME.key_secret that `ibbridge keygen NAME` made")
    if not server:
        raise AuthError(
            f"{own}: the daemon's public key is not known; give server_key= (its server.key), or set {SERVER}"
        )
    return Keys(certificate.public, certificate.secret, server)


def _server(given: Path) -> str:
    text = os.fspath(given)
    return text if not text or z85.is_key(text) else key_files.read(pathlib.Path(text).expanduser()).public
