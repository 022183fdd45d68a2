"""The history: heads compared by size and root, notes kept byte for byte."""

from __future__ import annotations

import pytest

from appliance.store.database import Store
from appliance.store.mirror.checkpoints import Arrival, History
from appliance.store.mirror.logs import add_log
from appliance.tlog.checkpoint import SignedCheckpoint, open_checkpoint
from tests.simulator import SimulatedLog


@pytest.fixture
def log() -> SimulatedLog:
    made = SimulatedLog()
    made.grow(10)
    return made


@pytest.fixture
def history(store: Store, log: SimulatedLog) -> History:
    with store.atomic():
        return History(store, add_log(store, log.origin, 2, log.key.spki))


def insert(
    history: History, log: SimulatedLog, size: int, *extensions: str, arrival: Arrival
) -> SignedCheckpoint:
    checkpoint = open_checkpoint(log.checkpoint_at(size, *extensions), history.log.keys, log.origin)
    with history.store.atomic():
        history.insert(checkpoint, arrival)
    return checkpoint


def test_nothing_was_accepted_at_first(history: History) -> None:
    assert history.accepted() is None
    assert history.mirror_checkpoint() is None
    assert history.accepted_sizes() == []
    assert history.notes(0) == []


def test_the_largest_is_the_accepted_one_whatever_came_last(
    history: History, log: SimulatedLog
) -> None:
    for at, size in enumerate((7, 3, 0)):
        insert(history, log, size, arrival=Arrival("direct", "url", at))
    accepted = history.accepted()
    assert accepted is not None
    assert (accepted.head, accepted.first_seen_at) == (log.head_at(7), 0)
    assert accepted.note == log.checkpoint_at(7)
    assert history.accepted_sizes() == [0, 3, 7]
    assert history.accepted_sizes(above=3) == [7]
    assert history.at(4) is None


def test_each_distinct_note_is_kept_and_the_first_shown(
    history: History, log: SimulatedLog
) -> None:
    first = insert(history, log, 7, arrival=Arrival("direct", "url", 5))
    insert(history, log, 7, arrival=Arrival("mirror", "elsewhere", 6))
    frozen = insert(history, log, 7, "Log frozen \N{EM DASH} x", arrival=Arrival("import", "f", 7))
    assert history.notes(7) == [first.note, frozen.note]
    found = history.at(7)
    assert found is not None
    assert (found.note, found.source, found.detail) == (first.note, "direct", "url")


def test_another_site_may_have_seen_it_earlier_but_never_later(
    history: History, log: SimulatedLog
) -> None:
    for size, seen_elsewhere, expected in ((1, 50, 50), (2, 150, 100), (3, None, 100)):
        arrival = Arrival("import", "stick", 100, seen_elsewhere)
        insert(history, log, size, arrival=arrival)
        found = history.at(size)
        assert found is not None and found.first_seen_at == expected


def test_a_second_root_for_a_size_is_a_caller_s_bug_and_changes_nothing(
    history: History, log: SimulatedLog
) -> None:
    insert(history, log, 7, arrival=Arrival("direct", "url", 5))
    twin = log.fork(at=2)
    with pytest.raises(ValueError, match="second root for size 7"):
        insert(history, twin, 7, arrival=Arrival("direct", "url", 6))
    assert history.notes(7) == [log.checkpoint_at(7)]
