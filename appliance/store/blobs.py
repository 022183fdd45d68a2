"""Durable content-addressed blobs: blobs/sha256/ab/<64 hex digits>.

Nobody trusts this directory. Every read is re-hashed; whoever can write to it can make
us stop, no more. A crash can leave half a blob that no row names yet, which is written anew
when it is wanted again; nothing takes a file for whole because it is there.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from appliance.errors import CorruptError
from appliance.patterns import pattern
from appliance.store.failures import CORRUPT, file_error
from appliance.store.filesystem import sync_directory, syncfs
from appliance.value import frozen

MAX_FSYNCED: Final = 16  # blobs in one put; more are made durable by one syncfs instead
MAX_BLOB_BYTES: Final = 32 * 1024 * 1024  # an entry bundle, packed, and what a log staged
_MARK: Final = pattern("[0-9a-f]{64}")
_TEMPORARY_SUFFIX: Final = ".tmp"
_CREATING: Final = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_READ_BYTES: Final = 64 * 1024  # at once: a tile and, mostly, a packed entry bundle


class _NotAFileError(Exception):
    """What stands where a blob should can hold none."""


@frozen
class BlobFile:
    """A file in the blob directory. Nothing here says that its bytes are right."""

    path: Path
    digest: bytes | None  # that it is named by; None: it is no blob
    n_bytes: int
    modified_at: int  # Unix seconds; when the blob was stored, unless the home was copied

    @property
    def is_temporary(self) -> bool:
        """Whether it is what a run that was killed left behind."""
        return self.path.name.endswith(_TEMPORARY_SUFFIX)


class Blobs:
    """The blob directory of one home."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def create(self) -> None:
        """Make the root and its 256 directories; doing it again does nothing."""
        for directory in (self.root.parent, self.root):
            directory.mkdir(mode=0o700, exist_ok=True)
        if not (self.root / "ff").is_dir():
            for number in range(256):
                (self.root / f"{number:02x}").mkdir(mode=0o700, exist_ok=True)
            sync_directory(self.root)
            sync_directory(self.root.parent)

    def directories(self) -> Iterator[str]:
        """Yield the directories that the blobs are in, the root first."""
        yield (root := str(self.root))
        yield from (f"{root}/{number:02x}" for number in range(256))

    def verify_writable(self) -> None:
        """Raise StoreError unless a blob could be written now. Leaves nothing behind."""
        try:
            flags = os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC
            descriptor = os.open(self.root, flags, 0o600)
            try:
                os.write(descriptor, b"\0")
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise file_error(self.root, error) from error

    def put(self, batch: Iterable[bytes]) -> list[bytes]:
        """Store each item as it comes and return their digests, 32 bytes each, in order.

        When this returns, all of them survive power loss. Storing the same bytes again
        does no harm. Raises StoreError if the disk is full or fails, and what `batch` raises;
        then it leaves nothing.
        """
        digests: list[bytes] = []
        failures: list[Exception] = []  # of the batch, which may be reading files of its own

        def hashed() -> Iterator[tuple[bytes, bytes]]:
            try:
                for data in batch:
                    digests.append(hashlib.sha256(data).digest())
                    yield digests[-1], data
            except Exception as error:
                failures.append(error)
                raise

        written: list[str] = []
        try:
            self._put(hashed(), written)
        except Exception as error:
            # After a failed fsync the cache may hold what the disk does not, and the next
            # fsync succeed: leave nothing that the next run would take for durable.
            for path in written:
                with contextlib.suppress(OSError):
                    Path(path).unlink()
            if error in failures or not isinstance(error, OSError):
                raise
            raise file_error(self.root, error) from error
        return digests

    def place(self, batch: Iterable[tuple[bytes, bytes]]) -> bool:
        """Store (digest, data) in a process that hashes; say whether all of them are durable.

        If not, some may look as if they were, and it is for whoever holds the home's lock to
        remove those that no row names. Nothing is removed here: who was killed may have left
        a worker, and what it wrote may be named by now.
        """
        try:
            self._put(batch, [])
        except OSError:
            return False
        return True

    def _put(self, batch: Iterable[tuple[bytes, bytes]], written: list[str]) -> None:
        paths: list[str] = []
        # Opened before anything is written: so syncfs is told of a write that fails, even if
        # another process was told before.
        root = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for digest, data in batch:
                path = self.file_name(digest)
                if not _create(path, data, written) and not _holds(path, data):
                    # Rows may name what is damaged there: what replaces it is whole from the
                    # first moment. The name is this process's own.
                    temporary = f"{path}.{os.getpid()}{_TEMPORARY_SUFFIX}"
                    _replace(temporary, path, data)
                    written.append(path)
                paths.append(path)
            # Sync those that were there too: we may have died before this line last time.
            self._sync(paths, root)
        finally:
            os.close(root)

    def get(self, digest: bytes) -> bytes:
        """Return the bytes of one blob, checked against its name.

        Only what a row names is asked for. So raises CorruptError if it is absent, damaged or
        no regular file, and marks it, for a sync to bring it again; StoreError if we may not
        read it.
        """
        path = self.file_name(digest)
        try:
            data = _read(path)
        except FileNotFoundError as error:
            raise self._damaged(digest, "blob-missing", "is gone from the store") from error
        except _NotAFileError as error:
            raise self._damaged(digest, CORRUPT, str(error)) from error
        except OSError as error:
            raise file_error(Path(path), error) from error
        if (got := hashlib.sha256(data).digest()) != digest:
            text = f"is damaged on disk: its bytes hash to {got.hex()}"
            raise self._damaged(digest, CORRUPT, text)
        return data

    def _damaged(self, digest: bytes, reason: str, text: str) -> CorruptError:
        with contextlib.suppress(OSError):  # a reader may not write here; its error stands
            self._marks.mkdir(mode=0o700, exist_ok=True)
            (self._marks / digest.hex()).touch(mode=0o600)
        return CorruptError(
            f"blob {digest.hex()} {text}",
            reason=reason,
            next_step="this is damage here, no answer about anybody: run 'attestor sync', which"
            " brings it again, or import a transfer bundle that has it",
            blobs=[digest.hex()],
        )

    def marked(self) -> tuple[bytes, ...]:
        """List the digests of blobs that were found damaged or gone, by whoever read them."""
        try:
            names = sorted(path.name for path in self._marks.iterdir())
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise file_error(self._marks, error) from error
        return tuple(bytes.fromhex(name) for name in names if _MARK.fullmatch(name))

    def unmark(self, digest: bytes) -> None:
        """Forget that a blob was found damaged."""
        with contextlib.suppress(OSError):
            (self._marks / digest.hex()).unlink(missing_ok=True)

    @property
    def _marks(self) -> Path:
        return self.root.parent / "damaged"

    def files(self) -> Iterator[BlobFile]:
        """Yield every file below the root, whatever it is, in name order.

        Raises StoreError if the directory cannot be read.
        """
        try:
            for place in sorted(self.root.iterdir()):
                inside = sorted(place.iterdir()) if place.is_dir() else [place]
                for path in inside:
                    try:
                        status = path.lstat()
                    except FileNotFoundError:
                        continue  # a temporary file of a run that is going on
                    yield BlobFile(path, _digest(path), status.st_size, int(status.st_mtime))
        except OSError as error:
            raise file_error(self.root, error) from error

    def file(self, digest: bytes) -> BlobFile | None:
        """Return what is known of one blob without reading it; None if it is absent."""
        path = self.path(digest)
        try:
            status = path.lstat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise file_error(path, error) from error
        return BlobFile(path, digest, status.st_size, int(status.st_mtime))

    def remove(self, file: BlobFile) -> None:
        """Delete one file that `files` yielded; again does nothing."""
        try:
            file.path.unlink(missing_ok=True)
        except OSError as error:
            raise file_error(file.path, error) from error

    def path(self, digest: bytes) -> Path:
        """Where the blob of this digest is or would be."""
        return Path(self.file_name(digest))

    def file_name(self, digest: bytes) -> str:
        """The same as text: taking a path apart can cost more than the file it names."""
        name = digest.hex()
        return f"{self.root}/{name[:2]}/{name}"

    def _sync(self, paths: list[str], root: int) -> None:
        if not paths or (len(paths) > MAX_FSYNCED and syncfs(root)):
            return
        for path in paths:
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        for directory in {Path(path).parent for path in paths}:
            sync_directory(directory)


def _digest(path: Path) -> bytes | None:
    """Return the digest that a blob file is named by, or None for a file that is no blob."""
    try:
        digest = bytes.fromhex(path.name)
    except ValueError:
        return None
    named = len(digest) == 32 and digest.hex() == path.name == path.parent.name + path.name[2:]
    return digest if named else None


def _read(path: str) -> bytes:
    """Read a regular file of a blob's size to its end; raises _NotAFileError for anything else.

    Not waiting for whoever might write to a FIFO, nor reading the nothing that a sparse
    file claims to hold.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _NotAFileError("is no regular file")
        if status.st_size > MAX_BLOB_BYTES:
            raise _NotAFileError(f"is damaged on disk: no blob has {status.st_size} bytes")
        data = piece = os.read(descriptor, _READ_BYTES)
        while piece:  # a file's end is where nothing comes any more
            piece = os.read(descriptor, _READ_BYTES)
            data += piece
        return data
    finally:
        os.close(descriptor)


def _create(path: str, data: bytes, written: list[str]) -> bool:
    """Write a blob that is not there; False if something is. Not durable yet.

    Under its own name at once: that is half the price of renaming it, and a blob's bytes are
    compared or hashed wherever they are used. `written` has it before it is whole.
    """
    try:
        descriptor = os.open(path, _CREATING | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    written.append(path)
    _write(descriptor, data)
    return True


def _holds(path: str, data: bytes) -> bool:
    """Whether all of it is there, not half, as after a kill or a power cut."""
    try:
        return _read(path) == data
    except (FileNotFoundError, _NotAFileError):  # a link that leads nowhere, for example
        return False


def _replace(temporary: str, path: str, data: bytes) -> None:
    try:
        Path(temporary).unlink(missing_ok=True)  # never written into: it may be a link
        _write(os.open(temporary, _CREATING | os.O_EXCL, 0o600), data)
        os.rename(temporary, path)  # noqa: PTH104 text, as everywhere here
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _write(descriptor: int, data: bytes) -> None:
    try:
        left = memoryview(data)
        while left:  # a full disk may take the beginning first, and refuse the rest
            left = left[os.write(descriptor, left) :]
    finally:
        os.close(descriptor)
