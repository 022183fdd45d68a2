"""Import one log of a transfer bundle, once the bundle itself was checked."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256

from appliance.errors import (
    ApplianceError,
    CorruptError,
    IncompleteError,
    MalformedError,
    ProofError,
)
from appliance.jobs.divergence.cross_check import follow_up
from appliance.jobs.mirror.absorb import AbsorbReport, absorb, preview
from appliance.jobs.mirror.fill import Wanted
from appliance.jobs.mirror.tree_places import take_place
from appliance.jobs.opened_notes import open_note_of
from appliance.jobs.our_tree import covered, is_without_tiles
from appliance.jobs.progress import Progress
from appliance.jobs.transfer.source import ProvingTransferSource, TransferSource
from appliance.jobs.transfer.window_members import TakenWindows, take_windows
from appliance.store.mirror.checkpoints import Arrival
from appliance.store.mirror.mirror import Mirror
from appliance.store.mirror.tile_cache import cached_entry_bundles
from appliance.tlog.entries import leaf_hashes, parse_entry_bundle
from appliance.tlog.leaf_ranges import of_consistency
from appliance.tlog.log_source import LogSource, ProvingSource
from appliance.tlog.merkle import EMPTY_ROOT, Hash, TreeHead
from appliance.tlog.proof import root_from_consistency
from appliance.tlog.tile import WIDTH, EntryBundle, Tile
from appliance.value import frozen, replaced
from bundles.manifest import LogPart, Manifest

GAP_FILE = "gap.tar"
MISSING_BASE = "missing-base"


@frozen
class Lack:
    """From where on this site lacks something of a log."""

    origin: str
    held_size: int  # every tile is here up to there, and every entry if entries are wanted
    entries: bool  # entry bundles are wanted as well


def lack_of(mirror: Mirror, part: LogPart | None = None) -> Lack:
    """Return from where on a mirror lacks something; `part` is what came of its log.

    Entries are wanted where some are here, or came.
    """
    head = covered(mirror)
    size = head.tree_size if head else 0
    entries = bool(part and part.entries) or holds_entries(mirror)
    return Lack(mirror.log.origin, entries_covered(mirror, size) if entries else size, entries)


def holds_entries(mirror: Mirror) -> bool:
    """Whether any entry bundle of a log is here."""
    return next(iter(cached_entry_bundles(mirror.store, mirror.log)), None) is not None


def entries_covered(mirror: Mirror, tree_size: int) -> int:
    """Return up to which entry, of so many, all are here."""
    first = next(iter(mirror.missing_entry_bundles(tree_size)), None)
    return tree_size if first is None else first.index * WIDTH


def fill_command(lacks: Sequence[Lack]) -> str:
    """Return the one command that exports, over there, all that this site lacks."""
    size = min(lack.held_size for lack in lacks)
    origins = [word for lack in lacks for word in ("--origin", lack.origin)]
    since = ["--base", str(size) if size else "all"]
    with_entries = ["--include-entries"] if any(lack.entries for lack in lacks) else []
    words = ["attestor", "export", *origins, *since, *with_entries, "--output", GAP_FILE]
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
    except CorruptError:
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
    lack: Lack | None = None  # what is missing up to the accepted head; None: nothing
    fill: str = ""  # the command that fills it, and what the other logs lack; empty: nothing
    missing_entries: int = 0  # below the mirror checkpoint, where entries are wanted
    windows: TakenWindows = TakenWindows()  # of a log without tiles

    @property
    def old_size(self) -> int | None:
        """Size of the mirror checkpoint before; None: none."""
        return _size(self.old)

    @property
    def new_size(self) -> int | None:
        """Size of the mirror checkpoint after it; None: none."""
        return _size(self.new)

    @property
    def is_change(self) -> bool:
        """Whether it brought anything: tiles, entry bundles or a larger mirror."""
        if self.report is None:
            return False
        return self.need > 0 or self.old != self.new or self.windows.new > 0


def keep_proofs(mirror: Mirror, proofs: Mapping[int, Sequence[Hash]], tree_size: int) -> None:
    """Keep what proofs to our accepted head say of its tree; of an older head nothing is kept.

    Raises ProofError for one that does not lead to it.
    """
    accepted = mirror.history.accepted()
    if accepted is None or accepted.head.tree_size != tree_size:
        return
    ranges: dict[tuple[int, int], Hash] = {}
    for size, hashes in proofs.items():
        # At a power of two the proof leaves the old root out: it says nothing without one.
        if 0 < size < tree_size and size.bit_count() != 1:
            root = root_from_consistency(TreeHead(size, EMPTY_ROOT), accepted.head, hashes)
            ranges |= of_consistency(TreeHead(size, root), accepted.head, hashes)
    if ranges:
        with mirror.store.atomic():
            mirror.put_ranges(ranges)


def _require_proofs(mirror: Mirror, source: ProvingTransferSource, arrival: Arrival) -> None:
    """Check each proof that came with a head, before that is accepted.

    Raises ProofError for one that does not lead to it; DivergenceError, evidence stored, if
    another of them shows that the log contradicts itself: that is the more serious.
    """
    head = open_note_of(mirror.store, mirror.log, source.checkpoint()).head
    for size, hashes in source.proofs.items():
        if not 0 < size < head.tree_size or size.bit_count() == 1:
            continue  # at a power of two the proof leaves the old root out
        try:
            root_from_consistency(TreeHead(size, EMPTY_ROOT), head, hashes)
        except ProofError as error:
            preview(mirror, source, arrival)
            raise ProofError(
                f"{mirror.log.origin}: the proof from {size:,} entries in {source.description}"
                f" does not lead to its head of {head.tree_size:,}: {error.message}",
                reason="consistency-member",
                next_step="nothing of this log was taken; export again on the other side, and"
                " tell whoever runs it",
            ) from error


def require_base(mirror: Mirror, part: LogPart) -> None:
    """Raise IncompleteError unless we hold the base."""
    if part.base is None:
        return
    held = mirror.history.accepted()
    size = held.head.tree_size if held else 0
    # An accepted head is enough: the rest is found missing, and named, afterwards.
    if size < part.base.tree_size:
        raise IncompleteError(
            f"it continues {part.origin} from size {part.base.tree_size}, this site holds {size}",
            reason=MISSING_BASE,
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

    Raises IncompleteError if we lack its base or it lacks something that we do, and what
    absorb raises.
    """
    require_base(mirror, part)
    old = covered(mirror)
    tiles, bundles = source.offered()
    # Counted over what it brings: how large a tree its manifest claims is nothing yet.
    need = sum(1 for _ in mirror.missing_among(tiles, part.head.tree_size))
    need += sum(1 for _ in mirror.missing_bundles_among(bundles, part.head.tree_size))
    offered = source.offered_count()
    if dry_run:
        return IngestedLog(part.origin, old, old, None, need, offered)
    # A site that holds nothing yet has nothing that could have rotted.
    healed = heal(mirror, source, tiles, bundles) if mirror.tile_count() else 0
    # If we die here, the mirror is what it was, with fewer holes in it.
    heard_at = manifest.data_age.newest_checkpoint
    # When the exporter last heard of it, and no later than when it wrote that down.
    answered_at = min(now, manifest.created_at if heard_at is None else heard_at)
    arrival = Arrival("import", source.description, now, heard_at, answered_at=answered_at)
    if isinstance(source, ProvingTransferSource):
        _require_proofs(mirror, source, arrival)
    wanted = Wanted(
        tiles=True,
        entries=source.has_entries,
        has=source.has,
        offered=source.offered,
        from_older=True,
        place=source.place,
    )
    report = absorb(mirror, source, arrival, wanted, progress)
    if report.tree_size != part.head.tree_size:
        raise MalformedError(
            f"{part.origin}: the manifest says size {part.head.tree_size}, "
            f"the log's checkpoint {report.tree_size}",
            reason="head-mismatch",
        )
    # If we die here or below, the head stands, and importing it again brings the rest.
    told = take_place(mirror.store, mirror.log, manifest.extensions, manifest.site)
    windows = TakenWindows()
    if isinstance(source, ProvingTransferSource):
        keep_proofs(mirror, source.proofs, part.head.tree_size)
        head = mirror.history.at(report.tree_size)
        if head is None:
            raise LookupError("a checkpoint that was just taken is not there")
        windows = take_windows(mirror, source.bundle, part.directory, head.head)
    proves = source if isinstance(source, ProvingSource) else None
    report = replaced(report, warnings=(*told, *follow_up(mirror, "import", now, proves)))
    lack, new = lack_of(mirror, part), covered(mirror)
    missing = (new.tree_size if new else 0) - lack.held_size
    is_whole = is_without_tiles(mirror) or report.mirror_size == report.accepted_size
    return IngestedLog(
        *(part.origin, old, new, report, need, offered, healed),
        lack=None if is_whole and not missing else lack,
        missing_entries=missing,
        windows=windows,
    )


def _size(head: TreeHead | None) -> int | None:
    return head.tree_size if head else None
