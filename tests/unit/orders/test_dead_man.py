"""The dead man's switch: whose orders are cancelled when a client is lost or logs out, when, and when not."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from ibbridge.config.maintenance_windows import window
from ibbridge.risk.liveness import MOST, TRANSITIONS
from ibbridge.tws.session import Stage
from tests.support.daemon_core import AAPL, LIMIT, Middle
from tests.support.outside import MemoryOrderStore
from tests.unit.orders.test_mass_cancel import KeepingStore, cancels, causes, report


class Desk(Middle):
    """A daemon with clients on connections of their own, and a heartbeat each second."""

    def __init__(self, **options: Any) -> None:
        super().__init__(store=options.pop("store", None) or KeepingStore(), **options)
        self.link_up()

    def link_up(self) -> None:
        """Have the session say that TWS is there, and that the orders have been compared."""
        self.session.stage = Stage.READY
        self.parts.orders.reconciliation._compared = 1

    def send(self, cmd: str, client: str = "a", peer: bytes = b"1", **args: Any) -> dict[str, Any]:
        """Return the reply to a command."""
        command = {"id": next(self._ids) + 10**6, "cmd": cmd, "client": client, "args": args}
        reply: dict[str, Any] = msgpack.unpackb(self.commands.answer(msgpack.packb(command), peer))
        return reply

    def hello(self, client: str = "a", peer: bytes = b"1", **args: Any) -> dict[str, Any]:
        reply = self.send("hello", client, peer, **args)
        assert reply["ok"], reply
        result: dict[str, Any] = reply["result"]
        return result

    def order(self, key: str, client: str = "a", peer: bytes = b"1", **beside: Any) -> int:
        """Place an order that works. Return its id."""
        reply = self.send("placeOrder", client, peer, key=key, contract=AAPL, order=LIMIT, **beside)
        assert reply["ok"], reply
        number: int = reply["result"]["orderId"]
        report(self, number, "Submitted")
        self.link.take()
        return number

    def live(self, seconds: float) -> None:
        """Let time pass, with heartbeats."""
        until = self.clock.now + seconds
        while self.clock.now < until:
            self.parts.heartbeat.beat()
            self.clock.pass_time(min(1.0, until - self.clock.now))

    def close(self, peer: bytes = b"1") -> None:
        """Close a connection."""
        self.parts.bus.gone.add(peer)  # type: ignore[attr-defined]


def test_the_orders_of_a_client_whose_connections_have_closed_are_cancelled_after_its_window() -> None:
    desk = Desk()
    desk.hello(cancel_on_disconnect="loss", window=3.0)
    number = desk.order("k")
    desk.live(2.0)
    desk.close()
    desk.live(2.9)
    assert cancels(desk) == []
    desk.live(0.3)
    assert cancels(desk) == [number]
    report(desk, number, "Cancelled")
    assert causes(desk)["k"] == "dead_man"
    desk.live(30.0)
    assert cancels(desk) == []


def test_a_client_with_another_open_connection_is_not_lost() -> None:
    desk = Desk()
    desk.hello(cancel_on_disconnect="loss")
    desk.order("k", peer=b"2")
    desk.close(b"1")
    desk.live(14.0)
    assert cancels(desk) == []


def test_a_client_that_comes_back_within_its_window_keeps_its_orders() -> None:
    desk = Desk()
    desk.hello(cancel_on_disconnect="loss", window=5.0)
    desk.order("k")
    desk.close()
    desk.live(4.0)
    desk.send("ping", peer=b"2")
    desk.live(10.0)
    assert cancels(desk) == []


def test_a_silent_client_is_lost_after_its_ttl_and_any_command_is_a_word() -> None:
    desk = Desk()
    desk.hello(cancel_on_disconnect="loss", window=1.0, ttl=4.0)
    number = desk.order("k")
    for cmd in ("alive", "ping", "status", "orders", "no such command"):
        desk.live(3.5)
        desk.send(cmd)
    assert cancels(desk) == []
    desk.live(5.5)
    assert cancels(desk) == [number]


def word(choice: str, given: bool) -> dict[str, Any]:
    return {"cancel_on_disconnect": choice} if given else {}


@pytest.mark.parametrize(
    ("choice", "on_loss", "on_logout"),
    [("never", False, False), ("loss", True, False), ("logout", False, True), ("both", True, True)],
)
@pytest.mark.parametrize("by_order", [False, True])
def test_what_each_choice_means(choice: str, on_loss: bool, on_logout: bool, by_order: bool) -> None:
    for leaves, fires in ((False, on_loss), (True, on_logout)):
        desk = Desk()
        desk.hello(window=1.0, **word(choice, not by_order))
        number = desk.order("k", **word(choice, by_order))
        if leaves:
            desk.send("logout")
        desk.close()
        desk.live(3.0)
        assert cancels(desk) == ([number] if fires else [])


def test_the_word_of_an_order_wins_over_that_of_its_client() -> None:
    desk = Desk()
    desk.hello(cancel_on_disconnect="loss", window=1.0)
    desk.order("stays", cancel_on_disconnect="never")
    number = desk.order("goes")
    desk.close()
    desk.live(3.0)
    assert cancels(desk) == [number]


def test_each_member_of_a_group_has_its_word() -> None:
    desk = Desk()
    members = [
        {"key": "one", "contract": AAPL, "order": LIMIT, "cancel_on_disconnect": "loss"},
        {"key": "two", "contract": AAPL, "order": LIMIT},
    ]
    placed = desk.send("placeOrders", orders=members)["result"]["orders"]
    for each in placed:
        report(desk, each["orderId"], "Submitted")
    desk.link.take()
    desk.close()
    desk.live(8.0)
    assert cancels(desk) == [placed[0]["orderId"]]


def test_the_word_of_an_order_does_not_reach_tws_and_must_mean_something() -> None:
    desk = Desk()
    order: dict[str, Any] = {"key": "k", "contract": AAPL, "order": LIMIT}
    refused = desk.send("placeOrder", **order, cancel_on_disconnect="always")
    assert "cancel_on_disconnect must be one of never, loss, logout, both" in refused["error"]["message"]
    assert desk.send("placeOrder", **order, cancel_on_disconnect="loss")["ok"]
    assert "cancel_on_disconnect" not in desk.link.sent[-1].data


@pytest.mark.parametrize(
    ("args", "why"),
    [
        ({"ttl": 0.5}, "ttl must be 1 to 3600 seconds"),
        ({"window": -1.0}, "window must be 0 to 3600 seconds"),
        ({"cancel_on_disconnect": "yes"}, "cancel_on_disconnect must be one of never, loss, logout, both"),
        ({"ttl": "long"}, "ttl must be a number"),
    ],
)
def test_a_hello_that_means_nothing_is_refused(args: dict[str, Any], why: str) -> None:
    assert why in Desk().send("hello", **args)["error"]["message"]


def test_a_hello_says_what_holds() -> None:
    desk = Desk()
    assert desk.hello() == {"ttl": 15.0, "window": 5.0, "cancel_on_disconnect": "never", "kept": True}
    assert desk.hello(ttl=3, window=0, cancel_on_disconnect="both") == {
        "ttl": 3, "window": 0, "cancel_on_disconnect": "both", "kept": True,
    }  # fmt: skip


# -- when it must not


def test_it_does_not_fire_in_a_restart_window_and_gives_the_client_its_window_after_that() -> None:
    desk = Desk(windows=(window("22:14-22:16 UTC"),))  # the clock begins at 22:13:20
    desk.hello(cancel_on_disconnect="loss", window=5.0, ttl=60)
    number = desk.order("k")
    desk.live(38.0)
    desk.close()
    desk.live(120.0 + 2.0 + 4.5)
    assert cancels(desk) == []
    desk.live(1.0)
    assert cancels(desk) == [number]


@pytest.mark.parametrize("how", ["connection", "upstream"])
def test_it_does_not_fire_while_the_daemon_is_cut_off_and_waits_for_the_comparison_after_that(how: str) -> None:
    desk = Desk()
    desk.hello(cancel_on_disconnect="loss", window=2.0)
    number = desk.order("k")
    if how == "connection":
        desk.session.stage = Stage.DOWN
        desk.lost()
    else:
        desk.session.upstream = "lost"
    desk.parts.orders.reconciliation._compared = 0
    desk.close()
    desk.live(100.0)
    assert cancels(desk) == []
    if how == "connection":
        desk.connect()
    desk.session.stage, desk.session.upstream = Stage.READY, "ok"
    desk.live(10.0)
    assert cancels(desk) == [], "the orders are not known yet"
    desk.parts.orders.reconciliation._compared = 1
    desk.live(1.5)
    assert cancels(desk) == [], "it has its window anew"
    desk.live(1.0)
    assert cancels(desk) == [number]


def test_it_comes_back_while_the_daemon_is_cut_off_and_keeps_its_orders() -> None:
    desk = Desk()
    desk.hello(cancel_on_disconnect="loss", window=2.0)
    desk.order("k")
    desk.session.upstream = "lost"
    desk.close()
    desk.live(100.0)
    desk.session.upstream = "ok"
    desk.live(1.0)
    desk.send("alive", peer=b"2")
    desk.live(10.0)
    assert cancels(desk) == []


# -- a restart of the daemon


def restarted(first: Desk) -> Desk:
    """Return the next process, with the stores of the first."""
    first.parts.streams.journal.tick()
    store: Any = first.store
    second = Desk(store=store, order_store=first.order_store, clock=first.clock, ready=False)
    for order in second.orders.journal.open_orders():
        second.orders.add(order)
    second.parts.mass_cancels.load()
    second.parts.dead_man.begin()
    second.sender.ids.raise_to(600)
    second.begin()
    second.ready()
    second.link_up()
    return second


@pytest.mark.parametrize("by_order", [False, True])
@pytest.mark.parametrize("returns", [False, True])
def test_after_a_restart_of_the_daemon_a_client_has_its_window_to_come_back(by_order: bool, returns: bool) -> None:
    desk = Desk(order_store=MemoryOrderStore())
    desk.hello(window=5.0, **word("loss", not by_order))
    number = desk.order("k", **word("loss", by_order))
    again = restarted(desk)
    again.live(4.0)
    assert cancels(again) == []
    if returns:
        again.send("alive")
    again.live(4.0)
    assert cancels(again) == ([] if returns else [number])


def test_a_client_that_had_logged_out_is_not_lost_after_a_restart() -> None:
    desk = Desk(order_store=MemoryOrderStore())
    desk.hello(cancel_on_disconnect="loss", window=1.0)
    desk.order("k")
    desk.send("logout")
    again = restarted(desk)
    again.live(20.0)
    assert cancels(again) == []


# -- what is said


def test_an_alarm_names_client_and_orders_until_the_client_is_back() -> None:
    desk = Desk()
    desk.hello(cancel_on_disconnect="loss", window=1.0)
    number = desk.order("k")
    desk.close()
    desk.live(4.0)
    alarms = {each["alarm"]: each["why"] for each in desk.parts.streams.alarms.raised}
    assert alarms["deadMan"] == "a is lost (its connections have closed), and its orders are cancelled: k"
    events = [each.data for each in desk.published if each.body["type"] == "massCancel"]
    assert (events[0]["cause"], events[0]["name"], events[0]["open"]) == ("dead_man", "a", ["a/k"])
    report(desk, number, "Cancelled")
    desk.live(2.0)
    assert [each.data["over"] for each in desk.published if each.body["type"] == "massCancel"] == [False, True]
    desk.send("alive", peer=b"2")
    desk.live(2.0)
    assert "deadMan" not in {each["alarm"] for each in desk.parts.streams.alarms.raised}


def test_what_waits_to_be_sent_is_withdrawn() -> None:
    desk = Desk(rate=10)
    desk.hello(window=0, cancel_on_disconnect="loss")
    for number in range(20):
        desk.send("placeOrder", key=f"k{number}", contract=AAPL, order=LIMIT)
    left = [each for each in desk.link.take() if each.name == "placeOrder"]
    desk.close()
    desk.parts.heartbeat.beat()
    states = [each.data for each in desk.published if each.body["type"] == "orderState"]
    assert sum(each["reason"] == "not_sent" for each in states) == 20 - len(left)


def test_orders_of_other_clients_stay() -> None:
    desk = Desk()
    desk.hello(cancel_on_disconnect="loss", window=1.0)
    desk.hello("b", b"2", cancel_on_disconnect="loss", window=1.0)
    desk.order("of b", "b", b"2")
    desk.close(b"1")
    desk.live(5.0)
    assert cancels(desk) == []


# -- the table


def test_a_client_is_what_the_last_event_has_made_of_it() -> None:
    found = {(state.value, event.name): to.value for (state, event), to in TRANSITIONS.items()}
    assert found == {
        ("present", "WORD"): "present", ("lost", "WORD"): "present", ("left", "WORD"): "present",
        ("present", "CLOSE"): "lost", ("present", "SILENCE"): "lost",
        ("present", "LOGOUT"): "left", ("lost", "LOGOUT"): "left",
    }  # fmt: skip


def test_a_damaged_record_of_clients_leaves_the_words_of_the_orders() -> None:
    desk = Desk(order_store=MemoryOrderStore())
    desk.hello(cancel_on_disconnect="both", window=1.0)
    desk.order("of the client")
    number = desk.order("its own", cancel_on_disconnect="loss")
    desk.store.values["clients"] = b"\xc1"  # type: ignore[attr-defined]
    again = restarted(desk)
    again.live(8.0)
    assert cancels(again) == [number]


def test_many_names_are_forgotten_but_for_those_that_said_something_of_themselves() -> None:
    desk = Desk()
    desk.hello("z", cancel_on_disconnect="loss")
    for number in range(MOST + 10):
        desk.parts.streams.liveness.word(f"n{number}", b"1")
    assert desk.parts.streams.liveness.presence("z") is not None
    assert desk.parts.streams.liveness.presence("n0") is None
