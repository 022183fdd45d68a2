"""Add a log and where it is reached; ask whether the pinned key is still the log's own."""

from __future__ import annotations

from appliance.config.keys import NAME, ORIGIN
from appliance.config.kinds import SourceUrl, Text
from appliance.errors import (
    ApplianceError,
    ArgumentError,
    ConfigError,
    IncompleteError,
    MalformedError,
)
from appliance.jobs.log_keys import refuse_another, refuse_retired, retire_key, retire_others
from appliance.store.database import Store
from appliance.store.home.journal import append_event
from appliance.store.mirror.checkpoints import History
from appliance.store.mirror.logs import (
    Backend,
    Log,
    add_log,
    all_backends,
    find_log,
    key_name,
    place_of,
    put_backend,
    put_policy,
    remove_backend,
    require_backend,
    set_backend_enabled,
    signed_origin,
    verifier_key,
)
from appliance.store.private_log.private_logs import all_private_logs
from appliance.store.revoked_keys import Revocation
from appliance.store.transfer.exporters import revoke
from appliance.tlog.checkpoint import SignedCheckpoint, open_checkpoint
from appliance.tlog.note_keys import (
    KeyType,
    VerifierKey,
    is_among,
    load_public_key_file,
    parse_vkey,
)
from appliance.tlog.tlog_policy import parse_tlog_policy
from appliance.value import frozen


@frozen
class NewBackend:
    """What `backend add` was told."""

    name: str
    origin: str
    api_version: int | None  # of Rekor: 1 or 2; None: as its origin says
    key_file: bytes  # PEM, DER or a verifier key line
    base_url: str | None
    read_url: str | None
    mirror_of: str | None
    policy: bytes | None  # a tlog-policy file
    another_key: bool = False  # the log has other keys here, and has this one as well


@frozen
class AddedBackend:
    """What came of it."""

    backend: Backend
    key: VerifierKey
    key_is_new: bool  # it was not pinned for this log before


@frozen
class KeyTerm:
    """The sizes at which a pinned key signed."""

    key: VerifierKey
    first_size: int | None  # None: it signed nothing that is stored here
    last_size: int | None


@frozen
class KeyReport:
    """Which pinned keys signed a log's checkpoint, and the stored keys."""

    checkpoint: SignedCheckpoint
    source: str  # where it came from
    terms: tuple[KeyTerm, ...]  # of each pinned key


def parse_log_key(data: bytes, origin: str, api_version: int) -> bytes:
    """Return the public key (SPKI DER) in a PEM, DER or verifier key file of a log.

    Raises MalformedError if it is none, has low order, or is a verifier key of another log
    or of a witness.
    """
    line = data.removesuffix(b"\n").decode("ascii", "replace")
    if "+" not in line or not line.isprintable():  # PEM has several lines, DER is binary
        return load_public_key_file(data)
    key = parse_vkey(line)
    name = key_name(api_version, origin)
    if key.key_type is KeyType.COSIGNATURE:
        raise MalformedError(
            f"the key of {key.name!r} is a witness's (type 4), not a log's", reason="key-type"
        )
    if key.name != name:
        raise MalformedError(
            f"verifier key of another log: expected {name!r}, got {key.name!r}",
            reason="wrong-origin",
            next_step="compare --origin and --public-key",
        )
    return key.spki


def add_backend(store: Store, new: NewBackend, now: int, *, dry_run: bool) -> AddedBackend:
    """Pin the log's key and record where it is reached; again changes what is different.

    Raises ArgumentError for what cannot be a name, an origin or a URL, MalformedError for a
    key nobody may trust or a policy that is none, ConfigError for what contradicts itself or
    what is here, RefusedError for a key that was retired, or that is another one than the log's.
    """
    name = _read("ID", NAME, new.name)
    named = _read("--origin", ORIGIN, new.origin)
    origin, follows, api_version = place_of(store, name, named, new.api_version)
    spki = parse_log_key(new.key_file, origin, api_version)
    key = verifier_key(api_version, key_name(api_version, origin), spki)
    known = find_log(store, origin)
    _verify_only_primary(store, name, origin, new.mirror_of)
    if new.policy is not None:
        _verify_policy(new.policy, key)
    with store.atomic(dry_run=dry_run):
        refuse_retired(store, known, key)
        served = {one.log.id for one in all_backends(store)}
        served |= {one.log.id for one in all_private_logs(store)}
        is_served = known is not None and known.id in served
        if is_served and not new.another_key:
            refuse_another(known, key)
        log = add_log(store, origin, api_version, spki, now)
        if not is_served:
            retire_others(store, log, key, now)  # it was removed: the old key is not in force
        put_backend(
            store,
            name,
            log,
            base_url=_read_url("--url", new.base_url),
            read_url=_read_url("--read-url", new.read_url),
            mirror_of=new.mirror_of,
            follows=follows,
        )
        if new.policy is not None:
            put_policy(store, log, new.policy)
        key_is_new = not known or not is_among(key, known.keys)
        append_event(store, now, "backend.added", _told(new, key, key_is_new))
        return AddedBackend(require_backend(store, name), key, key_is_new)


def revoke_key(store: Store, log: Log, key: VerifierKey, now: int, reason: str) -> int:
    """Let a key count for nothing, in any role; what is mirrored stays. In store.atomic()."""
    size = retire_key(store, log, key, now, reason)
    revoke(store, Revocation(key, now, reason))
    return size


def forget_backend(store: Store, name: str, now: int, *, dry_run: bool = False) -> bool:
    """Forget where a log is reached; True if its log, of which nothing was stored, went too."""
    with store.atomic(dry_run=dry_run):
        log_too = remove_backend(store, name)
        append_event(store, now, "backend.removed", {"id": name, "logRemoved": log_too})
    return log_too


def switch_backend(
    store: Store, name: str, now: int, *, enabled: bool, dry_run: bool = False
) -> None:
    """Let sync visit a backend, or pass it by."""
    with store.atomic(dry_run=dry_run):
        set_backend_enabled(store, name, enabled=enabled)
        event = "backend.enabled" if enabled else "backend.disabled"
        append_event(store, now, event, {"id": name})


def find_key(log: Log, key_id: str) -> VerifierKey:
    """Return the pinned key of this id (8 hex digits), or of this log id.

    Raises IncompleteError, naming those there are, if there is none.
    """
    wanted = key_id.lower()
    for key in log.keys:
        if wanted in (key.key_id.hex(), key.log_id.hex()):
            return key
    known = ", ".join(key.key_id.hex() for key in log.keys)
    raise IncompleteError(
        f"{log.origin} has no key {key_id[:80]!r} (known: {known})",
        reason="unknown-key",
        next_step="see 'attestor backend key list'",
    )


def _verify_only_primary(store: Store, name: str, origin: str, mirror_of: str | None) -> None:
    """Refuse what `config apply` and every later `config set` would refuse: a second primary."""
    if mirror_of is not None:
        return
    for other in all_backends(store):
        if other.log.origin == origin and other.name != name and other.mirror_of is None:
            raise ConfigError(
                f"backend {other.name!r} is the primary of {origin} already",
                reason="duplicate-origin",
                next_step=f"if {name!r} is a mirror of it: --mirror-of {other.name}; to change"
                f" {other.name!r}, give that ID",
            )


def _told(new: NewBackend, key: VerifierKey, key_is_new: bool) -> dict[str, str | bool | None]:
    return {
        "id": new.name,
        "origin": new.origin,
        "url": new.base_url,
        "readUrl": new.read_url,
        "mirrorOf": new.mirror_of,
        "keyId": key.key_id.hex(),
        "newKey": key_is_new,
    }


def examine_key(store: Store, backend: Backend, current: bytes | None, source: str) -> KeyReport:
    """Open the log's current note, or if that is None the last stored one, with the pinned keys.

    Raises SignatureError, naming both key ids, if none of them signed it; IncompleteError
    if there is no note at all.
    """
    log = backend.log
    history = History(store, log)
    if current is None:
        stored = history.accepted()
        if stored is None:
            raise IncompleteError(
                f"{backend.name} has no URL, and no checkpoint of {log.origin} is stored",
                reason="no-checkpoint",
                next_step="import a transfer bundle that has one, or add --url",
            )
        current = history.newest_note(stored.head.tree_size)
        source = f"stored ({stored.detail})"
    checkpoint = open_checkpoint(current, log.keys, signed_origin(log, current))
    return KeyReport(checkpoint, source, _terms(history, log))


def _terms(history: History, log: Log) -> tuple[KeyTerm, ...]:
    sizes: dict[VerifierKey, list[int]] = {key: [] for key in log.keys}
    for tree_size in history.accepted_sizes():
        for note in history.notes(tree_size):
            for key in open_checkpoint(note, log.keys, log.origin).signers:
                sizes[key].append(tree_size)
    return tuple(
        KeyTerm(key, min(signed, default=None), max(signed, default=None))
        for key, signed in sizes.items()
    )


def _verify_policy(raw: bytes, key: VerifierKey) -> None:
    policy = parse_tlog_policy(raw)
    if policy.logs and not is_among(key, policy.log_keys):
        raise ConfigError(
            f"the policy is for {', '.join(log.key.name for log in policy.logs)}, not for this key"
            f" of {key.name}",
            reason="policy-log",
        )


def _read_url(option: str, url: str | None) -> str | None:
    return None if url is None else _read(option, SourceUrl(), url)


def _read(option: str, kind: Text | SourceUrl, text: str) -> str:
    try:
        return kind.read(text)
    except ApplianceError as error:
        raise ArgumentError(
            f"{option}: {error.message}",
            reason=error.reason,
            next_step=error.next_step or "see 'attestor backend add --help'",
        ) from error
