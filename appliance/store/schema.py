"""The database schema, as append-only migrations (docs/schema.md).

Each is a file of SQL in migrations/, applied in one transaction together with its own
record. A shipped one is never edited: add another, here and there. The comments are stored
with the tables, so the database explains itself to whoever opens it in ten years.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sqlite_utils.db import Database
    from sqlite_utils.migrations import Migrations

MIGRATION_SET: Final = "attestor"

MIGRATIONS: Final = (  # in the order they are applied
    "001_logs_and_tiles",
    "002_transfer",
    "003_private_log",
    "004_trust",
    "005_log_facts",
    "006_verdicts",
    "007_tuf",
    "008_journal_and_counters",
    "009_alerts",
    "010_divergence",
    "011_journal_head",
    "012_custody",
    "013_queue",
    "014_gap",
    "015_common_ground",
    "016_publication",
    "017_aggregate",
    "018_key_life",
    "019_health",
    "020_expectation",
    "021_superseded",
    "022_watch",
    "023_tenant_budget",
    "024_followed_instance",
    "025_entry_span",
    "026_cosigned",
    "027_ledger_scan",
    "028_tile_span",
    "029_proven_range",
    "030_entry_window",
    "033_window_tile",
    "034_lacking_proof",
    "045_verdict_question",
    "047_tree_place",
    "048_empty_tree",
    "049_known_statement",
    "050_entry_window_rows",
)
COUNTED_BY_TRIGGERS: Final = (
    "tile_span",
    "entry_span",
    "window_tile",
)  # tables that follow from the rows of others


def migration_sql(name: str) -> str:
    """Return the SQL of one migration."""
    return (Path(__file__).parent / "migrations" / f"{name}.sql").read_text(encoding="utf-8")


def migrations() -> Migrations:
    """Build the migration set for sqlite-utils (imported here: it costs 80 ms)."""
    from sqlite_utils.migrations import Migrations

    built = Migrations(MIGRATION_SET)
    for name in MIGRATIONS:
        built(name=name)(_applier(name))
    return built


def _applier(name: str) -> Callable[[Database], None]:
    def apply(db: Database) -> None:
        # Not executescript: that commits first, and a crash would leave half a schema.
        for statement in _statements(migration_sql(name)):
            db.execute(statement)

    return apply


def _statements(script: str) -> Iterator[str]:
    from sqlite3 import complete_statement

    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if line.rstrip().endswith(";") and complete_statement(pending):
            yield pending.strip()
            pending = ""
