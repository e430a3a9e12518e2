"""Command line `ibbridge`: one module for each subcommand, which `program` imports.

The package reads arguments, prints, and starts the parts that do the work.
It must not know the meaning of a message, or how the daemon works.
"""

from __future__ import annotations

from ibbridge.cli.program import main

__all__ = ["main"]
