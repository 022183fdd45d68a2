"""The journal grows line by line, and its digests are what anybody computes from the lines."""

from __future__ import annotations

import json

import pytest

from appliance.store.database import Store
from appliance.store.home.journal import append_event, journal_lines
from appliance.tlog.hash_chain import links


def fill(store: Store, n: int) -> None:
    with store.atomic():
        for number in range(n):
            append_event(store, 1000 + number, "test.happened", {"n": number, "a": "ü\udcff"})


@pytest.mark.parametrize("n", [0, 1, 1000, 1001])
def test_lines_come_back_in_order_with_their_chain(store: Store, n: int) -> None:
    fill(store, n)
    lines = list(journal_lines(store))
    assert [line.id for line in lines] == list(range(1, n + 1))
    assert [line.digest for line in lines] == list(links(line.text for line in lines))


def test_a_line_is_canonical_json(store: Store) -> None:
    fill(store, 1)
    (line,) = journal_lines(store)
    parsed = json.loads(line.text)
    assert parsed == {
        "id": 1,
        "at": 1000,
        "event": "test.happened",
        "details": {"n": 0, "a": "ü\udcff"},
    }
    assert json.dumps(parsed, sort_keys=True, separators=(",", ":")).encode() == line.text


def test_reading_starts_after_any_line(store: Store) -> None:
    fill(store, 5)
    assert [line.id for line in journal_lines(store, after=3)] == [4, 5]


def test_what_is_rolled_back_leaves_no_line_and_no_gap(store: Store) -> None:
    fill(store, 1)
    with pytest.raises(KeyError), store.atomic():
        append_event(store, 1, "never", {})
        raise KeyError
    fill(store, 1)
    assert [line.id for line in journal_lines(store)] == [1, 2]
