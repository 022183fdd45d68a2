"""Publishing a digest: signed, logged as hashedrekord, proven, and written down.

A log elsewhere that holds the digest of our journal's end is a witness to all of it, and
learns nothing but 32 bytes. The durable steps:

    1. the signed request is stored
    2. it goes out, and what comes back is verified under the log's pinned key
    3. one transaction: the proof, and the journal's line that tells of it

Die after 1, and the same bytes go out next time; a log that has them says so.
"""

from __future__ import annotations

from typing import Final

from appliance.errors import ApplianceError, VerificationError
from appliance.jobs.queue.submit import Outcome, Server, Verdict, in_doubt, send_request
from appliance.policy.retry import steady
from appliance.rekor.entry import Digest
from appliance.rekor.transparency_log_entry import TransparencyLogEntry, format_log_entry
from appliance.rekor.verifier_material import VerifierMaterial
from appliance.sigstore.sigstore_bundle import MessageSignature
from appliance.sigstore.submission import submit_message
from appliance.store.database import Store
from appliance.store.home.journal import JournalHead, append_event, journal_head, journal_lines
from appliance.store.mirror.logs import Log
from appliance.store.queue.publications import (
    PUBLISHED,
    REFUSED,
    WAITING,
    Publication,
    add_publication,
    begin_publication,
    fail_publication,
    finish_publication,
    last_journal_publication,
    waiting_publications,
)
from appliance.tlog.merkle import Hash
from appliance.tlog.publisher_key import PublisherKey
from appliance.value import frozen

KIND: Final = "hashedrekord"


@frozen
class Thresholds:
    """When the journal is published: after so many events, or so many seconds."""

    events: int
    seconds: float


@frozen
class Published:
    """What came of one publication."""

    publication: Publication
    entry: TransparencyLogEntry | None  # verified; None: it is not logged
    error: ApplianceError | None
    for_good: bool = False  # the log will never take it

    @property
    def is_final(self) -> bool:
        """Whether trying again is no use: proven wrong, or refused for good."""
        return self.for_good or isinstance(self.error, VerificationError)


def journal_due(store: Store, thresholds: Thresholds, now: int) -> JournalHead | None:
    """Return the journal's end if it is time to publish it.

    What tells of publishing is no event of its own: else one would lead to the next for ever.
    """
    last = last_journal_publication(store)
    after = 0 if last is None or last.journal_line is None else last.journal_line
    events, since = 0, None if last is None else last.created_at
    for line in journal_lines(store, after=after):
        if line.event != PUBLISHED:
            events += 1
            since = line.at if since is None else since
            if events >= thresholds.events:
                break
    if events == 0 or since is None:
        return None
    is_due = events >= thresholds.events or now - since >= thresholds.seconds
    return journal_head(store) if is_due else None


def to_retry(
    store: Store, log: Log, thresholds: Thresholds, now: int, *, is_due: bool
) -> list[Publication]:
    """List what an earlier run could not publish, at the next threshold after that."""
    backoff = steady(thresholds.seconds)
    return [
        publication
        for publication in waiting_publications(store, log.id)
        if is_due
        or publication.tried_at is None
        or backoff.next_try(publication.tried_at, publication.attempts, 0.0) <= now
    ]


def prepare_publication(
    store: Store, log: Log, key: PublisherKey, digest: Hash, journal_line: int | None, now: int
) -> Publication:
    """Sign a digest and keep the request; it is durable when this returns."""
    message = MessageSignature(key.sign_digest(digest), Digest("sha256", digest))
    verifier = VerifierMaterial(key.spki, is_certificate=False)
    _, request = submit_message(message, verifier).request(log.api_version)
    with store.atomic():
        return add_publication(store, digest, journal_line, log.id, log.api_version, request, now)


def publish(store: Store, server: Server, publication: Publication, now: int) -> Published:
    """Post a publication, verify what comes back and record it; raises only StoreError."""
    if refused := in_doubt(store, server.log):
        return Published(publication, None, refused)
    with store.atomic():
        begin_publication(store, publication.number, now)
    outcome = send_request(server, KIND, publication.api_version, publication.request)
    if outcome.entry is None:
        return _failed(store, publication, outcome)
    with store.atomic():
        entry = outcome.entry
        if finish_publication(store, publication.number, entry.log_index, entry.json):
            details = _details(server, publication, entry)
            append_event(store, now, PUBLISHED, details)
    return Published(publication, outcome.entry, None)


def _failed(store: Store, publication: Publication, outcome: Outcome) -> Published:
    for_good = outcome.verdict is Verdict.PARK
    with store.atomic():
        state = REFUSED if for_good else WAITING
        fail_publication(store, publication.number, state, outcome.message)
    return Published(publication, None, outcome.error, for_good)


def _details(
    server: Server, publication: Publication, entry: TransparencyLogEntry
) -> dict[str, object]:
    return {
        "digest": f"sha256:{publication.digest.hex()}",
        "journal_line": publication.journal_line,
        "origin": server.log.origin,
        "rekor_log_index": entry.log_index,
        "rekor_server": server.writer.description,
        "inclusion_proof": format_log_entry(entry)["inclusionProof"],
    }
