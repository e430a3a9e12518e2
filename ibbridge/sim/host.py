"""The simulated TWS as one object: requests go in, time goes in, messages come out.

A pure core. It reads no clock and no socket: `connect`, `request` and `advance` are told everything, and everything
that happens is in the sessions' outboxes, in order. Time passes in beats of a quarter of a second, however it is
advanced, so the same calls at the same times give the same messages to the byte.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ibbridge.sim.accounts import Accounts
from ibbridge.sim.catalogue import Refused
from ibbridge.sim.contracts import Contracts
from ibbridge.sim.depth import Depth
from ibbridge.sim.execution import Executor
from ibbridge.sim.history import History
from ibbridge.sim.order_book import OrderBook
from ibbridge.sim.order_reports import OrderReports
from ibbridge.sim.orders import Orders
from ibbridge.sim.quotes import Quotes
from ibbridge.sim.tape import Tapes
from ibbridge.sim.world import Handler, Session, World

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ibbridge.sim.tickets import Ticket

EPOCH = 1_767_623_400
"""When simulated time starts unless it is told: Monday, 5 January 2026, 09:30 in New York."""
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


class Host:
    """One simulated TWS.

    `start` is when it starts, in whole seconds since 1970. `accounts` are those it manages. `master` is the client id
    that hears of everybody's orders. `unsubscribed` symbols have delayed data only. `foreign_cancel`: see `Orders`.
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
    ) -> None:
        self.world = World(seed, start, master)
        self._beat = 0
        self._accounts = Accounts(self.world, accounts)
        book = OrderBook(self.world)
        self._orders = Orders(self.world, self._accounts, book, foreign_cancel=foreign_cancel)
        self._executor = Executor(self.world, self._accounts, book)
        quotes, depth, tapes = Quotes(self.world, unsubscribed), Depth(self.world), Tapes(self.world)
        history = History(self.world)
        self._streams = (quotes, depth, tapes, history, self._accounts)
        parts = (*self._streams, self._orders, OrderReports(self.world, book), Contracts(self.world))
        self._handlers: dict[str, Handler] = {
            "reqCurrentTime": self._current_time,
            "reqCurrentTimeInMillis": self._current_milliseconds,
            "reqIds": lambda session, _args: self._next_id(session),
            "setServerLogLevel": self._log_level,
        }
        for part in parts:
            self._handlers |= part.handlers()

    @property
    def now(self) -> float:
        """The simulated time in seconds since 1970."""
        return self.world.now

    @property
    def simulated(self) -> frozenset[str]:
        """The names of the requests that are answered with more than a refusal."""
        return frozenset(self._handlers)

    def connect(self, client_id: int, *, history_end: bool = True) -> Session:
        """A client that has sent START_API. If its id is taken, the session is closed after error 326."""
        session = Session(self.world, client_id, history_end=history_end)
        if client_id in self.world.sessions:
            session.error(
                -1, 326, "Unable to connect as the client id is already in use. Retry with a unique client id."
            )
            session.closed = True
            return session
        self.world.sessions[client_id] = session
        self._accounts.announce(session)
        self._next_id(session)
        for code, text in _FARMS:
            session.error(-1, code, text)
        return session

    def disconnect(self, session: Session) -> None:
        """The client has gone: its subscriptions end, its orders live on."""
        session.closed = True
        if self.world.sessions.get(session.client_id) is session:
            del self.world.sessions[session.client_id]
            for part in self._streams:
                part.drop(session)

    def request(self, session: Session, name: str, args: Mapping[str, Any]) -> None:
        """What a client asks. Whatever it is, nothing is raised: a refusal is an error message with its id."""
        if session.closed:
            return
        key = next((args[each] for each in _KEYS if each in args), -1)
        if key is None:
            self.unreadable(session, "Unable to parse field: 'Id'")
            return
        handler = self._handlers.get(name)
        try:
            if handler is None:
                raise Refused(321, f"Error validating request.-'bZ' : cause - {name} is not simulated")
            handler(session, args)
        except Refused as refused:
            session.error(key, refused.code, refused.text)

    def unreadable(self, session: Session, reason: str) -> None:
        """A request that could not be read at all."""
        session.error(-1, 320, f"Error reading request. {reason}")

    def advance(self, now: float) -> None:
        """Let time pass until `now`. Going back does nothing."""
        market = self.world.market
        last = market.quarter(now)
        while self._beat < last:
            self._beat += 1
            self.world.now = market.moment(self._beat)
            self._executor.beat(self._beat)
            for part in self._streams:
                part.beat(self._beat)
        self.world.now = max(self.world.now, now)

    def enter_order(self, contract: Mapping[str, Any], order: Mapping[str, Any]) -> Ticket:
        """An order typed into the host by hand. Raises `Refused`."""
        return self._orders.enter_manually(contract, order)

    # -- requests that belong to no part -----------------------------------------------------------------------------

    def _next_id(self, session: Session) -> None:
        session.send("nextValidId", {"orderId": self._orders.next_id(session.client_id)})

    def _current_time(self, session: Session, _: Mapping[str, Any]) -> None:
        session.send("currentTime", {"time": self.world.second})

    def _current_milliseconds(self, session: Session, _: Mapping[str, Any]) -> None:
        session.send("currentTimeInMillis", {"timeInMillis": int(self.world.now * 1000)})

    @staticmethod
    def _log_level(_: Session, args: Mapping[str, Any]) -> None:
        if args.get("logLevel", 1) not in _LOG_LEVELS:
            raise Refused(319, "Invalid log level")
