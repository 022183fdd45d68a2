"""Write a log as files for any web server, and bring the files up to date (c2sp.org/tlog-tiles).

The order of the durable steps is what makes a reader, at any moment, and the next run, after
any kill, find one consistent tree:

    1. tiles and entry bundles that the published checkpoint does not imply
    2. the checkpoint
    3. only ten minutes and a run later the partial tiles of what became full: a reader that
       began with an older checkpoint asks for them, or for the full ones that are there by now
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Final, TypeVar

from appliance.errors import IncompleteError, RefusedError, VerificationError
from appliance.jobs.home.sweep import KEEP_SECONDS
from appliance.jobs.local_tiles import load_ours, our_root_at, told_apart
from appliance.jobs.mirror.fill import check_entries
from appliance.jobs.progress import SILENT, Progress
from appliance.store.divergence.quarantine import quarantine_of
from appliance.store.mirror.checkpoints import AcceptedCheckpoint
from appliance.store.mirror.mirror import Mirror
from appliance.store.mirror.static_tree import StaticTree, TreeMark
from appliance.store.private_log.private_logs import all_private_logs
from appliance.tlog.checkpoint import SignedCheckpoint, open_checkpoint
from appliance.tlog.merkle import TreeHead
from appliance.tlog.tile import (
    EntryBundle,
    Tile,
    full_tile_count,
    new_entry_bundles,
    new_tiles,
    top_level,
)
from appliance.tlog.tile_tree import TileTree
from appliance.value import frozen

_BATCH: Final = 256  # tiles or entry bundles read at once
_Place = TypeVar("_Place", Tile, EntryBundle)


@frozen
class PublishedTree:
    """What one run did to a directory."""

    head: TreeHead  # that readers see now
    previous_size: int | None  # what they saw before; None: nothing
    tiles: int  # files written
    entry_bundles: int
    removed: int  # partial tiles and entry bundles that no reader asks for any more


def publish_tree(
    mirror: Mirror,
    tree: StaticTree,
    now: int,
    refute: Callable[[bytes], object],
    *,
    everything: bool = False,
    progress: Progress = SILENT,
) -> PublishedTree:
    """Bring a directory to our mirror checkpoint. The caller holds the directory's lock.

    Nothing is written that does not authenticate under that checkpoint. With `everything` each
    file is compared with ours, not only those that are new. `refute` is given a checkpoint of
    the log that contradicts our tree, keeps both as evidence and raises DivergenceError.
    Raises RefusedError for a directory that holds something else (not-our-tree, other-log,
    server-storage), a larger tree (larger-tree) or a log in quarantine; IncompleteError for
    what is missing here; CorruptError for damage here; StoreError if the directory cannot be
    written.
    """
    ours = mirror.history.mirror_checkpoint()
    mark = _verify_directory(mirror, tree)
    if ours is None:
        raise IncompleteError(
            f"no tree of {mirror.log.origin} is complete here",
            reason="no-checkpoint",
            next_step="bring it: attestor sync --full-tiles --entries",
        )
    _refuse_quarantined(mirror)
    head = ours.head
    ours_tree = TileTree(head)
    published = _published(mirror, tree)
    if published is not None:
        _verify_prefix(mirror, ours_tree, ours, published, refute)
    known = published.head.tree_size if published else 0
    first = 0 if everything else known
    mirror.require_all(mirror.missing_entry_bundles(head.tree_size, first))
    tree.put_mark(mark)
    # If we die here, the directory is ours, and the next run goes on.
    tiles = bundles = 0
    progress.stage("tiles", lambda: sum(1 for _ in new_tiles(first, head.tree_size)))
    for batch in _batches(new_tiles(first, head.tree_size)):
        load_ours(mirror, ours_tree, batch)
        tiles += sum(tree.put(one.path, ours_tree.tile(one)) for one in batch)
        ours_tree.trim()
        progress(len(batch))
    progress.stage(
        "entry bundles", lambda: sum(1 for _ in new_entry_bundles(first, head.tree_size))
    )
    for bundle in new_entry_bundles(first, head.tree_size):
        bundles += tree.put(bundle.path, _entries(mirror, ours_tree, bundle))
        ours_tree.trim()
        progress(1)
    tree.settle()
    # If we die here, files are there that no checkpoint implies; the next run compares them.
    note = mirror.history.newest_note(head.tree_size)
    if tree.checkpoint() != note:
        tree.publish(note)
    mark = _noted(mark, known if published else None, head.tree_size, now)
    removed = 0
    old = max((size for size, at in mark.published if at <= now - KEEP_SECONDS), default=0)
    if published is not None and old <= known and old > mark.cleaned:
        removed = sum(map(tree.remove_partials, _full_paths(mark.cleaned, old)))
        # If we die here, they are looked for once more.
        later = tuple(one for one in mark.published if one[0] > old)
        mark = TreeMark(mark.origin, old, later)
    tree.put_mark(mark)
    return PublishedTree(head, known if published else None, tiles, bundles, removed)


def _verify_directory(mirror: Mirror, tree: StaticTree) -> TreeMark:
    """Return what we know of a directory; raises RefusedError if it is not for this log."""
    origin, directory = mirror.log.origin, tree.directory
    mark = tree.mark()
    if tree.is_a_servers():
        raise RefusedError(
            f"{directory} is the storage of a log's server (it has .state), which writes there",
            reason="server-storage",
            next_step="name another directory",
        )
    if mark is not None and mark.origin != origin:
        raise _other_log(f"{directory} is where {mark.origin} is published, not {origin}")
    if mark is None and tree.checkpoint() is None and tree.holds_tiles():
        raise RefusedError(
            f"{directory} holds tile/ and no checkpoint: whose tiles they are cannot be seen",
            reason="not-our-tree",
            next_step="name an empty directory",
        )
    return mark or TreeMark(origin)


def _published(mirror: Mirror, tree: StaticTree) -> SignedCheckpoint | None:
    note = tree.checkpoint()
    if note is None:
        return None
    try:
        return open_checkpoint(note, mirror.log.keys, mirror.log.origin)
    except VerificationError as error:
        path = tree.directory / "checkpoint"
        raise _other_log(
            f"{path} is no checkpoint of {mirror.log.origin}: {error.message}"
        ) from error


def _other_log(message: str) -> RefusedError:
    return RefusedError(message, reason="other-log", next_step="name a directory for each log")


def _refuse_quarantined(mirror: Mirror) -> None:
    held = quarantine_of(mirror.store, mirror.log)
    if held is not None:
        raise RefusedError(
            f"{mirror.log.origin} contradicted itself and is believed up to"
            f" {held.last_common_size:,} only: what readers see stays as it is",
            reason="quarantined",
            next_step=f"see 'attestor alerts show {held.alert_number}'",
        )


def _verify_prefix(
    mirror: Mirror,
    tree: TileTree,
    ours: AcceptedCheckpoint,
    published: SignedCheckpoint,
    refute: Callable[[bytes], object],
) -> None:
    size, log = published.head.tree_size, mirror.log
    if size > ours.head.tree_size:
        private = [one for one in all_private_logs(mirror.store) if one.log.id == log.id]
        step = "bring this home up to date: attestor sync --full-tiles --entries"
        if private:
            step = (
                "was an older home put back? compare: attestor log recover --log"
                f" {private[0].name} --source DIRECTORY"
            )
        raise RefusedError(
            f"readers see {size:,} entries of {log.origin} already, this home has"
            f" {ours.head.tree_size:,}",
            reason="larger-tree",
            next_step=step,
        )
    if our_root_at(mirror, tree, size) != published.head.root_hash:
        refute(published.note)
        raise LookupError(f"a contradiction of {log.origin} that nobody found")


def _entries(mirror: Mirror, tree: TileTree, bundle: EntryBundle) -> bytes:
    data = told_apart(mirror, lambda: mirror.read_entry_bundle(bundle))
    told_apart(mirror, lambda: check_entries(mirror, tree, bundle, data))
    return data


def _noted(mark: TreeMark, before: int | None, size: int, now: int) -> TreeMark:
    """Note since when checkpoints have been published: those that are not noted yet, since now."""
    at = {one: min(since, now) for one, since in mark.published if one > mark.cleaned}
    for one in (before, size):
        if one is not None and one > mark.cleaned:
            at.setdefault(one, now)
    return TreeMark(mark.origin, mark.cleaned, tuple(sorted(at.items())))


def _full_paths(old_size: int, new_size: int) -> Iterator[str]:
    """Yield the paths of what is full in the new tree and was not in the old one."""
    for level in range(top_level(new_size) + 1):
        indices = range(full_tile_count(level, old_size), full_tile_count(level, new_size))
        yield from (Tile(level, index).path for index in indices)
        if level == 0:
            yield from (EntryBundle(index).path for index in indices)


def _batches(places: Iterable[_Place]) -> Iterator[list[_Place]]:
    left = iter(places)
    while batch := list(islice(left, _BATCH)):
        yield batch
