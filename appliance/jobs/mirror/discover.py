"""Find logs: what the trusted root names is added, what it says has ended is retired.

An operator's choices stay: a backend that is here is never enabled, moved or renamed. Keys
are added, as logs rotate them, and none is taken away: it signed the older checkpoints. A log
that ended stays enabled: sync asks it until all of it is here, then once a week (shards.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from appliance.config.kinds import Url
from appliance.errors import ApplianceError
from appliance.sigstore.log_shards import LogShard, identify_shard, unnamed_services, with_scheme
from appliance.sigstore.monitor_config import ReadLog
from appliance.sigstore.signing_config import LogService
from appliance.sigstore.trusted_root import LogKey
from appliance.sigstore.validity import Window, format_time, unix_time
from appliance.store.database import Store
from appliance.store.home.journal import append_event
from appliance.store.mirror.logs import (
    REKOR_V1,
    REKOR_V2,
    Backend,
    Log,
    add_log,
    all_backends,
    all_logs,
    key_name,
    put_backend,
    put_window,
)
from appliance.tlog.note_keys import is_among, same_key
from appliance.value import frozen, replaced

MAX_NAME: Final = 64  # of a backend
READ_PATH: Final = "api/v2"  # below the URL that a monitor config gives for a Rekor v2 log

ADDED: Final = "added"
CHANGED: Final = "changed"
RETIRED: Final = "retired"
UNCHANGED: Final = "unchanged"


@frozen
class Named:
    """What roots and configs name: keys, where entries are written, where logs are read."""

    logs: tuple[LogKey, ...]
    services: tuple[LogService, ...] = ()
    read_logs: tuple[ReadLog, ...] = ()


@frozen
class FoundLog:
    """One log that the root names, and what was done about it."""

    origin: str
    api_version: int  # of Rekor
    backends: tuple[str, ...]
    enabled: bool  # whether any of them is
    action: str  # added, changed, retired, unchanged
    notes: tuple[str, ...]

    @property
    def is_change(self) -> bool:
        """Whether anything was done about it."""
        return self.action != UNCHANGED


@frozen
class Discovery:
    """What a root and its signing configs led to."""

    logs: tuple[FoundLog, ...]
    warnings: tuple[str, ...]  # what could not be added, and why


def discover(store: Store, named: Named, now: int, *, dry_run: bool = False) -> Discovery:
    """Do what take_named does, all or nothing."""
    with store.atomic(dry_run=dry_run):
        return take_named(store, named, now)


def take_named(store: Store, named: Named, now: int) -> Discovery:
    """Add every log that is named, retire those whose window ended before `now`.

    Call it inside store.atomic(). Raises ConfigError if the name of a backend it would add is
    taken by another log's, or a log is here with another version of Rekor.
    """
    by_origin: dict[str, list[LogShard]] = {}
    warnings = []
    for log in named.logs:
        try:
            shard = identify_shard(log, named.services)
            shard = replaced(shard, base_url=Url().read(shard.base_url))
        except ApplianceError as error:
            warnings.append(f"{log} is not added: {error.message}")
        else:
            by_origin.setdefault(shard.origin, []).append(shard)
    _move_to_service(by_origin, named.services)
    read_urls, unknown = _read_urls(named.read_logs, by_origin)
    warnings += unknown
    shards = [shard for own in by_origin.values() for shard in own]
    warnings += [
        f"{service.url} is in the signing config, but no log of the trusted root is there; logs "
        "that share it for writing are read each at its own URL"
        for service in unnamed_services(named.services, shards)
    ]
    time = unix_time(now)
    found = [
        _absorb(store, origin, own, read_urls.get(own[-1].origin), time)
        for own in by_origin.values()
        for origin in _origins_here(store, own[-1])
    ]
    for one in found:
        if one.is_change:
            details = {"origin": one.origin, "action": one.action, "notes": list(one.notes)}
            append_event(store, now, "backend.discovered", details)
    return Discovery(tuple(found), tuple(warnings))


def _move_to_service(by_origin: dict[str, list[LogShard]], services: Sequence[LogService]) -> None:
    """Take the URL of the signing config for the one log of the root that can be meant by it.

    A private log's trusted root may know no more than its origin.
    """
    for version in {service.api_version for service in services}:
        shards = [one for own in by_origin.values() for one in own if one.api_version == version]
        own_services = [service for service in services if service.api_version == version]
        free = unnamed_services(own_services, shards)
        origins = {shard.origin for shard in shards}
        if len(free) == len(own_services) == len(origins) == 1:
            [origin] = origins
            url = Url().read(with_scheme(free[0].url))
            by_origin[origin] = [replaced(one, base_url=url) for one in by_origin[origin]]


def _read_urls(
    read_logs: Sequence[ReadLog], by_origin: dict[str, list[LogShard]]
) -> tuple[dict[str, str], list[str]]:
    """Return the prefix that each log of the root is read at, by origin, and what has none.

    The first that names a log counts: what was given by hand stands before what was published.
    """
    found: dict[str, str] = {}
    warnings = []
    for log in read_logs:
        origin = key_name(log.api_version, log.origin)
        shards = by_origin.get(origin, ())
        if not any(shard.api_version == log.api_version for shard in shards):
            warnings.append(
                f"{log.origin} is in the monitor config, but the trusted root names no such log"
                f" of Rekor v{log.api_version}"
            )
            continue
        try:
            url = Url().read(with_scheme(log.url))
        except ApplianceError as error:
            warnings.append(f"{log.origin}: its read URL is not taken: {error.message}")
        else:
            found.setdefault(origin, f"{url}/{READ_PATH}" if log.api_version == REKOR_V2 else url)
    return found, warnings


def _origins_here(store: Store, shard: LogShard) -> tuple[str, ...]:
    """Return the origins a log is known by; one key of Rekor v1 serves several trees."""
    known = tuple(
        log.origin
        for log in all_logs(store)
        if log.api_version == shard.api_version
        and key_name(log.api_version, log.origin) == shard.origin
    )
    return known or (shard.origin,)


def _absorb(
    store: Store, origin: str, shards: Sequence[LogShard], read_url: str | None, now: datetime
) -> FoundLog:
    """Bring one log up to what the root says of it: its keys, their windows, its backend."""
    newest = shards[-1]
    known = [key for log in all_logs(store) if log.origin == origin for key in log.keys]
    windows = {
        spki: _joined(shard.valid for shard in shards if same_key(shard.spki, spki))
        for spki in dict.fromkeys(shard.spki for shard in shards)
    }
    notes, changed = [], False
    log = add_log(store, origin, newest.api_version, newest.spki)
    for spki, window in windows.items():
        log = add_log(store, origin, newest.api_version, spki)
        changed |= put_window(store, log, spki, _seconds(window.start), _seconds(window.end))
    if known and not all(is_among(spki, known) for spki in windows):
        notes.append("one more key may sign for it")
    ends = [window.end for window in windows.values()]
    ended = all(end is not None and end < now for end in ends)
    if ended:
        last = max(end for end in ends if end is not None)
        notes.append(f"its window ended {format_time(last)}")
        notes.append("sync asks it until all of it is here, then once a week")
    return _settle(store, log, newest, read_url, notes, ended=ended, changed=changed)


def _settle(
    store: Store,
    log: Log,
    shard: LogShard,
    read_url: str | None,
    notes: list[str],
    *,
    ended: bool,
    changed: bool,
) -> FoundLog:
    """Give a log its backend if it has none; what the operator set up stays as it is."""
    own = _backends_of(store, log, shard)
    if read_url is not None and any(_learns(store, one, shard, read_url) for one in own):
        notes.append(f"it is read at {read_url}")
        changed = True
    action = CHANGED if changed else UNCHANGED
    if not own:
        name = re.sub("[^A-Za-z0-9._-]", "-", shard.origin)[:MAX_NAME]
        put_backend(
            store,
            name,
            log,
            base_url=shard.base_url,
            read_url=read_url,
            enabled=not ended,
            follows=shard.origin if shard.api_version == REKOR_V1 else None,
        )
        action = ADDED
    elif ended and changed and any(one.enabled for one in own):
        action = RETIRED
    own = _backends_of(store, log, shard)
    return FoundLog(
        origin=log.origin,
        api_version=log.api_version,
        backends=tuple(one.name for one in own),
        enabled=any(one.enabled for one in own),
        action=action,
        notes=tuple(notes),
    )


def _learns(store: Store, backend: Backend, shard: LogShard, read_url: str) -> bool:
    """Let a backend that discovery made be read where the log is read; whether that is new."""
    if backend.read_url is not None or backend.base_url != shard.base_url:
        return False
    put_backend(
        store,
        backend.name,
        backend.log,
        base_url=backend.base_url,
        read_url=read_url,
        enabled=backend.enabled,
        mirror_of=backend.mirror_of,
        follows=backend.follows,
    )
    return True


def _backends_of(store: Store, log: Log, shard: LogShard) -> list[Backend]:
    """Return what reaches a log; one backend reaches all trees of a Rekor v1 instance."""
    return [
        backend
        for backend in all_backends(store)
        if backend.log.id == log.id
        or (shard.api_version == REKOR_V1 and backend.follows == shard.origin)
    ]


def _joined(windows: Iterable[Window]) -> Window:
    """Return the smallest window around several of the same key."""
    starts, ends = zip(*((window.start, window.end) for window in windows), strict=True)
    return Window(None if None in starts else min(starts), None if None in ends else max(ends))


def _seconds(time: datetime | None) -> int | None:
    return None if time is None else int(time.timestamp())
