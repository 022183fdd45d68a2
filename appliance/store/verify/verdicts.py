"""Verdicts that were asked to be remembered, with all it takes to judge again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from sqlite3 import Row
from typing import Any, Final

from appliance.errors import ApplianceError, StoreError
from appliance.store.database import Store
from appliance.store.failures import RESTORE
from appliance.store.home.journal import append_event
from appliance.store.row_form import json_object, reading_row
from appliance.value import frozen

_DAMAGED_STEP: Final = f"{RESTORE}; or ask again with the files: attestor verify --record"


@frozen
class RecordedVerdict:
    """One verdict, and what it was about."""

    id: int  # 0 before it is stored
    at: int  # Unix seconds, of the newest judgement
    artifact: str  # as it was named
    digests: dict[str, bytes]  # raw, by algorithm
    bundle: bytes  # the Sigstore bundle, byte for byte
    expected: dict[str, Any]  # who should have signed, as JSON
    demands: dict[str, Any]  # what else was demanded, allowed and given, as JSON
    root_digest: str  # SHA-256 of the trusted root, 64 hex digits; empty: none
    code: int  # exit code of the newest judgement
    reason: str  # why not; empty if it verified
    coverage: str  # what our mirror said


@frozen
class UnreadVerdict:
    """A verdict that stays as it is, since what was recorded with it cannot be read today."""

    id: int
    artifact: str
    error: ApplianceError


def record_verdict(store: Store, verdict: RecordedVerdict, given_root: bytes | None = None) -> int:
    """Remember a verdict and return its id; the same question again replaces the answer.

    The trusted root that it was asked under is kept with it, if it was given as a file.

    The journal gets every answer that is not the one that was there before.
    """
    digests = {name: raw.hex() for name, raw in verdict.digests.items()}
    row = (
        verdict.at,
        verdict.artifact,
        json.dumps(digests, sort_keys=True),
        verdict.bundle,
        json.dumps(verdict.expected, sort_keys=True),
        json.dumps(verdict.demands, sort_keys=True),
        verdict.root_digest,
        verdict.code,
        verdict.reason,
        verdict.coverage,
    )
    with store.atomic():
        if given_root is not None:
            store.execute(
                "INSERT OR IGNORE INTO given_root VALUES (?, ?)",
                [sha256(given_root).digest(), given_root],
            )
        if (verdict.code, verdict.reason) != _answer(store, row):
            append_event(store, verdict.at, "verdict.recorded", _details(verdict))
        store.execute(
            "INSERT INTO verdict (at, artifact, digests, bundle, expected, demands, root_digest,"
            " code, reason, coverage) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (artifact, digests, bundle, expected, demands) DO UPDATE SET"
            " at = excluded.at, root_digest = excluded.root_digest, code = excluded.code,"
            " reason = excluded.reason, coverage = excluded.coverage",
            row,
        )
    found = _stored(store, row)
    if found is None:
        raise LookupError("a verdict that was just stored is not there")
    return int(found["id"])


def read_given_root(store: Store, digest: str) -> bytes:
    """Return a trusted root that a verdict names by its SHA-256 (hex); raises StoreError."""
    row = store.row("SELECT raw FROM given_root WHERE lower(hex(digest)) = ?", [digest])
    if row is None or sha256(row["raw"]).hexdigest() != digest:
        state = "not here" if row is None else "damaged"
        raise StoreError(
            f"a recorded verdict was asked under the trusted root {digest}, which is {state}",
            reason="corrupt",
            next_step="attestor store check",
        )
    return bytes(row["raw"])


def _stored(store: Store, row: tuple[Any, ...]) -> Row | None:
    return store.row(
        "SELECT * FROM verdict WHERE artifact = ? AND digests = ? AND bundle = ? AND expected = ?"
        " AND demands = ?",
        row[1:6],
    )


def _answer(store: Store, row: tuple[Any, ...]) -> tuple[int, str] | None:
    found = _stored(store, row)
    return None if found is None else (found["code"], found["reason"])


def _details(verdict: RecordedVerdict) -> dict[str, Any]:
    return {
        "artifact": verdict.artifact,
        "digests": {name: raw.hex() for name, raw in verdict.digests.items()},
        "bundle": sha256(verdict.bundle).hexdigest(),
        "code": verdict.code,
        "reason": verdict.reason,
        "coverage": verdict.coverage,
        "trustedRoot": verdict.root_digest,
    }


def forget_verdicts(store: Store, before: int, at: int) -> int:
    """Forget what was judged last `before` (Unix seconds); how many. Inside store.atomic().

    The journal keeps the line of each answer.
    """
    row = store.row("SELECT count(*) AS n FROM verdict WHERE at < ?", [before])
    count = 0 if row is None else int(row["n"])
    # Those too that no verdict was ever asked under: an older version kept some. While a verdict
    # is damaged, nobody can tell which is its own.
    store.execute("DELETE FROM verdict WHERE at < ?", [before])
    store.execute(
        "DELETE FROM given_root WHERE NOT EXISTS (SELECT 1 FROM verdict"
        " WHERE CASE WHEN json_valid(demands)"
        " THEN demands ->> '$.trustedRoot' = lower(hex(digest)) ELSE 1 END)"
    )
    if count:
        append_event(store, at, "verdict.pruned", {"count": count, "before": before})
    return count


def newest_verdicts(store: Store, limit: int) -> list[RecordedVerdict]:
    """Return the verdicts that were recorded last, newest first."""
    rows = store.rows("SELECT * FROM verdict ORDER BY at DESC, id DESC LIMIT ?", [limit])
    return [_recorded(row) for row in rows]


def verdict_counts(store: Store) -> tuple[int, int]:
    """Return how many artifacts verified, and how many did not."""
    row = store.row("SELECT coalesce(sum(code = 0), 0) AS good, count(*) AS n FROM verdict")
    return (int(row["good"]), int(row["n"] - row["good"])) if row else (0, 0)


def recorded_verdicts(store: Store) -> Iterator[RecordedVerdict | UnreadVerdict]:
    """Yield every recorded verdict, oldest first; a damaged row keeps no other from being read."""
    for row in store.rows("SELECT * FROM verdict ORDER BY id"):
        try:
            yield _recorded(row)
        except StoreError as error:
            yield UnreadVerdict(row["id"], row["artifact"], error)


def _recorded(row: Row) -> RecordedVerdict:
    """Decode a row; raises StoreError, naming the verdict, for one that is damaged."""
    with reading_row(f"recorded verdict {row['id']} ({row['artifact']})", _DAMAGED_STEP):
        digests = json_object(row["digests"])
        return RecordedVerdict(
            row["id"],
            row["at"],
            row["artifact"],
            {name: bytes.fromhex(one) for name, one in digests.items()},
            row["bundle"],
            json_object(row["expected"]),
            json_object(row["demands"]),
            row["root_digest"],
            row["code"],
            row["reason"],
            row["coverage"],
        )
