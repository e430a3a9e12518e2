"""A daemon on a disk that stalls: `python -m tests.integration.stalled FILE python -m ibbridge ...`, within the rig.

A commit that begins while FILE is there takes until it is gone.
"""

from __future__ import annotations

import pathlib
import sys
import time
from typing import Any

from ibbridge import cli
from ibbridge.storage import event_table

_COMMIT = event_table.transact


def main(file: pathlib.Path, arguments: list[str]) -> int:
    """Run the program with the arguments behind `python -m ibbridge`."""

    def transact(*about: Any) -> bool:
        while file.exists():
            time.sleep(0.01)
        return _COMMIT(*about)

    event_table.transact = transact  # type: ignore[assignment]
    return cli.main(arguments)


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1]), sys.argv[5:]))
