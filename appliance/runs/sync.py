"""sync: ask each backend, prove, absorb, judge; then send the queue, and publish what is due."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Final

from appliance.errors import ApplianceError, ConfigError
from appliance.jobs.mirror.absorb import AbsorbReport
from appliance.jobs.mirror.fill import Progress, Wanted
from appliance.jobs.mirror.sync import preview_sync
from appliance.jobs.mirror.sync import sync as sync_backend
from appliance.runs.drain import DrainRun, drain_after_sync
from appliance.runs.find import index_after
from appliance.runs.publish import publish_after_sync
from appliance.runs.session import Session
from appliance.runs.sources import open_backend
from appliance.store.mirror.logs import Backend, select_backends
from appliance.value import frozen

_MAX_TILES: Final = "rekorSync.maxTilesPerSync"
ShowProgress = Callable[[str], AbstractContextManager[Progress]]


@frozen
class SyncOptions:
    """What this run is to do other than the settings say."""

    backends: tuple[str, ...] = ()  # by name; none: all that are enabled
    full: bool = False  # no cap on tiles
    full_tiles: bool = False  # every hash tile, even if tiles are switched off
    max_tiles: int | None = None  # None: as set
    entries: bool | None = None  # None: as set
    dry_run: bool = False  # only look


@frozen
class Synced:
    """What came of one backend: a report or an error."""

    backend: str
    report: AbsorbReport | None
    error: ApplianceError | None


@frozen
class SyncRun:
    """What came of a sync."""

    enabled: bool  # rekorSync.enabled
    backends: tuple[Synced, ...] = ()
    drained: DrainRun | None = None  # None: nothing was to be sent, or it could not be
    warnings: tuple[str, ...] = ()  # of what came after the backends

    @property
    def errors(self) -> tuple[ApplianceError, ...]:
        """What the run ends with."""
        failed = tuple(one.error for one in self.backends if one.error is not None)
        return failed + (self.drained.serious if self.drained else ())


def sync(session: Session, options: SyncOptions, show: ShowProgress) -> SyncRun:
    """Bring the mirrors up to what their logs offer; a backend that fails stops no other.

    Raises LockedError if another run has the home, ConfigError if no backend has a URL.
    """
    with session.queueing():  # open once, for all that follows
        if not session.configuration.flag("rekorSync.enabled"):
            return SyncRun(enabled=False)
        backends = _sync_backends(session, options, show)
        if options.dry_run or not any(one.report for one in backends):
            return SyncRun(True, backends)
        # From here on the mirrors stand, whatever happens; the home's lock is free again.
        drained, said = drain_after_sync(session)
        said = (*said, *publish_after_sync(session), *index_after(session))
        return SyncRun(True, backends, drained, said)


def _sync_backends(
    session: Session, options: SyncOptions, show: ShowProgress
) -> tuple[Synced, ...]:
    wanted, synced = _wanted(session, options), []
    with session.writing() as store, session.http() as http:
        chosen = select_backends(store, options.backends)
        for backend in _reachable(chosen, options.backends):
            try:
                source = open_backend(http, backend)
                if options.dry_run:
                    report = preview_sync(store, backend, source, session.now())
                else:
                    with show(f"sync {backend.name}") as advance:
                        now = session.now()
                        report = sync_backend(store, backend, source, wanted, now, advance)
            except ApplianceError as error:
                error.message = f"{backend.name}: {error.message}"
                synced.append(Synced(backend.name, None, error))
            else:
                synced.append(Synced(backend.name, report, None))
    return tuple(synced)


def _wanted(session: Session, options: SyncOptions) -> Wanted:
    settings = session.configuration
    capped = None if options.full or options.full_tiles else settings.count(_MAX_TILES)
    entries = options.entries
    return Wanted(
        tiles=settings.flag("rekorSync.enableTileSync") or options.full_tiles,
        entries=settings.flag("rekorSync.enableEntrySync") if entries is None else entries,
        limit=capped if options.max_tiles is None else options.max_tiles,
    )


def _reachable(backends: Sequence[Backend], names: tuple[str, ...]) -> Sequence[Backend]:
    """Leave out what has no URL, unless it was asked for: bundles bring it, or it is our own."""
    reachable = [one for one in backends if names or one.read_url or one.base_url]
    if not reachable:
        raise ConfigError(
            "no enabled backend has a URL: this site gets its checkpoints from transfer bundles",
            reason="no-url",
            next_step="'attestor import FILE', or add one: attestor backend add ID --url U"
            " --origin O --public-key FILE",
        )
    return reachable
