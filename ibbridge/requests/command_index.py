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
        self._requests: dict[CommandId, ActiveRequest] = {}
        self._cancelled: OrderedDict[CommandId, str] = OrderedDict()  # a client may repeat its cancel
        self._tidy_at = 0

    def find(self, command_id: CommandId) -> ActiveRequest | None:
        """Return the request that this command has made, if the request is remembered."""
        return self._requests.get(command_id)

    def remember(self, command_id: CommandId, active: ActiveRequest) -> None:
        """Remember a request by its command. Requests that are over are forgotten now and then."""
        self._requests[command_id] = active
        self._cancelled.pop(command_id, None)
        if len(self._requests) > self._tidy_at:
            self._requests = {command_id: active for command_id, active in self._requests.items() if not active.ended}
            self._tidy_at = max(MOST_REMEMBERED, 2 * len(self._requests))

    def cancel(self, command_id: CommandId) -> None:
        """Forget the request of a command, because its client has cancelled the request."""
        self._cancelled[command_id] = self._requests.pop(command_id).request.name
        if len(self._cancelled) > MOST_REMEMBERED:
            self._cancelled.popitem(last=False)

    def cancelled(self, command_id: CommandId) -> str | None:
        """Return the name of the request that this command has made, if the request was cancelled since."""
        return self._cancelled.get(command_id)
