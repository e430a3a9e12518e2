"""The policy of the gate from a configuration: its faults, its defaults, and the limits of roles and clients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ibbridge import wiring
from ibbridge.cli import check
from ibbridge.config.loader import load
from ibbridge.config.model import Config, ConfigError
from ibbridge.risk import settings
from ibbridge.risk.limits import IB_OPEN_ORDERS

if TYPE_CHECKING:
    from pathlib import Path


def test_live_accounts_are_denied_and_ib_s_own_number_of_open_orders_holds_without_configuration() -> None:
    policy = settings.policy(Config().risk)
    assert policy.for_account("U1").allow_live is False
    assert policy.for_account("U1").max_open_orders == IB_OPEN_ORDERS
    assert policy.enforce


def test_a_named_live_account_is_allowed_and_another_is_not() -> None:
    policy = settings.policy(load(None, ["risk.allow_live=[U1, U2*]"]).risk)
    assert policy.for_account("U1").allow_live is None
    assert policy.for_account("U23").allow_live is None
    assert policy.for_account("U3").allow_live is False


def test_more_open_orders_can_be_had() -> None:
    policy = settings.policy(load(None, ['risk.accounts={"*": {max_open_orders: 50}}']).risk)
    assert policy.for_account("DU1").max_open_orders == 50


def test_every_fault_is_named_and_limits_of_money_need_a_currency() -> None:
    given = ["risk.all={max_position: -1, max_speed: 3}", "risk.clients={a: {max_daily_loss: 5}}"]
    with pytest.raises(ConfigError) as refused:
        settings.policy(load(None, given).risk)
    faults = refused.value.faults
    assert [fault.partition(":")[0] for fault in faults] == [
        "risk.all.max_position", "risk.all.max_speed", "risk.base_currency",
    ]  # fmt: skip


def test_the_strictest_of_role_client_and_risk_holds() -> None:
    config = load(
        None,
        [
            "security.roles={careful: {like: trader, limits: {max_order_quantity: 50, max_position: 70}}}",
            "security.clients=[{name: algo, uid: 1000, role: careful, limits: {max_order_quantity: 60}}]",
            "risk.clients={algo: {max_position: 80}}",
        ],
    )
    limits = wiring.limits_of(config).for_client("algo")
    assert (limits.max_order_quantity, limits.max_position) == (50, 70)
    assert wiring.limits_of(config).for_client("other").max_position is None


def test_check_prints_the_faults_of_limits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "ibbridge.yaml"
    file.write_text("risk:\n  all: {max_speed: 3}\n")

    class Options:
        file = [tmp_path / "ibbridge.yaml"]  # noqa: RUF012

    assert check.run(Options()) == 2  # type: ignore[arg-type]
    assert "risk.all.max_speed" in capsys.readouterr().out
