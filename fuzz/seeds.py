"""Seeds of the fuzzer: golden vectors, alone and as conversations, and arguments of every request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgpack

from fuzz import decode
from ibbridge.codec import Dialect, frame
from ibbridge.codec.messages import OUTBOUND
from ibbridge.codec.schema import Record
from ibbridge.codec.versions import NEWEST, OLDEST
from tests.conformance.golden import FOLDER, load

if TYPE_CHECKING:
    from collections.abc import Iterator


def seeds() -> Iterator[bytes]:
    """Yield inputs for `decode.check`, the same in every run."""
    for name, look in (("in", decode.messages), ("out", decode.requests)):
        for vector in (*load(FOLDER / f"{name}_text.jsonl.gz"), *load(FOLDER / f"{name}_proto.jsonl.gz")):
            if vector["frame"] and OLDEST <= vector["server_version"] <= NEWEST:
                payload = bytes.fromhex(vector["frame"])
                yield decode.seed(look, vector["server_version"], 0, payload)
    yield from _conversations()
    for choice, request in enumerate(OUTBOUND):
        for version in (OLDEST, 200, NEWEST):
            yield decode.seed(decode.arguments, version, choice, msgpack.packb(_arguments(request.shape)))


def _conversations() -> Iterator[bytes]:
    for session in load(FOLDER / "handshake.jsonl.gz"):
        if session["server_hello"] and OLDEST <= session["server_version"] <= NEWEST:
            hello = bytes.fromhex(session["server_hello"])
            start = b"".join(bytes.fromhex(session["start_api"]["stream"]) for _ in range(2))
            for choice in (0, 1, 7):
                yield decode.seed(decode.host, OLDEST, choice, hello + _ready(session["server_version"]))
                yield decode.seed(decode.guest, OLDEST, choice, bytes.fromhex(session["client_hello"]) + start)
                yield decode.seed(decode.frames, OLDEST, choice, hello + frame(b"\0") + start)


def _ready(version: int) -> bytes:
    """Return the messages that make a connection ready, and a tick."""
    server = Dialect.server(version)
    said = (("nextValidId", {"orderId": 5}), ("managedAccounts", {"accountsList": "DU1"}), ("tickSize", {"size": 1.0}))
    return b"".join(server.put(name, data) for name, data in said)


def _arguments(record: Record) -> dict[str, Any]:
    """Return every field with its default, and nested records with theirs."""
    return {
        field.name: _arguments(field.type) if isinstance(field.type, Record) and not field.many else field.default
        for field in record.shape
    }
