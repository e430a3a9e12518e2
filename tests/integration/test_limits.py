"""Limits: the store's disk, the size of a command, the patience with strange peers, one daemon at a place."""

from __future__ import annotations

import contextlib
import pathlib
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import msgpack
import pytest
import zmq
from zmq.utils.monitor import recv_monitor_message

from tests.integration.rig import AAPL, PATIENCE, Bridge, Host
from tests.integration.test_trust import ALL, Running, flow
from tests.integration.witness import Load, Witness, check, durable, goal, on_disk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

ORDER = {"action": "BUY", "totalQuantity": 1, "orderType": "MKT"}


# The disk is full


class Disk(NamedTuple):
    """Small disk of a daemon: the command that gives it, its path for the test, and the way to make room on it."""

    within: Sequence[str]
    where: Callable[[Bridge], pathlib.Path]
    make_room: Callable[[Bridge], None]


@contextlib.contextmanager
def full_disk(directory: pathlib.Path) -> Iterator[Disk]:
    """A disk of 2 MB, of which half can be freed."""
    mount = f"mount -t tmpfs -o size=2m none {directory} && head -c 1M /dev/zero > {directory}/ballast"
    within = ("unshare", "-Umr", "sh", "-c")
    if subprocess.run([*within, mount], capture_output=True, timeout=PATIENCE, check=False).returncode:
        pytest.skip("this user may not make a disk of its own")

    def where(bridge: Bridge) -> pathlib.Path:
        return pathlib.Path(f"/proc/{bridge.process.pid}/root{directory}")

    command = (*within, f'{mount} && exec "$@"', "sh")
    yield Disk(command, where, lambda bridge: (where(bridge) / "ballast").unlink())


@contextlib.contextmanager
def no_file_may_grow(directory: pathlib.Path) -> Iterator[Disk]:
    """Make a full disk by a limit of the process, beyond which the system refuses to write."""
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    command = ("sh", "-c", 'ulimit -S -f 512 && exec "$@"', "sh")  # in blocks of 512 bytes

    def free(bridge: Bridge) -> None:
        resource.prlimit(bridge.process.pid, resource.RLIMIT_FSIZE, (most, most))

    yield Disk(command, lambda _: directory, free)


@pytest.mark.parametrize("disk", [full_disk, no_file_may_grow])
def test_when_the_disk_is_full_market_data_goes_on_and_orders_are_refused_until_there_is_room(tmp_path, disk):
    with contextlib.ExitStack() as stack:
        within, where, make_room = stack.enter_context(disk(tmp_path))
        host = stack.enter_context(Host())
        bridge = stack.enter_context(Bridge(host.port, store__path=tmp_path, within=within))
        witness = stack.enter_context(Witness(bridge))
        guest = stack.enter_context(host.accept())
        guest.start()
        witness.ready()
        load, each = Load(guest), Running(bridge, *ALL).begun()
        bridge.do("placeOrder", key="before", contract=AAPL, order=ORDER)
        assert guest.request("placeOrder")["order"]["orderRef"] == "me/before"
        # What is in the log moves to the file from time to time, and then there may be room once more, for a while.
        reply: dict[str, Any] = {"ok": True}
        for number in range(100):
            flow(load, witness, 500)
            reply = bridge.call("placeOrder", key=f"meanwhile {number}", contract=AAPL, order=ORDER)
            if not reply["ok"]:
                break
        refused = reply["error"]
        assert (refused["code"], refused["outcome"]) == ("E_STORE", "not_sent")
        assert str(tmp_path) in refused["message"]
        flow(load, witness, 1000)
        bridge.do("cancelOrder", key="before")
        guest.request("cancelOrder")
        durable(bridge, witness, [load])
        make_room(bridge)
        witness.until(lambda: witness.fault is None, "recovery")
        bridge.do("placeOrder", key="after", contract=AAPL, order=ORDER)
        assert guest.request("placeOrder")["order"]["orderRef"] == "me/after"
        flow(load, witness, 500)
        kept = durable(bridge, witness, [load])
        told = [body for topic, body in kept["sys.bridge."].values() if topic == "sys.bridge.store."]
        assert [bool(msgpack.unpackb(body)["data"]["fault"]) for body in told] == [True, False] * max(1, len(told) // 2)
        ends = goal(witness, kept, *ALL)
        each.finish(ends)
        check(each.follower.entries, witness, kept, ends)
        bridge.process.send_signal(signal.SIGSTOP)
        # A copy, because SQLite follows the link in /proc to where the disk is not.
        copy = shutil.copytree(where(bridge), tmp_path / "copy", ignore=lambda *_: ["copy"])
        bridge.process.send_signal(signal.SIGCONT)
        assert on_disk(copy) == kept


def test_when_the_disk_stalls_for_seconds_nothing_is_lost_the_connection_stays_and_it_is_an_alarm(tmp_path):
    order = tmp_path / "stall"
    within = [sys.executable, "-m", "tests.integration.stalled", str(order)]
    with (
        Host() as host,
        Bridge(host.port, within=within, store__commit_timeout=2) as bridge,
        Witness(bridge) as witness,
    ):
        sub = bridge.sub("sys.bridge.alarm.", "sys.bridge.heartbeat.")
        with host.accept() as guest:
            guest.start()
            witness.ready()
            load, each = Load(guest), Running(bridge, *ALL).begun()
            flow(load, witness, 1000)
            order.touch()
            load.say(20_000)  # most of which waits for the daemon in the kernel
            told = sub.until("alarm")
            assert told.data.items() >= {"alarm": "store", "raised": True}.items()
            assert "the disk has not answered for 2 s" in told.data["why"]
            assert sub.until("heartbeat").data["store"]["uncommitted"] > 0, "it goes on meanwhile"
            refused = bridge.call("placeOrder", key="meanwhile", contract=AAPL, order=ORDER)["error"]
            assert (refused["code"], refused["outcome"]) == ("E_STORE", "not_sent")
            flow(load, witness, 1000)
            order.unlink()
            sub.until("alarm", lambda data: data["alarm"] == "store" and not data["raised"])
            beat = sub.until("heartbeat", lambda data: data["store"]["fault"] is None)
            assert beat.data["store"]["uncommitted"] == 0
            assert beat.data["alarms"] == ["slowDisk"]
            status = bridge.do("status")
            took = re.search(r"a commit took ([\d.]+) s", status["alarms"][0]["why"])
            assert took is not None
            assert float(took[1]) >= 2
            assert status["store"]["commitP50Ms"] <= status["store"]["commitP99Ms"]
            assert [each["alarm"] for each in status["alarms"]] == ["slowDisk"]
            kept = durable(bridge, witness, [load])
            ends = goal(witness, kept, *ALL)
            each.finish(ends)
            found = check(each.follower.entries, witness, kept, ends)
            assert not any(account.lost for account in found.values())
            assert {msgpack.unpackb(body)["gen"] for _, body in kept["exec.ext."].values()} == {1}


def test_a_second_daemon_on_the_same_store_is_refused_and_the_first_goes_on():
    with Host() as host, Bridge(host.port) as first:
        first.do("ping")
        with Bridge(host.port, store__path=first.store) as second:
            assert second.process.wait(PATIENCE) == 1
            said = second.said()
            assert "another ibbridge has this store" in said
            assert str(first.store) in said
            assert "Traceback" not in said
        assert first.do("ping")["pong"]
        assert first.stop(signal.SIGKILL) == -signal.SIGKILL
        with Bridge(host.port, store__path=first.store) as third:
            assert third.do("ping")["pong"], "a lock does not outlive its holder"


# Commands


def padded(size: int) -> bytes:
    """A ping of so many bytes."""
    empty: bytes = msgpack.packb({"id": 7, "cmd": "ping", "args": {"x": bytes(100_000)}})
    whole: bytes = msgpack.packb({"id": 7, "cmd": "ping", "args": {"x": bytes(100_000 + size - len(empty))}})
    assert len(whole) == size
    return whole


def test_a_command_may_have_so_many_bytes_and_not_one_more():
    with Host() as host, Bridge(host.port) as bridge:
        read = msgpack.unpackb(bridge.ask(padded(2**20)))
        assert (read["id"], read["error"]["code"]) == (7, "E_ARG")
        unread = msgpack.unpackb(bridge.ask(padded(2**20 + 1)))
        assert (unread["id"], unread["error"]["code"]) == (None, "E_ARG")
        assert "1048576" in unread["error"]["message"]


def test_who_sends_65_mebibytes_is_cut_off_and_the_others_are_unharmed():
    with Host() as host, Bridge(host.port) as bridge, Witness(bridge) as witness:
        with bridge.context.socket(zmq.DEALER) as monster, bridge.context.socket(zmq.DEALER) as other:
            monster.linger = other.linger = 0
            with monster.get_monitor_socket(zmq.EVENT_DISCONNECTED) as events:
                for peer in (monster, other):
                    peer.connect(bridge.rep)
                monster.send_multipart([b"", bytes(65 * 2**20)])
                for number in range(50):
                    other.send_multipart([b"", msgpack.packb({"id": number, "cmd": "ping"})])
                assert events.poll(int(PATIENCE * 1000))
                assert recv_monitor_message(events)["event"] == zmq.EVENT_DISCONNECTED
                assert [reply(other)["id"] for _ in range(50)] == list(range(50))
                monster.disable_monitor()
            assert not monster.poll(0)
        witness.passes(2)
        assert bridge.do("ping")["pong"]


def reply(peer: zmq.Socket[bytes]) -> dict:
    assert peer.poll(int(PATIENCE * 1000))
    *_, packed = peer.recv_multipart()
    unpacked: dict = msgpack.unpackb(packed)
    return unpacked


STRANGE = {
    "no empty frame": ([b"what"], None),
    "nothing behind the empty frame": ([b""], None),
    "an empty command": ([b"", b""], "E_PROTO"),
    "no command": ([b"", b"\xc1"], "E_PROTO"),
    "two commands": ([b"", msgpack.packb({"id": 1, "cmd": "ping"})] * 2, "E_ARG"),
    "many frames": ([b"", *[b"x"] * 200], "E_ARG"),
    "an address of its own": ([b"back to me", b"", b"\xc1"], "E_PROTO"),
}


@pytest.mark.parametrize("seed", range(3))
def test_each_command_has_exactly_one_reply_whatever_is_sent_before_and_behind_it(seed):
    luck = random.Random(seed)
    with Host() as host, Bridge(host.port) as bridge, contextlib.ExitStack() as stack:
        peers = [stack.enter_context(bridge.context.socket(zmq.DEALER)) for _ in range(5)]
        expected: list[list] = [[] for _ in peers]
        for peer in peers:
            peer.linger = 0
            peer.connect(bridge.rep)
        for number in range(300):
            which = luck.randrange(len(peers))
            if luck.random() < 0.5:
                peers[which].send_multipart([b"", msgpack.packb({"id": number, "cmd": "status"})])
                expected[which].append(number)
                continue
            if luck.random() < 0.1:
                with bridge.context.socket(zmq.REQ) as leaving:
                    leaving.linger = 1000
                    leaving.connect(bridge.rep)
                    leaving.send(msgpack.packb({"id": number, "cmd": "status"}))
                continue
            frames, code = luck.choice(list(STRANGE.values()))
            peers[which].send_multipart(frames)
            if code:
                expected[which].append(code)
        for peer, replies in zip(peers, expected, strict=True):
            peer.send_multipart([b"", msgpack.packb({"id": "last", "cmd": "ping"})])
            had: list = []
            while not had or had[-1] != "last":
                this = reply(peer)
                had.append(this["id"] if this["ok"] else this["error"]["code"])
            assert had == [*replies, "last"]
            assert not peer.poll(0)
        assert bridge.do("status")["counts"].get("internalErrors", 0) == 0
