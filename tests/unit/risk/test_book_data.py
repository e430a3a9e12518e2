"""The book as plain data: what survives a restart, and what is no book."""

from __future__ import annotations

import msgpack
import pytest

from ibbridge.risk.book import TradingBook
from ibbridge.risk.book_data import BookDataError
from ibbridge.risk.trading_day import TradingDay
from tests.risk_world.world import RiskWorld
from tests.unit.risk.desk import NOON, Desk, S


@pytest.mark.parametrize("seed", range(5))
def test_a_book_that_is_loaded_is_dumped_the_same(seed):
    world = RiskWorld(seed)
    for _ in range(200):
        world.step()
    world.revalue()
    data = msgpack.packb(world.gate.book.dump())
    book = TradingBook(world.market)
    book.load(msgpack.unpackb(data, strict_map_key=False), world.now)
    assert msgpack.unpackb(msgpack.packb(book.dump()), strict_map_key=False) == msgpack.unpackb(
        data, strict_map_key=False
    )


@pytest.mark.parametrize("data", [None, 7, [], {}, {"form": 0}, {"form": 1, "day": None}, {"form": 1, "day": [1, 2]}])
def test_data_that_is_no_book_is_a_fault(data):
    desk = Desk()
    with pytest.raises(BookDataError):
        TradingBook(desk).load(data, desk.now)


@pytest.mark.parametrize(("hours", "same"), [(11.9, True), (12, False), (60, False)])
def test_a_day_ends_while_the_daemon_is_away(hours, same):
    desk = Desk(max_daily_notional=5000)
    desk.hold(100)
    desk.now += int(hours * 3600 * S)
    desk.restart()
    assert desk.refuses(1) == ({"max_daily_notional"} if same else set())


@pytest.mark.parametrize(
    ("day", "hours"),
    [("2026-06-02", 24), ("2026-03-08", 23), ("2026-11-01", 25)],
)
def test_days_of_summer_time(day, hours):
    import datetime as dt

    noon = dt.datetime.fromisoformat(f"{day}T12:00:00-05:00").timestamp()
    begins, ends = TradingDay().bounds(int(noon) * S)
    assert (ends - begins) / S == hours * 3600
    assert TradingDay().bounds(begins) == (begins, ends)
    assert TradingDay().bounds(ends)[0] == ends
    assert TradingDay().bounds(begins - 1)[1] == begins


def test_a_day_may_begin_at_another_time():
    import datetime as dt

    begins, ends = TradingDay(start=dt.time(17, 0)).bounds(NOON)
    assert begins == NOON - 19 * 3600 * S
    assert ends == NOON + 5 * 3600 * S
