"""Simulated TWS as one object: requests and time go in, messages come out.

The object is a pure core and reads no clock and no socket: callers pass all input to `connect`, `request` and
`advance`, and all output waits in the sessions' outboxes, in order. Time passes in beats of a quarter of a second,
however far one call advances the time, so the same calls at the same times give the same messages to the byte.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ibbridge.codec.messages import REQUESTS
from ibbridge.sim.accounts.advisor_groups import AdvisorGroups
from ibbridge.sim.accounts.updates import AccountUpdates
from ibbridge.sim.context import ClientSession, Handler, SimulationContext
from ibbridge.sim.market.contract_resolver import RequestRejected, invalid
from ibbridge.sim.market_data.depth import Depth
from ibbridge.sim.market_data.history import History
from ibbridge.sim.market_data.option_chains import OptionChains
from ibbridge.sim.market_data.quotes import Quotes
from ibbridge.sim.market_data.scanner import Scanner
from ibbridge.sim.market_data.tick_by_tick import TickByTick
from ibbridge.sim.market_data.tick_history import TickHistory
from ibbridge.sim.orders.execution import Executor
from ibbridge.sim.orders.option_exercise import OptionExercise
from ibbridge.sim.orders.order import HELD
from ibbridge.sim.orders.order_entry import OrderEntry
from ibbridge.sim.orders.queries import OrderReports
from ibbridge.sim.orders.registry import OrderBook
from ibbridge.sim.reference_data.contract_details import ContractDetails
from ibbridge.sim.reference_data.display_groups import DisplayGroups
from ibbridge.sim.reference_data.fundamentals import Fundamentals
from ibbridge.sim.reference_data.lookups import Lookups
from ibbridge.sim.reference_data.news import News
from ibbridge.sim.reference_data.news_archive import NewsArchive
from ibbridge.sim.reference_data.wsh import Horizon
from ibbridge.sim.request_checks import unreadable
from ibbridge.sim.settings import ORDER_REQUESTS, Settings, read_only
from ibbridge.sim.verification import Verification

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ibbridge.sim.orders.order import SimulatedOrder

EPOCH = 1_767_623_400
"""Default start of simulated time: Monday, 5 January 2026, 09:30 in New York."""
ACCOUNT = "DU1234567"

_FARMS = (
    (2104, "Market data farm connection is OK:usfarm"),
    (2104, "Market data farm connection is OK:usfuture"),
    (2104, "Market data farm connection is OK:cashfarm"),
    (2106, "HMDS data farm connection is OK:ushmds"),
    (2158, "Sec-def data farm connection is OK:secdefnj"),
)
_KEYS = ("reqId", "tickerId", "orderId")
_LOG_LEVELS = range(1, 6)


class SimulatedTws:
    """Simulated TWS without sockets or a clock.

    `start` is the start of simulated time, in whole seconds since 1970. `accounts` are the managed accounts. The client
    id `master` is told of every client's orders. `unsubscribed` symbols have delayed data only. `foreign_cancel`: see
    `OrderEntry`. An `advisor` has groups of accounts and their aliases. With `made_up`, names exist that are not
    listed. `occupied` client ids count as taken.
    """

    def __init__(
        self,
        seed: int = 0,
        start: int = EPOCH,
        *,
        accounts: Sequence[str] = (ACCOUNT,),
        master: int | None = None,
        unsubscribed: frozenset[str] = frozenset(),
        foreign_cancel: bool = False,
        advisor: bool = False,
        made_up: bool = False,
    ) -> None:
        self.context = SimulationContext(seed, start, master, made_up=made_up)
        self._beat = 0
        self.occupied: set[int] = set()
        self._accounts = AccountUpdates(self.context, accounts)
        book = OrderBook(self.context)
        self._orders = OrderEntry(self.context, self._accounts, book, foreign_cancel=foreign_cancel)
        self._executor = Executor(self.context, self._accounts, book)
        self._settings = Settings(self.context, self._orders)
        self._book = book
        self._history = History(self.context)
        paper = NewsArchive(self.context)
        self._streams = (
            Quotes(self.context, paper, unsubscribed),
            Depth(self.context),
            TickByTick(self.context),
            self._history,
            TickHistory(self.context),
            self._accounts,
            Lookups(self.context),
            News(self.context, paper),
            Scanner(self.context),
            Horizon(self.context, self._accounts),
            DisplayGroups(self.context),
        )
        parts = (
            *self._streams,
            self._orders,
            OrderReports(self.context, book),
            OptionExercise(self.context, self._accounts, book, self._orders),
            ContractDetails(self.context),
            OptionChains(self.context),
            Fundamentals(self.context),
            AdvisorGroups(self._accounts, advisor=advisor),
            self._settings,
            Verification(),
        )
        self._handlers: dict[str, Handler] = {
            "startApi": self._start_again,
            "reqCurrentTime": self._current_time,
            "reqCurrentTimeInMillis": self._current_milliseconds,
            "reqIds": lambda session, _args: self._next_id(session),
            "setServerLogLevel": self._log_level,
        }
        for part in parts:
            self._handlers |= part.handlers()

    @property
    def now(self) -> float:
        """Simulated time in seconds since 1970."""
        return self.context.now

    @property
    def simulated(self) -> frozenset[str]:
        """Names of the requests that get more than a refusal."""
        return frozenset(self._handlers)

    def connect(self, client_id: int, *, history_end: bool = True, taken: bool = False) -> ClientSession:
        """Open a session for a client that has sent START_API.

        If the client id is in use, or `taken` is set, the session is closed after error 326.
        """
        session = ClientSession(self.context, client_id, history_end=history_end)
        if taken or client_id in self.context.sessions or client_id in self.occupied:
            session.error(
                -1, 326, "Unable to connect as the client id is already in use. Retry with a unique client id."
            )
            session.closed = True
            return session
        self.context.sessions[client_id] = session
        self._accounts.announce(session)
        self._next_id(session)
        for code, text in _FARMS:
            session.error(-1, code, text)
        return session

    def disconnect(self, session: ClientSession) -> None:
        """Close a session. The client's subscriptions end; the client's orders live on."""
        session.closed = True
        if self.context.sessions.get(session.client_id) is session:
            del self.context.sessions[session.client_id]
            for part in self._streams:
                part.drop(session)

    def request(self, session: ClientSession, name: str, args: Mapping[str, Any]) -> bool:
        """Process a client's request. Return True unless the request was refused.

        A refusal is an error message under the request's id; no exception is raised.
        """
        if session.closed:
            return False
        reason = unreadable(REQUESTS[name], args) if name in REQUESTS else f"Unknown request: {name}"
        key = _key(args)
        if reason is None and key is None:
            reason = "Unable to parse field: 'Id'"
        if reason is not None or key is None:
            self.unreadable(session, reason or "")
            return False
        try:
            if self._settings.read_only and name in ORDER_REQUESTS:
                raise read_only()
            self._handlers[name](session, args)
        except RequestRejected as refused:
            session.error(key, refused.code, refused.text)
            return False
        return True

    def unreadable(self, session: ClientSession, reason: str) -> None:
        """Send error 320 for a request that could not be read."""
        session.error(-1, 320, f"Error reading request. {reason}")

    def advance(self, now: float) -> None:
        """Advance simulated time to `now`, beat by beat. An earlier `now` changes nothing."""
        market = self.context.market
        last = market.quarter(now)
        while self._beat < last:
            self._beat += 1
            self.context.now = market.moment(self._beat)
            self._executor.tick(self._beat)
            for part in self._streams:
                part.tick(self._beat)
        self.context.now = max(self.context.now, now)

    def enter_order(self, contract: Mapping[str, Any], order: Mapping[str, Any]) -> SimulatedOrder:
        """Place an order as if typed into the host by hand. Raise `RequestRejected`."""
        return self._orders.enter_manually(contract, order)

    # -- faults ------------------------------------------------------------------------------------------------------

    def lose_data(self, session: ClientSession) -> None:
        """End a client's subscriptions, except those to accounts, without a message.

        IB's servers do the same before 1101.
        """
        for part in self._streams:
            if part is not self._accounts:
                part.drop(session)

    def end_updates(self, session: ClientSession) -> None:
        """End every subscription to bars that are kept up to date, each with error 10182."""
        for request in self._history.live(session):
            session.error(request, 10182, "Failed to request live updates (disconnected).")
        self._history.drop(session)

    def burn_id(self, session: ClientSession, order_id: int) -> None:
        """Use up an order id without an order. Raise `RequestRejected` if the order id was used already."""
        self._orders.claim_id(session.client_id, order_id)

    def restart(self, ids: int = 0) -> None:
        """Drop the orders that were not transmitted, and move the next order ids by `ids`, as a restart does."""
        self._book.tickets = [ticket for ticket in self._book.tickets if ticket.status != HELD]
        self._orders.move_ids(ids)

    # -- requests that belong to no part -----------------------------------------------------------------------------

    def _next_id(self, session: ClientSession) -> None:
        session.send("nextValidId", {"orderId": self._orders.next_id(session.client_id)})

    def _current_time(self, session: ClientSession, _: Mapping[str, Any]) -> None:
        session.send("currentTime", {"time": self.context.second})

    def _current_milliseconds(self, session: ClientSession, _: Mapping[str, Any]) -> None:
        session.send("currentTimeInMillis", {"timeInMillis": int(self.context.now * 1000)})

    @staticmethod
    def _start_again(_: ClientSession, __: Mapping[str, Any]) -> None:
        raise invalid("The API has been started on this connection already")

    @staticmethod
    def _log_level(_: ClientSession, args: Mapping[str, Any]) -> None:
        if args.get("logLevel", 1) not in _LOG_LEVELS:
            raise RequestRejected(319, "Invalid log level")


def _key(args: Mapping[str, Any]) -> int | None:
    """Return the id for an error about a request: the request's own, -1 if it has none, None if the id is unset."""
    for values in (args, *(each for name, each in args.items() if name.endswith("Proto"))):
        for name in _KEYS:
            if name in values:
                found: int | None = values[name]
                return found
    return -1
