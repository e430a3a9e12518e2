"""Requests as only some of IB's clients write them."""

from __future__ import annotations

import pytest

from ibbridge.codec import Dialect, Message, Undecodable
from ibbridge.sim.other_clients import read_again
from tests.support.simulator_client import AAPL
from tests.unit.sim.test_server import caller, simulator, through_a_socket

REPORT = {"reqId": 7, "contract": AAPL, "reportType": "ReportSnapshot"}
OPTIONS = [{"tag": "a", "value": "1"}, {"tag": "b", "value": "2"}]


def as_java_writes(version, **options):
    """The frame of IB's Java and C++ clients: without the number of options."""
    whole = Dialect.client(version).put("reqFundamentalData", REPORT | options)[4:]
    *fields, number, text = whole.split(b"\0")[:-1]
    assert number == b"%d" % len(options.get("fundamentalDataOptions", ()))
    return b"\0".join([*fields, text]) + b"\0"


@pytest.mark.parametrize("version", [178, 200, 201])
@pytest.mark.parametrize("options", [{}, {"fundamentalDataOptions": OPTIONS}])
def test_a_report_is_asked_for_with_options_as_one_field(version, options):
    dialect = Dialect.server(version)
    found = dialect.read(as_java_writes(version, **options))
    assert isinstance(found, Undecodable)
    read = read_again(dialect, found)
    assert isinstance(read, Message)
    assert read == dialect.read(Dialect.client(version).put("reqFundamentalData", REPORT | options)[4:])


@pytest.mark.parametrize("raw", [b"52\0002\0007\0", b"52\000", b"1\000x\0", b"999\0001\0"])
def test_what_is_no_request_in_any_form_stays_unreadable(raw):
    dialect = Dialect.server(200)
    found = dialect.read(raw)
    assert isinstance(found, Undecodable)
    assert read_again(dialect, found) == found


@pytest.mark.parametrize("version", [178, 200])
@through_a_socket
async def test_such_a_client_is_answered(version):
    async with simulator(newest=version) as tws, caller(tws.port, newest=version) as client:
        await client.ready()
        frame = as_java_writes(version)
        client.writer.write(len(frame).to_bytes(4, "big") + frame)
        found = await client.until("fundamentalData")
        assert found["reqId"] == 7
