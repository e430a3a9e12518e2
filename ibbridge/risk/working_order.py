"""An order that works, or may: what the book keeps of it, and the scopes in which it counts.

Pure data. The module must not know what the book makes of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from ibbridge.risk.holding import Claim, Part
    from ibbridge.risk.order import ProposedOrder

RiskScope: TypeAlias = tuple[Literal["all", "account", "client"], str]
"""Kind and name of a scope."""

ALL: RiskScope = ("all", "")


class WorkingOrder:
    """Order that the gate has let pass, or that TWS works for another program.

    - `former`: the order before a change that TWS has neither taken nor refused, with its quantity and its parts.
    - `signature`, `repeated`: what makes it the same as another, and when that was accepted last, by scope.
    - `scopes`: where it counts. `over_at`: when it was over, if its executions are not all known; else 0.
    """

    __slots__ = ("claims", "former", "order", "over_at", "quantity", "repeated", "scopes", "signature")

    def __init__(self, order: ProposedOrder, quantity: float, scopes: tuple[RiskScope, ...]) -> None:
        self.order = order
        self.quantity = quantity
        self.scopes = scopes
        self.claims: tuple[Claim, ...] = ()
        self.former: tuple[ProposedOrder, float, tuple[Part, ...]] | None = None
        self.signature: tuple[Any, ...] = ()
        self.repeated: tuple[int | None, ...] = ()
        self.over_at = 0
