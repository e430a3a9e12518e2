"""Events of this library, delivered as messages: lost messages, silence of the daemon, and its restart.

Events have the flag `synthetic`. A `Gap` comes before the first message after the gap, the other events come when the
library notices the change.
"""

from __future__ import annotations

from typing import Any

from ibbridge.client.message import Message


class Event(Message):
    """Base class of the events; `data` is available as attributes, as with any message."""

    __slots__ = ()

    def __init__(self, kind: str, topic: str = "", epoch: int = 0, **data: Any) -> None:
        super().__init__(topic, {"type": kind, "data": data, "epoch": epoch, "flags": ("synthetic",)})


class Gap(Event):
    """Loss for good of the `missed` messages of `stream` with sequence numbers `first` to `last`.

    The message type is `lost`. The type `gap` belongs to the daemon, and means that the daemon may have missed messages
    of TWS.

    `reason` is the daemon's code for why it cannot replay the messages: E_GAP_TOO_OLD if it no longer keeps them. The
    state that they have changed follows, flagged `replayed`.
    """

    __slots__ = ()

    stream: str
    first: int
    last: int
    missed: int
    reason: str

    def __init__(self, stream: str, first: int, last: int, reason: str, epoch: int = 0) -> None:
        missed = last - first + 1
        super().__init__("lost", stream, epoch, stream=stream, first=first, last=last, missed=missed, reason=reason)


class Down(Event):
    """Silence of the daemon for `seconds`: the daemon or the connection to it is gone. Treat all data as stale."""

    __slots__ = ()

    seconds: float

    def __init__(self, seconds: float, epoch: int = 0) -> None:
        super().__init__("down", "", epoch, seconds=round(seconds, 3))


class Up(Event):
    """End of a silence of `seconds`: the daemon is heard again. Missed messages follow, or a `Gap` for those lost."""

    __slots__ = ()

    seconds: float

    def __init__(self, seconds: float, epoch: int = 0) -> None:
        super().__init__("up", "", epoch, seconds=round(seconds, 3))


class Restart(Event):
    """Restart of the daemon, which has a new `epoch`. Repeat the requests that were made in the epoch `before`."""

    __slots__ = ()

    before: int

    def __init__(self, epoch: int, before: int) -> None:
        super().__init__("restart", "", epoch, before=before)


class Refused(Event):
    """Refusal of a subscription to `prefix`: the `role` of this connection may not see all topics under the prefix.

    It comes when the daemon refuses the subscription, at once or after a reload of its policies.
    """

    __slots__ = ()

    prefix: str
    role: str
    fault: str

    def __init__(self, prefix: str, role: str, fault: str, epoch: int = 0) -> None:
        super().__init__("refused", prefix, epoch, prefix=prefix, role=role, fault=fault)
