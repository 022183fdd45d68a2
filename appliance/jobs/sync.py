"""Sync one backend: fetch its checkpoint and absorb it into the mirror (DESIGN.md section 3).

Then the rules of SPEC.md section 7 are applied to what was found, and all of it is counted,
also when the sync fails: an outage must be visible, and a log grows stale during one too.
"""

from __future__ import annotations

from contextlib import suppress

from appliance.errors import ApplianceError
from appliance.jobs.absorb import AbsorbReport, absorb, preview
from appliance.jobs.fill import Progress, Wanted
from appliance.jobs.follow_up import follow_up
from appliance.jobs.judge import judge_answer, judge_log, reporting_damage
from appliance.jobs.sync_counts import CountedSource, count_sync, record_answer
from appliance.policy.relate import Relation
from appliance.store.checkpoints import Arrival
from appliance.store.database import Store
from appliance.store.logs import Backend
from appliance.store.mirror import Mirror
from appliance.store.runs import backend_run
from appliance.tlog.log_source import LogSource
from appliance.value import replaced


def sync(
    store: Store,
    backend: Backend,
    source: LogSource,
    wanted: Wanted,
    now: int,
    progress: Progress = lambda _: None,
) -> AbsorbReport:
    """Bring the mirror of a backend's log up to what the backend offers at `now`.

    Raises what absorb raises, and DivergenceError if what is accepted now contradicts a
    checkpoint seen elsewhere or a mirror log.
    """
    counted = CountedSource(source)
    old_size = _accepted_size(store, backend)
    stored = 0

    def advance(n: int) -> None:
        nonlocal stored
        stored += n
        progress(n)

    def count(stored_tiles: int, error: ApplianceError | None) -> None:
        with suppress(ApplianceError):  # the answer stands without its count
            count_sync(
                store, backend, counted, now, old_size=old_size, tiles=stored_tiles, error=error
            )

    try:
        with reporting_damage(store, backend.log, now):
            report = _sync(store, backend, counted, wanted, now, advance)
    except ApplianceError as error:
        # Already failing: what else there is to say must not hide why.
        with suppress(ApplianceError):
            judge_log(store, backend.log, backend.name, now)
        count(min(stored, counted.n_tiles), error)
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
    report = absorb(mirror, source, _arrival(backend, source, now), wanted, progress)
    record_answer(store, backend, now, behind=report.relation is Relation.BEHIND)
    warnings = list(follow_up(mirror, backend.name, now))
    if (run := backend_run(store, backend.name)) is not None:
        warnings += judge_answer(store, backend, run, report.tree_size, now)
    return replaced(report, warnings=tuple(warnings))


def _accepted_size(store: Store, backend: Backend) -> int | None:
    accepted = Mirror(store, backend.log).history.accepted()
    return accepted.head.tree_size if accepted else None


def _arrival(backend: Backend, source: LogSource, now: int) -> Arrival:
    kind = "direct" if backend.mirror_of is None else "mirror"
    return Arrival(kind, source.description, seen_at=now, backend=backend.name)
