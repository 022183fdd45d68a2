"""The second, small record of what a private log signed last (DESIGN.md invariant 7).

It lies beside the key, outside the database, so that a restored database cannot sign a
fork: whoever signs compares the two first. It also names the place it was written at, so
that a copied home cannot either.

    attestor last-signed/1
    place HEX|ask           (SHA-256 of what a copy cannot have; ask: it is a backup)
    base DECIMAL            (tree size before the batch that the note covers)
    staged HEX|none         (blob with that batch: its entries as one entry bundle, zstd)
    moving|moved PATH       (only if another server has the log, or is to have it; URL-quoted)
                            (an empty line)
    the checkpoint, a signed note, byte for byte
"""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from appliance.errors import MalformedError, StoreError
from appliance.store.home.key_files import (
    KEYS_NAME,
    last_record_names,
    read_last_record,
    swap_last_record,
)
from appliance.value import frozen, replaced

_FIRST_LINE: Final = "attestor last-signed/1"
_NONE: Final = "none"
_MOVING: Final = "moving"
_MOVED: Final = "moved"
ASK: Final = "ask"  # the place of a copy: whoever restores it is asked first
_MACHINE_ID: Final = Path("/etc/machine-id")


@frozen
class Move:
    """That a log is to go on under another server: this home signs nothing for it any more."""

    directory: str  # the other server's storage
    is_done: bool  # False: it is still being written, and no server can have started on it

    def __str__(self) -> str:
        return f"{_MOVED if self.is_done else _MOVING} {quote(os.fsencode(self.directory))}"


@frozen
class LastSigned:
    """What a private log signed last, and how to finish publishing it."""

    place: str  # 64 hex digits, or ASK
    base_size: int  # tree size the batch was appended to
    staged: bytes | None  # digest of the blob with the batch; None: the empty tree
    note: bytes  # signed checkpoint
    move: Move | None = None  # None: the log is at home

    def __bytes__(self) -> bytes:
        lines = [
            _FIRST_LINE,
            f"place {self.place}",
            f"base {self.base_size}",
            f"staged {self.staged.hex() if self.staged else _NONE}",
            *([] if self.move is None else [str(self.move)]),
        ]
        return "\n".join(lines).encode() + b"\n\n" + self.note


def parse_last_signed(raw: bytes) -> LastSigned:
    """Parse a record; raises MalformedError unless it is the one spelling of it."""
    head, _, note = raw.partition(b"\n\n")
    try:
        _, place, base, staged, *moves = head.decode("ascii").split("\n")
        blob = staged.removeprefix("staged ")
        record = LastSigned(
            place.removeprefix("place "),
            int(base.removeprefix("base ")),
            None if blob == _NONE else bytes.fromhex(blob),
            note,
            *map(_parse_move, moves),
        )
    except (TypeError, ValueError) as error:
        raise MalformedError(f"not a last-signed record: {raw[:60]!r}") from error
    if bytes(record) != raw or len(record.staged or bytes(32)) != 32:
        raise MalformedError(f"not a last-signed record: {raw[:60]!r}")
    return record


def _parse_move(line: str) -> Move:
    how, _, directory = line.partition(" ")
    return Move(os.fsdecode(unquote_to_bytes(directory)), how == _MOVED)


def read_last_signed(home: Path, origin: str) -> LastSigned | None:
    """Return the record of a private log, None if there is none; raises MalformedError."""
    raw = read_last_record(home, origin)
    return None if raw is None else parse_last_signed(raw)


def mark_restored(home: Path) -> None:
    """Let every log of a backup ask before it signs, wherever the backup is restored to."""
    for origin in last_record_names(home):
        last = read_last_signed(home, origin)
        if last is not None and last.place != ASK:
            asking = replaced(last, place=ASK)
            swap_last_signed(home, origin, expected=last, new=asking)


def swap_last_signed(
    home: Path, origin: str, *, expected: LastSigned | None, new: LastSigned
) -> None:
    """Replace the record if it still is `expected`; durable when this returns.

    The caller holds the home's lock. Raises StoreError if it is another or cannot be written.
    """
    old = None if expected is None else bytes(expected)
    swap_last_record(home, origin, expected=old, new=bytes(new))


def staged_blobs(home: Path) -> frozenset[bytes]:
    """Return the digests of blobs that only a record names: a sweep must leave them alone."""
    records = (read_last_signed(home, origin) for origin in last_record_names(home))
    return frozenset(record.staged for record in records if record is not None and record.staged)


def place_of(home: Path) -> str:
    """Name the place of a home: the machine, and the directory its keys are in.

    Moving the home within its filesystem keeps it; a copy, a restored backup and another
    machine have another one. A snapshot of the whole disk does not: nothing on it could tell.
    """
    try:
        machine = _MACHINE_ID.read_bytes().strip()
    except OSError:
        machine = b""  # containers often have none; the directory still tells copies apart
    try:
        inode = (home / KEYS_NAME).stat().st_ino
    except OSError as error:
        raise StoreError(f"{home / KEYS_NAME}: {error.strerror}", reason="file") from error
    return sha256(b"%s\n%d\n" % (machine, inode)).hexdigest()
