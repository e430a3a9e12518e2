"""Events that a session must survive (docs/operations.md), where sockets are the point."""

from __future__ import annotations

import itertools

import msgpack
import pytest
import zmq

from ibbridge.codec import Dialect
from tests.integration.rig import AAPL, PATIENCE, Bridge, Host

ACCOUNTS = ("managedAccounts", {"accountsList": "DU1"})
NEXT = ("nextValidId", {"orderId": 7})
FARM = (
    "error",
    {"reqId": -1, "errorTime": 0, "errorCode": 2104, "errorString": "OK:usfarm", "advancedOrderRejectJson": ""},
)
ORDER = (
    "openOrder",
    {"orderId": 3, "contract": AAPL, "order": {"orderId": 3, "clientId": 9, "permId": 5}, "orderState": {}},
)


@pytest.mark.parametrize("order", list(itertools.permutations((ACCOUNTS, NEXT))), ids=["accounts first", "id first"])
@pytest.mark.scenario("B5")
def test_it_is_ready_once_whatever_comes_before_and_between(order):
    with Host() as host, Bridge(host.port) as bridge:
        sub = bridge.sub("")
        with host.accept() as guest:
            guest.greet()
            for name, data in (ORDER, FARM, order[0], FARM, ORDER, order[1], FARM):
                guest.say(name, **data)
            sub.stage("ready")
            for name, data in order:
                guest.say(name, **data)
            bridge.do("reqCurrentTime")
            once = ["reqMarketDataType", "reqAllOpenOrders"]
            assert guest.passed_over("reqCurrentTime") == once, "what a new connection is asked, once"
            guest.say("currentTime", time=1)
            sub.until("currentTime")
        told = [each.data["stage"] for each in sub.heard if each.type == "connection"]
        assert told.count("ready") == 1
        assert bridge.process.poll() is None


@pytest.mark.scenario("B34")
def test_twenty_megabytes_at_once_are_read_although_a_client_stands_still_and_only_that_one_loses():
    bar = {"date": "20260105 09:30:00 America/New_York", "open": 1.0, "high": 1.0, "low": 1.0, "close": 1.0}
    bars = [bar | {"volume": float(n), "wap": 1.0, "barCount": 1} for n in range(20_000)]
    with Host() as host, Bridge(host.port, bus__sndhwm=20_000) as bridge, host.accept(200) as guest:
        guest.start()
        sub = bridge.ready()
        stuck = bridge.context.socket(zmq.SUB)
        stuck.linger, stuck.rcvhwm = 0, 1
        stuck.subscribe("md.")
        stuck.connect(bridge.pub)
        try:
            assert stuck.poll(PATIENCE * 1000)
            assert stuck.recv_multipart()[0] == b"md.", "its welcome; and then it reads no more"
            put = Dialect.server(200).put
            depth = [
                put(
                    "updateMktDepth",
                    {"reqId": 7, "position": n % 10, "operation": 1, "side": 0, "price": 1.0, "size": float(n)},
                )
                for n in range(40_000)
            ]
            history = put("historicalData", {"reqId": 8, "bars": bars, "startDateStr": "", "endDateStr": ""})
            scanner = put("scannerParameters", {"xml": "<x/>" * 750_000})
            flood = [b"".join(depth[start : start + 4000]) for start in range(0, 16_000, 4000)]
            flood[1:1] = [history] * 5 + [scanner] * 5
            assert sum(map(len, flood)) > 20_000_000
            for each in flood:
                guest.raw(each)
            # The rest follows in parts, each when the last is heard: so only who stands still can lose any.
            for heard in (16_000, 28_000, 40_000):
                sub.until("updateMktDepth", lambda data, last=heard - 1: data["size"] == last)  # type: ignore[misc]
                guest.raw(b"".join(depth[heard : heard + 12_000]))
            sub.check_numbers()
            counts = {
                kind: sum(each.type == kind for each in sub.heard) for kind in ("historicalData", "scannerParameters")
            }
            assert counts == {"historicalData": 5, "scannerParameters": 5}
            assert sum(each.type == "updateMktDepth" for each in sub.heard) == 40_000
            assert bridge.do("status")["tws"]["stage"] == "ready"
            numbers: list[int] = []
            while len(numbers) < 10_000 or stuck.poll(0):
                assert stuck.poll(PATIENCE * 1000)
                numbers.append(msgpack.unpackb(stuck.recv_multipart()[1])["seq"])
            assert numbers == sorted(set(numbers))
            assert len(numbers) < 40_000
        finally:
            stuck.close()
