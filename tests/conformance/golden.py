"""The golden vectors: how they are read, and how their values are compared with ours."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = Path(__file__).parent / "vectors"

_UNSET = ("", "2147483647", "9223372036854775807", "1.7976931348623157E308", "1.7976931348623157e+308")
_INFINITE = ("NaN", "Infinity", "-Infinity")


class OriginError(Exception):
    """A file of vectors does not say where it comes from, so nobody knows what it proves."""


def load(path: Path) -> list[dict[str, Any]]:
    """The vectors of one file. Raises `OriginError` if it does not begin with its origin."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        head, *vectors = map(json.loads, lines)
    if not head.get("origin"):
        raise OriginError(path.name)
    return vectors


FILES = sorted(path for path in FOLDER.glob("*.jsonl.gz") if path.name != "handshake.jsonl.gz")

IN: dict[str, list[dict[str, Any]]] = defaultdict(list)
"""Vectors by the name of the message, as IB's client calls its id."""

OUT: dict[str, list[dict[str, Any]]] = defaultdict(list)
"""Vectors by the name of the method."""

for _path in FILES:
    for _vector in load(_path):
        if _vector["dir"] == "in":
            IN[_vector["msg"] or "unknown"].append(_vector)
        else:
            OUT[_vector["method"].removesuffix("ProtoBuf")].append(_vector)


@cache
def attributes() -> tuple[dict[str, list[Any]], frozenset[str]]:
    """Defaults that are not empty, by attribute; and the names of decimals, which we publish as numbers."""
    about = json.loads((FOLDER / "attributes.json").read_text())
    if not about.get("origin"):
        raise OriginError("attributes.json")
    return about["defaults"], frozenset(about["decimals"])


def published(vector: dict[str, Any]) -> tuple[str, Any] | None:
    """Name and data of the one message that we make of the callbacks; None where there are none.

    The size of a price tick, the rows of bars and the end of them come as callbacks of their own in the reference.
    """
    calls = [(each["callback"].removesuffix("ProtoBuf"), each["args"]) for each in vector["expect"]]
    if vector.get("decode_error") or not calls:
        return None
    (name, args), (last, last_args) = calls[0], calls[-1]
    if name == "tickPrice" and last == "tickSize":
        return name, {**args, "size": last_args["size"]}
    if name in ("historicalData", "historicalDataEnd") and vector["msg"] == "HISTORICAL_DATA":
        bars = [each["bar"] for callback, each in calls if callback == "historicalData"]
        end = last_args if last == "historicalDataEnd" else {}
        return "historicalData", {"reqId": args["reqId"], "bars": bars, **end}
    if name in ("scannerData", "scannerDataEnd"):
        rows = [dict(each) for callback, each in calls if callback == "scannerData"]
        for row in rows:
            del row["reqId"]
        return "scannerData", {"reqId": args["reqId"], "rows": rows}
    return name, args


def present(message: Any) -> frozenset[str]:
    """Every name that a protobuf message has on the wire: we publish some that the reference drops."""
    if isinstance(message, dict):
        return frozenset(message).union(*map(present, message.values()))
    return frozenset().union(*map(present, message)) if isinstance(message, list) else frozenset()


def differences(want: Any, got: Any, also: frozenset[str] = frozenset(), where: str = "") -> Iterator[str]:
    """Yield the differences between `got` and the vector. A default may be absent on either side."""
    name = where.rpartition(".")[2].partition("[")[0]
    if isinstance(want, dict) and want.keys() == {"name", "value"} and not isinstance(want["name"], dict):
        want = _code(want["value"])
    if isinstance(want, dict) and (isinstance(got, dict) or got is None):
        theirs = {key.rstrip("_"): value for key, value in want.items()}
        yield from _in_record(theirs, got or {}, also, f"{where}." if where else "")
    elif isinstance(want, list) and isinstance(got, list) and len(want) == len(got):
        for i, (one, other) in enumerate(zip(want, got, strict=True)):
            yield from differences(one, other, also, f"{where}[{i}]")
    elif not _equal(want, got, name):
        yield f"{where}: {got!r}, not {want!r}"


def _in_record(want: dict[str, Any], got: dict[str, Any], also: frozenset[str], under: str) -> Iterator[str]:
    for name in want.keys() | got.keys():
        if name in want and name in got:
            yield from differences(want[name], got[name], also, under + name)
        elif name in want and not _default(name, want[name]):
            yield f"{under}{name}: missing, not {want[name]!r}"
        elif name in got and not (_default(name, got[name]) or name in also or isinstance(got[name], dict)):
            yield f"{under}{name}: {got[name]!r}, not the default"


def _code(value: Any) -> Any:
    """Return the value that TWS sends for a member of an enumeration: the first of its values."""
    value = value[0] if isinstance(value, list) else value
    return "" if value == "None" else value


def _default(name: str, value: Any) -> bool:
    if isinstance(value, dict) and value.keys() == {"name", "value"}:
        return bool(value["name"] == "NoneItem")
    return not value or value in _UNSET or value in attributes()[0].get(name, ())


def _equal(want: Any, got: Any, name: str) -> bool:
    blank = want in (None, [], {}, *_UNSET)
    if blank or got is None:
        return blank and got in (None, [], {}, *_UNSET)
    if isinstance(want, str) and (name in attributes()[1] or want in _INFINITE) and isinstance(got, float):
        return str(got) == str(float(want))
    number = isinstance(want, int | float) and isinstance(got, int | float)
    if number and (isinstance(want, bool) or isinstance(got, bool)):  # flags are numbers in some callbacks
        return bool(want) == bool(got)
    same = want == got or (want != want and got != got)  # noqa: PLR0124 - NaN
    return bool(same and (number or type(want) is type(got)))
