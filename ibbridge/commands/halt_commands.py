"""The commands `halt`, `resume` and `haltStatus`: their arguments, and what their replies say.

Pure. This module must not know how an order is cancelled, or which orders a halt lets pass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from ibbridge.commands.takes import LONGEST_REASON
from ibbridge.orders.mass_cancel import MassCancel
from ibbridge.orders.mass_cancels import HALT
from ibbridge.protocol.errors import CommandRefused, shown
from ibbridge.risk.halt import Halt, Scope, TradingState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ibbridge.clock import Clock
    from ibbridge.orders.mass_cancels import MassCancels
    from ibbridge.orders.order_accounts import OrderAccounts
    from ibbridge.risk.halt import Halts

DEADLINE = 60.0
"""Seconds for which a halt goes on to cancel orders, if it does not say for how long."""

LONGEST_DEADLINE = 3_600.0


class Breakers(Protocol):
    """Breakers that rejects of TWS have closed, as far as `resume` needs them."""

    def resumed(self, kind: str, name: str) -> None:
        """Open the breaker of a scope."""


class HaltCommands:
    """Executor of these commands."""

    def __init__(
        self, halts: Halts, cancels: MassCancels, accounts: OrderAccounts, breakers: Breakers, clock: Clock
    ) -> None:
        self._halts = halts
        self._cancels = cancels
        self._accounts = accounts
        self._breakers = breakers
        self._clock = clock
        self.does: Mapping[str, Callable[[dict[str, Any], str], dict[str, Any]]] = {
            "halt": self._halt,
            "resume": self._resume,
            "haltStatus": lambda args, _: self._status(args),
        }
        """The commands by name; each takes the arguments and the client."""

    def _halt(self, args: dict[str, Any], client: str) -> dict[str, Any]:
        scope, name = self._scope(args)
        state = args.get("state", TradingState.HALTED.value)
        if state not in (TradingState.REDUCING.value, TradingState.HALTED.value):
            raise CommandRefused("E_ARG", f"state must be reducing or halted, not {shown(state)}; resume ends a halt")
        seconds = args.get("deadline", DEADLINE)
        if not 0 < seconds <= LONGEST_DEADLINE:
            raise CommandRefused("E_ARG", f"deadline must be above 0, and at most {LONGEST_DEADLINE:g} seconds")
        reason = args.get("reason", "")[:LONGEST_REASON]  # a client that halts is in a hurry: no fault
        halt = Halt(scope, name, TradingState(state), self._clock.utc_us(), client, reason)
        kept = self._halts.set(halt)
        if not args.get("cancel"):
            return {"kept": kept}
        identifier, cancels_kept = self._cancel(halt, seconds)
        return {"kept": kept and cancels_kept, "cancel": self._cancels.find(identifier)}

    def _cancel(self, halt: Halt, seconds: float) -> tuple[str, bool]:
        """Begin to cancel the orders of a halt, or go on. Return the id, and True if that survives a restart."""
        until = self._clock.monotonic() + seconds
        running = self._cancels.running(HALT, *halt.key)
        if running is not None:
            return running.identifier, self._cancels.extend(running, until)
        one = MassCancel(
            self._cancels.new_identifier(halt.since), HALT, *halt.key, halt.client, halt.reason, halt.since, until
        )
        one.adopts = True
        kept = self._cancels.begin(one)
        if halt.state is TradingState.REDUCING:  # orders that come from now on reduce a position, and are wanted
            one.adopts = False
        return one.identifier, kept

    def _resume(self, args: dict[str, Any], client: str) -> dict[str, Any]:
        scope, name = self._scope(args, known=False)
        kept = self._halts.clear(scope, name, client, self._clock.utc_us())
        self._cancels.resumed(scope.value, name)
        self._breakers.resumed(scope.value, name)
        return {"kept": kept, "halts": self._halts.listed}

    def _status(self, args: Mapping[str, Any]) -> dict[str, Any]:
        result: dict[str, Any] = {"halts": self._halts.listed, "cancels": self._cancels.listed}
        if (identifier := args.get("cancel")) is not None:
            found = self._cancels.find(identifier)
            if found is None:
                raise CommandRefused("E_ARG", f"cancel: no mass cancel {shown(identifier)} is remembered")
            result["cancel"] = found
        return result

    def _scope(self, args: Mapping[str, Any], *, known: bool = True) -> tuple[Scope, str]:
        """Return scope and name of a command. With `known`, an account must be one that TWS manages."""
        given, name = args.get("scope", Scope.ALL.value), args.get("name", "")
        scopes = [scope.value for scope in Scope]
        if given not in scopes:
            raise CommandRefused("E_ARG", f"scope must be one of {', '.join(scopes)}, not {shown(given)}")
        scope = Scope(given)
        if scope is Scope.ALL and name:
            raise CommandRefused("E_ARG", "name is for the scopes account and client: give scope, too")
        if scope is not Scope.ALL and not name:
            raise CommandRefused("E_ARG", f"name is missing: the {scope.value}")
        managed = self._accounts.managed
        if known and scope is Scope.ACCOUNT and managed and name not in managed:
            raise CommandRefused("E_ARG", f"name: TWS manages {', '.join(managed)}, and not {shown(name)}")
        return scope, name
