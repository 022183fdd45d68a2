"""Proof that a log contradicted itself, durable before anybody is told (DESIGN.md, 6)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from appliance.store.database import Store
from appliance.store.logs import Log


def keep_evidence(
    store: Store,
    log: Log,
    *,
    rule: str,
    ours: bytes,
    theirs: bytes,
    details: Mapping[str, Any],
    detected_at: int,
) -> int:
    """Store two signed notes that contradict each other and return the evidence's id.

    The same pair again returns the id it has. Durable when this returns.
    """
    with store.atomic():
        store.execute(
            "INSERT INTO evidence (log_id, rule, detected_at, ours, theirs, details)"
            " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            [log.id, rule, detected_at, ours, theirs, json.dumps(details, sort_keys=True)],
        )
    row = store.row(
        "SELECT id FROM evidence WHERE log_id = ? AND ours = ? AND theirs = ?",
        [log.id, ours, theirs],
    )
    if row is None:
        raise LookupError("evidence that was just stored is not there")
    return int(row["id"])


def is_contradicted(store: Store, log: Log) -> bool:
    """Whether there is evidence that a log contradicted itself."""
    return store.row("SELECT 1 FROM evidence WHERE log_id = ? LIMIT 1", [log.id]) is not None
