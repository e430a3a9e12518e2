"""Whatever a client sends, there is one reply: a short one, after work that is bounded."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Self

import msgpack
import pytest

from ibbridge.config.model import RESTRICTED
from tests.support.costly_requests import SIZE, requests
from tests.support.daemon_core import Link, Middle

if TYPE_CHECKING:
    from types import FrameType

LONGEST_REPLY = 32_768
MOST_CALLS = 150_000
"""Functions that one request may call: about 20 ms."""

COSTLY = dict(requests())


class Mute(Link):
    """A connection to a host that does not read what it is sent."""

    def write(self, data: bytes) -> None:
        pass


class Calls:
    """Counts the functions that are called, those of the interpreter too; stops what calls too many."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> Self:
        sys.setprofile(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _note(self, _: FrameType, event: str, __: Any) -> None:
        if event in ("call", "c_call"):
            self.count += 1
            assert self.count <= MOST_CALLS, "a request calls more functions than any may"


@pytest.mark.parametrize("name", COSTLY)
def test_the_dearest_requests_are_answered_shortly_after_bounded_work(name: str) -> None:
    assert len(COSTLY[name]) <= SIZE
    before, middle = Middle(226, allowed=RESTRICTED, link=Mute), Middle(226, allowed=RESTRICTED, link=Mute)
    before.commands.answer(COSTLY[name])  # what is made once, of declarations, is made now
    middle.link.dialect = before.link.dialect
    with Calls() as calls:
        packed = middle.commands.answer(COSTLY[name])
    assert calls.count <= MOST_CALLS
    assert len(packed) <= LONGEST_REPLY
    reply = msgpack.unpackb(packed)
    assert reply["ok"] or reply["error"]["code"] != "E_INTERNAL"
    assert middle.commands.counts["internalErrors"] == 0
