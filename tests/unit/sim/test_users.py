"""Advisors, display groups, the configuration, verification."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from ibbridge.codec.messages import MESSAGES
from ibbridge.codec.schema import Record
from ibbridge.sim import SimulatedTws
from tests.support.simulator_client import AAPL, Client, codes, names, only

ACCOUNTS = ("DF1000000", "DU1000001", "DU1000002")


@pytest.fixture
def client():
    return Client(SimulatedTws(seed=1))


@pytest.fixture
def advisor():
    return Client(SimulatedTws(seed=1, accounts=ACCOUNTS, advisor=True))


# -- advisors


def test_who_is_no_advisor_has_no_groups(client):
    (error,) = only(client.ask("requestFA", faData=1), "error")
    assert (error["reqId"], error["errorCode"]) == (2147483647, 321)
    assert "FA data operations ignored for non FA customers" in error["errorString"]
    (error,) = only(client.ask("replaceFA", reqId=7, faData=1, cxml="<ListOfGroups/>"), "error")
    assert (error["reqId"], error["errorCode"]) == (7, 321)


@pytest.mark.parametrize(("kind", "root", "tag"), [(1, "ListOfGroups", "acct"), (3, "ListOfAccountAliases", "account")])
def test_an_advisor_has_groups_and_aliases_of_all_accounts(advisor, kind, root, tag):
    (found,) = only(advisor.ask("requestFA", faData=kind), "receiveFA")
    document = ET.fromstring(found["cxml"])
    assert (found["faData"], document.tag) == (kind, root)
    assert [each.text for each in document.iter(tag)] == list(ACCOUNTS)


def test_a_document_that_is_replaced_is_given_back(advisor):
    members = "<ListOfAccts><Account><acct>DU1000001</acct></Account></ListOfAccts>"
    text = f"<ListOfGroups><Group><name>One</name>{members}</Group></ListOfGroups>"
    assert advisor.ask("replaceFA", reqId=7, faData=1, cxml=text) == [("replaceFAEnd", {"reqId": 7, "text": "success"})]
    assert only(advisor.ask("requestFA", faData=1), "receiveFA")[0]["cxml"] == text


@pytest.mark.parametrize(
    ("kind", "text", "code"),
    [
        (1, "<ListOfGroups><acct>DU9</acct></ListOfGroups>", 10231),
        (1, "no xml", 321),
        (1, "<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><ListOfGroups>&b;</ListOfGroups>", 321),
        (1, "<ListOfGroups>" + "<a>" * 200_000, 321),
        (1, "<ListOfAccountAliases/>", 321),
        (2, "<ListOfAllocationProfiles/>", 321),
    ],
)
def test_a_document_that_is_wrong_changes_nothing(advisor, kind, text, code):
    before = advisor.ask("requestFA", faData=1)
    assert codes(advisor.ask("replaceFA", reqId=7, faData=kind, cxml=text)) == [code]
    assert advisor.ask("requestFA", faData=1) == before
    assert codes(advisor.ask("requestFA", faData=2)) == [321]


def test_an_advisors_accounts_are_a_family_and_have_soft_dollars(advisor):
    (found,) = only(advisor.ask("reqFamilyCodes"), "familyCodes")
    assert [row["accountID"] for row in found["familyCodes"]] == list(ACCOUNTS)
    assert len({row["familyCodeStr"] for row in found["familyCodes"]}) == 1
    assert only(advisor.ask("reqSoftDollarTiers", reqId=1), "softDollarTiers")[0]["tiers"]


# -- display groups


def test_everybody_who_follows_a_group_hears_of_a_change(client):
    other = Client(client.host, 2)
    assert only(client.ask("subscribeToGroupEvents", reqId=1, groupId=4), "displayGroupUpdated") == [
        {"reqId": 1, "contractInfo": "none"}
    ]
    other.ask("subscribeToGroupEvents", reqId=5, groupId=4)
    other.ask("subscribeToGroupEvents", reqId=6, groupId=3)
    shown = {"contractInfo": "265598@SMART"}
    assert client.ask("updateDisplayGroup", reqId=1, **shown) == [("displayGroupUpdated", {"reqId": 1, **shown})]
    assert other.session.take() == [("displayGroupUpdated", {"reqId": 5, **shown})]
    assert client.ask("updateDisplayGroup", reqId=1, **shown) == [], "nothing has changed"
    assert client.ask("unsubscribeFromGroupEvents", reqId=1) == []
    other.ask("updateDisplayGroup", reqId=5, contractInfo="none")
    assert client.session.take() == []


def test_what_a_group_shows_outlives_who_set_it(client):
    client.ask("subscribeToGroupEvents", reqId=1, groupId=4)
    client.ask("updateDisplayGroup", reqId=1, contractInfo="265598@SMART")
    client.host.disconnect(client.session)
    again = Client(client.host)
    assert again.ask("subscribeToGroupEvents", reqId=1, groupId=4)[0][1]["contractInfo"] == "265598@SMART"


def test_wrong_groups_and_contracts_are_refused(client):
    assert codes(client.ask("subscribeToGroupEvents", reqId=1, groupId=8)) == [321]
    assert codes(client.ask("updateDisplayGroup", reqId=1, contractInfo="none")) == [321]
    client.ask("subscribeToGroupEvents", reqId=1, groupId=1)
    assert codes(client.ask("subscribeToGroupEvents", reqId=1, groupId=2)) == [322]
    for wrong in ("", "1@SMART", "265598", "combo?", "265598@", "99999999999@SMART"):
        assert codes(client.ask("updateDisplayGroup", reqId=1, contractInfo=wrong)) == [321]


# -- the configuration


def config(client):
    (found,) = only(client.ask("reqConfig", configRequestProto={"reqId": 5}), "configResponse")
    return found["configResponseProto"]


def update(client, **wanted):
    asked = {"reqId": 6, **wanted}
    (found,) = only(client.ask("updateConfig", updateConfigRequestProto=asked), "updateConfigResponse")
    answer = found["updateConfigResponseProto"]
    assert answer["reqId"] == 6
    return answer


def declared(record, above=""):
    for field in record.shape:
        if isinstance(field.type, Record) and not field.many:
            yield from declared(field.type, f"{above}{field.name}.")
        elif not field.many or field.name == "trustedIPs":
            yield f"{above}{field.name}"


def held(values, above=""):
    for name, value in values.items():
        if isinstance(value, dict):
            yield from held(value, f"{above}{name}.")
        elif name != "messages":
            yield f"{above}{name}"


def test_every_setting_that_is_declared_is_there():
    client = Client(SimulatedTws(seed=1, master=0))
    response = MESSAGES["configResponse"].shape.field("configResponseProto").type
    assert isinstance(response, Record)
    assert set(held(config(client))) == set(declared(response))


def test_what_is_set_is_kept_and_told_by_name(client):
    before = config(client)
    answer = update(
        client, lockAndExit={"autoLogoffTime": "10:15"}, api={"settings": {"bulkDataTimeout": 60, "readOnlyApi": False}}
    )
    assert answer["status"] == "Success"
    assert answer["changedFields"] == ["lockAndExit.autoLogoffTime", "api.settings.bulkDataTimeout"]
    after = config(client)
    assert after["lockAndExit"] == before["lockAndExit"] | {"autoLogoffTime": "10:15"}
    assert after["api"]["settings"] == before["api"]["settings"] | {"bulkDataTimeout": 60}


def test_a_dangerous_change_needs_a_second_call_that_accepts_the_warning(client):
    wanted = {"api": {"precautions": {"bypassOrderPrecautions": True}, "settings": {"bulkDataTimeout": 60}}}
    before = config(client)
    first = update(client, **wanted)
    assert first["status"] == "Warning"
    assert "changedFields" not in first
    assert config(client) == before
    wrong = [{"messageId": 1, "title": "", "message": ""}]
    assert update(client, **wanted, acceptedWarnings=wrong)["status"] == "Warning"
    assert update(client, **wanted, acceptedWarnings=first["warnings"])["status"] == "Success"
    assert config(client)["api"]["precautions"]["bypassOrderPrecautions"] is True
    assert update(client, **wanted)["status"] == "Success", "what is so already needs no warning"


@pytest.mark.parametrize(
    "wrong",
    [
        {"api": {"settings": {"socketPort": 0}}},
        {"api": {"settings": {"loggingLevel": "Chatty"}}},
        {"messages": [{"id": 77, "enabled": True}]},
    ],
)
def test_a_wrong_value_stops_all_changes(client, wrong):
    before = config(client)
    answer = update(client, **wrong, lockAndExit={"autoLogoffTime": "10:15"})
    assert (answer["status"], len(answer["errors"])) == ("Error", 1)
    assert config(client) == before


def test_messages_are_switched_by_their_numbers(client):
    assert update(client, messages=[{"id": 131, "enabled": False}])["changedFields"] == ["messages.131.enabled"]
    assert [each["enabled"] for each in config(client)["messages"] if each["id"] == 131] == [False]


def test_read_only_refuses_orders_and_further_changes(client):
    wanted = {"api": {"settings": {"readOnlyApi": True}}}
    update(client, **wanted, acceptedWarnings=update(client, **wanted)["warnings"])
    (error,) = only(client.limit(4, 1.0), "error")
    assert (error["reqId"], error["errorCode"]) == (4, 321)
    assert error["errorString"].endswith("The API interface is currently in Read-Only mode.")
    refused = client.ask("updateConfig", updateConfigRequestProto={"reqId": 6})
    assert [(data["reqId"], data["errorCode"]) for _, data in refused] == [(6, 321)]
    assert codes(client.ask("reqIds")) == [321]
    assert names(client.ask("reqContractDetails", reqId=1, contract=AAPL))[-1] == "contractDetailsEnd"


def test_the_master_client_can_be_set(client):
    other = Client(client.host, 2)
    update(client, api={"settings": {"masterClientId": 1}})
    other.limit(4, 1.0)
    assert "openOrder" in names(client.session.take())


def test_the_order_sequence_can_be_begun_again(client):
    client.limit(40, 1.0)
    client.ask("cancelOrder", orderId=40, orderCancel={})
    client.limit(30 + 11, 1.0)
    assert update(client, resetAPIOrderSequence=True)["changedFields"] == ["resetAPIOrderSequence"]
    assert client.ask("reqIds") == [("nextValidId", {"orderId": 42})]
    client.ask("cancelOrder", orderId=41, orderCancel={})
    update(client, resetAPIOrderSequence=True)
    assert client.ask("reqIds") == [("nextValidId", {"orderId": 1})]


# -- verification, and starting twice


def test_a_program_that_is_not_registered_is_not_verified(client):
    assert codes(client.ask("verifyRequest", apiName="a", apiVersion="1")) == [321]
    assert codes(client.ask("verifyAndAuthRequest", apiName="a", apiVersion="1", opaqueIsvKey="k")) == [321]
    for name, answer in (("verifyMessage", "verifyCompleted"), ("verifyAndAuthMessage", "verifyAndAuthCompleted")):
        assert only(client.ask(name, apiData="", xyzResponse=""), answer)[0]["isSuccessful"] is False


def test_starting_twice_does_no_harm(client):
    assert codes(client.ask("startApi", clientId=9, optionalCapabilities="")) == [321]
    assert names(client.ask("reqCurrentTime")) == ["currentTime"]
    assert client.session.client_id == 1
