from __future__ import annotations

import hashlib
import io
from dataclasses import replace

import pytest

from bundles.errors import ContentError, FormatError
from bundles.header import parse_header, unverified_text
from bundles.manifest import Totals
from bundles.wrap import Wrap
from bundles.writer import Member, totals_of, write_bundle
from tests.bundles.samples import (
    FILES,
    MANIFEST,
    archived,
    bundle_of,
    contents,
    forged,
    members,
    read,
    sign,
)


def test_what_is_written_is_read_back() -> None:
    bundle = read(bundle_of(FILES))
    assert contents(bundle) == FILES
    assert bundle.paths() == tuple(FILES)
    assert bundle.manifest == MANIFEST


@pytest.mark.parametrize("wrap", Wrap)
def test_the_same_input_gives_the_same_bytes(wrap: Wrap) -> None:
    assert bundle_of(FILES, wrap) == bundle_of(FILES, wrap)


def test_the_bytes_are_those_put_together_by_hand() -> None:
    by_hand = forged(b"".join(archived(path, data) for path, data in FILES.items()))
    assert bundle_of(FILES) == by_hand


@pytest.mark.parametrize("wrap", Wrap)
def test_the_answer_describes_the_file(wrap: Wrap) -> None:
    out = io.BytesIO()
    written = write_bundle(out, manifest=MANIFEST, members=members(FILES), sign=sign, wrap=wrap)
    assert written.n_bytes == len(out.getvalue())
    assert written.sha256 == hashlib.sha256(out.getvalue()).digest()
    assert written.header == read(bundle_of(FILES)).header


def test_each_member_is_read_once_and_in_order() -> None:
    asked = []

    def reading(member: Member) -> Member:
        def read_it() -> bytes:
            asked.append(member.path)
            return FILES[member.path]

        return replace(member, read=read_it)

    listed = [reading(member) for member in members(FILES)]
    write_bundle(io.BytesIO(), manifest=MANIFEST, members=listed, sign=sign)
    assert asked == list(FILES)


@pytest.mark.parametrize(
    ("data", "reason", "message"),
    [
        (b"y" * 1025, "digest", "pending/b.json: expected SHA-256 [0-9a-f]{64}, got [0-9a-f]{64}"),
        (b"x" * 1024, "size", "pending/b.json: expected 1025 bytes, got 1024"),
        (b"x" * 1026, "size", "pending/b.json: expected 1025 bytes, got 1026"),
    ],
)
def test_a_member_that_is_not_what_it_promised(data: bytes, reason: str, message: str) -> None:
    *good, last = members(FILES)
    listed = [*good, replace(last, read=lambda: data)]
    with pytest.raises(ContentError, match=message) as caught:
        write_bundle(io.BytesIO(), manifest=MANIFEST, members=listed, sign=sign)
    assert caught.value.reason == reason


def refused(listed: list[Member], note: bytes | None = None, totals: Totals | None = None) -> str:
    """The message of a refusal that wrote nothing."""
    out = io.BytesIO()
    manifest = replace(MANIFEST, totals=totals or totals_of(listed))
    with pytest.raises((FormatError, ContentError)) as caught:
        write_bundle(out, manifest=manifest, members=listed, sign=lambda text: note or sign(text))
    assert out.getvalue() == b""
    return caught.value.message


def test_totals_must_be_right() -> None:
    assert "totals are" in refused(members(FILES), totals=Totals(4, 1))


def test_members_must_have_a_place_and_an_order() -> None:
    assert "is there twice" in refused(members({"acks/a": b""}) * 2)
    assert "not in the order" in refused(members({"acks/a": b"", "trust/a": b""}))
    assert "has no place" in refused(members({"header": b""}))
    assert "not a member name" in refused(members({"acks/A": b""}))


def test_a_member_may_not_be_too_large() -> None:
    large = Member("acks/a", 64 * 1024 * 1024 + 1, bytes(32), bytes)
    assert "acks/a: a member of 67108865 bytes" in refused([large])


def test_the_signed_note_must_be_of_our_text() -> None:
    other = f"attestor-transfer/v1\n{'00' * 32}\n{'00' * 32}\n"
    assert "not the text that was given" in refused(members(FILES), note=sign(other))


def test_the_signed_note_must_fit() -> None:
    assert "a note of 65537 bytes" in refused(members(FILES), note=bytes(64 * 1024 + 1))
    assert "not a signed note" in refused(members(FILES), note=bytes(64 * 1024))


def test_a_bundle_of_nothing_is_not_written() -> None:
    with pytest.raises(ValueError, match="0 files"):
        totals_of([])


def test_the_note_is_signed_over_the_header_text() -> None:
    bundle = read(bundle_of(FILES))
    assert parse_header(unverified_text(bundle.note)) == bundle.header
