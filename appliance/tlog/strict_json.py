"""JSON with one reading: the only JSON loader for bytes somebody else wrote.

Python's own keeps the last of two equal keys, makes values of NaN and 1e999, lets lone
surrogates through, and ends in RecursionError at depth. This one bounds bytes, values and
depth before anything is believed. It raises MalformedError, LimitError, and RefusedError
(text-encoding) for text that is saved in another encoding, as PowerShell does. It knows no
schema.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Collection
from typing import Any, Final, NoReturn

from appliance.errors import LimitError, MalformedError, RefusedError
from appliance.patterns import pattern

MAX_JSON_BYTES: Final = 8 * 1024 * 1024
MAX_VALUES: Final = 250_000  # about 100 bytes of memory each
MAX_DEPTH: Final = 64  # a Sigstore bundle has 8, an in-toto predicate rarely 20
_CONTAINERS: Final = (dict, list)
_STR_OVERHEAD: Final = 128
_WHITESPACE: Final = " \t\n\r"
_SPACE: Final = pattern(r"[ \t\n\r]*")
_WITH_MARK: Final = "UTF-8 with a byte order mark"
# Byte order marks, the longer first.
_MARKS: Final = {
    b"\xef\xbb\xbf": _WITH_MARK,
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
# Text without a mark, in a wider encoding.
_WIDE: Final = (
    (pattern(rb"([\t\r\n -~]\0\0\0){4}"), "UTF-32LE"),
    (pattern(rb"([\t\r\n -~]\0){4}"), "UTF-16LE"),
    (pattern(rb"(\0[\t\r\n -~]){4}"), "UTF-16BE"),
)
# Where an object in more than one line ends, and the next begins: as jq prints several.
_NEXT_OBJECT: Final = pattern(rb"(?<=\n\})[ \t\r]*\n(?=\s*\{)")
# An escaped backslash, a surrogate pair, or in group 1 half of one.
_ESCAPES: Final = (  # compiled when it is first needed
    r"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)


def parse_json(
    raw: bytes,
    what: str = "JSON",
    max_bytes: int = MAX_JSON_BYTES,
    *,
    trailing: bool = False,
) -> Any:
    """Parse one JSON value; `what` names it in messages.

    With `trailing`, whatever follows the first value is ignored, as Rekor's server does.
    Raises LimitError if it is too large, has too many values or is too deep, MalformedError
    unless it is UTF-8 JSON without repeated keys, infinities or halves of surrogate pairs,
    and RefusedError (text-encoding) if it begins with a byte order mark.
    """
    text = _text(raw, what, max_bytes)
    # Python keeps a whole text as wide as its widest character, four bytes for an emoji.
    if text.__sizeof__() > 2 * max_bytes + _STR_OVERHEAD:
        raise LimitError(f"{what}: too large for text with characters beyond U+FFFF")
    if text.count(",") + text.count("{") + text.count("[") > MAX_VALUES:
        raise LimitError(f"{what}: expected at most {MAX_VALUES} values")
    try:
        value, end = _DECODER.raw_decode(text)
    except RecursionError as error:
        raise _too_deep(what) from error
    except ValueError as error:
        raise MalformedError(f"{what}: not JSON: {error}") from error
    if end != len(text) and not trailing:
        raise MalformedError(f"{what}: not JSON: extra data at character {end}")
    _check_depth(value, what)
    _check_surrogates(text if not trailing else text[:end], what)
    return value


def json_lines(raw: bytes) -> list[bytes]:
    """Split JSON Lines of objects; an empty list if `raw` is not more than one of them.

    So are several objects, each in lines of its own, as jq prints what was one a line.
    """
    lines = [line for line in raw.split(b"\n") if line.strip()]
    is_lines = len(lines) > 1 and all(line.lstrip().startswith(b"{") for line in lines)
    if is_lines and _is_whole(lines[0]):
        return lines
    objects = _NEXT_OBJECT.split(raw) if raw.lstrip().startswith(b"{") else []
    return objects if len(objects) > 1 else []


def some_json_lines(raw: bytes) -> list[bytes]:
    """Split what is no JSON, but has lines that seem to be whole objects; else an empty list."""
    lines = [line for line in raw.split(b"\n") if line.strip()]
    is_some = len(lines) > 1 and any(map(_is_whole, lines))
    return lines if is_some else []


def _is_whole(line: bytes) -> bool:
    return line.lstrip().startswith(b"{") and line.rstrip().endswith(b"}")


def parse_members(
    raw: bytes, what: str, names: Collection[str], *, max_bytes: int, max_values: int
) -> dict[str, Any]:
    """Parse one JSON object and return its members of these names; the others are checked.

    They are held to the same rules, but each object of theirs is let go as soon as it is
    read, so that memory stays near the size of the text however many values there are.
    Raises as parse_json does, and MalformedError unless it is an object.
    """
    text = _text(raw, what, max_bytes)
    if text.count(",") + text.count("{") + text.count("[") > max_values:
        raise LimitError(f"{what}: expected at most {max_values} values")
    _check_surrogates(text, what)
    if not text.startswith("{"):
        raise MalformedError(f"{what}: expected an object, got {text[:40]!r}")
    try:
        kept, end = _members(text, names)
    except RecursionError as error:
        raise _too_deep(what) from error
    except ValueError as error:
        raise MalformedError(f"{what}: not JSON: {error}") from error
    except _TooDeep as error:
        raise _too_deep(what) from error
    if end != len(text):
        raise MalformedError(f"{what}: not JSON: extra data at character {end}")
    _check_depth(kept, what)
    return kept


def _members(text: str, names: Collection[str]) -> tuple[dict[str, Any], int]:
    """Read the object at the start of `text`; return the named members and where it ends."""
    members: list[tuple[str, Any]] = []
    position = _skip_space(text, 1)
    while text[position : position + 1] != "}" or members:
        name, position = _DECODER.raw_decode(text, position)
        position = _skip_space(text, position)
        if not isinstance(name, str) or text[position : position + 1] != ":":
            raise ValueError(f"expected a name and ':' before character {position}")
        decoder = _DECODER if name in names else _CHECKER
        value, position = decoder.raw_decode(text, _skip_space(text, position + 1))
        if _depth(value) >= MAX_DEPTH:
            raise _TooDeep
        members.append((name, value if name in names else None))
        position = _skip_space(text, position)
        if text[position : position + 1] != ",":
            break
        position = _skip_space(text, position + 1)
    if text[position : position + 1] != "}":
        raise ValueError(f"expected ',' or '}}' at character {position}")
    return {name: value for name, value in _unique(members).items() if name in names}, position + 1


class _TooDeep(Exception):
    pass


class _Level(int):
    """How deep an object was that was read and let go."""


def _let_go(pairs: list[tuple[str, Any]]) -> _Level:
    _unique(pairs)
    return _LEVELS[min(1 + max((_depth(value) for _, value in pairs), default=0), MAX_DEPTH)]


def _depth(value: Any) -> int:
    if type(value) is _Level:
        return value
    if type(value) is list:
        return 1 + max(map(_depth, value), default=0)
    return 0  # a member that is kept is measured once all are there


def _skip_space(text: str, position: int) -> int:
    found = _SPACE.match(text, position)
    return position if found is None else found.end()


def _text(raw: bytes, what: str, max_bytes: int) -> str:
    if len(raw) > max_bytes:
        raise LimitError(f"{what}: expected at most {max_bytes} bytes, got {len(raw)}")
    check_encoding(raw, what)
    try:
        return raw.decode("utf-8").strip(_WHITESPACE)
    except UnicodeDecodeError as error:
        raise MalformedError(f"{what}: not UTF-8 at byte {error.start}") from error


def check_encoding(raw: bytes, what: str) -> None:
    """Raise RefusedError (text-encoding) for text with a byte order mark, or in wide characters."""
    name = next((name for mark, name in _MARKS.items() if raw.startswith(mark)), "")
    if not name and b"\0" in raw[:2]:
        name = next((name for pattern, name in _WIDE if pattern.match(raw)), "")
    if name:
        step = "tail -c +4 FILE" if name == _WITH_MARK else f"iconv -f {name} -t UTF-8 FILE"
        raise RefusedError(
            f"{what}: it is text in {name}, expected UTF-8 without a byte order mark",
            reason="text-encoding",
            next_step=f"convert it: {step}, or in PowerShell Set-Content -Encoding utf8NoBOM",
        )


def _check_depth(value: Any, what: str) -> None:
    level = [value] if type(value) in _CONTAINERS else []
    for _ in range(MAX_DEPTH):
        if not level:
            return
        level = [
            child
            for one in level
            for child in (one.values() if type(one) is dict else one)
            if type(child) in _CONTAINERS
        ]
    if level:
        raise _too_deep(what)


def _check_surrogates(text: str, what: str) -> None:
    if ("\\ud" in text or "\\uD" in text) and any(one[1] for one in re.finditer(_ESCAPES, text)):
        raise MalformedError(f"{what}: not JSON: half of a surrogate pair")


def _too_deep(what: str) -> LimitError:
    return LimitError(f"{what}: nested deeper than {MAX_DEPTH}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError(f"key {_first_repeated(pairs)[:80]!r} appears twice in one object")
    return fields


def _first_repeated(pairs: list[tuple[str, Any]]) -> str:
    counts = Counter(name for name, _ in pairs)
    return next(name for name, count in counts.items() if count > 1)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:80]} is no finite number")
    return number


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON value")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_unique, parse_float=_finite, parse_constant=_no_constant
)
_CHECKER: Final = json.JSONDecoder(
    object_pairs_hook=_let_go, parse_float=_finite, parse_constant=_no_constant
)
_LEVELS: Final = [_Level(depth) for depth in range(MAX_DEPTH + 1)]
