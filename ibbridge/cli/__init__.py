"""The command `ibbridge`: one module per subcommand, `program` finds it."""

from __future__ import annotations

from ibbridge.cli.program import main

__all__ = ["main"]
