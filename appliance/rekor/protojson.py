"""Reading proto3 JSON messages: typed fields with messages that name the path.

A missing field and null are both "unset", unknown fields are ignored unless the caller
refuses them. Two dialects:

    strict     what somebody signed: lowerCamelCase names, standard padded base64 with
               optional line breaks
    lenient    what nobody signed, as Go's protojson reads it (bundles, trusted roots,
               requests): snake_case names too, URL-safe or unpadded base64

64-bit integers are decimal strings or JSON integers, never negative here.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any, Final

from appliance.errors import LimitError, MalformedError
from appliance.tlog.strict_base64 import decode_base64
from appliance.value import frozen

MAX_INT64: Final = 2**63 - 1
_EXACT: Final = 2.0**53  # below it every whole number is a float


@frozen
class Message:
    """One JSON object and where it stands."""

    path: str  # for messages: "bundle.verificationMaterial"
    fields: dict[str, Any]
    lenient: bool = False

    def get(self, name: str) -> Any:
        """Return the raw value of a field, None if it is unset."""
        value = self.fields.get(name)
        if self.lenient:
            other = self.fields.get(_snake_case(name))
            if _snake_case(name) != name and value is not None and other is not None:
                raise MalformedError(f"{self.path}.{name}: given twice")
            value = other if value is None else value
        return value

    def message(self, name: str) -> Message | None:
        """Return a message field, None if it is unset."""
        value = self.get(name)
        return None if value is None else self._child(f"{self.path}.{name}", value)

    def required_message(self, name: str) -> Message:
        """Return a message field; raises MalformedError if it is unset."""
        child = self.message(name)
        if child is None:
            raise MalformedError(f"{self.path}.{name}: missing")
        return child

    def messages(self, name: str, limit: int) -> tuple[Message, ...]:
        """Return a repeated message field; raises LimitError above `limit` elements."""
        path = f"{self.path}.{name}"
        return tuple(
            self._child(f"{path}[{position}]", value)
            for position, value in enumerate(self._list(name, limit))
        )

    def binaries(self, name: str, limit: int) -> tuple[bytes, ...]:
        """Return a repeated bytes field; raises LimitError above `limit` elements."""
        path = f"{self.path}.{name}"
        return tuple(
            self._decode(f"{path}[{position}]", value)
            for position, value in enumerate(self._list(name, limit))
        )

    def text(self, name: str) -> str:
        """Return a string field, empty if it is unset."""
        value = self.get(name)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise self._wrong(name, "a string", value)
        return value

    def required_text(self, name: str) -> str:
        """Return a string field; raises MalformedError if it is unset or empty."""
        value = self.text(name)
        if not value:
            raise MalformedError(f"{self.path}.{name}: missing")
        return value

    def enum(self, name: str, numbers: Mapping[int, str]) -> str:
        """Return the name of an enum field, empty if it is unset.

        The lenient dialect takes its number as well; one without a name stays a number.
        """
        value = self.get(name)
        if self.lenient and type(value) is int:
            return numbers.get(value, str(value))
        return self.text(name)

    def binary(self, name: str) -> bytes:
        """Return a bytes field, empty if it is unset."""
        value = self.get(name)
        return b"" if value is None else self._decode(f"{self.path}.{name}", value)

    def required_binary(self, name: str) -> bytes:
        """Return a bytes field; raises MalformedError if it is unset or empty."""
        value = self.binary(name)
        if not value:
            raise MalformedError(f"{self.path}.{name}: missing")
        return value

    def integer(self, name: str) -> int:
        """Return an int64 field, 0 if it is unset; raises MalformedError if negative.

        The lenient dialect takes a whole number with a fraction of zero, 3.0, as well.
        """
        value = self.get(name)
        if value is None:
            return 0
        if self.lenient and type(value) is float and value.is_integer() and value < _EXACT:
            value = int(value)
        if isinstance(value, str) and re.fullmatch("0|[1-9][0-9]{0,18}", value):
            value = int(value)
        if type(value) is not int or not 0 <= value <= MAX_INT64:
            raise self._wrong(name, "an integer from 0 to 2^63-1", value)
        return value

    def only_of(self, *names: str) -> str:
        """Return which member of a oneof is set; raises MalformedError unless exactly one is."""
        given = [name for name in names if self.get(name) is not None]
        if len(given) != 1:
            got = " and ".join(given) or "none"
            raise MalformedError(f"{self.path}: expected one of {', '.join(names)}, got {got}")
        return given[0]

    def refuse_unknown(self, known: Collection[str]) -> None:
        """Raise MalformedError if a field is not in `known` (lowerCamelCase names)."""
        names = {*known, *map(_snake_case, known)}
        for name in self.fields:
            if name not in names:
                raise MalformedError(f"{self.path}: unknown field {name[:80]!r}")

    def _child(self, path: str, value: Any) -> Message:
        if not isinstance(value, dict):
            raise MalformedError(f"{path}: expected an object, got {_kind(value)}")
        return Message(path, value, self.lenient)

    def _list(self, name: str, limit: int) -> list[Any]:
        value = self.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self._wrong(name, "an array", value)
        if len(value) > limit:
            raise LimitError(f"{self.path}.{name}: expected at most {limit}, got {len(value)}")
        return value

    def _decode(self, path: str, value: Any) -> bytes:
        if not isinstance(value, str):
            raise MalformedError(f"{path}: expected base64, got {_kind(value)}")
        text = value.replace("\n", "").replace("\r", "")
        if self.lenient:
            text = text.replace("-", "+").replace("_", "/")
            text += "=" * (-len(text) % 4)
        return decode_base64(text, path)

    def _wrong(self, name: str, expected: str, value: Any) -> MalformedError:
        return MalformedError(f"{self.path}.{name}: expected {expected}, got {_kind(value)}")


def top_message(value: Any, path: str, *, lenient: bool = False) -> Message:
    """Take a parsed JSON value for a message; raises MalformedError unless it is an object."""
    if not isinstance(value, dict):
        raise MalformedError(f"{path}: expected an object, got {_kind(value)}")
    return Message(path, value, lenient)


@lru_cache(maxsize=512)  # names of fields, which the code has; a third of reading a request
def _snake_case(name: str) -> str:
    return re.sub("[A-Z]", lambda letter: "_" + letter.group().lower(), name)


def _kind(value: Any) -> str:
    names: dict[type, str] = {
        dict: "an object",
        list: "an array",
        bool: "true or false",
        type(None): "null",
    }
    if isinstance(value, str):
        return repr(value[:80])
    return names.get(type(value)) or str(value)[:80]
