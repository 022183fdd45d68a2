"""Sync one backend: absorb its checkpoint, asked for before (runs/answers.py), into the mirror.

Then the rules of docs/divergence.md are applied to what was found, and all of it is counted,
also when the sync fails: an outage must be visible, and a log grows stale during one too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final

from appliance.errors import ApplianceError
from appliance.jobs.divergence.alarm import ANOMALIES
from appliance.jobs.divergence.cross_check import follow_up
from appliance.jobs.divergence.judge import judge_answer, judge_log, reporting_damage
from appliance.jobs.last_vouched import last_vouched
from appliance.jobs.mirror.absorb import AbsorbReport, absorb, preview
from appliance.jobs.mirror.fill import Wanted
from appliance.jobs.mirror.older_proofs import fetch_older_proofs
from appliance.jobs.mirror.refetch import refetch_damaged
from appliance.jobs.progress import SILENT, Progress
from appliance.policy.alarms import Anomaly, Severity
from appliance.policy.error_types import error_type
from appliance.policy.relate import Relation
from appliance.policy.retry import SLICE_OVER
from appliance.store.database import Store
from appliance.store.home.counters import count, observe
from appliance.store.home.runs import backend_run, record_failure, record_success
from appliance.store.mirror.checkpoints import Arrival
from appliance.store.mirror.logs import Backend
from appliance.store.mirror.mirror import Mirror
from appliance.tlog.log_source import LogSource, ProvingSource, ending
from appliance.tlog.merkle import Hash
from appliance.tlog.tile import EntryBundle, Tile
from appliance.value import replaced

PREFIX: Final = "attestor_rekor_sync"
AGE_BUCKETS: Final = (60, 300, 900, 1800, 3600, 7200, 21_600, 86_400, 604_800)  # seconds


class CountedSource:
    """A LogSource that counts what came through it."""

    def __init__(self, source: LogSource) -> None:
        self._source = source
        self.n_checkpoints = 0
        self.n_tiles = 0

    @property
    def description(self) -> str:
        """The source's own."""
        return self._source.description

    @property
    def exchange(self) -> Mapping[str, Any]:
        """The source's own."""
        return self._source.exchange

    def checkpoint(self) -> bytes:
        """Return the newest signed note it offers."""
        note = self._source.checkpoint()
        self.n_checkpoints += 1
        return note

    def tiles(self, wanted: Iterable[Tile]) -> Iterator[tuple[Tile, bytes]]:
        """Yield each wanted tile as it comes."""
        with ending(self._source.tiles(wanted)) as brought:
            for came in brought:
                self.n_tiles += 1
                yield came

    def entry_bundles(self, wanted: Iterable[EntryBundle]) -> Iterator[tuple[EntryBundle, bytes]]:
        """Yield each wanted entry bundle as it comes."""
        return self._source.entry_bundles(wanted)


class _Counted(Progress):
    """Counts what is stored, and passes on what it is told."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.stored = 0  # tiles and entry bundles

    def stage(
        self, what: str, total: Callable[[], int | None] | None = None, *, n_bytes: bool = False
    ) -> None:
        """Pass it on."""
        self._progress.stage(what, total, n_bytes=n_bytes)

    def __call__(self, more: int) -> None:
        self.stored += more
        self._progress(more)


class CountedProvingSource(CountedSource):
    """A ProvingSource that counts what came through it."""

    def __init__(self, source: ProvingSource) -> None:
        super().__init__(source)
        self._proving = source

    def consistency(self, old_size: int, new_size: int) -> tuple[Hash, ...]:
        """Return what the source offers as a proof."""
        return self._proving.consistency(old_size, new_size)


def count_sync(
    store: Store,
    backend: Backend,
    source: CountedSource,
    now: int,
    *,
    old_size: int | None,
    tiles: int,
    error: ApplianceError | None,
) -> None:
    """Count one sync: what came, what of it was stored, and how old the checkpoint is now."""
    label = {"backend": backend.name}
    mirror = Mirror(store, backend.log)
    with store.atomic():
        count(store, f"{PREFIX}_checkpoints_fetched_total", label, source.n_checkpoints)
        head = mirror.history.accepted()
        new_size = head.head.tree_size if head else None
        count(store, f"{PREFIX}_checkpoints_stored_total", label, new_size != old_size)
        count(store, f"{PREFIX}_tiles_fetched_total", label, source.n_tiles)
        count(store, f"{PREFIX}_tiles_cached_total", label, tiles)
        if head is not None:
            age = max(now - (last_vouched(mirror, head, now)[0] or head.first_seen_at), 0)
            observe(store, f"{PREFIX}_checkpoint_age_seconds", label, age, AGE_BUCKETS)
        if error is not None:
            record_failure(store, backend.name, now, error.message)
            count_error(store, backend.name, error)


def record_answered(store: Store, backend: Backend, report: AbsorbReport, now: int) -> None:
    """Record that a backend answered honestly, if perhaps with an older head than ours."""
    behind = report.relation is Relation.BEHIND
    stored = report.tiles + report.entry_bundles > 0
    # An older head leaves nothing to fetch of itself: that says nothing of ours.
    covered = report.complete and not behind
    with store.atomic():
        record_success(store, backend.name, now, behind=behind, moved=stored, covered=covered)
        if behind:
            # Every stale replica counts, one that is worth an alarm as a warning besides.
            labels = {"type": Anomaly.STALE_REPLICA.value, "severity": Severity.INFO.value}
            count(store, ANOMALIES, labels)


def count_error(store: Store, backend: str, error: ApplianceError) -> None:
    """Count why a sync failed, unless that is no error but an answer. Inside store.atomic()."""
    kind = error_type(error)
    if kind is not None:
        count(store, f"{PREFIX}_errors_total", {"backend": backend, "error_type": kind})


def sync(
    store: Store,
    backend: Backend,
    source: LogSource,
    wanted: Wanted,
    now: int,
    progress: Progress = SILENT,
) -> AbsorbReport:
    """Bring the mirror of a backend's log up to what the backend offers at `now`.

    Raises what absorb raises, and DivergenceError if what is accepted now contradicts a
    checkpoint seen elsewhere. A RemoteError `slice-over` is no failure: called again, it goes on.
    """
    counted = (
        CountedProvingSource(source) if isinstance(source, ProvingSource) else CountedSource(source)
    )
    old_size = _accepted_size(store, backend)
    told = _Counted(progress)

    def count(stored_tiles: int, error: ApplianceError | None) -> None:
        with suppress(ApplianceError):  # the answer stands without its count
            count_sync(
                store, backend, counted, now, old_size=old_size, tiles=stored_tiles, error=error
            )

    try:
        with reporting_damage(store, backend.log, now):
            report = _sync(store, backend, counted, wanted, now, told)
    except ApplianceError as error:
        if error.reason == SLICE_OVER:  # not failing: it goes on when others had their turn
            count(min(told.stored, counted.n_tiles), None)
            raise
        # Already failing: what else there is to say must not hide why.
        with suppress(ApplianceError):
            judge_log(store, backend.log, backend.name, now)
        count(min(told.stored, counted.n_tiles), error)
        raise
    count(report.tiles, None)
    return report


def preview_sync(store: Store, backend: Backend, source: LogSource, now: int) -> AbsorbReport:
    """Say what a sync would find; raises what preview raises."""
    return preview(Mirror(store, backend.log), source, _arrival(backend, source, now))


def _sync(
    store: Store,
    backend: Backend,
    source: LogSource,
    wanted: Wanted,
    now: int,
    progress: Progress,
) -> AbsorbReport:
    mirror = Mirror(store, backend.log)
    # It stays marked; what is met of it below is said there.
    with suppress(ApplianceError):
        refetch_damaged(mirror, source)
    report = absorb(mirror, source, _arrival(backend, source, now), wanted, progress)
    record_answered(store, backend, report, now)
    proves = source if isinstance(source, ProvingSource) else None
    warnings = list(follow_up(mirror, backend.name, now, proves))
    if proves is not None:
        warnings += fetch_older_proofs(mirror, proves)
    if (run := backend_run(store, backend.name)) is not None:
        warnings += judge_answer(store, backend, run, report.tree_size, now)
    return replaced(report, warnings=tuple(warnings))


def _accepted_size(store: Store, backend: Backend) -> int | None:
    accepted = Mirror(store, backend.log).history.accepted()
    return accepted.head.tree_size if accepted else None


def _arrival(backend: Backend, source: LogSource, now: int) -> Arrival:
    kind = "direct" if backend.mirror_of is None else "mirror"
    return Arrival(kind, source.description, seen_at=now, backend=backend.name)
