"""The bus through real sockets: publishing, turns of the event loop, opening and closing.

Nothing here sleeps. That a subscription is in place is known from its welcome, and that nothing came from a message
sent after what must not come.
"""

from __future__ import annotations

import asyncio
import os
import stat
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import zmq

from ibbridge.bus import TURN, Bus
from ibbridge.security.access import Access, AccessRules, KnownClient
from ibbridge.zeromq import zmq_send
from ibbridge.zeromq.endpoints import BusError
from ibbridge.zeromq.socket_options import apply, pub_options, rep_options
from tests.support.bus_peers import PATIENCE, Broken, Echo, Peers, bus_config, next_but_welcomes, receive, welcome

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable

    from ibbridge.config.model import BusConfig


# Publishing


@pytest.fixture(params=["compiled", "pure"])
def ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways in which messages get into the socket."""
    if request.param == "compiled" and not zmq_send.COMPILED:
        pytest.skip("the compiled part is not built")
    monkeypatch.setattr(zmq_send, "COMPILED", request.param == "compiled")


def test_the_compiled_way_is_taken_where_it_is_built(peers: Peers) -> None:
    pytest.importorskip("ibbridge.zeromq._zmq_send")
    assert (os.environ.get("IBBRIDGE_PURE") != "1") == zmq_send.COMPILED
    assert isinstance(peers.bus()._outbox, zmq_send.Plain) != zmq_send.COMPILED


def test_where_libzmq_is_not_to_be_found_pyzmq_is_asked_to_send(peers: Peers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ibbridge.zeromq.zmq_send.ctypes.CDLL", lambda _: object())
    bus = peers.bus()
    assert isinstance(bus._outbox, zmq_send.Plain)
    sub = peers.sub(bus, b"md.")
    bus.send([b"md.", b"body"])
    assert receive(bus, sub) == [b"md.", b"body"]


@pytest.mark.usefixtures("ways")
@pytest.mark.parametrize("frames", [[b"md."], [b"md.", b"1", b"md."], [b"md.", None], ["md.", b"1"], [b"md.", 1]])
def test_what_is_no_message_is_a_fault_of_ours_and_is_not_sent(peers: Peers, frames: Any) -> None:
    bus = peers.bus()
    with pytest.raises((ValueError, TypeError)):
        bus.send(frames)


@pytest.mark.usefixtures("ways")
def test_a_socket_that_cannot_send_says_why(peers: Peers) -> None:
    bus = peers.bus()
    with zmq.Context() as context, context.socket(zmq.SUB) as deaf, pytest.raises(zmq.ZMQError) as raised:
        zmq_send.outbox(deaf).send([b"md.", b"body"])
    assert raised.value.errno == zmq.ENOTSUP
    assert bus.unsent == 0


@pytest.mark.usefixtures("ways")
def test_a_message_is_two_frames_and_comes_in_order(peers: Peers) -> None:
    bus = peers.bus()
    sub = peers.sub(bus, b"md.")
    for number in range(1000):
        bus.send([b"md.%d." % number, b"body %d" % number])
    for number in range(1000):
        assert receive(bus, sub) == [b"md.%d." % number, b"body %d" % number]


@pytest.mark.usefixtures("ways")
def test_a_burst_of_50000_messages_arrives_complete(peers: Peers) -> None:
    bus = peers.bus()
    sub = peers.sub(bus, b"md.")
    for number in range(50_000):
        bus.send([b"md.", b"%d" % number])
    for number in range(50_000):
        assert sub.poll(PATIENCE)
        assert sub.recv() == b"md."
        assert sub.recv() == b"%d" % number


@pytest.mark.usefixtures("ways")
def test_a_subscriber_that_does_not_read_never_holds_up_a_send(peers: Peers) -> None:
    bus = peers.bus(sndhwm=10)
    stuck = peers.sub(bus, b"md.", RCVHWM=1)
    body = bytes(100_000)
    for _ in range(2000):  # 200 MB: more than any kernel buffers
        bus.send([b"md.", body])
    other = peers.sub(bus, b"sys.")
    bus.send([b"sys.", b"still here"])
    assert receive(bus, other) == [b"sys.", b"still here"]
    read = 0
    while stuck.poll(100):
        assert stuck.recv_multipart() == [b"md.", body]  # whole messages or none
        read += 1
    assert 0 < read < 2000
    assert bus.unsent == 0


@pytest.mark.usefixtures("ways")
def test_a_message_that_libzmq_will_not_take_is_counted_and_the_next_is_whole(peers: Peers) -> None:
    bus = peers.bus(sndhwm=10)
    sub = peers.sub(bus, b"md.", RCVHWM=1)
    bus._pub.set(zmq.XPUB_NODROP, 1)  # the one way to make it say so
    body = bytes(100_000)
    for _ in range(2000):
        bus.send([b"md.", body])
    assert 0 < bus.unsent < 2000
    for _ in range(2000 - bus.unsent):
        assert receive(bus, sub) == [b"md.", body]


# In the loop


def served(bus: Bus, peer: Callable[[], None]) -> None:
    """Run a peer in a thread of its own while a loop serves the bus, by nothing but reader events."""

    async def serve() -> None:
        bus.attach(asyncio.get_running_loop())
        await asyncio.to_thread(peer)

    asyncio.run(serve())


def test_attached_to_a_loop_the_bus_serves_by_itself_more_than_one_turn_takes(peers: Peers) -> None:
    bus = peers.bus()

    def peer() -> None:
        prefixes = [b"%d." % number for number in range(1000)]
        sub = peers.peer(zmq.SUB, bus.endpoints.pub[0], *prefixes)
        dealer = peers.peer(zmq.DEALER, bus.endpoints.rep[0])
        for prefix in prefixes:
            dealer.send_multipart([b"", prefix])
        for prefix in prefixes:
            assert sub.poll(PATIENCE)
            assert sub.recv_multipart() == [prefix, welcome(prefix)]
            assert dealer.poll(PATIENCE)
            assert dealer.recv_multipart() == [b"", b"to " + prefix]

    served(bus, peer)
    bus.close()


class Slow(Echo):
    """Takes a millisecond of a clock of its own for each answer."""

    now = 0.0

    def answer(self, request: bytes, peer: bytes) -> bytes:
        self.now += 0.001
        return super().answer(request, peer)


def test_a_turn_ends_when_its_time_is_up_and_not_before(peers: Peers, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow()
    monkeypatch.setattr("ibbridge.bus.time", SimpleNamespace(monotonic=lambda: slow.now))
    bus = peers.bus(slow)
    dealers = [peers.peer(zmq.DEALER, bus.endpoints.rep[0]) for _ in range(20)]
    for dealer in dealers:
        dealer.send_multipart([b"", b"ping"])
    most = 0
    while slow.answered < len(dealers):
        before = slow.answered
        bus.turn()
        most = max(most, slow.answered - before)
    assert 1 < most <= round(TURN / 0.001)


def test_a_peer_with_thousands_of_requests_under_way_gets_every_other_answer(peers: Peers) -> None:
    noted = Noted()
    bus = peers.bus(noted)
    greedy = peers.peer(zmq.DEALER, bus.endpoints.rep[0], SNDHWM=0, RCVHWM=0)
    modest = peers.peer(zmq.REQ, bus.endpoints.rep[0])
    for _ in range(20_000):
        greedy.send_multipart([b"", b"more"])
    assert bus._rep.poll(PATIENCE)
    modest.send(b"once")
    assert receive(bus, modest) == [b"to once"]
    # The replies had to come here first, which takes the time of some hundred answers.
    assert noted.requests.index(b"once") < 10_000
    # Both have requests here: each has its turn.
    bystander = peers.peer(zmq.DEALER, bus.endpoints.rep[0])
    for _ in range(4):
        bystander.send_multipart([b"", b"one of four"])
    for _ in range(4):
        assert receive(bus, bystander) == [b"", b"to one of four"]
    first = noted.requests.index(b"one of four")
    assert noted.requests[first : first + 100].count(b"one of four") == 4


class Noted(Echo):
    """Keeps what was asked, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[bytes] = []

    def answer(self, request: bytes, peer: bytes) -> bytes:
        self.requests.append(request)
        return super().answer(request, peer)


def test_a_bus_closed_in_its_loop_is_not_called_again(peers: Peers) -> None:
    bus = peers.bus()
    faults: list[Any] = []

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: faults.append(context))
        bus.attach(loop)
        bus.close()
        await asyncio.sleep(0)

    asyncio.run(serve())
    assert faults == []


def test_what_came_before_it_was_attached_is_served_too(peers: Peers) -> None:
    bus = peers.bus()
    req = peers.peer(zmq.REQ, bus.endpoints.rep[0])
    req.send(b"ping")
    assert bus._rep.poll(PATIENCE)  # this has taken the signal

    def peer() -> None:
        assert req.poll(PATIENCE)
        assert req.recv() == b"to ping"

    served(bus, peer)


def test_after_a_bug_in_an_answer_the_loop_serves_what_was_queued_behind_it(peers: Peers) -> None:
    bus = peers.bus(Broken())
    faults: list[Any] = []

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: faults.append(context["exception"]))
        bus.attach(loop)
        await asyncio.to_thread(peer)

    def peer() -> None:
        dealer = peers.peer(zmq.DEALER, bus.endpoints.rep[0])
        for request in (b"crash", b"1", b"crash", b"2"):
            dealer.send_multipart([b"", request])
        for reply in (b"", b"to 1", b"", b"to 2"):
            assert dealer.poll(PATIENCE)
            assert dealer.recv_multipart() == [b"", reply]

    asyncio.run(serve())
    assert [type(fault) for fault in faults] == [ZeroDivisionError] * 2


def test_clients_in_threads_of_their_own_each_get_their_replies(peers: Peers) -> None:
    bus = peers.bus()
    done: list[int] = []

    def client(name: int) -> None:
        req = peers.peer(zmq.REQ, bus.endpoints.rep[0])
        for number in range(50):
            req.send(b"%d %d" % (name, number))
            assert req.poll(PATIENCE)
            assert req.recv() == b"to %d %d" % (name, number)
        done.append(name)

    def peer() -> None:
        threads = [threading.Thread(target=client, args=(name,)) for name in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    served(bus, peer)
    assert sorted(done) == [0, 1, 2, 3]


# Opening and closing


@pytest.mark.parametrize(("name", "options"), [("_pub", pub_options), ("_rep", rep_options)])
def test_every_option_is_set_on_its_socket(peers: Peers, name: str, options: Callable[[BusConfig], Any]) -> None:
    bus = peers.bus(sndhwm=4321, linger_ms=765)
    wanted = options(peers.config(sndhwm=4321, linger_ms=765))
    write_only = {zmq.XPUB_MANUAL, zmq.XPUB_VERBOSE, zmq.ROUTER_MANDATORY}
    for option in wanted.keys() - write_only:
        assert getattr(bus, name).get(option) == wanted[option], option
    assert wanted[zmq.LINGER] == 765
    assert pub_options(bus._config)[zmq.SNDHWM] == 4321
    assert bus._pub.get(zmq.HEARTBEAT_IVL) == 0  # see the comment on the options


def test_a_second_bus_on_the_same_endpoints_is_refused_and_the_first_goes_on(peers: Peers) -> None:
    bus = peers.bus()
    sub = peers.sub(bus, b"md.")
    (taken_pub,), (taken_rep,) = bus.endpoints
    for pub, rep, key in ((taken_pub, taken_rep, "bus.pub"), (free(peers, "pub2"), taken_rep, "bus.rep")):
        with pytest.raises(BusError, match=f"^{key}: .*another ibbridge.*choose another {key}"):
            peers.bus(pub=pub, rep=rep)
    late = peers.sub(bus, b"md.")
    bus.send([b"md.", b"1"])
    assert next_but_welcomes(bus, sub) == next_but_welcomes(bus, late) == [b"md.", b"1"]
    req = peers.peer(zmq.REQ, taken_rep)
    req.send(b"ping")
    assert receive(bus, req) == [b"to ping"]


def free(peers: Peers, name: str) -> str:
    config = peers.config()
    (pub,) = config.pub
    return pub if pub.startswith("tcp") else f"{pub}-{name}"


def test_a_bus_that_could_not_open_leaves_nothing_locked_or_bound(peers: Peers) -> None:
    bus = peers.bus()
    pub = free(peers, "pub2")
    with pytest.raises(BusError):
        peers.bus(pub=pub, rep=bus.endpoints.rep[0])
    peers.bus(pub=pub, rep=free(peers, "rep2"))


def test_a_closed_bus_leaves_its_endpoints_to_the_next_at_once(peers: Peers) -> None:
    first = peers.bus()
    config = first.endpoints
    first.close()
    for _ in range(20):
        bus = peers.bus(pub=config.pub[0], rep=config.rep[0])
        peers.sub(bus, b"md.").close()
        bus.close()


def test_the_last_message_gets_out_before_the_bus_is_closed(peers: Peers) -> None:
    bus = peers.bus()
    sub = peers.sub(bus, b"")
    bus.send([b"sys.bridge.bye.", b"bye"])
    bus.close()
    assert sub.poll(PATIENCE)
    assert sub.recv_multipart() == [b"sys.bridge.bye.", b"bye"]


def test_closing_again_or_before_opening_does_nothing(peers: Peers) -> None:
    Bus(peers.config(), Echo()).close()
    bus = peers.bus()
    bus.close()
    bus.close()
    bus.turn()


def test_a_bus_that_is_not_open_says_so(peers: Peers) -> None:
    bus = Bus(peers.config(), Echo())
    with pytest.raises(BusError, match="not open"):
        bus.send([b"md.", b""])
    with pytest.raises(BusError, match="not open"):
        _ = bus.endpoints


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_bus_that_lets_nobody_in_any_more_says_so(peers: Peers, monkeypatch: pytest.MonkeyPatch) -> None:
    bus = peers.bus()
    monkeypatch.setattr("ibbridge.security.zap.decide", lambda *_: 1 // 0)
    peers.peer(zmq.REQ, bus.endpoints.rep[0])
    bus._handler.join()
    with pytest.raises(BusError, match="no new peer can connect"):
        bus.check()


def test_an_ipc_endpoint_and_its_lock_are_for_the_user_and_the_group_alone(tmp_path: pathlib.Path) -> None:
    config = bus_config(f"ipc://{tmp_path}/pub", f"ipc://{tmp_path}/rep")
    before = os.umask(0)
    try:
        bus = Bus(config, Echo())
        bus.open()
        modes = {file.name: oct(stat.S_IMODE(file.stat().st_mode)) for file in tmp_path.iterdir()}
        assert os.umask(0) == 0
    finally:
        os.umask(before)
    assert modes == {"pub": "0o770", "rep": "0o770", "pub.lock": "0o600", "rep.lock": "0o600"}
    bus.close()
    assert {"pub.lock", "rep.lock"} <= {file.name for file in tmp_path.iterdir()}


def test_an_ipv6_endpoint_is_bound(tmp_path: pathlib.Path) -> None:
    config = bus_config("tcp://[::1]:*", f"ipc://{tmp_path}/rep")
    bus = Bus(config, Echo())
    try:
        bus.open()
    except BusError as error:
        pytest.skip(f"no IPv6 here: {error}")
    assert bus.endpoints.pub[0].startswith("tcp://[::1]:")
    bus.close()


def with_keys() -> Access:
    """Access by keys, with which any address may be bound."""
    public, secret = zmq.curve_keypair()
    return Access(AccessRules((KnownClient("alpha", key=public.decode()),)), secret)


@pytest.mark.parametrize(
    ("endpoint", "fault"),
    [
        ("ipc://{tmp}/nowhere/pub", "there is no directory {tmp}/nowhere; create it"),
        ("ipc://{tmp}/file", "{tmp}/file exists and is no socket"),
        ("ipc://{tmp}/open/pub", "every user may write to {tmp}/open"),
        ("ipc://{tmp}/" + "x" * 120, "File name too long; a path may have 107 bytes; choose a shorter bus.pub"),
        ("tcp://nowhere:5555", "No such device; this machine has no such address"),
        ("tcp://192.0.2.1:5555", "Cannot assign requested address; this machine has no such address"),
        ("carrier-pigeon://here", "Protocol not supported; write bus.pub as tcp://127.0.0.1:PORT or ipc:///PATH"),
        ("ipc://{tmp}/linked", "cannot open its lock {tmp}/linked.lock: "),
    ],
)
def test_an_endpoint_that_is_not_to_be_had_says_which_why_and_what_to_do(
    tmp_path: pathlib.Path, endpoint: str, fault: str
) -> None:
    (tmp_path / "file").write_text("precious")
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "linked.lock").symlink_to("/dev/null")
    endpoint = endpoint.format(tmp=tmp_path)
    with pytest.raises(BusError) as refused:
        Bus(bus_config(endpoint, "tcp://127.0.0.1:*"), Echo(), access=with_keys()).open()
    assert str(refused.value).startswith(f"bus.pub: {endpoint}: ")
    assert fault.format(tmp=tmp_path) in str(refused.value)
    assert (tmp_path / "file").read_text() == "precious"


def test_an_option_that_libzmq_does_not_take_keeps_the_bus_from_opening():
    class Deaf:
        def set(self, option, value):
            pass

        def get(self, option):
            return -1

    with pytest.raises(BusError, match=r"libzmq .* does not take SNDHWM=5; a newer one is needed"):
        apply(Deaf(), {zmq.SNDHWM: 5})  # type: ignore[arg-type]
