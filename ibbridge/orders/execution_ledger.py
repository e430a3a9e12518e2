"""Ledger of executions: for whom each was published, and which of them the owners' positions count.

Pure. The ledger is in the order journal. An execution is noted before it is published, and counts for a position once,
whatever is published again after a crash. A correction counts in place of the execution that it corrects. The module
must not know which topics messages have.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple

import msgpack

from ibbridge.orders.exec_ids import other_numbers
from ibbridge.orders.executions import MOST_EXECUTIONS, Execution
from ibbridge.orders.fills import COMBINATION
from ibbridge.orders.journal import EXECUTION
from ibbridge.orders.known_contracts import multiplier_of
from ibbridge.orders.order import FOREIGN, Owner
from ibbridge.orders.owner_positions import Counted, decimal
from ibbridge.protocol.instrument_key import contract_identity, instrument_key
from ibbridge.risk.book import TradeFill
from ibbridge.storage.records import JournalRecord

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ibbridge.clock import Clock
    from ibbridge.orders.journal import OrderJournal
    from ibbridge.orders.owner_positions import OwnerPositions
    from ibbridge.streams.publisher import Publisher

log = logging.getLogger(__name__)

REPLACED: tuple[()] = ()
"""Effect of an execution that a correction has replaced, or that moves no position."""

SIDES = {"BOT": 1, "SLD": -1}
"""The sign of a position's change by `side` of an execution."""

CAUSES = {
    1: "Exercise", 2: "Lapse", 3: "DoNothing", 100: "Assigned", 101: "AutoexerciseClearing", 102: "Expired",
    103: "Netting", 200: "AutoexerciseTrading",
}  # fmt: skip
"""IB's names of `optExerciseOrLapseType`."""


class ExecutionRecord(NamedTuple):
    """Record of an execution.

    `part` and `ref` are those of the order. `seq` is its number on the stream of the owner's executions, in the epoch
    in which it was to be published; 0 if it was not. `charge` is the commission that was published last; None before
    that. `counted`: the effect on a position, or `REPLACED`; None if it was not counted yet. `at`: when TWS reported it
    first, in µs since 1970 UTC.
    """

    owner: str
    part: str
    ref: dict[str, Any]
    epoch: int = 0
    seq: int = 0
    charge: Sequence[Any] | None = None
    charge_epoch: int = 0
    charge_seq: int = 0
    counted: Counted | tuple[()] | None = None
    at: int = 0


class FillWatch:
    """A part that is told of each execution that counts, once. Each method does nothing by default."""

    def filled(self, fill: TradeFill) -> None:
        """Act on an execution."""

    def corrected(self, old: TradeFill, new: TradeFill | None) -> None:
        """Act on the correction of an execution; None if it never took place."""

    def charged(self, client: str, account: str, currency: str, amount: float) -> None:
        """Act on a commission; a negative amount takes back what was charged before."""


class ExecutionLedger:
    """Ledger of the executions that TWS has reported. `watch` is told of each that counts."""

    def __init__(
        self,
        journal: OrderJournal,
        publisher: Publisher,
        positions: OwnerPositions,
        clock: Clock,
        watch: FillWatch | None = None,
    ) -> None:
        self.positions = positions
        self._clock = clock
        self._watch = watch or FillWatch()
        self._journal = journal
        self._publisher = publisher
        self._settled: OrderedDict[str, str] = OrderedDict()  # owners by execId, of which a repetition changes nothing

    def executed(self, exec_id: str, owner: Owner, data: Mapping[str, Any], *, told: bool) -> None:
        """Note an execution of an owner, and count it. `told`: it is published for the owner next.

        An execution that the journal has, and that cannot be read, counts already.
        """
        if not told and self._settled.get(exec_id) == owner.owner:
            return
        known = self._find(exec_id)
        if known is None and self._journal.has_record(EXECUTION, exec_id.encode()):
            return
        counted = self._count(exec_id, known, owner, data)
        if told or known is None or counted != known.counted:
            same = known is not None and known.owner == owner.owner
            record = known if known is not None and same else ExecutionRecord(*owner[:3])
            if told:
                record = record._replace(epoch=self._publisher.epoch, seq=self._next(owner.owner))
            at = record.at or self._clock.utc_us()
            self._note(exec_id, record._replace(ref=owner.ref, counted=counted, at=at))
        if told and counted:
            self.positions.show(counted[:3])
        if counted is not None:
            self._settle(exec_id, owner.owner)

    def _settle(self, exec_id: str, owner: str) -> None:
        """Remember an execution that is counted, so that the disk is not asked for it with each list of TWS."""
        self._settled[exec_id] = owner
        if len(self._settled) > MOST_EXECUTIONS:
            self._settled.popitem(last=False)

    def charged(self, exec_id: str, owner: Owner, report: Mapping[str, Any]) -> None:
        """Note a commission that is published for the owner of the execution next, and count it."""
        known = self._find(exec_id)
        if known is None:
            return
        if known.counted and self.positions.is_unreadable(known.counted[:3]):
            log.warning("the commission of %s is not counted: the disk does not say of what position", exec_id)
            return
        amount, currency = report.get("commissionAndFees"), report.get("currency")
        known = known._replace(
            charge=[amount, currency], charge_epoch=self._publisher.epoch, charge_seq=self._next(owner.owner)
        )
        if known.counted and (number := decimal(amount)) is not None and isinstance(currency, str):
            before = known.counted
            known = known._replace(counted=self.positions.charge(before, str(number), currency))
            self._charged(owner, before, "0")
            self._charged(owner, before, str(number), currency)
        self._note(exec_id, known)

    def recorded(self, exec_id: str) -> Execution | None:
        """Return an execution that is in the journal, and whether its owner was told."""
        record = self._find(exec_id)
        if record is None:
            return None
        charged = record.charge is not None and self._was_published(record, record.charge_epoch, record.charge_seq)
        charge = tuple(record.charge) if record.charge is not None and charged else None
        told = self._was_published(record, record.epoch, record.seq)
        return Execution(Owner(record.owner, record.part, record.ref), told, charge)

    # -- positions

    def _count(
        self, exec_id: str, known: ExecutionRecord | None, owner: Owner, data: Mapping[str, Any]
    ) -> Counted | tuple[()] | None:
        """Count an execution for a position, unless it counts already. Return what the journal is to keep of it.

        Return None if the disk does not say what it would change. TWS lists the execution again, and it counts then.
        """
        if known is not None and known.counted is not None and not known.counted:
            return REPLACED
        new = _effect(owner, data)
        if new is None:
            return REPLACED if known is None or not known.counted else known.counted
        if known is not None and known.counted and known.counted.holder == new.holder:
            return known.counted
        before, after = (self._recorded(each) for each in other_numbers(exec_id))
        others = (known, *before.values(), *after.values())
        if None in (*before.values(), *after.values()) or self._is_unreadable(new, others):
            return None if known is None else known.counted
        if known is not None and known.counted:
            self._watch.corrected(self._fill(known, known.counted), None)
            self.positions.take_back(known.counted)
        if after:
            return REPLACED
        fill = _fill(owner, new, data["contract"], self._clock.utc_us())
        for each, corrected in before.items():
            if corrected is not None and corrected.counted:
                self._note(each, corrected._replace(counted=REPLACED))
                self._watch.corrected(self._fill(corrected, corrected.counted), fill)
                return self.positions.correct(corrected.counted, new, data["contract"])
        self._watch.filled(fill)
        return self.positions.add(new, data["contract"])

    def _fill(self, record: ExecutionRecord, counted: Counted) -> TradeFill:
        """Return what the watch was told of an execution that counts."""
        whose = Owner(record.owner, record.part, record.ref)
        return _fill(whose, counted, self.positions.contract(*counted[1:3]), record.at)

    def _charged(self, owner: Owner, counted: Counted, amount: str, currency: str = "") -> None:
        """Tell the watch of a commission; without a currency, that the one before is taken back."""
        change = float(amount) if currency else -float(counted.commission)
        if change:
            self._watch.charged(owner.owner, counted.account, currency or counted.currency, change)

    def _recorded(self, exec_ids: Iterable[str]) -> dict[str, ExecutionRecord | None]:
        """Return those of some executions that the journal has; None for one that cannot be read now."""
        return {each: self._find(each) for each in exec_ids if self._journal.has_record(EXECUTION, each.encode())}

    def _is_unreadable(self, new: Counted, others: Iterable[ExecutionRecord | None]) -> bool:
        """Return True if a position that an execution may change cannot be read now."""
        counted = (each.counted for each in others if each is not None and each.counted)
        return any(self.positions.is_unreadable(each[:3]) for each in (new, *counted))

    # -- records

    def _find(self, exec_id: str) -> ExecutionRecord | None:
        record = self._journal.find_record(EXECUTION, exec_id.encode())
        if record is None:
            return None
        found = ExecutionRecord(*msgpack.unpackb(record.value, use_list=False))
        return found._replace(counted=Counted(*found.counted)) if found.counted else found

    def _note(self, exec_id: str, record: ExecutionRecord) -> None:
        self._journal.note_record(JournalRecord(EXECUTION, exec_id.encode(), msgpack.packb(record), open=False))

    def _next(self, owner: str) -> int:
        """Return the next sequence number on the stream of an owner's executions."""
        return self._publisher.last("exec", owner) + 1

    def _was_published(self, record: ExecutionRecord, epoch: int, seq: int) -> bool:
        """Return True if a message with this number on the stream of an owner's executions was published.

        The journal is written first. If the process ended before the message was committed, or a loss of power has
        taken the message, there is none with this number, or one of a later epoch.
        """
        if not seq or epoch == self._publisher.epoch:
            return bool(seq)
        return self._publisher.was_committed(self._publisher.named("exec", record.owner).encode(), seq, epoch)


def _effect(owner: Owner, data: Mapping[str, Any]) -> Counted | None:
    """Return the effect of an execution on a position; None if it has none, or none that can be read."""
    execution, contract = data["execution"], data.get("contract") or {}
    quantity, price = decimal(execution.get("shares")), decimal(execution.get("price"))
    side = SIDES.get(execution.get("side", ""))
    if contract.get("secType") == COMBINATION:  # of which nobody has a position, but of its legs
        return None
    if quantity is None or price is None or side is None:
        log.warning("the execution %s has no quantity, price or side that can be read: no position counts it",
                    execution.get("execId"))  # fmt: skip
        return None
    holder = owner.owner if owner.owner != FOREIGN else f"{FOREIGN}/{_cause(execution)}"
    account = execution.get("acctNumber") or ""
    return Counted(holder, account, contract_identity(contract), str(quantity * side), str(price), 0)


def _fill(owner: Owner, counted: Counted, contract: Mapping[str, Any], at: int) -> TradeFill:
    """Return an execution as the book of risk counts it."""
    quantity = float(counted.quantity)
    con_id = counted.instrument if isinstance(counted.instrument, int) else 0
    return TradeFill(
        (owner.owner, owner.part),
        counted.account,
        str(instrument_key(contract)),
        con_id,
        contract.get("symbol") or "",
        contract.get("secType") or "",
        contract.get("currency") or "",
        multiplier_of(contract),
        1 if quantity > 0 else -1,
        abs(quantity),
        float(counted.price),
        at,
    )


def _cause(execution: Mapping[str, Any]) -> str:
    """Return why somebody else's execution took place, in IB's words; a trade if TWS does not say."""
    if execution.get("liquidation"):
        return "liquidation"
    return CAUSES.get(execution.get("optExerciseOrLapseType") or 0, "trade")
