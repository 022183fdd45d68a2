"""JSON with one reading: what Python lets through, and what is refused before it costs anything."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import LimitError, MalformedError
from appliance.tlog.strict_json import MAX_DEPTH, MAX_VALUES, parse_json

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"))
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text("ab\u00e9", max_size=3), inner)
)


@given(VALUES, st.booleans())
def test_what_was_written_parses(value: object, ascii_only: bool) -> None:
    raw = json.dumps(value, ensure_ascii=ascii_only).encode()
    assert parse_json(raw) == value
    assert parse_json(b" \t\r\n" + raw + b"\n") == value


@given(
    st.binary(max_size=200) | st.text('{}[]",:\\ud8-+.eE019 truefalsn', max_size=60).map(str.encode)
)
def test_any_bytes_are_json_or_a_typed_error(raw: bytes) -> None:
    for trailing in (False, True):
        try:
            value = parse_json(raw, trailing=trailing)
        except (MalformedError, LimitError):
            continue
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()  # it can be written again


BAD_JSON = {
    "nothing": (b"", "not JSON: Expecting value"),
    "space": (b" \n", "not JSON: Expecting value"),
    "a key twice": (b'{"a":1,"b":2,"a":3}', "key 'a' appears twice in one object"),
    "a later key twice": (b'{"b":1,"a":2,"a":3}', "key 'a' appears twice in one object"),
    "a key twice inside": (b'[{"k":{"b":1,"b":1}}]', "key 'b' appears twice in one object"),
    "a key twice in two spellings": (b'{"a":1,"\\u0061":1}', "key 'a' appears twice in one object"),
    "NaN": (b"[NaN]", "NaN is no JSON value"),
    "Infinity": (b"Infinity", "Infinity is no JSON value"),
    "minus Infinity": (b"-Infinity", "-Infinity is no JSON value"),
    "a float beyond all floats": (b"1e999", "1e999 is no finite number"),
    "half a surrogate pair": (b'"\\ud800"', "half of a surrogate pair"),
    "half a surrogate pair in a key": (b'{"\\uDfff":1}', "half of a surrogate pair"),
    "UTF-16": ('{"a":1}'.encode("utf-16"), "not UTF-8 at byte 0"),
    "a surrogate in UTF-8": (b'"\xed\xa0\x80"', "not UTF-8 at byte 1"),
    "a byte order mark": (b"\xef\xbb\xbf{}", "not JSON"),
    "a no-break space": (b"\xc2\xa0{}", "not JSON"),
    "two values": (b"{} {}", "not JSON: extra data at character 2"),
    "a NUL at the end": (b"{}\0", "not JSON: extra data at character 2"),
    "a trailing comma": (b"[1,]", "not JSON"),
    "single quotes": (b"{'a':1}", "not JSON"),
    "a control character": (b'"a\nb"', "not JSON"),
    "a leading zero": (b"01", "not JSON: extra data"),
    "a comment": (b"{}//", "not JSON: extra data"),
    "cut": (b'{"a":', "not JSON"),
    "an integer of 10,000 digits": (b"9" * 10_000, "not JSON"),
}


@pytest.mark.parametrize("name", BAD_JSON)
def test_what_is_not_json_with_one_reading_is_malformed(name: str) -> None:
    raw, message = BAD_JSON[name]
    with pytest.raises(MalformedError) as caught:
        parse_json(raw, "the request")
    assert caught.value.message.startswith("the request: ")
    assert message in caught.value.message


def test_a_whole_surrogate_pair_is_one_character() -> None:
    assert parse_json(b'"\\ud83c\\udf32"') == "\U0001f332"


def test_what_follows_may_be_ignored_and_is_then_not_judged() -> None:
    assert parse_json(b'{"a":1} and "\\ud800"', trailing=True) == {"a": 1}
    with pytest.raises(MalformedError):
        parse_json(b"and {}", trailing=True)


def test_more_bytes_than_allowed_are_not_read() -> None:
    assert parse_json(b'"1234"', max_bytes=6) == "1234"
    with pytest.raises(LimitError, match="JSON: expected at most 5 bytes, got 6"):
        parse_json(b'"1234"', max_bytes=5)


@pytest.mark.parametrize(("start", "end"), [(b"[", b"]"), (b'{"k":', b"}")])
def test_the_deepest_nesting_allowed_parses_and_one_more_does_not(start: bytes, end: bytes) -> None:
    assert parse_json(start * MAX_DEPTH + b"1" + end * MAX_DEPTH)
    with pytest.raises(LimitError, match="nested deeper than 64"):
        parse_json(start * (MAX_DEPTH + 1) + b"1" + end * (MAX_DEPTH + 1))


@pytest.mark.parametrize("start", [b"[", b'{"k":', b'[{"k":'])
def test_a_hundred_thousand_levels_are_refused_at_once(start: bytes) -> None:
    began = time.perf_counter()
    with pytest.raises((LimitError, MalformedError)):
        parse_json(start * 100_000)
    assert time.perf_counter() - began < 1


def test_too_many_values_are_refused_before_they_are_made() -> None:
    assert len(parse_json(b"[" + b"0," * (MAX_VALUES - 1) + b"0]")) == MAX_VALUES
    with pytest.raises(LimitError, match="expected at most 250000 values"):
        parse_json(b"[" + b"0," * MAX_VALUES + b"0]")


def test_a_long_key_is_cut_in_the_message() -> None:
    key = b'"' + b"k" * 10_000 + b'":1'
    with pytest.raises(MalformedError) as caught:
        parse_json(b"{" + key + b"," + key + b"}")
    assert len(caught.value.message) < 200
    with pytest.raises(MalformedError) as caught:
        parse_json(b"1" + b"0" * 4000 + b".0")
    assert len(caught.value.message) < 200
