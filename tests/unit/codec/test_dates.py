"""Dates that come with a time and a zone in one field, and what of them reaches an order."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibbridge.codec import Dialect, Message
from ibbridge.codec.types import join_date, only_date, split_date
from ibbridge.protocol.instrument_key import instrument_key

client = cache(Dialect.client)
server = cache(Dialect.server)

ZONES = ["GB-Eire", "NZ-CHAT", "Etc/GMT-5", "America/Port-au-Prince", "US/Central", "Central European Standard Time"]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["", "", ""]),
        ("20250919", ["20250919", "", ""]),
        ("202509", ["202509", "", ""]),
        ("20250919 10:15:00", ["20250919", "10:15:00", ""]),
        ("20250919  10:15:00", ["20250919", "10:15:00", ""]),
        ("20250919-10:15:00", ["20250919", "10:15:00", ""]),
        ("20250919 10:15:00 GB-Eire", ["20250919", "10:15:00", "GB-Eire"]),
        ("20250919  10:15:00  GB-Eire ", ["20250919", "10:15:00", "GB-Eire"]),
        ("20250919-10:15:00-GB-Eire", ["20250919", "10:15:00", "GB-Eire"]),
        ("20250919-10:15:00 GB-Eire", ["20250919", "10:15:00", "GB-Eire"]),
        ("20250919 10:15 Etc/GMT-5", ["20250919", "10:15", "Etc/GMT-5"]),
        ("20250919--GB-Eire", ["20250919", "", "GB-Eire"]),
        ("20250919 GB-Eire", ["20250919", "GB-Eire", ""]),
        ("-10:15:00", ["", "10:15:00", ""]),
    ],
)
def test_a_text_with_a_blank_is_not_split_at_a_dash(text: str, parts: list[str]) -> None:
    assert split_date(text, 3) == parts
    assert split_date(text, 2) == parts[:2]


@given(
    st.sampled_from(["", "20250919", "202509"]),
    st.sampled_from(["", "10:15:00", "9:05"]),
    st.sampled_from(["", *ZONES]),
)
def test_what_is_joined_comes_apart_as_it_was(date: str, time: str, zone: str) -> None:
    if time or " " not in zone:  # a zone in words needs a time before it
        assert split_date(join_date(date, time, zone), 3) == [date, time, zone]


@given(st.text(max_size=20), st.integers(1, 3))
def test_any_text_is_split(text: str, parts: int) -> None:
    found = split_date(text, parts)
    assert len(found) == parts
    assert all(isinstance(part, str) for part in found)


@pytest.mark.parametrize(
    ("text", "date"),
    [("", ""), ("202612", "202612"), ("20250919", "20250919"), ("20250919 10:15:00 GB-Eire", "20250919"),
     ("20250919-10:15:00", "20250919"), ("20250919 EST", "20250919"), ("DEC 26", "DEC 26"), ("2025-09", "2025-09")],
)  # fmt: skip
def test_a_request_has_the_date_alone(text: str, date: str) -> None:
    assert only_date(text) == date


def details(version: int, date: str) -> dict[str, Any]:
    """Contract details as a gateway of `version` sends them with this date field."""
    contract = {"symbol": "VOD", "secType": "FUT", "exchange": "ICEEU", "lastTradeDateOrContractMonth": "@@@@"}
    told = {"reqId": 7, "contractDetails": {"contract": contract, "timeZoneId": "GB-Eire"}}
    frame = server(version).write("contractDetails", told)[4:]
    got = client(version).read(_with_date(frame, date, version))
    assert isinstance(got, Message), got
    found: dict[str, Any] = got.data["contractDetails"]
    return found


def _with_date(frame: bytes, date: str, version: int) -> bytes:
    """The frame with the date in place of its mark; protobuf's lengths in front of it too."""
    if version < 205:
        return frame.replace(b"@@@@", date.encode())
    grown = len(date) - 4
    start = frame.index(b"@@@@") - 2
    body = bytearray(frame.replace(b"\x04@@@@", bytes([len(date)]) + date.encode()))
    place = frame.index(b"\x12", 4) + 1  # the contract, a message of less than 128 bytes
    assert place < start
    body[place] += grown
    return bytes(body)


@pytest.mark.parametrize("version", range(176, 227))
@pytest.mark.parametrize("zone", ZONES)
def test_the_contract_of_details_goes_into_an_order_with_its_date(version: int, zone: str) -> None:
    found = details(version, f"20250919 10:15:00 {zone}")
    contract = found["contract"]
    assert contract["lastTradeDateOrContractMonth"] == "20250919"
    assert found["lastTradeTime"] == "10:15:00"
    assert found["timeZoneId"] == "GB-Eire"
    assert instrument_key(contract) == "VOD-FUT-ICEEU--20250919"
    order = {"action": "BUY", "totalQuantity": 1, "orderType": "MKT"}
    sent = server(version).read(
        client(version).write("placeOrder", {"orderId": 1, "contract": contract, "order": order})[4:]
    )
    assert isinstance(sent, Message)
    assert sent.data["contract"]["lastTradeDateOrContractMonth"] == "20250919"


@pytest.mark.parametrize("version", [176, 187, 188, 204])
@pytest.mark.parametrize("zone", ZONES)
def test_the_maturity_of_a_bond_comes_apart_in_text(version: int, zone: str) -> None:
    told = {"reqId": 7, "contractDetails": {"contract": {"symbol": "VOD", "secType": "BOND"}, "maturity": "@@@@"}}
    frame = server(version).write("bondContractDetails", told)[4:]
    got = client(version).read(frame.replace(b"@@@@", f"20250919 10:15:00 {zone}".encode()))
    assert isinstance(got, Message)
    found = got.data["contractDetails"]
    assert (found["maturity"], found["lastTradeTime"]) == ("20250919", "10:15:00")
    if version < 188:  # from there on the zone is a field of its own
        assert found["timeZoneId"] == zone


@pytest.mark.parametrize("version", [205, 226])
@pytest.mark.parametrize("zone", ZONES)
def test_the_contract_of_a_bond_keeps_the_whole_in_protobuf_and_an_order_has_the_date(version: int, zone: str) -> None:
    whole = f"20250919 10:15:00 {zone}"
    contract = {"symbol": "VOD", "secType": "BOND", "lastTradeDateOrContractMonth": whole}
    told = {"reqId": 7, "contractDetails": {"contract": contract}}
    got = client(version).read(server(version).write("bondContractDetails", told)[4:])
    assert isinstance(got, Message)
    found = got.data["contractDetails"]
    assert (found["maturity"], found["lastTradeTime"], found["timeZoneId"]) == ("20250919", "10:15:00", zone)
    assert found["contract"]["lastTradeDateOrContractMonth"] == whole  # as IB's client has it
    for request in ("placeOrder", "reqMktData"):
        args: dict[str, Any] = {"contract": found["contract"]}
        if request == "placeOrder":
            args |= {"orderId": 1, "order": {"action": "BUY", "totalQuantity": 1, "orderType": "MKT"}}
        else:
            args |= {"reqId": 1}
        checked = client(version).check(request, args)
        assert checked["contract"]["lastTradeDateOrContractMonth"] == "20250919"
