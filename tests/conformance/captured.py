"""Captured frames of real gateways, in both directions, and the values that their publishers read in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).parent / "captures"


class OriginError(Exception):
    """A file of captures without its source: nobody knows what it proves."""


class Frame(NamedTuple):
    """Payload that a gateway sent, without its length. `want` has values by path (see `value_at`)."""

    name: str
    version: int
    type: str
    payload: bytes
    want: dict[str, Any]

    @property
    def id(self) -> str:
        """The name of the frame in test reports: unique."""
        return f"{self.version} {self.type}: {self.name}"


class Taken(NamedTuple):
    """Payload that a gateway took, without its length, and the command that must come to it."""

    name: str
    version: int
    command: str
    args: dict[str, Any]
    payload: bytes

    @property
    def id(self) -> str:
        """The name of the request in test reports: unique."""
        return f"{self.version} {self.command}: {self.name}"


def load(path: Path) -> tuple[list[Frame], list[Taken]]:
    """Return the frames and requests of one file. Raise `OriginError` if the file has no source."""
    content = json.loads(path.read_text())
    if not content.get("source"):
        raise OriginError(path.name)
    frames = [
        Frame(each["name"], each["server_version"], each["type"], bytes.fromhex(each["frame"]), each["want"])
        for each in content["frames"]
    ]
    requests = [
        Taken(each["name"], each["server_version"], each["cmd"], each["args"], bytes.fromhex(each["frame"]))
        for each in content.get("requests", ())
    ]
    return frames, requests


LEFT_OUT = object()
"""Stands for an attribute that is left out, as it has its default."""


def value_at(data: Any, path: str) -> Any:
    """Return the value at a dotted path (`bars.0.close`), or `LEFT_OUT`."""
    for name in path.split("."):
        if isinstance(data, list):
            data = data[int(name)]
        elif name.rstrip("_") in data:  # `yield_`, as the publishers' language must spell it
            data = data[name.rstrip("_")]
        else:
            return LEFT_OUT
    return data


FILES = sorted(FOLDER.glob("*.json"))
FRAMES = [frame for path in FILES for frame in load(path)[0]]
REQUESTS = [request for path in FILES for request in load(path)[1]]
