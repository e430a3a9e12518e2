"""Golden vectors from outside, in both directions."""

from __future__ import annotations

import gzip
import json
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest

from ibbridge.codec import Dialect, Message, NotCarried, Undecodable
from ibbridge.codec.messages import INBOUND, MESSAGES, OUTBOUND
from tests.conformance.golden import FILES, IN, OUT, OriginError, attributes, differences, load, present, published
from tests.support.declared import same

if TYPE_CHECKING:
    from pathlib import Path

client = cache(Dialect.client)
server = cache(Dialect.server)


@pytest.mark.parametrize("name", IN)
def test_a_frame_means_what_the_reference_client_reports(name: str) -> None:
    for vector in IN[name]:
        got = client(vector["server_version"]).read(bytes.fromhex(vector["frame"]))
        want = published(vector)
        if vector.get("decode_error"):
            assert isinstance(got, Undecodable), vector["id"]
        if want is None:  # what the reference does not report, we may
            continue
        assert isinstance(got, Message), (vector["id"], got)
        assert got.name == want[0], vector["id"]
        assert not list(differences(want[1], got.data, present(vector.get("message")))), vector["id"]


@pytest.mark.parametrize("name", IN)
def test_what_the_simulator_would_send_for_it_means_the_same(name: str) -> None:
    for vector in IN[name]:
        version = vector["server_version"]
        got = client(version).read(bytes.fromhex(vector["frame"]))
        if isinstance(got, Message) and _told_apart(vector):
            again = client(version).read(server(version).write(got.name, got.data)[4:])
            assert isinstance(again, Message), vector["id"]
            assert again.name == got.name
            assert not list(differences(got.data, again.data)), vector["id"]


def _told_apart(vector: dict[str, Any]) -> bool:
    """Return False if this version would send a vector in the other encoding, which writes unset values otherwise."""
    proto = vector["enc"] == "proto"
    return all(each.in_protobuf(vector["server_version"]) == proto for each in INBOUND if each.id == vector["msg_id"])


@pytest.mark.parametrize("name", OUT)
def test_a_request_is_the_frame_that_the_reference_client_sends(name: str) -> None:
    for vector in OUT[name]:
        version = vector["server_version"]
        if vector["frame"] is None or vector.get("lost"):  # what the reference leaves off in silence, we refuse by name
            with pytest.raises(NotCarried):
                client(version).write(name, vector["params"])
            continue
        got = client(version).write(name, vector["params"])[4:]
        want = bytes.fromhex(vector["frame"])
        if vector["enc"] == "proto":
            assert got == want, vector["id"]
        else:
            _assert_same_fields(want, got, version, vector["id"])


@pytest.mark.parametrize("name", OUT)
def test_a_server_reads_the_frame_as_the_call_that_it_was(name: str) -> None:
    for vector in OUT[name]:
        version = vector["server_version"]
        if vector["frame"] is None:
            continue
        want = bytes.fromhex(vector["frame"])
        got = server(version).read(want)
        assert isinstance(got, Message), (vector["id"], got)
        assert got.name == name
        again = server(version).read(client(version).write(name, got.data)[4:])
        assert isinstance(again, Message)
        assert same(again.data, got.data), vector["id"]


def _assert_same_fields(want: bytes, got: bytes, version: int, where: str) -> None:
    """Field by field: IB's clients spell numbers and unset in several ways."""
    if version >= 201:
        assert want[:4] == got[:4], where
        want, got = want[4:], got[4:]
    theirs, ours = want.decode().split("\0"), got.decode().split("\0")
    assert len(theirs) == len(ours), where
    for index, (one, other) in enumerate(zip(theirs, ours, strict=True)):
        assert _same_field(one, other), f"{where}: field {index} is {other!r}, not {one!r}"


def _same_field(want: str, got: str) -> bool:
    unset = ("", "2147483647", "9223372036854775807", "1.7976931348623157E308", "1.7976931348623157e+308")
    if want == got or (want in unset and got in unset):
        return True
    try:
        return float(want) == float(got)
    except ValueError:
        return False


def test_there_are_vectors_for_every_declared_message() -> None:
    ids = {vector["msg_id"] for vectors in IN.values() for vector in vectors}
    assert not [each.name for each in INBOUND if each.id not in ids]
    assert not [each.name for each in OUTBOUND if each.name not in OUT and each.name != "startApi"]  # in the handshake


def test_every_shared_id_has_vectors_of_each_of_its_messages() -> None:
    reported = {each["callback"] for vectors in IN.values() for vector in vectors for each in vector["expect"]}
    assert not [each.name for each in INBOUND if each.kind and each.name not in reported]


def test_a_published_name_is_one_of_the_reference_client() -> None:
    reported = {found[0] for vectors in IN.values() for vector in vectors if (found := published(vector))}
    assert reported <= MESSAGES.keys()


def test_a_file_of_vectors_without_an_origin_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl.gz"
    with gzip.open(path, "wt") as lines:
        lines.write(json.dumps({"id": "from our own encoder"}) + "\n")
    with pytest.raises(OriginError):
        load(path)


def test_every_file_has_an_origin() -> None:
    assert len(FILES) >= 5
    assert all(load(path) for path in FILES)
    assert attributes()[1]
