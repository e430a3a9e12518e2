"""The commands `leases` and `release`: who holds which subscription, and the end of that by an operator.

Pure. This module must not know when a lease ends by itself (`subscriptions.leases`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ibbridge.protocol.errors import CommandRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ibbridge.subscriptions.leases import Leases
    from ibbridge.subscriptions.lines import Lines

LISTED = 500
"""Most leases of one reply to `leases`."""


class LeaseCommands:
    """Executor of these commands."""

    def __init__(self, leases: Leases, lines: Lines) -> None:
        self._leases = leases
        self._lines = lines
        self.does: Mapping[str, Callable[[dict[str, Any], str], dict[str, Any]]] = {
            "leases": lambda args, _: self._list(args),
            "release": lambda args, _: {"released": self._leases.release(args["client"], args.get("id"))},
        }
        """The commands by name; each takes the arguments and the client."""

    def _list(self, args: dict[str, Any]) -> dict[str, Any]:
        """Return a page of leases, `next` (the `after` of the next page), and the lines in use."""
        first = args.get("after", 0)
        if first < 0:
            raise CommandRefused("E_ARG", "after must be the `next` of the page before")
        every = self._leases.describe(args.get("client"))
        page, following = every[first : first + LISTED], first + LISTED
        return {
            "leases": page,
            "next": following if following < len(every) else None,
            "lines": self._lines.summary(),
        }
