"""The members of a checked transfer bundle: where each stands, in 75 bytes of memory.

Their paths are not kept: SHA256SUMS, which has them, is read again when they are asked for.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO, Final

from bundles.errors import ContentError
from bundles.paths import PathNumbers
from bundles.sums import PATH_AT
from bundles.ustar import SUMS_PATH

_BLOCK_BYTES: Final = 64 * 1024
_DIGEST_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class MemberRef:
    """Where a member stands in the archive, and what it must be."""

    offset: int  # of its first byte, in the plain archive
    size: int  # bytes
    sha256: bytes  # 32 bytes


@dataclass(frozen=True, slots=True)
class StagedSums:
    """SHA256SUMS in a private copy of the archive, of a digest that was checked."""

    file: BinaryIO
    ref: MemberRef

    def blocks(self) -> Iterator[bytes]:
        """Read it again, piece by piece; whoever else reads or writes `file` goes on undisturbed.

        Raises ContentError at its end if it is not what it was when it was checked.
        """
        actual = hashlib.sha256()
        position, left = self.ref.offset, self.ref.size
        while left:
            back = self.file.tell()
            self.file.seek(position)
            block = self.file.read(min(left, _BLOCK_BYTES))
            self.file.seek(back)
            if not block:
                break
            actual.update(block)
            position += len(block)
            left -= len(block)
            yield block
        if actual.digest() != self.ref.sha256:
            raise ContentError(f"{SUMS_PATH} has changed since it was checked")


class Members(Mapping[str, MemberRef]):
    """What stands where, by path, in archive order."""

    def __init__(self, numbers: PathNumbers, sums: StagedSums) -> None:
        self._numbers = numbers  # of the paths in `sums`
        self._sums = sums
        self._offsets = array("Q")
        self._sizes = array("Q")
        self._digests = bytearray()

    def passed(self, member: MemberRef) -> None:
        """Be told where the next one stands."""
        self._offsets.append(member.offset)
        self._sizes.append(member.size)
        self._digests += member.sha256

    def __len__(self) -> int:
        return len(self._offsets)

    def __contains__(self, path: object) -> bool:
        return isinstance(path, str) and self._numbers.find(path) is not None

    def __getitem__(self, path: str) -> MemberRef:
        number = self._numbers.find(path)
        if number is None:
            raise KeyError(path)
        at = number * _DIGEST_BYTES
        digest = bytes(self._digests[at : at + _DIGEST_BYTES])
        return MemberRef(self._offsets[number], self._sizes[number], digest)

    def __iter__(self) -> Iterator[str]:
        return self.below("")

    def below(self, prefix: str) -> Iterator[str]:
        """Yield the paths that begin so, in archive order."""
        start, rest = prefix.encode(), b""
        for block in self._sums.blocks():
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                if line.startswith(start, PATH_AT):
                    yield line[PATH_AT:].decode()
