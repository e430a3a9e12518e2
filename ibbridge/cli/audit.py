"""`ibbridge audit`: verify the audit of a daemon, and show its records."""

from __future__ import annotations

import json
import pathlib
import re
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from ibbridge import wiring
from ibbridge.cli import options as shared
from ibbridge.cli import text
from ibbridge.monitoring.printable import printable
from ibbridge.security.audit import Head
from ibbridge.security.audit_chain import parsed
from ibbridge.storage.audit_check import checked
from ibbridge.storage.audit_file import files

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping

    from ibbridge.storage.audit_check import Findings

SUMMARY = """\
Verify the audit of a daemon, or show its records: commands and their outcome, decisions about orders, the bytes of
orders, changes and cancels, acts of operators, and connections.

`verify` reads every file of the audit, and prints what it found: files, records, times, and each place where the chain
of records is broken. Give `--head SEQ:DIGEST` from `ibbridge status --json`, `sys.audit.auditHead.`, or an earlier
`verify`: without a head that was noted elsewhere nobody can tell that the newest records were cut off, or all made
anew.

`show` prints one line for each record, or with `--json` the records as they are.

Run this as the user that runs the daemon, while the daemon runs or not.

Exit code 0: the audit is whole; 1: it is not, or cannot be read; 2: wrong usage."""

EXAMPLES = """\
  ibbridge audit verify -c /etc/ibbridge/ibbridge.yaml
  ibbridge audit verify /mnt/backup/audit --head 1234:5f0e...
  ibbridge audit show --client alpha --since 2h
  ibbridge audit show --order entry-7 --json | jq -r .bytes | base64 -d | xxd
  ibbridge audit show --kind operator --since 2026-12-01T08:00"""

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_SHOWN_ELSEWHERE = ("kind", "prev", "seq", "ts")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare options."""
    parser.add_argument("action", choices=("verify", "show"), help="verify: look for breaks; show: print records")
    parser.add_argument(
        "directory", nargs="?", type=pathlib.Path, metavar="DIR", help="the audit (default: of the configuration)"
    )
    parser.add_argument(
        "--head", metavar="SEQ:DIGEST", help="verify: a record and its digest that were noted elsewhere"
    )
    parser.add_argument("--client", metavar="NAME", help="show: only records of this client")
    parser.add_argument("--order", metavar="KEY", help="show: only records about the order of this key")
    parser.add_argument("--decision", metavar="ID", help="show: only records of this decision of the limits")
    parser.add_argument("--kind", metavar="KIND", help="show: only command, decision, sent, operator, connection, ...")
    parser.add_argument(
        "--since", metavar="TIME", help="show: only from 30m, 2h or 3d ago on, or from 2026-12-01T08:00"
    )
    parser.add_argument("--json", action="store_true", help="print JSON: one line with what was found, or the records")
    shared.configured(parser)


def run(options: argparse.Namespace) -> int:
    """Verify or show, and return the exit code."""
    try:
        head = _head(options.head) if options.head else None
        since = _since(options.since) if options.since else 0
    except ValueError as error:
        print(f"ibbridge audit: {printable(str(error))}", file=sys.stderr)
        return 2
    directory = options.directory or wiring.audit_directory(shared.load(options))
    try:
        return _verify(directory, head, options) if options.action == "verify" else _show(directory, since, options)
    except OSError as error:
        advice = "name the directory of an audit, or run this as the user that runs the daemon"
        print(f"ibbridge audit: {printable(f'{directory}: {error.strerror}; {advice}')}", file=sys.stderr)
        return 1


def _head(given: str) -> Head:
    if not (found := re.fullmatch(r"(\d+):([0-9a-f]{64})", given)):
        raise ValueError(f"--head {given}: expected the number of a record, a colon, and 64 hexadecimal digits")
    return Head(int(found[1]), found[2])


def _since(given: str) -> int:
    """Return the time that is meant, in µs since 1970 UTC."""
    if found := re.fullmatch(r"(\d+)([smhd])", given):
        when = datetime.now(UTC) - timedelta(**{_UNITS[found[2]]: int(found[1])})
    else:
        try:
            when = datetime.fromisoformat(given)
        except ValueError:
            raise ValueError(f"--since {given}: expected 30m, 2h, 3d, or a time such as 2026-12-01T08:00") from None
    return int(when.timestamp() * 1e6)


# -- verify


def _verify(directory: pathlib.Path, head: Head | None, options: argparse.Namespace) -> int:
    found = checked(directory, head)
    if options.json:
        print(json.dumps(_as_map(found)))
    else:
        print("\n".join(map(printable, _report(directory, found, head))))
    return 1 if found.breaks else 0


def _as_map(found: Findings) -> dict[str, Any]:
    return {
        "whole": not found.breaks,
        "files": found.files,
        "records": found.records,
        "kinds": dict(found.kinds),
        "first": found.first,
        "last": found.last,
        "head": f"{found.head.seq}:{found.head.digest}",
        "breaks": [{"file": each.place.file, "line": each.place.line, "what": each.what} for each in found.breaks],
        "moreBreaks": found.more_breaks,
        "notes": [{"file": each.place.file, "line": each.place.line, "what": each.what} for each in found.notes],
    }


def _report(directory: pathlib.Path, found: Findings, head: Head | None) -> Iterator[str]:
    """Yield the lines of what was found."""
    yield f"{directory}: {len(found.files)} files, {found.records:,} records"
    if found.records:
        kinds = ", ".join(f"{number:,} {kind}" for kind, number in sorted(found.kinds.items()))
        yield f"from {_when(found.first)} to {_when(found.last)}: {kinds}"
    if found.set_back:
        yield f"note: the clock went back {found.set_back} times; records are in the order in which they were made"
    for each in found.notes:
        yield f"note: {each.place}: {each.what}"
    for each in found.breaks:
        yield f"BREAK: {each.place}: {each.what}"
    if found.more_breaks:
        yield f"and {found.more_breaks:,} further breaks"
    if not found.records:
        return
    yield f"head {found.head.seq}:{found.head.digest}"
    if found.breaks:
        yield "The audit is NOT whole: see the breaks above."
    elif head is not None and head.seq >= found.first_seq:
        yield f"The audit is whole: record {head.seq} is the one that was noted, and no record after it is broken."
    else:
        yield f"The audit is whole as far as it goes, and ends {_end(found)}. {_WITHOUT_HEAD}"


_WITHOUT_HEAD = "Give --head with a head that was noted elsewhere, to know that nothing was cut off after it."


def _end(found: Findings) -> str:
    if found.end == "stop":
        return "with a stop of the daemon"
    return "without a stop: the daemon runs, was killed, or the end was cut off"


def _when(ts: int) -> str:
    return datetime.fromtimestamp(ts / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S.%f UTC")


# -- show


def _show(directory: pathlib.Path, since: int, options: argparse.Namespace) -> int:
    for line, record in _records(directory):
        if record["ts"] >= since and _is_wanted(record, options):
            print(line if options.json else printable(_row(record)))
    return 0


def _records(directory: pathlib.Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the records of all files, each with its line. What is no record is passed over: `verify` tells of it."""
    for path in files(directory):
        with path.open("rb") as file:
            for line in file:
                if (record := parsed(line)) is not None:
                    yield line.decode().rstrip("\n"), record


def _is_wanted(record: Mapping[str, Any], options: argparse.Namespace) -> bool:
    if options.kind and record["kind"] != options.kind:
        return False
    if options.client and options.client not in _clients(record):
        return False
    if options.decision and options.decision not in (record.get("decision"), *_list(record.get("decisions"))):
        return False
    return not options.order or options.order in _keys(record)


def _clients(record: Mapping[str, Any]) -> set[str]:
    identity = record.get("identity")
    name = identity.get("name") if isinstance(identity, dict) else identity
    return {str(each) for each in (name, record.get("client"), record.get("owner")) if each}


def _keys(record: Mapping[str, Any]) -> list[Any]:
    """Return the keys of the orders that a record is about."""
    args = record.get("args")
    inner = args if isinstance(args, dict) else {}
    of_members = [each.get("key") for each in _list(inner.get("orders")) if isinstance(each, dict)]
    return [record.get("key"), inner.get("key"), *of_members, *_list(record.get("keys")), *_list(inner.get("keys"))]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _row(record: Mapping[str, Any]) -> str:
    facts = {name: value for name, value in record.items() if name not in _SHOWN_ELSEWHERE}
    return f"{record['seq']} {_when(record['ts'])} {record['kind']} {text.row(facts)}"
