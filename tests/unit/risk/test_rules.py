"""Rules of the gate: each limit below, at and above, over restarts, with changes, groups and corrections."""

from __future__ import annotations

import pytest

from ibbridge.risk.facts import MarketQuote
from ibbridge.risk.limits import CONTRACT_HOURS
from ibbridge.risk.order import OrderLeg
from tests.unit.risk.desk import CONTRACT, Desk, S

RESTARTS = pytest.mark.parametrize("restart", [False, True], ids=["", "restarted"])
SCOPES = pytest.mark.parametrize("scope", ["client", "account", "all"])


def begun(restart: bool, scope: str = "client", **limits: object) -> Desk:
    desk = Desk(scope, **limits)
    if restart:
        desk.restart()
    return desk


# -- the order alone


@SCOPES
@pytest.mark.parametrize(("quantity", "refused"), [(99, False), (100, False), (100.01, True), (float("inf"), True)])
def test_max_order_quantity(scope, quantity, refused):
    desk = Desk(scope, max_order_quantity=100)
    assert desk.refuses(quantity) == ({"max_order_quantity"} if refused else set())


def test_an_unknown_quantity_is_refused():
    assert Desk(max_order_quantity=100).refuses(None) == {"max_order_quantity"}
    assert Desk(max_position=100).refuses(None) == {"max_position"}
    assert Desk(max_order_notional=1e9).refuses(None) == {"max_order_notional"}


@SCOPES
@pytest.mark.parametrize(("price", "refused"), [(49.99, False), (50, False), (50.01, True)])
def test_max_order_notional(scope, price, refused):
    desk = Desk(scope, max_order_notional=5000)
    assert desk.refuses(limit_price=price) == ({"max_order_notional"} if refused else set())


def test_notional_of_orders_of_all_kinds():
    desk = Desk(max_order_notional=1e9)
    market = {"order_type": "MKT", "limit_price": None}

    def worth(**more):
        (check,) = [each for each in desk.ask(**more).checks if each.rule == "max_order_notional"]
        return check.value

    assert worth(**market) is None
    desk.quoted(210, 211, 209)
    assert worth(**market) == 21100
    assert worth(limit_price=200) == 20000
    assert worth(side=-1, limit_price=200) == 21100
    assert worth(order_type="STP", limit_price=None, aux_price=300.0) == 30000
    assert worth(order_type="TRAIL", limit_price=None, aux_price=5.0) == 21600
    assert worth(order_type="TRAIL", limit_price=None, trailing_percent=10.0) == pytest.approx(23210)
    assert worth(order_type="REL", limit_price=None, percent_offset=0.01) == pytest.approx(21311)
    assert worth(quantity=0.0, cash_quantity=5000.0, **market) == 5000
    assert worth(sec_type="FUT", multiplier=50.0) == 250_000
    assert worth(sec_type="FUT", multiplier=None) is None
    assert worth(currency="EUR") == pytest.approx(5500)
    assert worth(currency="CHF") is None
    assert worth(sec_type="CASH", symbol="EUR", quantity=100_000, **market) == pytest.approx(110_000)
    desk.quoted(-37, -36)
    assert worth(quantity=1, side=-1, multiplier=1000.0, **market) == 37_000
    assert worth(quantity=1, limit_price=1.0, multiplier=1000.0) == 37_000


@pytest.mark.parametrize(
    "order",
    [
        {"side": -1, "limit_price": 0.01},
        {"order_type": "STP", "limit_price": None, "aux_price": 0.01},
        {"order_type": "TRAIL", "limit_price": None, "trail_stop_price": 0.01},
        {"side": -1, "order_type": "STP LMT", "limit_price": 0.01, "aux_price": 0.02},
    ],
)
def test_a_price_that_bounds_nothing_does_not_make_an_order_cheap(order):
    desk = Desk(max_order_notional=1000)
    assert desk.refuses(1000, **order) == {"max_order_notional"}
    desk.quoted(200, 200)
    assert desk.refuses(1000, **order) == {"max_order_notional"}
    assert desk.refuses(5, **order) == set()


def test_a_cash_amount_buys_any_quantity_while_no_quote_is_known():
    desk = Desk(max_position=100, max_order_quantity=100)
    order = {"quantity": 0.0, "cash_quantity": 1e6, "limit_price": 1e6}
    assert desk.refuses(**order) == {"max_position", "max_order_quantity"}
    desk.quoted(200, 200)
    assert desk.refuses(**order) == {"max_position", "max_order_quantity"}
    assert desk.refuses(**{**order, "cash_quantity": 20_000.0}) == set()


def test_an_order_that_is_touched_already_is_no_way_round_the_collar():
    desk = Desk(price_collar_percent=1)
    touched = {"order_type": "LIT", "limit_price": 1000.0, "aux_price": 1000.0}
    assert desk.refuses(**touched) == {"price_collar_percent"}
    desk.quoted(200, 200)
    assert desk.refuses(**touched) == {"price_collar_percent"}
    assert desk.refuses(side=-1, order_type="LIT", limit_price=1.0, aux_price=1.0) == {"price_collar_percent"}
    assert desk.refuses(order_type="LIT", limit_price=150.0, aux_price=150.0) == set()
    assert desk.refuses(side=-1, order_type="LIT", limit_price=250.0, aux_price=251.0) == set()
    assert desk.refuses(order_type="LIT", limit_price=155.0, aux_price=150.0) == {"price_collar_percent"}


def legs(ratio: float = 1.0, multiplier: float | None = 100.0) -> tuple[OrderLeg, ...]:
    return (
        OrderLeg(1, 1.0, 1, "SMART", "call 1", "AAPL", "OPT", "USD", multiplier),
        OrderLeg(2, ratio, -1, "SMART", "call 2", "AAPL", "OPT", "USD", multiplier),
    )


def spread(**more):
    return {"sec_type": "BAG", "con_id": 0, "instrument": "BAG-1", "legs": legs(), **more}


def test_a_combination_counts_gross_over_its_legs():
    desk = Desk(max_order_notional=3599)
    assert desk.refuses(5, **spread()) == {"max_order_notional"}  # no quotes of the legs
    desk.quotes |= {"call 1": MarketQuote(5.0, 5.1, at=desk.now), "call 2": MarketQuote(2.0, 2.1, at=desk.now)}
    assert desk.ask(5, **spread()).breaches[0].value == pytest.approx(3600)
    assert desk.refuses(4, **spread()) == set()
    assert desk.refuses(4, **spread(legs=legs(multiplier=None))) == {"max_order_notional"}
    assert Desk(max_order_quantity=9).refuses(5, **spread(legs=legs(2.0))) == {"max_order_quantity"}


def test_each_leg_of_a_combination_counts_for_its_position():
    desk = Desk(max_position=10)
    assert desk.refuses(5, **spread(legs=legs(2.0))) == set()
    desk.place(3, **spread(legs=legs(2.0)))
    assert desk.refuses(2, **spread(legs=legs(2.0))) == set()
    assert desk.refuses(2.5, **spread(legs=legs(2.0))) == {"max_position"}
    assert desk.refuses(4, -1, con_id=2, instrument="call 2") == set()
    assert desk.refuses(5, -1, con_id=2, instrument="call 2") == {"max_position"}


COLLAR = [(50.5, False), (51, False), (51.01, True)]


@pytest.mark.parametrize(("beyond", "refused"), [(-30, False), (0, False), (1, False), (1.01, True)])
@pytest.mark.parametrize("side", [1, -1])
def test_price_collar_percent(beyond, side, refused):
    desk = Desk(price_collar_percent=2)
    desk.quoted(50, 50)
    assert desk.refuses(side=side, limit_price=50 + side * beyond) == ({"price_collar_percent"} if refused else set())


@pytest.mark.parametrize(("beyond", "refused"), [(0.1, False), (0.11, True)])
def test_price_collar_ticks(beyond, refused):
    desk = Desk(price_collar_ticks=10)
    desk.quoted(49, 50, tick=0.01)
    assert desk.refuses(limit_price=50 + beyond) == ({"price_collar_ticks"} if refused else set())
    desk.quoted(49, 50)
    assert desk.refuses(limit_price=50.01) == {"price_collar_ticks"}  # the step is not known


def test_the_wider_of_percent_and_ticks_counts():
    desk = Desk(price_collar_percent=1, price_collar_ticks=10)
    desk.quoted(0.04, 0.05, tick=0.01)
    assert desk.refuses(limit_price=0.15) == set()
    assert desk.refuses(limit_price=0.16) == {"price_collar_percent"}


def test_a_collar_wants_a_quote_that_counts():
    desk = Desk(price_collar_percent=2, max_quote_age=10)
    assert desk.refuses() == {"price_collar_percent"}
    desk.quoted(49, 50, at=desk.now - 10 * S)
    assert desk.refuses() == set()
    desk.quoted(49, 50, at=desk.now - 10 * S - 1)
    assert desk.refuses() == {"price_collar_percent"}
    desk.quoted(49, 50, delayed=True)
    assert desk.refuses() == {"price_collar_percent"}
    used = Desk(price_collar_percent=2, delayed_quotes="use")
    used.quoted(49, 50, delayed=True)
    assert used.refuses() == set()


def test_the_limit_of_a_stop_order_is_judged_by_its_trigger():
    desk = Desk(price_collar_percent=2)
    assert desk.refuses(order_type="STP LMT", aux_price=100.0, limit_price=102.0) == set()
    assert desk.refuses(order_type="STP LMT", aux_price=100.0, limit_price=102.1) == {"price_collar_percent"}
    assert desk.refuses(order_type="MKT", limit_price=None) == set()


@pytest.mark.parametrize(
    ("word", "kind", "hours", "outside", "refused"),
    [
        ("always", "MKT", False, True, False),
        ("never", "MKT", True, False, True),
        ("never", "STP", True, False, True),
        ("never", "LMT", True, False, False),
        ("never", "SOMETHING NEW", True, False, True),
        ("rth", "MKT", True, False, False),
        ("rth", "MKT", False, False, True),
        ("rth", "MKT", None, False, True),
        ("rth", "STP", False, False, False),
        ("rth", "STP", True, True, True),
        ("rth", "LMT", False, True, False),
    ],
)
def test_market_orders(word, kind, hours, outside, refused):
    desk = Desk(market_orders=word)
    desk.hours = hours
    limit = 50.0 if kind == "LMT" else None
    found = desk.refuses(order_type=kind, outside_rth=outside, limit_price=limit)
    assert found == ({"market_orders"} if refused else set())


@pytest.mark.parametrize(
    ("limits", "more", "refused"),
    [
        ({"symbols": ["A*"]}, {}, False),
        ({"symbols": ["B*"]}, {}, True),
        ({"symbols": ["A*"]}, {"symbol": ""}, True),
        ({"deny_symbols": ["aapl"]}, {}, True),
        ({"deny_symbols": ["B*"]}, {}, False),
        ({"deny_symbols": ["B*"]}, {"symbol": ""}, True),
        ({"security_types": ["STK"]}, {}, False),
        ({"security_types": ["BAG"]}, spread(), True),
        ({"security_types": ["BAG", "OPT"]}, spread(), False),
        ({"deny_security_types": ["OPT"]}, spread(), True),
        ({"exchanges": ["SMART"]}, {"exchange": "ARCA"}, True),
        ({"deny_exchanges": ["ARCA"]}, {"exchange": "ARCA"}, True),
        ({"currencies": ["USD"]}, {"currency": "EUR"}, True),
        ({"deny_currencies": ["EUR"]}, {"currency": "USD"}, False),
        ({"allow_live": False}, {}, False),
        ({"allow_live": False}, {"account": "U1"}, True),
        ({"allow_live": False}, {"account": ""}, True),
        ({"allow_live": True}, {"account": "U1"}, False),
        ({"trading_window": ["Mon-Fri 09:30-16:00 America/New_York"]}, {}, False),
        ({"trading_window": ["Mon-Fri 13:00-16:00 America/New_York"]}, {}, True),
    ],
)
def test_what_may_be_traded(limits, more, refused):
    desk = Desk("all", **limits)
    assert desk.refuses(**more) == (set(limits) if refused else set())


def test_the_contracts_hours_are_a_window():
    desk = Desk(trading_window=[CONTRACT_HOURS])
    assert desk.refuses() == set()
    for desk.hours in (False, None):
        assert desk.refuses() == {"trading_window"}


def test_values_that_are_none_are_refused_without_any_limit():
    assert Desk().refuses(fault="totalQuantity is nan") == {"order_values"}


# -- counts


@RESTARTS
@SCOPES
@pytest.mark.parametrize("name", ["max_orders_per_second", "max_symbol_orders_per_second"])
def test_orders_per_second(restart, scope, name):
    desk = Desk(scope, **{name: 2})
    assert desk.refuses() == set()
    desk.place()
    desk.now += 500_000
    assert desk.refuses() == set()
    desk.place()
    if restart:
        desk.restart()
    assert desk.refuses() == {name}
    assert bool(desk.refuses(symbol="MSFT")) == (name == "max_orders_per_second")
    desk.now += 499_999
    assert desk.refuses() == {name}
    desk.now += 1
    assert desk.refuses() == set()


@RESTARTS
@pytest.mark.parametrize("name", ["max_orders_per_minute", "max_symbol_orders_per_minute"])
def test_orders_per_minute_count_changes_too(restart, name):
    desk = Desk("client", **{name: 3})
    order = desk.place()
    desk.gate.accepted(order._replace(limit_price=51.0, changes=order.name), desk.now)
    if restart:
        desk.restart()
    assert desk.refuses() == set()
    desk.place()
    assert desk.refuses() == {name}
    desk.now += 60 * S
    assert desk.refuses() == set()


@RESTARTS
def test_duplicate_window(restart):
    desk = Desk(duplicate_window=5)
    order = desk.place()
    if restart:
        desk.restart()
    desk.now += 5 * S - 1
    assert desk.refuses() == {"duplicate_window"}
    assert desk.refuses(101) == desk.refuses(side=-1) == desk.refuses(limit_price=50.01) == set()
    change = order._replace(changes=order.name)
    assert not desk.gate.evaluate(change, desk.now).breaches
    desk.now += 1
    assert desk.refuses() == set()


def test_an_order_that_never_left_is_no_duplicate():
    desk = Desk(duplicate_window=5)
    order = desk.place()
    desk.gate.book.ended(order.name, desk.now, left=False)
    assert desk.refuses() == set()


@RESTARTS
def test_max_repeated_fills(restart):
    desk = Desk(max_repeated_fills=2, repeated_fills_window=30)
    for _ in range(2):
        assert desk.refuses() == set()
        order = desk.place()
        desk.fill(order, 10)
        desk.fill(order, 90)  # the same order
        desk.gate.book.ended(order.name, desk.now, 100)
    if restart:
        desk.restart()
    assert desk.refuses() == {"max_repeated_fills"}
    assert desk.refuses(side=-1) == set()
    desk.now += 30 * S
    assert desk.refuses() == set()


@RESTARTS
@SCOPES
def test_max_open_orders(restart, scope):
    desk = Desk(scope, max_open_orders=2)
    order = desk.place()
    assert desk.refuses() == set()
    desk.place()
    if restart:
        desk.restart()
    assert desk.refuses() == {"max_open_orders"}
    assert desk.refuses(side=-1) == desk.refuses(con_id=7) == set()
    assert not desk.gate.evaluate(order._replace(changes=order.name), desk.now).breaches
    desk.gate.book.ended(order.name, desk.now)
    assert desk.refuses() == set()


@RESTARTS
def test_reject_breaker(restart):
    desk = Desk(reject_breaker=2, reject_window=10)
    for number in range(2):
        order = desk.place()
        desk.gate.rejected(order.name, desk.now)
        desk.gate.book.ended(order.name, desk.now)
        if not number:
            assert desk.refuses() == set()
    if restart:
        desk.restart()
    desk.wait(100_000)
    assert desk.refuses() == {"reject_breaker"}
    assert desk.refuses(client="beta") == set()
    desk.gate.resume(("client", "alpha"))
    assert desk.refuses() == set()
    order = desk.place()
    desk.gate.rejected(order.name, desk.now)
    assert desk.refuses() == set()


def test_a_breaker_opens_again_after_its_pause():
    desk = Desk("all", reject_breaker=1, reject_pause=60)
    desk.gate.rejected(desk.place().name, desk.now)
    desk.now += 60 * S - 1
    assert desk.refuses(client="beta") == {"reject_breaker"}
    desk.now += 1
    assert desk.refuses(client="beta") == set()


# -- positions


@RESTARTS
@SCOPES
@pytest.mark.parametrize(
    ("held", "bought", "sold", "order", "refused"),
    [
        (60, 20, 0, 20, False),
        (60, 20, 0, 20.5, True),
        (60, 0, 0, -160, False),
        (60, 0, 0, -161, True),
        (150, 0, 0, -150, False),
        (150, 0, 0, 1, True),
        (150, 0, 0, -250, False),
        (150, 0, 0, -251, True),
        (-150, 0, 0, 150, False),
        (0, 100, 0, -100, False),
        (0, 100, 90, -11, True),
    ],
)
def test_max_position(restart, scope, held, bought, sold, order, refused):  # noqa: PLR0917 -- a table's columns
    desk = Desk(scope, max_position=100)
    if held:
        desk.hold(held)
    if bought:
        desk.place(bought)
    if sold:
        desk.place(sold, -1)
    if restart:
        desk.restart()
    assert desk.refuses(abs(order), 1 if order > 0 else -1) == ({"max_position"} if refused else set())


def test_a_change_counts_as_the_order_that_it_makes():
    desk = Desk(max_position=100)
    order = desk.place(80)
    grown = order._replace(quantity=100.0, changes=order.name)
    assert not desk.gate.evaluate(grown, desk.now).breaches
    assert desk.gate.evaluate(grown._replace(quantity=101.0), desk.now).breaches
    desk.fill(order, 30)
    assert not desk.gate.evaluate(grown, desk.now).breaches  # 30 held, 70 to come


@pytest.mark.parametrize("taken", [True, False])
@RESTARTS
def test_the_larger_quantity_counts_until_tws_has_answered_a_change(taken, restart):
    desk = Desk(max_position=100)
    order = desk.place(80)
    desk.gate.accepted(order._replace(quantity=50.0, changes=order.name), desk.now)
    if restart:
        desk.restart()
    assert desk.refuses(20) == set()
    assert desk.refuses(21) == {"max_position"}
    desk.gate.book.settled(order.name, taken=taken)
    assert desk.refuses(50 if taken else 20) == set()
    assert desk.refuses(51 if taken else 21) == {"max_position"}


def test_a_partial_fill_moves_from_working_to_held():
    desk = Desk(max_position=100)
    order = desk.place(60)
    desk.fill(order, 25)
    assert desk.refuses(40) == set()
    assert desk.refuses(41) == {"max_position"}
    desk.gate.book.ended(order.name, desk.now, 25)
    assert desk.refuses(75) == set()
    assert desk.refuses(76) == {"max_position"}


def test_executions_that_are_to_come_count_for_ten_seconds():
    desk = Desk(max_position=100)
    order = desk.place(60)
    desk.gate.book.ended(order.name, desk.now, 60)
    assert desk.refuses(41) == {"max_position"}
    desk.wait(9.9)
    assert desk.refuses(41) == {"max_position"}
    desk.wait(0.1)
    assert desk.refuses(100) == set()
    desk.fill(order, 60)
    assert desk.refuses(41) == {"max_position"}


def test_a_correction_and_a_bust():
    desk = Desk(max_position=100)
    order = desk.place(60)
    fill = desk.fill(order, 60)
    new = fill._replace(quantity=50.0)
    desk.gate.book.corrected(fill, new, desk.now)
    assert desk.refuses(50) == set()
    assert desk.refuses(51) == {"max_position"}
    desk.gate.book.corrected(new, None, desk.now)
    assert desk.refuses(100) == set()


@pytest.mark.parametrize(("oca_type", "counts"), [(1, 80), (2, 80), (3, 140), (0, 140)])
def test_of_a_group_with_overfill_protection_the_largest_order_counts(oca_type, counts):
    desk = Desk(max_position=100 + counts)
    desk.place(60, oca_group="g", oca_type=oca_type)
    desk.place(80, oca_group="g", oca_type=oca_type)
    assert desk.refuses(100) == set()
    assert desk.refuses(101) == {"max_position"}


def bracket(desk: Desk, quantity: float = 100.0):
    entry = desk.order(quantity)
    return [entry, *(desk.order(quantity, -1, parent=entry.key, limit_price=price) for price in (60.0, 40.0))]


def test_a_bracket_passes_where_its_entry_does():
    desk = Desk(max_position=100, max_open_orders=2)
    orders = bracket(desk)
    assert not any(each.breaches for each in desk.gate.evaluate_group(orders, desk.now))
    assert desk.gate.book.working == {}
    for order in orders:
        desk.gate.accepted(order, desk.now)
    assert desk.refuses(100, -1) == {"max_open_orders"}  # the children count for nothing yet
    assert "max_position" in desk.refuses(101, -1)
    desk.fill(orders[0], 1)
    assert "max_position" in desk.refuses(2, -1)


def test_an_earlier_member_of_a_group_counts_for_the_later_ones():
    desk = Desk(max_position=100, max_orders_per_second=3, duplicate_window=5)
    orders = [desk.order(60), desk.order(40), desk.order(1), desk.order(60)]
    decisions = desk.gate.evaluate_group(orders, desk.now)
    assert [{each.rule for each in decision.breaches} for decision in decisions] == [
        set(),
        set(),
        {"max_position"},
        {"max_position", "max_orders_per_second", "duplicate_window"},
    ]
    assert desk.refuses(100) == set()
    before = desk.gate.book.dump()
    desk.gate.evaluate_group(orders, desk.now)
    assert desk.gate.book.dump()["working"] == before["working"]


def test_orders_of_other_programs_count_for_the_account():
    desk = Desk("account", max_position=100)
    desk.gate.works(desk.order(60, client="ext"), desk.now)
    desk.gate.book.reported("DU1", "AAPL", CONTRACT, 20.0, desk.now)
    assert desk.refuses(20) == set()
    assert desk.refuses(21) == {"max_position"}


def test_while_executions_and_reports_differ_the_worse_counts():
    desk = Desk("account", max_position=100)
    desk.hold(50)
    desk.gate.book.reported("DU1", "AAPL", CONTRACT, 80.0, desk.now)
    assert desk.refuses(21) == {"max_position"}
    assert desk.refuses(151, -1) == {"max_position"}
    desk.wait(9.9)
    assert desk.refuses(151, -1) == {"max_position"}
    desk.wait(0.1)
    assert desk.refuses(180, -1) == set()
    assert desk.refuses(181, -1) == {"max_position"}


def test_what_is_under_a_key_moves_to_the_con_id():
    desk = Desk(max_position=100, max_open_orders=1)
    order = desk.place(60, con_id=0)
    desk.fill(order, 10)
    desk.gate.book.identify("AAPL", 265598)
    assert desk.refuses(41) == {"max_position", "max_open_orders"}
    assert desk.refuses(40, con_id=0) == {"max_open_orders"}
    desk.restart()
    assert desk.refuses(41, con_id=0) == {"max_position", "max_open_orders"}
    desk.gate.book.ended(order.name, desk.now)
    assert desk.refuses(90) == set()


@pytest.mark.parametrize("taken", [True, False])
def test_a_change_that_is_on_its_way_moves_to_the_con_id(taken):
    desk = Desk(max_position=100)
    order = desk.place(60, con_id=0)
    desk.gate.accepted(order._replace(quantity=80.0, changes=order.name), desk.now)
    desk.gate.book.identify("AAPL", 265598)
    desk.gate.book.settled(order.name, taken=taken)
    assert desk.refuses(20 if taken else 40) == set()
    assert desk.refuses(21 if taken else 41) == {"max_position"}


def test_a_position_that_was_counted_under_two_names_is_right_after_ten_seconds():
    desk = Desk("account", max_position=100)
    desk.fill(desk.place(60, con_id=0), 60)
    desk.gate.book.reported("DU1", "AAPL-STK", CONTRACT, 60.0, desk.now)
    desk.gate.book.identify("AAPL", 265598)
    assert desk.refuses(1) == {"max_position"}
    desk.wait(10)
    assert desk.refuses(40) == set()
    assert desk.refuses(41) == {"max_position"}


# -- money


@RESTARTS
@SCOPES
def test_max_gross_exposure(restart, scope):
    desk = Desk(scope, max_gross_exposure=10_000)
    desk.hold(100)
    desk.quotes["MSFT"] = MarketQuote(50, 50, at=desk.now)
    desk.place(60, -1, con_id=7, instrument="MSFT")
    if restart:
        desk.restart()
    assert desk.refuses(40, -1, con_id=7, instrument="MSFT") == set()
    assert desk.refuses(41, -1, con_id=7, instrument="MSFT") == {"max_gross_exposure"}
    assert desk.refuses(100, -1) == set()
    desk.quoted(199, 201)
    desk.wait(1)
    assert desk.refuses(1, -1, con_id=7, instrument="MSFT") == {"max_gross_exposure"}
    assert desk.refuses(100, -1) == set()  # reduces


def test_an_order_is_valued_as_soon_as_its_price_is_known_and_stays_so():
    desk = Desk(max_daily_notional=20_000)
    order = desk.place(order_type="MKT", limit_price=None)
    assert desk.refuses() == {"max_daily_notional"}
    desk.quoted(99, 101)
    desk.wait(1)
    assert desk.refuses(200) == set()
    assert desk.refuses(201) == {"max_daily_notional"}
    desk.gate.accepted(order._replace(quantity=50.0, changes=order.name), desk.now)
    desk.gate.book.settled(order.name, taken=True)
    assert desk.refuses(298) == set()


def test_an_order_of_another_program_without_a_price_makes_no_other_worth_nothing():
    desk = Desk("account", max_gross_exposure=5000)
    desk.gate.works(desk.order(1, client="ext", order_type="MKT", limit_price=None), desk.now)
    assert desk.refuses(99) == set()
    assert desk.refuses(100) == {"max_gross_exposure"}


@RESTARTS
def test_max_net_exposure(restart):
    desk = Desk(max_net_exposure=5_000)
    desk.hold(100)
    if restart:
        desk.restart()
    other = {"con_id": 7, "instrument": "MSFT"}
    desk.quotes["MSFT"] = MarketQuote(50, 50, at=desk.now)
    assert desk.refuses(1, **other) == {"max_net_exposure"}
    assert desk.refuses(200, -1, **other) == set()
    assert desk.refuses(201, -1, **other) == {"max_net_exposure"}


def test_what_cannot_be_valued_refuses_what_does_not_reduce():
    desk = Desk("account", max_gross_exposure=1e9, max_net_exposure=1e9)
    desk.gate.book.reported("DU1", "X", {**CONTRACT, "conId": 9, "currency": "CHF"}, 5.0, desk.now)
    assert desk.refuses() == {"max_gross_exposure", "max_net_exposure"}
    assert desk.refuses(5, -1, con_id=9, instrument="X", currency="CHF") == {"max_net_exposure"}
    desk.rates["CHF"] = 1.2
    desk.quotes["X"] = MarketQuote(10, 10)
    desk.wait(1)
    assert desk.refuses() == set()


@RESTARTS
@SCOPES
def test_max_daily_notional(restart, scope):
    desk = Desk(scope, max_daily_notional=20_000)
    desk.hold(100)
    desk.place(100)
    if restart:
        desk.restart()
    assert desk.refuses(200) == set()
    assert desk.refuses(201) == {"max_daily_notional"}
    desk.fill(desk.place(200), 200)
    assert desk.refuses(1) == {"max_daily_notional"}
    assert desk.refuses(300, -1) == set()  # reduces
    assert desk.refuses(301, -1) == {"max_daily_notional"}
    desk.wait(12 * 3600)
    assert desk.refuses(300) == set()  # another day, with the 100 that still work
    assert desk.refuses(301) == {"max_daily_notional"}


@RESTARTS
@SCOPES
@pytest.mark.parametrize(("price", "refused"), [(47.5, False), (47.01, False), (47.0, False), (46.99, True)])
def test_max_daily_loss(restart, scope, price, refused):
    desk = Desk(scope, max_daily_loss=300)
    desk.hold(100)
    desk.quoted(price, price)
    desk.wait(1)
    if restart:
        desk.restart()
    assert desk.refuses(1) == ({"max_daily_loss"} if refused else set())
    assert desk.refuses(100, -1) == set()  # reduces
    assert desk.refuses(101, -1) == ({"max_daily_loss"} if refused else set())


def test_the_loss_of_a_day_begins_with_the_prices_of_the_morning():
    desk = Desk(max_daily_loss=300)
    desk.hold(100)
    desk.quoted(40, 40)
    desk.wait(1)
    assert desk.refuses(1) == {"max_daily_loss"}
    desk.wait(12 * 3600)
    assert desk.refuses(1) == set()
    desk.quoted(37, 37)
    desk.wait(1)
    assert desk.refuses(1) == set()
    desk.gate.book.charged("alpha", "DU1", "USD", 0.01)
    assert desk.refuses(1) == {"max_daily_loss"}
    desk.gate.book.charged("alpha", "DU1", "USD", -0.01)
    assert desk.refuses(1) == set()


def test_a_realised_loss_stays_and_its_bust_takes_it_back():
    desk = Desk(max_daily_loss=300)
    desk.hold(100)
    order = desk.place(100, -1)
    fill = desk.fill(order, 100, 46.0)
    desk.gate.book.ended(order.name, desk.now, 100)
    assert desk.refuses(1) == {"max_daily_loss"}
    desk.gate.book.corrected(fill, fill._replace(price=47.0), desk.now)
    assert desk.refuses(1) == set()


# -- the clock


def test_a_clock_that_is_set_back_keeps_the_day_and_ends_every_window():
    desk = Desk(
        max_daily_notional=5000, max_orders_per_minute=1, duplicate_window=30, reject_breaker=1, reject_pause=60
    )
    desk.wait(13 * 3600)  # tomorrow
    order = desk.place()
    desk.fill(order, 100)
    desk.gate.rejected(order.name, desk.now)
    desk.now -= 4 * 3600 * S  # yesterday again
    found = {"max_daily_notional", "max_orders_per_minute", "duplicate_window", "reject_breaker"}
    assert desk.refuses() == found
    desk.now += 30 * S
    assert desk.refuses() == found - {"duplicate_window"}
    desk.now += 30 * S
    assert desk.refuses() == {"max_daily_notional"}


def test_ten_times_a_tenth_is_not_more_than_one():
    desk = Desk(max_position=1)
    for _ in range(10):
        assert desk.refuses(0.1) == set()
        desk.fill(desk.place(0.1), 0.1)
    assert desk.refuses(0.0001) == {"max_position"}
