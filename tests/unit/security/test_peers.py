"""Connections to the bus are counted and measured, and the right one goes."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest

from ibbridge.bus import Bus
from ibbridge.config.model import BusConfig
from ibbridge.security import peers as peers_module
from ibbridge.security import socket_queues
from ibbridge.zeromq.socket_options import SUBSCRIPTIONS
from tests.attacks import zmtp
from tests.support.bus_peers import Welcoming, bus_config, welcome

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Iterator

TURNS = 20_000


class Big:
    """Answers with the largest reply there is."""

    def answer(self, request: bytes, peer: bytes) -> bytes:
        return bytes(500_000)

    def refuse(self, reason: str) -> bytes:
        return reason.encode()


class Place:
    """A bus, and peers of it that say what no library would."""

    def __init__(self, directory: pathlib.Path, transport: str) -> None:
        self._stack = contextlib.ExitStack()
        self._directory, self._transport = directory, transport

    def __enter__(self) -> Place:  # noqa: PYI034
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def open(self, **settings: Any) -> Bus:
        if self._transport == "tcp":
            where = {"pub": "tcp://127.0.0.1:*", "rep": "tcp://127.0.0.1:*"}
        else:
            where = {name: f"ipc://{self._directory / name}" for name in ("pub", "rep")}
        self.bus = Bus(bus_config(**{**where, **settings}), Big(), Welcoming())
        self.bus.open()
        self._stack.callback(self.bus.close)
        return self.bus

    def sub(self, *prefixes: bytes) -> socket.socket:
        """A subscriber that has been welcomed to its prefixes."""
        peer = self._stack.enter_context(zmtp.handshake(self.bus.endpoints.pub[0], b"SUB"))
        for prefix in prefixes:
            peer.sendall(zmtp.frame(b"\1" + prefix))
            self.until(lambda: readable(peer))
            assert zmtp.message(peer) == [prefix, welcome(prefix)]
        return peer

    def dealer(self) -> socket.socket:
        return self._stack.enter_context(zmtp.handshake(self.bus.endpoints.rep[0], b"DEALER"))

    def until(self, seen: Callable[[], bool]) -> None:
        """Give the bus its turns until something is so."""
        for _ in range(TURNS):
            self.bus.turn()
            if seen():
                return
            self.bus._rep.poll(1)
        raise AssertionError("it never came to that")


def readable(peer: socket.socket) -> bool:
    return socket_queues.unread(peer.fileno()) > 0


def closed(peer: socket.socket) -> bool:
    """Return True once the other side has closed; reads what is there."""
    peer.setblocking(False)
    try:
        while peer.recv(1_000_000):
            pass
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
    return True


@pytest.fixture(params=["tcp", "ipc"])
def place(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Iterator[Place]:
    with Place(tmp_path, request.param) as place:
        yield place


def test_peers_beyond_the_bound_are_refused_and_the_others_go_on(place: Place) -> None:
    bus = place.open(max_peers=3)
    kept = [place.sub(b"md.") for _ in range(3)]
    with contextlib.suppress(OSError), zmtp.connect(bus.endpoints.pub[0]) as refused:
        place.until(lambda: closed(refused))
    place.until(lambda: bus.counts["refusedPeers"] == 1)
    for peer in kept:  # those that came first are welcomed to their own prefix by each that came later, too
        closed(peer)
        peer.setblocking(True)
    bus.send([b"md.", b"1"])
    assert [zmtp.message(peer) for peer in kept] == [[b"md.", b"1"]] * 3


def test_who_goes_makes_room(place: Place) -> None:
    bus = place.open(max_peers=2)
    for _ in range(10):
        place.sub(b"md.").close()
        place.until(lambda: not bus._subscribers._by_descriptor)
    assert not bus.counts["refusedPeers"]


def test_the_bound_is_at_each_socket(place: Place) -> None:
    bus = place.open(max_peers=1)
    place.sub(b"md.")
    place.dealer()
    assert not bus.counts["refusedPeers"]


@pytest.mark.parametrize("length", [30_000, 100_000])
def test_a_subscriber_that_lets_too_many_bytes_wait_goes_and_one_that_reads_stays(place: Place, length: int) -> None:
    bus = place.open(sndbytes=4 * 2**20)
    stopped, other = place.sub(b"md."), place.sub(b"sys.")
    body = bytes(length)

    def published() -> bool:
        for _ in range(10):
            bus.send([b"md.", body])
        return bus.counts["endedPeers"] == 1

    place.until(published)
    place.until(lambda: closed(stopped))
    bus.send([b"sys.", b"1"])
    assert zmtp.message(other) == [b"sys.", b"1"]


def test_what_was_dropped_for_a_subscriber_does_not_count(place: Place) -> None:
    bus = place.open(sndbytes=4 * 2**20, sndhwm=10)
    stopped = place.sub(b"md.")
    for _ in range(400):
        bus.send([b"md.", bytes(100_000)])  # ten times what may wait; all but ten and what the kernel takes is dropped
    (peer,) = bus._subscribers._by_descriptor.values()
    bus._peer_watch.stop()
    bus._subscribers.measure(bus._published(), 0, 1.0)
    assert not peer.ended
    assert not closed(stopped)


def test_who_leaves_many_bytes_of_replies_unread_goes(place: Place) -> None:
    bus = place.open()
    peer = place.dealer()
    request = zmtp.frame(b"", zmtp.MORE) + zmtp.frame(b"x")
    peer.sendall(request * 300)
    place.until(lambda: bus.counts["endedPeers"] == 1)
    honest = place.dealer()
    honest.sendall(request)
    place.until(lambda: readable(honest))
    assert zmtp.message(honest) == [b"", bytes(500_000)]


def test_subscriptions_are_bounded_in_bytes_and_those_that_end_make_room(place: Place) -> None:
    bus = place.open()
    place.sub(b"first.")
    (peer,) = bus._subscribers._by_descriptor.values()
    for _ in range(10):
        assert bus._subscribers.subscribed(peer, SUBSCRIPTIONS // 2)
        bus._subscribers.unsubscribed(peer, SUBSCRIPTIONS // 2)
    assert bus._subscribers.subscribed(peer, SUBSCRIPTIONS // 2)
    assert not bus._subscribers.subscribed(peer, SUBSCRIPTIONS // 2)
    assert bus.counts["endedPeers"] == 1


def test_a_subscriber_that_takes_more_subscriptions_than_it_may_goes(place: Place) -> None:
    bus = place.open()
    peer = place.sub(b"first.")
    with contextlib.suppress(ConnectionError):
        for number in range(2 * SUBSCRIPTIONS // 900):
            peer.sendall(zmtp.frame(b"\1%d" % number + b"x" * 900))
            bus.turn()
    place.until(lambda: bus.counts["endedPeers"] == 1)


def test_a_longer_subscription_than_there_is_cuts_off(place: Place) -> None:
    place.open()
    peer = place.sub(b"x" * 1_000)
    peer.sendall(zmtp.frame(b"\1" + b"x" * 1_100))
    place.until(lambda: closed(peer))


def test_to_shed_is_to_disconnect_the_one_for_whom_most_is_kept(place: Place) -> None:
    bus = place.open()
    assert bus.shed() == "", "nothing is kept for anybody"
    modest, greedy = place.sub(b"md."), place.sub(b"sys.")
    for number in range(200):
        greedy.sendall(zmtp.frame(b"\1sys.%d." % number + b"x" * 200))
    place.until(lambda: max(peer.subscriptions for peer in bus._subscribers._by_descriptor.values()) > 40_000)
    who = "{}:{}".format(*greedy.getsockname()) if greedy.family == socket.AF_INET else f"process {os.getpid()}"
    assert bus.shed().startswith(f"{who} at bus.pub is disconnected: memory is short")
    place.until(lambda: closed(greedy))
    assert bus.shed() == ""
    bus.send([b"md.", b"1"])
    assert zmtp.message(modest) == [b"md.", b"1"]


def test_a_closed_bus_sheds_nobody() -> None:
    assert Bus(BusConfig(), Big()).shed() == ""


def test_a_descriptor_that_is_not_the_peers_any_more_is_left_alone() -> None:
    one, other = socket.socketpair()
    with one, other:
        assert not socket_queues.disconnect(one.fileno(), socket.AF_UNIX, "/elsewhere")
        other.send(b"x")
        assert one.recv(1) == b"x"
    with pytest.raises(OSError, match="Bad file descriptor"):
        socket_queues.disconnect(one_closed(), socket.AF_INET, 1)


def one_closed() -> int:
    descriptor = os.open(os.devnull, os.O_RDONLY)
    os.close(descriptor)
    return descriptor


def test_what_one_peer_sends_is_measured_since_its_last_whole_message() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    with listener, socket.create_connection(listener.getsockname()) as sender:
        accepted, _ = listener.accept()
        with accepted:
            peer = peers_module.Peer(accepted.fileno(), peers_module.Published(0, 0))

            def measured(size: int, *, spoken: bool) -> int:
                sender.sendall(bytes(size))
                zmtp.exactly(accepted, size)
                peer.spoken = spoken
                peer.measure_incoming(0, 10, whole=True)
                return peer.incoming

            assert measured(1_000, spoken=True) == 0
            assert measured(1_000, spoken=False) == 990
            assert measured(1_000, spoken=False) == 1_980
            assert measured(1_000, spoken=True) == 0
