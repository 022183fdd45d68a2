"""Sending one item: post its exact bytes, come back with a verified proof or with why not.

Nothing here touches the store, so many can be under way at once. A log that had the entry
already gives no proof (409); it is built from the log's own tiles, each authenticated.
"""

from __future__ import annotations

import enum

from appliance.errors import (
    ApplianceError,
    LimitError,
    RefusedError,
    RemoteError,
    SignatureError,
)
from appliance.jobs.mirror.served_entry import served_entry
from appliance.jobs.queue.log_proof import verify_receipt
from appliance.policy.error_types import error_type
from appliance.rekor.log_writer import FOREIGN_ANSWER, LogWriter, WrittenBefore
from appliance.rekor.transparency_log_entry import TransparencyLogEntry
from appliance.sigstore.submission import read_stored_request
from appliance.store.database import Store
from appliance.store.divergence.quarantine import quarantine_of
from appliance.store.mirror.logs import Log
from appliance.store.queue.queue import QueueItem
from appliance.tlog.checkpoint import open_checkpoint
from appliance.tlog.log_source import LogSource
from appliance.value import frozen


def in_doubt(store: Store, log: Log) -> RefusedError | None:
    """Return why nothing may be sent to a log now; None: it may.

    A quarantined log is not written to: what would its proofs be worth?
    """
    held = quarantine_of(store, log)
    if held is None:
        return None
    return RefusedError(
        f"nothing is sent to {log.origin}: it contradicted itself (alert {held.alert_number}) and"
        f" is quarantined; what waits stays as it is",
        reason="quarantined",
        next_step="find out which story is true (docs/runbook.md), then: attestor quarantine lift"
        f" {held.id} --reason TEXT; or send to another log, rekor.serverUrl",
    )


class Verdict(enum.Enum):
    """What an attempt means for the item."""

    LOGGED = "logged"  # proven
    AGAIN = "again"  # the same bytes, later
    PARK = "park"  # the log will never take this request
    STOP = "stop"  # the log takes nothing from us; nothing is said about the item


@frozen
class Server:
    """The log that items go to."""

    log: Log  # its pinned keys verify the receipts
    writer: LogWriter
    source: LogSource | None  # for entries it had already; None: a v1 log, which needs none


@frozen
class Outcome:
    """What came of sending one item."""

    verdict: Verdict
    outcome: str  # for the history: logged, duplicate, or why not
    message: str = ""
    entry: TransparencyLogEntry | None = None  # verified; only of a logged one
    error: ApplianceError | None = None
    certainly_not_logged: bool = False  # by this attempt: its slot is free again

    @property
    def retry_after(self) -> float:
        """What the server asked us to wait, in seconds."""
        return (isinstance(self.error, RemoteError) and self.error.retry_after) or 0.0

    @property
    def error_type(self) -> str | None:
        """The label its error is counted under."""
        if self.error is None:
            return None
        return error_type(self.error) or "http"


def send_item(server: Server, item: QueueItem) -> Outcome:
    """Send one item and verify what comes back. Raises nothing but bugs."""
    what = item.what
    return send_request(server, what.kind, what.api_version, what.request)


def send_request(server: Server, kind: str, api_version: int, request: bytes) -> Outcome:
    """Send a request that is stored somewhere, and verify what comes back, as send_item does."""
    try:
        claim = read_stored_request(kind, api_version, request)
        answer = server.writer.write(request)
        if isinstance(answer, WrittenBefore):
            entry, duplicate = _from_tiles(server, answer.entry_index), True
        else:
            entry, duplicate = answer.entry, answer.duplicate
        verify_receipt(server.log, claim, entry)
    except LimitError as error:  # of its answer: whether it took the item nobody knows
        return _failed(Verdict.AGAIN, error, certain=False)
    except RefusedError as error:
        verdict = Verdict.PARK if error.reason == "invalid-request" else Verdict.STOP
        return _failed(verdict, error, certain=True)
    except RemoteError as error:
        if error.reason == FOREIGN_ANSWER:
            return _failed(Verdict.STOP, error, certain=True)
        # Of a 429 and of a connection that never was it is known that nothing was taken.
        certain = error.reason == "rate-limited" or error.nothing_sent
        return _failed(Verdict.AGAIN, error, certain=certain)
    except ApplianceError as error:
        return _failed(Verdict.AGAIN, error, certain=False)
    outcome = "duplicate" if duplicate else "logged"
    return Outcome(Verdict.LOGGED, outcome, entry=entry, certainly_not_logged=duplicate)


def _from_tiles(server: Server, entry_index: int) -> TransparencyLogEntry:
    """Read an entry and its proof from the log's tiles, under its newest checkpoint."""
    source, log = server.source, server.log
    if source is None:
        raise SignatureError(
            f"{log.origin}: a v1 log answered as a v2 log does", reason="wrong-log"
        )
    signed = open_checkpoint(source.checkpoint(), log.keys, log.origin)
    if entry_index >= signed.head.tree_size:
        raise RemoteError(
            f"{log.origin}: says it has the entry at {entry_index}, but its checkpoint ends at"
            f" {signed.head.tree_size}",
            reason="not-published",
            next_step="try again once it has published a newer checkpoint",
        )
    return served_entry(source, signed, entry_index)


def _failed(verdict: Verdict, error: ApplianceError, *, certain: bool) -> Outcome:
    return Outcome(
        verdict, error.reason, error.message[:1000], error=error, certainly_not_logged=certain
    )
