"""Look at what a home needs of its host: versions, files, clock, keys (doctor).

Every check gives one finding, whatever the others found; nothing is changed. The checks
of the store itself are in store_health.py.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

from appliance.errors import ApplianceError, ConfigError, IncompleteError, RefusedError, StoreError
from appliance.jobs.configure import read_configuration, verify_private_keys
from appliance.jobs.findings import Finding, Outcome, finding, ok, warning
from appliance.jobs.sink_findings import sinks_ready
from appliance.jobs.store_health import store_findings
from appliance.store.database import Store, open_store
from appliance.store.filesystem import access_of, filesystem_type, is_network, keeps_modes
from appliance.store.integrity import sqlite_version
from appliance.store.key_files import KEYS_NAME, has_signing_key
from appliance.store.settings import SITE_NAME, SITE_ROLE, site_fact
from appliance.store.sync_times import newest_time
from appliance.store.trust import current_root
from appliance.value import frozen

MAX_CLOCK_SKEW_SECONDS: Final = 300
DAY_SECONDS: Final = 86_400
_OLDEST_SQLITE: Final = (3, 37)  # STRICT tables

_Said = tuple[Outcome, str]


@frozen
class Patient:
    """The home to look at, and what the check may not find out by itself."""

    home: Path
    now: int  # Unix seconds
    allow_network_fs: bool = False


def examine(patient: Patient) -> Iterator[Finding]:
    """Check a home and its host."""
    yield finding("python", _python)
    yield finding("sqlite", _sqlite)
    yield finding("home", partial(_home, patient))
    yield finding("filesystem", partial(_filesystem, patient))
    yield from store_findings(patient.home)
    yield finding("keys", partial(_keys, patient))
    try:
        store = open_store(patient.home, write=False)
    except ApplianceError:  # which is a finding already
        for name in ("site", "clock", "trust-root", "sinks"):
            yield Finding(name, Outcome.SKIPPED, "needs the store")
        return
    try:
        yield finding("site", partial(_site, store))
        yield finding("clock", partial(_clock, store, patient.now))
        yield finding("trust-root", partial(_trust_root, store, patient.now))
        yield finding("sinks", partial(sinks_ready, store))
    finally:
        store.close()


def _python() -> _Said:
    return ok(f"{platform.python_version()}")  # an older one could not have read this file


def _sqlite() -> _Said:
    version = sqlite_version()
    if tuple(map(int, version.split(".")[:2])) < _OLDEST_SQLITE:
        raise StoreError(f"SQLite {version} is too old: 3.37 is needed", reason="sqlite-version")
    return ok(version)


def _home(patient: Patient) -> _Said:
    access = access_of(patient.home)
    if access is None:
        raise StoreError(
            f"{patient.home} is not there",
            reason="no-store",
            next_step=f"create it with 'attestor --home {patient.home} init --site NAME'",
        )
    if access.others_write:
        raise StoreError(
            f"{patient.home} can be written to by others (mode {access.mode:04o})",
            reason="permissions",
            next_step=f"run: chmod go-w {patient.home}; then see that what is in it is yours",
        )
    if not access.is_ours:
        return warning(f"{patient.home} belongs to another user: good for reading")
    return ok(f"{patient.home}, mode {access.mode:04o}")


def _filesystem(patient: Patient) -> _Said:
    kind = filesystem_type(patient.home) or "unknown"
    if is_network(kind):
        if patient.allow_network_fs:
            return warning(f"{kind}: on another machine; neither locks nor fsync hold")
        raise StoreError(
            f"{patient.home} is on a network filesystem ({kind}), where neither locks nor fsync"
            " hold",
            reason="network-filesystem",
            next_step="move the home to a local disk",
        )
    if not keeps_modes(kind):
        return warning(f"{kind}: keeps no permissions, so private keys are everybody's here")
    return ok(kind)


def _keys(patient: Patient) -> _Said:
    directory = patient.home / KEYS_NAME
    access = access_of(directory)
    if access is None:
        return Outcome.SKIPPED, f"there is no {directory}"
    if access.others_write or access.others_read:
        raise ConfigError(
            f"{directory} is open to others (mode {access.mode:04o})",
            reason="key-permissions",
            next_step=f"run: chmod 700 {directory}; if others used this host, make new keys",
        )
    if not access.is_ours:
        return Outcome.SKIPPED, f"{directory} belongs to another user"
    names = verify_private_keys(patient.home)
    return ok(", ".join(names) or "none yet")


def _site(store: Store) -> _Said:
    name = site_fact(store, SITE_NAME)
    if name is None:
        return warning("has no name; 'attestor init --site NAME' gives it one, and a key")
    access = access_of(store.home / KEYS_NAME)
    if access is not None and access.is_ours and not has_signing_key(store.home, name):
        raise IncompleteError(
            f"the key of this site, {KEYS_NAME}/{name}.key, is not there",
            reason="no-key",
            next_step="put it back from a 'store backup --with-keys'",
        )
    return ok(f"{name}, {site_fact(store, SITE_ROLE)}")


def _clock(store: Store, now: int) -> _Said:
    newest = newest_time(store)
    if newest is None:
        return ok("nothing was recorded yet to compare it with")
    if newest > now + MAX_CLOCK_SKEW_SECONDS:
        raise ConfigError(
            f"the clock says {now}, but {newest - now} seconds later something was recorded here",
            reason="clock",
            next_step="set the clock; until then ages and time limits mean nothing",
        )
    return ok(f"{max(now - newest, 0)} s after what was recorded last")


def _trust_root(store: Store, now: int) -> _Said:
    root = current_root(store)
    if root is None:
        return ok("none imported; needed only for certificates")
    configuration = read_configuration(store)
    age = now - root.imported_at
    text = f"imported {age // DAY_SECONDS} days ago"
    limit = configuration.optional_seconds("verify.maxTrustRootAge.fail")
    if limit is not None and age > limit:
        raise RefusedError(
            f"the trusted root was {text}, at most {limit // DAY_SECONDS} allowed",
            reason="trust-root-stale",
            next_step="run 'attestor trust import' with a newer trusted_root.json",
        )
    warn = configuration.optional_seconds("verify.maxTrustRootAge.warn")
    return warning(text) if warn is not None and age > warn else ok(text)
