"""Client names that peers only declare: which rights may use a name that no key and no user proves.

Pure. Peers of an endpoint without keys say a name, and anybody can say it. Peers with the same rights trust each other
with it. Between peers with different rights a name belongs to those who used it first, but for two rules: rights that
can do more take a name away from rights that can do less, and a name that has orders is for rights that may trade.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

MOST = 100_000
"""Most names of each kind that are remembered with their holders: those of rights that may trade, and those of others.

Of the others the oldest goes for a new one, so that nobody can use up the names.
"""


class Holder(NamedTuple):
    """Rights that hold a name. `rank`: 2 with all rights, 1 if they may trade, 0 otherwise."""

    rank: int
    role: str


class DeclaredNames:
    """Table of declared names, with the rights that hold each.

    `has_orders(name)` says if the journal has orders of a name. `taken()` is called when a name changes its holder.
    """

    def __init__(
        self, has_orders: Callable[[str], bool] = lambda _: False, taken: Callable[[], object] = lambda: None
    ) -> None:
        self._taken = taken
        self._reserved: frozenset[str] = frozenset()
        self._has_orders = has_orders
        self._holders: dict[str, Holder] = {}
        self._idle: dict[str, Holder] = {}

    def reserve(self, names: Collection[str]) -> None:
        """Take over the names of the clients that prove who they are."""
        self._reserved = frozenset(names)

    def may_use(self, name: str, holder: Holder) -> bool:
        """Return True if peers with these rights may use a name; they hold it from then on."""
        known = self._holders.get(name) or self._idle.get(name)
        if known == holder:
            return name not in self._reserved or holder.rank == 2
        if name in self._reserved:
            return holder.rank == 2
        if known is None:
            if not holder.rank and self._has_orders(name):
                return False
        elif holder.rank <= known.rank:
            return False
        self._note(name, holder)
        if known is not None:
            self._taken()
        return True

    def _note(self, name: str, holder: Holder) -> None:
        if not holder.rank:
            if len(self._idle) >= MOST:
                del self._idle[next(iter(self._idle))]
            self._idle[name] = holder
            return
        self._idle.pop(name, None)
        if name in self._holders or len(self._holders) < MOST:
            self._holders[name] = holder
