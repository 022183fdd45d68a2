"""What `sql` reads: documented views over the store and the index, and nothing that writes.

The views are part of the interface (docs/sql.md). Both files are opened read only, and what
a statement may do is decided by an authorizer, before it runs; time, rows and the length of
a value are bounded.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from appliance.errors import LimitError, RefusedError, StoreError
from appliance.store.database import require_database, store_errors
from appliance.store.failures import database_error, file_error
from appliance.store.find.index import (
    FORMAT,
    IDENTITY_KINDS,
    REBUILD,
    empty_index_schema,
    index_errors,
    index_path,
    roll_index_back,
)
from appliance.value import frozen

MAX_VALUE_BYTES: Final = 64 * 1024 * 1024  # of one text or blob
_STEPS: Final = 10_000  # instructions of SQLite's machine between two looks at the clock
_INDEX_OF_REF: Final = "(ref & 1099511627775)"  # the lower 40 bits
_TIME: Final = "strftime('%Y-%m-%dT%H:%M:%SZ', {}, 'unixepoch')"
_LOGGED_AFTER: Final = (
    "(SELECT first_seen_at FROM attestor.checkpoint AS c WHERE c.log_id = log.id"  # noqa: S608 ours
    f" AND c.tree_size <= {_INDEX_OF_REF} ORDER BY c.tree_size DESC LIMIT 1)"
)
_LOGGED_BEFORE: Final = (
    "(SELECT first_seen_at FROM attestor.checkpoint AS c WHERE c.log_id = log.id"  # noqa: S608 ours
    f" AND c.tree_size > {_INDEX_OF_REF} ORDER BY c.tree_size LIMIT 1)"
)
# As the index names what it has of a window (jobs/find/blocks.py).
_AS_STAMPED: Final = "i.digest = CAST(CAST(w.stamp AS TEXT) AS BLOB)"
# Only what is indexed as it is stored: an index can be older than the entry bundles.
_COVERED: Final = (
    "(EXISTS (SELECT 1 FROM entry_index.indexed AS i JOIN attestor.entry_bundle AS b"  # noqa: S608 ours
    " USING (log_id, tile_index, digest) WHERE i.log_id = log.id"
    f" AND i.tile_index = {_INDEX_OF_REF} / 256)"
    " OR EXISTS (SELECT 1 FROM entry_index.indexed AS i JOIN attestor.window_tile AS w"
    f" USING (log_id, tile_index) WHERE i.log_id = log.id AND {_AS_STAMPED}"
    f" AND i.tile_index = {_INDEX_OF_REF} / 256))"
)
_IDENTITY_KIND: Final = " ".join(
    ("CASE i.kind", *(f"WHEN {n} THEN '{name}'" for n, name in enumerate(IDENTITY_KINDS)), "END")
)
_OF_LOG: Final = "JOIN attestor.log AS log ON log.id = ref >> 40"

# Name, columns, and the statement that gives them.
VIEWS: Final[Mapping[str, tuple[tuple[str, ...], str]]] = {
    "v_entries": (
        (
            *("origin", "entry_index", "identity", "issuer", "logged_after", "logged_before"),
            *("kind", "identity_kind"),
        ),
        f"SELECT log.origin, {_INDEX_OF_REF}, i.name, issuer, {_TIME.format(_LOGGED_AFTER)},"  # noqa: S608 ours
        f" {_TIME.format(_LOGGED_BEFORE)}, kind.name,"
        f" {_IDENTITY_KIND}"
        " FROM entry_index.entry JOIN entry_index.profile_identity AS p USING (profile)"
        " JOIN entry_index.identity AS i ON i.id = p.identity"
        f" JOIN entry_index.kind ON kind.id = p.kind {_OF_LOG} WHERE {_COVERED}",
    ),
    "v_identities": (
        ("origin", "identity", "issuer", "entries", "first_index", "last_index"),
        f"SELECT log.origin, name, issuer, count(DISTINCT ref), min({_INDEX_OF_REF}),"  # noqa: S608 ours
        f" max({_INDEX_OF_REF}) FROM entry_index.entry"
        " JOIN entry_index.profile_identity AS p USING (profile)"
        f" JOIN entry_index.identity ON identity.id = p.identity {_OF_LOG} WHERE {_COVERED}"
        " GROUP BY log.id, name, issuer",
    ),
    "v_coverage": (
        ("origin", "tree_size", "mirror_size", "entries", "indexed", "unread"),
        "SELECT origin, (SELECT max(tree_size) FROM attestor.checkpoint AS c"  # noqa: S608 ours
        " WHERE c.log_id = log.id), mirror_size, (SELECT coalesce(sum(width), 0)"
        " FROM attestor.entry_bundle AS b WHERE b.log_id = log.id)"
        " + (SELECT coalesce(sum(n_entries), 0) FROM attestor.window_tile AS w"
        " WHERE w.log_id = log.id),"
        " (SELECT coalesce(sum(b.width), 0) FROM attestor.entry_bundle AS b"
        " JOIN entry_index.indexed AS i USING (log_id, tile_index, digest)"
        " WHERE log_id = log.id) + (SELECT coalesce(sum(w.n_entries), 0)"
        " FROM attestor.window_tile AS w JOIN entry_index.indexed AS i"
        f" USING (log_id, tile_index) WHERE log_id = log.id AND {_AS_STAMPED}),"
        " (SELECT count(*) FROM entry_index.opaque"
        " WHERE ref >> 40 = log.id) FROM attestor.log AS log",
    ),
    "v_opaque": (
        ("origin", "entry_index", "why"),
        f"SELECT log.origin, {_INDEX_OF_REF}, why FROM entry_index.opaque {_OF_LOG}",  # noqa: S608 ours
    ),
    "v_expected": (
        (
            *("id", "source", "reference", "site", "created_at", "leaf_hash", "digest"),
            *("signer", "identity", "pattern", "issuer", "origin", "count", "met"),
            *("valid_from", "valid_until", "note", "cancelled_at", "cancel_reason"),
        ),
        f"SELECT id, source, reference, site, {_TIME.format('created_at')},"  # noqa: S608 ours
        " lower(hex(leaf)), lower(hex(digest)), lower(hex(signer)), identity, pattern, issuer,"
        " origin, count, (SELECT count(*) FROM attestor.expectation_entry"
        f" WHERE expectation = e.id), {_TIME.format('valid_from')},"
        f" {_TIME.format('valid_until')}, note, {_TIME.format('cancelled_at')}, cancel_reason"
        " FROM attestor.expectation AS e",
    ),
    "v_watches": (
        (
            *("name", "criteria", "severity", "expectations", "grace_seconds", "unvouched"),
            *("begins", "added_at"),
        ),
        "SELECT name, criteria, severity, expectations, grace, unvouched, begins,"  # noqa: S608 ours
        f" {_TIME.format('added_at')} FROM attestor.watch",
    ),
    "v_matches": (
        (
            *("watch", "origin", "entry_index", "finding", "found_at", "leaf_hash"),
            *("alert_number", "entry"),
        ),
        f"SELECT w.name, log.origin, entry_index, finding, {_TIME.format('found_at')},"  # noqa: S608 ours
        " lower(hex(leaf)), alert_number, entry FROM attestor.watch_match AS m"
        " JOIN attestor.watch AS w ON w.id = m.watch_id JOIN attestor.log AS log"
        " ON log.id = m.log_id",
    ),
    "v_checkpoints": (
        ("origin", "tree_size", "root_hash", "first_seen_at", "notes"),
        "SELECT origin, tree_size, root_hash, first_seen_at, notes FROM attestor.v_checkpoints",
    ),
    "v_alerts": (
        (
            *("number", "id", "type", "event_type", "severity", "origin", "evidence_id", "count"),
            *("detected_at", "last_seen_at", "ended_at", "acked_at", "payload"),
        ),
        "SELECT number, id, type, event_type, severity, origin, evidence_id, count,"
        " detected_at, last_seen_at, ended_at, acked_at, payload FROM attestor.v_alerts",
    ),
    "v_queue": (
        (
            *("number", "id", "tenant", "tier", "edge_trigger", "priority", "kind"),
            *("api_version", "state", "created_at", "changed_at", "next_at", "attempts"),
            *("reason", "message", "site", "origin", "log_index"),
        ),
        "SELECT number, id, tenant, tier, edge_trigger, priority, kind, api_version, state,"
        " created_at, changed_at, next_at, attempts, reason, message, site, origin, log_index"
        " FROM attestor.v_queue",
    ),
    "v_quota": (
        ("tenant", "hourly_count", "daily_bundle_count", "hour_from", "day_from"),
        "SELECT tenant, hourly_count, daily_bundle_count, hour_from, day_from"
        " FROM attestor.v_quota",
    ),
}
_OF_THE_INDEX: Final = frozenset({"v_entries", "v_identities", "v_opaque"})
# Views of the store under the names that people look for: attestor.rekor_checkpoints.
_OF_THE_STORE: Final = ("rekor_checkpoints", "rekor_quotas", "rekor_offline_queue")
# What a reader meets beside others who write to what it reads, or take it away.
_OF_WRITERS: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)
_ALLOWED: Final = (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_RECURSIVE)
_TABLE_FUNCTIONS: Final = ("json_each", "json_tree")
_FORBIDDEN_FUNCTIONS: Final = ("load_extension", "fts3_tokenizer", "edit", "readfile", "writefile")


@frozen
class Rows:
    """What a statement gave."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    more: bool  # there are further rows than were asked for
    without_index: bool = False  # a view was read that has its rows from the index; there is none


class Views:
    """A connection that can only read the views."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.connection = _attached(home, ":memory:")
        try:
            self.connection.executescript("".join(f"{one};" for one in view_statements()))
            # Used once, so that SQLite has declared them to itself.
            self.connection.execute("SELECT 1 FROM json_each('[]'), json_tree('[]')")
            self.connection.execute("PRAGMA query_only = ON")
            self.connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES)
            self.connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 2)
        except sqlite3.Error as error:
            self.close()
            raise StoreError(
                f"{index_path(home)} does not have the tables of this version: {error}",
                reason="index-format",
                next_step=REBUILD,
            ) from error

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    def function(self, name: str, n_arguments: int, call: Callable[..., Any]) -> None:
        """Let statements call a function; what it raises is raised by run()."""
        self.connection.create_function(name, n_arguments, call)

    def run(
        self,
        sql: str,
        parameters: Mapping[str, Any],
        *,
        max_rows: int,
        is_over: Callable[[], bool],
    ) -> Rows:
        """Run one statement, for at most `max_rows`, until `is_over` says so.

        Raises RefusedError (sql-forbidden) for what does more than read views, sql-timeout,
        sql-error for what SQLite does not understand; StoreError for a damaged file.
        """
        refused: list[str] = []
        read: set[Any] = set()
        over = False

        def look_at_the_clock() -> int:
            nonlocal over
            over = is_over()
            return int(over)

        def authorize(action: int, first: Any, second: Any, schema: Any, inside: Any) -> int:
            read.update((first, inside))
            what = _forbidden(action, first, second, schema, inside)
            if what:
                refused.append(what)
                return sqlite3.SQLITE_DENY
            return sqlite3.SQLITE_OK

        self.connection.set_authorizer(authorize)
        self.connection.set_progress_handler(look_at_the_clock, _STEPS)
        try:
            cursor = self.connection.execute(sql, parameters)
            if cursor.description is None:
                raise RefusedError("there is no statement in it", reason="sql-error")
            columns = tuple(one[0] for one in cursor.description)
            rows = cursor.fetchmany(max_rows + 1)
        except (sqlite3.Error, sqlite3.Warning, OverflowError) as error:
            raise _why(self.home, error, refused, is_over=over) from error
        finally:
            self.connection.set_authorizer(None)
            self.connection.set_progress_handler(None, 0)
        return Rows(
            columns,
            tuple(map(tuple, rows[:max_rows])),
            len(rows) > max_rows,
            without_index=bool(read & _OF_THE_INDEX) and lacks_index(self.home),
        )


def _forbidden(action: int, first: Any, second: Any, schema: Any, inside: Any) -> str:
    """Say what an action does that is not reading the views; empty: nothing."""
    if action in _ALLOWED:
        return ""
    if action == sqlite3.SQLITE_FUNCTION:
        return f"it calls {second}()" if second in _FORBIDDEN_FUNCTIONS else ""
    if action == sqlite3.SQLITE_READ:
        is_view = (first in VIEWS and schema == "temp") or (
            first in _OF_THE_STORE and schema == "attestor"
        )
        if is_view or inside is not None or not second or first in _TABLE_FUNCTIONS:
            return ""  # from within a view or a WITH; or no column, only that there is a row
        return f"it reads {first}, which is no view of the interface"
    return "it does more than read"


def _why(
    home: Path, error: Exception, refused: Sequence[str], *, is_over: bool
) -> RefusedError | StoreError:
    if is_over:
        return RefusedError(
            "the statement was not over in time",
            reason="sql-timeout",
            next_step="ask for less, or give it longer: --timeout",
        )
    if refused:
        return RefusedError(
            f"only views can be read here: {refused[0]}",
            reason="sql-forbidden",
            next_step=f"read {', '.join(VIEWS)}",
        )
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_IOERR):
        return StoreError(
            f"{home}: {error}",
            reason="corrupt",
            next_step="'attestor store check' says what is damaged; the index: 'attestor index"
            " rebuild'",
        )
    if isinstance(error, sqlite3.Error) and code in _OF_WRITERS:
        found = database_error(home, error)
        found.next_step = "another run writes to it, or makes the index anew: run the command again"
        return found
    if code in (sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_FULL):
        return LimitError(f"SQLite: {error}", reason="sql-limit", next_step="ask for less")
    return RefusedError(f"SQLite: {error}", reason="sql-error", next_step="see docs/sql.md")


def lacks_index(home: Path) -> bool:
    """Whether there is no index, so that the views of it have no rows."""
    return not index_path(home).is_file()


def view_statements() -> tuple[str, ...]:
    """Return the statements that make the views, over what is attached."""
    return tuple(
        f"CREATE TEMP VIEW {name} ({', '.join(columns)}) AS {sql}"
        for name, (columns, sql) in VIEWS.items()
    )


def attach_statements(home: Path) -> tuple[str, ...]:
    """Return the statements that attach both files read only, for a program with URI names."""
    files = [(require_database(home), "attestor")]
    if not lacks_index(home):
        files.append((index_path(home), "entry_index"))
        return tuple(f"ATTACH {_quoted(_uri(path))} AS {name}" for path, name in files)
    [main] = [f"ATTACH {_quoted(_uri(path))} AS {name}" for path, name in files]
    return (main, "ATTACH ':memory:' AS entry_index", *empty_index_schema("entry_index"))


def export_views(home: Path, output: Path) -> dict[str, int]:
    """Write the views as tables of a new SQLite file; returns how many rows each has.

    Raises StoreError if the file is there already, or cannot be written.
    """
    try:
        os.close(os.open(output, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
    except FileExistsError as error:
        raise StoreError(
            f"{output} exists already",
            reason="file-exists",
            next_step="choose another name",
        ) from error
    except OSError as error:
        raise file_error(output, error) from error
    try:
        with store_errors(home):
            connection = _attached(home, str(output))
            try:
                connection.executescript("".join(f"{one};" for one in view_statements()))
                connection.execute("BEGIN")
                counts = {}
                for name in VIEWS:
                    made = f"CREATE TABLE main.{name} AS SELECT * FROM temp.{name}"  # noqa: S608 ours
                    connection.execute(made)
                    [counts[name]] = connection.execute(
                        f"SELECT count(*) FROM main.{name}"  # noqa: S608 ours
                    ).fetchone()
                connection.execute("COMMIT")
            finally:
                connection.close()
    except BaseException:
        output.unlink(missing_ok=True)
        raise
    return counts


def _attached(home: Path, main: str) -> sqlite3.Connection:
    """Open a database beside which both files are attached, read only."""
    path = index_path(home)
    if not lacks_index(home):
        roll_index_back(home)
    with store_errors(home):
        connection = sqlite3.connect(main, uri=True, isolation_level=None, timeout=10.0)
    try:
        first, *rest = attach_statements(home)
        with store_errors(home):
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.execute(first)
            connection.execute("PRAGMA attestor.cell_size_check = ON")
        with index_errors(path):
            for statement in rest:
                connection.execute(statement)
            (found,) = connection.execute("PRAGMA entry_index.user_version").fetchone()
        if found != FORMAT and path.is_file():
            raise StoreError(
                f"{path} is of format {found}, this program's is {FORMAT}",
                reason="index-format",
                next_step=REBUILD,
            )
    except BaseException:
        connection.close()
        raise
    return connection


def _uri(path: Path) -> str:
    return f"{path.resolve().as_uri()}?mode=ro"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
