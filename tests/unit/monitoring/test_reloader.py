"""A reload of clients and keys: what it says of endpoints that cannot change while they are bound."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from ibbridge.config.loader import load
from ibbridge.monitoring.reloader import Reloader
from ibbridge.monitoring.setting_takers import SecurityTaker
from ibbridge.security.access import Access, AccessRules, KnownClient

if TYPE_CHECKING:
    from ibbridge.config.model import Config

KEY = "9" * 40
TCP = "tcp://127.0.0.1:5556"
WITH_KEY = (f"security.clients=[{{name: alpha, key: '{KEY}'}}]",)


class Deaf:
    """Parts that are told of a change, and do nothing. What is published and recorded is kept."""

    def __init__(self) -> None:
        self.published: list[dict[str, Any]] = []
        self.recorded: list[dict[str, Any]] = []

    def replace(self, *_: object) -> None:
        """Do nothing."""

    def end_changed(self, why: str) -> None:
        """Do nothing."""

    def disconnect_revoked(self) -> int:
        return 0

    def reloaded(self, about: dict[str, Any]) -> None:
        self.published.append(about)

    def record(self, kind: str, **facts: Any) -> None:
        self.recorded.append({"kind": kind, **facts})


def reload(access: Access, before: Config, after: Config) -> tuple[dict[str, Any], Deaf]:
    deaf: Any = Deaf()
    reloader = Reloader(before, lambda: after, [SecurityTaker(access, deaf, deaf, deaf)], deaf, deaf)
    return reloader.reload("boss"), deaf


@pytest.mark.parametrize("comes", [True, False])
def test_a_reload_says_which_endpoints_wait_for_a_restart(comes: bool, caplog: pytest.LogCaptureFixture) -> None:
    keyed = AccessRules((KnownClient("alpha", key=KEY),))
    access = Access(AccessRules(), b"s") if comes else Access(keyed, b"s")
    access.enter("bus.rep", TCP)
    access.enter("bus.rep", "ipc:///run/rep")
    configs = load(None, []), load(None, WITH_KEY)
    with caplog.at_level(logging.WARNING):
        result, told = reload(access, *(configs if comes else reversed(configs)))
    word = "demand keys" if comes else "demand no keys any more"
    assert result["waiting"] == [f"{TCP}: it takes a restart until these endpoints {word}"]
    assert result["changed"] == ["security.clients"]
    assert told.published[0]["waiting"] == told.recorded[0]["waiting"] == result["waiting"]
    assert f"boss: {result['waiting'][0]}" in caplog.messages


def test_a_reload_that_leaves_the_endpoints_as_they_are_has_nothing_waiting() -> None:
    access = Access(AccessRules((KnownClient("alpha", key=KEY),)), b"s")
    access.enter("bus.rep", TCP)
    result, _ = reload(access, load(None, WITH_KEY), load(None, WITH_KEY))
    assert result == {"changed": [], "restart": [], "waiting": []}
