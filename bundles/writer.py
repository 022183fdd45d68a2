"""Writing a transfer bundle (bundles/README.md, section 1).

Every digest is known before the first byte is written; members are streamed, and
each is hashed again on its way out. The same input gives the same bytes. Making
the file durable, and safe on its medium, is the caller's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from bundles.errors import ContentError, FormatError, UnsupportedError
from bundles.header import HEADER_PATH, MAX_HEADER_BYTES, Header, parse_header, unverified_text
from bundles.manifest import Manifest, Totals
from bundles.manifest_json import MANIFEST_PATH, format_manifest
from bundles.sums import format_sums, verify_layout
from bundles.ustar import (
    BLOCK_BYTES,
    SUMS_PATH,
    TRAILER,
    format_member_header,
    padding_bytes,
    verify_size,
)
from bundles.wrap import Compressor, Wrap, compressor


@dataclass(frozen=True, slots=True)
class Member:
    """A file to put into a transfer bundle, known by its digest before it is read."""

    path: str
    size: int  # bytes
    sha256: bytes  # 32 bytes
    read: Callable[[], bytes]  # called once, when it is this member's turn


@dataclass(frozen=True, slots=True)
class Written:
    """What was written: the bundle, and the file it is in."""

    header: Header
    sha256: bytes  # of the file, wrapping included
    n_bytes: int  # of the file, wrapping included


def totals_of(members: Iterable[Member]) -> Totals:
    """Sum up members, as the manifest has to."""
    sizes = [member.size for member in members]
    return Totals(files=len(sizes), n_bytes=sum(sizes))


def write_bundle(
    out: BinaryIO,
    *,
    manifest: Manifest,
    members: Sequence[Member],
    sign: Callable[[str], bytes],
    wrap: Wrap = Wrap.PLAIN,
    passed: Callable[[int], object] = int,
) -> Written:
    """Write a transfer bundle to `out`, which must take all it is given (buffered).

    `members` stand in archive order and `manifest.totals` is totals_of(members);
    `sign` makes a signed note of a text, `passed` is told of each member's bytes. Raises
    FormatError if names, sizes or order are not allowed, or the note cannot be a header, with
    nothing written;
    ContentError if the totals are others, or a member is not what it promised,
    and then `out` holds the beginning of a file that is worth nothing.
    """
    verify_layout(member.path for member in members)
    totals = totals_of(members)
    if totals != manifest.totals:
        raise ContentError(
            f"{MANIFEST_PATH}: totals are {manifest.totals}, the members make {totals}",
            reason="totals",
        )
    manifest_data = format_manifest(manifest)
    sums = format_sums((member.path, member.sha256) for member in members)
    header = Header(hashlib.sha256(manifest_data).digest(), hashlib.sha256(sums).digest())
    note = _signed(header, sign)
    front = ((HEADER_PATH, note), (MANIFEST_PATH, manifest_data), (SUMS_PATH, sums))
    n_bytes = sum(_archived_bytes(path, len(data)) for path, data in front) + len(TRAILER)
    n_bytes += sum(_archived_bytes(member.path, member.size) for member in members)
    output = _Output(out, compressor(wrap, n_bytes))
    for path, data in front:
        output.write_member(path, data)
    for member in members:
        output.write_member(member.path, _content(member))
        passed(member.size)
    output.write(TRAILER)
    return output.finish(header)


def _signed(header: Header, sign: Callable[[str], bytes]) -> bytes:
    """Have the header signed, and check that a reader will take the note for it."""
    note = sign(str(header))
    if len(note) > MAX_HEADER_BYTES:
        raise UnsupportedError(
            f"header: a note of {len(note)} bytes, at most {MAX_HEADER_BYTES} allowed",
            reason="limit",
        )
    if parse_header(unverified_text(note)) != header:
        raise FormatError("header: what was signed is not the text that was given to sign")
    return note


def _content(member: Member) -> bytes:
    data = member.read()
    if len(data) != member.size:
        raise ContentError(
            f"{member.path}: expected {member.size} bytes, got {len(data)}", reason="size"
        )
    digest = hashlib.sha256(data).digest()
    if digest != member.sha256:
        raise ContentError(
            f"{member.path}: expected SHA-256 {member.sha256.hex()}, got {digest.hex()}"
        )
    return data


def _archived_bytes(path: str, size: int) -> int:
    """How many bytes a member takes up. Raises FormatError if it is too large."""
    verify_size(path, size)
    return BLOCK_BYTES + size + padding_bytes(size)


class _Output:
    """The file being written: compressed, hashed and counted on the way."""

    def __init__(self, out: BinaryIO, wrapping: Compressor) -> None:
        self._out = out
        self._wrapping = wrapping
        self._sha256 = hashlib.sha256()
        self._n_bytes = 0

    def write(self, data: bytes) -> None:
        self._emit(self._wrapping.compress(data))

    def write_member(self, path: str, data: bytes) -> None:
        self.write(format_member_header(path, len(data)))
        self.write(data)
        if n_bytes := padding_bytes(len(data)):
            self.write(bytes(n_bytes))

    def finish(self, header: Header) -> Written:
        self._emit(self._wrapping.flush())
        return Written(header, self._sha256.digest(), self._n_bytes)

    def _emit(self, data: bytes) -> None:
        self._out.write(data)
        self._sha256.update(data)
        self._n_bytes += len(data)
