"""Adding a signature to a transfer bundle: another header, and everything else as it was.

The header is the one member that a signature changes (bundles/README.md, section 2). All that it
pins is copied byte for byte, and checked on the way; so the bundle id stays, and the
digest of the file does not.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from functools import partial
from typing import BinaryIO

from bundles.errors import FormatError, UnsupportedError
from bundles.header import HEADER_PATH, MAX_HEADER_BYTES
from bundles.reader import OpenHeader, StagedInfo, stage
from bundles.ustar import BLOCK_BYTES, format_member_header, padding_bytes
from bundles.wrap import CHUNK_BYTES, compressor
from bundles.writer import Written


def countersign(
    source: BinaryIO,
    copy: BinaryIO,
    out: BinaryIO,
    open_header: OpenHeader,
    add: Callable[[bytes, StagedInfo], bytes],
) -> Written:
    """Write to `out` the transfer bundle in `source` with the header note that `add` returns.

    `copy` is an empty private file; `add` is called once every byte is checked, with the
    header note as it was. Raises what `stage` raises, and FormatError if the new note is
    too large or signs another text.
    """
    staged = stage(source, copy, open_header)
    note = add(staged.bundle.note, staged)
    if len(note) > MAX_HEADER_BYTES:
        raise UnsupportedError(
            f"header: a note of {len(note)} bytes, at most {MAX_HEADER_BYTES} allowed",
            reason="limit",
        )
    if note.partition(b"\n\n")[0] != staged.bundle.note.partition(b"\n\n")[0]:
        raise FormatError("header: what was signed is not the text that was there")
    old = staged.bundle.note
    front = format_member_header(HEADER_PATH, len(note)) + note + bytes(padding_bytes(len(note)))
    old_front = BLOCK_BYTES + len(old) + padding_bytes(len(old))
    n_plain = copy.seek(0, io.SEEK_END) - old_front + len(front)
    copy.seek(old_front)
    wrapping = compressor(staged.wrap, n_plain)
    digest = hashlib.sha256()
    n_bytes = 0
    for piece in _wrapped(wrapping.compress, wrapping.flush, front, copy):
        out.write(piece)
        digest.update(piece)
        n_bytes += len(piece)
    return Written(staged.bundle.header, digest.digest(), n_bytes)


def _wrapped(
    compress: Callable[[bytes], bytes], flush: Callable[[], bytes], front: bytes, rest: BinaryIO
) -> Iterator[bytes]:
    yield compress(front)
    for chunk in iter(partial(rest.read, CHUNK_BYTES), b""):
        yield compress(chunk)
    yield flush()
