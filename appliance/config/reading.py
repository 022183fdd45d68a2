"""From nodes of a file, or stored values, to settings in their one form."""

from __future__ import annotations

from appliance.config.keys import Item, ItemList, JsonValue, Key, Setting, TextList
from appliance.config.own_files import OWN_FILES, own_file
from appliance.config.schema import ALIASES, IGNORED, ROOT, SETTINGS, keys_below, nearest
from appliance.config.strict_yaml import Mapping, Node, Sequence, located
from appliance.config.yaml_scalars import Scalar
from appliance.errors import ConfigError
from appliance.value import field, frozen


@frozen
class Reader:
    """Reads settings out of nodes, and remembers where each stood."""

    source: str  # a file name, or whatever the values came from
    home: str  # path of the home, for the settings that may name its files
    values: dict[str, JsonValue] = field(default_factory=dict[str, JsonValue])
    lines: dict[str, int] = field(
        default_factory=dict[str, int]
    )  # by dotted name; a backend's by [id]
    warnings: list[str] = field(default_factory=list[str])

    def section(self, prefix: str, node: Node) -> None:
        """Read a section and those in it; one without any key is as good as none.

        Raises ConfigError, with file and line, at the first thing that is wrong.
        """
        if isinstance(node, Scalar) and node.value is None:
            return
        if not isinstance(node, Mapping):
            raise self._error(node.line, f"{prefix or ROOT}: expected keys below it")
        known = keys_below(prefix)
        for key, child in node.entries.items():
            line = node.key_lines[key]
            name = f"{prefix}.{key}" if prefix else key
            if key not in known:
                raise self._error(line, f"unknown key {name}, {nearest(key, known)}", "unknown-key")
            if name not in SETTINGS and name not in ALIASES:
                self.section(name, child)
                continue
            value = self.setting(name, child)
            self._put(ALIASES.get(name, name), value, name, line)

    def _put(self, name: str, value: JsonValue, written_as: str, line: int) -> None:
        if name in self.values and self.values[name] != value:
            other = f"{self.values[name]} on line {self.lines[name]}"
            raise self._error(
                line,
                f"{written_as} is {value}, but means the same as {name} or its alias, {other}",
                "alias-conflict",
                f"keep {name} only",
            )
        if written_as != name:
            self.warnings.append(f"{self.place(line)}: {written_as} is an old name of {name}")
        if name == IGNORED and value is not None:
            self.warnings.append(f"{self.place(line)}: {name} is ignored: one file has one schema")
        self.values[name] = value
        self.lines[name] = line

    def setting(self, name: str, node: Node) -> JsonValue:
        """Read one setting, by its dotted name or an alias of it."""
        setting = SETTINGS[ALIASES.get(name, name)]
        value = self._value(name, setting, node)
        if name in OWN_FILES:
            try:
                return own_file(name, str(value), self.home)
            except ConfigError as error:
                raise self._located(error, node.line, name) from error
        return value

    def _value(self, name: str, setting: Setting, node: Node) -> JsonValue:
        if isinstance(setting, Key):
            if not isinstance(node, Scalar):
                raise self._error(node.line, f"{name}: expected {setting.kind.expected}")
            return self._scalar(name, setting, node)
        if not isinstance(node, Sequence):
            raise self._error(node.line, f"{name}: expected a list", next_step="write [] for none")
        if isinstance(setting, ItemList):
            return self._items(name, setting, node)
        return self._texts(name, setting, node)

    def _scalar(self, name: str, key: Key, scalar: Scalar) -> JsonValue:
        if key.absent and (scalar.value is None or scalar.value == key.absent == "off"):
            return None
        try:
            if scalar.is_off:
                raise ConfigError(
                    f"expected {key.kind.expected}, got off",
                    reason="ambiguous-yaml",
                    next_step="write false if you mean that, or quote it if it is text",
                )
            return key.kind.read(scalar.value)
        except ConfigError as error:
            raise self._located(error, scalar.line, name) from error

    def _texts(self, name: str, setting: TextList, node: Sequence) -> JsonValue:
        of_one = Key(setting.kind, None, "")
        texts: list[JsonValue] = []
        for item in node.items:
            if not isinstance(item, Scalar):
                raise self._error(item.line, f"{name}: expected {setting.kind.expected}")
            texts.append(self._scalar(name, of_one, item))
        if setting.not_empty and not texts:
            raise self._error(node.line, f"{name}: expected at least one")
        return texts

    def _items(self, name: str, setting: ItemList, node: Sequence) -> JsonValue:
        items: list[JsonValue] = []
        for child in node.items:
            if not isinstance(child, Mapping):
                raise self._error(child.line, f"{name}: expected {', '.join(setting.fields)}")
            item = self._item(name, setting, child)
            try:
                setting.verify(item)
            except ConfigError as error:
                raise self._located(error, child.line, name) from error
            if setting.identity:
                self._identify(name, item[setting.identity], child)
            items.append(item)
        return items

    def _item(self, name: str, setting: ItemList, node: Mapping) -> Item:
        item: Item = {}
        for key, child in node.entries.items():
            if key not in setting.fields:
                raise self._error(
                    node.key_lines[key],
                    f"unknown key {key} in {name}, {nearest(key, setting.fields)}",
                    "unknown-key",
                )
            item[key] = self._value(f"{name}[].{key}", setting.fields[key], child)
        if setting.identity and setting.identity not in item:
            raise self._error(node.line, f"{name}: expected {setting.identity} in each item")
        return item

    def _identify(self, name: str, identity: JsonValue, node: Mapping) -> None:
        place = f"{name}[{identity}]"
        if place in self.lines:
            first = self.lines[place]
            raise self._error(
                node.line, f"{name}: {identity} is here twice, first on line {first}", "duplicate"
            )
        self.lines[place] = node.line

    def _located(self, error: ConfigError, line: int, name: str) -> ConfigError:
        return located(located(error, name), self.place(line))

    def _error(
        self, line: int, message: str, reason: str = "bad-value", next_step: str = ""
    ) -> ConfigError:
        return located(ConfigError(message, reason=reason, next_step=next_step), self.place(line))

    def place(self, line: int) -> str:
        """Say where a line is; values that came from no file have line 0."""
        return f"{self.source}:{line}" if line else self.source


def node_of(value: JsonValue) -> Node:
    """Make the node that a stored value would be read from."""
    if isinstance(value, dict):
        entries = {key: node_of(child) for key, child in value.items()}
        return Mapping(entries, dict.fromkeys(entries, 0), 0)
    if isinstance(value, list):
        return Sequence(tuple(node_of(child) for child in value), 0)
    return Scalar(value, 0)
