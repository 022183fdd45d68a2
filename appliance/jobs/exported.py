"""Tell whether a file is the very export that is asked for again.

A run that is killed when its file has its name, but before anybody was told, leaves a good
stick and a command that will be given once more. An export follows to the last byte from
the store, the command and the second it was made in, and the file says which second that
was; so it is made again, and compared instead of written. A file that differs in one byte
is somebody else's, and stays.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from appliance.errors import ApplianceError, StoreError
from appliance.store.files import open_foreign
from bundles.errors import BundleError
from bundles.reader import Claims, peek
from bundles.strict_json import format_time
from bundles.writer import Written

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


def earlier_export(path: Path) -> Claims | None:
    """Return what a file says it is; None if there is none, or it is no transfer bundle."""
    try:
        with open_foreign(path) as file:
            return peek(file)
    except (ApplianceError, BundleError):
        return None


def refuse_expired(path: Path, earlier: Claims, now: int) -> None:
    """Raise StoreError if nobody can import that export any more: it is not to be made again."""
    expires = earlier.manifest.expires
    if expires is not None and expires < now:
        raise StoreError(
            f"{path} exists already, and expired at {format_time(expires)}",
            reason="file-exists",
            next_step="choose another name",
        )


def compare_export(path: Path, write: Callable[[BinaryIO], Written]) -> Written | None:
    """Let `write` make the export again; None unless the file holds exactly that.

    Raises what `write` raises, and StoreError if the file cannot be read.
    """
    with open_foreign(path) as file:
        try:
            written = write(_Comparison(file))
        except _DifferentError:
            return None
        return None if file.read(1) else written


class _DifferentError(Exception):
    """The file holds other bytes."""


class _Comparison(io.BytesIO):
    """Takes what is written, and keeps none of it: compares it with a file."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file

    def write(self, data: ReadableBuffer, /) -> int:
        """Compare the next bytes; raises _DifferentError."""
        expected = bytes(data)
        if self._file.read(len(expected)) != expected:
            raise _DifferentError
        return len(expected)
