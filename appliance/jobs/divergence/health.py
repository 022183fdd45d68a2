"""The one judgement of health: each backend's log, and the home around them.

sync-status, check, alerts, metrics, doctor and export all ask here, so they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from appliance.config.configuration import Configuration, shown_sink
from appliance.errors import ApplianceError
from appliance.jobs.coverage import coverage_of
from appliance.jobs.divergence.mirror_logs import uncompared
from appliance.jobs.divergence.successor import way_on_from_frozen
from appliance.jobs.home.configure import read_configuration
from appliance.jobs.last_vouched import last_vouched
from appliance.jobs.our_tree import readable_checkpoint
from appliance.policy.alarms import ABOUT_ENTRIES, GREW, HOME, STALE
from appliance.policy.coverage import Coverage
from appliance.policy.health import (
    AgeLimits,
    Health,
    HomeFacts,
    Job,
    Lasting,
    LateWatch,
    Problem,
    Syncs,
    health,
    judge_home,
    judge_syncs,
)
from appliance.store.blob_place import blob_place
from appliance.store.database import DATABASE_NAME, Store
from appliance.store.divergence.alerts import lasting_alerts_of
from appliance.store.divergence.outbox import waiting_since
from appliance.store.divergence.quarantine import quarantine_of
from appliance.store.filesystem import foreign_files, room_at
from appliance.store.find.watches import all_watches, behind
from appliance.store.home.key_files import KEYS_NAME
from appliance.store.home.runs import BackendRun, backend_run, backend_runs, command_runs
from appliance.store.home.settings import SITE_ROLE, site_fact
from appliance.store.mirror.checkpoints import AcceptedCheckpoint
from appliance.store.mirror.logs import REKOR_V1, Backend, Log, all_backends, all_logs, window_end
from appliance.store.mirror.mirror import Mirror
from appliance.store.mirror.sync_times import last_sync
from appliance.store.queue.queue import held_count, oldest_held
from appliance.store.verify.trust import current_root
from appliance.tlog.tile import edge_tiles
from appliance.value import frozen

_LIMITS = ("degradedCheckpointAgeThreshold", "unhealthyCheckpointAgeThreshold")


@frozen
class LogStatus:
    """How one backend and its log are. None: there is nothing to say it of. Unix seconds."""

    backend: Backend
    tree_size: int | None  # of the accepted checkpoint
    mirror_size: int | None  # of the mirror checkpoint
    last_sync: int | None  # when this backend last offered a valid checkpoint
    age: int | None  # seconds since that, or since what vouches in its stead
    growth_age: int | None  # seconds since the log was first seen at its size
    covered_age: int | None  # seconds since the mirror checkpoint was the newest there was
    coverage: Coverage | None
    limits: AgeLimits
    health: Health
    reasons: tuple[str, ...]  # why it is not HEALTHY
    problems: tuple[Problem, ...]
    run: BackendRun | None  # how its syncs went


@frozen
class HomeHealth:
    """How a home is: its logs, and everything else."""

    logs: tuple[LogStatus, ...]
    problems: tuple[Problem, ...]  # of the home itself, the critical first

    @property
    def health(self) -> Health:
        """The worst of all; a log that is quarantined makes its home UNHEALTHY."""
        logs = [log for log in self.logs if log.backend.enabled]
        if any(log.health in (Health.UNHEALTHY, Health.QUARANTINED) for log in logs):
            return Health.UNHEALTHY
        if any(problem.is_critical for problem in self.problems):
            return Health.UNHEALTHY
        degraded = any(log.health is Health.DEGRADED for log in logs)
        return Health.DEGRADED if degraded or self.problems else Health.HEALTHY


def home_health(
    store: Store,
    now: int,
    *,
    clock_behind: str | None = None,
    backends: Sequence[Backend] | None = None,
) -> HomeHealth:
    """Judge a home and these backends, or all that are enabled. Raises what reading raises."""
    configuration = read_configuration(store)
    chosen = (
        [backend for backend in all_backends(store) if backend.enabled]
        if backends is None
        else backends
    )
    logs = tuple(log_status(store, one, limits_of(configuration, one), now) for one in chosen)
    problems = judge_home(_facts(store, configuration, now, clock_behind))
    return HomeHealth(logs, tuple(sorted(problems, key=lambda problem: not problem.is_critical)))


def limits_of(configuration: Configuration, backend: Backend) -> AgeLimits:
    """Return the ages beyond which a backend is less than healthy."""
    degraded, unhealthy = (configuration.threshold(name, backend.name) for name in _LIMITS)
    never = float("inf")
    return AgeLimits(
        never if degraded is None else degraded, never if unhealthy is None else unhealthy
    )


def log_status(store: Store, backend: Backend, limits: AgeLimits, now: int) -> LogStatus:
    """Say how the log of a backend stands at `now`; raises only what reading the store raises."""
    mirror, run = Mirror(store, backend.log), backend_run(store, backend.name)
    accepted = mirror.history.accepted()
    mirrored = mirror.history.mirror_checkpoint()
    answered_at, counts_from, age = last_sync(store, backend.log), None, None
    is_frozen = is_fresh = False
    if accepted is not None:
        vouched_at, is_frozen = last_vouched(mirror, accepted, now)
        answered_at, counts_from = _own_answer(store, backend, run, vouched_at)
        age = None if counts_from is None else max(now - counts_from, 0)
        is_fresh = vouched_at is not None and now - vouched_at <= limits.degraded
        is_frozen = is_frozen or is_complete_shard(mirror, mirrored, accepted, now)
    held = quarantine_of(store, backend.log)
    coverage = coverage_of(mirror)
    problems = tuple(_sync_problems(store, backend, run, coverage, now))
    judged, reasons = health(
        age,
        limits,
        is_frozen=is_frozen,
        quarantined_beyond=held.last_common_size if held else None,
        lasting=[
            Lasting(one.number, one.type, one.severity == "critical")
            for one in lasting_alerts_of(store, backend.log)
            if one.severity != "info"
            and one.event_type not in (STALE, HOME)  # judged here, as of now
            and not one.event_type.startswith(ABOUT_ENTRIES)  # the log is as it was
            # It does not get better by itself; once somebody knows, the log may be well.
            and not (one.event_type == GREW and one.acked_at is not None)
        ],
        problems=problems,
        fresh_elsewhere=is_fresh,
    )
    is_covered = mirrored is not None and accepted is not None and mirrored.head == accepted.head
    covered_at = None if mirrored is None else mirrored.first_seen_at
    if is_covered:
        covered_at = counts_from
    return LogStatus(
        backend,
        accepted.head.tree_size if accepted else None,
        mirrored.head.tree_size if mirrored else None,
        answered_at,
        age,
        max(now - accepted.first_seen_at, 0) if accepted else None,
        None if covered_at is None else max(now - covered_at, 0),
        coverage,
        limits,
        judged,
        reasons,
        problems,
        run,
    )


def has_ended(store: Store, log: Log, now: int) -> bool:
    """Whether the window of a log in the trusted root is over."""
    end = window_end(store, log)
    return end is not None and now > end


def is_complete_shard(
    mirror: Mirror, mirrored: AcceptedCheckpoint | None, accepted: AcceptedCheckpoint, now: int
) -> bool:
    """Whether the window of a log is over and all of it is here: only then is it at rest."""
    if not has_ended(mirror.store, mirror.log, now):
        return False
    wanted = read_configuration(mirror.store).flag("rekorSync.enableTileSync")
    wanted = wanted and mirror.log.api_version != REKOR_V1
    return not wanted or (mirrored is not None and mirrored.head == accepted.head)


def _own_answer(
    store: Store, backend: Backend, run: BackendRun | None, vouched_at: int | None
) -> tuple[int | None, int | None]:
    """Return when this very backend last answered, and since when its age counts.

    Another backend of its log may be fresher, and so may a transfer bundle.
    """
    arrived_at = last_sync(store, backend.log)
    if run is None or vouched_at is None:
        return arrived_at, vouched_at
    log = backend.log
    siblings = {one.name for one in all_backends(store) if one.log == log}
    answers = [one.answered_at or 0 for one in backend_runs(store) if one.backend in siblings]
    if arrived_at is not None and arrived_at > max(answers, default=0):
        return arrived_at, vouched_at  # a transfer bundle came after every answer
    if log.policy is not None:
        return run.answered_at, vouched_at  # whoever brings it, the witnesses vouch
    return run.answered_at, run.answered_at or run.failing_since or run.attempted_at


def _sync_problems(
    store: Store, backend: Backend, run: BackendRun | None, coverage: Coverage | None, now: int
) -> Iterator[Problem]:
    if run is None or not backend.enabled:
        return
    wanted = read_configuration(store).flag("rekorSync.enableTileSync")
    wanted = wanted and backend.log.api_version != REKOR_V1  # which has no tiles
    # What has ended is asked rarely: its failures count from the first, not from the last answer.
    succeeded_at = None if has_ended(store, backend.log, now) else run.succeeded_at
    yield from judge_syncs(
        backend.name,
        Syncs(
            run.attempted_at,
            succeeded_at,
            run.failing_since,
            run.error,
            run.moved_at,
            run.failures,
        ),
        now,
        percent=coverage.percent if coverage is not None and wanted else None,
    )


def _facts(
    store: Store, configuration: Configuration, now: int, clock_behind: str | None
) -> HomeFacts:
    root, waiting = current_root(store), waiting_since(store)
    try:
        places = (store.home, blob_place(store.home) or store.home)
        room = min(map(room_at, places), key=lambda one: one.free_bytes)
    except ApplianceError:
        room = None  # it cannot be asked here
    return HomeFacts(
        now=now,
        jobs=[
            Job(run.command, run.exit_code, run.failing_since, run.succeeded_at)
            for run in command_runs(store)
        ],
        queue_depth=held_count(store),
        oldest_item_at=oldest_held(store),
        sends_itself=(site_fact(store, SITE_ROLE) != "isolated"),
        undelivered_since=waiting[0] if waiting else None,
        undelivered_sink=shown_sink(waiting[1]) if waiting else "",
        root_at=root.imported_at if root else None,
        root_warn=configuration.optional_seconds("verify.maxTrustRootAge.warn"),
        root_fail=configuration.optional_seconds("verify.maxTrustRootAge.fail"),
        clock_behind=clock_behind,
        free_bytes=room.free_bytes if room else None,
        free_files=room.free_files if room else None,
        total_bytes=room.total_bytes if room else 0,
        foreign=_foreign(store),
        uncompared=uncompared(store, configuration),
        frozen_target=_frozen_target(store, configuration, now),
        late_watches=tuple(_late_watches(store, now)),
    )


def _frozen_target(store: Store, configuration: Configuration, now: int) -> tuple[str, str] | None:
    """Return the log that the queue is sent to, and the way on, if that log takes nothing more."""
    url = configuration.optional_text("rekor.serverUrl")
    found = [one for one in all_backends(store) if url is not None and one.base_url == url]
    for backend in found:
        mirror = Mirror(store, backend.log)
        accepted = mirror.history.accepted()
        is_frozen = accepted is not None and last_vouched(mirror, accepted, now)[1]
        if is_frozen or has_ended(store, backend.log, now):
            return backend.log.origin, way_on_from_frozen(store, backend)
    return None


def _foreign(store: Store) -> tuple[str, ...]:
    """List what does not belong to whom the home does, looked for where it would hurt first."""
    home = store.home
    paths: list[Path | str] = [home / DATABASE_NAME, home / "lock", home / KEYS_NAME]
    paths += store.blobs.directories()
    for log in {backend.log.id: backend.log for backend in all_backends(store)}.values():
        mirror = Mirror(store, log)
        accepted = mirror.history.accepted()
        for tile in edge_tiles(accepted.head.tree_size) if accepted else ():
            try:
                digest = mirror.tile_digest(tile)
            except ApplianceError:
                continue
            if digest is not None and (file := store.blobs.file(digest)) is not None:
                paths.append(file.path)
    return foreign_files(home, paths)


def _late_watches(store: Store, now: int) -> Iterator[LateWatch]:
    watches = all_watches(store)
    for log in all_logs(store) if watches else ():
        covered = readable_checkpoint(Mirror(store, log))
        for watch in watches if covered is not None else ():
            late = behind(store, watch, log)
            if late and covered is not None:
                yield LateWatch(watch.name, log.origin, late, max(now - covered.first_seen_at, 0))
