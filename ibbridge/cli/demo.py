"""`ibbridge demo`: run simulator, daemon and strategy together, as three processes, and clean up afterwards."""

from __future__ import annotations

import contextlib
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
from typing import IO, TYPE_CHECKING, Any

from ibbridge.cli.sample import Sample
from ibbridge.client import BridgeError, NoAnswer, connect
from ibbridge.monitoring.printable import printable

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from ibbridge.client import Client

SUMMARY = """\
Show everything working, in one command and without TWS: start a simulated TWS, the daemon, and a sample strategy that
watches two markets, buys, and cancels an order. No process or file is left behind, and no money is involved.

The demo ends by itself; Ctrl-C ends it sooner."""

EXAMPLES = """\
  ibbridge demo
  ibbridge demo --seconds 60 --seed 7    a minute of another market"""

_PATIENCE = 15.0
_GRACE = 5.0
_TURN = 0.25
_OVERTIME = 20.0
"""Extra seconds for a slow machine to finish the steps that began in time."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare options."""
    parser.add_argument("--seconds", type=float, default=20.0, metavar="S", help="how long (default: %(default)g)")
    parser.add_argument("--seed", type=int, default=3, help="which market the simulator makes (default: %(default)s)")


def run(options: argparse.Namespace) -> int:
    """Run the demo, and return 0, also after an interrupt. A failure raises BridgeError."""
    for number in (signal.SIGTERM, signal.SIGHUP):  # handled like Ctrl-C, so that the child processes are ended
        signal.signal(number, signal.default_int_handler)
    try:
        with tempfile.TemporaryDirectory(prefix="ibbridge-demo-") as directory:
            _show(pathlib.Path(directory), options)
    except KeyboardInterrupt:
        print("\nInterrupted; simulator and daemon have been ended, too.")
    return 0


def _show(directory: pathlib.Path, options: argparse.Namespace) -> None:
    pub, rep = f"ipc://{directory}/pub", f"ipc://{directory}/rep"
    with contextlib.ExitStack() as stack:
        simulator = ["sim", "--port", "0", "--seed", str(options.seed)]
        sim = stack.enter_context(_child(simulator, directory / "sim.log", stdout=subprocess.PIPE))
        port = _port(sim, directory / "sim.log")
        settings = [f"tws.port={port}", f"bus.pub={pub}", f"bus.rep={rep}", f"store.path={directory}/store"]
        settings.append("security.trust_loopback=true")
        running = ["run", *(part for setting in settings for part in ("--set", setting))]
        daemon = stack.enter_context(_child(running, directory / "daemon.log"))
        _introduce(port, pub, options.seconds)
        ib = stack.enter_context(_connected(pub, rep, daemon, directory / "daemon.log"))
        _trade(ib, options.seconds)


def _introduce(port: int, pub: str, seconds: float) -> None:
    print(f"""\
Three processes, for {seconds:g} seconds; Ctrl-C ends them.

  simulated TWS    listens on port {port}, as IB Gateway does on 4002
  ibbridge         connects to it, and publishes on {pub}
  a strategy       subscribes, and sends commands: this is what it sees

Look yourself, in another terminal:  ibbridge sub md. --pub {pub}
""")


def _trade(ib: Client, seconds: float) -> None:
    began = time.monotonic()

    def say(what: str, text: str) -> None:
        print(f"{time.monotonic() - began:6.2f} s  {what:<9} {printable(text)}", flush=True)

    about = ib.status()["tws"]
    say("connected", f"account {', '.join(about['accounts'])}, server version {about['serverVersion']}")
    sample = Sample(ib, say, lambda: time.monotonic() - began, seconds)
    sample.start()
    while (passed := time.monotonic() - began) < seconds or (not sample.done and passed < seconds + _OVERTIME):
        sample.step(ib.receive(_TURN))
    total, gaps = sum(sample.counts.values()), sample.counts["lost"]
    print(f"\n{total} messages received, {gaps or 'none'} lost. Simulator and daemon end now.")


# -- the other processes


@contextlib.contextmanager
def _child(
    arguments: Sequence[str], log: pathlib.Path, stdout: int = subprocess.DEVNULL
) -> Iterator[subprocess.Popen[str]]:
    """Run `ibbridge` in a child process, and end the child on exit.

    The child has its own session, so that Ctrl-C reaches only this process.
    """
    with log.open("w") as stderr, _started(arguments, stdout, stderr) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(_GRACE)
            except subprocess.TimeoutExpired:
                process.kill()


def _started(arguments: Sequence[str], stdout: int, stderr: IO[Any]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "ibbridge", *arguments]
    return subprocess.Popen(  # noqa: S603 -- ourselves
        command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, text=True, start_new_session=True
    )


def _port(sim: subprocess.Popen[str], log: pathlib.Path) -> int:
    """Return the port from the simulator's first line of output."""
    line = sim.stdout.readline() if sim.stdout else ""
    found = [word for word in line.replace(":", " ").split() if word.isdigit()]
    if not found:
        raise BridgeError(f"the simulator did not start:\n{_tail(log)}")
    return int(found[0])


def _connected(pub: str, rep: str, daemon: subprocess.Popen[str], log: pathlib.Path) -> Client:
    """Return a client as soon as the daemon is ready. Raise BridgeError with the daemon's log if it does not start."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return connect("demo", pub, rep, timeout=2.0)
        except NoAnswer as error:
            if daemon.poll() is not None or time.monotonic() > deadline:
                raise BridgeError(f"{error}\nThe daemon's log:\n{_tail(log)}") from error


def _tail(log: pathlib.Path) -> str:
    lines = log.read_text(errors="replace").splitlines()[-15:] or ["(it said nothing)"]
    return "\n".join(f"  {line}" for line in lines)
