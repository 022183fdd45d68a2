"""Read and change the configuration of a home: settings are rows, backends have their tables.

Deciding is appliance/config's; here is what joins it to the store. The public keys that a
file names by path are read before the transaction and copied into the store within it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from appliance.config.changes import ConfigFile, diff
from appliance.config.configuration import Backend, Configuration, restore
from appliance.config.keys import Item, JsonValue
from appliance.config.schema import BACKENDS
from appliance.config.sync_keys import THRESHOLDS
from appliance.errors import ApplianceError, ConfigError, IncompleteError
from appliance.jobs.log_keys import refuse_another, refuse_retired, retire_others
from appliance.store.blob_place import BLOBS_NAME, blob_place, move_blobs
from appliance.store.database import Store
from appliance.store.files import read_foreign
from appliance.store.home.journal import append_event
from appliance.store.home.key_files import (
    LOCKED,
    key_names,
    load_publisher_key,
    load_signing_key,
    publisher_key_names,
)
from appliance.store.home.settings import SITE_ROLE, read_settings, replace_settings, site_fact
from appliance.store.mirror.logs import (
    add_log,
    all_backends,
    find_log,
    key_name,
    known_api_version,
    place_of,
    put_backend,
    remove_backend,
    require_backend,
    require_log,
    verifier_key,
)
from appliance.store.passphrases import Passphrases
from appliance.store.private_log.private_logs import all_private_logs
from appliance.tlog.note_keys import is_among, load_public_key_file

MAX_KEY_FILE_BYTES: Final = 64 * 1024
# What a backend's table has no column for is kept as a setting. Not the path of its key,
# which is in the store: `config show` must not depend on a file that may be gone.
_REMEMBERED: Final = ("policyFile", "tokenFile", *THRESHOLDS)
_BASE_PATH: Final = "tileCache.basePath"  # kept as where HOME/blobs leads
_CONFIGURATION: Final = "configuration"  # among what an open store remembers


def read_configuration(store: Store) -> Configuration:
    """Return the configuration of a home. Its own private logs are not among the backends.

    Raises ConfigError if the store holds what this program does not accept. It is read and
    verified once for an open store, and is frozen: whoever changes it gets a new one.
    """
    known = store.remembered.get(_CONFIGURATION)
    if not isinstance(known, Configuration):
        known = store.remembered[_CONFIGURATION] = _read_configuration(store)
    return known


def _read_configuration(store: Store) -> Configuration:
    stored = read_settings(store)
    remembered = {item["id"]: item for item in stored.pop(BACKENDS, [])}
    if (place := blob_place(store.home)) is not None:
        stored[_BASE_PATH] = str(place)
    private = {log.name for log in all_private_logs(store)}
    items: list[JsonValue] = [
        {
            "id": backend.name,
            "origin": backend.origin,
            "baseUrl": backend.base_url,
            "readUrl": backend.read_url,
            "apiVersion": known_api_version(store, backend.log),
            "enabled": backend.enabled,
            "mirrorOf": backend.mirror_of,
            **remembered.get(backend.name, {}),
        }
        for backend in all_backends(store)
        if backend.name not in private
    ]
    if items:
        stored[BACKENDS] = items
    return restore(site_fact(store, SITE_ROLE) or "connected", stored)


def read_named_keys(file: ConfigFile, directory: Path) -> dict[str, bytes]:
    """Read the public keys a file names: SPKI DER by backend id.

    A relative path starts at `directory`, where the file lies. Raises ConfigError, with
    the file and line of the backend, for a key that cannot be read.
    """
    keys: dict[str, bytes] = {}
    items = file.values.get(BACKENDS)
    for item in items if isinstance(items, list) else []:
        path = item.get("publicKeyPath") if isinstance(item, dict) else None
        if not isinstance(item, dict) or not isinstance(path, str):
            continue
        name = str(item["id"])
        try:
            keys[name] = load_public_key_file(read_foreign(directory / path, MAX_KEY_FILE_BYTES))
        except ApplianceError as error:
            raise ConfigError(
                f"{file.places.of(f'{BACKENDS}[{name}]')}: publicKeyPath of backend {name}:"
                f" {error.message}",
                reason="bad-key-file",
                next_step=error.next_step,
            ) from error
    return keys


def write_configuration(
    store: Store,
    before: Configuration,
    after: Configuration,
    keys: Mapping[str, bytes],
    now: int,
) -> None:
    """Make `after` the configuration of a home that has `before`. Call it in store.atomic().

    `keys` are the public keys (SPKI DER) to pin, by backend id: every new log needs one.
    Raises ConfigError if a backend would move to another log or a log to another API
    version, MalformedError for a key nobody may trust.
    """
    _place_blobs(store, before, after)
    pinned = keys_not_pinned(store, before, keys)
    changes = [{"key": one.key, "old": one.old, "new": one.new} for one in diff(before, after)]
    if changes or pinned:
        details = {"changes": changes, "newKeys": list(pinned)}
        append_event(store, now, "config.changed", details)
    # Primaries come before their mirrors, and go after them.
    kept = sorted(after.backends, key=_is_mirror)
    names = {backend.id for backend in kept}
    # What no backend that stays has served until now is added again: its old key is not in force.
    served = {backend.origin for backend in before.backends if backend.id in names}
    for backend in kept:
        _put(store, backend, keys.get(backend.id), now, is_new=backend.origin not in served)
        served.add(backend.origin)
    for backend in sorted(before.backends, key=_is_mirror, reverse=True):
        if backend.id not in names:
            remove_backend(store, backend.id)
    elsewhere = (BACKENDS, _BASE_PATH)
    rows = {name: value for name, value in after.stored.items() if name not in elsewhere}
    remembered = [one for one in map(_remembered, after.items(BACKENDS)) if len(one) > 1]
    if remembered:
        rows[BACKENDS] = [*remembered]
    replace_settings(store, rows)


def _place_blobs(store: Store, before: Configuration, after: Configuration) -> None:
    """Let the blobs of a home that has none yet lie where it is configured."""
    wanted = after.text(_BASE_PATH)
    if wanted == before.text(_BASE_PATH):
        return
    if any(file.digest is not None for file in store.blobs.files()):
        raise ConfigError(
            f"{_BASE_PATH}: the blobs of this home are in {before.text(_BASE_PATH)}, not {wanted}",
            reason="blobs-elsewhere",
            next_step=f"attestor store move-blobs {wanted}, which sets it",
        )
    # If we die here, an empty directory is linked to, and the next try changes nothing.
    move_blobs(store.home, None if wanted == BLOBS_NAME else Path(wanted), lambda _: None)


def refuse_other_keys(
    store: Store, before: Configuration, after: Configuration, keys: Mapping[str, bytes]
) -> None:
    """Raise RefusedError if `keys` has a key that a log which stays is not pinned with."""
    stays = {one.id for one in after.backends}
    served = {one.origin for one in before.backends if one.id in stays}
    for backend in after.backends:
        if backend.id in keys and backend.origin in served:
            origin, _, version = place_of(store, backend.id, backend.origin, backend.api_version)
            key = verifier_key(version, key_name(version, origin), keys[backend.id])
            refuse_another(find_log(store, origin), key)


def keys_not_pinned(
    store: Store, before: Configuration, keys: Mapping[str, bytes]
) -> tuple[str, ...]:
    """List the known backends for which `keys` holds a key that is not in the store yet."""
    return tuple(
        backend.id
        for backend in before.backends
        if backend.id in keys
        and not is_among(keys[backend.id], require_backend(store, backend.id).log.keys)
    )


def locked_text(names: Sequence[str]) -> str:
    """Say of which keys nothing was found out: encrypted keys that no passphrase here opens."""
    return f"encrypted, and not opened, since no passphrase file is named here: {', '.join(names)}"


def verify_private_keys(
    home: Path, passphrases: Passphrases
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Load every private key of a home; return the names of those that load, and of the others.

    The others are encrypted, and nothing here names their passphrase, which may be right: a
    service's is its own. Raises as load_signing_key does for whatever else is wrong.
    """
    loaded: list[str] = []
    locked: list[str] = []
    for names, load in (
        (key_names(home), load_signing_key),
        (publisher_key_names(home), load_publisher_key),
    ):
        for name in names:
            try:
                load(home, name, passphrases)
            except IncompleteError as error:
                if error.reason != LOCKED:
                    raise
                locked.append(name)
            else:
                loaded.append(name)
    return tuple(loaded), tuple(locked)


def _put(store: Store, backend: Backend, spki: bytes | None, now: int, *, is_new: bool) -> None:
    origin, follows, api_version = place_of(store, backend.id, backend.origin, backend.api_version)
    if spki is None:
        log = require_log(store, origin)
        if log.api_version != api_version:
            raise ConfigError(
                f"{backend.origin} is a Rekor v{log.api_version} log here, not v{api_version}",
                reason="api-version",
            )
    else:
        key = verifier_key(api_version, key_name(api_version, origin), spki)
        is_ours = any(one.log.origin == origin for one in all_private_logs(store))
        if is_new and not is_ours:
            refuse_retired(store, find_log(store, origin), key)
        log = add_log(store, origin, api_version, spki, now)
        if is_new and not is_ours:
            retire_others(store, log, key, now)
    put_backend(
        store,
        backend.id,
        log,
        base_url=backend.base_url,
        read_url=backend.read_url,
        enabled=backend.enabled,
        mirror_of=backend.mirror_of,
        follows=follows,
    )


def _is_mirror(backend: Backend) -> bool:
    return backend.mirror_of is not None


def _remembered(item: Item) -> Item:
    kept = {name: item[name] for name in _REMEMBERED if item.get(name) is not None}
    return {"id": item["id"], **kept}
