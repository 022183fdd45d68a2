"""Numbers that commands take, as large as the store can ask for, and sizes as people read them."""

from __future__ import annotations

from typing import Any, Final

import click

_UNITS: Final = ("kB", "MB", "GB", "TB")
MAX_STORED: Final = 2**63 - 1  # SQLite's largest integer; beyond it Python raises OverflowError


class Whole(click.IntRange):
    """A number from `min` on, shown in help as click shows its own."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse it; what no store can hold is a usage error, not a crash."""
        if isinstance(value, str) and not value.strip().lstrip("+-").isdecimal():
            self.fail(f"{value!r} is not a whole number.", param, ctx)
        number = super().convert(value, param, ctx)
        if number > MAX_STORED:
            self.fail(f"{number} is too large; at most {MAX_STORED}.", param, ctx)
        return number


def size_text(n_bytes: int) -> str:
    """Write a size for people, in powers of 1000 as disks and sticks have it on them.

    >>> size_text(999), size_text(1536), size_text(3_900_000_000)
    ('999 B', '1.5 kB', '3.9 GB')
    """
    if n_bytes < 1000:
        return f"{n_bytes} B"
    number, larger = n_bytes / 1000, 0
    while number >= 999.95 and larger < len(_UNITS) - 1:
        number, larger = number / 1000, larger + 1
    return f"{number:,.1f} {_UNITS[larger]}"
