"""An append-only list of lines in which each digest speaks for every line before it.

The journal and the custody record are such lists. It is not a Merkle tree: whoever checks
one reads it from the start, which for what one site does in its life takes a second.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Final

from appliance.tlog.merkle import Hash

START: Final = Hash(bytes(32))  # stands before the first line


def link(previous: Hash, line: bytes) -> Hash:
    """Return the digest of a chain after one more line.

    `previous` is 32 bytes, START for the first line, so no line can be mistaken for part of it.
    """
    return Hash(sha256(previous + line).digest())


def links(lines: Iterable[bytes], previous: Hash = START) -> Iterator[Hash]:
    """Yield the digest after each line."""
    for line in lines:
        previous = link(previous, line)
        yield previous
