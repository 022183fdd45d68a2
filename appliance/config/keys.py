"""The building blocks of the schema: a setting, a list of texts, a list of items."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Literal, TypeAlias

from appliance.config.kinds import Kind, Text
from appliance.value import field, frozen

JsonValue: TypeAlias = "str | int | float | bool | list[JsonValue] | dict[str, JsonValue] | None"
Item: TypeAlias = dict[str, JsonValue]

NAME: Final = Text(
    "a name of letters, digits, dots, dashes and underscores, 64 at most",
    r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}",
)
ORIGIN: Final = Text("the origin of a log, the first line of its checkpoints", r"\S(?:.{0,253}\S)?")
PATH: Final = Text("a path", r"\S(?:.{0,1022}\S)?")


@frozen
class Key:
    """A setting with one value."""

    kind: Kind
    default: JsonValue
    comment: str  # one line, for `config example`
    absent: Literal["", "off", "null"] = ""  # the word for no value, where that is possible
    example: str = ""  # shown where the default is no value


@frozen
class TextList:
    """A setting that is a list of texts."""

    kind: Kind
    comment: str
    example: str  # YAML in flow style
    not_empty: bool = False

    @property
    def default(self) -> JsonValue:
        """Nothing in it."""
        return []


def _accept(item: Item) -> None:
    """Accept any item: its fields were good one by one."""


@frozen
class ItemList:
    """A setting that is a list of mappings."""

    fields: Mapping[str, Key | TextList]
    comment: str
    example: str  # YAML, each line an item's
    default: JsonValue = field(default_factory=list[JsonValue])
    verify: Callable[[Item], None] = _accept  # raises ConfigError about a whole item
    identity: str = ""  # the field by which items are told apart and upserted

    def complete(self, item: Item) -> Item:
        """Return the item with every field it has, those not named at their default."""
        return {name: item.get(name, key.default) for name, key in self.fields.items()}


Setting: TypeAlias = Key | TextList | ItemList
