"""Whose connection is shut down when memory runs out: the one that is not read, and nobody else's."""

from __future__ import annotations

import contextlib
import os
import pathlib
import socket
import tempfile
from typing import TYPE_CHECKING

import pytest

from ibbridge.monitoring import process_limits
from ibbridge.security.connections import Connections

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def connected(kind: str, count: int) -> Iterator[tuple[str, list[tuple[socket.socket, socket.socket]]]]:
    """An endpoint, and connections to it: our end and the peer's."""
    with contextlib.ExitStack() as stack, tempfile.TemporaryDirectory(prefix="ib") as directory:
        path = str(pathlib.Path(directory) / "end")
        listening = stack.enter_context(socket.socket(socket.AF_UNIX if kind == "ipc" else socket.AF_INET))
        listening.bind(path if kind == "ipc" else ("127.0.0.1", 0))
        listening.listen()
        pairs = []
        for _ in range(count):
            peer = stack.enter_context(socket.socket(listening.family))
            peer.connect(listening.getsockname())
            ours = stack.enter_context(listening.accept()[0])
            ours.setblocking(False)
            pairs.append((ours, peer))
        yield f"ipc://{path}" if kind == "ipc" else f"tcp://127.0.0.1:{listening.getsockname()[1]}", pairs


def stuff(ours: socket.socket, most: int = 2**30) -> int:
    sent = 0
    with contextlib.suppress(BlockingIOError):
        while sent < most:
            sent += ours.send(b"x" * min(65_536, most - sent))
    return sent


def is_open(ours: socket.socket) -> bool:
    try:
        return ours.recv(1) != b""
    except BlockingIOError:
        return True


@pytest.mark.parametrize("kind", ["tcp", "ipc"])
def test_the_one_that_keeps_most_unread_is_shut_down_and_no_other(kind):
    with connected(kind, 4) as (endpoint, pairs), connected(kind, 1) as (_, others):
        (idle, _), (little, _), (most, _), (read, reader) = pairs
        stuff(little, 1_000)
        stuff(most)
        stuff(read, 1_000)
        reader.recv(1_000)
        stuff(others[0][0])
        named = f"process {os.getpid()}" if kind == "ipc" else "{}:{}".format(*most.getpeername())
        assert Connections().shed([endpoint]) == named
        assert [is_open(each) for each in (idle, little, most, read, others[0][0])] == [True, True, False, True, True]


def test_who_has_taken_nothing_since_the_last_look_goes_before_who_is_only_slow():
    with connected("tcp", 2) as (endpoint, ((slow, reader), (stopped, _))):
        connections = Connections()
        for each in (slow, stopped):
            stuff(each)
        connections.observe([endpoint])
        taken = 0
        while taken < 1_000_000:
            taken += len(reader.recv(65_536))
        stuff(slow)
        connections.shed([endpoint])
        assert [is_open(each) for each in (slow, stopped)] == [True, False]


def test_where_all_is_read_nobody_goes():
    with connected("tcp", 3) as (endpoint, pairs):
        assert Connections().shed([endpoint]) == ""
        assert all(is_open(ours) for ours, _ in pairs)


def test_no_descriptor_is_left_behind():
    with connected("tcp", 3) as (endpoint, pairs):
        stuff(pairs[0][0], 1_000)
        before = process_limits.open_descriptors()
        for _ in range(5):
            Connections().shed([endpoint])
        assert process_limits.open_descriptors() == before
