"""Requests from commands: one-shots, and the cancels and updates of any request by the command id that made it.

Pure. A command that is not executed raises `CommandRefused`. This module must not know which command is allowed to
whom, orders, or how clients share a subscription.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ibbridge.protocol import arguments
from ibbridge.protocol.errors import CommandRefused
from ibbridge.requests.request import CommandId

if TYPE_CHECKING:
    from ibbridge.codec.schema import Request
    from ibbridge.requests.command_index import CommandIndex
    from ibbridge.requests.delays import HeldRequests
    from ibbridge.requests.issuer import RequestIssuer
    from ibbridge.requests.request import ActiveRequest
    from ibbridge.requests.request_factory import RequestFactory
    from ibbridge.requests.tracker import RequestTracker


class RequestService:
    """Requests with a client of their own, by command."""

    def __init__(
        self,
        request_factory: RequestFactory,
        issuer: RequestIssuer,
        tracker: RequestTracker,
        index: CommandIndex,
        held_requests: HeldRequests,
    ) -> None:
        self._request_factory = request_factory
        self._issuer = issuer
        self._tracker = tracker
        self._index = index
        self._held_requests = held_requests

    def ask(self, request: Request, args: dict[str, Any], command_id: CommandId, data_type: int = 0) -> dict[str, Any]:
        """Send a one-shot request with checked arguments, and return the `result` of the reply.

        `data_type` is the market data type for this request alone; 0 for the type of the connection.
        """
        active = self._request_factory.make(request, args, command_id, data_type)
        if again := self.under_way(active, command_id):
            return again
        if request.request_id:
            self.open(active, command_id)
        else:
            # Sent even if the same request is under way: TWS leaves some unanswered, and all later ones would wait.
            self._issuer.send(active, args, command_id.client)
        return self.begun(active, command_id)

    def what_if(self, request: Request, values: dict[str, Any], command_id: CommandId) -> dict[str, Any]:
        """Send an order as a question for its margin and commission, under the request id that it carries.

        TWS responds with one `openOrder`, which is published on the client's own stream.
        """
        active = self._request_factory.make(request, values, command_id)
        if again := self.under_way(active, command_id):
            return again
        self._issuer.send(active, values, command_id.client)
        active.req_id = self._issuer.next_id()
        self._tracker.open(active)
        return self.begun(active, command_id)

    def cancelled(self, command_id: CommandId) -> str | None:
        """Return the name of the request that this command made, if its client has cancelled the request since."""
        return self._index.cancelled(command_id)

    # -- for requests of any kind

    def under_way(self, active: ActiveRequest, command_id: CommandId) -> dict[str, Any] | None:
        """Return the result for a repeated command whose request is still under way; None for a new command.

        Raises `CommandRefused` if the command id belongs to another request that is under way.
        """
        mine = self._index.find(command_id.named)
        if mine is None or mine.ended:
            return None
        path = arguments.number(active.request)
        asked, wanted = (arguments.numbered(each.args, path, 0) if path else each.args for each in (mine, active))
        if mine.request is not active.request or asked != wanted:
            raise CommandRefused(
                "E_ID_REUSED", f"id {command_id.id!a} belongs to a {mine.request.name} that is under way"
            )
        return {**self.replied(mine, active), "dup": True}

    def open(self, active: ActiveRequest, command_id: CommandId) -> None:
        """Send a request that carries a request id, under a new one."""
        active.req_id = self._issuer.next_id()
        active.args = arguments.numbered(active.args, active.request.request_id or (), active.req_id)
        active.subscribers.add(command_id.named)
        self._tracker.open(active)
        try:
            self._issuer.send(active, dict(active.args), command_id.client)
        except CommandRefused:
            self._tracker.end(active)
            raise

    def begun(self, active: ActiveRequest, command_id: CommandId) -> dict[str, Any]:
        """Remember a request that has been queued, start its response deadline, and return the result of the reply."""
        self._index.remember(command_id.named, active)
        self._issuer.asked(active)
        return self.replied(active)

    def wait(self, active: ActiveRequest, command_id: CommandId) -> dict[str, Any]:
        """Remember a request that is not sent yet, because it waits for a line, and return the result of the reply."""
        active.subscribers.add(command_id.named)
        self._index.remember(command_id.named, active)
        return {**self._request_factory.reply(active), "held_until": None, "held_by": "lines"}

    def join(self, shared: ActiveRequest, active: ActiveRequest, command_id: CommandId) -> dict[str, Any]:
        """Let a client share the request of another client, and return the result of the reply.

        `active` is the request as this client made it.
        """
        shared.subscribers.add(command_id.named)
        self._index.remember(command_id.named, shared)
        return self.replied(shared, active)

    def replied(self, active: ActiveRequest, named: ActiveRequest | None = None) -> dict[str, Any]:
        """Return the result for a request that is under way: the topics of its responses, and its delay by pacing.

        `named` is the request as this client made it, where the client shares the request of another client.
        """
        return {**self._request_factory.reply(named or active), **self._held_requests.reply(active)}

    # -- cancels and updates

    def concern(self, request: Request, args: dict[str, Any], command_id: CommandId) -> dict[str, Any]:
        """Cancel or update an earlier request of the same client."""
        holder = _named(request, args, command_id)
        active = self._index.find(holder)
        if active is None or active.request.name != request.target:
            if request.cancels and self._index.cancelled(holder) == request.cancels:
                return {"dup": True}
            shown = ascii(args["id"])[:80]
            raise CommandRefused(
                "E_ARG", f"id: {command_id.client} has no {request.target} with the command id {shown}"
            )
        if request.cancels:
            self._let_go(request, active, holder)
        elif active.ended:
            raise CommandRefused("E_ARG", f"id: the {request.target} with this command id has ended")
        else:
            rest = {name: value for name, value in args.items() if name != "id"}
            # In the queue of the client that made the request, so that the update stays behind that request.
            client = active.message.client if active.message else command_id.client
            self._issuer.update(request, active, rest, client)
        return {}

    def _let_go(self, cancel: Request, active: ActiveRequest, holder: CommandId) -> None:
        """Release the holder's share of a request, and cancel the request at TWS for its last holder.

        A request that still waits in the queue is withdrawn, so that TWS receives neither the request nor the cancel.
        A cancel that cannot be sent raises `CommandRefused` and changes nothing, so that the client may try again.
        """
        last = not active.subscribers - {holder} and not active.ended
        if last and active.attempts:
            self._issuer.cancel_with(cancel, active, holder.client)
        self._index.cancel(holder)
        active.subscribers.discard(holder)
        if last:
            self._tracker.end(active)

    def leave(self, active: ActiveRequest, holder: CommandId) -> None:
        """Take a holder's share of a request away, and leave the request at TWS."""
        if self._index.find(holder) is active:
            self._index.cancel(holder)
        active.subscribers.discard(holder)

    def stop(self, active: ActiveRequest) -> None:
        """End a request that nobody holds, and cancel it at TWS. Raises `CommandRefused` if TWS takes no cancel now."""
        if active.attempts and self._issuer.is_open:
            self._issuer.cancel(active)
        self._tracker.end(active)


def _named(request: Request, args: dict[str, Any], command_id: CommandId) -> CommandId:
    """Return the client and command id of the request that this command names. Raises `CommandRefused`."""
    taken = {"id", *(field.name for field in arguments.fields(request))}
    needless = "is not needed: the request is named by its command id"
    faults = [f"{ascii(name)[:60]} {needless}" for name in args if name not in taken][:10]
    if "id" not in args:
        faults.append("id is missing: the command id of the request")
    if faults:
        raise CommandRefused("E_ARG", *faults)
    named = args["id"]
    if isinstance(named, bool) or not isinstance(named, str | int):
        raise CommandRefused("E_ARG", "id must be the command id of the request: an integer or text")
    return CommandId(command_id.client, named).named
