"""Proving to the host which program a client is: an affair between IB and a few vendors. Nobody is registered here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ibbridge.sim.market.contract_resolver import invalid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ibbridge.sim.context import Handler, Session

_UNREGISTERED = "The program is not registered for verification"


class Verification:
    """Refuses to begin, and says that what was not begun has failed."""

    def handlers(self) -> dict[str, Handler]:
        """The requests that are answered here."""
        return {
            "verifyRequest": self._begin,
            "verifyAndAuthRequest": self._begin,
            "verifyMessage": lambda session, _args: self._fail(session, "verifyCompleted"),
            "verifyAndAuthMessage": lambda session, _args: self._fail(session, "verifyAndAuthCompleted"),
        }

    @staticmethod
    def _begin(_: Session, __: Mapping[str, Any]) -> None:
        raise invalid(_UNREGISTERED)

    @staticmethod
    def _fail(session: Session, message: str) -> None:
        session.send(message, {"isSuccessful": False, "errorText": _UNREGISTERED})
