"""A small strict subset of YAML, with the line of everything (docs/configuration.md).

PyYAML's SafeLoader splits the text into events and nothing more: no object is ever
constructed, so no tag, alias or duplicate key can do harm. Here: one document, mappings
with text keys that occur once, lists, and one-line scalars. No anchors, no aliases, no
tags, no merge keys.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, TypeAlias

from appliance.config.yaml_scalars import Scalar, parse_plain_scalar
from appliance.errors import ConfigError
from appliance.value import frozen

if TYPE_CHECKING:
    from yaml.events import Event, ScalarEvent

MAX_CHARACTERS: Final = 256 * 1024
MAX_DEPTH: Final = 12  # of nested mappings and lists; the schema needs 6


@frozen
class Sequence:
    """A list of a file."""

    items: tuple[Node, ...]
    line: int  # from 1


@frozen
class Mapping:
    """A mapping of a file, in its order."""

    entries: dict[str, Node]
    key_lines: dict[str, int]  # where each key stands
    line: int  # from 1


Node: TypeAlias = Scalar | Sequence | Mapping


def parse_yaml(text: str, file_name: str) -> Node:
    """Parse one YAML document.

    Raises ConfigError, with file and line, for anything that is not in the subset; for an
    empty document returns the scalar null.
    """
    from yaml import MarkedYAMLError, SafeLoader, YAMLError, parse
    from yaml.reader import ReaderError

    if len(text) > MAX_CHARACTERS:
        raise ConfigError(
            f"{file_name}: expected at most {MAX_CHARACTERS} characters, got {len(text)}",
            reason="yaml-limit",
        )
    reader = _Reader(file_name)
    try:
        return reader.document(iter(parse(text, Loader=SafeLoader)))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else reader.line
        raise _error(file_name, line, error.problem or "not YAML", "bad-yaml") from error
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise _error(file_name, line, "a character YAML does not allow", "bad-yaml") from error
    except (YAMLError, ValueError, OverflowError) as error:
        # PyYAML lets chr() and int() speak for themselves on absurd escapes.
        raise _error(file_name, reader.line, "not YAML", "bad-yaml") from error


class _Reader:
    """Turns events into nodes; remembers the line for errors that know none."""

    def __init__(self, file_name: str) -> None:
        self.file_name = file_name
        self.line = 1

    def document(self, events: Iterator[Event]) -> Node:
        from yaml import StreamEndEvent

        next(events)  # the stream starts
        if isinstance(next(events), StreamEndEvent):
            return Scalar(None, 1, plain=True)
        node = self.node(next(events), events, depth=0)
        next(events)  # the document ends
        after = next(events)
        if not isinstance(after, StreamEndEvent):
            self.line = _line(after)
            raise self._refused("a second document", "put everything in one document")
        return node

    def node(self, event: Event, events: Iterator[Event], depth: int) -> Node:
        from yaml import CollectionStartEvent, MappingStartEvent, ScalarEvent

        self.line = _line(event)
        if not isinstance(event, (ScalarEvent, CollectionStartEvent)):  # then it is an alias
            raise self._refused("an alias (*)", "write the value out")
        if event.anchor is not None:
            raise self._refused("an anchor (&)", "remove it")
        if event.tag is not None:
            raise self._refused(f"the tag {event.tag[:40]}", "remove it")
        if isinstance(event, ScalarEvent):
            return self.scalar(event)
        if depth == MAX_DEPTH:
            raise _error(
                self.file_name, self.line, f"nested deeper than {MAX_DEPTH} levels", "yaml-limit"
            )
        if isinstance(event, MappingStartEvent):
            return self.mapping(events, depth + 1)
        return self.sequence(events, depth + 1)

    def scalar(self, event: ScalarEvent) -> Scalar:
        plain = event.style is None
        if not event.value.isprintable():
            raise _error(
                self.file_name,
                self.line,
                "expected one line of printable text",
                "bad-yaml",
                "no line breaks, tabs or control characters in a value",
            )
        try:
            value = parse_plain_scalar(event.value) if plain else event.value
        except ConfigError as error:
            raise located(error, f"{self.file_name}:{self.line}") from error
        return Scalar(value, self.line, plain)

    def sequence(self, events: Iterator[Event], depth: int) -> Sequence:
        from yaml import SequenceEndEvent

        line = self.line
        items: list[Node] = []
        while not isinstance(event := next(events), SequenceEndEvent):
            items.append(self.node(event, events, depth))
        return Sequence(tuple(items), line)

    def mapping(self, events: Iterator[Event], depth: int) -> Mapping:
        from yaml import MappingEndEvent

        found = Mapping({}, {}, self.line)
        while not isinstance(event := next(events), MappingEndEvent):
            key = self.node(event, events, depth)
            if not isinstance(key, Scalar) or not isinstance(key.value, str) or key.is_off:
                raise _error(
                    self.file_name, key.line, "expected a name before the colon", "bad-yaml"
                )
            if key.value in found.entries:
                raise _error(
                    self.file_name,
                    key.line,
                    f"{key.value[:80]} is here twice, first on line {found.key_lines[key.value]}",
                    "duplicate-key",
                    "keep one of them",
                )
            found.key_lines[key.value] = key.line
            found.entries[key.value] = self.node(next(events), events, depth)
        return found

    def _refused(self, what: str, next_step: str) -> ConfigError:
        message = f"{what} is not accepted in a configuration"
        return _error(self.file_name, self.line, message, "yaml-feature", next_step)


def _line(event: Event) -> int:
    mark = event.start_mark
    return mark.line + 1 if mark else 1


def located(error: ConfigError, place: str) -> ConfigError:
    """Return the same error with its place before the message."""
    return ConfigError(f"{place}: {error.message}", reason=error.reason, next_step=error.next_step)


def _error(
    file_name: str, line: int, message: str, reason: str, next_step: str = ""
) -> ConfigError:
    return located(ConfigError(message, reason=reason, next_step=next_step), f"{file_name}:{line}")
