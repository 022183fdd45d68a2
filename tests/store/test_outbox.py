"""The one way in which what has to leave this home is claimed and settled."""

from __future__ import annotations

from typing import Any

import pytest

from appliance.policy.retry import Backoff, steady
from appliance.store.database import Store
from appliance.store.divergence.outbox import DELIVERIES
from appliance.store.outbox import Outbox
from appliance.store.queue.attempts import ITEMS
from appliance.store.queue.publications import PUBLICATIONS

PARCELS = Outbox("parcel", ("number",), "state = 'waiting'", "state = 'sending'")


def rows(store: Store) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in store.rows("SELECT * FROM parcel ORDER BY number")]


@pytest.fixture
def parcels(store: Store) -> Store:
    store.execute(
        "CREATE TEMP TABLE parcel (number INTEGER, state TEXT, attempts INTEGER, next_at INTEGER)"
    )
    store.execute_many(
        "INSERT INTO parcel VALUES (?, ?, ?, ?)",
        [(1, "waiting", 0, 5), (2, "sending", 3, 5), (3, "waiting", 1, 5)],
    )
    return store


def test_a_claim_counts_an_attempt_of_what_waits_and_of_nothing_else(parcels: Store) -> None:
    PARCELS.claim(parcels, [(1,), (2,)], state="sending")
    assert rows(parcels) == [(1, "sending", 1, 5), (2, "sending", 3, 5), (3, "waiting", 1, 5)]


def test_what_is_settled_once_stays_as_the_first_run_left_it(parcels: Store) -> None:
    PARCELS.claim(parcels, [(1,)], state="sending")
    assert PARCELS.settle(parcels, 1, state="waiting", next_at=60)
    assert not PARCELS.settle(parcels, 1, state="gone", next_at=90)  # nobody claimed it again
    assert rows(parcels)[0] == (1, "waiting", 1, 60)


def test_a_claim_that_came_to_nothing_is_as_if_it_had_not_been(parcels: Store) -> None:
    before = rows(parcels)
    PARCELS.claim(parcels, [(3,)], state="sending")
    PARCELS.release(parcels, 3, attempts=1, state="waiting")
    assert rows(parcels) == before


@pytest.mark.parametrize(
    ("outbox", "column"),
    [(ITEMS, "next_at"), (PUBLICATIONS, "tried_at"), (DELIVERIES, "next_at")],
)
def test_each_table_of_the_store_has_what_the_steps_need(
    store: Store, outbox: Outbox, column: str
) -> None:
    key = [0] * len(outbox.key)
    with store.atomic():
        outbox.claim(store, [tuple(key)], **{column: 1})
        assert not outbox.settle(store, *key, attempts=0)


def test_when_to_try_again_is_in_whole_seconds_rounded_up() -> None:
    backoff = Backoff(first=1.5, longest=60)
    assert backoff.next_try(100, 1, 0.0) == 101  # 0.75 s
    assert backoff.next_try(100, 3, 1.0) == 106
    assert backoff.next_try(100, 3, 0.0, asked=7.2) == 108
    assert [steady(300).next_try(100, tries, 0.3) for tries in (1, 9)] == [400, 400]
    assert steady(0).next_try(100, 1, 0.0) == 100
