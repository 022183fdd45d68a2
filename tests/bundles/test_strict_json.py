from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundles.errors import FormatError
from bundles.strict_json import MAX_DEPTH, MAX_INTEGER, MAX_VALUES, Fields, format_json, load_json

PRINTABLE = st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp"]), max_size=20)
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | PRINTABLE,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(PRINTABLE, inner, max_size=4),
    max_leaves=20,
)


@given(VALUE)
def test_a_value_survives_its_spelling(value: Any) -> None:
    assert load_json(format_json(value), "f") == value


@given(VALUE, st.integers(0, 3))
def test_another_spelling_is_refused(value: Any, indent: int) -> None:
    text = json.dumps(value, indent=indent, sort_keys=True)
    if text.encode() + b"\n" == format_json(value):
        return
    with pytest.raises(FormatError):
        load_json(text.encode() + b"\n", "f")


@given(st.binary())
def test_any_bytes_load_or_are_malformed(data: bytes) -> None:
    try:
        value = load_json(data, "f")
    except FormatError as error:
        assert error.message.startswith("f: ")
    else:
        assert format_json(value) == data


def test_jq_writes_the_same_bytes() -> None:
    if not shutil.which("jq"):
        pytest.skip("jq is not installed: nothing independent to compare with")
    value = {"b": [1, {"ü": "é 𝄞", "z": None}], "a": {"y": True, "x": '"\\/'}, "": []}
    text = json.dumps(value, indent=3).encode()
    answer = subprocess.run(["jq", "-cS", "."], input=text, capture_output=True, check=True)
    assert answer.stdout == format_json(value)


BAD = {
    "empty": b"",
    "only a newline": b"\n",
    "no newline at the end": b"{}",
    "two newlines at the end": b"{}\n\n",
    "carriage return": b"{}\r\n",
    "space inside": b'{"a": 1}\n',
    "space before": b" {}\n",
    "byte order mark": b"\xef\xbb\xbf{}\n",
    "UTF-16": "{}\n".encode("utf-16"),
    "Latin-1": b'"\xe9"\n',
    "overlong UTF-8": b'"\xc0\x80"\n',
    "surrogate in UTF-8": b'"\xed\xa0\x80"\n',
    "lone surrogate escaped": b'"\\ud800"\n',
    "needless escape": b'"\\u0041"\n',
    "escaped slash": b'"\\/"\n',
    "upper-case escape": b'"\\u00E9"\n',
    "newline in a text": b'"a\\nb"\n',
    "NUL in a text": b'"\\u0000"\n',
    "terminal escape": b'"\\u001b[2J"\n',
    "C1 control": '"\u009b"\n'.encode(),
    "right-to-left override": '"\u202e"\n'.encode(),
    "isolate": '"\u2066"\n'.encode(),
    "line separator": '"\u2028"\n'.encode(),
    "control in a key": b'{"a\\tb":1}\n',
    "control deep inside": b'[[{"a":["\\u007f"]}]]\n',
    "text too long": b'"' + b"a" * 1025 + b'"\n',
    "keys not sorted": b'{"b":1,"a":2}\n',
    "key twice": b'{"a":1,"a":1}\n',
    "key twice inside": b'[{"a":1,"b":2,"a":3}]\n',
    "NaN": b"NaN\n",
    "Infinity": b"[Infinity]\n",
    "minus Infinity": b"[-Infinity]\n",
    "fraction": b"1.0\n",
    "exponent": b"1e3\n",
    "huge exponent": b"1e999\n",
    "minus zero": b"-0\n",
    "leading zero": b"01\n",
    "plus": b"+1\n",
    "2^63": b"9223372036854775808\n",
    "-2^63": b"-9223372036854775808\n",
    "21 digits": b"1" * 21 + b"\n",
    "5,000 digits": b"1" * 5000 + b"\n",
    "trailing comma": b"[1,]\n",
    "two documents": b"{}{}\n",
    "comment": b"{}//\n",
    "single quotes": b"{'a':1}\n",
    "17 levels": b"[" * 17 + b"]" * 17 + b"\n",
    "17 levels of objects": b'{"":' * 17 + b"1" + b"}" * 17 + b"\n",
    "90,000 levels": b"[" * 90_000 + b"]" * 90_000 + b"\n",
    "90,000 levels, open": b'{"a":' * 90_000,
    "too many values": b"[" + b"0," * MAX_VALUES + b"0]\n",
}


@pytest.mark.parametrize("name", BAD)
def test_malformed(name: str) -> None:
    with pytest.raises(FormatError, match=r"^f: "):
        load_json(BAD[name], "f")


def test_16_levels_are_not_too_deep() -> None:
    assert MAX_DEPTH == 16
    load_json(b"[" * 16 + b"]" * 16 + b"\n", "f")


@pytest.mark.parametrize(
    "data",
    [
        b"9223372036854775807\n",
        b"-9223372036854775807\n",
        b'"' + b"a" * 1024 + b'"\n',
        b"[" + b"0," * (MAX_VALUES - 1) + b"0]\n",
    ],
)
def test_the_most_that_is_allowed(data: bytes) -> None:
    assert format_json(load_json(data, "f")) == data


def test_a_field_may_be_as_large_as_an_integer_gets() -> None:
    assert Fields({"a": MAX_INTEGER}, "f").integer("a") == MAX_INTEGER
    with pytest.raises(FormatError):
        Fields({"a": MAX_INTEGER + 1}, "f").integer("a")


def test_a_key_that_stands_twice_is_named() -> None:
    with pytest.raises(FormatError, match="the key 'a' stands twice in one object"):
        load_json(b'{"a":1,"b":2,"a":3}\n', "f")


def test_the_message_says_where_the_spelling_differs() -> None:
    with pytest.raises(FormatError, match=r"at byte 5 expected b'1}\\n', got b' 1}\\n'"):
        load_json(b'{"a": 1}\n', "f")
    with pytest.raises(FormatError, match=r"at byte 2 expected b'\\n', got b''"):
        load_json(b"{}", "f")


@pytest.mark.parametrize(
    ("method", "value"),
    [
        ("integer", True),
        ("integer", -1),
        ("integer", "1"),
        ("integer", None),
        ("integer", []),
        ("text", 1),
        ("text", {}),
        ("text", None),
        ("digest", "ab"),
        ("digest", "AB" * 32),
        ("digest", 7),
        ("time", "2026-01-01"),
        ("time", "2026-01-01T00:00:00+00:00"),
        ("time", "2026-01-01T00:00:00.0Z"),
        ("time", "2026-01-01t00:00:00z"),
        ("time", "2026-02-30T00:00:00Z"),
        ("time", "2026-01-01T23:59:60Z"),
        ("time", "2026-01-01T24:00:00Z"),
        ("time", "1969-12-31T23:59:59Z"),
        ("time", "0000-01-01T00:00:00Z"),
        ("time", "٢٠٢٦-01-01T00:00:00Z"),
        ("time", 0),
        ("time_or_none", 0),
        ("texts", ["a", 1]),
        ("texts", "a"),
    ],
)
def test_a_field_of_the_wrong_type_is_named(method: str, value: object) -> None:
    fields = Fields({"a": value}, "f")
    with pytest.raises(FormatError, match=r"^f\.a: expected .*, got "):
        getattr(fields, method)("a")


@pytest.mark.parametrize("method", ["integer", "text", "digest", "time", "time_or_none", "texts"])
def test_a_missing_field_is_named(method: str) -> None:
    with pytest.raises(FormatError, match=r"^f: a is missing$"):
        getattr(Fields({}, "f"), method)("a")
