"""Clients that nobody here wrote, told step by step what to do: each in a process of its own, over its pipes."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

from tests.foreign.clients import CLIENTS, HERE

if TYPE_CHECKING:
    from typing import Self

PATIENCE = 60

SCRIPTS = {"ib_async": "ib_async_remote.py", "ibapi-10.37.2": "ibapi_remote.py"}
REMOTE = [client for client in CLIENTS if client.name in SCRIPTS]


class Program:
    """A client of TWS in a process of its own. Ended, whatever happens, when the block is left."""

    def __init__(self, name: str, port: int) -> None:
        client = next(each for each in CLIENTS if each.name == name)
        command = [str(client.python), str(HERE / SCRIPTS[name]), str(port)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate(timeout=PATIENCE)

    def do(self, command: str, **args: Any) -> dict[str, Any]:
        """Have the client do something, and return what it says of that."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": command, **args}) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("{"):
                said: dict[str, Any] = json.loads(line)
                return said
        raise AssertionError(f"{command} {args} failed")

    def place(
        self, symbol: str, *, price: float | None = 1.0, until: str = "Submitted", ref: str = ""
    ) -> dict[str, Any]:
        """Place an order for one share, and wait for its status. Return orderId and permId."""
        return self.do("place", symbol=symbol, price=price, until=until, ref=ref, id=None)
