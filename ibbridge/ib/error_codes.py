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

The table has every code of IB's list that TWS can send about an order, those of orders that IB's list lacks and clients
have met (such as 462, 10058, 10349), and the other codes of requests. It leaves out 501 to 593 and 10038, which IB's
client libraries raise themselves and TWS never sends; ibbridge uses two of them, 504 and 508. It also leaves out the
codes of TWS's DDE interface. A code outside the table has the class of its range: 2100 to 2199 are warnings, 1100 to
1399 connectivity, and from 10000 on a code is a warning if its text says so. Any other code is `system`, and whether it
ends something is not known.

Texts change with TWS's version and language. So the text of a known code never changes its class, or whether the code
ends something.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias, get_args

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ErrorClass: TypeAlias = Literal["system", "warning", "order", "data", "connectivity"]

CLASSES: tuple[ErrorClass, ...] = get_args(ErrorClass)

Refused: TypeAlias = Literal["change", "cancellation"]


class Effect(NamedTuple):
    """The parts of an error code's meaning that decide what is over.

    `ends`: whether the request or subscription with the error's id is over. `ends_new`: the same of an order of which
    TWS has said nothing before. `ends_working`: the same of an order that TWS works. Each is None where the error alone
    does not decide that. `refuses`: the only thing that the code can refuse, if that is the change or the cancellation
    of an order.
    """

    ends: bool | None
    ends_new: bool | None
    ends_working: bool | None
    refuses: Refused | None = None


class ErrorCode(NamedTuple):
    """An error code of IB's, with its class, its effect, its meaning and the action to take. See `Effect`."""

    code: int | None
    error_class: ErrorClass
    ends: bool | None
    ends_new: bool | None
    ends_working: bool | None
    refuses: Refused | None
    meaning: str
    action: str

    @property
    def ends_one_shot(self) -> bool:
        """True if the code ends a one-shot. If `ends` is None, every code but a warning does."""
        return self.error_class != "warning" if self.ends is None else self.ends

    def ends_order(self, *, acknowledged: bool, followed: bool = False) -> bool | None:
        """Return whether the code ends an order; None if that is not known.

        `acknowledged`: TWS has reported the order. `followed`: a change or a cancellation of the order was sent. The
        error may be about that, or about the order itself.
        """
        if acknowledged or (followed and self.refuses):
            return self.ends_working
        return self.ends_new if not followed or self.ends_new == self.ends_working else None


_Row: TypeAlias = tuple[int | tuple[int, ...], Effect, str, str]

_YES = Effect(ends=True, ends_new=True, ends_working=None)
"""The request or the order is refused. Where the order is working, its change may have been refused."""

_NEW = Effect(ends=True, ends_new=True, ends_working=False)
"""The request or the order is refused by a check of TWS itself, before anything is sent: a working order lives on."""

_ANY = Effect(ends=True, ends_new=True, ends_working=True)
"""The order is over, working or not."""

_DATA = Effect(ends=True, ends_new=None, ends_working=None)
"""The request is refused. TWS also holds orders back with this code."""

_CHANGE = Effect(ends=False, ends_new=None, ends_working=False, refuses="change")
_CANCEL = Effect(ends=False, ends_new=None, ends_working=False, refuses="cancellation")
"""The change or the cancellation is refused. These codes say nothing of an order that had neither."""

_NO = Effect(ends=False, ends_new=False, ends_working=False)
_OPEN = Effect(ends=None, ends_new=None, ends_working=None)
"""The code does not say what is over."""

_AGAIN = "correct it and ask again"
_PLACE = "correct the order and place it again"
_GIVE_UP = "do without it"
_LOOK = "look up the order's status and executions before anything else"
_READ = "read the text"
_NOTHING = "nothing"
_CONFIRM = "look up the order's status; switch the message off in TWS's Messages or Precautions"
_ROUTED = "allow it in TWS's precautions"

_ROWS: Mapping[ErrorClass, tuple[_Row, ...]] = {
    "connectivity": (
        (326, _YES, "the client id is in use; TWS closes the connection", "choose another tws.client_id, or wait"),
        (357, _YES, "the client's version is out of date", "update ibbridge"),
        (504, _YES, "ibbridge has no connection to TWS; the request gets no response", "ask again when there is one"),
        (1100, _NO, "TWS has lost its connection to IB; orders at IB live on", "hold new work, and wait"),
        (1101, _YES, "connection to IB restored; market data subscriptions are lost", "cancel them and ask again"),
        (1102, _NO, "connection to IB restored; subscriptions go on", "check each of them; look up orders and fills"),
        (1300, _YES, "TWS listens on another port from now on, and closes this connection", "set tws.port"),
        (2103, _NO, "a market data farm is down; its ticks stop", "wait; take prices for old"),
        (2104, _NO, "a market data farm is up", "check that its subscriptions, bars above all, go on"),
        (2105, _NO, "a historical data farm is down; requests may stay unanswered", "hold historical requests"),
        (2106, _NO, "a historical data farm is up", "ask again for what had ended"),
        (2107, _NO, "a historical data farm sleeps until it is needed", _NOTHING),
        (2108, _NO, "a market data farm sleeps until it is needed", _NOTHING),
        (2110, _NO, "TWS has lost its connection to IB, and will restore it itself", "hold new work, and wait"),
        (2119, _NO, "a market data farm is being connected", _NOTHING),
        (2157, _NO, "the farm of contract definitions is down; lookups fail, perhaps with 200", "hold lookups"),
        (2158, _NO, "the farm of contract definitions is up", "look up again what failed"),
        (10182, _YES, "live updates of this request have failed: the link was lost", "ask again when the farm is up"),
        (10197, _OPEN, "another login has the market data; it falls silent here", "cancel and ask again, slowly"),
        (10328, _OPEN, "connection lost; what became of the order is not known", _LOOK),
    ),
    "system": (
        (100, _OPEN, "more messages a second than allowed; this one was dropped, the third time closes", "slow down"),
        (101, _YES, "no market data lines left", "cancel others, then ask again"),
        (102, _YES, "the request id is in use; the older request lives", _AGAIN),
        (139, _YES, "TWS could not parse the request", "a bug, or versions that do not fit: tell ibbridge's authors"),
        (143, _YES, "the request id is no whole number", "a bug: tell ibbridge's authors"),
        (309, _YES, "as many market depth requests as allowed are open", "cancel one, then ask again"),
        (319, _YES, "there is no such log level", _AGAIN),
        (320, _NEW, "TWS could not read the request", "a bug, or versions that do not fit: tell ibbridge's authors"),
        (321, _NEW, "the request is not valid; the text has the cause", "correct it; never repeat it unchanged"),
        (322, _YES, "the request failed in processing: duplicate id, limit, or unknown id", _READ),
        (323, _YES, "the request failed at IB; the text has the cause", _READ),
        (327, _YES, "only client id 0 may bind manual orders by itself", "set tws.client_id to 0, or do without"),
        ((330, 331), _YES, "the login manages no accounts of others", "take the accounts of managedAccounts"),
        (332, _YES, "account codes are not valid", _AGAIN),
        (344, _YES, "the login is not that of a financial advisor", _GIVE_UP),
        (385, _YES, "the scanner's request id is in use; the older one lives", _AGAIN),
        (386, _YES, "the historical query's request id is in use; the older one lives", _AGAIN),
        (395, _YES, "problems at IB: no orders with an OCA group are taken", "try later, or without a group"),
        (396, _YES, "problems at IB: only market and limit orders are taken for this", "try later, or another type"),
        (397, _YES, "problems at IB: as 396", "try later, or another type"),
        (401, _YES, "a text of the request is too long", _AGAIN),
        (438, _YES, "TWS is locked", "the operator must unlock it"),
        (10015, _YES, "trading is not allowed through the API", "the operator must allow it in TWS"),
        (10190, _YES, "as many tick-by-tick requests as allowed are open", "cancel one, then ask again"),
        (10230, _YES, "the advisor's configuration has changes that are not saved", "save them in TWS; ask again"),
        (10231, _YES, "the advisor's groups name accounts that are not valid", _AGAIN),
        (10238, _YES, "the advisor's set-up failed at IB", "try later"),
        (10357, _YES, "TWS keeps its configuration from the API", "the operator must change it in TWS"),
    ),
    "data": (
        (138, _YES, "TWS could not parse the request for market data", _AGAIN),
        (162, _YES, "historical data or scanner: no data, pacing, rights or a cancel; see the text", "if pacing: wait"),
        (166, _YES, "the contract has expired too long ago for this", _GIVE_UP),
        (200, _YES, "no such contract, or more than one", "correct the contract; if 2157 came before, ask again later"),
        (316, _YES, "market depth halted", "ask again"),
        (354, _DATA, "no subscription to this market data", "reqMarketDataType 3 gives delayed data; or do without"),
        (406, _YES, "the currency is not allowed", _AGAIN),
        (407, _YES, "the symbol has characters that are not ASCII", _AGAIN),
        (414, _YES, "a snapshot has no generic ticks", "leave out genericTickList"),
        (420, _YES, "real-time bars or ticks refused: pacing, or no rights", "if pacing: wait ten minutes"),
        (430, _YES, "no fundamental data for this contract", _GIVE_UP),
        (431, _YES, "whatToShow is missing or not valid", _AGAIN),
        (
            508,
            _OPEN,
            "ibbridge cannot read a message of TWS; sys.tws.decodeError has its bytes",
            "report the bytes; ask for less, or in another way",
        ),
        (2100, _YES, "account updates have ended: cancelled, or replaced by another request", "ask again if wanted"),
        (2101, _YES, "another client has the updates of another account", "share one account's updates"),
        ((2150, 2151), _OPEN, "positions are not available yet", "ask again later"),
        (10089, _OPEN, "not subscribed for the API; delayed data may follow", "wait for ticks; cancel if none come"),
        (10091, _OPEN, "as 10089, for a part of the requested data", "wait for ticks; cancel if none come"),
        (10092, _YES, "no market depth for this product on this exchange", "ask for another exchange"),
        (10159, _YES, "the search for symbols failed", "ask again after a second"),
        (10168, _YES, "not subscribed, and delayed data is not enabled", "reqMarketDataType 3, then ask again"),
        (10172, _YES, "the news article is not available", _GIVE_UP),
        (10186, _YES, "not subscribed, and delayed data is not enabled", "reqMarketDataType 3, then ask again"),
        (10187, _YES, "no rights to historical ticks", _GIVE_UP),
        (10188, _YES, "no histogram for this", _GIVE_UP),
        (10189, _YES, "no tick-by-tick data: rights, product, or another login", "do without it, or try later"),
        (10200, _YES, "the account group All is not available on this login", "name the accounts"),
        (10225, _YES, "the subscription was deactivated after a bust event", "cancel it, then ask again"),
        ((10276, 10277), _YES, "no rights to this news or calendar", _GIVE_UP),
        ((10278, 10281), _YES, "the same calendar request is under way", "wait for its answer"),
        ((10279, 10280, 10283, 10284), _YES, "the calendar request, or its cancel, failed", "try later"),
        (10282, _YES, "calendar events need reqWshMetaData first", "ask for it, then for events"),
        (10295, _YES, "a schedule needs daily bars; also: a rule of tax-loss orders", _AGAIN),
        (10299, _YES, "the product has other data than this whatToShow; the text names it", _AGAIN),
        ((10300, 10301, 10314, 10315, 10330), _YES, "a date or time is not in a form that TWS reads", _AGAIN),
        (10309, _YES, "the calendar event request is not valid", _AGAIN),
        (10322, _YES, "the account group All is not available here", "name the accounts"),
        ((10337, 10338), _YES, "a miscellaneous option of the request is not known, or its value not", _AGAIN),
        (10339, _YES, "a continuous future has no end time", "leave out endDateTime"),
        (10346, _YES, "the instrument's ticker is shown on another host", "tell the operator"),
        (10358, _YES, "no rights to fundamental data", _GIVE_UP),
        (10372, _YES, "the contract's date of expiry is not in a form that TWS reads", _AGAIN),
    ),
    "order": (
        (103, _OPEN, "the order id was used before, by an order that TWS may have", _LOOK),
        (104, _CHANGE, "a filled order cannot be changed", "read its executions"),
        (105, _CHANGE, "the change does not fit the order, which lives on", "send the same contract and side"),
        (106, _YES, "the order cannot be transmitted", _PLACE),
        (107, _YES, "the order is not complete", _PLACE),
        (109, _YES, "the price is too far from the market for the precautions set in TWS", _PLACE),
        (110, _NEW, "the price is no multiple of the contract's minimum tick", "round it (reqMarketRule)"),
        (111, _YES, "the time in force does not go with the order type", _PLACE),
        (113, _YES, "MOC and LOC orders need the time in force DAY", _PLACE),
        (114, _YES, "relative orders are for stocks only", _PLACE),
        (115, _YES, "relative orders for US stocks cannot go to this exchange", _PLACE),
        (116, _YES, "the exchange takes no orders", _PLACE),
        (117, _YES, "a block order needs a size of 50 or more", _PLACE),
        (118, _YES, "VWAP orders go to the exchange VWAP only", _PLACE),
        (119, _YES, "the exchange VWAP takes VWAP orders only", _PLACE),
        (120, _YES, "too late in the day for a VWAP order", "place it tomorrow, or another type"),
        (121, _YES, "the broker-dealer flag does not go with the destination", _PLACE),
        (122, _YES, "TWS has no tag for the request of this order", _PLACE),
        (123, _YES, "there is no contract with this conId", _PLACE),
        (124, _YES, "the contract has no market rule; perhaps it cannot be traded", _PLACE),
        (125, _YES, "this order must buy at the best ask", _PLACE),
        (126, _YES, "this order must sell at the best bid", _PLACE),
        (127, _YES, "linkage orders are not supported on this exchange", _PLACE),
        (128, _YES, "linkage customers place only linkage orders for options", _PLACE),
        (129, _YES, "a VWAP order must be placed three minutes before its start", _PLACE),
        (132, _YES, "no account to clear the order", _PLACE),
        (133, _OPEN, "the order could not be submitted", _LOOK),
        (134, _CHANGE, "the change could not be submitted", _LOOK),
        (135, _CANCEL, "there is no order with this order id", _LOOK),
        (136, _CANCEL, "the order cannot be cancelled", _LOOK),
        (137, _CANCEL, "too late to cancel the VWAP order: its start is less than three minutes away", _LOOK),
        (140, _YES, "the size is no whole number", _PLACE),
        (141, _YES, "a price is no number", _PLACE),
        (142, _YES, "the institutional account lacks account information", _PLACE),
        (144, _YES, "size and allocation do not add up", _PLACE),
        (145, _YES, "a field of the order is not valid; the text has which", _PLACE),
        (146, _YES, "the trigger method is not valid", _PLACE),
        (147, _YES, "the contract of the order's condition is not complete", _PLACE),
        (148, _YES, "this order type takes no conditions", _PLACE),
        (151, _YES, "the order names no user", _PLACE),
        (152, _YES, "the order may not be hidden", _PLACE),
        (153, _YES, "an exchange for physical must be a limit order", _PLACE),
        (154, _YES, "trading in the instrument is halted", "try later"),
        (155, _YES, "a SizeOp order needs a user and an account", _PLACE),
        (156, _YES, "a SizeOp order goes to IBSX only", _PLACE),
        (157, _YES, "displaySize and discretionaryAmt exclude each other", _PLACE),
        (158, _YES, "a trailing or relative order needs an amount or a percentage", _PLACE),
        (159, _YES, "the percentage must be from 0 to 100", _PLACE),
        (160, _YES, "the size is zero", _PLACE),
        (161, _CANCEL, "the order is in no state to be cancelled", _LOOK),
        (163, _YES, "the price goes against the percentage set in TWS's precautions", _PLACE),
        (167, _YES, "the start of a VWAP order must be in the future", _PLACE),
        (168, _YES, "discretionaryAmt is no multiple of the contract's minimum tick", _PLACE),
        (201, _ANY, "the order was rejected; the text has the reason", "read the reason; do not repeat it unchanged"),
        (202, _ANY, "the order is cancelled", "nothing, if it was asked for"),
        (203, _YES, "the product is not available to, or not allowed for, the account", _GIVE_UP),
        (303, _YES, "the action is not valid", _PLACE),
        (311, _YES, "the origin is not valid", _PLACE),
        (312, _YES, "the combination is not valid", _PLACE),
        (313, _YES, "a leg of the combination is not valid", _PLACE),
        (314, _YES, "the combination has no legs", _PLACE),
        (315, _YES, "combinations with stock go to SMART only", _PLACE),
        (325, _YES, "no discretionary amount is possible here", _PLACE),
        (328, _YES, "a trailing stop can be attached to limit and stop-limit orders only", _PLACE),
        (329, _CHANGE, "the order cannot be changed to that type; it lives on", "cancel it and place another"),
        (333, _YES, "the allocation of shares is not in a form that TWS reads", _PLACE),
        (334, _YES, "the good-till date is not valid", _PLACE),
        (335, _YES, "the delta must be from 0 to 100", _PLACE),
        (336, _YES, "a time or time zone is not valid", _PLACE),
        (337, _YES, "a date, time or time zone is not valid", _PLACE),
        (338, _YES, "the exchange has no good-after time", _PLACE),
        (339, _YES, "futures spreads are no longer supported", "use a combination (BAG)"),
        (340, _YES, "the improvement amount of a box auction is not valid", _PLACE),
        (341, _YES, "the delta of a pegged-to-stock order must be from 1 to 100", _PLACE),
        (342, _YES, "the exchange takes no pegged orders", _PLACE),
        (343, _YES, "a date, time or time zone is not valid", _PLACE),
        (345, _YES, "generic combinations are not for advisors' accounts", _PLACE),
        (346, _YES, "the account is neither institutional nor cleared elsewhere", _PLACE),
        (347, _YES, "shortSaleSlot must be 1 or 2", _PLACE),
        (348, _YES, "shortSaleSlot needs the action SSHORT", _PLACE),
        (349, _YES, "generic combinations have no good-after time", _PLACE),
        (350, _YES, "this combination has no minimum quantity", _PLACE),
        (351, _YES, "the order cannot be limited to regular trading hours", _PLACE),
        (352, _YES, "shortSaleSlot 2 needs a designatedLocation", _PLACE),
        (353, _YES, "shortSaleSlot 1 takes no designatedLocation", _PLACE),
        (355, _YES, "the size goes against the market's rules", _PLACE),
        (356, _YES, "combinations on SMART take no OCA group", _PLACE),
        (358, _YES, "a combination on SMART cannot be a child order", _PLACE),
        (359, _YES, "combinations take the OCA type reduce without block (3) only", _PLACE),
        (360, _YES, "no margins in advance for combinations on SMART", _GIVE_UP),
        (361, _YES, "the trigger price is not valid", _PLACE),
        (362, _YES, "the adjusted stop price is not valid", _PLACE),
        (363, _YES, "the adjusted stop-limit price is not valid", _PLACE),
        (364, _YES, "the adjusted trailing amount is not valid", _PLACE),
        (367, _YES, "volatilityType must be 1 or 2, and is for VOL orders only", _PLACE),
        (368, _YES, "referencePriceType must be 1 or 2, and is for VOL orders only", _PLACE),
        (369, _YES, "VOL orders are for US options only", _PLACE),
        (370, _YES, "dynamic VOL orders go to SMART, or to an exchange with price improvement", _PLACE),
        (371, _YES, "volatility must be above 0, and is for VOL orders only", _PLACE),
        (372, _YES, "continuousUpdate is for VOL orders only", _PLACE),
        (373, _YES, "a range of stock prices is for VOL and pegged-to-stock orders only", _PLACE),
        (374, _YES, "stockRangeLower must be below stockRangeUpper", _PLACE),
        (375, _YES, "the range of stock prices cannot be negative", _PLACE),
        (376, _YES, "continuousUpdate is not possible on this exchange", _PLACE),
        (377, _YES, "deltaNeutralAuxPrice is not valid", _PLACE),
        (378, _YES, "this deltaNeutralOrderType needs a deltaNeutralAuxPrice", _PLACE),
        (379, _YES, "this deltaNeutralOrderType takes no deltaNeutralAuxPrice", _PLACE),
        (380, _YES, "this order type cannot hedge delta", _PLACE),
        (382, _YES, "the price goes against the number of ticks set in TWS's precautions", _PLACE),
        (383, _YES, "the size goes against the limit set in TWS's precautions", _PLACE),
        (387, _YES, "the order type is not supported for this product on this exchange", _PLACE),
        (388, _YES, "the size is below its minimum", _PLACE),
        (389, _YES, "the routed order's id was used before", _PLACE),
        (390, _YES, "the routed order's id is not valid", _PLACE),
        (391, _YES, "a time or time zone is not valid", _PLACE),
        (392, _YES, "the contract has expired", _GIVE_UP),
        (393, _YES, "deltaNeutralShortSaleSlot is for orders that hedge delta only", _PLACE),
        (394, _YES, "the time for processing must be 100 to 2000 ms", _PLACE),
        (398, _YES, "the instrument cannot be the trigger of a condition", _PLACE),
        (400, _YES, "the algo refused the order", _PLACE),
        (402, _YES, "the contract takes no conditions", _PLACE),
        (403, _YES, "the stop price is not valid", _PLACE),
        (405, _YES, "a child order must have its parent's size", _PLACE),
        (408, _YES, "scalePriceIncrement is not valid", _PLACE),
        (409, _YES, "a scale order needs a component size", _PLACE),
        (410, _YES, "scaleSubsLevelSize is not valid", _PLACE),
        (411, _YES, "outsideRth is not possible for this order", _PLACE),
        (412, _YES, "the contract is not available for trading", _GIVE_UP),
        (413, _YES, "a what-if order needs transmit", _PLACE),
        (415, _YES, "the request for quote before this one is still under way", "wait for its end"),
        (416, _YES, "the contract takes no requests for quote", _GIVE_UP),
        (417, _YES, "scaleInitLevelSize is not valid", _PLACE),
        (418, _YES, "scaleProfitOffset is not valid", _PLACE),
        (419, _YES, "scaleInitLevelSize is missing", _PLACE),
        (421, _YES, "the route is not valid", _PLACE),
        (422, _CHANGE, "account and clearing of an order cannot be changed", "cancel it and place another"),
        (423, _YES, "the request for quote of a cross order has expired", "ask for a new quote"),
        (424, _YES, "an advisor's order needs an allocation", _PLACE),
        (425, _YES, "an advisor's order needs an allocation for each account", _PLACE),
        (426, _YES, "no account has enough shares", _PLACE),
        (427, _YES, "an order for a fund needs an amount of money", _PLACE),
        (428, _YES, "to sell a fund, give a number of shares", _PLACE),
        (429, _YES, "delta-neutral orders are for combinations only", _PLACE),
        (432, _YES, "the commission cannot be negative", _PLACE),
        (433, _YES, "scaleAutoReset is not possible with an allocation to several accounts", _PLACE),
        (434, _OPEN, "the size cannot be zero", _LOOK),
        (435, _YES, "the order names no account", _PLACE),
        (436, _YES, "the order names no allocation", _PLACE),
        (437, _YES, "outsideRth and allowPreOpen exclude each other", _PLACE),
        (439, _YES, "TWS does not know the algo", _PLACE),
        (440, _CHANGE, "the algo of an order cannot be changed", "cancel it and place another"),
        (441, _YES, "a parameter of the algo is not valid", _PLACE),
        (442, _YES, "this order takes no such algo", _PLACE),
        (443, _YES, "the algo has no such parameter", _PLACE),
        (444, _CHANGE, "the volatility order's combination is not acknowledged yet", "try again"),
        (445, _YES, "the request for quote of this order is over", "ask for a new quote"),
        (446, _YES, "scaleProfitOffset is missing", _PLACE),
        (447, _YES, "scalePriceAdjustValue or scalePriceAdjustInterval is missing", _PLACE),
        (448, _YES, "scalePriceAdjustInterval is not valid", _PLACE),
        (449, _YES, "scalePriceAdjustValue and scalePriceAdjustInterval do not go with this order", _PLACE),
        (451, _YES, "the order's value is above the limit set in TWS's precautions", _PLACE),
        (460, _YES, "no rights to trade this", "the operator must ask IB for them"),
        (462, _CHANGE, "the order cannot be changed to that time in force; it lives on", "cancel it and place another"),
        (463, _YES, "a price is missing or not valid", _PLACE),
        (10000, _YES, "the legs of the combination have several currencies", _PLACE),
        (10001, _YES, "a volatility order cannot have several currencies", _PLACE),
        (10002, _YES, "the legs of a combination without guarantee are not valid", _PLACE),
        (10003, _YES, "IBSX is not allowed", _PLACE),
        (10005, _YES, "the model is for reading only", _PLACE),
        (10006, _YES, "the parent order is missing", "place it, and the child a moment later"),
        (10007, _YES, "hedgeType is not valid", _PLACE),
        (10008, _YES, "the beta of a hedge is not valid", _PLACE),
        (10009, _YES, "the ratio of a hedge is not valid", _PLACE),
        (10010, _YES, "the order cannot hedge delta", _PLACE),
        (10011, _YES, "combinations on SMART do not take this currency", _PLACE),
        (10012, _YES, "the percentage of the allocation is not valid", _PLACE),
        (10013, _YES, "the order must opt out of smart routing", _PLACE),
        (10014, _YES, "the limits of PctChange are broken", _PLACE),
        (10016, _YES, "the contract is not visible in TWS", _PLACE),
        (10017, _YES, "contracts are not visible in TWS", _PLACE),
        (10020, _YES, "the display size is above the order's size", _PLACE),
        (10021, _YES, "how the second leg becomes a market order by an offset is not valid", _PLACE),
        (10022, _YES, "the priority of a leg is not valid", _PLACE),
        (10023, _YES, "the display size of the combination is not valid", _PLACE),
        (10024, _YES, "when the next leg begins is not valid", _PLACE),
        (10025, _YES, "the first time at which the second leg becomes a market order is not valid", _PLACE),
        (10026, _YES, "the second time at which the second leg becomes a market order is not valid", _PLACE),
        (10027, _YES, "a tag of smartComboRoutingParams is not valid", _PLACE),
        (10043, _YES, "NonGuaranteed is missing in smartComboRoutingParams, or not valid", _PLACE),
        (10051, _YES, "TWS knows no such order type", _PLACE),
        (10052, _YES, "TWS knows no such time in force", _PLACE),
        (10054, _YES, "prices of legs and a price of the combination exclude each other", _PLACE),
        (10058, _YES, "prices of legs need a SMART combination of two legs without guarantee", _PLACE),
        (10063, _YES, "a currency hedge needs a pair with the currency of its parent", _PLACE),
        (10082, _OPEN, "the bond is called; TWS may wait for a confirmation", _CONFIRM),
        (10138, _CHANGE, "the change of size is above the limit in TWS's precautions", "change it in smaller steps"),
        (10147, _CANCEL, "the order to be cancelled is not found: over, or another client's", _LOOK),
        (10148, _CANCEL, "the order cannot be cancelled; the text has its state", _LOOK),
        (10149, _YES, "the order id is not valid", "a bug: tell ibbridge's authors"),
        (10151, _OPEN, "risks of market orders; TWS may wait for a confirmation", _CONFIRM),
        (10152, _OPEN, "risks of stop orders; TWS may wait for a confirmation", _CONFIRM),
        (10153, _OPEN, "IB may cap the price; TWS may wait for a confirmation", _CONFIRM),
        (10164, _OPEN, "risks of cash quantities; TWS may wait for a confirmation", _CONFIRM),
        (10203, _YES, "a fund is bought by an amount of money alone", _PLACE),
        (10204, _YES, "a fund is sold by a number of shares alone", _PLACE),
        (10206, _YES, "cashQty has too many decimals", _PLACE),
        (10207, _YES, "the number of a fund's shares has too many decimals", _PLACE),
        (10223, _OPEN, "orders with a cash quantity have no guarantee; TWS may wait for a confirmation", _CONFIRM),
        (10234, _YES, "the order needs mifid2DecisionMaker", _PLACE),
        (10235, _YES, "the order needs mifid2DecisionMaker", _PLACE),
        (10236, _YES, "the child of an all-or-none order must be all-or-none", _PLACE),
        (10237, _YES, "an all-or-none order must be routed with its whole size", _PLACE),
        (10240, _YES, "the cap of the price is not valid", _PLACE),
        (10241, _CHANGE, "an order by an amount of money cannot be changed through the API", "change it in TWS"),
        (10242, _CHANGE, "an order with a fraction of a share cannot be changed through the API", "change it in TWS"),
        (10243, _YES, "orders with a fraction of a share are not possible through the API", "whole sizes"),
        (10244, _YES, "the order takes no cash quantity", _PLACE),
        (10245, _YES, "the instrument has no fractions of a share", "whole sizes"),
        (10246, _YES, "the order takes no fractions of a share", "whole sizes"),
        (10247, _YES, "only SMART takes fractions of a share", _PLACE),
        (10248, _YES, "the account has no rights to fractions of a share", "whole sizes"),
        (10249, _YES, "orders of this kind take no fractions of a share", "whole sizes"),
        (10250, _YES, "the size is no multiple of the contract's size increment", _PLACE),
        (10251, _YES, "orders with an allocation take no fractions of a share", "whole sizes"),
        (10252, _YES, "only orders that close a position take fractions of a share here", "whole sizes"),
        (10253, _YES, "a combination with an attached hedge cannot be cleared elsewhere", _PLACE),
        (10254, _YES, "the bond has expired", _GIVE_UP),
        (10255, _YES, "the order takes no displaySize", _PLACE),
        (10256, _YES, "the order takes no minQty", _PLACE),
        (10257, _YES, "the order takes no allOrNone", _PLACE),
        (10268, _YES, "EtradeOnly is no longer supported", "leave it out"),
        (10269, _YES, "firmQuoteOnly is no longer supported", "leave it out"),
        (10270, _YES, "nbboPriceCap is no longer supported", "leave it out"),
        (10285, _YES, "this API version has no fractions in sizes", "whole sizes, or update TWS"),
        (10286, _YES, "a field has too many decimals", _PLACE),
        (10287, _OPEN, "the crypto order is not confirmed", _CONFIRM),
        (10288, _YES, "a market order for crypto needs a confirmation", _CONFIRM),
        (10289, _YES, "the order needs a cash quantity", _PLACE),
        (10290, _YES, "the order takes a cash quantity only", _PLACE),
        (10291, _YES, "an order to harvest losses needs the time in force DAY", _PLACE),
        (10292, _YES, "order type and action are not possible together here", _PLACE),
        (10293, _YES, "a crypto order with a cash quantity takes no size", _PLACE),
        (10294, _YES, "the cash quantity does not add up to the group's", _PLACE),
        (10296, _YES, "seekPriceImprovement and the opposite exclude each other", _PLACE),
        (10297, _YES, "the order takes no notHeld", _PLACE),
        (10298, _YES, "the instrument's currency is not the model's", _PLACE),
        (10302, _YES, "the order takes no minTradeQty", _PLACE),
        (10303, _YES, "minTradeQty must be whole, and no larger than the order", _PLACE),
        (10304, _YES, "minCompeteSize cannot be negative", _PLACE),
        (10305, _YES, "competeAgainstBestOffset must be above 0, in cents", _PLACE),
        (10306, _YES, "the order takes no offsets from the midpoint", _PLACE),
        (10307, _YES, "midOffsetAtWhole or midOffsetAtHalf is not valid", _PLACE),
        (10308, _CHANGE, "postToAts of an order cannot be set or unset", "cancel it and place another"),
        (10310, _YES, "solicited is for orders that the broker began", _PLACE),
        (10312, _YES, "no volatility orders for this product and account", _PLACE),
        (10316, _YES, "the attribute for triggers outside regular hours is no longer supported", "use outsideRth"),
        (10317, _YES, "cashQty is no multiple of what the contracts allow", _PLACE),
        (10318, _YES, "the order takes no fractions", "whole sizes"),
        (10319, _YES, "no orders for municipal bonds through the API", _GIVE_UP),
        (10321, _YES, "orders for municipal bonds cannot be attached, or in an OCA group", _PLACE),
        (10324, _YES, "the OCA group is not valid on this exchange", _PLACE),
        (10325, _YES, "the order takes no OCA group", _PLACE),
        (10326, _CHANGE, "the OCA group of an order cannot be changed", "cancel it and place another"),
        (10327, _CHANGE, "the OCA type of an order cannot be changed", "cancel it and place another"),
        (10335, _YES, "TWS cannot apply its presets of orders", "the operator must correct them in TWS"),
        (10336, _YES, "legs cannot have executing brokers of their own", _PLACE),
        (10340, _YES, "an attribute of the order is not supported", _PLACE),
        (10341, _CHANGE, "an order's parent cannot be changed", "cancel it and place another"),
        (10342, _YES, "the order takes no imbalanceOnly", _PLACE),
        (10343, _YES, "event contracts cannot be sold", _PLACE),
        (10344, _YES, "the price must be from 0.02 to 0.99, with two decimals", _PLACE),
        (10345, _YES, "this kind of product cannot be traded", _GIVE_UP),
        (10348, _YES, "optOutSmartRouting is no longer supported", "leave it out"),
        (10355, _YES, "TWS has no preset for the attached stop or target", "place the children yourself (parentId)"),
        (10371, _YES, "conditions cannot include the overnight session here", _PLACE),
    ),
    "warning": (
        (131, _NO, "sweepToFill and displaySize mean nothing for this order, and are ignored", _NOTHING),
        (164, _NO, "no market data to check the price against", _NOTHING),
        (165, _OPEN, "a message of the historical data service; the only response if no data was found", _NOTHING),
        (300, _NO, "no such market data to cancel", _NOTHING),
        (310, _NO, "no such market depth to cancel", _NOTHING),
        (317, _NO, "the market depth begins anew", "empty the book; new rows follow"),
        (365, _NO, "no such scanner to cancel", _NOTHING),
        (366, _NO, "no such historical query to cancel", _NOTHING),
        (399, _NO, "a message about the order, such as: held until the market opens", "log it"),
        (404, _NO, "the order is held while shares are located", "wait"),
        (481, _NO, "the order's size was reduced", "take openOrder for what holds"),
        (492, _NO, "the scanner has only a part of the market data", _NOTHING),
        (2102, _CHANGE, "the order is still being processed, so its change is refused", "try again in a moment"),
        (2109, _NO, "outsideRth means nothing for this order, and is ignored", _NOTHING),
        (2111, _NO, "the algo's times were moved to the next trading day", _NOTHING),
        (2130, _NO, "the product trades with a price factor", "check prices"),
        (2136, _OPEN, "the order has more than one kind of allocation; TWS may hold it", _CONFIRM),
        (2137, _OPEN, "the order turns a position from long to short or back; TWS may hold it", _CONFIRM),
        (2152, _NO, "the exchanges with and without market depth", _NOTHING),
        (2161, _NO, "IB caps the order's price for the sake of an orderly market", "watch mktCapPrice in orderStatus"),
        (2165, _NO, "the instrument does not trade outside regular hours", _NOTHING),
        (2168, _NO, "EtradeOnly is gone; the order goes without it", "leave it out"),
        (2169, _NO, "firmQuoteOnly is gone; the order goes without it", "leave it out"),
        (2170, _NO, "nbboPriceCap is gone; the order goes without it", "leave it out"),
        (2174, _NO, "a time without a zone was taken to be in TWS's", "name the zone"),
        (2176, _NO, "fractional sizes are cut off for this API version", _NOTHING),
        (2181, _NO, "optOutSmartRouting is gone; the order goes without it", "leave it out"),
        (10018, _NO, "orders use economic values", _NOTHING),
        (10019, _NO, "trades use economic values", _NOTHING),
        (10090, _NO, "a part of the requested data is not subscribed; the rest comes", _NOTHING),
        (10167, _NO, "not subscribed; delayed data follows", "expect the delayed tick types"),
        (10233, _NO, "the order took defaults from a preset of TWS", "take openOrder for what holds"),
        (10239, _OPEN, "the order concerns accounts that do not fit the risk score of their group", _LOOK),
        (10311, _NO, "the order is routed directly; TWS may hold it until it is released there", _ROUTED),
        (10329, _OPEN, "the order is routed directly; TWS may discard it", _ROUTED),
        (10331, _OPEN, "a warning about stop orders; TWS may hold the order", _CONFIRM),
        (10332, _OPEN, "a warning about the volatility of crypto; TWS may hold the order", _CONFIRM),
        (10333, _OPEN, "a warning about exercise at the money; TWS may hold the order", _CONFIRM),
        (10334, _OPEN, "an order for an omnibus account; TWS may wait for a confirmation", _CONFIRM),
        (10347, _OPEN, "the security has little liquidity; TWS may hold the order", _CONFIRM),
        (10349, _NO, "the order's time in force was set to DAY by a preset of TWS", "give the order a tif"),
    ),
}


def _codes() -> Iterator[ErrorCode]:
    for error_class, rows in _ROWS.items():
        for codes, effect, meaning, action in rows:
            for code in (codes,) if isinstance(codes, int) else codes:
                yield ErrorCode(code, error_class, *effect, meaning, action)


ERROR_CODES: Mapping[int, ErrorCode] = {each.code: each for each in sorted(_codes()) if each.code is not None}
"""Known error codes, by code."""


def about(code: int | None, text: str | None = "") -> ErrorCode:
    """Return what is known of a code. For an unknown code, its range and (from 10000 on) its text give the class."""
    if code is None:
        return ErrorCode(code, "system", *_OPEN, "an error without a code", _READ)
    if code in ERROR_CODES:
        return ERROR_CODES[code]
    if 2100 <= code < 2200 or (code >= 10_000 and "warning" in (text or "").lower()):
        return ErrorCode(code, "warning", *_NO, "not known; a warning by range or text", _READ)
    if 1100 <= code < 1400:
        return ErrorCode(code, "connectivity", *_OPEN, "not known; about a connection, by its range", _READ)
    return ErrorCode(code, "system", *_OPEN, "not known", _READ)
