"""Attacks on what is not one's own: orders, names, ids, keys and topics of other clients, through real sockets.

After each attack the simulator has no order that its owner may not place, and the audit has the refusal.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.rig import AAPL, MSFT, Market
from tests.support.guarded import GuardedBridge

if TYPE_CHECKING:
    from collections.abc import Iterator

CLIENTS: dict[str, dict[str, Any]] = {
    "eve": {"role": "observer"},
    "quotes": {"role": "data"},
    "alpha": {"role": "trader", "symbols": ["AAPL"]},
    "beta": {"role": "trader"},
    "boss": {"role": "admin"},
}
ORDER = {"action": "BUY", "orderType": "LMT", "totalQuantity": 1, "lmtPrice": 1.0, "tif": "GTC"}
PLACE = {"contract": AAPL, "order": ORDER}


@pytest.fixture(scope="module")
def market() -> Iterator[Market]:
    with Market() as market:
        yield market


@pytest.fixture
def bridge(market: Market) -> Iterator[GuardedBridge]:
    with GuardedBridge(market.port, CLIENTS) as bridge:
        boss = bridge.client("boss")
        boss.subscribe("sys.bridge.heartbeat.")
        boss.until(lambda heard: heard.type == "heartbeat" and heard.data["tws"]["stage"] == "ready")
        yield bridge


def orders(market: Market) -> set[str]:
    """Return the orders that have ever reached the simulator in this test, by orderRef."""
    return market.book(lambda book: {str(ticket.order.get("orderRef", "")) for ticket in book.working()})


def test_an_observer_cannot_trade(bridge: GuardedBridge, market: Market) -> None:
    eve = bridge.client("eve")
    for command, args in (
        ("placeOrder", PLACE),
        ("placeOrders", {"orders": [{"key": "a", **PLACE}]}),
        ("modifyOrder", {"key": "a", "rev": 1, "order": {"lmtPrice": 2.0}}),
        ("cancelOrder", {}),
        ("cancelOrders", {"all": True}),
        ("exerciseOptions", {"contract": AAPL}),
        ("whatIfOrder", PLACE),
        ("reqGlobalCancel", {}),
        ("halt", {}),
        ("resume", {}),
        ("reload", {}),
        ("reqMktData", {"contract": AAPL}),
        ("reqExecutions", {"execFilter": {}}),
    ):
        assert eve.code(command, args, key="a" if command in ("placeOrder", "cancelOrder") else None) == "E_PERM", (
            command
        )
    assert not {each for each in orders(market) if each.startswith("eve/")}
    assert "E_PERM" in bridge.audited("placeOrders")


def test_a_key_is_its_own_client_and_no_other(bridge: GuardedBridge, market: Market) -> None:
    alpha, beta = bridge.client("alpha"), bridge.client("beta")
    assert beta.do("placeOrder", PLACE, key="mine")["topic"] == "ord.beta.mine."
    for command, args in (
        ("placeOrder", PLACE),
        ("cancelOrder", {"key": "mine"}),
        ("modifyOrder", {"key": "mine", "rev": 1, "order": {"lmtPrice": 2.0}}),
        ("cancelOrders", {"all": True}),
        ("orders", {}),
        ("logout", {}),
        ("ping", {}),
    ):
        assert alpha.code(command, args, client="beta") == "E_AUTH", command
        assert alpha.code(command, args, client="ext") == "E_AUTH", command
    # Under its own name another client's key is nothing.
    assert alpha.code("cancelOrder", {"key": "mine"}) == "E_ARG"
    assert alpha.code("modifyOrder", {"key": "mine", "rev": 1, "order": {"lmtPrice": 2.0}}) != ""
    assert alpha.do("cancelOrders", {"all": True})["orders"] == []
    assert alpha.do("orders") == {"orders": [], "next": None}
    assert alpha.code("cancelOrder", {"permId": 1}) == "E_PERM"
    assert beta.do("orders")["orders"][0]["state"] in ("sent", "held", "acked", "working")
    assert any(each.startswith("beta/mine") for each in orders(market))
    assert not {each for each in orders(market) if each.startswith("alpha/")}
    assert bridge.audited("E_AUTH")
    beta.do("cancelOrder", {"key": "mine"})


def test_the_owner_is_the_key_whatever_the_message_says(bridge: GuardedBridge) -> None:
    beta = bridge.client("beta")
    for given in ({}, {"client": "beta"}, {"client": None}):
        key = f"k{len(given)}{'client' in given and given['client']}"
        assert beta.do("placeOrder", PLACE, key=key, **given)["topic"].startswith("ord.beta.")
    beta.do("cancelOrders", {"all": True})


def test_a_forbidden_symbol_is_neither_quoted_nor_traded(bridge: GuardedBridge, market: Market) -> None:
    alpha = bridge.client("alpha")
    for contract in (MSFT, {"conId": 272093}, {"localSymbol": "MSFT", "secType": "STK"}, {**AAPL, "conId": 272093}):
        assert alpha.code("reqMktData", {"contract": contract}) == "E_PERM"
        assert alpha.code("placeOrder", {"contract": contract, "order": ORDER}, key="x") == "E_PERM"
    assert alpha.is_refused("md.MSFT-STK-SMART-USD.")
    assert not alpha.is_refused("md.AAPL-STK-SMART-USD.")
    assert not {each for each in orders(market) if each.startswith("alpha/")}


FORBIDDEN = ("", "ord.", "ord.beta.", "exec.beta.", "req.beta.", "acct.", "sys.audit.", "sys.bridge.alarm.", "md")


@pytest.mark.parametrize("name", ["eve", "quotes"])
def test_a_topic_that_is_not_permitted_is_shown_in_no_way(bridge: GuardedBridge, name: str) -> None:
    spy, beta = bridge.client(name), bridge.client("beta")
    beta.do("placeOrder", PLACE, key="secret")
    beta.do("reqAccountUpdates", {"subscribe": True, "acctCode": ""})
    for prefix in FORBIDDEN:
        refusal = spy.subscribe(prefix)
        assert refusal.type == "refused", prefix
        assert refusal.data["prefix"] == prefix
        assert refusal.data["role"] == CLIENTS[name]["role"]
        assert spy.code("snapshot", {"prefix": prefix}) == "E_PERM", prefix
        assert spy.code("replay", {"stream": prefix, "from": 1}) == "E_PERM", prefix
    assert str(bridge.store) not in str(spy.do("status"))
    for prefix in ("sys.bridge.", "sys.tws.", "md."):
        assert not spy.is_refused(prefix), prefix
    heard = spy.until(lambda each: each.type == "heartbeat")
    heard += spy.until(lambda each: each.type == "heartbeat")
    beta.do("cancelOrder", {"key": "secret"})
    heard += spy.until(lambda each: each.type == "heartbeat")
    beat = heard[-1]
    assert beat.topic == f"sys.bridge.heartbeat.{CLIENTS[name]['role']}+{name}."
    assert beat.data["for"] == f"{CLIENTS[name]['role']}+{name}"
    assert beat.data["tws"]["accounts"] == []
    shown = [spy.do("status"), spy.do("snapshot", {"prefix": "sys."}), *(each.body for each in heard)]
    for each in shown:
        for secret in ("beta", "secret", "DU"):
            assert secret not in str(each), each
    assert not {each.topic.split(".")[0] for each in heard} & {"ord", "exec", "acct"}


def test_a_refusal_is_told_to_its_peer_alone(bridge: GuardedBridge) -> None:
    boss, eve = bridge.client("boss"), bridge.client("eve")
    assert not boss.is_refused("")
    assert eve.is_refused("ord.")
    heard = boss.until(lambda each: each.type == "heartbeat" and each.data.get("beat", 0) > 0)
    heard += boss.until(lambda each: each.type == "heartbeat")
    assert "refused" not in {each.type for each in heard}


def test_a_replayed_command_gets_nobodys_reply(bridge: GuardedBridge) -> None:
    beta = bridge.client("beta")
    mine = {"id": "same", "client": "beta", "key": "once"}
    first = beta.call("placeOrder", PLACE, **mine)
    assert first["ok"]
    assert beta.call("placeOrder", PLACE, **mine)["dup"]
    for name in ("alpha", "eve", "boss"):
        assert bridge.client(name).code("placeOrder", PLACE, **mine) == "E_AUTH"
    # Over ipc every name may be used, but the reply is not that of another identity.
    assert bridge.admin().code("placeOrder", PLACE, **mine) == "E_ID_REUSED"
    assert len(beta.do("orders")["orders"]) == 1
    beta.do("cancelOrder", {"key": "once"})


def test_a_revoked_key_is_cut_off_at_once(bridge: GuardedBridge, market: Market) -> None:
    alpha, boss = bridge.client("alpha"), bridge.client("boss")
    assert not alpha.is_refused("sys.bridge.heartbeat.")
    assert alpha.code("ping") == ""
    bridge.configure({name: terms for name, terms in CLIENTS.items() if name != "alpha"})
    boss.subscribe("sys.bridge.reload.")
    assert boss.do("reload")["changed"] == ["security.clients"]
    told = boss.until(lambda each: each.type == "reload")[-1]
    assert told.data["ok"]
    assert told.data["by"] == "boss"
    alpha.send("placeOrder", PLACE, key="late")
    assert not alpha.rep.poll(2_000)
    while alpha.sub.poll(1_000):  # what had been sent before
        alpha.sub.recv_multipart()
    assert not {each for each in orders(market) if each.startswith("alpha/")}
    bridge.configure(CLIENTS)
    boss.do("reload")
    assert bridge.client("alpha").code("ping") == ""


def test_rights_that_shrink_end_what_they_no_longer_cover(bridge: GuardedBridge) -> None:
    beta, boss = bridge.client("beta"), bridge.client("boss")
    assert not beta.is_refused("md.")
    assert not beta.is_refused("sys.bridge.store.")
    bridge.configure({**CLIENTS, "beta": {"role": "trader", "symbols": ["AAPL"]}})
    boss.do("reload")
    refusal = beta.until(lambda each: each.type == "refused")[-1]  # libzmq has connected and subscribed again
    assert refusal.topic == "md.\0"
    assert beta.code("reqMktData", {"contract": MSFT}) == "E_PERM"


def test_a_policy_with_faults_changes_nothing_and_names_each(bridge: GuardedBridge) -> None:
    boss = bridge.client("boss")
    boss.subscribe("sys.bridge.reload.")
    broken = {**CLIENTS, "eve": {"role": "amdin"}, "beta": {"role": "trader", "symbols": "AAPL", "comands": []}}
    bridge.configure(broken, roles={"desk": {"like": "trdaer"}})
    for trigger in ("command", "signal"):
        if trigger == "command":
            reply = boss.call("reload")
            assert reply["error"]["code"] == "E_ARG"
        else:
            bridge.process.send_signal(signal.SIGHUP)
        told = boss.until(lambda each: each.type == "reload")[-1].data
        assert not told["ok"]
        for fault in ("symbols", "comands", "desk.like"):
            assert any(fault in each for each in told["faults"]), (fault, told)
    assert bridge.client("beta").code("reqMktData", {"contract": MSFT}) == ""
    assert bridge.client("eve").code("placeOrder", PLACE, key="x") == "E_PERM"


def test_a_name_that_is_only_declared_belongs_to_those_who_may_do_more(market: Market) -> None:
    """Without keys, programs on loopback tcp have the role data, and those over ipc have all rights."""
    with GuardedBridge(market.port, {}) as bridge:
        spy, trader = bridge.client(""), bridge.admin()
        assert not spy.is_refused("req.me.")
        assert spy.code("ping", client="me") == ""
        assert not spy.is_refused("req.trader.")  # nobody has used that name yet
        assert not spy.is_refused("sys.bridge.heartbeat.")
        spy.until(lambda each: each.type == "heartbeat" and each.data["tws"]["stage"] == "ready")
        assert spy.code("placeOrder", PLACE, client="me", key="x") == "E_PERM"
        trader.do("placeOrder", PLACE, client="trader", key="mine")
        refusal = spy.until(lambda each: each.type == "refused")[-1]  # its connection was ended: the name is taken
        assert refusal.topic == "req.trader.\0"
        for command in ("ping", "orders", "reqMktData"):
            assert spy.code(command, {}, client="trader") == "E_AUTH"
        assert spy.is_refused("ord.trader.")
        trader.do("cancelOrders", {"all": True}, client="trader")


def test_who_may_not_reload_cannot(bridge: GuardedBridge) -> None:
    for name in ("eve", "quotes", "alpha"):
        assert bridge.client(name).code("reload") == "E_PERM"


def scanner(rows: int) -> dict[str, Any]:
    wanted = {"instrument": "STK", "locationCode": "STK.US.MAJOR", "scanCode": "TOP_PERC_GAIN", "numberOfRows": rows}
    return {"subscription": wanted}


def test_leases_of_others_are_neither_shown_nor_released_and_their_holders_are_a_number(bridge: GuardedBridge) -> None:
    quotes, beta, eve, boss = map(bridge.client, ("quotes", "beta", "eve", "boss"))
    for number in range(10):  # all of the lines for scanners
        quotes.do("reqScannerSubscription", scanner(number + 1), id=f"scan {number}")
    refused = beta.call("reqScannerSubscription", scanner(20))["error"]
    assert (refused["code"], refused["holders"], refused["others"]) == ("E_LINES", {}, 10)
    assert "quotes" not in str(refused)
    assert boss.call("reqScannerSubscription", scanner(20))["error"]["holders"] == {"quotes": 10}

    for args in ({}, {"client": "quotes"}, {"client": 5}):
        assert beta.code("leases", args) == "E_PERM"
    assert beta.code("release", {"client": "quotes"}) == "E_PERM"
    assert beta.do("leases", {"client": "beta"})["leases"] == []
    assert eve.code("leases", {"client": "eve"}) == "E_PERM", "an observer asks TWS for nothing"
    assert len(boss.do("leases")["leases"]) == 10
    own = quotes.do("leases", {"client": "quotes"})["leases"]
    assert {each["id"] for each in own} == {f"scan {number}" for number in range(10)}
    assert quotes.do("release", {"client": "quotes", "id": "scan 1"}) == {"released": 1}
    beta.do("reqScannerSubscription", scanner(20))
    assert "E_PERM" in bridge.audited("release")
