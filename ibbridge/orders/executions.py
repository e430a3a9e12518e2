"""Executions by execId: whose each is, and where its reports have been published.

Pure. TWS reports an execution when it happens (live), and in each list that a client asks for (`reqExecutions`). Its
commission names only the execId, and comes once after each of these reports, or not at all. So the index notes who has
been told what: the owner of the order is told of each execution and each commission once, however TWS reports it, and
every list has its own report. The module must not know topics, requests or time.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from ibbridge.orders.exec_ids import other_numbers, stem_and_number
from ibbridge.orders.order import FOREIGN, Owner

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping


MOST_EXECUTIONS = 20_000
"""Executions that are remembered. TWS reports those of one day."""

MOST_ASKERS = 32
"""Lists with one execution that may lack its commission at once; beyond that the oldest goes without."""

MOST_HELD = 1_000
"""Commissions that are held until TWS reports their executions."""

LONGEST_HELD = 30.0
"""Seconds for which a commission is held."""


@dataclass(slots=True)
class Execution:
    """An execution: its owner, and who has been told of it.

    `told`: it was published for its owner. `charge`: the commission that was published last for its owner; None before.
    `askers`: the lists that have the execution, and do not have its commission yet.
    """

    whose: Owner
    told: bool = False
    charge: Hashable = None
    askers: list[Any] = field(default_factory=list)


class Recipients(NamedTuple):
    """The owner of a commission, or None if the owner need not be told, and the lists to which it belongs."""

    owner: Owner | None
    askers: list[Any]


class ExecutionIndex:
    """Index of the executions that TWS has reported. `recorded` returns an execution that is not in it, by execId."""

    def __init__(self, recorded: Callable[[str], Execution | None] = lambda _: None) -> None:
        self._recorded = recorded
        self._by_id: OrderedDict[str, Execution] = OrderedDict()
        self._by_stem: dict[str, Owner] = {}

    def executed(self, exec_id: str, whose: Owner, asker: Any = None) -> Owner | None:
        """Note a report of an execution: in the list of `asker`, or live. Return its owner, if the owner must be told.

        An execution that was missed live is first reported in a list. Its owner is told of it then. Executions of
        `ext` are many owners', and those in a list were not missed: TWS has not meant them for this daemon.
        """
        if not exec_id:  # nothing tells it from the one before
            self._by_id.pop(exec_id, None)
        if whose.owner == FOREIGN:
            whose = self.kin(exec_id) or whose
        execution = self._find(exec_id) or self._enter(exec_id, Execution(whose))
        if whose.owner != FOREIGN:
            if execution.whose.owner != whose.owner:
                execution.told, execution.charge = False, None
            execution.whose = self._by_stem[_stem(exec_id)] = whose
        if asker is not None:
            execution.askers = [*execution.askers, asker][-MOST_ASKERS:]
        if execution.told or (asker is not None and execution.whose.owner == FOREIGN):
            return None
        execution.told = True
        return execution.whose

    def charged(self, exec_id: str, report: Mapping[str, Any]) -> Recipients | None:
        """Note the commission of an execution, and return who must be told; None if the execution is not known.

        A commission that tells the owner of another amount is news: TWS may not know the amount at first.
        """
        execution = self._find(exec_id)
        if execution is None:
            return None
        askers, execution.askers = execution.askers, []
        charge = (report.get("commissionAndFees"), report.get("currency"))
        if charge == execution.charge or (askers and not execution.told):
            return Recipients(None, askers)
        execution.charge = charge
        return Recipients(execution.whose, askers)

    def owner(self, exec_id: str, whose: Owner) -> Owner:
        """Return the owner of an execution, `whose` if it is not known."""
        execution = self._by_id.get(exec_id)
        return whose if execution is None else execution.whose

    def kin(self, exec_id: str) -> Owner | None:
        """Return the owner of the execution that this one corrects: its execId differs after the last dot."""
        found = self._by_stem.get(_stem(exec_id)) if exec_id else None
        for each in other_numbers(exec_id)[0] if found is None else ():
            if (execution := self._find(each)) is not None:
                return execution.whose if execution.whose.owner != FOREIGN else None
        return found

    def forget_askers(self) -> None:
        """Note that no list goes on, because the connection is lost."""
        for execution in self._by_id.values():
            execution.askers = []

    def _find(self, exec_id: str) -> Execution | None:
        execution = self._by_id.get(exec_id)
        if execution is None and (execution := self._recorded(exec_id)) is not None:
            self._enter(exec_id, execution)
        return execution

    def _enter(self, exec_id: str, execution: Execution) -> Execution:
        self._by_id[exec_id] = execution
        if execution.whose.owner != FOREIGN:
            self._by_stem[_stem(exec_id)] = execution.whose
        if len(self._by_id) > MOST_EXECUTIONS:
            oldest, _ = self._by_id.popitem(last=False)
            self._by_stem.pop(_stem(oldest), None)
        return execution


def _stem(exec_id: str) -> str:
    """Return the part of an execId that an execution shares with its corrections."""
    found = stem_and_number(exec_id)
    return exec_id if found is None else found[0]


class HeldCommission(NamedTuple):
    """A `commissionAndFeesReport` whose execution TWS has not reported, and when it was read."""

    exec_id: str
    data: dict[str, Any]
    ts: int


@dataclass(slots=True)
class _Held:
    commissions: list[HeldCommission] = field(default_factory=list)
    until: float | None = None


class HeldCommissions:
    """Commissions that came before their executions. They are held in bounded number, and for a bounded time."""

    def __init__(self) -> None:
        self._by_id: dict[str, _Held] = {}
        self._count = 0

    def hold(self, exec_id: str, data: dict[str, Any], ts: int) -> list[HeldCommission]:
        """Hold a commission until its execution comes. Return those for which there is no more room, the oldest."""
        held = self._by_id.setdefault(exec_id, _Held())
        held.commissions.append(HeldCommission(exec_id, data, ts))
        self._count += 1
        return self.take(next(iter(self._by_id))) if self._count > MOST_HELD else []

    def take(self, exec_id: str) -> list[HeldCommission]:
        """Return the commissions of an execution, and hold them no longer."""
        held = self._by_id.pop(exec_id, None)
        if held is None:
            return []
        self._count -= len(held.commissions)
        return held.commissions

    def take_due(self, now: float) -> list[HeldCommission]:
        """Return the commissions that have been held for too long, at `now` in seconds of a monotonic clock.

        Call it about every second: the time of a commission begins with the first call after it came.
        """
        due = []
        for exec_id, held in self._by_id.items():
            if held.until is None:
                held.until = now + LONGEST_HELD
            elif held.until <= now:
                due.append(exec_id)
        return [commission for exec_id in due for commission in self.take(exec_id)]

    def take_all(self) -> list[HeldCommission]:
        """Return all commissions, and hold none."""
        return [commission for exec_id in list(self._by_id) for commission in self.take(exec_id)]
