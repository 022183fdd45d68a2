"""What left and what arrived in transfer bundles, and who may sign them (TRANSFER.md)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from appliance.store.database import Store
from appliance.store.journal import append_event
from appliance.tlog.note_keys import VerifierKey, parse_vkey
from appliance.value import frozen

EXPORTER = "exporter"
RECEIPT = "receipt"


@frozen
class TransferredLog:
    """What one transfer bundle carried of one log."""

    origin: str
    base_size: int | None  # None: complete from the first leaf
    head_size: int
    old_size: int | None  # our mirror size before an import; None: none
    new_size: int | None  # and after


@frozen
class Transfer:
    """One transfer bundle that left or arrived whole."""

    bundle_id: str  # SHA-256 of its manifest, hex
    direction: str  # export or import
    at: int  # Unix seconds
    site: str
    file_name: str
    tar_digest: bytes  # SHA-256 of the file
    unsigned: bool
    logs: tuple[TransferredLog, ...]
    volume_set: str = ""  # the same for all volumes of one export
    volume: tuple[int, int] = (1, 1)  # number and of how many
    complete: bool = True  # every tile from base to head: a later delta may build on it


def record_transfer(
    store: Store, transfer: Transfer, also: Callable[[], None] = lambda: None
) -> bool:
    """Remember a transfer bundle, in the journal as well; whether it is new.

    The second time changes nothing. `also` writes what belongs to it, in the same transaction.
    """
    with store.atomic():
        inserted = store.execute(
            "INSERT INTO transfer VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            [
                transfer.bundle_id,
                transfer.direction,
                transfer.at,
                transfer.site,
                transfer.file_name,
                transfer.tar_digest,
                transfer.unsigned,
                transfer.volume_set,
                *transfer.volume,
                transfer.complete,
            ],
        )
        if not inserted.rowcount:
            return False
        store.execute_many(
            "INSERT INTO transfer_log VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            [
                (
                    transfer.bundle_id,
                    transfer.direction,
                    log.origin,
                    log.base_size,
                    log.head_size,
                    log.old_size,
                    log.new_size,
                )
                for log in transfer.logs
            ],
        )
        append_event(store, transfer.at, f"transfer.{transfer.direction}ed", _told(transfer))
        also()
    return True


def _told(transfer: Transfer) -> dict[str, object]:
    return {
        "bundleId": transfer.bundle_id,
        "site": transfer.site,
        "file": transfer.file_name,
        "sha256": transfer.tar_digest.hex(),
        "unsigned": transfer.unsigned,
        "volume": list(transfer.volume),
        "logs": [
            {
                "origin": log.origin,
                "base": log.base_size,
                "head": log.head_size,
                "old": log.old_size,
                "new": log.new_size,
            }
            for log in transfer.logs
        ],
    }


def was_imported(store: Store, bundle_id: str) -> bool:
    """Whether this very transfer bundle was imported to its end before."""
    row = store.row(
        "SELECT 1 FROM transfer WHERE bundle_id = ? AND direction = 'import'", [bundle_id]
    )
    return row is not None


def imported_volumes(store: Store, volume_set: str) -> set[int]:
    """Return the numbers of the volumes of a set that were imported."""
    rows = store.rows(
        "SELECT volume_number FROM transfer WHERE direction = 'import' AND volume_set = ?",
        [volume_set],
    )
    return {row["volume_number"] for row in rows}


@frozen
class Exported:
    """What one export, in however many volumes, carried of a log."""

    base_size: int | None  # None: complete from the first leaf
    head_size: int


def exports_of(store: Store, origin: str, *, besides: str = "") -> list[Exported]:
    """List a log's exports that deltas may build on, newest first, but for one volume set."""
    rows = store.rows(
        "SELECT DISTINCT at, base_size, head_size, iif(volume_set = '', bundle_id, volume_set)"
        " FROM transfer_log JOIN transfer USING (bundle_id, direction)"
        " WHERE direction = 'export' AND complete AND origin = ? AND volume_set <> ?"
        " ORDER BY at DESC, head_size DESC",
        [origin, besides or "-"],
    )
    return [Exported(row["base_size"], row["head_size"]) for row in rows]


def exporter_keys(store: Store, role: str = EXPORTER) -> tuple[VerifierKey, ...]:
    """Return the keys enrolled for a role."""
    rows = store.rows("SELECT vkey FROM exporter WHERE role = ? ORDER BY vkey", [role])
    return tuple(parse_vkey(row["vkey"]) for row in rows)


def add_exporter(
    store: Store, key: VerifierKey, roles: Sequence[str], now: int, *, dry_run: bool = False
) -> None:
    """Enrol a key; one that is enrolled already stays as it is."""
    with store.atomic(dry_run=dry_run):
        for role in roles:
            added = store.execute(
                "INSERT INTO exporter VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                [key.vkey, role, now],
            )
            if added.rowcount:
                append_event(store, now, "exporter.added", {"vkey": key.vkey, "role": role})


def remove_exporter(store: Store, key: VerifierKey, now: int, *, dry_run: bool = False) -> bool:
    """Withdraw a key from all roles; whether it had any."""
    with store.atomic(dry_run=dry_run):
        removed = store.execute("DELETE FROM exporter WHERE vkey = ?", [key.vkey])
        if removed.rowcount:
            append_event(store, now, "exporter.removed", {"vkey": key.vkey})
    return removed.rowcount > 0
