"""Changing a configuration: from a file, by one key, and what that changes.

A file sets the keys it names and leaves the rest; backends are changed or added by id, any
other list is replaced. With prune, what the file does not name goes back to its default.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeAlias

from appliance.config.configuration import Configuration
from appliance.config.keys import Item, JsonValue, Key
from appliance.config.kinds import Duration, Text, Url
from appliance.config.reading import Reader
from appliance.config.rules import Places, verify_rules
from appliance.config.schema import ALIASES, BACKENDS, IGNORED, ROOT, SETTINGS, default_of, nearest
from appliance.config.strict_yaml import Mapping, parse_yaml
from appliance.config.sync_keys import BACKENDS as BACKEND_FIELDS
from appliance.config.yaml_scalars import Scalar
from appliance.errors import ConfigError
from appliance.value import frozen

Changed: TypeAlias = tuple[Configuration, tuple[str, ...]]  # with warnings


@frozen
class ConfigFile:
    """The settings that a file names, and where."""

    values: dict[str, JsonValue]  # by dotted name; of backends only the fields it names
    places: Places
    warnings: tuple[str, ...]


@frozen
class Change:
    """One setting that is different now."""

    key: str  # dotted name; of backends rekorSync.backends[id].field
    old: JsonValue
    new: JsonValue


def parse_config(text: str, file_name: str, home: str) -> ConfigFile:
    """Parse a configuration file; `home` is the home's absolute path.

    Raises ConfigError, with file and line, at the first thing that is wrong.
    """
    reader = Reader(file_name, home)
    root = parse_yaml(text, file_name)
    if not isinstance(root, Mapping):
        raise ConfigError(
            f"{file_name}:{root.line}: expected {ROOT}: at the start of a line",
            reason="bad-value",
            next_step="see 'attestor config example'",
        )
    for key, node in root.entries.items():
        if key != ROOT:
            raise ConfigError(
                f"{file_name}:{root.key_lines[key]}: unknown key {key}, {nearest(key, [ROOT])}",
                reason="unknown-key",
                next_step=f"everything stands below {ROOT}:",
            )
        reader.section("", node)
    places = Places(file_name, reader.lines)
    return ConfigFile(reader.values, places, tuple(reader.warnings))


def apply_file(current: Configuration, file: ConfigFile, *, prune: bool = False) -> Changed:
    """Return the configuration after `file`, and warnings.

    Raises ConfigError if a new backend lacks its origin or key, or the whole does not
    agree with itself.
    """
    stored = {} if prune else dict(current.stored)
    for name, value in file.values.items():
        stored[name] = value
        if name == BACKENDS and isinstance(value, list):
            changes = [item for item in value if isinstance(item, dict)]
            stored[name] = _merge_backends(current, changes, file.places, prune=prune)
    changed = _without_defaults(current, stored)
    return changed, file.warnings + verify_rules(changed, file.places)


def _without_defaults(current: Configuration, stored: dict[str, JsonValue]) -> Configuration:
    """Keep only what differs from the defaults: so `config show` can be applied unharmed."""
    role = current.role
    kept = {name: value for name, value in stored.items() if value != default_of(name, role)}
    return Configuration(role, kept)


def _merge_backends(
    current: Configuration, changes: list[Item], places: Places, *, prune: bool
) -> list[JsonValue]:
    known = {item["id"]: item for item in current.items(BACKENDS)}
    merged = {} if prune else dict(known)
    for item in changes:
        before = known.get(item["id"])
        after = BACKEND_FIELDS.complete({**(before or {}), **item})
        required = ("origin",) if before else ("origin", "publicKeyPath")
        for field in required:
            if after[field] is None:
                place = places.of(f"{BACKENDS}[{item['id']}]")
                raise ConfigError(
                    f"{place}: backend {item['id']} needs {field}", reason="bad-backend"
                )
        merged[item["id"]] = after
    return list(merged.values())


def set_one(current: Configuration, name: str, text: str, home: str) -> Changed:
    """Return the configuration with one setting changed, given as on a command line.

    Text, durations and URLs need no quotes; lists are YAML in flow style. Raises
    ConfigError if there is no such setting, or the value is not one of it.
    """
    name = name.removeprefix(f"{ROOT}.")
    name = ALIASES.get(name, name)
    setting = SETTINGS.get(name)
    if setting is None:
        raise ConfigError(
            f"no setting {name}, {nearest(name, SETTINGS)}",
            reason="unknown-key",
            next_step="'attestor config show' lists them all",
        )
    if name == BACKENDS:
        raise ConfigError(
            f"{name} is not set in one piece",
            reason="bad-value",
            next_step="use 'attestor backend add' or 'attestor config apply'",
        )
    reader = Reader("VALUE", home)
    literal = isinstance(setting, Key) and isinstance(setting.kind, Text | Url | Duration)
    if literal and text != "null":
        value = reader.setting(name, Scalar(text, 0))
    else:
        value = reader.setting(name, parse_yaml(text, "VALUE"))
    changed = _without_defaults(current, {**current.stored, name: value})
    warnings = verify_rules(changed, Places("VALUE"))
    if name == IGNORED and value is not None:
        warnings = (*warnings, f"{name} is ignored: one file has one schema")
    return changed, warnings


def told_of(changes: Iterable[Change]) -> tuple[str, ...]:
    """Say of settings that were changed what they do not do, where that is easily thought."""
    if any(change.key == "rekorSync.syncInterval" for change in changes):
        return (
            "rekorSync.syncInterval is the pause of 'sync --watch'; a timer or cron line that runs"
            " 'sync' has its own schedule",
        )
    return ()


def diff(old: Configuration, new: Configuration) -> tuple[Change, ...]:
    """List what is effectively different, in the order of the schema."""
    changes: list[Change] = []
    for name in SETTINGS:
        if name == BACKENDS:
            changes.extend(_diff_backends(old, new))
        elif old.value(name) != new.value(name):
            changes.append(Change(name, old.value(name), new.value(name)))
    return tuple(changes)


def _diff_backends(old: Configuration, new: Configuration) -> Iterator[Change]:
    before = {str(item["id"]): item for item in old.items(BACKENDS)}
    after = {str(item["id"]): item for item in new.items(BACKENDS)}
    for name in [*before, *(name for name in after if name not in before)]:
        place = f"{BACKENDS}[{name}]"
        was, now = before.get(name), after.get(name)
        if was is None or now is None:
            yield Change(place, was, now)
            continue
        for field, value in now.items():
            # A path says nothing about the key: whether that is new, the store knows.
            if was[field] != value and field != "publicKeyPath":
                yield Change(f"{place}.{field}", was[field], value)
