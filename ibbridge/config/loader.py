"""The configuration loader: reads a YAML file and `--set` options into the model, and reports all faults at once.

No other module reads configuration. The module must not know what a setting is for.
"""

from __future__ import annotations

import dataclasses
import difflib
from typing import TYPE_CHECKING, Any

from ibbridge.config import validators, yaml_document
from ibbridge.config.model import Config, ConfigError, section_of, settings

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Sequence

    from ibbridge.config.model import Section


def load(path: pathlib.Path | None = None, overrides: Sequence[str] = ()) -> Config:
    """Return the configuration in the file at `path` (None: all defaults), changed by `overrides`, each `KEY=VALUE`.

    KEY is a dotted path such as `tws.port`; VALUE is read like a value in the file. Raise ConfigError with all faults
    of the file and the overrides.
    """
    given = _GivenValues(str(path or "the defaults"))
    if path is not None:
        given.read(path)
    for override in overrides:
        given.override(override)
    config: Config = _build(Config, given.values, (), given)
    if given.faults:
        raise ConfigError(given.faults)
    return config


class _GivenValues:
    """Values that the operator gave, their places (file and line, or option), and their faults."""

    def __init__(self, file: str) -> None:
        self.values: dict[str, Any] = {}
        self.faults: list[str] = []
        self._file = file
        self._places: dict[yaml_document.Path, str] = {}

    def read(self, path: pathlib.Path) -> None:
        try:
            values, lines, faults = yaml_document.parse(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from error
        except ValueError as error:  # not UTF-8, or a path that cannot be one
            raise ConfigError([f"{path}: cannot be read: {error}"]) from error
        except yaml_document.DocumentError as error:
            raise ConfigError([f"{path}: not YAML: {error}"]) from error
        if not isinstance(values, dict | None):
            sections = ", ".join(item.name for item in dataclasses.fields(Config))
            raise ConfigError([f"{path}: expected a map of sections ({sections}), got {validators.shown(values)}"])
        self.values = values or {}
        self._places = {key: f"{path}:{line}" for key, line in lines.items()}
        self.faults += [f"{path}: {fault}" for fault in faults]

    def override(self, text: str) -> None:
        key, equals, value = text.partition("=")
        if not (key and equals):
            self.faults.append(f"--set {yaml_document.dotted((text,))}: expected KEY=VALUE, such as tws.port=4001")
            return
        *sections, last = path = tuple(key.split("."))
        origin = f"--set {yaml_document.dotted(path)}"
        try:
            # No text after `=` is the empty text (`--set bus.prefix=`); in a file it would be null.
            parsed = yaml_document.parse(value)[0] if value else ""
        except yaml_document.DocumentError as error:
            self.faults.append(f"{origin}: not a YAML value: {error}")
            return
        place = self.values
        for depth, section in enumerate(sections, 1):
            if place.get(section) is None:
                place[section] = {}
            place = place[section]
            self._places.setdefault(path[:depth], origin)
            if not isinstance(place, dict):
                self.faults.append(f"{origin}: {yaml_document.dotted(path[:depth])} has no keys below it")
                return
        place[last] = parsed
        self._places[path] = origin

    def fault(self, paths: Sequence[yaml_document.Path], text: str) -> None:
        """Note a fault of the first of `paths`, with the place at which the operator wrote one of the paths."""
        places = [self._places[path] for path in paths if path in self._places]
        # If two settings contradict each other, the one from the command line was probably changed last.
        places.sort(key=lambda place: not place.startswith("--set "))
        place = places[0] if places else self._file
        key = yaml_document.dotted(paths[0])
        self.faults.append(f"{place}: {text}" if place == f"--set {key}" else f"{place}: {key}: {text}")


def _build(section: type[Section], values: object, path: yaml_document.Path, given: _GivenValues) -> Any:
    """Return the `section` with `values`. Invalid values are noted in `given`, and replaced by the defaults."""
    if values is None:  # `tws:` with nothing but comments below it
        values = {}
    if not isinstance(values, dict):
        given.fault([path], f"expected a map of keys, got {validators.shown(values)}")
        return section()
    fields = settings(section)
    before = len(given.faults)
    sound: dict[str, Any] = {}
    for name, value in values.items():
        here = (*path, name)
        if name not in fields:
            given.fault([here], f"unknown key{_meant(name, section)}")
        elif below := section_of(fields[name]):
            sound[name] = _build(below, value, here, given)
        else:
            try:
                sound[name] = fields[name].metadata["check"](value)
            except validators.RefusedError as refused:
                for within, text in refused.faults:
                    given.fault([(*here, *within), here], text)
    built = section(**sound)
    if len(given.faults) == before:
        for names, text in built.contradictions():
            given.fault([(*path, *name.split(".")) for name in names], text)
    return built


def _meant(name: str, section: type[Section]) -> str:
    """Return advice about the unknown key `name`: a key with a similar name in the same section, or in another."""
    elsewhere: dict[str, str] = {}
    for title, item in settings(Config).items():
        if below := section_of(item):
            elsewhere |= {key: f"{title}.{key}" for key in settings(below)}
    if name in elsewhere.values():
        title, _, key = name.partition(".")
        return f"; write it as {key}: below {title}:"
    if near := difflib.get_close_matches(name.lower(), settings(section), 1):
        return f"; did you mean {near[0]}?"
    near = difflib.get_close_matches(name.lower(), elsewhere, 1)
    return f"; did you mean {elsewhere[near[0]]}?" if near else ""
