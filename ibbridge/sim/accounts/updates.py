"""Account requests: updates, summaries, positions and P&L, once and as they change.

Intervals as at IB: account values are sent every three minutes and at once after a fill, P&L every second, positions
only when they change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from ibbridge.sim.accounts.ledger import Ledger
from ibbridge.sim.accounts.values import (
    PER_CURRENCY,
    SUMMARY_TAGS,
    account_values,
    portfolio_row,
    position_multi_row,
    position_row,
    summary_rows,
)
from ibbridge.sim.market import ib_times
from ibbridge.sim.market.prices import QUARTERS
from ibbridge.sim.rejections import RequestRejected, invalid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ibbridge.sim.context import ClientSession, Data, SimulationContext
    from ibbridge.sim.market.instruments import Instrument

SUMMARIES = 2
"""Account summaries that one client may subscribe to at the same time."""
VALUES_EVERY = 180 * QUARTERS
PNL_EVERY = QUARTERS

Stream: TypeAlias = "Callable[[], None]"
Key: TypeAlias = "tuple[int, int]"


class AccountUpdates:
    """Accounts of the host, and every subscription to them."""

    def __init__(self, context: SimulationContext) -> None:
        self._context = context
        self.ledgers = {name: Ledger(context, name) for name in context.settings.accounts}
        self._updates: dict[int, tuple[ClientSession, str]] = {}
        self._positions: dict[int, ClientSession] = {}
        self._summaries: dict[Key, Stream] = {}
        self._values: dict[Key, tuple[str, Stream]] = {}
        self._multi: dict[Key, tuple[ClientSession, str, str]] = {}
        self._pnl: dict[Key, Stream] = {}

    def announce(self, session: ClientSession, _: Mapping[str, Any]) -> None:
        """Send a client the list of accounts."""
        session.send("managedAccounts", {"accountsList": ",".join(self.ledgers)})

    def fill(
        self, account: str, instrument: Instrument, quantity: float, price: float, commission: float
    ) -> float | None:
        """Book a fill and tell subscribers. Return the realised profit; None if the fill only opened."""
        ledger = self.ledgers[account]
        realised = ledger.fill(instrument, quantity, price, commission)
        position = ledger.positions[instrument.con_id]
        for session in self._positions.values():
            session.send("position", position_row(ledger, position))
        for (_, request), (session, wanted, model) in self._multi.items():
            if wanted in ("", account):
                session.send("positionMulti", position_multi_row(request, ledger, position, model))
        for session, wanted in self._updates.values():
            if wanted == account:
                session.send("updatePortfolio", portfolio_row(ledger, position))
                self._send_values(session, ledger)
        for wanted, stream in self._values.values():
            if wanted == account:
                stream()
        return realised

    def drop(self, session: ClientSession) -> None:
        """Forget a client that has gone."""
        client = session.client_id
        self._updates.pop(client, None)
        self._positions.pop(client, None)
        streams: tuple[dict[Key, Any], ...] = (self._summaries, self._values, self._multi, self._pnl)
        for table in streams:
            for key in [key for key in table if key[0] == client]:
                del table[key]

    def tick(self, quarter: int) -> None:
        """Send the updates that are due."""
        if quarter % PNL_EVERY == 0:
            for stream in self._pnl.values():
                stream()
        if quarter % VALUES_EVERY == 0:
            for session, account in self._updates.values():
                self._send_updates(session, self.ledgers[account])
            for stream in self._summaries.values():
                stream()
            for _, stream in self._values.values():
                stream()

    # -- account updates ---------------------------------------------------------------------------------------------

    def updates(self, session: ClientSession, args: Mapping[str, Any]) -> None:
        """Start or end a client's account updates.

        The start sends values, portfolio, time and the end; the beat repeats them. The end sends a warning.
        """
        if not args.get("subscribe", False):
            if self._updates.pop(session.client_id, None):
                session.error(-1, 2100, "API client has been unsubscribed from account data.")
            return
        account = self._account(args.get("acctCode", "") or next(iter(self.ledgers)))
        self._updates[session.client_id] = session, account
        self._send_updates(session, self.ledgers[account])
        session.send("accountDownloadEnd", {"accountName": account})

    def _send_updates(self, session: ClientSession, ledger: Ledger) -> None:
        self._send_values(session, ledger)
        for position in ledger.positions.values():
            session.send("updatePortfolio", portfolio_row(ledger, position))
        session.send("updateAccountTime", {"timeStamp": f"{ib_times.local(self._context.now):%H:%M}"})

    def _send_values(self, session: ClientSession, ledger: Ledger) -> None:
        for key, value, currency in account_values(ledger):
            row = {"key": key, "val": value, "currency": currency, "accountName": ledger.account}
            session.send("updateAccountValue", row)

    def updates_multi(self, session: ClientSession, args: Mapping[str, Any]) -> None:
        """Send account values under a request id, then the end, then each value that changes."""
        account, request = self._account(args.get("account", "") or next(iter(self.ledgers))), args["reqId"]
        ledger, shown = self.ledgers[account], dict[tuple[str, str], str]()

        def stream() -> None:
            for key, value, currency in account_values(ledger):
                if shown.get((key, currency)) == value:
                    continue
                shown[key, currency] = value
                row: Data = {"reqId": request, "account": account, "modelCode": args.get("modelCode", "")}
                session.send("accountUpdateMulti", row | {"key": key, "value": value, "currency": currency})

        stream()
        session.send("accountUpdateMultiEnd", {"reqId": request})
        self._values[session.client_id, request] = account, stream

    # -- summaries ---------------------------------------------------------------------------------------------------

    def summary(self, session: ClientSession, args: Mapping[str, Any]) -> None:
        """Send the requested tags of one account or all, then the end, then each tag that changes."""
        request, group = args["reqId"], args.get("groupName", "")
        key = session.client_id, request
        if group != "All" and group not in self.ledgers:
            raise invalid(f"Group name '{group}' is invalid")
        asked = [tag.strip() for tag in args.get("tags", "").split(",")]
        tags = [tag for tag in asked if tag in (*SUMMARY_TAGS, "All") or tag.startswith(PER_CURRENCY)]
        if not tags:  # unknown tags beside known ones are ignored
            raise invalid(f"Invalid summary tags specified: {','.join(asked)}")
        others = [other for other in self._summaries if other[0] == session.client_id and other != key]
        if len(others) >= SUMMARIES:
            raise RequestRejected(
                322,
                "Error processing request.-'cu' : cause - Maximum number of account summary requests exceeded",
            )
        ledgers = [ledger for name, ledger in self.ledgers.items() if group in ("All", name)]
        shown: dict[tuple[str, str, str], str] = {}

        def stream() -> None:
            for ledger in ledgers:
                for tag, value, currency in summary_rows(ledger, tags):
                    if shown.get((ledger.account, tag, currency)) == value:
                        continue
                    shown[ledger.account, tag, currency] = value
                    row: Data = {"reqId": request, "account": ledger.account}
                    session.send("accountSummary", row | {"tag": tag, "value": value, "currency": currency})

        stream()
        session.send("accountSummaryEnd", {"reqId": request})
        self._summaries[key] = stream

    # -- positions ---------------------------------------------------------------------------------------------------

    def positions(self, session: ClientSession, _: Mapping[str, Any]) -> None:
        """Send every position, the end, and then each position that changes."""
        for ledger in self.ledgers.values():
            for position in ledger.positions.values():
                if position.quantity:
                    session.send("position", position_row(ledger, position))
        session.send("positionEnd")
        self._positions[session.client_id] = session

    def cancel_positions(self, session: ClientSession, _: Mapping[str, Any]) -> None:
        """End a subscription to positions. There is no response."""
        self._positions.pop(session.client_id, None)

    def positions_multi(self, session: ClientSession, args: Mapping[str, Any]) -> None:
        """Send the positions of one account or all under a request id, the end, and then the changes."""
        account, model, request = args.get("account", ""), args.get("modelCode", ""), args["reqId"]
        if account:
            self._account(account)
        for ledger in self.ledgers.values():
            if account in ("", ledger.account):
                for position in ledger.positions.values():
                    session.send("positionMulti", position_multi_row(request, ledger, position, model))
        session.send("positionMultiEnd", {"reqId": request})
        self._multi[session.client_id, request] = session, account, model

    # -- profit and loss ---------------------------------------------------------------------------------------------

    def pnl(self, session: ClientSession, args: Mapping[str, Any]) -> None:
        """Send an account's profit and loss, now and every second."""
        if not args.get("account", ""):
            raise invalid("Account must not be empty")
        ledger, request = self.ledgers[self._account(args["account"])], args["reqId"]

        def stream() -> None:
            figures = ledger.figures()
            session.send(
                "pnl",
                {
                    "reqId": request,
                    "dailyPnL": round(ledger.daily(), 4),
                    "unrealizedPnL": round(figures.unrealised, 4),
                    "realizedPnL": round(figures.realised, 4),
                },
            )

        self._start_pnl(session, request, stream)

    def pnl_single(self, session: ClientSession, args: Mapping[str, Any]) -> None:
        """Send a position's profit and loss every second; nothing if the account never held the contract."""
        if not args.get("account", ""):
            raise invalid("Account must not be empty")
        ledger, request = self.ledgers[self._account(args["account"])], args["reqId"]

        def stream() -> None:
            position = ledger.positions.get(args.get("conid", 0))
            if position is None:
                return
            valued = ledger.value(position)
            session.send(
                "pnlSingle",
                {
                    "reqId": request,
                    "pos": position.quantity,
                    "dailyPnL": round(valued.unrealised + position.realised, 4),
                    "unrealizedPnL": valued.unrealised,
                    "realizedPnL": round(position.realised, 4) if position.realised else None,
                    "value": valued.value,
                },
            )

        self._start_pnl(session, request, stream)

    def _start_pnl(self, session: ClientSession, request: int, stream: Stream) -> None:
        if (session.client_id, request) in self._pnl:
            raise RequestRejected(322, "Error processing request.-'cr' : cause - Duplicate request id")
        self._pnl[session.client_id, request] = stream
        stream()

    # -- ends --------------------------------------------------------------------------------------------------------
    # TWS neither acknowledges such a cancel nor refuses the cancel of an unknown request.

    def cancel_updates_multi(self, session: ClientSession, args: Mapping[str, Any]) -> None:
        """End a subscription to account values under a request id."""
        self._values.pop((session.client_id, args["reqId"]), None)

    def cancel_summary(self, session: ClientSession, args: Mapping[str, Any]) -> None:
        """End a subscription to a summary."""
        self._summaries.pop((session.client_id, args["reqId"]), None)

    def cancel_positions_multi(self, session: ClientSession, args: Mapping[str, Any]) -> None:
        """End a subscription to positions under a request id."""
        self._multi.pop((session.client_id, args["reqId"]), None)

    def cancel_pnl(self, session: ClientSession, args: Mapping[str, Any]) -> None:
        """End a subscription to a profit and loss, of an account or of a position."""
        self._pnl.pop((session.client_id, args["reqId"]), None)

    # -- common ------------------------------------------------------------------------------------------------------

    def _account(self, name: str) -> str:
        if name not in self.ledgers:
            raise invalid(f"Invalid account code '{name}'")
        return name
