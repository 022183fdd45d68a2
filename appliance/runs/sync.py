"""sync: ask each backend, prove, absorb, judge; then send the queue, and publish what is due."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from appliance.errors import (
    ApplianceError,
    ConfigError,
    IncompleteError,
    ProofError,
    RefusedError,
)
from appliance.fetch.rekor_v1 import RekorV1Log
from appliance.jobs.divergence.cross_check import CrossChecked, cross_check
from appliance.jobs.home.sweep import sweep_before
from appliance.jobs.mirror.absorb import AbsorbReport
from appliance.jobs.mirror.fill import Wanted
from appliance.jobs.mirror.follow import follow, move_to_next_tree
from appliance.jobs.mirror.place_conflicts import usable_place
from appliance.jobs.mirror.prune import PruneReport, cache_limits, prune_as_set, too_large
from appliance.jobs.mirror.shards import is_resting
from appliance.jobs.mirror.sync import preview_sync
from appliance.jobs.mirror.sync import sync as sync_backend
from appliance.jobs.mirror.tree_places import begins_before, learn_places
from appliance.jobs.mirror.window import WindowReport, fetch_window, place_in_tree
from appliance.jobs.progress import Progress, ShowProgress
from appliance.policy.retry import SLICE_OVER
from appliance.rekor.log_info_v1 import LogInfo
from appliance.runs.after_sync import (
    discover_after_sync,
    drain_after_sync,
    find_after,
    publish_after_sync,
)
from appliance.runs.answers import Answered, Answers
from appliance.runs.carried_notes import (
    CarriedNote,
    PlacedNote,
    keep_known,
    place,
    unproven,
)
from appliance.runs.session import Session
from appliance.store.database import Store
from appliance.store.mirror.logs import (
    REKOR_V1,
    Backend,
    Log,
    all_backends,
    all_logs,
    find_log,
    is_tree_origin,
    key_name,
    require_backend,
    select_backends,
)
from appliance.store.mirror.mirror import Mirror
from appliance.tlog.checkpoint import parse_checkpoint
from appliance.tlog.note import parse_note
from appliance.value import frozen, replaced

if TYPE_CHECKING:
    from appliance.jobs.mirror.discover import Discovery
    from appliance.runs.drain import DrainRun

_MAX_TILES: Final = "rekorSync.maxTilesPerSync"
CHECKPOINTS: Final = Wanted(tiles=False)  # all that there is to mirror of a Rekor v1 tree
MAX_ENTRIES: Final = 100_000  # of a log without tiles, in one run: 10,000 requests
FULL_SECONDS: Final = 3600.0  # for one backend, where everything was asked for


@frozen
class SyncOptions:
    """What this run is to do other than the settings say."""

    backends: tuple[str, ...] = ()  # by name; none: all that are enabled
    full: bool = False  # no cap on tiles
    full_tiles: bool = False  # every hash tile, even if tiles are switched off
    max_tiles: int | None = None  # None: as set
    entries: bool | None = None  # None: as set
    dry_run: bool = False  # only look
    carried: tuple[CarriedNote, ...] = ()  # checkpoints of bundles to be proven
    window: range | None = None  # entries to be fetched, by index within their tree
    is_over_all_trees: bool = False  # the window counts from the first entry of the first tree


@frozen
class Synced:
    """What came of one backend: a report or an error."""

    backend: str
    report: AbsorbReport | None
    error: ApplianceError | None
    windows: tuple[WindowReport, ...] = ()  # of entries, of a log without tiles


@frozen
class SyncRun:
    """What came of a sync."""

    enabled: bool  # rekorSync.enabled
    backends: tuple[Synced, ...] = ()
    compared: tuple[ApplianceError, ...] = ()  # mirror logs that contradict their log
    placed: tuple[PlacedNote, ...] = ()  # the checkpoints that were to be proven
    pruned: PruneReport | None = None  # None: no setting says that anything is to be
    drained: DrainRun | None = None  # None: nothing was to be sent, or it could not be
    discovered: Discovery | None = None  # None: it was not due, or failed
    warnings: tuple[str, ...] = ()  # of what came after the backends

    @property
    def errors(self) -> tuple[ApplianceError, ...]:
        """What the run ends with."""
        failed = tuple(one.error for one in self.backends if one.error is not None)
        if not failed and (waiting := unproven(self.placed)) is not None:
            failed = (waiting,)
        return (*failed, *self.compared, *(self.drained.serious if self.drained else ()))


def sync(session: Session, options: SyncOptions, show: ShowProgress) -> SyncRun:
    """Bring the mirrors up to what their logs offer; a backend that fails stops no other.

    Raises LockedError if another run has the home, ConfigError if no backend has a URL.
    """
    with session.writing_unlocked():  # open once, for all that follows
        if not session.configuration.flag("rekorSync.enabled"):
            return SyncRun(enabled=False)
        backends, kept = _sync_backends(session, options, show)
        with session.reading() as store:
            placed = place(store, options.carried)
        if options.dry_run:
            return SyncRun(True, backends, placed=placed, warnings=kept)
        found, told = (None, ()) if options.backends else discover_after_sync(session)
        kept = (*kept, *told)
        if not any(one.report for one in backends):
            return SyncRun(True, backends, placed=placed, discovered=found, warnings=kept)
        # From here on the mirrors stand, whatever happens; the home's lock is free again.
        compared = _compare_mirror_logs(session, backends)
        drained, said = drain_after_sync(session)
        said = (*kept, *compared.said, *said, *publish_after_sync(session))
        said = (*said, *find_after(session))
        pruned, full = _prune_cache(session)  # what is indexed and watched by now
        warnings = (*said, *full)
        return SyncRun(True, backends, compared.errors, placed, pruned, drained, found, warnings)


def _prune_cache(session: Session) -> tuple[PruneReport | None, tuple[str, ...]]:
    """Prune what the settings let go, now that there is what replaces it; say what cannot go."""
    limits = cache_limits(session.configuration)
    if limits is None:
        return None, ()
    try:
        with session.writing() as store:
            report = prune_as_set(store, all_logs(store), limits, session.now(), dry_run=False)
    except ApplianceError as error:
        return None, (f"the tile cache was not pruned: {error.message}",)
    return report, too_large(report, limits)


def _compare_mirror_logs(session: Session, backends: Sequence[Synced]) -> CrossChecked:
    """Compare what was synced with the mirror logs, now that every log had its turn."""
    if not session.configuration.mirror_origins:
        return CrossChecked()
    synced = {one.backend for one in backends if one.report}
    try:
        with session.writing() as store:
            logs = [one.log for one in all_backends(store) if one.name in synced]
            return cross_check(store, logs, session.now())
    except ApplianceError as error:
        error.message = f"mirror logs were not compared: {error.message}"
        return CrossChecked(errors=(error,))


def _sync_backends(
    session: Session, options: SyncOptions, show: ShowProgress
) -> tuple[tuple[Synced, ...], tuple[str, ...]]:
    """Sync each backend as its checkpoint comes: whoever is slow keeps nobody else waiting.

    The home's lock is not held for those that bring nothing for two seconds: they are
    waited for without it. Returns what came of each, and what else is to be said.
    """
    wanted, synced = _wanted(session, options), {}
    kept: tuple[str, ...] = ()
    with contextlib.ExitStack() as stack:
        with session.writing() as store:
            keep_known(store, options.carried, session.now())
            chosen = _reachable(select_backends(store, options.backends), options.backends)
            if not (options.backends or options.full or options.full_tiles or options.carried):
                settings, now = session.configuration, session.now()
                chosen = [one for one in chosen if not is_resting(store, settings, one, now)]
            answers = stack.enter_context(Answers(session, chosen, _seconds(session, options)))
            if not options.dry_run:
                kept = sweep_before(store, session.now())  # while they are being asked
            for backend, source in answers.soon():
                done = _sync_one(session, store, backend, source, wanted, options, show)
                if done is None:
                    answers.again(backend, source)
                else:
                    synced[backend.name] = done
        for backend, source in answers.later():
            try:
                with session.writing() as store:
                    done = _sync_one(session, store, backend, source, wanted, options, show)
            except ApplianceError as error:  # another run has the home by now
                error.message = f"{backend.name}: {error.message}"
                done = Synced(backend.name, None, error)
            if done is None:
                answers.again(backend, source)
            else:
                synced[backend.name] = done
    return tuple(synced[backend.name] for backend in chosen), kept


def _sync_one(
    session: Session,
    store: Store,
    backend: Backend,
    source: Answered,
    wanted: Wanted,
    options: SyncOptions,
    show: ShowProgress,
) -> Synced | None:
    """Return what came of a backend, None if its slice is over and it goes on with another."""
    source.begin_slice()
    try:
        if source.instance is not None:
            with show(f"sync {backend.name}") as advance:
                report, windows = _sync_instance(
                    session, store, backend, *source.instance, options, advance
                )
            return Synced(backend.name, report, None, windows)
        if options.window is not None:
            raise _has_tiles(backend)
        if options.dry_run:
            report = preview_sync(store, backend, source, session.now())
        else:
            with show(f"sync {backend.name}") as advance:
                report = sync_backend(store, backend, source, wanted, session.now(), advance)
    except ApplianceError as error:
        if error.reason == SLICE_OVER:
            return None
        error.message = f"{backend.name}: {error.message}"
        return Synced(backend.name, None, error)
    return Synced(backend.name, report, None)


def _sync_instance(
    session: Session,
    store: Store,
    backend: Backend,
    instance: RekorV1Log,
    info: LogInfo,
    options: SyncOptions,
    advance: Progress,
) -> tuple[AbsorbReport, tuple[WindowReport, ...]]:
    """Bring every tree of a Rekor v1 instance up to its signed head; report of the active one.

    Then fetch the entries that were asked for, with the proof of each.
    """
    if options.full_tiles:
        _refuse_huge(backend, info)
    now = session.now()
    backend = require_backend(store, backend.name)  # its primary or a mirror may have moved it
    followed = follow(
        store,
        backend,
        instance,
        info,
        lambda: keep_known(store, options.carried, now),
        dry_run=options.dry_run,
    )
    report, warnings = None, list(followed.warnings)
    for one in followed.trees:
        if options.dry_run:
            done = preview_sync(store, one.backend, one.source, now)
        else:
            done = sync_backend(store, one.backend, one.source, CHECKPOINTS, now)
        warnings += [f"{done.origin}: {warning}" for warning in done.warnings]
        report = done if one.is_active or report is None else report
    if report is None:
        raise ValueError("an instance without a tree")
    if not options.dry_run:
        # First: where trees begin tells a new tree from an earlier one. If we die here, the next
        # sync moves on.
        host = key_name(REKOR_V1, report.origin)
        warnings += learn_places(store, instance, info, host, session.random_bytes)
        warnings += _move_on(store, require_backend(store, backend.name), followed.moves_to, now)
    windows = _windows(session, store, backend, instance, info, options, advance)
    return replaced(report, warnings=tuple(warnings)), windows


def _move_on(store: Store, backend: Backend, moves_to: Log | None, now: int) -> Iterator[str]:
    """Let a backend stand at the tree that is active now, but never at one from before its own."""
    if moves_to is None:
        return
    if begins_before(store, moves_to, backend.log):
        yield (
            f"{moves_to.origin} is said to be the active tree, and began before"
            f" {backend.log.origin}, which is followed on: an old answer, or a wrong one"
        )
        return
    move_to_next_tree(store, backend, moves_to, now)
    if is_tree_origin(backend.log.origin):
        yield f"{backend.log.origin} is closed; {moves_to.origin} is followed now"


def _windows(
    session: Session,
    store: Store,
    backend: Backend,
    instance: RekorV1Log,
    info: LogInfo,
    options: SyncOptions,
    advance: Progress,
) -> tuple[WindowReport, ...]:
    """Fetch entries of the tree that a backend stands at, or of every tree where all are wanted."""
    if options.dry_run or not (options.full_tiles or options.window is not None):
        return ()
    now, before, found, place = session.now(), 0, [], None
    backend = require_backend(store, backend.name)  # it may follow an instance by now
    wanted_of, window = backend.log.origin, options.window
    host = key_name(REKOR_V1, backend.log.origin)
    if window is not None and options.is_over_all_trees:
        place = place_in_tree(instance, window.start)
        wanted_of = place.origin
        window = range(place.entry_index, place.entry_index + len(window))
        _require_listed(backend, wanted_of, [f"{host} - {tree.tree_id}" for tree in info.trees])
    for tree in info.trees:
        size = parse_checkpoint(parse_note(tree.note).text).head.tree_size
        log = find_log(store, f"{host} - {tree.tree_id}")
        wanted = range(size) if options.full_tiles else window
        is_wanted = log is not None and (
            log.origin == wanted_of or (options.full_tiles and backend.follows is not None)
        )
        if is_wanted and log is not None and wanted:
            known = usable_place(store, log)  # as the log signed, whatever the list adds up to
            begins = before if known is None else known.entries_before
            if wanted.stop > size:
                raise IncompleteError(
                    f"{log.origin} has {size:,} entries, not {wanted.stop:,}",
                    reason="not-covered",
                    next_step="--from counts within its tree: the index over all trees, less the"
                    f" {begins:,} entries of the trees before it; --log-index takes that index",
                )
            accept = _accepting(store, replaced(backend, log=log), instance, tree.tree_id, now)
            mirror = Mirror(store, log)
            if place is not None and begins + place.entry_index != place.log_index:
                raise ProofError(
                    f"entry {place.log_index:,} over all trees is said to be number"
                    f" {place.entry_index:,} of {log.origin}, which begins after {begins:,}",
                    reason="other-entry",
                    next_step="nothing was fetched; ask over another way, and the log's operator",
                )
            found.append(fetch_window(mirror, instance, begins, wanted, accept, advance))
        before += size
    return tuple(found)


def _require_listed(backend: Backend, origin: str, listed: Sequence[str]) -> None:
    """Refuse an answer that names another tree than those that are followed here."""
    known = listed if backend.follows is not None else [backend.log.origin]
    if origin not in known:
        raise IncompleteError(
            f"that entry is in {origin[:200]!r}, which {backend.name} does not follow",
            reason="other-log",
            next_step=f"it follows: {', '.join(known)}",
        )


def _accepting(
    store: Store, backend: Backend, instance: RekorV1Log, tree_id: str, now: int
) -> Callable[[bytes], None]:
    def accept(note: bytes) -> None:
        sync_backend(store, backend, instance.tree(tree_id, note), CHECKPOINTS, now)

    return accept


def _refuse_huge(backend: Backend, info: LogInfo) -> None:
    sizes = [parse_checkpoint(parse_note(one.note).text).head.tree_size for one in info.trees]
    if sum(sizes) > MAX_ENTRIES:
        raise RefusedError(
            f"{backend.origin} is a Rekor v1 log of {sum(sizes):,} entries: it serves no tiles, and"
            f" ten entries a request; at most {MAX_ENTRIES:,} are fetched",
            reason="no-tiles",
            next_step="its checkpoints are mirrored without; a window of its entries: attestor"
            f" sync --backend {backend.name} --from INDEX --count N; to have the bundles of it"
            f" that you hold proven: attestor sync --backend {backend.name} --for BUNDLE",
        )


def _has_tiles(backend: Backend) -> RefusedError:
    return RefusedError(
        f"{backend.origin} serves tiles and entry bundles: a window of it is not fetched by itself",
        reason="has-tiles",
        next_step=f"attestor sync --backend {backend.name} --full-tiles --entries",
    )


def _seconds(session: Session, options: SyncOptions) -> float:
    """Return how long this run may take for one backend; the next goes on where it stopped."""
    seconds = session.configuration.seconds("rekorSync.backendTimeout")
    everything = options.full or options.full_tiles or options.window is not None
    return max(seconds, FULL_SECONDS) if everything else seconds


def _wanted(session: Session, options: SyncOptions) -> Wanted:
    settings = session.configuration
    capped = None if options.full or options.full_tiles else settings.count(_MAX_TILES)
    entries = options.entries
    return Wanted(
        tiles=settings.flag("rekorSync.enableTileSync") or options.full_tiles,
        entries=settings.flag("rekorSync.enableEntrySync") if entries is None else entries,
        limit=capped if options.max_tiles is None else options.max_tiles,
        entries_go_on=entries is None and cache_limits(settings) is not None,
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
