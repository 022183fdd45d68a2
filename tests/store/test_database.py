"""Opening, creating, migrating, refusing; transactions; what a kill leaves behind."""

from __future__ import annotations

import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.errors import ApplianceError, StoreError
from appliance.store.database import (
    APPLICATION_ID,
    DATABASE_NAME,
    Store,
    create_home,
    create_store,
    has_hot_journal,
    open_store,
)
from appliance.store.home.settings import read_settings, replace_settings
from tests.jobs.faults import Faults, PowerCutError, injected
from tests.store.unprivileged import as_nobody, reachable_directory

# Writes until SQLite spills changed pages into the file, then dies inside the transaction.
KILLED_WRITER = """
import os, signal, sys
from pathlib import Path
from appliance.store.database import open_store
store = open_store(Path(sys.argv[1]), write=True)
store.execute("PRAGMA cache_size = 2")
store.execute("BEGIN IMMEDIATE")
rows = [(f"key.{number}", '"' + "x" * 500 + '"') for number in range(2000)]
store.execute_many("INSERT INTO setting VALUES (?, ?)", rows)
store.execute("UPDATE setting SET value = '\\"torn\\"' WHERE key = 'a'")
os.kill(os.getpid(), signal.SIGKILL)
"""


def leave_hot_journal(home: Path) -> None:
    """Let a process be killed inside a transaction of which the file has seen a part."""
    done = subprocess.run([sys.executable, "-c", KILLED_WRITER, str(home)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert has_hot_journal(home)


def put(store: Store, **settings: object) -> None:
    with store.atomic():
        replace_settings(store, settings)


def reason_of_opening(home: Path, *, write: bool = False) -> str:
    with pytest.raises(StoreError) as caught:
        open_store(home, write=write)
    return caught.value.reason


def test_a_new_home_is_private(store: Store, home: Path) -> None:
    for name in (".", "keys", "blobs"):
        assert (home / name).stat().st_mode & 0o777 == 0o700, name
    put(store, a=1)
    for file in (DATABASE_NAME, f"{DATABASE_NAME}-journal"):
        assert (home / file).stat().st_mode & 0o777 == 0o600, file


def test_the_pragmas_are_in_force(store: Store, home: Path) -> None:
    def pragmas(of: Store) -> list[object]:
        names = ("journal_mode", "synchronous", "foreign_keys", "trusted_schema", "mmap_size")
        return [of.rows(f"PRAGMA {name}")[0][0] for name in names]

    assert pragmas(store) == ["truncate", 2, 1, 0, 0]
    assert store.rows("PRAGMA application_id")[0][0] == APPLICATION_ID
    reader = open_store(home, write=False)
    assert pragmas(reader)[2:] == [1, 0, 0]
    reader.close()


def test_a_reader_cannot_write(store: Store, home: Path) -> None:
    put(store, a=1)
    reader = open_store(home, write=False)
    assert read_settings(reader) == {"a": 1}
    with pytest.raises(StoreError) as caught:
        reader.execute("DELETE FROM setting")
    assert caught.value.reason == "read-only"
    reader.close()


def test_creating_again_loses_nothing(store: Store, home: Path) -> None:
    put(store, a=1)
    store.close()
    again = create_store(home)
    assert read_settings(again) == {"a": 1}
    again.close()


def test_no_store_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as caught:
        open_store(tmp_path / "none", write=False)
    assert caught.value.reason == "no-store"
    assert "init --site NAME" in caught.value.next_step


def test_dying_while_creating_leaves_what_the_next_call_completes(memory: Path) -> None:
    with injected(Faults()) as counted:
        create_store(memory / "counted").close()
    commits = len(counted.calls)
    assert commits > 0
    for after in (False, True):
        for fail_at in range(1, commits + 1):
            home = memory / f"{fail_at}-{after}"
            with injected(Faults(fail_at, after=after)), pytest.raises(PowerCutError):
                create_store(home)
            create_store(home).close()
            open_store(home, write=False).close()


def test_dying_between_two_statements_of_a_migration_leaves_none_of_it(memory: Path) -> None:
    from sqlite_utils import Database

    real = Database.execute
    counted: list[str] = []

    def counting(self: Database, sql: str, *args: object) -> sqlite3.Cursor:
        counted.append(sql)
        if len(counted) == fail_at:
            raise PowerCutError
        return real(self, sql, *args)  # type: ignore[arg-type]

    fail_at = 0
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Database, "execute", counting)
        create_store(memory / "counted").close()
        statements = [number for number, sql in enumerate(counted, 1) if "CREATE" in sql]
        for fail_at in statements[::3]:
            counted.clear()
            home = memory / str(fail_at)
            with pytest.raises(PowerCutError):
                create_store(home)
            counted.clear()
            fail_at = 0
            create_store(home).close()


def test_an_older_schema_is_migrated_by_creating_and_by_nothing_else(
    store: Store, home: Path
) -> None:
    put(store, a=1)
    with store.atomic():
        store.execute("DROP TABLE last_sync")
        store.execute("DROP TABLE log_policy")
        store.execute("DELETE FROM _sqlite_migrations WHERE name = '005_log_facts'")
    store.close()
    assert reason_of_opening(home) == "schema-older"
    assert reason_of_opening(home, write=True) == "schema-older"
    migrated = create_store(home)
    assert migrated.rows("SELECT * FROM last_sync") == []
    assert read_settings(migrated) == {"a": 1}
    migrated.close()


def test_a_newer_schema_is_left_alone(store: Store, home: Path) -> None:
    columns = [row["name"] for row in store.rows("PRAGMA table_info(_sqlite_migrations)")]
    values = {"migration_set": "attestor", "name": "999_future", "applied_at": "x"}
    with store.atomic():
        store.execute(
            f"INSERT INTO _sqlite_migrations ({', '.join(values)}) VALUES (?, ?, ?)",  # noqa: S608
            list(values.values()),
        )
    assert set(values) <= set(columns)
    store.close()
    before = (home / DATABASE_NAME).read_bytes()
    assert reason_of_opening(home) == "schema-newer"
    with pytest.raises(StoreError, match="999_future"):
        create_store(home)
    assert (home / DATABASE_NAME).read_bytes() == before


def test_another_program_s_database_is_left_alone(home: Path) -> None:
    home.mkdir(mode=0o700)
    other = sqlite3.connect(home / DATABASE_NAME)
    other.execute("CREATE TABLE photo (id)")
    other.close()
    before = (home / DATABASE_NAME).read_bytes()
    with pytest.raises(StoreError) as caught:
        create_store(home)
    assert caught.value.reason == "not-ours"
    assert reason_of_opening(home, write=True) == "not-ours"
    assert (home / DATABASE_NAME).read_bytes() == before


@pytest.mark.parametrize("content", [b"not a database at all, but long enough" * 100, b"short"])
def test_a_file_that_is_no_database_is_corrupt(store: Store, home: Path, content: bytes) -> None:
    store.close()
    (home / DATABASE_NAME).write_bytes(content)
    assert reason_of_opening(home) == "corrupt"
    with pytest.raises(StoreError):
        create_store(home)


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777, 0o1777])
def test_a_home_that_others_can_write_to_is_not_believed(
    store: Store, home: Path, mode: int
) -> None:
    store.close()
    home.chmod(mode)
    assert reason_of_opening(home) == "permissions"
    with pytest.raises(StoreError, match="can be written to by others"):
        create_store(home)
    home.chmod(0o755)
    open_store(home, write=False).close()


def test_a_home_of_which_a_parent_is_a_file_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for attempt in (create_home, create_store):
        with pytest.raises(StoreError):
            attempt(tmp_path / "file" / "home")


def test_the_database_is_not_created_through_a_link(home: Path, tmp_path: Path) -> None:
    home.mkdir(mode=0o700)
    (home / DATABASE_NAME).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError):
        create_store(home)
    assert not (tmp_path / "elsewhere").exists()


def test_an_exception_undoes_the_transaction(store: Store) -> None:
    put(store, a=1)
    with pytest.raises(KeyError), store.atomic():
        replace_settings(store, {"a": 2})
        raise KeyError
    assert read_settings(store) == {"a": 1}
    put(store, a=3)  # and the next one works


def test_a_dry_run_undoes_it_too(store: Store) -> None:
    with store.atomic(dry_run=True):
        replace_settings(store, {"a": 2})
        assert read_settings(store) == {"a": 2}
    assert read_settings(store) == {}


def test_a_constraint_is_an_error_of_ours(store: Store) -> None:
    with pytest.raises(StoreError, match="FOREIGN KEY"), store.atomic():
        store.execute("INSERT INTO log_key (log_id, name, spki) VALUES (99, 'x', x'00')")
    with pytest.raises(StoreError, match="CHECK"), store.atomic():
        store.execute("INSERT INTO log (origin, api_version) VALUES ('x', 3)")


def test_a_reader_meets_the_state_before_or_after_a_commit(store: Store, home: Path) -> None:
    put(store, a=1)
    reader = open_store(home, write=False)
    with store.atomic():
        replace_settings(store, {"a": 2})
        assert read_settings(reader) == {"a": 1}
    assert read_settings(reader) == {"a": 2}
    reader.close()


def test_a_writer_in_our_way_is_reported_as_busy(
    store: Store, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("appliance.store.database.BUSY_TIMEOUT_SECONDS", 0.05)
    other = open_store(home, write=True)
    with store.atomic():
        with pytest.raises(StoreError) as caught, other.atomic():
            pass
        assert caught.value.reason == "busy"
    other.close()


def test_what_a_killed_writer_left_is_rolled_back_by_the_next_writer(
    store: Store, home: Path
) -> None:
    put(store, a=1)
    store.close()
    leave_hot_journal(home)
    reopened = open_store(home, write=True)
    assert read_settings(reopened) == {"a": 1}
    assert not has_hot_journal(home)
    reopened.close()


def test_what_a_killed_writer_left_is_rolled_back_by_a_reader_that_may_write(
    store: Store, home: Path
) -> None:
    put(store, a=1)
    store.close()
    leave_hot_journal(home)
    reader = open_store(home, write=False)
    assert read_settings(reader) == {"a": 1}
    with pytest.raises(StoreError):
        reader.execute("DELETE FROM setting")
    reader.close()


def test_a_reader_that_may_not_roll_back_says_so_instead_of_reading_half_a_transaction() -> None:
    with reachable_directory() as directory:
        home = directory / "home"
        store = create_store(home)
        put(store, a=1)
        store.close()
        leave_hot_journal(home)
        open_to_readers(home)
        with pytest.raises(StoreError) as caught:
            as_nobody(lambda: read_settings(open_store(home, write=False)))
        assert caught.value.reason in ("read-only", "database")


def open_to_readers(home: Path) -> None:
    """Let everybody read a home, as an operator may for those who only verify."""
    home.chmod(0o755)
    for path in home.rglob("*"):
        if "keys" not in path.parts:
            path.chmod(0o755 if path.is_dir() else 0o644)


def test_somebody_without_rights_can_read_a_home_opened_to_readers() -> None:
    with reachable_directory() as directory:
        home = directory / "home"
        store = create_store(home)
        put(store, a=1)
        [digest] = store.blobs.put([b"tile"])
        store.close()
        open_to_readers(home)

        def read() -> tuple[object, bytes]:
            reader = open_store(home, write=False)
            return read_settings(reader), reader.blobs.get(digest)

        assert as_nobody(read) == ({"a": 1}, b"tile")
        with pytest.raises(StoreError) as caught:
            as_nobody(lambda: put(open_store(home, write=True), a=2))
        assert caught.value.reason == "wrong-owner"


def test_a_home_that_is_closed_to_us_is_an_error_of_ours() -> None:
    with reachable_directory() as directory:
        create_store(directory / "home").close()
        with pytest.raises(StoreError) as caught:
            as_nobody(lambda: open_store(directory / "home", write=False))
        assert caught.value.reason == "permissions"


def test_damage_anywhere_in_the_file_is_found_or_changes_nothing(store: Store, home: Path) -> None:
    settings = {f"key.{number}": "value" * 20 for number in range(200)}
    with store.atomic():
        replace_settings(store, settings)
    store.close()
    path = home / DATABASE_NAME
    whole = path.read_bytes()
    chosen = random.Random(20261121)  # noqa: S311 the same every time
    found = 0
    for _ in range(150):
        position = chosen.randrange(len(whole))
        damaged = bytearray(whole)
        damaged[position] ^= 1 << chosen.randrange(8)
        path.write_bytes(damaged)
        try:
            reader = open_store(home, write=False)
        except ApplianceError as error:
            assert error.reason in ("corrupt", "database", "schema-older", "schema-newer")
            found += 1
            continue
        try:
            read_settings(reader)
        except StoreError:
            found += 1
        finally:
            reader.close()
    assert found > 0


def test_a_copied_home_is_a_home(store: Store, home: Path, tmp_path: Path) -> None:
    put(store, a=1)
    [digest] = store.blobs.put([b"tile"])
    store.close()
    shutil.copytree(home, tmp_path / "copy")
    copy = open_store(tmp_path / "copy", write=True)
    assert (read_settings(copy), copy.blobs.get(digest)) == ({"a": 1}, b"tile")
    copy.close()


def test_a_home_with_an_odd_name_opens(tmp_path: Path) -> None:
    home = tmp_path / "a home?x=1#y%20 'q"
    create_store(home).close()
    open_store(home, write=False).close()
    assert {path.name for path in home.iterdir()} == {
        *("attestor.db", "attestor.db-journal", "blobs", "keys"),
    }
