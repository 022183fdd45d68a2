"""The recursions of RFC 6962 section 2.1, transcribed: slow, obvious, and not ours to optimise."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256


def tree_hash(entries: Sequence[bytes]) -> bytes:
    """MTH(D[n])."""
    if len(entries) <= 1:
        return sha256(b"".join(b"\x00" + entry for entry in entries)).digest()
    k = split(len(entries))
    return sha256(b"\x01" + tree_hash(entries[:k]) + tree_hash(entries[k:])).digest()


def path(m: int, entries: Sequence[bytes]) -> list[bytes]:
    """PATH(m, D[n])."""
    if len(entries) == 1:
        return []
    k = split(len(entries))
    if m < k:
        return [*path(m, entries[:k]), tree_hash(entries[k:])]
    return [*path(m - k, entries[k:]), tree_hash(entries[:k])]


def proof(m: int, entries: Sequence[bytes]) -> list[bytes]:
    """PROOF(m, D[n]), for 0 < m <= n."""
    return subproof(m, entries, whole=True)


def subproof(m: int, entries: Sequence[bytes], *, whole: bool) -> list[bytes]:
    """SUBPROOF(m, D[n], b)."""
    if m == len(entries):
        return [] if whole else [tree_hash(entries)]
    k = split(len(entries))
    if m <= k:
        return [*subproof(m, entries[:k], whole=whole), tree_hash(entries[k:])]
    return [*subproof(m - k, entries[k:], whole=False), tree_hash(entries[:k])]


def split(n: int) -> int:
    """Return the largest power of two smaller than n."""
    k = 1
    while 2 * k < n:
        k *= 2
    return k


def tile_hashes(level: int, index: int, width: int, entries: Sequence[bytes]) -> bytes:
    """Hash i of tile (L, N) is MTH(D[(256 N + i) 256^L : (256 N + i + 1) 256^L])."""
    each = 256**level
    first = 256 * index
    return b"".join(
        tree_hash(entries[n * each : (n + 1) * each]) for n in range(first, first + width)
    )
