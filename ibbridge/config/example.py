"""The annotated example of a configuration, config/ibbridge.yaml: every setting, its default and its reason.

The module must not know what a setting is for.
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from ibbridge.config.model import Config, section_of, settings

if TYPE_CHECKING:
    import dataclasses


def annotated() -> str:
    """Return the text of config/ibbridge.yaml: every key with its default, below a comment about it."""
    lines = [
        "# All settings with their defaults. A setting that is left out has its default; a misspelt one is refused.",
        "# `ibbridge check FILE` lists the faults of a file; `--set KEY=VALUE` overrides a setting for one run.",
    ]
    for title, item in settings(Config).items():
        if section := section_of(item):
            lines += ["", *_comment(section.__doc__ or "", ""), f"{title}:"]
            for name, setting in settings(section).items():
                lines += [*_comment(setting.metadata["why"], "  "), *_setting(name, setting)]
        else:
            lines += ["", *_comment(item.metadata["why"], ""), f"#   {item.metadata['example']}", f"{title}: {{}}"]
    return "\n".join(lines) + "\n"


def _setting(name: str, setting: dataclasses.Field[Any]) -> list[str]:
    """Return the lines of a setting in a section; one that is a map has an example."""
    if "example" in setting.metadata:
        return [f"  #   {setting.metadata['example']}", f"  {name}: {{}}"]
    return [f"  {name}: {_yaml(setting.default)}"]


def _comment(text: str, indent: str) -> list[str]:
    margin = f"{indent}# "
    return textwrap.wrap(text, 116, initial_indent=margin, subsequent_indent=margin, break_on_hyphens=False)


def _yaml(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_yaml, value))}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    return text if text and "$" not in text else f'"{text}"'
