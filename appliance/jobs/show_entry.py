"""What a log holds at an index: the entry's bytes, proven, and what it says was logged."""

from __future__ import annotations

import json

from appliance.errors import VerificationError
from appliance.jobs.prove import prove_inclusion
from appliance.rekor.entry import Dsse, Entry, HashedRekord, parse_entry
from appliance.store.database import Store
from appliance.store.journal import JournalLine, journal_lines
from appliance.store.mirror import Mirror
from appliance.store.publications import PUBLISHED
from appliance.tlog.checkpoint import open_checkpoint
from appliance.tlog.entries import parse_entry_bundle
from appliance.tlog.merkle import Hash, TreeHead, leaf_hash
from appliance.tlog.proof import verify_inclusion
from appliance.tlog.tile import WIDTH, EntryBundle
from appliance.value import frozen


@frozen
class ShownEntry:
    """One entry, as our copy of the log has it."""

    entry_index: int
    body: bytes  # the leaf
    leaf: Hash
    head: TreeHead  # accepted, and proven to hold it
    entry: Entry | None  # None: a log can hold anything, and this is no Rekor entry

    @property
    def digest(self) -> str:
        """What was signed, algorithm and hex; empty if that cannot be read."""
        if isinstance(self.entry, HashedRekord):
            return str(self.entry.data)
        return str(self.entry.payload) if isinstance(self.entry, Dsse) else ""


def show_entry(mirror: Mirror, entry_index: int) -> ShownEntry:
    """Read an entry from the mirrored entry bundles and prove it included.

    Raises IncompleteError if it is not covered or its entry bundle is not here, ProofError
    or DigestError if what is stored is damaged.
    """
    proof = prove_inclusion(mirror, entry_index)
    head = open_checkpoint(proof.note, mirror.log.keys, mirror.log.origin).head
    index, position = divmod(entry_index, WIDTH)
    coordinate = EntryBundle(index, min(WIDTH, head.tree_size - index * WIDTH))
    body = parse_entry_bundle(mirror.read_entry_bundle(coordinate), coordinate)[position]
    leaf = leaf_hash(body)
    verify_inclusion(entry_index, leaf, head, proof.hashes)
    try:
        entry = parse_entry(body)
    except VerificationError:
        entry = None
    return ShownEntry(entry_index, body, leaf, head, entry)


def published_as(store: Store, origin: str, entry_index: int) -> JournalLine | None:
    """Return the line of our journal that says that we published this entry, if there is one."""
    for line in journal_lines(store, event=PUBLISHED):
        details = json.loads(line.details)
        if (details["origin"], details["rekor_log_index"]) == (origin, entry_index):
            return line
    return None
