"""Making files durable: what is written may be lost, what was flushed is not."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_SYNC_FILE_RANGE_WRITE: Final = 2  # of linux/fs.h


def sync_directory(directory: Path) -> None:
    """Make what names a directory holds durable; raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_filesystem(directory: Path) -> bool:
    """Flush the filesystem of `directory`; False where the C library cannot."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return syncfs(descriptor)
    finally:
        os.close(descriptor)


def start_flush(descriptor: int) -> None:
    """Have the kernel begin to write out a file, where it can be told to, and do not wait."""
    import ctypes

    libc = ctypes.CDLL(None)
    if hasattr(libc, "sync_file_range"):
        offset = ctypes.c_int64
        libc.sync_file_range(descriptor, offset(0), offset(0), _SYNC_FILE_RANGE_WRITE)


def syncfs(descriptor: int) -> bool:
    """Flush the filesystem that a file is on; False where the C library cannot; raises OSError."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "syncfs"):
        return False
    if libc.syncfs(descriptor):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return True
