"""Hostile, careless and stuck clients, through real sockets, and the daemon's own beginning and end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys

import msgpack
import pytest
import zmq

from tests.integration.rig import AAPL, PATIENCE, Bridge, Host, free_port, trading


@pytest.fixture(scope="module")
def running():
    with trading(226) as (bridge, sub):
        yield bridge
        sub.stage("ready")
        status = bridge.do("status")
        assert status["counts"].get("internalErrors", 0) == 0
        sub.check_numbers()


# Garbage on REP


GARBAGE = {
    "nothing": b"",
    "no msgpack": b"\xc1" * 50,
    "text": b"GET / HTTP/1.1\r\n\r\n",
    "a list": msgpack.packb([1, 2, 3]),
    "a map as a key": b"\x81\x80\x01",
    "no id": msgpack.packb({"cmd": "ping"}),
    "an unknown command": msgpack.packb({"id": 901, "cmd": "reqMktDta", "client": "me"}),
    "no client": msgpack.packb({"id": 902, "cmd": "reqMktData", "args": {"contract": AAPL}}),
    "arguments that are no map": msgpack.packb({"id": 903, "cmd": "reqMktData", "client": "me", "args": [AAPL]}),
    "no contract": msgpack.packb({"id": 904, "cmd": "reqMktData", "client": "me"}),
    "a NUL": msgpack.packb({"id": 905, "cmd": "reqMktData", "client": "me", "args": {"contract": {"symbol": "A\0B"}}}),
    "a misspelt argument": msgpack.packb({"id": 906, "cmd": "reqMktData", "client": "me", "args": {"contrat": AAPL}}),
    "a wrong type": msgpack.packb({"id": 9, "cmd": "reqMktData", "client": "g", "args": {"contract": {"conId": "x"}}}),
    "almost two megabytes": msgpack.packb({"id": 908, "cmd": "ping", "args": {"x": b"x" * 1_900_000}}),
    "many keys": msgpack.packb({"id": 909, "cmd": "ping", "args": dict.fromkeys(map(str, range(100_000)))}),
    "hundreds of thousands of keys": msgpack.packb(dict.fromkeys(range(300_000))),
    "ten thousand levels": b"\x91" * 10_000 + b"\xc0",
    "a thousand levels": b"\x84\xa2id\x01\xa6client\xa1a\xa3cmd\xadcancelMktData\xa4args\x81\xa2id"
    + b"\x91" * 1000
    + b"\xc0",
}


@pytest.mark.parametrize("request_", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_is_answered_and_the_daemon_lives(running, request_):
    reply = msgpack.unpackb(running.ask(request_))
    assert reply["ok"] is False
    assert reply["error"]["code"] in ("E_PROTO", "E_ARG")
    assert reply["error"]["outcome"] == "refused"
    assert running.do("ping")["pong"]


def test_more_frames_than_one_are_answered(running):
    ping = msgpack.packb({"id": 1, "cmd": "ping"})
    for frames in ([ping, ping], [b"", ping], [ping] + [b"x"] * 100):
        reply = msgpack.unpackb(running.ask(frames))
        assert (reply["ok"], reply["error"]["code"]) == (False, "E_ARG")
    assert msgpack.unpackb(running.ask(ping))["ok"]


def test_who_leaves_without_its_reply_disturbs_nobody(running):
    for _ in range(20):
        peer = running.context.socket(zmq.REQ)
        peer.linger = 0
        peer.connect(running.rep)
        peer.send(msgpack.packb({"id": 1, "cmd": "status"}))
        peer.close()
    assert running.do("ping")["pong"]


def test_a_client_that_sends_without_reading_gets_a_reply_to_each(running):
    with running.context.socket(zmq.DEALER) as peer:
        peer.linger = 0
        peer.connect(running.rep)
        for number in range(500):
            peer.send_multipart([b"", msgpack.packb({"id": number, "cmd": "ping"})])
        assert running.do("ping")["pong"], "and meanwhile others are answered"
        for number in range(500):
            assert peer.poll(PATIENCE * 1000)
            _, reply = peer.recv_multipart()
            assert msgpack.unpackb(reply)["id"] == number


def test_snapshots_of_odd_prefixes(running):
    for prefix in ("", "md", ".", "%", "\0", "é" * 1000, "sys.tws.connection.x"):
        assert running.do("snapshot", prefix=prefix)["next"] is None


# Subscribers


@pytest.mark.scenario("B34")
def test_a_subscriber_that_stopped_reading_does_not_stop_the_others_and_the_loss_is_its_own():
    count, kept = 60_000, 20_000
    with Host() as host, Bridge(host.port, bus__sndhwm=kept) as bridge, host.accept(200) as guest:
        guest.start()
        sub = bridge.ready()
        stuck = bridge.context.socket(zmq.SUB)
        stuck.linger, stuck.rcvhwm = 0, 1
        stuck.subscribe("md.")
        stuck.connect(bridge.pub)
        try:
            assert stuck.poll(PATIENCE * 1000)
            assert stuck.recv_multipart()[0] == b"md."  # its welcome; and then it reads no more
            for start in range(0, count, 2000):
                for price in range(start, start + 2000):
                    guest.say("tickPrice", reqId=7, tickType=1, price=float(price), size=1.0, attrib={})
                sub.until("tickPrice", lambda data, last=start + 1999: data["price"] == last)  # type: ignore[misc]
            sub.check_numbers()
            assert bridge.do("ping")["pong"]
            seqs: list[int] = []
            while len(seqs) < kept // 2 or stuck.poll(0):
                assert stuck.poll(PATIENCE * 1000)
                seqs.append(msgpack.unpackb(stuck.recv_multipart()[1])["seq"])
            assert seqs == sorted(set(seqs))
            assert len(seqs) < count
        finally:
            stuck.close()


def test_a_late_subscriber_is_welcomed_with_its_own_prefix_and_nothing_older():
    with trading(178) as (bridge, _):
        late = bridge.sub("sys.bridge.", "md.")
        first = next(iter(late))
        assert first.topic == "sys.bridge.heartbeat."
        assert first.data["offset"] > 1


# Beginning and end


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.scenario("B50")
def test_a_signal_ends_the_daemon_with_a_bye_and_a_closed_connection_to_tws(number):
    with Host() as host, Bridge(host.port) as bridge, host.accept() as guest:
        guest.start()
        sub = bridge.ready()
        assert bridge.stop(number) == 0
        bye = sub.until("bye")
        assert bye.topic == "sys.bridge.bye."
        assert sub.heard[-1] is bye, "it is the last word"
        guest.closed()
        assert "Traceback" not in bridge.said()
        sub.check_numbers()


@pytest.mark.parametrize("stage", ["down", "connecting", "handshaking", "starting"])
def test_a_signal_ends_the_daemon_wherever_it_is(stage):
    with Host() as host:
        port = free_port() if stage == "down" else host.port
        with Bridge(port, tws__reconnect_min=60, tws__reconnect_max=60) as bridge, contextlib.ExitStack() as stack:
            sub = bridge.sub("sys.")
            if stage == "starting":
                stack.enter_context(host.accept()).greet()
            if stage != "connecting":
                sub.stage(stage)
            assert bridge.stop(signal.SIGTERM) == 0
            sub.until("bye")
            assert "Traceback" not in bridge.said()


@pytest.mark.scenario("B50")
def test_orders_that_were_accepted_still_reach_tws_and_none_is_cancelled_when_the_daemon_is_stopped():
    order = {"action": "BUY", "totalQuantity": 1, "orderType": "MKT"}
    with Host() as host, Bridge(host.port, pacing__rate=45) as bridge, host.accept() as guest:
        guest.start()
        bridge.ready()
        for number in range(20):
            bridge.do("placeOrder", key=f"k{number}", contract=AAPL, order=order)
        assert bridge.stop(signal.SIGTERM) == 0
        assert [guest.request("placeOrder")["order"]["orderRef"] for _ in range(20)] == [f"me/k{n}" for n in range(20)]
        assert guest.rest() == []


@pytest.mark.scenario("B28")
def test_a_cancel_overtakes_a_burst_and_status_and_heartbeat_say_what_waits():
    order = {"action": "BUY", "totalQuantity": 1, "orderType": "LMT", "lmtPrice": 1.0}
    with Host() as host, Bridge(host.port, pacing__rate=10) as bridge, host.accept() as guest:
        guest.start()
        sub = bridge.ready()
        bridge.do("placeOrder", key="k", contract=AAPL, order=order)
        guest.request("placeOrder")
        bridge.do_all(
            {"cmd": "reqMktData", "client": f"c{number % 3}", "args": {"contract": {**AAPL, "symbol": f"S{number}"}}}
            for number in range(400)
        )  # for 40 seconds: so that some wait, however slow this machine is
        bridge.do("cancelOrder", key="k")
        figures = bridge.do("status")["pacing"]
        assert figures["queued"] == sum(figures["clients"].values()) > 0
        assert sub.until("heartbeat", lambda data: data["pacing"]["age"] > 0)
        assert guest.passed_over("cancelOrder").count("reqMktData") < 400


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
def test_a_second_daemon_on_the_same_endpoints_refuses_to_start(transport):
    with Host() as host:
        places = {name: f"tcp://127.0.0.1:{free_port()}" for name in ("pub", "rep")} if transport == "tcp" else {}
        with Bridge(host.port, **places) as first:
            sub = first.sub("sys.")
            for where in ({"pub": first.pub}, {"rep": first.rep}, {"pub": first.pub, "rep": first.rep}):
                with Bridge(host.port, **where) as second:
                    assert second.process.wait(PATIENCE) not in (0, None)
                    said = second.said()
                    assert next(iter(where.values())) in said
                    assert "Traceback" not in said
            assert first.do("ping")["pong"]
            assert sub.until("heartbeat")


def test_a_daemon_that_was_killed_is_followed_by_one_on_the_same_endpoints_with_a_higher_epoch():
    with Host() as host, Bridge(host.port) as first:
        epoch = first.call("ping")["epoch"]
        os.kill(first.process.pid, signal.SIGKILL)
        first.process.wait(PATIENCE)
        with Bridge(host.port, pub=first.pub, rep=first.rep) as second:
            assert second.call("ping")["epoch"] > epoch


def test_what_cannot_be_configured_is_said_and_nothing_started():
    command = [sys.executable, "-m", "ibbridge", "run", "--set", "tws.prot=4002", "--set", "bus.sndhwm=many"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 2
    assert "did you mean port" in done.stderr
    assert "bus.sndhwm" in done.stderr
