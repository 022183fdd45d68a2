"""Proofs of sizes that were accepted before proofs were kept, or that rotted here, fetched now.

Each was verified then, and what verified it is gone. Without it a checkpoint can be neither proven
again offline nor be the base of an export.
"""

from __future__ import annotations

from typing import Final

from appliance.errors import IncompleteError, MalformedError, ProofError, RemoteError
from appliance.store.mirror.mirror import Mirror
from appliance.store.mirror.proven_ranges import LackingProofs, ProvenRanges
from appliance.tlog.leaf_ranges import LeafRanges, of_consistency
from appliance.tlog.log_source import ProvingSource
from appliance.tlog.merkle import TreeHead
from appliance.tlog.proof import verify_consistency

AT_ONCE: Final = 50  # requests of one sync


def fetch_older_proofs(mirror: Mirror, source: ProvingSource) -> tuple[str, ...]:
    """Fetch what is missing, as far as the log gives it; return what is to be said of the rest.

    If we die, the next sync goes on.
    """
    lacking = LackingProofs(mirror.store, mirror.log)
    sizes, accepted = lacking.sizes(), mirror.history.accepted()
    if not sizes or accepted is None:
        return ()
    newest, known = accepted.head, ProvenRanges(mirror.store, mirror.log)
    left, asked, why = list[int](), 0, ""
    for size in sizes:
        ours = mirror.history.at(size)
        if ours is None or size >= newest.tree_size or _is_proven(known, ours.head, newest):
            with mirror.store.atomic():
                lacking.settle(size)
            continue
        if why or asked == AT_ONCE:
            left.append(size)
            continue
        asked += 1
        try:
            hashes = source.consistency(size, newest.tree_size)
            verify_consistency(ours.head, newest, hashes)
        except (RemoteError, ProofError, MalformedError, IncompleteError) as error:
            why = error.message
            left.append(size)
            continue
        with mirror.store.atomic():
            mirror.put_ranges(of_consistency(ours.head, newest, hashes))
            lacking.settle(size)
    if not left:
        return ()
    until = f"the log gives them: {why}" if why else "the next syncs have fetched them"
    few = ", ".join(f"{size:,}" for size in left[:3]) + (", …" if len(left) > 3 else "")
    return (
        f"{len(left):,} of its checkpoints ({few}) were accepted before proofs were kept, and"
        " theirs are not here: 'export --base' and 'prove --from-size' of these sizes end 5 until"
        f" {until}",
    )


def _is_proven(known: ProvenRanges, ours: TreeHead, newest: TreeHead) -> bool:
    ranges = LeafRanges(known.find, known.is_any_inside)
    try:
        root = ranges.root(0, ours.tree_size)
        verify_consistency(ours, newest, ranges.consistency(ours.tree_size, newest.tree_size))
    except (LookupError, ProofError):
        return False
    return root == ours.root_hash
