"""Fixtures of the integration tests."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.support.bus_peers import Peers

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator


@pytest.fixture(params=["tcp", "ipc"])
def peers(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Iterator[Peers]:
    with ExitStack() as stack:
        yield Peers(stack, tmp_path, request.param)
