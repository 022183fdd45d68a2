"""Tell whether a file is the very export that is asked for again.

A run that is killed when its file has its name, but before anybody was told, leaves a good
stick and a command that will be given once more. An export follows to the last byte from
the store, the command and the second it was made in, and the file says which second that
was; so it is made again, and compared instead of written. A file that differs in one byte
is somebody else's, and stays.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from appliance.errors import ApplianceError, ArgumentError, StoreError
from appliance.store.files import open_foreign
from bundles.errors import BundleError
from bundles.manifest import LogPart
from bundles.reader import Claims, peek
from bundles.strict_json import format_time
from bundles.wrap import Wrap
from bundles.writer import Written

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

# What the files of an export are called, so that FAT and people can tell them apart.


WRAPS: Final = {".tar": Wrap.PLAIN, ".tar.gz": Wrap.GZIP, ".tar.zst": Wrap.ZSTD}
_OUTSIDE_FAT: Final = re.compile(r"[^a-z0-9._-]+")
_VOLUME: Final = re.compile(r"\.v[0-9]{2,4}of[0-9]{2,4}")


def ending(path: Path) -> str:
    """Return .tar, .tar.gz or .tar.zst; raises ArgumentError for another name."""
    for known in sorted(WRAPS, key=len, reverse=True):
        if path.name.endswith(known) and path.name != known:
            return known
    stem = path.name.partition(".tar.")[0] if ".tar." in path.name else path.stem.lstrip(".")
    raise ArgumentError(
        f"{path}: a transfer bundle is a {', '.join(WRAPS)} file, by the end of its name",
        reason="file-name",
        next_step=f"name it {stem or 'stick'}.tar, or give the directory",
    )


def default_name(site: str, logs: Sequence[LogPart], now: int) -> str:
    """Return a name for a file in a directory, of characters that every FAT takes."""
    when = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dt%H%M%Sz")
    bases = [log.base.tree_size if log.base else 0 for log in logs]
    heads = [log.head.tree_size for log in logs]
    return f"{fat_safe(site)[:60]}-{when}-{min(bases, default=0)}-{max(heads, default=0)}.tar"


def fat_safe(text: str) -> str:
    """Replace what FAT, or the name of a volume set, cannot hold."""
    return _OUTSIDE_FAT.sub("-", text.lower()).strip("-.") or "site"


def volume_path(path: Path, number: int, of: int) -> Path:
    """Return where one volume of the export `path` goes."""
    if of == 1:
        return path
    end = ending(path)
    digits = max(2, len(str(of)))
    return path.with_name(f"{path.name.removesuffix(end)}.v{number:0{digits}}of{of:0{digits}}{end}")


def siblings(path: Path) -> list[Path]:
    """List the files beside `path` that are it, or volumes of it."""
    end = ending(path)
    stem = path.name.removesuffix(end)
    try:
        names = sorted(path.parent.iterdir())
    except OSError:
        return []  # what is wrong with it is said when the file is written
    return [
        name
        for name in names
        if name.name.startswith(stem)
        and name.name.endswith(end)
        and (name == path or _VOLUME.fullmatch(name.name[len(stem) : -len(end)]))
    ]


def refuse_other_sets(path: Path, set_name: str) -> None:
    """Raise StoreError if volumes of another set have the names that this one needs."""
    for sibling in siblings(path):
        found = earlier_export(sibling)
        if found is None or found.manifest.volume.set_name != set_name:
            other = f"volume set {found.manifest.volume.set_name}" if found else "no volume of ours"
            raise StoreError(
                f"{sibling} exists already, and is {other}",
                reason="file-exists",
                next_step="choose another name, or another directory",
            )


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
