"""Settings that a running daemon takes over, and those that need a restart."""

from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from ibbridge.config.model import Config
from ibbridge.config.reload import RELOADABLE, merged

SETTINGS = [
    f"{section.name}.{key.name}"
    for section in dataclasses.fields(Config())
    if dataclasses.is_dataclass(getattr(Config(), section.name))
    for key in dataclasses.fields(getattr(Config(), section.name))
]


def value(config: Config, key: str) -> object:
    section, name = key.split(".")
    return getattr(getattr(config, section), name)


def with_changes(keys: set[str]) -> Config:
    """A configuration in which these settings differ from the defaults; nobody here minds their types."""
    config = Config()
    for key in keys:
        section, name = key.split(".")
        changed = dataclasses.replace(getattr(config, section), **{name: "other"})
        config = dataclasses.replace(config, **{section: changed})
    return config


def test_what_is_reloadable_is_a_setting() -> None:
    assert set(SETTINGS) >= RELOADABLE


@given(st.sets(st.sampled_from(SETTINGS)))
def test_what_can_be_changed_is_and_all_else_stays_and_is_named(keys: set[str]) -> None:
    running, done, left = merged(Config(), with_changes(keys))
    assert {*done} == keys & RELOADABLE
    assert {*left} == keys - RELOADABLE
    for key in SETTINGS:
        assert value(running, key) == ("other" if key in done else value(Config(), key))


def test_other_names_for_instruments_need_a_restart() -> None:
    read = dataclasses.replace(Config(), instruments={"ES": {"symbol": "ES"}})
    assert merged(Config(), read) == (Config(), [], ["instruments"])
