"""The one switch for compiled code."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from ibbridge.codec import compiled

if TYPE_CHECKING:
    from collections.abc import Callable

NAME = "ibbridge.codec._sample"


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], ModuleType]:
    """Builds of a module and of its pure form, with compiled code switched on."""
    monkeypatch.setattr(compiled, "PURE", False)
    monkeypatch.setitem(sys.modules, "ibbridge.codec.sample", ModuleType("sample"))

    def made(interface: int | None) -> ModuleType:
        module = ModuleType("_sample")
        if interface is not None:
            module.INTERFACE = interface  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, NAME, module)
        return module

    return made


def test_a_module_that_is_built_is_used(build: Callable[[int | None], ModuleType]) -> None:
    module = build(compiled.INTERFACE)
    assert compiled.built(NAME) is compiled.in_use(NAME) is compiled.fastest("ibbridge.codec.sample") is module


@pytest.mark.parametrize("interface", [None, compiled.INTERFACE - 1, compiled.INTERFACE + 1])
def test_a_build_of_another_source_is_not_used(
    build: Callable[[int | None], ModuleType], interface: int | None
) -> None:
    build(interface)
    assert compiled.built(NAME) is compiled.in_use(NAME) is None
    assert compiled.fastest("ibbridge.codec.sample") is sys.modules["ibbridge.codec.sample"]


@pytest.mark.usefixtures("build")
def test_without_a_build_pure_python_does_the_work() -> None:
    assert compiled.built(NAME) is compiled.in_use(NAME) is None
    assert compiled.fastest("ibbridge.codec.sample") is sys.modules["ibbridge.codec.sample"]


def test_what_is_switched_off_is_not_used(
    build: Callable[[int | None], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = build(compiled.INTERFACE)
    monkeypatch.setattr(compiled, "PURE", True)
    assert compiled.in_use(NAME) is None
    assert compiled.fastest("ibbridge.codec.sample") is sys.modules["ibbridge.codec.sample"]
    assert compiled.built(NAME) is module


@pytest.mark.parametrize(
    "name", ["ibbridge.codec._speedups", "ibbridge.streams._sequencer", "ibbridge.zeromq._zmq_send"]
)
def test_what_is_built_is_from_the_source_that_is_here(name: str) -> None:
    module = pytest.importorskip(name)
    assert module.INTERFACE == compiled.INTERFACE, "build it again: make .venv/.installed-dev"
