"""`ibbridge schema`: print the JSON Schemas that are installed with ibbridge."""

from __future__ import annotations

import json
import sys
from difflib import get_close_matches
from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

SUMMARY = """\
Print the JSON Schema (draft 2020-12) of the data of a message or of the args of a command. Without a name: list all
names. The name `index` prints facts beyond the schemas: ids, server versions, topics, the responses to each request;
`error_codes`, `tick_types` and `generic_ticks` print the meaning of IB's numbers."""

EXAMPLES = """\
  ibbridge schema
  ibbridge schema tickPrice
  ibbridge schema index | jq '.commands.reqMktData.answers'"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare options."""
    parser.add_argument("name", metavar="NAME", nargs="?", help="a message or command, such as tickPrice")


def run(options: argparse.Namespace) -> int:
    """Print one schema, or list all names."""
    folder = resources.files("ibbridge") / "schema"
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    found = {name: about["schema"] for kind in index.keys() - {"serverVersions"} for name, about in index[kind].items()}
    if options.name is None:
        print("\n".join(sorted(path.removesuffix(".json") for path in found.values())))
        return 0
    path = {**found, "index": "index.json"}.get(options.name.rpartition("/")[2])
    if path is None:
        near = get_close_matches(options.name, found, 1)
        hint = f"; did you mean {near[0]}?" if near else "; without a name, all are listed"
        print(f"ibbridge: there is no message or command {options.name!r}{hint}", file=sys.stderr)
        return 2
    print((folder / path).read_text(encoding="utf-8"), end="")
    return 0
