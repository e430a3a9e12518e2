"""Market scanners: the known instruments, ranked and filtered, sent every half minute."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ibbridge.sim.market.prices import QUARTERS
from ibbridge.sim.market_data.scanner_codes import FIELDS, FILTERS, INSTRUMENTS, LOCATIONS, SCANS, Sight
from ibbridge.sim.market_data.scanner_parameters import document
from ibbridge.sim.rejections import RequestRejected, invalid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ibbridge.sim.context import ClientSession, Data, SimulationContext
    from ibbridge.sim.market.instruments import Instrument

SCANS_AT_ONCE = 10
"""Scanner subscriptions that all clients together may have."""
ROWS = 50
"""Limit of the rows of a list."""
EVERY = 30 * QUARTERS
"""Quarters between two lists."""

_SERVICE = "Historical Market Data Service error message:"


class Scan(NamedTuple):
    """Scanner subscription: its client, its start in quarters of a second, and its criteria."""

    session: ClientSession
    request: int
    began: int
    wanted: Mapping[str, Any]
    filters: tuple[tuple[str, float], ...]


class Scanner:
    """Scanner subscriptions of every client."""

    def __init__(self, context: SimulationContext) -> None:
        self._context = context
        self._scans: dict[tuple[int, int], Scan] = {}

    @staticmethod
    def parameters(session: ClientSession, _: Mapping[str, Any]) -> None:
        """Send the XML document of everything that a scanner can be asked."""
        session.send("scannerParameters", {"xml": document()})

    def subscribe(self, session: ClientSession, args: Mapping[str, Any]) -> None:
        """Send the whole list at once, and then every half minute."""
        request = args["reqId"]
        if (session.client_id, request) in self._scans:
            raise RequestRejected(385, "Duplicate ticker ID for API scanner subscription")
        if len(self._scans) >= SCANS_AT_ONCE:
            cause = f"Only {SCANS_AT_ONCE} simultaneous API scanner subscriptions are allowed."
            raise RequestRejected(322, f"Error processing request.-'cp' : cause - {cause}")
        wanted = args.get("subscription") or {}
        _check(wanted)
        now = self._context.market.quarter(self._context.now)
        pairs = _filters(args.get("scannerSubscriptionFilterOptions") or ())
        scan = self._scans[session.client_id, request] = Scan(session, request, now, wanted, pairs)
        if not self._send(scan):
            session.error(request, 165, "Historical Market Data Service query message:no items retrieved")

    def cancel(self, session: ClientSession, args: Mapping[str, Any]) -> None:
        """End a subscription. Raise `RequestRejected` in any case, as IB confirms a cancel by an error."""
        request = args["reqId"]
        if self._scans.pop((session.client_id, request), None) is None:
            raise RequestRejected(365, f"No scanner subscription found for ticker id:{request}")
        raise RequestRejected(162, f"{_SERVICE}API scanner subscription cancelled: {request}")

    def drop(self, session: ClientSession) -> None:
        """Forget a client that has gone."""
        self._scans = {key: scan for key, scan in self._scans.items() if scan.session is not session}

    def tick(self, quarter: int) -> None:
        """Send the lists that are due. An empty list is not sent."""
        for scan in self._scans.values():
            if quarter > scan.began and (quarter - scan.began) % EVERY == 0:
                self._send(scan)

    # -- lists -------------------------------------------------------------------------------------------------------

    def _send(self, scan: Scan) -> bool:
        """Send the present list. Return True if the list has any rows."""
        number = scan.wanted.get("numberOfRows") or -1  # clients write "no limit" in several ways: 0, -1, unset
        most = ROWS if number < 0 else min(number, ROWS)
        rows = [_row(rank, sight) for rank, sight in enumerate(self._ranked(scan)[:most])]
        if rows:
            scan.session.send("scannerData", {"reqId": scan.request, "rows": rows})
        return bool(rows)

    def _ranked(self, scan: Scan) -> list[Sight]:
        wanted, kind = scan.wanted, SCANS[scan.wanted["scanCode"]]
        in_place = LOCATIONS[wanted["locationCode"]].holds
        context = self._context
        candidates = context.resolver.combinations(context.today) if "BAG" in kind.sec_types else self._singles()
        instruments = [instrument for instrument in candidates if in_place(instrument)]
        sights = [
            Sight(context.market, instrument, context.now)
            for instrument in instruments
            if instrument.sec_type in kind.sec_types
        ]
        passed = [sight for sight in sights if kind.holds(sight) and _passes(sight, scan)]
        return sorted(passed, key=lambda sight: (kind.rank(sight), sight.instrument.symbol))

    def _singles(self) -> list[Instrument]:
        resolver = self._context.resolver
        return [*resolver.known(), *resolver.front_futures(self._context.today)]


def _check(wanted: Mapping[str, Any]) -> None:
    """Raise `RequestRejected` unless scan code, instrument and location are known and fit together."""
    code, kind, place = (wanted.get(name, "") for name in ("scanCode", "instrument", "locationCode"))
    if code not in SCANS:
        raise RequestRejected(162, f"{_SERVICE}Scan code {code} is unknown")
    if kind not in INSTRUMENTS:
        raise invalid(f"Scanner instrument {kind} is unknown")
    if place not in LOCATIONS:
        raise invalid(f"Scanner location {place} is unknown")
    if kind not in LOCATIONS[place].instruments or not set(INSTRUMENTS[kind].sec_types) & set(SCANS[code].sec_types):
        raise RequestRejected(162, f"{_SERVICE}Scan {code} is not available for {kind} in {place}")


def _filters(options: Any) -> tuple[tuple[str, float], ...]:
    """Return the filters of a list of tags. Raise `RequestRejected` for a filter that is unknown or no number."""
    found = []
    for option in options:
        name, text = option.get("tag", ""), option.get("value", "")
        if name not in FILTERS:
            raise RequestRejected(162, f"{_SERVICE}Filter {name} is unknown")
        try:
            found.append((name, float(text)))
        except ValueError:
            raise RequestRejected(162, f"{_SERVICE}Filter {name} is no number: {text}") from None
    return tuple(found)


def _passes(sight: Sight, scan: Scan) -> bool:
    given = ((FIELDS[name], scan.wanted.get(name)) for name in FIELDS)
    limits = (*((FILTERS[name], limit) for name, limit in given), *((FILTERS[name], x) for name, x in scan.filters))
    for bound, limit in limits:
        if limit is not None and not bound.passes(sight, limit):
            return False
    kind = scan.wanted.get("stockTypeFilter", "")
    return kind in ("", "ALL") or (kind == "ETF") == sight.is_fund


def _row(rank: int, sight: Sight) -> Data:
    contract = sight.instrument.described()
    return {
        "rank": rank,
        "contractDetails": {"contract": contract, "marketName": sight.instrument.trading_class},
        "distance": "",
        "benchmark": "",
        "projection": "",
        "legsStr": ",".join(f"{leg.con_id}|{ratio:g}" for leg, ratio in sight.instrument.legs),
    }
