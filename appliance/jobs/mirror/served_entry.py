"""An entry by its index from a log that is read over the network: proven, not mirrored."""

from __future__ import annotations

from appliance.jobs.mirror.prove import logged_entry
from appliance.rekor.transparency_log_entry import TransparencyLogEntry
from appliance.tlog.checkpoint import SignedCheckpoint
from appliance.tlog.entries import parse_entry_bundle
from appliance.tlog.log_source import LogSource
from appliance.tlog.merkle import leaf_hash
from appliance.tlog.proof import verify_inclusion
from appliance.tlog.tile import WIDTH, EntryBundle
from appliance.tlog.tile_tree import TileTree


def served_entry(
    source: LogSource, signed: SignedCheckpoint, entry_index: int
) -> TransparencyLogEntry:
    """Read an entry and its proof from a log's tiles, under a checkpoint that was opened.

    The caller sees to it that the tree has the entry. Raises ProofError or MalformedError for
    tiles or an entry that are not of that tree, and what the source raises.
    """
    index, position = divmod(entry_index, WIDTH)
    bundle = EntryBundle(index, min(WIDTH, signed.head.tree_size - index * WIDTH))
    proof = TileTree(signed.head).prove_inclusion(
        entry_index, lambda wanted: dict(source.tiles(wanted))
    )
    [(_, data)] = source.entry_bundles([bundle])
    body = parse_entry_bundle(data, bundle)[position]
    verify_inclusion(entry_index, leaf_hash(body), signed.head, proof)
    return logged_entry(entry_index, body, signed, proof)
