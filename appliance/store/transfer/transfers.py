"""What left and what arrived in transfer bundles, and who may sign them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence

from appliance.errors import RefusedError
from appliance.store.database import Store
from appliance.store.home.journal import append_event
from appliance.store.revoked_keys import not_revoked, refuse_revoked
from appliance.tlog.merkle import Hash
from appliance.tlog.note_keys import VerifierKey, parse_vkey, same_key
from appliance.value import frozen


@frozen
class FarHead:
    """The tree of a log that a far side has proven for itself."""

    site: str  # its name
    origin: str
    tree_size: int  # leaves
    root_hash: Hash
    told_at: int  # Unix seconds, its clock
    how: str  # receipt, have, code


def far_heads(store: Store, origin: str) -> list[FarHead]:
    """Return what each far side holds of a log."""
    rows = store.rows("SELECT * FROM far_head WHERE origin = ? ORDER BY site", [origin])
    return [
        FarHead(
            *(row["site"], row["origin"], row["tree_size"], Hash(row["root_hash"])),
            *(row["told_at"], row["how"]),
        )
        for row in rows
    ]


def put_far_head(store: Store, far: FarHead, now: int) -> bool:
    """Remember what a far side holds, inside store.atomic(); whether it counts.

    An old word changes nothing. A smaller tree that was told later counts: there a home was
    lost, or begun anew. A larger one counts in any case, for that site's clock may be wrong.
    For the same reason a word from the future counts, and silences none that comes after it.
    """
    told_at = far.told_at
    if told_at > now:
        known = [head.told_at for head in far_heads(store, far.origin) if head.site == far.site]
        told_at = min([*known, now]) if known else 0
    done = store.execute(
        "INSERT INTO far_head VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
        " tree_size = excluded.tree_size, root_hash = excluded.root_hash,"
        " told_at = excluded.told_at, how = excluded.how"
        " WHERE excluded.tree_size >= tree_size OR excluded.told_at >= told_at OR told_at > ?",
        [far.site, far.origin, far.tree_size, far.root_hash, told_at, far.how, now],
    )
    return done.rowcount > 0


def forget_far_side(store: Store, site: str) -> None:
    """Forget what a far side holds, of every log, inside store.atomic()."""
    store.execute("DELETE FROM far_head WHERE site = ?", [site])


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


def record_countersigned(
    store: Store, bundle_id: str, tar_digest: bytes, vkey: str, now: int
) -> None:
    """Remember that a transfer bundle got one more signature; its file has another digest."""
    with store.atomic():
        store.execute(
            "UPDATE transfer SET tar_digest = ? WHERE bundle_id = ? AND direction = 'export'",
            [tar_digest, bundle_id],
        )
        details = {"bundleId": bundle_id, "sha256": tar_digest.hex(), "vkey": vkey}
        append_event(store, now, "transfer.countersigned", details)


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


def exports_of(store: Store, origin: str, *, side: str = "") -> list[Exported]:
    """List a log's exports that deltas may build on, newest first, but for one volume set."""
    rows = store.rows(
        "SELECT DISTINCT at, base_size, head_size, iif(volume_set = '', bundle_id, volume_set)"
        " FROM transfer_log JOIN transfer USING (bundle_id, direction)"
        " WHERE direction = 'export' AND complete AND origin = ? AND volume_set <> ?"
        " ORDER BY at DESC, head_size DESC",
        [origin, side or "-"],
    )
    return [Exported(row["base_size"], row["head_size"]) for row in rows]


def find_export(store: Store, bundle_id: str) -> Transfer | None:
    """Return the export that wrote a transfer bundle, if this home did."""
    row = store.row(
        "SELECT * FROM transfer WHERE direction = 'export' AND bundle_id = ?", [bundle_id]
    )
    return None if row is None else _transfer(store, row)


def newest_exports(store: Store, limit: int) -> list[Transfer]:
    """Return the transfer bundles that left last, newest first."""
    return newest_transfers(store, "export", limit)


def newest_transfers(store: Store, direction: str, limit: int) -> list[Transfer]:
    """Return what left (export) or arrived (import) last, newest first."""
    rows = store.rows(
        "SELECT * FROM transfer WHERE direction = ? ORDER BY at DESC, bundle_id LIMIT ?",
        [direction, limit],
    )
    return [_transfer(store, row) for row in rows]


def _transfer(store: Store, row: sqlite3.Row) -> Transfer:
    logs = store.rows(
        "SELECT * FROM transfer_log WHERE bundle_id = ? AND direction = ? ORDER BY origin",
        [row["bundle_id"], row["direction"]],
    )
    return Transfer(
        row["bundle_id"],
        row["direction"],
        row["at"],
        row["site"],
        row["file_name"],
        row["tar_digest"],
        bool(row["unsigned"]),
        tuple(
            TransferredLog(
                log["origin"], log["base_size"], log["head_size"], log["old_size"], log["new_size"]
            )
            for log in logs
        ),
        row["volume_set"],
        (row["volume_number"], row["volume_of"]),
        bool(row["complete"]),
    )


def exported_heads(store: Store, origin: str, below: int, limit: int) -> list[int]:
    """Return the sizes below one that any export of a log brought, newest exports first."""
    rows = store.rows(
        "SELECT head_size FROM transfer_log JOIN transfer USING (bundle_id, direction)"
        " WHERE direction = 'export' AND origin = ? AND head_size < ?"
        " GROUP BY head_size ORDER BY max(at) DESC, head_size DESC LIMIT ?",
        [origin, below, limit],
    )
    return [row["head_size"] for row in rows]


def exporter_keys(store: Store, role: str = EXPORTER) -> tuple[VerifierKey, ...]:
    """Return the keys enrolled for a role that count: none that was revoked, by whatever name.

    A home of an older version may hold one key under two names; a note counts it once.
    """
    rows = store.rows("SELECT vkey FROM exporter WHERE role = ? ORDER BY vkey", [role])
    enrolled = (parse_vkey(row["vkey"]) for row in rows)
    return not_revoked(store, enrolled)


def add_exporter(
    store: Store, key: VerifierKey, roles: Sequence[str], now: int, *, dry_run: bool = False
) -> None:
    """Enrol a key as `enrol` does, in a transaction of its own."""
    with store.atomic(dry_run=dry_run):
        enrol(store, key, roles, now)


def enrol(store: Store, key: VerifierKey, roles: Sequence[str], now: int) -> None:
    """Enrol a key, inside store.atomic(); one that is enrolled already stays as it is.

    Raises RefusedError for a key that was revoked (revoked-key), or that is enrolled under
    another name (key-has-another-name): under two names it would look like two people.
    """
    refuse_revoked(store, key)
    for other in (*exporter_keys(store), *exporter_keys(store, RECEIPT)):
        if same_key(key, other) and other.name != key.name:
            raise RefusedError(
                f"this is the key of {other.name}, which is enrolled already: one key counts once,"
                f" and not as {key.name} as well",
                reason="key-has-another-name",
                next_step=f"have {key.name} make a key of its own; if the site was renamed:"
                f" attestor exporters remove {other.vkey}, then add it again",
            )
    for role in roles:
        added = store.execute(
            "INSERT INTO exporter VALUES (?, ?, ?) ON CONFLICT DO NOTHING", [key.vkey, role, now]
        )
        if added.rowcount:
            append_event(store, now, "exporter.added", {"vkey": key.vkey, "role": role})


def remove_exporter(store: Store, key: VerifierKey, now: int, *, dry_run: bool = False) -> bool:
    """Withdraw a key from all roles; whether it had any.

    What a site said it holds goes with its last key: a far side that is no more would hold
    every later delta back.
    """
    with store.atomic(dry_run=dry_run):
        removed = drop_exporter(store, key)
        if removed:
            append_event(store, now, "exporter.removed", {"vkey": key.vkey})
            others = (*exporter_keys(store), *exporter_keys(store, RECEIPT))
            if all(other.name != key.name for other in others):
                forget_far_side(store, key.name)
    return removed


def drop_exporter(store: Store, key: VerifierKey) -> bool:
    """Withdraw a key from all roles, inside store.atomic(); whether it had any."""
    rows = store.rows("SELECT DISTINCT vkey FROM exporter")
    own = [row["vkey"] for row in rows if same_key(parse_vkey(row["vkey"]), key)]
    for vkey in own:
        store.execute("DELETE FROM exporter WHERE vkey = ?", [vkey])
    return bool(own)
