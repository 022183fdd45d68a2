"""Lists of hashes as transfer bundles carry them: a line that names one, and a line for each hash.

The numbers in the lines that name them ascend. bundles/README.md has the members made of such.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence

from appliance.errors import MalformedError
from appliance.tlog.merkle import HASH_BYTES, Hash
from appliance.tlog.strict_base64 import decode_base64


def format_hash_lists(word: str, lists: Mapping[int, Sequence[Hash]]) -> bytes:
    """Write lists of hashes by number, ascending."""
    lines = []
    for number in sorted(lists):
        lines += [f"{word} {number}", *(b64encode(one).decode() for one in lists[number])]
    return "".join(f"{line}\n" for line in lines).encode()


def parse_hash_lists(
    word: str, data: bytes, max_bytes: int, what: str
) -> dict[int, tuple[Hash, ...]]:
    """Return the lists by number; raises MalformedError for another form. `what` names `data`."""

    def malformed(message: str) -> MalformedError:
        return MalformedError(f"{what}: {message}", reason="proof")

    names_one = re.compile(re.escape(word) + r" (0|[1-9][0-9]{0,18})")
    found: dict[int, list[Hash]] = {}
    hashes: list[Hash] | None = None
    try:
        lines = data.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise malformed("it is not ASCII") from error
    if len(data) > max_bytes or lines.pop():
        raise malformed("it is too long, or cut short")
    for line_number, line in enumerate(lines, start=1):
        begin = names_one.fullmatch(line)
        if begin is not None:
            number = int(begin[1])
            if number <= max(found, default=-1):
                raise malformed(f"line {line_number}: numbers do not ascend")
            hashes = found[number] = []
            continue
        value = decode_base64(line, f"line {line_number}")
        if hashes is None or len(value) != HASH_BYTES:
            raise malformed(f"line {line_number} is no hash of a proof")
        hashes.append(Hash(value))
    return {number: tuple(one) for number, one in found.items()}
