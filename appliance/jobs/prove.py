"""Fresh proofs from local tiles, for anybody who has the log's key (SPEC.md section 4, prove)."""

from __future__ import annotations

from appliance.errors import IncompleteError, RefusedError
from appliance.store.checkpoints import AcceptedCheckpoint
from appliance.store.mirror import Mirror
from appliance.store.quarantine import quarantine_of
from appliance.tlog.checkpoint import open_checkpoint
from appliance.tlog.merkle import Hash, TreeHead
from appliance.tlog.tile_tree import TileTree
from appliance.tlog.tlog_proof import TlogProof


def prove_inclusion(mirror: Mirror, entry_index: int, tree_size: int | None = None) -> TlogProof:
    """Prove an entry under the newest checkpoint that local tiles reach, or the one at a size.

    Raises IncompleteError if the entry is not covered, the size was never accepted or a
    tile is missing; DigestError or ProofError if a stored tile is damaged; RefusedError
    (quarantined) for what rests on a size that the log's stories do not share.
    """
    accepted = _undisputed(mirror, _checkpoint(mirror, tree_size), entry_index, tree_size)
    if not 0 <= entry_index < accepted.head.tree_size:
        raise IncompleteError(
            f"{mirror.log.origin} has {accepted.head.tree_size} entries here, "
            f"there is no entry {entry_index}",
            reason="not-covered",
            next_step="run 'attestor sync' or import a newer transfer bundle",
        )
    # Opened again: what we hand out must verify under the key that is pinned today.
    signed = open_checkpoint(accepted.note, mirror.log.keys, mirror.log.origin)
    proof = TileTree(signed.head).prove_inclusion(entry_index, mirror.read_tiles)
    return TlogProof(entry_index, proof, accepted.note)


def _undisputed(
    mirror: Mirror, found: AcceptedCheckpoint, entry_index: int, tree_size: int | None
) -> AcceptedCheckpoint:
    """Return a checkpoint that no story of a quarantined log disputes: an older one will do."""
    held = quarantine_of(mirror.store, mirror.log)
    if held is None or found.head.tree_size <= held.last_common_size:
        return found
    older = [one for one in mirror.history.accepted_sizes() if one <= held.last_common_size]
    if tree_size is None and older and entry_index < older[-1]:
        return mirror.history.at(older[-1]) or found
    raise RefusedError(
        f"{mirror.log.origin} is quarantined beyond {held.last_common_size:,} entries (alert"
        f" {held.alert_number}): no proof rests on the tree of {found.head.tree_size:,}",
        reason="quarantined",
        next_step=f"see 'attestor alerts show {held.alert_number}'; once it is explained: attestor"
        f" quarantine lift {held.id} --reason TEXT",
    )


def prove_consistency(
    mirror: Mirror, old_size: int, new_size: int | None = None
) -> tuple[TreeHead, TreeHead, tuple[Hash, ...]]:
    """Prove that the tree of `old_size` is a prefix of an accepted one, by default the newest.

    Returns both heads and the proof; raises as prove_inclusion does.
    """
    head = _undisputed(mirror, _checkpoint(mirror, new_size), old_size - 1, new_size).head
    if not 0 <= old_size <= head.tree_size:
        raise IncompleteError(
            f"{mirror.log.origin} has {head.tree_size} entries here, not {old_size}",
            reason="not-covered",
            next_step="run 'attestor sync' or import a newer transfer bundle",
        )
    tree = TileTree(head)
    old_root = tree.root_at(old_size, mirror.read_tiles)
    proof = tree.prove_consistency(old_size, mirror.read_tiles)
    return TreeHead(old_size, old_root), head, proof


def _checkpoint(mirror: Mirror, tree_size: int | None) -> AcceptedCheckpoint:
    if tree_size is None:
        found = mirror.history.mirror_checkpoint() or mirror.history.accepted()
    else:
        found = mirror.history.at(tree_size)
    if found is None:
        sizes = ", ".join(map(str, mirror.history.accepted_sizes()[-5:])) or "none"
        wanted = "any size" if tree_size is None else f"size {tree_size}"
        raise IncompleteError(
            f"no checkpoint of {mirror.log.origin} at {wanted} was accepted (newest: {sizes})",
            reason="no-checkpoint",
            next_step="run 'attestor sync', or name a size from 'attestor checkpoints list'",
        )
    return found
