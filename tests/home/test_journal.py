"""What is done to the journal behind our back is found, and its line named."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.errors import DigestError, StoreError
from appliance.jobs.home.doctor import store_checks
from appliance.jobs.home.journal import check_exported, check_journal, export_journal
from appliance.jobs.home.store_check import check_store
from appliance.store.database import Store, create_store
from appliance.store.home.journal import append_event, journal_head
from appliance.store.home.settings import SITE_NAME, put_site_fact
from appliance.tlog.note import SigningKey, sign_note
from tests.private_log.private_homes import home_in_memory

KEY = SigningKey("site.example", bytes(32))


@pytest.fixture
def store() -> Iterator[Store]:
    with home_in_memory() as home:
        opened = create_store(home)
        with opened.atomic():
            put_site_fact(opened, SITE_NAME, "site.example")
            for number in range(1, 6):
                append_event(opened, 1000 + number, "test.done", {"n": number})
        yield opened
        opened.close()


def forge(store: Store, *statements: str) -> None:
    """Do what somebody with sqlite3 and a reason would do: remove the guard first."""
    for name in ("journal_is_not_changed", "journal_is_not_deleted"):
        store.execute(f"DROP TRIGGER {name}")
    for statement in statements:
        store.execute(statement)


def test_a_whole_journal_passes(store: Store) -> None:
    report = check_journal(store)
    assert (report.head.id, len(report.digests)) == (5, 5)
    assert report.head == journal_head(store)
    assert check_store(store, read_data=False).database == ()


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE journal SET details = '{\"n\":9}' WHERE id = 3", "line 3: its digest"),
        ("UPDATE journal SET event = 'test.undone' WHERE id = 1", "line 1: its digest"),
        ("UPDATE journal SET at = at + 1 WHERE id = 5", "line 5: its digest"),
        ("UPDATE journal SET digest = zeroblob(32) WHERE id = 2", "line 2: its digest"),
        ("DELETE FROM journal WHERE id = 1", "line 1 is missing"),
        ("DELETE FROM journal WHERE id = 4", "line 4 is missing"),
        ("DELETE FROM journal WHERE id = 5", "line 5 is missing: 5 lines were written"),
        ("DELETE FROM journal", "line 1 is missing"),
        ("INSERT INTO journal VALUES (6, 1, 'x', '{}', zeroblob(32))", "line 6: its digest"),
        ("UPDATE journal_head SET id = 4", "line 5 was put in"),
    ],
)
def test_what_was_changed_is_named(store: Store, statement: str, said: str) -> None:
    forge(store, statement)
    with pytest.raises(DigestError, match=said) as caught:
        check_journal(store)
    assert caught.value.reason == "journal-broken"
    assert any(said in one for one in check_store(store, read_data=False).database)
    (history,) = [one for one in store_checks(store.home) if one.name == "history"]
    assert said in history.message


@pytest.mark.parametrize("statement", ["UPDATE journal SET at = 0", "DELETE FROM journal"])
def test_the_database_itself_refuses_changes(store: Store, statement: str) -> None:
    with pytest.raises((StoreError, sqlite3.IntegrityError), match="only ever appended to"):
        store.execute(statement)
    assert check_journal(store).head.id == 5


def test_an_export_is_checked_without_the_store(store: Store, tmp_path: Path) -> None:
    output = tmp_path / "journal.jsonl"
    head = export_journal(store, output, lambda text: sign_note(text, [KEY]))
    store.close()
    checked = check_exported(output, (KEY.verifier,))
    assert (checked.head, checked.head.n_lines) == (head, 5)
    assert output.read_bytes().count(b"\n") == 6


def test_a_broken_journal_is_not_signed(store: Store, tmp_path: Path) -> None:
    forge(store, "DELETE FROM journal WHERE id = 2")
    with pytest.raises(DigestError):
        export_journal(store, tmp_path / "journal.jsonl", lambda text: sign_note(text, [KEY]))
    assert not (tmp_path / "journal.jsonl").exists()
