"""The one renderer from values to JSON: names, times, bytes, paths and words, by one rule each.

A report is a frozen value. Its fields become members in camelCase, by the rules of
docs/json.md: Unix seconds are RFC 3339, bytes are lower-case hex, an enumeration is its word,
a range is its two ends, and what is not known is null.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, Final

from appliance.times import utc
from appliance.value import field_names, is_value

# Whole numbers of these names are Unix seconds; so are all whose name ends in _at.
_TIMES: Final = frozenset(
    {
        *("at", "since", "created", "started", "ended", "first_seen", "last_sync"),
        *("last_attempt", "last_success", "failing_since", "not_before", "expires", "oldest"),
        *("newest", "clock", "now", "valid_from", "valid_until"),
    }
)
# What a field is called in JSON, where that is not its own name.
_NAMES: Final = {"n_bytes": "bytes", "entry_index": "index", "next_step": "next"}


def members(value: object = None, *names: str, **others: object) -> dict[str, Any]:
    """Return a JSON object: the named fields of a value, or all of them, then `others`.

    A trailing underscore keeps a name apart from Python's own words: from_ is "from".
    """
    if value is not None and not names:
        names = field_names(type(value))
    found = {name: getattr(value, name) for name in names} | others
    return {_member(name): _json(one, name) for name, one in found.items()}


def json_value(value: object) -> Any:
    """Return a value as JSON has it; raises TypeError for what has no form there."""
    return _json(value, "")


def _member(name: str) -> str:
    first, *rest = _NAMES.get(name, name).rstrip("_").split("_")
    return first + "".join(part.capitalize() for part in rest)


def _json(value: object, name: str) -> Any:
    if value is None or isinstance(value, bool | str | float):
        return value.value if isinstance(value, enum.Enum) else value
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, int):
        return utc(value) if name in _TIMES or name.endswith("_at") else value
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, range):
        return [value.start, value.stop]
    if isinstance(value, Mapping):
        return {key: _json(one, "") for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_json(one, "") for one in value]
    if is_value(value):
        return members(value)
    raise TypeError(f"{name or 'a value'}: {type(value).__name__} has no form in JSON")
