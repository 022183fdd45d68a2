"""A log's history: every accepted tree head, every signed note kept for it, and pruning them."""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from appliance.store.database import Store
from appliance.store.mirror.logs import Log
from appliance.tlog.checkpoint import SignedCheckpoint
from appliance.tlog.merkle import Hash, TreeHead
from appliance.tlog.newest_note import needed_notes, newest_note
from appliance.tlog.note_keys import VerifierKey
from appliance.tlog.tlog_policy import parse_tlog_policy
from appliance.value import frozen

# The history of one log: every tree head accepted, every signed note for it.


SYNCED: Final = frozenset({"direct", "mirror", "import"})  # sources that bring us up to date


@frozen
class AcceptedCheckpoint:
    """A tree head we accepted, and the first note we have for it."""

    head: TreeHead
    note: bytes
    first_seen_at: int  # Unix seconds
    source: str  # direct, mirror, import, seen or private
    detail: str  # URL or file


@frozen
class Arrival:
    """How a checkpoint came to us."""

    source: str  # direct, mirror, import, seen or private
    detail: str  # URL or file
    seen_at: int  # Unix seconds, our clock
    first_seen_at: int | None = None  # Unix seconds, if another site saw it before us
    backend: str | None = None  # that offered it; None: none did
    answered_at: int | None = None  # Unix seconds, when the log did, if that was not seen_at


class History:
    """The accepted checkpoints of one log."""

    def __init__(self, store: Store, log: Log) -> None:
        self.store = store
        self.log = log

    def accepted(self) -> AcceptedCheckpoint | None:
        """Return the newest accepted checkpoint, if there is any."""
        row = self.store.row(
            "SELECT max(tree_size) AS newest FROM checkpoint WHERE log_id = ?", [self.log.id]
        )
        return None if row is None or row["newest"] is None else self.at(row["newest"])

    def at(self, tree_size: int) -> AcceptedCheckpoint | None:
        """Return the accepted checkpoint of exactly this size, if there is one."""
        row = self.store.row(
            "SELECT c.tree_size, c.root_hash, c.first_seen_at, n.note, n.source, n.detail"
            " FROM checkpoint AS c JOIN checkpoint_note AS n USING (log_id, tree_size)"
            " WHERE log_id = ? AND tree_size = ? ORDER BY n.seen_at, n.digest LIMIT 1",
            [self.log.id, tree_size],
        )
        if row is None:
            return None
        head = TreeHead(row["tree_size"], Hash(row["root_hash"]))
        return AcceptedCheckpoint(
            head, row["note"], row["first_seen_at"], row["source"], row["detail"]
        )

    def mirror_checkpoint(self) -> AcceptedCheckpoint | None:
        """Return the largest accepted checkpoint whose tiles are all here, if there is any."""
        row = self.store.row("SELECT mirror_size FROM log WHERE id = ?", [self.log.id])
        size = row["mirror_size"] if row else None
        return None if size is None else self.at(size)

    def accepted_sizes(self, *, above: int = -1) -> list[int]:
        """List the sizes of accepted checkpoints above a size, ascending."""
        rows = self.store.rows(
            "SELECT tree_size FROM checkpoint WHERE log_id = ? AND tree_size > ?"
            " ORDER BY tree_size",
            [self.log.id, above],
        )
        return [row["tree_size"] for row in rows]

    def logged_between(self, entry_index: int) -> tuple[int | None, int | None]:
        """Return between which times an entry was logged, Unix seconds, by our checkpoints.

        After the newest tree without it was first seen, before the first with it was; None
        where no checkpoint says.
        """
        after = self.store.row(
            "SELECT first_seen_at FROM checkpoint WHERE log_id = ? AND tree_size <= ?"
            " ORDER BY tree_size DESC LIMIT 1",
            [self.log.id, entry_index],
        )
        before = self.store.row(
            "SELECT first_seen_at FROM checkpoint WHERE log_id = ? AND tree_size > ?"
            " ORDER BY tree_size LIMIT 1",
            [self.log.id, entry_index],
        )
        return (
            None if after is None else after["first_seen_at"],
            None if before is None else before["first_seen_at"],
        )

    def size_at(self, at: int) -> int:
        """Return the largest size first seen by a time, Unix seconds; 0 if there was none."""
        row = self.store.row(
            "SELECT max(tree_size) AS size FROM checkpoint WHERE log_id = ? AND first_seen_at <= ?",
            [self.log.id, at],
        )
        return 0 if row is None or row["size"] is None else int(row["size"])

    def growth_since(self, at: int) -> list[tuple[int, int]]:
        """List the sizes first seen after a time, Unix seconds, ascending: when, and the size."""
        rows = self.store.rows(
            "SELECT first_seen_at, tree_size FROM checkpoint WHERE log_id = ? AND first_seen_at > ?"
            " ORDER BY tree_size",
            [self.log.id, at],
        )
        return [(row["first_seen_at"], row["tree_size"]) for row in rows]

    def growth(self, limit: int) -> list[tuple[int, int]]:
        """List when a size was first seen, Unix seconds, and the size: evenly chosen, ascending."""
        rows = self.store.rows(
            "SELECT first_seen_at, tree_size FROM (SELECT *, row_number() OVER (ORDER BY tree_size)"
            " AS place, count(*) OVER () AS n FROM checkpoint WHERE log_id = ?1)"
            " WHERE place = n OR place % max(n / ?2, 1) = 0 ORDER BY tree_size",
            [self.log.id, limit],
        )
        return [(row["first_seen_at"], row["tree_size"]) for row in rows]

    def notes(self, tree_size: int) -> list[bytes]:
        """List the distinct signed notes stored for one size, oldest first."""
        rows = self.store.rows(
            "SELECT note FROM checkpoint_note WHERE log_id = ? AND tree_size = ?"
            " ORDER BY seen_at, digest",
            [self.log.id, tree_size],
        )
        return [row["note"] for row in rows]

    def newest_note(self, tree_size: int) -> bytes:
        """Return what the log says last about one size, with every verified signature seen.

        This is what leaves this home. Raises ValueError if no note is stored for the size.
        """
        return newest_note(self.notes(tree_size), signers_of(self.log))

    def insert(self, checkpoint: SignedCheckpoint, arrival: Arrival) -> None:
        """Keep a checkpoint and its note, inside store.atomic().

        Of the notes of one size those stay that say something of their own, whatever is
        written beneath them. Raises ValueError for a second root at one size: the caller
        missed a divergence.
        """
        head = checkpoint.head
        first_seen_at = arrival.seen_at
        if arrival.first_seen_at is not None:
            first_seen_at = min(first_seen_at, arrival.first_seen_at)
        self.store.execute(
            "INSERT INTO checkpoint VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            [self.log.id, head.tree_size, head.root_hash, first_seen_at, arrival.seen_at],
        )
        # Compare-and-swap made visible: the note goes in only under the root it is for.
        inserted = self.store.execute(
            "INSERT INTO checkpoint_note SELECT log_id, tree_size, ?, ?, ?, ?, ? FROM checkpoint"
            " WHERE log_id = ? AND tree_size = ? AND root_hash = ? ON CONFLICT DO NOTHING",
            [
                sha256(checkpoint.note).digest(),
                checkpoint.note,
                arrival.source,
                arrival.detail,
                arrival.seen_at,
                self.log.id,
                head.tree_size,
                head.root_hash,
            ],
        )
        stored = self.at(head.tree_size)
        if inserted.rowcount == 0 and (stored is None or stored.head != head):
            raise ValueError(f"a second root for size {head.tree_size} of {self.log.origin}")
        if inserted.rowcount:
            self._forget_needless(head.tree_size, checkpoint.note)

    def _forget_needless(self, tree_size: int, new: bytes) -> None:
        """Leave of the notes of one size what has its use, now that `new` is one of them.

        The last that came from the log or for it stays as well: witnesses that only somebody
        else knows may have cosigned it. So does what is half of a piece of evidence.
        """
        rows = self.store.rows(
            "SELECT note, source FROM checkpoint_note WHERE log_id = ? AND tree_size = ?"
            " ORDER BY note = ?, seen_at, digest",
            [self.log.id, tree_size, new],
        )
        needed = set(needed_notes([row["note"] for row in rows], signers_of(self.log)))
        from_log = [row["note"] for row in rows if row["source"] != "seen"]
        needed |= set(from_log[-1:])
        for note in {row["note"] for row in rows} - needed:
            self.store.execute(
                "DELETE FROM checkpoint_note WHERE log_id = ?1 AND tree_size = ?2 AND note = ?3"
                " AND NOT EXISTS (SELECT 1 FROM evidence"
                "  WHERE log_id = ?1 AND ?3 IN (ours, theirs))",
                [self.log.id, tree_size, note],
            )


def signers_of(log: Log) -> tuple[VerifierKey, ...]:
    """Return the keys whose signatures under a log's checkpoints say something here."""
    witnesses = () if log.policy is None else parse_tlog_policy(log.policy).witness_keys
    return (*log.keys, *witnesses)


# The newest; the mirror checkpoint; where deltas begin and end; what a holding quarantine
# falls back to; what is half of a piece of evidence.
_PRUNABLE: Final = """
    SELECT tree_size FROM checkpoint AS c WHERE log_id = ?1 AND stored_at < ?2
     AND tree_size < (SELECT max(tree_size) FROM checkpoint WHERE log_id = ?1)
     AND tree_size IS NOT (SELECT mirror_size FROM log WHERE id = ?1)
     AND NOT EXISTS (SELECT 1 FROM transfer_log AS t JOIN log ON log.origin = t.origin
         WHERE log.id = ?1 AND c.tree_size IN (t.base_size, t.head_size, t.old_size, t.new_size))
     AND tree_size IS NOT (SELECT max(tree_size) FROM checkpoint WHERE log_id = ?1 AND tree_size <=
         (SELECT last_common_size FROM quarantine WHERE log_id = ?1 AND lifted_at IS NULL))
     AND NOT EXISTS (SELECT 1 FROM evidence AS e JOIN checkpoint_note AS n ON n.log_id = e.log_id
         WHERE e.log_id = ?1 AND n.tree_size = c.tree_size AND n.note IN (e.ours, e.theirs))
    ORDER BY tree_size
"""


def prunable_sizes(store: Store, log: Log, stored_before: int) -> tuple[int, ...]:
    """List the sizes of checkpoints stored before a time that nothing rests on, ascending."""
    return tuple(row["tree_size"] for row in store.rows(_PRUNABLE, [log.id, stored_before]))


def forget_checkpoints(store: Store, log: Log, sizes: tuple[int, ...]) -> None:
    """Delete checkpoints and their notes. Call it inside store.atomic()."""
    for table in ("checkpoint_note", "checkpoint"):
        store.execute_many(
            f"DELETE FROM {table} WHERE log_id = ? AND tree_size = ?",  # noqa: S608 ours
            [(log.id, size) for size in sizes],
        )
