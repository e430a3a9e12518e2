"""The policy: what each role may send and see, what a policy of one's own changes, and every fault of one at once."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ibbridge
from ibbridge.codec.messages import REQUESTS
from ibbridge.commands.takes import ORDER_TAKES, TAKES
from ibbridge.protocol import topics
from ibbridge.protocol.arguments import WHAT_IF
from ibbridge.protocol.errors import CommandRefused
from ibbridge.protocol.instrument_key import instrument_key
from ibbridge.security import declared_names, policy, policy_terms, roles
from ibbridge.security.declared_names import DeclaredNames
from ibbridge.security.identity import LOCAL, NO_ROLE, Identity
from ibbridge.security.instrument_rights import InstrumentKeys
from ibbridge.security.policy import Policy
from ibbridge.security.rights import Rights, Surroundings
from ibbridge.security.topic_rights import SYSTEM

if TYPE_CHECKING:
    from collections.abc import Iterator

AAPL = {"symbol": "AAPL", "secType": "STK", "exchange": "SMART", "currency": "USD"}
TSLA = {**AAPL, "symbol": "TSLA"}
ES = {"symbol": "ES", "secType": "FUT", "exchange": "CME", "currency": "USD", "lastTradeDateOrContractMonth": "202612"}
KNOWN = {265598: {**AAPL, "conId": 265598}, 76792991: {**TSLA, "conId": 76792991}, 11: {**ES, "conId": 11}}
EVERY_COMMAND = sorted({*REQUESTS, *TAKES, *ORDER_TAKES, WHAT_IF})


def make(
    *, roles: dict[str, Any] | None = None, clients: dict[str, Any] | None = None, prefix: str = "", **around: Any
) -> Policy:
    """Return the policy of a configuration, in a world where TWS manages DU1 and DU2, and has named three contracts."""
    read = {
        kind: {name: policy_terms.read(terms)[0] for name, terms in (given or {}).items()}
        for kind, given in (("roles", roles), ("clients", clients))
    }
    keys = InstrumentKeys(around.get("names", {}), KNOWN.get)
    names = DeclaredNames(around.get("has_orders", lambda _: False))
    accounts = around.get("accounts", ("DU1", "DU2"))
    return Policy(read["roles"], read["clients"], Surroundings(prefix, keys, lambda: accounts), names)


def rights(role: str, name: str = "me", **terms: Any) -> Rights:
    """Return the rights of a client with this role, and with these terms of its own."""
    return make(clients={name: terms}).rights(Identity(name=name, role=role))


def refused(of: Rights, command: str, **args: Any) -> str:
    """Return the faults of a command that is refused; empty if it is allowed."""
    try:
        of.check_command(command, args)
    except CommandRefused as error:
        found = error
    else:
        return ""
    assert found.code == "E_PERM"
    assert found.more["role"] == of.whose.role
    return str(found)


# -- commands ---------------------------------------------------------------------------------------------------------


def test_every_command_of_the_roles_is_one():
    later = {"hello", "alive", "logout"}  # of the dead man's switch
    assert {*roles.OBSERVING, *roles.ASKING, *roles.TRADING} - later <= set(EVERY_COMMAND)


def test_each_cancel_goes_with_its_request():
    for name, request in REQUESTS.items():
        if request.target and name not in ("updateDisplayGroup", "unsubscribeFromGroupEvents"):
            for role in (roles.ASKING, roles.TRADING):
                assert (name in role) == (request.target in role), name


@pytest.mark.parametrize("command", EVERY_COMMAND)
def test_each_role_may_send_its_commands_and_no_other(command):
    observing = command in roles.OBSERVING
    asking = observing or command in roles.ASKING
    trading = asking or command in roles.TRADING
    for role, allowed in (("observer", observing), ("data", asking), ("trader", trading), ("admin", True)):
        args = {"account": "DU1"} if command in ("reqPnL", "reqPnLSingle") else {}
        assert (refused(rights(role), command, **args) == "") == allowed, (role, command)
    assert refused(rights(NO_ROLE), command)
    assert refused(rights("never heard of"), command)


def test_a_refusal_says_the_role_and_what_is_allowed():
    said = refused(rights("observer", "eve"), "placeOrder")
    assert said.startswith("placeOrder is not allowed to eve (role observer); allowed are: ping, status, snapshot")


def test_a_refusal_on_loopback_says_where_to_connect_and_does_not_list_what_nobody_reads():
    said = refused(rights("data", ""), "placeOrder")
    assert said.startswith("placeOrder is not allowed to the role data; connect over ipc, or with the key of a client")
    assert "security.trust_loopback: true" in said


def test_commands_may_be_patterns_and_denied():
    own = rights("observer", commands=["req*", "ping"], deny_commands=["reqGlobalCancel"])
    assert not refused(own, "reqMktData")
    assert not refused(own, "ping")
    assert refused(own, "reqGlobalCancel")
    assert refused(own, "status")


# -- instruments ------------------------------------------------------------------------------------------------------

CONTRACTS = [
    ({"symbols": ["AAPL"]}, AAPL, True),
    ({"symbols": ["AAPL"]}, TSLA, False),
    ({"symbols": ["AA*"]}, AAPL, True),
    ({"deny_symbols": ["TSLA"]}, AAPL, True),
    ({"deny_symbols": ["TSLA"]}, TSLA, False),
    ({"deny_symbols": ["TSLA"]}, {**TSLA, "symbol": " tsla "}, False),
    ({"security_types": ["STK"]}, ES, False),
    ({"security_types": ["FUT"]}, ES, True),
    ({"exchanges": ["SMART"]}, ES, False),
    ({"currencies": ["EUR"]}, AAPL, False),
    ({"symbols": ["AAPL"]}, {"conId": 265598, "exchange": "SMART"}, True),
    ({"symbols": ["AAPL"]}, {"conId": 76792991, "exchange": "SMART"}, False),
    ({"symbols": ["AAPL"]}, {**AAPL, "conId": 76792991}, False),  # TWS goes by the conId
    ({"symbols": ["AAPL"]}, {"conId": 4711}, False),
    ({"symbols": ["AAPL"]}, {"conId": True}, False),
    ({"symbols": ["AAPL"]}, {"localSymbol": "AAPL", "secType": "STK"}, False),
    ({"symbols": ["AAPL"]}, {**AAPL, "secIdType": "ISIN", "secId": "US88160R1014"}, False),
    ({"symbols": ["AAPL"]}, {**AAPL, "deltaNeutralContract": {"conId": 76792991}}, False),
    ({"symbols": ["AAPL"]}, {**AAPL, "secType": "BAG"}, False),
    ({"symbols": ["AAPL"]}, {**AAPL, "secType": "BAG", "comboLegs": [{"conId": 265598}]}, True),
    ({"symbols": ["AAPL"]}, {**AAPL, "secType": "BAG", "comboLegs": [{"conId": 265598}, {"conId": 76792991}]}, False),
    ({"symbols": ["AAPL"]}, {**AAPL, "secType": "BAG", "comboLegs": [{"conId": 5}]}, False),
    ({"symbols": ["AAPL"]}, {}, False),
    ({}, {"conId": 4711}, True),
    # The topic would be that of the symbol, and the permission that of the conId.
    ({"symbols": ["AAPL"]}, {**AAPL, "conId": 265598}, True),
    ({"symbols": ["AAPL"]}, {**TSLA, "conId": 265598}, False),
    ({"security_types": ["STK"]}, {**AAPL, "secType": "CFD", "conId": 265598}, False),
    ({"symbols": ["AAPL"]}, {"localSymbol": "TSLA", "conId": 265598, "exchange": "SMART"}, False),
    ({"exchanges": ["SMART"]}, {**AAPL, "secType": "BAG", "comboLegs": [{"conId": 265598, "exchange": "IEX"}]}, False),
]


@pytest.mark.parametrize(("terms", "contract", "allowed"), CONTRACTS)
def test_contracts(terms, contract, allowed):
    own = rights("trader", **terms)
    order = {"contract": contract, "order": {"account": "DU1"}}
    for command, args in (
        ("reqMktData", {"contract": contract}),
        ("reqHistoricalData", {"contract": contract}),
        ("placeOrder", order),
        ("whatIfOrder", order),
        ("placeOrders", {"orders": [order]}),
        ("exerciseOptions", {"contract": contract, "account": "DU1"}),
    ):
        assert (refused(own, command, **args) == "") == allowed, (command, refused(own, command, **args))


def test_a_contract_that_cannot_be_told_is_refused_with_what_to_add():
    own = rights("trader", symbols=["AAPL"])
    assert "give symbol, secType, exchange and currency instead" in refused(own, "reqMktData", contract={"conId": 4711})
    assert refused(own, "reqMktData", contract={"secType": "STK"}) == (
        "contract.symbol is missing: this client's symbols are limited to AAPL"
    )


def test_every_fault_is_named():
    said = refused(
        rights("trader", symbols=["AAPL"], currencies=["USD"], accounts=["DU1"]),
        "placeOrders",
        orders=[
            {"contract": {**TSLA, "currency": "EUR"}, "order": {"account": "DU2"}},
            {"contract": TSLA, "order": {}},
        ],
    )
    assert said.count("orders[0]") == 3
    assert said.count("orders[1]") == 2


@pytest.mark.parametrize("name", ["conid", "conId", "underlyingConId"])
def test_a_bare_con_id_is_an_instrument_too(name):
    own = rights("trader", symbols=["AAPL"])
    assert not refused(own, "reqHistoricalNews", **{name: 265598})
    assert refused(own, "reqHistoricalNews", **{name: 76792991})
    assert refused(own, "reqHistoricalNews", **{name: "265598"})


def test_the_stock_that_hedges_an_order_is_an_instrument_too():
    own = rights("trader", symbols=["AAPL"])
    order = {"account": "DU1", "deltaNeutralOrderType": "MKT"}
    assert not refused(own, "placeOrder", contract=AAPL, order={**order, "deltaNeutralConId": 265598})
    assert refused(own, "placeOrder", contract=AAPL, order={**order, "deltaNeutralConId": 76792991})
    assert refused(own, "modifyOrder", key="k", rev=1, order={"deltaNeutralConId": 76792991})
    assert refused(own, "reqWshEventData", wshEventData={"conId": 76792991})


def test_an_exercise_is_for_the_account_that_it_names_and_for_no_other():
    own = rights("trader", accounts=["DU1"])
    assert refused(own, "exerciseOptions", contract=AAPL, account="DU2", order={"account": "DU1"})


def test_an_underlying_symbol_is_an_instrument_too():
    own = rights("trader", symbols=["AAPL"])
    assert not refused(own, "reqSecDefOptParams", underlyingSymbol="AAPL")
    assert refused(own, "reqSecDefOptParams", underlyingSymbol="TSLA")


# -- accounts ---------------------------------------------------------------------------------------------------------

ACCOUNTS = [
    ("placeOrder", {"order": {"account": "DU1"}}, {"order": {"account": "DU2"}}),
    ("placeOrder", {"order": {"account": "DU1"}}, {"order": {}}),
    ("placeOrder", {"order": {"account": "DU1"}}, {}),
    ("placeOrder", {"order": {"account": "DU1"}}, {"order": {"account": "DU1", "faGroup": "everybody"}}),
    ("whatIfOrder", {"order": {"account": "DU1"}}, {"order": {"account": "DU2"}}),
    ("modifyOrder", {"order": {"lmtPrice": 1}}, {"order": {"account": "DU2"}}),
    ("placeOrders", {"orders": [{"order": {"account": "DU1"}}]}, {"orders": [{"order": {"account": "DU2"}}]}),
    ("exerciseOptions", {"account": "DU1"}, {"account": "DU2"}),
    ("reqAccountUpdates", {"acctCode": "DU1"}, {"acctCode": "DU2"}),
    ("reqAccountUpdates", {"acctCode": "DU1"}, {}),
    ("reqAccountUpdatesMulti", {"account": "DU1"}, {"account": "DU2"}),
    ("reqAccountUpdatesMulti", {"account": "DU1"}, {}),
    ("reqPositionsMulti", {"account": "DU1"}, {"account": "DU2"}),
    ("reqPnL", {"account": "DU1"}, {"account": "DU2"}),
    ("reqPnLSingle", {"account": "DU1"}, {"account": "DU2"}),
    ("reqAccountSummary", {"groupName": "All"}, {"groupName": "some"}),
    ("reqExecutions", {"execFilter": {"acctCode": "DU1"}}, {"execFilter": {}}),
    ("reqExecutions", {"execFilter": {"acctCode": "DU1"}}, {}),
]


@pytest.mark.parametrize(("command", "fine", "wrong"), ACCOUNTS)
def test_accounts(command, fine, wrong):
    own = rights("trader", accounts=["DU1"], commands=["*"])
    assert not refused(own, command, **fine)
    assert "DU1" in refused(own, command, **wrong)
    assert not refused(rights("trader", commands=["*"]), command, **wrong)


def test_the_only_account_of_the_login_need_not_be_named():
    clients = {"me": {"accounts": ["DU1"]}}
    one = make(clients=clients, accounts=("DU1",)).rights(Identity("me", "trader"))
    assert not refused(one, "placeOrder", contract=AAPL, order={})
    other = make(clients=clients, accounts=("DU2",)).rights(Identity("me", "trader"))
    assert refused(other, "placeOrder", contract=AAPL, order={})


def test_whoever_has_no_account_gets_no_list_of_positions():
    own = rights("data", commands=["*"])
    assert refused(own, "reqPositions")
    assert refused(own, "placeOrder", contract=AAPL, order={"account": "DU1"})


# -- topics -----------------------------------------------------------------------------------------------------------

SEEN = {
    "md.AAPL-STK-SMART-USD.tickPrice.": "observer data trader admin",
    "news.BZ.tickNews.": "data trader admin",
    "ord.me.k1.orderStatus.": "observer data trader admin",
    "ord.other.k1.orderStatus.": "admin",
    "ord.ext.p1.orderStatus.": "admin",
    "exec.me.execDetails.": "observer data trader admin",
    "exec.other.execDetails.": "admin",
    "req.me.5.historicalData.": "observer data trader admin",
    "req.other.5.historicalData.": "admin",
    "req.~17.historicalData.": "admin",
    "acct.DU1.position.": "trader admin",
    "acct.all.positionEnd.": "trader admin",
    "sys.tws.connection.": "observer data trader admin",
    "sys.tws.managedAccounts.": "trader admin",
    "sys.tws.error.": "admin",
    "sys.tws.decodeError.": "admin",
    "sys.bridge.alarm.": "admin",
    "sys.bridge.halt.": "trader admin",
    "sys.bridge.risk.": "admin",
    "sys.bridge.store.": "observer data trader admin",
    "sys.bridge.heartbeat.": "admin",
    "sys.bridge.never.": "admin",
    "sys.audit.command.": "admin",
    "other.thing.": "admin",
}


@pytest.mark.parametrize(("topic", "by"), SEEN.items())
def test_each_role_sees_its_topics(topic, by):
    for role in ("observer", "data", "trader", "admin", NO_ROLE):
        own = rights(role)
        assert own.sees(topic.encode()) == (role in by.split()), role
        assert (own.subscription(topic.encode()) == (topic.encode(),)) == (role in by.split()), role


def test_heartbeats_are_those_of_ones_own_rights():
    own = rights("trader", "alpha")
    assert own.subscription(b"sys.bridge.heartbeat.") == (b"sys.bridge.heartbeat.trader+alpha.",)
    assert own.subscription(b"sys.bridge.heartbeat.trader+alpha.") == (b"sys.bridge.heartbeat.trader+alpha.",)
    assert own.subscription(b"sys.bridge.heartbeat.trader+beta.") == ()
    assert own.subscription(b"sys.bridge.heartbeat.data.") == ()
    assert own.heartbeat in own.subscription(b"sys.bridge.")
    assert own.heartbeat in own.subscription(b"sys.")


def test_the_system_is_narrowed_to_the_types_that_may_be_seen():
    found = rights("data").subscription(b"sys.")
    assert b"sys.bridge.store." in found
    assert not {b"sys.bridge.alarm.", b"sys.tws.managedAccounts.", b"sys.tws.error.", b"sys.", b"sys.audit."} & {*found}


def test_warnings_about_limits_are_for_those_who_may_see_every_order():
    assert b"sys.bridge.risk." not in rights("trader").subscription(b"sys.bridge.")
    own = rights("trader", topics=["sys.bridge.", "ord."])
    assert b"sys.bridge.risk." in own.subscription(b"sys.bridge.")
    assert own.sees(b"sys.bridge.risk.")


def published(*under: str) -> set[str]:
    """Return the types of message that the source publishes under these components of a topic."""
    found: set[str] = set()
    for path in sorted(Path(ibbridge.__file__).parent.rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        constants = {
            target.id: node.value.value
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
            for kind in kinds(function, under):
                if isinstance(kind, ast.Constant):
                    found.add(str(kind.value))
                elif isinstance(kind, ast.Name) and kind.id in constants:
                    found.add(str(constants[kind.id]))
                else:  # an argument of the function: the calls say which
                    found |= {str(first.value) for first in firsts(tree, function.name)}
    return found


def kinds(function: ast.FunctionDef, under: tuple[str, ...]) -> Iterator[ast.expr]:
    """Yield the expressions of a function that stand where the type of a topic stands."""
    for call in (node for node in ast.walk(function) if isinstance(node, ast.Call)):
        names = [each.value if isinstance(each, ast.Constant) else None for each in call.args]
        if tuple(names[: len(under)]) == under and len(call.args) > len(under):
            yield call.args[len(under)]


def firsts(tree: ast.Module, name: str) -> Iterator[ast.Constant]:
    """Yield the constants with which a method is called first."""
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        if isinstance(call.func, ast.Attribute) and call.func.attr == name and isinstance(call.args[0], ast.Constant):
            yield call.args[0]


def test_every_type_that_is_published_under_sys_can_be_seen_with_limited_rights():
    bridge = published("sys", "bridge")
    assert {"alarm", "halt", "bye", "risk"} <= bridge
    assert bridge | {"gap"} == {topic.split(".")[2] for topic in SYSTEM if topic.startswith("sys.bridge.")}
    assert published("sys", "tws") <= {topic.split(".")[2] for topic in SYSTEM if topic.startswith("sys.tws.")}


WIDE = [
    (b"", ()),
    (b"s", ()),
    (b"md", ()),
    (b"md.", ()),
    (b"md.AAPL-STK-SMART-USD", (b"md.AAPL-STK-SMART-USD.", b"md.AAPL-STK-SMART-USD+", b"md.AAPL-STK-SMART-USD-")),
    (b"md.AAPL-STK-SMART-USD.", (b"md.AAPL-STK-SMART-USD.",)),
    (b"md.AAPL-STK-SMART-USD+", (b"md.AAPL-STK-SMART-USD+",)),
    (b"md.AAPL-STK-SMART-USD+depth.", (b"md.AAPL-STK-SMART-USD+depth.",)),
    (b"md.AAPL", (b"md.AAPL.", b"md.AAPL+")),  # a contract with nothing but its symbol
    (b"md.AAP", ()),
    (b"md.TSLA-STK-SMART-USD.", ()),
    (b"md.TSLA-STK-SMART-USD", ()),
    (b"md.265598@SMART.", (b"md.265598@SMART.",)),
    (b"md.265598@SMART", (b"md.265598@SMART.", b"md.265598@SMART+")),
    (b"md.76792991@SMART.", ()),
    (b"md.4711@SMART.", ()),
    (b"md.BAG-0123456789abcdef.", ()),
    (b"md.~17.", ()),
    (b"md.%zz.", ()),
    (b"acct.", (b"acct.DU1.", b"acct.all.")),
    (b"acct.D", (b"acct.DU1.",)),
    (b"acct.DU1.", (b"acct.DU1.",)),
    (b"acct.DU1.position.", (b"acct.DU1.position.",)),
    (b"acct.DU2.", ()),
    (b"acct.~4.", ()),
    (b"ord.", ()),
    (b"ord.me", ()),
    (b"ord.me.", (b"ord.me.",)),
    (b"ord.me2.", ()),
    (b"ord.m%65.", ()),
    ("ord.mé.".encode(), ()),
]


@pytest.mark.parametrize(("prefix", "wanted"), WIDE)
def test_prefixes_of_a_limited_trader(prefix, wanted):
    own = rights("trader", symbols=["AAPL"], accounts=["DU1"])
    assert own.subscription(prefix) == wanted
    assert own.may_subscribe(prefix) == bool(wanted)


def test_accounts_by_pattern():
    assert rights("trader", accounts=["DU*"]).subscription(b"acct.") == (b"acct.DU", b"acct.all.")
    assert rights("trader", accounts=["D?1"]).subscription(b"acct.") == ()
    assert rights("trader", accounts=["DU*"], deny_accounts=["DU2"]).subscription(b"acct.") == ()
    assert rights("trader", accounts=["DU*"], deny_accounts=["DU2"]).subscription(b"acct.DU1.") == (b"acct.DU1.",)


def test_names_of_the_configuration_are_instruments():
    own = make(clients={"me": {"symbols": ["ES"]}}, names={"spooz": ES, "tesla": TSLA}).rights(Identity("me", "data"))
    assert own.subscription(b"md.spooz.") == (b"md.spooz.",)
    assert own.subscription(b"md.spooz") == (b"md.spooz.", b"md.spooz+")
    assert own.subscription(b"md.tesla.") == ()


def test_more_topics_and_denied_ones():
    own = rights("observer", topics=["ord.", "exec.{name}."], deny_topics=["ord.secret."])
    assert own.subscription(b"ord.other.") == (b"ord.other.",)
    assert own.subscription(b"ord.secret.") == ()
    assert own.subscription(b"ord.") == ()  # it covers what is denied
    assert own.subscription(b"exec.me.") == (b"exec.me.",)
    assert own.subscription(b"md.") == ()
    assert not own.sees_orders
    assert rights("observer", topics=["ord."]).sees_orders


def test_the_configured_prefix_stands_before_all_topics():
    own = make(clients={"me": {}}, prefix="farm").rights(Identity("me", "trader"))
    assert own.subscription(b"farm.md.") == (b"farm.md.",)
    assert own.subscription(b"farm.sys.bridge.heartbeat.") == (b"farm.sys.bridge.heartbeat.trader+me.",)
    for prefix in (b"", b"f", b"farm", b"farm.", b"md.", b"other.md.", b"farm.ord."):
        assert own.subscription(prefix) == (), prefix
    assert own.sees(b"farm.md.ES-FUT.tickPrice.")
    assert not own.sees(b"md.ES-FUT.tickPrice.")


ALL = [
    *SEEN,
    *SYSTEM,
    "sys.bridge.heartbeat.trader+me.",
    "sys.bridge.heartbeat.data.",
    *(topics.topic("md", instrument_key(each) + kind, "tickPrice").decode() for each in (AAPL, TSLA, ES)
      for kind in ("", "+depth", "+tbt-Last")),
    *(f"acct.{account}.updatePortfolio." for account in ("DU1", "DU2", "U9", "~3")),
    *(f"{kind}.{owner}.x.y." for kind in ("ord", "exec", "req") for owner in ("me", "other", "m", "mee", "ext")),
    "md.265598@SMART.tickPrice.", "md.76792991@SMART.tickPrice.", "md.spooz+depth.x.", "md.AAPL-STK-SMART-USDX.t.",
]  # fmt: skip
TERMS = st.fixed_dictionaries(
    {},
    optional={
        "topics": st.lists(
            st.sampled_from(["*", "md.", "ord.", "ord.{name}.", "acct.", "sys.", "req.", "exec.other."])
        ),
        "deny_topics": st.lists(st.sampled_from(["ord.other.", "sys.tws.", "md.TSLA-STK-SMART-USD.", "acct.DU1."])),
        "accounts": st.lists(st.sampled_from(["*", "DU1", "DU*", "D?2"])),
        "deny_accounts": st.lists(st.sampled_from(["DU2", "U*"])),
        "symbols": st.lists(st.sampled_from(["*", "AAPL", "E*"])),
        "deny_symbols": st.lists(st.sampled_from(["TSLA"])),
        "currencies": st.lists(st.sampled_from(["*", "USD"])),
    },
)
PREFIXES = st.sampled_from(ALL).flatmap(lambda topic: st.integers(0, len(topic)).map(lambda end: topic[:end]))


@given(st.sampled_from(["observer", "data", "trader", "admin"]), TERMS, st.one_of(PREFIXES, st.text(max_size=8)))
def test_no_subscription_brings_a_topic_that_the_rights_do_not_cover(role, terms, prefix):
    own = rights(role, **terms)
    found = own.subscription(prefix.encode("utf-8"))
    for each in found:
        assert each.startswith(prefix.encode("utf-8"))
    for topic in ALL:
        if topic.encode().startswith(found):
            assert own.sees(topic.encode()), (topic, found)
            stream = ".".join([*topic.split(".")[:2], ""]).encode()
            assert own.sees_some(stream)


@given(st.sampled_from(["observer", "data", "trader"]), TERMS)
def test_a_topic_that_may_be_seen_can_be_subscribed_to(role, terms):
    own = rights(role, **terms)
    for topic in ALL:
        if own.sees(topic.encode()):
            assert own.subscription(topic.encode()) == (topic.encode(),)


# -- names ------------------------------------------------------------------------------------------------------------


def test_an_identity_with_a_name_owns_what_it_sends():
    them = make(clients={"alpha": {}, "boss": {"acts_as": ["alpha", "desk-*"]}})
    alpha, boss = Identity("alpha", "trader"), Identity("boss", "admin")
    assert them.owner(alpha, "") == "alpha"
    assert them.owner(alpha, "alpha") == "alpha"
    assert them.owner(alpha, "beta") is None
    assert them.owner(boss, "desk-1") == "desk-1"
    assert them.owner(boss, "beta") is None
    assert them.rights(boss).subscription(b"ord.desk-1.")


def test_a_declared_name_belongs_to_the_rights_that_used_it():
    them = make(clients={"alpha": {}}, has_orders=lambda name: name == "veteran")
    data, trader, admin = Identity(role="data"), Identity(role="trader"), LOCAL
    assert them.owner(data, "me") == "me"
    assert them.owner(data, "alpha") is None  # has a key
    assert them.owner(data, "veteran") is None  # has orders
    assert them.owner(trader, "veteran") == "veteran"
    assert them.owner(trader, "me") == "me"  # taken away: a trader can do more
    assert them.owner(data, "me") is None
    assert not them.rights(data).subscription(b"req.me.")
    assert them.rights(trader).subscription(b"req.me.")
    assert them.owner(admin, "me") == "me"
    assert them.owner(trader, "me") is None
    assert them.owner(admin, "alpha") == "alpha"
    assert them.owner(Identity(role="observer"), "veteran") is None


def test_nobody_can_use_up_the_names(monkeypatch):
    monkeypatch.setattr(declared_names, "MOST", 3)
    them = make()
    data, trader = Identity(role="data"), Identity(role="trader")
    assert them.owner(trader, "desk") == "desk"
    for number in range(10):
        assert them.owner(data, f"name{number}") == f"name{number}"
    assert them.owner(data, "honest") == "honest"
    assert them.owner(data, "desk") is None
    assert them.owner(Identity(role="observer"), "honest") is None


def test_a_subscription_uses_a_name_too():
    them = make()
    assert them.rights(Identity(role="data")).subscription(b"req.me.") == (b"req.me.",)
    assert them.owner(Identity(role="observer"), "me") is None


# -- the configuration ------------------------------------------------------------------------------------------------


def test_a_role_may_be_like_another_and_a_client_goes_on_top():
    them = make(
        roles={"desk": {"like": "trader", "accounts": ["DU1"], "limits": {"max_open_orders": 5}}},
        clients={"alpha": {"symbols": ["AAPL"], "deny_symbols": ["TSLA"], "limits": {"max_order_quantity": 7}}},
    )
    own = them.rights(Identity("alpha", "desk"))
    assert not refused(own, "placeOrder", contract=AAPL, order={"account": "DU1"})
    assert refused(own, "placeOrder", contract=AAPL, order={"account": "DU2"})
    assert refused(own, "placeOrder", contract=ES, order={"account": "DU1"})
    assert own.limits == {"max_open_orders": 5, "max_order_quantity": 7}
    assert refused(them.rights(Identity("beta", "desk")), "placeOrder", contract=ES, order={"account": "DU2"})


def test_a_role_that_is_there_can_be_changed():
    them = make(roles={"trader": {"deny_commands": ["exerciseOptions"]}})
    own = them.rights(Identity("x", "trader"))
    assert refused(own, "exerciseOptions", account="DU1")
    assert not refused(own, "placeOrder", order={"account": "DU1"})


def test_a_role_of_ones_own_has_nothing_that_it_does_not_say():
    own = make(roles={"bare": {"commands": ["ping"]}}).rights(Identity("x", "bare"))
    assert not refused(own, "ping")
    assert refused(own, "status")
    assert not any(own.subscription(topic.encode()) for topic in ALL)


def test_another_policy_holds_at_once():
    them, alpha = make(clients={"alpha": {}}), Identity("alpha", "trader")
    assert not refused(them.rights(alpha), "placeOrder", order={"account": "DU1"})
    them.replace({}, {"alpha": policy_terms.read({"commands": ["ping"]})[0]})
    assert refused(them.rights(alpha), "placeOrder", order={"account": "DU1"})


FAULTS = [
    ([], "expected a map with like, commands"),
    ({"comands": []}, "comands: unknown key; did you mean commands?"),
    ({"commands": "ping"}, "commands: expected a list, got 'ping'; write [ping]"),
    ({"commands": 5}, "commands: expected a list of texts, got 5"),
    ({"accounts": [123]}, "accounts: expected a list of texts, with 123 in it (put it in quotes)"),
    ({"symbols": [""]}, "symbols: expected 1 to 200 printable ASCII characters without blanks at the ends, got ''"),
    ({"symbols": ["A" * 201]}, "symbols: expected 1 to 200"),
    ({"topics": ["md"]}, "topics: 'md': a topic ends in a dot"),
    ({"topics": ["md.*."]}, "topics: 'md.*.': a topic is a beginning of topics and takes no pattern"),
    ({"topics": ["ord.{client}."]}, "topics: 'ord.{client}.': the only placeholder is {name}"),
    ({"like": 1}, "like: expected the name of a role, got 1"),
    ({"limits": []}, "limits: expected a map of limits, got a list"),
    ({"limits": {"x": float("nan")}}, "limits.x: expected a number, got nan"),
]


@pytest.mark.parametrize(("given", "wanted"), FAULTS)
def test_faults_of_a_policy(given, wanted):
    _, faults = policy_terms.read(given)
    (said,) = [": ".join(filter(None, [".".join(path), text])) for path, text in faults]
    assert said.startswith(wanted)


def test_all_faults_are_named_at_once():
    _, faults = policy_terms.read({"commands": [1, " "], "nonsense": 1, "limits": 3, "topics": ["md"]})
    assert len(faults) == 5


def test_roles_that_are_like_nothing():
    given = {"a": {"like": "b"}, "b": {"like": "a"}, "c": {"like": "tradre"}, "trader": {"like": "trader"}}
    found = dict(policy.faults({name: policy_terms.read(terms)[0] for name, terms in given.items()}))
    assert found.keys() == {("a", "like"), ("b", "like"), ("c", "like")}
    assert "admin, b, c, data, observer, trader" in found["c", "like"]
