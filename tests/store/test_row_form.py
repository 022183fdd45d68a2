"""A row of ours whose JSON is not as it was written is damage that is named, not a traceback."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from appliance.errors import StoreError
from appliance.jobs.find.criteria import conditions_of
from appliance.jobs.home.journal import check_chains
from appliance.store.database import Store
from appliance.store.divergence.alerts import alerts
from appliance.store.divergence.evidence import require_evidence
from appliance.store.find.watches import all_watches, matches_of
from appliance.store.home.counters import count, counters
from appliance.store.home.journal import append_event, journal_lines
from appliance.store.mirror.logs import add_log
from appliance.store.transfer.custody import CUSTODY_ADDED
from appliance.tlog.note import SigningKey
from tests.store.test_alerts import found


@pytest.fixture
def filled(store: Store) -> Iterator[Store]:
    """A home with a row of each kind."""
    found(store, 1000)
    with store.atomic():
        log = add_log(store, "log.example", 2, SigningKey("log.example", bytes(32)).verifier.spki)
        count(store, "attestor_x_total", {"a": "b"})
        append_event(store, 1000, CUSTODY_ADDED, {"id": 1})
    store.execute(
        "INSERT INTO watch (id, name, criteria, severity, expectations, grace, unvouched, begins,"
        " added_at) VALUES (1, 'w', '{}', 'info', 'optional', 0, 'same', 'start', 0)"
    )
    store.execute(
        "INSERT INTO watch_match VALUES (1, ?, 5, ?, 0, 'matched', '{}', NULL)",
        [log.id, bytes(32)],
    )
    store.execute(
        "INSERT INTO evidence (id, log_id, rule, detected_at, ours, theirs, details)"
        " VALUES (3, ?, 'fork', 0, x'00', x'00', '{}')",
        [log.id],
    )
    for row in store.rows("SELECT name FROM sqlite_schema WHERE type = 'trigger'"):
        store.execute(f"DROP TRIGGER {row['name']}")  # damage asks none of them
    yield store


READERS: dict[str, tuple[str, str, Callable[[Store], Any]]] = {
    "alert 1": ("alert", "payload", alerts),
    "evidence 3": ("evidence", "details", lambda store: require_evidence(store, 3)),
    "watch w": ("watch", "criteria", lambda store: [*map(conditions_of, all_watches(store))]),
    "match of watch w, entry 5 of log.example,": ("watch_match", "entry", matches_of),
    "counter attestor_x_total": ("counter", "labels", lambda store: list(counters(store))),
    "line 1 of the journal": (
        *("journal", "details"),
        lambda store: [one.facts for one in journal_lines(store)],
    ),
}


@pytest.mark.parametrize("named", READERS)
@pytest.mark.parametrize("text", ["{", "7", "[]", "\x00"])
def test_a_damaged_row_is_named(filled: Store, named: str, text: str) -> None:
    table, column, read = READERS[named]
    read(filled)
    filled.execute(f"UPDATE {table} SET {column} = ?", [text])  # noqa: S608 ours
    with pytest.raises(StoreError) as caught:
        read(filled)
    assert caught.value.message.startswith(f"{named} is damaged in the database: ")
    assert (caught.value.reason, "restore" in caught.value.next_step) == ("corrupt", True)


@pytest.mark.parametrize(
    "text",
    ['{"digest":["zz"]}', '{"digest":"aa"}', '{"digest":[7]}', '{"oid":["?"]}', '{"x":["y"]}'],
)
def test_a_damaged_condition_of_a_watch_is_named(filled: Store, text: str) -> None:
    filled.execute("UPDATE watch SET criteria = ?", [text])
    with pytest.raises(StoreError) as caught:
        list(map(conditions_of, all_watches(filled)))
    assert caught.value.message.startswith("watch w is damaged in the database: ")


def test_a_damaged_line_of_the_journal_ends_no_check(filled: Store) -> None:
    filled.execute("UPDATE journal SET details = '{' WHERE event = ?", [CUSTODY_ADDED])
    assert {type(one).__name__ for one in check_chains(filled)} == {"DigestError", "StoreError"}
