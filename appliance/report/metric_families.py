"""The metrics there are: names, labels and what they mean. Others rely on the names.

Counters and histograms are kept in the store by whoever counts (store/home/counters.py), under
these very names; gauges are read off the store's state when somebody asks.
"""

from __future__ import annotations

from typing import Final

from appliance.value import frozen


@frozen
class Family:
    """One metric family."""

    name: str  # as exposed; a counter's with _total
    kind: str  # counter, gauge or histogram
    labels: tuple[str, ...]
    help: str


_SYNC: Final = "attestor_rekor_sync"

FAMILIES: Final = (
    Family(
        f"{_SYNC}_checkpoints_fetched_total",
        "counter",
        ("backend",),
        "Checkpoints fetched from a backend.",
    ),
    Family(
        f"{_SYNC}_checkpoints_stored_total",
        "counter",
        ("backend",),
        "Checkpoints accepted and stored.",
    ),
    Family(
        f"{_SYNC}_tiles_fetched_total",
        "counter",
        ("backend",),
        "Tiles and entry bundles fetched from a backend.",
    ),
    Family(
        f"{_SYNC}_tiles_cached_total",
        "counter",
        ("backend",),
        "Tiles and entry bundles newly stored.",
    ),
    Family(
        f"{_SYNC}_errors_total",
        "counter",
        ("backend", "error_type"),
        "Syncs that failed, by kind of error.",
    ),
    Family(
        f"{_SYNC}_checkpoint_age_seconds",
        "histogram",
        ("backend",),
        "Age of the accepted checkpoint at the end of each sync.",
    ),
    Family(f"{_SYNC}_tiles_cached", "gauge", ("backend",), "Hash tiles stored now."),
    Family(
        f"{_SYNC}_last_success_seconds",
        "gauge",
        ("backend",),
        "Seconds since the last good sync, when this was written.",
    ),
    Family(
        f"{_SYNC}_last_success_timestamp_seconds",
        "gauge",
        ("backend",),
        "When a sync last succeeded, Unix time; 0: never.",
    ),
    Family(
        f"{_SYNC}_last_attempt_timestamp_seconds",
        "gauge",
        ("backend",),
        "When a sync was last tried, Unix time; 0: never.",
    ),
    Family(
        "attestor_rekor_checkpoint_age_seconds",
        "gauge",
        ("backend",),
        "Age of the accepted checkpoint, when this was written.",
    ),
    Family(
        "attestor_rekor_checkpoint_timestamp_seconds",
        "gauge",
        ("backend",),
        "The newest time that vouches for the accepted checkpoint, Unix time.",
    ),
    Family(
        "attestor_rekor_tree_size", "gauge", ("backend",), "Leaves under the accepted checkpoint."
    ),
    Family(
        "attestor_rekor_health",
        "gauge",
        ("backend", "health"),
        "1 for the health a log is in, 0 for the others.",
    ),
    Family(
        "attestor_rekor_checkpoint_mismatch_total",
        "counter",
        ("backend", "origin"),
        "Checkpoints that contradict an accepted one: another root, or a fork.",
    ),
    Family(
        "attestor_rekor_checkpoint_rollback_detected_total",
        "counter",
        ("backend",),
        "Checkpoints older than the accepted one that are no prefix of its tree.",
    ),
    Family(
        "attestor_rekor_cross_log_divergence_total",
        "counter",
        ("primary", "mirror"),
        "Mirrors whose checkpoint contradicts the log they mirror.",
    ),
    Family(
        "attestor_rekor_anomalies_detected_total",
        "counter",
        ("type", "severity"),
        "Everything that alerts are raised for, each time it is found.",
    ),
    Family(
        "attestor_rekor_submissions_total",
        "counter",
        ("tier", "status"),
        "Submissions, by what became of them.",
    ),
    Family(
        "attestor_rekor_submission_latency_seconds",
        "histogram",
        ("tier",),
        "From the first byte sent to the proof verified.",
    ),
    Family("attestor_rekor_queue_depth", "gauge", ("tier",), "Submissions that wait to be sent."),
    Family(
        "attestor_rekor_budget_remaining",
        "gauge",
        ("tenant",),
        "Submissions of tier graph that a tenant may make now.",
    ),
    Family(
        "attestor_rekor_budget_utilization",
        "gauge",
        ("tenant",),
        "How full the fullest budget window of a tenant is, 0 to 1.",
    ),
    Family(
        "attestor_rekor_submissions_rejected_total",
        "counter",
        ("tenant",),
        "Submissions refused when they were added.",
    ),
    Family(
        "attestor_rekor_submission_errors_total",
        "counter",
        ("error_type",),
        "Attempts to submit that failed, by kind of error.",
    ),
    Family(
        "attestor_rekor_edge_bundle_triggers_total",
        "counter",
        ("trigger",),
        "What made edge bundles due.",
    ),
    Family(
        "attestor_alerts_unacked",
        "gauge",
        ("severity",),
        "Alerts that nobody has acknowledged.",
    ),
    Family(
        "attestor_alert_deliveries_waiting",
        "gauge",
        (),
        "Alerts that have not reached one of their sinks yet.",
    ),
    Family(
        "attestor_trust_root_fetched_timestamp_seconds",
        "gauge",
        (),
        "When the trusted root came or was last confirmed, Unix time.",
    ),
    Family(
        "attestor_bundle_imported_timestamp_seconds",
        "gauge",
        (),
        "When a transfer bundle was last imported, Unix time.",
    ),
    Family(
        "attestor_rekor_coverage_ratio",
        "gauge",
        ("backend",),
        "How much of the accepted checkpoint its stored tiles cover, 0 to 1.",
    ),
    Family(
        "attestor_rekor_queue_oldest_timestamp_seconds",
        "gauge",
        (),
        "When the oldest submission that waits was added, Unix time; 0: none waits.",
    ),
    Family("attestor_health", "gauge", ("health",), "1 for the health the home is in."),
    Family(
        "attestor_problems",
        "gauge",
        ("kind", "severity"),
        "What is wrong with the home or its backends beyond its threshold.",
    ),
    Family(
        "attestor_last_exit_code",
        "gauge",
        ("command",),
        "Exit code of a command's last scheduled run.",
    ),
    Family(
        "attestor_last_success_timestamp_seconds",
        "gauge",
        ("command",),
        "When a scheduled run of a command last succeeded, Unix time; 0: never.",
    ),
    Family("attestor_index_entries", "gauge", ("origin",), "Mirrored entries that the index has."),
    Family(
        "attestor_index_behind_entries",
        "gauge",
        ("origin",),
        "Mirrored entries that the index, if there is one, does not have.",
    ),
    Family(
        "attestor_index_opaque_entries",
        "gauge",
        ("origin",),
        "Indexed entries that could not be read whole.",
    ),
    Family(
        "attestor_watch_behind_entries",
        "gauge",
        ("watch", "origin"),
        "Mirrored entries that a watch was not compared with.",
    ),
    Family(
        "attestor_watch_matches_total",
        "counter",
        ("watch", "finding"),
        "Entries that met a watch, by what they came to.",
    ),
    Family(
        "attestor_expected_open", "gauge", (), "Rows of the ledger that are not used up in time."
    ),
    Family(
        "attestor_expected_missing",
        "gauge",
        (),
        "Rows of the ledger whose entry is proven missing.",
    ),
    Family(
        "attestor_log_cosignatures_total",
        "counter",
        ("origin", "witness", "outcome"),
        "Times a witness was asked to cosign a log of ours: cosigned, or why not.",
    ),
    Family(
        "attestor_witness_cosigned_total",
        "counter",
        ("origin",),
        "Checkpoints of a log that a witness of this home cosigned.",
    ),
    Family(
        "attestor_witness_requests_total",
        "counter",
        ("status",),
        "Requests to cosign that witness serve answered, by HTTP status.",
    ),
    Family(
        "attestor_witness_tree_size",
        "gauge",
        ("origin", "witness"),
        "Entries of the largest tree of a log that a witness of this home cosigned.",
    ),
    Family(
        "attestor_log_requests_total",
        "counter",
        ("log", "status"),
        "Requests to the logs of this home's own, by HTTP status; log -: for none of them.",
    ),
    Family("attestor_build_info", "gauge", ("version", "python"), "Which program this is; 1."),
)
