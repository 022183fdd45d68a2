"""Writing a transfer bundle (bundles/README.md, section 1).

Every digest is known before the first byte is written; members are streamed, and
each is hashed again on its way out. The same input gives the same bytes. Making
the file durable, and safe on its medium, is the caller's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO, Final

from bundles.errors import ContentError, FormatError, UnsupportedError
from bundles.header import HEADER_PATH, MAX_HEADER_BYTES, Header, parse_header, unverified_text
from bundles.manifest import Manifest, Totals
from bundles.manifest_json import MANIFEST_PATH, format_manifest
from bundles.paths import Layout
from bundles.sums import format_sum
from bundles.ustar import (
    BLOCK_BYTES,
    SUMS_PATH,
    TRAILER,
    format_member_header,
    padding_bytes,
    verify_size,
)
from bundles.wrap import Compressor, Wrap, compressor

_LINES: Final = 512  # of SHA256SUMS, written at a time


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


@dataclass(frozen=True, slots=True)
class Listed:
    """What a walk over all members says of them."""

    totals: Totals
    archived_bytes: int  # that they take up
    sums_bytes: int  # of SHA256SUMS
    sums_sha256: bytes


class Lister:
    """Lists members one by one, in archive order, and keeps none of them."""

    def __init__(self) -> None:
        self._layout = Layout()
        self._sums = hashlib.sha256()
        self._n_bytes = self._archived_bytes = self._sums_bytes = 0

    def add(self, member: Member) -> None:
        """List the next; raises FormatError if its name, size or place is not allowed."""
        path, size = member.path, member.size
        self._layout.add(path)
        self._n_bytes += size
        self._archived_bytes += _archived_bytes(path, size)
        line = format_sum(path, member.sha256)
        self._sums.update(line)
        self._sums_bytes += len(line)

    @property
    def occupied_bytes(self) -> int:
        """What those listed so far take up, with their lines in SHA256SUMS."""
        return self._archived_bytes + self._sums_bytes

    def end(self) -> Listed:
        """Return what was listed; raises FormatError if not all of it can stand together."""
        self._layout.end()
        totals = Totals(len(self._layout.numbers), self._n_bytes)
        digest = self._sums.digest()
        return Listed(totals, self._archived_bytes, self._sums_bytes, digest)


def list_members(members: Iterable[Member]) -> Listed:
    """List members; raises FormatError if their names, sizes or order are not allowed."""
    lister = Lister()
    for member in members:
        lister.add(member)
    return lister.end()


def write_bundle(
    out: BinaryIO,
    *,
    manifest: Manifest,
    members: Iterable[Member],
    listed: Listed,
    sign: Callable[[str], bytes],
    wrap: Wrap = Wrap.PLAIN,
    passed: Callable[[int], object] = int,
) -> Written:
    """Write a transfer bundle to `out`, which must take all it is given (buffered).

    `listed` is what list_members says of `members`, and so are `manifest.totals`. They are
    walked twice here and kept by nobody, so an iterator does not do. `sign` makes a signed
    note of a text, `passed` is told of each member's bytes. Raises FormatError if the note
    cannot be a header and ContentError if the totals are others, with nothing written;
    ContentError if the members are not those that were listed, or one is not what it
    promised, and then `out` holds the beginning of a file that is worth nothing.
    """
    if listed.totals != manifest.totals:
        raise ContentError(
            f"{MANIFEST_PATH}: totals are {manifest.totals}, the members make {listed.totals}",
            reason="totals",
        )
    manifest_data = format_manifest(manifest)
    header = Header(hashlib.sha256(manifest_data).digest(), listed.sums_sha256)
    note = _signed(header, sign)
    front = ((HEADER_PATH, note), (MANIFEST_PATH, manifest_data))
    n_bytes = sum(_archived_bytes(path, len(data)) for path, data in front) + len(TRAILER)
    n_bytes += _archived_bytes(SUMS_PATH, listed.sums_bytes) + listed.archived_bytes
    output = _Output(out, compressor(wrap, n_bytes))
    for path, data in front:
        output.write_member(path, data)
    lines = (line for _, line in _again(members, header))
    output.write_lines(SUMS_PATH, listed.sums_bytes, lines)
    for member, _ in _again(members, header):
        output.write_member(member.path, _content(member))
        passed(member.size)
    output.write(TRAILER)
    return output.finish(header)


def _again(members: Iterable[Member], header: Header) -> Iterator[tuple[Member, bytes]]:
    """Walk over members with their lines; raises ContentError if they are not those listed."""
    actual = hashlib.sha256()
    for member in members:
        line = format_sum(member.path, member.sha256)
        actual.update(line)
        yield member, line
    if actual.digest() != header.sums_sha256:
        raise ContentError(f"{SUMS_PATH}: the members are not those that were listed")


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


def occupied_bytes(member: Member) -> int:
    """Return what a member takes up, with its line in SHA256SUMS.

    Raises FormatError if it is too large.
    """
    line = format_sum(member.path, member.sha256)
    return _archived_bytes(member.path, member.size) + len(line)


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

    def write_lines(self, path: str, size: int, lines: Iterator[bytes]) -> None:
        """Write a member of `size` bytes as it is made."""
        self.write(format_member_header(path, size))
        while some := b"".join(islice(lines, _LINES)):
            self.write(some)
        if n_bytes := padding_bytes(size):
            self.write(bytes(n_bytes))

    def finish(self, header: Header) -> Written:
        self._emit(self._wrapping.flush())
        return Written(header, self._sha256.digest(), self._n_bytes)

    def _emit(self, data: bytes) -> None:
        self._out.write(data)
        self._sha256.update(data)
        self._n_bytes += len(data)
