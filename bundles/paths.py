"""Paths of members, checked and numbered without being kept: there may be millions.

The directories they may stand in, and their order, are the layout of the format
(bundles/README.md, section 4).
"""

from __future__ import annotations

import os
from array import array
from hashlib import blake2b
from typing import Final

from bundles.errors import FormatError
from bundles.ustar import verify_path

FIND_AREA: Final = "find"  # needs the capability of the same name
# Top directories, in this order.
AREAS: Final = ("trust", "logs", "pending", "receipts", "acks", FIND_AREA)

_KEY_BYTES: Final = 16
_FIRST_SLOTS: Final = 1024  # a power of two, as each size after it


class PathNumbers:
    """Paths, numbered from 0 in the order they are added; 24 to 48 bytes each, however long.

    A path is known by 128 bits of a hash whose key nobody else has: whoever chooses the
    paths cannot choose two that are taken for one.
    """

    def __init__(self) -> None:
        self._secret = os.urandom(32)
        self._keys = bytearray()  # by number
        self._slots = array("I", bytes(4 * _FIRST_SLOTS))  # by hash: number + 1; 0: free
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, path: str) -> bool:
        """Give a path the next number; False if it has one already."""
        key = self._key(path)
        slot = self._slot(key)
        if self._slots[slot]:
            return False
        self._keys += key
        self._count += 1
        self._slots[slot] = self._count
        if 2 * self._count > len(self._slots):
            self._enlarge()
        return True

    def find(self, path: str) -> int | None:
        """Return the number of a path; None if it has none."""
        found = self._slots[self._slot(self._key(path))]
        return found - 1 if found else None

    def _key(self, path: str) -> bytes:
        text = path.encode("utf-8", "surrogatepass")
        return blake2b(text, digest_size=_KEY_BYTES, key=self._secret).digest()

    def _slot(self, key: bytes) -> int:
        """Return where a key stands, or the free slot where it would."""
        slots, keys = self._slots, self._keys
        slot = int.from_bytes(key[:8])
        while found := slots[slot := slot & len(slots) - 1]:
            if keys[(found - 1) * _KEY_BYTES : found * _KEY_BYTES] == key:
                break
            slot += 1
        return slot

    def _enlarge(self) -> None:
        n_slots = 4 * len(self._slots)
        slots, keys = array("I", bytes(4 * n_slots)), self._keys
        for number in range(self._count):
            at = number * _KEY_BYTES
            slot = int.from_bytes(keys[at : at + 8]) & n_slots - 1
            while slots[slot]:  # by another: all of them differ
                slot = slot + 1 & n_slots - 1
            slots[slot] = number + 1
        self._slots = slots


class Layout:
    """The rules for the paths of members, held against them one by one, in archive order."""

    def __init__(self) -> None:
        self.numbers = PathNumbers()
        self._directories: set[str] = set()
        self._highest = 0
        self._last_parent = ""

    def add(self, path: str) -> None:
        """Raise FormatError if a path is no member name, comes twice, stands in no known
        directory or before one it must follow.
        """
        verify_path(path)
        parent, slash, _ = path.rpartition("/")
        if parent != self._last_parent or not slash:
            self._enter(path, parent)
        if not self.numbers.add(path):
            raise FormatError(f"{path} is there twice", reason="member-name")

    def end(self) -> None:
        """Raise FormatError if a path is also the directory of another."""
        for directory in sorted(self._directories):
            if self.numbers.find(directory) is not None:
                raise FormatError(
                    f"{directory} is both a member and a directory", reason="member-name"
                )

    def _enter(self, path: str, parent: str) -> None:
        area = path.partition("/")[0]
        if not parent or area not in AREAS:
            raise FormatError(
                f"{path} has no place in a transfer bundle: expected it below {', '.join(AREAS)}",
                reason="member-name",
            )
        rank = AREAS.index(area)
        if rank < self._highest:
            raise FormatError(
                f"members are not in the order {', '.join(AREAS)}", reason="member-order"
            )
        self._highest, self._last_parent = rank, parent
        while parent and parent not in self._directories:
            self._directories.add(parent)
            parent = parent.rpartition("/")[0]
