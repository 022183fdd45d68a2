from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundles.errors import FormatError
from bundles.header import Header, parse_header, unverified_text
from tests.bundles.samples import sign

DIGEST = st.binary(min_size=32, max_size=32)
TEXT = str(Header(bytes(32), bytes([0xAB]) * 32))


@given(DIGEST, DIGEST)
def test_a_header_survives_its_text(manifest: bytes, sums: bytes) -> None:
    header = Header(manifest, sums)
    assert parse_header(str(header)) == header
    assert header.bundle_id == manifest.hex()


def test_the_text_is_the_one_in_the_document() -> None:
    assert f"attestor-transfer/v1\n{'00' * 32}\n{'ab' * 32}\n" == TEXT


@given(st.text())
def test_any_text_parses_or_is_malformed(text: str) -> None:
    with pytest.raises(FormatError):
        parse_header(text)


@pytest.mark.parametrize(
    "text",
    [
        TEXT.removesuffix("\n"),
        TEXT + "\n",
        TEXT + "extension\n",
        TEXT.replace("ab", "AB"),
        TEXT.replace("ab", "a", 1),
        TEXT.replace("\n", "\r\n"),
        " " + TEXT,
        TEXT.replace("00", "\u0660\u0660"),
        TEXT.replace("attestor", "other"),
    ],
)
def test_another_spelling_is_refused(text: str) -> None:
    with pytest.raises(FormatError, match="expected the line attestor-transfer/v1") as caught:
        parse_header(text)
    assert caught.value.reason == "malformed"


def test_a_later_format_is_told_apart() -> None:
    with pytest.raises(FormatError, match="attestor-transfer/v2 is not known here") as caught:
        parse_header(TEXT.replace("/v1", "/v2"))
    assert caught.value.reason == "unknown-version"
    assert caught.value.next_step


def test_digests_have_32_bytes() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Header(bytes(32), bytes(31))
    with pytest.raises(ValueError, match="32 bytes"):
        Header(bytes(33), bytes(32))


def test_the_text_of_a_note_can_be_seen_without_a_key() -> None:
    assert unverified_text(sign(TEXT)) == TEXT


@pytest.mark.parametrize("note", [b"", TEXT.encode(), b"\xff\n\n", b"no empty line\n"])
def test_what_is_no_note_has_no_text(note: bytes) -> None:
    with pytest.raises(FormatError):
        unverified_text(note)
