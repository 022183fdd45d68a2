"""How each log stands here: size, age, coverage, health (sync-status)."""

from __future__ import annotations

from appliance.jobs.coverage import coverage_of
from appliance.policy.alarms import GREW, STALE
from appliance.policy.coverage import Coverage
from appliance.policy.health import AgeLimits, Health, Lasting, health
from appliance.store.database import Store
from appliance.store.divergence.alerts import lasting_alerts_of
from appliance.store.divergence.quarantine import quarantine_of
from appliance.store.mirror.checkpoints import AcceptedCheckpoint
from appliance.store.mirror.logs import Backend, Log, window_end
from appliance.store.mirror.mirror import Mirror
from appliance.store.mirror.sync_times import last_sync
from appliance.store.revoked_keys import revoked_keys
from appliance.tlog.checkpoint import open_checkpoint
from appliance.tlog.quorum import newest_cosignature
from appliance.tlog.tlog_policy import parse_tlog_policy
from appliance.value import frozen


@frozen
class LogStatus:
    """One row of the table. None: there is nothing to say it of."""

    backend: Backend
    tree_size: int | None  # of the accepted checkpoint
    mirror_size: int | None  # of the mirror checkpoint
    last_sync: int | None  # Unix seconds
    age: int | None  # seconds
    coverage: Coverage | None
    health: Health
    reasons: tuple[str, ...]  # why it is not HEALTHY


def log_status(store: Store, backend: Backend, limits: AgeLimits, now: int) -> LogStatus:
    """Say how the log of a backend stands at `now`; raises only what reading the store raises."""
    mirror = Mirror(store, backend.log)
    accepted = mirror.history.accepted()
    mirrored = mirror.history.mirror_checkpoint()
    age, is_frozen = None, False
    if accepted is not None:
        signed_at, is_frozen = vouched_at(mirror, accepted)
        age = max(now - signed_at, 0)
        is_frozen = is_frozen or has_ended(store, backend.log, now)
    held = quarantine_of(store, backend.log)
    judged, reasons = health(
        age,
        limits,
        is_frozen=is_frozen,
        quarantined_beyond=held.last_common_size if held else None,
        lasting=[
            Lasting(one.number, one.type, one.severity == "critical")
            for one in lasting_alerts_of(store, backend.log)
            if one.severity != "info"
            and one.event_type != STALE  # age is judged here, as of now
            # It does not get better by itself; once somebody knows, the log may be well.
            and not (one.event_type == GREW and one.acked_at is not None)
        ],
    )
    return LogStatus(
        backend,
        accepted.head.tree_size if accepted else None,
        mirrored.head.tree_size if mirrored else None,
        last_sync(store, backend.log),
        age,
        coverage_of(mirror),
        judged,
        reasons,
    )


def has_ended(store: Store, log: Log, now: int) -> bool:
    """Whether the window of a log in the trusted root is over."""
    end = window_end(store, log)
    return end is not None and now > end


def vouched_at(mirror: Mirror, accepted: AcceptedCheckpoint) -> tuple[int, bool]:
    """Return the newest time that vouches for a checkpoint, and whether the log is frozen."""
    log: Log = mirror.log
    policy = None
    if log.policy is not None:
        policy = parse_tlog_policy(log.policy).without((*log.keys, *revoked_keys(mirror.store)))
    newest, is_frozen = accepted.first_seen_at, False
    for note in mirror.history.notes(accepted.head.tree_size):
        signed = open_checkpoint(note, log.keys, log.origin)
        is_frozen = is_frozen or bool(signed.checkpoint.frozen)
        if policy is not None:
            newest = max(newest, newest_cosignature(signed, policy) or 0)
    return newest, is_frozen
