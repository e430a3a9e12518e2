"""Command line `ibbridge`: one module for each subcommand, which `program` imports.

The package reads arguments, prints, and starts the parts that do the work.
It must not know the meaning of a message, or how the daemon works.
"""

from __future__ import annotations

from ibbridge.cli import hangup

hangup.hold()  # before the other imports, which take long enough for a SIGHUP to come

from ibbridge.cli.program import main  # noqa: E402

__all__ = ["main"]
