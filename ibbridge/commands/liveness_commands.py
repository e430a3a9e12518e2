"""The commands `hello`, `alive` and `logout`, with which a client says that it is there.

Pure. This module must not know what follows when a client is lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ibbridge.protocol.errors import CommandRefused, shown
from ibbridge.risk.liveness import CancelOn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ibbridge.risk.liveness import Liveness

TTL = (1.0, 3_600.0)
"""Least and most seconds of `ttl`."""

LONGEST_WINDOW = 3_600.0


class LivenessCommands:
    """Executor of these commands."""

    def __init__(self, liveness: Liveness) -> None:
        self._liveness = liveness
        self.does: Mapping[str, Callable[[dict[str, Any], str], dict[str, Any]]] = {
            "hello": self._hello,
            "alive": lambda _, __: {},
            "logout": self._logout,
        }
        """The commands by name; each takes the arguments and the client."""

    def _hello(self, args: Mapping[str, Any], client: str) -> dict[str, Any]:
        ttl, window, choice = args.get("ttl"), args.get("window"), args.get("cancel_on_disconnect")
        if ttl is not None and not TTL[0] <= ttl <= TTL[1]:
            raise CommandRefused("E_ARG", f"ttl must be {TTL[0]:g} to {TTL[1]:g} seconds")
        if window is not None and not 0 <= window <= LONGEST_WINDOW:
            raise CommandRefused("E_ARG", f"window must be 0 to {LONGEST_WINDOW:g} seconds")
        if choice is not None and choice not in (choices := [each.value for each in CancelOn]):
            fault = f"cancel_on_disconnect must be one of {', '.join(choices)}, not {shown(choice)}"
            raise CommandRefused("E_ARG", fault)
        chosen = CancelOn(choice) if choice is not None else None
        life = self._liveness.hello(client, ttl, window, chosen, args.get("run", ""))
        return {
            "ttl": life.ttl,
            "window": life.window,
            "cancel_on_disconnect": self._liveness.choice(client).value,
            "kept": self._liveness.kept and self._liveness.speaker == client,
        }

    def _logout(self, _: Mapping[str, Any], client: str) -> dict[str, Any]:
        self._liveness.logout(client)
        return {}
