"""Refusals of commands: a code that a program can act on, and sentences for people."""

from __future__ import annotations

from typing import Any

CODES = frozenset(
    (
        "E_PROTO",
        "E_AUTH",
        "E_PERM",
        "E_ARG",
        "E_ID_REUSED",
        "E_KEY_REUSED",
        "E_STATE",
        "E_NOT_CONNECTED",
        "E_NOT_SYNCED",
        "E_PACING",
        "E_LINES",
        "E_RISK",
        "E_HALTED",
        "E_DEADLINE",
        "E_BUSY",
        "E_GAP_TOO_OLD",
        "E_RESTART_WINDOW",
        "E_STORE",
        "E_INTERNAL",
    )
)


class CommandRefused(Exception):  # noqa: N818 - a refusal is an answer, not a failure
    """A command that was not executed.

    `outcome` says whether a retry is safe: `refused` (the unchanged command will always be refused), `not_sent`
    (nothing reached TWS; try again later), `unknown` (the command may have reached TWS). The message consists of the
    sentences in `faults`.
    """

    def __init__(self, code: str, *faults: str, outcome: str = "refused", **more: Any) -> None:
        super().__init__("; ".join(faults))
        self.code = code
        self.faults = faults
        self.outcome = outcome
        self.more = more

    def as_map(self) -> dict[str, Any]:
        """Return the map `error` of a reply."""
        return {
            "code": self.code,
            "message": str(self),
            "faults": list(self.faults),
            "outcome": self.outcome,
            **self.more,
        }


def shown(name: Any) -> str:
    """Return a name for a sentence that people read in a terminal: short, and without control characters."""
    return ascii(name[:60])[1:-1] if isinstance(name, str) else ascii(name)[:60]
