"""Putting something into the queue: verified first, stored whole, or refused and not there.

One transaction, so no lock of the home is needed: a sync or a running log does not keep a
build from queueing. Adding the same again finds what is there.
"""

from __future__ import annotations

from typing import Final

from appliance.config.configuration import EdgeTriggers
from appliance.errors import RefusedError
from appliance.jobs.find.known_statements import remember_envelope
from appliance.jobs.queue.quota import read_quota
from appliance.jobs.queue.settings import QueueSettings, find_server
from appliance.policy.budget import EDGE, Moment
from appliance.sigstore.bundle_making import unfinished_bundle
from appliance.sigstore.dsse import DsseEnvelope
from appliance.sigstore.submission import REKOR_V1, REKOR_V2, Submission
from appliance.store.database import Store
from appliance.store.home.counters import count
from appliance.store.queue.queue import (
    HELD,
    NewItem,
    QueueItem,
    ahead_count,
    find_item,
    held_count,
    insert_item,
)
from appliance.store.queue.tenants import all_tenants, require_tenant
from appliance.value import frozen

REJECTED: Final = "attestor_rekor_submissions_rejected_total"
SHORT_LIVED_SECONDS: Final = 24 * 3600  # a keyless certificate lives about ten minutes


@frozen
class Wish:
    """How something is to be submitted."""

    tenant: str
    tier: str  # graph or edge
    priority: int = 0
    cvss: float | None = None
    reachable: bool = False
    policy_gate: str | None = None
    escalate: bool = False
    stamps: tuple[bytes, ...] = ()  # RFC 3161 responses over the signature
    key_hint: str = ""  # of a managed key, as the Sigstore bundle had it
    api_version: int | None = None  # of the Rekor it is for; None: the configured server's


@frozen
class Enqueued:
    """What is in the queue now."""

    item: QueueItem
    is_new: bool
    ahead: int  # items of its tenant and tier before it
    slot: int | None  # Unix seconds: when the budget lets it go; None: never, or it is done
    warnings: tuple[str, ...]


def enqueue(
    store: Store,
    submission: Submission,
    wish: Wish,
    settings: QueueSettings,
    moment: Moment,
    *,
    dry_run: bool = False,
) -> Enqueued:
    """Store one submission, which its maker in sigstore/submission.py verified, as an item.

    Raises RefusedError (queue-disabled, unknown-tenant, tenant-disabled, edges-disabled,
    no-trigger, queue-full) and then nothing is stored; ConfigError for a server without a
    backend; VerificationError for what no log of that version takes.
    """
    try:
        _require_queue(settings)
        trigger = _trigger(wish, settings)
    except RefusedError:
        if not dry_run:
            _count_rejected(store, wish.tenant)
        raise
    server = find_server(store, settings)
    api_version = wish.api_version or (server.log.api_version if server else REKOR_V2)
    kind, request = submission.request(api_version)
    unfinished = unfinished_bundle(
        submission.content, submission.verifier, wish.stamps, wish.key_hint
    )
    new = NewItem(
        *(wish.tenant, wish.tier, trigger, wish.priority, kind, api_version, request),
        *(unfinished, wish.stamps[0] if wish.stamps else None),
    )
    done = put_in_queue(
        store,
        new,
        settings,
        moment,
        warnings=_warnings(submission, api_version, wish.stamps, moment.wall),
        dry_run=dry_run,
    )
    # If we die here, the item waits; adding it again finds it, and remembers what it is about.
    if isinstance(submission.content, DsseEnvelope) and not dry_run:
        with store.atomic():
            remember_envelope(store, submission.content)
    return done


def _require_queue(settings: QueueSettings) -> None:
    if not settings.queue_enabled:
        raise RefusedError(
            "the queue is switched off; nothing was stored",
            reason="queue-disabled",
            next_step="attestor config set rekor.offline.queueEnabled true",
        )


def _count_rejected(store: Store, tenant: str) -> None:
    """Count a refusal for its tenant, if that is one of ours: names that are typed are no label."""
    if any(one.name == tenant for one in all_tenants(store)):
        with store.atomic():
            count(store, REJECTED, {"tenant": tenant})


def put_in_queue(
    store: Store,
    new: NewItem,
    settings: QueueSettings,
    moment: Moment,
    *,
    warnings: tuple[str, ...] = (),
    dry_run: bool = False,
) -> Enqueued:
    """Store a verified item, or find it; raises RefusedError for its tenant or a full queue."""
    try:
        with store.atomic(dry_run=dry_run):
            require_tenant(store, new.tenant)
            item = find_item(store, new.id)
            is_new = item is None
            if item is None:
                _require_room(store, settings)
                item = insert_item(store, new, moment.wall)
                if new.edge_trigger is not None:
                    labels = {"trigger": new.edge_trigger}
                    count(store, "attestor_rekor_edge_bundle_triggers_total", labels)
            ahead = ahead_count(store, item)
    except RefusedError:
        if not dry_run:
            _count_rejected(store, new.tenant)
        raise
    slot = None
    if item.state in HELD:
        quota = read_quota(store, settings.limits, new.tenant, new.tier, moment, ahead + 1)
        slot = quota.slots[-1] if len(quota.slots) == ahead + 1 else None
    return Enqueued(item, is_new, ahead, slot, warnings)


def _require_room(store: Store, settings: QueueSettings) -> None:
    held = held_count(store)
    if held >= settings.max_queue_size:
        raise RefusedError(
            f"the queue is full: {held} items wait, rekor.offline.maxQueueSize is"
            f" {settings.max_queue_size}; nothing was stored",
            reason="queue-full",
            next_step="send what waits ('attestor queue drain'), see when it is through"
            " ('attestor queue forecast'), then add it again",
        )


def _trigger(wish: Wish, settings: QueueSettings) -> str | None:
    """Return what makes an edge bundle due; raises RefusedError if nothing does."""
    if wish.tier != EDGE:
        return None
    if not settings.edges:
        raise RefusedError(
            "edge bundles are not submitted here (rekor.tier is graph-only, or"
            " rekor.edgeBundles.enabled is false); nothing was stored",
            reason="edges-disabled",
            next_step="attestor config set rekor.tier with-edges",
        )
    triggers = settings.triggers
    threshold = triggers.cvss_threshold
    scored = threshold is not None and wish.cvss is not None and wish.cvss >= threshold
    if scored and wish.reachable:
        return "cvss"
    if wish.policy_gate is not None and wish.policy_gate == triggers.policy_gate:
        return "policy-gate"
    if wish.escalate and triggers.manual_escalation:
        return "escalation"
    raise RefusedError(
        f"an edge bundle needs a trigger: {_known(triggers)}; nothing was stored",
        reason="no-trigger",
        next_step="give the trigger, or queue it with --tier graph",
    )


def _known(triggers: EdgeTriggers) -> str:
    known = []
    if triggers.cvss_threshold is not None:
        known.append(f"--cvss {triggers.cvss_threshold:g} or more with --reachable")
    if triggers.policy_gate is not None:
        known.append(f"--policy-gate {triggers.policy_gate}")
    if triggers.manual_escalation:
        known.append("--escalate")
    return ", ".join(known) or "none is configured (rekor.edgeBundles.triggers)"


def _warnings(
    submission: Submission, api_version: int, stamps: tuple[bytes, ...], now: int
) -> tuple[str, ...]:
    """Warn of a certificate that will have expired when somebody verifies it."""
    if not submission.verifier.is_certificate:
        return ()
    from appliance.rekor.x509_certificate import load_certificate

    certificate = load_certificate(submission.verifier.der, "certificate", with_extensions=False)
    ends = int(certificate.not_valid_after_utc.timestamp())
    if ends - int(certificate.not_valid_before_utc.timestamp()) > SHORT_LIVED_SECONDS:
        return ()
    if api_version == REKOR_V1:
        left = f"in {ends - now} s" if ends > now else f"{now - ends} s ago"
        return (
            f"the certificate expires {left}: a Rekor v1 log's own time has to be before that,"
            " so an entry that waits longer will not verify",
        )
    if not stamps:
        return (
            "the certificate is short-lived and nothing proves when it signed: a Rekor v2 log has"
            " no clock, so give the RFC 3161 stamp taken at signing (--timestamp FILE)",
        )
    return ()
