"""The directory that rekor-server-posix keeps a log in (Tessera's POSIX storage, layout version 1).

    checkpoint, tile/…           as c2sp.org/tlog-tiles has them, nothing compressed
    .state/treeState             {"size":N,"root":"<base64>"}: what was appended, published or not
    .state/gcState               {"fromSize":N}: no partial tiles are left below
    .state/version               1
    .state/treeState.lock        fcntl locks, held while a batch is appended, and
    .state/publish.lock          while a checkpoint is published: a server has no other

So a server that idles holds nothing. What keeps it from signing is a *seal*: words where it
reads a number and JSON. It starts on no such version, and one that runs already can neither
append nor publish with such a tree state. A seal names the home that made it, by its place.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import stat
from base64 import b64encode
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote

from appliance.errors import (
    IncompleteError,
    LimitError,
    LockedError,
    MalformedError,
    RefusedError,
    StoreError,
)
from appliance.store.failures import file_error, output_error
from appliance.store.files import read_foreign, written_whole
from appliance.store.filesystem import Room, room_at, sync_directory, sync_filesystem
from appliance.tlog.merkle import HASH_BYTES, Hash, TreeHead
from appliance.tlog.note import MAX_NOTE_BYTES
from appliance.tlog.strict_base64 import decode_base64
from appliance.value import frozen

STATE: Final = ".state"
CHECKPOINT: Final = "checkpoint"
VERSION: Final = "1"
_LOCKS: Final = ("treeState.lock", "publish.lock")
_SEAL: Final = "attestor"
_MAX_STATE_BYTES: Final = 4096
_FOREIGN: Final = frozenset({"lost+found"})  # what a new filesystem has at its root
_PROCESSES: Final = Path("/proc")


@frozen
class Seal:
    """What keeps a server from a storage: what is done with which log, and by which home."""

    doing: str  # moving, or adopted
    origin: str
    place: str  # of the home, as its last-signed record has it

    def __str__(self) -> str:
        return f"{_SEAL} {self.doing} {quote(self.origin)} {self.place}\n"


MOVING: Final = "moving"  # a log is being written here
ADOPTED: Final = "adopted"  # the log that was here went on in a home


class PosixStorage:
    """One such directory. What it reads is not trusted; what it writes is durable at `flush`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._state = directory / STATE

    # --- what is there

    def seal(self) -> Seal | None:
        """Return the seal; None if there is none. Raises IncompleteError for no storage at all."""
        words = self._read_state("version").split()
        if len(words) == 4 and words[0] == _SEAL:
            return Seal(words[1], unquote(words[2]), words[3])
        if words != [VERSION]:
            raise RefusedError(
                f"{self._state / 'version'}: expected {VERSION}, the layout of rekor-server-posix"
                f" v2, got {' '.join(words)[:80]!r}",
                reason="storage-version",
                next_step="name the --storage-dir of such a server",
            )
        return None

    def checkpoint(self) -> bytes:
        """Return the signed note that was published last."""
        return read_foreign(self.directory / CHECKPOINT, MAX_NOTE_BYTES)

    def tree_state(self) -> TreeHead:
        """Return what was appended, published or not; raises MalformedError for anything else."""
        text = self._read_state("treeState")
        at = text.find("{")  # a seal stands before it
        try:
            found: dict[str, Any] = json.loads(text[max(at, 0) :])
            root = decode_base64(found["root"])
            size = found["size"]
            if type(size) is not int or not 0 <= size < 2**63 or len(root) != HASH_BYTES:
                raise ValueError("size or root")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise MalformedError(
                f"{self._state / 'treeState'} is not a tree state: {text[:60]!r}"
            ) from error
        return TreeHead(size, Hash(root))

    def looks(self) -> tuple[object, ...]:
        """Return what changes whenever a server does something here, to be compared."""
        note, state = self.checkpoint(), self._read_state("treeState")
        try:
            return note, state, (self.directory / CHECKPOINT).stat().st_mtime_ns
        except OSError as error:
            raise file_error(self.directory / CHECKPOINT, error) from error

    def read(self, path: str, max_bytes: int) -> bytes:
        """Read one file from the disk itself, not from what the kernel remembers of it."""
        file = self.directory / path
        try:
            descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise IncompleteError(
                f"{file} is not there",
                reason="not-in-directory",
                next_step="see that the whole storage is there, and mounted",
            ) from error
        except OSError as error:
            raise file_error(file, error) from error
        with os.fdopen(descriptor, "rb") as opened:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise RefusedError(f"{file} is not a regular file", reason="not-a-file")
            with contextlib.suppress(OSError):  # some filesystems remember nothing
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            try:
                data = opened.read(max_bytes + 1)
            except OSError as error:
                raise file_error(file, error) from error
        if len(data) > max_bytes:
            raise LimitError(f"{file} is larger than the {max_bytes} bytes allowed")
        return data

    def room(self) -> Room:
        """Return what is left on its filesystem."""
        return room_at(
            next(one for one in (self.directory, *self.directory.parents) if one.is_dir())
        )

    def users(self) -> tuple[int, ...]:
        """List the processes that have --storage-dir for this directory."""
        found = []
        for process in _PROCESSES.iterdir() if _PROCESSES.is_dir() else ():
            if process.name.isdigit():
                with contextlib.suppress(OSError):  # it ended, or is not ours to look at
                    words = (process / "cmdline").read_bytes().split(b"\0")
                    named = _storage_dir([os.fsdecode(word) for word in words])
                    if named and (process / "cwd" / named).samefile(self.directory):
                        found.append(int(process.name))
        return tuple(sorted(found))

    # --- writing a log there

    def require_usable(self, seal: Seal) -> None:
        """Raise RefusedError unless a log can be written here, or was begun under this seal."""
        if not (self._is_vacant() or self._is_sealed_by(seal)):
            raise _not_empty(self.directory, "is not empty")
        parent = self.directory.parent
        if not parent.is_dir():
            raise output_error(self.directory, FileNotFoundError(errno.ENOENT, os.strerror(2)))

    def has(self, path: str) -> bool:
        """Whether there is a file of this name, whatever is in it."""
        return (self.directory / path).is_file()

    def begin(self, seal: Seal) -> None:
        """Make the directory, and seal it before anything else is in it; durable.

        Raises RefusedError if something else is there already.
        """
        self.require_usable(seal)
        if not self._is_vacant():
            return  # an earlier run did it
        version, state = self._state / "version", self._state
        temporary = version.with_name(f"version.{os.urandom(4).hex()}.tmp")
        try:
            # As Tessera makes them: whoever serves the tiles reads them.
            self.directory.mkdir(mode=0o755, exist_ok=True)
            state.mkdir(mode=0o755, exist_ok=True)
            for leftover in state.iterdir():  # of a run that died here
                leftover.unlink()
            with temporary.open("xb") as file:
                file.write(str(seal).encode())
                file.flush()
                os.fsync(file.fileno())
            # A server that starts at this very moment makes the same file: one of us fails.
            version.hardlink_to(temporary)
            temporary.unlink()
            for one in (state, self.directory, self.directory.parent):
                sync_directory(one)
        except FileExistsError as error:
            raise _not_empty(self.directory, "was taken by another program meanwhile") from error
        except OSError as error:
            raise output_error(self.directory, error) from error

    def _is_vacant(self) -> bool:
        """Whether nothing is there, or what a run left that died before it sealed it."""
        try:
            names = {one.name for one in self.directory.iterdir()} - _FOREIGN
            within = list(self._state.iterdir()) if names == {STATE} else []
        except FileNotFoundError:
            return True
        except OSError as error:
            raise file_error(self.directory, error) from error
        return not names - {STATE} and all(one.suffix == ".tmp" for one in within)

    def _is_sealed_by(self, seal: Seal) -> bool:
        with contextlib.suppress(IncompleteError, RefusedError):
            return self.seal() == seal
        return False

    def put(self, path: str, data: bytes) -> bool:
        """Write a file unless it is there just like this; return whether it was written."""
        file = self.directory / path
        try:
            with contextlib.suppress(FileNotFoundError):
                if file.read_bytes() == data:
                    return False
            file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(file, flags, 0o644), "wb") as opened:
                opened.write(data)
        except OSError as error:
            raise file_error(file, error) from error
        return True

    def flush(self) -> None:
        """Make all that was put durable."""
        try:
            if sync_filesystem(self.directory):
                return
            for parent, _, names in os.walk(self.directory):
                for name in names:
                    descriptor = os.open(Path(parent) / name, os.O_RDONLY | os.O_CLOEXEC)
                    try:
                        os.fsync(descriptor)
                    finally:
                        os.close(descriptor)
                sync_directory(Path(parent))
        except OSError as error:
            raise file_error(self.directory, error) from error

    def finish(self, checkpoint: bytes, head: TreeHead, full_size: int) -> None:
        """Write checkpoint and state, all but the version; durable."""
        self._write(self._state / "treeState", _state_text(head))
        self._write(
            self._state / "gcState", json.dumps({"fromSize": full_size}, separators=(",", ":"))
        )
        self._write(self.directory / CHECKPOINT, checkpoint.decode())

    def release(self) -> None:
        """Take the seal away: from now on a server may start here and sign. Durable."""
        self._write(self._state / "version", VERSION)

    # --- taking a log from there

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold both locks of the storage; raises LockedError if a server holds one."""
        with contextlib.ExitStack() as stack:
            for name in _LOCKS:
                path = self._state / name
                try:
                    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
                    descriptor = os.open(path, flags, 0o644)
                    stack.callback(os.close, descriptor)
                    fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    raise LockedError(
                        f"{path} is held: the server of {self.directory} is running",
                        next_step="stop it, then run this again",
                    ) from error
                except OSError as error:
                    raise file_error(path, error) from error
            yield

    def close(self, seal: Seal) -> None:
        """Seal the storage, tree state as well, so that no server signs from it; durable.

        The caller holds its locks.
        """
        head = self.tree_state()
        self._write(self._state / "version", str(seal))
        # If we die here, no server starts; one that runs reads the next before it signs.
        self._write(self._state / "treeState", f"{seal}{_state_text(head)}")

    def _read_state(self, name: str) -> str:
        path = self._state / name
        try:
            raw = read_foreign(path, _MAX_STATE_BYTES)
        except IncompleteError as error:
            raise IncompleteError(
                f"{path} is not there: {self.directory} is no storage of rekor-server-posix",
                reason="no-storage",
                next_step="name the --storage-dir of such a server, and see that it is mounted",
            ) from error
        return raw.decode("utf-8", "replace")

    def _write(self, path: Path, text: str) -> None:
        try:
            with written_whole(path, replace=True, mode=0o644) as file:
                file.write(text.encode())
        except IncompleteError as error:
            raise StoreError(error.message, reason="file") from error


def _storage_dir(words: Sequence[str]) -> str:
    """Return what a command line has for --storage-dir; an empty string: nothing."""
    for word, after in zip(words, [*words[1:], ""], strict=True):
        name, equals, value = word.partition("=")
        if name in ("--storage-dir", "-storage-dir"):
            return value if equals else after
    return ""


def _not_empty(directory: Path, what: str) -> RefusedError:
    return RefusedError(
        f"{directory} {what}",
        reason="not-empty",
        next_step="name a directory that is new, or empty",
    )


def _state_text(head: TreeHead) -> str:
    state = {"size": head.tree_size, "root": b64encode(head.root_hash).decode()}
    return json.dumps(state, separators=(",", ":"))
