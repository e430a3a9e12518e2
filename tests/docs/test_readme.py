"""The limits that the README sets in place of TWS' precautions are settings that the daemon takes."""

from __future__ import annotations

import re
from pathlib import Path

import ibbridge
from ibbridge.config import loader

README = (Path(ibbridge.__file__).parents[1] / "README.md").read_text()


def test_the_limits_can_be_copied(tmp_path):
    (text,) = re.findall(r"```yaml\n(risk:.*?)```", README, re.DOTALL)
    file = tmp_path / "ibbridge.yaml"
    file.write_text(text)
    assert loader.load(file).risk.all


def test_nobody_is_told_to_switch_off_precautions_without_their_replacement():
    said = [paragraph for paragraph in re.split(r"\n\n|\n   - ", README) if "Bypass Order Precautions" in paragraph]
    assert said
    assert all("limits" in paragraph for paragraph in said)
