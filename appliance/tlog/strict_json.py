"""JSON with one reading: the only JSON loader for bytes somebody else wrote.

Python's own keeps the last of two equal keys, makes values of NaN and 1e999, lets lone
surrogates through, and ends in RecursionError at depth. This one bounds
bytes, values and depth before anything is believed, and raises only MalformedError and
LimitError. It knows no schema.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any, Final, NoReturn

from appliance.errors import LimitError, MalformedError

MAX_JSON_BYTES: Final = 8 * 1024 * 1024
MAX_VALUES: Final = 250_000  # about 100 bytes of memory each
MAX_DEPTH: Final = 64  # a Sigstore bundle has 8, an in-toto predicate rarely 20
_CONTAINERS: Final = (dict, list)
_STR_OVERHEAD: Final = 128
_WHITESPACE: Final = " \t\n\r"


def parse_json(
    raw: bytes, what: str = "JSON", max_bytes: int = MAX_JSON_BYTES, *, trailing: bool = False
) -> Any:
    """Parse one JSON value; `what` names it in messages.

    With `trailing`, whatever follows the first value is ignored, as Rekor's server does.
    Raises LimitError if it is too large, has too many values or is too deep, and
    MalformedError unless it is UTF-8 JSON without repeated keys, infinities or halves
    of surrogate pairs.
    """
    if len(raw) > max_bytes:
        raise LimitError(f"{what}: expected at most {max_bytes} bytes, got {len(raw)}")
    try:
        text = raw.decode("utf-8").strip(_WHITESPACE)
    except UnicodeDecodeError as error:
        raise MalformedError(f"{what}: not UTF-8 at byte {error.start}") from error
    # Python keeps a whole text as wide as its widest character, four bytes for an emoji.
    if text.__sizeof__() > 2 * max_bytes + _STR_OVERHEAD:
        raise LimitError(f"{what}: too large for text with characters beyond U+FFFF")
    if text.count(",") + text.count("{") + text.count("[") > MAX_VALUES:
        raise LimitError(f"{what}: expected at most {MAX_VALUES} values")
    try:
        value, end = _DECODER.raw_decode(text)
    except RecursionError as error:
        raise LimitError(f"{what}: nested deeper than {MAX_DEPTH}") from error
    except ValueError as error:
        raise MalformedError(f"{what}: not JSON: {error}") from error
    if end != len(text) and not trailing:
        raise MalformedError(f"{what}: not JSON: extra data at character {end}")
    _check_depth(value, what)
    if "\\ud" in text or "\\uD" in text:
        _check_surrogates(value, what)
    return value


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
        raise LimitError(f"{what}: nested deeper than {MAX_DEPTH}")


def _check_surrogates(value: Any, what: str) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        raise MalformedError(f"{what}: not JSON: half of a surrogate pair") from error


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
