"""Schedule of faults: the steps that wait for their time or for a request, and the faults that are active.

The module knows no client, and no effect of a fault. Callers pass the time, in seconds of a clock that only goes
forward.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ibbridge.sim.faults.script import FaultStep


class ActiveFault:
    """Fault that is active, with its end and its remaining uses."""

    def __init__(self, step: FaultStep, now: float) -> None:
        self.step = step
        self.ends = None if step.lasts is None else now + step.lasts
        self.left = step.times
        self.said = 1
        self.began = now

    def concerns(self, client: int | None) -> bool:
        """Return True if the fault applies to this client."""
        return self.step.client is None or self.step.client == client


class FaultSchedule:
    """Steps that wait, and active faults, oldest first."""

    def __init__(self) -> None:
        self._waiting: list[tuple[float, FaultStep]] = []
        self._triggers: list[FaultStep] = []
        self.faults: list[ActiveFault] = []

    # -- steps -------------------------------------------------------------------------------------------------------

    def plan(self, steps: Iterable[FaultStep], now: float) -> None:
        """Add the steps of a script. `at` counts from now, `after` from the step before."""
        before = now
        for step in steps:
            if step.on is not None:
                self._triggers.append(step)
                continue
            before = now + step.at if step.at is not None else before + (step.after or 0.0)
            self._waiting.append((before, step))
        self._waiting.sort(key=lambda entry: entry[0])

    def due(self, now: float) -> list[FaultStep]:
        """Remove and return the steps whose time has come, in order."""
        count = sum(at <= now for at, _ in self._waiting)
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        return [step for _, step in taken]

    def triggered(self, name: str, client: int) -> list[FaultStep]:
        """Remove and return the steps that this request of this client triggers."""
        hit = [step for step in self._triggers if step.on == name and step.client in (None, client)]
        self._triggers = [step for step in self._triggers if step not in hit]
        return hit

    def forget_triggers(self, step: FaultStep) -> None:
        """Forget the steps that wait for a request and that this `off` ends."""
        self._triggers = [
            each for each in self._triggers
            if step.args["fault"] not in ("", each.do) or step.client not in (None, each.client)
        ]  # fmt: skip

    # -- active faults -----------------------------------------------------------------------------------------------

    def start(self, step: FaultStep, now: float) -> None:
        """Make a fault active."""
        self.faults.append(ActiveFault(step, now))

    def remove(self, fault: ActiveFault) -> bool:
        """Remove a fault. Return False if it is not active any more."""
        found = fault in self.faults
        if found:
            self.faults.remove(fault)
        return found

    def remove_where(self, over: Callable[[ActiveFault], bool]) -> None:
        """Remove the faults for which `over` is true."""
        self.faults = [fault for fault in self.faults if not over(fault)]

    def active(self, do: str, client: int | None) -> ActiveFault | None:
        """Return the latest active fault of this name for a client; `client` is None before START_API."""
        return next((fault for fault in reversed(self.faults) if fault.step.do == do and fault.concerns(client)), None)

    def use(self, do: str, client: int | None) -> ActiveFault | None:
        """Return the latest active fault of this name, and count one use; the last use of `times` ends the fault."""
        found = self.active(do, client)
        if found is not None and found.left is not None:
            found.left -= 1
            if not found.left:
                self.faults.remove(found)
        return found

    def stalled(self, stage: str, client: int | None) -> bool:
        """Return True if connections go mute at this stage."""
        return any(
            fault.step.do == "stall" and fault.step.args["stage"] == stage and fault.concerns(client)
            for fault in self.faults
        )
