"""A log contradicted itself: evidence, alert and quarantine in one transaction.

First everything that is known is made durable, with the quarantine from the first leaf on.
Only then are more tiles asked for, to find the last common point: whoever stalls us there
cannot make us forget.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from appliance.errors import ConfigError, DivergenceError
from appliance.jobs.divergence.alarm import Alerting, raise_alarm, read_alerting
from appliance.policy.alarms import Alarm, root_text
from appliance.policy.divergence import contradiction_alarm
from appliance.policy.relate import Contradiction, Rule
from appliance.store.database import Store
from appliance.store.divergence.alerts import lasting_alert
from appliance.store.divergence.evidence import Kept, put_evidence
from appliance.store.divergence.quarantine import begin_quarantine, quarantine_of, record_shared
from appliance.store.home.counters import count
from appliance.store.mirror.checkpoints import AcceptedCheckpoint, Arrival
from appliance.store.mirror.logs import Log, find_backend
from appliance.store.mirror.mirror import Mirror
from appliance.store.mirror.sync_times import last_sync
from appliance.tlog.checkpoint import SignedCheckpoint
from appliance.tlog.merkle import Hash, TreeHead
from appliance.tlog.note_keys import VerifierKey
from appliance.value import frozen

MISMATCHES: Final = "attestor_rekor_checkpoint_mismatch_total"
ROLLBACKS: Final = "attestor_rekor_checkpoint_rollback_detected_total"
CROSS_LOG: Final = "attestor_rekor_cross_log_divergence_total"

_IN_SILENCE: Final = Alerting(True, "system", "attestor.alerts", (), frozenset(), cross_log=True)


@frozen
class ConsistencyProof:
    """A proof from the smaller of two trees to the larger, and the old root it leads to."""

    old: TreeHead  # with the root that the larger tree really has there
    new: TreeHead
    hashes: tuple[Hash, ...]

    @property
    def described(self) -> dict[str, Any]:
        """It in JSON's types."""
        return {
            "oldSize": self.old.tree_size,
            "oldRootHash": root_text(self.old.root_hash),
            "newSize": self.new.tree_size,
            "newRootHash": root_text(self.new.root_hash),
            "hashes": [one.hex() for one in self.hashes],
        }


@frozen
class Incident:
    """Two signed heads that cannot both be true, and all that is known of them."""

    contradiction: Contradiction
    ours: AcceptedCheckpoint
    theirs: SignedCheckpoint
    arrival: Arrival  # of theirs
    exchange: Mapping[str, Any]  # by which theirs came; empty: not known
    proof: ConsistencyProof | None  # None: their sizes are equal, or nothing proves it
    # Counts the leaves that both trees share, asking for tiles; None: there are none to ask for.
    shared: Callable[[], int] | None = None


def report_incident(mirror: Mirror, incident: Incident) -> DivergenceError:
    """Make an incident durable with its alert and quarantine; return the error to raise."""
    store, log, now = mirror.store, mirror.log, incident.arrival.seen_at
    alerting = _alerting(store)
    backend = incident.arrival.backend or incident.arrival.source
    known = find_backend(store, backend)
    primary = known.mirror_of if known else None
    alarm = contradiction_alarm(
        incident.contradiction,
        origin=log.origin,
        backend=backend,
        is_mirror=primary is not None and alerting.cross_log,
        ours=incident.ours.head,
        theirs=incident.theirs.head,
        found_in=None if known else incident.arrival.detail,
    )
    number = None
    with store.atomic():
        evidence_id, kept = put_evidence(
            store,
            log,
            rule=incident.contradiction.rule.value,
            ours=incident.ours.note,
            theirs=incident.theirs.note,
            details=_details(mirror, incident),
            detected_at=now,
        )
        if alerting.enabled:
            number = raise_alarm(
                store, alarm, now, log=log, evidence_id=evidence_id, alerting=alerting
            )
            begin_quarantine(store, log, evidence_id, number, now)
        _count(store, log, incident.contradiction.rule, backend, primary)
    # If we die here, everything is told and kept, and nothing of the log is believed any more.
    if alerting.enabled and incident.shared:
        shared = incident.shared()
        with store.atomic():
            record_shared(store, log, evidence_id, shared)
    return _error(mirror, incident, evidence_id, kept, number)


def keep_alarming(
    store: Store,
    log: Log,
    alarm: Alarm,
    notes: tuple[bytes, bytes],
    details: Mapping[str, Any],
    now: int,
    *,
    once: bool = False,
) -> tuple[int, int | None]:
    """Keep two notes, ours first, that make an alarm but no quarantine, and raise it.

    If `once`, those with which the alarm began stand for all that come while it lasts.
    Returns the ids of the evidence and of the alert; None if alerts are switched off.
    """
    alerting = _alerting(store)
    number = None
    with store.atomic():
        lasting = lasting_alert(store, alarm.condition) if once else None
        if lasting is not None and lasting.evidence_id is not None:
            evidence_id = lasting.evidence_id
        else:
            evidence_id, _ = put_evidence(
                store,
                log,
                rule=alarm.type,
                ours=notes[0],
                theirs=notes[1],
                details=details,
                detected_at=now,
            )
        if alerting.enabled:
            number = raise_alarm(
                store, alarm, now, log=log, evidence_id=evidence_id, alerting=alerting
            )
    return evidence_id, number


def keys_described(keys: Sequence[VerifierKey]) -> list[dict[str, str]]:
    """Describe the keys that a note's signature counts by, for whoever checks it later."""
    return [
        {
            "name": key.name,
            "keyId": key.key_id.hex(),
            "hash": key.prehash,
            "publicKey": b64encode(key.spki).decode(),
        }
        for key in keys
    ]


def _alerting(store: Store) -> Alerting:
    try:
        return read_alerting(store)
    except ConfigError:  # settings of another version must not cost us the evidence
        return _IN_SILENCE


def _details(mirror: Mirror, incident: Incident) -> dict[str, Any]:
    contradiction, history = incident.contradiction, mirror.history
    accepted, mirrored = history.accepted(), history.mirror_checkpoint()
    return {
        "treeSize": contradiction.tree_size,
        "expectedRootHash": root_text(contradiction.expected_root),
        "actualRootHash": root_text(contradiction.actual_root),
        "consistencyProof": incident.proof and incident.proof.described,
        "source": incident.arrival.detail,
        "backend": incident.arrival.backend,
        "exchange": dict(incident.exchange),
        "keys": keys_described(mirror.log.keys),
        "previousState": {
            "acceptedSize": accepted.head.tree_size if accepted else None,
            "acceptedRootHash": root_text(accepted.head.root_hash) if accepted else None,
            "mirrorSize": mirrored.head.tree_size if mirrored else None,
            "lastSync": last_sync(mirror.store, mirror.log),
            "quarantined": quarantine_of(mirror.store, mirror.log) is not None,
        },
    }


def _count(store: Store, log: Log, rule: Rule, backend: str, primary: str | None) -> None:
    if primary is not None:
        count(store, CROSS_LOG, {"primary": primary, "mirror": backend})
    if rule is Rule.ROLLBACK:
        count(store, ROLLBACKS, {"backend": backend})
    else:
        count(store, MISMATCHES, {"backend": backend, "origin": log.origin})


def _error(
    mirror: Mirror, incident: Incident, evidence_id: int, kept: Kept, number: int | None
) -> DivergenceError:
    contradiction = incident.contradiction
    held = quarantine_of(mirror.store, mirror.log)
    notes = f"both signed notes are kept as evidence {evidence_id}"
    if kept is Kept.FULL:
        notes = (
            "there is no room for more evidence, so keep this file or answer yourself; what this"
            f" log signed before is kept up to evidence {evidence_id}"
        )
    steps = [f"{notes}; the head has not moved"]
    if number is not None:
        steps.append(f"take it along with: attestor alerts export {number} --output DIR")
    if held is not None:
        steps.append(f"quarantined beyond {held.last_common_size:,} entries, until it is lifted")
    return DivergenceError(
        f"{mirror.log.origin} contradicts itself: {contradiction} (from {incident.arrival.detail})",
        reason=contradiction.rule.name.lower().replace("_", "-"),
        next_step="; ".join(steps),
        evidence_id=evidence_id,
    )
