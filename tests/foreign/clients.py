"""The clients that trade on the simulator: the packages of each, its script, and what it cannot do.

`python -m tests.foreign.clients` installs all of them under `.foreign/`, and says of each whether that went well.
"""

from __future__ import annotations

import pathlib
import shutil
import subprocess
import sys
from dataclasses import dataclass

HERE = pathlib.Path(__file__).parent
HOME = HERE.parents[1] / ".foreign"


@dataclass(frozen=True)
class Client:
    """Client of TWS: a name, the packages to install, and the commands that trade with it.

    `alone` are packages that are installed without what they depend on, `without` the steps that the client has no way
    to take. The commands run one after the other against one simulator, each given its port in place of `PORT`.
    """

    name: str
    packages: tuple[str, ...]
    commands: tuple[tuple[str, ...], ...]
    alone: tuple[str, ...] = ()
    without: frozenset[str] = frozenset()

    @property
    def folder(self) -> pathlib.Path:
        """The folder in which the client is installed."""
        return HOME / self.name

    @property
    def python(self) -> pathlib.Path:
        """The interpreter of its environment."""
        return self.folder / "bin" / "python"

    @property
    def installed(self) -> pathlib.Path:
        """A file that is there when all of it is installed."""
        return self.folder / ".installed"


def _ibapi(version: str, package: str = "ibapi-latest") -> Client:
    packages = (f"{package}=={version}", "protobuf")
    return Client(f"ibapi-{version}", packages, (("ibapi_trades.py", "PORT"),))


CLIENTS = (
    _ibapi("10.37.2", "nautilus-ibapi"),
    _ibapi("10.40.1"),
    _ibapi("10.47.1"),
    _ibapi("10.51.1"),
    Client("ib_async", ("ib_async==2.1.0",), (("ib_insync_trades.py", "ib_async", "PORT"),)),
    Client("ib_insync", ("ib_insync==0.9.86",), (("ib_insync_trades.py", "ib_insync", "PORT"),)),
    Client(
        "nautilus_trader",
        ("nautilus_trader[ib]==1.221.0",),
        (("nautilus_trades.py", "PORT", "trade"), ("nautilus_trades.py", "PORT", "reconcile")),
        without=frozenset(("history",)),
    ),
    # Its window, its charts and its optimiser are left out: it trades without them.
    Client(
        "vnpy_ib",
        ("vnpy_ib==10.45.1.0", "ibapi-latest==10.51.1", "numpy", "ta-lib", "loguru", "tzlocal"),
        (("vnpy_trades.py", "PORT"),),
        alone=("vnpy==4.5.0",),
        without=frozenset(("history", "bracket", "change")),
    ),
    Client("stoqey", (), (("trades.mjs", "PORT"),)),
)


def install(client: Client) -> str:
    """Install a client in an environment of its own; the reason if that failed, else empty text."""
    if client.installed.exists() and client.installed.read_text() == repr(client):
        return ""
    shutil.rmtree(client.folder, ignore_errors=True)
    client.folder.mkdir(parents=True)
    try:
        for command in _npm(client) if client.name == "stoqey" else _pip(client):
            subprocess.run(command, cwd=client.folder, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        return f"{error.filename} is not there"
    except subprocess.CalledProcessError as error:
        return str(error.stderr or error.stdout).strip()[-500:]
    client.installed.write_text(repr(client))
    return ""


def _pip(client: Client) -> list[list[str]]:
    pip = [str(client.python), "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    alone = [[*pip, "--no-deps", *client.alone]] if client.alone else []
    return [[sys.executable, "-m", "venv", str(client.folder)], [*pip, *client.packages], *alone]


def _npm(client: Client) -> list[list[str]]:
    for file in (HERE / client.name).iterdir():
        if file.is_file():
            shutil.copy(file, client.folder)
    return [["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"]]


def command(client: Client, words: tuple[str, ...], port: int) -> list[str]:
    """Return the command that trades with a client on the simulator at this port."""
    script, *rest = (str(port) if word == "PORT" else word for word in words)
    if client.name == "stoqey":
        return ["node", str(client.folder / script), *rest]
    return [str(client.python), str(HERE / script), *rest]


def main() -> None:
    """Install every client, and print how that went."""
    for client in CLIENTS:
        fault = install(client)
        print(f"{client.name}: {f'not installed: {fault}' if fault else 'installed'}", flush=True)


if __name__ == "__main__":
    main()
