"""Absent fields of protobuf messages: their meaning in messages of TWS, and in commands of clients."""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from ibbridge.codec import Dialect, Message
from ibbridge.codec.messages import INBOUND, OUTBOUND
from ibbridge.codec.proto import nested, tagged
from ibbridge.codec.schema import Field, Inline, Record, Union
from tests.support.hostile_bytes import block, varint

client = cache(Dialect.client)
server = cache(Dialect.server)

OPEN, COMPLETED, PLACE = 205, 301, 203


def read(dialect: Dialect, number: int, body: bytes) -> Any:
    got = dialect.read(number.to_bytes(4, "big") + body)
    assert isinstance(got, Message), got
    return got.data


def an_order(number: int, *fields: bytes) -> bytes:
    """The body of a message with these fields in its order."""
    return block({OPEN: 3, COMPLETED: 2, PLACE: 3}[number], b"".join(fields))


def flag(number: int, value: int) -> bytes:
    return varint(number << 3) + varint(value)


@pytest.mark.parametrize("version", [204, 226])
@pytest.mark.parametrize("number", [OPEN, COMPLETED])
def test_an_order_of_tws_without_transmit_is_transmitted(version: int, number: int) -> None:
    order = read(client(version), number, an_order(number, block(5, b"BUY")))["order"]
    assert "transmit" not in order  # so it has its default, which is true
    assert read(client(version), number, an_order(number, flag(66, 1)))["order"].get("transmit", True) is True
    assert read(client(version), number, an_order(number, flag(66, 0)))["order"]["transmit"] is False


def test_an_order_of_a_client_without_transmit_is_not_transmitted() -> None:
    sent = read(server(226), PLACE, an_order(PLACE, block(5, b"BUY")))
    assert sent["order"]["transmit"] is False


def test_a_condition_of_tws_that_does_not_say_how_it_is_joined_is_joined_by_and() -> None:
    condition = block(100, flag(1, 3) + block(12, b"20261218 08:30:00"))
    told = read(client(226), OPEN, an_order(OPEN, condition))["order"]["conditions"]
    assert told[0].get("isConjunctionConnection", True) is True
    or_else = block(100, flag(1, 3) + flag(2, 0))
    told = read(client(226), OPEN, an_order(OPEN, or_else))["order"]["conditions"]
    assert told[0]["isConjunctionConnection"] is False


def test_a_commission_without_a_profit_has_none() -> None:
    report = {"commissionAndFeesReport": {"execId": "e", "commissionAndFees": 1.0, "currency": "USD"}}
    body = block(1, b"e") + varint(2 << 3 | 1) + b"\0\0\0\0\0\0\xf0\x3f" + block(3, b"USD")
    got = read(client(226), 259, body)["commissionAndFeesReport"]
    assert got == {**report["commissionAndFeesReport"], "realizedPNL": None, "yield": None}
    assert server(226).write("commissionAndFeesReport", {"commissionAndFeesReport": got})[8:][: len(body)] == body
    zero = {**got, "realizedPNL": 0.0, "yield": 0.0}
    again = client(226).read(server(226).write("commissionAndFeesReport", {"commissionAndFeesReport": zero})[4:])
    assert isinstance(again, Message)
    assert again.data == report  # zero is the default


@pytest.mark.parametrize("transmit", [True, False])
def test_a_server_leaves_transmit_out_only_where_it_is_true(transmit: bool) -> None:
    data = {"orderId": 1, "contract": {}, "order": {"action": "BUY", "transmit": transmit}, "orderState": {}}
    frame = server(226).write("openOrder", data)[4:]
    assert (flag(66, 0) in frame) is not transmit
    assert flag(66, 1) not in frame
    got = client(226).read(frame)
    assert isinstance(got, Message)
    assert got.data["order"].get("transmit", True) is transmit


# -- all of them, from tables that come from outside ------------------------------------------------------------------

TABLE = json.loads(
    gzip.decompress((Path(__file__).parents[2] / "conformance" / "tables" / "class_defaults.json.gz").read_bytes())
)["table"]


def _default(about: dict[str, Any]) -> Any:
    """The default of an attribute that is neither empty nor zero; None where it is unset, and () for all others."""
    default = about["default"]
    if isinstance(default, dict):
        default = default.get("value")  # of an enumeration; a nested class has its own defaults
    return None if about.get("unset") else () if default in (None, "None") else default or ()


DEFAULTS = {
    name: {attribute.rstrip("_"): _default(about) for attribute, about in attributes.items()}
    for name, attributes in TABLE.items()
}


def _records(members: Any) -> set[Record]:
    found = set()
    for member in tagged(members):
        if isinstance(member, Inline) or isinstance(member.type, Record | Union):
            if isinstance(member, Field) and isinstance(member.type, Record):
                found.add(member.type)
            if isinstance(member, Field) and isinstance(member.type, Union):
                found |= set(member.type.kinds.values())
            found |= _records(nested(member))
    return found


RECORDS = sorted(
    {record for message in INBOUND if message.proto_since for record in _records(message.fields)},
    key=lambda record: record.name,
)


@pytest.mark.parametrize("record", [each for each in RECORDS if each.name in DEFAULTS], ids=lambda each: each.name)
def test_what_tws_leaves_out_of_a_class_has_the_default_of_the_class(record: Record) -> None:
    for field in record.shape:
        default = DEFAULTS[record.name].get(field.name, ())
        if field.tag and default != ():
            assert field.missing(told=True) == default, field.name


def test_only_what_stands_in_a_record_means_one_thing_from_tws_and_another_from_a_client() -> None:
    for message in (*INBOUND, *OUTBOUND):
        for field in tagged(message.fields):
            if isinstance(field, Field):
                assert field.missing(told=True) == field.absent, (message.name, field.name)
