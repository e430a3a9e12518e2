"""Replay from ring and store, and the state with which a restart goes on."""

from __future__ import annotations

import itertools
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibbridge.commands import builtin
from ibbridge.commands.builtin import BuiltinCommands
from ibbridge.commands.unpacking import MOST_VALUES
from ibbridge.config.model import Config
from ibbridge.orders.order import Order
from ibbridge.protocol.errors import CommandRefused
from ibbridge.streams import snapshot
from ibbridge.streams.channels import DURABLE
from ibbridge.streams.history import MessageHistory
from ibbridge.streams.publisher import Publisher
from ibbridge.wiring import assemble
from tests.support.daemon_core import AAPL, LIMIT, Middle, each_pair, refusal
from tests.support.outside import ListBus, ManualClock, outside
from tests.support.policies import ALL
from tests.support.shelf import Shelf


class Process:
    """Life of a daemon, as far as streams go."""

    def __init__(self, epoch: int, shelf: Shelf | None, *, messages: int = 1000, size: int = 2**20, prefix: str = ""):
        self.sent: list[tuple[bytes, bytes]] = []
        self.order: list[str] = []
        self.streams = Publisher(epoch, each_pair(self._send), prefix, MessageHistory(messages, size, shelf))
        if shelf is not None:
            self.streams.restore(shelf.last(), shelf.state())
        self.bridge = BuiltinCommands(self.streams, None, dict, {}, None)  # type: ignore[arg-type]

    def _send(self, topic: bytes, body: bytes) -> None:
        self.sent.append((topic, body))

    def say(self, *components: str, n: int = 0, **more) -> None:
        self.streams.publish_map(self.streams.channel(*components, **more), {"n": n}, 1, n)

    def replay(self, stream: str, first: int, last: int | None = None) -> list[tuple[bytes, bytes]]:
        """Return the messages of all pages."""
        found: list[tuple[bytes, bytes]] = []
        args = {"stream": stream, "from": first} | ({} if last is None else {"to": last})
        while True:
            result = self.bridge.execute("replay", args, "", ALL)
            assert result["stream"] == stream
            found += map(tuple, result["messages"])
            if result["next"] is None:
                return found
            assert result["next"] > args["from"]
            args["from"] = result["next"]


def of(process: Process, stream: str) -> list[tuple[bytes, bytes]]:
    return [(topic, body) for topic, body in process.sent if topic.startswith(stream.encode())]


NAMES = st.tuples(st.sampled_from(["md", "req", "ord", "sys"]), st.sampled_from("ab"))


@given(st.lists(NAMES, max_size=60), st.integers(1, 30), st.integers(1, 4))
def test_what_is_replayed_is_what_was_published_byte_by_byte(said, messages, page):
    builtin.REPLAYED, before = page, builtin.REPLAYED
    try:
        process = Process(1, Shelf(), messages=messages)
        for components in said:
            process.say(*components, "x")
        for stream in {f"{one}.{two}." for one, two in said}:
            published = of(process, stream)
            kept = process.streams.ring.first
            lost = [body for _, body in published if msgpack.unpackb(body)["offset"] < kept]
            first = 1 if stream.partition(".")[0] in DURABLE else len(lost) + 1
            if first > 1:
                error = refusal("E_GAP_TOO_OLD", process.replay, stream, first - 1)
                assert error.more == {"first": first}
            assert process.replay(stream, first) == published[first - 1 :]
            assert process.replay(stream, first, first) == published[first - 1 : first]
            assert process.replay(stream, len(published) + 1) == []
    finally:
        builtin.REPLAYED = before


def test_nothing_is_sent_before_it_is_committed_and_what_stands_before_it_does_not_wait():
    log: list[object] = []

    class Watched(Shelf):
        def append(self, rows):
            log.append([row.seq for row in rows])
            return super().append(rows)

    streams = Publisher(
        1, each_pair(lambda topic, _: log.append(topic.decode().split(".")[0])), history=MessageHistory(store=Watched())
    )
    streams.begin_batch()
    for each in ("md", "md", "ord", "md", "ord"):
        streams.publish_map(streams.channel(each, "a", "x"), {}, 1)
    assert log == []
    streams.flush()
    assert log == ["md", "md", [1, 2], "ord", "md", "ord"], "one commit, and the order is kept"


def paused(sent: list[str], commits: list[int]) -> Publisher:
    """Streams that hold a tick, an order and a tick, of which nothing is sent."""

    class Watched(Shelf):
        def append(self, rows):
            commits.append(len(rows))
            return super().append(rows)

    streams = Publisher(
        1,
        each_pair(lambda topic, _: sent.append(topic.decode().split(".")[0])),
        history=MessageHistory(store=Watched()),
    )
    streams.begin_batch()
    for name in ("md", "ord", "md"):
        streams.publish_map(streams.channel(name, "a", "x"), {}, 1)
    assert streams.end_batch()
    assert (sent, commits) == ([], [])
    return streams


def test_one_commit_does_for_several_reads():
    sent: list[str] = []
    commits: list[int] = []
    streams = paused(sent, commits)
    streams.begin_batch()
    for name in ("ord", "md"):
        streams.publish_map(streams.channel(name, "a", "x"), {}, 1)
    streams.flush()
    assert (sent, commits) == (["md", "ord", "md", "ord", "md"], [2])


@pytest.mark.parametrize(
    "then",
    [
        lambda streams: streams.welcome(b"md."),
        lambda streams: streams.publish_unsequenced("heartbeat", {}, 1, "sys", "bridge"),
        lambda streams: streams.publish_map(streams.channel("md", "b", "x"), {}, 1),
    ],
    ids=["a welcome", "a heartbeat", "another message"],
)
def test_a_pause_ends_with_whatever_is_behind_what_was_held(then):
    sent: list[str] = []
    commits: list[int] = []
    then(paused(sent, commits))
    assert (sent[:3], commits) == (["md", "ord", "md"], [1])


def test_a_pause_is_for_what_waits_for_the_disk():
    sent: list[bytes] = []
    streams = Publisher(1, each_pair(lambda topic, _: sent.append(topic)), history=MessageHistory(store=Shelf()))
    streams.begin_batch()
    streams.publish_map(streams.channel("md", "a", "x"), {}, 1)
    assert not streams.end_batch()
    streams.flush()
    assert len(sent) == 1


def test_what_cannot_be_committed_is_published_all_the_same():
    shelf = Shelf()
    shelf.writable = False
    process = Process(1, shelf)
    process.say("ord", "a", "x")
    assert len(process.sent) == 1


def test_the_numbers_of_durable_streams_run_on_and_those_of_others_begin_anew():
    shelf = Shelf()
    first = Process(1, shelf)
    for _ in range(3):
        first.say("ord", "a", "k", "orderStatus")
        first.say("md", "a", "tickPrice")
    second = Process(2, shelf)
    second.say("ord", "a", "k", "orderStatus")
    second.say("md", "a", "tickPrice")
    bodies = [msgpack.unpackb(body) for _, body in second.sent]
    assert [(each["epoch"], each["seq"], each["offset"]) for each in bodies] == [(2, 4, 1), (2, 1, 2)]
    assert second.replay("ord.a.", 1) == of(first, "ord.") + of(second, "ord."), "across the epoch"
    assert [msgpack.unpackb(body)["seq"] for _, body in second.replay("md.a.", 1)] == [1]


def test_what_became_of_orders_is_known_after_a_restart_as_stale_and_by_its_ref():
    shelf = Shelf()
    first = Process(1, shelf)
    first.say("ord", "a", "k", "orderStatus", n=1, ref={"owner": "a"})
    first.say("ord", "a", "k", "orderStatus", n=1, ref={"owner": "a"})
    first.say("acct", "DU1", "updateAccountValue", n=1)
    second = Process(2, shelf)
    ((order, orders), (account, nothing)) = (
        (stream["stream"], stream["messages"])
        for name in (b"ord.", b"acct.")
        for stream in snapshot.page(second.streams, name)[0]
    )
    (told,) = (msgpack.unpackb(body) for _, body in orders)
    assert (order, told["seq"], told["epoch"], told["flags"]) == ("ord.a.", 2, 1, ["stale"])
    assert (account, nothing) == ("acct.DU1.", []), "nobody asks for it any more"
    second.say("ord", "a", "k", "orderStatus", n=1, ref={"owner": "a"})
    ((_, body),) = snapshot.page(second.streams, b"ord.")[0][0]["messages"]
    assert "flags" not in msgpack.unpackb(body), "and confirmed when it is told again"
    second.streams.forget(second.streams.channel("ord", "a", "k", "orderStatus", ref={"owner": "a"}))
    assert shelf.states == {}


@pytest.mark.parametrize("kind", ["position", "updatePortfolio"])
def test_positions_are_known_after_a_restart_as_stale_until_they_are_told_again_or_end(kind):
    shelf = Shelf()
    first = Process(1, shelf)
    for n in (1, 2, 3):
        first.say("acct", "DU1", kind, n=n)
    second = Process(2, shelf)
    topic = f"acct.DU1.{kind}."
    assert states(second.streams, b"acct.") == [(topic, 1, ["stale"]), (topic, 2, ["stale"]), (topic, 3, ["stale"])]
    second.say("acct", "DU1", kind, n=2)
    channel = second.streams.channel("acct", "DU1", kind)
    second.streams.publish_end(channel, 1, {"n": 0}, 7)
    second.streams.drop(channel, 3)
    assert states(second.streams, b"acct.") == [(topic, 4, [])]
    told = msgpack.unpackb(second.sent[-1][1])
    assert (told["seq"], told["flags"], told["ts"], told["data"]) == (5, ["synthetic"], 7, {"n": 0})
    assert states(Process(3, shelf).streams, b"acct.") == [(topic, 4, ["stale"])]


def test_a_value_that_ends_before_its_message_is_committed_does_not_come_back_with_the_next_process():
    shelf = Shelf()
    first = Process(1, shelf)
    channel = first.streams.channel("acct", "DU1", "position")
    first.streams.begin_batch()
    first.say("acct", "DU1", "position", n=1)
    first.say("acct", "DU1", "position", n=2)
    first.streams.publish_end(channel, 1, {"n": 0}, 7)
    first.streams.flush()
    assert [row.seq for row in shelf.rows[b"acct.DU1."]] == [1, 2, 3]
    assert states(Process(2, shelf).streams, b"acct.") == [("acct.DU1.position.", 2, ["stale"])]


def test_values_are_older_if_they_were_published_before_an_offset_or_in_an_earlier_epoch():
    shelf = Shelf()
    first = Process(1, shelf)
    for n in range(10):
        first.say("acct", "DU1", "position", n=n)
    second = Process(2, shelf)
    second.say("acct", "DU1", "position", n=0)
    second.streams.next_generation()
    second.say("acct", "DU1", "position", n=1)
    second.say("acct", "DU1", "position", n=2)
    channel = second.streams.channel("acct", "DU1", "position")
    older = [sorted(data["n"] for _, data in second.streams.older(channel, offset)) for offset in range(4)]
    rest = [*range(3, 10)]
    assert older == [rest, [0, *rest], [0, 1, *rest], [0, 1, 2, *rest]]


def states(streams, prefix=b"ord."):
    """Topic, number and flags of all state under a prefix."""
    found = [each for stream in snapshot.page(streams, prefix)[0] for each in stream["messages"]]
    bodies = [(topic.decode(), msgpack.unpackb(body)) for topic, body in found]
    return [(topic, body["seq"], body.get("flags", [])) for topic, body in bodies]


def test_another_ref_of_an_order_is_more_of_the_same_and_leaves_one_state_in_memory_and_in_the_store():
    shelf = Shelf()
    first = Process(1, shelf)
    first.say("ord", "ext", "~7", "openOrder", ref={"orderId": -1})
    first.say("ord", "ext", "~7", "openOrder", ref={"orderId": 12})
    assert states(first.streams) == [("ord.ext.~7.openOrder.", 2, [])]
    assert len(shelf.states) == 1
    first.streams.next_generation()
    first.say("ord", "ext", "~7", "openOrder", ref={"orderId": 13})
    second = Process(2, shelf)
    assert states(second.streams) == [("ord.ext.~7.openOrder.", 3, ["stale"])]
    second.say("ord", "ext", "~7", "openOrder", ref={"orderId": 14})
    assert states(second.streams) == [("ord.ext.~7.openOrder.", 4, [])]


def test_of_two_states_that_a_store_has_of_one_topic_the_newer_is_taken_whatever_their_order():
    shelf = Shelf()
    first = Process(1, shelf)
    first.say("ord", "a", "k", "openOrder", ref={"orderId": 1})
    shelf.forget = lambda *_: None  # type: ignore[method-assign] # as if the process had ended before
    first.say("ord", "a", "k", "openOrder", ref={"orderId": 2})
    assert len(shelf.states) == 2
    shelf.states = dict(reversed(shelf.states.items()))
    assert states(Process(2, shelf).streams) == [("ord.a.k.openOrder.", 2, ["stale"])]


class Whole(Process):
    """A life of a daemon with all its parts. Its store need not find orders by their keys."""

    def __init__(self, epoch: int, shelf: Shelf) -> None:
        super().__init__(epoch, None)
        shelf.remember = lambda *keys: None  # type: ignore[method-assign]
        self.parts = assemble(Config(), outside(ManualClock(us=epoch), ListBus(self._send), store=shelf))
        self.streams, self.orders = self.parts.streams.publisher, self.parts.orders.registry
        self.streams.restore(shelf.last(), shelf.state())


def test_what_tws_says_after_a_restart_is_of_the_order_it_was_of_before():
    shelf = Shelf()
    open_order = {"contract": AAPL, "order": {"clientId": 1, "permId": 7, "orderRef": "me/k"}, "orderState": {}}
    status = {"permId": 7, "clientId": 1}

    def hear(process: Whole, *said: tuple[str, dict[str, Any]]) -> None:
        for name, data in said:
            process.parts.inbound.router.publish(name, {"orderId": 500, **data}, 1)

    first = Whole(1, shelf)
    first.orders.add(Order("me", "k", 500, {}))
    hear(first, ("orderStatus", status), ("openOrder", open_order))
    for recalled in (True, False):  # from the store's state; or, that being lost, from what TWS says first
        process = Whole(2, shelf)
        for _, _, packed in shelf.state() if recalled else ():
            body = msgpack.unpackb(packed)
            process.orders.recall(body["ref"], body["data"])
        early = [("orderStatus", status)] if recalled else []
        hear(process, *early, ("openOrder", open_order), ("orderStatus", status))
        told = sorted(states(process.streams))
        assert [(topic, flags) for topic, _, flags in told] == [
            ("ord.me.k.openOrder.", []), ("ord.me.k.orderState.", []), ("ord.me.k.orderStatus.", []),
        ]  # fmt: skip
        refs = {str(msgpack.unpackb(body)["ref"]) for _, body in process.sent}
        assert refs == {str({"owner": "me", "key": "k", "orderId": 500})}
        refused = {"reqId": 500, "errorCode": 201, "errorString": "no"}
        hear(process, ("error", refused))
        assert [topic for topic, _ in process.sent[-2:]] == [b"ord.me.k.error.", b"ord.me.k.orderState."]
        assert process.orders.keyed("me", "k") is None, "what was ordered is not known"


def test_orders_of_others_are_not_recalled():
    orders = Whole(1, Shelf()).orders
    orders.recall({"owner": "ext", "key": "~7", "orderId": 5}, {"permId": 7, "clientId": 1})
    orders.recall({"owner": "me", "key": "k", "orderId": 5}, {"permId": 7, "clientId": 2})
    assert orders.numbered(5) is None


def test_what_was_published_under_another_prefix_is_left_alone():
    shelf = Shelf()
    for prefix in ("", "live"):
        Process(1, shelf, prefix=prefix).say("ord", "a", "k", "orderStatus")
    process = Process(2, shelf, prefix="live")
    assert states(process.streams, b"") == [("live.ord.a.k.orderStatus.", 1, ["stale"])]
    assert list(process.streams.seqs()) == ["live.ord.a."]


def test_a_prefix_is_a_part_of_the_name_of_a_stream_and_durable_streams_are_found_behind_it():
    shelf = Shelf()
    Process(1, shelf, prefix="live").say("ord", "a", "k", "orderStatus")
    process = Process(2, shelf, prefix="live")
    process.say("ord", "a", "k", "orderStatus")
    assert [msgpack.unpackb(body)["seq"] for _, body in process.replay("live.ord.a.", 1)] == [1, 2]
    refusal("E_ARG", process.replay, "ord.a.", 1)


@pytest.mark.parametrize(
    ("args", "fault"),
    [
        ({"from": 1}, "stream is missing"),
        ({"stream": "md.a."}, "from is missing"),
        ({"stream": "md.a.", "from": "1"}, "from must be an integer"),
        ({"stream": "md.a.", "from": True}, "from must be an integer"),
        ({"stream": "md.a.", "from": 1, "to": 2.0}, "to must be an integer"),
        ({"stream": "md.a.", "from": 1, "to": None}, "to must be an integer"),
        ({"stream": "md.a.", "from": 0}, "from: sequence numbers begin with 1"),
        ({"stream": "md.a", "from": 1}, "stream: no message was ever published on 'md.a'; a name ends in a dot"),
        ({"stream": "\ud800", "from": 1}, "stream: no message was ever published on '\\ud800'; a name ends in a dot"),
        ({"stream": "md.a.", "from": 1, "upto": 3}, "upto is unknown; replay takes stream and from and to"),
    ],
)
def test_a_wrong_question_is_answered_with_what_is_wrong(args, fault):
    process = Process(1, None)
    process.say("md", "a", "x")
    with pytest.raises(CommandRefused) as refused:
        process.bridge.execute("replay", args, "", ALL)
    assert (refused.value.code, refused.value.faults[0]) == ("E_ARG", fault)


def test_a_store_that_cannot_be_read_is_an_error_and_no_empty_answer():
    class Broken(Shelf):
        def read(self, *_):
            return []

    process = Process(1, Broken(), messages=1)
    process.say("ord", "a", "x")
    process.say("ord", "a", "x")
    refusal("E_STORE", process.replay, "ord.a.", 1)


def test_long_messages_come_a_few_at_a_time():
    process = Process(1, None)
    for _ in range(5):
        process.streams.publish_map(process.streams.channel("md", "a", "x"), {"text": "x" * 200_000}, 1)
    result = process.bridge.execute("replay", {"stream": "md.a.", "from": 1}, "", ALL)
    assert (len(result["messages"]), result["next"]) == (1, 2)
    assert process.replay("md.a.", 1) == process.sent


def test_offsets_of_what_the_ring_has_lost_are_forgotten_a_few_streams_at_a_time():
    process = Process(1, None, messages=10)
    for number, _ in itertools.product(range(10), range(3)):
        process.say("md", f"{number}", "x")
    streams = [process.streams.stream(b"md.%d." % number) for number in range(10)]
    for _ in range(3):
        process.streams.tick(most=4)
    assert sum(len(stream.offsets) for stream in streams if stream) == 10


# Memory of commands


def test_a_repeated_command_gets_the_first_reply_and_is_not_carried_out_again():
    middle = Middle()
    command = {"id": 7, "cmd": "reqContractDetails", "client": "a", "args": {"contract": AAPL}}
    first = middle.call(command)
    middle.clock.now = 599.0
    assert middle.call(command) == {**first, "dup": True}
    assert len(middle.link.take()) == 1
    other = middle.call({**command, "args": {"contract": {**AAPL, "symbol": "MSFT"}}})
    assert other["error"]["code"] == "E_ID_REUSED"
    assert middle.call({**command, "client": "b"})["ok"]
    assert middle.commands.counts["repeated"] == 1


def test_after_ten_minutes_an_id_may_be_used_again():
    middle = Middle()
    command = {"id": 7, "cmd": "reqCurrentTime", "client": "a"}
    middle.call(command)
    assert middle.call({**command, "cmd": "reqIds"})["error"]["code"] == "E_ID_REUSED"
    middle.clock.now = 600.0
    assert "dup" not in middle.call({**command, "cmd": "reqPositions"})


def test_an_id_that_was_cancelled_is_not_answered_as_if_its_data_still_came():
    middle = Middle()
    ask = {"id": 7, "cmd": "reqMktData", "client": "a", "args": {"contract": AAPL}}
    assert middle.call(ask)["ok"]
    cancel = {"id": 8, "cmd": "cancelMktData", "client": "a", "args": {"id": 7}}
    assert middle.call(cancel)["ok"]
    assert middle.call(cancel)["dup"]
    refused = middle.call(ask)["error"]
    assert (refused["code"], refused["outcome"]) == ("E_ID_REUSED", "refused")
    assert refused["message"].startswith("id 7 belongs to a reqMktData that was cancelled, and is not requested again")
    middle.clock.now = 601.0
    first = middle.call(ask)
    assert first["ok"]
    assert middle.call(ask) == {**first, "dup": True}


@pytest.mark.parametrize("cmd", ["ping", "status", "halt"])
def test_what_is_said_of_the_moment_is_not_answered_from_memory(cmd):
    middle = Middle()
    command = {"id": 1, "cmd": cmd, "client": "a"}
    for dup in (None, True):
        reply = middle.call(command)
        assert (reply["ok"], reply.get("dup")) == (True, dup)


def test_a_halt_under_the_same_id_halts_again_and_a_resume_does_not_resume_again():
    middle = Middle()
    halt, resume = ({"id": cmd, "cmd": cmd, "client": "a"} for cmd in ("halt", "resume"))
    for command, halted in [(halt, True), (resume, False), (halt, True), (resume, True)]:
        assert middle.call(command)["ok"]
        assert bool(middle.halts.state) is halted


def test_a_refusal_is_remembered_like_any_reply_unless_it_was_only_not_sent():
    middle = Middle()
    order = {"id": 1, "cmd": "placeOrder", "client": "a", "key": "k", "args": {"contract": AAPL, "order": LIMIT}}
    first = middle.call({**order, "key": "a/b"})
    assert first["error"]["code"] == "E_ARG"
    assert middle.call({**order, "key": "a/b"}) == {**first, "dup": True}
    assert middle.call(order)["error"]["code"] == "E_ID_REUSED"
    late = middle.call({**order, "id": 2, "not_after": 1})
    assert late["error"]["code"] == "E_DEADLINE"
    assert middle.call({**order, "id": 2, "not_after": 1}) == late
    assert middle.call({**order, "id": 2})["ok"], "the id is free: nothing was done under it"


def test_snapshots_and_replays_are_carried_out_anew():
    middle = Middle()
    command = {"id": 1, "cmd": "snapshot", "client": "a", "args": {"prefix": "md."}}
    assert middle.call(command)["result"]["streams"] == []
    middle.tick(middle.subscribe())
    again = middle.call(command)
    assert (len(again["result"]["streams"]), again["dup"]) == (1, True)
    assert middle.call({**command, "cmd": "ping", "args": {}})["error"]["code"] == "E_ID_REUSED"
    assert middle.call({"id": 2, "cmd": "ping", "client": "a"})["ok"]
    assert middle.call({"id": 2, "cmd": "reqCurrentTime", "client": "a"})["error"]["code"] == "E_ID_REUSED"


def test_what_nobody_signs_is_not_remembered():
    middle = Middle()
    assert [middle.call({"id": 1, "cmd": cmd})["ok"] for cmd in ("ping", "status")] == [True, True]


def test_a_command_that_is_nested_without_end_is_refused():
    middle = Middle()
    deep: object = 1
    for _ in range(200):
        deep = [deep]
    reply = middle.call({"id": 1, "cmd": "resume", "client": "a", "args": {"x": deep}})
    assert reply["error"]["message"] == "a command is nested at most 64 deep"


def test_a_command_with_more_in_it_than_any_has_a_reason_for_is_refused():
    middle = Middle()
    reply = middle.call({"id": 1, "cmd": "resume", "client": "a", "args": {"x": [[None] * 30_000] * 2}})
    assert reply["error"]["message"] == f"a command has at most {MOST_VALUES} values, all its lists and maps together"


def test_a_command_for_an_earlier_daemon_is_refused_and_nobody_says_what_became_of_it():
    middle = Middle()
    order = {"id": 1, "cmd": "placeOrder", "client": "a", "key": "k", "args": {"contract": AAPL, "order": LIMIT}}
    error = middle.call({**order, "epoch": 5})["error"]
    assert (error["code"], error["outcome"]) == ("E_NOT_SYNCED", "unknown")
    assert middle.link.take() == []
    assert middle.call({**order, "id": 2, "epoch": middle.streams.epoch})["ok"]
    assert middle.call({**order, "id": 3, "epoch": True})["error"]["code"] == "E_ARG"
