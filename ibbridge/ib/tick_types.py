"""Tick types of market data by number, and the generic tick numbers that request additional ticks.

The `tickType` identifies a tick, and decides which message carries the tick. `tickNews`, `marketDataType`,
`tickReqParams` and `tickSnapshotEnd` have no tick type. Ticks without a generic tick number come with every market data
request, where the product has them. The others are requested in `genericTickList`, a text of numbers joined by commas.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

NO_DEFAULTS = "mdoff"
"""Word in `genericTickList` that switches off the ticks that come without being requested."""


class TickType(NamedTuple):
    """A tick type, with IB's name and the type of message that carries the tick.

    A price comes with its size; `size_tick` is the tick type of the size when the size comes alone. `delayed` is the
    tick type that replaces this one where there is only delayed data. `generics` are the generic tick numbers that
    request the tick.
    """

    number: int
    name: str
    message: str
    meaning: str
    size_tick: int | None
    delayed: int | None
    generics: tuple[int, ...]


class GenericTick(NamedTuple):
    """A generic tick number of `genericTickList`, and the ticks that it requests.

    `ticks` are the requested tick types. `products` are the security types that have such ticks, where that is known.
    TWS accepts the number for other security types too, and then sends nothing.
    """

    number: int
    meaning: str
    ticks: tuple[int, ...]
    products: tuple[str, ...]


def _generics(*rows: tuple[int, str, tuple[int, ...], str]) -> dict[int, GenericTick]:
    return {row[0]: GenericTick(*row[:3], tuple(row[3].split())) for row in rows}


GENERIC_TICKS: Mapping[int, GenericTick] = _generics(
    (100, "option volume of the day, calls and puts", (29, 30), "STK IND OPT"),
    (101, "option open interest, calls and puts", (27, 28), "STK IND OPT"),
    (104, "historical volatility over 30 days", (23,), "STK IND"),
    (105, "average option volume", (87,), "STK IND"),
    (106, "implied volatility of the options", (24,), "STK IND"),
    (162, "premium of the index future over its index", (31,), "IND"),
    (165, "lows and highs of 13, 26 and 52 weeks, average volume", (15, 16, 17, 18, 19, 20, 21), ""),
    (221, "mark price, under its old number", (37,), ""),
    (225, "auction: volume, price, imbalances", (34, 35, 36, 61), "STK"),
    (232, "mark price", (37,), ""),
    (233, "trades as they are reported, with totals of the day (RTVolume)", (48,), ""),
    (236, "whether and how many shares can be sold short", (46, 89), "STK"),
    (258, "fundamental ratios; no longer sent", (47,), "STK"),
    (292, "headlines, as message tickNews; 292:BRFG+DJNL names the providers", (62,), ""),
    (293, "number of trades of the day", (54,), ""),
    (294, "trades in a minute", (55,), ""),
    (295, "volume in a minute", (56,), ""),
    (318, "last trade within regular trading hours", (57,), ""),
    (375, "trades as reported, without those that cannot be reported (RTTradeVolume)", (77,), ""),
    (411, "historical volatility, as of now", (58,), "STK IND"),
    (456, "dividends of the past and the next 12 months", (59,), "STK"),
    (460, "factor of a bond's principal", (60,), "BOND"),
    (576, "net asset value of an ETF: bid and ask", (94, 95), "STK"),
    (577, "net asset value of an ETF: last", (96,), "STK"),
    (578, "net asset value of an ETF: close of this and the day before", (92, 93), "STK"),
    (586, "price of an initial public offering: estimated and final", (101, 102), "STK"),
    (588, "open interest of a future", (86,), "FUT"),
    (595, "volume of the past 3, 5 and 10 minutes", (63, 64, 65), "STK"),
    (614, "net asset value of an ETF: high and low", (98, 99), "STK"),
    (619, "mark price, slowly updated: what IB computes with", (79,), ""),
    (623, "net asset value of an ETF: last, frozen", (97,), "STK"),
    (787, "quotes of odd lots: prices, sizes, exchanges", (105, 106, 107, 108, 109, 110), "STK"),
)
"""Generic ticks, by number."""

_BY_MESSAGE: Mapping[str, tuple[tuple[int, str, str], ...]] = {
    "tickPrice": (
        (1, "BID", "highest bid"),
        (2, "ASK", "lowest offer"),
        (4, "LAST", "last trade"),
        (6, "HIGH", "high of the day"),
        (7, "LOW", "low of the day"),
        (9, "CLOSE", "close of the day before, adjusted for corporate actions"),
        (14, "OPEN", "open of the day; before the open, of the day before"),
        (15, "LOW_13_WEEK", "low of 13 weeks"),
        (16, "HIGH_13_WEEK", "high of 13 weeks"),
        (17, "LOW_26_WEEK", "low of 26 weeks"),
        (18, "HIGH_26_WEEK", "high of 26 weeks"),
        (19, "LOW_52_WEEK", "low of 52 weeks"),
        (20, "HIGH_52_WEEK", "high of 52 weeks"),
        (35, "AUCTION_PRICE", "price at which the auction would trade now"),
        (37, "MARK_PRICE", "price at which TWS values a position"),
        (50, "BID_YIELD", "yield at the bid"),
        (51, "ASK_YIELD", "yield at the offer"),
        (52, "LAST_YIELD", "yield at the last trade"),
        (57, "LAST_RTH_TRADE", "last trade within regular trading hours"),
        (66, "DELAYED_BID", "bid, delayed"),
        (67, "DELAYED_ASK", "offer, delayed"),
        (68, "DELAYED_LAST", "last trade, delayed"),
        (72, "DELAYED_HIGH", "high of the day, delayed"),
        (73, "DELAYED_LOW", "low of the day, delayed"),
        (75, "DELAYED_CLOSE", "close of the day before, from delayed data"),
        (76, "DELAYED_OPEN", "open of the day, delayed"),
        (78, "CREDITMAN_MARK_PRICE", "not used"),
        (79, "CREDITMAN_SLOW_MARK_PRICE", "mark price, slowly updated: what IB computes with"),
        (92, "ETF_NAV_CLOSE", "net asset value of an ETF: close"),
        (93, "ETF_NAV_PRIOR_CLOSE", "net asset value of an ETF: close of the day before"),
        (94, "ETF_NAV_BID", "net asset value of an ETF: bid"),
        (95, "ETF_NAV_ASK", "net asset value of an ETF: offer"),
        (96, "ETF_NAV_LAST", "net asset value of an ETF: last"),
        (97, "ETF_FROZEN_NAV_LAST", "net asset value of an ETF: last, frozen"),
        (98, "ETF_NAV_HIGH", "net asset value of an ETF: high of the day"),
        (99, "ETF_NAV_LOW", "net asset value of an ETF: low of the day"),
        (103, "DELAYED_YIELD_BID", "yield at the bid, delayed"),
        (104, "DELAYED_YIELD_ASK", "yield at the offer, delayed"),
        (105, "ODD_LOT_BID", "highest bid for an odd lot"),
        (106, "ODD_LOT_ASK", "lowest offer of an odd lot"),
    ),
    "tickSize": (
        (0, "BID_SIZE", "size at the bid"),
        (3, "ASK_SIZE", "size at the offer"),
        (5, "LAST_SIZE", "size of the last trade"),
        (8, "VOLUME", "volume of the day"),
        (21, "AVG_VOLUME", "average volume of a day, over 90 days"),
        (22, "OPEN_INTEREST", "not used"),
        (27, "OPTION_CALL_OPEN_INTEREST", "open interest of the calls"),
        (28, "OPTION_PUT_OPEN_INTEREST", "open interest of the puts"),
        (29, "OPTION_CALL_VOLUME", "volume of the calls today"),
        (30, "OPTION_PUT_VOLUME", "volume of the puts today"),
        (34, "AUCTION_VOLUME", "volume that the auction would trade now"),
        (36, "AUCTION_IMBALANCE", "what the auction would leave untraded now"),
        (61, "REGULATORY_IMBALANCE", "imbalance that decides which orders for the open or close are still accepted"),
        (63, "SHORT_TERM_VOLUME_3_MIN", "volume of the past 3 minutes"),
        (64, "SHORT_TERM_VOLUME_5_MIN", "volume of the past 5 minutes"),
        (65, "SHORT_TERM_VOLUME_10_MIN", "volume of the past 10 minutes"),
        (69, "DELAYED_BID_SIZE", "size at the bid, delayed"),
        (70, "DELAYED_ASK_SIZE", "size at the offer, delayed"),
        (71, "DELAYED_LAST_SIZE", "size of the last trade, delayed"),
        (74, "DELAYED_VOLUME", "volume of the day, delayed"),
        (86, "FUTURES_OPEN_INTEREST", "open interest of the future"),
        (87, "AVG_OPT_VOLUME", "average volume of the options in a day"),
        (89, "SHORTABLE_SHARES", "shares that can be sold short"),
        (107, "ODD_LOT_BID_SIZE", "size at the bid for an odd lot"),
        (108, "ODD_LOT_ASK_SIZE", "size at the offer of an odd lot"),
    ),
    "tickGeneric": (
        (23, "OPTION_HISTORICAL_VOL", "historical volatility over 30 days"),
        (24, "OPTION_IMPLIED_VOL", "implied volatility over 30 days, from the options"),
        (31, "INDEX_FUTURE_PREMIUM", "points by which the index future is above its index"),
        (46, "SHORTABLE", "above 2.5: 1000 shares or more can be sold short; above 1.5: once located; else none"),
        (49, "HALTED", "-1 not known, 0 trading, 1 halted, 2 halted for volatility"),
        (54, "TRADE_COUNT", "trades of the day"),
        (55, "TRADE_RATE", "trades in a minute"),
        (56, "VOLUME_RATE", "volume in a minute"),
        (58, "RT_HISTORICAL_VOL", "historical volatility over 30 days, as of now"),
        (60, "BOND_FACTOR_MULTIPLIER", "what is left of the bond's principal, as a factor"),
        (90, "DELAYED_HALTED", "as HALTED, delayed"),
        (101, "ESTIMATED_IPO_MIDPOINT", "midpoint of the range in which the offering is expected"),
        (102, "FINAL_IPO_LAST", "price of the offering"),
    ),
    "tickString": (
        (25, "OPTION_BID_EXCH", "not used"),
        (26, "OPTION_ASK_EXCH", "not used"),
        (32, "BID_EXCH", "exchanges at the bid, a letter each (reqSmartComponents has their names)"),
        (33, "ASK_EXCH", "exchanges at the offer, a letter each"),
        (45, "LAST_TIMESTAMP", "time of the last trade, seconds since 1970 UTC"),
        (47, "NOT_USED", "was fundamental ratios"),
        (48, "RT_VOLUME", "a trade: price;size;time in ms;volume of the day;vwap;whether one market maker filled it"),
        (59, "IB_DIVIDENDS", "dividends: sum of the past 12 months,sum of the next,date of the next,its amount"),
        (62, "NEWS_TICK", "a headline, in the old form; now message tickNews"),
        (77, "RT_TRD_VOLUME", "as RT_VOLUME, without trades that cannot be reported"),
        (84, "LAST_EXCH", "exchange of the last trade, a letter"),
        (85, "LAST_REG_TIME", "time of the last trade by the exchange's report, milliseconds since 1970 UTC"),
        (88, "DELAYED_LAST_TIMESTAMP", "time of the last trade of delayed data, seconds since 1970 UTC"),
        (91, "REUTERS_2_MUTUAL_FUNDS", "figures of a mutual fund"),
        (100, "SOCIAL_MARKET_ANALYTICS", "figures of Social Market Analytics"),
        (109, "ODD_LOT_BID_EXCH", "exchanges at the bid for an odd lot"),
        (110, "ODD_LOT_ASK_EXCH", "exchanges at the offer of an odd lot"),
    ),
    "tickOptionComputation": (
        (10, "BID_OPTION_COMPUTATION", "volatility and greeks, from the option's bid"),
        (11, "ASK_OPTION_COMPUTATION", "volatility and greeks, from the option's offer"),
        (12, "LAST_OPTION_COMPUTATION", "volatility and greeks, from the option's last trade"),
        (13, "MODEL_OPTION", "volatility, price and greeks of IB's model"),
        (53, "CUST_OPTION_COMPUTATION", "answer to calculateImpliedVolatility and calculateOptionPrice"),
        (80, "DELAYED_BID_OPTION", "as from the bid, delayed"),
        (81, "DELAYED_ASK_OPTION", "as from the offer, delayed"),
        (82, "DELAYED_LAST_OPTION", "as from the last trade, delayed"),
        (83, "DELAYED_MODEL_OPTION", "as of the model, delayed"),
    ),
    "tickEFP": (
        (38, "BID_EFP_COMPUTATION", "exchange for physical, at the bid"),
        (39, "ASK_EFP_COMPUTATION", "exchange for physical, at the offer"),
        (40, "LAST_EFP_COMPUTATION", "exchange for physical, at the last trade"),
        (41, "OPEN_EFP_COMPUTATION", "exchange for physical, at the open"),
        (42, "HIGH_EFP_COMPUTATION", "exchange for physical, at the high"),
        (43, "LOW_EFP_COMPUTATION", "exchange for physical, at the low"),
        (44, "CLOSE_EFP_COMPUTATION", "exchange for physical, at the close"),
    ),
}

_SIZES = {1: 0, 2: 3, 4: 5, 66: 69, 67: 70, 68: 71}
_DELAYED = {1: 66, 2: 67, 4: 68, 0: 69, 3: 70, 5: 71, 6: 72, 7: 73, 8: 74, 9: 75, 14: 76, 45: 88, 49: 90}
_DELAYED |= {10: 80, 11: 81, 12: 82, 13: 83, 50: 103, 51: 104}


def _askers(number: int) -> tuple[int, ...]:
    return tuple(each.number for each in GENERIC_TICKS.values() if number in each.ticks)


_ROWS = sorted((*row, message) for message, rows in _BY_MESSAGE.items() for row in rows)

TICK_TYPES: Mapping[int, TickType] = {
    number: TickType(number, name, message, meaning, _SIZES.get(number), _DELAYED.get(number), _askers(number))
    for number, name, meaning, message in _ROWS
}
"""Tick types, by number."""
