"""Orders that the journal does not have, and that TWS reports under an `orderRef` of this daemon's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ibbridge.tws.session import Stage
from tests.support.daemon_core import AAPL, LIMIT
from tests.unit.test_daemon import ACCOUNTS, NEXT, Published, Wire

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ORDER = {"contract": AAPL, "order": LIMIT}


@pytest.fixture
def starts(tmp_path: Path) -> Iterator[Any]:
    """Daemons on the same store, one after the other: each ends when the next one starts."""
    before: list[Published] = []

    def end() -> None:
        if before:
            before.pop().daemon._close_store()

    def start() -> tuple[Published, Wire]:
        end()
        before.append(Published(str(tmp_path)))
        before[0].daemon._open_and_take_up()
        before[0].daemon._report_start()
        before[0].daemon.parts.tws.session.stage = Stage.HANDSHAKING
        wire = Wire(before[0].daemon, 226)
        wire.say(ACCOUNTS, NEXT)
        return before[0], wire

    yield start
    end()


def refused(published: Published, cmd: str = "placeOrder", **args: Any) -> str:
    reply = published.ask(cmd, **args)
    assert not reply["ok"], reply
    return str(reply["error"]["code"])


def test_its_key_stays_used_and_its_cancel_leaves_over_restarts(starts) -> None:
    _, wire = starts()
    order = {"orderId": 40, "clientId": 1, "permId": 777, "orderRef": "a/k"}
    wire.say(("openOrder", {"orderId": 40, "contract": AAPL, "order": order, "orderState": {"status": "Submitted"}}))
    for _ in range(3):
        published, wire = starts()
        assert refused(published, key="k", args=ORDER) == "E_KEY_REUSED"
        assert refused(published, "placeOrders", args={"orders": [{"key": "k", **ORDER}]}) == "E_KEY_REUSED"
        assert published.ask("cancelOrder", key="k")["result"] == {"key": "k", "orderId": 40}
