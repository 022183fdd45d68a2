"""Member headers: deterministic USTAR, one spelling each (bundles/README.md, section 5).

`parse_member_header` reads a path and a size out of 512 bytes, builds the one
header they may have, and compares. So links, devices, owners, times, modes,
pax and GNU extensions, checksums and stray bytes all fall to one comparison.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise
from typing import Final

from bundles.errors import FormatError, UnsupportedError

BLOCK_BYTES: Final = 512
TRAILER: Final = bytes(2 * BLOCK_BYTES)  # exactly this ends the archive
MAX_NAME_BYTES: Final = 100
MAX_MEMBER_BYTES: Final = 64 * 1024 * 1024
SUMS_PATH: Final = "SHA256SUMS"

_SEGMENT: Final = r"(?!\.{1,2}(?:/|\Z))[a-z0-9._-]+"
_PATH: Final = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT})*|{SUMS_PATH}")
_LOG_PREFIX: Final = re.compile(r"(logs/[0-9a-f]{64})/(.*)", re.DOTALL)
_SIZE: Final = re.compile(rb"([0-7]{11})\0")
_MODE_UID_GID: Final = b"0000644\x000000000\x000000000\0"
_MTIME: Final = b"00000000000\0"
_TYPE_TO_DEVICE: Final = (
    (b"0" + bytes(100))  # typeflag: a file; linkname
    + b"ustar\x0000"  # magic, version
    + bytes(64)  # uname, gname
    + b"0000000\x000000000\0"  # devmajor, devminor
)
_FIELDS: Final = (  # name, first byte; each ends where the next begins
    ("name", 0),
    ("mode", 100),
    ("uid", 108),
    ("gid", 116),
    ("size", 124),
    ("mtime", 136),
    ("checksum", 148),
    ("typeflag", 156),
    ("linkname", 157),
    ("magic", 257),
    ("version", 263),
    ("uname", 265),
    ("gname", 297),
    ("devmajor", 329),
    ("devminor", 337),
    ("prefix", 345),
    ("filler", 500),
    ("end", 512),
)


def verify_path(path: str) -> None:
    """Check that `path` may name a member.

    Raises FormatError unless it is SHA256SUMS, or segments of [a-z0-9._-]
    between single slashes, none of them `.` or `..`, short enough for USTAR.
    """
    if not _PATH.fullmatch(path):
        raise FormatError(f"not a member name: {path[:300]!r}", reason="member-name")
    if len(path) <= MAX_NAME_BYTES:
        return  # fits, however it is split
    _, name = _split(path)
    if len(name) > MAX_NAME_BYTES:
        raise FormatError(
            f"member name too long: {path[:300]!r} leaves {len(name)} bytes for the name field, "
            f"at most {MAX_NAME_BYTES} fit",
            reason="member-name",
        )


def verify_size(path: str, size: int) -> None:
    """Raise FormatError unless a member may have `size` bytes."""
    if not 0 <= size <= MAX_MEMBER_BYTES:
        raise UnsupportedError(
            f"{path}: a member of {size} bytes, at most {MAX_MEMBER_BYTES} allowed", reason="limit"
        )


def format_member_header(path: str, size: int) -> bytes:
    """Return the 512 bytes that announce a member of `size` bytes.

    Raises FormatError if no member can have that name or size.
    """
    verify_path(path)
    verify_size(path, size)
    prefix, name = _split(path)
    before_checksum, after_checksum, fixed_sum = _around(prefix, size)
    field = name.encode()
    return b"%b%b%06o\0 %b" % (
        field.ljust(100, b"\0"),
        before_checksum,
        fixed_sum + sum(field),
        after_checksum,
    )


@lru_cache(maxsize=64)  # the tiles of one log have one prefix and one size
def _around(prefix: str, size: int) -> tuple[bytes, bytes, int]:
    """Return what stands before and after the checksum, but for the name, and its sum."""
    before = b"%b%011o\0%b" % (_MODE_UID_GID, size, _MTIME)
    after = _TYPE_TO_DEVICE + prefix.encode().ljust(155, b"\0") + bytes(12)
    return before, after, sum(before) + 8 * ord(" ") + sum(after)


def parse_member_header(block: bytes, position: int) -> tuple[str, int]:
    """Parse the 512 bytes of a member header into (path, size).

    `position` is where in the archive they stand, for the message. Raises
    FormatError unless `block` is the one spelling of its path and size.
    """
    where = f"member header at byte {position}"
    if not any(block):
        raise FormatError(f"{where}: the archive ends where a member was expected")
    try:
        name = block[:100].partition(b"\0")[0].decode("ascii")
        prefix = block[345:500].partition(b"\0")[0].decode("ascii")
    except UnicodeDecodeError as error:
        raise FormatError(f"{where}: the name is not ASCII", reason="member-name") from error
    size = _SIZE.fullmatch(block[124:136])
    if size is None:
        raise FormatError(f"{where}: size field is {block[124:136]!r}, expected 11 octal digits")
    path = f"{prefix}/{name}" if prefix else name
    n_bytes = int(size[1], 8)
    try:
        expected = format_member_header(path, n_bytes)
    except FormatError as error:
        raise FormatError(f"{where}: {error.message}", reason=error.reason) from error
    if block != expected:
        raise FormatError(f"{where} ({path}): {_difference(block, expected)}")
    return path, n_bytes


def padding_bytes(size: int) -> int:
    """Count the zero bytes that fill a member of `size` bytes up to a whole block."""
    return -size % BLOCK_BYTES


def _split(path: str) -> tuple[str, str]:
    """Split a path into the two fields of a header: (prefix, name)."""
    log = _LOG_PREFIX.fullmatch(path)
    return (log[1], log[2]) if log else ("", path)


def _difference(block: bytes, expected: bytes) -> str:
    """Say in which field two different headers first differ, checksum last."""
    differing = [
        (name, block[start:stop], expected[start:stop])
        for (name, start), (_, stop) in pairwise(_FIELDS)
        if block[start:stop] != expected[start:stop]
    ]
    name, got, wanted = min(differing, key=lambda field: field[0] == "checksum")
    return f"{name} field is {_shown(got)}, expected {_shown(wanted)}"


_SHOWN: Final = 40  # characters at each end of a field that a message quotes


def _shown(field: bytes) -> str:
    text = repr(field.rstrip(b"\0"))
    return text if len(text) <= 2 * _SHOWN else f"{text[:_SHOWN]}…{text[-_SHOWN:]}"
