"""Tables as comma-separated values (RFC 4180, lines end with LF), safe to open in a spreadsheet.

A spreadsheet runs a cell that begins like a formula, and names in logs are anybody's. Such a
text gets an apostrophe before it, which a spreadsheet takes for "this is text"; JSON has it exact.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

# What begins a formula, also in full width, and what a spreadsheet passes over before it.
_FORMULA: Final = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
_QUOTED: Final = frozenset(',;"\t\r\n')  # Python's writer leaves a CR bare: a new row to others


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Write a table, without the end of its last line; None is an empty cell."""
    return "\n".join(",".join(map(_cell, row)) for row in (columns, *rows))


def _cell(value: object) -> str:
    text = "" if value is None else str(value)
    if isinstance(value, str) and text.startswith(_FORMULA):  # a number is none, whatever its sign
        text = f"'{text}"
    if _QUOTED.isdisjoint(text):
        return text
    doubled = text.replace('"', '""')
    return f'"{doubled}"'
