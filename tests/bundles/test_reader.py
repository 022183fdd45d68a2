from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, cast

import pytest

from appliance.errors import SignatureError
from appliance.tlog.note import SigningKey, sign_note
from bundles.errors import BundleError, ContentError, FormatError
from bundles.header import Header
from bundles.manifest import Manifest, Totals
from bundles.manifest_json import format_manifest
from bundles.reader import Admit, TransferBundle, peek, read_bundle, stage
from bundles.ustar import TRAILER, format_member_header
from bundles.wrap import Wrap
from tests.bundles.samples import (
    FILES,
    KEY,
    LOG,
    MANIFEST,
    archived,
    bundle_of,
    contents,
    forged,
    open_header,
    padded,
    read,
    signed_front,
)

GOOD = bundle_of(FILES)
TAIL = b"".join(archived(path, data) for path, data in FILES.items())


def test_members_are_found_where_they_stand() -> None:
    bundle = read(GOOD)
    for path, data in FILES.items():
        member = bundle.members[path]
        assert GOOD[member.offset : member.offset + member.size] == data == bundle.read(path)
        assert member.sha256 == hashlib.sha256(data).digest()


def test_the_note_is_kept_byte_for_byte() -> None:
    assert GOOD[512:].startswith(read(GOOD).note)


def test_a_member_that_is_not_there() -> None:
    with pytest.raises(ContentError, match="trust/a is not in this transfer bundle") as caught:
        read(GOOD).read("trust/a")
    assert caught.value.reason == "absent"


def test_sums_that_change_after_they_were_checked_name_nothing() -> None:
    """Paths are not kept: they are read again, and must be what was signed."""
    file = io.BytesIO(GOOD)
    bundle = read_bundle(file, open_header)
    assert list(bundle.members) == list(FILES)
    at = GOOD.index(b"  pending/a.json")
    file.getbuffer()[at + 2 : at + 9] = b"penning"
    with pytest.raises(ContentError, match="SHA256SUMS has changed since it was checked"):
        list(bundle.members)


def test_a_copy_that_changes_after_it_was_checked() -> None:
    file = io.BytesIO(GOOD)
    bundle = read_bundle(file, open_header)
    path = f"{LOG}/checkpoint"
    file.seek(bundle.members[path].offset)
    file.write(b"X")
    with pytest.raises(ContentError, match=f"{path}: expected SHA-256 "):
        bundle.read(path)
    file.truncate(bundle.members["pending/b.json"].offset)
    with pytest.raises(ContentError):
        bundle.read("pending/b.json")


def test_reading_starts_at_the_beginning_of_the_file() -> None:
    file = io.BytesIO(GOOD)
    file.seek(100)
    assert contents(read_bundle(file, open_header)) == FILES


@pytest.mark.parametrize("wrap", Wrap)
def test_staging_copies_unwraps_and_checks_in_one_pass(wrap: Wrap, tmp_path: Path) -> None:
    wrapped = bundle_of(FILES, wrap)
    with (tmp_path / "staged.tar").open("w+b", buffering=100_000) as destination:
        info = stage(io.BytesIO(wrapped), destination, open_header)
        assert (tmp_path / "staged.tar").read_bytes() == GOOD
        assert (info.wrap, info.n_bytes) == (wrap, len(wrapped))
        assert info.sha256 == hashlib.sha256(wrapped).digest()
        assert contents(info.bundle) == FILES
        assert read_bundle(destination, open_header) == info.bundle


class Pipe(io.RawIOBase):
    """A medium that is read forward only, a few bytes at a time."""

    def __init__(self, data: bytes, most: int) -> None:
        self._rest = data
        self._most = most

    def read(self, size: int = -1, /) -> bytes:
        taken = self._rest[: min(size, self._most)]
        self._rest = self._rest[len(taken) :]
        return taken


@pytest.mark.parametrize("wrap", Wrap)
@pytest.mark.parametrize("most", [1, 3, 700])
def test_staging_needs_neither_seeking_nor_long_reads(wrap: Wrap, most: int) -> None:
    source = cast(BinaryIO, Pipe(bundle_of(FILES, wrap), most))
    info = stage(source, io.BytesIO(), open_header)
    assert contents(info.bundle) == FILES


@pytest.mark.parametrize("wrap", Wrap)
def test_a_large_member_is_staged(wrap: Wrap) -> None:
    files = {"acks/a": bytes(range(256)) * 4096, "acks/b": b"\0" * 3_000_000}
    info = stage(io.BytesIO(bundle_of(files, wrap)), io.BytesIO(), open_header)
    assert contents(info.bundle) == files


@pytest.mark.parametrize("wrap", Wrap)
def test_peeking_needs_no_key_and_verifies_nothing(wrap: Wrap) -> None:
    data = bundle_of(FILES, wrap)
    claims = peek(io.BytesIO(data))
    assert (claims.manifest, claims.wrap) == (MANIFEST, wrap)
    assert claims.header == read(GOOD).header
    assert claims.note == read(GOOD).note


def test_peeking_stops_after_the_manifest() -> None:
    end = 512 + 512 + 512 + len(padded(format_manifest(MANIFEST)))
    claims = peek(io.BytesIO(GOOD[:end]))
    assert claims.manifest == MANIFEST
    with pytest.raises(FormatError, match=r"manifest\.json: the archive ends"):
        peek(io.BytesIO(GOOD[: end - 1]))


def test_peeking_sees_that_the_manifest_is_another() -> None:
    other = format_manifest(replace(MANIFEST, site="site-b.example"))
    front = GOOD[:1024] + archived("manifest.json", other)
    with pytest.raises(ContentError, match=r"manifest\.json: expected SHA-256"):
        peek(io.BytesIO(front))


def test_an_unknown_exporter_is_the_callables_to_refuse() -> None:
    stranger = SigningKey("site-z.example", bytes(32))
    front = archived("header", sign_note(str(read(GOOD).header), [stranger]))
    for reading in (read, lambda data: stage(io.BytesIO(data), io.BytesIO(), open_header)):
        with pytest.raises(SignatureError):
            reading(front + GOOD[1024:])


def test_nothing_is_parsed_before_the_header_opens() -> None:
    """A header alone is enough to be refused, whatever follows it."""
    stranger = sign_note("attestor-transfer/v1\n", [SigningKey("z", bytes(32))])
    with pytest.raises(SignatureError):
        read(archived("header", stranger) + b"garbage")


def test_a_manifest_is_not_parsed_before_its_digest_is_right() -> None:
    with pytest.raises(ContentError, match=r"manifest\.json: expected SHA-256"):
        read(GOOD[:1024] + archived("manifest.json", b"[" * 100_000))


def test_the_text_that_was_signed_must_be_a_header() -> None:
    with pytest.raises(FormatError, match="expected the line attestor-transfer/v1"):
        read(archived("header", sign_note("something else\n", [KEY])))


class NotAdmittedError(Exception):
    """What a job raises when a transfer bundle is of no use to it."""


def refusing(seen: list[tuple[Header, Manifest]]) -> Admit:
    def admit(header: Header, manifest: Manifest) -> None:
        seen.append((header, manifest))
        raise NotAdmittedError

    return admit


def test_a_bundle_can_be_refused_before_its_members_are_copied() -> None:
    files = {"acks/a": bytes(4_000_000)}
    data = bundle_of(files)
    seen: list[tuple[Header, Manifest]] = []
    destination = io.BytesIO()
    with pytest.raises(NotAdmittedError):
        stage(io.BytesIO(data), destination, open_header, refusing(seen))
    assert len(destination.getvalue()) < 256 * 1024
    with pytest.raises(NotAdmittedError):
        read_bundle(io.BytesIO(data), open_header, refusing(seen))
    bundle = read(data)
    assert seen == [(bundle.header, bundle.manifest)] * 2


def test_a_bundle_is_admitted_before_it_is_read() -> None:
    def admit(header: Header, manifest: Manifest) -> None:
        del header, manifest

    assert read_bundle(io.BytesIO(GOOD), open_header, admit) == read(GOOD)


def bad(data: bytes) -> BundleError:
    with pytest.raises(BundleError) as caught:
        read(data)
    with pytest.raises(type(caught.value)):
        stage(io.BytesIO(data), io.BytesIO(), open_header)
    return caught.value


def test_totals_count_files_and_bytes() -> None:
    fewer = bad(forged(TAIL, totals=Totals(3, 1273 + 1000)))
    assert isinstance(fewer, ContentError) and fewer.reason == "totals"
    assert "lists 4 files, the manifest says 3" in fewer.message
    short = bad(forged(TAIL, totals=Totals(4, 1274)))
    assert "1 bytes less than the 1274 of the manifest" in short.message
    over = bad(forged(TAIL, totals=Totals(4, 1272)))
    assert over.reason == "limit" and "1025 bytes, at most 1024 allowed here" in over.message


def test_sums_are_bounded_by_the_number_of_files() -> None:
    front = signed_front(format_manifest(replace(MANIFEST, totals=Totals(1, 0))), b"a" * 238)
    error = bad(front)
    assert error.reason == "limit" and "at most 237 allowed here" in error.message


def test_sums_that_are_not_the_signed_ones() -> None:
    start = len(GOOD) - len(TAIL) - len(TRAILER) - 1024
    sums = GOOD[start + 512 : start + 512 + 4]
    assert sums.isalnum()
    error = bad(GOOD[: start + 512] + b"ffff" + GOOD[start + 516 :])
    assert isinstance(error, ContentError) and error.message.startswith("SHA256SUMS: expected")


@pytest.mark.parametrize(
    ("data", "reason", "message"),
    [
        (b"", "truncated", "the file is empty"),
        (b"PK", "malformed", "not a transfer bundle: it begins with b'PK'"),
        (GOOD[:600], "truncated", "header: the archive ends at byte 600, expected"),
        (GOOD[:-1], "truncated", "the end of the archive: .* expected 1 bytes more"),
        (GOOD + b"\0", "trailing-data", f"end of the archive at byte {len(GOOD)}"),
        (GOOD[:-512] + b"\0" * 511 + b"\1", "malformed", "the end of the archive: expected 1024"),
        (forged(TAIL[:-1] + b"\1"), "malformed", r"pending/b.json: expected 511 zero bytes"),
        (forged(TAIL[1024:]), "member-order", "expected logs/.*/checkpoint, got logs/.*/tile"),
        (forged(b""), "malformed", "the archive ends where a member was expected"),
    ],
)
def test_the_message_says_what_and_where(data: bytes, reason: str, message: str) -> None:
    with pytest.raises(FormatError, match=message) as caught:
        stage(io.BytesIO(data), io.BytesIO(), open_header)
    assert caught.value.reason == reason


def test_a_header_member_over_64_kib_is_refused_unread() -> None:
    data = format_member_header("header", 64 * 1024 + 1)
    error = bad(data)
    assert error.reason == "limit" and "header has 65537 bytes, at most 65536" in error.message


def test_bundles_compare_by_what_they_hold() -> None:
    assert isinstance(read(GOOD), TransferBundle)
    assert read(GOOD) == read(GOOD) != read(bundle_of({"acks/a": b""}))
    assert "BytesIO" not in repr(read(GOOD))
