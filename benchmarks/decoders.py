"""Decoders for the comparison: ours, that of ib_async and IB's own, each fed with payloads of frames in a loop.

Each decoder does the work of its own client from the payload (a frame without its length) to the callback: find the id,
split the text into fields, convert the fields. The loop is written out for each decoder, so that no decoder pays for a
call that its own client does not make. Callbacks do nothing, and nothing is logged: only decoding is measured.

With a list, the callbacks append their names to the list, in the spelling of IB's client. So a caller can check that a
payload was read and not skipped. This mode is never measured.
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
from ibbridge.inbound.publication_plan import PASSED_ON

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Run = Callable[[Iterable[bytes]], None]
    """Function that reads payloads one after the other."""

_FAULTS = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, BadMessage, DecodeError)
"""Exceptions of the other decoders for payloads that they cannot read."""

_AS_IB_HAS_IT = {"priceSizeTick": "tickPrice", "commissionReport": "commissionAndFeesReport"}
"""IB's names of callbacks for which ib_async has a name of its own or an outdated one."""


@dataclass(frozen=True)
class Subject:
    """A decoder. `at` makes its read function for a server version, and a list that takes the names of callbacks."""

    name: str
    at: Callable[[int, list[str] | None], Run]

    def listener(self, version: int) -> Callable[[bytes], list[str]]:
        """Return a function from a payload to the names of the callbacks, in order; none for an unreadable payload."""
        heard: list[str] = []
        run = self.at(version, heard)

        def names(payload: bytes) -> list[str]:
            heard.clear()
            try:
                run([payload])
            except _FAULTS:
                return []
            whole = [name for name in heard if not name.endswith("ProtoBuf")]  # IB calls them beside the usual ones
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
    if heard is not None:  # ib_async logs a message that it cannot read, and goes on
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
    """Return an object with the callbacks of `like`. Each callback does nothing, or appends its name to `heard`."""

    def ignore(_: Any, *values: Any) -> None:
        pass

    def saying(name: str) -> Callable[..., None]:
        def say(_: Any, *values: Any) -> None:
            heard.append(_AS_IB_HAS_IT.get(name, name))  # type: ignore[union-attr]

        return say

    names = [name for name, _ in getmembers(like, isfunction) if not name.startswith("_")]
    return type("Listener", bases, {name: ignore if heard is None else saying(name) for name in names})()


def _silence(package: str) -> None:
    """Disable the loggers of a package, which asks for every field whether to log."""
    for name, logger in logging.Logger.manager.loggerDict.items():
        if name.partition(".")[0] == package and isinstance(logger, logging.Logger):
            logger.disabled = True


READ = Subject("ours, read", partial(_read, frozenset()))
"""Our decoder, reading to a dict of Python values."""
PACKED = Subject("ours, packed", partial(_read, PASSED_ON))
"""Our decoder, packing flat messages to msgpack as the daemon does. All other messages are read to a dict."""
IB_ASYNC = Subject(f"ib_async {release('ib_async')}", _ib_async)
OFFICIAL = Subject(f"ibapi {release('ibapi-latest')}", _official)


def is_packed(version: int, payload: bytes) -> bool:
    """Return True if `PACKED` packs this payload to msgpack."""
    return type(Dialect.client(version, PASSED_ON).read_packed(payload)) is tuple
