"""Files that only we may read: private keys, passwords, tokens, passphrases."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from appliance.errors import ConfigError, MalformedError, StoreError

_NOBODY_ELSE: Final = 0o077
_NO_STRANGER: Final = 0o007


def read_secret(path: Path, max_bytes: int) -> bytes:
    """Read a secret the operator keeps outside the home; raises ConfigError unless only we can."""
    data = read_private(path, max_bytes)
    if data is None:
        raise ConfigError(f"{path} is not there", reason="no-secret", next_step="put it there")
    return data


def read_private(path: Path, max_bytes: int, *, is_credential: bool = False) -> bytes | None:
    """Read a file that is ours alone; None if it is not there.

    A credential is one that systemd gave us in a directory of ours: root's, and readable by us
    through an access list, which the mode shows as its group's. Raises ConfigError (reason
    key-permissions) if others could have read or placed it, MalformedError if it is larger.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        if path.is_symlink():
            raise ConfigError(
                f"{path} is a symbolic link",
                reason="key-permissions",
                next_step="put the file there",
            ) from error
        raise StoreError(f"{path}: {error.strerror}", reason="file") from error
    try:
        refuse_shared(path, os.fstat(descriptor), is_credential=is_credential)
    except ConfigError:
        os.close(descriptor)
        raise
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise MalformedError(f"{path} is larger than {max_bytes} bytes")
    return data


def refuse_shared(path: Path, status: os.stat_result, *, is_credential: bool = False) -> None:
    """Raise ConfigError (key-permissions) for a file that is not a file of ours alone."""
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError(
            f"{path} is not a regular file",
            reason="key-permissions",
            next_step="put the file there",
        )
    if status.st_mode & (_NO_STRANGER if is_credential else _NOBODY_ELSE):
        raise ConfigError(
            f"{path} is open to others (mode {stat.S_IMODE(status.st_mode):04o})",
            reason="key-permissions",
            next_step=f"run: chmod 600 {path}; if others used this host, make a new one",
        )
    if status.st_uid != os.geteuid() and not (is_credential and status.st_uid == 0):
        raise ConfigError(
            f"{path} belongs to user {status.st_uid}, not to us ({os.geteuid()})",
            reason="key-permissions",
            next_step=f"run as that user, or: chown {os.geteuid()} {path}",
        )
