"""Export: pick base and head for each log and write one transfer bundle (TRANSFER.md 1, 2, 4).

Only what the store holds proven is exported; the far side proves it again for itself.
Digests come from rows, so nothing is read twice; every blob is re-hashed on its way out.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, Final

from appliance import __version__
from appliance.errors import ConfigError, IncompleteError
from appliance.jobs.exported import compare_export, earlier_export
from appliance.jobs.transfer_source import checkpoint_member, entries_member, tile_member
from appliance.store.checkpoints import AcceptedCheckpoint
from appliance.store.database import Store
from appliance.store.entry_frames import compress_bundle
from appliance.store.files import written_whole
from appliance.store.logs import Log
from appliance.store.mirror import Mirror
from appliance.store.settings import require_site_name
from appliance.store.transfers import Transfer, TransferredLog, exported_sizes, record_transfer
from appliance.tlog.merkle import HASH_BYTES, TreeHead
from appliance.tlog.proof import consistency_plan, perfect_nodes
from appliance.tlog.tile import (
    WIDTH,
    EntryBundle,
    Tile,
    edge_tiles,
    new_entry_bundles,
    new_tiles,
)
from appliance.tlog.tile_tree import TileTree
from appliance.value import frozen
from bundles.manifest import (
    Contains,
    CreatedBy,
    Custody,
    DataAge,
    Entries,
    Have,
    LogPart,
    Manifest,
    Tiles,
    TreeHeadRef,
    Volume,
    log_directory,
)
from bundles.wrap import Wrap
from bundles.writer import Member, Written, totals_of, write_bundle

WRAPS: Final = {".gz": Wrap.GZIP, ".zst": Wrap.ZSTD}  # by the end of the file name


@frozen
class Selection:
    """What to export of each log."""

    since_size: int | None = None  # base; None: by `overlap`
    overlap: int | None = None  # base is the head of this many exports ago; None: full
    tiles: bool = True
    entries: bool = False
    purpose: str = ""
    dry_run: bool = False  # plan it and write nothing


@frozen
class ExportReport:
    """The transfer bundle that was written."""

    path: Path
    bundle_id: str  # SHA-256 of the manifest, hex; empty: a dry run
    sha256: str  # of the file, hex; empty: a dry run
    n_bytes: int  # of the file; 0: a dry run
    manifest: Manifest
    already: bool = False  # the file was there: a run that was killed had finished it


def export(
    store: Store,
    logs: Sequence[Log],
    selection: Selection,
    path: Path,
    sign: Callable[[str], bytes],
    now: int,
) -> ExportReport:
    """Write a transfer bundle of `logs` to `path` and record that it left.

    Where the very same was written before, by a run that was killed or that nobody heard
    of, this says so and records it. Raises IncompleteError if a log has nothing to export
    or lacks a tile, ConfigError if a base is beyond the head, DigestError if a stored blob
    is damaged, StoreError if the medium is full or `path` is another file.
    """
    site = require_site_name(store)
    earlier = None if selection.dry_run else earlier_export(path)
    besides = ""
    if earlier is not None:
        now, besides = earlier.manifest.created_at, earlier.header.bundle_id
    parts = [_plan(Mirror(store, log), selection, besides) for log in logs]
    members = [member for part in parts for member in part.members]
    manifest = Manifest(
        created_at=now,
        created_by=CreatedBy("attestor", __version__),
        site=site,
        purpose=selection.purpose,
        logs=tuple(part.described for part in parts),
        volume=Volume(f"{site.lower()}-{now}", 1, 1),
        totals=totals_of(members),
        # The oldest of the heads: a claim of freshness must hold for every log in here.
        data_age=DataAge(min(part.head.first_seen_at for part in parts), None),
        have=tuple(_have(store, log) for log in logs),
        contains=Contains(0, 0, 0, 0),
        custody=Custody("", "", "", ""),
    )
    if selection.dry_run:
        return ExportReport(path, "", "", 0, manifest)

    def write(file: BinaryIO) -> Written:
        wrap = WRAPS.get(path.suffix, Wrap.PLAIN)
        return write_bundle(file, manifest=manifest, members=members, sign=sign, wrap=wrap)

    written = None if earlier is None else compare_export(path, write)
    already = written is not None
    if written is None:
        with written_whole(path) as file:
            written = write(file)
    # If we die here the stick is good and our record lacks it: whoever asks for the same
    # again gets it recorded; if nobody does, the next delta is larger.
    bundle_id = written.header.bundle_id
    carried = tuple(
        TransferredLog(
            one.origin, one.base.tree_size if one.base else None, one.head.tree_size, None, None
        )
        for one in manifest.logs
    )
    left = Transfer(bundle_id, "export", now, site, path.name, written.sha256, False, carried)
    try:
        record_transfer(store, left)
    except BaseException:
        # Whoever is told that it failed runs it again, and the name must be free then. If
        # the record is there after all, that is one more stick that got lost. What an
        # earlier run left is as good as it was.
        if not already:
            with contextlib.suppress(OSError):
                path.unlink()
        raise
    return ExportReport(path, bundle_id, written.sha256.hex(), written.n_bytes, manifest, already)


@frozen
class _Part:
    described: LogPart
    head: AcceptedCheckpoint
    members: tuple[Member, ...]


def _plan(mirror: Mirror, selection: Selection, besides: str) -> _Part:
    head = mirror.history.mirror_checkpoint() or mirror.history.accepted()
    if head is None:
        raise IncompleteError(
            f"nothing of {mirror.log.origin} is here to export",
            reason="nothing-to-export",
            next_step="run 'attestor sync' first",
        )
    base_size = _base_size(mirror, selection, head.head.tree_size, besides)
    directory = log_directory(mirror.log.origin)
    first_leaf = base_size or 0
    bundles = list(new_entry_bundles(first_leaf, head.head.tree_size)) if selection.entries else []
    implied = {bundle.tile for bundle in bundles}
    tiles = [
        tile for tile in _tiles(base_size, head.head, whole=selection.tiles) if tile not in implied
    ]
    members = [_in_memory(checkpoint_member(directory), head.note)]
    members.extend(_tile_member(mirror, directory, tile) for tile in tiles)
    members.extend(_entries_member(mirror, directory, bundle) for bundle in bundles)
    described = LogPart(
        origin=mirror.log.origin,
        vkeys=tuple(key.vkey for key in mirror.log.keys),
        base=None if base_size is None else TreeHeadRef(base_size, _root(mirror, head, base_size)),
        head=TreeHeadRef(head.head.tree_size, head.head.root_hash),
        tiles=Tiles(len(tiles), sum(tile.width * HASH_BYTES for tile in tiles)),
        entries=Entries(bundles[0].index * WIDTH, head.head.tree_size) if bundles else None,
    )
    return _Part(described, head, tuple(members))


def _base_size(mirror: Mirror, selection: Selection, head_size: int, besides: str) -> int | None:
    base = selection.since_size
    if base is None and selection.overlap is not None:
        earlier = exported_sizes(mirror.store, mirror.log.origin, besides=besides)
        if len(earlier) >= selection.overlap:
            base = min(earlier[selection.overlap - 1], head_size)
    if base is not None and base > head_size:
        raise ConfigError(
            f"--since-size {base}: the mirror of {mirror.log.origin} has only {head_size} entries",
            reason="base-beyond-head",
        )
    return base or None  # a base of nothing is no base


def _tiles(base_size: int | None, head: TreeHead, *, whole: bool) -> Iterator[Tile]:
    """Yield, top down, what lets the far side prove the head from the base, and the new tiles."""
    wanted = set(edge_tiles(head.tree_size))
    tree = TileTree(head)
    if base_size is not None:
        for leaves in (range(base_size), *consistency_plan(base_size, head.tree_size)):
            for node in perfect_nodes(leaves):
                wanted.update(tree.parents(tree.node_tile(node)))
    if whole:
        wanted.update(new_tiles(base_size or 0, head.tree_size))
    yield from sorted(wanted, key=lambda tile: (-tile.level, tile.index))


def _root(mirror: Mirror, head: AcceptedCheckpoint, tree_size: int) -> bytes:
    if known := mirror.history.at(tree_size):
        return known.head.root_hash
    return TileTree(head.head).root_at(tree_size, mirror.read_tiles)


def _have(store: Store, log: Log) -> Have:
    mirror = Mirror(store, log)
    held = mirror.history.mirror_checkpoint() or mirror.history.accepted()
    if held is None:
        raise IncompleteError(f"nothing of {log.origin} is here", reason="nothing-to-export")
    return Have(log.origin, held.head.tree_size, held.head.root_hash)


def _tile_member(mirror: Mirror, directory: str, tile: Tile) -> Member:
    """Describe a tile; one stored wider than the exported tree has it is cut and hashed now."""
    path = tile_member(directory, tile)
    stored = mirror.tile_digest(tile)
    if stored is None:
        return _in_memory(path, mirror.read_tiles([tile])[tile])
    return Member(path, tile.width * HASH_BYTES, stored, _reader(mirror, stored))


def _entries_member(mirror: Mirror, directory: str, bundle: EntryBundle) -> Member:
    path = entries_member(directory, bundle)
    stored = mirror.entry_bundle_blob(bundle)
    if stored is None:
        return _in_memory(path, compress_bundle(mirror.read_entry_bundle(bundle)))
    digest, n_bytes = stored
    return Member(path, n_bytes, digest, _reader(mirror, digest))


def _in_memory(path: str, data: bytes) -> Member:
    return Member(path, len(data), sha256(data).digest(), lambda: data)


def _reader(mirror: Mirror, digest: bytes) -> Callable[[], bytes]:
    return lambda: mirror.store.blobs.get(digest)
