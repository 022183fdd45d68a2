"""Audit what is here of a log without tiles: every entry of its windows, up to the signed root."""

from __future__ import annotations

from typing import Final

from appliance.errors import CorruptError, IncompleteError, VerificationError
from appliance.jobs.mirror.audit import MAX_NAMED, AuditReport
from appliance.jobs.mirror.window import proving_ranges
from appliance.jobs.our_tree import our_tree
from appliance.jobs.progress import SILENT, Progress
from appliance.store.mirror.entry_windows import EntryWindows
from appliance.store.mirror.mirror import Mirror
from appliance.tlog.checkpoint import open_checkpoint
from appliance.tlog.leaf_ranges import of_inclusion
from appliance.tlog.merkle import TreeHead, leaf_hash
from appliance.tlog.proof import verify_inclusion

_TOGETHER: Final = 1024  # entries in a row that are hashed and proven together


def audit_windows(mirror: Mirror, progress: Progress = SILENT) -> AuditReport:
    """Hash every entry that is here and prove it under the newest checkpoint, opened again.

    Raises IncompleteError if nothing was accepted yet or no proof is here, CorruptError naming
    the entries that do not lead to the signed root.
    """
    accepted = mirror.history.accepted()
    if accepted is None:
        raise IncompleteError(
            f"no checkpoint of {mirror.log.origin} was accepted yet",
            reason="no-mirror-checkpoint",
            next_step="run 'attestor sync' first",
        )
    head = open_checkpoint(accepted.note, mirror.log.keys, mirror.log.origin).head
    stored, damaged, n_entries = EntryWindows(mirror.store, mirror.log), list[str](), 0
    progress.stage("entries", lambda: sum(tile.n_entries for tile in stored.tiles().values()))
    for start, stop in list(stored.runs()):
        for first in range(start, stop, _TOGETHER):
            chunk = range(first, min(first + _TOGETHER, stop))
            try:
                _prove(mirror, stored, head, chunk)
            except VerificationError as error:
                damaged.append(f"entries {chunk.start} to {chunk[-1]} ({error.message})")
            n_entries += len(chunk)
            progress(len(chunk))
    if damaged:
        raise CorruptError(
            f"{mirror.log.origin}: entries that are stored here do not lead to the signed root"
            f" {head.root_hash.hex()} of size {head.tree_size:,}: {'; '.join(damaged[:MAX_NAMED])}",
            next_step="this is damage here, not an attack: restore a 'store backup', or begin this"
            " log anew in a fresh home from a complete transfer bundle (export --base all)",
            blobs=damaged[:MAX_NAMED],
        )
    return AuditReport(mirror.log.origin, head, 0, 0, 0, n_entries)


def _prove(mirror: Mirror, stored: EntryWindows, head: TreeHead, chunk: range) -> None:
    """Raise VerificationError unless entries in a row lead to the root of `head`."""
    tree, sides = our_tree(mirror, head), []
    leaves = {at: leaf_hash(stored.read(at)) for at in chunk}
    for at in (chunk[0], chunk[-1]):
        proof = tree.prove_inclusion(at)
        verify_inclusion(at, leaves[at], head, proof)
        sides.append(of_inclusion(at, leaves[at], head, proof))
    proving_ranges(sides[0], sides[1], leaves, head, mirror.log.origin)
