"""`ibbridge backup`: copy the files of the store."""

from __future__ import annotations

import pathlib
import sys
import time
from typing import TYPE_CHECKING

from ibbridge import wiring
from ibbridge.cli import options as shared
from ibbridge.monitoring.printable import printable
from ibbridge.storage.backup import BackupError, back_up

if TYPE_CHECKING:
    import argparse

SUMMARY = """\
Copy the order journal and the store of published messages to a new directory, while the daemon runs, or while it does
not. The copy is of one moment, and the daemon goes on committing meanwhile. The directory gets its name when everything
is in it, is checked and is on the disk. Nothing is overwritten.

docs/operations.md says how to go back to a backup without placing an order twice: the daemon refuses orders on a copy
until an operator accepts it (`ibbridge call acceptJournal`). The configuration is not part of the backup.

Run this as the user that runs the daemon, with the configuration of the daemon.

Exit code 0: the backup was made; 1: it was not, and standard error has the reason."""

EXAMPLES = """\
  ibbridge backup -c /etc/ibbridge/ibbridge.yaml /var/backups/ibbridge/$(date +%F)
  ibbridge backup --set store.path=/var/lib/ibbridge /mnt/backup/before-the-upgrade"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare options."""
    parser.add_argument(
        "directory", type=pathlib.Path, metavar="DIR", help="the directory to be made, in one that exists"
    )
    shared.configured(parser)


def run(options: argparse.Namespace) -> int:
    """Make the backup, and print how large it is."""
    try:
        sizes = back_up(wiring.directory(shared.load(options)), options.directory, time.time_ns() // 1000)
    except BackupError as error:
        print(f"ibbridge backup: {printable(str(error))}", file=sys.stderr)
        return 1
    print(printable(f"{options.directory}: {', '.join(f'{name} {size:,} bytes' for name, size in sizes.items())}"))
    return 0
