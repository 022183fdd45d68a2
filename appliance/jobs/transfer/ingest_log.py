"""Import one log of a transfer bundle, once the bundle itself was checked."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from hashlib import sha256

from appliance.errors import ApplianceError, DigestError, IncompleteError, MalformedError
from appliance.jobs.divergence.cross_check import follow_up
from appliance.jobs.mirror.absorb import AbsorbReport, absorb
from appliance.jobs.mirror.fill import Progress, Wanted
from appliance.jobs.transfer.source import NOT_IN_BUNDLE, TransferSource
from appliance.store.mirror.checkpoints import Arrival
from appliance.store.mirror.mirror import Mirror
from appliance.tlog.entries import leaf_hashes, parse_entry_bundle
from appliance.tlog.log_source import LogSource
from appliance.tlog.merkle import TreeHead
from appliance.tlog.tile import EntryBundle, Tile
from appliance.value import frozen, replaced
from bundles.manifest import LogPart, Manifest

# Name a gap exactly: the command that fills it, to be given on the other side.


GAP_FILE = "gap.tar"


def fill_command(origin: str, held_size: int | None, *, entries: bool) -> str:
    """Return the command that exports what this site, which holds `held_size`, lacks of a log."""
    since = ["--since-size", str(held_size)] if held_size else ["--full"]
    with_entries = ["--include-entries"] if entries else []
    words = ["attestor", "export", "--origin", origin, *since, *with_entries, "--output", GAP_FILE]
    return shlex.join(words)


# Heal a mirror from a transfer bundle: put back what rotted on our disk.


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


@frozen
class IngestedLog:
    """What a transfer bundle did for one log."""

    origin: str
    old: TreeHead | None  # mirror checkpoint before; None: none
    new: TreeHead | None  # and after
    report: AbsorbReport | None  # None: a dry run
    need: int  # tiles and entry bundles it has that we lacked
    offered: int  # tiles and entry bundles it has, with those that follow from others
    healed: int = 0  # that we had, but damaged or gone
    fill: str = ""  # the command that fills what is missing up to the accepted head; empty: nothing

    @property
    def old_size(self) -> int | None:
        """Size of the mirror checkpoint before; None: none."""
        return _size(self.old)


def require_base(mirror: Mirror, part: LogPart) -> None:
    """Raise IncompleteError, naming the command that helps, unless we hold the base."""
    if part.base is None:
        return
    held = mirror.history.accepted()
    size = held.head.tree_size if held else 0
    # An accepted head is enough: the rest is found missing, and named, afterwards.
    if size < part.base.tree_size:
        command = fill_command(part.origin, _size(covered(mirror)), entries=bool(part.entries))
        raise IncompleteError(
            f"it continues {part.origin} from size {part.base.tree_size}, this site holds {size}",
            reason="missing-base",
            next_step=f"on the other side run: {command}",
        )


def ingest_log(
    mirror: Mirror,
    part: LogPart,
    source: TransferSource,
    manifest: Manifest,
    now: int,
    progress: Progress,
    *,
    dry_run: bool,
) -> IngestedLog:
    """Absorb what a transfer bundle brings of one log.

    Raises IncompleteError, naming the command that helps, if we lack its base, and what
    absorb raises.
    """
    require_base(mirror, part)
    old = covered(mirror)
    need = sum(map(source.has, mirror.missing_tiles(part.head.tree_size)))
    if source.has_entries:
        need += sum(map(source.has, mirror.missing_entry_bundles(part.head.tree_size)))
    offered = source.offered_count()
    if dry_run:
        return IngestedLog(part.origin, old, old, None, need, offered)
    # A site that holds nothing yet has nothing that could have rotted.
    healed = heal(mirror, source, *source.offered()) if mirror.tile_count() else 0
    # If we die here, the mirror is what it was, with fewer holes in it.
    arrival = Arrival("import", source.description, now, manifest.data_age.newest_checkpoint)
    try:
        wanted = Wanted(
            tiles=True,
            entries=source.has_entries,
            has=source.has,
            from_older=True,
            place=source.place,
        )
        report = absorb(mirror, source, arrival, wanted, progress)
    except IncompleteError as error:
        if error.reason == NOT_IN_BUNDLE:
            command = fill_command(part.origin, _size(old), entries=bool(part.entries))
            others = "import its other volumes; else " if manifest.volume.of > 1 else ""
            error.next_step = f"{others}on the other side run: {command}"
        raise
    if report.tree_size != part.head.tree_size:
        raise MalformedError(
            f"{part.origin}: the manifest says size {part.head.tree_size}, "
            f"the log's checkpoint {report.tree_size}",
            reason="head-mismatch",
        )
    report = replaced(report, warnings=follow_up(mirror, "import", now))
    is_whole = report.mirror_size == report.accepted_size
    command = fill_command(part.origin, report.mirror_size, entries=bool(part.entries))
    fill = "" if is_whole else command
    return IngestedLog(part.origin, old, covered(mirror), report, need, offered, healed, fill)


def covered(mirror: Mirror) -> TreeHead | None:
    """Return the head up to which every tile is here; None: none."""
    found = mirror.history.mirror_checkpoint()
    return found.head if found else None


def _size(head: TreeHead | None) -> int | None:
    return head.tree_size if head else None
