"""What can go wrong between a strategy and the daemon. Each says what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class BridgeError(Exception):
    """The bridge cannot be used: closed, not what it claims to be, or one of the below."""


class Closed(BridgeError):  # noqa: N818 -- it says what happened; "error" would add nothing
    """The connection was closed by this program, maybe by another of its threads."""

    def __init__(self) -> None:
        super().__init__("this connection is closed")


class CommandError(BridgeError):
    """The daemon refused a command.

    `code` is one of the protocol's (`E_ARG`, `E_NOT_CONNECTED`, ...) and `faults` names everything that is wrong with
    the arguments. `outcome` says whether a retry is safe: `refused` and `not_sent` mean that nothing reached TWS,
    `unknown` that something may have. `retry_after` is in seconds, where it is known when to try again.
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
        super().__init__(f"{cmd}: {self.code}: {self.message}{self._rest()}")

    def _rest(self) -> str:
        unsaid = [fault for fault in self.faults if fault not in self.message]
        return "".join(f"\n  {fault}" for fault in unsaid)


class NoAnswer(BridgeError):  # noqa: N818 -- it says what happened; "error" would add nothing
    """The daemon did not answer in time.

    `outcome` is `not_sent` if the command never left this process, `unknown` if it did: it may have been carried out.
    `id` and `key` are those of the command, with which it can be repeated.
    """

    def __init__(self, text: str, outcome: str, id: str | None = None, key: str | None = None) -> None:  # noqa: A002
        super().__init__(text)
        self.outcome = outcome
        self.id = id
        self.key = key
