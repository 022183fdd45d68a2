"""One alert for each condition as long as it lasts, its deliveries in the same transaction."""

from __future__ import annotations

import pytest

from appliance.errors import IncompleteError
from appliance.store.database import Store
from appliance.store.divergence.alerts import (
    NewAlert,
    ack_alert,
    alerts,
    end_alert,
    lasting_alert,
    raise_alert,
    require_alert,
)
from appliance.store.home.journal import journal_lines

SINKS = ("file /var/log/a.jsonl", "webhook https://alerts.example.org/")


def new(condition: str = "TreeFork log.example sim") -> NewAlert:
    return NewAlert(
        condition, "TreeFork", "rekor.checkpoint.divergence", "critical", {"origin": "ü", "n": 1}
    )


def found(store: Store, at: int, one: NewAlert | None = None) -> tuple[int, bool]:
    with store.atomic():
        return raise_alert(store, one or new(), SINKS, at)


def test_an_alert_is_stored_with_its_deliveries_and_a_line_in_the_journal(store: Store) -> None:
    assert found(store, 1000) == (1, True)
    (one,) = alerts(store)
    assert one.payload == {"id": one.id, "origin": "ü", "n": 1}
    assert next(iter(one.payload)) == "id"
    assert len(one.id) == 32
    rows = store.rows("SELECT * FROM delivery ORDER BY sink")
    assert [(row["sink"], row["next_at"], row["attempts"]) for row in rows] == [
        (sink, 1000, 0) for sink in SINKS
    ]
    (line,) = journal_lines(store)
    assert line.event == "alert.raised"
    assert one.id in line.details


def test_what_is_found_again_counts_up_and_is_delivered_once(store: Store) -> None:
    found(store, 1000)
    assert found(store, 1300) == (1, False)
    assert found(store, 900) == (1, False)  # the clock was set back
    (one,) = alerts(store)
    assert (one.count, one.detected_at, one.last_seen_at) == (3, 1000, 1300)
    assert len(store.rows("SELECT * FROM delivery")) == 2
    assert len(list(journal_lines(store))) == 1


def test_what_was_over_and_comes_back_is_a_new_alert(store: Store) -> None:
    found(store, 1000)
    with store.atomic():
        assert end_alert(store, new().condition, 1100) == 1
        assert end_alert(store, new().condition, 1100) is None
    assert lasting_alert(store, new().condition) is None
    assert found(store, 1200) == (2, True)
    first, second = alerts(store)
    assert (first.ended_at, second.ended_at) == (1100, None)
    assert first.id != second.id
    assert [one.number for one in alerts(store, lasting=True)] == [2]
    assert [line.event for line in journal_lines(store)] == [
        *("alert.raised", "alert.ended", "alert.raised")
    ]


def test_the_same_condition_at_the_same_second_again_has_another_id(store: Store) -> None:
    found(store, 1000)
    with store.atomic():
        end_alert(store, new().condition, 1000)
    found(store, 1000)
    first, second = alerts(store)
    assert first.id != second.id


def test_different_conditions_are_different_alerts(store: Store) -> None:
    found(store, 1000)
    assert found(store, 1000, new("TreeFork log.example other")) == (2, True)


def test_an_acknowledged_alert_still_lasts_and_is_acknowledged_once(store: Store) -> None:
    found(store, 1000)
    with store.atomic():
        assert ack_alert(store, require_alert(store, "1"), 1500, "told them")
        assert not ack_alert(store, require_alert(store, "1"), 1600, "again")
    one = require_alert(store, alerts(store)[0].id)
    assert (one.acked_at, one.ack_note, one.ended_at) == (1500, "told them", None)
    assert alerts(store, unacked=True) == ()


@pytest.mark.parametrize("which", ["7", "", "-1", "f" * 32, "1" * 32, "1" * 31, "\uff17"])
def test_an_alert_that_is_not_there_is_named(store: Store, which: str) -> None:
    found(store, 1000)
    with pytest.raises(IncompleteError) as caught:
        require_alert(store, which)
    assert caught.value.reason == "unknown-alert"


def test_what_is_rolled_back_leaves_neither_alert_nor_delivery(store: Store) -> None:
    with pytest.raises(KeyError), store.atomic():
        raise_alert(store, new(), SINKS, 1000)
        raise KeyError
    assert alerts(store) == ()
    assert store.rows("SELECT * FROM delivery") == []
