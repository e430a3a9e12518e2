"""The decoders that are compared: ours, that of ib_async and IB's own, each given payloads of frames in a loop.

Each does what it does in its own client from the payload (a frame without its length) to the callback: find the id,
split the text into fields, convert them. The loop is written out, so that nobody pays for a call that his own client
does not make. Callbacks do nothing, and nothing is logged: what is measured is decoding alone.

Given a list, a decoder's callbacks put their names there instead, in the spelling of IB's client: so it can be checked
that a payload was read and not skipped. That is for checking and is never measured.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC
from functools import partial
from importlib.metadata import version as release
from inspect import getmembers, isfunction
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import ib_async.decoder
import ib_async.wrapper
import ibapi.decoder
from google.protobuf.message import DecodeError
from ibapi.comm import read_fields
from ibapi.common import PROTOBUF_MSG_ID
from ibapi.server_versions import MIN_SERVER_VER_PROTOBUF
from ibapi.utils import BadMessage
from ibapi.wrapper import EWrapper

from ibbridge.codec import Dialect, Undecodable
from ibbridge.inbound.router import PASSED_ON

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Run = Callable[[Iterable[bytes]], None]
    """Reads payloads one after the other."""

_FAULTS = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, BadMessage, DecodeError)
"""What the others raise on what they cannot read."""

_AS_IB_HAS_IT = {"priceSizeTick": "tickPrice", "commissionReport": "commissionAndFeesReport"}
"""Callbacks of ib_async that have a name of its own, or one that IB has given up."""


@dataclass(frozen=True)
class Subject:
    """One decoder. `at` makes it for a server version; `heard` takes the names of callbacks, for checking."""

    name: str
    at: Callable[[int, list[str] | None], Run]

    def listener(self, version: int) -> Callable[[bytes], list[str]]:
        """A function from a payload to the callbacks that it leads to, in order; none if it cannot be read."""
        heard: list[str] = []
        run = self.at(version, heard)

        def names(payload: bytes) -> list[str]:
            heard.clear()
            try:
                run([payload])
            except _FAULTS:
                return []
            whole = [name for name in heard if not name.endswith("ProtoBuf")]  # each has one beside it, some are alone
            return whole or [name.removesuffix("ProtoBuf") for name in heard]

        return names


def _read(packed: frozenset[str], version: int, heard: list[str] | None) -> Run:
    dialect = Dialect.client(version, packed)
    read = dialect.read_packed

    def run(payloads: Iterable[bytes]) -> None:
        for payload in payloads:
            read(payload)

    def check(payloads: Iterable[bytes]) -> None:
        for found in map(read, payloads):
            if not isinstance(found, Undecodable) and heard is not None:
                heard.append(found[0])

    return run if heard is None else check


def _ib_async(version: int, heard: list[str] | None) -> Run:
    wrapper = _listener((), ib_async.wrapper.Wrapper, heard)
    wrapper.defaultTimezone, wrapper.ib = UTC, SimpleNamespace(TimezoneTWS="")
    decoder = ib_async.decoder.Decoder(wrapper, version)
    if heard is not None:  # it reports through its logger what it cannot read, and goes on
        decoder.logger = SimpleNamespace(exception=lambda _: heard.clear())  # type: ignore[assignment]

    def run(payloads: Iterable[bytes]) -> None:  # ib_async.client.Client._onSocketHasData
        for payload in payloads:
            msg = payload.decode(errors="backslashreplace")
            fields = msg.split("\0")
            fields.pop()
            decoder.interpret(fields)  # type: ignore[no-untyped-call]

    return run


def _official(version: int, heard: list[str] | None) -> Run:
    _silence("ibapi")
    decoder = ibapi.decoder.Decoder(_listener((EWrapper,), EWrapper, heard), version)

    def run(payloads: Iterable[bytes]) -> None:  # ibapi.client.EClient.run
        for payload in payloads:
            text = payload
            if version >= MIN_SERVER_VER_PROTOBUF:
                number = int.from_bytes(text[:4], "big")
                text = text[4:]
            else:
                digits = text[: text.index(b"\0")]
                text = text[text.index(b"\0") + 1 :]
                number = int(digits)
            if number > PROTOBUF_MSG_ID:
                decoder.processProtoBuf(text, number - PROTOBUF_MSG_ID)
            else:
                decoder.interpret(read_fields(text), number)

    return run


def _listener(bases: tuple[type, ...], like: type, heard: list[str] | None) -> Any:
    """An object with the callbacks of `like`, of which each does nothing, or says its name."""

    def ignore(_: Any, *values: Any) -> None:
        pass

    def saying(name: str) -> Callable[..., None]:
        def say(_: Any, *values: Any) -> None:
            heard.append(_AS_IB_HAS_IT.get(name, name))  # type: ignore[union-attr]

        return say

    names = [name for name, _ in getmembers(like, isfunction) if not name.startswith("_")]
    return type("Listener", bases, {name: ignore if heard is None else saying(name) for name in names})()


def _silence(package: str) -> None:
    """Not the least is spent on what it logs, though it asks for every field whether it should."""
    for name, logger in logging.Logger.manager.loggerDict.items():
        if name.partition(".")[0] == package and isinstance(logger, logging.Logger):
            logger.disabled = True


READ = Subject("ours, read", partial(_read, frozenset()))
"""To a dict of Python values."""
PACKED = Subject("ours, packed", partial(_read, PASSED_ON))
"""To msgpack: what the daemon does with flat messages that go on as they are. All others are read to a dict."""
IB_ASYNC = Subject(f"ib_async {release('ib_async')}", _ib_async)
OFFICIAL = Subject(f"ibapi {release('ibapi-latest')}", _official)


def is_packed(version: int, payload: bytes) -> bool:
    """Whether `PACKED` makes msgpack of it."""
    return type(Dialect.client(version, PASSED_ON).read_packed(payload)) is tuple
