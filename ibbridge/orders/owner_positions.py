"""Positions of the owners: each owner's part of the positions in an account, from the executions of the owner's orders.

Pure. The positions are in the order journal, in the same commit as the executions that they count, so that each
execution counts once over all restarts. They are published to the owner as `ownerPosition`. Executions of orders that
no client of this daemon has placed count for the positions of `ext`, by cause. The module must not know what TWS says
of the account's positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import msgpack

from ibbridge.orders.fills import LARGEST
from ibbridge.orders.journal import POSITION
from ibbridge.orders.order import FOREIGN
from ibbridge.orders.position import NOTHING, Fill, Position
from ibbridge.storage.records import JournalRecord

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ibbridge.clock import Clock
    from ibbridge.orders.journal import OrderJournal
    from ibbridge.streams.publisher import Publisher

TYPE = "ownerPosition"
"""Type of the messages about the position of an owner."""

MOST_FLAT = 10_000
"""Most flat positions in memory and in snapshots. The journal has all of them."""

NAMED = (
    "conId", "symbol", "secType", "lastTradeDateOrContractMonth", "strike", "right", "multiplier", "currency",
    "localSymbol", "tradingClass",
)  # fmt: skip
"""Attributes of a contract that are published with a position. The exchange is that of one execution."""

Instrument: TypeAlias = int | str
"""The conId of a contract, or the instrument key of one without a conId."""


class Counted(NamedTuple):
    """Effect of an execution on a position, as the journal has it.

    `holder`: the owner of the position. `quantity`, `price`, `turn`: those of the `Fill`. `commission` and `currency`:
    what was charged for the execution.
    """

    holder: str
    account: str
    instrument: Instrument
    quantity: str
    price: str
    turn: int
    commission: str = "0"
    currency: str = ""

    @property
    def fill(self) -> Fill:
        """The part that the position counts."""
        return Fill(Decimal(self.quantity), Decimal(self.price), self.turn)


@dataclass(slots=True)
class _Holding:
    """Position of a holder, with the attributes of its contract."""

    position: Position
    contract: dict[str, Any]


Place: TypeAlias = tuple[str, str, Instrument]
"""Holder, account and instrument of a position."""


class OwnerPositions:
    """Table of the positions of all owners. `changed`: accounts and instruments whose sum over the owners changed."""

    def __init__(self, journal: OrderJournal, publisher: Publisher, clock: Clock) -> None:
        self.changed: set[tuple[str, Instrument]] = set()
        self._journal = journal
        self._publisher = publisher
        self._clock = clock
        self._held: dict[Place, _Holding] = {}
        self._by_instrument: dict[tuple[str, Instrument], set[str]] = {}
        self._flat: dict[Place, None] = {}
        self._unpublished: dict[Place, None] = {}

    # -- executions

    def is_unreadable(self, place: Place) -> bool:
        """Return True if a position is neither in memory nor can be read: nothing must be counted for it now."""
        return place not in self._held and self._journal.is_unreadable(POSITION, _name(place))

    def add(self, new: Counted, contract: Mapping[str, Any]) -> Counted:
        """Count an execution for a position. Return what the journal is to keep of it."""
        place, held = self._of(new, contract)
        turn = held.position.add(new.fill).turn
        self._change(place, held)
        return new._replace(turn=turn)

    def correct(self, old: Counted, new: Counted, contract: Mapping[str, Any]) -> Counted:
        """Count an execution in place of the one that it corrects, whose commission it takes over."""
        if old[:3] != new[:3]:
            self.take_back(old)
            return self.charge(self.add(new, contract), old.commission, old.currency)
        place, held = self._of(new, contract)
        turn = held.position.correct(old.fill, new.fill).turn
        self._change(place, held)
        return new._replace(turn=turn, commission=old.commission, currency=old.currency)

    def take_back(self, old: Counted) -> None:
        """Count an execution no longer, and its commission."""
        place, held = self._of(old, {})
        held.position.correct(old.fill, NOTHING)
        self._change(place, held)
        self.charge(old, "0", old.currency)

    def charge(self, old: Counted, commission: str, currency: str) -> Counted:
        """Count a commission in place of the one that was charged for the execution before."""
        place, held = self._of(old, {})
        if Decimal(old.commission):
            held.position.charge(-Decimal(old.commission), old.currency)
        if Decimal(commission):
            held.position.charge(Decimal(commission), currency)
        self._change(place, held)
        return old._replace(commission=commission, currency=currency)

    def show(self, place: Place) -> None:
        """Have a position published, because an execution that it counts is published for its owner."""
        if not self.is_unreadable(place):
            self._load(place)
            self._unpublished[place] = None

    def places(self) -> Iterable[tuple[str, Instrument]]:
        """Return the accounts and instruments of all positions in memory."""
        return self._by_instrument.keys()

    def sums(self, account: str, instrument: Instrument) -> dict[str, Decimal]:
        """Return the quantities that all holders have of an instrument in an account, those with none left out."""
        holders = sorted(self._by_instrument.get((account, instrument), ()))
        found = {holder: self._held[holder, account, instrument].position.quantity for holder in holders}
        return {holder: quantity for holder, quantity in found.items() if quantity}

    def contract(self, account: str, instrument: Instrument) -> dict[str, Any]:
        """Return the attributes of the contract of a position that somebody holds."""
        holders = self._by_instrument.get((account, instrument), ())
        return next((self._held[holder, account, instrument].contract for holder in holders), {})

    # -- state

    def restore(self) -> None:
        """Enter the positions of the journal that were not flat."""
        for record in self._journal.take_open(POSITION):
            place = _place(record)
            self._enter(place, _unpacked(record))
            self._unpublished[place] = None

    def publish(self, ts: int | None = None) -> None:
        """Publish the positions that have changed. `ts` is in µs since 1970 UTC; None is now."""
        if not self._unpublished:
            return
        places, self._unpublished = self._unpublished, {}
        at = self._clock.utc_us() if ts is None else ts
        for place in places:
            if _is_published(place):
                channel = self._publisher.channel("exec", place[0], TYPE)
                self._publisher.publish_map(channel, _shown(place, self._held[place]), at, place[1:])
        while len(self._flat) > MOST_FLAT:
            self._drop(next(iter(self._flat)))

    def _drop(self, place: Place) -> None:
        del self._flat[place], self._held[place]
        self._by_instrument[place[1:]].discard(place[0])
        if not self._by_instrument[place[1:]]:
            del self._by_instrument[place[1:]]
        if _is_published(place):
            self._publisher.drop(self._publisher.channel("exec", place[0], TYPE), place[1:])

    def _of(self, counted: Counted, contract: Mapping[str, Any]) -> tuple[Place, _Holding]:
        """Return a position, from memory, from the journal, or new, and note the attributes of its contract."""
        place: Place = counted[:3]
        held = self._load(place)
        if contract and not held.contract:
            held.contract = {name: contract[name] for name in NAMED if contract.get(name) not in (None, "")}
            held.position.multiplier = decimal(contract.get("multiplier")) or Decimal(1)
        return place, held

    def _load(self, place: Place) -> _Holding:
        if place not in self._held:
            record = self._journal.find_record(POSITION, _name(place))
            self._enter(place, _unpacked(record) if record is not None else _Holding(Position(), {}))
        return self._held[place]

    def _enter(self, place: Place, held: _Holding) -> None:
        self._held[place] = held
        if not held.position.quantity:
            self._flat[place] = None
        self._by_instrument.setdefault(place[1:], set()).add(place[0])

    def _change(self, place: Place, held: _Holding) -> None:
        self.changed.add(place[1:])
        self._unpublished[place] = None
        self._flat.pop(place, None)
        if not held.position.quantity:
            self._flat[place] = None
        is_open = bool(held.position.quantity)
        self._journal.note_record(JournalRecord(POSITION, _name(place), _packed(held), open=is_open))


def decimal(value: Any) -> Decimal | None:
    """Return a quantity or a price of a message as a decimal; None if it is none, or beyond all that is traded."""
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() and abs(number) < LARGEST else None


def plain(value: Decimal) -> float:
    """Return a decimal as it is published; the decimals of the wire are floats on the bus."""
    return float(value)


def _is_published(place: Place) -> bool:
    """Return True if the position has a client as its holder: those of `ext` are in the differences."""
    return not place[0].startswith(FOREIGN + "/")


def _shown(place: Place, held: _Holding) -> dict[str, Any]:
    position = held.position
    return {
        "account": place[1],
        "contract": held.contract,
        "position": plain(position.quantity),
        "avgPrice": plain(position.average),
        "realizedPNL": plain(position.realized),
        "commissions": {currency: plain(sum_) for currency, sum_ in sorted(position.commissions.items())},
    }


def _name(place: Place) -> bytes:
    name: bytes = msgpack.packb(place)
    return name


def _place(record: JournalRecord) -> Place:
    holder, account, instrument = msgpack.unpackb(record.name)
    return holder, account, instrument


def _packed(held: _Holding) -> bytes:
    position = held.position
    values = (position.multiplier, position.quantity, position.average, position.cash, position.opened)
    charges = {currency: str(sum_) for currency, sum_ in position.commissions.items()}
    packed: bytes = msgpack.packb((held.contract, [str(each) for each in values], position.turns, charges))
    return packed


def _unpacked(record: JournalRecord) -> _Holding:
    contract, values, turns, charges = msgpack.unpackb(record.value)
    multiplier, quantity, average, cash, opened = map(Decimal, values)
    commissions = {currency: Decimal(sum_) for currency, sum_ in charges.items()}
    return _Holding(Position(multiplier, quantity, average, cash, opened, turns, commissions), contract)
