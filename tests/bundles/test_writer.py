from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import replace

import pytest

from bundles.errors import ContentError, FormatError
from bundles.header import parse_header, unverified_text
from bundles.manifest import Totals
from bundles.wrap import Wrap
from bundles.writer import Member, list_members, write_bundle
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
    write_members,
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
    written = write_members(out, members(FILES), wrap=wrap)
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
    write_members(io.BytesIO(), listed)
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
        write_members(io.BytesIO(), listed)
    assert caught.value.reason == reason


def refused(listed: list[Member], note: bytes | None = None, totals: Totals | None = None) -> str:
    """The message of a refusal that wrote nothing."""
    out = io.BytesIO()
    with pytest.raises((FormatError, ContentError)) as caught:
        write_members(out, listed, totals=totals, note=note)
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
        list_members([])


def test_the_note_is_signed_over_the_header_text() -> None:
    bundle = read(bundle_of(FILES))
    assert parse_header(unverified_text(bundle.note)) == bundle.header


@pytest.mark.parametrize("at", [1, 2])
def test_members_that_are_others_in_a_later_walk(at: int) -> None:
    """They are listed, then named in SHA256SUMS, then written."""
    walks = iter([*[members(FILES)] * at, members(FILES)[:-1], members(FILES)[:-1]])

    class Changing:
        def __iter__(self) -> Iterator[Member]:
            return iter(next(walks))

    changing = Changing()
    listed = list_members(changing)
    manifest = replace(MANIFEST, totals=listed.totals)
    with pytest.raises(ContentError, match="not those that were listed"):
        write_bundle(io.BytesIO(), manifest=manifest, members=changing, listed=listed, sign=sign)
