"""The roots of stored full tiles, as workers compute them for an audit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from appliance.errors import ApplianceError
from appliance.store.blobs import Blobs
from appliance.tlog.merkle import HASH_BYTES, Hash, perfect_root
from appliance.tlog.tile import WIDTH
from appliance.value import frozen


@frozen
class StoredTiles:
    """Blobs that have to be full tiles; None: one that is not here."""

    blobs: str  # the directory
    digests: Sequence[bytes | None]


def stored_roots(tiles: StoredTiles) -> list[Hash | None]:
    """Return the root of each tile; None for what is damaged or gone."""
    blobs = Blobs(Path(tiles.blobs))
    return [None if digest is None else _root(blobs, digest) for digest in tiles.digests]


def _root(blobs: Blobs, digest: bytes) -> Hash | None:
    try:
        data = blobs.get(digest)
    except ApplianceError:
        return None
    return perfect_root(data) if len(data) == WIDTH * HASH_BYTES else None
