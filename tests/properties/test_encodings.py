"""A message means the same in text and in protobuf: what both can say is published alike, in value and in type.

Where IB's own client publishes something else, it stands here by name, with the reason.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ibbridge.codec import Dialect, Message
from ibbridge.codec.versions import NEWEST, OLDEST
from tests.conformance.golden import IN, OUT, published
from tests.support.declared import BY_NAME, DECLARED, EDGES, differences, payload, sides
from tests.support.strategies import common

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ibbridge.codec.schema import Declaration

Data: TypeAlias = "dict[str, Any]"
Vector: TypeAlias = "dict[str, Any]"

QUICK = settings(max_examples=5, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])

IN_BOTH = [(name, version) for name, version in EDGES if BY_NAME[name].layout is not None and BY_NAME[name].proto_since]


@dataclass(frozen=True)
class Otherwise:
    """Difference between the data that IB's client publishes from text and from protobuf.

    `alike` makes the same of both; `example` is data of which they differ, at `version` if it is text.
    """

    reason: str
    alike: Callable[[Data], None]
    example: Data
    version: int = NEWEST


def by_bit(data: Data) -> None:
    """Rows to a map by bit number."""
    found = data["smartComponentMap"]
    if isinstance(found, list):
        data["smartComponentMap"] = {
            str(row["bitNumber"] or 0): [row["exchange"], row["exchangeLetter"]] for row in found
        }


def without_bond_date(data: Data) -> None:
    contract = data["contractDetails"].get("contract", {})
    contract.pop("lastTradeDateOrContractMonth", None)
    if not contract:
        data["contractDetails"].pop("contract", None)


def without_end(data: Data) -> None:
    data["start"] = data["end"] = None


def without_empty_prices(data: Data) -> None:
    if not any(data["order"].get("orderComboLegs", [])):
        data["order"].pop("orderComboLegs", None)


COMBO = {"secType": "BAG", "comboLegs": [{"conId": 1}]}
NO_PRICES = (
    "text has the prices of a combo's legs in a list of their own, or none; protobuf in the legs, so always for all"
)

EXCEPTIONS = {
    "smartComponents": Otherwise(
        "a list of rows in text, a map by bit number in protobuf",
        by_bit,
        {"reqId": 1, "smartComponentMap": [{"bitNumber": 2, "exchange": "ARCA", "exchangeLetter": "P"}]},
    ),
    "bondContractDetails": Otherwise(
        "the contract keeps the whole date in protobuf, and none in text; the maturity says the same in both",
        without_bond_date,
        {"reqId": 1, "contractDetails": {"maturity": "20261218"}},
    ),
    "historicalData": Otherwise(
        "text has start and end in the same message below 196; protobuf has them in a message of their own",
        without_end,
        {"reqId": 1, "bars": [], "start": "20260101", "end": "20260102"},
        version=OLDEST,
    ),
    "openOrder": Otherwise(
        NO_PRICES,
        without_empty_prices,
        {"orderId": 1, "contract": COMBO, "order": {"usePriceMgmtAlgo": True}, "orderState": {}},
    ),
    "completedOrder": Otherwise(
        NO_PRICES,
        without_empty_prices,
        {"contract": COMBO, "order": {"routeMarketableToBbo": True}, "orderState": {}},
    ),
    "placeOrder": Otherwise(NO_PRICES, without_empty_prices, {"orderId": 1, "contract": COMBO, "order": {}}),
}


def read(declaration: Declaration, version: int, data: Data, *, protobuf: bool) -> Data:
    version = max(version, declaration.proto_since or 0) if protobuf else version
    got = sides(declaration, version)[1].read(payload(declaration, version, data, protobuf=protobuf))
    assert isinstance(got, Message), got
    assert got.name == declaration.name
    return got.data


@pytest.mark.parametrize(("name", "version"), IN_BOTH)
@QUICK
@given(data=st.data())
@pytest.mark.scenario("B52")
def test_both_encodings_publish_the_same(name: str, version: int, data: Any) -> None:
    declaration = BY_NAME[name]
    sent = data.draw(common(declaration, version))
    as_text = read(declaration, version, sent, protobuf=False)
    as_protobuf = read(declaration, version, sent, protobuf=True)
    if name in EXCEPTIONS:
        EXCEPTIONS[name].alike(as_text)
        EXCEPTIONS[name].alike(as_protobuf)
    assert not list(differences(as_text, as_protobuf))


@pytest.mark.parametrize("name", EXCEPTIONS)
def test_every_exception_is_still_needed(name: str) -> None:
    declaration, exception = BY_NAME[name], EXCEPTIONS[name]
    as_text = read(declaration, exception.version, exception.example, protobuf=False)
    as_protobuf = read(declaration, exception.version, exception.example, protobuf=True)
    assert list(differences(as_text, as_protobuf)), exception.reason
    exception.alike(as_text)
    exception.alike(as_protobuf)
    assert not list(differences(as_text, as_protobuf))


def test_what_exists_in_one_encoding_only_is_named() -> None:
    assert {each.name for each in DECLARED if each.proto_since is None} == {
        "deltaNeutralValidation",
        "tickEFP",
        "verifyAndAuthCompleted",
        "verifyAndAuthMessage",
        "verifyAndAuthMessageAPI",
        "verifyAndAuthRequest",
    }
    assert {each.name for each in DECLARED if each.layout is None} == {
        "cancelContractData",
        "cancelHistoricalTicks",
        "configResponse",
        "reqConfig",
        "updateConfig",
        "updateConfigResponse",
    }


# -- what these tests found -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protobuf", [False, True])
def test_the_largest_double_is_unset_where_text_holds_a_number(protobuf: bool) -> None:
    largest = "1.7976931348623157E308"
    sent = {"orderId": 1, "contract": {"multiplier": largest}, "orderState": {"initMarginBefore": largest}}
    got = read(BY_NAME["openOrder"], NEWEST, sent, protobuf=protobuf)
    assert "multiplier" not in got["contract"]
    assert "initMarginBefore" not in got["orderState"]
    got = read(BY_NAME["tickReqParams"], NEWEST, {"tickerId": 1, "minTick": float(largest)}, protobuf=protobuf)
    assert got["minTick"] is None


def test_the_largest_integer_is_unset_where_protobuf_has_an_integer_for_a_flag() -> None:
    sent = {"orderId": 1, "order": {"usePriceMgmtAlgo": 2147483647}}
    assert "usePriceMgmtAlgo" not in read(BY_NAME["openOrder"], NEWEST, sent, protobuf=True)["order"]


@pytest.mark.parametrize("protobuf", [False, True])
@pytest.mark.parametrize("date", [{}, {"lastTradeDateOrContractMonth": "20261218"}])
def test_a_time_without_a_date_stays_a_time(date: Data, protobuf: bool) -> None:
    details = {"lastTradeTime": "08:30:00", "contract": {"symbol": "ES", **date}}
    got = read(BY_NAME["contractDetails"], NEWEST, {"reqId": 1, "contractDetails": details}, protobuf=protobuf)
    assert got["contractDetails"]["lastTradeTime"] == "08:30:00"
    assert got["contractDetails"]["contract"].get("lastTradeDateOrContractMonth") == (*date.values(), None)[0]


# -- frames from outside ----------------------------------------------------------------------------------------------


def pairs(vectors: Iterable[Vector], meaning: Callable[[Vector], Any]) -> Iterator[tuple[Vector, Vector]]:
    """Yield pairs of vectors with the same meaning, one in text and one in protobuf."""
    alike: dict[str, dict[str, list[Vector]]] = {}
    for each in vectors:
        if each["enc"] and (means := meaning(each)):
            alike.setdefault(json.dumps(means, sort_keys=True), {"text": [], "proto": []})[each["enc"]].append(each)
    for group in alike.values():
        yield from product(group["text"], group["proto"])


IN_PAIRS = [pair for vectors in IN.values() for pair in pairs(vectors, published)]
OUT_PAIRS = [
    pair
    for vectors in OUT.values()
    for pair in pairs(vectors, lambda each: None if each.get("lost") else (each["method"], each["params"]))
]


def test_golden_frames_that_mean_the_same_are_published_alike() -> None:
    assert len(IN_PAIRS) > 500
    for pair in IN_PAIRS:
        as_text, as_protobuf = (
            Dialect.client(each["server_version"]).read(bytes.fromhex(each["frame"])) for each in pair
        )
        assert isinstance(as_text, Message)
        assert isinstance(as_protobuf, Message)
        # The reference client does not report values that only protobuf has: no vector says that they are the same.
        only = {f".{name}" for name in ("lastPricePrecision", "lastSizePrecision")}
        found = [each for each in differences(as_text.data, as_protobuf.data) if each.partition(":")[0] not in only]
        assert not found, pair[0]["id"]


def test_golden_requests_that_ask_the_same_are_read_alike() -> None:
    assert len(OUT_PAIRS) > 50
    for pair in OUT_PAIRS:
        as_text, as_protobuf = (
            Dialect.server(each["server_version"]).read(bytes.fromhex(each["frame"])) for each in pair
        )
        assert isinstance(as_text, Message)
        assert isinstance(as_protobuf, Message)
        assert not list(differences(as_text.data, as_protobuf.data)), pair[0]["id"]
