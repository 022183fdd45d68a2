"""Entries that one reader has read and the next wants: each is read once, whoever comes first.

After a sync the index and the watches want the same new entries. Each has its own lock, its
own transactions and its own account of what it has done; this is all they share. What is
remembered counts only under the leaf hashes that the proven tree has for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from appliance.store.mirror.logs import Log
from appliance.tlog.entries import leaf_hashes
from appliance.tlog.merkle import HASH_BYTES
from appliance.tlog.tile import WIDTH, EntryBundle

if TYPE_CHECKING:
    from appliance.rekor.entry_facts import EntryFacts

READ_AT_MOST: Final = 64 * WIDTH  # entries; for more of them the index is asked
_MOST_BYTES: Final = 64 * 1024 * 1024  # of these: how large they are is the choice of whoever logs


class Remembered:
    """What was read of entry bundles, at most so many entries and bytes of them."""

    def __init__(self, most: int = READ_AT_MOST, most_bytes: int = _MOST_BYTES) -> None:
        self._left, self._left_bytes = most, most_bytes
        self._found: dict[tuple[int, int], tuple[bytes, Sequence[EntryFacts]]] = {}

    def keep(
        self, log: Log, tile_index: int, bodies: Sequence[bytes], facts: Sequence[EntryFacts]
    ) -> None:
        """Remember the first entries of a bundle, if there is room."""
        n_bytes = sum(map(len, bodies))
        if len(bodies) <= self._left and n_bytes <= self._left_bytes:
            self._left -= len(bodies)
            self._left_bytes -= n_bytes
            self._found[log.id, tile_index] = leaf_hashes(bodies), facts

    def proven(self, log: Log, bundle: EntryBundle, hashes: bytes) -> Sequence[EntryFacts] | None:
        """Return what the entries of a bundle say; None: nobody read those with these leaf hashes.

        `hashes` are those of the bundle's tile, in the tree that is proven.
        """
        leaves, facts = self._found.get((log.id, bundle.index), (b"", ()))
        n_bytes = bundle.width * HASH_BYTES
        if len(leaves) < n_bytes or leaves[:n_bytes] != hashes[:n_bytes]:
            return None
        return facts[: bundle.width]
