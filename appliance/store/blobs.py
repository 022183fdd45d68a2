"""Durable content-addressed blobs: blobs/sha256/ab/<64 hex digits> (SPEC.md section 3).

Nobody trusts this directory. Every read is re-hashed; whoever can write to it can make
us stop, no more. A crash can leave half a blob that no row names yet, which is written anew
when it is wanted again; nothing takes a file for whole because it is there.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from appliance.errors import ApplianceError, DigestError, IncompleteError
from appliance.store.failures import file_error
from appliance.value import frozen

MAX_FSYNCED: Final = 16  # blobs in one put; more are made durable by one syncfs instead
_TEMPORARY_SUFFIX: Final = ".tmp"
_SYNC_FILE_RANGE_WRITE: Final = 2  # of linux/fs.h
_READ_BYTES: Final = 64 * 1024  # at once: a tile and, mostly, a packed entry bundle


@frozen
class BlobFile:
    """A file in the blob directory. Nothing here says that its bytes are the right ones."""

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
            _sync_directory(self.root)
            _sync_directory(self.root.parent)

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
        """Store each item and return their digests, 32 bytes each, in order.

        When this returns, all of them survive power loss. Storing the same bytes again
        does no harm. Raises StoreError if the disk is full or fails.
        """
        digests: list[bytes] = []

        def hashed() -> Iterator[tuple[bytes, bytes]]:
            for data in batch:
                digests.append(hashlib.sha256(data).digest())
                yield digests[-1], data

        self.put_hashed(hashed())
        return digests

    def put_hashed(self, batch: Iterable[tuple[bytes, bytes]]) -> None:
        """Store as `put` does what the caller has hashed: (digest, data)."""
        paths: list[str] = []
        written: list[str] = []
        try:
            # Opened before anything is written: so it is told of a write that fails, even if
            # another process was told before.
            root = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                for digest, data in batch:
                    path = self.file_name(digest)
                    if _write(path, data):
                        written.append(path)
                    paths.append(path)
                # Sync those that were there too: we may have died before this line last time.
                self._sync(paths, root)
            finally:
                os.close(root)
        except OSError as error:
            raise self._undone(written, error) from error

    def _undone(self, written: Iterable[str], error: OSError) -> ApplianceError:
        # After a failed fsync the cache may hold what the disk does not, and the next
        # fsync succeed: leave nothing that the next run would take for durable.
        for path in written:
            with contextlib.suppress(OSError):
                Path(path).unlink()
        return file_error(self.root, error)

    def get(self, digest: bytes) -> bytes:
        """Return the bytes of one blob, checked against its name.

        Raises IncompleteError if it is absent, DigestError if it is damaged.
        """
        path = self.file_name(digest)
        try:
            data = _read(path)
        except FileNotFoundError as error:
            raise IncompleteError(
                f"blob {digest.hex()} is not in the store",
                reason="blob-missing",
                next_step="fetch it again with 'attestor sync' or import a bundle that has it",
            ) from error
        except OSError as error:
            raise file_error(Path(path), error) from error
        if (got := hashlib.sha256(data).digest()) != digest:
            raise DigestError(
                f"blob {digest.hex()} is damaged on disk: its bytes hash to {got.hex()}",
                reason="blob-damaged",
                next_step="run 'attestor store check --read-data', then sync or import again",
            )
        return data

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
        if not paths or (len(paths) > MAX_FSYNCED and _syncfs(root)):
            return
        for path in paths:
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        for directory in {Path(path).parent for path in paths}:
            _sync_directory(directory)


def _digest(path: Path) -> bytes | None:
    """Return the digest that a blob file is named by, or None for a file that is no blob."""
    try:
        digest = bytes.fromhex(path.name)
    except ValueError:
        return None
    named = len(digest) == 32 and digest.hex() == path.name == path.parent.name + path.name[2:]
    return digest if named else None


def _read(path: str) -> bytes:
    """Read a file to its end, with as few calls as it takes."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = piece = os.read(descriptor, _READ_BYTES)
        while piece:  # a file's end is where nothing comes any more
            piece = os.read(descriptor, _READ_BYTES)
            data += piece
        return data
    finally:
        os.close(descriptor)


def _write(path: str, data: bytes) -> bool:
    """Write one blob unless it is there; return whether it was not. Not durable yet.

    Under its own name at once: that is half the price of renaming it, and a blob's bytes are
    compared or hashed wherever they are used.
    """
    try:
        _write_file(path, data, os.O_EXCL)
    except FileExistsError:
        # Half of it, if a run was killed or the power cut since; all of it, nearly always.
        if _read(path) == data:
            return False
        # Rows may name it, so what replaces it is whole from the first moment. The name is
        # this process's own: who was killed may have left workers that are not quite gone.
        temporary = f"{path}.{os.getpid()}{_TEMPORARY_SUFFIX}"
        _write_file(temporary, data, os.O_TRUNC)
        os.rename(temporary, path)  # noqa: PTH104 text, as everywhere here
    return True


def _write_file(path: str, data: bytes, flags: int) -> None:
    descriptor = os.open(
        path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | flags, 0o600
    )
    try:
        try:
            left = memoryview(data)
            while left:  # a full disk may take the beginning first, and refuse the rest
                left = left[os.write(descriptor, left) :]
        finally:
            os.close(descriptor)
    except BaseException:
        Path(path).unlink(missing_ok=True)
        raise


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_filesystem(directory: Path) -> bool:
    """Flush the filesystem of `directory`; False where the C library cannot."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return _syncfs(descriptor)
    finally:
        os.close(descriptor)


def start_flush(descriptor: int) -> None:
    """Have the kernel begin to write out a file, where it can be told to, and do not wait."""
    import ctypes

    libc = ctypes.CDLL(None)
    if hasattr(libc, "sync_file_range"):
        offset = ctypes.c_int64
        libc.sync_file_range(descriptor, offset(0), offset(0), _SYNC_FILE_RANGE_WRITE)


def _syncfs(descriptor: int) -> bool:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "syncfs"):
        return False
    if libc.syncfs(descriptor):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return True
