"""`ibbridge check`: read a configuration file as the daemon does, and print its faults."""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING

from ibbridge.config import loader
from ibbridge.config.model import ConfigError
from ibbridge.monitoring.printable import printable

if TYPE_CHECKING:
    import argparse

SUMMARY = """\
Read a configuration file as the daemon would, and print every fault: which line, which key, what was expected.
Exit code 0: no fault; 2: at least one."""

EXAMPLES = """\
  ibbridge check /etc/ibbridge/ibbridge.yaml"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare options."""
    parser.add_argument("file", type=pathlib.Path, metavar="FILE", nargs="+", help="the configuration file")


def run(options: argparse.Namespace) -> int:
    """Check each file, and return 2 if any has faults. The faults are the result, so they go to standard output."""
    code = 0
    for file in options.file:
        try:
            loader.load(file)
        except ConfigError as error:
            print(*map(printable, error.faults), sep="\n")
            code = 2
        else:
            print(f"{file}: ok")
    return code
