"""Our copy of a log's tree, whatever it is made of: tiles, or ranges that were proven.

A log that serves tiles is mirrored in tiles. A Rekor v1 log serves none: what is here of its
tree are the hashes of the proofs it gave, which prove the same again and what follows.
"""

from __future__ import annotations

import contextlib
from typing import Final, NoReturn, Protocol

from appliance.errors import IncompleteError
from appliance.store.mirror.checkpoints import AcceptedCheckpoint
from appliance.store.mirror.entry_windows import EntryWindows
from appliance.store.mirror.logs import REKOR_V1
from appliance.store.mirror.mirror import Mirror
from appliance.store.mirror.proven_ranges import ProvenRanges
from appliance.tlog.leaf_ranges import LeafRanges
from appliance.tlog.merkle import EMPTY_ROOT, Hash, TreeHead
from appliance.tlog.tile_tree import TileTree

_TREES: Final = "trees of proofs"  # among what an open store remembers
_MOST_TREES: Final = 2  # a store may be open as long as a log is served
_MOST_TILES: Final = 512  # of each, 16 KiB with the hashes above their own


class OurTree(Protocol):
    """A tree whose head we accepted. Each method raises IncompleteError for what is not here.

    Of a mirror in tiles VerificationError or CorruptError says that one is damaged.
    """

    def root_at(self, tree_size: int) -> Hash:
        """Return the root it had at a size up to its own."""

    def prove_consistency(self, old_size: int) -> tuple[Hash, ...]:
        """Prove an older size a prefix."""

    def prove_inclusion(self, entry_index: int) -> tuple[Hash, ...]:
        """Prove an entry included."""

    def leaf(self, entry_index: int) -> Hash:
        """Return the leaf hash of an entry."""

    def trim(self) -> None:
        """Let go of what a long job does not need any more."""


def our_tree(mirror: Mirror, head: TreeHead) -> OurTree:
    """Return our copy of the tree of an accepted head.

    It is in tiles even of a Rekor v1 log if they came from elsewhere: a mirror that serves them.
    """
    return _Ranges(mirror, head) if is_in_ranges(mirror) else _Tiles(mirror, head)


def our_tree_for_proofs(mirror: Mirror, head: TreeHead) -> OurTree:
    """Return the same, with what was authenticated for earlier proofs while the store is open.

    A head's edge and the tiles above those of the entries are as good as all of a proof's work.
    What is remembered was authenticated under this very head; a tile that is damaged since
    is noticed by whoever reads it next.
    """
    if is_in_ranges(mirror):
        return _Ranges(mirror, head)
    known = mirror.store.remembered.setdefault(_TREES, {})
    place = (mirror.log.id, head)
    if place not in known:
        if len(known) >= _MOST_TREES:
            del known[next(iter(known))]  # the oldest
        known[place] = TileTree(head)
    known[place].keep(_MOST_TILES)
    return _Tiles(mirror, head, known[place])


def is_in_ranges(mirror: Mirror) -> bool:
    """Whether our copy of a log is made of proven ranges, and its entries of windows."""
    return is_without_tiles(mirror) and mirror.history.mirror_checkpoint() is None


def is_without_tiles(mirror: Mirror) -> bool:
    """Whether a log serves no tiles, so that none are missing here."""
    return mirror.log.api_version == REKOR_V1


def covered(mirror: Mirror) -> TreeHead | None:
    """Return the head up to which all that a log serves is here; None: none.

    Of a log with tiles these are the tiles, else the proofs alone.
    """
    history = mirror.history
    found = history.accepted() if is_without_tiles(mirror) else history.mirror_checkpoint()
    return found.head if found else None


def readable_checkpoint(mirror: Mirror) -> AcceptedCheckpoint | None:
    """Return the checkpoint under which what is here of a log's entries is read; None: none."""
    history = mirror.history
    return history.accepted() if is_in_ranges(mirror) else history.mirror_checkpoint()


def forget_needless_ranges(mirror: Mirror) -> int:
    """Forget the ranges that prove no stored checkpoint and no entry; return how many.

    Call it inside store.atomic(), after checkpoints were pruned.
    """
    accepted = mirror.history.accepted()
    if accepted is None or not is_without_tiles(mirror):
        return 0
    known = ProvenRanges(mirror.store, mirror.log)
    ranges = LeafRanges(known.find, known.is_any_inside)
    newest = accepted.head.tree_size
    for size in mirror.history.accepted_sizes():
        with contextlib.suppress(LookupError):
            ranges.root(0, size)
            ranges.consistency(size, newest)
    for first, stop in EntryWindows(mirror.store, mirror.log).runs():
        for index in (first, stop - 1):
            with contextlib.suppress(LookupError):
                ranges.inclusion(index, newest)
        ranges.used |= {(one, one + 1) for one in range(first, stop)}
    return known.keep_only(ranges.used)


class _Tiles:
    def __init__(self, mirror: Mirror, head: TreeHead, tree: TileTree | None = None) -> None:
        self._read = mirror.read_tiles
        self._tree = tree or TileTree(head)

    def root_at(self, tree_size: int) -> Hash:
        return self._tree.root_at(tree_size, self._read)

    def prove_consistency(self, old_size: int) -> tuple[Hash, ...]:
        return self._tree.prove_consistency(old_size, self._read)

    def prove_inclusion(self, entry_index: int) -> tuple[Hash, ...]:
        return self._tree.prove_inclusion(entry_index, self._read)

    def leaf(self, entry_index: int) -> Hash:
        return self._tree.leaf(entry_index, self._read)

    def trim(self) -> None:
        self._tree.trim()


class _Ranges:
    def __init__(self, mirror: Mirror, head: TreeHead) -> None:
        self._origin = mirror.log.origin
        self._head = head
        known = ProvenRanges(mirror.store, mirror.log)
        self._ranges = LeafRanges(known.find, known.is_any_inside)

    def root_at(self, tree_size: int) -> Hash:
        if tree_size == self._head.tree_size:
            return self._head.root_hash
        if tree_size == 0:
            return EMPTY_ROOT
        try:
            return self._ranges.root(0, tree_size)
        except LookupError:
            self._lacks_size(tree_size)

    def prove_consistency(self, old_size: int) -> tuple[Hash, ...]:
        try:
            return self._ranges.consistency(old_size, self._head.tree_size)
        except LookupError:
            self._lacks_size(old_size)

    def prove_inclusion(self, entry_index: int) -> tuple[Hash, ...]:
        try:
            self._ranges.root(entry_index, entry_index + 1)
            return self._ranges.inclusion(entry_index, self._head.tree_size)
        except LookupError:
            self._lacks_entry(entry_index)

    def leaf(self, entry_index: int) -> Hash:
        try:
            return self._ranges.root(entry_index, entry_index + 1)
        except LookupError:
            self._lacks_entry(entry_index)

    def trim(self) -> None:
        """Nothing is kept here."""

    def _lacks_size(self, tree_size: int) -> NoReturn:
        raise IncompleteError(
            f"{self._origin} serves no tiles, and no proof that was kept here leads from"
            f" {tree_size:,} to {self._head.tree_size:,} entries",
            reason="no-proof",
            next_step="name a size from 'attestor checkpoints list'; for the checkpoint in a"
            " Sigstore bundle: attestor sync --for BUNDLE",
        )

    def _lacks_entry(self, entry_index: int) -> NoReturn:
        raise IncompleteError(
            f"{self._origin} serves no tiles, and entry {entry_index:,} of it was not fetched",
            reason="no-proof",
            next_step=f"where the log can be reached: attestor sync --backend ID --from"
            f" {entry_index} --count 1; its next export brings it here",
        )
