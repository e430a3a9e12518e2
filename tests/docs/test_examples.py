"""The examples and the README's snippets, run as a newcomer runs them: more than once, against the same daemon."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

from tests.integration.rig import PATIENCE, Bridge, Host, Market

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = pathlib.Path(__file__).parents[2]
SNIPPETS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
SUBSCRIBER, ORDER, CLIENT, HANDLE, ASYNCIO = SNIPPETS


@pytest.fixture(scope="module")
def bridge() -> Iterator[Bridge]:
    with Market() as tws, Bridge(tws.port) as made:
        made.ready()
        yield made


def adapted(bridge: Bridge, script: str) -> str:
    """The script as it is, but for where the daemon is."""
    script = script.replace("tcp://127.0.0.1:5555", bridge.pub).replace("tcp://127.0.0.1:5556", bridge.rep)
    return re.sub(r"(\bconnect\((?:client=)?\"[\w-]+\")\)", rf"\1, pub={bridge.pub!r}, rep={bridge.rep!r})", script)


def until(script: str, wanted: str) -> list[str]:
    """The lines that a script prints up to one that matches; it is ended then, if it does not end by itself."""
    command = [sys.executable, "-W", "error", "-u", "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        lines = []
        try:
            for line in process.stdout:
                lines.append(line)
                if re.search(wanted, line):
                    return lines
            pytest.fail(f"{wanted} did not come: {''.join(lines)}{process.stderr.read()}")
        finally:
            process.kill()


def whole(script: str) -> str:
    """Return the output of a script that ends by itself."""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    return done.stdout


def test_the_subscriber_can_be_run_again_also_with_another_symbol(bridge: Bridge) -> None:
    for symbol in ("AAPL", "MSFT", "AAPL"):
        lines = until(adapted(bridge, SUBSCRIBER.replace("AAPL", symbol)), r"^md\..*'price'")
        assert "'ok': True" in lines[0]
        assert f"'topic': 'md.{symbol}-STK-SMART-USD.'" in lines[0]
        assert lines[-1].startswith(f"md.{symbol}-STK-SMART-USD.")


def test_an_order_can_be_placed_again(bridge: Bridge) -> None:
    before, _, _ = SUBSCRIBER.partition("while True:")
    numbers = set()
    for price in ("180.25", "181.25", "181.25"):
        said = whole(adapted(bridge, before + ORDER.replace("180.25", price)))
        reply = said.splitlines()[-1]
        assert "'ok': True" in reply
        assert "'dup'" not in reply
        numbers.add(re.findall(r"'orderId': (\d+)", reply)[0])
    assert len(numbers) == 3


def test_the_clients_snippet_trades_each_time(bridge: Bridge) -> None:
    for _ in range(2):
        assert "orderStatus {" in whole(adapted(bridge, CLIENT))


def test_the_snippet_about_a_handle_works_each_time(bridge: Bridge) -> None:
    for _ in range(2):
        state, error, reason = whole(adapted(bridge, HANDLE)).splitlines()
        assert re.match(r"OrderState\(state='(acked|working)', reason=None", state)
        assert (error, reason) == ("None", "cancelled")


def test_the_bracket_is_entered_and_left_each_time(bridge: Bridge) -> None:
    script = adapted(bridge, (ROOT / "examples" / "bracket.py").read_text())
    for _ in range(2):
        entry, target, stop = whole(script).splitlines()
        assert entry.startswith("entry: filled at ")
        assert target.startswith("target: filled at ")
        assert stop == "stop: cancelled"


def test_the_snippet_for_asyncio_can_be_run_again(bridge: Bridge) -> None:
    imports, _, body = adapted(bridge, ASYNCIO).partition("\n\n")
    script = f"import asyncio\n{imports}\nasync def main():\n{textwrap.indent(body, '    ')}\nasyncio.run(main())"
    for _ in range(2):
        until(script, "^tickPrice ")


def test_the_strategy_trades_each_time_and_ends(bridge: Bridge) -> None:
    script = adapted(bridge, (ROOT / "examples" / "strategy.py").read_text())
    for _ in range(2):
        lines = whole(script).splitlines()
        assert "100 are to be bought" in lines[0]
        assert "status='Filled'" in lines[-1]


@pytest.mark.parametrize("example", ["strategy.py", "bracket.py"])
@pytest.mark.parametrize("accounts", ["U1234567", "DU1234567,U7654321"])
def test_an_example_refuses_an_account_with_real_money(accounts: str, example: str) -> None:
    with Host() as host, Bridge(host.port) as bridge, host.accept() as guest:
        guest.start(accounts=accounts)
        bridge.ready()
        script = adapted(bridge, (ROOT / "examples" / example).read_text())
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, "takes paper accounts only" in done.stderr) == (1, True)
        bridge.stop(15)
        assert "placeOrder" not in guest.rest()
