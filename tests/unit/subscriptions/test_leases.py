"""Leases: clients that are gone lose what they hold after a grace period, but what is kept; the operator's release."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.daemon_core import AAPL, MSFT, Middle, refusal
from tests.unit.orders.test_dead_man import Desk

if TYPE_CHECKING:
    from ibbridge.subscriptions.leases import Leases


class Clients:
    """Liveness that a test plays."""

    def __init__(self) -> None:
        self.known: set[str] = set()
        self.gone: list[str] = []

    def is_known(self, client: str) -> bool:
        return client in self.known

    def run_of(self, _: str) -> int:
        return 0

    def take_ended(self) -> list[tuple[str, int]]:
        gone, self.gone = self.gone, []
        self.known -= {*gone}
        return [(each, 0) for each in gone]


class House(Middle):
    """Daemon's core whose clients' liveness a test plays."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.clients = Clients()
        self.leases: Leases = self.parts.requests.leases
        self.leases._liveness = self.clients

    def names(self, seconds: float) -> list[str]:
        """The requests that were sent while time passed, a second at a time."""
        return [each.name for _ in range(round(seconds)) for each in self.pass_time(1)]

    def die(self, *clients: str) -> None:
        self.clients.gone += clients


@pytest.fixture
def house():
    return House()


def test_the_subscriptions_of_a_client_that_is_gone_are_cancelled_after_the_grace_period(house):
    house.ask("reqMktData", "a", 1, contract=AAPL)
    house.ask("reqMktData", "b", 1, contract=MSFT)
    house.die("a")
    assert house.names(10) == []
    assert house.names(1) == ["cancelMktData"]
    assert [each["client"] for each in house.leases.describe()] == ["b"]
    assert house.subscriptions.lines.summary()["level1"]["used"] == 1


def test_a_client_that_comes_back_within_the_grace_period_costs_tws_nothing(house):
    house.ask("reqMktData", "a", 1, contract=AAPL)
    house.die("a")
    house.names(9)
    house.link.take()
    house.ask("reqMktData", "a", 2, contract=AAPL)
    assert house.link.take() == []
    assert house.names(30) == []
    assert [each["id"] for each in house.leases.describe()] == ["2"]


def test_a_share_of_another_client_keeps_the_subscription(house):
    for client in "ab":
        house.ask("reqMktData", client, 1, contract=AAPL)
    house.die("a")
    assert house.names(30) == []
    house.die("b")
    assert house.names(11) == ["cancelMktData"]


def test_nothing_of_a_client_that_is_gone_is_requested_on_the_next_connection(house):
    house.ask("reqMktData", "a", 1, contract=AAPL)
    house.ask("reqMktData", "b", 1, contract=MSFT)
    house.die("a")
    house.names(2)
    house.link.take()
    house.reconnect()
    assert [each.data["contract"]["symbol"] for each in house.link.take() if each.name == "reqMktData"] == ["MSFT"]
    assert house.names(30) == []
    assert house.subscriptions.lines.summary()["level1"]["used"] == 1


def test_a_client_that_dies_while_the_daemon_is_cut_off_is_not_requested_either(house):
    house.ask("reqMktData", "a", 1, contract=AAPL)
    house.lost()
    house.die("a")
    house.names(20)
    house.link.take()
    house.connect()
    assert [each for each in house.link.take() if each.name == "reqMktData"] == []


def test_a_kept_lease_outlives_its_client(house):
    house.ask("reqMktData", "a", 1, contract=AAPL, keep=True)
    house.die("a")
    assert house.names(60) == []
    (lease,) = house.leases.describe("a")
    assert lease["keep"]
    assert not lease["unbounded"]
    assert house.leases.release("a") == 1
    assert house.names(1) == []
    assert house.leases.describe() == []


def test_subscriptions_without_a_request_id_are_leases_too(house):
    house.ask("reqPositions", "a", 1)
    house.ask("reqAccountUpdates", "a", 2, subscribe=True, acctCode="DU1")
    assert {each["request"] for each in house.leases.describe("a")} == {"reqPositions", "reqAccountUpdates"}
    house.link.take()
    house.die("a")
    house.names(1)
    sent = {each.name: each.data for each in house.link.take()}
    assert {*sent} >= {"reqAccountUpdates"}
    assert sent["reqAccountUpdates"]["subscribe"] is False
    assert house.leases.describe() == []


def test_a_lease_says_since_when_and_whether_anything_but_a_cancel_ends_it(house):
    house.ask("reqMktData", "a", 1, contract=AAPL)
    house.clients.known.add("b")
    begun = house.clock.us
    house.clock.us += 7
    house.ask("reqMktData", "b", "x", contract=AAPL)
    one, other = house.leases.describe()
    assert (one["client"], one["id"], one["since"], one["unbounded"]) == ("a", "1", begun, True)
    assert (other["client"], other["id"], other["since"], other["unbounded"]) == ("b", "x", begun + 7, False)
    assert house.leases.summary() == {"leases": 2, "unbounded": 1, "keep": 0, "unheld": 0}


class TestRelease:
    def test_an_operator_ends_the_leases_of_a_client_at_once(self, house):
        for number, contract in enumerate((AAPL, MSFT)):
            house.ask("reqMktData", "a", number, contract=contract)
        house.link.take()
        assert house.leases.release("a") == 2
        assert [each.name for each in house.link.take()] == ["cancelMktData", "cancelMktData"]

    def test_or_one_of_them_by_the_command_that_made_it(self, house):
        for number, contract in enumerate((AAPL, MSFT)):
            house.ask("reqMktData", "a", number, contract=contract)
        assert house.leases.release("a", "1") == 1
        assert [each["id"] for each in house.leases.describe()] == ["0"]

    def test_a_client_without_leases_is_refused_and_so_is_an_id_that_made_none(self, house):
        refusal("E_ARG", house.leases.release, "a")
        house.ask("reqMktData", "a", 1, contract=AAPL)
        refusal("E_ARG", house.leases.release, "a", "2")

    def test_a_repeated_command_of_a_released_lease_is_not_said_to_be_under_way(self, house):
        command = {"id": 1, "client": "a", "cmd": "reqMktData", "args": {"contract": AAPL}}
        assert house.call(command)["ok"]
        house.leases.release("a")
        assert house.call(command)["error"]["code"] == "E_ID_REUSED"


def test_what_nobody_holds_makes_room_for_a_client_that_wants_a_line():
    house = House(lines=1)
    house.ask("reqMktData", "a", 1, contract=AAPL)
    house.die("a")
    house.pass_time(1)
    house.link.take()
    house.ask("reqMktData", "b", 1, contract=MSFT)
    assert [each.name for each in house.link.take()] == ["cancelMktData", "reqMktData"]


def test_a_dead_client_that_waits_for_a_line_gets_none():
    house = House(lines=1)
    house.ask("reqMktData", "a", 1, contract=AAPL)
    house.ask("reqMktData", "b", 1, contract=MSFT, wait=True)
    house.die("b")
    house.pass_time(1)
    house.cancel("cancelMktData", 1)
    house.link.take()
    assert house.names(20) == []


def test_what_nobody_holds_makes_room_for_one_that_waits():
    house = House(lines=1)
    house.ask("reqMktData", "a", 1, contract=AAPL)
    house.ask("reqMktData", "b", 1, contract=MSFT, wait=True)
    house.die("a")
    house.link.take()
    assert house.names(2) == ["cancelMktData", "reqMktData"]


def held(desk: Desk) -> list[str]:
    return [each["topic"] for each in desk.parts.requests.leases.describe()]


def subscribe(desk: Desk, contract: dict[str, Any], peer: bytes = b"1", client: str = "a") -> None:
    assert desk.send("reqMktData", client, peer, contract=contract)["ok"]


class TestRuns:
    def test_what_a_client_that_restarts_within_a_second_does_not_ask_for_again_ends_and_the_rest_flows_on(self):
        desk = Desk()
        desk.hello(run="one")
        subscribe(desk, AAPL)
        subscribe(desk, MSFT)
        desk.live(0.05)
        desk.link.take()
        desk.close(b"1")
        desk.live(0.2)  # noticed, and nothing has followed
        desk.hello(peer=b"2", run="two")
        subscribe(desk, AAPL, b"2")
        desk.live(9.0)
        assert held(desk) == ["md.AAPL-STK-SMART-USD."]
        desk.live(5.0)
        assert [each.name for each in desk.link.take() if "MktData" in each.name] == ["cancelMktData"]
        assert held(desk) == ["md.AAPL-STK-SMART-USD."]

    @pytest.mark.parametrize(
        ("first", "second", "ends"),
        [("one", "two", True), ("one", "one", False), ("", "two", False), ("one", "", False)],
    )
    def test_a_restart_that_nobody_has_noticed_shows_by_the_name_of_the_run(self, first, second, ends):
        desk = Desk()
        desk.hello(**({"run": first} if first else {}))
        subscribe(desk, AAPL)
        desk.hello(peer=b"2", **({"run": second} if second else {}))
        subscribe(desk, MSFT, b"2")
        desk.live(2.0)
        assert ("md.AAPL-STK-SMART-USD." in held(desk)) is not ends
        assert "md.MSFT-STK-SMART-USD." in held(desk)

    def test_what_a_client_asked_for_before_it_said_hello_is_no_lease_of_a_run_that_is_over(self):
        desk = Desk()
        subscribe(desk, AAPL)
        desk.close(b"1")
        desk.live(2.0)
        desk.hello(peer=b"2", run="one")
        desk.live(2.0)
        assert held(desk) == ["md.AAPL-STK-SMART-USD."]
        desk.close(b"2")
        desk.live(20.0)
        assert held(desk) == []

    def test_a_client_that_is_silent_for_its_ttl_loses_its_leases(self):
        desk = Desk()
        desk.hello(ttl=4.0)
        subscribe(desk, AAPL)
        desk.live(4.0)
        assert desk.parts.requests.leases.summary()["leases"] == 1
        desk.live(2.0)
        assert desk.parts.requests.leases.summary() == {"leases": 0, "unbounded": 0, "keep": 0, "unheld": 1}
        desk.live(10.0)
        assert desk.parts.requests.leases.summary()["unheld"] == 0


NAMES = {"APPLE": {**AAPL, "subscribe": True}, "OTHER": MSFT}


class TestConfigured:
    def test_the_daemon_subscribes_from_the_start_and_again_on_each_connection(self):
        house = House(names=NAMES)
        for _ in range(3):
            assert [each.data["contract"]["symbol"] for each in house.link.take() if each.name == "reqMktData"] == [
                "AAPL"
            ]
            house.reconnect()
        (lease,) = house.leases.describe()
        assert (lease["client"], lease["id"], lease["keep"]) == ("~config", "APPLE", True)
        assert lease["topic"] == "md.APPLE."

    def test_its_data_outlives_each_client_and_costs_no_line_more(self):
        house = House(names=NAMES)
        house.link.take()
        house.ask("reqMktData", "a", 1, contract=AAPL)
        house.cancel("cancelMktData", 1)
        assert house.link.take() == []
        assert house.subscriptions.lines.summary()["level1"]["used"] == 1

    def test_one_that_tws_has_refused_is_tried_again_on_the_next_connection(self):
        house = House(names=NAMES)
        house.error(house.last_id(), 200)
        house.link.take()
        house.reconnect()
        assert "reqMktData" in [each.name for each in house.link.take()]


class TestCommands:
    def call(self, house: House, cmd: str, **args: Any) -> dict[str, Any]:
        return house.call({"id": house.clock.us, "client": "op", "cmd": cmd, "args": args})

    def test_leases_come_in_pages_with_the_lines(self, house):
        for number in range(60):
            house.ask("reqMktData", "a", number, contract={**AAPL, "symbol": f"S{number}"})
        for number in range(10):
            for client in range(50):
                house.ask("reqMktData", f"c{client}", number, contract={**AAPL, "symbol": f"S{number}"})
        found: list[Any] = []
        result: dict[str, Any] = {}
        after: int | None = 0
        while after is not None:
            house.clock.us += 1
            result = self.call(house, "leases", after=after)["result"]
            found += result["leases"]
            after = result["next"]
        assert len(found) == 560
        assert result["lines"]["level1"]["used"] == 60
        house.clock.us += 1
        assert len(self.call(house, "leases", client="a")["result"]["leases"]) == 60

    def test_release_says_how_many_have_ended(self, house):
        house.ask("reqMktData", "a", 1, contract=AAPL)
        assert self.call(house, "release", client="a", id="1")["result"] == {"released": 1}
        house.clock.us += 1
        assert self.call(house, "release", client="a")["error"]["code"] == "E_ARG"
        house.clock.us += 1
        assert self.call(house, "release")["error"]["code"] == "E_ARG"
