"""Making of requests with the topics of their responses: the instrument's, the account's, or the client's own.

This module knows declarations and the arguments of commands. It must not know TWS, or requests that are under way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ibbridge.codec.schema import Kind
from ibbridge.protocol import answer_topics
from ibbridge.protocol.errors import CommandRefused
from ibbridge.protocol.instrument_key import instrument_key
from ibbridge.protocol.topics import LONGEST_STREAM
from ibbridge.requests.request import ActiveRequest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ibbridge.codec.schema import Request
    from ibbridge.requests.notifications import RequestNotifications
    from ibbridge.requests.request import CommandId, RequestListener


class RequestFactory:
    """Factory of requests.

    `names` are the configured names of instruments, by instrument key. `listeners` are told how each request goes on.
    """

    def __init__(
        self, notifications: RequestNotifications, names: Mapping[str, str], listeners: Sequence[RequestListener]
    ) -> None:
        self._notifications = notifications
        self._names = names
        self._listeners = listeners

    def make(
        self, request: Request, args: Mapping[str, Any], command_id: CommandId, data_type: int = 0
    ) -> ActiveRequest:
        """Return the request of a command, with the topics of its responses.

        `data_type` is the market data type for this request alone, which then has a topic of its own; 0 for the type of
        the connection. Raises `CommandRefused` for a too long topic.
        """
        own = answer_topics.own(command_id.client, str(command_id.id))
        suffix = answer_topics.DATA_TYPES[data_type]
        place = answer_topics.response_topic(request, args, own, lambda contract: self._instrument(contract) + suffix)
        ref = (
            None
            if request.does is Kind.SUBSCRIPTION and "contract" in args
            else {"client": command_id.client, "id": command_id.id}
        )
        if request.name.startswith("reqPnL"):
            ref = {each: args[each] for each in ("account", "modelCode", "conid") if each in args}
        listeners = self._listeners
        active = ActiveRequest(
            request, command_id.client, command_id.id, args, place, ref, listeners=listeners, data_type=data_type
        )
        if (length := len(self.topic(active))) > LONGEST_STREAM:
            fault = f"the topic of the responses would have {length} bytes, and {LONGEST_STREAM} are the most"
            what = "contract" if "contract" in args else request.name
            raise CommandRefused("E_ARG", f"{what}: {fault}; leave out fields that the instrument does not need")
        return active

    def _instrument(self, contract: Mapping[str, Any]) -> str:
        key = instrument_key(contract)
        return self._names.get(key, key)

    def topic(self, active: ActiveRequest) -> str:
        """Return the topic on which the responses arrive; for requests about accounts, the topic of the account."""
        if active.request.name in answer_topics.OF_ACCOUNTS:
            account = active.args.get("account")
            return self._notifications.named("acct", *([account] if account else []))
        return self._notifications.named(*active.place(""))

    def reply(self, active: ActiveRequest, topic: str = "") -> dict[str, Any]:
        """Return the topics for the reply to a command.

        `topic` carries most responses. `topics` are all prefixes under which messages about the request are published.
        """
        topic = topic or self.topic(active)
        places = answer_topics.prefixes(active.request, active.args, active.place)
        found = [topic, *(self._notifications.named(*components) for components in (*places, active.place("error")))]
        return {"topic": topic, "topics": _without_covered(found)}


def _without_covered(prefixes: list[str]) -> list[str]:
    """Return the prefixes that no other prefix covers, each once, in their order."""
    return [
        each
        for place, each in enumerate(prefixes)
        if each not in prefixes[:place] and not any(each != other and each.startswith(other) for other in prefixes)
    ]
