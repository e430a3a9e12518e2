"""Position of an owner in one instrument: quantity, average price, realised profit and commissions, from executions.

Pure arithmetic in decimals. The average price is that of average cost: an execution that opens moves it, and one that
closes realises the difference. The sum of realised and unrealised profit depends only on the executions that count, in
whatever order TWS reports and corrects them. The module must not know messages, owners or files.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from typing import NamedTuple

ZERO = Decimal(0)

_DIGITS = 40
"""Digits of an average price. A position may be the sum of a million executions."""


class Fill(NamedTuple):
    """Part of an execution that a position counts: the quantity (negative: sold) and the price of one unit.

    `turn` is the number of times that the position had been flat or turned when the fill was counted.
    """

    quantity: Decimal
    price: Decimal
    turn: int = 0


NOTHING = Fill(ZERO, ZERO)
"""Fill of an execution that a correction has replaced."""


@dataclass(slots=True)
class Position:
    """Position in one instrument.

    - `multiplier`: units of the instrument's price that one contract is worth.
    - `quantity`: negative if the position is short. `average`: the average price of one unit; 0 if it is flat.
    - `cash`: received for all that was sold, less what was paid for all that was bought, without the multiplier.
    - `opened`: the quantity that was opened since the position was flat last. `turns`: how often it was flat or turned.
    - `commissions`: the sum by currency.
    """

    multiplier: Decimal = Decimal(1)
    quantity: Decimal = ZERO
    average: Decimal = ZERO
    cash: Decimal = ZERO
    opened: Decimal = ZERO
    turns: int = 0
    commissions: dict[str, Decimal] = field(default_factory=dict)

    @property
    def realized(self) -> Decimal:
        """Profit of what was closed, in the currency of the instrument, without commissions."""
        with localcontext(prec=_DIGITS):
            return (self.cash + self.quantity * self.average) * self.multiplier

    def add(self, fill: Fill) -> Fill:
        """Count an execution. Return the fill that must be given to `correct`, should TWS correct the execution."""
        quantity, price, _ = fill
        with localcontext(prec=_DIGITS):
            before = self.quantity
            self.quantity, self.cash = before + quantity, self.cash - quantity * price
            if before * quantity >= 0:
                self.opened += abs(quantity)
                cost = before * self.average + quantity * price
                self.average = cost / self.quantity if self.quantity else ZERO
            elif before * self.quantity <= 0:  # what was open is closed, and the rest opens the other way
                self.turns += 1
                self.opened, self.average = abs(self.quantity), price if self.quantity else ZERO
        return fill._replace(turn=self.turns)

    def correct(self, old: Fill, new: Fill) -> Fill:
        """Count an execution in place of the one that it corrects; `NOTHING` if the old one never took place.

        The average price changes as if all that was opened had been opened before anything was closed. Return the fill
        that must be given to the next correction.
        """
        if new.quantity != old.quantity and old.turn != self.turns:  # before the position was flat last
            self.add(old._replace(quantity=-old.quantity))
            return self.add(new)
        with localcontext(prec=_DIGITS):
            added, spent = new.quantity - old.quantity, new.quantity * new.price - old.quantity * old.price
            side = 1 if self.quantity > 0 else -1
            opened = self.opened + side * added
            before = self.quantity
            self.quantity, self.cash = before + added, self.cash - spent
            if before * self.quantity <= 0 and added:
                self.turns += 1
                self.opened, self.average = abs(self.quantity), new.price if self.quantity else ZERO
            elif old.turn == self.turns and old.quantity * before > 0 and opened > 0:
                self.average = (self.average * self.opened + side * spent) / opened
                self.opened = opened
        return new._replace(turn=self.turns)

    def charge(self, amount: Decimal, currency: str) -> None:
        """Add to the commissions in a currency; a negative amount takes back what was charged before."""
        self.commissions[currency] = self.commissions.get(currency, ZERO) + amount
