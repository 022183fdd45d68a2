"""Reading a transfer bundle (bundles/README.md, sections 5 to 7).

One strict pass, in which each part is believed only as far as the part before
it vouches for it: signature -> header -> manifest.json and SHA256SUMS -> every
member. Nothing is ever extracted, and no name in the archive becomes a path.
Whether the exporters are known, and whether the bundle is any use here, is for
the callables and the caller to say.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import BinaryIO

from bundles.errors import ContentError, FormatError, UnsupportedError
from bundles.header import HEADER_PATH, MAX_HEADER_BYTES, Header, parse_header, unverified_text
from bundles.manifest import Manifest, Totals
from bundles.manifest_json import (
    CONSISTENCY,
    FIND,
    MANIFEST_PATH,
    MAX_MANIFEST_BYTES,
    parse_manifest,
)
from bundles.members import MemberRef, Members, StagedSums
from bundles.paths import FIND_AREA, Layout
from bundles.stream import Cursor
from bundles.sums import MAX_LINE_BYTES, parse_sums
from bundles.ustar import (
    BLOCK_BYTES,
    MAX_MEMBER_BYTES,
    SUMS_PATH,
    TRAILER,
    padding_bytes,
    parse_member_header,
)
from bundles.wrap import CHUNK_BYTES, Source, Wrap, unwrap

OpenHeader = Callable[[bytes], str]  # a signed note -> its text, once signatures suffice
Admit = Callable[[Header, Manifest], None]  # raises to refuse a bundle before its members
Passed = Callable[["MemberRef"], None]  # told of each member that was copied and checked


@dataclass(frozen=True, slots=True)
class TransferBundle:
    """A transfer bundle of which every byte has been checked.

    Reads from the file it was read from, which must stay open and is moved about
    in: not for several threads at once.
    """

    note: bytes  # the signed header, byte for byte
    header: Header
    manifest: Manifest
    members: Members  # by path, in archive order
    _file: BinaryIO = field(repr=False, compare=False)

    def paths(self) -> tuple[str, ...]:
        """The paths of all members after SHA256SUMS, in archive order."""
        return tuple(self.members)

    def read(self, path: str) -> bytes:
        """Return the bytes of one member, hashed again now.

        Raises ContentError, reason "absent", if there is none of that name, and
        reason "digest" if the file has changed since the bundle was checked.
        """
        member = self.members.get(path)
        if member is None:
            raise ContentError(f"{path} is not in this transfer bundle", reason="absent")
        self._file.seek(member.offset)
        data = self._file.read(member.size)
        _verify_digest(path, hashlib.sha256(data).digest(), member.sha256)
        return data


@dataclass(frozen=True, slots=True)
class StagedInfo:
    """A file that was copied once from its medium, and checked on the way."""

    sha256: bytes  # of the file on the medium, wrapping included
    n_bytes: int  # of the file on the medium, wrapping included
    wrap: Wrap
    bundle: TransferBundle  # reads from the copy


@dataclass(frozen=True, slots=True)
class Claims:
    """What a file says it is. Nobody's signature has been checked: not verified."""

    note: bytes  # the header, byte for byte, signatures not looked at
    header: Header
    manifest: Manifest
    wrap: Wrap


def read_bundle(
    file: BinaryIO, open_header: OpenHeader, admit: Admit | None = None
) -> TransferBundle:
    """Check a plain archive in a private local file from its first to its last byte.

    `admit` is called once manifest.json is authenticated, before SHA256SUMS is
    read. Raises FormatError or ContentError for bytes that are not a plain
    transfer bundle, and whatever the callables raise.
    """
    file.seek(0)
    chunks = iter(partial(file.read, CHUNK_BYTES), b"")
    return _read(Cursor(chunks), file, open_header, admit)


def stage(
    source: BinaryIO,
    destination: BinaryIO,
    open_header: OpenHeader,
    admit: Admit | None = None,
    passed: Passed | None = None,
    taken: Callable[[int], object] = int,
) -> StagedInfo:
    """Copy a transfer bundle off its medium, unwrapped, and check it in the same pass.

    `source` is read once, forward, to its end. `destination` is an empty private
    file open for reading and writing, buffered; it is flushed here, and synced by
    the caller. At most 17 MiB are inflated before manifest.json is authenticated,
    and what its totals allow after. `passed` is told of members while those after
    them may still be anything, `taken` of bytes that came off the medium. Raises what
    `read_bundle` raises; then `destination` holds nothing that may be used.
    """
    medium = Source(source, taken)
    wrap, chunks = unwrap(medium)
    cursor = Cursor(_copied(chunks, destination))
    bundle = _read(cursor, destination, open_header, admit, passed)
    destination.flush()
    return StagedInfo(medium.sha256, medium.n_bytes, wrap, bundle)


def peek(file: BinaryIO) -> Claims:
    """Say what a file claims to be, wrapped or not, without believing it.

    Reads header and manifest.json only. Raises FormatError if they are not
    there, ContentError if the header does not name this manifest.json.
    """
    wrap, chunks = unwrap(Source(file))
    note, header, manifest = _front(Cursor(chunks), unverified_text)
    return Claims(note, header, manifest, wrap)


def peek_members(file: BinaryIO, is_wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """Yield path and bytes of the members that are wanted, as the file has them; not verified.

    Nothing is read behind the last of them. Raises what `peek` raises, and FormatError or
    ContentError where the file is not what its own SHA256SUMS says.
    """
    _, chunks = unwrap(Source(file))
    cursor = Cursor(chunks)
    _, header, manifest = _front(cursor, unverified_text)
    sums = _whole_member(cursor, SUMS_PATH, _max_sums_bytes(manifest.totals))
    _verify_digest(SUMS_PATH, hashlib.sha256(sums).digest(), header.sums_sha256)
    digests = dict(_laid_out([sums], Layout()))
    left = sum(map(is_wanted, digests))
    for path, digest in digests.items():
        if not left:
            return
        size = _next_member(cursor, path, MAX_MEMBER_BYTES)
        if is_wanted(path):
            data = cursor.take(size, path)
            _verify_digest(path, hashlib.sha256(data).digest(), digest)
            left -= 1
            yield path, data
        else:
            for _ in cursor.pieces(size, path):
                pass
        cursor.take_zeros(padding_bytes(size), path)


def _read(
    cursor: Cursor,
    file: BinaryIO,
    open_header: OpenHeader,
    admit: Admit | None,
    passed: Passed | None = None,
) -> TransferBundle:
    note, header, manifest = _front(cursor, open_header)
    if admit is not None:
        admit(header, manifest)
    sums = _sums(cursor, file, manifest.totals, header.sums_sha256)
    members = _listed(sums, manifest)
    for member in _members(cursor, sums, manifest.totals):
        members.passed(member)
        if passed is not None:
            passed(member)
    cursor.take_zeros(len(TRAILER), "the end of the archive")
    cursor.end()
    return TransferBundle(note, header, manifest, members, file)


def _sums(cursor: Cursor, file: BinaryIO, totals: Totals, digest: bytes) -> StagedSums:
    """Pass over SHA256SUMS, which is read again from `file`: once its digest is right."""
    size = _next_member(cursor, SUMS_PATH, _max_sums_bytes(totals))
    member = MemberRef(cursor.position, size, digest)
    actual = _digest_of_next(cursor, size, SUMS_PATH)
    cursor.take_zeros(padding_bytes(size), SUMS_PATH)
    _verify_digest(SUMS_PATH, actual, digest)
    return StagedSums(file, member)


def _listed(sums: StagedSums, manifest: Manifest) -> Members:
    """Check the paths before anything is read that they name."""
    layout = Layout()
    for path, _ in _laid_out(sums.blocks(), layout):
        _verify_required(path, manifest)
    n_files = len(layout.numbers)
    if n_files != manifest.totals.files:
        raise ContentError(
            f"{SUMS_PATH} lists {n_files} files, the manifest says {manifest.totals.files}",
            reason="totals",
        )
    return Members(layout.numbers, sums)


def _laid_out(blocks: Iterable[bytes], layout: Layout) -> Iterator[tuple[str, bytes]]:
    """Yield path and digest of each line of SHA256SUMS, its paths as they may be together."""
    for path, digest in parse_sums(blocks):
        layout.add(path)
        yield path, digest
    layout.end()


def _max_sums_bytes(totals: Totals) -> int:
    return min(totals.files * MAX_LINE_BYTES, MAX_MEMBER_BYTES)


def _verify_required(path: str, manifest: Manifest) -> None:
    """Check that what an older reader must not drop unseen is required of it."""
    needs = FIND if path.startswith(f"{FIND_AREA}/") else None
    if path.startswith("logs/") and path.endswith(f"/{CONSISTENCY}"):
        needs = CONSISTENCY
    if needs is not None and needs not in manifest.requires:
        raise FormatError(
            f"{MANIFEST_PATH}: it does not require {needs}, and {path} is a member",
            reason="member-name",
        )


def _front(cursor: Cursor, open_header: OpenHeader) -> tuple[bytes, Header, Manifest]:
    """Read what tells whether to go on; nothing is parsed before its digest is right."""
    note = _whole_member(cursor, HEADER_PATH, MAX_HEADER_BYTES)
    header = parse_header(open_header(note))
    data = _whole_member(cursor, MANIFEST_PATH, MAX_MANIFEST_BYTES)
    _verify_digest(MANIFEST_PATH, hashlib.sha256(data).digest(), header.manifest_sha256)
    return note, header, parse_manifest(data)


def _members(cursor: Cursor, sums: StagedSums, totals: Totals) -> Iterator[MemberRef]:
    """Pass over all members after SHA256SUMS, checking each before it is yielded."""
    left = totals.n_bytes
    for path, digest in parse_sums(sums.blocks()):
        size = _next_member(cursor, path, min(left, MAX_MEMBER_BYTES))
        member = MemberRef(cursor.position, size, digest)
        actual = _digest_of_next(cursor, size, path)
        cursor.take_zeros(padding_bytes(size), path)
        _verify_digest(path, actual, digest)
        left -= size
        yield member
    if left:
        raise ContentError(
            f"the members have {left} bytes less than the {totals.n_bytes} of the manifest",
            reason="totals",
        )


def _digest_of_next(cursor: Cursor, size: int, path: str) -> bytes:
    if size <= CHUNK_BYTES:  # a tile: in one go
        return hashlib.sha256(cursor.take(size, path)).digest()
    actual = hashlib.sha256()
    for piece in cursor.pieces(size, path):
        actual.update(piece)
    return actual.digest()


def _whole_member(cursor: Cursor, path: str, max_bytes: int) -> bytes:
    size = _next_member(cursor, path, max_bytes)
    data = cursor.take(size, path)
    cursor.take_zeros(padding_bytes(size), path)
    return data


def _next_member(cursor: Cursor, path: str, max_bytes: int) -> int:
    """Read the header of the member that must come next; return its size."""
    position = cursor.position
    found, size = parse_member_header(cursor.take(BLOCK_BYTES, path), position)
    if found != path:
        raise FormatError(
            f"member at byte {position}: expected {path}, got {found}", reason="member-order"
        )
    if size > max_bytes:
        raise UnsupportedError(
            f"{path} has {size} bytes, at most {max_bytes} allowed here", reason="limit"
        )
    return size


def _verify_digest(path: str, actual: bytes, expected: bytes) -> None:
    if actual != expected:
        raise ContentError(f"{path}: expected SHA-256 {expected.hex()}, got {actual.hex()}")


def _copied(chunks: Iterator[bytes], destination: BinaryIO) -> Iterator[bytes]:
    for chunk in chunks:
        destination.write(chunk)
        yield chunk
