"""The private keys of a home: making one, and what each signs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from appliance.errors import ApplianceError, ConfigError, IncompleteError
from appliance.store.database import Store
from appliance.store.home.journal import append_event
from appliance.store.home.key_files import (
    LOCKED,
    SEED_BYTES,
    WRONG,
    change_passphrase,
    create_publisher_key,
    create_signing_key,
    has_publisher_key,
    has_signing_key,
    key_is_encrypted,
    key_names,
    load_publisher_key,
    load_signing_key,
    publisher_key_names,
)
from appliance.store.home.settings import SITE_NAME, key_type_fact, put_site_fact, site_fact
from appliance.store.mirror.logs import all_backends
from appliance.store.passphrases import NO_PASSPHRASES, Passphrase, Passphrases
from appliance.store.private_log.private_logs import all_private_logs
from appliance.tlog.note_keys import KeyType, VerifierKey, ed25519_key
from appliance.tlog.publisher_key import SECRET_BYTES
from appliance.value import frozen

PUBLISHER: Final = "publisher"  # signs entries of a log, not notes
DIGESTS: Final = "digests"  # signs entries, too: what anybody brings to a log of this home
TUF: Final = "tuf"  # signs TUF metadata; made by log tuf-repository alone
DEFAULT_TYPE: Final = "bundle"
WITNESS_TYPES: Final = ("witness", "witness-ml-dsa-44")  # they cosign for other logs
KEY_TYPES: Final = (DEFAULT_TYPE, "log", "mirror", *WITNESS_TYPES, PUBLISHER, DIGESTS)
_COSIGNERS: Final = ("mirror", *WITNESS_TYPES)  # they sign checkpoints with a time


@frozen
class HomeKey:
    """The public half of a key of this home, as it is known by what it signs."""

    public: VerifierKey
    type: str  # one of KEY_TYPES, or TUF


def require_free(store: Store, name: str) -> None:
    """Raise ConfigError (key-exists) if this home has a key of that name."""
    if has_signing_key(store.home, name) or has_publisher_key(store.home, name):
        raise ConfigError(
            f"a key named {name!r} exists already",
            reason="key-exists",
            next_step="choose another name; a key is never overwritten",
        )


def generate_key(
    store: Store, name: str, key_type: str, now: int, random_bytes: Callable[[int], bytes]
) -> HomeKey:
    """Make a key and write down what it is for; raises ConfigError if the name is taken."""
    require_free(store, name)
    with store.atomic():
        put_site_fact(store, key_type_fact(name), key_type)
        append_event(store, now, "key.generated", {"name": name, "type": key_type})
        # If we die after this line, the key is there and takes the default type.
        if key_type in (PUBLISHER, DIGESTS):
            secret = random_bytes(SECRET_BYTES)
            verifier = create_publisher_key(store.home, name, secret, store.passphrases).verifier
        else:
            seed = random_bytes(SEED_BYTES)
            kind = KeyType.ML_DSA_44 if key_type == WITNESS_TYPES[1] else KeyType.ED25519
            verifier = create_signing_key(store.home, name, seed, store.passphrases, kind).verifier
    return HomeKey(_as_known(verifier, key_type), key_type)


def home_key(store: Store, name: str, passphrases: Passphrases | None = None) -> HomeKey:
    """Load a key, by its passphrase here or by others, and say what it signs.

    Raises as load_signing_key does.
    """
    passphrases = store.passphrases if passphrases is None else passphrases
    if has_publisher_key(store.home, name):
        verifier = load_publisher_key(store.home, name, passphrases).verifier
        return HomeKey(verifier, p256_key_type(store, name))
    verifier = load_signing_key(store.home, name, passphrases).verifier
    # init and `log create` make keys too, and record no type: it follows from the name.
    is_log = any(one.log.origin == name for one in all_private_logs(store))
    key_type = site_fact(store, key_type_fact(name)) or ("log" if is_log else DEFAULT_TYPE)
    return HomeKey(_as_known(verifier, key_type), key_type)


@frozen
class Changed:
    """What came of changing the passphrase of a key."""

    name: str
    was_encrypted: bool
    is_encrypted: bool


def change_passphrases(
    store: Store, names: Sequence[str], new: Passphrase | None, now: int, *, dry_run: bool = False
) -> tuple[Changed, ...]:
    """Encrypt keys by another passphrase, or by none (None). The caller holds the lock.

    All are opened before any is written. A run that was killed between two of them is finished
    by the same call: what opens by the new passphrase already is written again. Raises as
    load_signing_key does.
    """
    by_new = NO_PASSPHRASES if new is None else Passphrases(new.file)
    opened: list[tuple[str, Passphrases]] = []
    for name in dict.fromkeys(names):
        require_key(store, name)
        try:
            home_key(store, name)
        except ApplianceError as error:
            if new is None or error.reason not in (WRONG, LOCKED):
                raise
            home_key(store, name, by_new)
            opened.append((name, by_new))
        else:
            opened.append((name, store.passphrases))
    done = []
    for name, passphrases in opened:
        was = key_is_encrypted(store.home, name)
        if not dry_run:
            change_passphrase(store.home, name, passphrases, new)
        done.append(Changed(name, was, new is not None))
    if not dry_run and names:
        with store.atomic():
            details = {"names": list(names), "encrypted": new is not None}
            append_event(store, now, "key.passphrase", details)
    return tuple(done)


def p256_key_type(store: Store, name: str) -> str:
    """Return what a P-256 key of this home was made to sign: PUBLISHER or DIGESTS."""
    return site_fact(store, key_type_fact(name)) or PUBLISHER


def require_key(store: Store, name: str) -> None:
    """Raise IncompleteError (no-key), saying what was meant, unless there is such a key."""
    if not (has_signing_key(store.home, name) or has_publisher_key(store.home, name)):
        raise IncompleteError(
            f"there is no key {name!r} in this home",
            reason="no-key",
            next_step=_instead(store, name),
        )


def _instead(store: Store, name: str) -> str:
    """Say what leads to the key that was meant: it is under another name, or to be made."""
    for private in all_private_logs(store):
        if private.name == name:
            return (
                f"the key of the log {name} has the log's origin: attestor key show"
                f" {private.log.origin}"
            )
        if private.log.origin == name:
            return (
                "it is the key of a log of this home: put it back from a backup of keys/; another"
                " key of this name would be another log's"
            )
    for backend in all_backends(store):
        if name in (backend.name, backend.log.origin):
            return (
                "what is kept here is public, of a log that is mirrored: attestor backend key list"
                f" {backend.name}"
            )
    if site_fact(store, SITE_NAME) == name:
        return f"it is this site's own, which is made by: attestor init --site {name}"
    there = sorted({*key_names(store.home), *publisher_key_names(store.home)})
    if there:
        return f"there are {', '.join(there)}: attestor key show {there[0]}"
    return (
        "this home has no key yet; a site's is made by 'attestor init --site NAME', a log's by"
        " 'attestor log create', others by 'attestor key generate NAME --type TYPE'"
    )


def _as_known(verifier: VerifierKey, key_type: str) -> VerifierKey:
    """Return the public key as its type is known by: cosigners have an id of their own."""
    if key_type not in _COSIGNERS or verifier.key_type is not KeyType.ED25519:
        return verifier
    return ed25519_key(verifier.name, verifier.key, KeyType.COSIGNATURE)
