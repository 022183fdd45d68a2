"""Writing settings as YAML: the effective settings, and a commented example.

What is written here, strict_yaml reads back to the same values.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final

from appliance.config.configuration import Configuration
from appliance.config.keys import Item, ItemList, JsonValue, Key, Setting, TextList
from appliance.config.kinds import Size
from appliance.config.schema import ROOT, SECTIONS, SETTINGS, Role, default_of
from appliance.config.sizes import format_size
from appliance.config.yaml_scalars import parse_plain_scalar
from appliance.errors import ConfigError

_PLAIN: Final = re.compile(r"[A-Za-z0-9/][A-Za-z0-9._/+@:-]*[A-Za-z0-9]|[A-Za-z0-9]")
_INDENT: Final = "  "


def format_yaml(configuration: Configuration) -> str:
    """Write every effective setting; parse_config reads it back to the same."""
    lines: list[str] = []
    for depth, label, name in _outline():
        if name:
            lines += _indented(_setting(label, SETTINGS[name], configuration.value(name)), depth)
        else:
            lines.append(f"{_INDENT * depth}{label}:")
    return "\n".join(lines) + "\n"


def example_yaml(role: Role = "connected") -> str:
    """Write a file with every setting, its default for this role, and what it is.

    What has no default is commented out; `#` directly before a letter or a dash marks a
    line that works when uncommented.
    """
    lines = ["# Settings of an Attestor home. Load them with 'attestor config apply FILE'."]
    lines.append("# A file needs to name only what it changes. Durations: 250ms 5m 1h30m 14d")
    for depth, label, name in _outline():
        indent = _INDENT * depth
        if name:
            setting = SETTINGS[name]
            lines.append(f"{indent}# {setting.comment}")
            lines += _indented(_example(label, setting, default_of(name, role)), depth)
        else:
            if label in SECTIONS and depth == 1:
                lines += ["", f"{indent}# {SECTIONS[label]}."]
            lines.append(f"{indent}{label}:")
    return "\n".join(lines) + "\n"


def format_value(name: str, value: JsonValue) -> str:
    """Write one value on one line, as messages and `config apply` show it."""
    return _value(SETTINGS.get(name), value)


def _outline() -> Iterator[tuple[int, str, str]]:
    """Yield depth, last part and dotted name of each setting; sections have no name."""
    yield 0, ROOT, ""
    open_sections: list[str] = []
    for name in SETTINGS:
        *sections, label = name.split(".")
        for depth, section in enumerate(sections):
            if open_sections[: depth + 1] != sections[: depth + 1]:
                open_sections = sections[: depth + 1]
                yield depth + 1, section, ""
        open_sections = sections
        yield len(sections) + 1, label, name


def _indented(lines: list[str], depth: int) -> list[str]:
    return [_INDENT * depth + line for line in lines]


def _setting(label: str, setting: Setting, value: JsonValue) -> list[str]:
    if not isinstance(setting, ItemList) or not isinstance(value, list) or not value:
        return [f"{label}: {_value(setting, value)}"]
    lines = [_item(setting, item) for item in value if isinstance(item, dict)]
    return [f"{label}:", *_indented([line for item in lines for line in item], 1)]


def _item(setting: ItemList, item: Item) -> list[str]:
    fields = [
        f"{name}: {_value(setting.fields[name], value)}"
        for name, value in item.items()
        if value is not None
    ]
    return [("- " if index == 0 else _INDENT) + line for index, line in enumerate(fields)]


def _value(setting: Setting | None, value: JsonValue) -> str:
    if isinstance(setting, Key) and not isinstance(value, list | dict):
        return _scalar(setting, value)
    return json.dumps(value, ensure_ascii=False)  # also YAML, in flow style


def _scalar(key: Key, value: str | int | float | bool | None) -> str:
    if value is None:
        return key.absent
    if isinstance(value, str):
        return _text(value)
    if isinstance(key.kind, Size):
        return format_size(int(value))
    return json.dumps(value)


def _text(text: str) -> str:
    """Write a text without quotes where every YAML reader agrees that it is one."""
    try:
        plain = _PLAIN.fullmatch(text) and text != "off" and parse_plain_scalar(text) == text
    except ConfigError:
        plain = False
    # A JSON string is double-quoted YAML: in printable text both escape only " and \.
    return text if plain else json.dumps(text, ensure_ascii=False)


def _example(label: str, setting: Setting, default: JsonValue) -> list[str]:
    if isinstance(setting, ItemList):
        lines = setting.example.removesuffix("\n").split("\n")
        mark = "" if default else "#"
        return [f"{mark}{label}:", *(f"{mark}{_INDENT}{line}" for line in lines)]
    if isinstance(setting, TextList) or default is None:
        return [f"#{label}: {setting.example}"]
    return [f"{label}: {_value(setting, default)}"]
