"""Greeting, negotiation, START_API and readiness, from both sides, without a socket."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibbridge.codec import (
    Acceptor,
    Connection,
    Dialect,
    FramingError,
    Greeting,
    HandshakeError,
    HandshakeState,
    Message,
    Undecodable,
    frame,
)
from ibbridge.codec.connection import TRANSITIONS
from ibbridge.codec.messages import MESSAGES
from ibbridge.codec.versions import NEWEST, OLDEST
from tests.conformance.golden import FOLDER, load

SESSIONS = load(FOLDER / "handshake.jsonl.gz")

MOVES = [name for _, name in TRANSITIONS]


def arrived(connection: Connection | Acceptor, *parts: bytes) -> list[Message | Undecodable]:
    given = [message for part in parts for message in connection.receive_data(part)]
    assert all(isinstance(message, Message | Undecodable) for message in given)  # nothing was wanted packed
    return [message for message in given if isinstance(message, Message | Undecodable)]


def greeting(version: int | str, time: bytes = b"20260101 12:00:00 UTC") -> bytes:
    return frame(str(version).encode() + b"\0" + time + b"\0")


def connected(version: int = 226) -> Connection:
    connection = Connection(1)
    connection.data_to_send()
    arrived(connection, greeting(version))
    connection.data_to_send()
    return connection


@pytest.mark.parametrize("session", SESSIONS, ids=lambda session: session["id"])
def test_a_client_starts_as_the_reference_client_does(session: dict[str, Any]) -> None:
    connection = Connection(
        session["client_id"],
        Greeting(
            oldest=100,
            connect_options=session["connect_options"] or "",
            optional_capabilities=session["optional_capabilities"] or "",
        ),
    )
    assert connection.data_to_send().hex() == session["client_hello"]
    (hello,) = arrived(connection, bytes.fromhex(session["server_hello"]))
    assert isinstance(hello, Message)
    assert hello.name == "serverVersion"
    assert hello.data["version"] == connection.version == session["server_version"]
    time = bytes.fromhex(session["connection_time_hex"])
    assert hello.data["connectionTime"] == session["connection_time"] or not time.isascii()
    assert connection.data_to_send().hex() == session["start_api"]["stream"]
    assert connection.state is HandshakeState.STARTING


@pytest.mark.parametrize("session", SESSIONS, ids=lambda session: session["id"])
def test_a_host_understands_the_reference_client(session: dict[str, Any]) -> None:
    acceptor = Acceptor(newest=session["server_version"], connection_time=session["connection_time"] or "now")
    assert not arrived(acceptor, bytes.fromhex(session["client_hello"]))
    if session["connection_time"]:
        assert acceptor.data_to_send().hex() == session["server_hello"]
    assert acceptor.version == session["server_version"]
    (start,) = arrived(acceptor, bytes.fromhex(session["start_api"]["stream"]))
    capabilities = session["optional_capabilities"] or ""
    assert start == Message("startApi", {"clientId": session["client_id"], "optionalCapabilities": capabilities})


@pytest.mark.parametrize("version", range(OLDEST, NEWEST + 1))
@pytest.mark.scenario("B9")
def test_both_sides_agree_at_every_version(version: int) -> None:
    connection, acceptor = Connection(7), Acceptor(newest=version)
    assert {connection.version, acceptor.version} == {None}
    assert not arrived(acceptor, connection.data_to_send())
    (hello,) = arrived(connection, acceptor.data_to_send())
    (start,) = arrived(acceptor, connection.data_to_send())
    assert hello == Message("serverVersion", {"version": version, "connectionTime": "20260101 12:00:00 US/Eastern"})
    assert start == Message("startApi", {"clientId": 7, "optionalCapabilities": ""})
    assert connection.version == acceptor.version == version
    assert connection.data_to_send() == acceptor.data_to_send() == b""


@pytest.mark.parametrize("step", [1, 2, 3, 5, 7, 1000])
def test_a_conversation_in_pieces_is_the_same_conversation(step: int) -> None:
    connection, acceptor, heard = Connection(7), Acceptor(newest=203), []
    said = connection.data_to_send()
    arrived(acceptor, *(said[at : at + step] for at in range(0, len(said), step)))
    server = Dialect.server(203)
    said = acceptor.data_to_send() + server.write("nextValidId", {"orderId": 5})
    said += server.write("managedAccounts", {"accountsList": "DU1"})
    heard += arrived(connection, *(said[at : at + step] for at in range(0, len(said), step)))
    assert [message.name for message in heard] == ["serverVersion", "nextValidId", "managedAccounts"]
    assert connection.state is HandshakeState.READY


# -- states -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", HandshakeState)
@pytest.mark.parametrize("name", MESSAGES)
def test_only_the_table_moves_a_connection_on(state: HandshakeState, name: str) -> None:
    connection = Connection(1)
    if state is not HandshakeState.GREETING:
        arrived(connection, greeting(226))
    connection.state = state
    arrived(connection, Dialect.server(226).write(name, _least(name)))
    moved = (
        state if state is HandshakeState.GREETING else TRANSITIONS.get((state, name), state)
    )  # nothing is read before
    assert connection.state is moved


def _least(name: str) -> dict[str, Any]:
    declaration = MESSAGES[name]
    return {declaration.kind[0]: min(declaration.kind[1])} if declaration.kind else {}


@pytest.mark.parametrize("order", [("nextValidId", "managedAccounts"), ("managedAccounts", "nextValidId")])
@pytest.mark.scenario("B5")
def test_a_connection_is_ready_with_its_id_and_its_accounts_in_either_order(order: tuple[str, str]) -> None:
    connection, server = connected(), Dialect.server(226)
    arrived(connection, server.write(order[0], {}))
    arrived(connection, server.write(order[0], {}))
    assert connection.state.name in ("NUMBERED", "NAMED")
    arrived(connection, server.write(order[1], {}))
    assert connection.state is HandshakeState.READY


def test_every_move_of_the_table_is_by_a_declared_message() -> None:
    assert set(MOVES) - MESSAGES.keys() == {"serverVersion"}


def test_an_undecodable_message_moves_nothing() -> None:
    connection = connected()
    (got,) = arrived(connection, frame((9 + 200).to_bytes(4, "big") + b"\xff"))
    assert isinstance(got, Undecodable)
    assert got.name == "nextValidId"
    assert connection.state is HandshakeState.STARTING


# -- the client and strange hosts -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "time", ["20260101 12:00:00 Mitteleuropäische Zeit".encode("latin-1"), "中国标准时间".encode("gbk"), b""]
)
@pytest.mark.scenario("B8")
def test_a_connection_time_in_any_character_set_is_no_obstacle(time: bytes) -> None:
    connection = Connection(1)
    (hello,) = arrived(connection, greeting(187, time))
    assert isinstance(hello, Message)
    assert isinstance(hello.data["connectionTime"], str)
    assert connection.version == 187


def test_news_before_the_server_version_is_kept_and_waited_through() -> None:
    connection = Connection(1)
    early = [b"", b"4\x002\x00-1\x002110\x00no\x00", b"x\0y\0", b"--1\0y\0", b"176\0time", b"176\0a\0b"]
    *kept, hello = arrived(connection, *map(frame, early), greeting(200))
    assert kept == [Undecodable(None, None, "before the server version", payload) for payload in early]
    assert isinstance(hello, Message)
    assert connection.version == 200


@pytest.mark.scenario("B10")
def test_a_redirect_is_refused_and_names_the_host() -> None:
    with pytest.raises(HandshakeError, match=r"redirects to 'gw2\.example:4001'.*tws\.host"):
        arrived(Connection(1), greeting(-1, b"gw2.example:4001"))


@pytest.mark.parametrize("version", [0, 175, 227, 999999999, "9" * 30])
@pytest.mark.scenario("B10")
def test_a_version_that_was_not_offered_is_refused(version: int | str) -> None:
    with pytest.raises(HandshakeError, match="176 to 226 were offered"):
        arrived(Connection(1), greeting(version))


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_whatever_a_host_sends_gives_messages_or_one_of_two_errors(parts: list[bytes]) -> None:
    connection = Connection(1)
    try:
        for message in arrived(connection, *parts):
            assert isinstance(message, Message | Undecodable)
    except (FramingError, HandshakeError):
        pass


@given(st.lists(st.text("-0123456789\0 .v", max_size=12).map(str.encode), max_size=4))
def test_whatever_a_host_greets_with_gives_messages_or_one_of_two_errors(payloads: list[bytes]) -> None:
    connection = Connection(1)
    try:
        arrived(connection, *map(frame, payloads))
    except HandshakeError:
        assert connection.version is None


# -- the host and strange clients -------------------------------------------------------------------------------------


def hello(text: str) -> bytes:
    return b"API\0" + frame(text.encode())


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("v178", 178),
        ("v176", 176),
        ("v100..226", 226),
        ("v100..178", 178),
        ("v178..178", 178),
        ("v100..226 +PACEAPI", 226),
        ("v100..226 +PACEAPI  and more", 226),
        ("v200..999", 226),
    ],
)
def test_the_clients_newest_decides_up_to_the_hosts(text: str, version: int) -> None:
    acceptor = Acceptor()
    assert not arrived(acceptor, hello(text))
    assert acceptor.version == version


def test_a_host_with_a_cap_speaks_no_newer_version() -> None:
    acceptor = Acceptor(newest=187)
    arrived(acceptor, hello("v100..226"))
    assert acceptor.data_to_send().startswith(b"\0\0\0\x21187\0")


@pytest.mark.parametrize("text", ["v100..175", "v227..300", "v120", "v227", "v999999999999..226"])
def test_without_a_common_version_the_host_says_so(text: str) -> None:
    with pytest.raises(HandshakeError, match="no common version"):
        arrived(Acceptor(), hello(text))


@pytest.mark.parametrize(
    "text", ["", "v", "v..", "176", "v1x", "vx..226", "v176..x", "v-1", "v176..999999999", "é", "v" * 5000]
)
def test_a_greeting_that_is_none_breaks_the_connection(text: str) -> None:
    with pytest.raises(FramingError, match="a greeting of") as fault:
        arrived(Acceptor(), hello(text))
    assert len(str(fault.value)) < 100


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n", b"API ", b"A\0", b"\x16\x03\x01"])
def test_what_does_not_begin_with_api_is_no_client(garbage: bytes) -> None:
    acceptor = Acceptor()
    with pytest.raises(FramingError, match="did not begin with API"):
        arrived(acceptor, *(bytes([byte]) for byte in garbage))


@given(st.lists(st.binary(max_size=30), max_size=6), st.booleans())
def test_whatever_a_client_sends_gives_requests_or_one_of_two_errors(parts: list[bytes], signed: bool) -> None:
    acceptor = Acceptor()
    try:
        for request in arrived(acceptor, *([b"API\0"] if signed else []), *parts):
            assert isinstance(request, Message | Undecodable)
    except (FramingError, HandshakeError):
        pass
    acceptor.data_to_send()
