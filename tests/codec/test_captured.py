"""What real gateways sent and took, against the codec."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING

import pytest

from ibbridge.codec import Dialect, Message
from tests.codec.captured import FRAMES, REQUESTS, Frame, OriginError, load

if TYPE_CHECKING:
    from pathlib import Path

client = cache(Dialect.client)


def test_all_captures_are_there_each_under_a_name_of_its_own() -> None:
    assert (len(FRAMES), len(REQUESTS)) == (132, 69)
    names = [frame.id for frame in FRAMES] + [request.id for request in REQUESTS]
    assert len(set(names)) == len(names)


def test_a_file_of_captures_without_its_source_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.json"
    path.write_text(json.dumps({"source": "", "frames": []}))
    with pytest.raises(OriginError):
        load(path)


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: frame.id)
def test_every_frame_of_a_gateway_is_read(frame: Frame) -> None:
    got = client(frame.version).read(frame.payload)
    assert isinstance(got, Message), got
    assert got.name == frame.type
