"""What holds for every test: Hypothesis has no clock, and in CI no luck either."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# A deadline would make a test of a busy machine; a CI run that nobody can repeat helps nobody.
settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, database=None, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")


@pytest.fixture(autouse=True)
def _memory_of_the_tests_is_none_of_the_daemons(monkeypatch):
    """A daemon within the tests' own process would take what thousands of tests have left there for its own."""
    monkeypatch.setattr("ibbridge.daemon.memory_in_use", lambda: 0)
