"""The roots of stored full tiles, as workers compute them for an audit."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from appliance.store.blobs import read_whole
from appliance.tlog.merkle import HASH_BYTES, Hash, perfect_root
from appliance.tlog.tile import WIDTH


def blob_roots(blobs: Sequence[tuple[str, bytes] | None]) -> list[Hash | None]:
    """Return the root of each blob, given as (path, SHA-256); None for what is damaged."""
    return [None if blob is None else _root(*blob) for blob in blobs]


def _root(path: str, digest: bytes) -> Hash | None:
    data = read_whole(path)
    if data is None or len(data) != WIDTH * HASH_BYTES or sha256(data).digest() != digest:
        return None
    return perfect_root(data)
