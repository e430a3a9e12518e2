"""`ibbridge fault`, and a script that `ibbridge sim` does not take."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ibbridge.cli import main
from tests.integration.rig import Market

if TYPE_CHECKING:
    import pathlib

    import pytest


def test_a_step_is_done_or_refused_with_what_is_wrong(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    endpoint = f"ipc://{tmp_path}/c"
    with Market(control=endpoint):
        assert main(["fault", endpoint, "do=1100", "client=1", "for=5"]) == 0
        assert main(["fault", endpoint, "do=ignore", "requests=[reqIds]"]) == 0
        assert main(["fault", endpoint, "do=off"]) == 0
        assert capsys.readouterr().out == "ok\nok\nok\n"
        assert main(["fault", endpoint, "do=figures"]) == 0
        assert '"accepted":0' in capsys.readouterr().out
        assert main(["fault", endpoint, "do=slow", "client=x"]) == 1
        assert capsys.readouterr().err.splitlines() == [
            "refused:",
            "  client: 'x' must be a whole number from 0",
            "  rate: is missing; it must be a whole number from 1",
        ]
    assert main(["fault", endpoint, "close"]) == 2


def test_nobody_there_is_told(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fault", f"ipc://{tmp_path}/c", "do=off", "--timeout", "0.05"]) == 1
    assert "no reply from ipc://" in capsys.readouterr().err


def test_a_script_with_faults_is_not_begun(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "s.yaml"
    script.write_text("- {do: close, at: -1}\n- {do: explode}\n")
    assert main(["sim", "--port", "0", "--faults", str(script)]) == 2
    said = capsys.readouterr().err
    assert f"{script}:1: step 1: at: -1 must be a number of seconds" in said
    assert f"{script}:2: step 2: do: 'explode' is no fault" in said
