"""Look at what a home needs of its host: versions, files, clock, keys (doctor).

Every check gives one result, whatever the others found; nothing is changed.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

from appliance.config.configuration import Sink, shown_sink
from appliance.errors import ApplianceError, ConfigError, IncompleteError, RefusedError, StoreError
from appliance.jobs.checks import CheckResult, CheckState, failed_check, ok, run_check, warning
from appliance.jobs.home.configure import locked_text, read_configuration, verify_private_keys
from appliance.jobs.home.journal import check_custody, check_journal
from appliance.policy.health import LOW_FREE_BYTES, LOW_FREE_FILES, MIN_FREE_BYTES
from appliance.store.blob_place import blob_place
from appliance.store.database import DATABASE_NAME, Store, has_hot_journal, open_store
from appliance.store.divergence.outbox import undelivered
from appliance.store.failures import CORRUPT, DISK_FULL, RESTORE
from appliance.store.filesystem import access_of, filesystem_type, is_network, keeps_modes, room_at
from appliance.store.find.index import open_index
from appliance.store.home.clock import clock_floor
from appliance.store.home.integrity import (
    foreign_key_problems,
    integrity_problems,
    schema_problems,
    sqlite_version,
)
from appliance.store.home.key_files import (
    KEYS_NAME,
    MAX_SECRET_BYTES,
    has_signing_key,
)
from appliance.store.home.settings import SITE_NAME, SITE_ROLE, site_fact
from appliance.store.mirror.logs import all_backends, all_logs
from appliance.store.mirror.tile_cache import mirrored_entries
from appliance.store.passphrases import NO_PASSPHRASES, Passphrases
from appliance.store.private_log.memory import recall
from appliance.store.private_log.private_logs import all_private_logs
from appliance.store.secret_files import read_secret
from appliance.store.verify.trust import current_root
from appliance.times import age_text
from appliance.value import frozen

# Whether a home can be used: database, schema, blob directory, room (checkpoint-store test).


_Condition = tuple[CheckState, str]


def store_checks(home: Path) -> Iterator[CheckResult]:
    """Check that the store of `home` opens, is whole and can be written to."""
    # Looked at first: whoever opens the database rolls such a journal back.
    yield run_check("journal", partial(_journal, home))
    try:
        store = open_store(home, write=False)
    except ApplianceError as error:
        yield failed_check("database", error)
        return
    try:
        yield run_check("database", partial(_database, store))
        yield run_check("schema", partial(_schema, store))
        yield run_check("history", partial(_history, store))
        yield run_check("custody", partial(_custody, store))
        yield run_check("blobs", partial(_blobs, store))
    finally:
        store.close()
    yield run_check("room", partial(_room, home))


def _journal(home: Path) -> _Condition:
    if not has_hot_journal(home):
        return ok("no run was killed in a transaction")
    return warning("a run was killed in a transaction; opening the store rolls it back")


def _database(store: Store) -> _Condition:
    _refuse(store, integrity_problems(store) + foreign_key_problems(store))
    access = access_of(store.home / DATABASE_NAME)
    if access is not None and access.others_write:
        raise StoreError(
            f"{store.home / DATABASE_NAME} can be written to by others (mode {access.mode:04o})",
            reason="permissions",
            next_step=f"run: chmod 600 {store.home / DATABASE_NAME}; then restore a backup if"
            " others used this host",
        )
    return ok("opens, every page is whole")


def _schema(store: Store) -> _Condition:
    if problems := schema_problems(store):
        raise StoreError(
            f"{store.home / DATABASE_NAME}: {'; '.join(sorted(problems))}",
            reason="schema-changed",
            next_step="run 'attestor checkpoint-store init --force'; it keeps every row",
        )
    return ok("is this version's")


def _history(store: Store) -> _Condition:
    return ok(f"the journal is whole, {check_journal(store).head.id:,} lines")


def _custody(store: Store) -> _Condition:
    return ok(f"the list is whole, {check_custody(store):,} lines")


def _blobs(store: Store) -> _Condition:
    store.blobs.verify_writable()
    return ok("can be written to")


def _room(home: Path) -> _Condition:
    places = (home, blob_place(home) or home)
    room, home = min(
        ((room_at(place), place) for place in places), key=lambda one: one[0].free_bytes
    )
    free = f"{room.free_bytes:,} bytes free"
    files = "" if room.free_files is None else f", {room.free_files:,} files"
    if room.free_bytes < MIN_FREE_BYTES or room.free_files == 0:
        raise StoreError(
            f"{home}: {free}{files}",
            reason=DISK_FULL,
            next_step="free space; 'attestor store gc' and 'attestor tiles prune' may help",
        )
    few_files = room.free_files is not None and room.free_files < LOW_FREE_FILES
    if room.free_bytes < LOW_FREE_BYTES or few_files:
        return warning(free + files)
    return ok(free + files)


def _refuse(store: Store, problems: list[str]) -> None:
    if problems:
        raise StoreError(
            f"{store.home / DATABASE_NAME} is damaged: {'; '.join(problems)}",
            reason=CORRUPT,
            next_step=RESTORE,
        )


# Whether alerts would reach their sinks, as far as can be seen without sending one (doctor).


def sinks_ready(store: Store) -> tuple[CheckState, str]:
    """Look at what each sink needs of this host, and at what waits for them.

    Raises ConfigError for a secret, a program or a directory that the next alert would miss.
    """
    configuration = read_configuration(store)
    if not configuration.sinks:
        return ok("none; alerts are recorded and nobody is told")
    access = access_of(store.home)
    if access is None or not access.is_ours:
        return CheckState.SKIPPED, "the home belongs to another user, who is the one to deliver"
    for sink in configuration.sinks:
        _verify_sink(sink)
    names = ", ".join(shown_sink(one.name) for one in configuration.sinks)
    waiting = undelivered(store)
    failed = [one for one in waiting if one.last_error is not None]
    if failed:
        return warning(
            f"{len(waiting)} wait; for {shown_sink(failed[0].sink)}: {failed[0].last_error}"
        )
    return ok(names)


def _verify_sink(sink: Sink) -> None:
    if sink.secret_file is not None:
        read_secret(Path(sink.secret_file), MAX_SECRET_BYTES)
    if sink.argv and shutil.which(sink.argv[0]) is None:
        raise ConfigError(
            f"alert sink {sink.name}: {sink.argv[0]} is no program that this user can run",
            reason="bad-sink",
            next_step="correct argv, or make it executable",
        )
    if sink.path is not None:
        path = Path(sink.path)
        where = path if path.exists() else path.parent
        if not os.access(where, os.W_OK):
            raise ConfigError(
                f"alert sink {sink.name}: this user cannot write to {where}",
                reason="bad-sink",
                next_step=f"make {path.parent} exist and belong to the user that runs sync",
            )


_OLDEST_SQLITE: Final = (3, 37)  # STRICT tables


@frozen
class Examined:
    """The home to look at, and what the check may not find out by itself."""

    home: Path
    # Asked only once the store is open: to ask opens it, and that ends a hot journal.
    now: Callable[[], int]  # Unix seconds
    clock_behind: Callable[[], str | None]  # how far the clock is wrong; None: it is not
    allow_network_fs: bool = False
    passphrases: Passphrases = NO_PASSPHRASES


def examine(examined: Examined) -> Iterator[CheckResult]:
    """Check a home and its host."""
    yield run_check("python", _python)
    yield run_check("sqlite", _sqlite)
    yield run_check("home", partial(_home, examined))
    yield run_check("filesystem", partial(_filesystem, examined))
    yield from store_checks(examined.home)
    yield run_check("keys", partial(_keys, examined))
    try:
        store = open_store(examined.home, write=False)
    except ApplianceError:  # which is a result already
        for name in ("site", "clock", "trust-root", "sinks", "index", "private-logs"):
            yield CheckResult(name, CheckState.SKIPPED, "needs the store")
        return
    try:
        yield run_check("site", partial(_site, store))
        yield run_check("clock", partial(_clock, store, examined))
        yield run_check("trust-root", partial(_trust_root, store, examined.now()))
        yield run_check("sinks", partial(sinks_ready, store))
        yield run_check("index", partial(_index, store))
        yield run_check("private-logs", partial(_private_logs, store))
    finally:
        store.close()


def _python() -> _Condition:
    return ok(f"{platform.python_version()}")  # an older one could not have read this file


def _sqlite() -> _Condition:
    version = sqlite_version()
    if tuple(map(int, version.split(".")[:2])) < _OLDEST_SQLITE:
        raise StoreError(f"SQLite {version} is too old: 3.37 is needed", reason="sqlite-version")
    return ok(version)


def _home(examined: Examined) -> _Condition:
    access = access_of(examined.home)
    if access is None:
        raise StoreError(
            f"{examined.home} is not there",
            reason="no-store",
            next_step=f"create it with 'attestor --home {examined.home} init --site NAME'",
        )
    if access.others_write:
        raise StoreError(
            f"{examined.home} can be written to by others (mode {access.mode:04o})",
            reason="permissions",
            next_step=f"run: chmod go-w {examined.home}; then see that what is in it is yours",
        )
    if not access.is_ours:
        return warning(f"{examined.home} belongs to another user: good for reading")
    return ok(f"{examined.home}, mode {access.mode:04o}")


def _filesystem(examined: Examined) -> _Condition:
    kind = filesystem_type(examined.home) or "unknown"
    if is_network(kind):
        if examined.allow_network_fs:
            return warning(f"{kind}: on another machine; neither locks nor fsync hold")
        raise StoreError(
            f"{examined.home} is on a network filesystem ({kind}), where neither locks nor fsync"
            " hold",
            reason="network-filesystem",
            next_step="move the home to a local disk",
        )
    if not keeps_modes(kind):
        return warning(f"{kind}: keeps no permissions, so private keys are everybody's here")
    return ok(kind)


def _keys(examined: Examined) -> _Condition:
    directory = examined.home / KEYS_NAME
    access = access_of(directory)
    if access is None:
        return CheckState.SKIPPED, f"there is no {directory}"
    if access.others_write or access.others_read:
        raise ConfigError(
            f"{directory} is open to others (mode {access.mode:04o})",
            reason="key-permissions",
            next_step=f"run: chmod 700 {directory}; if others used this host, make new keys",
        )
    if not access.is_ours:
        return CheckState.SKIPPED, f"{directory} belongs to another user"
    names, locked = verify_private_keys(examined.home, examined.passphrases)
    if locked:
        return warning(f"{locked_text(locked)}; " + (", ".join(names) or "no other") + " load")
    return ok(", ".join(names) or "none yet")


def _site(store: Store) -> _Condition:
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


def _clock(store: Store, examined: Examined) -> _Condition:
    behind = examined.clock_behind()
    if behind is not None:
        raise ConfigError(
            behind,
            reason="clock",
            next_step="set the clock; if it was ahead and is right now: attestor doctor"
            " --reset-clock REASON",
        )
    floor = clock_floor(store)
    if floor is None:
        return ok("nothing was recorded yet to compare it with")
    return ok(f"{age_text(examined.now() - floor.at)} after {floor.source}")


def _trust_root(store: Store, now: int) -> _Condition:
    root = current_root(store)
    if root is None:
        return ok("none imported; needed only for certificates")
    configuration = read_configuration(store)
    age = max(now - root.imported_at, 0)
    text = f"imported {age_text(age)} ago"
    limit = configuration.optional_seconds("verify.maxTrustRootAge.fail")
    if limit is not None and age > limit:
        raise RefusedError(
            f"the trusted root was {text}, at most {age_text(limit)} allowed",
            reason="trust-root-stale",
            next_step="run 'attestor trust import' with a newer trusted_root.json",
        )
    warn = configuration.optional_seconds("verify.maxTrustRootAge.warn")
    return warning(text) if warn is not None and age > warn else ok(text)


def _index(store: Store) -> _Condition:
    index = open_index(store.home, write=False)
    if index is None:
        if read_configuration(store).optional_flag("entryIndex.enabled") is False:
            return ok("none, as entryIndex.enabled says")
        return ok("none; 'attestor index build' makes searching fast")
    try:
        logs = all_logs(store)
        indexed = sum(index.count(log) for log in logs)
        mirrored = sum(mirrored_entries(store, log) for log in logs)
    finally:
        index.close()
    text = f"{min(indexed, mirrored):,} of {mirrored:,} mirrored entries indexed"
    return ok(text) if indexed >= mirrored else warning(f"{text}; run: attestor index build")


def _private_logs(store: Store) -> _Condition:
    """Say for which logs nothing outside would notice that this home was put back."""
    logs = all_private_logs(store)
    if not logs:
        return ok("none")
    asked = {
        backend.log.id
        for backend in all_backends(store)
        if backend.enabled and (backend.base_url or backend.read_url)
    }
    unseen = [log for log in logs if recall(log.log.keys[0]) is None and log.log.id not in asked]
    if not unseen:
        return ok(", ".join(log.name for log in logs))
    names = ", ".join(one.name for one in unseen)
    return warning(
        f"{names}: nothing signed since this machine was booted, and no mirror to ask: that this"
        " home was put back to an older state cannot be seen"
    )
