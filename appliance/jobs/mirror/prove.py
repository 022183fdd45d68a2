"""What a log holds at an index: the entry's bytes, proven, and what it says was logged."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from appliance.errors import (
    DigestError,
    IncompleteError,
    LimitError,
    ProofError,
    RefusedError,
    VerificationError,
)
from appliance.jobs.local_tiles import told_apart
from appliance.jobs.opened_notes import open_note_of
from appliance.jobs.our_tree import is_in_ranges, our_tree, our_tree_for_proofs
from appliance.rekor.entry import Digest, Dsse, Entry, HashedRekord, parse_entry
from appliance.rekor.request import HashedRekordRequest
from appliance.rekor.signing_algorithms import BY_KEY_DETAILS
from appliance.rekor.transparency_log_entry import (
    InclusionProof,
    TransparencyLogEntry,
    format_log_entry,
)
from appliance.sigstore.bundle_making import finish_bundle, unfinished_bundle
from appliance.sigstore.sigstore_bundle import MessageSignature, parse_sigstore_bundle
from appliance.store.database import Store
from appliance.store.divergence.quarantine import quarantine_of
from appliance.store.home.journal import JournalLine, journal_lines
from appliance.store.mirror.checkpoints import AcceptedCheckpoint
from appliance.store.mirror.entry_windows import EntryWindows
from appliance.store.mirror.mirror import Mirror
from appliance.store.queue.publications import PUBLISHED
from appliance.tlog.checkpoint import SignedCheckpoint
from appliance.tlog.entries import parse_entry_bundle
from appliance.tlog.merkle import Hash, TreeHead, leaf_hash
from appliance.tlog.proof import root_from_inclusion, verify_inclusion
from appliance.tlog.tile import WIDTH, EntryBundle
from appliance.tlog.tlog_proof import TlogProof
from appliance.value import frozen, replaced

# Fresh proofs from local tiles, for anybody who has the log's key (prove).


def prove_inclusion(mirror: Mirror, entry_index: int, tree_size: int | None = None) -> TlogProof:
    """Prove an entry under the newest checkpoint that local tiles reach, or the one at a size.

    Raises IncompleteError if the entry is not covered, the size was never accepted or a
    tile is missing; CorruptError if a stored tile is damaged or gone; RefusedError
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
    note = mirror.history.newest_note(accepted.head.tree_size)
    signed = open_note_of(mirror.store, mirror.log, note)
    tree = our_tree_for_proofs(mirror, signed.head)
    proof = told_apart(mirror, lambda: tree.prove_inclusion(entry_index))
    return TlogProof(entry_index, proof, note)


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
    tree = our_tree(mirror, head)
    old_root = told_apart(mirror, lambda: tree.root_at(old_size))
    proof = told_apart(mirror, lambda: tree.prove_consistency(old_size))
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


# What somebody who logged something gets back: the entry with its proof (docs/rekor.md).


KIND: Final = "hashedrekord"
VERSION: Final = "0.0.2"


def logged_entry(
    entry_index: int, body: bytes, checkpoint: SignedCheckpoint, hashes: Sequence[Hash]
) -> TransparencyLogEntry:
    """Join a logged body and its inclusion proof under `checkpoint`."""
    proof = InclusionProof(
        entry_index,
        checkpoint.head.root_hash,
        checkpoint.head.tree_size,
        tuple(hashes),
        checkpoint.note.decode(),
    )
    log_id = checkpoint.signers[0].log_id
    return TransparencyLogEntry(entry_index, log_id, KIND, VERSION, body, inclusion_proof=proof)


def stored_entry(mirror: Mirror, entry_index: int) -> TransparencyLogEntry:
    """Read a logged entry back, with a fresh proof; raises as prove_inclusion does.

    Raises RefusedError for an entry of a Rekor v1 log: its index over all trees and the log's
    promise are not here.
    """
    if is_in_ranges(mirror):
        raise RefusedError(
            f"{mirror.log.origin} is a tree of a Rekor v1 log: what is here of an entry is its"
            " body and its proof, not what the log signed for it when it came",
            reason="no-promise",
            next_step="have the bundle that its signer kept, and give it today's proof: attestor"
            " prove --upgrade BUNDLE",
        )
    proof = prove_inclusion(mirror, entry_index)
    checkpoint = open_note_of(mirror.store, mirror.log, proof.note)
    index, position = divmod(entry_index, WIDTH)
    bundle = EntryBundle(index, min(WIDTH, checkpoint.head.tree_size - index * WIDTH))
    entries = parse_entry_bundle(mirror.read_entry_bundle(bundle), bundle)
    return logged_entry(entry_index, entries[position], checkpoint, proof.hashes)


def sigstore_bundle(entry: TransparencyLogEntry, request: HashedRekordRequest) -> bytes:
    """Make the Sigstore bundle of a logged request.

    It holds no timestamp; a certificate's short life must be proven by one (RFC 3161).
    """
    algorithm = BY_KEY_DETAILS[request.verifier.key_details].digest
    content = MessageSignature(request.signature, Digest(algorithm, request.digest))
    return finish_bundle(unfinished_bundle(content, request.verifier), entry)


# Give a Sigstore bundle today's proof from local tiles (prove --upgrade).


def upgrade_bundle(mirror: Mirror, raw: bytes) -> tuple[bytes, InclusionProof]:
    """Return the Sigstore bundle `raw` with a fresh inclusion proof, and that proof.

    Raises IncompleteError if the bundle gives no place in a tree or the mirror does not
    reach it, ProofError if our tree holds another entry there.
    """
    entry = parse_sigstore_bundle(raw).log_entry
    if entry is None or entry.inclusion_proof is None:
        raise IncompleteError(
            "the Sigstore bundle does not say where in a tree its entry is",
            reason="no-inclusion-proof",
            next_step="name the entry: attestor prove --origin O --index N",
        )
    fresh = fresh_proof(mirror, entry)
    document = json.loads(raw)  # parsed strictly above
    material = document["verificationMaterial"]
    material["tlogEntries"] = [format_log_entry(replaced(entry, inclusion_proof=fresh))]
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode(), fresh


def fresh_proof(mirror: Mirror, entry: TransparencyLogEntry) -> InclusionProof:
    """Prove an entry under our newest checkpoint that has tiles; raises as upgrade_bundle does."""
    if entry.inclusion_proof is None:
        raise ValueError("an entry without a place in a tree")
    index = entry.inclusion_proof.entry_index
    proof = prove_inclusion(mirror, index)
    signed = open_note_of(mirror.store, mirror.log, proof.note)
    leaf = leaf_hash(entry.canonicalized_body)
    root = root_from_inclusion(index, signed.head.tree_size, leaf, proof.hashes)
    if root != signed.head.root_hash:
        raise ProofError(
            f"{mirror.log.origin}: our tree holds another entry at {index} than the bundle",
            reason="other-entry",
            next_step="verify the Sigstore bundle: 'attestor verify' says whose fault it is",
        )
    return InclusionProof(
        index, signed.head.root_hash, signed.head.tree_size, proof.hashes, proof.note.decode()
    )


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

    Raises IncompleteError if it is not covered or its entry bundle is not here, CorruptError
    if what is stored is damaged or gone.
    """
    proof = prove_inclusion(mirror, entry_index)
    head = open_note_of(mirror.store, mirror.log, proof.note).head
    body = _body(mirror, entry_index, head.tree_size)
    leaf = leaf_hash(body)
    told_apart(mirror, lambda: verify_inclusion(entry_index, leaf, head, proof.hashes))
    try:
        entry = parse_entry(body)
    except (VerificationError, LimitError):
        entry = None
    return ShownEntry(entry_index, body, leaf, head, entry)


def _body(mirror: Mirror, entry_index: int, tree_size: int) -> bytes:
    if is_in_ranges(mirror):
        read = EntryWindows(mirror.store, mirror.log).read
        return told_apart(mirror, lambda: read(entry_index))
    index, position = divmod(entry_index, WIDTH)
    coordinate = EntryBundle(index, min(WIDTH, tree_size - index * WIDTH))
    packed = mirror.read_entry_bundle(coordinate)
    return told_apart(mirror, lambda: parse_entry_bundle(packed, coordinate)[position])


def published_as(store: Store, origin: str, entry_index: int, digest: str) -> JournalLine | None:
    """Return the line of our journal that says that we published this entry, if there is one.

    Raises DigestError (not-published) if it tells of another digest than the entry's.
    """
    for line in journal_lines(store, event=PUBLISHED):
        details = line.facts
        if (details["origin"], details["rekor_log_index"]) != (origin, entry_index):
            continue
        if details["digest"] != digest:
            raise DigestError(
                f"line {line.id} of the journal says that {details['digest']} was logged there,"
                f" the log has {digest or 'none'}",
                reason="not-published",
                next_step="run 'attestor journal verify'; if it is whole, ask the log's operator",
            )
        return line
    return None
