"""Table of the requests about the host and the connection itself: its clock, its configuration, and its trust.

Verification, by which a vendor's program proves its identity, is an arrangement between IB and a few vendors. No
program is registered here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ibbridge.sim.configuration import ORDER_REQUESTS, Configuration, read_only
from ibbridge.sim.rejections import RequestRejected, invalid
from ibbridge.sim.request_table import RequestTable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ibbridge.sim.context import ClientSession, SimulationContext
    from ibbridge.sim.orders.order_entry import OrderEntry

_LOG_LEVELS = range(1, 6)
_UNREGISTERED = "The program is not registered for verification"


class HostRequests(RequestTable):
    """Requests about the host and the connection itself."""

    def __init__(self, context: SimulationContext, orders: OrderEntry) -> None:
        self._context = context
        self._configuration = Configuration(context, orders)
        super().__init__(
            {
                "startApi": _start_again,
                "reqCurrentTime": self._current_time,
                "reqCurrentTimeInMillis": self._current_milliseconds,
                "setServerLogLevel": _set_log_level,
                "reqConfig": self._configuration.show,
                "updateConfig": self._configuration.update,
                "verifyRequest": _refuse_verification,
                "verifyAndAuthRequest": _refuse_verification,
                "verifyMessage": lambda session, _: session.send("verifyCompleted", _failed()),
                "verifyAndAuthMessage": lambda session, _: session.send("verifyAndAuthCompleted", _failed()),
            }
        )

    def admit(self, name: str) -> None:
        """Raise `RequestRejected` for a request about orders while the host is in read-only mode."""
        if self._configuration.read_only and name in ORDER_REQUESTS:
            raise read_only()

    def _current_time(self, session: ClientSession, _: Mapping[str, Any]) -> None:
        session.send("currentTime", {"time": self._context.second})

    def _current_milliseconds(self, session: ClientSession, _: Mapping[str, Any]) -> None:
        session.send("currentTimeInMillis", {"timeInMillis": int(self._context.now * 1000)})


def _start_again(_: ClientSession, __: Mapping[str, Any]) -> None:
    raise invalid("The API has been started on this connection already")


def _set_log_level(_: ClientSession, args: Mapping[str, Any]) -> None:
    if args.get("logLevel", 1) not in _LOG_LEVELS:
        raise RequestRejected(319, "Invalid log level")


def _refuse_verification(_: ClientSession, __: Mapping[str, Any]) -> None:
    raise invalid(_UNREGISTERED)


def _failed() -> dict[str, Any]:
    return {"isSuccessful": False, "errorText": _UNREGISTERED}
