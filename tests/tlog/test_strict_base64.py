"""Base64 with one spelling a value."""

from __future__ import annotations

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import MalformedError
from appliance.tlog.strict_base64 import decode_base64


@given(st.binary(max_size=200))
def test_what_was_encoded_decodes(raw: bytes) -> None:
    assert decode_base64(b64encode(raw).decode()) == raw


@given(st.text(max_size=40) | st.text(alphabet="ABab01+/=", max_size=12))
def test_any_text_decodes_to_what_encodes_to_it_or_is_malformed(text: str) -> None:
    try:
        raw = decode_base64(text)
    except MalformedError:
        return
    assert b64encode(raw).decode() == text


@pytest.mark.parametrize(
    "text",
    [
        *["Q", "QQ", "QQ=", "QR==", "QQ===", "QQ==QQ==", "QQ==x", "=", "==", "-_=="],
        *["QQ==\n", " QQ==", "Q Q==", "QUJ\x00"],
        *["Q\N{ARABIC-INDIC DIGIT ONE}==", "\N{FULLWIDTH LATIN CAPITAL LETTER Q}Q=="],
    ],
)
def test_every_other_spelling_is_rejected(text: str) -> None:
    with pytest.raises(MalformedError):
        decode_base64(text)


@pytest.mark.parametrize(
    ("text", "problem"), [("Q", "not base64: 'Q'"), ("QR==", "not canonical base64: 'QR=='")]
)
def test_the_message_names_the_thing(text: str, problem: str) -> None:
    with pytest.raises(MalformedError) as caught:
        decode_base64(text, "root hash")
    assert caught.value.message == f"root hash: {problem}"


def test_a_long_text_is_cut_in_the_message() -> None:
    with pytest.raises(MalformedError) as caught:
        decode_base64("?" * 10_000)
    assert len(caught.value.message) < 200
