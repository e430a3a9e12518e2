"""A message that waits to be sent to TWS, with the hooks of the part that sends it.

This module knows the declarations of requests. It must not know orders, clients, or why a message is sent.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence

    from ibbridge.codec.schema import Limit, Request
    from ibbridge.tws.fair_queue import FairQueue
    from ibbridge.tws.request_limits import LimitWindow


class Count(NamedTuple):
    """Units that a message takes of one limit, in the window of this key."""

    limit: Limit
    key: Hashable
    units: int


class Held(NamedTuple):
    """Limit that holds a message back: `by` is its text for people, `seconds` the time left (None: unknown)."""

    seconds: float | None
    by: str


def always(_: OutboundMessage) -> bool:
    """Let the message be written."""
    return True


def nothing(_: OutboundMessage) -> None:
    """Do nothing about a message that is written or dropped."""


@dataclass(slots=True, eq=False)
class OutboundMessage:
    """Outbound message: a request that `client` ("" is the daemon itself) sends to TWS over the connection `peer`.

    `on_send` is called just before the bytes are written; if it returns False, the message is dropped. `on_written` is
    called when they are written: what need not come before is done there, because it takes time. `on_drop` is called if
    the connection is lost while the message waits. A message with `on_refuse` is written only after a commit
    that follows `on_send`; `on_refuse` is called, and the message is dropped, if the commit fails. `instead_of` holds
    earlier messages that this message replaces in the queue. `weight` is the number of messages that TWS counts.
    `about` has facts for the audit, which the part that sends an order knows when the order leaves.
    """

    request: Request
    data: bytes
    client: str = ""
    args: Mapping[str, Any] = field(default_factory=dict)
    on_send: Callable[[OutboundMessage], bool] = always
    on_drop: Callable[[OutboundMessage], None] = nothing
    on_refuse: Callable[[OutboundMessage], None] | None = None
    instead_of: Sequence[OutboundMessage] = ()
    peer: bytes = b""
    on_written: Callable[[OutboundMessage], None] = nothing
    weight: int = 1
    about: Mapping[str, Any] = field(default_factory=dict)
    # Set by the queue.
    since: float = 0.0
    arrival: int = 0
    counts: tuple[Count, ...] = ()
    queue: FairQueue[OutboundMessage] | None = None
    held_by: LimitWindow | None = None
    offered_by: LimitWindow | None = None

    @property
    def waits(self) -> bool:
        """Return True if the queue has accepted the message, and the message has neither left nor been withdrawn."""
        return self.queue is not None
