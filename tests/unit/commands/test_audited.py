"""Commands, orders and acts of operators in the audit: each once, with its outcome, and before bytes leave."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from ibbridge.commands.audited import facts
from tests.support.daemon_core import AAPL, CLIENT_ID, LIMIT, HeardAudit, Middle


def command(cmd: str, number: int = 1, key: str | None = None, **args: Any) -> dict[str, Any]:
    return {"id": number, "cmd": cmd, "client": "a", "args": args} | ({"key": key} if key else {})


def test_a_command_is_recorded_with_who_sent_it_and_what_became_of_it() -> None:
    middle = Middle()
    reply = middle.call(command("placeOrder", 7, "k", contract=AAPL, order=LIMIT))
    assert reply["ok"]
    (told,) = middle.audit.of("command")
    assert told.pop("identity").role == "admin"
    assert told == {
        "cmd": "placeOrder", "client": "a", "id": 7, "key": "k", "args": {"contract": AAPL, "order": LIMIT},
        "ok": True, "dup": None,
    }  # fmt: skip


def test_a_refusal_is_recorded_with_its_code() -> None:
    middle = Middle()
    middle.call(command("placeOrder", 7, "k", contract=AAPL, order={**LIMIT, "action": "HOLD"}))
    (told,) = middle.audit.of("command")
    assert (told["ok"], told["code"], told["outcome"]) == (False, "E_ARG", "refused")
    assert "HOLD" in told["fault"]
    assert not middle.audit.of("sent")


def test_a_repeated_command_is_recorded_as_one() -> None:
    middle = Middle()
    for _ in range(2):
        middle.call(command("placeOrder", 7, "k", contract=AAPL, order=LIMIT))
    assert [each["dup"] for each in middle.audit.of("command")] == [None, True]
    assert len(middle.audit.of("sent")) == 1


@pytest.mark.parametrize(
    "request_bytes", [b"", b"\xc1", b"\x93\x01\x02\x03", b"\xff" * 100, msgpack.packb(7), msgpack.packb({"cmd": 5})]
)
def test_bytes_that_are_no_command_are_recorded_too(request_bytes: bytes) -> None:
    middle = Middle()
    middle.commands.answer(request_bytes)
    (told,) = middle.audit.of("command")
    assert told["ok"] is False


def test_a_message_that_is_no_command_is_recorded_too() -> None:
    middle = Middle()
    middle.commands.refuse("too long")
    assert [each["fault"] for each in middle.audit.of("command")] == ["too long"]


def test_a_fault_that_could_show_a_secret_is_left_out() -> None:
    request = msgpack.packb(command("verifyMessage", apiData=["hidden"]))
    refused = {"code": "E_ARG", "message": "apiData must be text, not hidden", "outcome": "refused"}
    told = facts(request, msgpack.packb({"id": 1, "ok": False, "error": refused}))
    assert "fault" not in told


def test_a_long_reply_is_not_read_for_its_outcome() -> None:
    reply = msgpack.packb({"id": 1, "ok": True, "result": {"text": "x" * 1_000_000}})
    assert facts(msgpack.packb(command("snapshot")), reply)["ok"] is True


# -- bytes of orders


def orders_of(middle: Middle) -> list[tuple[Any, ...]]:
    return [(each["does"], each.get("owner"), each.get("keys")) for each in middle.audit.of("sent")]


def test_orders_changes_and_cancels_are_recorded_with_their_bytes() -> None:
    middle = Middle()
    number = middle.place("k")
    reported = {"clientId": CLIENT_ID, "permId": 7, "orderRef": "a/k", **LIMIT}
    middle.hear("openOrder", orderId=number, order=reported, orderState={"status": "Submitted"})
    middle.call(command("modifyOrder", 1, "k", rev=1, order={"lmtPrice": 2.0}))
    middle.ask("cancelOrder", key="k")
    assert orders_of(middle) == [("place", "a", ["k"]), ("change", "a", ["k"]), ("cancel", "a", ["k"])]
    told = middle.audit.of("sent")
    assert [each["orders"] for each in told] == [[number]] * 3
    assert told[0]["bytes"] != told[1]["bytes"]
    assert all(each["bytes"] for each in told)


def test_orders_of_a_group_are_recorded_together() -> None:
    middle = Middle()
    members = [{"key": f"k{each}", "contract": AAPL, "order": LIMIT} for each in range(3)]
    middle.call(command("placeOrders", orders=members))
    assert orders_of(middle) == [("place", "a", ["k0", "k1", "k2"])]


def test_the_cancel_of_all_orders_is_recorded() -> None:
    middle = Middle(allowed=["reqGlobalCancel"])
    middle.ask("reqGlobalCancel")
    assert orders_of(middle) == [("cancel all", None, None)]


def test_market_data_sends_nothing_to_the_audit() -> None:
    middle = Middle()
    middle.tick(middle.subscribe())
    assert not middle.audit.facts


class Ordered(HeardAudit):
    """Audit that notes how many messages had left whenever it was flushed."""

    def __init__(self) -> None:
        super().__init__()
        self.middle: Middle | None = None
        self.left: list[tuple[int, int]] = []

    def flush(self) -> bool:
        if self.middle is not None:
            self.left.append((len(self.of("sent")), len(self.middle.link.sent)))
        return super().flush()


def test_the_audit_has_an_order_before_its_bytes_leave() -> None:
    audit = Ordered()
    middle = audit.middle = Middle(audit=audit)
    middle.place("k")
    assert len(middle.link.sent) == 1
    assert audit.left == [(1, 0)]


def test_no_order_leaves_that_cannot_be_recorded_and_cancels_do() -> None:
    middle = Middle()
    middle.place("before")
    middle.audit.failing = "the audit cannot be written: no room"
    before = len(middle.link.sent)
    for number in range(2):
        reply = middle.call(command("placeOrder", number, f"k{number}", contract=AAPL, order=LIMIT))
        assert reply["error"]["code"] == "E_STORE"
        assert "no room" in reply["error"]["message"]
    members = [{"key": "g", "contract": AAPL, "order": LIMIT}]
    assert middle.call(command("placeOrders", 3, orders=members))["error"]["code"] == "E_STORE"
    assert len(middle.link.sent) == before
    assert middle.call(command("cancelOrder", 4, "before"))["ok"]
    assert len(middle.link.sent) == before + 1
    middle.audit.failing = ""
    assert middle.call(command("placeOrder", 5, "k0", contract=AAPL, order=LIMIT))["ok"]


class LateFault(HeardAudit):
    """Audit whose fault shows only when the record of an order is to be written."""

    def flush(self) -> bool:
        self.failing = "the audit cannot be written: no room"
        return False


def test_an_order_that_cannot_be_recorded_at_the_last_moment_is_withheld() -> None:
    middle = Middle(audit=LateFault())
    reply = middle.call(command("placeOrder", 1, "k", contract=AAPL, order=LIMIT))
    assert (reply["error"]["code"], reply["error"]["outcome"]) == ("E_STORE", "not_sent")
    assert "no room" in reply["error"]["message"]
    assert not middle.link.sent
    assert [kind for kind, _ in middle.audit.facts] == ["sent", "withheld", "command"]
