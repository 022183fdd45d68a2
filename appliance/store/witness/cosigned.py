"""What each witness key of this home cosigned last, kept in three places.

The database has it with its note. Beside the key, outside the database, lies

    attestor cosigned/1
    place HEX|ask           (as of a private log's record: a copy of the home has another one)
    SIZE ROOT ORIGIN        (one line a log: decimal, hex, UTF-8)

and the same lines, after the boot they belong to, in the machine's memory
(store/private_log/memory.py). The last two are written before the database. All three only
ever move to trees that were proven consistent with the largest of them: so that one counts,
and a database, or keys/, that was put back to an older state changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from appliance.errors import MalformedError
from appliance.store.database import Store
from appliance.store.home.key_files import (
    COSIGNED_SUFFIX,
    last_record_names,
    read_last_record,
    swap_last_record,
)
from appliance.store.private_log.last_signed import ASK
from appliance.store.private_log.memory import boot_id, read_memories, write_memory
from appliance.tlog.merkle import TreeHead, as_hash
from appliance.tlog.note_keys import VerifierKey
from appliance.value import frozen, replaced

_FIRST_LINE: Final = "attestor cosigned/1"
_MEMORY_LINE: Final = "attestor cosigned-memory/1"

Heads = Mapping[str, TreeHead]  # by origin


@frozen
class CosignedRecord:
    """The record beside a witness's key."""

    place: str  # 64 hex digits, or ASK
    heads: Heads

    def __bytes__(self) -> bytes:
        return f"{_FIRST_LINE}\nplace {self.place}\n{_lines(self.heads)}".encode()


@frozen
class CosignedRow:
    """What the database has of one log and one witness key."""

    origin: str
    key_name: str
    head: TreeHead
    note: bytes  # the log's, with our cosignature
    cosigned_at: int  # Unix seconds


def read_record(home: Path, key_name: str) -> CosignedRecord | None:
    """Return the record of a witness key; None if it never cosigned. Raises MalformedError."""
    raw = read_last_record(home, key_name, COSIGNED_SUFFIX)
    if raw is None:
        return None
    try:
        first, place, lines = raw.decode("utf-8").split("\n", 2)
        record = CosignedRecord(place.removeprefix("place "), _parse_lines(lines))
    except ValueError as error:
        raise MalformedError(f"not a record of cosignatures: {raw[:60]!r}") from error
    if first != _FIRST_LINE or bytes(record) != raw:
        raise MalformedError(f"not a record of cosignatures: {raw[:60]!r}")
    return record


def swap_record(
    home: Path, key_name: str, expected: CosignedRecord | None, new: CosignedRecord
) -> None:
    """Replace the record if it still is `expected`; durable when this returns.

    The caller holds the witness's lock. Raises StoreError if it is another, or cannot be written.
    """
    old = None if expected is None else bytes(expected)
    swap_last_record(home, key_name, COSIGNED_SUFFIX, expected=old, new=bytes(new))


def mark_witnesses_restored(home: Path) -> None:
    """Let every witness of a backup ask before it cosigns, wherever the backup is restored to."""
    for name in last_record_names(home, COSIGNED_SUFFIX):
        record = read_record(home, name)
        if record is not None and record.place != ASK:
            swap_record(home, name, record, replaced(record, place=ASK))


def remember_heads(key: VerifierKey, heads: Heads) -> bool:
    """Keep in the machine's memory of this boot what is cosigned now; return whether it could."""
    boot = boot_id()
    if not boot:
        return False
    return write_memory(_memory_name(key), f"{_MEMORY_LINE}\nboot {boot}\n{_lines(heads)}".encode())


def recall_heads(key: VerifierKey) -> Heads:
    """Return what this boot remembers of what a key cosigned; of each log the largest tree."""
    found: dict[str, TreeHead] = {}
    head = f"{_MEMORY_LINE}\nboot {boot_id()}\n"
    for raw in read_memories(_memory_name(key)):
        text = raw.decode("utf-8", "replace")
        if not boot_id() or not text.startswith(head):
            continue
        try:
            heads = _parse_lines(text.removeprefix(head))
        except (ValueError, MalformedError):
            continue
        found = largest(found, heads)
    return found


def largest(*several: Heads) -> dict[str, TreeHead]:
    """Return of each log the largest tree in any of these."""
    found: dict[str, TreeHead] = {}
    for heads in several:
        for origin, head in heads.items():
            if origin not in found or head.tree_size > found[origin].tree_size:
                found[origin] = head
    return found


def cosigned_rows(store: Store, key_name: str | None = None) -> tuple[CosignedRow, ...]:
    """List what was cosigned last, by origin: by one key, or by all."""
    rows = store.rows(
        "SELECT * FROM cosigned WHERE ?1 IS NULL OR key_name = ?1 ORDER BY origin, key_name",
        [key_name],
    )
    return tuple(
        CosignedRow(
            row["origin"],
            row["key_name"],
            TreeHead(row["tree_size"], as_hash(row["root_hash"])),
            row["note"],
            row["cosigned_at"],
        )
        for row in rows
    )


def put_cosigned(store: Store, row: CosignedRow) -> None:
    """Record what a key cosigned last of a log. Call it inside store.atomic()."""
    store.execute(
        "INSERT INTO cosigned VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
        " tree_size = excluded.tree_size, root_hash = excluded.root_hash, note = excluded.note,"
        " cosigned_at = excluded.cosigned_at",
        [
            *(row.origin, row.key_name, row.head.tree_size, row.head.root_hash),
            *(row.note, row.cosigned_at),
        ],
    )


def _lines(heads: Heads) -> str:
    return "".join(
        f"{head.tree_size} {head.root_hash.hex()} {origin}\n"
        for origin, head in sorted(heads.items())
    )


def _parse_lines(text: str) -> dict[str, TreeHead]:
    found = {}
    for line in text.split("\n")[:-1]:
        size, root, origin = line.split(" ", 2)
        found[origin] = TreeHead(int(size), as_hash(bytes.fromhex(root)))
    return found


def _memory_name(key: VerifierKey) -> str:
    return f"{key.log_id.hex()}.cosigned"
