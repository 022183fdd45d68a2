"""Where the blobs of a home lie: in it, or in a directory of another disk that it links to.

`HOME/blobs` is a directory or a link to one, so whoever has the home's path has the blobs, at
every instant of a move. A directory elsewhere holds a file that names its home: a copied home
must not sweep away the blobs of the one it was copied from.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from appliance.errors import ConfigError, RefusedError, StoreError
from appliance.store.failures import DISK_FULL, file_error
from appliance.store.filesystem import filesystem_type, is_network, sync_directory, sync_filesystem

BLOBS_NAME: Final = "blobs"
OWNER_NAME: Final = "attestor-home"  # in a directory elsewhere: the home whose blobs they are
_ASIDE: Final = "blobs.moved"  # beside `blobs`: what takes its place, then what it was before
_RESERVE_BYTES: Final = 64 * 1024 * 1024
_TOGETHER: Final = 4096  # files that one flush makes durable
_AT_FDCWD: Final = -100
_RENAME_EXCHANGE: Final = 2  # of linux/fs.h
_DIRECTORIES: Final = ("sha256", "damaged")


def blob_place(home: Path) -> Path | None:
    """Return the directory elsewhere that the blobs of a home lie in; None: in the home."""
    link = home / BLOBS_NAME
    return link.readlink() if link.is_symlink() else None


def verify_blob_place(home: Path) -> None:
    """Raise StoreError if the blobs lie elsewhere and are not there, or are another home's."""
    place = blob_place(home)
    if place is None:
        return
    owner = _owner(place)
    if owner is None:
        raise StoreError(
            f"the blobs of this home lie in {place}, and nothing there says so",
            reason="blobs-elsewhere",
            next_step="mount the disk that it is on, and see that we may read it",
        )
    if owner != _name(home):
        raise StoreError(
            f"the blobs in {place} are those of {owner}, not of {_name(home)}",
            reason="blobs-elsewhere",
            next_step=f"if this home is a copy, give it blobs of its own: rm {home / BLOBS_NAME} &&"
            f" cp -a {place} {home / BLOBS_NAME}; if it is that home, moved: attestor store"
            f" move-blobs {place}",
        )


def move_blobs(home: Path, place: Path | None, progress: Callable[[int], None]) -> int:
    """Let the blobs of `home` lie in `place`, None: in the home; return how many were moved.

    The caller holds the home's lock. Killed at any instant, the same call goes on, and the home
    has its blobs all the time: they are copied, durable, before `blobs` leads to the copy, and
    what was there is removed after. Raises ConfigError or RefusedError for a place that cannot
    be, StoreError if it is full or fails.
    """
    try:
        return _move(home, place, progress)
    except OSError as error:
        raise file_error(place or home, error) from error


def _move(home: Path, place: Path | None, progress: Callable[[int], None]) -> int:
    link, aside = home / BLOBS_NAME, home / _ASIDE
    if place is not None:
        _prepare(home, place)
    _recover(link, aside)
    count = 0
    if blob_place(home) != place:
        target = _aside(aside, place)
        count = _copy(link, target, progress)
        # If we die here, the copy is whole and nothing leads to it; the next call compares it.
        _exchange(aside, link)
        sync_directory(home)
        # From here on the home has its blobs in the new place, and `aside` is what is left.
    if os.path.lexists(aside):
        _remove(aside)
        sync_directory(home)
    return count


def _recover(link: Path, aside: Path) -> None:
    """Finish an exchange that was killed between its renames, where it cannot be had in one."""
    between = _between(aside)
    if not os.path.lexists(link) and os.path.lexists(aside):
        aside.rename(link)
    if os.path.lexists(between):
        between.rename(aside)


def _between(aside: Path) -> Path:
    return aside.with_name(f"{aside.name}.old")


def _prepare(home: Path, place: Path) -> None:
    """Make `place` a directory of this home's, or raise."""
    if not place.is_absolute():
        raise ConfigError(
            f"expected an absolute path or {BLOBS_NAME}, got {str(place)[:80]!r}",
            reason="bad-value",
            next_step="write the whole path",
        )
    inside = place.resolve().is_relative_to(home.resolve())
    if inside or home.resolve().is_relative_to(place.resolve()):
        raise ConfigError(
            f"{place} and the home {home} lie in one another",
            reason="bad-value",
            next_step=f"choose a directory apart from it, or {BLOBS_NAME} for the home's own",
        )
    kind = filesystem_type(place)
    if is_network(kind):
        raise ConfigError(
            f"{place} is on a network filesystem ({kind}), where fsync does not hold",
            reason="network-filesystem",
            next_step="choose a directory of a local disk",
        )
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    if place.stat().st_uid != os.geteuid() or place.stat().st_mode & 0o022:
        raise RefusedError(
            f"{place} belongs to another user, or others may write there",
            reason="foreign-directory",
            next_step=f"give us a directory of our own: chown {os.geteuid()} {place}; chmod 700",
        )
    owner = _owner(place)
    if owner is None and any(place.iterdir()):
        raise RefusedError(
            f"{place} is not empty, and holds no blobs of this home",
            reason="not-empty",
            next_step="name a directory that is empty or not there yet",
        )
    if owner not in (None, _name(home)) and (Path(owner or "") / "attestor.db").exists():
        raise RefusedError(
            f"{place} holds the blobs of {owner}",
            reason="blobs-elsewhere",
            next_step="name a directory of this home's own",
        )
    (place / OWNER_NAME).write_text(f"{_name(home)}\n", encoding="utf-8")
    _flush(place)


def _aside(aside: Path, place: Path | None) -> Path:
    """Put beside `blobs` what is to take its place; return the directory to copy to."""
    if aside.is_symlink():
        aside.unlink()  # of a move to another place that was begun
    if place is None:
        aside.mkdir(mode=0o700, exist_ok=True)
        return aside
    if aside.is_dir():
        _remove(aside)  # of a move into the home that was begun
    aside.symlink_to(place)
    return place


def _copy(source: Path, target: Path, progress: Callable[[int], None]) -> int:
    """Copy every file that is not there already, durable when this returns."""
    import shutil  # it brings three compressors, and a move is rare

    wanted = list(_files(source))
    missing = sum(path.stat().st_size for path in wanted if not _same(path, source, target))
    free = shutil.disk_usage(target).free
    if free < missing + _RESERVE_BYTES:
        raise StoreError(
            f"{target} has {free:,} bytes free; the blobs need {missing:,}, and"
            f" {_RESERVE_BYTES:,} must stay free",
            reason=DISK_FULL,
            next_step="choose a larger disk",
        )
    for number in range(256):
        (target / "sha256" / f"{number:02x}").mkdir(mode=0o700, parents=True, exist_ok=True)
    for count, path in enumerate(wanted, 1):
        if not _same(path, source, target):
            copy = target / path.relative_to(source)
            copy.parent.mkdir(mode=0o700, exist_ok=True)
            shutil.copy2(path, copy)  # with its time: pruning goes by it
        progress(1)
        if count % _TOGETHER == 0:
            _flush(target)
    _flush(target)
    return len(wanted)


def _flush(target: Path) -> None:
    if not sync_filesystem(target):
        os.sync()


def _same(path: Path, source: Path, target: Path) -> bool:
    """Whether a file was copied whole before; half of one is shorter, or has other bytes."""
    copy = target / path.relative_to(source)
    try:
        return copy.stat().st_size == path.stat().st_size and copy.read_bytes() == path.read_bytes()
    except FileNotFoundError:
        return False


def _exchange(one: Path, other: Path) -> None:
    """Let two names change what they name, at one instant where the filesystem can."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if hasattr(libc, "renameat2"):
        names = (_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other))
        if libc.renameat2(*names, _RENAME_EXCHANGE) == 0:
            return
        number = ctypes.get_errno()
        if number not in (errno.EINVAL, errno.ENOSYS):
            raise OSError(number, os.strerror(number), str(other))
    between = _between(one)
    other.rename(between)
    one.rename(other)
    between.rename(one)


def _remove(aside: Path) -> None:
    """Remove blobs that are in another place by now: the files we know, and empty directories."""
    place = aside.readlink() if aside.is_symlink() else aside
    if place.is_dir():
        for path in _files(place):
            path.unlink()
        for name in _DIRECTORIES:
            for directory in (*sorted((place / name).glob("*")), place / name):
                if directory.is_dir():
                    directory.rmdir()
        (place / OWNER_NAME).unlink(missing_ok=True)
    if aside.is_symlink():
        aside.unlink()  # the directory itself may be a mount point, and stays
    else:
        aside.rmdir()


def _files(place: Path) -> Iterator[Path]:
    for name in _DIRECTORIES:
        yield from sorted(path for path in (place / name).rglob("*") if path.is_file())


def _owner(place: Path) -> str | None:
    try:
        return (place / OWNER_NAME).read_text(encoding="utf-8").rstrip("\n")
    except OSError:
        return None


def _name(home: Path) -> str:
    return str(home.resolve())
