"""Numbers that commands take: as large as the store can ask for, and no larger."""

from __future__ import annotations

from typing import Any, Final

import click

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
