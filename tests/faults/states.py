"""What a home holds, and what must be true of it at any time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from appliance.jobs.home.store_check import check_store
from appliance.jobs.mirror.audit import audit
from appliance.store.database import Store, has_hot_journal, open_store
from appliance.store.mirror.logs import all_logs
from appliance.store.mirror.mirror import Mirror
from appliance.value import frozen

_PINNED: Final = {
    "log_key": "log_id, name, spki",
    "backend": "name, log_id, base_url, read_url, enabled",
    "setting": "key, value",
    "exporter": "vkey, role",
    "evidence": "rule",
}
_GROWING: Final = {
    "checkpoint": "tree_size, root_hash",
    "checkpoint_note": "tree_size, digest",
    # How a resumed import found the mirror depends on how far the killed one had come.
    "transfer_log": "direction, origin, base_size, head_size, new_size",
}


@frozen
class State:
    """What a home holds, but for when it came."""

    pinned: Mapping[str, list[tuple[object, ...]]]  # only an operator changes these
    rows: Mapping[str, set[tuple[object, ...]]]  # these are added to, never changed
    mirror_size: int | None
    blobs: Mapping[tuple[str, int, int], tuple[int, bytes]]  # of tiles: width and digest


@contextlib.contextmanager
def opened(home: Path, *, write: bool) -> Iterator[Store]:
    """Open the store of a home."""
    store = open_store(home, write=write)
    try:
        yield store
    finally:
        store.close()


def state_of(home: Path) -> State:
    """Read what a home holds."""
    with opened(home, write=False) as store:
        return State(
            {table: sorted(_rows(store, table, columns)) for table, columns in _PINNED.items()},
            {table: set(_rows(store, table, columns)) for table, columns in _GROWING.items()},
            store.rows("SELECT mirror_size FROM log")[0][0],
            {
                (table, level, index): (width, digest)
                for table, level, index, width, digest in [
                    *_rows(store, "tile", "'tile', level, tile_index, width, digest"),
                    *_rows(store, "entry_bundle", "'entries', 0, tile_index, width, digest"),
                ]
            },
        )


def _rows(store: Store, table: str, columns: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in store.rows(f"SELECT {columns} FROM {table}")]  # noqa: S608 ours


def verify_home(home: Path) -> None:
    """Check the database, every blob, and that the tiles lead to the signed root."""
    with opened(home, write=True) as store:
        report = check_store(store, read_data=True)
        assert (report.database, report.damaged) == ((), ()), report
        for log in all_logs(store):
            mirror = Mirror(store, log)
            if mirror.history.mirror_checkpoint() is not None:
                audit(mirror, full=True)


def verify_between(now: State, before: State, after: State) -> None:
    """Check that a home is on the way from one state to another: nothing lost, nothing else."""
    assert now.pinned == before.pinned == after.pinned
    for table, rows in now.rows.items():
        assert before.rows[table] <= rows <= after.rows[table], table
    assert now.mirror_size in (before.mirror_size, after.mirror_size)
    assert before.blobs.keys() <= now.blobs.keys() <= after.blobs.keys()
    for place, stored in now.blobs.items():
        assert stored in (before.blobs.get(place), after.blobs[place]), place
    for size in {size for size, _ in now.rows["checkpoint"]}:
        assert any(size == one for one, _ in now.rows["checkpoint_note"]), size


def leftovers(*directories: Path) -> list[Path]:
    """List what a run that ended should not have left."""
    found = [path for one in directories for path in one.rglob("*") if path.name.endswith(".tmp")]
    for home in directories:
        found += (home / "staging").glob("*")
        if has_hot_journal(home):
            found.append(home / "attestor.db-journal")
    return found
