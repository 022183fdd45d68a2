"""Private keys below the home's keys/ directory: 0600, never exported, never printed.

One key a file: Ed25519 as its PRIVATE+KEY line in NAME.key, a publisher's in
NAME.pem. Beside a private log's key lies NAME.last, what it signed last (DESIGN.md
invariant 7), beside a witness's NAME.cosigned.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Final

from appliance.errors import (
    ArgumentError,
    ConfigError,
    IncompleteError,
    MalformedError,
    StoreError,
)
from appliance.store.filesystem import sync_directory
from appliance.tlog.note import SigningKey, parse_signing_key
from appliance.tlog.publisher_key import PublisherKey, make_publisher_key, parse_publisher_key

KEYS_NAME: Final = "keys"
SEED_BYTES: Final = 32
MAX_SECRET_BYTES: Final = 4096  # of a sink's password or token
_KEY_SUFFIX: Final = ".key"
LAST_SUFFIX: Final = ".last"  # what a private log signed last
COSIGNED_SUFFIX: Final = ".cosigned"  # what a witness cosigned last
_PUBLISHER_SUFFIX: Final = ".pem"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_MAX_KEY_BYTES: Final = 4096
_MAX_LAST_BYTES: Final = 1024 * 1024


def create_signing_key(home: Path, name: str, seed: bytes) -> SigningKey:
    """Create the key `name` from 32 random bytes; durable when this returns.

    Raises ConfigError for a name that is no file name or taken, or a filesystem that keeps
    nothing private (reason key-permissions), StoreError if it cannot be written.
    """
    path = _path(home, name, _KEY_SUFFIX)
    if len(seed) != SEED_BYTES:
        raise ValueError(f"a seed has 32 bytes, this has {len(seed)}")
    key = SigningKey(name, seed)
    _create_private(path, name, f"{key.skey}\n".encode())
    return key


def create_publisher_key(home: Path, name: str, secret: bytes) -> PublisherKey:
    """Create a publisher's key from 48 random bytes; raises as create_signing_key does."""
    key = make_publisher_key(name, secret)
    _create_private(_path(home, name, _PUBLISHER_SUFFIX), name, key.pem)
    return key


def _create_private(path: Path, name: str, content: bytes) -> None:
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        temporary.unlink(missing_ok=True)  # of a run that died below
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(temporary, flags, 0o600), "wb") as file:
            # FAT gives every file to everybody, whatever mode was asked for.
            _refuse_shared(temporary, os.fstat(file.fileno()))
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # The name comes last, and never over another: half a key is worse than none.
        path.hardlink_to(temporary)
    except FileExistsError as error:
        raise ConfigError(
            f"a key named {name!r} exists already ({path})",
            reason="key-exists",
            next_step="choose another name; a key is never overwritten",
        ) from error
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}", reason="file") from error
    finally:
        temporary.unlink(missing_ok=True)
    try:
        sync_directory(path.parent)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise StoreError(f"{path}: {error.strerror}", reason="file") from error


def load_signing_key(home: Path, name: str) -> SigningKey:
    """Load a key, refusing one that others could have read or placed.

    Raises IncompleteError if it is not there, ConfigError (reason key-permissions) if it
    is open to group or others, not ours, or a link, and MalformedError if it is no key.
    """
    path = _path(home, name, _KEY_SUFFIX)
    text = _read_private(path, _MAX_KEY_BYTES)
    if text is None:
        raise IncompleteError(
            f"no key {name!r} in {path.parent}",
            reason="no-key",
            next_step="see 'attestor key list'; a key that was lost comes back from a backup of"
            " keys/ alone",
        )
    key = parse_signing_key(text.decode("utf-8", "replace").removesuffix("\n"))
    if key.name != name:
        raise MalformedError(f"{path} holds the key of {key.name!r}")
    return key


def load_publisher_key(home: Path, name: str) -> PublisherKey:
    """Load a publisher's key; raises as load_signing_key does."""
    path = _path(home, name, _PUBLISHER_SUFFIX)
    pem = _read_private(path, _MAX_KEY_BYTES)
    if pem is None:
        raise IncompleteError(
            f"no publisher key {name!r} in {path.parent}",
            reason="no-key",
            next_step=f"make one: attestor key generate {name} --type publisher",
        )
    try:
        return parse_publisher_key(name, pem)
    except MalformedError as error:
        error.message = f"{path}: {error.message}"
        raise


def has_signing_key(home: Path, name: str) -> bool:
    """Whether a key of this name is there, readable or not."""
    return os.path.lexists(_path(home, name, _KEY_SUFFIX))


def has_publisher_key(home: Path, name: str) -> bool:
    """Whether a publisher's key of this name is there, readable or not."""
    return os.path.lexists(_path(home, name, _PUBLISHER_SUFFIX))


def key_names(home: Path) -> tuple[str, ...]:
    """List the keys that sign notes, by name."""
    return _names(home, _KEY_SUFFIX)


def publisher_key_names(home: Path) -> tuple[str, ...]:
    """List the keys that sign what is published, by name."""
    return _names(home, _PUBLISHER_SUFFIX)


def _names(home: Path, suffix: str) -> tuple[str, ...]:
    try:
        files = sorted((home / KEYS_NAME).iterdir())
    except OSError as error:
        raise StoreError(f"{home / KEYS_NAME}: {error.strerror}", reason="file") from error
    return tuple(path.name.removesuffix(suffix) for path in files if path.name.endswith(suffix))


def last_record_names(home: Path, suffix: str = LAST_SUFFIX) -> tuple[str, ...]:
    """List the keys that have a record of what they signed last, by name."""
    files = sorted((home / KEYS_NAME).glob(f"*{suffix}"))
    return tuple(path.name.removesuffix(suffix) for path in files)


def read_last_record(home: Path, name: str, suffix: str = LAST_SUFFIX) -> bytes | None:
    """Return what a key recorded as signed last; None if it never did."""
    return _read_private(_path(home, name, suffix), _MAX_LAST_BYTES)


def swap_last_record(
    home: Path, name: str, suffix: str = LAST_SUFFIX, *, expected: bytes | None, new: bytes
) -> None:
    """Replace the last record if it still is `expected`; durable when this returns.

    Raises StoreError (reason last-record) if it is another, or cannot be written. The caller
    holds the lock of those who sign so, and comparing and swapping cannot be torn apart.
    """
    path = _path(home, name, suffix)
    if read_last_record(home, name, suffix) != expected:
        raise StoreError(f"{path} is not what it was when this run read it", reason="last-record")
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(temporary, flags, 0o600), "wb") as file:
            file.write(new)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
        # If we die before this, either record may come back: both were durable once.
        sync_directory(path.parent)
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}", reason="file") from error


def _path(home: Path, name: str, suffix: str) -> Path:
    if not _NAME.fullmatch(name):
        raise ArgumentError(
            f"not a key name: {name[:80]!r}",
            reason="key-name",
            next_step="use letters, digits, dot, dash and underscore, at most 100, a letter or"
            " digit first",
        )
    return home / KEYS_NAME / f"{name}{suffix}"


def read_secret(path: Path, max_bytes: int) -> bytes:
    """Read a secret the operator keeps outside the home; raises ConfigError unless only we can."""
    data = _read_private(path, max_bytes)
    if data is None:
        raise ConfigError(f"{path} is not there", reason="no-secret", next_step="put it there")
    return data


def _read_private(path: Path, max_bytes: int) -> bytes | None:
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
        _refuse_shared(path, os.fstat(descriptor))
    except ConfigError:
        os.close(descriptor)
        raise
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise MalformedError(f"{path} is larger than {max_bytes} bytes")
    return data


def _refuse_shared(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError(
            f"{path} is not a regular file",
            reason="key-permissions",
            next_step="put the file there",
        )
    if status.st_mode & 0o077:
        raise ConfigError(
            f"{path} is open to others (mode {stat.S_IMODE(status.st_mode):04o})",
            reason="key-permissions",
            next_step=f"run: chmod 600 {path}; if others used this host, make a new key",
        )
    if status.st_uid != os.geteuid():
        raise ConfigError(
            f"{path} belongs to user {status.st_uid}, not to us ({os.geteuid()})",
            reason="key-permissions",
            next_step=f"run as that user, or: chown {os.geteuid()} {path}",
        )
