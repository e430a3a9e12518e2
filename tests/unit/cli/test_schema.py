"""`ibbridge schema`: what is installed is what is printed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from ibbridge.cli import main
from ibbridge.docgen import SCHEMAS, files

if TYPE_CHECKING:
    from pytest import CaptureFixture as Captured  # noqa: PT013 - a type

FILES = files()


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("tickPrice", "messages/tickPrice"),
        ("messages/tickPrice", "messages/tickPrice"),
        ("whatIfOrder", "commands/whatIfOrder"),
        ("snapshot", "commands/snapshot"),
        ("index", "index"),
    ],
)
def test_a_schema_is_printed_as_it_is_written(name: str, path: str, capsys: Captured[str]) -> None:
    assert main(["schema", name]) == 0
    assert capsys.readouterr().out == FILES[f"{SCHEMAS}/{path}.json"]


def test_without_a_name_every_schema_is_listed_and_each_line_can_be_asked_for(capsys: Captured[str]) -> None:
    assert main(["schema"]) == 0
    listed = capsys.readouterr().out.split()
    written = {path for path in FILES if path.startswith(f"{SCHEMAS}/")} - {f"{SCHEMAS}/index.json"}
    assert {f"{SCHEMAS}/{path}.json" for path in listed} == written
    assert main(["schema", "messages/tickPrice"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "tickPrice"
    assert main(["schema", "tick_types"]) == 0
    assert json.loads(capsys.readouterr().out)[1]["name"] == "BID"


@pytest.mark.parametrize(("name", "said"), [("tickPrise", "did you mean tickPrice?"), ("xyzzy", "all are listed")])
def test_an_unknown_name_is_refused_with_what_there_is(name: str, said: str, capsys: Captured[str]) -> None:
    assert main(["schema", name]) == 2
    assert said in capsys.readouterr().err
