"""Calendar of corporate events by Wall Street Horizon: the kinds of events, and the events.

Each client may have one pending request of either kind; the response comes on the next beat. Events are drawn from the
seed and the instrument, like prices: some each quarter for every known stock.
"""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from ibbridge.sim.data_files import table
from ibbridge.sim.market.instruments import identity_number
from ibbridge.sim.rejections import RequestRejected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from ibbridge.sim.accounts.ledger import Ledger
    from ibbridge.sim.context import ClientSession, Data, SimulationContext
    from ibbridge.sim.market.instruments import Instrument

EVENTS = 100
"""Limit of the events of one response."""
BACK, AHEAD = 30, 90
"""Days before and after today that are shown if the request names no dates."""

_META_DATA = table("reference_data/wsh.yaml")
_KINDS: dict[str, str] = _META_DATA["event_types"]
"""Names of the kinds of events by tag."""
_FARTHEST = 3660
_QUARTER = 91


class WshQuery(NamedTuple):
    """Query that is answered on the next beat."""

    session: ClientSession
    request: int
    message: str
    text: Callable[[], str]


class WshRequestType(NamedTuple):
    """Word and error codes for one kind of request: for a second request, and for a cancel without a request."""

    called: str
    twice: int
    not_there: int


_META, _EVENT = WshRequestType("meta", 10278, 10280), WshRequestType("event", 10281, 10284)


class Horizon:
    """Handlers of requests for the calendar."""

    def __init__(self, context: SimulationContext, ledgers: Mapping[str, Ledger]) -> None:
        self._context = context
        self._ledgers = ledgers
        self._pending: dict[tuple[int, WshRequestType], WshQuery] = {}
        self._answered: set[tuple[int, WshRequestType, int]] = set()
        self._informed: set[int] = set()

    def meta(self, session: ClientSession, args: Mapping[str, Any]) -> None:
        """Queue a query for the kinds of events and their filters."""
        self._ask(_META, session, args["reqId"], "wshMetaData", _metadata)
        self._informed.add(session.client_id)

    def events(self, session: ClientSession, args: Mapping[str, Any]) -> None:
        """Queue a query for the events of one instrument, or of the instruments that a filter names."""
        if session.client_id not in self._informed:
            raise RequestRejected(10282, "WSH meta data was not requested")
        wanted = args.get("wshEventData") or {}
        instruments, kinds, most = self._chosen(wanted)
        first = _day(wanted.get("startDate", ""), self._context.today - timedelta(BACK))
        last = _day(wanted.get("endDate", ""), self._context.today + timedelta(AHEAD))
        limit = wanted.get("totalLimit")
        if limit is not None and not 1 <= limit <= EVENTS:
            raise _invalid(f"The limit must be from 1 to {EVENTS}")
        most = min(limit or EVENTS, most)

        def text() -> str:
            found = (event for instrument in instruments for event in self._events(instrument, kinds, first, last))
            return json.dumps(sorted(found, key=lambda event: (event["index_date"], event["id"]))[:most])

        self._ask(_EVENT, session, args["reqId"], "wshEventData", text)

    def cancel_meta(self, session: ClientSession, args: Mapping[str, Any]) -> None:
        """Cancel a query for the kinds of events."""
        self._cancel(_META, session, args["reqId"])

    def cancel_events(self, session: ClientSession, args: Mapping[str, Any]) -> None:
        """Cancel a query for events."""
        self._cancel(_EVENT, session, args["reqId"])

    def drop(self, session: ClientSession) -> None:
        """Forget a client that has gone."""
        client = session.client_id
        self._informed.discard(client)
        self._pending = {key: query for key, query in self._pending.items() if key[0] != client}
        self._answered = {key for key in self._answered if key[0] != client}

    def tick(self, _: int) -> None:
        """Answer the queries since the last beat."""
        for (client, kind), query in self._pending.items():
            query.session.send(query.message, {"reqId": query.request, "dataJson": query.text()})
            self._answered.add((client, kind, query.request))
        self._pending.clear()

    def _ask(
        self, kind: WshRequestType, session: ClientSession, request: int, message: str, text: Callable[[], str]
    ) -> None:
        if (session.client_id, kind) in self._pending:
            raise RequestRejected(kind.twice, f"Duplicate WSH {kind.called} data request")
        self._pending[session.client_id, kind] = WshQuery(session, request, message, text)

    def _cancel(self, kind: WshRequestType, session: ClientSession, request: int) -> None:
        """Cancel a query. Ignore the cancel of an answered query; raise `RequestRejected` for any other."""
        key = session.client_id, kind
        if key in self._pending and self._pending[key].request == request:
            del self._pending[key]
        elif (*key, request) not in self._answered:
            raise RequestRejected(kind.not_there, f"Failed cancel WSH {kind.called} data")

    # -- reading a request -------------------------------------------------------------------------------------------

    def _chosen(self, wanted: Mapping[str, Any]) -> tuple[list[Instrument], list[str], int]:
        """Return the instruments, the kinds of events, and the limit of a query. Raise `RequestRejected`."""
        number, text = wanted.get("conId"), wanted.get("filter", "")
        if bool(number) is bool(text):
            raise _invalid("Either a conId or a filter must be given")
        if number:
            return [self._context.resolver.by_id(number)], list(_KINDS), EVENTS
        try:
            filters = json.loads(text)
        except (ValueError, RecursionError):
            raise _invalid("The filter is no JSON") from None
        if not isinstance(filters, dict):
            raise _invalid("The filter is no JSON object")
        for name in filters:
            if name not in {*_KINDS, *(each["tag"] for each in _META_DATA["filters"])}:
                raise _invalid(f"Unknown filter {name}")
        kinds = [kind for kind in _KINDS if _true(filters.get(kind, False))] or list(_KINDS)
        most = filters.get("limit", EVENTS)
        if type(most) is not int or not 1 <= most <= EVENTS:
            raise _invalid(f"The limit must be from 1 to {EVENTS}")
        return self._watched(wanted, filters.get("watchlist", [])), kinds, most

    def _watched(self, wanted: Mapping[str, Any], watchlist: Any) -> list[Instrument]:
        """Return the instruments of a watch list, with the additions that the request asks for."""
        resolver = self._context.resolver
        if not isinstance(watchlist, list):
            raise _invalid("The watch list is no list")
        found: list[Instrument] = []
        for each in watchlist:
            text = str(each) if isinstance(each, str | int) else ""
            number = int(text) if text.isascii() and text.isdecimal() and len(text) < 11 else 0
            if (instrument := resolver.issued(number)) is None:
                raise _invalid(f"Unknown contract {text[:20]} in the watch list")
            found.append(instrument)
        stocks = resolver.known("STK")
        if wanted.get("fillWatchlist", False):
            found += stocks[:10]
        if wanted.get("fillPortfolio", False):
            held = (position for ledger in self._ledgers.values() for position in ledger.positions.values())
            found += [position.instrument for position in held if position.quantity]
        if wanted.get("fillCompetitors", False) or not found:
            found += stocks
        return list({each.con_id: each for each in found}.values())

    # -- events ------------------------------------------------------------------------------------------------------

    def _events(self, instrument: Instrument, kinds: Iterable[str], first: date, last: date) -> Iterator[Data]:
        if instrument.sec_type != "STK":
            return
        for kind in kinds:
            for quarter in range(first.toordinal() // _QUARTER, last.toordinal() // _QUARTER + 1):
                draw = identity_number(self._context.market.seed, kind, instrument.con_id, quarter)
                day = date.fromordinal(quarter * _QUARTER + draw % _QUARTER)
                if day.weekday() > 4 or draw // _QUARTER % 4 == 0 or not first <= day <= last:
                    continue
                yield {
                    "id": draw,
                    "event_type": kind,
                    "index_date": f"{day:%Y%m%d}",
                    "index_date_type": "Event Date",
                    "conids": [str(instrument.con_id)],
                    "data": {
                        "company": instrument.name,
                        "ticker": instrument.symbol,
                        "quarter": f"Q{(day.month - 1) // 3 + 1} {day.year}",
                        "time_of_day": ("BEFORE MARKET", "AFTER MARKET")[draw % 2],
                        "status": "CONFIRMED" if day <= self._context.today else "UNCONFIRMED",
                    },
                }


def _metadata() -> str:
    kinds = [{"tag": tag, "name": name, "search_keys": _META_DATA["search_keys"]} for tag, name in _KINDS.items()]
    switches = [{"tag": tag, "name": name, "type": "boolean"} for tag, name in _KINDS.items()]
    return json.dumps({"meta_data": {"event_types": kinds, "filters": [*_META_DATA["filters"], *switches]}})


def _invalid(cause: str) -> RequestRejected:
    return RequestRejected(10309, f"Invalid WSH event data request: {cause}")


def _true(value: Any) -> bool:
    return value is True or value == "true"


def _day(text: str, otherwise: date) -> date:
    if not text:
        return otherwise
    try:
        day = datetime.strptime(text, "%Y%m%d").date()  # noqa: DTZ007 - a day, not a moment
    except ValueError:
        raise _invalid(f"{text[:20]} is no date") from None
    if abs(day - otherwise).days > _FARTHEST:
        raise _invalid(f"{text[:20]} is too far away")
    return day
