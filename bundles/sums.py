"""SHA256SUMS: the members in order, each with its digest (bundles/README.md, section 4).

The text is what sha256sum(1) writes and checks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from bundles.errors import FormatError
from bundles.ustar import MAX_NAME_BYTES, SUMS_PATH

PATH_AT: Final = 64 + 2  # of a line: behind the digest and two spaces
MAX_LINE_BYTES: Final = PATH_AT + 70 + MAX_NAME_BYTES + 1  # prefix, name, newline

_LINE: Final = re.compile(r"([0-9a-f]{64})  ([^\n]+)")


def format_sum(path: str, digest: bytes) -> bytes:
    """Return the line of a member."""
    return f"{digest.hex()}  {path}\n".encode()


def parse_sums(blocks: Iterable[bytes]) -> Iterator[tuple[str, bytes]]:
    """Yield path and digest of each line, in archive order, from the text cut anywhere.

    Raises FormatError unless every line is as format_sum writes it; what paths are
    allowed is for bundles.paths to say.
    """
    number = position = 0
    rest = ""
    for block in blocks:
        try:
            text = block.decode("ascii")
        except UnicodeDecodeError as error:
            at = position + error.start
            raise FormatError(f"{SUMS_PATH}: not ASCII at its byte {at}") from error
        position += len(block)
        *lines, rest = (rest + text).split("\n")
        for line in lines:
            number += 1
            found = _LINE.fullmatch(line)
            if found is None:
                raise _no_line(number, line)
            yield found[2], bytes.fromhex(found[1])
        if len(rest) > MAX_LINE_BYTES:  # whatever comes, and there may be much of it
            raise _no_line(number + 1, rest)
    if rest:
        raise FormatError(f"{SUMS_PATH}: the last line is cut short: {rest[:300]!r}")


def _no_line(number: int, line: str) -> FormatError:
    return FormatError(f"{SUMS_PATH}: line {number} is not a digest and a path: {line[:300]!r}")
