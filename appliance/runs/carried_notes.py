"""The checkpoints in Sigstore bundles that somebody wants proven: sync --for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from appliance.errors import IncompleteError
from appliance.jobs.divergence.gossip import keep_note
from appliance.runs.exit_codes import naming
from appliance.store.database import Store
from appliance.store.files import read_foreign
from appliance.store.mirror.checkpoints import History
from appliance.store.mirror.logs import find_log
from appliance.tlog.checkpoint import Checkpoint, parse_checkpoint
from appliance.tlog.note import parse_note
from appliance.value import frozen


@frozen
class CarriedNote:
    """The signed note in one bundle."""

    file: str
    note: bytes
    checkpoint: Checkpoint  # as it says; not verified


@frozen
class PlacedNote:
    """Where it stands now."""

    file: str
    origin: str
    tree_size: int
    proven: bool  # a prefix of the tree that we accepted


def read_carried(files: Sequence[Path]) -> tuple[CarriedNote, ...]:
    """Read the bundles; raises IncompleteError (no-checkpoint) for one without a checkpoint."""
    if not files:
        return ()
    from appliance.sigstore.attestation_files import MAX_FILE_BYTES, read_attestation_file

    found = []
    for file in files:
        with naming(file):
            for bundle in read_attestation_file(read_foreign(file, MAX_FILE_BYTES)).bundles:
                proof = bundle.log_entry.inclusion_proof if bundle.log_entry else None
                if proof is None or not proof.checkpoint:
                    raise IncompleteError(
                        "the bundle holds no checkpoint that could be proven",
                        reason="no-checkpoint",
                        next_step="a bundle that rests on a promise alone needs the log's entries",
                    )
                note = proof.checkpoint.encode()
                checkpoint = parse_checkpoint(parse_note(note).text)
                found.append(CarriedNote(str(file), note, checkpoint))
    return tuple(found)


def keep_known(store: Store, notes: Sequence[CarriedNote], now: int) -> None:
    """Keep the notes of the logs that are pinned here, to be compared in this very sync.

    Raises SignatureError, naming the file, for a note that no pinned key signed.
    """
    for note in notes:
        if find_log(store, note.checkpoint.origin) is not None:
            with naming(Path(note.file)):
                keep_note(store, note.note, note.file, now)


def place(store: Store, notes: Sequence[CarriedNote]) -> tuple[PlacedNote, ...]:
    """Say of each note whether it is proven by now."""
    placed = []
    for note in notes:
        origin, head = note.checkpoint.origin, note.checkpoint.head
        log = find_log(store, origin)
        known = None if log is None else History(store, log).at(head.tree_size)
        proven = known is not None and known.head == head
        placed.append(PlacedNote(note.file, origin, head.tree_size, proven))
    return tuple(placed)


def unproven(placed: Sequence[PlacedNote]) -> IncompleteError | None:
    """Return the error that says which of them could not be proven; None: all are."""
    waiting = [one for one in placed if not one.proven]
    if not waiting:
        return None
    first = waiting[0]
    return IncompleteError(
        f"{len(waiting)} of {len(placed)} checkpoints are not proven yet: {first.file} has"
        f" {first.origin} at {first.tree_size:,} entries",
        reason="not-proven",
        next_step="see that the log is a backend here and answers; then run it again",
    )
