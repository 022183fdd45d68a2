"""Heal a mirror from a transfer bundle: put back what rotted on our disk (SPEC.md section 7).

A row names each stored tile by a digest that was proven when it was stored. If the blob
under that name is gone or damaged, and the bundle has the very bytes, they are put back;
nothing new is believed. This comes before everything else of an import, because what the
import has to read may be what is damaged.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

from appliance.errors import ApplianceError, DigestError, IncompleteError
from appliance.store.mirror import Mirror
from appliance.tlog.entries import leaf_hashes, parse_entry_bundle
from appliance.tlog.log_source import LogSource
from appliance.tlog.tile import EntryBundle, Tile


def heal(
    mirror: Mirror, source: LogSource, tiles: Iterable[Tile], bundles: Iterable[EntryBundle]
) -> int:
    """Put back what is damaged here among what `source` has; return how many items that were.

    Every blob that `source` has as well is read and re-hashed. Raises StoreError if the
    disk is full or fails. What `source` has otherwise than we do is left as it is.
    """
    healed = 0
    for tile in filter(mirror.has_tile, tiles):
        digest = mirror.tile_digest(tile)
        if digest is None or _is_whole(mirror, digest):
            continue
        [(_, data)] = source.tiles([tile])
        if sha256(data).digest() == digest:
            mirror.store.blobs.put([data])
            healed += 1
    for bundle in filter(mirror.has_entry_bundle, bundles):
        stored = mirror.entry_bundle_blob(bundle)
        if stored is None or _is_whole(mirror, stored[0]):
            continue
        [(_, data)] = source.entry_bundles([bundle])
        if _are_ours(mirror, bundle, data):
            # Not necessarily the same bytes: another release of zstd packs differently.
            mirror.add({}, {bundle: data})
            healed += 1
    return healed


def _is_whole(mirror: Mirror, digest: bytes) -> bool:
    try:
        mirror.store.blobs.get(digest)
    except (DigestError, IncompleteError):
        return False
    return True


def _are_ours(mirror: Mirror, bundle: EntryBundle, data: bytes) -> bool:
    """Whether the entries have the leaf hashes of the tile that we proved."""
    try:
        hashes = leaf_hashes(parse_entry_bundle(data, bundle))
        return hashes == mirror.read_tiles([bundle.tile])[bundle.tile]
    except ApplianceError:
        return False
