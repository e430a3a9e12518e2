"""State that the parts of the simulated host share: the time, the market, and the connected clients.

A `ClientSession` is one client's connection: requests come in through the engine, and messages wait in the session's
outbox until the server takes them. Messages are `(name, data)` in IB's names; this module does not know how a message
looks on the wire.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from ibbridge.sim.market import ib_times
from ibbridge.sim.market.contract_resolver import ContractResolver
from ibbridge.sim.market.prices import Market
from ibbridge.sim.rejections import invalid, not_found

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import date

    from ibbridge.sim.market.instruments import Instrument
    from ibbridge.sim.settings import HostSettings

Data: TypeAlias = "dict[str, Any]"
Sent: TypeAlias = "tuple[str, Data]"


_SAYING_ENOUGH = ("currency", "conId", "localSymbol", "secId")
"""Contract fields of which at least one must be set, so that a symbol means one security."""
_IN_MANY_CURRENCIES = ("STK", "OPT", "CFD", "WAR", "IOPT", "CASH")


class ClientSession:
    """Connection of one client.

    With `history_end` the end of history is a message of its own (from server version 196 on) and not part of the bars.
    """

    def __init__(self, context: SimulationContext, client_id: int, *, history_end: bool) -> None:
        self._context = context
        self._outbox: list[Sent] = []
        self.client_id = client_id
        self.history_end = history_end
        self.market_data_type = 1
        self.auto_bind = False
        self.closed = False

    def send(self, name: str, data: Data | None = None) -> None:
        """Put a message into the outbox."""
        self._outbox.append((name, data or {}))

    def error(self, key: int, code: int, text: str, reject_json: str = "") -> None:
        """Send IB's error message. `key` is the request id or order id that the error is about, -1 for none."""
        self.send(
            "error",
            {
                "reqId": key,
                "errorTime": int(self._context.now * 1000),
                "errorCode": code,
                "errorString": text,
                "advancedOrderRejectJson": reject_json,
            },
        )

    def take(self) -> list[Sent]:
        """Remove and return the messages since the last call, in order."""
        taken, self._outbox = self._outbox, []
        return taken


class SimulationContext:
    """Time, market, instruments and sessions of one seed, shared by every client. Only the host sets `now`.

    `master` is the client id that is told of every client's orders; a client may change it.
    """

    def __init__(self, seed: int, start: int, settings: HostSettings) -> None:
        self.seed = seed
        self.now = float(start)
        self.start = start
        self.settings = settings
        self.master = settings.master
        self.market = Market(seed, start)
        self.resolver = ContractResolver(seed, made_up=settings.made_up)
        self.sessions: dict[int, ClientSession] = {}

    @property
    def today(self) -> date:
        """Date at the exchange."""
        return ib_times.today(self.now)

    @property
    def second(self) -> int:
        """Simulated time in whole seconds since 1970."""
        return int(self.now)

    def instrument(self, contract: Mapping[str, Any]) -> Instrument:
        """Return the one instrument that a contract means for data and orders.

        Raise `RequestRejected` if no instrument or more than one matches, or if the contract names no exchange or
        leaves its currency open.
        """
        if not contract.get("exchange"):
            raise invalid("Please enter exchange")
        if contract.get("secType") in _IN_MANY_CURRENCIES and not any(map(contract.get, _SAYING_ENOUGH)):
            raise not_found()
        return self.resolver.one(contract, self.today)

    def reroute(self, session: ClientSession, name: str, request: int, cfd: Instrument) -> None:
        """Redirect a client that asks for data of a CFD, which has none of its own, to the CFD's underlying stock."""
        stock = self.resolver.root("STK", cfd.symbol, cfd.currency)
        session.send(name, {"reqId": request, "conId": stock.con_id, "exchange": "SMART"})

    def clients(self, *ids: int | None) -> Iterator[ClientSession]:
        """Yield the connected sessions of these client ids, each once."""
        for client_id in dict.fromkeys(ids):
            if client_id is not None and client_id in self.sessions:
                yield self.sessions[client_id]
