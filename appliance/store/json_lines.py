"""A file of one JSON object a line, that others read while we append."""

from __future__ import annotations

import os
from pathlib import Path

from appliance.store.failures import file_error


def append_line(path: Path, line: bytes) -> None:
    """Append one line; it is durable when this returns.

    Written in one call and never in place, so that a reader sees whole lines. If a crash left
    half a line, the next begins on a line of its own. Raises StoreError.
    """
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o640)
        try:
            size = os.fstat(descriptor).st_size
            whole = size == 0 or os.pread(descriptor, 1, size - 1) == b"\n"
            data = (b"" if whole else b"\n") + line + b"\n"
            if os.write(descriptor, data) != len(data):
                raise OSError(28, "no space left for the whole line", str(path))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise file_error(path, error) from error
