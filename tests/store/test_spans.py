"""Spans say what their rows say, whatever happens to these, and nobody looks at each row."""

from __future__ import annotations

import random
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from appliance.store.database import Store, create_store
from appliance.store.home.backup import recreate_schema
from appliance.store.mirror.mirror import Mirror
from appliance.store.mirror.spans import TELLING_SPANS, span_problems, stored_tiles, telling_blobs
from appliance.store.mirror.tile_cache import (
    CacheTotals,
    cache_totals,
    covered_entry_bundles,
    covered_tiles,
    forget,
)
from appliance.tlog.merkle import HASH_BYTES
from appliance.tlog.tile import EntryBundle, StoredRun, Tile, new_entry_bundles, tiles_of
from tests.simulator import SimulatedLog
from tests.store.test_mirror import mirror_of

SIZE = 300 * 256 + 17  # more than one span of level 0 tiles, and a right edge


@pytest.fixture
def mirror(store: Store) -> Mirror:
    return mirror_of(store, SimulatedLog())


def put(mirror: Mirror, *places: Tile | EntryBundle) -> None:
    """Store rows; what they name does not matter here."""
    log, blob = mirror.log.id, sha256(b"a blob").digest()
    with mirror.store.atomic():
        mirror.put_rows(
            [
                (log, one.level, one.index, one.width, blob)
                for one in places
                if isinstance(one, Tile)
            ],
            [
                (log, one.index, one.width, blob, 7)
                for one in places
                if isinstance(one, EntryBundle)
            ],
        )


def expect(mirror: Mirror, held: dict[tuple[int, int], int]) -> None:
    """Hold every answer against widths by level and index; entry bundles have level -1."""

    def has(tile: Tile | EntryBundle) -> bool:
        level = tile.level if isinstance(tile, Tile) else -1
        return held.get((level, tile.index), 0) >= tile.width

    tiles, bundles = list(tiles_of(SIZE)), list(new_entry_bundles(0, SIZE))
    lacking = [one for one in tiles if not has(one)]
    lacking_bundles = [one for one in bundles if not has(one)]
    assert list(mirror.missing_tiles(SIZE)) == lacking
    assert mirror.count_missing(SIZE) == len(lacking)
    assert list(mirror.missing_among(tiles, SIZE)) == lacking
    assert list(mirror.missing_among(tiles[-40:], SIZE)) == [
        one for one in tiles[-40:] if one in lacking
    ]
    assert list(mirror.missing_entry_bundles(SIZE)) == lacking_bundles
    assert list(mirror.missing_bundles_among(bundles, SIZE)) == lacking_bundles
    assert list(mirror.provable_entry_bundles(SIZE, 3)) == [
        one for one in lacking_bundles if one.index >= 3 and has(one.tile)
    ]
    assert covered_tiles(mirror.store, mirror.log, SIZE) == sum(map(has, tiles[-301:]))
    assert covered_entry_bundles(mirror.store, mirror.log, SIZE) == sum(map(has, bundles))
    assert mirror.covers(SIZE) == (not lacking)
    widths = [width for (level, _), width in held.items() if level >= 0]
    n_bundles = len(held) - len(widths)
    assert cache_totals(mirror.store, mirror.log) == CacheTotals(
        len(widths), n_bundles, sum(widths) * HASH_BYTES + 7 * n_bundles
    )
    assert span_problems(mirror.store) == []


def steps(chance: random.Random) -> Iterator[tuple[list[Tile | EntryBundle], bool]]:
    """Yield places and whether they come or go: all of it at first, as a sync brings it."""
    everything: list[Tile | EntryBundle] = [*tiles_of(SIZE), *new_entry_bundles(0, SIZE)]
    yield everything, True
    for _ in range(8):
        chosen = chance.sample(everything, chance.choice((1, 5, 120)))
        yield chosen, False
        again = [one for one in chosen if chance.random() < 0.7]
        yield [narrower(one, chance) for one in again], True
        yield [one for one in again if chance.random() < 0.7], True
    yield everything, True


def narrower(place: Tile | EntryBundle, chance: random.Random) -> Tile | EntryBundle:
    width = chance.choice((place.width, max(place.width // 2, 1)))
    if isinstance(place, Tile):
        return Tile(place.level, place.index, width)
    return EntryBundle(place.index, width)


@pytest.mark.parametrize("seed", range(3))
def test_whatever_comes_and_goes_every_answer_is_that_of_the_rows(
    mirror: Mirror, seed: int
) -> None:
    held: dict[tuple[int, int], int] = {}
    expect(mirror, held)
    for places, comes in steps(random.Random(seed)):  # noqa: S311 repeatable
        for one in places:
            key = (one.level if isinstance(one, Tile) else -1, one.index)
            if comes:
                held[key] = max(held.get(key, 0), one.width)
            else:
                held.pop(key, None)
        put(mirror, *places) if comes else forget(mirror, places)
        expect(mirror, held)
    assert mirror.covers(SIZE)


def test_a_full_span_is_one_row_and_not_256(mirror: Mirror) -> None:
    put(mirror, *tiles_of(SIZE), *new_entry_bundles(0, SIZE))
    looked: list[str] = []
    mirror.store.connection.set_trace_callback(looked.append)
    assert mirror.count_missing(SIZE) == 0
    assert not list(mirror.missing_entry_bundles(SIZE))
    assert covered_tiles(mirror.store, mirror.log, SIZE) == 301
    mirror.store.connection.set_trace_callback(None)
    # Of each whole span one, of the others all: 1 and 45 at level 0, 2, 1, and the entry bundles.
    assert len(list(telling_blobs(mirror.store, mirror.log))) == 1 + 45 + 2 + 1 + 1 + 45
    in_tiles = [one for one in looked if "FROM tile " in one or "FROM entry_bundle " in one]
    assert in_tiles and not [
        one for one in in_tiles if "tile_index < 256" in one and "level = 0" in one
    ]


def test_of_many_spans_a_few_tell_for_all(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    put(mirror, *tiles_of(SIZE), *new_entry_bundles(0, SIZE))
    digests = list(telling_blobs(mirror.store, mirror.log))
    with mirror.store.atomic():  # as if there were a hundred million entries
        many = [(mirror.log.id, 0, span) for span in range(2, 2000)]
        sql = "INSERT INTO tile_span (log_id, level, span, n_full, n_tiles, n_hashes)"
        mirror.store.execute_many(f"{sql} VALUES (?, ?, ?, 256, 256, 65536)", many)
    looked: list[str] = []
    mirror.store.connection.set_trace_callback(looked.append)
    told = list(telling_blobs(mirror.store, mirror.log))
    mirror.store.connection.set_trace_callback(None)
    assert set(told) <= set(digests)
    spans = [one for one in looked if "FROM tile " in one]
    assert TELLING_SPANS <= len(spans) <= TELLING_SPANS + 4, len(spans)
    assert any(f"tile_index >= {1999 * 256} " in one for one in spans), "not the newest"


def test_whole_spans_with_a_gap_between_are_no_stretch(mirror: Mirror) -> None:
    put(mirror, *tiles_of(SIZE))
    whole, some = (range(2, 9), range(12, 15)), 20  # 0 is whole as well, 1 has 45
    with mirror.store.atomic():
        rows = [(mirror.log.id, 0, span, 256, 256, 65536) for one in whole for span in one]
        sql = "INSERT INTO tile_span VALUES (?, ?, ?, ?, ?, ?)"
        mirror.store.execute_many(sql, [*rows, (mirror.log.id, 0, some, 0, 1, 3)])
    stored = {at for run in stored_tiles(mirror.store, mirror.log, 0) for at in _range(run)}
    spans = {0, *whole[0], *whole[1]}
    assert stored == {*range(256, 301), *(at for one in spans for at in _span(one))}


def _range(run: StoredRun) -> range:
    return range(run.start, run.stop)


def _span(span: int) -> range:
    return range(span * 256, span * 256 + 256)


def test_a_home_of_before_counts_what_it_has(mirror: Mirror, store: Store) -> None:
    put(mirror, *tiles_of(SIZE), *list(new_entry_bundles(0, SIZE))[5:])
    before = counts(store)
    home = store.home
    with store.atomic():
        for trigger in ("tile_came", "tile_changed", "tile_went"):
            store.execute(f"DROP TRIGGER {trigger}")
        store.execute("DROP TABLE tile_span")
        for trigger in ("came", "changed", "went"):  # of the same names before: made anew
            store.execute(f"DROP TRIGGER entry_bundle_{trigger}")
            store.execute(
                f"CREATE TRIGGER entry_bundle_{trigger} AFTER DELETE ON entry_bundle"
                " BEGIN SELECT 1; END"
            )
        for column in ("n_bundles", "n_bytes"):
            store.execute(f"ALTER TABLE entry_span DROP COLUMN {column}")
        store.execute("DELETE FROM _sqlite_migrations WHERE name = '028_tile_span'")
    store.close()
    migrated = create_store(home)
    assert counts(migrated) == before
    assert span_problems(migrated) == []
    migrated.close()


def counts(store: Store) -> list[tuple[object, ...]]:
    return [
        *map(tuple, store.rows("SELECT * FROM tile_span")),
        *map(
            tuple, store.rows("SELECT span, n_full, n_entries, n_bundles, n_bytes FROM entry_span")
        ),
    ]


def test_a_wrong_count_is_found_and_recreating_the_schema_heals_it(
    mirror: Mirror, store: Store, memory: Path
) -> None:
    put(mirror, *tiles_of(SIZE), *new_entry_bundles(0, SIZE))
    home = store.home
    store.execute("UPDATE tile_span SET n_hashes = n_hashes + 1 WHERE level = 0 AND span = 1")
    store.execute("DELETE FROM entry_span WHERE span = 0")
    assert span_problems(store) == [
        "tile_span: log 1, level 0, span 1 is miscounted",
        "entry_span: log 1, level 0, span 0 is miscounted",
    ]
    recreate_schema(store, memory / "before.db")
    again = create_store(home)
    assert span_problems(again) == []
    again.close()
