"""The heartbeat of the daemon: about every second the parts do their periodic work, and subscribers hear of it.

This module must not know the parts: `wiring` lists their work, and what a heartbeat says of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ibbridge.streams.audience import filtered
from ibbridge.streams.envelope import PROTO

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ibbridge.clock import Clock
    from ibbridge.streams.audience import Audience
    from ibbridge.streams.publisher import Publisher


class Heartbeat:
    """Heartbeat. `work` is done before it is published, in this order. `sections` are what it says, by name.

    Those of the `audience` who may not see everything get a heartbeat of their own.
    """

    def __init__(
        self,
        publisher: Publisher,
        work: Sequence[Callable[[], object]],
        sections: Mapping[str, Callable[[], Any]],
        audience: Audience,
        clock: Clock,
    ) -> None:
        self._audience = audience
        self._publisher = publisher
        self._work = work
        self._sections = sections
        self._clock = clock

    def beat(self) -> None:
        """Do the periodic work of all parts, and publish a heartbeat."""
        for work in self._work:
            work()
        seqs = self._publisher.seqs()
        about = {"proto": PROTO, "beat": self._publisher.beats, "offset": self._publisher.offset, "seqs": seqs}
        about |= collect(self._sections)
        now = self._clock.utc_us()
        self._publisher.publish_unsequenced("heartbeat", about, now, "sys", "bridge")
        for rights in self._audience.limited():
            self._publisher.send_unsequenced(rights.heartbeat, "heartbeat", filtered(about, rights), now)


def collect(sections: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
    """Return what each section says now, by name."""
    return {name: section() for name, section in sections.items()}
