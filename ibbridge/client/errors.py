"""Exceptions between a strategy and the daemon. Each text says what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class BridgeError(Exception):
    """Base class of this library's errors; raised itself for a closed, foreign or incompatible connection."""


class Closed(BridgeError):  # noqa: N818 -- it says what happened; "error" would add nothing
    """Use of a connection that this program has closed, maybe in another thread."""

    def __init__(self) -> None:
        super().__init__("this connection is closed")


class AuthError(BridgeError):
    """Keys that cannot be used, or a daemon that does not admit this program.

    `outcome` is `unknown` if a command was under way that the daemon may have executed, and `not_sent` otherwise.
    """

    def __init__(self, text: str, outcome: str = "not_sent") -> None:
        super().__init__(text)
        self.outcome = outcome


class CommandError(BridgeError):
    """Command that the daemon refused.

    `code` is an error code of the protocol (`E_ARG`, `E_NOT_CONNECTED`, ...). `faults` lists every fault of the
    arguments. `outcome` says whether a retry is safe: `refused` and `not_sent` mean that nothing reached TWS, `unknown`
    means that something may have. `retry_after` is the time until a retry in seconds, None if the daemon gave none.
    `rev` is the revision that the order has, if the daemon refuses an older one.
    """

    def __init__(self, cmd: str, error: Mapping[str, Any]) -> None:
        self.cmd = cmd
        self.code = str(error.get("code", "E_INTERNAL"))
        self.message = str(error.get("message", ""))
        self.outcome = str(error.get("outcome", "unknown"))
        self.faults: Sequence[str] = tuple(error.get("faults") or ())
        self.field: str | None = error.get("field")
        self.ib_code: int | None = error.get("ib_code")
        self.retry_after: float | None = error.get("retry_after")
        self.rev: int | None = error.get("rev")
        super().__init__(f"{cmd}: {self.code}: {self.message}{self._rest()}")

    def _rest(self) -> str:
        unsaid = [fault for fault in self.faults if fault not in self.message]
        return "".join(f"\n  {fault}" for fault in unsaid)


class SubscriptionRefused(BridgeError):  # noqa: N818 -- it says what happened; "error" would add nothing
    """Subscription that the daemon does not allow to this connection. `prefix` and `role` say what, and to whom."""

    def __init__(self, prefix: str, role: str, fault: str) -> None:
        self.prefix = prefix
        self.role = role
        super().__init__(fault)


class NoAnswer(BridgeError):  # noqa: N818 -- it says what happened; "error" would add nothing
    """Reply or response that did not come in time.

    `outcome` is `not_sent` if the command never left this process. Otherwise `outcome` is `unknown`, and the daemon may
    have executed the command. `id` and `key` are the command's own, for a safe repetition.
    """

    def __init__(self, text: str, outcome: str, id: str | None = None, key: str | None = None) -> None:  # noqa: A002
        super().__init__(text)
        self.outcome = outcome
        self.id = id
        self.key = key
