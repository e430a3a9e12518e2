"""Verification requests, by which a vendor's program proves its identity to the host.

Verification is an arrangement between IB and a few vendors. No program is registered here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ibbridge.sim.market.contract_resolver import invalid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ibbridge.sim.context import ClientSession, Handler

_UNREGISTERED = "The program is not registered for verification"


class Verification:
    """Handlers of the verification requests: every start is refused, and every continuation fails."""

    def handlers(self) -> dict[str, Handler]:
        """Return the handlers of the requests, by request name."""
        return {
            "verifyRequest": self._begin,
            "verifyAndAuthRequest": self._begin,
            "verifyMessage": lambda session, _args: self._fail(session, "verifyCompleted"),
            "verifyAndAuthMessage": lambda session, _args: self._fail(session, "verifyAndAuthCompleted"),
        }

    @staticmethod
    def _begin(_: ClientSession, __: Mapping[str, Any]) -> None:
        raise invalid(_UNREGISTERED)

    @staticmethod
    def _fail(session: ClientSession, message: str) -> None:
        session.send(message, {"isSuccessful": False, "errorText": _UNREGISTERED})
