"""Orders and the limits of risk, in the daemon's own wiring: refused, counted, changed, and after a restart."""

from __future__ import annotations

from typing import Any

import pytest

from ibbridge.config.model import RiskConfig
from ibbridge.risk import settings
from tests.support.daemon_core import AAPL, LIMIT, Middle, refusal

ACCOUNT = "DU1"
NAMED = {**AAPL, "conId": 265598}
OPEN = {"max_open_orders": 1000}


class Desk(Middle):
    """Middle with limits, an account, and the TWS of it."""

    def __init__(self, risk: RiskConfig | None = None, **given: Any) -> None:
        more = {name: given.pop(name) for name in ("clock", "order_store", "store", "rate") if name in given}
        config = risk or RiskConfig(base_currency="USD", accounts={"*": OPEN}, all=given)
        self._risk = config
        super().__init__(risk=config, ready=False, **more)
        self.session.accounts = (ACCOUNT,)
        self.parts.orders.risk.keeper.restore(self._opened())
        self.connect()

    def _opened(self) -> list[Any]:
        for order in self.streams_journal.open_orders():
            self.orders.add(order)
        self.parts.orders.positions.restore()
        return self.orders.open_orders()

    @property
    def streams_journal(self) -> Any:
        return self.parts.streams.journal

    def again(self) -> Desk:
        """The daemon after a restart: a process with the same journal."""
        self.streams_journal.tick()
        config = self.risk_config
        return Desk(config, clock=self.clock, order_store=self.order_store)

    @property
    def risk_config(self) -> RiskConfig:
        return self._risk

    def ordered(self, key: str, client: str = "a", contract: dict[str, Any] = AAPL, **order: Any) -> dict[str, Any]:
        return self.ask("placeOrder", client, key=key, contract=contract, order={**LIMIT, **order})

    def works(self, key: str, order_id: int, **order: Any) -> None:
        data = {
            "contract": NAMED,
            "order": {**LIMIT, "permId": order_id + 1000, "clientId": 1, "orderRef": f"a/{key}", **order},
        }
        self.hear("openOrder", orderId=order_id, orderState={"status": "Submitted"}, **data)

    def status(self, order_id: int, status: str, filled: float = 0.0, remaining: float = 100.0) -> None:
        self.hear("orderStatus", orderId=order_id, status=status, filled=filled, remaining=remaining,
                  permId=order_id + 1000, clientId=1, avgFillPrice=150.0)  # fmt: skip

    def fills(
        self, key: str, order_id: int, shares: float, counted: float, exec_id: str = "e.1.01", **more: Any
    ) -> None:
        execution = {
            "execId": exec_id, "side": "BOT", "shares": shares, "cumQty": counted, "price": 150.0, "avgPrice": 150.0,
            "acctNumber": ACCOUNT, "orderId": order_id, "permId": order_id + 1000, "clientId": 1,
            "orderRef": f"a/{key}",
        }  # fmt: skip
        self.hear("execDetails", reqId=-1, contract=NAMED, execution=execution)


def risk(code: str, desk: Desk, key: str, **order: Any) -> dict[str, Any]:
    """Return the error of an order that a rule refuses."""
    error = refusal("E_RISK", desk.ordered, key, **order).as_map()
    assert error["rule"] == code, error
    return error


def test_a_quantity_below_and_at_the_limit_passes_and_above_it_is_refused() -> None:
    desk = Desk(max_order_quantity=100)
    desk.ordered("below", totalQuantity=99)
    desk.ordered("at", totalQuantity=100)
    sent = len(desk.link.sent)
    error = risk("max_order_quantity", desk, "above", totalQuantity=101)
    assert (error["limit"], error["value"], error["scope"], error["outcome"]) == (100, 101, "all", "refused")
    assert error["decision"] in error["message"]
    assert len(desk.link.sent) == sent
    desk.ordered("above", totalQuantity=100)  # a refused order leaves its key free


def test_a_limit_of_a_client_is_for_that_client_and_of_an_account_for_that_account() -> None:
    config = RiskConfig(
        clients={"a": {"max_order_quantity": 10}},
        accounts={"*": OPEN, ACCOUNT: {"max_order_quantity": 50}},
        all={"max_order_quantity": 1000},
    )
    desk = Desk(config)
    assert risk("max_order_quantity", desk, "k", totalQuantity=11)["scope"] == "client a"
    error = refusal("E_RISK", desk.ordered, "k", "b", totalQuantity=51)
    assert error.more["scope"] == f"account {ACCOUNT}"
    desk.ordered("k", "b", totalQuantity=50)


def test_working_orders_and_what_is_filled_count_for_the_position_until_they_are_over() -> None:
    desk = Desk(clients_position(300))
    first = desk.ordered("one", totalQuantity=200)["orderId"]
    assert risk("max_position", desk, "two", totalQuantity=101)["value"] == 301
    desk.works("one", first, totalQuantity=200)
    desk.fills("one", first, 150, 150)
    assert risk("max_position", desk, "two", totalQuantity=101)["value"] == 301
    desk.status(first, "Cancelled", 150, 50)
    assert risk("max_position", desk, "two", totalQuantity=151)["value"] == 301
    desk.ordered("two", totalQuantity=150)
    desk.ordered("out", action="SELL", totalQuantity=450)  # reduces, then turns: 300 short at the worst
    assert risk("max_position", desk, "more", action="SELL", totalQuantity=1)["value"] == 301


def clients_position(most: float, **more: Any) -> RiskConfig:
    return RiskConfig(clients={"a": {"max_position": most, **more}}, accounts={"*": OPEN}, base_currency="USD")


def test_the_book_is_the_same_after_a_restart() -> None:
    desk = Desk(clients_position(300))
    first = desk.ordered("one", totalQuantity=200)["orderId"]
    desk.works("one", first, totalQuantity=200)
    desk.fills("one", first, 50, 50)
    desk.status(first, "Submitted", 50, 150)
    again = desk.again()
    assert risk("max_position", again, "two", totalQuantity=101)["value"] == 301
    again.ordered("two", totalQuantity=100)
    third = again.again()
    assert risk("max_position", third, "three", totalQuantity=1)["value"] == 301


def test_an_execution_that_is_repeated_after_a_restart_counts_once_and_a_bust_is_taken_back() -> None:
    desk = Desk(clients_position(300))
    first = desk.ordered("one", totalQuantity=100)["orderId"]
    desk.works("one", first)
    desk.fills("one", first, 100, 100)
    desk.fills("one", first, 100, 100)
    again = desk.again()
    again.fills("one", first, 100, 100)
    again.status(first, "Filled", 100, 0)
    assert risk("max_position", again, "two", totalQuantity=201)["value"] == 301
    again.fills("one", first, 60, 60, "e.1.02")
    assert risk("max_position", again, "two", totalQuantity=241)["value"] == 301
    again.again().ordered("two", totalQuantity=240)


def test_a_group_is_refused_by_its_whole_and_none_of_it_counts() -> None:
    desk = Desk(clients_position(300))

    def members(quantity: int) -> list[dict[str, Any]]:
        order = {**LIMIT, "totalQuantity": quantity}
        return [{"key": f"g{number}", "contract": AAPL, "order": order} for number in (1, 2)]

    error = refusal("E_RISK", desk.ask, "placeOrders", orders=members(151))
    assert (error.more["rule"], error.more["value"]) == ("max_position", 302)
    desk.ask("placeOrders", orders=members(150))
    assert risk("max_position", desk, "more", totalQuantity=1)["value"] == 301


def test_a_change_is_checked_as_the_order_that_it_makes_and_the_larger_counts_until_tws_has_answered() -> None:
    desk = Desk(clients_position(300))
    first = desk.ordered("one", totalQuantity=200)["orderId"]
    desk.works("one", first, totalQuantity=200)
    error = refusal("E_RISK", desk.ask, "modifyOrder", key="one", rev=1, order={"totalQuantity": 301})
    assert error.more["value"] == 301
    desk.ask("modifyOrder", key="one", rev=1, order={"totalQuantity": 300})
    assert risk("max_position", desk, "two", totalQuantity=1)["value"] == 301
    desk.works("one", first, totalQuantity=300)
    desk.ask("modifyOrder", key="one", rev=2, order={"totalQuantity": 100})
    assert risk("max_position", desk, "two", totalQuantity=1)["value"] == 301  # TWS may refuse the change
    desk.works("one", first, totalQuantity=100)
    desk.ordered("two", totalQuantity=200)


def test_a_change_that_tws_refuses_leaves_what_was() -> None:
    desk = Desk(clients_position(300))
    first = desk.ordered("one", totalQuantity=100)["orderId"]
    desk.works("one", first)
    desk.ask("modifyOrder", key="one", rev=1, order={"totalQuantity": 300})
    desk.error(first, 105, "Order being modified does not match original order")
    assert risk("max_position", desk, "two", totalQuantity=201)["value"] == 301
    desk.ordered("two", totalQuantity=200)


def test_an_order_that_tws_rejects_or_that_never_left_counts_no_more() -> None:
    desk = Desk(clients_position(300))
    first = desk.ordered("one", totalQuantity=300)["orderId"]
    desk.error(first, 201, "Order rejected - reason:no")
    second = desk.ordered("two", totalQuantity=300)["orderId"]
    desk.order_store.fault = "the disk is full"
    desk.error(second, 201, "Order rejected - reason:no")
    refusal("E_STORE", desk.ordered, "three", totalQuantity=300)
    desk.order_store.fault = ""
    desk.ordered("three", totalQuantity=300)


def test_an_order_that_works_after_its_end_counts_again() -> None:
    desk = Desk(clients_position(300))
    first = desk.ordered("one", totalQuantity=200)["orderId"]
    desk.lost()
    desk.connect()
    order = desk.orders.find("a", "one")
    assert order is not None
    desk.order_notifications.closed(order)
    desk.ordered("two", totalQuantity=100)
    desk.works("one", first, totalQuantity=200)
    assert risk("max_position", desk, "three", totalQuantity=1)["value"] == 301


def test_the_position_of_an_account_counts_from_the_list_of_tws_and_so_do_orders_of_others() -> None:
    desk = Desk(RiskConfig(accounts={"*": OPEN, ACCOUNT: {"max_position": 300}}))
    desk.hear("position", account=ACCOUNT, contract=NAMED, position=100.0, avgCost=1.0)
    assert risk("max_position", desk, "k", totalQuantity=201)["value"] == 301
    foreign = {**LIMIT, "totalQuantity": 150, "permId": 77, "clientId": 9, "account": ACCOUNT}
    desk.hear("openOrder", orderId=3, contract=NAMED, order=foreign, orderState={"status": "Submitted"})
    assert risk("max_position", desk, "k", totalQuantity=51)["value"] == 301
    desk.hear("orderStatus", orderId=3, status="Cancelled", filled=0.0, remaining=150.0, permId=77, clientId=9)
    desk.ordered("k", totalQuantity=200)


def test_orders_for_a_live_account_are_refused_until_the_configuration_allows_them() -> None:
    desk = Desk(RiskConfig(accounts={"*": OPEN}))
    desk.session.accounts = ("U1234567",)
    error = risk("allow_live", desk, "k")
    assert "risk: {allow_live: [U1234567]}" in error["message"]
    live = Desk(RiskConfig(accounts={"*": OPEN}, allow_live=("U1234567",)))
    live.session.accounts = ("U1234567",)
    live.ordered("k")


def test_observing_publishes_what_would_be_refused_and_lets_it_pass() -> None:
    desk = Desk(RiskConfig(mode="observe", all={"max_order_quantity": 10}, accounts={"*": OPEN}))
    desk.ordered("k")
    told = [heard.data for heard in desk.published if heard.topic == "sys.bridge.risk."]
    assert [(each["what"], each["rule"], each["value"]) for each in told] == [("observed", "max_order_quantity", 100)]


def test_a_warning_is_published_for_all_and_for_the_owner_when_a_value_comes_near_its_limit() -> None:
    desk = Desk(clients_position(300))
    desk.ordered("one", totalQuantity=100)
    assert not [heard for heard in desk.published if heard.topic.endswith(".risk.")]
    desk.ordered("two", totalQuantity=150)
    topics = [heard.topic for heard in desk.published if heard.topic.endswith(".risk.")]
    assert topics == ["sys.bridge.risk.", "ord.a.two.risk."]


def test_rejects_close_the_gate_until_it_is_resumed() -> None:
    desk = Desk(reject_breaker=2)
    for number in (1, 2):
        order_id = desk.ordered(f"k{number}")["orderId"]
        desk.error(order_id, 201, "Order rejected - reason:no")
    risk("reject_breaker", desk, "k3")
    risk("reject_breaker", desk.again(), "k3")
    desk.parts.orders.risk.keeper.resumed("all", "")
    desk.ordered("k3")


def test_an_order_that_waits_is_checked_again_before_it_leaves() -> None:
    desk = Desk(RiskConfig(clients={"a": {"reject_breaker": 1}}, accounts={"*": OPEN}), rate=4)
    desk.link.go_on(2.0)
    first = desk.ordered("one")["orderId"]
    for number in range(4):
        desk.ordered(f"more-{number}", totalQuantity=number + 1)
    assert desk.ordered("two")["orderId"] is None
    desk.error(first, 201, "Order rejected - reason:no")
    desk.link.go_on(5.0)
    state = [heard.data for heard in desk.published if heard.topic == "ord.a.two.orderState."][-1]
    assert (state["state"], state["reason"]) == ("done", "not_sent")
    assert "reject_breaker" in state["lastError"]["text"]


def test_a_refusal_says_the_limit_as_it_is_written_and_the_command_that_explains_it_to_the_owner() -> None:
    error = risk("max_order_quantity", Desk(max_order_quantity=100), "k", totalQuantity=101)
    assert error["faults"] == [
        "max_order_quantity: 101 would be over the limit of 100",
        f"`ibbridge risk explain {error['decision']} --by a` has all checks",
    ]


def test_a_list_is_a_list_in_the_refusal_and_needs_no_quote() -> None:
    error = risk("symbols", Desk(symbols=["MSFT"]), "k")
    assert error["limit"] == ["MSFT"]
    assert "no quote" not in error["message"]


def test_a_decision_is_explained_to_the_owner_of_the_order_and_to_nobody_else() -> None:
    desk = Desk(max_order_quantity=100)
    error = risk("max_order_quantity", desk, "k", totalQuantity=101)

    def explain(client: str, **args: Any) -> dict[str, Any]:
        return desk.call({"id": f"{client}-{args}", "cmd": "riskExplain", "client": client, "args": args})

    result = explain("a", decision=error["decision"])["result"]
    failed = [check for check in result["checks"] if not check["passed"]]
    assert [(check["rule"], check["limit"], check["value"]) for check in failed] == [("max_order_quantity", 100, 101)]
    assert not result["allowed"]
    assert explain("a", key="k")["result"]["decision"] == error["decision"]
    assert explain("b", decision=error["decision"])["error"]["code"] == "E_ARG"
    assert explain("a")["error"]["code"] == "E_ARG"


def test_resume_opens_the_breaker() -> None:
    desk = Desk(reject_breaker=1)
    desk.error(desk.ordered("k1")["orderId"], 201, "Order rejected - reason:no")
    risk("reject_breaker", desk, "k2")
    assert desk.call({"id": 1, "cmd": "resume", "client": "op", "args": {}})["ok"]
    desk.ordered("k2")


def test_limits_change_while_the_daemon_runs_and_what_was_counted_stays() -> None:
    desk = Desk(clients_position(300))
    desk.ordered("one", totalQuantity=200)
    policy = settings.policy(clients_position(250))
    desk.parts.orders.risk.set_policy(policy, "USD")
    assert risk("max_position", desk, "two", totalQuantity=51)["value"] == 251


def test_a_contract_by_its_con_id_alone_is_asked_for_and_taken_once_tws_has_named_it() -> None:
    desk = Desk(symbols=["AAPL"], max_order_notional=1_000_000)
    option = {"conId": 7, "exchange": "SMART"}
    risk("symbols", desk, "k", contract=option)
    desk.parts.orders.risk.keeper.proposals.contracts.learn({**AAPL, "conId": 7, "secType": "STK"})
    desk.ordered("k", contract=option)


def test_an_unknown_price_is_refused_until_a_client_has_subscribed_to_it() -> None:
    desk = Desk(max_order_notional=1_000_000)
    error = risk("max_order_notional", desk, "k", orderType="MKT", lmtPrice=None)
    assert error["value"] is None
    assert error["outcome"] == "not_sent"
    assert "md.AAPL-STK-SMART-USD." in error["message"]
    number = desk.subscribe()
    for kind, price in ((1, 149.0), (2, 151.0), (4, 150.0)):
        desk.tick(number, price, kind)
    desk.ordered("k", orderType="MKT", lmtPrice=None)


def test_the_exercise_of_an_option_is_judged_too() -> None:
    desk = Desk(max_order_quantity=5)
    option = {**AAPL, "secType": "OPT", "lastTradeDateOrContractMonth": "20260116", "strike": 150.0, "right": "C"}
    args: dict[str, Any] = {"contract": {**option, "multiplier": "100"}, "exerciseAction": 1, "exerciseQuantity": 6}
    assert refusal("E_RISK", desk.ask, "exerciseOptions", key="x", **args).more["value"] == 6
    desk.ask("exerciseOptions", key="x", **{**args, "exerciseQuantity": 5})


SPELLINGS = (
    {**AAPL, "exchange": "ISLAND"},
    {**AAPL, "primaryExchange": "NASDAQ"},
    {**AAPL, "symbol": "aapl"},
    {**AAPL, "secType": "stk"},
    {"localSymbol": "AAPL", "secType": "STK", "exchange": "SMART", "currency": "USD"},
    {"secIdType": "ISIN", "secId": "US0378331005", "secType": "STK", "exchange": "SMART", "currency": "USD"},
    {"conId": 265598, "exchange": "SMART"},
)


@pytest.mark.parametrize("contract", SPELLINGS)
def test_another_spelling_of_a_contract_has_no_limit_of_its_own(contract):
    desk = Desk(max_position=100)
    order_id = desk.ordered("k0")["orderId"]
    assert refusal("E_RISK", desk.ordered, "k1", contract=contract).more["rule"] == "max_position"
    desk.works("k0", order_id)
    assert refusal("E_RISK", desk.ordered, "k2", contract=contract).more["rule"] == "max_position"
    desk.ordered("sale", contract=contract, action="SELL")


@pytest.mark.parametrize("contract", SPELLINGS)
def test_a_spelling_counts_for_the_contract_that_it_may_mean(contract):
    desk = Desk(max_open_orders=1)
    desk.ordered("k0", contract=contract)
    assert refusal("E_RISK", desk.ordered, "k1").more["rule"] == "max_open_orders"
    desk.ordered("k2", action="SELL")


def test_contracts_that_cannot_be_the_same_have_limits_of_their_own():
    desk = Desk(max_position=100)
    desk.ordered("k0")
    desk.ordered("k1", contract={**AAPL, "symbol": "MSFT"})
    desk.ordered("k2", contract={**AAPL, "currency": "EUR"})
    option = {**AAPL, "secType": "OPT", "lastTradeDateOrContractMonth": "20261218", "multiplier": "100", "right": "C"}
    for strike in (100, 110):
        desk.ordered(f"o{strike}", contract={**option, "strike": strike})
    assert refusal("E_RISK", desk.ordered, "o", contract={**option, "strike": 110, "exchange": "CBOE"}).more["rule"]


@pytest.mark.parametrize("change", [{"action": "SELL"}, {"account": "DU2"}, {"faGroup": "all"}])
def test_what_tws_changes_in_no_order_frees_nothing_in_the_meantime(change):
    desk = Desk(max_position=100)
    desk.session.accounts = (ACCOUNT, "DU2")
    desk.works("k0", desk.ordered("k0", account=ACCOUNT)["orderId"], account=ACCOUNT)
    refusal("E_ARG", desk.ask, "modifyOrder", key="k0", rev=1, order=change)
    assert refusal("E_RISK", desk.ordered, "k1", account=ACCOUNT).more["rule"] == "max_position"


def test_an_order_joins_a_group_only_when_tws_has_taken_the_change():
    desk = Desk(max_position=100)
    group: dict[str, Any] = {"ocaGroup": "G", "ocaType": 1}
    order_id = desk.ordered("k0")["orderId"]
    desk.works("k0", order_id)
    desk.ask("modifyOrder", key="k0", rev=1, order=group)
    assert refusal("E_RISK", desk.ordered, "k1", **group).more["rule"] == "max_position"
    desk.works("k0", order_id, **group)
    desk.ordered("k1", **group)


def test_an_account_that_tws_has_filled_in_may_be_sent_back():
    desk = Desk(max_position=100)
    desk.works("k0", desk.ordered("k0")["orderId"], account=ACCOUNT)
    assert desk.ask("modifyOrder", key="k0", rev=1, order={**LIMIT, "account": ACCOUNT, "lmtPrice": 2.0})["rev"] == 1


def test_an_order_for_a_group_of_accounts_is_under_the_limits_of_each():
    limits: dict[str, Any] = {
        "*": {"allow_live": True},
        "DU1": {"max_order_quantity": 1000},
        "DU2": {"max_order_quantity": 10},
    }
    desk = Desk(RiskConfig(base_currency="USD", accounts=limits))
    desk.session.accounts = ("DU1", "DU2")
    for order in ({"faGroup": "all"}, {"faGroup": "all", "account": "DU1"}):
        assert refusal("E_RISK", desk.ordered, "k", **order).more["limit"] == 10
    desk.ordered("k", account="DU1")


@pytest.mark.parametrize(
    "order", [{"deltaNeutralOrderType": "MKT", "deltaNeutralConId": 272093}, {"scaleAutoReset": True}]
)
def test_an_order_that_trades_more_than_its_quantity_is_no_quantity(order):
    desk = Desk(max_position=1000)
    assert refusal("E_RISK", desk.ordered, "k", **order).more["rule"] == "max_position"
    desk.ordered("k", deltaNeutralOrderType="None", scaleAutoReset=False)


def test_a_stock_that_says_a_multiplier_is_not_cheaper():
    desk = Desk(max_order_notional=1000)
    contract = {**AAPL, "multiplier": "0.0001"}
    assert refusal("E_RISK", desk.ordered, "k", contract=contract).more["rule"] == "max_order_notional"


def test_a_symbol_beside_a_conid_is_not_what_is_traded():
    desk = Desk(symbols=["AAPL"])
    desk.works("k0", desk.ordered("k0")["orderId"])
    for con_id in (272093, 4711):
        assert refusal("E_RISK", desk.ordered, "k", contract={**AAPL, "conId": con_id}).more["rule"] == "symbols"
        desk.parts.orders.risk.keeper.proposals.contracts.learn({**NAMED, "conId": 272093, "symbol": "MSFT"})
    desk.ordered("k1", contract=NAMED)


@pytest.mark.parametrize(("con_id", "passes"), [(265598, True), (272093, False)])
def test_quotes_under_the_key_of_another_contract_judge_nothing(con_id, passes):
    desk = Desk(price_collar_percent=10)
    contracts = desk.parts.orders.risk.keeper.proposals.contracts
    contracts.learn(NAMED)
    contracts.learn({**NAMED, "conId": 272093, "symbol": "MSFT"})
    desk.ask("reqMktData", "b", id="quotes", contract={**AAPL, "conId": con_id})
    desk.hear("tickPrice", reqId=desk.last_id(), tickType=2, price=1000.0, size=1.0)
    if passes:
        desk.ordered("k", lmtPrice=1000.0)
    else:
        assert refusal("E_RISK", desk.ordered, "k", lmtPrice=1000.0).more["rule"] == "price_collar_percent"


def test_a_change_that_waits_is_checked_again_before_it_leaves() -> None:
    desk = Desk(RiskConfig(clients={"a": {"reject_breaker": 1}}, accounts={"*": OPEN}), rate=4)
    desk.link.go_on(2.0)
    first = desk.ordered("one")["orderId"]
    desk.link.go_on(2.0)
    second = desk.ordered("two", totalQuantity=99)["orderId"]
    desk.works("two", second, totalQuantity=99)
    desk.link.go_on(2.0)
    for number in range(5):
        desk.ordered(f"more-{number}", totalQuantity=number + 1)
    desk.ask("modifyOrder", key="two", rev=1, order={"totalQuantity": 98})
    desk.error(first, 201, "Order rejected - reason:no")
    desk.link.take()
    desk.link.go_on(5.0)
    assert not [each for each in desk.link.take() if each.data.get("orderId") == second]
    error = [heard.data for heard in desk.published if heard.topic == "ord.a.two.error."][-1]
    assert "the change was not sent" in error["errorString"]
    assert "reject_breaker" in error["errorString"]
    desk.pass_time(1.0)
    working = desk.parts.orders.risk.keeper.gate.book.working["a", "two"]
    assert (working.order.quantity, working.former) == (99, None)


def test_an_order_leaves_before_it_is_counted_and_is_counted_before_anybody_asks() -> None:
    desk = Desk(max_open_orders=2)
    gate, counted = desk.parts.orders.risk.keeper.gate, []
    write = desk.link.write
    desk.link.write = lambda data: (counted.append(len(gate._book.working)), write(data))  # type: ignore[assignment,func-returns-value]
    desk.ordered("one", totalQuantity=1)
    desk.ordered("two", totalQuantity=2)
    assert counted == [0, 1]
    assert len(gate._book.working) == 2
    assert risk("max_open_orders", desk, "three", totalQuantity=3)["value"] == 3


ALLOCATED = [{"faGroup": "all"}, {"faMethod": "NetLiq"}, {"faGroup": "all", "account": ACCOUNT}, {"modelCode": "m"}]


@pytest.mark.parametrize("order", ALLOCATED)
def test_an_order_that_tws_allocates_is_refused_while_an_account_has_limits(order: dict[str, Any]) -> None:
    desk = Desk(RiskConfig(accounts={"*": OPEN, "DU2": {"max_position": 500}}))
    error = risk("accounts", desk, "k", **order)
    assert "order.account" in error["message"]
    assert "DU2" in error["message"]
    assert desk.audit.of("decision")[-1]["rule"] == "accounts"
    Desk(RiskConfig(accounts={"*": OPEN}, all={"max_open_orders": 500})).ordered("k", **order)
    Desk(RiskConfig(mode="observe", accounts={"*": OPEN, "DU2": {"max_position": 500}})).ordered("k", **order)


def test_the_rate_of_a_currency_is_read_from_the_values_of_an_account() -> None:
    desk = Desk(RiskConfig(base_currency="USD", accounts={"*": OPEN}, all={"max_order_notional": 11_000}))
    desk.ask("reqAccountUpdates", subscribe=True, acctCode=ACCOUNT)
    for currency, rate in (("USD", "1.00"), ("EUR", "1.10"), ("JPY", "none")):
        desk.hear("updateAccountValue", key="ExchangeRate", val=rate, currency=currency, accountName=ACCOUNT)
    facts = desk.parts.orders.risk._facts
    assert facts.rate("EUR") == pytest.approx(1.1)
    assert facts.rate("JPY") is None
    europe = {**AAPL, "currency": "EUR"}
    desk.ordered("at", contract=europe, totalQuantity=100, lmtPrice=100.0)
    error = refusal("E_RISK", desk.ordered, "above", contract=europe, totalQuantity=101, lmtPrice=100.0)
    assert error.more["value"] == pytest.approx(11_110)
