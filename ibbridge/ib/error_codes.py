"""IB's error codes: the class of each code, whether the code ends its request or order, and what to do.

One code, one class, chosen by what a strategy does about it:

- `connectivity`: the link between TWS and IB, one of IB's data farms, or the link between ibbridge and TWS. The request
  is not at fault; wait, then check that its data goes on.
- `data`: the requested data will not come, or only in another form: market data, history, contracts, positions and
  account values, news. This includes a request for data that TWS cannot answer as it stands.
- `order`: an order, its change or its cancellation was refused, or the order is over.
- `warning`: information only. Nothing ends.
- `system`: limits, rights, settings, and faulty requests where the fault has nothing to do with a market or an order.
  These are for the programmer or the operator: trying again helps only against limits.

IB does not document classes. If IB's pages, or clients that have met the code, treat a code as a fault of a request,
its class is `data` or `order` where the code can only be about one of the two, else `system`. Codes about accounts,
advisors' set-up and news follow the same rule: `data` if requested data does not come, `order` if an order lacks its
account or allocation, `system` if the login lacks what the request needs.

The tables leave out 501 to 593 and 10038, which IB's client libraries raise themselves and TWS never sends; ibbridge
uses two of them, 504 and 508. A code outside the tables has the class of its range: 2100 to 2199 are warnings, 1100 to
1399 connectivity, and from 10000 on a code is a warning if its text says so. Any other code is `system`, and whether it
ends something is not known.
Texts change with TWS's version and language. So the text of a known code never changes its class, or whether the code
ends something.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, NamedTuple, TypeAlias, get_args

ErrorClass: TypeAlias = Literal["system", "warning", "order", "data", "connectivity"]

CLASSES: tuple[ErrorClass, ...] = get_args(ErrorClass)


class ErrorCode(NamedTuple):
    """An error code of IB's, with its class, its meaning and the action to take.

    `ends`: whether the request, subscription or order with the error's id is over; None where the error alone does not
    decide that.
    """

    code: int | None
    error_class: ErrorClass
    ends: bool | None
    meaning: str
    action: str

    @property
    def ends_one_shot(self) -> bool:
        """True if the code ends a one-shot. If `ends` is None, every code but a warning does."""
        return self.error_class != "warning" if self.ends is None else self.ends

    def ends_order(self, *, acknowledged: bool) -> bool | None:
        """Return whether the code ends an order; None if that is not known.

        A code that refuses a new order may also refuse a change to an order that TWS has acknowledged. The acknowledged
        order lives on: only a rejection or a cancellation ends it for sure.
        """
        if self.ends and acknowledged and self.code not in _FINAL:
            return None
        return self.ends


_FINAL = frozenset((201, 202))

_Row: TypeAlias = tuple[int | Iterable[int], bool | None, str, str]

_AGAIN = "correct it and ask again"
_PLACE = "correct the order and place it again"
_GIVE_UP = "do without it"
_LOOK = "look up the order's status and executions before anything else"
_READ = "read the text"
_NOTHING = "nothing"

_ROWS: Mapping[ErrorClass, tuple[_Row, ...]] = {
    "connectivity": (
        (326, True, "the client id is in use; TWS closes the connection", "choose another tws.client_id, or wait"),
        (357, True, "the client's version is out of date", "update ibbridge"),
        (504, True, "ibbridge has no connection to TWS; the request gets no response", "ask again when there is one"),
        (1100, False, "TWS has lost its connection to IB; orders at IB live on", "hold new work, and wait"),
        (1101, True, "connection to IB restored; market data subscriptions are lost", "cancel them and ask again"),
        (1102, False, "connection to IB restored; subscriptions go on", "check each of them; look up orders and fills"),
        (1300, True, "TWS listens on another port from now on, and closes this connection", "set tws.port"),
        (2103, False, "a market data farm is down; its ticks stop", "wait; take prices for old"),
        (2104, False, "a market data farm is up", "check that its subscriptions, bars above all, go on"),
        (2105, False, "a historical data farm is down; requests may stay unanswered", "hold historical requests"),
        (2106, False, "a historical data farm is up", "ask again for what had ended"),
        (2107, False, "a historical data farm sleeps until it is needed", _NOTHING),
        (2108, False, "a market data farm sleeps until it is needed", _NOTHING),
        (2110, False, "TWS has lost its connection to IB, and will restore it itself", "hold new work, and wait"),
        (2119, False, "a market data farm is being connected", _NOTHING),
        (2157, False, "the farm of contract definitions is down; lookups fail, perhaps with 200", "hold lookups"),
        (2158, False, "the farm of contract definitions is up", "look up again what failed"),
        (10182, True, "live updates of this request have failed: the link was lost", "ask again when the farm is up"),
        (10197, None, "another login has the market data; it falls silent here", "cancel and ask again, slowly"),
        (10328, None, "connection lost; what became of the order is not known", _LOOK),
    ),
    "system": (
        (100, None, "more messages a second than allowed; this one was dropped, the third time closes", "slow down"),
        (101, True, "no market data lines left", "cancel others, then ask again"),
        (102, True, "the request id is in use; the older request lives", _AGAIN),
        (309, True, "as many market depth requests as allowed are open", "cancel one, then ask again"),
        (319, True, "there is no such log level", _AGAIN),
        (320, True, "TWS could not read the request", "a bug, or versions that do not fit: tell ibbridge's authors"),
        (321, True, "the request is not valid; the text has the cause", "correct it; never repeat it unchanged"),
        (322, True, "the request failed in processing: duplicate id, limit, or unknown id", _READ),
        (323, True, "the request failed at IB; the text has the cause", _READ),
        (327, True, "only client id 0 may bind manual orders by itself", "set tws.client_id to 0, or do without"),
        ((330, 331), True, "the login manages no accounts of others", "take the accounts of managedAccounts"),
        (332, True, "account codes are not valid", _AGAIN),
        (344, True, "the login is not that of a financial advisor", _GIVE_UP),
        (385, True, "the scanner's request id is in use; the older one lives", _AGAIN),
        (386, True, "the historical query's request id is in use; the older one lives", _AGAIN),
        ((395, 396, 397), True, "problems at IB limit which order types are taken", "try later, or another type"),
        (10015, True, "trading is not allowed through the API", "the operator must allow it in TWS"),
        (10190, True, "as many tick-by-tick requests as allowed are open", "cancel one, then ask again"),
        (10230, True, "the advisor's configuration has changes that are not saved", "save them in TWS; ask again"),
        (10231, True, "the advisor's groups name accounts that are not valid", _AGAIN),
        (10238, True, "the advisor's set-up failed at IB", "try later"),
    ),
    "data": (
        (162, True, "historical data or scanner: no data, pacing, rights or a cancel; see the text", "if pacing: wait"),
        (166, True, "the contract has expired too long ago for this", _GIVE_UP),
        (200, True, "no such contract, or more than one", "correct the contract; if 2157 came before, ask again later"),
        (316, True, "market depth halted", "ask again"),
        (354, True, "no subscription to this market data", "reqMarketDataType 3 gives delayed data; or do without"),
        (406, True, "the currency is not allowed", _AGAIN),
        (407, True, "the symbol has characters that are not ASCII", _AGAIN),
        (414, True, "a snapshot has no generic ticks", "leave out genericTickList"),
        (420, True, "real-time bars or ticks refused: pacing, or no rights", "if pacing: wait ten minutes"),
        (430, True, "no fundamental data for this contract", _GIVE_UP),
        (
            508,
            None,
            "ibbridge cannot read a message of TWS; sys.tws.decodeError has its bytes",
            "report the bytes; ask for less, or in another way",
        ),
        (2100, True, "account updates have ended: cancelled, or replaced by another request", "ask again if wanted"),
        (2101, True, "another client has the updates of another account", "share one account's updates"),
        ((2150, 2151), None, "positions are not available yet", "ask again later"),
        (10089, None, "not subscribed for the API; delayed data may follow", "wait for ticks; cancel if none come"),
        (10091, None, "as 10089, for a part of the requested data", "wait for ticks; cancel if none come"),
        (10092, True, "no market depth for this product on this exchange", "ask for another exchange"),
        (10159, True, "the search for symbols failed", "ask again after a second"),
        (10168, True, "not subscribed, and delayed data is not enabled", "reqMarketDataType 3, then ask again"),
        (10172, True, "the news article is not available", _GIVE_UP),
        (10186, True, "not subscribed, and delayed data is not enabled", "reqMarketDataType 3, then ask again"),
        (10187, True, "no rights to historical ticks", _GIVE_UP),
        (10188, True, "no histogram for this", _GIVE_UP),
        (10189, True, "no tick-by-tick data: rights, product, or another login", "do without it, or try later"),
        (10225, True, "the subscription was deactivated after a bust event", "cancel it, then ask again"),
        ((10276, 10277), True, "no rights to this news or calendar", _GIVE_UP),
        ((10278, 10281), True, "the same calendar request is under way", "wait for its answer"),
        ((10279, 10280, 10283, 10284), True, "the calendar request, or its cancel, failed", "try later"),
        (10282, True, "calendar events need reqWshMetaData first", "ask for it, then for events"),
        (10295, True, "a schedule needs daily bars; also: a rule of tax-loss orders", _AGAIN),
        (10299, True, "the product has other data than this whatToShow; the text names it", _AGAIN),
        ((10300, 10301, 10314, 10315, 10330), True, "a date or time is not in a form that TWS reads", _AGAIN),
        (10309, True, "the calendar event request is not valid", _AGAIN),
        (10322, True, "the account group All is not available here", "name the accounts"),
        ((10337, 10338), True, "a miscellaneous option of the request is not known, or its value not", _AGAIN),
        (10339, True, "a continuous future has no end time", "leave out endDateTime"),
        (10346, True, "the instrument's ticker is shown on another host", "tell the operator"),
    ),
    "order": (
        (103, None, "the order id was used before, by an order that TWS may have", _LOOK),
        (104, False, "a filled order cannot be changed", "read its executions"),
        (105, False, "the change does not fit the order, which lives on", "send the same contract and side"),
        (106, True, "the order cannot be transmitted", _PLACE),
        (107, True, "the order is not complete", _PLACE),
        (109, True, "the price is too far from the market for the precautions set in TWS", _PLACE),
        (110, True, "the price is no multiple of the contract's minimum tick", "round it (reqMarketRule)"),
        (111, True, "the time in force does not go with the order type", _PLACE),
        (113, True, "MOC and LOC orders need the time in force DAY", _PLACE),
        (116, True, "the exchange takes no orders", _PLACE),
        (132, True, "no account to clear the order", _PLACE),
        (133, None, "the order could not be submitted", _LOOK),
        (134, False, "the change could not be submitted", _LOOK),
        (135, False, "there is no order with this order id", _LOOK),
        (136, False, "the order cannot be cancelled", _LOOK),
        (144, True, "size and allocation do not add up", _PLACE),
        (146, True, "the trigger method is not valid", _PLACE),
        (147, True, "the order's condition is not complete", _PLACE),
        (152, True, "the order may not be hidden", _PLACE),
        (154, True, "trading in the instrument is halted", "try later"),
        (160, True, "the size is zero", _PLACE),
        (161, False, "the order is in no state to be cancelled", _LOOK),
        ((163, 382, 383), True, "price, ticks or size go against the precautions set in TWS", _PLACE),
        (201, True, "the order was rejected; the text has the reason", "read the reason; do not repeat it unchanged"),
        (202, True, "the order is cancelled", "nothing, if it was asked for"),
        (203, True, "the product is not available to, or not allowed for, the account", _GIVE_UP),
        (303, True, "the action is not valid", _PLACE),
        ((311, 312, 313, 314, 315), True, "origin or legs of the combination are not valid", _PLACE),
        (325, True, "no discretionary amount is possible here", _PLACE),
        (328, True, "a trailing stop cannot be attached to this order", _PLACE),
        (329, False, "the order cannot be changed to that type; it lives on", "cancel it and place another"),
        (334, True, "the good-till date is not valid", _PLACE),
        ((336, 337, 343, 391), True, "a date, time or time zone is not valid", _PLACE),
        (338, True, "the exchange has no good-after time", _PLACE),
        (range(347, 354), True, "a rule of short sales' slots is broken", _PLACE),
        ((355, 388), True, "the size goes against the market's rules, or is below its minimum", _PLACE),
        ((361, 362, 363, 364), True, "values of a trigger or an adjusted stop are not valid", _PLACE),
        (387, True, "the order type is not supported for this product on this exchange", _PLACE),
        (392, True, "the contract has expired", _GIVE_UP),
        (400, True, "the algo refused the order", _PLACE),
        (412, True, "the contract is not available for trading", _GIVE_UP),
        (413, True, "a what-if order needs transmit", _PLACE),
        (434, None, "the size cannot be zero", _LOOK),
        (435, True, "the order names no account", _PLACE),
        (436, True, "the order names no allocation", _PLACE),
        (range(439, 444), True, "definition or attributes of the algo are not valid", _PLACE),
        (444, False, "the volatility order's combination is not acknowledged yet", "try again"),
        (range(446, 450), True, "fields of a scale order are not valid", _PLACE),
        (460, True, "no rights to trade this", "the operator must ask IB for them"),
        (10006, True, "the parent order is missing", "place it, and the child a moment later"),
        (10020, True, "the display size is above the order's size", _PLACE),
        (10147, False, "the order to be cancelled is not found: over, or another client's", _LOOK),
        (10148, False, "the order cannot be cancelled; the text has its state", _LOOK),
        ((10242, 10243), True, "orders with a fraction of a share are not possible through the API", "whole sizes"),
        (
            (*range(10244, 10253), 10285, 10286, 10318),
            True,
            "rules of cash quantities, or of fractions and decimals, are broken",
            _PLACE,
        ),
        (range(10268, 10271), True, "EtradeOnly, firmQuoteOnly, nbboPriceCap are no longer supported", "leave it out"),
        (range(10288, 10294), True, "a rule of cash quantities of crypto orders is broken", _PLACE),
        (range(10303, 10308), True, "minimum trade or offsets from the midpoint are not valid", _PLACE),
        (10316, True, "the attribute for triggers outside regular hours is no longer supported", "use outsideRth"),
        (range(10324, 10328), True, "parameters of the OCA group, or their change, are not allowed", _PLACE),
        (10340, True, "an attribute of the order is not supported", _PLACE),
        (10341, True, "an order's parent cannot be changed", "cancel it and place another"),
    ),
    "warning": (
        (164, False, "no market data to check the price against", _NOTHING),
        (165, None, "a message of the historical data service; the only response if no data was found", _NOTHING),
        (300, False, "no such market data to cancel", _NOTHING),
        (310, False, "no such market depth to cancel", _NOTHING),
        (317, False, "the market depth begins anew", "empty the book; new rows follow"),
        (365, False, "no such scanner to cancel", _NOTHING),
        (366, False, "no such historical query to cancel", _NOTHING),
        (399, False, "a message about the order, such as: held until the market opens", "log it"),
        (404, False, "the order is held while shares are located", "wait"),
        (462, False, "time in force or another attribute of the order was changed", "take openOrder for what holds"),
        (481, False, "the order's size was reduced", "take openOrder for what holds"),
        (492, False, "the scanner has only a part of the market data", _NOTHING),
        (2102, False, "the order is still being processed, so its change is refused", "try again in a moment"),
        (2109, False, "outsideRth means nothing for this order, and is ignored", _NOTHING),
        (2111, False, "the algo's times were moved to the next trading day", _NOTHING),
        (2130, False, "the product trades with a price factor", "check prices"),
        (2137, None, "the order turns a position from long to short or back; TWS may hold it", "set up TWS's Messages"),
        (2152, False, "the exchanges with and without market depth", _NOTHING),
        ((2168, 2169), False, "EtradeOnly and firmQuoteOnly are gone", "leave them out"),
        (2174, False, "a time without a zone was taken to be in TWS's", "name the zone"),
        (2176, False, "fractional sizes are cut off for this API version", _NOTHING),
        (10090, False, "a part of the requested data is not subscribed; the rest comes", _NOTHING),
        (10167, False, "not subscribed; delayed data follows", "expect the delayed tick types"),
        (10233, False, "the order took defaults from a preset of TWS", "take openOrder for what holds"),
        (10311, False, "the order is routed directly to an exchange", "allow it in TWS's precautions"),
        (10329, None, "the order is routed directly; TWS may discard it", "allow it in TWS's precautions"),
    ),
}


def _codes() -> Iterator[ErrorCode]:
    for error_class, rows in _ROWS.items():
        for codes, ends, meaning, action in rows:
            for code in (codes,) if isinstance(codes, int) else codes:
                yield ErrorCode(code, error_class, ends, meaning, action)


ERROR_CODES: Mapping[int, ErrorCode] = {each.code: each for each in sorted(_codes()) if each.code is not None}
"""Known error codes, by code."""


def about(code: int | None, text: str | None = "") -> ErrorCode:
    """Return what is known of a code. For an unknown code, its range and (from 10000 on) its text give the class."""
    if code is None:
        return ErrorCode(code, "system", None, "an error without a code", _READ)
    if code in ERROR_CODES:
        return ERROR_CODES[code]
    if 2100 <= code < 2200 or (code >= 10_000 and "warning" in (text or "").lower()):
        return ErrorCode(code, "warning", ends=False, meaning="not known; a warning by range or text", action=_READ)
    if 1100 <= code < 1400:
        return ErrorCode(code, "connectivity", None, "not known; about a connection, by its range", _READ)
    return ErrorCode(code, "system", None, "not known", _READ)
