"""The examples run as they stand, but for where the daemon is."""

from __future__ import annotations

import functools
import pathlib
import runpy
from typing import TYPE_CHECKING, Any

import pytest

from ibbridge import client
from tests.fake_daemon import FakeDaemon

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES = pathlib.Path(__file__).parent.parent / "examples"


@pytest.fixture
def daemon(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDaemon]:
    fake = FakeDaemon(tmp_path)
    monkeypatch.setattr(client, "connect", functools.partial(client.connect, pub=fake.pub, rep=fake.rep))
    yield fake
    fake.stop()


def test_the_strategy_buys_once_when_the_price_is_right(daemon: FakeDaemon) -> None:
    def ticks(fake: FakeDaemon, _: dict[str, Any]) -> dict[str, str]:
        for tick_type, price in ((4, 180.0), (1, 170.0), (4, 179.5), (4, 179.0)):
            fake.say("md.AAPL-STK-SMART-USD.tickPrice.", data={"tickType": tick_type, "price": price})
        fake.say("md.AAPL-STK-SMART-USD.tickPrice.", data={"tickType": "the end", "price": 0.0})
        return {"topic": "md.AAPL-STK-SMART-USD."}

    daemon.answers["reqMktData"] = ticks
    daemon.answers["placeOrder"] = lambda _, request: {"topic": f"ord.example.{request['key']}."}
    with pytest.raises(InterruptedError):
        runpy.run_path(str(EXAMPLES / "strategy.py"), init_globals={"print": ending})
    orders = [each["args"]["order"] for each in daemon.requests if each["cmd"] == "placeOrder"]
    assert orders == [{"action": "BUY", "orderType": "LMT", "totalQuantity": 100, "lmtPrice": 179.5}]


def ending(message: client.Message) -> None:
    if message.tickType == "the end":
        raise InterruptedError
