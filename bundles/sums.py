"""SHA256SUMS: the members in order, each with its digest (bundles/README.md, section 4).

The text is what sha256sum(1) writes and checks. The directories a member may
stand in, and their order, are the layout of the format.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from bundles.errors import FormatError
from bundles.ustar import MAX_NAME_BYTES, SUMS_PATH, verify_path

MAX_LINE_BYTES: Final = 64 + 2 + 70 + MAX_NAME_BYTES + 1  # digest, spaces, prefix, name, newline
FIND_AREA: Final = "find"  # needs the capability of the same name
# Top directories, in this order.
AREAS: Final = ("trust", "logs", "pending", "receipts", "acks", FIND_AREA)

_LINE: Final = re.compile(r"([0-9a-f]{64})  ([^\n]+)")


def format_sums(digests: Iterable[tuple[str, bytes]]) -> bytes:
    """Return the SHA256SUMS of members given as (path, digest of 32 bytes), in archive order."""
    sums = bytearray()  # not a list of lines: there may be two million
    for path, digest in digests:
        sums += f"{digest.hex()}  {path}\n".encode()
    return bytes(sums)


def parse_sums(data: bytes) -> dict[str, bytes]:
    """Parse SHA256SUMS into {path: digest}, in archive order.

    Raises FormatError unless every line is as format_sums writes it and the
    paths are allowed, distinct, and in an order a bundle may have.
    """
    try:
        *lines, rest = data.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise FormatError(f"{SUMS_PATH}: not ASCII at its byte {error.start}") from error
    if rest:
        raise FormatError(f"{SUMS_PATH}: the last line is cut short: {rest[:300]!r}")
    paths = []
    digests = []
    for number, line in enumerate(lines, start=1):
        found = _LINE.fullmatch(line)
        if found is None:
            raise FormatError(
                f"{SUMS_PATH}: line {number} is not a digest and a path: {line[:300]!r}"
            )
        digest, path = found.groups()
        paths.append(path)
        digests.append(bytes.fromhex(digest))
    verify_layout(paths)
    return dict(zip(paths, digests, strict=True))


def verify_layout(paths: Iterable[str]) -> None:
    """Check that `paths` may follow SHA256SUMS, in this order.

    Raises FormatError if one is no member name, comes twice, stands in no known
    directory or before one it must follow, or is also the directory of another.
    """
    highest = 0
    in_order = True
    files = set()
    directories = set()
    for path in paths:
        verify_path(path)
        parent, slash, _ = path.rpartition("/")
        area = path.partition("/")[0]
        if not slash or area not in AREAS:
            raise FormatError(
                f"{path} has no place in a transfer bundle: expected it below {', '.join(AREAS)}",
                reason="member-name",
            )
        rank = AREAS.index(area)
        in_order = in_order and rank >= highest
        highest = rank
        if path in files:
            raise FormatError(f"{path} is there twice", reason="member-name")
        files.add(path)
        while parent and parent not in directories:
            directories.add(parent)
            parent = parent.rpartition("/")[0]
    if not in_order:
        raise FormatError(f"members are not in the order {', '.join(AREAS)}", reason="member-order")
    for path in sorted(files & directories):
        raise FormatError(f"{path} is both a member and a directory", reason="member-name")
