from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibbridge.sim.engine import EPOCH
from ibbridge.sim.market.contract_resolver import ContractResolver
from ibbridge.sim.market.prices import Market, below, to_tick
from tests.support.simulator_client import AAPL, CALL, EURUSD, PUT

TODAY = date(2026, 1, 5)

QUOTED = [
    AAPL,
    EURUSD,
    CALL,
    {"secType": "FUT", "symbol": "ES"},
    {"secType": "CONTFUT", "symbol": "ES"},
    {"secType": "FOP", "symbol": "ES", "lastTradeDateOrContractMonth": "202603", "strike": 6800.0, "right": "P"},
    {"secType": "CRYPTO", "symbol": "BTC"},
    {"secType": "BOND", "symbol": "T"},
    {"secType": "CASH", "symbol": "USD", "currency": "JPY"},
]


def instrument(contract, seed=1):
    return ContractResolver(seed).one(contract, TODAY)


def test_the_same_seed_gives_the_same_market_whenever_it_starts():
    aapl = instrument(AAPL)
    monday, later = Market(1, EPOCH), Market(1, EPOCH + 12_345_678)
    for passed in (0.0, 0.25, 17.5, 3600.0):
        assert monday.quote(aapl, EPOCH + passed) == later.quote(aapl, EPOCH + 12_345_678 + passed)
    assert monday.yesterday_close(aapl, EPOCH) == later.yesterday_close(aapl, EPOCH + 12_345_678)


def test_another_seed_gives_another_market():
    quotes = {Market(seed, EPOCH).quote(instrument(AAPL, seed), EPOCH) for seed in range(5)}
    assert len(quotes) == 5


def test_who_asks_first_changes_nothing():
    aapl, euro = instrument(AAPL), instrument(EURUSD)
    one, other = Market(1, EPOCH), Market(1, EPOCH)
    first = one.quote(aapl, EPOCH), one.quote(euro, EPOCH)
    second = other.quote(euro, EPOCH), other.quote(aapl, EPOCH)
    assert first == second[::-1]


@settings(max_examples=50)
@given(quarter=st.integers(0, 400_000), contract=st.sampled_from(QUOTED))
def test_a_quote_is_on_the_tick_and_around_the_last_price(quarter, contract):
    found = ContractResolver(1).find(contract, TODAY)[0]
    quote = Market(1, EPOCH).quote(found, EPOCH + quarter / 4)
    assert quote.bid < quote.ask
    assert quote.bid <= quote.last <= quote.ask
    assert all(to_tick(price, found.tick) == price for price in (quote.bid, quote.ask, quote.last))


def test_the_bar_of_a_minute_has_the_extremes_of_its_trades():
    aapl, market = instrument(AAPL), Market(1, EPOCH)
    lasts = [market.quote(aapl, EPOCH + n / 4).last for n in range(240)]
    bar = market.bar(aapl, EPOCH, EPOCH + 60)
    assert (bar.open, bar.high, bar.low, bar.close) == (lasts[0], max(lasts), min(lasts), lasts[-1])


def test_options_follow_what_they_are_on():
    call, put, market = instrument(CALL), instrument(PUT), Market(1, EPOCH)
    upper, lower = market.greeks(call, EPOCH), market.greeks(put, EPOCH)
    assert upper.delta - lower.delta == pytest.approx(1.0)
    assert 0 < upper.delta < 1
    assert upper.gamma > 0
    assert upper.vega > 0
    assert upper.theta < 0
    quote = market.quote(call, EPOCH)
    assert quote.bid - 0.05 <= upper.price <= quote.ask + 0.05


def test_a_nearer_strike_of_a_call_costs_more():
    market = Market(1, EPOCH)
    calls = [instrument(CALL | {"strike": strike}) for strike in (200.0, 220.0, 240.0, 260.0)]
    prices = [market.quote(call, EPOCH).last for call in calls]
    assert prices == sorted(prices, reverse=True)


def test_a_later_future_carries_more_interest():
    found = ContractResolver(1).find({"secType": "FUT", "symbol": "ES"}, TODAY)
    market = Market(1, EPOCH)
    prices = [market.quote(future, EPOCH).last for future in found]
    assert prices == sorted(prices)
    assert len(set(prices)) == 4


def test_a_combination_costs_what_its_legs_cost():
    catalogue, market = ContractResolver(1), Market(1, EPOCH)
    call, higher = catalogue.one(CALL, TODAY), catalogue.one(CALL | {"strike": 240.0}, TODAY)
    legs = [
        {"conId": call.con_id, "ratio": 1, "action": "BUY", "exchange": "SMART"},
        {"conId": higher.con_id, "ratio": 1, "action": "SELL", "exchange": "SMART"},
    ]
    spread = catalogue.one({"secType": "BAG", "symbol": "AAPL", "comboLegs": legs}, TODAY)
    expected = market.quote(call, EPOCH).last - market.quote(higher, EPOCH).last
    assert market.quote(spread, EPOCH).last == pytest.approx(expected, abs=0.02)
    bar = market.bar(spread, EPOCH, EPOCH + 60)
    assert bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high


def test_only_options_have_greeks():
    with pytest.raises(ValueError, match="no option"):
        Market(1, EPOCH).greeks(instrument(AAPL), EPOCH)


@given(price=st.floats(0.01, 1e6), tick=st.sampled_from([0.01, 0.05, 0.25, 0.00005, 1.0]))
def test_below_is_the_highest_quotable_price_not_above(price, tick):
    found = below(price, tick)
    assert found <= price + 1e-6
    assert price - found < tick * 1.001
