"""Which entries Sigstore bundles are about, for an export that only has to prove these.

They are verified over there. Here they choose tiles, once it is clear that those will prove
them: an entry that our tree has not, or a checkpoint that contradicts it, is found out on
this side of the gap.
"""

from __future__ import annotations

from collections.abc import Iterable

from appliance.errors import IncompleteError, ProofError
from appliance.jobs.divergence.gossip import compare_note
from appliance.jobs.local_tiles import told_apart
from appliance.jobs.our_tree import is_without_tiles, our_tree
from appliance.jobs.transfer.plan import ProvenEntry, require_head
from appliance.sigstore.attestation_files import parse_attestation_file
from appliance.store.database import Store
from appliance.store.mirror.logs import find_log
from appliance.store.mirror.mirror import Mirror
from appliance.tlog.checkpoint import parse_checkpoint
from appliance.tlog.merkle import leaf_hash
from appliance.tlog.note import parse_note


def proven_entries(raw: bytes) -> tuple[ProvenEntry, ...]:
    """Return the entries of the Sigstore bundles in one file.

    Raises MalformedError or LimitError for a file that holds none, IncompleteError if one
    does not say where in which tree its entry is.
    """
    found = []
    bundles = parse_attestation_file(raw)
    for entry in (one for bundle in bundles for one in bundle.log_entries or (None,)):
        proof = entry.inclusion_proof if entry else None
        if entry is None or proof is None or not proof.checkpoint:
            raise IncompleteError(
                "the Sigstore bundle does not say where in a tree its entry is",
                reason="no-inclusion-proof",
                next_step="export without --for, with everything that is new",
            )
        note = proof.checkpoint.encode()
        checkpoint = parse_checkpoint(parse_note(note).text)
        place = (checkpoint.origin, proof.entry_index, checkpoint.head.tree_size)
        found.append(ProvenEntry(*place, leaf_hash(entry.canonicalized_body), note))
    return tuple(found)


def require_ours(store: Store, wanted: Iterable[ProvenEntry], detail: str, now: int) -> None:
    """Check that our own tree has the entries; of logs that are not known here say nothing.

    Raises ProofError if it has another there, and what compare_note raises: DivergenceError,
    evidence stored, if the log signed a checkpoint in `detail` that contradicts our tree.
    """
    for one in wanted:
        log = find_log(store, one.origin)
        if log is None:
            continue
        compare_note(store, one.note, detail, now)
        _require_entry(Mirror(store, log), one, detail)


def _require_entry(mirror: Mirror, one: ProvenEntry, detail: str) -> None:
    head = require_head(mirror).head
    if one.entry_index >= head.tree_size:
        return  # the plan says what to do about that
    tree = our_tree(mirror, head)
    try:
        ours = told_apart(mirror, lambda: tree.leaf(one.entry_index))
    except IncompleteError:
        if not is_without_tiles(mirror):
            raise
        return  # its checkpoint is of our tree; whether it holds the entry, its own proof says
    if ours != one.leaf:
        raise ProofError(
            f"entry {one.entry_index} of {one.origin} is not the one in {detail}: its leaf hash"
            f" is {ours.hex()}, expected {one.leaf.hex()}",
            reason="other-entry",
            next_step="the Sigstore bundle proves nothing: attestor verify says the same of it",
        )
