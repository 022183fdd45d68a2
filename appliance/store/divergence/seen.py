"""Checkpoints of a log seen elsewhere that our own tree does not reach yet."""

from __future__ import annotations

from hashlib import sha256

from appliance.store.database import Store
from appliance.store.mirror.checkpoints import Arrival, signers_of
from appliance.store.mirror.logs import Log
from appliance.tlog.checkpoint import SignedCheckpoint
from appliance.tlog.newest_note import needed_notes
from appliance.value import frozen


@frozen
class SeenNote:
    """A signed note that waits until it can be compared."""

    note: bytes
    tree_size: int
    detail: str  # file or URL it was seen in
    seen_at: int  # Unix seconds


def remember_seen(store: Store, log: Log, checkpoint: SignedCheckpoint, arrival: Arrival) -> None:
    """Keep a note until it can be compared; one that says nothing new is not kept.

    Inside store.atomic().
    """
    head = checkpoint.head
    rows = store.rows(
        "SELECT note FROM seen_checkpoint WHERE log_id = ? AND tree_size = ? AND root_hash = ?"
        " ORDER BY seen_at, digest",
        [log.id, head.tree_size, head.root_hash],
    )
    known = [row["note"] for row in rows if row["note"] != checkpoint.note]
    needed = needed_notes([*known, checkpoint.note], signers_of(log))
    for note in known:
        if note not in needed:
            forget_seen(store, log, note)
    if checkpoint.note not in needed:
        return
    store.execute(
        "INSERT INTO seen_checkpoint VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        [
            log.id,
            sha256(checkpoint.note).digest(),
            head.tree_size,
            head.root_hash,
            checkpoint.note,
            arrival.detail,
            arrival.seen_at,
        ],
    )


def waiting_seen(store: Store, log: Log, up_to: int | None = None) -> tuple[SeenNote, ...]:
    """List the notes that wait, smallest first; with `up_to` those that our tree reaches."""
    rows = store.rows(
        "SELECT note, tree_size, detail, seen_at FROM seen_checkpoint"
        " WHERE log_id = ? AND (? IS NULL OR tree_size <= ?) ORDER BY tree_size, digest",
        [log.id, up_to, up_to],
    )
    return tuple(
        SeenNote(row["note"], row["tree_size"], row["detail"], row["seen_at"]) for row in rows
    )


def gossip_notes(store: Store, log: Log, limit: int, *, only_proven: bool = False) -> list[bytes]:
    """Return notes that were seen elsewhere, compared or not, largest trees first."""
    rows = store.rows(
        "SELECT note, tree_size, digest FROM seen_checkpoint WHERE log_id = ? AND NOT ?"
        " UNION SELECT note, tree_size, digest FROM checkpoint_note"
        " WHERE log_id = ? AND source = 'seen' ORDER BY tree_size DESC, digest LIMIT ?",
        [log.id, only_proven, log.id, limit],
    )
    return [row["note"] for row in rows]


def forget_seen(store: Store, log: Log, note: bytes) -> None:
    """Take out a note that was compared: it is in the history now, or it is evidence."""
    store.execute(
        "DELETE FROM seen_checkpoint WHERE log_id = ? AND digest = ?",
        [log.id, sha256(note).digest()],
    )
