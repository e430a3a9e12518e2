"""Lifeline of a client: hello, words while the strategy computes, and a logout only where it goes in good order."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from ibbridge.client import CommandError, aio, connect
from tests.support.fake_daemon import FakeDaemon, Refusal

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator


@pytest.fixture
def daemon(tmp_path: pathlib.Path) -> Iterator[FakeDaemon]:
    fake = FakeDaemon(tmp_path)
    fake.answers["hello"] = lambda _, request: {"ttl": request["args"].get("ttl", 0.3)}
    yield fake
    fake.stop()


def until(daemon: FakeDaemon, cmd: str, number: int = 1) -> list[dict[str, Any]]:
    """Wait for words of a kind, and return them."""
    end = time.monotonic() + 10.0
    while time.monotonic() < end:
        if len(found := [each for each in daemon.words if each["cmd"] == cmd]) >= number:
            return found
        time.sleep(0.01)
    raise AssertionError(daemon.words)


def words(daemon: FakeDaemon) -> list[str]:
    return [each["cmd"] for each in daemon.words]


def test_it_says_hello_and_goes_on_while_the_strategy_computes_and_logs_out(daemon: FakeDaemon) -> None:
    ib = connect("me", daemon.pub, daemon.rep, cancel_on_disconnect="loss", window=2.0, ttl=0.3)
    until(daemon, "alive", 3)  # nothing of the client runs meanwhile
    ib.close()
    assert [each["client"] for each in daemon.words] == ["me"] * len(daemon.words)
    wanted = {"cancel_on_disconnect": "loss", "window": 2.0, "ttl": 0.3}
    hellos = [each["args"] for each in daemon.words if each["cmd"] == "hello"]
    assert [{**each, "run": ""} for each in hellos] == [{**wanted, "run": ""}] * 2, "of `connect`, and of the lifeline"
    assert len({each["run"] for each in hellos}) == 1
    assert words(daemon)[-1] == "logout"
    assert words(daemon).count("logout") == 1


def test_a_hello_of_the_program_is_refused_because_the_client_says_its_own(daemon: FakeDaemon) -> None:
    with connect("me", daemon.pub, daemon.rep) as ib, pytest.raises(ValueError, match="to connect"):
        ib.call("hello", cancel_on_disconnect="loss")


def test_what_the_daemon_refuses_is_raised(daemon: FakeDaemon) -> None:
    def refuse(_: FakeDaemon, __: dict[str, Any]) -> dict[str, Any]:
        raise Refusal("E_ARG", "cancel_on_disconnect must be one of these")

    daemon.answers["hello"] = refuse
    with pytest.raises(CommandError, match="must be one of these"):
        connect("me", daemon.pub, daemon.rep, cancel_on_disconnect="always")
    connect("me", daemon.pub, daemon.rep).close()  # an older daemon


@pytest.mark.parametrize(
    ("error", "leaves"),
    [(None, True), (SystemExit(0), True), (ValueError("crash"), False), (KeyboardInterrupt(), False)],
)
def test_a_with_block_that_ends_in_an_exception_is_a_loss(
    daemon: FakeDaemon, error: BaseException | None, leaves: bool
) -> None:
    def strategy() -> None:
        with connect("me", daemon.pub, daemon.rep):
            until(daemon, "hello")
            if error is not None:
                raise error

    if error is None:
        strategy()
    else:
        with pytest.raises(type(error)):
            strategy()
    assert ("logout" in words(daemon)) is leaves


def test_a_client_that_is_thrown_away_does_not_log_out(daemon: FakeDaemon) -> None:
    ib = connect("me", daemon.pub, daemon.rep)
    until(daemon, "hello")
    with pytest.warns(ResourceWarning):
        del ib
    assert "logout" not in words(daemon)
    assert not [each for each in threading.enumerate() if each.name == "lifeline of me"]


def test_another_daemon_hears_the_hello_too(daemon: FakeDaemon) -> None:
    with connect("me", daemon.pub, daemon.rep, ttl=0.3):
        until(daemon, "alive")
        daemon.epoch += 1
        until(daemon, "hello", 3)


def test_the_loop_of_asyncio_may_stand_still(daemon: FakeDaemon) -> None:
    async def strategy() -> None:
        async with aio.connect("me", daemon.pub, daemon.rep, cancel_on_disconnect="both", ttl=0.3):
            until(daemon, "alive", 3)  # blocks the loop

    asyncio.run(strategy())
    assert {**daemon.words[0]["args"], "run": ""} == {"cancel_on_disconnect": "both", "ttl": 0.3, "run": ""}
    assert words(daemon)[-1] == "logout"


def test_a_strategy_that_asks_for_nothing_says_hello_before_it_can_subscribe(daemon: FakeDaemon) -> None:
    async def strategy() -> None:
        async with aio.connect("other", daemon.pub, daemon.rep):
            assert [each["args"].keys() for each in words_of("other")] == [{"run"}]

    def words_of(name: str) -> list[dict[str, Any]]:
        return [each for each in daemon.words if each["client"] == name][:1]

    with connect("me", daemon.pub, daemon.rep):
        assert [each["args"].keys() for each in words_of("me")] == [{"run"}]
    asyncio.run(strategy())
    runs = {each["args"]["run"] for each in daemon.words if each["cmd"] == "hello"}
    assert len(runs) == 2, "a name for each run"


def test_an_order_has_a_word_of_its_own(daemon: FakeDaemon) -> None:
    daemon.answers["placeOrder"] = lambda _, request: {"key": request["key"], "orderId": 1, "topics": []}
    with connect("me", daemon.pub, daemon.rep, tws=False) as ib:
        ib.placeOrder({"symbol": "AAPL"}, {"action": "BUY"}, key="k", cancel_on_disconnect="loss")
    placed = next(each for each in daemon.requests if each["cmd"] == "placeOrder")
    assert placed["args"]["cancel_on_disconnect"] == "loss"
