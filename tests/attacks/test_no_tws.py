"""A host that is no TWS, or one that speaks nonsense once it is ready: it is sent away, and no disk is filled."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import TYPE_CHECKING

import pytest

from tests.attacks.bystanders import Bystanders
from tests.integration.rig import Bridge, Host

if TYPE_CHECKING:
    import pathlib

    from tests.integration.rig import Subscriber

pytestmark = pytest.mark.attack

NONSENSE = b"".join(len(text).to_bytes(4, "big") + text for text in (b"nonsense\0%d\0" % n for n in range(1_000)))


def size_of(directory: pathlib.Path) -> int:
    return sum(each.stat().st_size for each in directory.glob("*"))


def told(sub: Subscriber) -> int:
    """Unreadable messages of which the subscriber has heard, one by one or summed up."""
    return sum(
        each.data["count"] if each.type == "decodeErrors" else 1
        for each in sub.heard
        if each.type in ("decodeError", "decodeErrors")
    )


def test_a_host_that_greets_and_then_speaks_nonsense_is_never_ready_and_is_sent_away():
    with Host() as host, Bridge(host.port) as bridge:
        sub = bridge.sub("")
        with host.accept() as guest:
            guest.greet()
            with contextlib.suppress(ConnectionError):
                guest.raw(NONSENSE)
            guest.closed()
        heard = sub.until("connection", lambda data: "is no TWS" in data["lastError"])
        assert heard.data["nextTry"] <= 0.2
        assert "ready" not in {each.data["stage"] for each in sub.heard if each.type == "connection"}
        assert len([each for each in sub.heard if each.type == "decodeError"]) <= 20


def test_nonsense_from_a_ready_host_is_published_counted_and_bounded_on_disk():
    with Host() as host, Bridge(host.port) as bridge, host.accept() as guest:
        guest.start()
        sub = bridge.ready()
        with Bystanders(bridge):
            sent = 0
            until = time.monotonic() + 0.5
            while time.monotonic() < until:
                guest.raw(NONSENSE)
                sent += 1_000
            sub.until("alarm", lambda data: data["alarm"] == "decodeErrors" and data["raised"])
            while told(sub) < sent:
                sub.until("decodeErrors")
            assert told(sub) == sent
        status = bridge.do("status")
        assert status["counts"]["decodeErrors"] == sent
        assert size_of(bridge.store) < 8 * 2**20
        assert len(bridge.said()) < 2**20


@pytest.mark.long
def test_a_port_where_another_protocol_is_spoken_is_given_up():
    with Host() as host, Bridge(host.port) as bridge:
        sub = bridge.sub("")
        for words in (b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", b"\0" * 4_096):
            with host.accept() as guest:
                with contextlib.suppress(ConnectionError, socket.timeout):
                    guest.raw(words)
                guest.closed()
            sub.until("connection", lambda data: data["stage"] == "down")
        assert bridge.do("ping")["pong"]
