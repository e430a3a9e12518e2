"""Honest programs beside an attack, in a process of their own: a client that pings, and a subscriber to everything.

`Bystanders` starts them, watches the daemon's memory, and asserts at its end that the attack cost them nothing: each
ping was answered in time, no message is missing, heartbeats went on, the connection to TWS held, the memory came back.
They have a process of their own so that an attack written in Python does not hold them up by its own work.
"""

from __future__ import annotations

import contextlib
import json
import pathlib
import subprocess
import sys
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import msgpack
import zmq

if TYPE_CHECKING:
    from typing import Self

    from tests.integration.rig import Bridge

PING_EVERY = 0.05
ANSWERED_WITHIN = 1.0
BEATS_WITHIN = 3.0
MEMORY = 64 * 2**20
PATIENCE = 30.0


class Bystanders:
    """Honest programs beside an attack on `bridge`, while the block lasts; the assertions are made as it ends.

    `link` says whether the connection to TWS must hold (true unless the attack is on that), `restarts` whether the
    attack ends the daemon and starts it again. After the block `report` has the figures.
    """

    def __init__(self, bridge: Bridge, *, link: bool = True, restarts: bool = False) -> None:
        self.report: dict[str, Any] = {}
        self._bridge = bridge
        self._link = link
        self._restarts = restarts

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tests.attacks.bystanders", self._bridge.pub, self._bridge.rep]
        root = pathlib.Path(__file__).parents[2]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "watching\n"
        self._before = memory(self._bridge.process.pid)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            out, _error = self._process.communicate("", PATIENCE)
        finally:
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()
        self.report = json.loads(out)
        if kind is None:
            self._check()

    def _check(self) -> None:
        report = self.report
        assert not report["holes"], report
        assert report["pings"], report
        assert report["longest_reply"] <= ANSWERED_WITHIN, report
        assert report["longest_between_beats"] <= BEATS_WITHIN, report
        assert self._restarts or len(report["epochs"]) == 1, report
        assert not self._link or self._restarts or report["connections"] == 1, report
        assert not self._link or report["stage"] == "ready", report
        if not self._restarts:
            self._memory_comes_back()

    def _memory_comes_back(self) -> None:
        until = time.monotonic() + PATIENCE
        while (grown := memory(self._bridge.process.pid) - self._before) > MEMORY:
            assert time.monotonic() < until, f"the daemon keeps {grown / 2**20:.0f} MiB more than before"
            time.sleep(0.1)
        self.report["grown"] = grown


def memory(pid: int) -> int:
    """Return the bytes of memory that a process has in use (resident)."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"process {pid} has no VmRSS: it has ended")


# -- the process beside


class _Watch:
    """Notes of an honest client and an honest subscriber."""

    def __init__(self) -> None:
        self.pings = 0
        self.longest_reply = 0.0
        self.beats: list[float] = []
        self.holes: list[str] = []
        self.epochs: list[int] = []
        self.gens: list[int] = []
        self.stage = ""
        self._last: dict[tuple[int, str], int] = {}

    def answered(self, asked: float, now: float) -> None:
        self.pings += 1
        self.longest_reply = max(self.longest_reply, now - asked)

    def heard(self, topic: str, body: dict[str, Any], now: float) -> None:
        if (epoch := body["epoch"]) not in self.epochs:
            self.epochs.append(epoch)
        if body["type"] == "heartbeat":
            self.beats.append(now)
            self.stage = body["data"]["tws"]["stage"]
            if body["gen"] not in self.gens:
                self.gens.append(body["gen"])
        elif "seq" in body:
            stream = ".".join(topic.split(".")[:2])
            seq, last = body["seq"], self._last.get((epoch, stream))
            if last is not None and seq != last + 1:
                self.holes.append(f"{stream}: {seq} after {last}")
            self._last[epoch, stream] = seq

    def report(self, began: float, ended: float) -> dict[str, Any]:
        moments = [began, *self.beats, ended]
        return {
            "pings": self.pings,
            "longest_reply": self.longest_reply,
            "beats": len(self.beats),
            "longest_between_beats": max(later - earlier for earlier, later in pairwise(moments)),
            "holes": self.holes[:10],
            "epochs": self.epochs,
            "connections": len(self.gens),
            "stage": self.stage,
        }


class _Pinger:
    """An honest client: a REQ socket with one ping under way at most."""

    def __init__(self, context: zmq.Context[Any], endpoint: str) -> None:
        self.socket = context.socket(zmq.REQ)
        self.socket.linger = 0
        self.socket.connect(endpoint)
        self.asked: float | None = None
        self._due = 0.0
        self._count = 0

    def ping(self, now: float) -> None:
        """Send the next ping when its time has come and the last one has been answered."""
        if self.asked is None and now >= self._due:
            self._count += 1
            self._due = now + PING_EVERY
            command = {"id": f"bystander-{time.time_ns()}-{self._count}", "cmd": "ping", "client": "bystander"}
            self.socket.send(msgpack.packb(command))
            self.asked = now

    def answered(self) -> float:
        """Take the reply in; the time at which its ping was sent."""
        reply = msgpack.unpackb(self.socket.recv())
        asked, self.asked = self.asked, None
        assert reply["ok"], reply
        assert asked is not None
        return asked


def main(pub: str, rep: str) -> None:
    """Watch until standard input ends, then print what was seen as JSON."""
    context: zmq.Context[Any] = zmq.Context()
    sub = context.socket(zmq.SUB)
    sub.linger, sub.rcvhwm = 0, 0
    sub.subscribe("")
    sub.connect(pub)
    pinger, watch, poller = _Pinger(context, rep), _Watch(), zmq.Poller()
    for peer in (sub, pinger.socket, sys.stdin.fileno()):
        poller.register(peer, zmq.POLLIN)
    began, closing = None, False
    while True:
        now = time.monotonic()
        if not closing:
            pinger.ping(now)
        elif pinger.asked is None or now - pinger.asked > PATIENCE / 2:
            break
        ready = dict(poller.poll(10))
        if sys.stdin.fileno() in ready and began is not None:
            closing = True
            poller.unregister(sys.stdin.fileno())
        _take_in(watch, pinger, sub, ready)
        if began is None and watch.beats and watch.stage and watch.pings:
            began = time.monotonic()
            watch.beats, watch.longest_reply = [], 0.0
            print("watching", flush=True)  # noqa: T201 - the other process waits for it
    ended = time.monotonic()
    assert began is not None
    if pinger.asked is not None:
        watch.answered(pinger.asked, ended)
    print(json.dumps(watch.report(began, ended)), flush=True)  # noqa: T201 - the other process reads it
    context.destroy(linger=0)


def _take_in(watch: _Watch, pinger: _Pinger, sub: zmq.Socket[bytes], ready: dict[Any, int]) -> None:
    if pinger.socket in ready:
        watch.answered(pinger.answered(), time.monotonic())
    if sub in ready:
        with contextlib.suppress(zmq.Again):
            for _ in range(1000):
                topic, body = sub.recv_multipart(zmq.NOBLOCK)
                watch.heard(topic.decode(), msgpack.unpackb(body), time.monotonic())


if __name__ == "__main__":
    main(*sys.argv[1:])
