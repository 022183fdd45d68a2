"""What a report says of a home: facts in JSON's types, with what lets others check them."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from appliance.errors import ApplianceError, LimitError
from appliance.jobs.coverage import coverage_of, entry_coverage_of
from appliance.jobs.divergence.evidence_pack import contradiction_data
from appliance.jobs.divergence.health import HomeHealth, home_health
from appliance.jobs.find.search import Found
from appliance.jobs.mirror.checkable import checkable, key_described
from appliance.policy.coverage import Coverage
from appliance.runs.session import Session
from appliance.sigstore.sigstore_bundle import parse_sigstore_bundle
from appliance.sigstore.trusted_root import parse_trusted_root
from appliance.store.database import Store
from appliance.store.divergence.alerts import Alert, alerts
from appliance.store.divergence.evidence import Evidence, evidence_of
from appliance.store.divergence.quarantine import quarantine_of
from appliance.store.home.journal import append_event, journal_head
from appliance.store.home.settings import SITE_NAME, SITE_ROLE, site_fact
from appliance.store.mirror.logs import Log, all_backends, all_logs, require_log
from appliance.store.mirror.mirror import Mirror
from appliance.store.mirror.tile_cache import tiles_in_cells
from appliance.store.queue.queue import count_states, held_count, oldest_held
from appliance.store.queue.tenants import all_tenants
from appliance.store.transfer.custody import custody_lines
from appliance.store.transfer.transfers import Transfer, newest_transfers
from appliance.store.verify.trust import all_roots, current_root
from appliance.store.verify.verdicts import RecordedVerdict, newest_verdicts, verdict_counts
from appliance.tlog.checkpoint import open_checkpoint
from appliance.tlog.tile import WIDTH
from appliance.version import __version__

FORMAT: Final = "attestor-report/v1"
REDACTABLE: Final = ("tenants", "paths", "custody")
WRITTEN: Final = "report.written"
MAX_ROWS: Final = 200  # of each table
MAX_HITS: Final = 2500  # of a search: some 10 MB, verified by a browser in seconds
MAX_EVIDENCE: Final = 50  # contradictions with both notes, the newest
_POINTS: Final = 200  # of a log's growth
_CELLS: Final = 100  # of a log's coverage
_HIDDEN: Final = "(left out)"


def report_data(session: Session, redact: Collection[str]) -> dict[str, Any]:
    """Gather everything a report says, in JSON's types; times are Unix seconds.

    What `redact` names (of REDACTABLE) is left out. Raises what reading the store raises.
    """
    with session.reading() as store:
        now, behind = session.now(), session.clock.behind
        found = home_health(store, now, clock_behind=behind, backends=all_backends(store))
        head = journal_head(store)
        kept = [one for log in all_logs(store) for one in evidence_of(store, log)]
        good, bad = verdict_counts(store)
        return {
            "format": FORMAT,
            "version": __version__,
            "madeAt": now,
            "site": site_fact(store, SITE_NAME) or "(unnamed)",
            "role": site_fact(store, SITE_ROLE) or "connected",
            "leftOut": [one for one in REDACTABLE if one in redact],
            "clockBehind": behind,
            "health": found.health.value,
            "problems": [
                {
                    "severity": "critical" if problem.is_critical else "warning",
                    "text": _HIDDEN if "paths" in redact and "/" in problem.text else problem.text,
                }
                for problem in found.problems
            ],
            "journal": {"lines": head.id, "digest": head.digest.hex()},
            "trustRoots": _roots(store, redact),
            "logs": [_log(store, log, _backends(found, log)) for log in all_logs(store)],
            "contradictions": [contradiction_data(one) for one in kept[-MAX_EVIDENCE:]],
            "alerts": [_alert(alert) for alert in alerts(store)[-MAX_ROWS:]],
            "verdictCounts": {"verified": good, "notVerified": bad},
            "verdicts": [
                _verdict(store, verdict, redact) for verdict in newest_verdicts(store, MAX_ROWS)
            ],
            "left": _transfers(newest_transfers(store, "export", MAX_ROWS), redact),
            "arrived": _transfers(newest_transfers(store, "import", MAX_ROWS), redact),
            "custody": [] if "custody" in redact else _custody(store),
            "queue": _queue(store, redact),
        }


def pack_data(session: Session, evidence: Evidence) -> dict[str, Any]:
    """Gather what a report says of one contradiction alone: the page of an evidence pack."""
    with session.reading() as store:
        return {
            "format": FORMAT,
            "version": __version__,
            "madeAt": evidence.detected_at,
            "site": site_fact(store, SITE_NAME) or "(unnamed)",
            "contradictions": [contradiction_data(evidence)],
        }


def search_data(session: Session, found: Found) -> dict[str, Any]:
    """Gather what lets others check an answer of a search: the page of `entries search --html`.

    What the answer says is not in it. Raises LimitError (page-too-large) if there are more hits
    than a page holds, what reading the store raises else.
    """
    if len(found.hits) > MAX_HITS:
        raise LimitError(
            f"a page has at most {MAX_HITS:,} hits, and {len(found.hits):,} were found",
            reason="page-too-large",
            next_step=f"narrow the search, or give --limit {MAX_HITS}",
        )
    with session.reading() as store:
        proven: dict[str, list[tuple[int, int]]] = {one.origin: [] for one in found.coverage}
        for hit in found.hits:
            proven[hit.origin].append((hit.entry_index, hit.head.tree_size))
        return {
            "format": FORMAT,
            "version": __version__,
            "madeAt": session.now(),
            "site": site_fact(store, SITE_NAME) or "(unnamed)",
            "logs": [
                _log(store, require_log(store, origin), (), some) for origin, some in proven.items()
            ],
        }


def record_report(session: Session, name: str, digest: str) -> None:
    """Write into the journal that a report was written, with its SHA-256 (hex).

    Raises StoreError if this home cannot be written to.
    """
    with session.writing_unlocked() as store, store.atomic():
        append_event(store, session.now(), WRITTEN, {"file": name, "sha256": digest})


def _log(
    store: Store,
    log: Log,
    backends: Sequence[Mapping[str, Any]],
    found: Collection[tuple[int, int]] | None = None,
) -> dict[str, Any]:
    mirror = Mirror(store, log)
    accepted, mirrored = mirror.history.accepted(), mirror.history.mirror_checkpoint()
    held = quarantine_of(store, log)
    size = 0 if accepted is None else accepted.head.tree_size
    n_tiles = -(-size // WIDTH)
    per_cell = max(-(-n_tiles // _CELLS), 1)
    n_cells = -(-n_tiles // per_cell)
    return {
        "origin": log.origin,
        "apiVersion": log.api_version,
        "treeSize": None if accepted is None else size,
        "mirrorSize": None if mirrored is None else mirrored.head.tree_size,
        "backends": list(backends),
        "coverage": _coverage(coverage_of(mirror)),
        "entryCoverage": _coverage(entry_coverage_of(mirror)),
        "growth": [list(one) for one in mirror.history.growth(_POINTS)],
        "tilesPerCell": per_cell,
        "tilesInCells": tiles_in_cells(store, log, per_cell, n_cells),
        "nTiles": n_tiles,
        "quarantine": None
        if held is None
        else {"since": held.since, "lastCommonSize": held.last_common_size},
        **checkable(mirror, found),
    }


def _backends(health: HomeHealth, log: Log) -> list[dict[str, Any]]:
    return [
        {
            "name": one.backend.name,
            "enabled": one.backend.enabled,
            "health": one.health.value,
            "reasons": list(one.reasons),
            "ageSeconds": one.age,
            "growthAgeSeconds": one.growth_age,
        }
        for one in health.logs
        if one.backend.log.id == log.id
    ]


def _coverage(coverage: Coverage | None) -> dict[str, Any] | None:
    if coverage is None:
        return None
    return {"present": coverage.present, "expected": coverage.expected, "percent": coverage.percent}


def _alert(one: Alert) -> dict[str, Any]:
    return {
        "number": one.number,
        "type": one.type,
        "severity": one.severity,
        "origin": one.origin,
        "evidence": one.evidence_id,
        "detectedAt": one.detected_at,
        "lastSeenAt": one.last_seen_at,
        "count": one.count,
        "endedAt": one.ended_at,
        "ackedAt": one.acked_at,
    }


def _roots(store: Store, redact: Collection[str]) -> list[dict[str, Any]]:
    current, found = current_root(store), []
    for one in all_roots(store):
        root = parse_trusted_root(one.raw)
        found.append(
            {
                "digest": root.digest,
                "isCurrent": current is not None and current.raw == one.raw,
                "source": _path(one.source, redact),
                "importedAt": one.imported_at,
                "nLogs": len(root.logs),
            }
        )
    return found


def _verdict(store: Store, one: RecordedVerdict, redact: Collection[str]) -> dict[str, Any]:
    return {
        "artifact": _path(one.artifact, redact),
        "digests": {name: raw.hex() for name, raw in one.digests.items()},
        "at": one.at,
        "code": one.code,
        "reason": one.reason,
        "mirror": one.coverage,
        "proof": _proof(store, one.bundle),
    }


def _proof(store: Store, bundle: bytes) -> dict[str, Any] | None:
    """Return the inclusion proof that a Sigstore bundle carries; None: of no log pinned here."""
    try:
        entry = parse_sigstore_bundle(bundle).log_entry
    except ApplianceError:
        return None
    proof = None if entry is None else entry.inclusion_proof
    if entry is None or proof is None or not proof.checkpoint:
        return None
    for log in all_logs(store):
        if any(key.log_id == entry.log_id for key in log.keys):
            try:
                signed = open_checkpoint(proof.checkpoint.encode(), log.keys, log.origin)
            except ApplianceError:
                continue  # another tree of the same Rekor v1 instance has the same key
            return {
                "origin": log.origin,
                "apiVersion": log.api_version,
                "keys": [key_described(key) for key in log.keys],
                "index": proof.entry_index,
                "treeSize": signed.head.tree_size,
                "hashes": [one.hex() for one in proof.hashes],
                "body": b64encode(entry.canonicalized_body).decode(),
                "note": proof.checkpoint,
            }
    return None


def _transfers(found: Sequence[Transfer], redact: Collection[str]) -> list[dict[str, Any]]:
    return [
        {
            "at": one.at,
            "site": one.site,
            "bundleId": one.bundle_id,
            "sha256": one.tar_digest.hex(),
            "file": _path(one.file_name, redact),
            "unsigned": one.unsigned,
            "logs": [
                {
                    "origin": log.origin,
                    "base": log.base_size,
                    "head": log.head_size,
                    "new": log.new_size,
                }
                for log in one.logs
            ],
        }
        for one in found
    ]


def _custody(store: Store) -> list[dict[str, Any]]:
    lines = list(custody_lines(store))[-MAX_ROWS:]
    return [
        {
            "at": line.at,
            "action": line.facts.action,
            "who": line.facts.who,
            "bundleId": line.facts.bundle_id,
            "medium": line.facts.medium,
            "seal": line.facts.seal,
        }
        for line in lines
    ]


def _queue(store: Store, redact: Collection[str]) -> dict[str, Any]:
    states: dict[str, int] = {}
    for (state, _), n in count_states(store).items():
        states[state] = states.get(state, 0) + n
    tenants = [] if "tenants" in redact else all_tenants(store)
    return {
        "waiting": held_count(store),
        "oldestAt": oldest_held(store),
        "states": dict(sorted(states.items())),
        "tenants": [{"name": tenant.name, "waiting": tenant.waiting} for tenant in tenants],
    }


def _path(text: str, redact: Collection[str]) -> str:
    """Return a file's name, with the directories it lay in unless those are to be left out."""
    if "paths" not in redact:
        return text
    is_url = "://" in text
    return _HIDDEN if is_url else text.rpartition("/")[2]
