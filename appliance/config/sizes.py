"""Sizes in bytes as people write them: `10737418240`, `10GiB`, `10GB`.

KiB, MiB, GiB, TiB are powers of 1024; kB, MB, GB, TB powers of 1000. A single letter,
`3900M`, is a power of 1024, as split(1) and the other coreutils read it.
"""

from __future__ import annotations

import re
from typing import Final

from appliance.errors import ConfigError

EXPECTED: Final = "a size such as 10737418240, 10GiB, 10GB or 3900M"
MAX_SIZE_BYTES: Final = 2**63 - 1  # what SQLite can hold
_DECIMAL: Final = {"kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_BINARY: Final = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_LETTER: Final = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_BYTES: Final = {"": 1, "KB": 10**3, **_DECIMAL, **_BINARY, **_LETTER}
_SIZE: Final = re.compile(r"(0|[1-9][0-9]{0,18})([A-Za-z]*)")


def parse_size(text: str) -> int:
    """Parse a size into bytes.

    >>> parse_size("10GiB"), parse_size("10GB")
    (10737418240, 10000000000)

    Raises ConfigError (reason bad-size) for anything else.
    """
    found = _SIZE.fullmatch(text)
    unit = _BYTES.get(found[2]) if found else None
    if not found or unit is None:
        raise ConfigError(
            f"expected {EXPECTED}, got {text[:40]!r}",
            reason="bad-size",
            next_step=f"write a whole number and one of {', '.join([*_BINARY, *_DECIMAL])}",
        )
    if (size := int(found[1]) * unit) > MAX_SIZE_BYTES:
        raise ConfigError(f"{text!r} is over {MAX_SIZE_BYTES} bytes", reason="bad-size")
    return size


def format_size(n_bytes: int) -> str:
    """Write a size in its one canonical spelling: the unit that leaves the smallest number.

    >>> format_size(10737418240), format_size(10000000000), format_size(1536)
    ('10GiB', '10GB', '1536')

    Raises ValueError if it is negative.
    """
    if n_bytes < 0:
        raise ValueError(f"a size is not negative: {n_bytes}")
    units = {"": 1, **_BINARY, **_DECIMAL}
    exact = [(n_bytes // size, unit) for unit, size in units.items() if n_bytes % size == 0]
    number, unit = min(exact, key=lambda pair: pair[0])  # the first of equals: 0 has no unit
    return f"{number}{unit}"
