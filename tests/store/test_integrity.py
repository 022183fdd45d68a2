"""A sound database has no problems; each kind of damage is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.errors import IncompleteError, StoreError
from appliance.store.database import DATABASE_NAME, Store, open_store
from appliance.store.home.backup import (
    copy_database,
    new_copy,
    recreate_schema,
    refuse_without_room,
)
from appliance.store.home.integrity import (
    foreign_key_problems,
    integrity_problems,
    schema_problems,
    sqlite_version,
)
from appliance.store.home.settings import read_settings, replace_settings
from tests.jobs.faults import Faults, PowerCutError, injected

SETTINGS = {f"key.{number}": "value" * 20 for number in range(300)}


@pytest.fixture
def filled(store: Store) -> Store:
    with store.atomic():
        replace_settings(store, SETTINGS)
    return store


def damage_a_page(home: Path) -> None:
    """Overwrite the middle of a page that holds settings."""
    path = home / DATABASE_NAME
    raw = bytearray(path.read_bytes())
    position = raw.rindex(b"valuevalue")
    page = position // 4096 * 4096
    raw[page : page + 64] = b"\xff" * 64
    path.write_bytes(raw)


def test_a_sound_store_has_no_problems(filled: Store) -> None:
    assert integrity_problems(filled) == []
    assert foreign_key_problems(filled) == []
    assert schema_problems(filled) == []
    assert sqlite_version().count(".") == 2


def test_a_damaged_page_is_a_problem(filled: Store, home: Path) -> None:
    filled.close()
    damage_a_page(home)
    reader = open_store(home, write=False)
    assert integrity_problems(reader) != []
    reader.close()


def test_a_row_that_names_nothing_is_a_problem(store: Store) -> None:
    store.execute("PRAGMA foreign_keys = OFF")
    store.execute("INSERT INTO last_sync VALUES (99, 5, 5)")
    assert foreign_key_problems(store) == ["a row of last_sync names no log"]


def test_a_changed_schema_is_named(store: Store) -> None:
    store.execute("DROP VIEW rekor_checkpoints")
    store.execute("CREATE TABLE mine (x)")
    store.execute("ALTER TABLE setting ADD COLUMN extra TEXT")
    assert sorted(schema_problems(store)) == [
        "table mine is not ours",
        "table setting was changed",
        "view rekor_checkpoints is missing",
    ]


def test_recreating_gives_back_the_schema_and_keeps_every_row(
    filled: Store, home: Path, memory: Path
) -> None:
    filled.execute("DROP VIEW rekor_checkpoints")
    filled.execute("ALTER TABLE setting ADD COLUMN extra TEXT")
    carried = recreate_schema(filled, memory / "before.db")
    assert carried["setting"] == len(SETTINGS)
    again = open_store(home, write=True)
    assert schema_problems(again) == []
    assert read_settings(again) == SETTINGS
    again.close()
    assert {path.name for path in memory.iterdir()} == {"home", "before.db"}
    assert {path.name for path in home.iterdir()} == {
        *("attestor.db", "attestor.db-journal", "blobs", "keys"),
    }


def test_recreating_refuses_what_it_cannot_carry_and_changes_nothing(
    filled: Store, home: Path, memory: Path
) -> None:
    filled.execute("PRAGMA foreign_keys = OFF")
    filled.execute("INSERT INTO last_sync VALUES (99, 5, 5)")
    before = (home / DATABASE_NAME).read_bytes()
    with pytest.raises(StoreError) as caught:
        recreate_schema(filled, memory / "before.db")
    assert caught.value.reason == "corrupt"
    assert (home / DATABASE_NAME).read_bytes() == before


@pytest.mark.parametrize("after", [False, True])
def test_a_power_cut_while_recreating_loses_nothing(
    filled: Store, home: Path, memory: Path, after: bool
) -> None:
    filled.close()
    attempt = 0

    def recreate() -> None:
        recreate_schema(open_store(home, write=True), memory / f"backup-{attempt}.db")

    with injected(Faults()) as counted:
        recreate()
    for fail_at in range(1, len(counted.calls) + 1):
        attempt = fail_at
        with injected(Faults(fail_at, after=after)), pytest.raises(PowerCutError):
            recreate()
        reader = open_store(home, write=False)
        assert read_settings(reader) == SETTINGS
        assert schema_problems(reader) == []
        reader.close()


def test_a_copy_of_the_database_opens_and_a_damaged_one_is_refused(
    filled: Store, home: Path, memory: Path
) -> None:
    copy = memory / "copy"
    copy.mkdir(mode=0o700)
    copy_database(filled, copy)
    assert (copy / DATABASE_NAME).stat().st_mode & 0o777 == 0o600
    opened = open_store(copy, write=False)
    assert read_settings(opened) == SETTINGS
    opened.close()
    filled.close()
    damage_a_page(home)
    damaged = open_store(home, write=False)
    other = memory / "other"
    other.mkdir(mode=0o700)
    with pytest.raises(StoreError) as caught:
        copy_database(damaged, other)
    assert caught.value.reason == "corrupt"
    damaged.close()


def test_a_copy_appears_whole_or_not_at_all(memory: Path) -> None:
    target = memory / "copy"
    with pytest.raises(KeyError), new_copy(target) as directory:
        (directory / "half").write_text("x")
        raise KeyError
    assert list(memory.iterdir()) == []
    with new_copy(target) as directory:
        (directory / "whole").write_text("x")
        assert not target.exists()
    assert [path.name for path in target.iterdir()] == ["whole"]
    with pytest.raises(StoreError) as caught, new_copy(target):
        pass
    assert caught.value.reason == "file-exists"
    with new_copy(memory / "one", only="file") as directory:
        (directory / "file").write_text("1")
    assert (memory / "one").read_text() == "1"
    assert {path.name for path in memory.iterdir()} == {"copy", "one"}
    with pytest.raises(IncompleteError), new_copy(memory / "none" / "copy"):
        pass


def test_a_copy_that_does_not_fit_is_not_begun(memory: Path) -> None:
    refuse_without_room(memory, 0)
    with pytest.raises(StoreError) as caught:
        refuse_without_room(memory, 2**60)
    assert caught.value.reason == "disk-full"
    with pytest.raises(IncompleteError):
        refuse_without_room(memory / "none", 0)
