"""Private keys below the home's keys/ directory: 0600, never exported, never printed.

One key a file: Ed25519 or ML-DSA-44 as its PRIVATE+KEY line in NAME.key, a publisher's as
PKCS#8 in NAME.pem. Either may be an encrypted PKCS#8 instead, and is made so where a passphrase
is named (store/passphrases.py).
 Beside a private log's key lies NAME.last, what it signed last (DESIGN.md
invariant 7), beside a witness's NAME.cosigned.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from appliance.errors import (
    ArgumentError,
    ConfigError,
    IncompleteError,
    MalformedError,
    StoreError,
)
from appliance.store.files import written_whole
from appliance.store.filesystem import sync_directory
from appliance.store.passphrases import (
    CREDENTIAL,
    FILE_SETTING,
    NO_PASSPHRASES,
    Passphrase,
    Passphrases,
)
from appliance.store.secret_files import read_private, read_secret, refuse_shared
from appliance.tlog.note import SigningKey, parse_kept_key, parse_pkcs8_key, parse_signing_key
from appliance.tlog.note_keys import KeyType
from appliance.tlog.private_pem import is_encrypted, is_pem
from appliance.tlog.publisher_key import PublisherKey, make_publisher_key, parse_publisher_key

_Key = TypeVar("_Key")
KEYS_NAME: Final = "keys"
SEED_BYTES: Final = 32
MAX_SECRET_BYTES: Final = 4096  # of a sink's password or token
_KEY_SUFFIX: Final = ".key"
WRONG: Final = "wrong-passphrase"
LOCKED: Final = "no-passphrase"  # reason of a key that nothing here opens
LAST_SUFFIX: Final = ".last"  # what a private log signed last
COSIGNED_SUFFIX: Final = ".cosigned"  # what a witness cosigned last
_PUBLISHER_SUFFIX: Final = ".pem"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_MAX_KEY_BYTES: Final = 4096
_MAX_LAST_BYTES: Final = 1024 * 1024


def create_signing_key(
    home: Path,
    name: str,
    seed: bytes,
    passphrases: Passphrases = NO_PASSPHRASES,
    key_type: KeyType = KeyType.ED25519,
) -> SigningKey:
    """Create the key `name` from 32 random bytes; durable when this returns.

    It is encrypted if a passphrase is named for it. Raises ConfigError for a name that is no
    file name or taken, a passphrase that cannot be had, or a filesystem that keeps nothing
    private (reason key-permissions), StoreError if it cannot be written.
    """
    path = _path(home, name, _KEY_SUFFIX)
    if len(seed) != SEED_BYTES:
        raise ValueError(f"a seed has 32 bytes, this has {len(seed)}")
    key = SigningKey(name, seed, key_type)
    _create_private(path, name, _signing_key_file(key, passphrases.find(name)))
    return key


def create_publisher_key(
    home: Path, name: str, secret: bytes, passphrases: Passphrases = NO_PASSPHRASES
) -> PublisherKey:
    """Create a publisher's key from 48 random bytes; raises as create_signing_key does."""
    key = make_publisher_key(name, secret)
    content = _encrypted(key.pem, passphrases.find(name))
    _create_private(_path(home, name, _PUBLISHER_SUFFIX), name, content)
    return key


def change_passphrase(
    home: Path, name: str, passphrases: Passphrases, new: Passphrase | None
) -> bool:
    """Write a key anew, encrypted by `new` or, for None, not at all; whether it was encrypted.

    The file is replaced whole: killed at any place, the old one or the new one is there, and
    both are the same key. Raises as load_signing_key does, StoreError if it cannot be written.
    """
    is_signing = has_signing_key(home, name)
    path = _path(home, name, _KEY_SUFFIX if is_signing else _PUBLISHER_SUFFIX)
    raw = read_private(path, _MAX_KEY_BYTES)
    was_encrypted = raw is not None and is_encrypted(raw)
    if is_signing:
        content = _signing_key_file(load_signing_key(home, name, passphrases), new)
    else:
        content = _encrypted(load_publisher_key(home, name, passphrases).pem, new)
    _replace(path, content)
    return was_encrypted


def key_is_encrypted(home: Path, name: str) -> bool:
    """Whether a key of this home asks for a passphrase; raises as load_signing_key does."""
    suffix = _KEY_SUFFIX if has_signing_key(home, name) else _PUBLISHER_SUFFIX
    raw = read_private(_path(home, name, suffix), _MAX_KEY_BYTES)
    return raw is not None and is_encrypted(raw)


def _signing_key_file(key: SigningKey, passphrase: Passphrase | None) -> bytes:
    return f"{key.skey}\n".encode() if passphrase is None else _encrypted(key.pkcs8, passphrase)


def _encrypted(pem: bytes, passphrase: Passphrase | None) -> bytes:
    """Encrypt a key in PKCS#8; without a passphrase it stays as it is."""
    if passphrase is None:
        return pem
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        PrivateFormat,
        load_pem_private_key,
    )

    encryption = BestAvailableEncryption(passphrase.secret)
    return load_pem_private_key(pem, None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, encryption
    )


def _create_private(path: Path, name: str, content: bytes) -> None:
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        temporary.unlink(missing_ok=True)  # of a run that died below
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(temporary, flags, 0o600), "wb") as file:
            # FAT gives every file to everybody, whatever mode was asked for.
            refuse_shared(temporary, os.fstat(file.fileno()))
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


def load_signing_key(
    home: Path, name: str, passphrases: Passphrases = NO_PASSPHRASES
) -> SigningKey:
    """Load a key, refusing one that others could have read or placed.

    Raises IncompleteError if it is not there (no-key), or is encrypted and no passphrase is
    named for it (no-passphrase); ConfigError if it is open to group or others, not ours, or a
    link (key-permissions), or as Passphrases.find does, or if the passphrase is another
    (wrong-passphrase); and MalformedError if it is no key.
    """
    path = _path(home, name, _KEY_SUFFIX)
    text = read_private(path, _MAX_KEY_BYTES)
    if text is None:
        raise IncompleteError(
            f"no key {name!r} in {path.parent}",
            reason="no-key",
            next_step="see 'attestor key list'; a key that was lost comes back from a backup of"
            " keys/ alone",
        )
    if is_pem(text):
        return _opened(path, name, text, passphrases, parse_kept_key)
    key = parse_signing_key(text.decode("utf-8", "replace").removesuffix("\n"))
    if key.name != name:
        raise MalformedError(f"{path} holds the key of {key.name!r}")
    return key


def load_publisher_key(
    home: Path, name: str, passphrases: Passphrases = NO_PASSPHRASES
) -> PublisherKey:
    """Load a publisher's key; raises as load_signing_key does."""
    path = _path(home, name, _PUBLISHER_SUFFIX)
    pem = read_private(path, _MAX_KEY_BYTES)
    if pem is None:
        raise IncompleteError(
            f"no publisher key {name!r} in {path.parent}",
            reason="no-key",
            next_step=f"make one: attestor key generate {name} --type publisher",
        )
    return _opened(path, name, pem, passphrases, parse_publisher_key)


def read_pkcs8_key(name: str, file: Path, passphrases: Passphrases = NO_PASSPHRASES) -> SigningKey:
    """Read an Ed25519 key that another program left outside of the home; raises as the above."""
    pem = read_secret(file, _MAX_KEY_BYTES)
    return _opened(file, name, pem, passphrases, parse_pkcs8_key)


def _opened(
    path: Path,
    name: str,
    pem: bytes,
    passphrases: Passphrases,
    parse: Callable[[str, bytes, bytes | None], _Key],
) -> _Key:
    """Parse a key in PEM, by the passphrase that is named for it if it is encrypted."""
    passphrase = passphrases.find(name) if is_encrypted(pem) else None
    if is_encrypted(pem) and passphrase is None:
        raise IncompleteError(
            f"{path} is encrypted, and no passphrase file is named",
            reason=LOCKED,
            next_step="name one: --passphrase-file FILE before the command, the setting"
            f" {FILE_SETTING}, or a systemd credential {CREDENTIAL}",
        )
    try:
        return parse(name, pem, None if passphrase is None else passphrase.secret)
    except ConfigError as error:
        if passphrase is None:
            raise
        raise ConfigError(
            f"the passphrase in {passphrase.file}{passphrase.hint} does not open {path}, or the key"
            " is damaged",
            reason=WRONG,
            next_step="name the file that the key was encrypted by; or put the key back from a"
            " backup of keys/",
        ) from error
    except MalformedError as error:
        error.message = f"{path}: {error.message}"
        raise


def pkcs8_file(home: Path, key: SigningKey) -> bytes:
    """Return a key of this home as other programs read it: encrypted as it is here, or not."""
    raw = read_private(_path(home, key.name, _KEY_SUFFIX), _MAX_KEY_BYTES)
    return raw if raw is not None and is_pem(raw) else key.pkcs8


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
    return read_private(_path(home, name, suffix), _MAX_LAST_BYTES)


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
    _replace(path, new)


def _replace(path: Path, content: bytes) -> None:
    """Put a file in the place of another of that name; durable when this returns.

    If we die in between, either may come back: both were durable once.
    """
    with written_whole(path, replace=True, mode=0o600) as file:
        file.write(content)


def _path(home: Path, name: str, suffix: str) -> Path:
    if not _NAME.fullmatch(name):
        raise ArgumentError(
            f"not a key name: {name[:80]!r}",
            reason="key-name",
            next_step="use letters, digits, dot, dash and underscore, at most 100, a letter or"
            " digit first",
        )
    return home / KEYS_NAME / f"{name}{suffix}"
