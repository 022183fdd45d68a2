"""Watches: what the logs are watched for, what was compared with it, and what met it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, Final

from appliance.errors import RefusedError
from appliance.store.database import Store
from appliance.store.failures import RESTORE, unknown
from appliance.store.home.journal import append_event
from appliance.store.mirror.entry_windows import EntryWindows
from appliance.store.mirror.logs import Log
from appliance.store.row_form import json_object, reading_row
from appliance.tlog.tile import WIDTH
from appliance.value import frozen

Ranges = tuple[tuple[int, int], ...]  # of entries: start, and stop that is not included
MATCHED: Final = "matched"
CLAIMED: Final = "claimed"
WAITING: Final = "waiting"  # for an expectation to come
EXPECTED: Final = "expected"
UNEXPECTED: Final = "unexpected"
FINDINGS: Final = (MATCHED, CLAIMED, WAITING, EXPECTED, UNEXPECTED)


@frozen
class NewWatch:
    """What the logs are to be watched for."""

    name: str
    criteria: dict[str, Any]  # JSON-able
    severity: str  # critical, warning or info
    expectations: str  # optional or required
    grace: int  # seconds for an expectation to come
    unvouched: str  # info, ignore or same
    begins: str  # start, now, or an index


@frozen
class Watch:
    """One watch, as it is stored."""

    name: str
    criteria: dict[str, Any]
    severity: str
    expectations: str
    grace: int  # seconds
    unvouched: str
    begins: str
    id: int
    added_at: int  # Unix seconds


@frozen
class Match:
    """One entry that met a watch."""

    watch: str  # by name
    origin: str
    log_id: int
    entry_index: int
    leaf: bytes
    found_at: int  # Unix seconds
    finding: str
    entry: dict[str, Any]  # as alerts describe it
    alert_number: int | None  # None: nobody was told


@frozen
class Undecided:
    """One entry of which it cannot be told whether it meets a watch."""

    entry_index: int
    why: str


def add_watch(store: Store, new: NewWatch, at: int) -> Watch:
    """Store a watch. Inside store.atomic(). Raises RefusedError if there is one of its name."""
    if store.row("SELECT 1 FROM watch WHERE name = ?", [new.name]):
        raise RefusedError(
            f"there is a watch {new.name} already",
            reason="watch-exists",
            next_step=f"take another name, or remove it: attestor watch remove {new.name}",
        )
    store.execute(
        "INSERT INTO watch (name, criteria, severity, expectations, grace, unvouched, begins,"
        " added_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            new.name,
            json.dumps(new.criteria, ensure_ascii=False),
            new.severity,
            new.expectations,
            new.grace,
            new.unvouched,
            new.begins,
            at,
        ],
    )
    append_event(store, at, "watch.added", {"name": new.name, "criteria": new.criteria})
    return require_watch(store, new.name)


def remove_watch(store: Store, name: str, at: int) -> None:
    """Delete a watch with its ranges and matches; alerts stay. Inside store.atomic().

    By its name: one that is damaged has to go, too. Raises IncompleteError if there is none.
    """
    which = [_row(store, name)["id"]]
    for table in ("watch_match", "watch_scan"):
        store.execute(f"DELETE FROM {table} WHERE watch_id = ?", which)  # noqa: S608 ours
    store.execute("DELETE FROM watch WHERE id = ?", which)
    append_event(store, at, "watch.removed", {"name": name})


def all_watches(store: Store) -> tuple[Watch, ...]:
    """List all watches by name."""
    return tuple(map(_watch, store.rows("SELECT * FROM watch ORDER BY name")))


def require_watch(store: Store, name: str) -> Watch:
    """Return a watch by its name; raises IncompleteError if there is none."""
    return _watch(_row(store, name))


def _row(store: Store, name: str) -> sqlite3.Row:
    row = store.row("SELECT * FROM watch WHERE name = ?", [name])
    if row is None:
        raise unknown("watch", name, "watch")
    return row


def damaged_step(name: str) -> str:
    """Return what to do about a watch that is damaged in the database."""
    return f"{RESTORE}; or 'attestor watch remove {name}', and add it anew"


def _watch(row: sqlite3.Row) -> Watch:
    with reading_row(f"watch {row['name']}", damaged_step(row["name"])):
        criteria = json_object(row["criteria"])
        for values in criteria.values():
            if not isinstance(values, list) or not all(isinstance(one, str) for one in values):
                raise ValueError(f"expected a list of texts for each condition, got {values!r:.80}")
    return Watch(
        row["name"],
        criteria,
        row["severity"],
        row["expectations"],
        row["grace"],
        row["unvouched"],
        row["begins"],
        row["id"],
        row["added_at"],
    )


# --- what was compared


def scanned_ranges(store: Store, watch: Watch, log: Log) -> Ranges:
    """Return which entries of a log a watch was compared with."""
    rows = store.rows(
        "SELECT start_index, stop_index FROM watch_scan WHERE watch_id = ? AND log_id = ?"
        " ORDER BY start_index",
        [watch.id, log.id],
    )
    return tuple((row["start_index"], row["stop_index"]) for row in rows)


def add_scanned(store: Store, watch: Watch, log: Log, ranges: Iterable[tuple[int, int]]) -> None:
    """Record that a watch was compared with these entries, too. Inside store.atomic()."""
    joined = joined_ranges((*scanned_ranges(store, watch, log), *ranges))
    where = [watch.id, log.id]
    store.execute("DELETE FROM watch_scan WHERE watch_id = ? AND log_id = ?", where)
    store.execute_many("INSERT INTO watch_scan VALUES (?, ?, ?, ?)", [(*where, *o) for o in joined])


def forget_scanned(store: Store, watch: Watch) -> None:
    """Let a watch be compared with everything again. Inside store.atomic()."""
    store.execute("DELETE FROM watch_scan WHERE watch_id = ?", [watch.id])


def joined_ranges(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Sort ranges, and join those that touch."""
    joined: list[tuple[int, int]] = []
    for start, stop in sorted(one for one in ranges if one[0] < one[1]):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(stop, joined[-1][1]))
        else:
            joined.append((start, stop))
    return tuple(joined)


def without_ranges(ranges: Iterable[tuple[int, int]], taken: Iterable[tuple[int, int]]) -> Ranges:
    """Return what of some ranges is in none of others."""
    left: list[tuple[int, int]] = []
    others = joined_ranges(taken)
    for start, stop in joined_ranges(ranges):
        for low, high in others:
            if high <= start or low >= stop:
                continue
            if start < low:
                left.append((start, low))
            start = max(start, high)
        if start < stop:
            left.append((start, stop))
    return tuple(left)


def is_in(ranges: Iterable[tuple[int, int]], entry_index: int) -> bool:
    """Whether an entry is in one of some ranges."""
    return any(start <= entry_index < stop for start, stop in ranges)


def behind(store: Store, watch: Watch, log: Log) -> int:
    """Count the entries of a log that can be looked at and that a watch was not compared with."""
    row = store.row("SELECT mirror_size FROM log WHERE id = ?", [log.id])
    size = row["mirror_size"] if row else None
    if not size:  # of a log without tiles windows can be looked at
        runs = list(EntryWindows(store, log).runs())
        left = without_ranges(runs, scanned_ranges(store, watch, log)) if runs else ()
        return sum(stop - start for start, stop in left)
    count = 0
    for start, stop in without_ranges([(0, size)], scanned_ranges(store, watch, log)):
        for one in store.execute(
            "SELECT tile_index, width FROM entry_bundle WHERE log_id = ?"
            " AND tile_index >= ? AND tile_index <= ?",
            [log.id, start // WIDTH, (stop - 1) // WIDTH],
        ):
            first = one["tile_index"] * WIDTH
            # Narrower than the tree needs it: nobody can look at it before it is fetched again.
            if first + one["width"] >= min(first + WIDTH, size):
                count += max(min(first + one["width"], stop) - max(first, start), 0)
    return count


# --- what was found


def add_matches(store: Store, watch: Watch, log: Log, found: Sequence[Match]) -> tuple[Match, ...]:
    """Keep entries that met a watch; returns those that were not known. Inside store.atomic()."""
    new = []
    for one in found:
        row = [watch.id, log.id, one.entry_index, one.leaf, one.found_at, one.finding]
        entry = json.dumps(one.entry, ensure_ascii=False)
        added = store.execute(
            "INSERT INTO watch_match VALUES (?, ?, ?, ?, ?, ?, ?, NULL) ON CONFLICT DO NOTHING",
            [*row, entry],
        )
        new += [one] * added.rowcount
    return tuple(new)


def matches_of(
    store: Store,
    watch: Watch | None = None,
    *,
    since: int = 0,
    finding: str | None = None,
    untold: bool = False,
) -> tuple[Match, ...]:
    """List what was found, by watch, log and index; `untold`: of which there is no alert."""
    rows = store.rows(
        "SELECT watch.name, log.origin, m.* FROM watch_match AS m"
        " JOIN watch ON watch.id = m.watch_id JOIN log ON log.id = m.log_id"
        " WHERE (?1 IS NULL OR m.watch_id = ?1) AND m.found_at >= ?2"
        " AND (NOT ?3 OR m.alert_number IS NULL) AND (?4 IS NULL OR m.finding = ?4)"
        " ORDER BY watch.name, log.origin, m.entry_index",
        [None if watch is None else watch.id, since, untold, finding],
    )
    return tuple(map(_match, rows))


def _match(row: sqlite3.Row) -> Match:
    place = f"entry {row['entry_index']} of {row['origin']}"
    with reading_row(f"match of watch {row['name']}, {place},"):
        entry = json_object(row["entry"])
    return Match(
        row["name"],
        row["origin"],
        row["log_id"],
        row["entry_index"],
        row["leaf"],
        row["found_at"],
        row["finding"],
        entry,
        row["alert_number"],
    )


def set_finding(store: Store, watch: Watch, one: Match, finding: str) -> None:
    """Record what a match has come to. Inside store.atomic()."""
    store.execute(
        "UPDATE watch_match SET finding = ? WHERE watch_id = ? AND log_id = ? AND entry_index = ?",
        [finding, watch.id, one.log_id, one.entry_index],
    )


def set_told(store: Store, watch: Watch, found: Iterable[Match], alert_number: int) -> None:
    """Record by which alert somebody was told of matches. Inside store.atomic()."""
    store.execute_many(
        "UPDATE watch_match SET alert_number = ?"
        " WHERE watch_id = ? AND log_id = ? AND entry_index = ?",
        [(alert_number, watch.id, one.log_id, one.entry_index) for one in found],
    )


def last_told(store: Store, watch: Watch, finding: str) -> int | None:
    """Return when an alert about matches of a kind was last raised, Unix seconds."""
    row = store.row(
        "SELECT max(detected_at) AS at FROM alert WHERE number IN"
        " (SELECT alert_number FROM watch_match WHERE watch_id = ? AND finding = ?)",
        [watch.id, finding],
    )
    return None if row is None else row["at"]


def has_untold(store: Store, now: int, claim_seconds: int) -> bool:
    """Whether somebody is to be told of a match by now: a grace is over, or a claim's day."""
    row = store.row(
        "SELECT 1 FROM watch_match AS m JOIN watch AS w ON w.id = m.watch_id"
        " WHERE m.alert_number IS NULL AND (m.finding = 'waiting' AND m.found_at + w.grace <= ?1"
        " OR m.finding IN ('matched', 'unexpected')"
        " OR m.finding = 'claimed' AND w.unvouched <> 'ignore' AND NOT EXISTS"
        " (SELECT 1 FROM watch_match AS t JOIN alert ON alert.number = t.alert_number"
        " WHERE t.watch_id = w.id AND t.finding = 'claimed' AND alert.detected_at > ?1 - ?2))"
        " LIMIT 1",
        [now, claim_seconds],
    )
    return row is not None


def overdue(store: Store, now: int) -> dict[str, int]:
    """Count the matches whose grace is over and that nobody was told of, by the watch's name."""
    rows = store.rows(
        "SELECT w.name, count(*) AS n FROM watch_match AS m JOIN watch AS w ON w.id = m.watch_id"
        " WHERE m.alert_number IS NULL AND m.finding = 'waiting' AND m.found_at + w.grace <= ?"
        " GROUP BY w.name ORDER BY w.name",
        [now],
    )
    return {row["name"]: row["n"] for row in rows}


def counted_matches(store: Store) -> dict[tuple[str, str], int]:
    """Count what was found, by the watch's name and the finding."""
    rows = store.rows(
        "SELECT watch.name, finding, count(*) AS n FROM watch_match"
        " JOIN watch ON watch.id = watch_id GROUP BY watch.name, finding"
    )
    return {(row["name"], row["finding"]): row["n"] for row in rows}


def add_undecided(store: Store, log: Log, found: Iterable[Undecided], at: int) -> None:
    """Keep entries that could not be judged; again does nothing. Inside store.atomic()."""
    store.execute_many(
        "INSERT INTO watch_undecided VALUES (?, ?, ?, ?, NULL) ON CONFLICT DO NOTHING",
        [(log.id, one.entry_index, one.why, at) for one in found],
    )


def untold_undecided(store: Store, log: Log) -> tuple[Undecided, ...]:
    """List the entries that could not be judged of which there is no alert, by index."""
    rows = store.rows(
        "SELECT entry_index, why FROM watch_undecided WHERE log_id = ? AND alert_number IS NULL"
        " ORDER BY entry_index",
        [log.id],
    )
    return tuple(Undecided(row["entry_index"], row["why"]) for row in rows)


def set_undecided_told(store: Store, log: Log, alert_number: int) -> None:
    """Record by which alert somebody was told of what could not be judged. Inside atomic()."""
    store.execute(
        "UPDATE watch_undecided SET alert_number = ? WHERE log_id = ? AND alert_number IS NULL",
        [alert_number, log.id],
    )
