"""Contracts as TWS names them, and the spellings of clients."""

from __future__ import annotations

from typing import Any

from ibbridge.orders.known_contracts import KnownContracts
from ibbridge.protocol.instrument_key import instrument_key

AAPL = {"conId": 265598, "symbol": "AAPL", "secType": "STK", "currency": "USD", "tradingClass": "NMS"}
SHORT = {"symbol": "AAPL", "secType": "STK", "exchange": "SMART", "currency": "USD"}


def future(con_id: int, date: str, **more: Any) -> dict[str, Any]:
    kind = {"symbol": "ES", "secType": "FUT", "currency": "USD", "multiplier": "50"}
    return {"conId": con_id, **kind, "lastTradeDateOrContractMonth": date, **more}


def known(*contracts: dict[str, Any]) -> KnownContracts:
    found = KnownContracts()
    for contract in contracts:
        found.learn(contract)
    return found


def test_a_spelling_means_the_one_contract_that_fits() -> None:
    assert known(AAPL).identity(SHORT) == 265598
    assert known(AAPL).identity({"conId": 265598, "exchange": "SMART"}) == 265598


def test_what_tws_has_not_named_is_named_by_its_key_or_its_con_id() -> None:
    assert KnownContracts().identity(SHORT) == instrument_key(SHORT)
    assert KnownContracts().identity({"conId": 7}) == 7
    assert KnownContracts().find({"conId": 7}) is None


def test_a_month_fits_each_day_of_it_and_two_fitting_contracts_fit_none() -> None:
    given = {"symbol": "ES", "secType": "FUT", "exchange": "CME", "currency": "USD"}
    december = {**given, "lastTradeDateOrContractMonth": "202612"}
    contracts = known(future(1, "20261218"), future(2, "20270319"))
    assert contracts.identity(december) == 1
    assert contracts.identity(given) == instrument_key(given)
    contracts.learn(future(3, "20261218", tradingClass="E1"))
    assert contracts.identity(december) == instrument_key(december)


def test_what_tws_answers_for_a_spelling_counts_more_than_what_fits() -> None:
    contracts = known(AAPL)
    assert contracts.spelt({"localSymbol": "AAPL", "secType": "STK"}, AAPL)
    assert contracts.identity({"localSymbol": "AAPL", "secType": "STK"}) == 265598
    assert not contracts.spelt({"localSymbol": "AAPL", "secType": "STK"}, AAPL)


def test_strike_and_right_tell_options_apart() -> None:
    option = {"symbol": "AAPL", "secType": "OPT", "currency": "USD", "lastTradeDateOrContractMonth": "20260116"}
    contracts = known(
        *({"conId": number, **option, "strike": strike, "right": right, "multiplier": "100"}
          for number, (strike, right) in enumerate([(150.0, "C"), (150.0, "P"), (160.0, "C")], 1))
    )  # fmt: skip
    assert contracts.identity({**option, "strike": 150, "right": "PUT", "exchange": "SMART"}) == 2
    assert contracts.identity({**option, "strike": "160", "right": "C"}) == 3


def test_the_worth_of_a_unit_counts_the_magnifier_of_the_details() -> None:
    contracts = KnownContracts()
    contracts.learn(future(1, "20261218"))
    assert contracts.by_id(1).multiplier == 50  # type: ignore[union-attr]
    assert contracts.learn(future(1, "20261218"), {"priceMagnifier": 100, "minTick": 0.25})
    found = contracts.by_id(1)
    assert found is not None
    assert (found.multiplier, found.tick) == (0.5, 0.25)
    assert not contracts.learn(future(1, "20261218"))  # without details nothing is forgotten
    assert contracts.by_id(1) == found


def test_an_option_without_a_multiplier_has_an_unknown_worth() -> None:
    contracts = known({"conId": 5, "symbol": "X", "secType": "OPT"})
    assert contracts.by_id(5).multiplier is None  # type: ignore[union-attr]


def test_a_symbol_beside_another_conid_does_not_name_that_symbol() -> None:
    other = {"conId": 7, "symbol": "MSFT", "secType": "STK", "currency": "USD"}
    contracts = known(AAPL, other)
    wrong = {**SHORT, "conId": 7}
    assert contracts.identity(wrong) == 7
    assert contracts.identity(SHORT) == 265598
    assert not contracts.spelt(wrong, other)
    assert contracts.identity(SHORT) == 265598
