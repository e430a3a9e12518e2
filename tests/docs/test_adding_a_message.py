"""The diff in docs/adding-a-message.md adds a message, and everything else follows from it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "adding-a-message.md"

USE = """
from ibbridge.client.request import signature
from ibbridge.codec import Dialect, NotCarried
from tests.support.daemon_core import FIRST_ID, Middle

args = {"exchange": "NYSE", "pending": True}
try:
    Dialect.client(197).write("reqTradingHalts", {"reqId": 7, **args})
except NotCarried as error:
    assert str(error) == "pending needs server version 198; this connection has 197", error
else:
    raise AssertionError

for version in (198, 200, 226):
    payload = Dialect.client(version).write("reqTradingHalts", {"reqId": 7, **args})[4:]
    assert Dialect.server(version).read(payload) == ("reqTradingHalts", {"reqId": 7, **args})
    halts = [{"conId": 265598, "reason": "news pending", "since": "20260105 15:30:00"}]
    payload = Dialect.server(version).write("tradingHalts", {"reqId": 7, "halts": halts})[4:]
    assert Dialect.client(version).read(payload) == ("tradingHalts", {"reqId": 7, "halts": halts})

daemon = Middle()
assert daemon.ask("reqTradingHalts", id="h", exchange="NYSE") == {"topic": "req.a.h.", "topics": ["req.a.h."]}
assert daemon.topic_of("tradingHalts", reqId=FIRST_ID) == "req.a.h.tradingHalts."
assert not len(daemon.tracker), "it is over"
assert str(signature("reqTradingHalts")).startswith("(exchange, pending=None)")
"""


def diff() -> tuple[str, list[str]]:
    """The file that the page's diff changes, and the lines of its hunks."""
    _, _, rest = PAGE.read_text(encoding="utf-8").partition("```diff\n")
    lines = rest.partition("```")[0].splitlines()
    files = [line.removeprefix("+++ b/") for line in lines if line.startswith("+++ ")]
    assert len(files) == 1, "a message touches one place"
    return files[0], lines[2:]


def applied(text: str, hunks: list[str]) -> str:
    """The text after the change. Each hunk must find what it replaces, just once, wherever that stands now."""
    starts = [place for place, line in enumerate(hunks) if line.startswith("@@")]
    for start, stop in zip(starts, [*starts[1:], len(hunks)], strict=True):
        hunk = hunks[start + 1 : stop]
        old = "\n".join(line[1:] for line in hunk if not line.startswith("+"))
        new = "\n".join(line[1:] for line in hunk if not line.startswith("-"))
        assert text.count(old) == 1, f"the page's diff is stale: the file has not once\n{old}"
        text = text.replace(old, new)
    return text


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package with the message in it."""
    folder = tmp_path_factory.mktemp("changed")
    shutil.copytree(ROOT / "ibbridge", folder / "ibbridge", ignore=shutil.ignore_patterns("__pycache__"))
    name, hunks = diff()
    place = folder / name
    place.write_text(applied(place.read_text(encoding="utf-8"), hunks), encoding="utf-8")
    return folder


def run(changed: Path, program: str) -> None:
    command = [sys.executable, "-c", program]
    env = {"PYTHONPATH": f"{changed}:{ROOT}"}
    done = subprocess.run(command, env=env, cwd=changed, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_a_message_that_the_page_adds_is_read_written_refused_routed_and_asked_for(changed: Path) -> None:
    run(changed, USE)
