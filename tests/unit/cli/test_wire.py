"""The wire tools: a line of JSON out for each line in, whatever the line was."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibbridge.cli import decode, encode, main, text
from ibbridge.cli.wire import BadLineError
from ibbridge.codec import Dialect

if TYPE_CHECKING:
    from collections.abc import Callable

Tool = "Callable[[str, bytes], list[dict[str, Any]]]"


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., list[Any]]:
    def run(name: str, *lines: Any) -> list[Any]:
        rows = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\n".join(rows) + b"\n")))
        assert main([name]) == 0
        return [json.loads(line, parse_constant=pytest.fail) for line in capsys.readouterr().out.splitlines()]

    return run


def frame(*fields: str) -> str:
    return ("\0".join(fields) + "\0").encode().hex()


def test_frames_are_answered_in_order(tool: Any) -> None:
    one, two = tool(
        "decode",
        {"server_version": 178, "frame": frame("58", "6", "7", "3")},
        {"server_version": 178, "frame": frame("57", "1", "8")},
    )
    assert one == {"type": "marketDataType", "data": {"reqId": 7, "marketDataType": 3}}
    assert two == {"type": "tickSnapshotEnd", "data": {"reqId": 8}}


def test_what_cannot_be_decoded_is_said_with_its_bytes(tool: Any) -> None:
    payload = frame("58", "6", "seven", "3")
    (answer,) = tool("decode", {"server_version": 178, "frame": payload})
    assert answer["type"] == "decodeError"
    assert answer["data"]["name"] == "marketDataType"
    assert answer["data"]["raw"] == payload


def test_numbers_that_json_has_no_word_for_are_text(tool: Any) -> None:
    (answer,) = tool("decode", {"server_version": 178, "frame": frame("45", "6", "7", "48", "inf")})
    assert answer["data"]["value"] == "Infinity"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        ([1], "a line must be a map, not list"),
        ({}, "server_version must be an integer from 176 to 226, not None"),
        ({"server_version": True, "frame": ""}, "server_version"),
        ({"server_version": 175, "frame": ""}, "server_version"),
        ({"server_version": 178}, "frame is missing"),
        ({"server_version": 178, "frame": "xyz"}, "in hex"),
        ({"server_version": 178, "frame": 5}, "in hex"),
    ],
)
def test_a_bad_line_gets_an_error_line_and_the_next_is_answered(tool: Any, line: Any, said: str) -> None:
    bad, good = tool("decode", line, {"server_version": 178, "frame": frame("57", "1", "8")})
    assert bad["type"] == "decodeError"
    assert said in bad["data"]["reason"]
    assert good["type"] == "tickSnapshotEnd"


def test_requests_become_frames(tool: Any) -> None:
    (answer,) = tool("encode", {"server_version": 178, "cmd": "cancelMktData", "args": {"reqId": 7}})
    assert answer == {"frame": frame("2", "2", "7")}


def test_a_refused_request_has_every_fault(tool: Any) -> None:
    (answer,) = tool("encode", {"server_version": 178, "cmd": "cancelMktData", "args": {"reqId": "x", "foo": 1}})
    assert answer["error"]["code"] == "E_ARG"
    assert len(answer["error"]["faults"]) == 2


@pytest.mark.parametrize(
    "line", [b"nonsense", {"server_version": 1}, {"server_version": 178}, {"server_version": 178, "cmd": [], "args": 3}]
)
def test_a_bad_line_to_encode_gets_an_error_line(tool: Any, line: Any) -> None:
    (answer,) = tool("encode", line)
    assert answer["error"]["code"] == "E_PROTO"


def test_an_unknown_request_is_refused(tool: Any) -> None:
    (answer,) = tool("encode", {"server_version": 178, "cmd": "buyLow", "args": {}})
    assert "buyLow" in answer["error"]["message"]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), _JSON), st.sampled_from([176, 200, 226]), st.binary(max_size=64))
def test_whatever_the_question_there_is_an_answer_that_is_json(about: dict[str, Any], version: int, raw: bytes) -> None:
    for answer, question in (
        (decode._decoded, {**about, "server_version": version, "frame": raw.hex()}),
        (encode._encoded, {**about, "server_version": version, "cmd": "reqMktData", "args": about}),
        (encode._encoded, {"server_version": version, **about}),
    ):
        try:
            reply = answer(question)
        except BadLineError:
            continue
        json.loads(text.dump(reply), parse_constant=pytest.fail)


def test_a_frame_that_was_encoded_is_decoded_by_the_other_side(tool: Any) -> None:
    args = {"reqId": 7, "contract": {"symbol": "AAPL", "secType": "STK"}}
    (answer,) = tool("encode", {"server_version": 226, "cmd": "reqMktData", "args": args})
    message = Dialect.server(226).read(bytes.fromhex(answer["frame"]))
    assert getattr(message, "data", {})["contract"] == args["contract"]
