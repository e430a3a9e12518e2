"""`ibbridge call`, `sub` and `status`: from words to a command, and from messages to lines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import msgpack
import pytest

from ibbridge.cli import main, text
from ibbridge.cli.arguments import ArgumentError, build
from ibbridge.cli.status import page, span
from ibbridge.client import Message
from tests.support.fake_daemon import FakeDaemon, Refusal

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

CONTRACT = ["contract.symbol=AAPL", "contract.secType=STK"]


@pytest.fixture
def daemon(tmp_path: pathlib.Path) -> Iterator[FakeDaemon]:
    fake = FakeDaemon(tmp_path)
    yield fake
    fake.stop()


def call(daemon: FakeDaemon, *arguments: str) -> int:
    return main(["call", *arguments, "--pub", daemon.pub, "--rep", daemon.rep])


# Arguments


def test_dotted_keys_build_nested_maps_and_values_are_json_where_they_are() -> None:
    given = [*CONTRACT, "order.totalQuantity=100", "order.transmit=false", "order.lmtPrice=1e2"]
    assert build("placeOrder", given) == {
        "contract": {"symbol": "AAPL", "secType": "STK"},
        "order": {"totalQuantity": 100, "transmit": False, "lmtPrice": 100.0},
    }


def test_what_ib_declares_as_text_stays_text() -> None:
    given = ["contract.lastTradeDateOrContractMonth=202612", "contract.symbol=700", "snapshot=true"]
    contract = {"lastTradeDateOrContractMonth": "202612", "symbol": "700"}
    assert build("reqMktData", given) == {"contract": contract, "snapshot": True}


def test_lists_and_maps_are_given_as_json() -> None:
    assert build("x", ['a=[{"tag":"k","value":"v"}]', "b={}", 'c="[text"']) == {
        "a": [{"tag": "k", "value": "v"}],
        "b": {},
        "c": "[text",
    }
    assert build("placeOrder", ["order.account=[7"]) == {"order": {"account": "[7"}}
    with pytest.raises(ArgumentError, match=r"must be valid JSON \(Expecting"):
        build("placeOrders", ['orders=[{"key":"a"}'])


def test_a_value_may_have_equals_signs_and_be_empty() -> None:
    assert build("x", ["a=b=c", "d="]) == {"a": "b=c", "d": ""}


@pytest.mark.parametrize("given", [["a"], ["=1"], ["a..b=1"], ["a=1", "a.b=2"], ["a=1", "a=2"], ["a.b=2", "a=1"]])
def test_arguments_that_make_no_sense_are_refused(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ArgumentError):
        build("x", given)
    assert main(["call", "x", *given]) == 2
    assert "ibbridge call: " in capsys.readouterr().err


def test_a_client_name_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["call", "ping", "--client", "a/b"]) == 2
    assert "a name has" in capsys.readouterr().err


# call


def test_a_command_of_the_daemons_own_prints_its_result(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(daemon, "ping") == 0
    assert capsys.readouterr().out == "ok pong=true\n"
    assert call(daemon, "ping", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"ok": True, "result": {"pong": True}}


def test_a_stream_prints_its_topic_and_where_to_look(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.answers["reqMktData"] = lambda _, __: {"topic": "md.AAPL-STK."}
    assert call(daemon, "reqMktData", *CONTRACT, "--id", "mine", "--client", "me", "--no-wait") == 0
    shown = capsys.readouterr()
    assert shown.out == "accepted id=mine topic=md.AAPL-STK.\n"
    assert "ibbridge sub md.AAPL-STK." in shown.err
    asked = next(each for each in daemon.requests if each["cmd"] == "reqMktData")
    assert (asked["id"], asked["client"], asked["args"]["keep"]) == ("mine", "me", True)
    assert call(daemon, "reqMktData", *CONTRACT, "keep=true") == 0
    assert not daemon.words, "it does not say that it is there: the subscription does not end with it"


def test_a_stream_is_printed_and_ends_with_the_program(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    def begin(fake: FakeDaemon, request: dict[str, Any]) -> dict[str, str]:
        fake.say("md.AAPL-STK.tickPrice.", data={"price": 180.5})
        return {"topic": "md.AAPL-STK."}

    daemon.answers["reqMktData"] = begin
    daemon.answers["cancelMktData"] = lambda _, __: {}
    assert call(daemon, "reqMktData", *CONTRACT, "--id", "mine", "--seconds", "0.5") == 0
    assert "price=180.5" in capsys.readouterr().out
    assert daemon.requests[-1]["cmd"] == "cancelMktData"
    assert daemon.requests[-1]["args"] == {"id": "mine"}
    words = [each["cmd"] for each in daemon.words]
    assert words[0] == "hello"
    assert "logout" not in words, "another program of the same name may be there"
    assert "run" not in daemon.words[0]["args"]


def test_a_stream_that_tws_ends_is_an_exit_code_of_1(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(fake: FakeDaemon, request: dict[str, Any]) -> dict[str, str]:
        holders = [{"client": "cli", "id": request["id"]}]
        ref = {"client": "other", "id": "7", "holders": holders}
        about = {"errorCode": 200, "errorString": "No security", "class": "data", "ends": True}
        fake.say("md.AAPL-STK.error.", data=about, ref=ref)
        return {"topic": "md.AAPL-STK."}

    daemon.answers["reqMktData"] = refuse
    assert call(daemon, "reqMktData", *CONTRACT) == 1
    assert "No security" in capsys.readouterr().out


def answered(kind: str, data: dict[str, Any]) -> Any:
    def answer(fake: FakeDaemon, request: dict[str, Any]) -> dict[str, str]:
        topic = f"req.cli.{request['id']}."
        fake.say(f"{topic}{kind}.", data=data)
        fake.say(f"{topic}contractDetailsEnd.", data={"reqId": 3})
        return {"topic": topic}

    return answer


def test_a_one_shot_prints_its_answers(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    about = {"contractDetails": {"contract": {"symbol": "AAPL"}, "longName": "APPLE INC"}}
    daemon.answers["reqContractDetails"] = answered("contractDetails", about)
    assert call(daemon, "reqContractDetails", *CONTRACT, "--id", "7") == 0
    _, first, last = capsys.readouterr().out.splitlines()
    assert first.endswith(
        'req.cli.7.contractDetails. contractDetails.contract.symbol=AAPL contractDetails.longName="APPLE INC"'
    )
    assert last.endswith("req.cli.7.contractDetailsEnd.")
    assert call(daemon, "reqContractDetails", *CONTRACT, "--id", "8", "--json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert rows[1]["data"] == about


def test_an_error_of_ibs_is_an_exit_code_of_1(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    about = {"errorCode": 200, "errorString": "No security", "class": "data", "ends": True}
    daemon.answers["reqContractDetails"] = answered("error", about)
    assert call(daemon, "reqContractDetails", *CONTRACT) == 1
    assert 'errorCode=200 errorString="No security" class=data ends=true' in capsys.readouterr().out


def test_no_wait_does_not_wait(daemon: FakeDaemon) -> None:
    daemon.answers["reqContractDetails"] = lambda _, __: {"topic": "req.cli.7."}
    assert call(daemon, "reqContractDetails", *CONTRACT, "--no-wait") == 0


def test_a_refusal_is_an_exit_code_of_1_with_every_fault(
    daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: Any) -> None:
        raise Refusal("E_ARG", "a; b", faults=["a", "b"])

    daemon.answers["reqMktData"] = refuse
    assert call(daemon, "reqMktData") == 1
    assert capsys.readouterr().err == "refused: E_ARG\n  a\n  b\n"
    assert call(daemon, "reqMktData", "--json") == 1
    assert json.loads(capsys.readouterr().out)["error"]["faults"] == ["a", "b"]


def test_an_order_gets_a_key_and_shows_it(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.answers["placeOrder"] = lambda _, request: {"key": request["key"], "topic": "ord.cli.k."}
    assert call(daemon, "placeOrder", *CONTRACT, "order.action=BUY", "--wait", "0") == 0
    assert "key=" in capsys.readouterr().out
    assert call(daemon, "placeOrder", "--key", "k", *CONTRACT, "--no-wait") == 0
    assert "key=k " in capsys.readouterr().out


def state(fake: FakeDaemon, key: str, **data: Any) -> None:
    fake.say(f"ord.cli.{key}.orderState.", data={"changes": 1, "rev": 0, "lastError": None, **data})


def test_an_order_that_tws_refuses_shows_why(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(fake: FakeDaemon, request: dict[str, Any]) -> dict[str, str]:
        state(fake, "k", state="sent")
        error = {"code": 201, "text": "no margin", "own": False}
        state(fake, "k", state="done", reason="rejected", changes=2, lastError=error)
        return {"key": request["key"], "topic": "ord.cli.k."}

    daemon.answers["placeOrder"] = refused
    assert call(daemon, "placeOrder", "--key", "k", *CONTRACT) == 1
    accepted, told = capsys.readouterr().out.splitlines()
    assert accepted.startswith("accepted id=")
    assert "ord.cli.k.orderState. " in told
    assert "state=done reason=rejected" in told
    assert 'lastError.code=201 lastError.text="no margin"' in told
    assert call(daemon, "placeOrder", "--key", "k", *CONTRACT, "--json") == 1
    rows = [json.loads(row) for row in capsys.readouterr().out.splitlines()]
    assert (rows[0]["ok"], rows[1]["data"]["reason"]) == (True, "rejected")


def test_an_order_of_which_tws_says_nothing_was_accepted_all_the_same(
    daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    def sent(fake: FakeDaemon, _: dict[str, Any]) -> dict[str, str]:
        state(fake, "k", state="sent")
        return {"topic": "ord.cli.k."}

    daemon.answers["placeOrder"] = sent
    assert call(daemon, "placeOrder", "--key", "k", *CONTRACT, "--wait", "0.05") == 0
    shown = capsys.readouterr()
    assert "ibbridge sub ord.cli.k." in shown.err
    assert len(shown.out.splitlines()) <= 2


def test_a_change_shows_the_changed_order(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    def change(fake: FakeDaemon, request: dict[str, Any]) -> dict[str, Any]:
        assert request["args"] == {"rev": 2, "order": {"lmtPrice": 181, "account": "7"}}
        state(fake, "5", state="working", rev=1, changes=3)
        state(fake, "5", state="working", rev=2, changes=5)
        return {"key": "5", "rev": 2, "topic": "ord.cli.5."}

    daemon.answers["modifyOrder"] = change
    given = ["rev=2", "order.lmtPrice=181", "order.account=7"]
    assert call(daemon, "modifyOrder", "key=5", *given) == 0
    assert "state=working" in (out := capsys.readouterr().out)
    assert " rev=2 " in out.splitlines()[1]
    assert call(daemon, "modifyOrder", "--key", "5", *given, "--json") == 0
    assert json.loads(capsys.readouterr().out.splitlines()[0]) == {
        "ok": True, "key": "5", "rev": 2, "topic": "ord.cli.5.",
    }  # fmt: skip
    assert call(daemon, "modifyOrder", "key=5") == 2
    assert "modifyOrder: rev, order is missing; for example" in capsys.readouterr().err
    assert call(daemon, "modifyOrder", "key=5", "rev=2", "order.lmtPrice=1", "lmtPrice=1") == 2
    assert "modifyOrder: lmtPrice is unknown; for example" in capsys.readouterr().err


@pytest.mark.parametrize(("code", "exit_code"), [(110, 1), (399, 0), (10148, 0)])
def test_a_change_that_tws_refuses_shows_why(
    daemon: FakeDaemon, capsys: pytest.CaptureFixture[str], code: int, exit_code: int
) -> None:
    def change(fake: FakeDaemon, _: dict[str, Any]) -> dict[str, Any]:
        state(fake, "k", state="modifying", rev=2, changes=3)
        error = {"code": code, "text": "no", "own": False, "ts": 7}
        fake.say("ord.cli.k.orderState.", ts=7, data={"state": "working", "rev": 2, "changes": 4, "lastError": error})
        return {"key": "k", "rev": 2, "topic": "ord.cli.k."}

    daemon.answers["modifyOrder"] = change
    assert call(daemon, "modifyOrder", "key=k", "rev=2", "order.lmtPrice=181") == exit_code
    assert (f"TWS refused the change: {code} no" in capsys.readouterr().err) == bool(exit_code)


def test_a_repeated_order_says_so(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    def again(fake: FakeDaemon, request: dict[str, Any]) -> bytes:
        result = {"key": "k", "topic": "ord.cli.k."}
        reply = {"id": request["id"], "ok": True, "result": result, "epoch": fake.epoch, "dup": True}
        packed: bytes = msgpack.packb(reply)
        return packed

    daemon.answers["placeOrder"] = again
    assert call(daemon, "placeOrder", "--key", "k", *CONTRACT, "--no-wait") == 1  # nothing is known of its state
    assert capsys.readouterr().out.endswith(" dup=true\n")


def test_orders_have_a_line_each_and_say_that_there_are_more(
    daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"key": "a", "state": "done", "reason": "filled"}, {"key": "b", "state": "working", "reason": None}]
    daemon.answers["orders"] = lambda _, __: {"orders": rows, "next": "b"}
    assert call(daemon, "orders") == 0
    shown = capsys.readouterr()
    assert shown.out == "key=a state=done reason=filled\nkey=b state=working\n"
    assert shown.err == "2 orders; there are more: repeat the command with after=b\n"


def test_a_cancel_that_is_refused_among_others_is_an_exit_code_of_1(daemon: FakeDaemon) -> None:
    rows = [{"key": "a", "ok": True}]
    daemon.answers["cancelOrders"] = lambda _, __: {"orders": rows}
    assert call(daemon, "cancelOrders", "all=true") == 0
    rows.append({"key": "b", "ok": False})
    assert call(daemon, "cancelOrders", 'keys=["a","b"]') == 1


def test_reconcile_says_where_its_result_comes(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.answers["reconcile"] = lambda _, __: {}
    assert call(daemon, "reconcile") == 0
    shown = f"ibbridge sub sys.bridge.reconciled. --pub {daemon.pub} --rep {daemon.rep}\n"
    assert capsys.readouterr().err.endswith(shown)


def test_a_group_shows_each_of_its_orders(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    def place(fake: FakeDaemon, request: dict[str, Any]) -> dict[str, Any]:
        keys = [each["key"] for each in request["args"]["orders"]]
        for key in keys:
            state(fake, key, state="unknown" if key == "b" else "working")
        return {"orders": [{"key": key, "topic": f"ord.cli.{key}."} for key in keys]}

    daemon.answers["placeOrders"] = place
    orders = json.dumps([{"key": key, "contract": CONTRACT, "order": {"action": "BUY"}} for key in ("a", "b")])
    assert call(daemon, "placeOrders", f"orders={orders}") == 1
    rows = capsys.readouterr().out.splitlines()
    assert rows[:2] == ["accepted key=a topic=ord.cli.a.", "accepted key=b topic=ord.cli.b."]
    assert "state=working" in rows[2]
    assert "state=unknown" in rows[3]


def test_a_snapshot_is_printed_as_messages(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.support.fake_daemon import body

    topic = "md.X.tickSize."
    rows = [[topic.encode(), body(topic, 3, data={"tickType": 0, "size": 5.0})]]
    daemon.answers["snapshot"] = lambda _, __: {"streams": [{"messages": rows}], "next": None}
    assert call(daemon, "snapshot", "prefix=md.") == 0
    assert capsys.readouterr().out.endswith("md.X.tickSize. tickType=BID_SIZE size=5  [replayed]\n")


# sub


def subscribed(daemon: FakeDaemon, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "ibbridge", "sub", "--pub", daemon.pub, "--rep", daemon.rep, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TZ": "UTC"},
    )


def when_subscribed(daemon: FakeDaemon, prefix: str) -> None:
    """Wait until the state is asked for: earlier messages may come as state, or as replayed."""
    while not any(each["cmd"] == "snapshot" and each["args"]["prefix"] == prefix for each in daemon.requests):
        os.sched_yield()


def test_sub_prints_messages_and_stops_after_the_count(daemon: FakeDaemon) -> None:
    with subscribed(daemon, "md.X.", "--count", "2") as process:
        when_subscribed(daemon, "md.X.")
        daemon.publish("md.Y.tickSize.", seq=1)
        daemon.publish("md.X.tickSize.", seq=1, data={"reqId": 3, "tickType": 5, "size": 1.5, "attrib": {}})
        daemon.publish("md.X.tickString.", seq=4, data={"value": "a b"}, flags=["stale"])
        out, err = process.communicate()
    assert out.splitlines() == [
        "00:00:01.000000 md.X.tickSize. tickType=LAST_SIZE size=1.5",
        '00:00:01.000000 md.X.tickString. value="a b"  [stale]',
    ]
    assert "lost: numbers 2 to 3 of md.X. (E_GAP_TOO_OLD)" in err
    assert process.returncode == 0


def test_sub_as_json_has_the_whole_envelope(daemon: FakeDaemon) -> None:
    with subscribed(daemon, "--json", "--count", "1") as process:
        when_subscribed(daemon, "")
        daemon.publish("sys.tws.decodeError.", seq=1, data={"raw": b"\x00\xff"})
        out, _ = process.communicate()
    assert json.loads(out) == {
        "topic": "sys.tws.decodeError.",
        "type": "decodeError",
        "seq": 1,
        "offset": 1,
        "epoch": 7,
        "gen": 1,
        "ts": 1_000_000,
        "data": {"raw": "00ff"},
    }


def test_sub_says_that_nobody_is_there_and_keeps_waiting(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ibbridge.cli.sub._HINT_AFTER", 0.02)
    assert main(["sub", "--pub", f"ipc://{tmp_path}/pub", "--seconds", "0.1"]) == 0
    assert "Is ibbridge running" in capsys.readouterr().err


# status


STATUS: dict[str, Any] = {
    "version": "0.1.0", "proto": 1, "codec": "pure", "pid": 5, "uptime": 3700.5, "published": 1234567, "requests": 2,
    "orders": 1, "counts": {"commands": 9, "refused": 1}, "surplusFields": {},
    "tws": {
        "host": "127.0.0.1", "port": 4002, "clientId": 1, "stage": "ready", "since": 61.0, "serverVersion": 226,
        "connectionTime": "20260101 09:30:00 US/Eastern", "accounts": ["DU1"], "upstream": "ok",
        "farms": {"usfarm": "ok"}, "failures": 0, "lastError": "", "unsent": 0,
    },
}  # fmt: skip


def test_status_is_a_page(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.answers["status"] = lambda _, __: STATUS
    assert main(["status", "--rep", daemon.rep]) == 0
    shown = capsys.readouterr().out
    assert "TWS        127.0.0.1:4002 as client 1: ready for 1 min 1 s\n" in shown
    assert "published  1,234,567 messages\n" in shown
    assert "ATTENTION" not in shown


def test_status_says_what_is_wrong_and_the_exit_code_does_too(
    daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    down = {"stage": "down", "lastError": "connection refused", "failures": 3, "serverVersion": None, "accounts": []}
    about = {**STATUS, "tws": {**STATUS["tws"], **down}, "counts": {"decodeErrors": 2}}
    daemon.answers["status"] = lambda _, __: about
    assert main(["status", "--rep", daemon.rep]) == 1
    shown = capsys.readouterr().out
    assert "connection refused (3 failed in a row; it keeps trying)" in shown
    assert "ATTENTION  2 messages of TWS could not be decoded" in shown
    assert main(["status", "--rep", daemon.rep, "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == about


def test_a_page_is_made_of_whatever_the_daemon_knows_yet() -> None:
    tws = {**STATUS["tws"], "stage": "connecting", "serverVersion": None, "farms": {}, "accounts": []}
    assert [line.split()[0] for line in page({**STATUS, "tws": tws}, "x")] == [
        "daemon", "codec", "TWS", "published", "requests", "commands",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.4, "0 s"), (125, "2 min 5 s"), (7260, "2 h 1 min"), (90_000, "1 d 1 h")]
)
def test_times_have_the_units_that_matter(seconds: float, shown: str) -> None:
    assert span(seconds) == shown


# Lines


def test_a_long_answer_has_a_line_for_each_field() -> None:
    data = {"contractDetails": {"longName": "x" * 200, "contract": {"conId": 1}}}
    message = Message("req.me.1.contractDetails.", {"type": "contractDetails", "data": data})
    assert [line.split()[0] for line in text.block(message).splitlines()[1:]] == [
        "contractDetails.longName",
        "contractDetails.contract.conId",
    ]


def test_long_bytes_are_shortened_for_people_only() -> None:
    assert text.fields({"raw": b"\xab" * 100}) == f"raw={'ab' * 64}...(100 bytes)"
    assert text.dump({"raw": b"\xab" * 100}) == json.dumps({"raw": "ab" * 100}, separators=(",", ":"))
