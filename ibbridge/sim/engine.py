"""Simulated TWS as one object: requests and time go in, messages come out.

The object is a pure core and reads no clock and no socket: callers pass all input to `connect`, `request` and
`advance`, and all output waits in the sessions' outboxes, in order. Time passes in beats of a quarter of a second,
however far one call advances the time, so the same calls at the same times give the same messages to the byte.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ibbridge.codec.messages import REQUESTS
from ibbridge.sim.accounts.requests import AccountRequests
from ibbridge.sim.context import ClientSession, SimulationContext
from ibbridge.sim.host_requests import HostRequests
from ibbridge.sim.market_data.requests import MarketDataRequests
from ibbridge.sim.orders.requests import OrderRequests
from ibbridge.sim.reference_data.news_archive import NewsArchive
from ibbridge.sim.reference_data.requests import ReferenceDataRequests
from ibbridge.sim.rejections import RequestRejected
from ibbridge.sim.request_checks import unreadable
from ibbridge.sim.settings import HostSettings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Unpack

    from ibbridge.sim.orders.order import SimulatedOrder
    from ibbridge.sim.settings import HostOptions

EPOCH = 1_767_623_400
"""Default start of simulated time: Monday, 5 January 2026, 09:30 in New York."""

_FARMS = (
    (2104, "Market data farm connection is OK:usfarm"),
    (2104, "Market data farm connection is OK:usfuture"),
    (2104, "Market data farm connection is OK:cashfarm"),
    (2106, "HMDS data farm connection is OK:ushmds"),
    (2158, "Sec-def data farm connection is OK:secdefnj"),
)
_KEYS = ("reqId", "tickerId", "orderId")


class SimulatedTws:
    """Simulated TWS without sockets or a clock.

    `start` is the start of simulated time, in whole seconds since 1970. The options are:

    - `accounts`: the managed accounts.
    - `master`: the client id that is told of every client's orders (default: none).
    - `unsubscribed`: symbols that have delayed data only (default: none).
    - `foreign_cancel`: lets a client cancel another client's order (default: False).
    - `advisor`: gives the user groups of accounts and their aliases (default: False).
    - `made_up`: lets names exist that are not listed (default: False).

    Client ids in `occupied` count as taken.
    """

    def __init__(self, seed: int = 0, start: int = EPOCH, **options: Unpack[HostOptions]) -> None:
        self.context = SimulationContext(seed, start, HostSettings(**options))
        self._beat = 0
        self.occupied: set[int] = set()
        archive = NewsArchive(self.context)
        self._accounts = AccountRequests(self.context)
        self.orders = OrderRequests(self.context, self._accounts.updates)
        self._market_data = MarketDataRequests(self.context, archive)
        self._reference_data = ReferenceDataRequests(self.context, archive, self._accounts.updates.ledgers)
        self._host = HostRequests(self.context, self.orders.entry)
        # On a beat, orders are filled first: what the others send shows the fills.
        self._tables = (self.orders, self._market_data, self._accounts, self._reference_data, self._host)
        self._handlers = {name: handler for table in self._tables for name, handler in table.handlers.items()}

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
        self._accounts.updates.announce(session, {})
        self.orders.entry.send_next_id(session, {})
        for code, text in _FARMS:
            session.error(-1, code, text)
        return session

    def disconnect(self, session: ClientSession) -> None:
        """Close a session. The client's subscriptions end; the client's orders live on."""
        session.closed = True
        if self.context.sessions.get(session.client_id) is session:
            del self.context.sessions[session.client_id]
            for table in self._tables:
                table.drop(session)

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
            self._host.admit(name)
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
            for table in self._tables:
                table.tick(self._beat)
        self.context.now = max(self.context.now, now)

    def enter_order(self, contract: Mapping[str, Any], order: Mapping[str, Any]) -> SimulatedOrder:
        """Place an order as if typed into the host by hand. Raise `RequestRejected`."""
        return self.orders.entry.enter_manually(contract, order)

    # -- faults ------------------------------------------------------------------------------------------------------

    def lose_data(self, session: ClientSession) -> None:
        """End a client's subscriptions, except those to accounts, without a message.

        IB's servers do the same before 1101.
        """
        self._market_data.drop(session)
        self._reference_data.drop(session)

    def end_updates(self, session: ClientSession) -> None:
        """End every subscription to bars that are kept up to date, each with error 10182."""
        self._market_data.history.end_updates(session)

    def burn_id(self, session: ClientSession, order_id: int) -> None:
        """Use up an order id without an order. Raise `RequestRejected` if the order id was used already."""
        self.orders.entry.claim_id(session.client_id, order_id)

    def restart(self, ids: int = 0) -> None:
        """Drop the orders that were not transmitted, and move the next order ids by `ids`, as a restart does."""
        self.orders.restart(ids)


def _key(args: Mapping[str, Any]) -> int | None:
    """Return the id for an error about a request: the request's own, -1 if it has none, None if the id is unset."""
    for values in (args, *(each for name, each in args.items() if name.endswith("Proto"))):
        for name in _KEYS:
            if name in values:
                found: int | None = values[name]
                return found
    return -1
