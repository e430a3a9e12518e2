"""What this library has to say itself, as messages among the others: what is lost, and whether the daemon is there.

They are flagged `synthetic` and come in their place: a `Gap` before what follows it, the others when it was noticed.
"""

from __future__ import annotations

from typing import Any

from ibbridge.client.message import Message


class Event(Message):
    """A message of this library's own; its attributes are its `data`, as they are of any message."""

    __slots__ = ()

    def __init__(self, kind: str, topic: str = "", epoch: int = 0, **data: Any) -> None:
        super().__init__(topic, {"type": kind, "data": data, "epoch": epoch, "flags": ("synthetic",)})


class Gap(Event):
    """The messages of `stream` from number `first` to number `last` are lost for good: `missed` of them.

    Its type is `lost`; a `gap` is the daemon's, and says that TWS may have said what the daemon has not heard.

    `reason` is the daemon's code for why they cannot be had again: E_GAP_TOO_OLD if it does not keep them any more.
    What of the stream's state they have changed follows, flagged `replayed`.
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
    """Nothing has been heard for `seconds`: the daemon, or the connection to it, is gone. What you hold is old."""

    __slots__ = ()

    seconds: float

    def __init__(self, seconds: float, epoch: int = 0) -> None:
        super().__init__("down", "", epoch, seconds=round(seconds, 3))


class Up(Event):
    """The daemon is heard again, `seconds` after it was heard last. What was missed comes, or is said to be lost."""

    __slots__ = ()

    seconds: float

    def __init__(self, seconds: float, epoch: int = 0) -> None:
        super().__init__("up", "", epoch, seconds=round(seconds, 3))


class Restart(Event):
    """Another daemon than before, with another `epoch`: what was asked of the one `before` is to be asked for again."""

    __slots__ = ()

    before: int

    def __init__(self, epoch: int, before: int) -> None:
        super().__init__("restart", "", epoch, before=before)
