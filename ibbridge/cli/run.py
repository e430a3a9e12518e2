"""`ibbridge run`: run the daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ibbridge import daemon
from ibbridge.cli import options as shared

if TYPE_CHECKING:
    import argparse

SUMMARY = """\
Run the daemon: connect to TWS or IB Gateway, publish every message of TWS, and execute commands.

The daemon runs until SIGTERM or Ctrl-C and logs to standard error. On SIGHUP the daemon reads its configuration again.
While TWS does not answer, the daemon keeps trying, and `ibbridge status` shows the reason. Exit code 2: the
configuration is wrong, and all of its faults have been printed."""

EXAMPLES = """\
  ibbridge run                                    all defaults: IB Gateway's paper account on port 4002
  ibbridge run -c /etc/ibbridge/ibbridge.yaml     as a service does
  ibbridge run --set tws.port=7497                TWS's paper account
  ibbridge run --set bus.pub=ipc:///run/ibbridge/pub --set bus.rep=ipc:///run/ibbridge/rep"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare options."""
    shared.configured(parser)


def run(options: argparse.Namespace) -> int:
    """Run the daemon, and return its exit code."""
    return daemon.run(shared.load(options), lambda: shared.load(options))
