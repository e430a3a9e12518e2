"""Decisions of the gate of risk in the audit: who was refused what, and which decision let an order leave."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ibbridge.cli import audit as audit_cli
from ibbridge.config.model import RiskConfig
from ibbridge.storage.audit_log import AuditLog
from tests.support.daemon_core import AAPL, LIMIT
from tests.unit.orders.test_risk_control import ACCOUNT, OPEN, Desk

if TYPE_CHECKING:
    import pathlib

    import pytest


def command(key: str, number: int, client: str = "a", cmd: str = "placeOrder", **order: Any) -> dict[str, Any]:
    args = {"contract": AAPL, "order": {**LIMIT, **order}} if cmd == "placeOrder" else {"order": order, "rev": number}
    return {"id": number, "cmd": cmd, "client": client, "key": key, "args": args}


def test_a_refusal_is_recorded_with_rule_limit_value_and_identity_and_a_record_for_each_rule() -> None:
    desk = Desk(RiskConfig(all={"max_order_quantity": 100}, clients={"a": {"max_position": 50}}, accounts={"*": OPEN}))
    error = desk.call(command("k", 1, totalQuantity=101))["error"]
    told = desk.audit.of("decision")
    assert [(each["rule"], each["scope"], each["limit"], each["value"]) for each in told] == [
        ("max_order_quantity", "all", 100, 101),
        ("max_position", "client a", 50, 101),
    ]
    for each in told:
        assert each["identity"].role == "admin"
        assert (each["what"], each["allowed"], each["code"]) == ("refused", False, "E_RISK")
        assert (each["client"], each["key"], each["account"]) == ("a", "k", ACCOUNT)
        assert each["decision"] == error["decision"]
        assert each["fault"].startswith(each["rule"])
    assert not desk.audit.of("sent")


def test_the_record_of_an_order_and_of_its_change_names_the_decision_that_let_it_leave() -> None:
    desk = Desk(max_order_quantity=300)
    number = desk.call(command("k", 1))["result"]["orderId"]
    (sent,) = desk.audit.of("sent")
    (placed,) = sent["decisions"]
    desk.works("k", number)
    assert desk.call(command("k", 2, cmd="modifyOrder", totalQuantity=150))["ok"]
    (changed,) = desk.audit.of("sent")[-1]["decisions"]
    assert placed != changed
    for decision, quantity in ((placed, 100), (changed, 150)):
        reply = desk.call({"id": decision, "cmd": "riskExplain", "client": "a", "args": {"decision": decision}})
        assert reply["result"]["order"]["quantity"] == quantity
    assert not desk.audit.of("decision")
    desk.ask("cancelOrder", key="k")
    assert desk.audit.of("sent")[-1]["decisions"] is None


def test_each_order_of_a_group_has_its_decision() -> None:
    desk = Desk(max_order_quantity=300)
    desk.ask("placeOrders", orders=[{"key": f"k{n}", "contract": AAPL, "order": LIMIT} for n in range(3)])
    (sent,) = desk.audit.of("sent")
    assert len(set(sent["decisions"])) == len(sent["keys"]) == 3


def test_a_warning_and_what_is_only_observed_are_recorded() -> None:
    desk = Desk(RiskConfig(all={"max_order_quantity": 100}, accounts={"*": OPEN}))
    desk.ordered("near", totalQuantity=80)
    (told,) = desk.audit.of("decision")
    assert (told["what"], told["allowed"], told["value"]) == ("warning", True, 80)
    watched = Desk(RiskConfig(mode="observe", all={"max_order_quantity": 10}, accounts={"*": OPEN}))
    watched.ordered("k")
    (seen,) = watched.audit.of("decision")
    assert (seen["what"], seen["allowed"], seen["rule"], seen["value"]) == ("observed", True, "max_order_quantity", 100)
    assert watched.audit.of("sent")[0]["decisions"] == [seen["decision"]]


def test_a_refusal_after_a_wait_has_the_owner_and_not_who_happens_to_speak() -> None:
    desk = Desk(RiskConfig(clients={"a": {"reject_breaker": 1}}, accounts={"*": OPEN}), rate=4)
    desk.link.go_on(2.0)
    first = desk.ordered("one")["orderId"]
    for number in range(5):
        desk.ordered(f"more-{number}", totalQuantity=number + 1)
    desk.error(first, 201, "Order rejected - reason:no")
    desk.parts.orders.risk.reports.audit.identity = desk.parts.orders  # type: ignore[assignment]
    desk.link.go_on(5.0)
    told = desk.audit.of("decision")
    assert {(each["client"], each["rule"], each["identity"]) for each in told} == {("a", "reject_breaker", None)}


def test_the_audit_on_the_disk_says_by_the_key_of_an_order_who_decided_what(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    desk = Desk(max_order_quantity=100)
    desk.call(command("gone", 1, totalQuantity=101))
    desk.call(command("left", 2))
    (refused,), (sent,) = desk.audit.of("decision"), desk.audit.of("sent")
    log = AuditLog(tmp_path, desk.clock)
    log.open()
    for kind, facts in desk.audit.facts:
        log.record(kind, **facts)
    assert log.flush_all()
    log.close()
    for key, decision in (("gone", refused["decision"]), ("left", sent["decisions"][0])):
        assert decision in shown(tmp_path, capsys, order=key)
        assert key in shown(tmp_path, capsys, decision=decision)
    assert "max_order_quantity" in shown(tmp_path, capsys, order="gone", kind="decision")


def shown(directory: pathlib.Path, capsys: pytest.CaptureFixture[str], **wanted: str) -> str:
    """Return what `ibbridge audit show` prints."""
    parser = argparse.ArgumentParser()
    audit_cli.arguments(parser)
    words = [word for name, value in wanted.items() for word in (f"--{name}", value)]
    assert audit_cli.run(parser.parse_args(["show", str(directory), *words])) == 0
    return capsys.readouterr().out
