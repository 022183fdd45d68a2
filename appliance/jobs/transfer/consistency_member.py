"""Consistency proofs in a transfer bundle, of a log that serves no tiles (bundles/README.md, 4).

They lead to the head that the bundle brings, from its base and from where earlier exports may
have brought the far side. Whoever imports verifies them between two heads the log has signed.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from appliance.errors import IncompleteError, MalformedError
from appliance.jobs.our_tree import OurTree
from appliance.tlog.merkle import HASH_BYTES, Hash
from appliance.tlog.strict_base64 import decode_base64

MAX_BYTES: Final = 1024 * 1024
_FROM: Final = re.compile(r"from ([1-9][0-9]{0,18})")


def consistency_member(part_directory: str) -> str:
    """Return the member that holds the proofs of a log's head."""
    return f"{part_directory}/consistency"


def format_consistency(proofs: Mapping[int, Sequence[Hash]]) -> bytes:
    """Write proofs by the size they start at, ascending: a line with it, and one for each hash."""
    lines = []
    for old_size in sorted(proofs):
        lines += [f"from {old_size}", *(b64encode(one).decode() for one in proofs[old_size])]
    return "".join(f"{line}\n" for line in lines).encode()


def parse_consistency_member(data: bytes) -> dict[int, tuple[Hash, ...]]:
    """Return the proofs by the size they start at; raises MalformedError for another form."""
    found: dict[int, list[Hash]] = {}
    hashes: list[Hash] | None = None
    try:
        lines = data.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise _malformed("it is not ASCII") from error
    if len(data) > MAX_BYTES or lines.pop():
        raise _malformed("it is too long, or cut short")
    for number, line in enumerate(lines, start=1):
        start = _FROM.fullmatch(line)
        if start is not None:
            size = int(start[1])
            if size <= max(found, default=0):
                raise _malformed(f"line {number}: sizes do not ascend")
            hashes = found[size] = []
            continue
        value = decode_base64(line, f"line {number}")
        if hashes is None or len(value) != HASH_BYTES:
            raise _malformed(f"line {number} is no hash of a proof")
        hashes.append(Hash(value))
    return {size: tuple(one) for size, one in found.items()}


def proofs_from(tree: OurTree, sizes: Iterable[int]) -> dict[int, tuple[Hash, ...]]:
    """Prove our head from these sizes, as far as what is here proves it."""
    found = {}
    for size in sizes:
        try:
            found[size] = tree.prove_consistency(size)
        except IncompleteError:
            continue
    return found


def _malformed(message: str) -> MalformedError:
    return MalformedError(f"consistency proofs in a transfer bundle: {message}", reason="proof")
