"""IB's requests, and the daemon's commands about orders: who may send which, and the part that executes each.

Every request that the codec declares is a command under IB's own name, without its `reqId` or `orderId`: the daemon
assigns both. A command that is not executed raises `CommandRefused`. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ibbridge.codec.messages import REQUESTS
from ibbridge.codec.schema import Kind, Request
from ibbridge.codec.words import nearest
from ibbridge.commands.takes import ORDER_TAKES, TAKES
from ibbridge.config.model import RESTRICTED
from ibbridge.protocol import arguments
from ibbridge.protocol.arguments import DAEMON_ONLY, WHAT_IF
from ibbridge.protocol.errors import CommandRefused, shown
from ibbridge.subscriptions.service import lease_options

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ibbridge.commands.executors import Executors
    from ibbridge.requests.request import CommandId
    from ibbridge.subscriptions.service import LeaseOptions
    from ibbridge.tws.sender import RequestSender


_BY_KEY = frozenset(name for name, request in REQUESTS.items() if arguments.name(request) == "key")
"""Requests that name an order by its key."""

_NAMES = (*TAKES, *ORDER_TAKES, *REQUESTS, WHAT_IF)


def unknown(name: str) -> CommandRefused:
    """Return the refusal of a command that does not exist, which names the one that is probably meant."""
    near = nearest(name, _NAMES)
    hint = f"; did you mean {near}?" if near else ""
    return CommandRefused("E_PROTO", f"cmd: there is no command {shown(name)}{hint}")


class IbRequests:
    """Executor of commands that are requests of IB's. `allowed` are the restricted ones that clients may send."""

    def __init__(self, sender: RequestSender, executors: Executors, allowed: Iterable[str]) -> None:
        self._sender = sender
        self._orders = executors.orders
        self._global_cancel = executors.global_cancel
        self._foreign_cancel = executors.foreign_cancel
        self._requests = executors.requests
        self._subscriptions = executors.subscriptions
        self._settings = executors.settings
        self._order_commands = executors.order_commands
        self._allowed = frozenset(allowed)

    def __contains__(self, command: str) -> bool:
        return command in REQUESTS or command == WHAT_IF or command in ORDER_TAKES

    def is_repeat(self, command: str, args: Mapping[str, Any], command_id: CommandId, key: str | None) -> bool:
        """Return True if the command places an order under a key that is known already, so that nothing is sent."""
        if command in ORDER_TAKES:
            return self._order_commands.is_repeat(command, args, command_id)
        return self._orders.is_repeat(command, args, command_id, key)

    def cancelled(self, command_id: CommandId) -> str | None:
        """Return the name of the request that this command made, if its client has cancelled the request since."""
        return self._requests.cancelled(command_id)

    def execute(
        self,
        command: str,
        args: dict[str, Any],
        command_id: CommandId,
        key: str | None,
        not_after: int | None = None,
        *,
        peer: bytes = b"",
    ) -> dict[str, Any]:
        """Send the request of this name and return the `result` of the reply. Raises `CommandRefused`.

        `not_after` (µs since 1970 UTC) is checked again when an order leaves. `peer` is the client's connection.
        """
        self._sender.peer = peer
        if command in ORDER_TAKES:
            return self._order_commands.execute(command, args, command_id, key, not_after)
        self._check_permission(command)
        request = REQUESTS["placeOrder" if command == WHAT_IF else command]
        if command == "cancelOrder" and "permId" in args:
            return self._foreign_cancel.execute(request, args, command_id, key)
        if command in _BY_KEY:
            return self._orders.execute(request, args, command_id, key, not_after)
        if key is not None:
            raise CommandRefused("E_ARG", f"key is for orders; {command} has none")
        if command == WHAT_IF:
            return self._requests.what_if(request, self._orders.what_if_values(args), command_id)
        if request.target:
            concern = self._subscriptions.concern if request.request_id else self._subscriptions.release
            return concern(request, args, command_id)
        args, options = lease_options(request, args)
        return self._ask(request, self._checked(request, args), command_id, options)

    def _check_permission(self, command: str) -> None:
        if command in DAEMON_ONLY:
            raise CommandRefused("E_PERM", f"{command} is the daemon's own; no configuration allows it to clients")
        if command in RESTRICTED and command not in self._allowed:
            raise CommandRefused(
                "E_PERM", f"{command} concerns the whole connection; the configuration's commands.allow can allow it"
            )

    def _checked(self, request: Request, args: dict[str, Any]) -> dict[str, Any]:
        path = request.request_id
        if path and arguments.has_number(args, path):
            raise CommandRefused(
                "E_ARG", f"{request.key} is the daemon's to give; answers are told apart by their topic"
            )
        return self._sender.check(request, arguments.numbered(args, path, 0) if path else args)

    def _ask(
        self, request: Request, args: dict[str, Any], command_id: CommandId, options: LeaseOptions
    ) -> dict[str, Any]:
        if request.name == "reqGlobalCancel":
            return self._global_cancel.execute(request, args, command_id)
        if request.does is Kind.SETTING:
            return self._settings.send(request, args, command_id.client)
        whole = request.does is Kind.SUBSCRIPTION and not request.request_id  # also with `subscribe: false`
        if whole or request.subscribes(args):
            return self._subscriptions.subscribe(request, args, command_id, options)
        if options.keep or options.wait:
            raise CommandRefused("E_ARG", f"keep and wait are for subscriptions, and this {request.name} is none")
        return self._requests.ask(request, args, command_id, options.marketDataType)
