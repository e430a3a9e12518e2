"""Alarms for operators: each with a name, the time since which it holds, and its reason.

Pure: the caller tells what is wrong and when, and the module reports each change once. The module must not know limits:
the caller decides when to raise an alarm. An alarm that is over stays in the published state, with `raised` false.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class Alarms:
    """Set of the alarms that hold. `changed` is called with each alarm that begins or ends, in its published form."""

    def __init__(self, changed: Callable[[dict[str, Any]], None] = lambda _: None) -> None:
        self._changed = changed
        self._raised: dict[str, dict[str, Any]] = {}

    def update(self, name: str, why: str, now: int) -> None:
        """Raise an alarm at `now` (µs since 1970 UTC) for the reason `why`, or end the alarm if `why` is "".

        A new reason of an alarm that holds is kept, but not reported as a change: numbers in it may change each second.
        """
        about = self._raised.get(name)
        if about is not None and why:
            about["why"] = why
        elif why:
            about = self._raised[name] = {"alarm": name, "raised": True, "since": now, "why": why}
            self._changed(dict(about))
        elif about is not None:
            del self._raised[name]
            self._changed({**about, "raised": False, "since": now})

    @property
    def raised(self) -> list[dict[str, Any]]:
        """The alarms that hold, the oldest first, for heartbeats and `status`."""
        return [dict(about) for about in self._raised.values()]
