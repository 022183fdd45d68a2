"""Consistency proofs in a transfer bundle, of a log that serves no tiles (bundles/README.md, 4).

They lead to the head that the bundle brings, from its base and from where earlier exports may
have brought the far side. Whoever imports verifies them between two heads the log has signed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from appliance.errors import IncompleteError, MalformedError
from appliance.jobs.our_tree import OurTree
from appliance.jobs.transfer.hash_lists import format_hash_lists, parse_hash_lists
from appliance.tlog.merkle import Hash

MAX_BYTES: Final = 1024 * 1024


def consistency_member(part_directory: str) -> str:
    """Return the member that holds the proofs of a log's head."""
    return f"{part_directory}/consistency"


def format_consistency(proofs: Mapping[int, Sequence[Hash]]) -> bytes:
    """Write proofs by the size they start at, ascending: a line with it, and one for each hash."""
    return format_hash_lists("from", proofs)


def parse_consistency_member(data: bytes) -> dict[int, tuple[Hash, ...]]:
    """Return the proofs by the size they start at; raises MalformedError for another form."""
    what = "consistency proofs in a transfer bundle"
    found = parse_hash_lists("from", data, MAX_BYTES, what)
    if 0 in found:
        raise MalformedError(f"{what}: there is nothing to prove from 0", reason="proof")
    return found


def proofs_from(tree: OurTree, sizes: Iterable[int]) -> dict[int, tuple[Hash, ...]]:
    """Prove our head from these sizes, as far as what is here proves it."""
    found = {}
    for size in sizes:
        try:
            found[size] = tree.prove_consistency(size)
        except IncompleteError:
            continue
    return found
