"""What an operator must know of at once: each alarm by its name, since when it holds, and why.

Pure: told what is wrong and when, it tells each change, and no change twice. Knows no limits: whoever raises an alarm
decides when something is wrong. An alarm that is over goes on being state, with `raised` false.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

class Alarms:
    """All alarms that hold; `changed` is told of each that begins or ends, as it is published."""

    def __init__(self, changed: Callable[[dict[str, Any]], None] = lambda _: None) -> None:
        self._changed = changed
        self._raised: dict[str, dict[str, Any]] = {}

    def tell(self, name: str, why: str, now: int) -> None:
        """`why` it holds at `now` (µs since 1970 UTC); "" if it does not.

        Another reason than before is kept and shown, and is no change: figures in it may be others each second.
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
        """Those that hold, the oldest first, for heartbeats and `status`."""
        return [dict(about) for about in self._raised.values()]
