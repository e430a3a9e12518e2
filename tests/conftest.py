"""Settings of all tests: Hypothesis has no deadline, and in CI the same examples in each run."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# A deadline would make a test of a busy machine; a CI run that nobody can repeat helps nobody.
settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, database=None, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Have `--scenario B28` run the tests that hold that line of docs/operations.md."""
    parser.addoption("--scenario", metavar="LINE", help="run the tests of this line of docs/operations.md, such as B28")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests of other lines."""
    line = config.getoption("--scenario")
    if line is None:
        return
    kept = [item for item in items if any(line in mark.args for mark in item.iter_markers("scenario"))]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


@pytest.fixture(autouse=True)
def _memory_of_the_tests_is_none_of_the_daemons(monkeypatch):
    """A daemon within the tests' own process would take what thousands of tests have left there for its own."""
    monkeypatch.setattr("ibbridge.monitoring.process_watch.memory_in_use", lambda: 0)
