"""Entry bundles: up to 256 log entries, each after its length (c2sp.org/tlog-tiles)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from appliance.errors import MalformedError
from appliance.tlog.merkle import leaf_hash
from appliance.tlog.tile import WIDTH, EntryBundle

MAX_ENTRY_BYTES: Final = 65_535  # what the two length bytes can say
MAX_BUNDLE_BYTES: Final = WIDTH * (2 + MAX_ENTRY_BYTES)


def parse_entry_bundle(data: bytes, bundle: EntryBundle) -> tuple[bytes, ...]:
    """Split an entry bundle into its entries.

    Raises MalformedError unless `data` is exactly `bundle.width` entries.
    """
    entries: list[bytes] = []
    start = 0
    while start < len(data) and len(entries) < bundle.width:
        stop = start + 2 + int.from_bytes(data[start : start + 2])
        if stop > len(data):
            raise MalformedError(
                f"{bundle.path}: entry {len(entries)} ends at byte {stop}, "
                f"the entry bundle at {len(data)}"
            )
        entries.append(data[start + 2 : stop])
        start = stop
    if len(entries) != bundle.width or start != len(data):
        got = f"{len(entries)} entries" + (" and more" if start != len(data) else "")
        raise MalformedError(
            f"{bundle.path}: expected {bundle.width} entries, got {got}",
            reason="entry-bundle-width",
        )
    return tuple(entries)


def truncate_entry_bundle(data: bytes, width: int) -> bytes:
    """Return the first `width` entries of a longer entry bundle; a shorter comes whole."""
    stop = 0
    for _ in range(width):
        if stop + 2 > len(data):
            break
        stop += 2 + int.from_bytes(data[stop : stop + 2])
    return data[:stop]


def format_entry_bundle(entries: Sequence[bytes]) -> bytes:
    """Join entries into an entry bundle; raises ValueError for one over 65,535 bytes."""
    for entry in entries:
        if len(entry) > MAX_ENTRY_BYTES:
            raise ValueError(f"an entry has at most 65535 bytes, this has {len(entry)}")
    return b"".join(len(entry).to_bytes(2) + entry for entry in entries)


def leaf_hashes(entries: Sequence[bytes]) -> bytes:
    """Return the level 0 tile over entries: their leaf hashes, concatenated."""
    return b"".join(leaf_hash(entry) for entry in entries)
