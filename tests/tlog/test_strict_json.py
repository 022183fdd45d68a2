"""JSON with one reading."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import ApplianceError, LimitError, MalformedError, RefusedError
from appliance.tlog.strict_json import (
    MAX_DEPTH,
    MAX_VALUES,
    json_lines,
    parse_json,
    parse_members,
)

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
    except (MalformedError, RefusedError) as error:
        assert error.reason in ("malformed", "limit", "text-encoding")


MALFORMED: dict[str, bytes] = {
    "nothing": b"",
    "white space only": b" \n",
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


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-8-sig"])
def test_text_in_another_encoding_is_named_with_what_converts_it(encoding: str) -> None:
    raw = "{}".encode(encoding)
    raw = raw if encoding != "utf-16-be" else b"\xfe\xff" + raw
    with pytest.raises(RefusedError, match=r"UTF-16|byte order mark") as caught:
        parse_json(raw, "thing")
    assert caught.value.reason == "text-encoding"
    assert "utf8NoBOM" in caught.value.next_step


def members(raw: bytes, *names: str) -> dict[str, Any]:
    return parse_members(raw, "thing", names, max_bytes=10**7, max_values=10**6)


@given(st.dictionaries(st.text(), JSON, max_size=6), st.booleans())
def test_members_are_those_of_the_object(value: dict[str, Any], ascii_only: bool) -> None:
    raw = f" {json.dumps(value, ensure_ascii=ascii_only)}\n".encode()
    names = list(value)[::2]
    assert members(raw, *names) == {name: value[name] for name in names}


@given(
    st.binary(max_size=60)
    | st.text(alphabet='[]{}":,0159.eE+-\\udDaA tnf', max_size=40).map(str.encode)
)
def test_what_members_takes_is_what_the_whole_parser_takes(raw: bytes) -> None:
    raw = b'{"a":' + raw + b',"b":1}'
    try:
        whole: Any = parse_json(raw)
    except ApplianceError as error:
        whole = type(error)
    try:
        found: Any = members(raw, "b")
    except ApplianceError as error:
        found = type(error)
    assert found == ({"b": whole["b"]} if isinstance(whole, dict) else whole)


@pytest.mark.parametrize(
    "raw",
    [
        *[b"[]", b"7", b"", b"{", b"{}x", b'{"a"}', b'{"a":}', b'{"a":1,}', b'{"a":1 "b":2}'],
        *[b'{"a":1,"a":1}', b'{"x":{"a":1,"a":1}}', b'{"x":[{"a":1,"\\u0061":1}]}', b"{1:1}"],
        *[b'{"x":NaN}', b'{"x":"\\ud800"}', b'{"\\udc00":1}', b'{"x":[1e999]}', b'{"a":1}}'],
    ],
)
def test_members_that_are_let_go_are_held_to_the_same_rules(raw: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_json(raw) if raw not in (b"[]", b"7") else members(raw)
    with pytest.raises(MalformedError):
        members(raw, "other")


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_the_depth_of_what_is_let_go_is_bounded_as_well(opening: bytes) -> None:
    closing = b"]" if opening == b"[" else b"}"

    def nested(depth: int) -> bytes:
        return b'{"x":' + opening * depth + b"1" + closing * depth + b"}"

    for names in ((), ("x",)):
        members(nested(MAX_DEPTH - 1), *names)
        for depth in (MAX_DEPTH, 990, 100_000):
            with pytest.raises(LimitError, match="nested deeper"):
                members(nested(depth), *names)


def test_a_million_values_are_let_go_as_they_are_read() -> None:
    one = json.dumps({"name": "x" * 4, "version": 1, "files": []})
    raw = f'{{"predicate":[{",".join([one] * 250_000)}],"kept":1}}'.encode()
    tracemalloc.start()
    found = parse_members(raw, "thing", ("kept",), max_bytes=10**8, max_values=10**7)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == {"kept": 1}
    assert peak < 3 * len(raw)
    with pytest.raises(LimitError, match="values"):
        parse_members(raw, "thing", (), max_bytes=10**8, max_values=1000)


def test_json_lines_are_more_than_one_object() -> None:
    assert json_lines(b'{"a":1}\n{"b":2}\r\n\n') == [b'{"a":1}', b'{"b":2}\r']
    for raw in (b"", b"{}", b"{}\n", b"[1,\n2]", b'{"a":\n{}\n}', b"{}\n[]"):
        assert json_lines(raw) == []
