"""The format of recordings: what is written is read back, and whatever else is there is refused in a sentence."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibbridge.recording import format as recording_format
from ibbridge.recording.format import HEADER, Reading, RecordedEvent, RecordingError, RecordKind

NUMBERS = st.integers(0, 2**64 - 1)
RECORDS = st.builds(RecordedEvent, st.sampled_from(RecordKind), NUMBERS, NUMBERS, st.binary(max_size=200))
BLOCKS = st.lists(st.lists(RECORDS, min_size=1, max_size=5), max_size=5)


def written(blocks: list[list[RecordedEvent]]) -> list[bytes]:
    return [
        recording_format.block(b"".join(recording_format.pack(*record) for record in records)) for records in blocks
    ]


def read(data: bytes) -> tuple[list[RecordedEvent], bool]:
    reading = Reading(io.BytesIO(data), "FILE")
    records = list(reading)
    return records, reading.cut


def refused(data: bytes) -> str:
    with pytest.raises(RecordingError) as error:
        read(data)
    return str(error.value)


@given(BLOCKS)
def test_what_is_written_is_read_back(blocks):
    assert read(HEADER + b"".join(written(blocks))) == ([record for records in blocks for record in records], False)


@given(BLOCKS.filter(bool), st.data())
def test_a_file_that_was_cut_off_gives_all_that_is_before_its_last_block(blocks, data):
    *whole, last = written(blocks)
    end = data.draw(st.integers(1, len(last) - 1))
    records = [record for records in blocks[:-1] for record in records]
    assert read(HEADER + b"".join(whole) + last[:end]) == (records, True)


@given(BLOCKS.filter(bool), st.data())
def test_a_changed_byte_is_found_and_nothing_wrong_is_read(blocks, data):
    body = b"".join(written(blocks))
    at = data.draw(st.integers(0, len(body) - 1))
    changed = bytearray(body)
    changed[at] ^= data.draw(st.integers(1, 255))
    true = [record for records in blocks for record in records]
    got: list[RecordedEvent] = []
    reading = Reading(io.BytesIO(HEADER + bytes(changed)), "FILE")
    damaged = False
    try:
        got.extend(reading)
    except RecordingError as error:
        damaged = "FILE is damaged at byte" in str(error)
    assert damaged or reading.cut, "a length that goes beyond the end looks like a cut"
    assert got == true[: len(got)]


@given(st.binary())
def test_whatever_bytes_are_there_they_are_read_or_refused(data):
    for start in (b"", HEADER):
        with contextlib.suppress(RecordingError):
            read(start + data)


@given(st.binary(max_size=300))
def test_a_block_with_the_right_checksum_and_the_wrong_content_is_refused(content):
    for packed in (content, zlib.compress(content), zlib.compress(content) + b"x", zlib.compress(content)[:-1]):
        data = HEADER + struct.pack(">II", len(packed), zlib.crc32(packed)) + packed
        try:
            records, _ = read(data)
        except RecordingError:
            continue
        assert b"".join(recording_format.pack(*record) for record in records) == content


def test_a_block_that_unpacks_to_more_than_any_has_is_refused():
    packed = zlib.compress(bytes(recording_format.LARGEST_BLOCK + 1))
    assert "damaged" in refused(HEADER + struct.pack(">II", len(packed), zlib.crc32(packed)) + packed)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"PK\x03\x04", "FILE is not a recording"),
        (b"ibbridge recording", "has nothing in it"),
        (b"", "has nothing in it"),
        (b"ibbridge recording 1", "has nothing in it"),
        (b"ibbridge recording 2\n...", "version 2, and this program reads version 1"),
        (b"ibbridge recording x\n", "FILE is not a recording"),
        (HEADER + b"\xff" * 9, f"damaged at byte {len(HEADER)}"),
    ],
)
def test_what_is_no_recording_is_refused_with_what_to_do(data, said):
    assert said in refused(data)


@given(BLOCKS.filter(bool), st.data())
def test_a_reading_may_begin_where_another_one_was(blocks, data):
    content = HEADER + b"".join(written(blocks))
    first = data.draw(st.integers(0, len(blocks) - 1))
    reading = Reading(io.BytesIO(content), "FILE")
    places = [reading.place for _ in reading]
    place = places[sum(map(len, blocks[:first]))]
    assert list(Reading(io.BytesIO(content), "FILE", place)) == [r for records in blocks[first:] for r in records]


def test_what_is_told_of_a_connection_is_read_back():
    about = {"host": "127.0.0.1", "port": 4002, "clientId": 1, "why": "é"}
    assert RecordedEvent(RecordKind.OPENED, 1, 1, recording_format.told(about)).about == about
