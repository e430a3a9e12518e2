"""The command `ibbridge`: one module per subcommand, `program` finds it.

The package speaks with people: it reads arguments, prints, and starts the programs that do the work.
It must not know what a message means, or how the daemon does anything.
"""

from __future__ import annotations

from ibbridge.cli.program import main

__all__ = ["main"]
