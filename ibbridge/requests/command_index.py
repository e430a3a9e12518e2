"""Index of requests by the command that made each of them: its client and its command id.

A client cancels or updates a request by its command id, and may repeat a command. Pure.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ibbridge.requests.request import ActiveRequest, CommandId

MOST_REMEMBERED = 5_000
"""Requests that are over, or were cancelled, and can still be found by their command ids."""


class CommandIndex:
    """Requests by command, and the commands whose requests their clients have cancelled."""

    def __init__(self) -> None:
        self._routes: dict[CommandId, ActiveRequest] = {}
        self._cancelled: OrderedDict[CommandId, str] = OrderedDict()  # a client may repeat its cancel
        self._tidy_at = 0

    def find(self, command_id: CommandId) -> ActiveRequest | None:
        """Return the request that this command has made, if the request is remembered."""
        return self._routes.get(command_id)

    def remember(self, command_id: CommandId, route: ActiveRequest) -> None:
        """Remember a request by its command. Requests that are over are forgotten now and then."""
        self._routes[command_id] = route
        self._cancelled.pop(command_id, None)
        if len(self._routes) > self._tidy_at:
            self._routes = {command_id: route for command_id, route in self._routes.items() if not route.ended}
            self._tidy_at = max(MOST_REMEMBERED, 2 * len(self._routes))

    def cancel(self, command_id: CommandId) -> None:
        """Forget the request of a command, because its client has cancelled the request."""
        self._cancelled[command_id] = self._routes.pop(command_id).request.name
        if len(self._cancelled) > MOST_REMEMBERED:
            self._cancelled.popitem(last=False)

    def cancelled(self, command_id: CommandId) -> str | None:
        """Return the name of the request that this command has made, if the request was cancelled since."""
        return self._cancelled.get(command_id)
