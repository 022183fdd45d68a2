"""A directory that holds a log as files, for any web server: checkpoint, tile/… (tlog-tiles).

Readers look at it at any time, so a file comes under its name whole, by a rename. Beside the
log's files lies one of ours, which readers never ask for:

    attestor tree/1
    origin ORIGIN           (whose tree this is)
    cleaned DECIMAL         (no partial tile is left of what is full in a tree of this size)
    published SIZE TIME     (one line for each checkpoint that is not old enough for that yet)
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from appliance.errors import MalformedError, RefusedError, StoreError
from appliance.store.failures import file_error
from appliance.store.filesystem import sync_directory, syncfs
from appliance.store.lock import writer_lock
from appliance.tlog.note import MAX_NOTE_BYTES
from appliance.value import frozen

CHECKPOINT: Final = "checkpoint"
_MARK: Final = ".attestor-tree"
_LOCK: Final = ".attestor-tree.lock"
_TEMPORARY: Final = ".attestor-tree.tmp"  # of whatever file is being written
_FIRST_LINE: Final = "attestor tree/1"
_MAX_MARK_BYTES: Final = 1024 * 1024
_FILE_MODE: Final = 0o644  # the web server is another user
_DIRECTORY_MODE: Final = 0o755


@frozen
class TreeMark:
    """What we know of a directory that we publish to."""

    origin: str
    cleaned: int = 0  # tree size
    published: tuple[tuple[int, int], ...] = ()  # (tree size, Unix seconds), ascending

    def __bytes__(self) -> bytes:
        lines = [_FIRST_LINE, f"origin {self.origin}", f"cleaned {self.cleaned}"]
        lines += [f"published {size} {at}" for size, at in self.published]
        return "".join(f"{line}\n" for line in lines).encode()


def parse_tree_mark(raw: bytes) -> TreeMark:
    """Parse the file that marks a directory as ours; raises MalformedError unless it is one."""
    try:
        first, origin, cleaned, *lines = raw.decode("utf-8").removesuffix("\n").split("\n")
        pairs = [line.removeprefix("published ").split(" ") for line in lines]
        published = tuple((int(size), int(at)) for size, at in pairs)
        size = int(cleaned.removeprefix("cleaned "))
        mark = TreeMark(origin.removeprefix("origin "), size, published)
    except ValueError as error:
        raise MalformedError(f"not the mark of a published tree: {raw[:60]!r}") from error
    if bytes(mark) != raw or first != _FIRST_LINE:
        raise MalformedError(f"not the mark of a published tree: {raw[:60]!r}")
    return mark


class StaticTree:
    """One such directory, which may not be there yet."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._unsynced: list[Path] = []

    @contextlib.contextmanager
    def locked(
        self, holder: str, wait_seconds: float, sleep: Callable[[float], None]
    ) -> Iterator[None]:
        """Make the directory and keep other publishers out; raises LockedError, StoreError."""
        try:
            self._make_directory(self.directory)
        except OSError as error:
            raise file_error(self.directory, error) from error
        with writer_lock(
            self.directory, holder=holder, wait_seconds=wait_seconds, sleep=sleep, name=_LOCK
        ):
            yield

    def mark(self) -> TreeMark | None:
        """Return what we wrote down of the directory; None if nothing is there.

        Raises RefusedError (not-our-tree) for what is no mark of ours.
        """
        raw = self._read(self.directory / _MARK, _MAX_MARK_BYTES)
        try:
            return None if raw is None else parse_tree_mark(raw)
        except MalformedError as error:
            raise RefusedError(
                f"{self.directory / _MARK} is damaged",
                reason="not-our-tree",
                next_step="remove it: the tree is then looked through once more",
            ) from error

    def put_mark(self, mark: TreeMark) -> None:
        """Write down what is known of the directory; durable when this returns."""
        self._put(self.directory / _MARK, bytes(mark))
        self.settle()

    def checkpoint(self) -> bytes | None:
        """Return the checkpoint that readers see; None if there is none."""
        return self._read(self.directory / CHECKPOINT, MAX_NOTE_BYTES)

    def holds_tiles(self) -> bool:
        """Whether there are tiles, whoever's they are."""
        return os.path.lexists(self.directory / "tile")

    def is_a_servers(self) -> bool:
        """Whether it is the storage of a log's server (Tessera on POSIX), which writes there."""
        return os.path.lexists(self.directory / ".state")

    def put(self, path: str, data: bytes) -> bool:
        """Put a file at a path of tlog-tiles, unless these very bytes are there.

        Not durable before `settle`. Returns whether it was written.
        """
        place = self.directory / path
        if self._holds(place, data):
            self._unsynced.append(place)  # whoever wrote it may have died before it was durable
            return False
        self._put(place, data)
        return True

    def settle(self) -> None:
        """Make durable whatever was put since."""
        pending, self._unsynced = self._unsynced, []
        try:
            root = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                if len(pending) > 1 and syncfs(root):
                    return
            finally:
                os.close(root)
            for path in pending:
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
            for directory in {one for path in pending for one in self._directories(path)}:
                sync_directory(directory)
        except OSError as error:
            raise file_error(self.directory, error) from error

    def publish(self, note: bytes) -> None:
        """Replace the checkpoint; durable when this returns. What it implies is durable already."""
        self._put(self.directory / CHECKPOINT, note)
        # If we die here, readers see either checkpoint, and the tiles of both are there.
        self.settle()

    def remove_partials(self, path: str) -> int:
        """Remove the partial tiles beside a full one at `path`; return how many files went."""
        place = self.directory / f"{path}.p"
        try:
            files = len(list(place.iterdir()))
            shutil.rmtree(place)
        except (FileNotFoundError, NotADirectoryError):
            return 0
        except OSError as error:
            raise file_error(place, error) from error
        return files

    def _put(self, place: Path, data: bytes) -> None:
        temporary = self.directory / _TEMPORARY
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._make_directory(place.parent)
            # Of a run that was killed. Never written into: it may be a link to something else.
            temporary.unlink(missing_ok=True)
            with os.fdopen(os.open(temporary, flags, _FILE_MODE), "wb") as file:
                os.fchmod(file.fileno(), _FILE_MODE)
                file.write(data)
                file.flush()
                if place.parent == self.directory:
                    os.fsync(file.fileno())  # before its name: readers begin there
            # If we die here, nothing has changed but our own temporary file.
            temporary.rename(place)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise file_error(place, error) from error
        self._unsynced.append(place)

    def _make_directory(self, directory: Path) -> None:
        if directory.is_dir():
            return
        self._make_directory(directory.parent)
        with contextlib.suppress(FileExistsError):
            directory.mkdir(mode=_DIRECTORY_MODE)
            directory.chmod(_DIRECTORY_MODE)  # whatever the umask is

    def _directories(self, path: Path) -> Iterator[Path]:
        """Yield the directories from a file's own up to the tree's."""
        for directory in path.parents:
            yield directory
            if directory == self.directory:
                return

    def _holds(self, place: Path, data: bytes) -> bool:
        try:
            status = place.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise file_error(place, error) from error
        if not stat.S_ISREG(status.st_mode) or status.st_size != len(data):
            return False
        return self._read(place, len(data)) == data

    def _read(self, place: Path, max_bytes: int) -> bytes | None:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            descriptor = os.open(place, flags)
            with os.fdopen(descriptor, "rb") as file:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise StoreError(f"{place} is not a regular file", reason="file")
                data = file.read(max_bytes + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise file_error(place, error) from error
        if len(data) > max_bytes:
            raise StoreError(f"{place} has more than {max_bytes} bytes", reason="file")
        return data
