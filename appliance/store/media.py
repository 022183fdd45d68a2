"""Whether a medium kept what was written to it (TRANSFER.md section 7, THREATS.md T26).

A stick of fake capacity, or one that is dying, takes every byte and gives back others. So
what was written is read again from the medium itself, not from the kernel's memory of it.
"""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path
from typing import Final

from appliance.errors import StoreError
from appliance.store.failures import file_error
from appliance.store.filesystem import filesystem_type, keeps_modes

_BUFFER_BYTES: Final = 1024 * 1024
_MOUNT_POINTS: Final = (Path("/media"), Path("/run/media"), Path("/mnt"))


def is_removable(path: Path) -> bool:
    """Whether `path` looks as if it were on a stick: by where it is mounted, or its filesystem."""
    resolved = path.resolve()
    if any(resolved.is_relative_to(place) for place in _MOUNT_POINTS):
        return True
    return not keeps_modes(filesystem_type(path))


def read_back(path: Path, expected: bytes) -> None:
    """Read a file from its medium again; raises StoreError unless its SHA-256 is `expected`.

    Whatever the medium has not taken yet is flushed first, and what the kernel remembers of
    it dropped, as far as the filesystem lets us.
    """
    digest = sha256()
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)  # only what is clean can be dropped
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            while data := os.read(descriptor, _BUFFER_BYTES):
                digest.update(data)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise file_error(path, error) from error
    if digest.digest() != expected:
        raise StoreError(
            f"{path} does not read back as it was written: expected SHA-256 {expected.hex()},"
            f" got {digest.hexdigest()}",
            reason="medium",
            next_step="use another stick; this one loses data",
        )
