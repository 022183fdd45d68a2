"""Sending the queue: claim, send, prove, compare what the log showed, aggregate the rest.

When it is over is decided in jobs/queue/drain.py. `queue drain` and the end of a sync run the
same steps. What differs is who is told: a drain reports every failure as its own, a sync only
that the log contradicts itself.
"""

from __future__ import annotations

from appliance.errors import ApplianceError, ConfigError, DivergenceError, LockedError
from appliance.jobs.divergence.gossip import compare_note, keep_note
from appliance.jobs.divergence.successor import way_on_from_frozen
from appliance.jobs.progress import ShowProgress, unseen
from appliance.jobs.queue.aggregate import (
    Aggregated,
    Signers,
    aggregate,
    settle_aggregates,
    short_of_budget,
)
from appliance.jobs.queue.drain import Drain, DrainReport, Pace
from appliance.jobs.queue.quota import Forecast, forecast
from appliance.jobs.queue.settings import QueueSettings, find_server, queue_settings
from appliance.runs.private_log import LogWitnesses, ready_to_sign
from appliance.runs.publisher import require_publisher_key
from appliance.runs.servers import open_server
from appliance.runs.session import Session
from appliance.store.home.key_files import load_signing_key
from appliance.store.mirror.logs import Backend, find_log, signed_origin
from appliance.store.mirror.mirror import Mirror
from appliance.store.private_log.private_logs import require_private_log
from appliance.store.queue.queue import other_version_count
from appliance.value import frozen


@frozen
class DrainRun:
    """What came of a drain."""

    backend: Backend  # whose log it went to
    report: DrainReport
    left: tuple[Forecast, ...]  # what waits now
    other_versions: int  # items that wait for a log of another API version
    aggregated: Aggregated
    settled: int  # aggregated items whose root is logged now
    warnings: tuple[str, ...]
    errors: tuple[ApplianceError, ...]

    @property
    def serious(self) -> tuple[ApplianceError, ...]:
        """The errors that a sync has to end with: a log that contradicts itself."""
        return tuple(error for error in self.errors if isinstance(error, DivergenceError))


def drain_queue(
    session: Session,
    *,
    limit: int | None = None,
    until_empty: bool = False,
    show: ShowProgress = unseen,
) -> DrainRun | None:
    """Send what is due; None if rekor.enabled is false.

    Raises ConfigError (no-server) if there is no log to send to, LockedError if somebody
    else is sending, and what the queue's job raises.
    """
    settings = queue_settings(session.configuration)
    if not settings.enabled:
        return None
    with session.draining() as store:
        backend = find_server(store, settings)
        if backend is None:
            raise ConfigError(
                "there is no log to send to: rekor.serverUrl is not set",
                reason="no-server",
                next_step="attestor config set rekor.serverUrl URL, the base URL of a backend;"
                " on an isolated site: attestor export --output FILE takes along what waits",
            )
        budget = {"run_seconds": float("inf")} if until_empty else {}
        with session.http(**budget) as http, show("drain") as progress:
            report = Drain(
                store,
                open_server(http, backend),
                settings,
                Pace(session.moment, session.monotonic, session.sleep, session.chance),
                threads=http.settings.connections,
                limit=limit,
                until_empty=until_empty,
                progress=progress,
            ).run()
    errors = list(report.errors)
    contradiction = _compare_newest(session, backend, report)
    if contradiction is not None:
        errors.append(contradiction)
    aggregated, settled, warnings = _aggregate_if_enabled(session, settings)
    with session.reading() as store:
        for error in errors:
            if error.reason == "frozen":
                error.next_step = way_on_from_frozen(store, backend)
        left = tuple(forecast(store, settings.limits, session.moment()))
        others = other_version_count(store, backend.log.api_version)
    return DrainRun(
        backend, report, left, others, aggregated, settled, tuple(warnings), tuple(errors)
    )


def aggregate_queue(session: Session, min_items: int | None = None) -> tuple[Aggregated, int]:
    """Put what has no slot under a root; returns that, and how many items are settled now.

    Hold the drain lock.
    """
    settings = queue_settings(session.configuration)
    with session.writing() as store:
        settled = settle_aggregates(store, session.now())
        least = min_items or settings.min_aggregate
        items = short_of_budget(store, settings, session.moment(), least)
        if not items:
            return Aggregated(0, 0), settled
        private = require_private_log(store, settings.aggregate_log)
        ready_to_sign(session, store, private)
        key = load_signing_key(store.home, private.log.origin, store.passphrases)
        signers = Signers(private, key, require_publisher_key(session, None))
        # Who of them failed is counted; a quorum that was not reached ends this run.
        cosign = LogWitnesses(session, signers.private, lambda _: None).cosign_in(store)
        return aggregate(store, items, signers, session.now(), cosign), settled


def _aggregate_if_enabled(
    session: Session, settings: QueueSettings
) -> tuple[Aggregated, int, list[str]]:
    """Aggregate if that is configured; if it fails the items wait for their slots as before."""
    if not settings.aggregates:
        return Aggregated(0, 0), 0, []
    try:
        with session.draining():
            done, settled = aggregate_queue(session)
    except ApplianceError as error:
        return Aggregated(0, 0), 0, [f"nothing was aggregated: {error.message}"]
    return done, settled, []


def _compare_newest(
    session: Session, backend: Backend, report: DrainReport
) -> ApplianceError | None:
    """Compare the newest checkpoint the log answered with, with the tree that is mirrored here.

    A log that shows another tree to those who write than to those who read is caught here:
    the contradiction is returned, its evidence stored. While another run holds the home's
    lock the note is kept, and compared at the next sync. Nothing is compared of a tree that a
    Rekor v1 instance began after the last sync: the next one pins it.
    """
    note, source = report.newest_note, backend.base_url or backend.name
    if note is None:
        return None
    origin = signed_origin(backend.log, note)
    try:
        with session.reading() as store:
            if origin != backend.log.origin and find_log(store, origin) is None:
                return None
        try:
            with session.writing() as store:
                if Mirror(store, backend.log).history.accepted() is not None:
                    compare_note(store, note, source, session.now())
        except LockedError:
            with session.writing_unlocked() as store:
                keep_note(store, note, source, session.now())
    except ApplianceError as error:
        return error
    return None
