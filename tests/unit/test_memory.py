"""Memory after requests have ended: no cycle of references keeps them, and what is remembered of them is bounded."""

from __future__ import annotations

import gc
import logging
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from ibbridge.requests import command_index, tracker
from ibbridge.streams import channels
from ibbridge.subscriptions import registry
from tests.support.daemon_core import AAPL, Middle

if TYPE_CHECKING:
    from collections.abc import Callable


def cancelled(middle: Middle, number: int) -> None:
    middle.ask("reqMktData", "a", number, contract={**AAPL, "symbol": f"S{number % 10}"})
    middle.tick(middle.last_id())
    middle.cancel("cancelMktData", number)


def refused(middle: Middle, number: int) -> None:
    middle.ask("reqMktData", "a", number, contract={**AAPL, "symbol": f"S{number % 10}"})
    middle.error(middle.last_id(), 200, "No security definition has been found for the request")


def answered(middle: Middle, number: int) -> None:
    middle.ask("reqContractDetails", "a", number, contract=AAPL)
    middle.hear("contractDetailsEnd", reqId=middle.last_id())


def answered_without_a_number(middle: Middle, number: int) -> None:
    middle.ask("reqCurrentTime", f"c{number % 10}", number)
    middle.hear("currentTime", time=1)


def placed_and_cancelled(middle: Middle, number: int) -> None:
    order = middle.place("k") if number < 2 else middle.orders.keyed("a", "k").order_id  # type: ignore[union-attr]
    middle.ask("cancelOrder", "a", number, "k")
    middle.error(order, 161, "Cancel attempted when order is not in a cancellable state")


def run(middle: Middle, what: Callable[[Middle, int], None], count: int, first: int = 1) -> None:
    for number in range(first, first + count):
        what(middle, number)
        middle.audit.facts.clear()
        middle.link.sent.clear()
        middle.published.clear()
    middle.pass_time(1)
    middle.pass_time(200)
    middle.link.sent.clear()
    middle.published.clear()


@pytest.mark.parametrize("what", [cancelled, refused, answered, answered_without_a_number, placed_and_cancelled])
def test_what_is_over_is_freed_at_once_and_waits_for_no_garbage_collection(what, monkeypatch, caplog):
    caplog.set_level(logging.CRITICAL)  # pytest keeps the log of a test
    monkeypatch.setattr(tracker, "MOST_ENDED", 50)
    monkeypatch.setattr(registry, "MOST_REMEMBERED", 50)
    monkeypatch.setattr(command_index, "MOST_REMEMBERED", 50)
    monkeypatch.setattr(channels, "MOST_PLACES", 10)
    middle = Middle()
    run(middle, what, 300)
    gc.collect()
    gc.disable()
    try:
        before = Counter(type(each).__name__ for each in gc.get_objects())
        run(middle, what, 1000, 1000)
        grown = Counter(type(each).__name__ for each in gc.get_objects()) - before
    finally:
        gc.enable()
    assert not {name: count for name, count in grown.items() if count > 150}


def test_what_is_remembered_of_a_request_that_is_over_is_without_its_contract_and_its_message():
    middle = Middle()
    cancelled(middle, 1)
    (route,) = middle.tracker._ended.values()
    assert (route.message, route.deadline, "contract" in route.args) == (None, None, False)
    middle.tick(route.req_id)
    assert middle.published[-1].topic == "md.S1-STK-SMART-USD.tickPrice.", "late answers go where the others went"
