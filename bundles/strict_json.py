"""JSON with one spelling for each value (bundles/README.md, section 3).

`load_json` reads what `format_json` writes and nothing else: sorted keys, no
spaces, no escapes that need not be, one newline at the end; no duplicate keys,
no fractions, no NaN. `Fields` takes a JSON object apart by name and type.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from itertools import chain
from typing import Any, Final, NoReturn, TypeVar

from bundles.errors import FormatError, UnsupportedError

T = TypeVar("T")

MAX_INTEGER: Final = 2**63 - 1
MAX_DEPTH: Final = 16  # objects and arrays inside one another
MAX_VALUES: Final = 2**18  # in one document; bounds what parsing may allocate
MAX_TEXT_CHARACTERS: Final = 1024

TIME_SPELLING: Final = "from 1970 on, spelled 2026-01-31T23:59:59Z"
_TIME: Final = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
# No controls, no line or paragraph separators, nothing that turns the direction of
# the text around it, no half characters: what is shown is what was signed.
_PRINTABLE: Final = re.compile("[^\0-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]*")


def format_json(value: Any) -> bytes:
    """Return the one spelling of `value`, in UTF-8. Raises ValueError for what has none."""
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return f"{text}\n".encode()


def load_json(data: bytes, name: str) -> Any:
    """Parse the JSON document `name`.

    Raises FormatError if it is not JSON, nests deeper than MAX_DEPTH, holds more
    than MAX_VALUES values or a text that is too long or does not print, or is not
    spelled as format_json spells it.
    """
    if data.count(b",") + data.count(b"[") + data.count(b"{") > MAX_VALUES:
        raise UnsupportedError(f"{name}: more than {MAX_VALUES} values", reason="limit")
    try:
        value = json.loads(
            data.decode(),
            object_pairs_hook=_unique_keys,
            parse_int=_integer,
            parse_float=_no_number,
            parse_constant=_no_number,
        )
        _verify_value(value, MAX_DEPTH)
    except RecursionError:
        raise FormatError(f"{name}: nested too deep to read", reason="limit") from None
    except ValueError as error:
        raise FormatError(f"{name}: {error}") from error
    expected = format_json(value)
    if data != expected:
        raise FormatError(f"{name}: not in canonical form; {_difference(data, expected)}")
    return value


def format_time(seconds: int) -> str:
    """Return Unix seconds as RFC 3339, in UTC, to the second."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def parse_time(text: str) -> int | None:
    """Read Unix seconds as format_time writes them; None for any other spelling."""
    if _TIME.fullmatch(text):
        with suppress(ValueError):  # the 30th of February
            seconds = int(datetime.fromisoformat(text).timestamp())
            if seconds >= 0:
                return seconds
    return None


def parse_object(value: object, where: str, parse: Callable[[Fields], T]) -> T:
    """Give the fields of a JSON object to `parse`.

    Raises FormatError if `value` is no object, or `parse` leaves a field of it.
    """
    fields = Fields(value, where)
    parsed = parse(fields)
    fields.end()
    return parsed


class Fields:
    """A JSON object, taken apart field by field; `end` refuses what is left over.

    Every method takes the key of a field and raises FormatError, naming the
    field, unless it is there and of the type asked for.
    """

    def __init__(self, value: object, where: str) -> None:
        self.where = where
        if not isinstance(value, dict):
            raise FormatError(f"{where}: expected an object, got {_describe(value)}")
        self._left = dict(value)

    def has(self, key: str) -> bool:
        """Say whether an optional field is there and not yet taken."""
        return key in self._left

    def take(self, key: str) -> Any:
        """Take the value of a field, whatever it is."""
        if key not in self._left:
            raise FormatError(f"{self.where}: {key} is missing")
        return self._left.pop(key)

    def integer(self, key: str) -> int:
        """Take an integer from 0 to 2^63 - 1."""
        value = self.take(key)
        if type(value) is not int or not 0 <= value <= MAX_INTEGER:
            raise self._refused(key, f"an integer from 0 to {MAX_INTEGER}", value)
        return value

    def text(self, key: str) -> str:
        """Take a string."""
        value = self.take(key)
        if not isinstance(value, str):
            raise self._refused(key, "a string", value)
        return value

    def digest(self, key: str) -> bytes:
        """Take 32 bytes, spelled as 64 lower-case hex digits."""
        value = self.text(key)
        if not re.fullmatch("[0-9a-f]{64}", value):
            raise self._refused(key, "64 lower-case hex digits", value)
        return bytes.fromhex(value)

    def time(self, key: str) -> int:
        """Take a time, in Unix seconds; only 2026-01-31T23:59:59Z is a spelling."""
        value = self.text(key)
        seconds = parse_time(value)
        if seconds is None:
            raise self._refused(key, f"a time {TIME_SPELLING}", value)
        return seconds

    def time_or_none(self, key: str) -> int | None:
        """Take a time, or null."""
        return None if self._is_null(key) else self.time(key)

    def record(self, key: str, parse: Callable[[Fields], T]) -> T:
        """Take an object, and give its fields to `parse`, which must take them all."""
        return parse_object(self.take(key), f"{self.where}.{key}", parse)

    def record_or_none(self, key: str, parse: Callable[[Fields], T]) -> T | None:
        """Take an object as above, or null."""
        return None if self._is_null(key) else self.record(key, parse)

    def records(self, key: str, parse: Callable[[Fields], T]) -> tuple[T, ...]:
        """Take an array of objects, each as above."""
        values = enumerate(self._array(key))
        return tuple(parse_object(value, f"{self.where}.{key}[{i}]", parse) for i, value in values)

    def texts(self, key: str) -> tuple[str, ...]:
        """Take an array of strings."""
        values = self._array(key)
        for value in values:
            if not isinstance(value, str):
                raise self._refused(key, "strings only", value)
        return tuple(values)

    def extensions(self) -> dict[str, Any]:
        """Take all that is left and may be: fields whose key starts with `x-`."""
        keys = [key for key in self._left if key.startswith("x-")]
        return {key: self._left.pop(key) for key in keys}

    def end(self) -> None:
        """Refuse what nobody took."""
        for key in self._left:
            raise FormatError(f"{self.where}: unknown field {key[:80]!r}", reason="unknown-field")

    def _array(self, key: str) -> list[Any]:
        value = self.take(key)
        if not isinstance(value, list):
            raise self._refused(key, "an array", value)
        return value

    def _is_null(self, key: str) -> bool:
        if key in self._left and self._left[key] is None:
            del self._left[key]
            return True
        return False

    def _refused(self, key: str, expected: str, value: object) -> FormatError:
        return FormatError(f"{self.where}.{key}: expected {expected}, got {_describe(value)}")


def _describe(value: object) -> str:
    """Name a value for a message, never at length: it may be huge or deep."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "an array"
    return json.dumps(value)[:100]


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique: dict[str, Any] = {}
    for key, value in pairs:
        if key in unique:
            raise ValueError(f"the key {key[:80]!r} stands twice in one object")
        unique[key] = value
    return unique


def _integer(digits: str) -> int:
    # Longer numbers cannot be below 2^63, and int() takes time that grows with the square.
    if len(digits) > 20 or abs(int(digits)) > MAX_INTEGER:
        raise ValueError(f"the number {digits[:30]} does not fit 63 bits")
    return int(digits)


def _no_number(spelling: str) -> NoReturn:
    raise ValueError(f"{spelling[:30]} is not an integer")


def _verify_value(value: Any, levels: int) -> None:
    """Check depth and texts of a parsed value; raises ValueError."""
    if isinstance(value, str):
        if len(value) > MAX_TEXT_CHARACTERS or not _PRINTABLE.fullmatch(value):
            raise ValueError(
                f"the text {value[:80]!r} is longer than {MAX_TEXT_CHARACTERS} characters "
                "or has some that do not print"
            )
    elif isinstance(value, dict | list):
        if levels == 0:
            raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
        children = chain(value, value.values()) if isinstance(value, dict) else value
        for child in children:
            _verify_value(child, levels - 1)


def _difference(data: bytes, expected: bytes) -> str:
    shorter = range(min(len(data), len(expected)))
    at = bisect_left(shorter, True, key=lambda i: data[: i + 1] != expected[: i + 1])
    return f"at byte {at} expected {expected[at : at + 20]!r}, got {data[at : at + 20]!r}"
