"""JSON with one reading."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import ApplianceError, LimitError, MalformedError
from appliance.tlog.strict_json import MAX_DEPTH, MAX_VALUES, parse_json

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(JSON, st.booleans())
def test_what_python_formats_parses_back(value: Any, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    assert parse_json(f" \t\r\n{text}\n".encode()) == value


@given(
    st.binary(max_size=60)
    | st.text(alphabet='[]{}":,0159.eE+-\\udDaA tnf', max_size=40).map(str.encode)
)
def test_anything_else_is_a_typed_error(raw: bytes) -> None:
    try:
        parse_json(raw)
    except (MalformedError, LimitError) as error:
        assert error.reason in ("malformed", "limit")


MALFORMED: dict[str, bytes] = {
    "nothing": b"",
    "white space only": b" \n",
    "a byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": "{}".encode("utf-16"),
    "not UTF-8": b'"\xff"',
    "a repeated key": b'{"a":1,"b":2,"a":1}',
    "a repeated key, spelled differently": b'{"a":1,"\\u0061":2}',
    "a repeated key, nested": b'[{"x":{"a":1,"a":1}}]',
    "NaN": b"NaN",
    "infinity": b"[-Infinity]",
    "a number beyond floats": b"1e999",
    "half a surrogate pair": b'"\\ud800"',
    "half a surrogate pair in a key": b'{"\\uD800x":1}',
    "a control character": b'"\n"',
    "a comment": b"{} // x",
    "two values": b"{} {}",
    "single quotes": b"{'a':1}",
    "a trailing comma": b"[1,]",
    "a leading zero": b"01",
    "a plus": b"+1",
    "full-width digits": "\uff11".encode(),
    "an endless number": b"9" * 5000,
    "another kind of space": "\u00a01".encode(),
}


@pytest.mark.parametrize("name", list(MALFORMED))
def test_what_has_two_readings_or_none_is_malformed(name: str) -> None:
    with pytest.raises(MalformedError, match=r"^thing: not "):
        parse_json(MALFORMED[name], "thing")


def test_a_surrogate_pair_and_an_escaped_backslash_are_text() -> None:
    assert parse_json(b'"\\ud83d\\ude00"') == "\U0001f600"
    assert parse_json(b'"\\\\ud800"') == "\\ud800"


def test_what_follows_the_first_value_may_be_ignored() -> None:
    assert parse_json(b' {"a":1} garbage', trailing=True) == {"a": 1}


def test_a_repeated_key_is_named() -> None:
    with pytest.raises(MalformedError, match="'b' appears twice"):
        parse_json(b'{"a":1,"b":2,"b":3}')


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_depth_is_bounded_exactly(opening: bytes) -> None:
    closing = b"]" if opening == b"[" else b"}"
    parse_json(opening * MAX_DEPTH + b"1" + closing * MAX_DEPTH)
    parse_json(opening * (MAX_DEPTH - 1) + b"[]" + closing * (MAX_DEPTH - 1))
    with pytest.raises(LimitError, match="nested deeper"):
        parse_json(opening * MAX_DEPTH + b"{}" + closing * MAX_DEPTH)
    for depth in (MAX_DEPTH + 1, 990, 100_000):
        with pytest.raises(LimitError, match="nested deeper"):
            parse_json(opening * depth + b"1" + closing * depth)


def test_size_and_number_of_values_are_bounded() -> None:
    with pytest.raises(LimitError, match="at most 5 bytes, got 6"):
        parse_json(b"[1, 2]", max_bytes=5)
    assert len(parse_json(b'"' + "\u2014".encode() * 300 + b'"', max_bytes=1000)) == 300
    with pytest.raises(LimitError, match=r"beyond U\+FFFF"):
        parse_json(b'"' + "\U0001f600".encode() + b"a" * 990 + b'"', max_bytes=1000)
    with pytest.raises(LimitError, match="values"):
        parse_json(b"[" + b"1," * MAX_VALUES + b"1]")


def test_every_failure_is_ours() -> None:
    for raw in MALFORMED.values():
        with pytest.raises(ApplianceError):
            parse_json(raw)
