"""Publishing: which digest is due, signed and kept; then sent, proven and recorded."""

from __future__ import annotations

from appliance.errors import ApplianceError
from appliance.jobs.queue import publish as job
from appliance.jobs.queue.publish import Published, Thresholds
from appliance.jobs.queue.settings import require_server
from appliance.runs.publisher import require_publisher_key
from appliance.runs.servers import open_server
from appliance.runs.session import Session
from appliance.runs.sources import publish_target
from appliance.store.database import Store
from appliance.store.mirror.logs import Backend
from appliance.store.queue.publications import Publication
from appliance.tlog.merkle import Hash
from appliance.value import frozen


@frozen
class PublishRun:
    """What was published, or would be."""

    configured: bool  # whether there is a log to publish to
    origin: str = ""  # of that log
    due: Hash | None = None  # what is to be published now
    waiting: int = 0  # publications of earlier runs that are due again
    done: tuple[Published, ...] = ()

    @property
    def failures(self) -> tuple[ApplianceError, ...]:
        """What can not be tried again: proven wrong, or refused for good."""
        return tuple(one.error for one in self.done if one.error and one.is_final)


def publish(
    session: Session,
    *,
    digest: Hash | None = None,
    key_name: str | None = None,
    every_events: int | None = None,
    every_seconds: float | None = None,
    dry_run: bool = False,
) -> PublishRun:
    """Publish a digest, or without one the journal's end if it is due.

    Raises ConfigError if the URL is no backend's or there is no publisher key to sign with.
    """
    url, setting = publish_target(session)
    if url is None:
        return PublishRun(configured=False)
    configuration = session.configuration
    thresholds = Thresholds(
        configuration.count("publish.everyEvents") if every_events is None else every_events,
        configuration.count("publish.everySeconds") if every_seconds is None else every_seconds,
    )
    with session.writing_unlocked() as store:
        backend = require_server(store, url, setting)
        head = None if digest is not None else job.journal_due(store, thresholds, session.now())
        is_due = digest is not None or head is not None
        waiting = job.to_retry(store, backend.log, thresholds, session.now(), is_due=is_due)
        due = digest if head is None else head.digest
        run = PublishRun(True, backend.log.origin, due, len(waiting))
        if dry_run or not (waiting or is_due):
            return run
        if due is not None:
            key = require_publisher_key(session, key_name)
            line = None if head is None else head.id
            now = session.now()
            waiting.append(job.prepare_publication(store, backend.log, key, due, line, now))
        done = _send(session, store, backend, waiting)
    return PublishRun(True, backend.log.origin, due, run.waiting, done)


def describe(published: Published) -> str:
    """Name what was published: the digest, and of the journal the line."""
    digest = f"sha256:{published.publication.digest.hex()}"
    line = published.publication.journal_line
    return digest if line is None else f"{digest} (journal, line {line})"


def unpublished(published: Published) -> str:
    """Say that something waits, and why."""
    error = published.error
    why = "it was not sent" if error is None else error.message
    if error is not None and error.next_step:
        why += f"; {error.next_step}"
    return f"{describe(published)} is not published yet: {why}"


def _send(
    session: Session, store: Store, backend: Backend, waiting: list[Publication]
) -> tuple[Published, ...]:
    with session.http() as http:
        server = open_server(http, backend)
        return tuple(job.publish(store, server, one, session.now()) for one in waiting)
